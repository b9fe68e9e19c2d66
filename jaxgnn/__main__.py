import sys

from jaxgnn.commands.main import main

sys.exit(main())

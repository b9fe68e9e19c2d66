import sys

from jaxgnn.cli import main

sys.exit(main())

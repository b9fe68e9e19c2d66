"""Training over seeds and grids in one compiled program (`train`), its checkpoints, records, memory and devices."""

from jaxgnn.training import depth_memory as depth_memory
from jaxgnn.training import scale as scale

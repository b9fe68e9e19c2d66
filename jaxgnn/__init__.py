"""jaxgnn: why a graph neural network fails when it is deep, and what fixes it.

Graphs: `prepare`, `load_dataset`, `fosr`, `sdrf`. Networks: `DeepGNN`, `StateSpace`, `layers`. Training: `train`,
`sweep`, `make_train`, `TrainConfig`, `tasks`, `scale`. Measures: `probe`, `backward_analysis`, `measures`. Jacobians:
`jacobian`, `lyapunov`, `sensitivity`, `influence`, `mixing`. Theorems: `theory`. Each is imported when it is first
used.
"""

import sys
from types import ModuleType
from typing import Any

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Package(ModuleType):
    """`jaxgnn.jacobian` is the function, also after the room of that name has been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "jacobian" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

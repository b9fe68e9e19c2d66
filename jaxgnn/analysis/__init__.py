"""What is measured on signals and errors: `measures` of arrays, `probe` and `backward` of every layer of a network;
`plot` draws it, and is imported when it is first used: Matplotlib is heavy."""

import importlib
from typing import Any

from jaxgnn.analysis import measures as measures


def __getattr__(name: str) -> Any:
    if name == "plot":
        return importlib.import_module("jaxgnn.analysis.plot")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

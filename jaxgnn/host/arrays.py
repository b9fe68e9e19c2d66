"""The type of an array that a program may be given: on the host (numpy) or on a device (JAX)."""

from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray


def unshared(tree: Any) -> Any:
    """The same arrays, those on the host as objects that no program has seen.

    Of an array that a compiled program closed over, JAX (0.10.2) keeps one device copy for the object, in the
    precision of that program, and takes it for the object in programs of another precision too.
    """
    return jax.tree.map(lambda a: a.view() if isinstance(a, np.ndarray) else a, tree)


def summary(record: Any) -> str:
    """A NamedTuple's repr for people: arrays by dtype and shape, small values as they are."""
    return f"{type(record).__name__}({', '.join(f'{k}={_short(v)}' for k, v in record._asdict().items())})"


def _short(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        sizes = ", ".join(map(str, value.shape))
        return f"{value.dtype}[{sizes}]"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value).__name__ if type(value).__repr__ is tuple.__repr__ else repr(value)
    if isinstance(value, dict):
        return f"{{{len(value)} entries}}" if value else "{}"
    return type(value).__name__

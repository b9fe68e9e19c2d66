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

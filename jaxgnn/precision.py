"""float64 where it is asked for, whatever JAX's global setting is."""

from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def precision(dtype: Any) -> AbstractContextManager:
    """A context in which float64 stays float64 if `dtype` is float64; otherwise the present setting goes on."""
    return jax.enable_x64(np.dtype(dtype) == np.float64 or jnp.result_type(float) == np.float64)

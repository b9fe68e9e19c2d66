"""The type of an array that a program may be given: on the host (numpy) or on a device (JAX)."""

import jax
import numpy as np

Array = jax.Array | np.ndarray

"""What a number is, whatever JAX's global settings are: float64 where it is asked for, NaN where there is none."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgnn.host.arrays import Array

# For the compiler: on a GPU sums of many threads come in an order of their own, and no two runs give the same bits.
REPEATABLE = {"xla_gpu_deterministic_ops": True}
# Bits of the exponent and of the fraction: unit roundoff 2^-8 and 2^-11.
HALF: dict[str, tuple[int, int]] = {"bfloat16": (8, 7), "float16": (5, 10)}


def precision(dtype: Any) -> AbstractContextManager:
    """A context in which float64 stays float64 if `dtype` is float64; otherwise the present setting goes on."""
    return jax.enable_x64(np.dtype(dtype) == np.float64 or jnp.result_type(float) == np.float64)


@contextmanager
def exact_products() -> Iterator[None]:
    """Where products of float32 are of float32: TPUs round their factors to bfloat16 by default, GPUs to TF32.

    A context, and as `@exact_products()` a decorator. What is traced within it keeps the precision.
    """
    with jax.default_matmul_precision("highest"):
        yield


@contextmanager
def nan_is_a_value() -> Iterator[None]:
    """Where NaN and infinity say that there is no number: jax_debug_nans and jax_debug_infs are off."""
    with jax.debug_nans(False), jax.debug_infs(False):
        yield


def debugs_numbers() -> bool:
    """Whether the user asked JAX to stop at NaN or infinity."""
    return bool(jax.config.jax_debug_nans or jax.config.jax_debug_infs)


def rounded(X: Float[Array, "..."], dtype: str) -> Float[Array, "..."]:
    """X rounded to "bfloat16" or "float16" in its own dtype, with derivative 1; any other name leaves it as it is.

    Subnormal numbers (below 6.1e-5 for float16) become 0.
    """
    if dtype not in HALF:
        return X
    exponent, fraction = HALF[dtype]
    # A cast there and back XLA may leave out, this it may not. X + (r - X) is r: the difference is exact.
    r = jax.lax.reduce_precision(X, exponent_bits=exponent, mantissa_bits=fraction)
    return X + jax.lax.stop_gradient(jnp.where(jnp.isfinite(r), r - X, r))


def kept_dtype(dtype: str, otherwise: Any) -> Any:
    """The dtype that an array rounded to `dtype` is kept in from layer to layer; `otherwise` for other names.

    XLA's CPU compiler (jaxlib 0.10.2) turns a stack of bfloat16 arrays to float32 and back whole whenever one of them
    is written, so that L layers take time L^2 and more memory than float32: there they are kept in float32.
    """
    if dtype not in HALF or (dtype == "bfloat16" and jax.default_backend() == "cpu"):
        return otherwise
    return jnp.dtype(dtype)

"""How a public number is computed from whatever array it is asked of, and when it is refused.

float16 and bfloat16 are computed in float32, and so are integers in a program (NaN where it does not hold them). What
is on the host, lists and arrays of float64 or integers, is computed in float64 whatever the mode is; only the result
is rounded to the mode's float.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgnn.host.arrays import Array
from jaxgnn.host.magnitude import Number


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is only known inside a program (jit, vmap, grad)."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def real(name: str, X: Any) -> Array:
    """X as float32 or float64, host arrays of 64 bits in float64 on the host, all else as a device array.

    Raises ValueError for complex numbers and what is no number, and for integers beyond 2^53.
    """
    X = X if isinstance(X, jax.Array) else np.asarray(X)
    if jnp.issubdtype(X.dtype, jnp.floating):
        if jnp.finfo(X.dtype).bits < 32:
            return jnp.asarray(X, jnp.float32)
        if jnp.finfo(X.dtype).bits == 32 or is_traced(X):
            return jnp.asarray(X)
        return np.asarray(X, np.float64)
    if X.dtype == bool:
        return jnp.asarray(X, jnp.result_type(float))
    if not jnp.issubdtype(X.dtype, jnp.integer):
        raise ValueError(f"{name} has dtype {X.dtype}: real numbers are needed")
    if is_traced(X):
        wide = jnp.asarray(X, jnp.result_type(float))
        return jnp.where(jnp.abs(wide) <= _largest_integer(wide.dtype), wide, jnp.nan)
    X = np.asarray(X)
    if X.size and max(int(X.max()), -int(X.min())) > _largest_integer(np.float64):
        raise ValueError(f"{name} has integers beyond 2^53, which float64 does not hold")
    return X.astype(np.float64)


def signal(X: Any) -> Array:
    """A signal [n, d], or [n], as `real` makes it. Raises ValueError for other shapes."""
    X = real("X", X)
    if X.ndim not in (1, 2):
        raise ValueError(f"X has shape {X.shape}: a signal [n, d] is needed, leading axes by jax.vmap")
    return X[:, None] if X.ndim == 1 else X


def evaluate(name: str, core: Callable[..., Number], X: Array, *others: Any, dtype: Any = None) -> Array:
    """The value of core(X, *others), in X's precision or in `dtype`.

    Raises OverflowError where it is out of range; a program, which cannot raise, has 0 or infinity there.
    """
    default = jnp.result_type(float)
    wide = X.dtype == np.float64 and default != np.float64 and not isinstance(X, jax.core.Tracer)
    if wide and is_traced(others):
        X, wide = jnp.asarray(X, default), False
    if wide:
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            number = jax.tree.map(np.asarray, core(jnp.asarray(X), *others))
    else:
        number = core(jnp.asarray(X), *jax.tree.map(_narrowed, others))
        value = number.value if dtype is None else number.value.astype(dtype)
        if is_traced(number) or not np.any((value == 0) | jnp.isinf(value)):
            return value
    dtype = dtype or (default if wide else X.dtype)
    return jnp.asarray(_in_range(name, Number(*map(np.asarray, number)), dtype))


def scale_free(core: Callable[..., Array]) -> Callable[..., Number]:
    """The core of a number that no scale takes out of range."""

    def whole(*arguments):
        value = core(*arguments)
        return Number(value, value, jnp.zeros(value.shape, jnp.int32))

    return whole


def at_most_infinite(core: Callable[..., Array]) -> Callable[..., Number]:
    """The core of a number whose terms may be too large for its dtype: infinity counts as beyond its range."""

    def whole(*arguments):
        value = core(*arguments)
        beyond = jnp.isinf(value)
        return Number(value, jnp.where(beyond, 1, value), jnp.where(beyond, jnp.finfo(value.dtype).maxexp, 0))

    return whole


def _in_range(name: str, number: Number, dtype: Any) -> np.ndarray:
    if np.issubdtype(number.value.dtype, np.integer):
        return number.value
    exact = np.ldexp(number.mantissa.astype(np.longdouble), number.exponent)
    with np.errstate(over="ignore", under="ignore"):
        value = exact.astype(np.float32).astype(dtype) if jnp.finfo(dtype).bits < 32 else exact.astype(dtype)
    lost = np.isfinite(exact) & (exact != 0) & ((value == 0) | np.isinf(value))
    if lost.any():
        raise OverflowError(
            f"{name} is {exact[lost].ravel()[0]:.3g}, which {np.dtype(dtype)} does not hold: scale what it is taken "
            "of, or take it in float64"
        )
    return value


def _narrowed(leaf: Any) -> Any:
    # In the mode's own dtypes: JAX keeps one device copy of an array that a program closes over, whatever the mode.
    return leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype), copy=False) if isinstance(leaf, np.ndarray) else leaf


def _largest_integer(dtype: Any) -> int:
    return 2 ** (jnp.finfo(dtype).nmant + 1)

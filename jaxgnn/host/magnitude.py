"""Sizes of arrays at any scale: powers of two out before squares are taken, and put back at the end.

In float32 a square leaves the range of numbers below 1e-19 and above 1e19, and XLA takes numbers below 1e-38 for 0.
Scaling by a power of two is exact, so nothing here costs a digit. What is not finite stays out of every scale and
makes the result NaN.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxgnn.host.arrays import Array


def exponents(X: Float[Array, "..."], axis: int | None = None) -> Int[Array, "..."]:
    """e with max |X| in [2^(e-1), 2^e), over all entries or along an axis (which stays, of length 1).

    Entries that are not finite do not count; 0 where there is nothing but zeros.
    """
    nmant, bias = _format(X.dtype)
    bits = _bits(X)
    top = jnp.max(jnp.where(jnp.isfinite(X), bits, 0), axis=axis, keepdims=axis is not None, initial=0)
    # A number without its leading bit (subnormal) is an integer times 2^(1 - bias - nmant).
    as_integer = _bits(top.astype(X.dtype)) >> nmant
    exponent = (top >> nmant).astype(jnp.int32)
    below = as_integer.astype(jnp.int32) + 2 - 2 * bias - nmant
    return jnp.where(top == 0, 0, jnp.where(exponent > 0, exponent + 1 - bias, below))


@jax.custom_jvp
def times_power(X: Float[Array, "..."], k: Int[Array, "..."]) -> Float[Array, "..."]:
    """2^k X, exact; 0 or infinite where X's dtype has no normal number for it. Subnormal entries count in full."""
    nmant, bias = _format(X.dtype)
    bits = _bits(X)
    integer = jnp.copysign(bits.astype(X.dtype), X)
    return jnp.where((bits >> nmant) == 0, _times(integer, k + (1 - bias - nmant)), _times(X, k))


@times_power.defjvp
def _times_power_jvp(primals, tangents):
    X, k = primals
    return times_power(X, k), _times(tangents[0], k)


def scaled(X: Float[Array, "..."], top: int = 0) -> tuple[Float[Array, "..."], Int[Array, ""]]:
    """Y and e with X = 2^e Y and max |Y| in [2^(top-1), 2^top); NaN where X is not finite. e has no derivative."""
    e = exponents(jax.lax.stop_gradient(X)) - top
    return times_power(jnp.where(jnp.isfinite(X), X, jnp.nan), -e), e


def root(square: Float[Array, "..."]) -> Float[Array, "..."]:
    """The square root, with derivative 0 at 0."""
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def ratio(a: Float[Array, "..."], b: Float[Array, "..."], otherwise: float = 0.0) -> Float[Array, "..."]:
    """a / b, and `otherwise`, with derivative 0, where b is 0."""
    zero = b == 0
    return jnp.where(zero, otherwise, a / jnp.where(zero, 1, b))


class Number(NamedTuple):
    """A number whose range is wider than its dtype's: 2^exponent mantissa.

    Attributes:
      value: in the dtype, 0 or infinite where that has no normal number for it; it alone has derivatives.
      mantissa, exponent: of all of them.
    """

    value: Float[Array, "..."]
    mantissa: Float[Array, "..."]
    exponent: Int[Array, "..."]


def homogeneous(f: Callable[..., Array], degree: int, X: Float[Array, "..."], *others: Any, top: int = 0) -> "Number":
    """f(X, *others) for f(t X) = t^degree f(X), computed on X scaled to `top`.

    Derivatives are taken at that scale too: d f(X) = 2^(degree e) d f(Y), X = 2^e Y,
    so that a cotangent of size 1 never becomes 2^e on its way.
    """

    @jax.custom_jvp
    def whole(X, *others):
        Y, e = scaled(X, top)
        m = f(Y, *others)
        return Number(times_power(m, degree * e), m, degree * e)

    def rule(primals, tangents):
        X, *others = primals
        Y, e = scaled(X, top)
        leaves, tree = jax.tree.flatten(tuple(others))
        known = lambda t: isinstance(t, jax.custom_derivatives.SymbolicZero)  # noqa: E731
        slopes = jax.tree.leaves(tuple(tangents[1:]), is_leaf=known)
        moving = [i for i, t in enumerate(slopes) if not known(t) and t.dtype != jax.dtypes.float0]

        def of(Y, *moved):
            here = list(leaves)
            for i, leaf in zip(moving, moved, strict=True):
                here[i] = leaf
            return f(Y, *jax.tree.unflatten(tree, here))

        number = whole(X, *others)
        dY = jnp.zeros_like(Y) if known(tangents[0]) else _times(tangents[0], (degree - 1) * e)
        primal = (Y, *(leaves[i] for i in moving))
        moved = [_times(slopes[i].astype(leaves[i].dtype), degree * e) for i in moving]
        slope = jax.jvp(of, primal, (dY, *moved))[1]
        return number, Number(slope, jnp.zeros_like(slope), np.zeros(number.exponent.shape, jax.dtypes.float0))

    whole.defjvp(rule, symbolic_zeros=True)
    return whole(X, *others)


def norm(X: Float[Array, "..."]) -> Float[Array, ""]:
    """||X||_F at any scale, with gradient 0 at X = 0; NaN where an entry is not finite."""
    return homogeneous(lambda Y: root(jnp.sum(Y**2)), 1, X).value


def unit(X: Float[Array, "..."]) -> Float[Array, "..."]:
    """X / ||X||_F at any scale; 0 for X = 0."""
    Y, _ = scaled(X)
    return ratio(Y, norm(Y))


def norm_ratio(A: Float[Array, "..."], B: Float[Array, "..."], otherwise: float = 0.0) -> Float[Array, ""]:
    """||A||_F / ||B||_F, however large or small both are; `otherwise` for B = 0."""
    (A, a), (B, b) = scaled(A), scaled(B)
    size = norm(B)
    return jnp.where(size == 0, otherwise, times_power(ratio(norm(A), size), a - b))


def host_norm(X: np.ndarray, axis: int | tuple[int, ...] | None = None) -> np.ndarray:
    """||X||_F over all axes or some, in numpy and float64, at any scale."""
    X = np.asarray(X, np.float64)
    e = host_exponents(X, axis)
    norms = np.sqrt(np.sum(np.square(np.ldexp(X, -e)), axis=axis))
    return np.ldexp(norms, np.squeeze(e, axis=axis))


def host_exponents(X: np.ndarray, axis: int | tuple[int, ...] | None = None) -> np.ndarray:
    """`exponents` in numpy, over all axes or some, which stay."""
    return np.frexp(np.max(np.abs(X), axis=axis, keepdims=True, initial=0.0, where=np.isfinite(X)))[1]


def centred_top(dtype: Any) -> int:
    """What to scale signals to before means are taken: no sum of fewer than 2^32 rows overflows, little underflows."""
    return jnp.finfo(dtype).maxexp * 3 // 4


def squared_top(dtype: Any) -> int:
    """What to scale signals to before differences are squared and added."""
    return jnp.finfo(dtype).maxexp // 3


def _format(dtype: Any) -> tuple[int, int]:
    info = jnp.finfo(dtype)
    return info.nmant, info.maxexp - 1


def _integer(dtype: Any) -> Any:
    return {4: jnp.int32, 8: jnp.int64}[np.dtype(dtype).itemsize]


def _bits(X: Array) -> Array:
    """The bits of |X|, whose order is the numbers' order."""
    integer = _integer(X.dtype)
    return jax.lax.bitcast_convert_type(jnp.asarray(X), integer) & np.array(np.iinfo(integer).max, integer)


def _times(X: Array, k: Array) -> Array:
    # In three factors: 2^k itself may be no number.
    nmant, bias = _format(X.dtype)
    for _ in range(3):
        part = jnp.clip(k, 1 - bias, bias - 1)
        X = X * jax.lax.bitcast_convert_type((part + bias).astype(_integer(X.dtype)) << nmant, X.dtype)
        k = k - part
    return X

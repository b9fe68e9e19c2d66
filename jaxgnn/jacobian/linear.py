"""Products with a Jacobian, many at once, each compiled once for a function, a shape and a number of vectors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from jaxgnn.host.arrays import Array
from jaxgnn.host.precision import exact_products

_BATCH_BYTES = 2**25  # vectors of one batched product, in and out: 32 MiB


def generator(*seed: int) -> np.random.Generator:
    """Random numbers of this package's own: those of default_rng(0) may be in the function that is measured."""
    return np.random.default_rng([0x4A61636F, *seed])


def point(h: Float[Array, "..."]) -> Float[np.ndarray, "..."]:
    """Where a Jacobian is taken, on the host. Raises ValueError where it is not of floating-point numbers."""
    h = np.asarray(h)
    if h.dtype.itemsize > 8 or not jnp.issubdtype(h.dtype, jnp.floating):
        raise ValueError(f"h has dtype {h.dtype}: a Jacobian is taken at an array of floating-point numbers")
    return h


@jax.jit
@exact_products()
def value(f, h):
    """f(h)."""
    return jnp.asarray(f(h))


@jax.jit
@exact_products()
def jvp(f, h, v):
    """J v, in f(h)'s shape."""
    return jax.jvp(f, (h,), (v,))[1]


@jax.jit
@exact_products()
def vjp(f, h, u):
    """J^T u, in h's shape."""
    return jax.vjp(f, h)[1](u)[0]


@jax.jit
@exact_products()
def jvps(f, h, V):
    """J v for every v of V, [b, *h.shape] -> [b, *f(h).shape]; f(h) itself is computed once."""
    return jax.vmap(jax.linearize(f, h)[1])(V)


@jax.jit
@exact_products()
def vjps(f, h, U):
    """J^T u for every u of U, [b, *f(h).shape] -> [b, *h.shape]; f(h) itself is computed once."""
    backward = jax.vjp(f, h)[1]
    return jax.vmap(lambda u: backward(u)[0])(U)


def scaled(f: Partial, twos: int, dtype: Any) -> Partial:
    """A function with f's values and 2^twos times its Jacobian: one program for every `twos`.

    Half of the factor is in what goes in and half in what comes out, of J as of J^T, so that a Jacobian of 1e-35 is
    computed between 1e17 and 1e-17.
    """
    half = twos // 2
    return Partial(_scaled, f, *(np.asarray(2.0**power, dtype) for power in (half, twos - half)))


def _scaled(f, a, b, h):
    return _stretched(jnp.asarray(f(_stretched(h, a))), b)


@jax.custom_jvp
def _stretched(x, a):
    """x, with the derivative a."""
    return x


@_stretched.defjvp
def _stretched_jvp(primals, tangents):
    x, a = primals
    return x, tangents[0] * a.astype(tangents[0].dtype)


def order_of_magnitude(f: Partial, h: np.ndarray) -> int:
    """The power of two that J times it is of about 1; 0 where J is in no danger of leaving the range of numbers.

    That is where the fourth powers of its entries are in it: singular values are found from squares, and the small
    ones count. 0 as well where J is 0 or not finite.
    """
    v = generator(3).standard_normal(h.shape).astype(h.dtype)
    most = jnp.finfo(h.dtype).maxexp - 8

    def largest(twos):
        return float(np.max(np.abs(np.asarray(jvp(scaled(f, twos, h.dtype), h, v), np.float64)), initial=0.0))

    # A product that is 0, or not finite, is taken again with J scaled up, or down.
    tried, size = 0, largest(0)
    if not 0 < size < np.inf:
        tried = most if size == 0 else -most
        size = largest(tried)
    if not 0 < size < np.inf:
        return 0
    twos = tried - int(np.round(np.log2(size)))
    # What passes through a narrower number inside f may not bear the factor.
    return twos if abs(twos) > most // 4 and 0 < largest(twos) < np.inf else 0


def rescaled(x: np.ndarray, twos: int | np.ndarray) -> np.ndarray:
    """x 2^twos; 0 or infinite where that leaves the range of numbers."""
    if np.ndim(twos) == 0 and twos == 0:
        return x
    with np.errstate(over="ignore", under="ignore"):
        if np.iscomplexobj(x):
            return np.ldexp(x.real, twos) + 1j * np.ldexp(x.imag, twos)
        return np.ldexp(x, twos)


def batch_size(shape: tuple[int, int], itemsize: int) -> int:
    """How many vectors one batched product takes: 8 at most on a CPU, where more are no faster, 64 elsewhere."""
    most = 8 if jax.default_backend() == "cpu" else 64
    return max(1, min(most, _BATCH_BYTES // (max(sum(shape), 1) * itemsize)))

"""Products with a Jacobian, many at once, each compiled once for a function, a shape and a number of vectors."""

import jax
import jax.numpy as jnp
import numpy as np

_BATCH_BYTES = 2**25  # vectors of one batched product, in and out: 32 MiB


def generator(*seed: int) -> np.random.Generator:
    """Random numbers of this package's own: those of default_rng(0) may be in the function that is measured."""
    return np.random.default_rng([0x4A61636F, *seed])


@jax.jit
def value(f, h):
    """f(h)."""
    return jnp.asarray(f(h))


@jax.jit
def jvp(f, h, v):
    """J v, in f(h)'s shape."""
    return jax.jvp(f, (h,), (v,))[1]


@jax.jit
def vjp(f, h, u):
    """J^T u, in h's shape."""
    return jax.vjp(f, h)[1](u)[0]


@jax.jit
def jvps(f, h, V):
    """J v for every v of V, [b, *h.shape] -> [b, *f(h).shape]; f(h) itself is computed once."""
    return jax.vmap(jax.linearize(f, h)[1])(V)


@jax.jit
def vjps(f, h, U):
    """J^T u for every u of U, [b, *f(h).shape] -> [b, *h.shape]; f(h) itself is computed once."""
    backward = jax.vjp(f, h)[1]
    return jax.vmap(lambda u: backward(u)[0])(U)


def batch_size(shape: tuple[int, int], itemsize: int) -> int:
    """How many vectors one batched product takes: 8 at most on a CPU, where more are no faster, 64 elsewhere."""
    most = 8 if jax.default_backend() == "cpu" else 64
    return max(1, min(most, _BATCH_BYTES // (max(sum(shape), 1) * itemsize)))

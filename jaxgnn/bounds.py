"""Weight normalisations that bound a layer's Lipschitz constant, in the forward pass, differentiated through."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgnn.arrays import Array

Bound = Callable[[Float[Array, "d e"], Float[Array, ""]], Float[Array, "d e"]]


def _norm(W: Float[Array, "d e"]) -> Float[Array, ""]:
    """||W||_F, and sqrt(d e) for W = 0, where the gradient of a norm would be NaN."""
    # In units of the largest entry, so that no square leaves the range of numbers.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(W), initial=0.0))
    scale = jnp.where(largest > 0, largest, 1.0)
    return scale * jnp.linalg.norm(jnp.where(W.any(), W / scale, 1.0))


def frobenius(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """c W / ||W||_F, so that ||W||_2 <= ||W||_F = c; 0 stays 0. Source: Park & Kim 2024, Lipschitz normalisation."""
    return c * (W / _norm(W))


def frobenius_soft(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """W / max(1, ||W||_F / c): W itself while ||W||_F <= c. Source: the soft form named with Park & Kim 2024."""
    return W / jnp.maximum(1.0, _norm(W) / c)


def _unbounded(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    del c
    return W


BOUNDS: dict[str, Bound] = {"none": _unbounded, "frobenius": frobenius, "frobenius_soft": frobenius_soft}


def bound_params(params, bound: str, c: Float[Array, ""]):
    """Applies a bound to every matrix in a layer's parameters; vectors (biases) are left as they are."""
    return jax.tree.map(lambda W: BOUNDS[bound](W, c.astype(W.dtype)) if W.ndim == 2 else W, params)

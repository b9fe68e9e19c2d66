"""Weight normalisations that bound a layer's Lipschitz constant, in the forward pass, differentiated through."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgnn.arrays import Array

Bound = Callable[[Float[Array, "d e"], Float[Array, ""]], Float[Array, "d e"]]


def frobenius(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """c W / ||W||_F, so that ||W||_2 <= ||W||_F = c; 0 stays 0. Source: Park & Kim 2024, Lipschitz normalisation."""
    norm = jnp.linalg.norm(jnp.where(W.any(), W, 1.0))  # the gradient of a norm at 0 would be NaN
    return c * W / norm


def frobenius_soft(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """W / max(1, ||W||_F / c): W itself while ||W||_F <= c. Source: the soft form named with Park & Kim 2024."""
    norm = jnp.linalg.norm(jnp.where(W.any(), W, 1.0))
    return W / jnp.maximum(1.0, norm / c)


def _unbounded(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    del c
    return W


BOUNDS: dict[str, Bound] = {"none": _unbounded, "frobenius": frobenius, "frobenius_soft": frobenius_soft}


def bound_params(params, bound: str, c: Float[Array, ""]):
    """Applies a bound to every matrix in a layer's parameters; vectors (biases) are left as they are."""
    return jax.tree.map(lambda W: BOUNDS[bound](W, c.astype(W.dtype)) if W.ndim == 2 else W, params)

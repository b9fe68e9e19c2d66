"""Weight normalisations that bound a layer's Lipschitz constant, in the forward pass, differentiated through.

Each maps W to a matrix with ||.||_2 <= c. A layer that is linear in X and in W, such as H = P X W, then has
||dH/dX||_2 <= ||P||_2 c, and with an identity residual 1 + ||P||_2 c. For attention and gates c bounds the linear
maps alone: what the layer does as a whole depends on where it is taken.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgnn.host.arrays import Array
from jaxgnn.host.magnitude import norm, ratio, scaled, unit

Bound = Callable[[Float[Array, "d e"], Float[Array, ""]], Float[Array, "d e"]]


def frobenius(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """c W / ||W||_F, so that ||W||_2 <= ||W||_F = c; 0 stays 0. Source: Park & Kim 2024, Lipschitz normalisation."""
    return c * unit(W)


def frobenius_soft(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """W / max(1, ||W||_F / c): W itself while ||W||_F <= c. Source: the soft form named with Park & Kim 2024."""
    return W / jnp.maximum(1.0, norm(W) / c)


def row(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """Every row scaled to norm c / sqrt(d), so that ||W||_2 <= ||W||_F <= c; a row of zeros stays."""
    return c * jax.vmap(unit)(W) / jnp.sqrt(W.shape[0]).astype(W.dtype)


def column(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """Every column scaled to norm c / sqrt(e), so that ||W||_2 <= ||W||_F <= c; a column of zeros stays."""
    return row(W.T, c).T


def orthogonal(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """c Q of W = Q R with diag R > 0 (of W^T where W is wide): all singular values are c. W must have full rank."""
    if W.shape[0] < W.shape[1]:
        return orthogonal(W.T, c).T
    Q, R = jnp.linalg.qr(W)
    return c * Q * jnp.where(jnp.diagonal(R) < 0, -1.0, 1.0).astype(W.dtype)[None]


def cayley(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    """c (I + A)^-1 (I - A) with the skew A = W - W^T: all singular values are c. Source: Cayley's transform.

    A W that is not square is padded with zeros; the part of its own shape is returned, with ||.||_2 <= c. Rounding in
    the linear system grows with ||W||: what is returned has these singular values up to about eps ||W||_2.
    """
    d, e = W.shape
    n = max(d, e)
    W = jnp.pad(W, ((0, n - d), (0, n - e)))
    A, I = W - W.T, jnp.eye(n, dtype=W.dtype)
    return c * jnp.linalg.solve(I + A, I - A)[:d, :e]


def _unbounded(W: Float[Array, "d e"], c: Float[Array, ""]) -> Float[Array, "d e"]:
    del c
    return W


def spectral(W: Float[Array, "d e"], c: Float[Array, ""], u: Float[Array, "d"]) -> Float[Array, "d e"]:
    """c W / sigma with sigma = ||W^T u|| <= ||W||_2, u from `power_iteration`; 0 stays 0.

    Until u has converged to the first left singular vector, ||.||_2 = c ||W||_2 / sigma lies above c.
    Source: Miyato et al. 2018, algorithm 1.
    """
    Y, _ = scaled(W)
    return c * ratio(Y, norm(jax.lax.stop_gradient(u) @ Y))


def power_iteration(W: Float[Array, "d e"], u: Float[Array, "d"], steps: int = 1) -> Float[Array, "d"]:
    """u after steps of u <- W W^T u / ||W W^T u||, without gradient; u itself where W W^T u = 0."""
    W, _ = scaled(jax.lax.stop_gradient(W))

    def step(_, u):
        next_u = W @ unit(W.T @ u)
        return jnp.where(next_u.any(), unit(next_u), u)

    return jax.lax.fori_loop(0, steps, step, u)


BOUNDS: dict[str, Bound | None] = {
    "none": _unbounded,
    "frobenius": frobenius,
    "frobenius_soft": frobenius_soft,
    "spectral": None,  # carries a state: see `spectral`
    "row": row,
    "column": column,
    "orthogonal": orthogonal,
    "cayley": cayley,
}


def bound_params(params: Any, bound: str, c: Float[Array, ""], power: Any = None) -> Any:
    """Applies a bound to every matrix in a layer's parameters; vectors (biases) are left as they are.

    `power` holds the vectors u of "spectral", by the matrices' paths (`start_power`).
    """

    def apply(path, W):
        if W.ndim != 2:
            return W
        function = BOUNDS[bound]
        c_ = c.astype(W.dtype)
        return spectral(W, c_, power[jax.tree_util.keystr(path)]) if function is None else function(W, c_)

    return jax.tree_util.tree_map_with_path(apply, params)


def start_power(params: Any) -> dict[str, Float[Array, "d"]]:
    """The vectors u of every matrix W: 30 steps of power iteration from W 1."""

    def start(W):
        u = jnp.sum(scaled(W)[0], axis=1)
        return power_iteration(W, unit(jnp.where(u.any(), u, 1.0)), steps=30)

    return _by_path(params, start)


def advance_power(params: Any, power: dict[str, Array]) -> dict[str, Float[Array, "d"]]:
    """The vectors u after one more step each."""
    return {path: power_iteration(W, power[path]) for path, W in _by_path(params, lambda W: W).items()}


def _by_path(params: Any, function: Callable) -> dict[str, Array]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(path): function(W) for path, W in leaves if W.ndim == 2}

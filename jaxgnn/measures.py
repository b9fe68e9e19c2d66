"""How smooth a signal on a graph is: X [n, d] (and P or the graph where needed) -> scalar.

All are jittable, differentiable where stated, and vmappable over leading axes (layers, seeds). Gradients at points
where a norm is 0 are 0. Only `mu` and `energy` satisfy all the axioms of a node-similarity measure (Rusch et al.
2023): zero exactly on constant columns, and the triangle inequality. Each of the others states what it satisfies.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgnn.arrays import Array
from jaxgnn.graph import Graph
from jaxgnn.propagation import Propagation
from jaxgnn.segment import segment_mean, segment_sum


def _sqrt(square: Float[Array, "..."]) -> Float[Array, "..."]:
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _ratio(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    positive = b > 0
    return jnp.where(positive, a / jnp.where(positive, b, 1.0), 0.0)


def norm(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """||X||_F."""
    return _sqrt(jnp.sum(X**2))


def mu(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """mu(X) = ||X - 1 gamma_X||_F, gamma_X = 1^T X / n: distance to the nearest X with equal rows.

    A similarity measure: zero exactly when all rows are equal, and mu(X + Y) <= mu(X) + mu(Y).
    ||X||_F^2 = mu(X)^2 + ||1 gamma_X||_F^2. Source: Park & Kim 2024.
    """
    return norm(X - jnp.mean(X, axis=0, keepdims=True))


def relative_mu(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """mu(X) / ||X||_F, in [0, 1]; 0 for X = 0.

    Invariant to scale, so it separates smoothing from vanishing. Zero on constant columns; no triangle inequality.
    """
    return _ratio(mu(X), norm(X))


def energy(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """E(X) = sqrt(1/(2 n^2) sum_ij ||X_i - X_j||^2) = mu(X) / sqrt(n). A similarity measure. Source: Keriven 2025."""
    return mu(X) / jnp.sqrt(jnp.asarray(max(X.shape[0], 1), X.dtype))


def mu_per_component(X: Float[Array, "n d"], components: Int[Array, "n"], num_components: int) -> Float[Array, "c"]:
    """mu of each connected component's rows, [num_components]; `components` as `jaxgnn.components` numbers them."""
    mean = segment_mean(X, components, num_components)
    return _sqrt(jnp.sum(segment_sum((X - mean[components]) ** 2, components, num_components), axis=1))


def energy_per_component(X: Float[Array, "n d"], components: Int[Array, "n"], num_components: int) -> Float[Array, "c"]:
    """E of the rows of each connected component, [num_components]."""
    size = segment_sum(jnp.ones(X.shape[:1], X.dtype), components, num_components)
    return mu_per_component(X, components, num_components) / jnp.sqrt(jnp.maximum(size, 1))


def dirichlet(X: Float[Array, "n d"], P: Propagation | Float[Array, "n n"]) -> Float[Array, ""]:
    """tr X^T (I - P) X, the Dirichlet energy.

    Quadratic in X. For symmetric P with spectrum in [-1, 1] it is >= 0 and its square root satisfies the triangle
    inequality; it is zero on ker(I - P): for "sym" that is D~^(1/2) 1 on each component, not the constants.
    Not a similarity measure for other P. Source: Cai & Wang 2020; Arroyo et al. 2025.
    """
    return jnp.sum(X * (X - P @ X))


def normalised_dirichlet(X: Float[Array, "n d"], P: Propagation | Float[Array, "n n"]) -> Float[Array, ""]:
    """tr X^T (I - P) X / ||X||_F^2, the Rayleigh quotient of I - P; 0 for X = 0.

    In [0, 2] for symmetric P with spectrum in [-1, 1]. Invariant to scale; no triangle inequality.
    """
    return _ratio(dirichlet(X, P), jnp.sum(X**2))


def mad(X: Float[Array, "n d"], graph: Graph) -> Float[Array, ""]:
    """Mean over nodes of the mean cosine distance to their in-neighbours (loops left out), in [0, 2].

    Nodes without neighbours do not count; a zero row has distance 1 to every other. Zero when neighbours' rows are
    parallel, so it is blind to norms: not a similarity measure. Source: Chen et al. 2020, MAD with the adjacency mask.
    """
    U = _unit_rows(X)
    senders, receivers = graph.senders, graph.receivers
    distance = 1.0 - jnp.sum(U[receivers] * U[senders], axis=1)
    other = (jnp.asarray(senders) != jnp.asarray(receivers)).astype(X.dtype)
    total = segment_sum(distance * other, receivers, X.shape[0], sorted=True)
    count = segment_sum(other, receivers, X.shape[0], sorted=True)
    return _ratio(jnp.sum(_ratio(total, count)), jnp.sum(count > 0).astype(X.dtype))


def mean_cosine(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """Mean cosine of all pairs of different rows, in [-1, 1]; a zero row counts 0. 1 when all rows are parallel."""
    # sum_{i != j} u_i . u_j = ||sum_i u_i||^2 - sum_i ||u_i||^2
    U = _unit_rows(X)
    n = X.shape[0]
    return (jnp.sum(jnp.sum(U, axis=0) ** 2) - jnp.sum(U**2)) / max(n * (n - 1), 1)


def effective_rank(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """exp(-sum_i p_i log p_i), p_i = sigma_i / sum_j sigma_j; in [1, rank X], 0 for X = 0.

    Invariant to scale and rotations; 1 exactly for rank one. Source: Roy & Vetterli 2007.
    """
    sigma = jnp.linalg.svd(X, compute_uv=False)
    p = _ratio(sigma, jnp.sum(sigma))
    entropy = -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1.0)))
    return jnp.where(jnp.any(sigma > 0), jnp.exp(entropy), 0.0)


def stable_rank(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """||X||_F^2 / ||X||_2^2, in [1, rank X], 0 for X = 0.

    Invariant to scale and rotations; 1 exactly for rank one. Source: Rudelson & Vershynin 2007.
    """
    sigma = jnp.linalg.svd(X, compute_uv=False)
    return _ratio(jnp.sum(sigma**2), jnp.max(sigma, initial=0.0) ** 2)


def numerical_rank(X: Float[Array, "n d"], tolerance: float | None = None) -> Int[Array, ""]:
    """Number of singular values above tolerance * sigma_1, max(n, d) eps by default. An integer: no derivative."""
    sigma = jnp.linalg.svd(X, compute_uv=False)
    relative = max(X.shape) * float(jnp.finfo(X.dtype).eps) if tolerance is None else tolerance
    return jnp.sum(sigma > relative * jnp.max(sigma, initial=0.0))


def off_span(X: Float[Array, "n d"], v: Float[Array, "n"]) -> Float[Array, ""]:
    """||X - v (v^T X) / (v^T v)||_F: distance of X's columns to span(v).

    A seminorm in X: triangle inequality, homogeneous, zero exactly where all columns are multiples of v.
    """
    v = jnp.asarray(v, X.dtype)
    return norm(X - jnp.outer(v, _ratio(v @ X, jnp.sum(v**2))))


def off_degree_span(X: Float[Array, "n d"], P: Propagation) -> Float[Array, ""]:
    """Distance of X to span(D~^(1/2) 1), D~ = P.degree: what the "sym" propagation of a connected graph collapses to.

    Zero exactly on that span and satisfies the triangle inequality, but not zero on constant columns.
    Source: Oono & Suzuki 2020, with one component.
    """
    return off_span(X, jnp.sqrt(jnp.asarray(P.degree, X.dtype)))


def _unit_rows(X: Float[Array, "n d"]) -> Float[Array, "n d"]:
    length = jax.vmap(norm)(X)[:, None]
    return _ratio(X, length)

"""How smooth a signal on a graph is: X [n, d] (and P or the graph where needed) -> scalar.

All are jittable, differentiable where stated, and vmappable over leading axes (layers, seeds). Gradients at points
where a norm is 0 are 0. Only `mu` and `energy` satisfy all the axioms of a node-similarity measure (Rusch et al.
2023): zero exactly on constant columns, and the triangle inequality. Each of the others states what it satisfies.

Scale does not matter: numbers that have none are the same for X and t X, and the others are right to the stated
tolerance wherever X's dtype holds the result. Where it does not, a program gets 0 or infinity and a call outside one
raises OverflowError. A signal that is not finite gives NaN. Half precision is computed and returned in float32; lists
and host arrays of float64 or integers are computed in float64 (`jaxgnn.host.evaluate`).

eps is the dtype's: 1.2e-7 for float32. A number that is "exact" is right to 8 eps relatively, summation included.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxgnn.graphs.dirichlet_form import dirichlet_form
from jaxgnn.graphs.dirichlet_form import energy as form_energy
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.propagation import Propagation
from jaxgnn.graphs.segment import segment_mean, segment_sum
from jaxgnn.host import magnitude
from jaxgnn.host.arrays import Array
from jaxgnn.host.evaluate import evaluate, is_traced, real, scale_free, signal
from jaxgnn.host.magnitude import (
    centred_top,
    exponents,
    homogeneous,
    norm_ratio,
    ratio,
    scaled,
    squared_top,
    times_power,
)
from jaxgnn.host.options import check_number, check_whole
from jaxgnn.host.precision import exact_products


def norm(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """||X||_F, exact."""
    return evaluate("norm", _norm, signal(X))


def mu(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """mu(X) = ||X - 1 gamma_X||_F, gamma_X = 1^T X / n: distance to the nearest X with equal rows. Exact.

    A similarity measure: zero exactly when all rows are equal, and mu(X + Y) <= mu(X) + mu(Y).
    ||X||_F^2 = mu(X)^2 + ||1 gamma_X||_F^2. Source: Park & Kim 2024.
    """
    return evaluate("mu", _mu, signal(X))


def relative_mu(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """mu(X) / ||X||_F, in [0, 1]; 0 for X = 0. Exact.

    Invariant to scale, so it separates smoothing from vanishing. Zero on constant columns; no triangle inequality.
    """
    return evaluate("relative_mu", _relative_mu, signal(X))


def energy(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """E(X) = sqrt(1/(2 n^2) sum_ij ||X_i - X_j||^2) = mu(X) / sqrt(n), exact. A similarity measure.

    Source: Keriven 2025.
    """
    return evaluate("energy", _energy, signal(X))


def mu_per_component(X: Float[Array, "n d"], components: Int[Array, "n"], num_components: int) -> Float[Array, "c"]:
    """mu of each connected component's rows, [num_components]; `components` as `jaxgnn.components` numbers them.

    Rows of component -1, padding, are in none.
    Exact but for the sum over a component's c rows, added one after another: up to c eps, sqrt(c) eps as a rule.
    """
    X, components = signal(X), _checked_components(components, num_components)
    return evaluate("mu of a component", partial(_per_component, count=num_components, size=False), X, components)


def energy_per_component(X: Float[Array, "n d"], components: Int[Array, "n"], num_components: int) -> Float[Array, "c"]:
    """E of the rows of each connected component, [num_components]; to the tolerance of `mu_per_component`."""
    X, components = signal(X), _checked_components(components, num_components)
    return evaluate("energy of a component", partial(_per_component, count=num_components, size=True), X, components)


def dirichlet(X: Float[Array, "n d"], P: Propagation | Float[Array, "n n"]) -> Float[Array, ""]:
    """tr X^T (I - P) X, the Dirichlet energy, as a sum over edges.

    Quadratic in X. For symmetric P with spectrum in [-1, 1] it is >= 0 and its square root satisfies the triangle
    inequality; it is zero on ker(I - P): for "sym" that is D~^(1/2) 1 on each component, not the constants.
    Not a similarity measure for other P. Source: Cai & Wang 2020; Arroyo et al. 2025.

    Exact for "doubly" and every symmetric P with P 1 = 1, and never negative there. For "sym" the error is at most
    8 eps (E + ||X||_F sqrt(E)) + 4 eps^2 ||X||_F^2, E the energy, which is never negative either. For other P it is
    8 eps (1 + ||P||_1) ||X||_F^2. A row of P whose sum is 1 up to the rounding of its entries counts as 1.
    """
    X = signal(X)
    return evaluate("dirichlet", _dirichlet, X, _form(X, P))


def normalised_dirichlet(X: Float[Array, "n d"], P: Propagation | Float[Array, "n n"]) -> Float[Array, ""]:
    """tr X^T (I - P) X / ||X||_F^2, the Rayleigh quotient of I - P; 0 for X = 0. To the tolerance of `dirichlet`.

    In [0, 2] for symmetric P with spectrum in [-1, 1]. Invariant to scale; no triangle inequality.
    """
    X = signal(X)
    return evaluate("normalised_dirichlet", _normalised_dirichlet, X, _form(X, P))


def mad(X: Float[Array, "n d"], graph: Graph) -> Float[Array, ""]:
    """Mean over nodes of the mean cosine distance to their in-neighbours (loops left out), in [0, 2].

    Nodes without neighbours do not count, nor does padding; a zero row has distance 1 to every other. Zero when
    neighbours' rows are parallel, so it is blind to norms: not a similarity measure. A distance D of rows x, y is
    right to 16 eps (D + sqrt(D) ||x - y|| / ||y||). Source: Chen et al. 2020, MAD with the adjacency mask.
    """
    X = signal(X)
    if X.shape[0] != graph.num_nodes:
        raise ValueError(f"X has shape {X.shape}, but the graph has {graph.num_nodes} nodes: rows must agree")
    return evaluate("mad", _mad, X, graph.senders, graph.receivers, graph.edge_mask, graph.node_mask)


def mean_cosine(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """Mean cosine of all pairs of different rows, in [-1, 1], to 16 eps; a zero row counts 0.

    1 when all rows are parallel.
    """
    return evaluate("mean_cosine", _mean_cosine, signal(X))


def effective_rank(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """exp(-sum_i p_i log p_i), p_i = sigma_i / sum_j sigma_j; in [1, rank X], 0 for X = 0.

    Invariant to scale and rotations; 1 for rank one, k for k orthogonal columns of equal length. Singular values
    are right to 8 m eps sigma_1, m = min(n, d), and with them the p_i. Source: Roy & Vetterli 2007, definition 1.
    """
    return evaluate("effective_rank", _effective_rank, signal(X))


def stable_rank(X: Float[Array, "n d"]) -> Float[Array, ""]:
    """||X||_F^2 / ||X||_2^2, in [1, rank X], 0 for X = 0; to 16 m eps relatively, m = min(n, d).

    Invariant to scale and rotations; 1 for rank one. Source: Rudelson & Vershynin 2007; as the numerical rank of
    features, arXiv 2502.04591.
    """
    return evaluate("stable_rank", _stable_rank, signal(X))


def numerical_rank(X: Float[Array, "n d"], tolerance: float | None = None) -> Int[Array, ""]:
    """Number of singular values above tolerance * sigma_1, max(n, d) eps by default. An integer: no derivative.

    Raises ValueError for X that is not finite and a tolerance that is not 0 or more; in a program that X gives -1.
    """
    eps = _eps(X)
    if tolerance is not None and not is_traced(tolerance):
        check_number("tolerance", tolerance, lambda v: v >= 0, "numbers of 0 and more")
    X = signal(X)
    if not is_traced(X) and not np.isfinite(np.asarray(X)).all():
        raise ValueError("numerical_rank: X is not finite, and no integer says so")
    return evaluate("numerical_rank", _numerical_rank, X, max(X.shape) * eps if tolerance is None else tolerance)


def off_span(X: Float[Array, "n d"], v: Float[Array, "n"]) -> Float[Array, ""]:
    """||X - v (v^T X) / (v^T v)||_F: distance of X's columns to span(v), to 8 eps ||X||_F; exact for v = 1.

    A seminorm in X: triangle inequality, homogeneous, zero exactly where all columns are multiples of v.
    """
    X, v = signal(X), real("v", v)
    if v.shape != X.shape[:1]:
        raise ValueError(f"v has shape {v.shape}, but X has {X.shape[0]} rows: one number for each is needed")
    if not is_traced(v) and np.isfinite(np.asarray(v)).all():
        v = np.ldexp(np.asarray(v), -int(np.frexp(np.max(np.abs(v), initial=0.0))[1]))
    return evaluate("off_span", _off_span, X, v)


def off_degree_span(X: Float[Array, "n d"], P: Propagation) -> Float[Array, ""]:
    """Distance of X to span(D~^(1/2) 1), D~ = P.degree: what the "sym" propagation of a connected graph collapses to.

    Zero exactly on that span and satisfies the triangle inequality, but not zero on constant columns. To 8 eps ||X||_F.
    Source: Oono & Suzuki 2020, with one component.
    """
    return off_span(X, (jnp if is_traced(P.degree) else np).sqrt(P.degree))


@jax.jit
@exact_products()
def _norm(X):
    return homogeneous(lambda Y: magnitude.norm(Y), 1, X)


@jax.jit
@exact_products()
def _mu(X):
    return homogeneous(lambda Y: magnitude.norm(_centred(Y)), 1, X, top=centred_top(X.dtype))


@jax.jit
@exact_products()
def _energy(X):
    root = np.sqrt(max(X.shape[0], 1)).astype(X.dtype)
    return homogeneous(lambda Y: magnitude.norm(_centred(Y)) / root, 1, X, top=centred_top(X.dtype))


@jax.jit
@exact_products()
@scale_free
def _relative_mu(X):
    Y, _ = scaled(X, centred_top(X.dtype))
    return norm_ratio(_centred(Y), Y)


@partial(jax.jit, static_argnames=("count", "size"))
@exact_products()
def _per_component(X, components, *, count, size):
    def of(Y, components):
        nodes = jnp.arange(Y.shape[0])
        first = jnp.minimum(jax.ops.segment_min(nodes, components, count), X.shape[0] - 1)
        D = Y - jax.lax.stop_gradient(Y[first][components])
        D = D - segment_mean(D, components, count)[components]
        # Every component at its own scale.
        top = jnp.where(jnp.any(D != 0, axis=1), exponents(jax.lax.stop_gradient(D), axis=1)[:, 0], _NO_EXPONENT)
        top = jax.ops.segment_max(top, components, count)
        top = jnp.where(top > _NO_EXPONENT, top, 0)
        squares = jnp.sum(times_power(D, -top[components][:, None]) ** 2, axis=1)
        found = magnitude.root(segment_sum(squares, components, count))
        if size:
            nodes_each = segment_sum(jnp.ones(X.shape[:1], X.dtype), components, count)
            found = found / jnp.sqrt(jnp.maximum(nodes_each, 1))
        return times_power(found, top)

    if not X.shape[0]:
        return magnitude.Number(jnp.zeros(count, X.dtype), jnp.zeros(count, X.dtype), jnp.zeros(count, jnp.int32))
    return homogeneous(of, 1, X, components, top=centred_top(X.dtype))


@jax.jit
@exact_products()
def _dirichlet(X, form):
    return homogeneous(form_energy, 2, X, form, top=squared_top(X.dtype))


@jax.jit
@exact_products()
@scale_free
def _normalised_dirichlet(X, form):
    Y, _ = scaled(X, squared_top(X.dtype))
    _, e = scaled(Y)
    size = magnitude.norm(times_power(Y, -e))
    return ratio(times_power(form_energy(Y, form), -2 * e), size**2)


@jax.jit
@exact_products()
@scale_free
def _mad(X, senders, receivers, edge_mask, node_mask):
    n = X.shape[0]
    if node_mask is not None:
        X = jnp.where(jnp.asarray(node_mask)[:, None] > 0, X, 0)
    rows, e = _scaled_rows(X)
    x, near = rows[receivers], jnp.abs(e[senders] - e[receivers]) <= 1
    y = times_power(rows[senders], jnp.where(near, e[senders] - e[receivers], 0))
    kept = jnp.asarray(senders) != jnp.asarray(receivers)
    if edge_mask is not None:
        kept = kept & (jnp.asarray(edge_mask) > 0)
    kept = kept.astype(X.dtype)
    total = segment_sum(_cosine_distance(x, y) * kept, receivers, n, sorted=True)
    count = segment_sum(kept, receivers, n, sorted=True)
    mean = ratio(jnp.sum(ratio(total, count)), jnp.sum(count > 0).astype(X.dtype))
    return mean + jnp.where(jnp.isfinite(X).all(), 0, jnp.nan).astype(X.dtype)


def _cosine_distance(x, y):
    """1 - cos(x, y) of rows of like size without cancellation; 1 where either is 0."""
    xx, yy, xy = (jnp.sum(a * b, axis=1, keepdims=True) for a, b in ((x, x), (y, y), (x, y)))
    zero = (xx == 0) | (yy == 0)
    xx, yy = jnp.where(zero, 1, xx), jnp.where(zero, 1, yy)
    # r = y - x <x, y> / <x, x> = (y - x) - x <x, y - x> / <x, x>, and 1 - cos = sin^2 / (1 + cos)
    difference = y - x
    r = difference - x * (jnp.sum(x * difference, axis=1, keepdims=True) / xx)
    sine2, cosine = jnp.sum(r**2, axis=1, keepdims=True) / yy, xy / (jnp.sqrt(xx) * jnp.sqrt(yy))
    distance = jnp.where(cosine > 0, sine2 / (1 + jnp.maximum(cosine, 0)), 1 - cosine)
    return jnp.where(zero, 1, distance)[:, 0]


@jax.jit
@exact_products()
@scale_free
def _mean_cosine(X):
    # sum_{i != j} u_i . u_j = ||sum_i u_i||^2 - sum_i ||u_i||^2
    rows, _ = _scaled_rows(X)
    U = ratio(rows, magnitude.root(jnp.sum(rows**2, axis=1, keepdims=True)))
    n = X.shape[0]
    return (jnp.sum(jnp.sum(U, axis=0) ** 2) - jnp.sum(U**2)) / float(max(n * (n - 1), 1))


@jax.jit
@exact_products()
@scale_free
def _effective_rank(X):
    sigma = _singular_values(X)
    total = jnp.sum(sigma)
    p = ratio(sigma, total)
    entropy = -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1.0)))
    return jnp.where(total == 0, 0.0, jnp.exp(entropy))


@jax.jit
@exact_products()
@scale_free
def _stable_rank(X):
    sigma = _singular_values(X)
    return ratio(jnp.sum(sigma**2), jnp.max(sigma, initial=0.0) ** 2)


@jax.jit
@exact_products()
@scale_free
def _numerical_rank(X, tolerance):
    sigma = _singular_values(jnp.where(jnp.isfinite(X), X, 0))
    count = jnp.sum(sigma > jnp.asarray(tolerance, X.dtype) * jnp.max(sigma, initial=0.0))
    return jnp.where(jnp.isfinite(X).all(), count, -1)


@jax.jit
@exact_products()
def _off_span(X, v):
    v, _ = scaled(jnp.asarray(v, X.dtype))
    if not X.shape[0]:
        return magnitude.Number(jnp.zeros((), X.dtype), jnp.zeros((), X.dtype), jnp.zeros((), jnp.int32))

    def of(Y, v):
        # The distance of X - v c is that of X, for any c.
        pivot = jnp.argmax(jnp.abs(v))
        D = Y - v[:, None] * jax.lax.stop_gradient(ratio(Y[pivot], v[pivot]))[None]
        along = ratio(jnp.sum(v[:, None] * D, axis=0, keepdims=True), jnp.sum(v**2))
        return magnitude.norm(D - v[:, None] * along)

    return homogeneous(of, 1, X, v, top=centred_top(X.dtype))


_NO_EXPONENT = -(2**20)


def _centred(Y: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Y - 1 gamma_Y, from the differences to one row, which are exact where all rows are nearly equal."""
    D = Y - jax.lax.stop_gradient(Y[:1])
    return D - jnp.sum(D, axis=0, keepdims=True) / max(Y.shape[0], 1)


def _scaled_rows(X: Float[Array, "n d"]) -> tuple[Float[Array, "n d"], Int[Array, "n 1"]]:
    e = exponents(jax.lax.stop_gradient(X), axis=1)
    return times_power(jnp.where(jnp.isfinite(X), X, jnp.nan), -e), e


def _singular_values(X: Float[Array, "n d"]) -> Float[Array, "m"]:
    # LAPACK takes those of R of X = Q R where X has many more rows than columns.
    return jnp.linalg.svd(scaled(X)[0], compute_uv=False)


def _form(X: Array, P: Propagation | Float[Array, "n n"]):
    if jnp.shape(P)[:1] != X.shape[:1]:
        raise ValueError(f"X has shape {X.shape}, but P has {jnp.shape(P)[0]} nodes: rows must agree")
    return dirichlet_form(P)


def _checked_components(components: Int[Array, "n"], count: int) -> Int[Array, "n"]:
    check_whole("num_components", count, least=0)
    if not is_traced(components) and np.size(components):
        wrong = np.asarray(components)
        wrong = wrong[(wrong < -1) | (wrong >= count)]
        if wrong.size:
            raise ValueError(f"component {wrong[0]} is not there: components are 0 to {count - 1}")
    return components


def _eps(X: Array) -> float:
    dtype = jnp.asarray(X).dtype if not hasattr(X, "dtype") else X.dtype
    return float(jnp.finfo(dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)).eps)

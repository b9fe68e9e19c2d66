"""The whole density of singular values from products alone: stochastic Lanczos quadrature, or Chebyshev moments.

Source: Lin, Saad & Yang 2016 (both methods, compared); Ubaru, Chen & Saad 2017 (quadrature and its error).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matfree import decomp
from scipy.fft import dct

from jaxgnn.data import saved
from jaxgnn.host.arrays import summary
from jaxgnn.host.memory import require_memory
from jaxgnn.host.options import check_number
from jaxgnn.host.precision import exact_products
from jaxgnn.jacobian import linear

_GRID = 400
_GROUP_BYTES = 2**29  # Lanczos vectors of the probes that go side by side: 512 MiB
MARGIN = 1.05  # sigma_1 is taken as this times the largest Ritz value


class Density(NamedTuple):
    """Smoothed density of all min(M, N) singular values; with `zero_mass` it integrates to 1.

    Attributes:
      grid: [g], where it is evaluated.
      density: [g], the mean over probes of (1/K) sum_i [phi_h(x - sigma_i) + phi_h(x + sigma_i)], phi_h a Gaussian of
        standard deviation `bandwidth`: what would leak below 0 is reflected. K = min(M, N).
      standard_error: [g], of the mean over probes.
      bias: [g], a bound of the rest: what a finite number of steps leaves out of the smoothed density. It supposes that
        sigma_1 is at most 1.05 times the largest node: two or three steps may miss a singular value that stands alone.
      bandwidth: h.
      zero_mass: the part of the singular values that is 0 because rows or columns are 0 (or fewer than K are not).
        Zeros with another cause are in the density, as a bump at 0.
    """

    grid: Float[np.ndarray, "g"]
    density: Float[np.ndarray, "g"]
    standard_error: Float[np.ndarray, "g"]
    bias: Float[np.ndarray, "g"]
    bandwidth: float
    zero_mass: float

    save = saved.save

    def __repr__(self) -> str:
        return summary(self)


class Estimate(NamedTuple):
    """A number and its error: a standard error over probes, or a bound of the rounding."""

    value: float
    error: float


class Quadrature(NamedTuple):
    """Gauss rules for the distribution of singular values that one random vector each sees.

    sum_j weights[p, j] f(nodes[p, j]^2) is v_p^T f(J^T J) v_p, exact for polynomials f of degree 2 steps - 1; its mean
    over v_p is (1/size) sum_i f(sigma_i^2).

    Attributes:
      nodes: [probes, steps].
      weights: [probes, steps], each row sums to 1.
      size: K', singular values that are not zero for the reason that their row or column is.
      total: K, all singular values.
      steps: J^T J products a probe.
    """

    nodes: Float[np.ndarray, "p s"]
    weights: Float[np.ndarray, "p s"]
    size: int
    total: int
    steps: int

    @property
    def zero_mass(self) -> float:
        return 1 - self.size / self.total if self.total else 0.0

    def mean(self, f: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        """(1/K') sum_i f(sigma_i) over the K' singular values, with its standard error over probes."""
        each = np.sum(self.weights * f(self.nodes), axis=1)
        return Estimate(float(each.mean()), float(standard_error(each)))


class Sampled(NamedTuple):
    """Random start vectors, in the space in which J or J^T has fewer rows and columns that are not zero.

    Attributes:
      start: [p, N], or [p, M] where `transposed`; 0 where columns (rows) of J are.
      transposed: whether they are for J^T.
      size: K', the number of entries that are not zero in each: of singular values that may not be 0.
      total: K = min(M, N).
    """

    start: Float[np.ndarray, "p n"]
    transposed: bool
    size: int
    total: int


def sample(rows: np.ndarray, columns: np.ndarray, probes: int, dtype: np.dtype, seed: int = 0) -> Sampled:
    """Normal vectors on the rows or columns of J that are not zero: those of which there are fewer."""
    transposed = rows.sum() < columns.sum()
    support = rows if transposed else columns
    start = np.where(support, linear.generator(seed).standard_normal((probes, support.size)), 0.0)
    return Sampled(start.astype(dtype), bool(transposed), int(support.sum()), min(rows.size, columns.size))


def quadrature(f, h, sampled: Sampled, *, steps: int) -> Quadrature:
    """One Gauss rule for every start vector, by matfree's bidiagonalisation.

    Without re-orthogonalisation: what rounding adds are copies of Ritz values that have converged, which share their
    weight, so that the rule stays as accurate (Greenbaum 1989).
    """
    probes = len(sampled.start)
    if sampled.size == 0:  # J is 0
        return Quadrature(np.zeros((probes, 1)), np.ones((probes, 1)), 0, sampled.total, 1)
    steps = min(steps, sampled.size)
    each = steps * (int(np.prod(np.shape(h))) + sampled.start.shape[1]) * sampled.start.itemsize
    require_memory(3 * each, f"{steps} Lanczos vectors of both sides", "fewer steps")
    group = min(probes, max(1, _GROUP_BYTES // each))
    rules = []
    for first in range(0, len(sampled.start), group):
        start = sampled.start[first : first + group]
        start = np.concatenate([start, np.ones((group - len(start), start.shape[1]), start.dtype)])[:group]
        alphas, betas = map(np.asarray, _bidiagonalise(f, h, start, steps, sampled.transposed))
        rules += [_gauss_rule(a, b) for a, b in zip(alphas, betas, strict=True)]
    nodes, weights = (np.stack(column)[: len(sampled.start)] for column in zip(*rules, strict=True))
    return Quadrature(nodes, weights, sampled.size, sampled.total, steps)


def smoothed(
    rule: Quadrature, *, bandwidth: float | None = None, grid: Float[np.ndarray, "g"] | None = None
) -> Density:
    """The density that quadrature rules give. By default the bandwidth is one whose bias is far below the peak."""
    degree = 2 * (2 * rule.steps - 1)  # in sigma: the rules are exact for even polynomials up to it
    top = MARGIN * float(rule.nodes.max(initial=0.0))
    bandwidth, grid = _defaults(top, degree, bandwidth, grid)
    share = 1 - rule.zero_mass
    each = np.stack(
        [
            share * kernel(grid, nodes, bandwidth) @ weights
            for nodes, weights in zip(rule.nodes, rule.weights, strict=True)
        ]
    )
    bias = 2 * share * np.abs(_coefficients(grid, bandwidth, top, degree)[:, degree // 2 + 1 :]).sum(axis=1)
    return Density(grid, each.mean(axis=0), standard_error(each), bias, bandwidth, rule.zero_mass)


def from_moments(
    moments: Float[np.ndarray, "p m"], top: float, *, size: int, total: int, bandwidth: float | None, grid
) -> Density:
    """The density by moments m_j = v^T T_j(2 J^T J / top^2 - I) v, the kernel expanded in the same polynomials.

    Raises ValueError where a moment exceeds 1: then `top` is below sigma_1.
    """
    moments = moments if size else np.zeros_like(moments)  # J is 0: no start vector could be normalised
    if np.abs(moments).max(initial=0.0) > 1 + 1e-3:
        raise ValueError(f"a Chebyshev moment exceeds 1: {top:.6g} is below the largest singular value")
    degree = 2 * (moments.shape[1] - 1)
    bandwidth, grid = _defaults(top, degree, bandwidth, grid)
    coefficients = _coefficients(grid, bandwidth, top, degree)
    share = size / total
    each = share * moments @ coefficients[:, : moments.shape[1]].T
    bias = share * np.abs(coefficients[:, moments.shape[1] :]).sum(axis=1)
    return Density(grid, each.mean(axis=0), standard_error(each), bias, bandwidth, 1 - share)


def rescaled(found: Density, twos: int) -> Density:
    """That of 2^twos J."""
    grid, bandwidth = linear.rescaled(found.grid, twos), float(linear.rescaled(np.float64(found.bandwidth), twos))
    density, error, bias = (linear.rescaled(a, -twos) for a in (found.density, found.standard_error, found.bias))
    return Density(grid, density, error, bias, bandwidth, found.zero_mass)


def require_bandwidth(bandwidth: float | None) -> None:
    """Raises ValueError for one that is not a finite number above 0."""
    if bandwidth is not None:
        check_number("bandwidth", bandwidth, lambda v: 0 < v < np.inf, "finite numbers above 0")


def kernel(grid: Float[np.ndarray, "g"], values: Float[np.ndarray, "k"], bandwidth: float) -> Float[np.ndarray, "g k"]:
    """phi_h(x - sigma) + phi_h(x + sigma) for every grid point x and singular value sigma."""
    difference, total = grid[:, None] - values, grid[:, None] + values
    scale = 1 / (bandwidth * np.sqrt(2 * np.pi))
    return scale * (np.exp(-0.5 * (difference / bandwidth) ** 2) + np.exp(-0.5 * (total / bandwidth) ** 2))


@partial(jax.jit, static_argnums=(4, 5))
@exact_products()
def chebyshev_moments(f, h, start: Float[jax.Array, "p n"], top, steps: int, transposed: bool):
    """m_0 .. m_(2 steps - 1), [p, 2 steps], of the normalised start vectors, from `steps` products with J^T J each."""
    matvec = _matvec(f, h, transposed)
    return jax.lax.map(lambda v: _moments(matvec, v / jnp.linalg.norm(v), top, steps), start)


def _moments(matvec, start, top, steps: int):
    transpose = jax.linear_transpose(matvec, start)

    def apply(t):
        return 2 * transpose(matvec(t))[0] / top**2 - t

    # T_(2j) = 2 T_j^2 - T_0, T_(2j+1) = 2 T_(j+1) T_j - T_1
    def step(carry, _):
        before, now = carry
        after = 2 * apply(now) - before
        return (now, after), jnp.stack([2 * (now @ now), 2 * (after @ now)])

    first = apply(start)
    _, pairs = jax.lax.scan(step, (start, first), length=steps - 1)
    m0, m1 = start @ start, first @ start
    return jnp.concatenate([jnp.stack([m0, m1]), (pairs - jnp.stack([m0, m1])[None]).ravel()])


def _matvec(f, h, transposed: bool):
    """J v, or J^T v, on flat vectors; f(h) is computed once."""
    value, push = jax.linearize(f, h)

    def forward(v):
        return jnp.ravel(push(v.reshape(h.shape)))

    if not transposed:
        return forward
    pull = jax.linear_transpose(forward, jnp.zeros(h.size, h.dtype))
    return lambda u: pull(u.astype(value.dtype))[0]


@partial(jax.jit, static_argnums=(3, 4))
@exact_products()
def _bidiagonalise(f, h, start, steps: int, transposed: bool):
    matvec = _matvec(f, h, transposed)
    return jax.vmap(lambda v: decomp.bidiag(steps, materialize=False, reortho="none")(matvec, v).J_small)(start)


def _gauss_rule(alphas: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of the bidiagonal matrix up to its first breakdown, and their vectors' first entries squared."""
    steps, eps = alphas.size, np.finfo(alphas.dtype).eps
    alphas, betas = alphas.astype(np.float64), np.append(betas, 0.0).astype(np.float64)
    scale = np.nanmax(np.concatenate([alphas, betas, [0.0]]))
    broken = ~(np.minimum(alphas, np.append(betas[:-1], np.inf)) > 100 * eps * scale)  # NaN after a breakdown as well
    kept = int(np.argmax(broken)) + 1 if broken.any() else steps
    last = np.nan_to_num(alphas[kept - 1])
    B = np.diag(np.append(alphas[: kept - 1], last)) + np.diag(betas[: kept - 1], 1)
    _, values, Vt = np.linalg.svd(B)
    nodes, weights = np.zeros(steps), np.zeros(steps)
    nodes[:kept], weights[:kept] = values, Vt[:, 0] ** 2
    return nodes, weights


def _defaults(top: float, degree: int, bandwidth: float | None, grid):
    # A Gaussian of width h has Chebyshev coefficients on [-a, a] that fall like exp(-(degree h / a)^2 / 2).
    bandwidth = bandwidth if bandwidth is not None else 5 * (top or 1.0) / max(degree, 1)
    require_bandwidth(bandwidth)
    return bandwidth, np.linspace(0, top + 3 * bandwidth, _GRID) if grid is None else np.asarray(grid, np.float64)


def _coefficients(grid: np.ndarray, bandwidth: float, top: float, degree: int) -> Float[np.ndarray, "g c"]:
    """c_j of the kernel as sum_j c_j T_(2j)(sigma / top), j = 0, 1, ..., to well beyond `degree` in sigma."""
    top = top or 1.0
    nodes = 2 ** int(np.ceil(np.log2(max(2 * degree, 16 * top / bandwidth, 64))))
    theta = np.pi * (np.arange(nodes) + 0.5) / nodes  # T_(2j)(cos(theta / 2)) = cos(j theta)
    values = kernel(grid, top * np.cos(theta / 2), bandwidth)
    coefficients = dct(values, type=2, axis=1) / nodes
    coefficients[:, 0] /= 2
    return coefficients


def standard_error(each: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis; infinite for one probe."""
    if each.shape[0] < 2:
        return np.full(each.shape[1:], np.inf)
    return each.std(axis=0, ddof=1) / np.sqrt(each.shape[0])

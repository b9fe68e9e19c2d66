"""The ends of the spectrum with bounds: Ritz values, and an inertia count that shows that none was missed.

Source: Parlett 1998, theorem 11.5.1: g orthonormal Ritz vectors of a symmetric matrix with residual matrix R have g
eigenvalues within ||R||_2 of their Ritz values. Where a count finds exactly g eigenvalues on that side of a gap, these
are they. The symmetric matrix is [[0, J], [J^T, 0]].
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float

from jaxgnn.jacobian.inertia import ShiftedFactor
from jaxgnn.jacobian.krylov import largest_ritz
from jaxgnn.jacobian.linear import generator
from jaxgnn.jacobian.sparse import Products

_ROUNDING = 50  # Ritz values are known to this many eps of the products' precision, times the largest
_GAP = 1e-6  # of the largest value: a narrower gap is not used for a count
_EXTRA = 8  # Ritz values beyond those asked for, to find a gap among

Factorise = Callable[[float], ShiftedFactor]


class Extremes(NamedTuple):
    """Singular values at one end of the spectrum, with bounds.

    Attributes:
      values: [k], descending for "largest", ascending for "smallest".
      lower: [k], lower[i] <= sigma_i. For "largest" always, by interlacing; for "smallest" where certified[i].
      upper: [k], upper[i] >= sigma_i. For "smallest" always; for "largest" where certified[i], elsewhere the value plus
        its residual: some singular value lies between them, but one above it may have been missed.
      certified: [k], whether an inertia count has shown that none was missed.
      null_dim: for "smallest", the number of singular values of at most `rank_tolerance`, by a count; else None.
      rank_tolerance: max(M, N) eps sigma_1, eps of the precision of the products; None for "largest".
      products: products with J and J^T that were spent.
    """

    values: Float[np.ndarray, "k"]
    lower: Float[np.ndarray, "k"]
    upper: Float[np.ndarray, "k"]
    certified: Bool[np.ndarray, "k"]
    null_dim: int | None = None
    rank_tolerance: float | None = None
    products: int = 0


def largest(
    products: Products, k: int, *, tolerance: float, max_products: int, factorise: Factorise | None
) -> Extremes:
    """The k largest; certified by one factorisation if `factorise` is given, in a gap at or before the k-th.

    Where the k-th lies in a cluster, those after the last gap before it have the shift itself as their upper bound.
    """
    k = min(k, *(int(np.prod(shape)) for shape in (products.inputs, products.outputs)))
    if k == 0:
        return _none()
    ritz = largest_ritz(products, k, tolerance=tolerance, max_products=max_products)
    rounding = _ROUNDING * float(np.finfo(products.dtype).eps) * ritz.values[0]
    # Above the value itself nothing is known of a Ritz value that has not converged: those go out with their residuals.
    values, slack = ritz.values, ritz.residuals + rounding
    upper, certified = values[:k] + slack[:k], np.zeros(k, bool)
    if factorise is not None and values[0] > 0:
        # Values that may be 0 are after the last gap: a shift is positive.
        known = int(np.argmin(np.append(values[:k] > 12 * slack[:k], False)))
        gaps = _gaps(values[: k + _EXTRA], slack[: k + _EXTRA], known)
        shift = gaps.shift
        factor = factorise(shift)
        together = float(np.linalg.norm(ritz.residuals[: gaps.before])) + rounding
        lowest = values[gaps.before - 1] - together if gaps.before else np.inf
        if factor.count == gaps.before and lowest > shift + factor.error:
            upper = np.where(np.arange(k) < gaps.before, values[:k] + together, shift + factor.error)
            certified[:] = True
    return Extremes(values[:k], values[:k] - rounding, upper, certified, products=ritz.products)


def smallest(J: sp.csr_matrix, k: int, *, rank_tolerance: float, top: float, factorise: Factorise) -> Extremes:
    """The k smallest above `rank_tolerance`, by Lanczos on (A - s I)^-1, s found by counts to lie just below them.

    `top` is sigma_1 or more. lower[i] is certified by a count above them; what is left after a last gap has the shift
    of that count as its lower bound.
    """
    size, (m, n) = min(J.shape), J.shape
    if rank_tolerance == 0:  # J is 0
        return _none()._replace(null_dim=size, rank_tolerance=0.0)
    at_zero = factorise(rank_tolerance)
    positive = at_zero.count
    safe = at_zero.error < 0.5 * rank_tolerance
    null_dim, k = size - positive, min(k, positive)
    if k == 0:
        return _none()._replace(null_dim=null_dim, rank_tolerance=rank_tolerance)
    # None lies between rank_tolerance and low, some between low and high.
    low, high, nearest = rank_tolerance, top, at_zero
    while high > 2 * low:
        middle = float(np.sqrt(low * high))
        factor = factorise(middle)
        if factor.count == positive:
            low, nearest = middle, factor
        else:
            high = middle
    A = sp.block_array([[None, J], [J.T, None]], format="csr")
    inverse = sp.linalg.LinearOperator(A.shape, nearest.solve, dtype=np.float64)
    wanted = min(k + _EXTRA, positive, m + n - 1)
    start = generator(0).standard_normal(m + n)
    ncv = min(m + n, max(3 * wanted, wanted + 40))
    values, X = sp.linalg.eigsh(A, wanted, sigma=nearest.shift, which="LA", OPinv=inverse, v0=start, ncv=ncv)
    order = np.argsort(values)
    values, X = values[order], np.linalg.qr(X[:, order])[0]
    residuals = A @ X - X * values
    rounding = _ROUNDING * np.finfo(np.float64).eps * top
    slack = np.linalg.norm(residuals, axis=0) + rounding
    together = float(np.linalg.norm(residuals[:, :k])) + rounding
    lower, certified = values[:k] - slack[:k], np.zeros(k, bool)
    if safe:
        # Values ascend here: the gap is found among their negatives, which descend.
        gaps = _gaps(-values, slack, k, relative_to=values[min(k, wanted - 1)])
        at_gap = factorise(-gaps.shift)
        highest = values[gaps.before - 1] + together if gaps.before else -np.inf
        if positive - at_gap.count == gaps.before and highest < at_gap.shift - at_gap.error:
            lower = np.where(np.arange(k) < gaps.before, values[:k] - together, at_gap.shift - at_gap.error)
            certified[:] = True
    return Extremes(values[:k], lower, values[:k] + together, certified, null_dim, rank_tolerance)


def from_all(
    values: Float[np.ndarray, "K"], k: int, shape: tuple[int, int], accuracy: float, dtype: np.dtype
) -> Extremes:
    """The k smallest of all singular values, descending, each wrong by at most `accuracy` of the largest."""
    top = float(values.max(initial=0.0))
    rank_tolerance = max(shape, default=0) * float(np.finfo(dtype).eps) * top
    kept = values[values > rank_tolerance][::-1][:k]
    error = max(accuracy, _ROUNDING * float(np.finfo(dtype).eps)) * top
    null_dim = int((values <= rank_tolerance).sum())
    return Extremes(kept, kept - error, kept + error, np.ones(kept.size, bool), null_dim, rank_tolerance)


class _Gap(NamedTuple):
    """A shift between values[before - 1] and values[before]."""

    before: int
    shift: float


def _gaps(values: np.ndarray, slack: np.ndarray, k: int, relative_to: float | None = None) -> _Gap:
    """The last gap at or before index k of descending values that are known up to their slack."""
    scale = abs(values[0]) if relative_to is None else abs(relative_to)
    for before in range(min(k, values.size), 0, -1):
        floor = values[before - 1] - slack[before - 1]
        ceiling = values[before] + slack[before] if before < values.size else floor - 10 * slack[before - 1]
        if floor - ceiling > _GAP * scale:
            # In the middle beyond the k-th; where values follow that are asked for, close to them.
            part = 0.5 if before >= k else 0.02
            return _Gap(before, float(ceiling + part * (floor - ceiling)))
    return _Gap(0, float(values[0] + 2 * slack[0] + _GAP * scale))


def _none() -> Extremes:
    return Extremes(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))

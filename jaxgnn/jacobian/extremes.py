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

from jaxgnn.data import saved
from jaxgnn.host.arrays import summary
from jaxgnn.jacobian import linear
from jaxgnn.jacobian.dense import ROUNDING, errors
from jaxgnn.jacobian.inertia import ShiftedFactor
from jaxgnn.jacobian.krylov import Ritz, largest_ritz
from jaxgnn.jacobian.sparse import Products

_GAP = 1e-6  # of the largest value: a narrower gap is not used for a count
_EXTRA = 8  # Ritz values beyond those asked for, to find a gap among

DOUBLE = float(np.finfo(np.float64).eps)

Factorise = Callable[[float], ShiftedFactor]


class Extremes(NamedTuple):
    """Singular values at one end of the spectrum, with bounds that count with `J.eps`.

    Where f computes in less precision than h has, J itself is known to no more than a multiple of that eps times
    sigma_1, and the bounds are as far apart.

    Attributes:
      values: [k], descending for "largest", ascending for "smallest".
      lower: [k], lower[i] <= sigma_i. For "largest" always, by interlacing; for "smallest" where certified[i].
      upper: [k], upper[i] >= sigma_i. For "smallest" always; for "largest" where certified[i], elsewhere the value plus
        its residual: some singular value lies between them, but one above it may have been missed.
      certified: [k], whether an inertia count has shown that none was missed.
      null_dim: for "smallest", the number of singular values of at most `rank_tolerance`, by a count; else None.
      rank_tolerance: max(M, N) eps sigma_1, eps = `J.eps`; None for "largest".
      products: products with J and J^T that were spent.
    """

    values: Float[np.ndarray, "k"]
    lower: Float[np.ndarray, "k"]
    upper: Float[np.ndarray, "k"]
    certified: Bool[np.ndarray, "k"]
    null_dim: int | None = None
    rank_tolerance: float | None = None
    products: int = 0

    save = saved.save

    def __repr__(self) -> str:
        return summary(self)


def largest(
    parts: list[Products],
    known: Float[np.ndarray, "j"],
    k: int,
    *,
    eps: float,
    tolerance: float,
    max_products: int,
    factorise: Factorise | None,
) -> Extremes:
    """The k largest of independent parts of J and of values that are known to about eps of the largest already.

    Certified by one factorisation if `factorise` is given, in a gap at or before the k-th. Where the k-th lies in a
    cluster, those after the last gap before it have the shift itself as their upper bound.
    """
    found = [Ritz(known, np.zeros(known.size), 0)]
    for part in parts:
        most = min(k, *(int(np.prod(shape)) for shape in (part.inputs, part.outputs)))
        if most:
            found.append(largest_ritz(part, most, tolerance=tolerance, max_products=max_products))
    order = np.argsort(-np.concatenate([ritz.values for ritz in found]), kind="stable")
    values, residuals = (np.concatenate([getattr(r, name) for r in found])[order] for name in ("values", "residuals"))
    ritz = Ritz(values, residuals, sum(r.products for r in found))
    k = min(k, values.size)
    if k == 0:
        return _none()
    rounding = ROUNDING * eps * ritz.values[0]
    # Above the value itself nothing is known of a Ritz value that has not converged: those go out with their residuals.
    values, slack = ritz.values, ritz.residuals + rounding
    upper, certified = values[:k] + slack[:k], np.zeros(k, bool)
    if factorise is not None and values[0] > 0:
        # Values that may be 0 are after the last gap: a shift is positive.
        positive = int(np.argmin(np.append(values[:k] > 12 * slack[:k], False)))
        gaps = _gaps(values[: k + _EXTRA], slack[: k + _EXTRA], positive)
        shift = gaps.shift
        factor = factorise(shift)
        together = float(np.linalg.norm(ritz.residuals[: gaps.before])) + rounding
        lowest = values[gaps.before - 1] - together if gaps.before else np.inf
        above = shift + factor.error + rounding  # the count is of entries that are known to as much
        if factor.count == gaps.before and lowest > above:
            upper = np.where(np.arange(k) < gaps.before, values[:k] + together, above)
            certified[:] = True
    return Extremes(values[:k], values[:k] - rounding, upper, certified, products=ritz.products)


def smallest(
    J: sp.csr_matrix, k: int, *, rank_tolerance: float, top: float, factorise: Factorise, eps: float = DOUBLE
) -> Extremes:
    """The k smallest above `rank_tolerance`: counts find a shift s with k or a few more below, Lanczos finds those.

    `top` is sigma_1 or more, J's entries are known to eps of it. Of (A - s I)^-1, the eigenvalues below -1/s belong to
    the values from 0 to s; there are as many as the counts at the two ends differ by, so that none can be missed.
    Values that no shift tells apart have the two shifts around them as their bounds.
    """
    size = min(J.shape)
    if rank_tolerance == 0:  # J is 0
        return _none()._replace(null_dim=size, rank_tolerance=0.0)
    at_zero = factorise(rank_tolerance)
    positive = at_zero.count
    null_dim, k = int(size - positive), min(k, positive)
    if k == 0:
        return _none()._replace(null_dim=null_dim, rank_tolerance=rank_tolerance)
    below, above = _around(k, positive, at_zero, top, factorise)
    near = above if above.before <= _several(k) else below
    rounding = ROUNDING * eps * top
    values, together = _between(J, near, rank_tolerance, rounding) if near.before else (np.zeros(0), 0.0)
    sure = at_zero.error < 0.5 * rank_tolerance
    sure &= near.before == 0 or bool(values[-1] + together < near.shift - near.error)
    # Those that Lanczos found, and those of which only the shifts around them are known.
    found, rest = values[:k], np.ones(max(k - values.size, 0))
    return Extremes(
        np.concatenate([found, 0.5 * (below.shift + above.shift) * rest]),
        np.concatenate([found - together, (below.shift - below.error - rounding) * rest]),
        np.concatenate([found + together, (above.shift + above.error + rounding) * rest]),
        np.full(k, sure),
        null_dim,
        rank_tolerance,
    )


class _Shift(NamedTuple):
    """A factorised shift, and the number of singular values between the rank tolerance and it."""

    factor: ShiftedFactor | None
    shift: float
    before: int

    @property
    def error(self) -> float:
        return self.factor.error if self.factor else 0.0


def _several(k: int) -> int:
    return 3 * k + 20


def _around(k: int, positive: int, at_zero: ShiftedFactor, top: float, factorise: Factorise) -> tuple[_Shift, _Shift]:
    """Two shifts, fewer than k singular values before the first, k or more before the second: few more, if possible.

    From above by factors of 4, where factorising is cheap, then by halves.
    """
    below, above = _Shift(at_zero, at_zero.shift, 0), _Shift(None, 1.01 * top, positive)
    while above.before > _several(k) and above.shift > (1 + _GAP) * below.shift:
        shift = max(above.shift / 4, float(np.sqrt(below.shift * above.shift)))
        factor = factorise(shift)
        tried = _Shift(factor, shift, positive - factor.count)
        below, above = (below, tried) if tried.before >= k else (tried, above)
    if above.factor is None:  # all of them are wanted
        above = above._replace(factor=factorise(above.shift))
    return below, above


def _between(J: sp.csr_matrix, at: _Shift, rank_tolerance: float, rounding: float) -> tuple[np.ndarray, float]:
    """The `before` singular values between the rank tolerance and a shift, ascending, and their joint residual."""
    A = sp.block_array([[None, J], [J.T, None]], format="csr")
    assert at.factor is not None
    inverse = sp.linalg.LinearOperator(A.shape, at.factor.solve, dtype=np.float64)
    start = linear.generator(0).standard_normal(A.shape[0])
    ncv = min(A.shape[0], max(3 * at.before, at.before + 40))
    values, X = sp.linalg.eigsh(A, at.before, sigma=at.shift, which="SA", OPinv=inverse, v0=start, ncv=ncv)
    order = np.argsort(values)
    values, X = values[order], np.linalg.qr(X[:, order])[0]
    residual = float(np.linalg.norm(A @ X - X * values))
    # A value that Lanczos took twice, or took from the null space, would belong to no singular value here.
    residual = residual if values[0] > rank_tolerance else np.inf
    return values, residual + rounding


def from_all(values: Float[np.ndarray, "K"], k: int, shape: tuple[int, int], eps: float) -> Extremes:
    """The k smallest of all singular values, descending, of `dense.singular_values` and entries known to eps.

    Not certified where a value is so near the rank tolerance, within half of it, that rounding decides on its side.
    """
    rank_tolerance = max(shape, default=0) * eps * float(values.max(initial=0.0))
    kept = values > rank_tolerance
    error = errors(values, eps)[kept][::-1][:k]
    null_dim, sure = int((~kept).sum()), not (np.abs(values - rank_tolerance) < 0.5 * rank_tolerance).any()
    found = values[kept][::-1][:k]
    return Extremes(found, found - error, found + error, np.full(found.size, sure), null_dim, rank_tolerance)


def rescaled(found: Extremes, twos: int) -> Extremes:
    """Those of 2^twos J."""
    times = {name: linear.rescaled(getattr(found, name), twos) for name in ("values", "lower", "upper")}
    tolerance = found.rank_tolerance
    if tolerance is not None:
        tolerance = float(linear.rescaled(np.float64(tolerance), twos))
    return found._replace(**times, rank_tolerance=tolerance)


class _Gap(NamedTuple):
    """A shift between values[before - 1] and values[before]."""

    before: int
    shift: float


def _gaps(values: np.ndarray, slack: np.ndarray, k: int) -> _Gap:
    """The last gap at or before index k of descending values that are known up to their slack."""
    scale = values[0]
    for before in range(min(k, values.size), 0, -1):
        floor = values[before - 1] - slack[before - 1]
        ceiling = values[before] + slack[before] if before < values.size else floor - 10 * slack[before - 1]
        if floor - ceiling > _GAP * scale:
            # In the middle beyond the k-th; where values follow that are asked for, close to them.
            part = 0.5 if before >= k else 0.02
            return _Gap(before, float(ceiling + part * (floor - ceiling)))
    return _Gap(0, float(values[0] + max(10 * slack[0], 1e-10 * scale)))


def _none() -> Extremes:
    return Extremes(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))

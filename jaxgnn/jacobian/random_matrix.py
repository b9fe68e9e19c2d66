"""Random-matrix theory: the law of a linear layer's singular values when its weights are random.

For W [d, e] with independent entries of mean 0 and one variance, the squared singular values follow the
Marchenko-Pastur law as d and e grow; those of the layer P X W are a mixture of it over the singular values of P
(Arroyo et al. 2025, Lemma 3.1 and Theorem 3.2).
"""

from dataclasses import dataclass

import numpy as np
import scipy.special
from jaxtyping import Float

from jaxgnn.graphs.propagation import Propagation
from jaxgnn.host.options import check_number, check_whole, is_number, shown
from jaxgnn.jacobian import dense

_PIECE = 2**20  # pairs (x, lambda_i) worked on at once


@dataclass(frozen=True, eq=False)
class SingularValueLaw:
    """A law of singular values x >= 0: an atom at 0 and an equal mixture of scaled Marchenko-Pastur laws.

    x = scales[i] y, where y^2 has the Marchenko-Pastur law of mean 1: r = sqrt(ratio) and 1 - r <= y <= 1 + r.

    Attributes:
      scales: [k], positive, descending: lambda_i sqrt(variance max(d, e)).
      ratio: min(d, e) / max(d, e), in (0, 1].
      zero_mass: probability of x = 0; the other 1 - zero_mass is shared equally by the scales.
    """

    scales: Float[np.ndarray, "k"]
    ratio: float
    zero_mass: float

    @property
    def support(self) -> tuple[float, float]:
        """The interval that holds all of the mass but the atom; (0, 0) where the atom is everything."""
        r = np.sqrt(self.ratio)
        return (float((1 - r) * self.scales[-1]), float((1 + r) * self.scales[0])) if self.scales.size else (0.0, 0.0)

    @property
    def mean_square(self) -> float:
        """E x^2: ||J||_F^2 over the number of singular values, exact in expectation at any width."""
        return self.moment_square(1)

    @property
    def variance_square(self) -> float:
        """Var x^2; for square W and P = I it is sigma^4 (Arroyo et al. 2025, Theorem 3.2, with lambda_i = 1)."""
        return self.moment_square(2) - self.moment_square(1) ** 2

    def moment_square(self, order: int) -> float:
        """E x^(2 order) for order >= 0."""
        if not is_number(order) or not 0 <= order < np.inf or order != int(order):
            raise ValueError(f"order={shown(order)}: allowed are integers from 0")
        if order == 0 or not self.scales.size:
            return float(order == 0)
        # E y^(2 p) = sum_(j < p) ratio^j binom(p, j) binom(p - 1, j) / (j + 1)
        j = np.arange(order)
        terms = self.ratio**j * scipy.special.comb(order, j) * scipy.special.comb(order - 1, j) / (j + 1)
        return float((1 - self.zero_mass) * terms.sum() * np.mean(self.scales ** (2.0 * order)))

    def density(self, x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Density at x of the part without the atom; its integral is 1 - zero_mass.

        At x = 0 the limit from the right, which is positive for square W.
        """
        # p(y) = sqrt(((1 + r)^2 - y^2) (y^2 - (1 - r)^2)) / (pi r^2 y)
        r = np.sqrt(self.ratio)

        def mixed(x, scales):
            y = x / scales
            lower = np.full_like(y, float(r < 1))  # (1 - r) / y, and its limit at y = 0
            np.divide(1 - r, y, out=lower, where=y > 0)
            square = (1 + r - y) * (1 + r + y) * (1 - lower) * (1 + lower)
            inside = (y >= 1 - r) & (y <= 1 + r)
            return np.sqrt(np.where(inside | np.isnan(y), square, 0.0).clip(0)) / (np.pi * self.ratio * scales)

        return (1 - self.zero_mass) * self._mean(mixed, x)

    def cdf(self, x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """P(X <= x), in closed form: absolute error at most 1e-12 for ratio >= 1e-6 (1e-15 for square W)."""
        x = np.asarray(x, np.float64)
        value = self.zero_mass + (1 - self.zero_mass) * self._mean(lambda x, s: _cdf(x / s, np.sqrt(self.ratio)), x)
        return np.where(x >= 0, value, np.where(np.isnan(x), np.nan, 0.0))

    def quantile(self, q: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """The smallest x with cdf(x) >= q, for q in [0, 1]; by bisection, to the last bits of the support's edge."""
        q = np.asarray(q, np.float64)
        if not ((q >= 0) & (q <= 1)).all():
            raise ValueError("q: allowed are probabilities in [0, 1]")
        low, high = np.zeros_like(q), np.full_like(q, self.support[1])
        for _ in range(54):
            middle = (low + high) / 2
            reached = self.cdf(middle) >= q
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return np.where(q <= self.zero_mass, 0.0, high)

    def _mean(self, function, x) -> np.ndarray:
        """Mean over the scales of function(x, scales), in pieces of x; 0 without scales."""
        x = np.asarray(x, np.float64)
        if not self.scales.size:
            return np.where(np.isnan(x), x, 0.0)
        flat, step = x.reshape(-1, 1), max(1, _PIECE // self.scales.size)
        pieces = [function(flat[i : i + step], self.scales).mean(axis=1) for i in range(0, flat.size, step)]
        return np.concatenate([np.zeros(0), *pieces]).reshape(x.shape)


def marchenko_pastur(*, shape: tuple[int, int], variance: float, size: int | None = None) -> SingularValueLaw:
    """The law of the singular values of W [d, e] with independent entries of mean 0, `linear_layer_law` with P = 1.

    Glorot weights have variance 2 / (d + e), weights scaled by fan-in 1 / d. Marchenko & Pastur 1967.
    """
    return linear_layer_law(np.ones((1, 1)), shape=shape, variance=variance, size=size)


def linear_layer_law(
    P: Propagation | Float[np.ndarray, "m n"] | Float[np.ndarray, "n"],
    *,
    shape: tuple[int, int],
    variance: float,
    size: int | None = None,
) -> SingularValueLaw:
    """The law of the singular values of X -> P X W for W of independent entries, as d and e grow at one ratio.

    Each singular value lambda_i of P contributes lambda_i times those of W: with square W and variance sigma^2 / d,
    squares of mean lambda_i^2 sigma^2, variance lambda_i^4 sigma^4 and upper edge 4 sigma^2 lambda_i^2.

    Args:
      P: [m, n]; or, for square P, its n singular values alone (of a symmetric P the eigenvalues will do).
      shape: (d, e) of W.
      variance: of each entry of W.
      size: number of singular values that the law describes, zeros included. Default: min(m e, n d), those that
        J.singular_values() returns; m e gives the eigenvalues of J J^T, n d those of J^T J.

    Raises ValueError for shapes, variances or entries that are out of range, or a `size` below rank(P) min(d, e).
    Source: Arroyo et al. 2025, Theorem 3.2, with P's singular values for its eigenvalues.
    """
    d, e = sizes = tuple(shape) if np.size(shape) == 2 else (0, 0)
    if not all(is_number(v) and 1 <= v < np.inf and v == int(v) for v in sizes):
        raise ValueError(f"shape={shape}: allowed are two integers from 1")
    check_number("variance", variance, lambda v: 0 <= v < np.inf, "finite numbers from 0")
    if size is not None:
        check_whole("size", size)
    lambdas, (m, n) = _singular_values(P)
    # As for the rank of a matrix: what is below max(m, n) eps lambda_1 is 0.
    kept = lambdas[lambdas > max(m, n) * np.finfo(np.float64).eps * lambdas.max(initial=0.0)]
    scales = np.sort(kept)[::-1] * np.sqrt(variance * max(d, e))
    scales = scales[scales > 0]
    size = min(m * e, n * d) if size is None else size
    count = scales.size * min(d, e)
    if size < max(count, 1):
        raise ValueError(
            f"size={size}: the layer has {count} singular values that are not 0, and a law needs one value"
        )
    return SingularValueLaw(scales, min(d, e) / max(d, e), 1 - count / size)


def kolmogorov_smirnov(
    values: Float[np.ndarray, "k"], law: SingularValueLaw, *, tolerance: float | None = None
) -> float:
    """sup_x |F_k(x) - F(x)| between the measured singular values' distribution F_k and a law's.

    Values up to tolerance times the largest count as 0; the default tolerance is k eps, as for the rank of a k x k
    matrix. For random W of width d it falls like log(d) / d, not like 1 / sqrt(d): singular values repel.
    Raises ValueError for no values, or negative or not finite ones.
    """
    values = np.asarray(values, np.float64).ravel()
    if not values.size or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError("values: allowed are one or more finite singular values >= 0")
    if tolerance is not None:
        check_number("tolerance", tolerance, lambda v: v >= 0, "numbers of 0 and more")
    tolerance = values.size * np.finfo(np.float64).eps if tolerance is None else tolerance
    values = np.sort(np.where(values <= tolerance * values.max(), 0.0, values))
    # Between jumps F_k is constant and F rises, so the supremum is a limit at a jump, from the right or the left.
    x = np.union1d(values, 0.0)
    right = law.cdf(x)
    left = np.where(x > 0, right, 0.0)
    measured_right = np.searchsorted(values, x, side="right") / values.size
    measured_left = np.searchsorted(values, x, side="left") / values.size
    return float(np.maximum(np.abs(measured_right - right), np.abs(measured_left - left)).max())


def _cdf(y: np.ndarray, r: float) -> np.ndarray:
    """P(Y <= y) for Y^2 of the Marchenko-Pastur law of mean 1 and ratio r^2."""
    # y^2 = 1 + r^2 - 2 r cos t gives dF = (2 / pi) sin(t)^2 / (1 + r^2 - 2 r cos t) dt. Its integral from 0 is
    # (t + phi - (phi - r sin t) / r^2) / pi, where phi = sum_(j >= 1) r^j sin(j t) / j = arg(1 / (1 - r e^(i t))).
    lower = ((y - (1 - r)) * (y + (1 - r))).clip(0)
    upper = ((1 + r - y) * (1 + r + y)).clip(0)
    t = 2 * np.arctan2(np.sqrt(lower), np.sqrt(upper))
    phi = np.arctan2(r * np.sin(t), 1 - r * np.cos(t))
    if r > 0.1:
        rest = (phi - r * np.sin(t)) / r**2
    else:  # the same sum from j = 2, where the difference would cancel
        rest = sum(r ** (j - 2) * np.sin(j * t) / j for j in range(2, 20))
    return (t + phi - rest) / np.pi


def _singular_values(P) -> tuple[np.ndarray, tuple[int, int]]:
    """P's singular values and shape; moduli, of what is one-dimensional."""
    P = P.dense() if isinstance(P, Propagation) else np.asarray(P, np.float64)
    if P.ndim not in (1, 2):
        raise ValueError(f"P of shape {P.shape}: allowed are a matrix [m, n] and its singular values [n]")
    if not np.isfinite(P).all():
        raise ValueError("P has entries that are NaN or infinite")
    return (np.abs(P), (P.size, P.size)) if P.ndim == 1 else (dense.singular_values(P), P.shape)

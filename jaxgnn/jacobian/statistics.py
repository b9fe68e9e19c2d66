"""Numbers that sum a spectrum up: Schatten norms, log-determinant, condition number, dynamical isometry."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgnn.data import saved
from jaxgnn.host.options import check_number
from jaxgnn.jacobian.dense import errors
from jaxgnn.jacobian.density import Estimate, Quadrature, standard_error
from jaxgnn.jacobian.linear import rescaled


class Statistics(NamedTuple):
    """Of the K = min(M, N) singular values, each with its error: a bound of the rounding, or one standard error.

    Attributes:
      mean_square: (1/K) sum_i sigma_i^2, 1 under dynamical isometry.
      variance_square: of sigma_i^2 over i, 0 under dynamical isometry.
      nuclear, frobenius: Schatten norms of order 1 and 2.
      spectral: sigma_1.
      mean_log: mean of log sigma_i over the singular values above `rank_tolerance`: the log-determinant per dimension
        where null_dim is 0.
      condition: sigma_1 / the smallest singular value above `rank_tolerance`.
      null_dim: singular values of at most `rank_tolerance`.
      rank_tolerance: max(M, N) eps sigma_1, eps of the precision of the products.
    null_dim counts as its error the values so near the tolerance, within half of it, that rounding decides.
    The squares are infinite, or 0, where they leave the range of numbers; nothing else is affected.

    Source: Pennington, Schoenholz & Ganguli 2017 (dynamical isometry).
    """

    mean_square: Estimate
    variance_square: Estimate
    nuclear: Estimate
    frobenius: Estimate
    spectral: Estimate
    mean_log: Estimate
    condition: Estimate
    null_dim: Estimate
    rank_tolerance: float

    save = saved.save


def schatten(values: Float[np.ndarray, "k"], p: float) -> float:
    """(sum_i sigma_i^p)^(1/p); the largest for p = inf. Raises ValueError for p below 1."""
    check_number("p", p, lambda v: v >= 1, "1 and more, and infinity")
    largest = float(values.max(initial=0.0))
    if largest == 0 or np.isinf(p):
        return largest
    return largest * float(np.sum((values / largest) ** p) ** (1 / p))


def exact(values: Float[np.ndarray, "k"], shape: tuple[int, int], eps: float) -> Statistics:
    """From all singular values, of `dense.singular_values` and entries known to eps: errors follow to first order."""
    values, twos = _near_one(values)
    count, top = max(values.size, 1), float(values.max(initial=0.0))
    tolerance = max(shape, default=0) * eps * top
    error, near = errors(values, eps), np.abs(values - tolerance) < 0.5 * tolerance
    kept, kept_error = values[values > tolerance], error[values > tolerance]
    squares = values**2
    mean = float(squares.sum() / count)
    # d Var = (4 / K) sum_i (sigma_i^2 - mean) sigma_i e_i, and Var (2 sigma e) where that is 0
    variance_error = 4 * float(np.sum(np.abs(squares - mean) * values * error + (values * error) ** 2)) / count
    lowest = float(kept.min(initial=np.inf))
    condition = top / lowest if kept.size else np.nan
    found = Statistics(
        mean_square=Estimate(mean, 2 * float(np.sum(error * values)) / count),
        variance_square=Estimate(float(((squares - mean) ** 2).sum() / count), variance_error),
        nuclear=Estimate(schatten(values, 1), float(error.sum())),
        frobenius=Estimate(schatten(values, 2), float(np.sqrt(np.sum(error**2)))),
        spectral=Estimate(top, float(error.max(initial=0.0))),
        mean_log=Estimate(float(np.log(kept).mean()), float((kept_error / kept).mean())) if kept.size else _UNKNOWN,
        condition=Estimate(condition, condition * float(kept_error[-1] / lowest + kept_error[0] / top))
        if kept.size
        else _UNKNOWN,
        null_dim=Estimate(float(values.size - kept.size), float(near.sum())),
        rank_tolerance=tolerance,
    )
    return _rescaled(found, twos)


def stochastic(rule: Quadrature, shape: tuple[int, int], eps: float) -> Statistics:
    """From quadrature rules. Unbiased: the means of powers 2 and 4; the others also miss what few steps do not resolve.

    null_dim and mean_log count what lies below the rank tolerance, which few steps reach only where zero is isolated.
    The smallest node above it may stand for zeros: what it adds is added to their errors, beside the standard error.
    sigma_1 is a lower bound and the condition number unknown: `extremes` has them.
    """
    nodes, twos = _near_one(rule.nodes)
    rule = rule._replace(nodes=nodes)
    share, total = 1 - rule.zero_mass, rule.total
    top = float(rule.nodes.max(initial=0.0))
    tolerance = max(shape) * eps * top
    square, fourth = rule.mean(lambda s: share * s**2), rule.mean(lambda s: share * s**4)
    variance = fourth.value - square.value**2
    # Errors of ratios and differences are those of their linearisation, probe by probe.
    variance_error = rule.mean(lambda s: share * (s**4 - 2 * square.value * s**2)).error
    kept = np.where(rule.nodes > tolerance, rule.weights, 0.0)
    rest = _without_lowest(rule, kept)
    counted, mean_log = (_less_sure(number, rule.nodes, kept, rest) for number in (_share, _mean_log))
    nuclear = rule.mean(lambda s: share * total * s)
    frobenius = float(np.sqrt(total * square.value))
    found = Statistics(
        mean_square=square,
        variance_square=Estimate(variance, variance_error),
        nuclear=nuclear,
        frobenius=Estimate(frobenius, 0.5 * frobenius * square.error / square.value if square.value else 0.0),
        spectral=Estimate(top, np.nan),
        mean_log=mean_log,
        condition=_UNKNOWN,
        null_dim=Estimate(total - share * total * counted.value, share * total * counted.error),
        rank_tolerance=tolerance,
    )
    return _rescaled(found, twos)


def _share(nodes: np.ndarray, weights: np.ndarray) -> Estimate:
    """The weight of all nodes."""
    each = weights.sum(axis=1)
    return Estimate(float(each.mean()), float(standard_error(each)))


def _mean_log(nodes: np.ndarray, weights: np.ndarray) -> Estimate:
    """Mean of the nodes' logarithms; the error of a ratio is that of its linearisation."""
    if not weights.any():
        return _UNKNOWN
    logs = np.log(np.where(weights > 0, nodes, 1.0))
    share = weights.sum(axis=1).mean()
    value = float(np.sum(weights * logs, axis=1).mean() / share)
    return Estimate(value, float(standard_error(np.sum(weights * (logs - value), axis=1)) / share))


def _without_lowest(rule: Quadrature, kept: np.ndarray) -> np.ndarray:
    """The weights that are kept without that of the smallest node; all of a rule that is exhausted, and so exact."""
    rest, first = kept.copy(), np.argmin(np.where(kept > 0, rule.nodes, np.inf), axis=1)
    exhausted = ((rule.nodes == 0) & (rule.weights == 0)).any(axis=1)
    rest[np.flatnonzero(~exhausted), first[~exhausted]] = 0.0
    return rest


def _less_sure(number: Callable[..., Estimate], nodes: np.ndarray, weights: np.ndarray, fewer: np.ndarray) -> Estimate:
    """The number, with what fewer weights make of it added to its error."""
    found, without = number(nodes, weights), number(nodes, fewer)
    return Estimate(found.value, abs(found.value - without.value) + max(found.error, without.error))


def _near_one(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Values times a power of two, their largest from 1/2 to 1, and that power's negative."""
    twos = int(np.frexp(values.max(initial=0.0))[1])
    return rescaled(values, -twos), twos


def _rescaled(found: Statistics, twos: int) -> Statistics:
    """Those of the singular values times 2^twos."""

    def times(estimate: Estimate, power: int) -> Estimate:
        value, error = (float(rescaled(np.float64(number), power * twos)) for number in estimate)
        # An error that is below the range of numbers is not 0: the value has lost as much.
        return Estimate(value, np.nextafter(0.0, 1.0) if error == 0 < estimate.error else error)

    return found._replace(
        mean_square=times(found.mean_square, 2),
        variance_square=times(found.variance_square, 4),
        nuclear=times(found.nuclear, 1),
        frobenius=times(found.frobenius, 1),
        spectral=times(found.spectral, 1),
        mean_log=Estimate(found.mean_log.value + twos * float(np.log(2)), found.mean_log.error),
        rank_tolerance=float(rescaled(np.float64(found.rank_tolerance), twos)),
    )


_UNKNOWN = Estimate(float("nan"), float("nan"))

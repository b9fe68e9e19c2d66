"""Effects with their 95% intervals: means, bootstraps over runs, clusters and strata, rank correlations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

RESAMPLES = 2000


class Interval(NamedTuple):
    """An estimate and its 95% interval; NaN ends where there is none."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 3) -> str:
        if not np.isfinite(self.value):
            return "not finite"
        ends = ", ".join(f"{end:.{digits}f}" for end in (self.low, self.high))
        return f"{self.value:.{digits}f}" + (f" [{ends}]" if np.isfinite([self.low, self.high]).all() else "")


def mean_interval(values: Float[np.ndarray, "k"]) -> Interval:
    """The mean of the finite values with Student's 95% interval; without ends for fewer than two."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if values.size < 2:
        return Interval(float(values[0]) if values.size else np.nan, np.nan, np.nan)
    half = stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def bootstrap(
    statistic: Callable[..., float],
    *columns: Float[np.ndarray, "k ..."],
    clusters: Any = None,
    strata: Any = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """statistic(*columns) with its 95% percentile interval, rows drawn with replacement.

    clusters: [k] labels; rows of one label are drawn together, for labels that are a sample of more. strata: [k]
    labels; rows are drawn within each, for labels that are all there are. Source: Efron 1979; Davison & Hinkley 1997,
    sections 3.2 and 3.8.
    """
    columns = tuple(np.asarray(column) for column in columns)
    labels = np.arange(len(columns[0])) if clusters is None else np.asarray(clusters)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    within = [] if strata is None else [np.flatnonzero(strata == label) for label in np.unique(strata)]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        if within:
            rows = np.concatenate([rng.choice(part, part.size) for part in within])
        else:
            rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        drawn.append(statistic(*(column[rows] for column in columns)))
    finite = np.asarray(drawn)[np.isfinite(drawn)]
    low, high = np.percentile(finite, (2.5, 97.5)) if finite.size else (np.nan, np.nan)
    return Interval(float(statistic(*columns)), float(low), float(high))


def spearman(a: Float[np.ndarray, "k"], b: Float[np.ndarray, "k"], *given: Float[np.ndarray, "k"]) -> float:
    """Spearman's rank correlation; with `given`, of what linear regression on their ranks leaves of the ranks.

    Infinities rank as what they are. NaN where a rank is constant, or nothing of it is left.
    """
    ranks = np.stack([stats.rankdata(column) for column in (a, b, *given)], axis=1)
    X = np.column_stack([np.ones(len(ranks)), ranks[:, 2:]])
    Y = ranks[:, :2]
    rest = Y - X @ np.linalg.lstsq(X, Y, rcond=None)[0]
    length = np.linalg.norm(rest, axis=0)
    if (length <= 1e-9 * np.linalg.norm(Y, axis=0)).any():
        return np.nan
    return float(np.prod(rest / length, axis=1).sum())

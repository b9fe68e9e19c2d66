"""`jaxgnn.compare`: paired differences of results over seeds, with intervals for as many as are compared."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxgnn.host.options import check_known
from jaxgnn.training.result import TrainResult

Of = Literal["score", "val_score", "train_loss"]


class Difference(NamedTuple):
    """What one result has more than the reference, over the runs that both have.

    Attributes:
      name, reference: of the two.
      mean: of the differences, run by run.
      low, high: 95% interval, Student's, at level 0.05 / comparisons (Bonferroni): all of them hold at once with 95%.
      p: two-sided, of a mean of 0, times the comparisons and at most 1; NaN where runs differ by nothing.
      runs: pairs.
    """

    name: str
    reference: str
    mean: float
    low: float
    high: float
    p: float
    runs: int

    @property
    def differs(self) -> bool:
        """Whether the interval leaves 0 out."""
        return bool(self.low > 0 or self.high < 0)


class Comparison(NamedTuple):
    """Results side by side.

    Attributes:
      of: "score", "val_score" or "train_loss".
      means: mean of each result's runs by name.
      differences: of every other result from the reference.
    """

    of: str
    means: dict[str, float]
    differences: tuple[Difference, ...]

    def __repr__(self) -> str:
        lines = [f"{d.name} less {d.reference}: {d.mean:.4g} [{d.low:.4g}, {d.high:.4g}]" for d in self.differences]
        means = ", ".join(f"{name} {mean:.4g}" for name, mean in self.means.items())
        return f"Comparison({self.of}: {means}; 95% intervals for {len(lines)} together:\n  " + "\n  ".join(lines) + ")"


def compare(
    results: Mapping[str, Any] | Sequence[Any], *, reference: str | int | None = None, of: Of = "score"
) -> Comparison:
    """Differences of each result from a reference, paired by run: run i of all has the same seed or split.

    Args:
      results: TrainResults, or numbers [runs], by name, or in a row, where the names are "0", "1", ...
      reference: the name or place of the one that others are compared with; the first by default.
      of: what of a TrainResult is compared.

    Raises ValueError for fewer than two results, ones of different numbers of runs or of one run, a reference that is
    not there, and runs that are not finite (which failed: `result.failed`), since no difference is known of them.
    """
    check_known("of", of, get_args(Of))
    named = dict(results) if isinstance(results, Mapping) else {str(i): one for i, one in enumerate(results)}
    if len(named) < 2:
        raise ValueError(f"{len(named)} results: two at least are compared")
    values = {name: _values(name, one, of) for name, one in named.items()}
    first = next(iter(values)) if reference is None else str(reference)
    if first not in values:
        raise ValueError(f"reference={reference!r} is not among the results: allowed are {', '.join(values)}")
    sizes = {name: v.size for name, v in values.items()}
    if len(set(sizes.values())) > 1 or min(sizes.values()) < 2:
        said = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"pairs need as many runs of each, and two at least: {said}")
    others = [name for name in values if name != first]
    found = [_difference(name, first, values[name] - values[first], len(others)) for name in others]
    return Comparison(of, {name: float(v.mean()) for name, v in values.items()}, tuple(found))


def _difference(name: str, reference: str, d: Float[np.ndarray, "k"], comparisons: int) -> Difference:
    error = d.std(ddof=1) / np.sqrt(d.size)
    half = stats.t.ppf(1 - 0.025 / comparisons, d.size - 1) * error
    p = min(1.0, comparisons * 2 * stats.t.sf(abs(d.mean()) / error, d.size - 1)) if error > 0 else np.nan
    return Difference(name, reference, float(d.mean()), float(d.mean() - half), float(d.mean() + half), p, d.size)


def _values(name: str, one: Any, of: Of) -> Float[np.ndarray, "k"]:
    values = np.asarray(getattr(one, of) if isinstance(one, TrainResult) else one, np.float64)
    if values.ndim != 1:
        raise ValueError(
            f"{name} has shape {values.shape}: a TrainResult of several runs, or numbers [runs], is needed"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {int((~np.isfinite(values)).sum())} of {values.size} runs are not finite")
    return values

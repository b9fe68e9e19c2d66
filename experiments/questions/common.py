"""What the studies share: every layer's norm and mu, rates per layer, intervals, rank correlations, the command."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.tree_util import Partial
from jaxtyping import Float
from scipy import stats

import jaxgnn as jg
from jaxgnn.data.dataset import Dataset
from jaxgnn.host.storage import writable_folder

DEPTH_RATE = 0.02  # a change of 2% a layer, a factor of 3.6 over 64 layers: what the verdicts count as one
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


class Layers(NamedTuple):
    """Of X^(l) and of G^(l), l = 0 .. L: ||.||_F and mu, each [runs, L+1]."""

    feature_norm: Float[np.ndarray, "runs L+1"]
    feature_mu: Float[np.ndarray, "runs L+1"]
    gradient_norm: Float[np.ndarray, "runs L+1"]
    gradient_mu: Float[np.ndarray, "runs L+1"]

    @property
    def gradient_relative(self) -> Float[np.ndarray, "runs L+1"]:
        """mu(G^(l)) / ||G^(l)||_F; NaN where G^(l) is 0 or not finite."""
        return _ratio(self.gradient_mu, self.gradient_norm)

    @property
    def feature_relative(self) -> Float[np.ndarray, "runs L+1"]:
        """mu(X^(l)) / ||X^(l)||_F."""
        return _ratio(self.feature_mu, self.feature_norm)


def measured(model: jg.DeepGNN, params: Any, task: Any) -> Layers:
    """Norm and mu at every layer for the loss of the task's first batch; `params` have a leading axis of runs."""
    return Layers(*map(np.asarray, _measured(model, params, task)))


@partial(jax.jit, static_argnums=0)
def _measured(model: jg.DeepGNN, params: Any, task: Any) -> Layers:
    batch = task.batch(jax.random.key(0), 0)

    def of_run(params):
        trace = jg.probe(model, params, batch.graph, batch.x, Partial(_loss, batch))
        signals = trace.features, trace.feature_grads
        values = (jax.vmap(partial(scaled, f))(S) for S in signals for f in (jg.measures.norm, jg.measures.mu))
        return Layers(*values)

    return jax.lax.map(of_run, params)


def _loss(batch: Any, logits: Any) -> Any:
    return batch.loss(logits)


def scaled(measure: Callable, X: Float[Any, "n d"]) -> Float[Any, ""]:
    """A homogeneous measure of X, in units of the largest entry: no square leaves the range of numbers."""
    largest = jnp.max(jnp.abs(X))
    unit = jnp.where(largest > 0, largest, 1.0)
    return unit * measure(X / unit)


def rates(values: Float[np.ndarray, "runs L+1"], *, floor: float = 0.0) -> Float[np.ndarray, "runs"]:
    """Slope of ln values^(l) against L - l, by least squares: the change per layer on the way to the input.

    Values that are not finite or not above `floor` are left out; NaN where fewer than three are left.
    """
    distance = np.arange(values.shape[1])[::-1]
    return np.array([_slope(distance, row, floor) for row in np.asarray(values, np.float64)])


def _slope(distance: np.ndarray, row: np.ndarray, floor: float) -> float:
    kept = np.isfinite(row) & (row > floor)
    return float(np.polyfit(distance[kept], np.log(row[kept]), 1)[0]) if kept.sum() > 2 else np.nan


def median(values: Float[np.ndarray, "runs ..."]) -> Any:
    """The median over runs of the finite values; NaN where there are none."""
    return np.ma.filled(np.ma.median(np.ma.masked_invalid(values), axis=0), np.nan)


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


def connected_csbm(seed: int = 0, tries: int = 1000, **options: Any) -> Dataset:
    """A csbm conditioned on being connected: the first of the seeds 1000 seed, 1000 seed + 1, .. that is.

    Raises ValueError when none of `tries` is.
    """
    for number in range(tries):
        ds = jg.load_dataset("csbm", seed=1000 * seed + number, **options)
        if jg.components(ds.graph).max() == 0:
            return ds
    raise ValueError(f"none of {tries} csbm with {options} is connected: take a larger average_degree")


def command(answer: Callable[[Any, Path], Path], presets: Mapping[str, Any], description: str) -> None:
    """Parses --out and --preset, then answer(config, out) -> the page, whose path it prints."""

    def main(out: Path, preset: Literal["smoke", "cpu"] = "cpu") -> None:
        print(answer(presets[preset], writable_folder(out)))

    tyro.cli(main, description=description)


def invocation(name: str, config: Any, presets: Mapping[str, Any]) -> str:
    """The command that makes a study's page, or the call where its config is no preset."""
    for preset, known in presets.items():
        if config == known:
            return f"python -m jaxgnn.experiments.questions.{name} --out DIR --preset {preset}"
    return f"jaxgnn.experiments.questions.{name}.run({config!r})"


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"; "none" for no names."""
    if len(names) < 2:
        return "".join(names) or "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    finite = np.isfinite(a) & np.isfinite(b) & (b > 0)
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=finite)

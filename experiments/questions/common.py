"""What the questions share: every layer's norm and mu, rates per layer."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

import jaxgnn as jg
from jaxgnn.data.dataset import Dataset

DEPTH_RATE = 0.02  # a change of 2% a layer, a factor of 3.6 over 64 layers: what the verdicts count as one


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


def connected_csbm(seed: int = 0, tries: int = 1000, **options: Any) -> Dataset:
    """A csbm conditioned on being connected: the first of the seeds 1000 seed, 1000 seed + 1, .. that is.

    Raises ValueError when none of `tries` is.
    """
    for number in range(tries):
        ds = jg.load_dataset("csbm", seed=1000 * seed + number, **options)
        if jg.components(ds.graph).max() == 0:
            return ds
    raise ValueError(f"none of {tries} csbm with {options} is connected: take a larger average_degree")


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"; "none" for no names."""
    if len(names) < 2:
        return "".join(names) or "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    finite = np.isfinite(a) & np.isfinite(b) & (b > 0)
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=finite)

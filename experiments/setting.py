"""What reproductions of the papers share: tasks by name, networks drawn at random, summaries over seeds."""

from functools import cache
from typing import Any

import jax
import numpy as np

import jaxgnn as jg
from jaxgnn.graphs.connectivity import second_eigenvalue

MARGIN = 0.05  # of accuracy above the most frequent class: what verdicts count as trained


@cache
def node_task(dataset: str, normalisation: str = "sym", largest: bool = False) -> jg.tasks.NodeClassification:
    """Node classification on a data set, features row-normalised; on its largest component alone if asked for.

    "csbm" is the embedded one. Raises DataError where the data set's files are not here.
    """
    ds = jg.load_dataset(dataset)
    ds = jg.largest_component(ds) if largest else ds
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph, normalisation=normalisation))


@cache
def gap(dataset: str, normalisation: str = "doubly") -> float:
    """lambda: the second largest modulus of P's eigenvalues on the largest component."""
    return float(second_eigenvalue(node_task(dataset, normalisation, True).graph))


def drawn(model: jg.DeepGNN, task: Any, seeds: int, seed: int = 0) -> Any:
    """Parameters of `seeds` networks drawn independently, in a leading axis."""
    keys = jax.random.split(jax.random.key(seed), seeds)
    return jax.jit(lambda keys: jax.lax.map(lambda key: model.init(key, task.graph, task.x), keys))(keys)


def majority(task: Any) -> float:
    """The most frequent class's share of the test nodes: what guessing it scores."""
    counts = np.bincount(np.asarray(task.labels)[np.asarray(task.test_mask)])
    return float(counts.max() / counts.sum())


def mean_std(values: Any) -> tuple[float, float]:
    """Mean and standard deviation of the finite values; NaN without any."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    return (float(values.mean()), float(values.std())) if values.size else (np.nan, np.nan)

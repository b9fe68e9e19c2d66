"""Benchmarks: a task whose answer is known, with the scores of predictors that nobody trains beside it."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.tasks.many_graphs import GraphBatch, ManyGraphs
from jaxgnn.tasks.node_classification import NodeClassification


class Reference(NamedTuple):
    """A predictor that nobody trains, and its score in the task's metric on each split."""

    name: str
    train: float
    val: float
    test: float


class Benchmark(NamedTuple):
    """A task and what its scores are to be held against.

    Attributes:
      name: "lrim", for example.
      task: for `jaxgnn.train`.
      example: the first training graph by itself, without padding, with `graph`, `x` and `loss`: what is probed.
      constant: the best prediction that is the same everywhere, taken from the training targets.
      within: by k, a predictor that knows all within k hops and nothing beyond; `facts` say whether any other that
        knows no more can have a lower expected error.
      oracle: the answer itself.
      facts: sentences on what was made, and on how `within` is to be read.
      measures: further numbers of a trained network, each by its name a function of the model and its parameters.
    """

    name: str
    task: ManyGraphs | NodeClassification
    example: GraphBatch | NodeClassification
    constant: Reference
    within: Mapping[int, Reference]
    oracle: Reference
    facts: tuple[str, ...]
    measures: Mapping[str, Callable[[Any, Any], float]] = MappingProxyType({})

    @property
    def references(self) -> tuple[Reference, ...]:
        """The constant predictor, those within k hops by growing k, and the oracle."""
        return (self.constant, *(self.within[k] for k in sorted(self.within)), self.oracle)


def make_benchmark(
    name: str,
    task: ManyGraphs | NodeClassification,
    example: GraphBatch | NodeClassification,
    *,
    oracle: Float[np.ndarray, "..."],
    within: Mapping[int, Float[np.ndarray, "..."]],
    facts: Sequence[str],
) -> Benchmark:
    """The benchmark of these predictions, each [G, n_max, out], [G, out] or, of one graph, [n, out]."""
    references = {k: reference(task, f"within {k} hop{'s' if k > 1 else ''}", p) for k, p in sorted(within.items())}
    constant = reference(task, "constant predictor", np.broadcast_to(constant_prediction(task), oracle.shape))
    return Benchmark(name, task, example, constant, references, reference(task, "oracle", oracle), tuple(facts))


def reference(task: ManyGraphs | NodeClassification, name: str, predictions: Float[np.ndarray, "..."]) -> Reference:
    """The scores of predictions, in the task's metric."""
    predictions = np.asarray(predictions, np.float32)
    if isinstance(task, ManyGraphs):
        found = task.metrics(predictions)
    else:
        found = task.evaluate(lambda graph, x: predictions)
    return Reference(name, float(found.train_score), float(found.val_score), float(found.test_score))


def constant_prediction(task: ManyGraphs | NodeClassification) -> Float[np.ndarray, "out"]:
    """The best constant by the task's loss: log frequencies of the training classes, or their mean or median."""
    many = isinstance(task, ManyGraphs)
    targets = task.training_targets() if many else np.asarray(task.labels)[np.asarray(task.train_mask, bool)]
    if not many or task.kind == "cross_entropy":
        counts = np.bincount(targets, minlength=task.out)
        return np.log(np.maximum(counts, 1e-3) / counts.sum()).astype(np.float32)
    centre = np.mean if task.kind == "mse" else np.median
    return centre(targets.astype(np.float64), axis=0).astype(np.float32)


def single_graph(task: ManyGraphs, graph: Graph, number: int = 0) -> GraphBatch:
    """Graph `number` of a task by itself, without padding; `graph` is what the task was made of."""
    n = graph.num_nodes
    if task.level == "graph":
        targets, mask = np.asarray(task.targets)[[number]], np.ones(1, bool)
    else:
        targets = np.asarray(task.targets)[number, :n]
        mask = np.ones(n, bool) if task.counted is None else np.asarray(task.counted)[number, :n]
    return GraphBatch(graph, np.asarray(task.features)[number, :n], targets, mask, kind=task.kind, out=task.out)


def doubling(largest: int) -> list[int]:
    """1, 2, 4, .. below `largest`: the numbers of hops that are shown."""
    return [2**i for i in range(largest.bit_length()) if 2**i < largest]

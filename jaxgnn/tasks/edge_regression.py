"""Edge regression: numbers of every edge from the outputs at its ends, on a split in which no edge is twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jaxgnn.data.dataset import Dataset, edge_parts
from jaxgnn.data.own import own_features
from jaxgnn.data.splits import FRACTIONS, drawn_masks
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.prepare import prepare
from jaxgnn.graphs.sources import as_source
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known, check_seed, check_whole
from jaxgnn.tasks.checks import check_known_targets, check_logits, checked_targets
from jaxgnn.tasks.node_regression import RegressionLoss
from jaxgnn.tasks.objectives import RegressionMetric, constant_loss, entries, loss_value, score_value
from jaxgnn.tasks.pairs import Scoring, columns_needed, pair_scores
from jaxgnn.tasks.task import Metrics


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class EdgeRegression:
    """A full-batch task and a pytree, made by `edge_regression`.

    Attributes:
      graph: the prepared graph, of all edges.
      x: [n, f].
      pairs: [m, 2] ends of the edges, each edge of an undirected graph once.
      targets: [m, t], 0 where one is not known.
      train_mask, val_mask, test_mask: [m].
      out: columns that the outputs need.
      scoring: what the outputs of two ends say of an edge (`jaxgnn.tasks.pairs.pair_scores`).
      symmetric: whether both directions are one edge.
      kind: the loss, "mse" or "mae".
      metric: "mse", "mae" or "log10_mse".
      present: [m, t] which targets are known; None where all are.
    """

    graph: Graph
    x: Float[Array, "n f"]
    pairs: Int[Array, "m 2"]
    targets: Float[Array, "m t"]
    train_mask: Bool[Array, "m"]
    val_mask: Bool[Array, "m"]
    test_mask: Bool[Array, "m"]
    out: int = field(metadata={"static": True})
    scoring: Scoring = field(metadata={"static": True})
    symmetric: bool = field(metadata={"static": True})
    kind: str = field(metadata={"static": True})
    metric: str = field(metadata={"static": True})
    present: Bool[Array, "m t"] | None = None

    @property
    def maximise(self) -> bool:
        """False: a lower score is better."""
        return False

    @property
    def full_batch(self) -> bool:
        """True: every step is taken on all training edges."""
        return True

    def batch(self, key: Array, step: Array) -> "EdgeRegression":
        """The task itself at every step."""
        return self

    def predictions(self, outputs: Float[Array, "n out"]) -> Float[Array, "m t"]:
        """The numbers of every edge."""
        check_logits(outputs, self.graph.num_nodes, self.out)
        targets = self.targets.shape[1]
        return pair_scores(outputs, self.pairs, self.scoring, targets, symmetric=self.symmetric)

    def loss(self, logits: Float[Array, "n out"]) -> Float[Array, ""]:
        """Mean loss over the training edges and the columns of the targets."""
        return loss_value(self.kind, self.predictions(logits), self.targets, entries(self.train_mask, self.present))

    def evaluate(self, apply: Callable[[Graph, Any], Array]) -> Metrics:
        """Losses and scores of apply(graph, x) -> outputs [n, out] on all splits."""
        found = self.predictions(apply(self.graph, self.x))
        masks = [entries(m, self.present) for m in (self.train_mask, self.val_mask, self.test_mask)]
        losses = [loss_value(self.kind, found, self.targets, mask) for mask in masks[:2]]
        train, val, test = (score_value(self.metric, found, self.targets, mask) for mask in masks)
        return Metrics(losses[0], train, val, test, losses[1])

    def constant_loss(self) -> float:
        """Training loss of the best prediction that is the same for every edge."""
        train = np.asarray(self.train_mask, bool)
        present = None if self.present is None else np.asarray(self.present)[train]
        return constant_loss(self.kind, np.asarray(self.targets)[train], present=present)


def edge_regression(
    graph: Any,
    targets: Num[Array, "e t"],
    x: Any = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    scoring: Scoring = "concatenation",
    rank: int = 8,
    loss: RegressionLoss = "mse",
    metric: RegressionMetric = "mse",
    **options: Any,
) -> EdgeRegression:
    """Numbers of the edges of one graph, which all carry messages: what is asked for is not whether they are there.

    Args:
      graph: a Dataset, a GraphsTuple of one graph or what `jaxgnn.from_networkx` and its like take.
      targets: [e] or [e, t] in the order of the graph's senders. Of several columns NaN is not known. Where every edge
        has one back, with the same targets, both directions are one edge; otherwise edges are directed.
      x: [n, f] features; by default those of the Dataset or GraphsTuple, or the identity.
      fractions, seed: of the edges drawn for training, validation and test. Edges between the same two nodes, either
        way, are drawn together.
      scoring, rank: "concatenation", "bilinear" or "dot" of the outputs at the ends, the last two of this rank.
      loss: "mse" or "mae". metric: "mse", "mae" or "log10_mse".
      options: of `jaxgnn.prepare`.

    Raises ValueError (DataError is one) where graph, features and targets do not fit each other, the edges have weights
    or features, which may tell the targets, a split is empty, or an option is not known.
    """
    check_seed("seed", seed)
    check_whole("rank", rank, least=1)
    for name, value, allowed in (
        ("scoring", scoring, get_args(Scoring)),
        ("loss", loss, get_args(RegressionLoss)),
        ("metric", metric, get_args(RegressionMetric)),
    ):
        check_known(name, value, allowed)
    source = as_source("edge_regression", graph)
    if isinstance(source, Dataset):
        x, source = (source.x if x is None else x), source.graph
    if np.shape(source.n_node) != (1,):
        raise ValueError(f"edge_regression: one graph is needed, and the GraphsTuple holds {np.size(source.n_node)}")
    if any(part is not None for part in edge_parts(source.edges)):
        needed = "graph._replace(edges=None)"
        raise ValueError(f"edge_regression: the edges' weights and features may tell the targets: {needed}")
    n = int(source.n_node[0])
    x = own_features("edge_regression", source.nodes if x is None else x, n)
    pairs = np.stack([np.asarray(source.senders, np.int64), np.asarray(source.receivers, np.int64)], axis=1)
    rows = np.ones(len(pairs), bool)
    given, present = checked_targets("targets", targets, rows, loss=loss, row="edge {}".format)
    symmetric = _one_each_way(pairs, given, present, n)
    if symmetric:
        rows = pairs[:, 0] <= pairs[:, 1]
        pairs, given, present = pairs[rows], given[rows], None if present is None else present[rows]
    ends = np.sort(pairs, axis=1)
    _, group = np.unique(ends[:, 0] * n + ends[:, 1], return_inverse=True)
    drawn = drawn_masks("edge_regression", np.zeros(group.max(initial=-1) + 1, int), "random", seed, fractions)
    masks = {name: mask[group] for name, mask in drawn.items()}
    if present is not None:
        for name, mask in masks.items():
            check_known_targets(name, present[mask])
    prepared = prepare(source._replace(nodes=None), **options)
    out = columns_needed(scoring, given.shape[1], rank)
    kinds = {"out": out, "scoring": scoring, "symmetric": symmetric, "kind": loss, "metric": metric}
    return EdgeRegression(prepared, x, pairs.astype(np.int32), given, **masks, **kinds, present=present)


def _one_each_way(pairs: np.ndarray, targets: np.ndarray, present: np.ndarray | None, n: int) -> bool:
    """Whether every edge is there once each way with the same targets (loops: once)."""
    keys, back = pairs[:, 0] * n + pairs[:, 1], pairs[:, 1] * n + pairs[:, 0]
    order, other = np.argsort(keys), np.argsort(back)
    if len(np.unique(keys)) < len(keys) or not np.array_equal(keys[order], back[other]):
        return False
    known = np.ones_like(targets, bool) if present is None else present
    return bool((targets[order] == targets[other]).all() and (known[order] == known[other]).all())

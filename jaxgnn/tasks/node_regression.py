"""Node regression on one graph: squared or absolute error on the training nodes, a score on each split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Bool, Float, Num

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known
from jaxgnn.tasks.checks import (
    check_known_targets,
    check_logits,
    check_prepared,
    checked_inputs,
    checked_masks,
    checked_numbers,
    checked_targets,
)
from jaxgnn.tasks.objectives import RegressionMetric, constant_loss, entries, loss_value, score_value
from jaxgnn.tasks.task import Metrics

RegressionLoss = Literal["mse", "mae"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class NodeRegression:
    """A full-batch task and a pytree, made by `node_regression`.

    Attributes:
      graph: the prepared graph.
      x: [n, f] features.
      targets: [n, t], 0 where one is not known.
      train_mask, val_mask, test_mask: [n].
      kind: the loss, "mse" or "mae".
      metric: "mse", "mae" or "log10_mse".
      present: [n, t] which targets are known and so in losses and scores; None where all are.
    """

    graph: Graph
    x: Float[Array, "n f"]
    targets: Float[Array, "n t"]
    train_mask: Bool[Array, "n"]
    val_mask: Bool[Array, "n"]
    test_mask: Bool[Array, "n"]
    kind: str = field(metadata={"static": True})
    metric: str = field(metadata={"static": True})
    present: Bool[Array, "n t"] | None = None

    @property
    def out(self) -> int:
        """Columns that the predictions need."""
        return self.targets.shape[1]

    @property
    def maximise(self) -> bool:
        """False: a lower score is better."""
        return False

    @property
    def full_batch(self) -> bool:
        """True: every step is taken on the whole graph."""
        return True

    def batch(self, key: Array, step: Array) -> "NodeRegression":
        """The task itself at every step."""
        return self

    def loss(self, logits: Float[Array, "n t"]) -> Float[Array, ""]:
        """Mean loss over the training nodes and the columns of the predictions."""
        check_logits(logits, *self.targets.shape)
        return loss_value(self.kind, logits, self.targets, entries(self.train_mask, self.present))

    def evaluate(self, apply: Callable[[Graph, Any], Array]) -> Metrics:
        """Losses and scores of apply(graph, x) -> predictions [n, t] on all splits."""
        logits = apply(self.graph, self.x)
        train, val, test = (entries(m, self.present) for m in (self.train_mask, self.val_mask, self.test_mask))
        return Metrics(
            train_loss=self.loss(logits),
            train_score=score_value(self.metric, logits, self.targets, train),
            val_score=score_value(self.metric, logits, self.targets, val),
            test_score=score_value(self.metric, logits, self.targets, test),
            val_loss=loss_value(self.kind, logits, self.targets, val),
        )

    def constant_loss(self) -> float:
        """Training loss of the best constant predictor: the columns' means for "mse", their medians for "mae"."""
        train = np.asarray(self.train_mask, bool)
        present = None if self.present is None else np.asarray(self.present)[train]
        return constant_loss(self.kind, np.asarray(self.targets)[train], present=present)


def node_regression(
    graph: Graph,
    x: Float[Array, "n f"],
    targets: Num[Array, "n t"],
    *,
    train_mask: Bool[Array, "n"],
    val_mask: Bool[Array, "n"],
    test_mask: Bool[Array, "n"],
    loss: RegressionLoss = "mse",
    metric: RegressionMetric = "mse",
) -> NodeRegression:
    """The task of predicting t numbers at every node of a prepared graph; x and targets are used as they stand.

    Masks are booleans, or numbers that are all 0 or 1, [n] or [n, 1], without a node in two of them. Targets of nodes
    outside all masks may be anything. Of several columns a NaN is a target that is not known: it is left out of losses
    and scores, which are means over the others. Targets [n] are one column.

    Args:
      loss: "mse" or "mae", over nodes and columns.
      metric: "mse", "mae" or "log10_mse", the decimal logarithm of "mse".

    Raises:
      ValueError: graph, features, targets and masks do not fit each other, a feature is NaN or infinite, a target is
        infinite, or NaN in the only column, a mask is empty or overlaps another, or an option is not known.
    """
    check_known("loss", loss, get_args(RegressionLoss))
    check_known("metric", metric, get_args(RegressionMetric))
    check_prepared(graph)
    x, targets = checked_inputs(x, graph), checked_numbers("targets", targets)
    if targets.shape[:1] != x.shape[:1]:
        raise ValueError(f"targets has shape {targets.shape}, but the graph has {len(x)} nodes: rows must agree")
    masks = checked_masks({"train_mask": train_mask, "val_mask": val_mask, "test_mask": test_mask}, graph)
    targets, present = checked_targets("targets", targets, np.any(list(masks.values()), axis=0), loss=loss)
    for name, mask in masks.items():
        if present is not None:
            check_known_targets(name, present[mask])
    return NodeRegression(graph, x, targets, **masks, kind=loss, metric=metric, present=present)

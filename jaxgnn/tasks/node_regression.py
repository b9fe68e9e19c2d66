"""Node regression on one graph: squared or absolute error on the training nodes, a score on each split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Bool, Float, Num

from jaxgnn.arrays import Array
from jaxgnn.graph import Graph
from jaxgnn.tasks.checks import check_finite, check_logits, check_option
from jaxgnn.tasks.objectives import RegressionMetric, constant_loss, loss_value, score_value
from jaxgnn.tasks.task import Metrics

RegressionLoss = Literal["mse", "mae"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class NodeRegression:
    """A full-batch task and a pytree, made by `node_regression`.

    Attributes:
      graph: the prepared graph.
      x: [n, f] features.
      targets: [n, t].
      train_mask, val_mask, test_mask: [n].
      kind: the loss, "mse" or "mae".
      metric: "mse", "mae" or "log10_mse".
    """

    graph: Graph
    x: Float[Array, "n f"]
    targets: Float[Array, "n t"]
    train_mask: Bool[Array, "n"]
    val_mask: Bool[Array, "n"]
    test_mask: Bool[Array, "n"]
    kind: str = field(metadata={"static": True})
    metric: str = field(metadata={"static": True})

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
        return loss_value(self.kind, logits, self.targets, self.train_mask)

    def evaluate(self, apply: Callable[[Graph, Any], Array]) -> Metrics:
        """Losses and scores of apply(graph, x) -> predictions [n, t] on all splits."""
        logits = apply(self.graph, self.x)
        return Metrics(
            train_loss=self.loss(logits),
            train_score=score_value(self.metric, logits, self.targets, self.train_mask),
            val_score=score_value(self.metric, logits, self.targets, self.val_mask),
            test_score=score_value(self.metric, logits, self.targets, self.test_mask),
            val_loss=loss_value(self.kind, logits, self.targets, self.val_mask),
        )

    def constant_loss(self) -> float:
        """Training loss of the best constant predictor: the training targets' mean for "mse", median for "mae"."""
        return constant_loss(self.kind, np.asarray(self.targets)[np.asarray(self.train_mask)])


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

    Args:
      loss: "mse" or "mae", over nodes and columns.
      metric: "mse", "mae" or "log10_mse", the decimal logarithm of "mse".

    Raises:
      ValueError: graph, features, targets and masks do not fit each other, a feature or target is NaN or infinite,
        a mask is empty, or an option is not known.
    """
    check_option("loss", loss, get_args(RegressionLoss))
    check_option("metric", metric, get_args(RegressionMetric))
    n = graph.num_nodes
    x, targets = np.asarray(x), np.asarray(targets)
    masks = {"train_mask": train_mask, "val_mask": val_mask, "test_mask": test_mask}
    masks = {name: np.asarray(mask) for name, mask in masks.items()}
    for name, array, ndim in (("x", x, 2), ("targets", targets, 2), *((k, m, 1) for k, m in masks.items())):
        if array.shape[:1] != (n,):
            raise ValueError(f"{name} has shape {array.shape}, but the graph has {n} nodes: rows must agree")
        if array.ndim != ndim:
            raise ValueError(f"{name} has shape {array.shape}: {ndim} axes are needed")
    check_finite("feature", x)
    check_finite("target", targets)
    for name, mask in masks.items():
        if mask.dtype != bool:
            raise ValueError(f"{name} has dtype {mask.dtype}: a mask is boolean")
        if not mask.any():
            raise ValueError(f"{name} is empty: each split needs a node")
    if not np.issubdtype(targets.dtype, np.floating):
        targets = targets.astype(np.float32)
    return NodeRegression(graph, x, targets, **masks, kind=loss, metric=metric)

"""Node classification on one graph: cross-entropy on the training nodes, a score on each split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxgnn.data import Dataset, row_normalise
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import Features, SparseFeatures
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_flag, check_known, check_whole
from jaxgnn.tasks.checks import (
    check_logits,
    check_prepared,
    check_ranking,
    checked_classes,
    checked_inputs,
    checked_masks,
    checked_numbers,
)
from jaxgnn.tasks.metrics import balanced_class_weights
from jaxgnn.tasks.objectives import RANKINGS, ClassificationMetric, constant_loss, loss_value, maximise, score_value
from jaxgnn.tasks.task import Metrics

FeatureRule = Literal["row", "raw"]


class Scores(NamedTuple):
    """The task's metric on each split, and the cross-entropy on the validation nodes."""

    train: Float[Array, ""]
    val: Float[Array, ""]
    test: Float[Array, ""]
    val_loss: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class NodeClassification:
    """A full-batch task and a pytree, made by `node_classification`.

    Attributes:
      graph: the prepared graph.
      x: [n, f] features as networks see them, an array or `SparseFeatures`: what a trained network is applied to.
      labels: [n] classes, 0 .. num_classes - 1; -1 where a node in no mask has none.
      train_mask, val_mask, test_mask: [n].
      class_weights: [classes] weights of the classes in the losses, or None.
      num_classes: number of classes.
      metric: "accuracy", "roc_auc" or "average_precision".
      feature_rule: what was done to the data set's x, "row" or "raw".
    """

    graph: Graph
    x: Features
    labels: Int[Array, "n"]
    train_mask: Bool[Array, "n"]
    val_mask: Bool[Array, "n"]
    test_mask: Bool[Array, "n"]
    num_classes: int = field(metadata={"static": True})
    metric: str = field(default="accuracy", metadata={"static": True})
    class_weights: Float[Array, "classes"] | None = None
    feature_rule: str = field(default="raw", metadata={"static": True})

    @property
    def out(self) -> int:
        """Columns that the logits need."""
        return self.num_classes

    @property
    def maximise(self) -> bool:
        """Whether a higher score is better."""
        return maximise(self.metric)

    @property
    def full_batch(self) -> bool:
        """True: every step is taken on the whole graph."""
        return True

    def batch(self, key: Array, step: Array) -> "NodeClassification":
        """The task itself at every step."""
        return self

    def loss(self, logits: Float[Array, "n out"]) -> Float[Array, ""]:
        """Mean cross-entropy over the training nodes in nats, weighted by class where there are weights."""
        return self._loss(logits, self.train_mask)

    def scores(self, logits: Float[Array, "n out"]) -> Scores:
        """The metric on each split, and the validation loss."""
        return Scores(
            train=score_value(self.metric, logits, self.labels, self.train_mask),
            val=score_value(self.metric, logits, self.labels, self.val_mask),
            test=score_value(self.metric, logits, self.labels, self.test_mask),
            val_loss=self._loss(logits, self.val_mask),
        )

    def evaluate(self, apply: Callable[[Graph, Any], Array]) -> Metrics:
        """Losses and scores of apply(graph, x) -> logits [n, classes] on all splits."""
        logits = apply(self.graph, self.x)
        scores = self.scores(logits)
        return Metrics(self.loss(logits), scores.train, scores.val, scores.test, scores.val_loss)

    def constant_loss(self) -> float:
        """Training loss of the best constant predictor: the entropy of the (weighted) training labels, in nats."""
        train = np.asarray(self.train_mask, bool)
        return constant_loss("cross_entropy", np.asarray(self.labels)[train], self.class_weights)

    def _loss(self, logits: Float[Array, "n out"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
        hint = f": a row a node and a column for each of {self.num_classes} classes, without a pool"
        check_logits(logits, self.labels.shape[0], self.num_classes, hint=hint)
        return masked_cross_entropy(self.labels, mask, logits, self.class_weights)


def node_classification(
    ds: Dataset,
    graph: Graph,
    *,
    features: FeatureRule = "row",
    metric: ClassificationMetric = "accuracy",
    class_weights: Literal["balanced"] | Float[Array, "classes"] | None = None,
    sparse_features: bool = False,
) -> NodeClassification:
    """The task of a data set on its prepared graph. A network trained on it is evaluated at the task's own x.

    Masks are booleans, or numbers that are all 0 or 1, [n] or [n, 1], without a node in two of them. Labels are whole
    numbers [n] or [n, 1], or one-hot rows [n, classes]; in nodes outside all masks they may be anything, -1 and NaN
    included.

    Args:
      features: "row" divides every node's features by the sum of their absolute values, their sum where none is
        negative; a row of zeros stays one. "raw" takes x as it stands in `ds`. As `jaxgnn train --features`.
      metric: "accuracy", or for two classes "roc_auc" and "average_precision" of the difference of the logits.
      class_weights: [classes] weights in the losses, which are divided by the sum of the nodes' weights; "balanced"
        is n / (classes n_c) over the training nodes.
      sparse_features: store x by its entries that are not 0. Sums are made in another order, so that numbers agree to
        rounding; faster where few entries are not 0 (`jaxgnn bench`).

    Raises:
      ValueError: graph, features, labels and masks do not fit each other, a feature is NaN or infinite, a label is
        out of range, a mask is empty or overlaps another, or an option does not fit the data.
    """
    check_known("features", features, get_args(FeatureRule))
    check_known("metric", metric, get_args(ClassificationMetric))
    check_flag("sparse_features", sparse_features)
    check_whole("num_classes", ds.num_classes, least=1)
    check_prepared(graph)
    x = checked_inputs(ds.x, graph)
    labels = checked_numbers("labels", ds.labels)
    if labels.shape[:1] != x.shape[:1]:
        raise ValueError(f"labels has shape {labels.shape}, but the graph has {len(x)} nodes: rows must agree")
    masks = checked_masks({name: getattr(ds, name) for name in ("train_mask", "val_mask", "test_mask")}, graph)
    labels = checked_classes("labels", labels, np.any(list(masks.values()), axis=0), ds.num_classes)
    if metric in RANKINGS and ds.num_classes != 2:
        raise ValueError(f"metric={metric!r} is for two classes, but there are {ds.num_classes}: accuracy is for any")
    for name, mask in masks.items():
        check_ranking(metric, name, labels[mask])
    weights = _checked_weights(class_weights, labels, masks["train_mask"], ds.num_classes)
    if features == "row":
        x = row_normalise(x)
    return NodeClassification(
        graph,
        SparseFeatures.of(x) if sparse_features else x,
        labels,
        **masks,
        num_classes=int(ds.num_classes),
        metric=metric,
        class_weights=weights,
        feature_rule=features,
    )


def masked_cross_entropy(
    labels: Int[Array, "n"],
    mask: Bool[Array, "n"],
    logits: Float[Array, "n out"],
    class_weights: Float[Array, "out"] | None = None,
) -> Float[Array, ""]:
    """Mean cross-entropy over the nodes of a mask in nats, each node weighted by its class's weight if given."""
    return loss_value("cross_entropy", logits, labels, mask, class_weights)


def _checked_weights(class_weights: Any, labels: np.ndarray, train_mask: np.ndarray, classes: int) -> np.ndarray | None:
    if class_weights is None:
        return None
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise ValueError(
                f"class_weights={class_weights!r} is not known: allowed are None, 'balanced' and [classes] weights"
            )
        return np.asarray(balanced_class_weights(labels, train_mask, classes))
    weights = checked_numbers("class_weights", class_weights)
    if weights.shape != (classes,):
        raise ValueError(f"class_weights has shape {weights.shape} for {classes} classes: one for each is needed")
    if not np.issubdtype(weights.dtype, np.floating):
        weights = weights.astype(np.float32)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights[labels[train_mask]].any()):
        raise ValueError(
            f"class_weights={weights.tolist()}: allowed are finite numbers of 0 and more, not 0 for all training labels"
        )
    return weights

"""Node classification on one graph: cross-entropy on the training nodes, accuracy on each split."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Int

from jaxgnn.arrays import Array
from jaxgnn.data import Dataset
from jaxgnn.graph import Graph


class Scores(NamedTuple):
    """Accuracy on each split, and the cross-entropy on the validation nodes."""

    train: Float[Array, ""]
    val: Float[Array, ""]
    test: Float[Array, ""]
    val_loss: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class NodeClassification:
    """A pytree: graph, x [n, f], labels [n], three masks [n], and the number of classes."""

    graph: Graph
    x: Float[Array, "n f"]
    labels: Int[Array, "n"]
    train_mask: Bool[Array, "n"]
    val_mask: Bool[Array, "n"]
    test_mask: Bool[Array, "n"]
    num_classes: int = field(metadata={"static": True})

    def loss(self, logits: Float[Array, "n out"]) -> Float[Array, ""]:
        """Mean cross-entropy over the training nodes, in nats."""
        if logits.shape[1] != self.num_classes:
            raise ValueError(
                f"logits have {logits.shape[1]} columns for {self.num_classes} classes: one for each is needed"
            )
        return masked_cross_entropy(self.labels, self.train_mask, logits)

    def scores(self, logits: Float[Array, "n out"]) -> Scores:
        """Accuracy on each split, and the validation loss."""
        correct = jnp.argmax(logits, axis=1) == self.labels
        return Scores(
            train=_masked_mean(correct, self.train_mask),
            val=_masked_mean(correct, self.val_mask),
            test=_masked_mean(correct, self.test_mask),
            val_loss=masked_cross_entropy(self.labels, self.val_mask, logits),
        )

    def constant_loss(self) -> float:
        """Training cross-entropy of the best constant predictor: the entropy of the training labels, in nats."""
        labels = np.asarray(self.labels)[np.asarray(self.train_mask)]
        p = np.bincount(labels, minlength=self.num_classes) / labels.size
        return float(-np.sum(p[p > 0] * np.log(p[p > 0])))


def node_classification(ds: Dataset, graph: Graph) -> NodeClassification:
    """The task of a data set on its prepared graph; x is used as it stands in `ds`.

    Raises ValueError where graph, features, labels and masks do not fit each other, a feature is NaN or infinite,
    a label is out of range, or a mask is empty.
    """
    n = graph.num_nodes
    x, labels = np.asarray(ds.x), np.asarray(ds.labels)
    masks = {name: np.asarray(getattr(ds, name)) for name in ("train_mask", "val_mask", "test_mask")}
    for name, array in {"x": x, "labels": labels, **masks}.items():
        if array.shape[:1] != (n,):
            raise ValueError(f"{name} has shape {array.shape}, but the graph has {n} nodes: rows must agree")
    if not np.isfinite(x).all():
        node, column = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"feature {column} of node {node} is {x[node, column]}: features must be finite numbers")
    if n and not (labels.min() >= 0 and labels.max() < ds.num_classes):
        wrong = labels[(labels < 0) | (labels >= ds.num_classes)][0]
        raise ValueError(f"label {wrong} is out of range: classes are 0 to {ds.num_classes - 1}")
    for name, mask in masks.items():
        if not mask.any():
            raise ValueError(f"{name} is empty: each split needs a node")
    return NodeClassification(graph, x, labels, **masks, num_classes=ds.num_classes)


def masked_cross_entropy(
    labels: Int[Array, "n"], mask: Bool[Array, "n"], logits: Float[Array, "n out"]
) -> Float[Array, ""]:
    """Mean cross-entropy over the nodes of a mask, in nats."""
    return _masked_mean(optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels)), mask)


def _masked_mean(values: Array, mask: Bool[Array, "n"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(jnp.sum(mask), 1)

"""Several labels for every node of one graph, each there or not, some perhaps not known."""

from dataclasses import dataclass
from typing import get_args

import jax
import numpy as np
from jaxtyping import Bool, Float, Num

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known
from jaxgnn.tasks.checks import (
    check_known_targets,
    check_prepared,
    check_ranking,
    checked_inputs,
    checked_masks,
    checked_numbers,
    checked_targets,
)
from jaxgnn.tasks.node_regression import NodeRegression
from jaxgnn.tasks.objectives import ClassificationMetric, maximise


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class NodeLabels(NodeRegression):
    """A full-batch task and a pytree, made by `node_labels`: targets 0 and 1 [n, t], kind "bce"."""

    @property
    def maximise(self) -> bool:
        """True: a higher score is better."""
        return maximise(self.metric)


def node_labels(
    graph: Graph,
    x: Float[Array, "n f"],
    labels: Num[Array, "n t"],
    *,
    train_mask: Bool[Array, "n"],
    val_mask: Bool[Array, "n"],
    test_mask: Bool[Array, "n"],
    metric: ClassificationMetric = "roc_auc",
) -> NodeLabels:
    """Multi-label classification: binary cross-entropy of each column of labels, 0 or 1, at every node.

    NaN is a label that is not known: it is left out of losses and scores. Labels outside all masks may be anything.

    Args:
      metric: "roc_auc", "average_precision" or "accuracy", of each column, averaged over those with both classes in the
        split (accuracy: with a known label), as OGB does.

    Raises ValueError where a label is neither 0, 1 nor NaN, and as `node_regression`; for a ranking metric also where a
    split has no column with both classes.

    Source: Hu et al. 2020, OGB (the metrics).
    """
    check_known("metric", metric, get_args(ClassificationMetric))
    check_prepared(graph)
    x, labels = checked_inputs(x, graph), checked_numbers("labels", labels)
    if labels.shape[:1] != x.shape[:1] or labels.ndim != 2:
        raise ValueError(f"labels has shape {labels.shape}, but the graph has {len(x)} nodes: [{len(x)}, t] is needed")
    masks = checked_masks({"train_mask": train_mask, "val_mask": val_mask, "test_mask": test_mask}, graph)
    targets, present = checked_targets("labels", labels, np.any(list(masks.values()), axis=0), loss="bce")
    for name, mask in masks.items():
        known = True if present is None else present[mask]
        if present is not None:
            check_known_targets(name, present[mask])
        check_ranking(metric, name, targets[mask], known)
    return NodeLabels(graph, x, targets, **masks, kind="bce", metric=metric, present=present)

"""A node-classification data set: one graph, features, labels and three masks."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from jraph import GraphsTuple

MASKS = ("train_mask", "val_mask", "test_mask")


class Dataset(NamedTuple):
    """One graph with labelled nodes. Arrays live on the host (numpy); nothing is normalised.

    Attributes:
      name: canonical name, for example "cora".
      split: the split that the masks hold, for example "public" or "geom:3".
      graph: GraphsTuple of one graph: directed edges, both directions of an undirected one; weights and features of
        edges as `edge_parts` reads them.
      x: [n, f] float32 features exactly as stored in the file.
      labels: [n] int32 classes, 0 .. num_classes - 1.
      num_classes: number of classes.
      train_mask, val_mask, test_mask: [n] bool, pairwise disjoint.
      files: SHA-256 by file for data sets read from disk, empty for generators.
    """

    name: str
    split: str
    graph: GraphsTuple
    x: Float[np.ndarray, "n f"]
    labels: Int[np.ndarray, "n"]
    num_classes: int
    train_mask: Bool[np.ndarray, "n"]
    val_mask: Bool[np.ndarray, "n"]
    test_mask: Bool[np.ndarray, "n"]
    files: dict[str, str]

    def __repr__(self) -> str:
        masks = {"training": self.train_mask, "validation": self.val_mask, "test": self.test_mask}
        split = ", ".join(f"{int(np.sum(mask))} {name}" for name, mask in masks.items())
        n, f = np.shape(self.x)
        sizes = f"{n} nodes, {len(self.graph.senders)} directed edges, {f} features, {self.num_classes} classes"
        return f"Dataset({self.name}: {sizes}; {self.split}: {split})"


def graphs_tuple(senders: Int[np.ndarray, "e"], receivers: Int[np.ndarray, "e"], num_nodes: int) -> GraphsTuple:
    """One graph without node, edge or global features, its index arrays as int32 numpy arrays."""

    def index(values: object) -> Any:  # jraph's annotations know JAX arrays only.
        return np.asarray(values, np.int32)

    return GraphsTuple(
        nodes=None,
        edges=None,
        globals=None,
        senders=index(senders),
        receivers=index(receivers),
        n_node=index([num_nodes]),
        n_edge=index([len(senders)]),
    )


def edge_parts(edges: Any) -> tuple[Any, Any]:
    """Weights [e] and features of a GraphsTuple's `edges`, None where there are none.

    {"weight": w} and {"weight": w, "features": ...} hold weights; anything else is features.
    """
    if isinstance(edges, dict) and "weight" in edges and set(edges) <= {"weight", "features"}:
        return edges["weight"], edges.get("features")
    if isinstance(edges, dict) and set(edges) == {"features"}:
        return None, edges["features"]
    return None, edges

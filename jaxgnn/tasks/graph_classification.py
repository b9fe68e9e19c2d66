"""A class for every graph of a list, in mini-batches: `many_graphs` with a split that is drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxgnn.data.splits import DRAWN, FRACTIONS, drawn_masks
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.own import as_source
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import shown
from jaxgnn.tasks.many_graphs import ManyGraphs, many_graphs


def graph_classification(
    graphs: Sequence[Any],
    y: Int[Array, "G"],
    x: Sequence[Float[Array, "n f"]] | None = None,
    *,
    split: str | tuple[Int[Array, "a"], Int[Array, "b"], Int[Array, "c"]] = "stratified",
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    batch_size: int = 32,
    **options: Any,
) -> ManyGraphs:
    """The task of telling the classes of G graphs, for a model with a `pool`.

    Args:
      graphs: each what `jaxgnn.from_networkx` and its like take, or prepared.
      y: [G] classes, from 0.
      x: of each graph [n, f]; by default the features that the graphs have, or a single 1 where none has any.
      split: "stratified" (every class is shared out), "random", or the numbers of the training, validation and test
        graphs.
      seed, fractions: of the drawn splits.
      batch_size: graphs in a batch, at most as many as are trained on.
      options: those of `jaxgnn.tasks.many_graphs`.

    Raises ValueError (DataError is one) for what does not fit.
    """
    if not hasattr(graphs, "__len__") or isinstance(graphs, str) or not len(graphs):
        raise ValueError(f"graphs={shown(graphs)}: a list of graphs is needed")
    graphs = [g if isinstance(g, Graph) else as_source("graph_classification", g) for g in graphs]
    labels = np.asarray(y)
    if labels.shape != (len(graphs),) or labels.dtype.kind not in "biu" or (labels < 0).any():
        raise ValueError(f"y is {labels.dtype} of shape {labels.shape}: {len(graphs)} classes from 0 are needed")
    if isinstance(split, str):
        if split not in DRAWN:
            raise ValueError(f"split={split!r} is not known: allowed are {', '.join(DRAWN)}, and three lists of graphs")
        masks = drawn_masks("graph_classification", labels.astype(int), split, seed, fractions)
        parts = tuple(np.flatnonzero(mask) for mask in masks.values())
    else:
        parts = split
    features = _own_features(graphs) if x is None else x
    size = min(batch_size, len(parts[0])) if isinstance(batch_size, int) else batch_size
    graphs = [g if isinstance(g, Graph) else g._replace(nodes=None) for g in graphs]
    return many_graphs(graphs, features, labels.astype(np.int32), split=parts, batch_size=size, **options)


def _own_features(graphs: Sequence[Any]) -> list[np.ndarray]:
    """The features that the graphs have; ones [n, 1] where none has any. ValueError where only some have."""
    found: list[Any] = [None if isinstance(graph, Graph) else graph.nodes for graph in graphs]
    without = [i for i, x in enumerate(found) if x is None]
    if not without:
        return [np.asarray(x) for x in found]
    if len(without) < len(graphs):
        raise ValueError(f"graph {without[0]} has no features and others have: x= gives all of them")
    sizes = [g.num_nodes if isinstance(g, Graph) else int(np.sum(g.n_node)) for g in graphs]
    return [np.ones((n, 1), np.float32) for n in sizes]

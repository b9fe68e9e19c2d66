"""A data set from one's own graph, features and labels."""

from typing import Any

from jaxgnn.data.dataset import Dataset
from jaxgnn.data.own import own_dataset
from jaxgnn.data.splits import FRACTIONS
from jaxgnn.graphs.sources import as_source


def dataset(
    graph: Any,
    x: Any = None,
    y: Any = None,
    *,
    split: Any = "random",
    seed: int = 0,
    fractions: Any = FRACTIONS,
    num_classes: int | None = None,
    name: str = "own",
) -> Dataset:
    """A Dataset that tasks take, from a graph of any kind.

    Args:
      graph: a jraph.GraphsTuple of one graph, or what `from_networkx`, `from_scipy`, `from_edges`, `from_pyg`,
        `from_dgl` and `from_dense` take; or a Dataset, whose features and labels are used where x and y are not given.
      x: [n, f] features of the nodes; without any the identity.
      y: [n] classes: whole numbers, -1 (or NaN, None) where a node has none, or texts, numbered in alphabetical order.
      split: "random"; "stratified", which shares every class out; or three masks of training, validation and test
        nodes, [n] booleans or numbers of nodes, in this order or by name.
      seed: of the draw.
      fractions: shares of the training, validation and test nodes in a draw, adding up to at most 1.
      num_classes: by default one more than the largest label.

    Raises ValueError or its subclass DataError where anything does not fit.
    """
    source = as_source("dataset", graph)
    if isinstance(source, Dataset):
        x = source.x if x is None else x
        y = source.labels if y is None else y
        num_classes = source.num_classes if num_classes is None else num_classes
        name = source.name if name == "own" else name
        source = source.graph
    elif x is None:
        x = source.nodes
    return own_dataset(
        "dataset", source, x, y, split, name=name, seed=seed, fractions=fractions, num_classes=num_classes
    )

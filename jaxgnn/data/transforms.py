"""What is done to a data set before training: one component, normalised features."""

import jax
import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array, csgraph

from jaxgnn.data.dataset import Dataset, graphs_tuple


def largest_component(ds: Dataset) -> Dataset:
    """The data set restricted to its largest weakly connected component (the first, if several are largest).

    Nodes are renumbered in their old order; classes keep their numbers, edges and nodes their features, the graph its
    globals. Raises ValueError where ds.graph holds several graphs.
    """
    num_nodes = len(ds.labels)
    if np.shape(ds.graph.n_node) != (1,) or int(ds.graph.n_node[0]) != num_nodes:
        raise ValueError(f"one graph of {num_nodes} nodes is needed, and n_node is {ds.graph.n_node}")
    senders, receivers = np.asarray(ds.graph.senders), np.asarray(ds.graph.receivers)
    adjacency = coo_array((np.ones(len(senders), bool), (senders, receivers)), shape=(num_nodes, num_nodes))
    _, component = csgraph.connected_components(adjacency, directed=True, connection="weak")
    keep = component == np.bincount(component).argmax()
    number = np.cumsum(keep) - 1
    # Both ends of an edge lie in the same component, so one end decides.
    inside = keep[senders]
    graph = graphs_tuple(number[senders[inside]], number[receivers[inside]], int(keep.sum()))
    return ds._replace(
        graph=graph._replace(
            edges=jax.tree.map(lambda feature: np.asarray(feature)[inside], ds.graph.edges),
            nodes=jax.tree.map(lambda feature: np.asarray(feature)[keep], ds.graph.nodes),
            globals=ds.graph.globals,
        ),
        x=ds.x[keep],
        labels=ds.labels[keep],
        train_mask=ds.train_mask[keep],
        val_mask=ds.val_mask[keep],
        test_mask=ds.test_mask[keep],
    )


def row_normalise(x: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f"]:
    """Every row divided by its L1 norm, as in Kipf & Welling 2017 (1609.02907); zero rows stay zero.

    For features without negative entries that is the row's sum. A row with an entry that is not finite is NaN.
    """
    x = np.asarray(x)
    x = x.astype(np.result_type(x.dtype, np.float32), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        norm = np.abs(x).sum(axis=1, keepdims=True)
        if not np.isfinite(norm).all():  # of entries whose sum leaves the range, in units of the largest
            beyond = ~np.isfinite(norm)
            unit = np.where(beyond, np.abs(x).max(axis=1, keepdims=True, initial=0), 1).astype(x.dtype)
            x = x / unit
            norm = np.where(beyond, np.abs(x).sum(axis=1, keepdims=True), norm)
        return np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)

"""From a list of node pairs to the directed edges of an undirected graph."""

import numpy as np
from jaxtyping import Int

from jaxgnn.data.dataset import GraphsTuple, graphs_tuple


def undirected_graph(pairs: Int[np.ndarray, "m 2"], num_nodes: int, *, keep_loops: bool) -> GraphsTuple:
    """The graph with both directions of every pair, each directed edge once, sorted by receiver, then sender.

    A loop that is kept is one directed edge. The pairs must lie in [0, num_nodes).
    """
    u, v = np.asarray(pairs, np.int64).T
    if not keep_loops:
        u, v = u[u != v], v[u != v]
    # An edge as one integer: sorting and merging duplicates is then one np.unique.
    keys = np.unique(np.concatenate([u * num_nodes + v, v * num_nodes + u]))
    return graphs_tuple(keys % num_nodes, keys // num_nodes, num_nodes)

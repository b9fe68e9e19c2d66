"""Random graphs with bottlenecks: dense communities that are joined by paths, as a tree."""

import networkx as nx
import numpy as np
from jaxtyping import Bool


def bottleneck_graph(
    rng: np.random.Generator, *, communities: int, size: int, bridge: int, degree: int = 4, rewired: float = 0.3
) -> Bool[np.ndarray, "n n"]:
    """Adjacency matrix of a connected graph, n = communities size + (communities - 1)(bridge - 1), in random order.

    Each community is a connected small world (Watts & Strogatz 1998) of `size` nodes and even `degree`, its edges
    rewired with probability `rewired`. Which are joined is a tree drawn uniformly; each of its edges is a path of
    `bridge` edges between a random node of the one and one of the other, so that all that passes between the two sides
    passes every edge of it.
    """
    if communities > 1:
        tree = nx.random_labeled_tree(communities, seed=int(rng.integers(2**31))).edges
    else:
        tree = []
    parts = [
        nx.connected_watts_strogatz_graph(size, degree, rewired, tries=1000, seed=int(rng.integers(2**31)))
        for _ in range(communities)
    ]
    graph = nx.disjoint_union_all(parts)
    for one, other in tree:
        inner = range(len(graph), len(graph) + bridge - 1)
        nx.add_path(graph, [one * size + int(rng.integers(size)), *inner, other * size + int(rng.integers(size))])
    A = nx.to_numpy_array(graph, nodelist=range(len(graph)), dtype=bool)
    order = rng.permutation(len(A))
    return A[order][:, order]

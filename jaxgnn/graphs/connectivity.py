"""Connected components of a graph, and how fast its propagation matrix mixes within the largest."""

import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from jaxgnn.graphs.edge_list import (
    taken,
)
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.normalisation import Normalisation as Normalisation


def components(graph: Graph | jraph.GraphsTuple) -> Int[np.ndarray, "n"]:
    """Number of the weakly connected component of each node, [n], numbered from 0 in the order of first nodes.

    Of a prepared graph edges and nodes that are masked do not count: padding is in no component, -1.
    """
    num_nodes = int(np.sum(graph.graphs_tuple.n_node if isinstance(graph, Graph) else graph.n_node))
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    nodes = np.arange(num_nodes)
    if isinstance(graph, Graph) and graph.edge_mask is not None:
        senders, receivers = taken((senders, receivers), np.asarray(graph.edge_mask) > 0)
    if isinstance(graph, Graph) and graph.node_mask is not None:
        nodes = np.flatnonzero(graph.node_mask)
    adjacency = sp.csr_matrix((np.ones(senders.shape[0]), (receivers, senders)), (num_nodes, num_nodes))
    labels = np.full(num_nodes, -1, np.int32)
    labels[nodes] = sp.csgraph.connected_components(adjacency[nodes][:, nodes], directed=False)[1]
    return labels


def second_eigenvalue(graph: Graph) -> float:
    """lambda: the second largest modulus of an eigenvalue of P, on the largest connected component; 0 for one node.

    Oversmoothing contracts by it in every layer; 1 - lambda is the spectral gap. By Lanczos, to about 1e-8.
    Raises ValueError when P is not symmetric.
    """
    if graph.propagation.backward is not None:
        raise ValueError(f"normalisation={graph.propagation.normalisation!r} gives a P that is not symmetric here")
    labels = components(graph)
    if not labels.size:
        return 0.0
    nodes = np.flatnonzero(labels == np.argmax(np.bincount(labels[labels >= 0])))
    P = graph.propagation.sparse()[nodes][:, nodes]
    if nodes.size < 200:
        moduli = np.abs(np.linalg.eigvalsh(P.toarray()))
    else:
        start = np.random.default_rng(0).standard_normal(nodes.size)
        moduli = np.abs(sp.linalg.eigsh(P, k=2, which="LM", ncv=80, tol=1e-8, v0=start, return_eigenvectors=False))
    return float(np.sort(moduli)[-2]) if nodes.size > 1 else 0.0

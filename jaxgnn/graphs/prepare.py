"""From edges to a graph that layers take: sorted, merged, checked, with its propagation matrix."""

import warnings
from typing import Any, get_args

import jax
import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from jaxgnn.data.dataset import Dataset, edge_parts
from jaxgnn.graphs.edge_list import (
    checked_edges,
    checked_features,
    checked_weights,
    merged,
    one_way,
    taken,
    with_reverses,
)
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.normalisation import Normalisation as Normalisation
from jaxgnn.graphs.normalisation import normalised
from jaxgnn.graphs.propagation import Backend, Edges, Propagation, make_propagation
from jaxgnn.graphs.sources import as_source
from jaxgnn.host.memory import require_memory


def prepare(
    graph: Any = None,
    *,
    senders: Int[np.ndarray, "e"] | None = None,
    receivers: Int[np.ndarray, "e"] | None = None,
    num_nodes: int | None = None,
    weights: Float[np.ndarray, "e"] | None = None,
    undirected: bool | None = None,
    padded: bool | None = None,
    normalisation: Normalisation = "sym",
    loops: bool | None = None,
    backend: Backend = "auto",
    hops: int | None = None,
) -> Graph:
    """Sorts, merges and normalises a graph once, and packs its propagation matrix P[receiver, sender].

    With A~ the adjacency matrix, a loop of weight 1 added to every node without one where `loops` (the default,
    except for "raw"), and D~ its row sums, which are the in-degrees:
      sym     P = D~^(-1/2) A~ D~^(-1/2)      (Kipf & Welling 2017)
      row     P = D~^(-1) A~                  (P 1 = 1)
      doubly  P_uv = 1 / (1 + max(d_u, d_v)), P_uu = 1 - sum_v P_uv, d without loops (Metropolis: P 1 = P^T 1 = 1)
      raw     P = A~, no loops added

    Args:
      graph: a jraph.GraphsTuple (of several graphs: their disjoint union); its edge features are kept, and where
        `edges` is {"weight": [e]} or {"weight": [e], "features": ...}, the weights are P's. A Dataset, or what
        `jaxgnn.from_networkx`, `from_scipy`, `from_edges`, `from_pyg`, `from_dgl` and `from_dense` take, as well. Or:
      senders, receivers: [e] integers, and num_nodes: n.
      weights: [e] edge weights in P, 1 when absent; layers that do not use P count every edge once, and warn of it.
        Duplicate edges' weights are added; unweighted duplicates are one. An edge of weight 0 is no edge.
      undirected: True adds the reverse of every edge, with its weight and features. Edges are one-way as they are
        given with False, and with None as well, which warns where an edge has none back.
      padded: True for what `jraph.pad_with_graphs` returned: the nodes that it added are masked, in `node_mask`, and
        the edges left out. Nothing is guessed: with False and None every node counts, and None warns where the last
        of several graphs has no nodes. With a `pool` the padding graphs keep their rows of logits.
      backend: how P X is computed: "padded" gathers, "segment" sums by segment, "dense" multiplies; "auto" by size.
      hops: K, to find the pairs at distance exactly 1, .., K as well (weights do not count there): `Graph.khops`.

    Raises:
      MemoryError: the pairs at a distance do not fit into memory.
      ValueError: an edge to a node that is not there or in another graph, arrays that do not fit, an unknown option,
        weights that are not finite, or negative where degrees are needed, degrees or a P that float64 does not hold,
        features that are not finite, duplicates with different features, two directions with different weights or
        features for undirected=True, an asymmetric graph for "doubly".
    """
    _check_options(normalisation, loops, hops, undirected, padded)
    n_node, features = None, None
    if graph is not None:
        if not (senders is None and receivers is None and num_nodes is None):
            raise ValueError("prepare: pass a GraphsTuple or senders, receivers and num_nodes, not both")
        graph = _as_tuple(graph)
        senders, receivers = graph.senders, graph.receivers
        weight, features = edge_parts(graph.edges)
        if weight is not None and weights is not None:
            raise ValueError("prepare: the graph's edges have weights, so that weights= is not taken")
        weights = weights if weight is None else weight
        n_node = np.asarray(graph.n_node, np.int32)
        num_nodes = int(n_node.sum())
    if hops is not None and features is not None:
        raise ValueError("prepare: pairs at a distance have no edge features: hops=K goes without them")
    if hops is not None and weights is not None:
        warnings.warn("prepare: edge weights do not count in the pairs at a distance that hops=K finds", stacklevel=2)
    if senders is None or receivers is None or num_nodes is None:
        raise ValueError("prepare: senders, receivers and num_nodes are all needed for edge arrays")
    senders, receivers = checked_edges(senders, receivers, num_nodes)
    weights = checked_weights(weights, senders.size)
    features = checked_features(features, senders.size)
    real = _real_nodes(n_node, num_nodes, padded)
    if n_node is not None and n_node.size > 1:
        _check_within_graphs(senders, receivers, n_node)
    if real < num_nodes:
        senders, receivers, weights, features = taken((senders, receivers, weights, features), senders < real)
    edges = merged(senders, receivers, int(num_nodes), weights, features)
    if undirected:
        edges = with_reverses(edges)
    A = edges.matrix()
    if undirected is None and normalisation != "doubly" and (count := one_way(A)):
        warnings.warn(
            f"prepare: {count} of {A.nnz} edges have no edge back, so that messages go one way along them: pass "
            "undirected=True where every edge is listed once, undirected=False where this is meant",
            stacklevel=2,
        )
    P, degree = normalised(A, normalisation, loops, weighted=weights is not None, real=real)
    receivers = np.repeat(np.arange(num_nodes, dtype=np.int32), np.diff(A.indptr))
    weighted = edges.weights is not None and bool(np.any(edges.weights != 1))
    graphs_tuple = jraph.GraphsTuple(
        nodes=None,
        edges=edges.features,
        senders=A.indices.astype(np.int32),
        receivers=receivers,
        n_node=np.asarray([num_nodes], np.int32) if n_node is None else n_node,
        n_edge=_edges_per_graph(receivers, n_node, num_nodes),
        globals=None,
    )
    return Graph(
        graphs_tuple,
        make_propagation(P, degree, normalisation=normalisation, backend=backend),
        node_mask=None if real == num_nodes else (np.arange(num_nodes) < real).astype(np.float32),
        khops=None if hops is None else _khops(A, hops, normalisation, loops, real),
        weighted=weighted,
        weights=edges.weights if weighted else None,
    )


def _khops(A: sp.csr_matrix, hops: int, normalisation: str, loops: bool | None, real: int) -> Graph:
    """Graphs of the pairs at distance exactly 1 .. hops, [hops, ...]; P of each is normalised like the graph's own."""
    n = A.shape[0]
    step = (A != 0).astype(np.int8)
    reached = sp.eye_array(n, dtype=np.int8, format="csr")
    frontier, graphs = reached, []
    for k in range(1, hops + 1):
        # Every pair at distance k comes from one at distance k - 1 and an edge; six arrays of 4 or 8 bytes a pair.
        pairs = min(n * n, int(np.diff(step.indptr) @ np.asarray((frontier != 0).sum(axis=0)).ravel())) if n else 0
        require_memory(
            64 * (pairs + sum(g.nnz for g in graphs)),
            f"finding the pairs at distance {k}",
            f"at most {k - 1} hops",
            on_host=True,
        )
        frontier = (step.astype(np.int32) @ frontier.astype(np.int32)).astype(bool).astype(np.int8)
        frontier = sp.csr_matrix(frontier - frontier.multiply(reached))
        frontier.eliminate_zeros()
        frontier.sort_indices()
        reached = reached + frontier
        graphs.append(frontier.astype(np.float64))
    matrices, degrees = zip(
        *(normalised(g, normalisation, loops, weighted=False, real=real) for g in graphs), strict=True
    )
    matrices = [m.tocsr() for m in matrices]
    edges = max(g.nnz for g in graphs)
    entries = max(m.nnz for m in matrices)
    symmetric = all((m != m.T).nnz == 0 for m in matrices)
    require_memory(48 * hops * entries, f"the k-hop schedule of {hops} hops", "fewer hops")
    forward = _stacked_edges(matrices, entries)
    backward = None if symmetric else _stacked_edges([m.T.tocsr() for m in matrices], entries)
    P = Propagation(forward, backward, np.stack(degrees), num_nodes=n, normalisation=f"{normalisation} at distance k")
    s, r, mask = _stacked_edges(graphs, edges)
    sizes = np.tile(np.asarray([[n], [edges]], np.int32), (hops, 1, 1))
    stacked = jraph.GraphsTuple(
        nodes=None, edges=None, senders=s, receivers=r, globals=None, n_node=sizes[:, 0], n_edge=sizes[:, 1]
    )
    return Graph(stacked, P, edge_mask=mask)


def _stacked_edges(matrices: list[sp.csr_matrix], length: int) -> Edges:
    """Rows of several matrices as lists of edges sorted by receiver, padded by weight 0 to one length."""
    n = matrices[0].shape[0]
    senders = np.zeros((len(matrices), length), np.int32)
    receivers = np.full((len(matrices), length), max(n - 1, 0), np.int32)
    weights = np.zeros((len(matrices), length))
    for k, matrix in enumerate(matrices):
        matrix.sort_indices()
        senders[k, : matrix.nnz] = matrix.indices
        receivers[k, : matrix.nnz] = np.repeat(np.arange(n), np.diff(matrix.indptr))
        weights[k, : matrix.nnz] = matrix.data
    return Edges(senders, receivers, weights)


def _check_options(normalisation: Any, loops: Any, hops: Any, undirected: Any, padded: Any) -> None:
    if not isinstance(normalisation, str) or normalisation not in get_args(Normalisation):
        allowed = ", ".join(get_args(Normalisation))
        raise ValueError(f"normalisation={normalisation!r} is not known: allowed are {allowed}")
    for name, value in (("loops", loops), ("undirected", undirected), ("padded", padded)):
        if not (value is None or isinstance(value, bool | np.bool_)):
            raise ValueError(f"{name}={value!r}: allowed are True, False and None")
    if hops is not None and (isinstance(hops, bool) or not isinstance(hops, int | np.integer) or hops < 1):
        raise ValueError(f"hops={hops!r}: allowed are 1 and more, whole")


def _as_tuple(graph: Any) -> jraph.GraphsTuple:
    if isinstance(graph, Graph):
        raise ValueError("prepare: the graph is prepared already: its GraphsTuple or edges are needed")
    given = as_source("prepare", graph)
    given = given.graph if isinstance(given, Dataset) else given
    if isinstance(graph, jraph.GraphsTuple):
        _check_tuple(given)
    return given


def _check_tuple(graph: jraph.GraphsTuple) -> None:
    if graph.senders is None or graph.receivers is None:
        raise ValueError("prepare: the GraphsTuple has no senders or no receivers")
    n_node, n_edge = np.asarray(graph.n_node), np.asarray(graph.n_edge)
    for name, counts in (("n_node", n_node), ("n_edge", n_edge)):
        if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise ValueError(
                f"prepare: {name} of the GraphsTuple is {counts}: counts of every graph [graphs] are needed"
            )
    if n_edge.sum() != np.size(graph.senders):
        raise ValueError(
            f"prepare: n_edge of the GraphsTuple adds up to {n_edge.sum()} for {np.size(graph.senders)} edges"
        )
    dropped = [name for name in ("nodes", "globals") if jax.tree.leaves(getattr(graph, name))]
    if dropped:
        without = ", ".join(f"{name}=None" for name in dropped)
        warnings.warn(
            f"prepare: {' and '.join(dropped)} of the GraphsTuple are not kept: features of nodes are passed to the "
            f"network as x, and graph._replace({without}) says that this is meant",
            stacklevel=3,
        )


def _real_nodes(n_node: np.ndarray | None, num_nodes: int, padded: bool | None) -> int:
    """How many nodes are not padding: they come first."""
    if n_node is None or not padded:
        if padded:
            raise ValueError("padded=True is for a GraphsTuple that jraph.pad_with_graphs returned")
        if padded is None and n_node is not None and n_node.size > 1 and n_node[-1] == 0:
            warnings.warn(
                "prepare: the last graphs have no nodes, as if jraph.pad_with_graphs had added them: padded=True "
                "masks what it adds, padded=False counts every node",
                stacklevel=3,
            )
        return num_nodes
    # It adds one graph with all nodes and edges of the padding, then graphs without any.
    graphs = np.flatnonzero(n_node)
    if not graphs.size or graphs[-1] == 0:
        raise ValueError(f"padded=True leaves no graph: n_node is {n_node}, and its last graph with nodes is padding")
    return int(n_node[: graphs[-1]].sum())


def _check_within_graphs(senders: np.ndarray, receivers: np.ndarray, n_node: np.ndarray) -> None:
    number = np.repeat(np.arange(n_node.size), n_node)
    wrong = np.flatnonzero(number[senders] != number[receivers])
    if wrong.size:
        u, v = senders[wrong[0]], receivers[wrong[0]]
        raise ValueError(f"edge {wrong[0]} joins node {u} of graph {number[u]} and node {v} of graph {number[v]}")


def _edges_per_graph(receivers: np.ndarray, n_node, num_nodes: int) -> np.ndarray:
    if n_node is None:
        return np.asarray([receivers.size], np.int32)
    ends = np.searchsorted(receivers, np.cumsum(n_node))
    return np.diff(ends, prepend=0).astype(np.int32)

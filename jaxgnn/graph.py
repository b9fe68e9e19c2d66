"""Graph: a jraph.GraphsTuple sorted by receiver, and the propagation matrix packed from it once."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from jaxgnn.arrays import Array
from jaxgnn.memory import require_memory
from jaxgnn.propagation import Backend, Edges, Propagation, make_propagation
from jaxgnn.segment import segment_max, segment_sum

Normalisation = Literal["sym", "row", "doubly", "raw"]
Aggregation = Literal["sum", "mean", "max"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Graph:
    """A prepared graph; a pytree whose arrays are on the host until a program uses them.

    Attributes:
      graphs_tuple: jraph.GraphsTuple with edges sorted by (receiver, sender), duplicates merged, no added loops;
        `edges` holds edge features [e, ...] or None, `nodes` is None.
      propagation: P[receiver, sender], with the loops that the normalisation asks for.
      edge_mask: [e] 1 for an edge, 0 for one that is padding or dropped; None where every edge counts.
      node_mask: [n] the same of nodes.
      khops: this graph's pairs at distance exactly 1, .., K as graphs of their own, stacked in a leading axis K and
        padded to equal numbers of edges; None unless `prepare` was asked for `hops`.
    """

    graphs_tuple: jraph.GraphsTuple
    propagation: Propagation
    edge_mask: Float[Array, "e"] | None = None
    node_mask: Float[Array, "n"] | None = None
    khops: "Graph | None" = None

    @property
    def senders(self) -> Int[Array, "e"]:
        return self.graphs_tuple.senders

    @property
    def receivers(self) -> Int[Array, "e"]:
        return self.graphs_tuple.receivers

    @property
    def num_nodes(self) -> int:
        return self.propagation.num_nodes

    @property
    def num_edges(self) -> int:
        return self.senders.shape[0]

    @property
    def graph_of_nodes(self) -> Int[Array, "n"]:
        """Number of the graph that each node is in, for a GraphsTuple of several graphs."""
        n_node = jnp.asarray(self.graphs_tuple.n_node)
        return jnp.repeat(jnp.arange(n_node.shape[0]), n_node, total_repeat_length=self.num_nodes)

    @property
    def edge_features(self) -> Any:
        return self.graphs_tuple.edges

    def at_senders(self, X: Float[Array, "n ..."]) -> Float[Array, "e ..."]:
        """Row X[u] for every edge u -> v."""
        return jnp.asarray(X).at[self.senders].get(mode="promise_in_bounds")

    def at_receivers(self, X: Float[Array, "n ..."]) -> Float[Array, "e ..."]:
        """Row X[v] for every edge u -> v."""
        return jnp.asarray(X).at[self.receivers].get(mode="promise_in_bounds")

    def aggregate(self, messages: Float[Array, "e ..."], how: Aggregation = "sum") -> Float[Array, "n ..."]:
        """Sum, mean or maximum of the messages on each node's incoming edges; 0 where there are none."""
        trailing = (1,) * (messages.ndim - 1)
        mask = None if self.edge_mask is None else jnp.asarray(self.edge_mask, messages.dtype).reshape(-1, *trailing)
        if how == "max":
            messages = messages if mask is None else jnp.where(mask > 0, messages, -jnp.inf)
            return segment_max(messages, self.receivers, self.num_nodes, sorted=True)
        messages = messages if mask is None else messages * mask
        total = segment_sum(messages, self.receivers, self.num_nodes, sorted=True)
        if how == "sum":
            return total
        ones = jnp.ones((self.num_edges,), messages.dtype) if mask is None else mask.reshape(-1)
        degree = segment_sum(ones, self.receivers, self.num_nodes, sorted=True)
        return total / jnp.maximum(degree, 1).reshape(-1, *trailing)

    def hop(self, index: Int[Array, ""]) -> "Graph":
        """The graph of the pairs at distance exactly 1 + index mod K. Raises ValueError without `khops`."""
        if self.khops is None:
            raise ValueError("the k-hop schedule needs the pairs at each distance: prepare the graph with hops=K")
        hops = self.khops.senders.shape[0]
        hop = jax.tree.map(lambda a: jnp.asarray(a)[index % hops], self.khops)
        # The same graphs of the same nodes: norms and pooling read them.
        nodes = hop.graphs_tuple._replace(n_node=self.graphs_tuple.n_node)
        return replace(hop, graphs_tuple=nodes, node_mask=self.node_mask)


def prepare(
    graph: jraph.GraphsTuple | None = None,
    *,
    senders: Int[np.ndarray, "e"] | None = None,
    receivers: Int[np.ndarray, "e"] | None = None,
    num_nodes: int | None = None,
    weights: Float[np.ndarray, "e"] | None = None,
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
      graph: a jraph.GraphsTuple (of several graphs: their disjoint union); its edge features are kept. Or:
      senders, receivers: [e] integers, and num_nodes: n.
      weights: [e] edge weights in P, 1 when absent; layers that do not use P count every edge once. Duplicate edges'
        weights are added; unweighted duplicates are one.
      backend: how P X is computed: "padded" gathers, "segment" sums by segment, "dense" multiplies; "auto" by size.
      hops: K, to find the pairs at distance exactly 1, .., K as well (weights do not count there): `Graph.khops`.

    Raises:
      MemoryError: the pairs at a distance do not fit into memory.
      ValueError: an edge to a node that is not there, arrays that do not fit, an unknown option, a weight that is
        NaN or negative where degrees are needed, duplicates with different features, an asymmetric graph for "doubly".
    """
    if normalisation not in get_args(Normalisation):
        allowed = ", ".join(get_args(Normalisation))
        raise ValueError(f"normalisation={normalisation!r} is not known: allowed are {allowed}")
    n_node, features = None, None
    if graph is not None:
        if not (senders is None and receivers is None and num_nodes is None):
            raise ValueError("prepare: pass a GraphsTuple or senders, receivers and num_nodes, not both")
        senders, receivers, features = graph.senders, graph.receivers, graph.edges
        n_node = np.asarray(graph.n_node, np.int32)
        num_nodes = int(n_node.sum())
    if hops is not None and features is not None:
        raise ValueError("prepare: pairs at a distance have no edge features: hops=K goes without them")
    if senders is None or receivers is None or num_nodes is None:
        raise ValueError("prepare: senders, receivers and num_nodes are all needed for edge arrays")
    senders, receivers = _checked_edges(senders, receivers, num_nodes)
    A, first, inverse = _adjacency(senders, receivers, num_nodes, weights, features)
    P, degree = _normalise(A, normalisation, loops, weighted=weights is not None)
    order = np.repeat(np.arange(num_nodes, dtype=np.int32), np.diff(A.indptr))
    merged = jraph.GraphsTuple(
        nodes=None,
        edges=None if features is None else _merged_features(features, first, inverse),
        senders=A.indices.astype(np.int32),
        receivers=order,
        n_node=np.asarray([num_nodes], np.int32) if n_node is None else n_node,
        n_edge=_edges_per_graph(order, n_node, num_nodes),
        globals=None,
    )
    propagation = make_propagation(P, degree, normalisation=normalisation, backend=backend)
    return Graph(merged, propagation, khops=None if hops is None else _khops(A, hops, normalisation, loops))


def components(graph: Graph | jraph.GraphsTuple) -> Int[np.ndarray, "n"]:
    """Number of the weakly connected component of each node, [n], numbered from 0 in the order of first nodes."""
    num_nodes = int(np.sum(graph.graphs_tuple.n_node if isinstance(graph, Graph) else graph.n_node))
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    adjacency = sp.coo_matrix((np.ones(senders.shape[0]), (receivers, senders)), (num_nodes, num_nodes))
    return sp.csgraph.connected_components(adjacency, directed=False)[1].astype(np.int32)


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
    nodes = np.flatnonzero(labels == np.argmax(np.bincount(labels)))
    P = graph.propagation.sparse()[nodes][:, nodes]
    if nodes.size < 200:
        moduli = np.abs(np.linalg.eigvalsh(P.toarray()))
    else:
        start = np.random.default_rng(0).standard_normal(nodes.size)
        moduli = np.abs(sp.linalg.eigsh(P, k=2, which="LM", ncv=80, tol=1e-8, v0=start, return_eigenvectors=False))
    return float(np.sort(moduli)[-2]) if nodes.size > 1 else 0.0


def _khops(A: sp.csr_matrix, hops: int, normalisation: str, loops: bool | None) -> Graph:
    """Graphs of the pairs at distance exactly 1 .. hops, [hops, ...]; P of each is normalised like the graph's own."""
    if hops < 1:
        raise ValueError(f"hops={hops}: allowed are 1 and more")
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
    matrices, degrees = zip(*(_normalise(g, normalisation, loops, weighted=False) for g in graphs), strict=True)
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


def _checked_edges(senders: Any, receivers: Any, num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    if num_nodes < 0:
        raise ValueError(f"num_nodes={num_nodes} is negative: a graph has 0 nodes or more")
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    if senders.ndim != 1 or senders.shape != receivers.shape:
        raise ValueError(
            f"senders {senders.shape} and receivers {receivers.shape} must be one-dimensional and equally long"
        )
    for name, nodes in (("senders", senders), ("receivers", receivers)):
        if nodes.size and not np.issubdtype(nodes.dtype, np.integer):
            raise ValueError(f"{name} have dtype {nodes.dtype}: node numbers must be integers")
        wrong = np.flatnonzero((nodes < 0) | (nodes >= num_nodes))
        if wrong.size:
            edge = wrong[0]
            raise ValueError(
                f"edge {edge} has {name[:-1]} {nodes[edge]}, a node that is not there: nodes are 0 to {num_nodes - 1}"
            )
    return senders.astype(np.int64), receivers.astype(np.int64)


def _adjacency(senders, receivers, num_nodes: int, weights, features) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    # Sorted by (receiver, sender), merged: the number of an edge in this order is its number in the Graph.
    key = receivers * num_nodes + senders
    first = inverse = np.zeros(0, np.int64)  # weights and features alone ask where an edge comes from and goes to
    if weights is not None or features is not None:
        key, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    elif not (key[1:] > key[:-1]).all():  # data sets are in this order already
        key.sort()
        key = key[np.append(True, key[1:] != key[:-1])]  # np.unique would hash, which takes longer than to sort
    if weights is None:
        values = np.ones(key.size)
    else:
        weights = np.asarray(weights, np.float64)
        if weights.shape != senders.shape:
            raise ValueError(
                f"weights have shape {weights.shape}: one weight for each of {senders.size} edges is needed"
            )
        if not np.isfinite(weights).all():
            edge = np.flatnonzero(~np.isfinite(weights))[0]
            raise ValueError(f"the weight of edge {edge} is {weights[edge]}: weights must be finite")
        values = np.bincount(inverse, weights, minlength=key.size).astype(np.float64)  # without edges: integers
    rows, columns = np.divmod(key, max(num_nodes, 1))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num_nodes))])
    return sp.csr_matrix((values, columns, indptr), (num_nodes, num_nodes)), first, inverse


def _normalise(A: sp.csr_matrix, normalisation: str, loops: bool | None, *, weighted: bool):
    if loops is None:
        loops = normalisation != "raw"
    if normalisation == "doubly":
        if not loops:
            raise ValueError('loops=False does not go with normalisation="doubly": its diagonal is 1 - sum_v P_uv')
        return _metropolis(A, weighted=weighted)
    if loops:
        A = A + sp.diags_array((A.diagonal() == 0).astype(np.float64), format="csr")
    degree = np.asarray(A.sum(axis=1)).ravel()
    if normalisation == "raw":
        return A, degree
    if (A.data < 0).any():
        raise ValueError(
            f"an edge weight is {A.data.min()}: normalisation={normalisation!r} needs weights of 0 or more"
        )
    power = -0.5 if normalisation == "sym" else -1.0
    scale = np.zeros_like(degree)
    np.power(degree, power, where=degree > 0, out=scale)
    values = np.repeat(scale, np.diff(A.indptr))
    if normalisation == "sym":
        values *= scale[A.indices]  # one product for both ends: P of a symmetric graph is symmetric to the last bit
    values *= A.data
    return sp.csr_matrix((values, A.indices, A.indptr), A.shape), degree


def _metropolis(A: sp.csr_matrix, *, weighted: bool):
    if weighted:
        raise ValueError('normalisation="doubly" takes no edge weights: Metropolis weights follow from the degrees')
    A = sp.csr_matrix(A - sp.diags_array(A.diagonal(), format="csr"))
    A.eliminate_zeros()
    different = sp.coo_matrix(A - A.T)
    if different.nnz:
        receiver, sender = (int(i[np.flatnonzero(different.data > 0)[0]]) for i in different.coords)
        raise ValueError(
            f'normalisation="doubly" needs a symmetric graph: edge {sender} -> {receiver} has no edge back'
        )
    rows, columns = A.nonzero()
    degree = np.bincount(rows, minlength=A.shape[0]).astype(np.float64)
    weights = 1.0 / (1.0 + np.maximum(degree[rows], degree[columns]))
    off_diagonal = sp.csr_matrix((weights, (rows, columns)), A.shape)
    diagonal = 1.0 - np.asarray(off_diagonal.sum(axis=1)).ravel()
    return sp.csr_matrix(off_diagonal + sp.diags_array(diagonal)), degree + 1.0


def _merged_features(features, first: np.ndarray, inverse: np.ndarray):
    def merge(feature):
        feature = np.asarray(feature)
        if not np.array_equal(feature[first][inverse], feature):
            raise ValueError("duplicate edges have different features: merge them before prepare()")
        return feature[first]

    return jax.tree.map(merge, features)


def _edges_per_graph(receivers: np.ndarray, n_node, num_nodes: int) -> np.ndarray:
    if n_node is None:
        return np.asarray([receivers.size], np.int32)
    ends = np.searchsorted(receivers, np.cumsum(n_node))
    return np.diff(ends, prepend=0).astype(np.int32)

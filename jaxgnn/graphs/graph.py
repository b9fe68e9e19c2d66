"""Graph: a jraph.GraphsTuple sorted by receiver, and the propagation matrix packed from it once."""

import math
import warnings
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from jaxgnn.graphs.edge_list import (
    checked_edges,
    checked_features,
    checked_weights,
    merged,
    one_way,
    taken,
    with_reverses,
)
from jaxgnn.graphs.normalisation import Normalisation as Normalisation
from jaxgnn.graphs.normalisation import normalised
from jaxgnn.graphs.propagation import Backend, Edges, Propagation, make_propagation
from jaxgnn.graphs.segment import segment_max, segment_sum
from jaxgnn.host.arrays import Array, unshared
from jaxgnn.host.memory import require_memory

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
      weighted: whether edges have weights other than 1, which are in `propagation` alone.
    """

    graphs_tuple: jraph.GraphsTuple
    propagation: Propagation
    edge_mask: Float[Array, "e"] | None = None
    node_mask: Float[Array, "n"] | None = None
    khops: "Graph | None" = None
    weighted: bool = field(default=False, metadata={"static": True})

    def __repr__(self) -> str:
        shape = getattr(self.graphs_tuple.senders, "shape", None) or ("?",)
        parts = [f"{self.num_nodes} nodes", f"{shape[-1]} directed edges", repr(self.propagation)]
        said = {"weighted": self.weighted, "padded": self.node_mask is not None, "k-hop": self.khops is not None}
        return f"Graph({', '.join(parts + [word for word, so in said.items() if so])})"

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
        return unshared(self.graphs_tuple.edges)

    def edge_matrix(self, dtype: Any) -> Float[Array, "e k"] | None:
        """The edge features as one matrix, or None. Raises ValueError where they are several arrays."""
        if self.edge_features is None:
            return None
        if len(leaves := jax.tree.leaves(self.edge_features)) != 1:
            raise ValueError(f"the edge features are {len(leaves)} arrays: put them side by side in one [e, k]")
        E = jnp.asarray(leaves[0], dtype)
        return E.reshape(E.shape[0], math.prod(E.shape[1:]))

    def warn_unused(self, user: str, *, weights: bool = False, features: bool = False) -> None:
        """Warns, once in a process, of edge weights or features that this graph has and a layer does not use."""
        if weights and self.weighted:
            warn_once(f"{user} counts every edge once: the graph's edge weights are not used")
        if features and self.edge_features is not None:
            warn_once(f"{user} takes no edge features: those of the graph are not used")

    def masked(self, X: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """X with 0 in the rows of padding."""
        return X if self.node_mask is None else jnp.where(jnp.asarray(self.node_mask)[:, None] > 0, X, 0)

    def without_padding(self, X: Float[Array, "... n d"]) -> Float[Array, "... m d"]:
        """The rows of nodes that are not padding, for the measures of plain arrays; not under `jax.jit`."""
        return X if self.node_mask is None else X[..., np.flatnonzero(self.node_mask), :]

    def at_senders(self, X: Float[Array, "n ..."]) -> Float[Array, "e ..."]:
        """Row X[u] for every edge u -> v."""
        return jnp.asarray(X).at[self.senders].get(mode="promise_in_bounds")

    def at_receivers(self, X: Float[Array, "n ..."]) -> Float[Array, "e ..."]:
        """Row X[v] for every edge u -> v."""
        return jnp.asarray(X).at[self.receivers].get(mode="promise_in_bounds")

    def aggregate(self, messages: Float[Array, "e ..."], how: Aggregation = "sum") -> Float[Array, "n ..."]:
        """Sum, mean or maximum of the messages on each node's incoming edges; 0 where there are none."""
        trailing = (1,) * (messages.ndim - 1)
        mask = (
            None
            if self.edge_mask is None
            else jnp.asarray(unshared(self.edge_mask), messages.dtype).reshape(-1, *trailing)
        )
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
      graph: a jraph.GraphsTuple (of several graphs: their disjoint union); its edge features are kept. Or:
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
        _check_tuple(graph)
        senders, receivers, features = graph.senders, graph.receivers, graph.edges
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
        weighted=edges.weights is not None and bool(np.any(edges.weights != 1)),
    )


@cache
def warn_once(sentence: str) -> None:
    """A UserWarning, the first time that it is asked for: a layer is traced many times over."""
    # Python's own register of what was said is emptied by every `catch_warnings`, which JAX enters while it traces.
    warnings.warn(sentence, stacklevel=3)


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


def _check_tuple(graph: Any) -> None:
    if not isinstance(graph, jraph.GraphsTuple):
        raise ValueError(f"prepare: a jraph.GraphsTuple is needed, not {type(graph).__name__}")
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

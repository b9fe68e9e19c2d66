"""Graph: a jraph.GraphsTuple sorted by receiver, and the propagation matrix packed from it once."""

import math
import warnings
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from jaxgnn.graphs.normalisation import Normalisation as Normalisation
from jaxgnn.graphs.propagation import Propagation
from jaxgnn.graphs.segment import rows, segment_max, segment_sum
from jaxgnn.host.arrays import Array, unshared

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
      weighted: whether edges have weights other than 1, which only `propagation` uses.
      weights: [e] these weights as they were given; None where there are none, or the graph was changed since.
    """

    graphs_tuple: jraph.GraphsTuple
    propagation: Propagation
    edge_mask: Float[Array, "e"] | None = None
    node_mask: Float[Array, "n"] | None = None
    khops: "Graph | None" = None
    weighted: bool = field(default=False, metadata={"static": True})
    weights: Float[np.ndarray, "e"] | None = None

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
        return rows(X, self.senders)

    def at_receivers(self, X: Float[Array, "n ..."]) -> Float[Array, "e ..."]:
        """Row X[v] for every edge u -> v."""
        return rows(X, self.receivers, sorted=True)

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

    def to_scipy(self) -> sp.csr_matrix:
        """The adjacency matrix [n, n] without added loops: the entry [u, v] is the weight of the edge u -> v, or 1.

        Raises ValueError where edges are padded or dropped, or had weights that are not kept.
        """
        if self.edge_mask is not None or (self.weighted and self.weights is None):
            raise ValueError("edges of this graph are padded or changed: the graph that prepare made has the matrix")
        values = np.ones(self.num_edges) if self.weights is None else np.asarray(self.weights)
        ends = (np.asarray(self.senders), np.asarray(self.receivers))
        return sp.csr_matrix((values, ends), (self.num_nodes, self.num_nodes))

    def to_networkx(self) -> Any:
        """A networkx graph of the nodes 0 .. n - 1: Graph where every edge has one back of equal weight, or DiGraph.

        Weights other than 1 are the attribute "weight". Raises ValueError as `to_scipy` does.
        """
        import networkx as nx  # takes a moment

        matrix = self.to_scipy()
        found = nx.Graph() if (matrix != matrix.T).nnz == 0 else nx.DiGraph()
        found.add_nodes_from(range(self.num_nodes))
        entries = matrix.tocoo()
        edges = zip(entries.row.tolist(), entries.col.tolist(), strict=True)
        if self.weights is None:
            found.add_edges_from(edges)
        else:
            found.add_weighted_edges_from((u, v, w) for (u, v), w in zip(edges, entries.data.tolist(), strict=True))
        return found

    def hop(self, index: Int[Array, ""]) -> "Graph":
        """The graph of the pairs at distance exactly 1 + index mod K. Raises ValueError without `khops`."""
        if self.khops is None:
            raise ValueError("the k-hop schedule needs the pairs at each distance: prepare the graph with hops=K")
        hops = self.khops.senders.shape[0]
        hop = jax.tree.map(lambda a: jnp.asarray(a)[index % hops], self.khops)
        # The same graphs of the same nodes: norms and pooling read them.
        nodes = hop.graphs_tuple._replace(n_node=self.graphs_tuple.n_node)
        return replace(hop, graphs_tuple=nodes, node_mask=self.node_mask)


@cache
def warn_once(sentence: str) -> None:
    """A UserWarning, the first time that it is asked for: a layer is traced many times over."""
    # Python's own register of what was said is emptied by every `catch_warnings`, which JAX enters while it traces.
    warnings.warn(sentence, stacklevel=3)

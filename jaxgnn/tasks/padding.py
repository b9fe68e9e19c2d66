"""Graphs padded to one size and stacked in a leading axis, and the disjoint union of a stack."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.propagation import Edges, Propagation
from jaxgnn.host.arrays import Array


def stacked(graphs: Sequence[Graph]) -> Graph:
    """The graphs in a leading axis, P as lists of entries, all padded to the largest. Every leaf is [G, ..., size]."""
    forward = [_entries(graph.propagation) for graph in graphs]
    backward = None
    if any(graph.propagation.backward is not None for graph in graphs):
        backward = [_entries(graph.propagation.T) for graph in graphs]
    n = max(1, *(graph.num_nodes for graph in graphs))

    def padded(arrays, value=0):
        arrays = [np.asarray(a) for a in arrays]
        size = max(a.shape[-1] for a in arrays)
        pads = ([(0, 0)] * (a.ndim - 1) + [(0, size - a.shape[-1])] for a in arrays)
        return np.stack([np.pad(a, pad, constant_values=value) for a, pad in zip(arrays, pads, strict=True)])

    def of_nodes(arrays):
        return np.stack([np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, n - a.shape[-1])]) for a in arrays])

    def packed(entries: list[Edges]) -> Edges:
        senders, receivers, weights = zip(*entries, strict=True)
        return Edges(padded(senders, n - 1), padded(receivers, n - 1), padded(weights))

    e = max(graph.senders.shape[-1] for graph in graphs)
    first = graphs[0]
    tuples = first.graphs_tuple._replace(
        edges=jax.tree.map(lambda *a: padded_rows(list(map(np.asarray, a)), e), *(g.edge_features for g in graphs)),
        senders=padded([graph.senders for graph in graphs], n - 1),
        receivers=padded([graph.receivers for graph in graphs], n - 1),
        n_node=np.stack([graph.graphs_tuple.n_node for graph in graphs]),
        n_edge=np.stack([graph.graphs_tuple.n_edge for graph in graphs]),
    )
    P = Propagation(
        packed(forward),
        None if backward is None else packed(backward),
        of_nodes([np.asarray(graph.propagation.degree) for graph in graphs]),
        num_nodes=n,
        normalisation=first.propagation.normalisation,
    )
    return Graph(
        tuples,
        P,
        edge_mask=padded([_mask(graph.edge_mask, graph.senders.shape) for graph in graphs]),
        node_mask=of_nodes([_mask(graph.node_mask, (*graph.senders.shape[:-1], graph.num_nodes)) for graph in graphs]),
        khops=None if first.khops is None else stacked([graph.khops for graph in graphs if graph.khops is not None]),
        weighted=any(graph.weighted for graph in graphs),
    )


def union(graphs: Graph) -> Graph:
    """The disjoint union of the graphs in the leading axis: node v of graph i becomes node i n_max + v."""
    B, e = graphs.senders.shape
    n = graphs.num_nodes
    offsets = n * jnp.arange(B, dtype=jnp.int32)[:, None]

    def flat(a):
        return a.reshape(-1, *a.shape[2:])

    def shifted(nodes):
        return flat(nodes + offsets)

    def entries(packed: Edges) -> Edges:
        return Edges(shifted(packed.senders), shifted(packed.receivers), flat(packed.weights))

    P = graphs.propagation
    P = replace(
        P,
        forward=entries(P.forward),
        backward=None if P.backward is None else entries(P.backward),
        degree=flat(P.degree),
        num_nodes=B * n,
    )
    tuples = graphs.graphs_tuple._replace(
        edges=jax.tree.map(flat, graphs.edge_features),
        senders=shifted(graphs.senders),
        receivers=shifted(graphs.receivers),
        n_node=jnp.full((B,), n, jnp.int32),
        n_edge=jnp.full((B,), e, jnp.int32),
    )
    khops = None if graphs.khops is None else jax.vmap(union, in_axes=1)(graphs.khops)  # K in front again
    masks = {"edge_mask": flat(graphs.edge_mask), "node_mask": flat(graphs.node_mask)}
    return replace(graphs, graphs_tuple=tuples, propagation=P, khops=khops, **masks)


def masked(graphs: Graph, counts: Bool[Array, "B"]) -> Graph:
    """Stacked graphs, those that do not count masked out as a whole."""

    def kept(mask):
        return mask * counts.astype(mask.dtype).reshape(-1, *(1,) * (mask.ndim - 1))

    khops = None if graphs.khops is None else masked(graphs.khops, counts)
    return replace(graphs, edge_mask=kept(graphs.edge_mask), node_mask=kept(graphs.node_mask), khops=khops)


def padded_rows(arrays: Sequence[np.ndarray], length: int) -> np.ndarray:
    """[G, length, ...]: arrays [n, ...] with rows of 0 below."""
    return np.stack([np.pad(a, [(0, length - a.shape[0])] + [(0, 0)] * (a.ndim - 1)) for a in arrays])


def _entries(P: Propagation) -> Edges:
    """P's entries, sorted by receiver."""
    if isinstance(P.forward, Edges):
        return P.forward
    matrix = sp.csr_matrix(P.sparse())
    matrix.sort_indices()
    rows = np.repeat(np.arange(P.num_nodes, dtype=np.int32), np.diff(matrix.indptr))
    return Edges(matrix.indices.astype(np.int32), rows, matrix.data)


def _mask(mask: Array | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape, np.float32) if mask is None else np.asarray(mask, np.float32)

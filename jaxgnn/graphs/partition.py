"""A graph's nodes in equal parts, one for each device: an order with few edges between parts, and P packed in it."""

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
import scipy.sparse as sp
from jax.sharding import Mesh
from jaxtyping import Int

from jaxgnn.graphs.fold import fold
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.propagation import Edges, Halo, Propagation, Slots, best_slots
from jaxgnn.graphs.rounds import cost, rounds
from jaxgnn.graphs.swaps import refined


class Partition(NamedTuple):
    """A graph in parts of m nodes each, nodes p m .. (p+1) m - 1 in part p.

    Attributes:
      graph: the graph in this order, N = parts m nodes, its propagation as a `Halo`. Nodes that fill up the last parts
        have no edges and are 0 in `node_mask`.
      order: [N] the node of the given graph that stands at each place; -1 where one fills up.
      halo: [parts] rows that each part reads of others in P X.
      cut: entries of P between two parts.
      received: rows that every part receives or has room for in P X, at least `halo.max()`: the rounds' lengths.
    """

    graph: Graph
    order: Int[np.ndarray, "N"]
    halo: Int[np.ndarray, "parts"]
    cut: int
    received: int

    @property
    def excess(self) -> float:
        """Rows received over rows needed, by the part that needs most: 1 is the least; 1 where none is read."""
        needed = int(self.halo.max(initial=0))
        return self.received / needed if needed else 1.0


def partitioned(graph: Graph, parts: int, mesh: Mesh | None = None) -> Partition:
    """Orders a graph's nodes and cuts them into equal contiguous parts.

    The order is the given one or, where rows are exchanged faster in it, reverse Cuthill-McKee (Cuthill & McKee 1969)
    of the pattern of P + P^T: neighbours stand close to each other, so that most of them are in the same part. Then
    nodes change places where that is faster still (`jaxgnn.graphs.swaps`): few short rounds against fewer rows.

    mesh: devices for P X, with `parts` of them along the axis "nodes"; without, all parts are on one device.

    Raises ValueError where `parts` is less than 1, or the graph is several graphs or has pairs at a distance (`khops`).
    """
    if parts < 1:
        raise ValueError(f"parts={parts}: allowed are 1 and more")
    if graph.graphs_tuple.n_node.shape[0] != 1:
        raise ValueError(f"{graph.graphs_tuple.n_node.shape[0]} graphs in one cannot be partitioned by nodes: one can")
    if graph.khops is not None:
        raise ValueError("a graph with the pairs at each distance (hops=K) cannot be partitioned by nodes")
    P = graph.propagation.sparse()
    n, N = graph.num_nodes, parts * -(-graph.num_nodes // parts)
    order = _best_order(P, parts)
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    entries = P.tocoo()
    P = sp.csr_matrix((entries.data, (place[entries.row], place[entries.col])), (N, N))
    order = np.concatenate([order, np.full(N - n, -1)])
    forward, halo, cut = _packed(P, parts, mesh)
    backward = None
    if graph.propagation.backward is not None:
        backward, read, _ = _packed(P.T.tocsr(), parts, mesh)
        halo = np.maximum(halo, read)
    received = max(way.received for way in (forward, backward) if way is not None)
    propagation = Propagation(
        forward,
        backward,
        taken(np.asarray(graph.propagation.degree), order),
        num_nodes=N,
        normalisation=graph.propagation.normalisation,
    )
    return Partition(_permuted(graph, place, order, propagation), order, halo, cut, received)


def taken(array: np.ndarray, order: Int[np.ndarray, "N"]) -> np.ndarray:
    """Rows of an array of nodes in a partition's order, 0 where a node fills up."""
    rows = np.asarray(array)[np.maximum(order, 0)]
    return np.where((order >= 0).reshape(-1, *[1] * (rows.ndim - 1)), rows, np.zeros((), rows.dtype))


def _best_order(P: sp.csr_matrix, parts: int) -> Int[np.ndarray, "n"]:
    n = P.shape[0]
    given = np.arange(n)
    if n < 2 or parts == 1:
        return given
    pattern = sp.csr_matrix(P + P.T)
    close = sp.csgraph.reverse_cuthill_mckee(pattern, symmetric_mode=True).astype(np.int64)
    order = min((given, close), key=lambda order: _cost(P, order, parts))
    pattern.setdiag(0)
    pattern.eliminate_zeros()
    part = np.empty(n, np.int64)
    part[order] = given // -(-n // parts)
    moved = order[np.argsort(refined(pattern, part, parts)[order], kind="stable")]
    return min((order, moved), key=lambda order: _cost(P, order, parts))


def _cost(P: sp.csr_matrix, order: Int[np.ndarray, "n"], parts: int) -> int:
    return cost(rounds(_rows_read(P, order, parts)))


def _rows_read(P: sp.csr_matrix, order: Int[np.ndarray, "n"], parts: int) -> Int[np.ndarray, "source reader"]:
    """Rows of each part that each other one reads."""
    m = -(-order.size // parts)
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    entries = P.tocoo()
    reader, column = place[entries.row] // m, place[entries.col]
    outside = reader != column // m
    reader, column = np.divmod(np.unique(reader[outside] * order.size + column[outside]), order.size)
    return np.bincount(column // m * parts + reader, minlength=parts * parts).reshape(parts, parts)


def _permuted(graph: Graph, place: np.ndarray, order: np.ndarray, propagation: Propagation) -> Graph:
    senders, receivers = place[np.asarray(graph.senders)], place[np.asarray(graph.receivers)]
    edges = np.lexsort((senders, receivers))
    n = np.asarray([order.size], np.int32)
    moved = graph.graphs_tuple._replace(
        senders=senders[edges].astype(np.int32),
        receivers=receivers[edges].astype(np.int32),
        edges=jax.tree.map(lambda feature: np.asarray(feature)[edges], graph.edge_features),
        n_node=n,
    )
    edge_mask = None if graph.edge_mask is None else np.asarray(graph.edge_mask)[edges]
    node_mask = graph.node_mask
    if node_mask is not None or (order < 0).any():
        node_mask = taken(np.ones(place.size, np.float32) if node_mask is None else np.asarray(node_mask), order)
    weights = None if graph.weights is None else graph.weights[edges]
    masks = {"edge_mask": edge_mask, "node_mask": node_mask}
    return replace(graph, graphs_tuple=moved, propagation=propagation, weights=weights, **masks)


def _packed(P: sp.csr_matrix, parts: int, mesh: Mesh | None) -> tuple[Halo, Int[np.ndarray, "parts"], int]:
    """P as a Halo, the rows that each part reads of others, and the number of entries that do."""
    P.sort_indices()
    N = P.shape[0]
    m = N // parts
    degree = np.diff(P.indptr)
    rows, columns = np.repeat(np.arange(N), degree), P.indices.astype(np.int64)
    part, owner = rows // max(m, 1), columns // max(m, 1)
    outside = part != owner
    # Every (part, node of another part) that is read, by part, then by the node's part.
    read, number = np.unique(part[outside] * N + columns[outside], return_inverse=True)
    reader, node = np.divmod(read, max(N, 1))
    pairs = np.bincount(reader * parts + node // max(m, 1), minlength=parts * parts).reshape(parts, parts)
    send, to, place = _messages(node % max(m, 1), pairs)
    senders = columns - owner * m
    senders[outside] = (m + place)[number]
    slot = np.arange(P.nnz) - np.repeat(P.indptr[:-1], degree)
    local = _slots(part, slot, senders, rows - part * m, P.data, (parts, best_slots(degree), m))
    halo = np.bincount(reader, minlength=parts)
    return Halo(local, tuple(send), tuple(to), int(halo.max(initial=0)), mesh), halo, int(outside.sum())


def _messages(
    node: Int[np.ndarray, "read"], pairs: Int[np.ndarray, "reader source"]
) -> tuple[list[Int[np.ndarray, "parts s"]], list[tuple[int, ...]], Int[np.ndarray, "read"]]:
    """What is sent in every round, to whom, and where each row that is read comes to stand among those received."""
    start = (np.cumsum(pairs) - pairs.ravel()).reshape(pairs.shape)
    place, before = np.zeros(node.size, np.int64), 0
    send, to = [], []
    for one in rounds(pairs.T):
        nodes = np.zeros((len(pairs), one.length), np.int32)
        for source in np.flatnonzero(one.count):
            reader, count = one.to[source], one.count[source]
            piece = slice(start[reader, source], start[reader, source] + count)
            nodes[source, :count] = node[piece]
            place[piece] = before + np.arange(count)
            start[reader, source] += count
        before += one.length
        send.append(nodes)
        to.append(tuple(one.to.tolist()))
    return send, to, place


def _slots(part, slot, senders, receivers, weights, shape: tuple[int, int, int]) -> Slots:
    """The first K entries of every row in slots, the rest as edges, padded by weight 0 to the same length."""
    parts, num_slots, m = shape
    first = slot < num_slots
    where = (part[first], slot[first], receivers[first])
    slot_senders = np.broadcast_to(np.arange(m, dtype=np.int32), shape).copy()
    slot_senders[where] = senders[first]
    slot_weights = np.zeros(shape)
    slot_weights[where] = weights[first]
    counts = np.bincount(part[~first], minlength=parts)
    length = int(counts.max(initial=0))
    where = (part[~first], np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts))
    rest = Edges(
        np.zeros((parts, length), np.int32),
        np.full((parts, length), max(m - 1, 0), np.int32),
        np.zeros((parts, length)),
    )
    for padded, values in zip(rest, (senders, receivers, weights), strict=True):
        padded[where] = values[~first]
    of_rows = np.bincount(part[~first] * m + receivers[~first], minlength=parts * m).reshape(parts, m)
    return Slots(slot_senders, slot_weights, rest, fold(of_rows, length) if length else None)

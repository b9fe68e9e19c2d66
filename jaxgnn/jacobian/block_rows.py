"""Norms of the blocks d f(h)_v / d h_u of chosen nodes v, from products with J^T, in memory of chosen nodes x nodes.

Nodes v whose blocks lie in different columns share their products: where single nodes reach no further than K edges,
those are the nodes that no node u is within K edges before. What shares products is checked by random products and
by zeros; where the check fails, every node has products of its own.
"""

from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.memory import require_memory
from jaxgnn.host.precision import exact_products
from jaxgnn.jacobian.colouring import colour
from jaxgnn.jacobian.linear import generator, rescaled
from jaxgnn.jacobian.operator import LayerJacobian

BlockNorm = Literal["entrywise", "frobenius", "spectral"]
_PAIRS = 2**25  # of nodes v and u whose norms and distances are held at a time: 400 MB
_SEARCH = 2**25  # edges that one step of a search looks at
_COLOURED = 2_000_000  # pairs within K edges up to which nodes are coloured
_SOURCES = 8  # nodes whose reach is tried
_PROBES = 2  # random vectors that check nodes which share products


class BlockRows(NamedTuple):
    """Some nodes' blocks.

    Attributes:
      nodes: [s] the nodes v.
      distances: [s, n] edges on the shortest path u -> v, -1 where there is none.
      norms: [s, n] of d f(h)_v / d h_u times 2^twos, float64.
      twos: a power of two, by which J was scaled to about 1.
    """

    nodes: Int[np.ndarray, "s"]
    distances: Int[np.ndarray, "s n"]
    norms: Float[np.ndarray, "s n"]
    twos: int


def in_edges(graph: Graph, *, either_way: bool = False) -> sp.csr_array:
    """[n, n] whether an edge u -> v is there, at [v, u]; those that are masked are not. `either_way`: or v -> u."""
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    if graph.edge_mask is not None:
        there = np.asarray(graph.edge_mask) > 0
        senders, receivers = senders[there], receivers[there]
    if either_way:
        senders, receivers = np.concatenate([senders, receivers]), np.concatenate([receivers, senders])
    edges = sp.csr_array((np.ones(senders.size, bool), (receivers, senders)), (graph.num_nodes,) * 2)
    edges.sum_duplicates()
    return edges


def distances_to(
    nodes: Int[np.ndarray, "s"], edges: sp.csr_array, wanted: Bool[np.ndarray, "s n"] | None = None
) -> Int[np.ndarray, "s n"]:
    """Edges on the shortest path from every node u to each of `nodes`, [s, n]; -1 where there is none.

    wanted: pairs that matter: nothing is looked at beyond the last of them, which is -1 too.
    """
    n = edges.shape[0]
    found = np.full((nodes.size, n), -1, np.int32)
    at_once = max(1, _SEARCH // max(edges.nnz, n, 1))
    for start in range(0, nodes.size, at_once):
        part = found[start : start + at_once]  # a view
        rows, columns = np.arange(len(part)), nodes[start : start + at_once]
        distance = 0
        left = -1 if wanted is None else int(np.count_nonzero(wanted[start : start + at_once]))
        while rows.size and left != 0:
            part[rows, columns] = distance
            if wanted is not None:
                left -= int(np.count_nonzero(wanted[start + rows, columns]))
            here = sp.csr_array((np.ones(rows.size, bool), (rows, columns)), (len(part), n))
            rows, columns = (here @ edges).tocoo().coords
            new = part[rows, columns] < 0
            rows, columns, distance = rows[new], columns[new], distance + 1
    return found


def block_rows(
    J: LayerJacobian, edges: sp.csr_array, nodes: Int[np.ndarray, "s"], norm: BlockNorm
) -> Iterator[BlockRows]:
    """The nodes' blocks, as many nodes at a time as fit, in order; J maps [n, d] to [n, e].

    Raises ValueError where the Jacobian is NaN or infinite, MemoryError where one node's blocks do not fit.
    """
    n, (rows, columns) = edges.shape[0], J._products.block_shape
    if norm == "spectral":
        needed = 3 * rows * n * columns * J.dtype.itemsize
        require_memory(needed, "the blocks of one node", 'norm="entrywise"', on_host=True)
    reach = _reach(J, edges) if nodes.size > 1 else None
    for start in range(0, nodes.size, max(1, _PAIRS // n)):
        part = nodes[start : start + max(1, _PAIRS // n)]
        distances = distances_to(part, edges)
        norms = None
        if reach is not None:
            norms = _coloured(J, part, (distances >= 0) & (distances <= reach), norm)
        if norms is None:
            norms = _one_by_one(J, part, norm)
        yield BlockRows(part, distances, norms, J._twos)


def sparse_rows(norms: sp.csr_matrix, edges: sp.csr_array, nodes: Int[np.ndarray, "s"]) -> Iterator[BlockRows]:
    """The same of norms that are known, [n, n]; distances are -1 as well beyond those at which there is any."""
    n = edges.shape[0]
    for start in range(0, nodes.size, max(1, _PAIRS // n)):
        part = nodes[start : start + max(1, _PAIRS // n)]
        rows = norms[part].toarray()
        yield BlockRows(part, distances_to(part, edges, rows > 0), rows, 0)


def _reach(J: LayerJacobian, edges: sp.csr_array) -> int | None:
    """K, the largest distance that random tangents at single nodes reach; None where they go where no path leads."""
    n, d, products = edges.shape[0], J._products.block_shape[1], J._products
    rng = generator(0)
    busiest = np.argsort(-np.bincount(edges.indices, minlength=n), kind="stable")[: _SOURCES // 2]
    sources = np.unique(np.concatenate([busiest, rng.choice(n, min(n, _SOURCES - busiest.size), replace=False)]))
    reach = 0
    for source in sources:  # one at a time: a tangent has the size of h
        V = np.zeros((1, n, d), J.dtype)
        V[0, source] = rng.standard_normal(d)
        reached = (products.mm(V.reshape(1, *products.inputs)).reshape(n, -1) != 0).any(axis=1)
        distances = distances_to(np.array([source]), sp.csr_array(edges.T))[0][reached]
        if (distances < 0).any():
            return None
        reach = max(reach, int(distances.max(initial=0)))
    return reach


def _coloured(J: LayerJacobian, nodes: np.ndarray, near: Bool[np.ndarray, "s n"], norm: BlockNorm) -> np.ndarray | None:
    """[s, n] norms, nodes of one colour in one product; None where the check fails or there is nothing to gain."""
    if near.sum() > _COLOURED:
        return None
    s, n, e = *near.shape, J._products.block_shape[0]
    # No row is taken by itself: a row is a node u here, and no products with J are made.
    colours = colour(sp.csr_matrix(near).T.tocsr(), rows_per_block=s + 1, columns_per_block=1).colours
    if colours.max(initial=-1) + 1 >= s:
        return None
    members = [np.flatnonzero(colours == c) for c in range(colours.max() + 1)]
    owners = [np.nonzero(near[group]) for group in members]  # row in the group, node u: each u once
    V = generator(4).standard_normal((_PROBES, n, J._products.block_shape[1])).astype(J.dtype)
    norms, found, scale = np.zeros((s, n)), np.zeros((s, e, _PROBES)), np.zeros((s, e))
    for colour_, channel, size, along in _sizes(J, nodes, members, norm, V):
        group, (row, u) = members[colour_], owners[colour_]
        if np.count_nonzero(size) > np.count_nonzero(size[u]):
            return None  # a node is reached that is not within K edges
        _add(norms, (group[row], u), size[u], norm)
        scale[group, channel] = np.bincount(row, size[u], group.size)
        for p in range(_PROBES):
            found[group, channel, p] = np.bincount(row, along[p, u], group.size)
    expected = J._products.mm(V.reshape(_PROBES, *J._products.inputs)).reshape(_PROBES, n, e)[:, nodes]
    error = np.abs(found - np.moveaxis(expected, 0, 2)).max(axis=2, initial=0.0)
    # Against the node's own size: what is far below the largest of all nodes may be all that this one depends on.
    if not (error <= J._agreement * scale.max(axis=1, keepdims=True, initial=0.0)).all():
        return None
    return _spectral(J, nodes, members, owners, norms) if norm == "spectral" else norms


def _one_by_one(J: LayerJacobian, nodes: np.ndarray, norm: BlockNorm) -> np.ndarray:
    n, d = J._products.blocks[1], J._products.block_shape[1]
    norms, members = np.zeros((nodes.size, n)), list(np.arange(nodes.size)[:, None])
    for node, _, size, _ in _sizes(J, nodes, members, norm, np.zeros((0, n, d), J.dtype)):
        _add(norms, node, size, norm)
    if norm != "spectral":
        return norms
    owners = [(np.zeros(n, int), np.arange(n))] * nodes.size
    return _spectral(J, nodes, members, owners, norms)


def _add(norms: np.ndarray, where, size: np.ndarray, norm: BlockNorm) -> None:
    norms[where] = np.hypot(norms[where], size) if norm == "frobenius" else norms[where] + size


def _sizes(J: LayerJacobian, nodes: np.ndarray, members: list[np.ndarray], norm: BlockNorm, V: np.ndarray):
    """For every group and channel c of f(h): their numbers, norms over j of (J^T 1_group,c)[u, j], [n], and of each
    v of V sum_j (J^T 1_group,c)[u, j] v[u, j], [p, n]."""
    products = J._products
    (m, n), (e, d) = products.blocks, products.block_shape
    pairs = [(g, c) for g in range(len(members)) for c in range(e)]
    kind = "frobenius" if norm == "frobenius" else "entrywise"
    for start in range(0, len(pairs), products.batch):
        chunk = pairs[start : start + products.batch]
        masks, channels = np.zeros((products.batch, m), J.dtype), np.zeros(products.batch, np.int32)
        for k, (g, c) in enumerate(chunk):
            masks[k, nodes[members[g]]], channels[k] = 1, c
        with J._precision():
            size, along = _reduced(J._scaled, J._h, masks, channels, V, kind, (e, n, d))
        size, along = np.asarray(size, np.float64), np.asarray(along, np.float64)
        if not np.isfinite(size[: len(chunk)]).all():
            raise ValueError("f's Jacobian at h is NaN or infinite")
        yield from ((*pair, size[k], along[k]) for k, pair in enumerate(chunk))


@partial(jax.jit, static_argnames=("kind", "shape"))
@exact_products()
def _reduced(f, h, masks, channels, V, kind, shape):
    e, n, d = shape
    out, backward = jax.vjp(f, h)

    def of_one(mask, channel):
        u = mask[:, None] * (jnp.arange(e) == channel).astype(mask.dtype)[None]
        G = backward(u.reshape(out.shape).astype(out.dtype))[0].reshape(n, d)
        along = jnp.sum(G[None] * V, axis=2)
        if kind == "entrywise":
            return jnp.sum(jnp.abs(G), axis=1), along
        largest = jnp.max(jnp.abs(G), axis=1)  # squares leave the range of numbers before the entries do
        scaled = G / jnp.where(largest > 0, largest, 1)[:, None]
        return largest * jnp.sqrt(jnp.sum(scaled**2, axis=1)), along

    return jax.vmap(of_one)(masks, channels)


def _spectral(J: LayerJacobian, nodes, members, owners, entrywise: np.ndarray) -> np.ndarray:
    """[s, n] largest singular values of the blocks whose entrywise norm is not 0."""
    products, norms = J._products, np.zeros_like(entrywise)
    e, d = products.block_shape
    for group, (row, u) in zip(members, owners, strict=True):
        U = np.zeros((e, products.blocks[0], e), J.dtype)
        for c in range(e):
            U[c, nodes[group], c] = 1
        G = products.rmm(U.reshape(e, *products.outputs)).reshape(e, -1, d)
        there = entrywise[group[row], u] > 0
        blocks = np.moveaxis(G[:, u[there]], 0, 1).astype(np.float64)
        norms[group[row[there]], u[there]] = np.linalg.norm(blocks, 2, axis=(1, 2)) if blocks.size else 0.0
    return norms


def unscaled(norms: Float[np.ndarray, "..."], twos: int) -> Float[np.ndarray, "..."]:
    """Norms of J's own blocks; 0 or infinite where float64 does not hold them."""
    return rescaled(norms, -twos)

"""Roads: generated planar networks whose nodes are classified by how far one gets within so many hops."""

import math
from typing import Literal, NamedTuple, get_args

import networkx as nx
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.spatial import Delaunay

from jaxgnn.data.dataset import Dataset
from jaxgnn.data.edges import undirected_graph
from jaxgnn.data.planted import require
from jaxgnn.data.splits import drawn_masks
from jaxgnn.host.options import check_flag, check_known, check_whole, is_whole

RoadKind = Literal["delaunay", "grid"]
SHARES = (0.1, 0.1, 0.8)
_JITTER = 0.3  # of a grid's crossings, in blocks
_AT_ONCE = 256  # rows of distances


def roads(
    *,
    num_nodes: int = 2000,
    kind: RoadKind = "delaunay",
    removed: float = 0.75,
    radius: int = 16,
    num_classes: int = 10,
    coordinates: bool = False,
    seed: int = 0,
) -> Dataset:
    """A connected road-like network, its crossings in classes by their `radius`-hop eccentricity, as in City-Networks.

    Crossings are random points on a square with their Delaunay triangulation, or a grid of square blocks, moved a
    little. Its minimum spanning tree stays, and every other road is removed with probability `removed`: 0.75 leaves
    about 3 roads a crossing of a triangulation. Lengths are distances in the plane, in units in which there is one
    crossing a unit square.

    Labels: the eccentricity of v in the subgraph of all nodes within `radius` hops, the greatest length of a shortest
    path from v; all nodes in its order are cut into `num_classes` classes of equal size (to within one). A network has
    to have `radius` layers to see all that a label depends on. Split at random: 10% train, 10% validate, 80% test.

    x [n, 4] is the number of roads over 10 and their mean, shortest and longest length; coordinates=True adds the
    position, scaled to [0, 1], [n, 6]: a node-wise function then may do well where near nodes have like labels.

    Args:
      num_nodes: n, at least 4; a square number for a grid.
      kind: "delaunay" or "grid".
      removed: 0 to 1.
      radius: k, 1 and more; 16 as published.
      num_classes: 2 and more; 10 as published.
      coordinates: whether x has positions.
      seed: of points, removal and split.

    Raises:
      ValueError: an option is not known or out of its range.

    Source: label, number of classes and split after Liang et al. 2025 (arXiv 2503.09008) and the code beside it, which
    takes lengths in metres or minutes of real cities, and has positions, land use and kinds of roads as features. The
    networks and features here are ours.
    """
    points, pairs, lengths = road_network(num_nodes=num_nodes, kind=kind, removed=removed, seed=seed)
    check_whole("radius", radius, least=1)
    require("num_classes", num_classes, lambda v: is_whole(v) and 2 <= v <= num_nodes, f"2 to {num_nodes}, whole")
    check_flag("coordinates", coordinates)
    labels = quantile_classes(local_eccentricity(pairs, lengths, num_nodes, radius), num_classes)
    x = _features(pairs, lengths, num_nodes)
    if coordinates:
        x = np.concatenate([x, points / math.sqrt(num_nodes)], axis=1)
    return Dataset(
        name="roads",
        split="default",
        graph=undirected_graph(pairs, num_nodes, keep_loops=False),
        x=x.astype(np.float32),
        labels=labels,
        num_classes=int(num_classes),
        **drawn_masks("roads", labels, "random", int(_streams(seed)[1].integers(2**32)), SHARES),
        files={},
    )


class RoadNetwork(NamedTuple):
    """Positions [n, 2] of crossings, roads [m, 2] between them and their lengths [m]."""

    points: Float[np.ndarray, "n 2"]
    pairs: Int[np.ndarray, "m 2"]
    lengths: Float[np.ndarray, "m"]


def road_network(*, num_nodes: int, kind: RoadKind, removed: float, seed: int) -> RoadNetwork:
    """The network that `roads` has for these options, connected."""
    check_whole("num_nodes", num_nodes, least=4)
    check_known("kind", kind, get_args(RoadKind))
    require("removed", removed, lambda v: 0 <= v <= 1, "0 to 1")
    check_whole("seed", seed, least=0)
    rng = _streams(seed)[0]
    points, pairs = _triangulation(rng, num_nodes) if kind == "delaunay" else _grid(rng, num_nodes)
    lengths = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    kept = _spanning(pairs, lengths, num_nodes) | (rng.random(len(pairs)) >= removed)
    return RoadNetwork(points, pairs[kept], lengths[kept])


def local_eccentricity(
    pairs: Int[np.ndarray, "m 2"], lengths: Float[np.ndarray, "m"], num_nodes: int, radius: int
) -> Float[np.ndarray, "n"]:
    """Of every node, the greatest length of a shortest path from it in the subgraph within `radius` hops; 0 alone."""
    A = _matrix(pairs, lengths, num_nodes)
    found = np.zeros(num_nodes)
    for start in range(0, num_nodes, _AT_ONCE):
        nodes = np.arange(start, min(start + _AT_ONCE, num_nodes))
        hops = sp.csgraph.dijkstra(A, unweighted=True, indices=nodes, limit=radius)
        for v, row in zip(nodes, hops, strict=True):
            near = np.flatnonzero(row <= radius)
            inside = A[near][:, near]
            found[v] = sp.csgraph.dijkstra(inside, indices=int(np.searchsorted(near, v))).max()
    return found


def quantile_classes(values: Float[np.ndarray, "n"], num_classes: int) -> Int[np.ndarray, "n"]:
    """0 .. num_classes - 1 by order of the values, in equal numbers to within one; of equal ones the first is lower."""
    rank = np.empty(len(values), np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return (rank * num_classes // len(values)).astype(np.int32)


def _streams(seed: int) -> list[np.random.Generator]:
    """Of the network, and of the split."""
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence(int(seed)).spawn(2)]


def _triangulation(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    points = math.sqrt(n) * rng.random((n, 2))
    corners = Delaunay(points).simplices
    pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [0, 2]]])
    return points, np.unique(np.sort(pairs, axis=1), axis=0)


def _grid(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    side = math.isqrt(n)
    if side**2 != n:
        raise ValueError(f"num_nodes={n}: allowed for kind='grid' are square numbers, {side**2} and {(side + 1) ** 2}")
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side), ordering="sorted")
    points = np.stack(np.divmod(np.arange(n), side), axis=1) + 0.5
    return points + rng.uniform(-_JITTER, _JITTER, (n, 2)), np.array(graph.edges, np.int64)


def _spanning(pairs: np.ndarray, lengths: np.ndarray, n: int) -> np.ndarray:
    """[m] which roads are in a minimum spanning tree."""
    tree = sp.csgraph.minimum_spanning_tree(sp.csr_array((lengths, pairs.T), shape=(n, n))).tocoo()
    keys = np.sort(np.stack([tree.row, tree.col], axis=1).astype(np.int64), axis=1) @ [n, 1]
    return np.isin(np.sort(pairs, axis=1) @ [n, 1], keys)


def _matrix(pairs: np.ndarray, lengths: np.ndarray, n: int) -> sp.csr_array:
    ends = np.concatenate([pairs, pairs[:, ::-1]]).T
    return sp.csr_array((np.concatenate([lengths, lengths]), ends), shape=(n, n))


def _features(pairs: np.ndarray, lengths: np.ndarray, n: int) -> Float[np.ndarray, "n 4"]:
    ends, own = pairs.T.ravel(), np.concatenate([lengths, lengths])
    count = np.bincount(ends, minlength=n)
    shortest, longest = np.full(n, np.inf), np.zeros(n)
    np.minimum.at(shortest, ends, own)
    np.maximum.at(longest, ends, own)
    return np.stack([count / 10, np.bincount(ends, own, n) / count, shortest, longest], axis=1)

"""The order in which A - s I, A = [[0, J], [J^T, 0]], is eliminated: by minimum degree on the nodes of the graph.

Fronts of few unknowns are eliminated one after another, each into the first front of its boundary, until the nodes
that are left are almost all linked; these follow in large fronts.
"""

import heapq
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

DENSE = 0.7  # the rest becomes one front where its sparsest node is linked to this fraction of it
MERGED = 40  # variables of a front that is worth merging with its parent
CHUNK, ROOT = 192, 800  # unknowns eliminated at a time where all is linked, and at its end
EIGEN_ROOT = 256  # up to this size a root is eliminated by eigh, above by Bunch-Kaufman


class Front(NamedTuple):
    """What is eliminated together: unknown i < m is row i of J, unknown m + j its column j.

    Attributes:
      own: [k], the unknowns eliminated here.
      boundary: [b], the later unknowns that they are linked to.
      entries: positions in J.data of the entries first met here.
      parent: the front that takes what is left, -1 for a root.
    """

    own: Int[np.ndarray, "k"]
    boundary: Int[np.ndarray, "b"]
    entries: Int[np.ndarray, "e"]
    parent: int


class Ordering(NamedTuple):
    """A minimum-degree elimination of J's pattern, for any number of shifts. Made by `order`.

    Attributes:
      fronts: children before parents.
      indptr, indices: J's pattern.
      shape: (m, n).
      bytes: memory of the factors and of the fronts underway, estimated.
      flops: of one factorisation, estimated. Both guess how many pivots are delayed from |columns - rows|.
    """

    fronts: list[Front]
    indptr: Int[np.ndarray, "m+1"]
    indices: Int[np.ndarray, "nnz"]
    shape: tuple[int, int]
    bytes: int
    flops: float


def order(J: sp.csr_matrix, row_blocks: Int[np.ndarray, "m"], column_blocks: Int[np.ndarray, "n"]) -> Ordering:
    """Orders the elimination of A - s I by node: row i of J belongs to row_blocks[i], column j to column_blocks[j].

    Raises ValueError where the blocks do not have J's shape.
    """
    m, n = J.shape[0], J.shape[1]
    if np.shape(row_blocks) != (m,) or np.shape(column_blocks) != (n,):
        raise ValueError(
            f"row_blocks and column_blocks have shapes {np.shape(row_blocks)} and {np.shape(column_blocks)}: "
            f"a matrix of shape {J.shape} needs ({m},) and ({n},)"
        )
    _, block = np.unique(np.concatenate([row_blocks, column_blocks]), return_inverse=True)
    nodes = int(block.max(initial=-1)) + 1
    size = np.bincount(block, minlength=nodes)
    members = np.split(np.argsort(block, kind="stable"), np.cumsum(size)[:-1])
    rows = np.repeat(np.arange(m), np.diff(J.indptr))
    columns = m + J.indices.astype(np.int64)
    groups = _merged(_minimum_degree(size, block[rows], block[columns]), size)
    front_of = np.zeros(nodes, np.int64)
    for index, (own, _) in enumerate(groups):
        front_of[own] = index
    first = np.minimum(front_of[block[rows]], front_of[block[columns]])
    entries = np.split(np.argsort(first, kind="stable"), np.cumsum(np.bincount(first, minlength=len(groups)))[:-1])

    def unknowns(of: list[int]) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.int64), *(members[v] for v in of)])

    fronts = [
        Front(unknowns(own), unknowns(boundary), entries[index], min((int(front_of[v]) for v in boundary), default=-1))
        for index, (own, boundary) in enumerate(groups)
    ]
    return Ordering(fronts, J.indptr.copy(), J.indices.copy(), (m, n), *_cost(fronts, m))


def _minimum_degree(size: np.ndarray, a: np.ndarray, b: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """(own nodes, boundary nodes) of each front: the node with the fewest links first, the rest once it is dense."""
    nodes = len(size)
    links = [set() for _ in range(nodes)]
    for u, v in zip(*np.divmod(np.unique(a * nodes + b), max(nodes, 1)), strict=True):
        if u != v:
            links[u].add(int(v))
            links[v].add(int(u))
    heap = [(len(neighbours), v) for v, neighbours in enumerate(links)]
    heapq.heapify(heap)
    left, groups = set(range(nodes)), []
    while left:
        degree, v = heapq.heappop(heap)
        if v not in left or degree != len(links[v]):
            continue
        if degree >= DENSE * (len(left) - 1) and degree > 0:
            # Last those that most fronts meet: fewer fronts then go into the first chunk.
            below = np.bincount([u for _, boundary in groups for u in boundary], minlength=nodes)
            return groups + _chunks(sorted(left, key=lambda u: (below[u], u)), size)
        left.remove(v)
        groups.append(([v], list(links[v])))
        for u in links[v]:
            links[u] |= links[v]
            links[u] -= {u, v}
            heapq.heappush(heap, (len(links[u]), u))
    return groups


def _chunks(left: list[int], size: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """Densely linked nodes as a chain of fronts of about CHUNK unknowns, the last one a root of up to ROOT."""
    groups = []
    while size[left].sum() > ROOT:
        end = max(int(np.searchsorted(np.cumsum(size[left]), CHUNK)), 1)
        groups.append((left[:end], left[end:]))
        left = left[end:]
    return [*groups, (left, [])]


def _merged(groups: list[tuple[list[int], list[int]]], size: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """The fronts with small ones merged into their parents; boundaries in the order of elimination."""
    rank = np.zeros(len(size), np.int64)
    for index, (own, _) in enumerate(groups):
        rank[own] = index
    weight = [sum(int(size[v]) for v in own) for own, _ in groups]
    into = list(range(len(groups)))
    for index, (own, boundary) in enumerate(groups):
        parent = min((int(rank[v]) for v in boundary), default=-1)
        if parent >= 0 and weight[index] + weight[parent] <= MERGED:
            groups[parent][0].extend(own)
            weight[parent] += weight[index]
            into[index] = parent
    kept = [index for index in range(len(groups)) if into[index] == index]
    return [(groups[index][0], sorted(groups[index][1], key=lambda v: (rank[v], v))) for index in kept]


def _cost(fronts: list[Front], m: int) -> tuple[int, float]:
    # Of the |columns - rows| that have no partner below a front, at most half its boundary stays coupled to it.
    unpaired, waiting = np.zeros(len(fronts) + 1), np.zeros(len(fronts) + 1)
    factors = peak = pending = flops = 0.0
    for index, front in enumerate(fronts):
        own, b, below = front.own.size, front.boundary.size, unpaired[index]
        k = own + below
        d = min(below + abs(2 * np.count_nonzero(front.own >= m) - own), b / 2)
        active = min(k, 2 * own)
        peak = max(peak, factors + pending + 3 * (k + b) ** 2)
        pending += (d + b) ** 2 * (b > 0) - waiting[index]
        factors += active * (k + b)
        # Bunch-Kaufman, or the eigenvectors of a front's unknowns, rotations and the update of the rest.
        dense = front.parent < 0 and k > EIGEN_ROOT
        flops += k**3 / 3 if dense else 10 * active**3 + 4 * active * (k + b) ** 2
        unpaired[front.parent] += d
        waiting[front.parent] += (d + b) ** 2
    return int(8 * max(peak, factors)), flops

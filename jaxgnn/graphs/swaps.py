"""Nodes change places between equal parts as long as that cuts fewer edges.

Every node that has more neighbours in another part than in its own would go there; for each pair of parts as many go
one way as the other, those who gain most first. Half of them are drawn each time, or neighbours would change places
with each other. Source: Ugander & Backstrom 2013, Balanced label propagation for partitioning massive graphs.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

_SWEEPS = 150
_ENTRIES = 1e9  # that all sweeps look at, a minute or so: fewer sweeps for larger graphs
_FEW = 1 / 2000  # of the nodes: where fewer move, it ends


def refined(A: sp.csr_matrix, part: Int[np.ndarray, "n"], parts: int) -> Int[np.ndarray, "n"]:
    """The part of every node after the swaps; parts keep their sizes. A is a symmetric pattern without loops."""
    rng, part, n = np.random.default_rng(0), part.astype(np.int64), part.size
    ones = sp.csr_matrix((np.ones(A.nnz, np.float32), A.indices, A.indptr), A.shape)
    for _ in range(int(min(_SWEEPS, _ENTRIES // max(A.nnz, 1)))):
        node, to, gain = _wishes(ones, part, parts)
        drawn = rng.random(node.size) < 0.5
        node, to = _swaps(node[drawn], to[drawn], gain[drawn], part, parts)
        part[node] = to
        if node.size <= _FEW * n:
            break
    return part


def _wishes(A: sp.csr_matrix, part: Int[np.ndarray, "n"], parts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes, the other part that each has most neighbours in, and how many more than in its own: 0 and more."""
    n = part.size
    members = sp.csr_matrix((np.ones(n, np.float32), part, np.arange(n + 1)), (n, parts))
    neighbours = sp.csr_matrix(A @ members)
    node, to = np.repeat(np.arange(n), np.diff(neighbours.indptr)), neighbours.indices.astype(np.int64)
    at_home = to == part[node]
    home = np.zeros(n, np.float32)
    home[node[at_home]] = neighbours.data[at_home]
    gain = neighbours.data - home[node]
    wish = ~at_home & (gain >= 0)
    node, to, gain = node[wish], to[wish], gain[wish]
    best = np.lexsort((to, -gain, node))
    node, to, gain = node[best], to[best], gain[best]
    first = np.append(True, node[1:] != node[:-1])[: node.size]
    return node[first], to[first], gain[first]


def _swaps(node, to, gain, part: Int[np.ndarray, "n"], parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Those who change places: the k-th of each pair of parts with the k-th of the other way, where both gain."""
    here = part[node]
    best = np.lexsort((-gain, to, here))
    node, here, to, gain = node[best], here[best], to[best], gain[best]
    pair, back = here * parts + to, to * parts + here
    count = np.bincount(pair, minlength=parts * parts)
    start = np.cumsum(count) - count
    rank = np.arange(node.size) - start[pair]
    met = rank < count[back]
    other = np.where(met, start[back] + rank, 0)
    moves = met & (gain + gain[other] > 0) if node.size else met
    return node[moves], to[moves]

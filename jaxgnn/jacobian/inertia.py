"""Certified counts of the singular values above a shift, and solves near it, by a sparse L D L^T factorisation.

J [m, n] has its rows and columns grouped by graph node. A = [[0, J], [J^T, 0]] has the eigenvalues +-sigma_i and
zeros, so for s > 0 Sylvester's law of inertia gives #{sigma_i > s} = #{positive pivots of A - s I}.
"""

import heapq
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float, Int

from jaxgnn.memory import require_memory

THRESHOLD = 0.05  # a pivot is at least this fraction of its coupling to what remains
DENSE = 0.7  # the rest becomes one front where its sparsest node is linked to this fraction of it
MERGED = 40  # variables of a front that is worth merging with its parent
EIGEN_ROOT = 256  # up to this size a root is eliminated by eigh, above by Bunch-Kaufman
CHUNK, ROOT = 192, 800  # unknowns eliminated at a time where all is linked, and at its end
GROWTH = 1.25  # the delayed are searched for weakly coupled combinations when they have become this much more
EPS = float(np.finfo(np.float64).eps)


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


class Pivots(NamedTuple):
    """Rotates the first k of `unknowns` by Q^T, then eliminates the first a of those.

    Attributes: unknowns [k + b]; Q [k, k] orthogonal; L [k + b - a, a]; theta [a], the pivots.
    """

    unknowns: np.ndarray
    Q: np.ndarray
    L: np.ndarray
    theta: np.ndarray

    def positive(self) -> int:
        return np.count_nonzero(self.theta > 0)

    def forward(self, x: np.ndarray) -> None:
        k, a = len(self.Q), self.theta.size
        y = self.Q.T @ x[self.unknowns[:k]]
        x[self.unknowns[:k]] = y
        x[self.unknowns[a:]] -= self.L @ y[:a]

    def backward(self, x: np.ndarray) -> None:
        k, a = len(self.Q), self.theta.size
        y = x[self.unknowns[:k]]
        y[:a] = y[:a] / self.theta[:, None] - self.L.T @ x[self.unknowns[a:]]
        x[self.unknowns[:k]] = self.Q @ y

    def transpose(self, x: np.ndarray) -> None:
        k, a = len(self.Q), self.theta.size
        x[self.unknowns[:k]] = self.Q.T @ x[self.unknowns[:k]]
        x[self.unknowns[:a]] += self.L.T @ x[self.unknowns[a:]]

    def product(self, x: np.ndarray) -> None:
        k, a = len(self.Q), self.theta.size
        y = x[self.unknowns[:a]] * self.theta[:, None]
        x[self.unknowns[:a]] = y
        x[self.unknowns[a:]] += self.L @ y
        x[self.unknowns[:k]] = self.Q @ x[self.unknowns[:k]]


class Reflection(NamedTuple):
    """Rotates `unknowns` [d] by H^T, H = I - V T V^T: k Householder reflections, V [d, k], T [k, k]."""

    unknowns: np.ndarray
    V: np.ndarray
    T: np.ndarray

    def positive(self) -> int:
        return 0

    def forward(self, x: np.ndarray) -> None:
        y = x[self.unknowns]
        x[self.unknowns] = y - self.V @ (self.T.T @ (self.V.T @ y))

    def backward(self, x: np.ndarray) -> None:
        y = x[self.unknowns]
        x[self.unknowns] = y - self.V @ (self.T @ (self.V.T @ y))

    transpose = forward
    product = backward


class Root(NamedTuple):
    """L D L^T of a dense root; D has `diagonal` [k], and `off` [k], not zero at i where i, i + 1 are a 2 x 2 block."""

    unknowns: np.ndarray
    L: np.ndarray
    diagonal: np.ndarray
    off: np.ndarray

    def positive(self) -> int:
        i = np.flatnonzero(self.off)
        alone = np.ones(self.diagonal.size, bool)
        alone[i] = alone[i + 1] = False
        blocks = np.empty((i.size, 2, 2))
        blocks[:, 0, 0], blocks[:, 1, 1] = self.diagonal[i], self.diagonal[i + 1]
        blocks[:, 0, 1] = blocks[:, 1, 0] = self.off[i]
        return np.count_nonzero(self.diagonal[alone] > 0) + np.count_nonzero(np.linalg.eigvalsh(blocks) > 0)

    def forward(self, x: np.ndarray) -> None:
        x[self.unknowns] = _triangular(self.L, x[self.unknowns], 0)

    def backward(self, x: np.ndarray) -> None:
        # [[a, b], [b, c]]^-1 = [[c / b, -1], [-1, a / b]] / (b (a c / b^2 - 1)): b is the largest.
        i, y = np.flatnonzero(self.off), x[self.unknowns]
        b = self.off[i, None]
        p, r = self.diagonal[i, None] / b, self.diagonal[i + 1, None] / b
        scale = 1 / (b * (p * r - 1))
        first, second = scale * (r * y[i] - y[i + 1]), scale * (p * y[i + 1] - y[i])
        diagonal = self.diagonal.copy()
        diagonal[i] = diagonal[i + 1] = 1.0
        y /= diagonal[:, None]
        y[i], y[i + 1] = first, second
        x[self.unknowns] = _triangular(self.L, y, 1)

    def transpose(self, x: np.ndarray) -> None:
        x[self.unknowns] = self.L.T @ x[self.unknowns]

    def product(self, x: np.ndarray) -> None:
        i, x_root = np.flatnonzero(self.off), x[self.unknowns]
        y = self.diagonal[:, None] * x_root
        y[i] += self.off[i, None] * x_root[i + 1]
        y[i + 1] += self.off[i, None] * x_root[i]
        x[self.unknowns] = self.L @ y


def order(J: sp.csr_matrix, row_blocks: Int[np.ndarray, "m"], column_blocks: Int[np.ndarray, "n"]) -> Ordering:
    """Orders the elimination of A - s I by node: row i of J belongs to row_blocks[i], column j to column_blocks[j].

    Raises ValueError where the blocks do not have J's shape.
    """
    m, n = J.shape
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
            return groups + _chunks(sorted(left), size)
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


class _Rest(NamedTuple):
    """Left of a front: the Schur complement S on `unknowns`, the first `delayed` of them to be eliminated above.

    `deflated` of them were left when all were last searched for weakly coupled combinations.
    """

    unknowns: np.ndarray
    delayed: int
    deflated: int
    S: np.ndarray


class ShiftedFactor:
    """A - s I = L D L^T, by multifrontal elimination with orthogonal delayed pivots.

    Attributes:
      count: singular values of J above s: exactly #{sigma > t} for some |t - s| <= error, so
        #{sigma > s + error} <= count <= #{sigma > s - error} (Weyl).
      delayed: how often an unknown was handed to the parent front.

    Raises ValueError for a shift that is not positive and finite, or another pattern than the ordering's;
    MemoryError where the factors do not fit.
    """

    def __init__(self, J: sp.csr_matrix, shift: float, ordering: Ordering):
        if not 0 < shift < np.inf:
            raise ValueError(f"shift={shift}: allowed are positive finite numbers")
        same = np.array_equal(J.indptr, ordering.indptr) and np.array_equal(J.indices, ordering.indices)
        if J.shape != ordering.shape or not same:
            raise ValueError(f"J of shape {J.shape} does not have the pattern that was ordered, of {ordering.shape}")
        require_memory(ordering.bytes, f"a factorisation of a {J.shape[0]} x {J.shape[1]} Jacobian", "extremes()")
        self.shift = float(shift)
        self.ordering = ordering
        self._J = J
        self._tiny = 16 * EPS * float(np.sqrt(_largest_sum(J, 0) * _largest_sum(J, 1)))
        self._steps: list[Pivots | Reflection | Root] = []
        self.delayed = 0
        self._factorise()
        self.count = sum(step.positive() for step in self._steps)

    def solve(self, b: Float[np.ndarray, "N *k"]) -> Float[np.ndarray, "N *k"]:
        """(A - s I)^-1 b of one vector or of columns: first the m rows' entries, then the n columns'."""
        x = np.array(b, np.float64).reshape(len(b), int(np.prod(np.shape(b)[1:])))
        for step in self._steps:
            step.forward(x)
        for step in reversed(self._steps):
            step.backward(x)
        return x.reshape(np.shape(b))

    def product(self, x: Float[np.ndarray, "N *k"]) -> Float[np.ndarray, "N *k"]:
        """L D L^T x, of one vector or of columns."""
        y = np.array(x, np.float64).reshape(len(x), int(np.prod(np.shape(x)[1:])))
        for step in self._steps:
            step.transpose(y)
        for step in reversed(self._steps):
            step.product(y)
        return y.reshape(np.shape(x))

    @cached_property
    def error(self) -> float:
        """Bound on ||A - s I - L D L^T||_2 that fails with probability 1e-8 over its random vectors.

        Evaluated in floating point, whose own rounding is of the size that is measured and adds to it.
        Source: Halko, Martinsson, Tropp 2011, Lemma 4.1, applied to a power.
        """
        # E symmetric, k vectors w ~ N(0, I): ||E||^q = ||E^q|| <= 10 sqrt(2 / pi) max ||E^q w||,
        # except with probability 10^-k.
        q, k = 4, 8
        size = sum(self.ordering.shape)
        W = np.random.default_rng(0).standard_normal((size, k))
        logs = np.full(k, np.log(10 * np.sqrt(2 / np.pi)))
        for _ in range(q):
            norms = np.linalg.norm(W, axis=0)
            W = W / np.where(norms > 0, norms, 1.0)
            logs = logs + np.log(np.where(norms > 0, norms, 1.0))
            W = self._shifted(W) - self.product(W)
        norms = np.linalg.norm(W, axis=0)
        if not norms.any():
            return 0.0
        return float(np.exp((logs + np.log(np.maximum(norms, 1e-300))).max() / q))

    def _shifted(self, x: np.ndarray) -> np.ndarray:
        m = self._J.shape[0]
        return np.concatenate([self._J @ x[m:], self._J.T @ x[:m]]) - self.shift * x

    def _factorise(self) -> None:
        J, fronts = self._J, self.ordering.fronts
        m = J.shape[0]
        rows, columns = np.repeat(np.arange(m), np.diff(J.indptr)), m + J.indices.astype(np.int64)
        place = np.zeros(sum(self.ordering.shape), np.int64)
        waiting: list[list[_Rest]] = [[] for _ in fronts]
        for index, front in enumerate(fronts):
            below, waiting[index] = waiting[index], []
            k = front.own.size
            unknowns = np.concatenate([front.own, *(rest.unknowns[: rest.delayed] for rest in below), front.boundary])
            summed = unknowns.size - front.boundary.size
            place[unknowns] = np.arange(unknowns.size)
            F = np.zeros((unknowns.size, unknowns.size))
            i, j = place[rows[front.entries]], place[columns[front.entries]]
            np.add.at(F, (i, j), J.data[front.entries])
            np.add.at(F, (j, i), J.data[front.entries])
            F[np.arange(k), np.arange(k)] = -self.shift
            deflated = max((rest.deflated for rest in below), default=0)
            while below:
                rest = below.pop()
                _add(F, place[rest.unknowns], rest.S)
            if front.parent >= 0:
                waiting[front.parent].append(self._front(F, unknowns, k, summed, deflated))
            elif summed > EIGEN_ROOT:
                self._steps.append(_bunch_kaufman(F, unknowns, self._tiny))
            else:
                self._eliminate(F, unknowns, summed)

    def _front(self, F: np.ndarray, unknowns: np.ndarray, k: int, summed: int, deflated: int) -> "_Rest":
        passive = max(summed - 2 * k, 0)
        if passive:
            # Of the delayed only k combinations are coupled to the k own unknowns: the others need not take part.
            V, T = _householder(F[k:summed, :k])
            F[k:summed] -= V @ (T.T @ (V.T @ F[k:summed]))
            F[:, k:summed] -= ((F[:, k:summed] @ V) @ T) @ V.T
            self._steps.append(Reflection(unknowns[k:summed], V, T))
        F, unknowns, active = self._eliminate(F, unknowns, summed - passive, search=passive == 0)
        d = active + passive
        if not passive:
            deflated = d
        elif d > min(GROWTH * deflated, unknowns.size - d):
            F, unknowns, d = self._eliminate(F, unknowns, d)
            deflated = d
        self.delayed += d
        return _Rest(unknowns, d, deflated, F)

    def _eliminate(
        self, F: np.ndarray, unknowns: np.ndarray, k: int, search: bool = True
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Eliminates what is safe of the first k unknowns: the Schur complement, its unknowns, how many are delayed."""
        while k:
            theta, Q = np.linalg.eigh(F[:k, :k])
            C = Q.T @ F[:k, k:]
            safe = _safe(theta, np.linalg.norm(C, axis=1), self._tiny)
            # Q^T F Q is diag(theta), so that the delayed are untouched by these pivots; then R makes more of them safe.
            R, again = np.eye(int((~safe).sum())), 0
            if search:
                R, again = _weakly_coupled(theta[~safe], C[~safe], self._tiny)
            a = np.count_nonzero(safe) + again
            if a == 0:
                break
            Q = np.concatenate([Q[:, safe], Q[:, ~safe] @ R], axis=1)
            T = (R.T * theta[~safe]) @ R
            C = np.concatenate([C[safe], R.T @ C[~safe]])
            pivots = np.concatenate([theta[safe], np.diagonal(T)[:again]])
            pivots[pivots == 0] = -self._tiny
            B = np.zeros((a, unknowns.size - a))
            B[a - again :, : k - a] = T[:again, again:]
            B[:, k - a :] = C[:a]
            size = np.linalg.norm(B, axis=1)
            B[(size <= 2 * self._tiny) & (np.abs(pivots) < size)] = 0.0  # part of the error
            L = (B / pivots[:, None]).T
            F = F[a:, a:]
            F[: k - a, : k - a] = T[again:, again:]
            F[: k - a, k - a :] = C[a:]
            F[k - a :, : k - a] = C[a:].T
            F -= L @ B
            self._steps.append(Pivots(unknowns, Q, L, pivots))
            unknowns, k = unknowns[a:], k - a
            if again == 0:
                break
        return F, unknowns, k


def _add(F: np.ndarray, at: np.ndarray, S: np.ndarray) -> None:
    """F[at, at] += S, run by run where `at` has few runs."""
    cuts = [0, *(np.flatnonzero(np.diff(at) != 1) + 1).tolist(), at.size]
    if len(cuts) > 12:
        F[np.ix_(at, at)] += S
        return
    runs = [(slice(a, b), slice(int(at[a]), int(at[a]) + b - a)) for a, b in pairwise(cuts) if a < b]
    for i, to_i in runs:
        for j, to_j in runs:
            F[to_i, to_j] += S[i, j]


def _safe(theta: np.ndarray, coupling: np.ndarray, tiny: float) -> np.ndarray:
    return (np.abs(theta) >= THRESHOLD * coupling) | (coupling <= tiny)


def _weakly_coupled(theta: np.ndarray, C: np.ndarray, tiny: float) -> tuple[np.ndarray, int]:
    """R [d, d] orthogonal and a: in R^T diag(theta) R, R^T C the first a unknowns are decoupled, safe pivots.

    Among unknowns with about the same theta, combinations may be coupled far more weakly than each of them: the null
    vectors of what is eliminated so far.
    """
    d = theta.size
    by_size = np.argsort(np.abs(theta))
    magnitude = np.abs(theta)[by_size]
    ends = [e for e in range(1, d + 1) if e == d or magnitude[e] > 10 * magnitude[e - 1]]
    for e in ends:
        inside = by_size[:e]
        U, S = _left_singular(C[inside])
        weak = np.maximum(tiny, magnitude[e - 1] / THRESHOLD) >= S
        if not weak.any():
            continue
        U0, U1 = U[:, weak], U[:, ~weak]
        TU = theta[inside, None] * U0
        phi, q = np.linalg.eigh(U0.T @ TU)
        U0, TU = U0 @ q, TU @ q
        coupling = np.hypot(np.linalg.norm(C[inside].T @ U0, axis=0), np.linalg.norm(U1.T @ TU, axis=0))
        safe = _safe(phi, coupling, tiny)
        if safe.any():
            R = np.zeros((d, d))
            R[inside, :e] = np.concatenate([U0[:, safe], U0[:, ~safe], U1], axis=1)
            R[by_size[e:], np.arange(e, d)] = 1.0
            return R, np.count_nonzero(safe)
    return np.eye(d), 0


def _left_singular(C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U [d, d] and d singular values of C [d, b], zeros included."""
    if C.shape[1] > C.shape[0]:
        C = np.linalg.qr(C.T, mode="r").T
    U, S, _ = np.linalg.svd(C, full_matrices=True)
    return U, np.concatenate([S, np.zeros(C.shape[0] - S.size)])


def _bunch_kaufman(F: np.ndarray, unknowns: np.ndarray, tiny: float) -> Root:
    L, D, permutation = scipy.linalg.ldl(F, overwrite_a=True, check_finite=False)
    diagonal, off = np.diagonal(D).copy(), np.append(np.diagonal(D, -1), 0.0)
    alone = (off == 0) & (np.append(0.0, off[:-1]) == 0)
    diagonal[alone & (diagonal == 0)] = -tiny
    return Root(unknowns[permutation], np.asfortranarray(L[permutation]), diagonal, off)


def _triangular(L: np.ndarray, x: np.ndarray, transposed: int) -> np.ndarray:
    return scipy.linalg.solve_triangular(L, x, trans=transposed, lower=True, unit_diagonal=True, check_finite=False)


def _householder(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V [d, k], T [k, k] with (I - V T V^T)^T M upper triangular, for M [d, k], d >= k."""
    raw, tau = np.linalg.qr(M, mode="raw")  # raw is transposed
    V = np.tril(raw.T, -1)[:, : tau.size]
    V[np.arange(tau.size), np.arange(tau.size)] = 1.0
    V[:, tau == 0] = 0.0
    # H_1 ... H_k = I - V T V^T with T^-1 = the strict upper triangle of V^T V + diag(1 / tau) (Puglisi 1992).
    inverse = np.triu(V.T @ V, 1) + np.diag(1 / np.where(tau == 0, 1.0, tau))
    return V, scipy.linalg.solve_triangular(inverse, np.eye(tau.size), check_finite=False)


def _largest_sum(J: sp.csr_matrix, axis: int) -> float:
    return float(np.max(np.asarray(abs(J).sum(axis=axis)), initial=0.0))

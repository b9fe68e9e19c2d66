"""Certified counts of the singular values above a shift, and solves near it, by a sparse L D L^T factorisation.

J [m, n] has its rows and columns grouped by graph node. A = [[0, J], [J^T, 0]] has the eigenvalues +-sigma_i and
zeros, so for s > 0 Sylvester's law of inertia gives #{sigma_i > s} = #{positive pivots of A - s I}.

A front holds what is eliminated together, its own unknowns and those that the fronts below have left, and its boundary.
It is rotated to the eigenvectors of the first: those whose eigenvalue is not small beside their coupling to the
boundary are pivots, the others are delayed to the parent front. These are nearly all null vectors of what lies below,
with the eigenvalue -s or a few times that: far more than those when s is tiny. As they are coupled to the boundary
through few combinations, QR finds the rest, which need not wait.
"""

from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float

from jaxgnn.host.memory import require_memory
from jaxgnn.jacobian.ordering import EIGEN_ROOT, Ordering

THRESHOLD = 0.05  # a pivot is at least this fraction of its coupling to what remains
FEW = 16  # so many delayed more are not searched
SPREAD = 30.0  # delayed unknowns up to this times the median size are rotated together
GROWTH = 1.25  # the delayed are searched for uncoupled combinations when they have become this much more
WORTHWHILE = 0.1  # this fraction of uncoupled combinations is worth a rotation
EPS = float(np.finfo(np.float64).eps)


class Pivots(NamedTuple):
    """Rotates the first k of `unknowns` by Q^T, then eliminates the first a of those, coupled to the last b only.

    Attributes: unknowns [k + b]; Q [k, k] orthogonal; L [b, a]; theta [a], the pivots.
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
        x[self.unknowns[k:]] -= self.L @ y[:a]

    def backward(self, x: np.ndarray) -> None:
        k, a = len(self.Q), self.theta.size
        y = x[self.unknowns[:k]]
        y[:a] = y[:a] / self.theta[:, None] - self.L.T @ x[self.unknowns[k:]]
        x[self.unknowns[:k]] = self.Q @ y

    def transpose(self, x: np.ndarray) -> None:
        k, a = len(self.Q), self.theta.size
        x[self.unknowns[:k]] = self.Q.T @ x[self.unknowns[:k]]
        x[self.unknowns[:a]] += self.L.T @ x[self.unknowns[k:]]

    def product(self, x: np.ndarray) -> None:
        k, a = len(self.Q), self.theta.size
        y = x[self.unknowns[:a]] * self.theta[:, None]
        x[self.unknowns[:a]] = y
        x[self.unknowns[k:]] += self.L @ y
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


class Block(NamedTuple):
    """Eliminates the first a of `unknowns` by L D L^T.

    Attributes:
      unknowns: [a + b].
      L: [a + b, a], its first a rows lower triangular.
      diagonal, off: [a], of D; off is not zero at i where i, i + 1 are a 2 x 2 block.
    """

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
        a = self.diagonal.size
        y = _triangular(self.L[:a], x[self.unknowns[:a]], 0)
        x[self.unknowns[:a]] = y
        x[self.unknowns[a:]] -= self.L[a:] @ y

    def backward(self, x: np.ndarray) -> None:
        # [[p, b], [b, r]]^-1 = [[r / b, -1], [-1, p / b]] / (b (p r / b^2 - 1)): b is the largest.
        a, i = self.diagonal.size, np.flatnonzero(self.off)
        y = x[self.unknowns[:a]]
        b = self.off[i, None]
        p, r = self.diagonal[i, None] / b, self.diagonal[i + 1, None] / b
        scale = 1 / (b * (p * r - 1))
        first, second = scale * (r * y[i] - y[i + 1]), scale * (p * y[i + 1] - y[i])
        diagonal = self.diagonal.copy()
        diagonal[i] = diagonal[i + 1] = 1.0
        y /= diagonal[:, None]
        y[i], y[i + 1] = first, second
        x[self.unknowns[:a]] = _triangular(self.L[:a], y - self.L[a:].T @ x[self.unknowns[a:]], 1)

    def transpose(self, x: np.ndarray) -> None:
        x[self.unknowns[: self.diagonal.size]] = self.L.T @ x[self.unknowns]

    def product(self, x: np.ndarray) -> None:
        a, i = self.diagonal.size, np.flatnonzero(self.off)
        z = x[self.unknowns[:a]]
        y = self.diagonal[:, None] * z
        y[i] += self.off[i, None] * z[i + 1]
        y[i + 1] += self.off[i, None] * z[i]
        x[self.unknowns[:a]] = 0.0
        x[self.unknowns] += self.L @ y


class _Rest(NamedTuple):
    """Left of a front: the Schur complement S on `unknowns`, the first `delayed` of them to be eliminated above.

    `searched` of them were left when they were last searched for uncoupled combinations.
    """

    unknowns: np.ndarray
    delayed: int
    searched: int
    S: np.ndarray


class _Left(NamedTuple):
    """A matrix on `unknowns`, and how many of the first of them are still to be eliminated."""

    F: np.ndarray
    unknowns: np.ndarray
    delayed: int


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
        require_memory(
            ordering.bytes,
            f"a factorisation of a {J.shape[0]} x {J.shape[1]} Jacobian",
            "products alone (certify=False)",
            on_host=True,
        )
        self.shift = float(shift)
        self.ordering = ordering
        self._J = J
        self._tiny = 16 * EPS * float(np.sqrt(_largest_sum(J, 0) * _largest_sum(J, 1)))
        self._steps: list[Pivots | Reflection | Block] = []
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
            searched = max((rest.searched for rest in below), default=0)
            while below:
                rest = below.pop()
                _add(F, place[rest.unknowns], rest.S)
            if front.parent >= 0:
                waiting[front.parent].append(self._front(F, unknowns, k, summed, searched))
            elif summed > EIGEN_ROOT:
                self._steps.append(_bunch_kaufman(F, unknowns, self._tiny))
            else:
                self._eliminate(F, unknowns, summed)

    def _front(self, F: np.ndarray, unknowns: np.ndarray, k: int, summed: int, searched: int) -> _Rest:
        """Eliminates what it can of the first `summed` unknowns: k own and those delayed below."""
        F, unknowns, active = self._set_aside(F, unknowns, k, summed)
        F, unknowns, left = self._eliminate(F, unknowns, active)
        d = left + summed - active
        if d > min(GROWTH * searched + FEW, unknowns.size - d):
            F, unknowns, d = self._deflate(F, unknowns, d)
            searched = d
        self.delayed += d
        return _Rest(unknowns, d, searched, F.copy())

    def _set_aside(self, F: np.ndarray, unknowns: np.ndarray, k: int, summed: int) -> _Left:
        """Rotates the delayed so that the last of them are hardly coupled to the own k: how many others there are."""
        if summed == k:
            return _Left(F, unknowns, k)
        magnitude, light = _light(F[k:summed, k:summed])
        start, limit = summed - np.count_nonzero(light), self._limit(magnitude[light])
        F, unknowns = _permuted(F, unknowns, k, np.argsort(light, kind="stable"))
        C = F[start:summed, :k]
        C = C[:, np.linalg.norm(C, axis=0) > limit]
        if C.shape[1] >= C.shape[0]:
            return _Left(F, unknowns, summed)
        # C = H [R; 0]
        self._reflect(F, unknowns, start, *_householder(C))
        return _Left(F, unknowns, start + C.shape[1])

    def _deflate(self, F: np.ndarray, unknowns: np.ndarray, d: int) -> _Left:
        """Finds combinations of the delayed that are hardly coupled to the boundary, and eliminates them."""
        magnitude, light = _light(F[:d, :d])
        end, limit = np.count_nonzero(light), self._limit(magnitude[light])
        F, unknowns = _permuted(F, unknowns, 0, np.argsort(~light, kind="stable"))
        strong = end + np.flatnonzero(np.linalg.norm(F[:end, end:], axis=0) > limit)
        chosen = strong[_independent(F[:end, strong], limit)]
        a = end - chosen.size
        if a < WORTHWHILE * end:
            return _Left(F, unknowns, d)
        # C = H [0; R], from the last row up, on the chosen columns; on the others what is left is below the limit.
        C = np.ascontiguousarray(F[:end, chosen][::-1])
        V, T = _householder(C)
        R = (C - V @ (T.T @ (V.T @ C)))[: chosen.size]
        self._reflect(F, unknowns, 0, np.ascontiguousarray(V[::-1]), T, known=chosen)
        F[:a, chosen], F[chosen, :a] = 0.0, 0.0
        F[a:end, chosen], F[chosen, a:end] = R[::-1], R[::-1].T
        rest = self._eliminate_definite(F, unknowns, a) or self._eliminate(F, unknowns, a)
        return rest._replace(delayed=rest.delayed + d - a)

    def _limit(self, magnitude: np.ndarray) -> float:
        return max(self._tiny, float(magnitude.max()) / THRESHOLD)

    def _reflect(
        self,
        F: np.ndarray,
        unknowns: np.ndarray,
        start: int,
        V: np.ndarray,
        T: np.ndarray,
        known: np.ndarray | None = None,
    ) -> None:
        """F = H^T F H, H = I - V T V^T on the unknowns from `start` on, except where they meet `known`."""
        here = slice(start, start + len(V))
        # H^T F H = F - V W^T - W V^T, W = Y - V T^T V^T Y / 2, Y = F V T
        Y = F[here, here] @ V @ T
        P = V @ (Y - V @ (T.T @ (V.T @ Y)) / 2).T
        F[here, here] -= P
        F[here, here] -= P.T
        others = np.ones(len(F), bool)
        others[here] = False
        others[known if known is not None else []] = False
        others = np.flatnonzero(others)
        X = F[here, others]
        X -= V @ (T.T @ (V.T @ X))
        F[here, others] = X
        F[others, here] = X.T
        self._steps.append(Reflection(unknowns[here], V, T))

    def _eliminate(self, F: np.ndarray, unknowns: np.ndarray, k: int) -> _Left:
        """Eliminates what is safe of the first k unknowns, in their eigenvectors."""
        theta, Q = np.linalg.eigh(F[:k, :k])
        C = Q.T @ F[:k, k:]
        coupling = np.linalg.norm(C, axis=1)
        safe = (np.abs(theta) >= THRESHOLD * coupling) | (coupling <= self._tiny)
        a = np.count_nonzero(safe)
        if a == 0:
            return _Left(F, unknowns, k)
        pivots, B, coupling = theta[safe], C[safe], coupling[safe]
        pivots[pivots == 0] = -self._tiny
        B[(coupling <= 2 * self._tiny) & (np.abs(pivots) < coupling)] = 0.0  # part of the error
        L = (B / pivots[:, None]).T
        self._steps.append(Pivots(unknowns, np.concatenate([Q[:, safe], Q[:, ~safe]], axis=1), L, pivots))
        # The delayed are not touched by these pivots: Q^T F Q is diag(theta).
        F[k:, k:] -= L @ B
        F[a:k, a:k] = np.diag(theta[~safe])
        F[a:k, k:] = C[~safe]
        F[k:, a:k] = C[~safe].T
        return _Left(F[a:, a:], unknowns[a:], k - a)

    def _eliminate_definite(self, F: np.ndarray, unknowns: np.ndarray, a: int) -> _Left | None:
        """Eliminates the first a unknowns by Cholesky; None where they are not definite or the rest would grow."""
        B = F[:a, a:]
        size = np.linalg.norm(B, axis=0)
        linked = np.flatnonzero(size)
        sign = 1.0 if F[0, 0] > 0 else -1.0
        try:
            R = np.linalg.cholesky(sign * F[:a, :a])
        except np.linalg.LinAlgError:
            return None
        # F = [R; W^T] (sign I) [R^T, W] + [0, 0; 0, S]
        W = sign * _triangular(R, B[:, linked], 0)
        if np.sum(W**2, axis=0).max(initial=0.0) > size.max(initial=0.0) / THRESHOLD:
            return None
        S = F[a:, a:]
        S[np.ix_(linked, linked)] -= sign * (W.T @ W)
        L = np.concatenate([R, W.T])
        self._steps.append(Block(np.append(unknowns[:a], unknowns[a:][linked]), L, np.full(a, sign), np.zeros(a)))
        return _Left(S, unknowns[a:], 0)


def _light(F: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The size of each unknown's row of F, and which of them are not far above the median."""
    magnitude = np.linalg.norm(F, axis=1)
    return magnitude, magnitude <= SPREAD * np.median(magnitude)


def _permuted(F: np.ndarray, unknowns: np.ndarray, start: int, by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F and its unknowns with those from `start` on in another order."""
    order = np.arange(unknowns.size)
    if np.array_equal(by, order[: by.size]):
        return F, unknowns
    order[start : start + by.size] = start + by
    return F[np.ix_(order, order)], unknowns[order]


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


def _bunch_kaufman(F: np.ndarray, unknowns: np.ndarray, tiny: float) -> Block:
    L, D, permutation = scipy.linalg.ldl(F, overwrite_a=True, check_finite=False)
    diagonal, off = np.diagonal(D).copy(), np.append(np.diagonal(D, -1), 0.0)
    alone = (off == 0) & (np.append(0.0, off[:-1]) == 0)
    diagonal[alone & (diagonal == 0)] = -tiny
    return Block(unknowns[permutation], np.asfortranarray(L[permutation]), diagonal, off)


def _triangular(L: np.ndarray, x: np.ndarray, transposed: int) -> np.ndarray:
    return scipy.linalg.solve_triangular(L, x, trans=transposed, lower=True, check_finite=False)


def _independent(C: np.ndarray, limit: float) -> np.ndarray:
    """Columns of C [d, c] in whose span the others lie to within about the limit, by QR with pivoting."""
    if C.shape[1] == 0:
        return np.zeros(0, np.int64)
    if C.shape[0] > C.shape[1]:
        C = np.linalg.qr(C, mode="r")
    R, by = scipy.linalg.qr(C, mode="r", pivoting=True, check_finite=False)
    return by[: np.count_nonzero(np.abs(np.diagonal(R)) > limit)]


def _householder(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V [d, k], T [k, k] with (I - V T V^T)^T M upper triangular, for M [d, k], d >= k."""
    raw, tau = np.linalg.qr(M, mode="raw")  # raw is transposed
    V = np.tril(raw.T, -1)
    V[np.arange(tau.size), np.arange(tau.size)] = 1.0
    V[:, tau == 0] = 0.0
    # H_1 ... H_k = I - V T V^T with T^-1 = the strict upper triangle of V^T V + diag(1 / tau) (Puglisi 1992).
    inverse = np.triu(V.T @ V, 1) + np.diag(1 / np.where(tau == 0, 1.0, tau))
    return V, scipy.linalg.solve_triangular(inverse, np.eye(tau.size), check_finite=False)


def _largest_sum(J: sp.csr_matrix, axis: int) -> float:
    return float(np.max(np.asarray(abs(J).sum(axis=axis)), initial=0.0))

"""From the adjacency matrix A[receiver, sender] to the matrix P that signals are propagated with."""

from typing import Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

Normalisation = Literal["sym", "row", "doubly", "raw"]

# Beyond these degrees a product of two roots, or of one and a weight, may leave float64's range on its way.
_SMALL, _LARGE = 1e-100, 1e100


def normalised(
    A: sp.csr_matrix, normalisation: str, loops: bool | None, *, weighted: bool, real: int
) -> tuple[sp.csr_matrix, Float[np.ndarray, "n"]]:
    """P and the row sums D~ of what was normalised, as `prepare` says; 0 for nodes from `real` on, which are padding.

    Raises ValueError where an option does not go with the graph, and where degrees or P are not finite.
    """
    n = A.shape[0]
    if real == n:
        return _normalised(A, normalisation, loops, weighted)
    P, degree = _normalised(sp.csr_matrix(A[:real, :real]), normalisation, loops, weighted)
    P.resize((n, n))  # pyright: ignore[reportCallIssue, reportArgumentType]
    return P, np.concatenate([degree, np.zeros(n - real)])


def _normalised(A: sp.csr_matrix, normalisation: str, loops: bool | None, weighted: bool):
    if loops is None:
        loops = normalisation != "raw"
    if normalisation == "doubly":
        if not loops:
            raise ValueError('loops=False does not go with normalisation="doubly": its diagonal is 1 - sum_v P_uv')
        return _metropolis(A, weighted=weighted)
    if loops:
        A = A + sp.diags_array((A.diagonal() == 0).astype(np.float64), format="csr")
    with np.errstate(over="ignore"):
        degree = np.asarray(A.sum(axis=1)).ravel()
    if not np.isfinite(degree).all():
        node = int(np.flatnonzero(~np.isfinite(degree))[0])
        raise ValueError(f"the weights of the edges to node {node} add up to more than float64 holds")
    if normalisation == "raw":
        return A, degree
    if (A.data < 0).any():
        raise ValueError(
            f"an edge weight is {A.data.min()}: normalisation={normalisation!r} needs weights of 0 or more"
        )
    values = _divided(A, degree, normalisation)
    if not np.isfinite(values).all():
        entry = int(np.flatnonzero(~np.isfinite(values))[0])
        receiver, sender = int(np.searchsorted(A.indptr, entry, side="right")) - 1, int(A.indices[entry])
        raise ValueError(
            f"P[{receiver}, {sender}] is more than float64 holds: the weighted degrees of nodes {receiver} and "
            f"{sender} are {degree[receiver]} and {degree[sender]}"
        )
    return sp.csr_matrix((values, A.indices, A.indptr), A.shape), degree


def _divided(A: sp.csr_matrix, degree: Float[np.ndarray, "n"], normalisation: str) -> Float[np.ndarray, "e"]:
    """A_vu / sqrt(d_v d_u) of every entry for "sym", A_vu / d_v for "row"; 0 where a degree is 0."""
    sym = normalisation == "sym"
    data, power = A.data, -0.5 if sym else -1.0
    rows, positive = np.repeat(np.arange(degree.size), np.diff(A.indptr)), degree > 0
    if degree.size and (degree.max() > _LARGE or degree.min(where=positive, initial=1.0) < _SMALL):
        # d = m 4^k with m in [1/2, 2): powers of two, which are exact, go into the weights first.
        _, exponent = np.frexp(degree)
        half = exponent // 2
        degree = np.ldexp(degree, -2 * half)
        with np.errstate(over="ignore"):  # refused above
            data = np.ldexp(data, -(half[rows] + half[A.indices]) if sym else -2 * half[rows])
    scale = np.zeros_like(degree)
    np.power(degree, power, where=positive, out=scale)
    values = scale[rows]
    if sym:
        values *= scale[A.indices]  # one product for both ends: P of a symmetric graph is symmetric to the last bit
    with np.errstate(over="ignore"):
        values *= data
    return values


def _metropolis(A: sp.csr_matrix, *, weighted: bool):
    if weighted:
        raise ValueError('normalisation="doubly" takes no edge weights: Metropolis weights follow from the degrees')
    A = sp.csr_matrix(A - sp.diags_array(A.diagonal(), format="csr"))
    A.eliminate_zeros()
    different = sp.coo_matrix(A - A.T)
    if different.nnz:
        receiver, sender = (int(i[np.flatnonzero(different.data > 0)[0]]) for i in different.coords)
        raise ValueError(
            f'normalisation="doubly" needs a symmetric graph: edge {sender} -> {receiver} has no edge back; '
            "undirected=True adds them"
        )
    rows, columns = A.nonzero()
    degree = np.bincount(rows, minlength=A.shape[0]).astype(np.float64)
    weights = 1.0 / (1.0 + np.maximum(degree[rows], degree[columns]))
    off_diagonal = sp.csr_matrix((weights, (rows, columns)), A.shape)
    diagonal = 1.0 - np.asarray(off_diagonal.sum(axis=1)).ravel()
    return sp.csr_matrix(off_diagonal + sp.diags_array(diagonal)), degree + 1.0

"""The dense Jacobian by jacfwd, and exact spectra: zeros and independent blocks split off before LAPACK."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
from jaxtyping import Complex, Float

from jaxgnn.host.memory import require_memory
from jaxgnn.host.precision import exact_products, precision

ACCURACY = 1e-12  # of sigma_1: all singular values here
# Eigenvalues of a computed Gram matrix err by at most this times sqrt(m) eps sigma_1^2: its rounding and that of the m
# reflections to tridiagonal form, which add up like random numbers. Clusters come to 7, other spectra hardly to 2.
_GRAM_ERROR = 16.0
ROUNDING = 50  # LAPACK's singular values, and Ritz values, are known to this many eps of the largest
_SMALL = 256  # rows of a block up to which LAPACK's SVD is as fast


@partial(jax.jit, static_argnums=2)
@exact_products()
def jacfwd_flat(f, h, shape: tuple[int, int]):
    """d vec(f(h)) / d vec(h) of a pytree-callable f, row-major, as an array of `shape`."""
    return jnp.reshape(jax.jacfwd(f)(h), shape)


def singular_values(J: Float[np.ndarray, "m n"] | sp.csr_matrix) -> Float[np.ndarray, "k"]:
    """All min(m, n) singular values, descending, in float64, to `ACCURACY` of the largest (see `svdvals`).

    Rows and columns are linked where an entry is not zero; J is block diagonal up to permutations, its blocks
    the connected components of that bipartite graph. Zero rows and columns are components without a block.
    """
    J = sp.csr_matrix(J, dtype=np.float64)
    values = [svdvals(J[rows][:, columns]) for rows, columns in bipartite_blocks(J)]
    return padded(np.sort(np.concatenate([np.zeros(0), *values]))[::-1], min(J.shape))


def svdvals(A: sp.csr_matrix) -> Float[np.ndarray, "k"]:
    """All min(m, n) singular values of a block, descending.

    Small blocks, and those with many small values, by LAPACK's SVD. Others as follows, with G = A A^T (m <= n):

    1. the eigenvalues w of G, wrong by p eps sigma_1^2, p = _GRAM_ERROR sqrt(m), so sqrt(w) by p eps sigma_1 / (2 t)
       where sqrt(w) > t sigma_1: `ACCURACY` for the t of `_split`;
    2. for the rest an orthonormal basis V of its eigenvectors, made orthogonal to the others' beyond what G knows by
       one Newton step V - (G + sigma_1^2 V V^T)^(-1) (G V - V (V^T G V)), G V = A (A^T V); then the singular
       values of A^T V, wrong by about eps sigma_1.

    Several times faster than bidiagonalising A where few values are small.
    """
    if A.shape[0] > A.shape[1]:
        A = A.T.tocsr()
    m = A.shape[0]
    # The block, what LAPACK or the small subspace takes of it again, and the Gram matrix with its reduction.
    needed = 8 * m * (2 * A.shape[1] + 3 * m)
    require_memory(needed, f"a {m} x {A.shape[1]} block of J", "extremes() and density()", on_host=True)
    if m <= _SMALL:
        return np.linalg.svd(A.toarray(), compute_uv=False)
    scale = float(abs(A).max())
    if scale == 0:
        return np.zeros(m)
    A = A / scale  # squares neither overflow nor vanish
    D = A.toarray()
    G = (A @ A.T).toarray() if A.nnz < 0.05 * D.size else D @ D.T
    w, vectors = _eigen(G)
    few = int(np.searchsorted(w, _split(m) ** 2 * w[-1]))
    if few > m // 3:
        return scale * np.linalg.svd(D, compute_uv=False)
    large = scale * np.sqrt(w[few:])[::-1]
    if few == 0:
        return large
    V = vectors(few)
    GV = D @ (D.T @ V)
    residual = GV - V @ (V.T @ GV)
    G += w[-1] * (V @ V.T)
    V, _ = np.linalg.qr(V - sl.cho_solve(sl.cho_factor(G, overwrite_a=True), residual))
    return np.concatenate([large, scale * np.linalg.svd(D.T @ V, compute_uv=False)])


def errors(values: Float[np.ndarray, "k"], eps: float) -> Float[np.ndarray, "k"]:
    """A bound of the error of each of all singular values of a J whose entries are known to eps of the largest.

    Those below half of t times the largest of their block are LAPACK's; the others err by `ACCURACY` of that, which is
    at most 2 sigma / t.
    """
    top = values.max(initial=0.0)
    by_gram = ACCURACY * np.minimum(top, 2 * values / _split(_SMALL))
    return np.maximum(ROUNDING * eps * top, by_gram)


def _split(m: int) -> float:
    """The fraction t of sigma_1 above which the Gram matrix of m rows gives singular values to `ACCURACY`."""
    # |sqrt(w) - sigma| <= |w - sigma^2| / sigma <= p eps sigma_1^2 / (t sigma_1), half of it to first order
    return _GRAM_ERROR * np.sqrt(m) * float(np.finfo(np.float64).eps) / (2 * ACCURACY)


def _eigen(G: Float[np.ndarray, "m m"]) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
    """Eigenvalues of a symmetric G, ascending, and a function that gives the eigenvectors of the first k.

    On a GPU where there is one (all vectors at once), else by LAPACK on the host.
    """
    if jax.default_backend() == "gpu":
        with precision(np.float64):
            w, V = (np.asarray(a) for a in jnp.linalg.eigh(G))
        return w, lambda k: V[:, :k]
    reduced, diagonal, off_diagonal, tau, _ = sl.lapack.dsytrd(G, lower=1, lwork=64 * len(G))

    def vectors(k: int) -> np.ndarray:
        _, V = sl.eigh_tridiagonal(diagonal, off_diagonal, select="i", select_range=(0, k - 1), check_finite=False)
        V[1:] = sl.lapack.dormqr("L", "N", reduced[1:, :-1], tau, V[1:], lwork=64 * k)[0]
        return V

    return sl.eigh_tridiagonal(diagonal, off_diagonal, eigvals_only=True, check_finite=False), vectors


def eigenvalues(J: Float[np.ndarray, "n n"] | sp.csr_matrix) -> Complex[np.ndarray, "n"]:
    """All n eigenvalues, by falling modulus, by LAPACK in float64 on each strong component.

    Ordered by strong components J is block triangular; a zero row, with its column, is a component of its own.
    Raises ValueError when J is not square.
    """
    if J.shape[0] != J.shape[1]:
        raise ValueError(f"a Jacobian of shape {J.shape} has no eigenvalues: it must be square")
    J = sp.csr_matrix(J, dtype=np.float64)
    J.eliminate_zeros()
    _, labels = sp.csgraph.connected_components(J, directed=True, connection="strong")
    alone = np.bincount(labels)[labels] == 1
    values = [np.zeros(0, np.complex128), J.diagonal()[alone].astype(np.complex128)]
    for nodes in _groups(labels):
        if nodes.size > 1:
            needed, what = 24 * nodes.size**2, f"a block of J of {nodes.size} rows"
            require_memory(needed, what, "outer_eigenvalues()", on_host=True)
            values.append(np.linalg.eigvals(J[nodes][:, nodes].toarray()).astype(np.complex128))
    joined = np.concatenate(values)
    return joined[np.lexsort((joined.imag, joined.real, -np.abs(joined)))]


def bipartite_blocks(J: sp.csr_matrix) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows, columns) of the blocks of J, those with most rows and columns first."""
    m, n = J.shape  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
    entries = J.tocoo()
    kept = entries.data != 0
    rows, columns = entries.row[kept], entries.col[kept]
    links = sp.coo_matrix((np.ones(rows.size, np.int8), (rows, columns + m)), (m + n, m + n))
    _, labels = sp.csgraph.connected_components(links, directed=False)
    groups = sorted((nodes for nodes in _groups(labels) if nodes.size > 1), key=lambda nodes: -nodes.size)
    return [(nodes[nodes < m], nodes[nodes >= m] - m) for nodes in groups]


def _groups(labels: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1]) if labels.size else []


def padded(values: np.ndarray, size: int) -> np.ndarray:
    """`values`, and zeros up to `size`."""
    return np.concatenate([values, np.zeros(max(size - values.size, 0))])[:size]

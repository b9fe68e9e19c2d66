"""The dense Jacobian by jacfwd, and exact spectra of dense matrices: zeros and independent blocks split off first."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Complex, Float


@partial(jax.jit, static_argnums=2)
def jacfwd_flat(f, h, shape: tuple[int, int]):
    """d vec(f(h)) / d vec(h) of a pytree-callable f, row-major, as an array of `shape`."""
    return jnp.reshape(jax.jacfwd(f)(h), shape)


def singular_values(J: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "k"]:
    """All min(m, n) singular values, descending, by LAPACK in float64 on each independent block.

    Rows and columns are linked where an entry is not zero; J is block diagonal up to permutations, its blocks
    the connected components of that bipartite graph. Zero rows and columns are components without a block.
    """
    values = [np.linalg.svd(J[np.ix_(r, c)].astype(np.float64), compute_uv=False) for r, c in _bipartite_blocks(J)]
    return padded(np.sort(np.concatenate([np.zeros(0), *values]))[::-1], min(J.shape))


def eigenvalues(J: Float[np.ndarray, "n n"]) -> Complex[np.ndarray, "n"]:
    """All n eigenvalues, by falling modulus, by LAPACK in float64 on each strong component.

    Ordered by strong components J is block triangular; a zero row, with its column, is a component of its own.
    Raises ValueError when J is not square.
    """
    if J.shape[0] != J.shape[1]:
        raise ValueError(f"a Jacobian of shape {J.shape} has no eigenvalues: it must be square")
    _, labels = sp.csgraph.connected_components(sp.csr_matrix(J != 0), directed=True, connection="strong")
    values = [np.zeros(0, np.complex128)]
    sizes = np.bincount(labels)
    alone = sizes[labels] == 1
    values.append(np.diagonal(J)[alone].astype(np.complex128))
    for nodes in _groups(labels):
        if nodes.size > 1:
            values.append(np.linalg.eigvals(J[np.ix_(nodes, nodes)].astype(np.float64)).astype(np.complex128))
    joined = np.concatenate(values)
    return joined[np.lexsort((joined.imag, joined.real, -np.abs(joined)))]


def _bipartite_blocks(J: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    m, n = J.shape
    rows, columns = np.nonzero(J)
    links = sp.coo_matrix((np.ones(rows.size, np.int8), (rows, columns + m)), (m + n, m + n))
    _, labels = sp.csgraph.connected_components(links, directed=False)
    groups = (nodes for nodes in _groups(labels) if nodes.size > 1)
    return [(nodes[nodes < m], nodes[nodes >= m] - m) for nodes in groups]


def _groups(labels: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1]) if labels.size else []


def padded(values: np.ndarray, size: int) -> np.ndarray:
    """`values`, and zeros up to `size`."""
    return np.concatenate([values, np.zeros(max(size - values.size, 0))])[:size]

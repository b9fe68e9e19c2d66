"""The largest singular values from products alone: block Golub-Kahan-Lanczos with thick restarts.

Source: Golub, Luk & Overton 1981 (blocks); Baglama & Reichel 2005 (restarts).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
from jaxtyping import Float

from jaxgnn.host.memory import require_memory
from jaxgnn.jacobian.linear import generator
from jaxgnn.jacobian.sparse import Products


class Ritz(NamedTuple):
    """Approximate largest singular values and the norms of their residuals ||J^T u - theta v||, descending."""

    values: Float[np.ndarray, "p"]
    residuals: Float[np.ndarray, "p"]
    products: int


def largest_ritz(
    products: Products, k: int, *, tolerance: float, max_products: int, block: int = 8, seed: int = 0
) -> Ritz:
    """Ritz values until the k largest have residuals of at most `tolerance` theta_1, or `max_products` are spent.

    k is from 1 to min(M, N); there are always k values, whatever `max_products` is.

    All Ritz values of the last search space are returned, of which the first k have converged or not, as their
    residuals say. A block finds multiplicities up to its size at once, restarts find the others one after another.
    J V = U B and J^T U = V B^T + V' S [0 .. 0 I] hold for the bases throughout, so a Ritz triple's residual is S times
    the last entries of its left vector. Both bases are re-orthogonalised in full, twice.

    Raises MemoryError where the bases do not fit.
    """
    M, N = int(np.prod(products.outputs)), int(np.prod(products.inputs))
    if M < N:  # J^T has the same singular values; with M >= N, N vectors v are all there are
        transposed = products._replace(
            mm=products.rmm, rmm=products.mm, inputs=products.outputs, outputs=products.inputs
        )
        return largest_ritz(transposed, k, tolerance=tolerance, max_products=max_products, block=block, seed=seed)
    size = N
    block = min(block, size)
    capacity = min(size, max(3 * k, k + 16 * block))
    needed = 3 * capacity * (M + N) * products.dtype.itemsize
    what = f"a Krylov space of {capacity} vectors for a {M} x {N} Jacobian"
    require_memory(needed, what, "a smaller k", on_host=True)
    rng = generator(seed)
    U, V = (np.zeros((rows, capacity), products.dtype, order="F") for rows in (M, N))
    B = np.zeros((0, 0))
    new, _ = _orthonormal(rng.standard_normal((N, block)).astype(products.dtype), V[:, :0], rng)
    spent = 0
    while True:
        p, width = B.shape[0], new.shape[1]
        V[:, p : p + width] = new
        left, R = _orthonormal(_times(products.mm, new, products.inputs), U[:, :p], rng)
        U[:, p : p + width] = left
        B = np.block([[B, R[:p]], [np.zeros((width, p)), R[p:]]])
        p += width
        image = _times(products.rmm, left, products.outputs)
        spent += 2 * width
        if p < size:
            new, S = _orthonormal(image, V[:, :p], rng)
        X, values, Yt = np.linalg.svd(B)
        residuals = np.linalg.norm(S[p:] @ X[-width:], axis=0) if p < size else np.zeros(p)
        converged = bool((residuals[:k] <= tolerance * values[0]).all())
        if p >= k and (converged or spent >= max_products):
            return Ritz(values, residuals, spent)
        new = new[:, : size - p]
        if p + new.shape[1] > capacity:
            kept = k + block
            U[:, :kept], V[:, :kept] = U[:, :p] @ X[:, :kept].astype(U.dtype), V[:, :p] @ Yt[:kept].T.astype(V.dtype)
            B = np.diag(values[:kept])


def _times(mm: Callable, columns: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The images of the columns [N, b], as columns."""
    out = mm(np.ascontiguousarray(columns.T).reshape(-1, *shape))
    return np.ascontiguousarray(out.reshape(columns.shape[1], -1).T)


def _orthonormal(Z: np.ndarray, Q: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(new, coefficients): Z = [Q, new] coefficients, new orthonormal and orthogonal to Q.

    Where Z has nothing new to offer, the columns of `new` are random, and their coefficients 0.
    """
    first = Q.T @ Z
    # With pivoting what is empty comes last: a column before others would take a part of them with it.
    new, R, order = map(np.asarray, sl.qr(Z - Q @ first, mode="economic", pivoting=True))
    empty = np.abs(np.diagonal(R)) <= 100 * np.finfo(Z.dtype).eps * np.linalg.norm(Z, axis=0).max(initial=0.0)
    R = np.where(empty[:, None], 0.0, R[:, np.argsort(order)])
    new[:, empty] = rng.standard_normal((Z.shape[0], int(empty.sum())))
    # A column that is small in Z has become large, and its rounding with it: until little is left to subtract.
    for _ in range(5):
        again = Q.T @ new
        new, T = np.linalg.qr(new - Q @ again)
        first = first + again @ R
        R = np.where(empty[:, None], 0.0, T @ R)
        if np.linalg.norm(again) <= 0.5:
            break
    return new.astype(Z.dtype), np.concatenate([first, R]).astype(np.float64)

"""A Jacobian as scipy's LinearOperator, in float64 whatever precision its products are computed in."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Num
from scipy.sparse.linalg import LinearOperator

from jaxgnn.jacobian.linear import rescaled
from jaxgnn.jacobian.sparse import Products

Product = Callable[[np.ndarray], np.ndarray]  # [b, *shape] -> [b, *shape']


class ScipyOperator(LinearOperator):
    """2^-twos times what `products` computes; complex vectors by their two parts."""

    def __init__(self, products: Products, shape: tuple[int, int], twos: int):
        super().__init__(np.dtype(np.float64), shape)
        self._products, self._twos = products, -twos

    def _matmat(self, V: np.ndarray) -> np.ndarray:
        return _times(self._products.mm, V, self._products.inputs, self.shape[0], self._twos)

    def _rmatmat(self, U: np.ndarray) -> np.ndarray:
        return _times(self._products.rmm, U, self._products.outputs, self.shape[1], self._twos)

    def _matvec(self, v: np.ndarray) -> np.ndarray:
        return self._matmat(v.reshape(-1, 1))

    def _rmatvec(self, u: np.ndarray) -> np.ndarray:
        return self._rmatmat(u.reshape(-1, 1))


def _times(
    product: Product, V: Num[np.ndarray, "N k"], shape: tuple[int, ...], rows: int, twos: int
) -> Num[np.ndarray, "M k"]:
    """The product with every column, each taken near 1 first: it may be beyond the range of the products' precision."""
    if np.iscomplexobj(V):
        return _times(product, V.real, shape, rows, twos) + 1j * _times(product, V.imag, shape, rows, twos)
    columns = np.asarray(V, np.float64).T
    if 0 in V.shape:
        return np.zeros((rows, V.shape[1]))
    if not np.isfinite(columns).all():
        raise ValueError("a vector is NaN or infinite: products are with finite numbers")
    largest = np.abs(columns).max(axis=1, initial=0.0)
    exponents = np.frexp(largest)[1]
    found = product(np.ldexp(columns, -exponents[:, None]).reshape(-1, *shape))
    found = rescaled(np.asarray(found, np.float64).reshape(len(columns), rows), twos + exponents[:, None])
    return found.T

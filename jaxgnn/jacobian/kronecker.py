"""Closed form of the linear layer P X W: its Jacobian is kron(P, W^T), row-major."""

import numpy as np
from jaxtyping import Complex, Float

from jaxgnn.jacobian import dense
from jaxgnn.propagation import Propagation

Factors = tuple[Propagation | Float[np.ndarray, "m n"], Float[np.ndarray, "d e"]]


def as_arrays(factors: Factors) -> tuple[Float[np.ndarray, "m n"], Float[np.ndarray, "d e"]]:
    """(P, W) as dense float64 arrays."""
    P, W = factors
    P = P.dense() if isinstance(P, Propagation) else np.asarray(P, np.float64)
    return P, np.asarray(W, np.float64)


def singular_values(factors: Factors) -> Float[np.ndarray, "k"]:
    """{sigma_i(P) sigma_j(W)}, descending.

    Source: Arroyo et al. 2025, Lemma 3.1, with P's singular values for its eigenvalues, so that P need not be normal.
    """
    P, W = as_arrays(factors)
    products = np.sort(np.outer(dense.singular_values(P), dense.singular_values(W)).ravel())[::-1]
    return dense.padded(products, min(P.shape[0] * W.shape[1], P.shape[1] * W.shape[0]))


def eigenvalues(factors: Factors) -> Complex[np.ndarray, "k"]:
    """{lambda_i(P) lambda_j(W)}, by falling modulus."""
    P, W = as_arrays(factors)
    products = np.outer(dense.eigenvalues(P), dense.eigenvalues(W)).ravel()
    return products[np.argsort(-np.abs(products), kind="stable")]

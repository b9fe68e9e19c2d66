"""Closed forms of linear layers: P X W has the Jacobian kron(P, W^T), X L^T + P X W B^T has I (x) L + P (x) (B W^T)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from jaxgnn.graphs.propagation import Propagation
from jaxgnn.jacobian import dense


class Factors(NamedTuple):
    """A linear layer X -> X Lambda^T + P X W B^T.

    Attributes:
      P: [m, n], a Propagation or an array.
      W: [d, e].
      transition: Lambda [d', d], or None for 0: then P need not be square or symmetric.
      input: B [d', e], or None for I.
    """

    P: Propagation | Float[np.ndarray, "m n"]
    W: Float[np.ndarray, "d e"]
    transition: Float[np.ndarray, "d d"] | None = None
    input: Float[np.ndarray, "d e"] | None = None


class Arrays(NamedTuple):
    """The factors as float64 arrays: P, M = B W^T, and Lambda or None."""

    P: Float[np.ndarray, "m n"]
    M: Float[np.ndarray, "e d"]
    transition: Float[np.ndarray, "e d"] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Of the Jacobian."""
        return self.P.shape[0] * self.M.shape[0], self.P.shape[1] * self.M.shape[1]

    def apply(self, V: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m e"]:
        """What the layer makes of V."""
        out = self.P @ V @ self.M.T
        return out if self.transition is None else V @ self.transition.T + out


def as_arrays(factors: Factors | tuple) -> Arrays:
    """Raises ValueError where the shapes do not fit, or Lambda goes with a P that is not symmetric."""
    P, W, transition, B = Factors(*factors)
    P = P.dense() if isinstance(P, Propagation) else np.asarray(P, np.float64)
    W = np.asarray(W, np.float64)
    if B is not None and np.shape(B)[-1] != W.shape[1]:
        raise ValueError(f"factors W {W.shape} and B {np.shape(B)} do not fit: B W^T needs as many columns in both")
    M = W.T if B is None else np.asarray(B, np.float64) @ W.T
    if transition is None:
        return Arrays(P, M, None)
    transition = np.asarray(transition, np.float64)
    if transition.shape != M.shape:
        raise ValueError(f"factors Lambda {transition.shape} and B W^T {M.shape} do not fit: equal shapes are needed")
    if P.shape[0] != P.shape[1] or not np.array_equal(P, P.T):
        raise ValueError("factors with Lambda need a symmetric P: its eigenvectors take the layer apart")
    return Arrays(P, M, transition)


def singular_values(arrays: Arrays) -> Float[np.ndarray, "k"]:
    """{sigma_i(P) sigma_j(M)}, or with Lambda the union of those of Lambda + p_i M over the eigenvalues p_i of P.

    Source: Arroyo et al. 2025, Lemma 3.1, with P's singular values for its eigenvalues, so that P need not be normal;
    Proposition 3.3, with the eigenvectors of a symmetric P as basis: nothing has to commute.
    """
    P, M, transition = arrays
    if transition is None:
        values = np.outer(dense.singular_values(P), dense.singular_values(M)).ravel()
    else:
        values = np.linalg.svd(_blocks(arrays), compute_uv=False).ravel()
    return dense.padded(np.sort(values)[::-1], min(arrays.shape))


def eigenvalues(arrays: Arrays) -> Complex[np.ndarray, "k"]:
    """{lambda_i(P) lambda_j(M)}, or with Lambda those of Lambda + p_i M, by falling modulus.

    Raises ValueError where the Jacobian is not square.
    """
    P, M, transition = arrays
    if arrays.shape[0] != arrays.shape[1]:
        raise ValueError(f"a Jacobian of shape {arrays.shape} has no eigenvalues: it must be square")
    if transition is None:
        values = np.outer(dense.eigenvalues(P), dense.eigenvalues(M)).ravel()
    else:
        values = np.linalg.eigvals(_blocks(arrays)).astype(np.complex128).ravel()
    return values[np.argsort(-np.abs(values), kind="stable")]


def _blocks(arrays: Arrays) -> Float[np.ndarray, "n e d"]:
    assert arrays.transition is not None
    return arrays.transition + np.linalg.eigvalsh(arrays.P)[:, None, None] * arrays.M

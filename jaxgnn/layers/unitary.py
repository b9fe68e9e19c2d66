"""Unitary graph convolution (Kiani et al. 2024), over the reals: H = exp(A) X with a skew A, which keeps all norms."""

import math
from typing import ClassVar

import flax.linen as nn
import jax
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class Unitary(Layer):
    """H = sum_{k<=K} A^k X / k! (+ b), A X = (P X W - P^T X W^T) / 2; [n, d] -> [n, d].

    A is the skew part of the convolution, P X (W - W^T) / 2 where P is symmetric, so that exp(A) is orthogonal: of the
    K terms taken, all singular values lie within `truncation` of 1. Where P is not symmetric, a node receives from
    those that it sends to as well. Source: Kiani et al. 2024 (arXiv 2410.05499), in the form of their code
    (HermitianGCNConv inside TaylorGCNConv, 10 to 16 terms).

    Attributes:
      features: d, columns of X as well.
      K: number of terms after the first, at least 1; the hops of its receptive field.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of W [d, d].

    Raises:
      ValueError: K below 1, when the object is made; X with another number of columns.
    """

    features: int
    K: int = 16
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    square: ClassVar[bool] = True  # maps d features to d

    @property
    def hops(self) -> int:
        return self.K

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        if X.shape[-1] != self.features:
            raise ValueError(f"features={self.features}: Unitary needs as many as X has columns, {X.shape[-1]}")
        graph.warn_unused("Unitary", features=True)
        W = self.param("kernel", self.kernel_init, (self.features, self.features), X.dtype)
        P = graph.propagation

        def skew(Z):
            if P.backward is None:
                return P @ (Z @ ((W - W.T) / 2))
            return (P @ (Z @ W) - P.T @ (Z @ W.T)) / 2

        def term(k, carry):
            H, Z = carry  # Z = A^(k-1) X / (k-1)!
            Z = skew(Z) / k
            return H + Z, Z

        H, _ = jax.lax.fori_loop(1, self.K + 1, term, (X, X))
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def truncation(self, graph: Graph, c: float) -> float:
        """Upper bound of ||sum_{k<=K} A^k / k! - exp(A)||_2 where ||W||_2 is at most c: (||P|| c)^(K+1) / (K+1)!.

        Taylor's remainder along exp(s A), s from 0 to 1, which a skew A keeps at norm 1. Rounding comes on top.
        """
        a = graph.propagation.norm() * c
        return math.exp((self.K + 1) * math.log(a) - math.lgamma(self.K + 2)) if a > 0 else 0.0

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where ||W||_2 is at most c."""
        return 1 + self.truncation(graph, c)

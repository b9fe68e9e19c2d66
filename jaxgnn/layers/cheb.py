"""Chebyshev convolution (Defferrard et al. 2016): H = sum_k T_k(L~) X W_k."""

import math

import flax.linen as nn
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class Cheb(Layer):
    """H = sum_{k<K} T_k(-P) X W_k (+ b), [n, d] -> [n, features]. Source: Defferrard et al. 2016, section 2.1.

    -P is their L~ = 2 L / lambda_max - I with L = I - P and lambda_max = 2: prepare the graph with loops=False for
    the Laplacian of the graph itself. T_0 = I, T_1 = -P, T_(k+1) = -2 P T_k - T_(k-1).

    Attributes:
      features: columns of every W_k.
      K: number of terms, at least 1; the layer hears K - 1 hops.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of every W_k [d, features].

    Raises:
      ValueError: K below 1, when the object is made.
    """

    features: int
    K: int = 3
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()

    @property
    def hops(self) -> int:
        return self.K - 1

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        graph.warn_unused("Cheb", features=True)
        P = graph.propagation
        W = [
            nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name=f"linear_{k}")
            for k in range(self.K)
        ]
        H, before, T = W[0](X), X, X
        for k in range(1, self.K):
            before, T = T, -(P @ X) if k == 1 else -2 * (P @ T) - before
            H = H + W[k](T)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where every ||W_k||_2 is at most c."""
        norm = graph.propagation.norm()
        if graph.propagation.backward is None:  # P symmetric: |T_k| <= 1 on [-1, 1], and T_k(norm) beyond
            return c * sum(math.cosh(k * math.acosh(max(norm, 1.0))) for k in range(self.K))
        bounds = [1.0, norm]
        while len(bounds) < self.K:
            bounds.append(2 * norm * bounds[-1] + bounds[-2])
        return c * sum(bounds[: self.K])

"""Chebyshev convolution (Defferrard et al. 2016): H = sum_k T_k(L~) X W_k."""

import math

import flax.linen as nn
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class Cheb(Layer):
    """H = sum_{k<K} T_k(L~) X W_k (+ b), [n, d] -> [n, features]. Source: Defferrard et al. 2016, section 2.1.

    L~ = 2 L / lambda_max - I with L = I - P, which is -P for lambda_max = 2: prepare the graph with loops=False for
    the Laplacian of the graph itself. T_0 = I, T_1 = L~, T_(k+1) = 2 L~ T_k - T_(k-1).

    Attributes:
      features: columns of every W_k.
      K: number of terms, at least 1; its receptive field is K - 1 hops.
      lambda_max: the largest eigenvalue of L, or a bound of it: 2 holds for "sym" without loops.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of every W_k [d, features].

    Raises:
      ValueError: K below 1, when the object is made.
    """

    features: int
    K: int = 3
    lambda_max: float = 2.0
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
        by = 2 / self.lambda_max

        def shifted(T):
            return -(P @ T) if by == 1 else (by - 1) * T - by * (P @ T)

        H, before, T = W[0](X), X, X
        for k in range(1, self.K):
            before, T = T, shifted(X) if k == 1 else 2 * shifted(T) - before
            H = H + W[k](T)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where every ||W_k||_2 is at most c."""
        by = 2 / self.lambda_max
        norm = abs(by - 1) + by * graph.propagation.norm()
        if graph.propagation.backward is None:  # L~ symmetric: |T_k| <= 1 on [-1, 1], and T_k(norm) beyond
            return c * sum(math.cosh(k * math.acosh(max(norm, 1.0))) for k in range(self.K))
        bounds = [1.0, norm]
        while len(bounds) < self.K:
            bounds.append(2 * norm * bounds[-1] + bounds[-2])
        return c * sum(bounds[: self.K])

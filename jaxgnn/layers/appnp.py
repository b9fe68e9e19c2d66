"""Personalised PageRank as a layer (Gasteiger et al. 2019): K steps of Z <- (1 - alpha) P Z + alpha X."""

from typing import ClassVar

import flax.linen as nn
import jax
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class APPNP(Layer):
    """H = Z^(K), Z^(0) = X, Z^(k+1) = (1 - alpha) P Z^(k) + alpha X; [n, d] -> [n, d], no parameters.

    Source: Gasteiger et al. 2019, equation 4.

    Attributes:
      features: d, columns of X as well.
      K: number of propagation steps, at least 1; the hops of its receptive field.
      alpha: share of X in every step, the teleport probability.

    Raises:
      ValueError: K or alpha out of its range, when the object is made; X with another number of columns.
    """

    features: int
    K: int = 10
    alpha: float = 0.1
    square: ClassVar[bool] = True  # maps d features to d

    @property
    def hops(self) -> int:
        return self.K

    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        if X.shape[-1] != self.features:
            raise ValueError(f"features={self.features}: APPNP needs as many as X has columns, {X.shape[-1]}")
        graph.warn_unused("APPNP", features=True)

        def step(_, Z):
            return (1 - self.alpha) * (graph.propagation @ Z) + self.alpha * X

        return jax.lax.fori_loop(0, self.K, step, X)

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2; there is no matrix that c could bound."""
        # H = ((1 - alpha)^K P^K + alpha sum_{k<K} (1 - alpha)^k P^k) X
        rate = (1 - self.alpha) * graph.propagation.norm()
        return rate**self.K + self.alpha * sum(rate**k for k in range(self.K))

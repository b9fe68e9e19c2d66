"""Simple graph convolution (Wu et al. 2019): H = P^K X W."""

import flax.linen as nn
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class SGC(Layer):
    """H = P^K X W (+ b), [n, d] -> [n, features]. Source: Wu et al. 2019, equation 8, before the softmax.

    Attributes:
      features: columns of W.
      K: number of propagation steps, at least 1; the hops of its receptive field.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of W [d, features].

    Raises:
      ValueError: K below 1, when the object is made.
    """

    features: int
    K: int = 2
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()

    @property
    def hops(self) -> int:
        return self.K

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        graph.warn_unused("SGC", features=True)
        W = nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name="linear")
        # (P^K X) W = P^K (X W): propagate on the narrower side.
        first = X.shape[-1] > self.features
        H = W(X) if first else X
        for _ in range(self.K):
            H = graph.propagation @ H
        H = H if first else W(H)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where ||W||_2 is at most c."""
        return graph.propagation.norm() ** self.K * c

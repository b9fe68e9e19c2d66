"""Graph convolution (Kipf & Welling 2017): H = P X W."""

from typing import ClassVar

import flax.linen as nn
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class GCN(Layer):
    """H = P X W (+ b), [n, d] -> [n, features]. Source: Kipf & Welling 2017, equation 2, before the activation.

    Attributes:
      features: d', columns of W.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of W [d, features].
    """

    features: int
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        graph.warn_unused(type(self).__name__, features=True)
        W = nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name="linear")
        P = graph.propagation
        # (P X) W = P (X W): propagate on the narrower side.
        H = W(P @ X) if X.shape[-1] <= self.features else P @ W(X)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where ||W||_2 is at most c."""
        return graph.propagation.norm() * c

"""The graph-blind control: H = X W, with the parameters of a GCN layer."""

from typing import ClassVar

import flax.linen as nn
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class MLP(Layer):
    """H = X W (+ b), [n, d] -> [n, features]: the GCN layer with P = I, the same parameters by the same names.

    Attributes:
      features: d', columns of W.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of W [d, features].
    """

    features: int
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 0

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        del graph
        H = nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name="linear")(X)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where ||W||_2 is at most c."""
        return float(c)

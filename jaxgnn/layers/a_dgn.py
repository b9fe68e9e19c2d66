"""Anti-symmetric deep graph network (Gravina et al. 2023): a stable, non-dissipative layer."""

import math
from typing import ClassVar

import flax.linen as nn
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class ADGN(Layer):
    """H = X (W - W^T - gamma I)^T + P X V (+ b), [n, d] -> [n, d]. Source: Gravina et al. 2023, equation 6.

    The block around it makes X + epsilon tanh(H) of it, unless told otherwise.

    Attributes:
      features: d, columns of X as well.
      gamma: damping, which keeps the forward Euler steps stable.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of W and V [d, d].

    Raises:
      ValueError: X with another number of columns.
    """

    features: int
    gamma: float = 0.1
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1
    square: ClassVar[bool] = True  # maps d features to d
    defaults: ClassVar[dict[str, str]] = {"activation": "tanh", "residual": "scaled"}

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        if X.shape[-1] != self.features:
            raise ValueError(f"features={self.features}: A-DGN needs as many as X has columns, {X.shape[-1]}")
        graph.warn_unused("ADGN", features=True)
        W = self.param("kernel", self.kernel_init, (self.features, self.features), X.dtype)
        V = nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name="neighbours")
        H = X @ (W.T - W) - self.gamma * X + V(graph.propagation @ X)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where ||W||_2 and ||V||_2 are at most c."""
        # W - W^T is normal with imaginary eigenvalues of modulus at most 2 c, orthogonal to the real shift by gamma.
        return math.hypot(2 * c, self.gamma) + graph.propagation.norm() * c

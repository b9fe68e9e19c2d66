"""GCNII (Chen et al. 2020): initial residual and identity mapping."""

import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class GCNII(Layer):
    """H = ((1 - alpha) P X + alpha X^(0)) ((1 - beta) I + beta W), beta = ln(theta / (l + 1) + 1); [n, d] -> [n, d].

    Source: Chen et al. 2020, equation 5, where layers are counted from 1; here l is counted from 0.

    Attributes:
      features: d, columns of X as well.
      alpha: share of X^(0).
      theta: how fast beta falls with depth.
      kernel_init: initialiser of W [d, d].

    Raises:
      ValueError: alpha or theta out of its range, when the object is made; X with another number of columns.
    """

    features: int
    alpha: float = 0.1
    theta: float = 0.5
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1

    @nn.compact
    def __call__(
        self, graph: Graph, X: Float[Array, "n d"], x0: Float[Array, "n d"], index: int | np.integer | Int[Array, ""]
    ) -> Float[Array, "n features"]:
        if X.shape[-1] != self.features:
            raise ValueError(f"features={self.features}: GCNII needs as many as X has columns, {X.shape[-1]}")
        graph.warn_unused("GCNII", features=True)
        W = nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name="linear")
        beta = jnp.log1p(self.theta / (jnp.asarray(index, X.dtype) + 1))
        S = (1 - self.alpha) * (graph.propagation @ X) + self.alpha * x0
        return (1 - beta) * S + beta * W(S)

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2, X^(0) constant, in layer `index` where ||W||_2 is at most c."""
        beta = math.log1p(self.theta / (index + 1))
        return (1 - self.alpha) * graph.propagation.norm() * (abs(1 - beta) + beta * c)

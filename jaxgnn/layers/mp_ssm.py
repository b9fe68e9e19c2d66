"""Message-passing state-space model (Ceni et al. 2025): H = Z_K, Z_(k+1) = P Z_k W + X B, linear through all hops."""

from typing import ClassVar

import flax.linen as nn
import jax
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer


class MPSSM(Layer):
    """H = Z_K = sum_{k<K} P^k X B W^k (+ b), Z_0 = 0, Z_(k+1) = P Z_k W + X B; [n, d] -> [n, features].

    The block around it applies the non-linearity once, after the recurrence. With it left out d Z_(t+k) / d Z_t is
    P^k kron (W^T)^k. Source: Ceni et al. 2025 (arXiv 2505.18728), X_(t+1) = P X_t W + U_(t+1) B from 0, of a static
    graph, whose input U is the same at every step.

    Attributes:
      features: columns of B and W.
      K: number of steps, at least 1; its receptive field is K - 1 hops.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of B [d, features] and W [features, features].

    Raises:
      ValueError: K below 1, when the object is made.
    """

    features: int
    K: int = 8
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()

    @property
    def hops(self) -> int:
        return self.K - 1

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        graph.warn_unused("MPSSM", features=True)
        U = nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name="input")(X)
        W = self.param("kernel", self.kernel_init, (self.features, self.features), X.dtype)
        H = jax.lax.fori_loop(1, self.K, lambda _, Z: graph.propagation @ (Z @ W) + U, U)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where ||W||_2 and ||B||_2 are at most c."""
        return c * sum((graph.propagation.norm() * c) ** k for k in range(self.K))


class MPSSMStep(Layer):
    """H = P X W + X^(0) B (+ b), [n, d] -> [n, d]: one step of MP-SSM's recurrence a block, from X^(0).

    With the block's activation left out, as it is unless told otherwise, and `share_weights`, depth is the number of
    steps, and d X^(l+k) / d X^(l) = P^k kron (W^T)^k. Source: as `MPSSM`.

    Attributes:
      features: d, columns of X and X^(0) as well.
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of W and B [d, d].

    Raises:
      ValueError: X with another number of columns.
    """

    features: int
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1
    square: ClassVar[bool] = True  # maps d features to d
    defaults: ClassVar[dict[str, str]] = {"activation": "identity"}

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"], x0: Float[Array, "n d"]) -> Float[Array, "n features"]:
        if X.shape[-1] != self.features:
            raise ValueError(f"features={self.features}: MP-SSM's step needs as many as X has columns, {X.shape[-1]}")
        graph.warn_unused("MPSSMStep", features=True)
        W, B = (
            nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name=name)
            for name in ("linear", "input")
        )
        H = graph.propagation @ W(X) + B(x0)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2, X^(0) constant, where ||W||_2 is at most c."""
        return graph.propagation.norm() * c

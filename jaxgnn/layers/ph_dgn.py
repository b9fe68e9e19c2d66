"""Port-Hamiltonian deep graph network (Heilig et al. 2025): a layer that is a step of mechanics on the graph."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.layer import Layer, Matrix


class PHDGN(Layer):
    """H = [p', q'] of X = [p, q], halves of the columns: q' = q + s dE/dp(p), p' = p - s dE/dq(q'); [n, d] -> [n, d].

    E(p, q) = sum log cosh(p W_p + P p V_p + b_p) + the same of q, so that dE/dp = tanh(Z) W_p^T + P^T tanh(Z) V_p^T:
    the symplectic Euler step of a Hamiltonian system, whose Jacobian is symplectic on any graph: its singular values
    are pairs sigma, 1 / sigma, its determinant is 1. With a damping alpha, p' falls by s alpha relu(D) dE/dp(p) as
    well, D [d / 2] learned. X' itself is the output: the block around it adds no activation and no residual, unless
    told otherwise. Source: Heilig et al. 2025 (arXiv 2405.17163), in the form of their code (PortHamiltonianConv, its
    energy of "gcn" with damping "param+", without external force).

    Attributes:
      features: d, columns of X as well; even.
      step: s.
      damping: alpha, 0 for the conservative system.
      use_bias: adds b_p and b_q [d / 2].
      kernel_init: initialiser of W_p, V_p, W_q and V_q [d / 2, d / 2].

    Raises:
      ValueError: features that are odd, when the object is made; X with another number of columns.
    """

    features: int
    step: float = 0.1
    damping: float = 0.0
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 4  # p' depends on q', and each gradient on two hops
    square: ClassVar[bool] = True  # maps d features to d
    defaults: ClassVar[dict[str, str]] = {"activation": "identity", "residual": "none"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features % 2:
            raise ValueError(f"features={self.features}: PH-DGN needs an even number, half positions, half momenta")

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        if X.shape[-1] != self.features:
            raise ValueError(f"features={self.features}: PH-DGN needs as many as X has columns, {X.shape[-1]}")
        graph.warn_unused("PHDGN", features=True)
        p, q = jnp.split(X, 2, axis=1)
        velocity = self._gradient("p", graph, p)
        q = q + self.step * velocity
        p = p - self.step * self._gradient("q", graph, q)
        if self.damping:
            D = nn.relu(self.param("damping", nn.initializers.ones, (self.features // 2,), X.dtype))
            p = p - self.step * self.damping * D[None] * velocity
        return jnp.concatenate([p, q], axis=1)

    def _gradient(self, name: str, graph: Graph, x: Float[Array, "n e"]) -> Float[Array, "n e"]:
        """Of the energy sum log cosh(Z), Z = x W + P x V + b."""
        size = self.features // 2
        W, V = (Matrix((size, size), self.kernel_init, name=f"{name}_{end}")(x.dtype) for end in ("own", "neighbours"))
        Z = x @ W + graph.propagation @ (x @ V)
        if self.use_bias:
            Z = Z + self.param(f"{name}_bias", nn.initializers.zeros, (size,), x.dtype)[None]
        F = jnp.tanh(Z)
        return F @ W.T + graph.propagation.T @ (F @ V.T)

"""Graph attention (Velickovic et al. 2018): H_v = sum_u a_vu X_u W, u over v's in-neighbours and v itself."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.layers.attention import attend, attention_weights, mean_on_edges
from jaxgnn.layers.layer import Layer, check_heads


class GAT(Layer):
    """H_v = sum_u a_vu Z_u (+ b), Z = X W, [n, d] -> [n, features]. Source: Velickovic et al. 2018, equations 1 to 6.

    a_vu = softmax_u(LeakyReLU(a_s . Z_u + a_r . Z_v)) over the in-neighbours u of v and v itself, once. Where the graph
    has edge features E [e, k], a_e . (E_vu W_e) is added inside the LeakyReLU, for v itself with the mean of E over v's
    other in-edges, as in PyTorch Geometric. Edge weights are not used.

    Attributes:
      features: columns of H; with `concat` each head has features / heads of them.
      heads: number of attention heads.
      concat: puts the heads side by side; without, they are averaged.
      negative_slope: slope of the LeakyReLU below 0.
      attention_dropout: rate on the weights a_vu in training.
      use_bias: adds b [features] to every row.
      residual: adds X W_res, [d, features], as PyTorch Geometric's option of the name.
      kernel_init: initialiser of W [d, heads d'] and W_e [k, heads d'], d' the columns of a head.

    Raises:
      ValueError: an option out of its range, when the object is made.
    """

    features: int
    heads: int = 1
    concat: bool = True
    negative_slope: float = 0.2
    attention_dropout: float = 0.0
    use_bias: bool = False
    residual: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.features, self.heads, self.concat)

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"], train: bool = False) -> Float[Array, "n features"]:
        graph.warn_unused("GAT", weights=True)
        n, columns = X.shape[0], self.features // self.heads if self.concat else self.features
        Z = nn.Dense(self.heads * columns, use_bias=False, kernel_init=self.kernel_init, name="linear")(X)
        Z = Z.reshape(n, self.heads, columns)
        a_s, a_r = (
            self.param(f"attention_{end}", glorot_uniform(), (1, self.heads, columns), Z.dtype)
            for end in ("sender", "receiver")
        )
        # As products: over [n, h, d] XLA's sums, and those of their derivatives, take several times as long on a CPU.
        s, r = (jnp.einsum("nhd,hd->nh", Z, a[0]) for a in (a_s, a_r))
        on_edges, on_self = graph.at_senders(s) + graph.at_receivers(r), s + r
        if (E := graph.edge_matrix(Z.dtype)) is not None:
            F = nn.Dense(self.heads * columns, use_bias=False, kernel_init=self.kernel_init, name="edge")(E)
            a_e = self.param("attention_edge", glorot_uniform(), (1, self.heads, columns), Z.dtype)
            e = jnp.einsum("nhd,hd->nh", F.reshape(-1, self.heads, columns), a_e[0])
            on_edges, on_self = on_edges + e, on_self + mean_on_edges(graph, e)
        on_edges, on_self = (nn.leaky_relu(a, self.negative_slope) for a in (on_edges, on_self))
        on_edges, on_self = attention_weights(graph, on_edges, on_self)
        drop = nn.Dropout(self.attention_dropout, deterministic=not train)
        H = attend(graph, drop(on_edges), drop(on_self), Z)
        H = H.reshape(n, self.features) if self.concat else H.mean(axis=1)
        if self.residual:
            H = H + nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name="residual")(X)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

"""Graph attention whose ranking of neighbours depends on the node (Brody et al. 2022): GATv2."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.remat import not_stored
from jaxgnn.layers.attention import attend, attention_weights, mean_on_edges
from jaxgnn.layers.layer import Layer, check_heads


class GATv2(Layer):
    """H_v = sum_u a_vu Z_u (+ b), Z = X W_s, [n, d] -> [n, features]. Source: Brody et al. 2022, equation 7.

    a_vu = softmax_u(a . LeakyReLU(X_u W_s + X_v W_r)) over the in-neighbours u of v and v itself, once. Where the graph
    has edge features E [e, k], E_vu W_e is added inside the LeakyReLU, for v itself with the mean of E over v's other
    in-edges, as in PyTorch Geometric. Edge weights are not used.

    Attributes:
      features: columns of H; with `concat` each head has features / heads of them.
      heads: number of attention heads.
      concat: puts the heads side by side; without, they are averaged.
      negative_slope: slope of the LeakyReLU below 0.
      attention_dropout: rate on the weights a_vu in training.
      share_weights: W_r = W_s.
      use_bias: adds biases to X W_s, to X W_r and to H.
      residual: adds X W_res, [d, features], as PyTorch Geometric's option of the name.
      kernel_init: initialiser of W_s and W_r [d, heads d'] and W_e [k, heads d'], d' the columns of a head.

    Raises:
      ValueError: an option out of its range, when the object is made.
    """

    features: int
    heads: int = 1
    concat: bool = True
    negative_slope: float = 0.2
    attention_dropout: float = 0.0
    share_weights: bool = False
    use_bias: bool = False
    residual: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.features, self.heads, self.concat)

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"], train: bool = False) -> Float[Array, "n features"]:
        graph.warn_unused("GATv2", weights=True)
        n, columns = X.shape[0], self.features // self.heads if self.concat else self.features
        options = {"use_bias": self.use_bias, "kernel_init": self.kernel_init}
        S = R = nn.Dense(self.heads * columns, **options, name="sender")(X).reshape(n, self.heads, columns)
        if not self.share_weights:
            R = nn.Dense(self.heads * columns, **options, name="receiver")(X).reshape(n, self.heads, columns)
        a = self.param("attention", glorot_uniform(), (1, self.heads, columns), S.dtype)

        def score(Z, F):
            Z = Z if F is None else Z + F
            return jnp.einsum("nhd,hd->nh", nn.leaky_relu(Z, self.negative_slope), a[0])

        F = F_self = None  # what edge features add, on edges and for the node itself
        if (E := graph.edge_matrix(S.dtype)) is not None:
            edge = nn.Dense(self.heads * columns, use_bias=False, kernel_init=self.kernel_init, name="edge")
            F, F_self = (edge(A).reshape(-1, self.heads, columns) for A in (E, mean_on_edges(graph, E)))
        on_edges = not_stored(lambda S, R, F: score(graph.at_senders(S) + graph.at_receivers(R), F))(S, R, F)
        on_edges, on_self = attention_weights(graph, on_edges, score(S + R, F_self))
        drop = nn.Dropout(self.attention_dropout, deterministic=not train)
        H = attend(graph, drop(on_edges), drop(on_self), S)
        H = H.reshape(n, self.features) if self.concat else H.mean(axis=1)
        if self.residual:
            H = H + nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name="residual")(X)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

"""Gated graph convolution (Bresson & Laurent 2018): H_v = X_v W_s + sum_u sigmoid(gate_vu) * X_u W_v."""

from typing import ClassVar

import flax.linen as nn
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.remat import not_stored
from jaxgnn.layers.layer import Layer


class GatedGCN(Layer):
    """H_v = X_v W_s + sum_u sigmoid(X_v W_k + X_u W_q) * X_u W_v (+ b), u over v's in-edges; [n, d] -> [n, features].

    Source: Bresson & Laurent 2018, equation 11 without its residual connection. Where the graph has edge features
    E [e, k], row E_vu times a matrix of its own is added to each of the three products: key, query and value. Edge
    weights are not used.

    Attributes:
      features: columns of every matrix.
      use_bias: adds biases to key, query, value and H.
      kernel_init: initialiser of every matrix.
    """

    features: int
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        def linear(name, use_bias=False):
            return nn.Dense(self.features, use_bias=use_bias, kernel_init=self.kernel_init, name=name)

        graph.warn_unused("GatedGCN", weights=True)
        key, query, value = (linear(name, self.use_bias)(X) for name in ("key", "query", "value"))
        gate_of_edges, value_of_edges = 0.0, 0.0
        if (E := graph.edge_matrix(X.dtype)) is not None:
            gate_of_edges = linear("key_edge")(E) + linear("query_edge")(E)
            value_of_edges = linear("value_edge")(E)

        @not_stored
        def gated_sum(key, query, value, gate_of_edges, value_of_edges):
            gate = nn.sigmoid(graph.at_receivers(key) + graph.at_senders(query) + gate_of_edges)
            return graph.aggregate(gate * (graph.at_senders(value) + value_of_edges))

        H = linear("skip")(X) + gated_sum(key, query, value, gate_of_edges, value_of_edges)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

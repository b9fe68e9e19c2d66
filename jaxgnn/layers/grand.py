"""Graph neural diffusion (Chamberlain et al. 2021): H = (A(X) - I) X, A(X) an attention matrix."""

import math
from typing import ClassVar

import flax.linen as nn
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.remat import not_stored
from jaxgnn.layers.attention import attend, attention_weights, row_sums
from jaxgnn.layers.layer import Layer


class GRAND(Layer):
    """H = (A(X) - I) X, [n, d] -> [n, d]. Source: Chamberlain et al. 2021, equations 8 and 9.

    A(X)_vu = softmax_u((X_v W_K) . (X_u W_Q) / sqrt(d')) over the in-neighbours u of v and v itself, once, averaged
    over heads of d' = attention_dim / heads columns each. An explicit Euler step of the diffusion is X + epsilon H,
    which the block around it makes of it, unless told otherwise.

    Attributes:
      features: d, columns of X as well.
      attention_dim: columns of W_K and W_Q, all heads together; None: `features`.
      heads: number of attention heads.
      kernel_init: initialiser of W_K and W_Q [d, attention_dim].

    Raises:
      ValueError: heads that do not divide the columns, when the object is made; X with another number of columns.
    """

    features: int
    attention_dim: int | None = None
    heads: int = 1
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1
    square: ClassVar[bool] = True  # maps d features to d
    defaults: ClassVar[dict[str, str]] = {"activation": "identity", "residual": "scaled"}

    def __post_init__(self) -> None:
        super().__post_init__()
        columns = self.features if self.attention_dim is None else self.attention_dim
        if columns % self.heads:
            raise ValueError(f"heads={self.heads}: allowed are 1 and more that divide attention_dim={columns}")

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        if X.shape[-1] != self.features:
            raise ValueError(f"features={self.features}: GRAND needs as many as X has columns, {X.shape[-1]}")
        graph.warn_unused("GRAND", weights=True, features=True)
        columns = self.features if self.attention_dim is None else self.attention_dim
        shape = (X.shape[0], self.heads, columns // self.heads)
        key, query = (
            nn.Dense(columns, use_bias=False, kernel_init=self.kernel_init, name=name)(X).reshape(shape)
            for name in ("key", "query")
        )
        query = query / math.sqrt(shape[-1])
        on_edges = not_stored(lambda k, q: row_sums(graph.at_receivers(k) * graph.at_senders(q)))(key, query)
        on_edges, on_self = attention_weights(graph, on_edges, row_sums(key * query))
        a, a_self = on_edges.mean(-1, keepdims=True), on_self.mean(-1, keepdims=True)
        return attend(graph, a, a_self, X[:, None])[:, 0] - X

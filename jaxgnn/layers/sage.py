"""GraphSAGE (Hamilton et al. 2017): H = aggregate(in-neighbours) W_n + X W_s."""

import math
from typing import ClassVar, get_args

import flax.linen as nn
import numpy as np
import scipy.sparse as sp
from jax.nn.initializers import Initializer, glorot_uniform
from jaxtyping import Float

from jaxgnn.graphs.graph import Aggregation, Graph
from jaxgnn.graphs.propagation import operator_norm
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known
from jaxgnn.layers.layer import Layer


class SAGE(Layer):
    """H = aggregate(X) W_n + X W_s (+ b), [n, d] -> [n, features]. Source: Hamilton et al. 2017, algorithm 1.

    The concatenation of the paper, written as the sum of two products; a node without in-edges aggregates to 0.

    Attributes:
      features: columns of W_n and W_s.
      aggregation: "mean", "max" or "sum" over the in-neighbours' rows, every in-edge counted once.
      project: aggregates ReLU(X W_p + b_p), W_p [d, d], in place of X (Hamilton et al. 2017, equation 3, with "max").
      use_bias: adds b [features] to every row.
      kernel_init: initialiser of W_n and W_s [d, features].

    Raises:
      ValueError: an aggregation that is not known, when the object is made.
    """

    features: int
    aggregation: str = "mean"
    project: bool = False
    use_bias: bool = False
    kernel_init: Initializer = glorot_uniform()
    hops: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_known("aggregation", self.aggregation, get_args(Aggregation))
        super().__post_init__()

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        graph.warn_unused("SAGE", weights=True, features=True)
        W_n, W_s = (
            nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name=name)
            for name in ("neighbours", "self")
        )
        Z = nn.relu(nn.Dense(X.shape[1], kernel_init=self.kernel_init, name="project")(X)) if self.project else X
        H = W_n(graph.aggregate(graph.at_senders(Z), self.aggregation)) + W_s(X)
        return H + self.param("bias", nn.initializers.zeros, (self.features,), H.dtype)[None] if self.use_bias else H

    @nn.nowrap
    def lipschitz(self, graph: Graph, c: float, index: int = 0) -> float:
        """Upper bound of ||dH/dX||_2 where ||W_n||_2, ||W_s||_2 and ||W_p||_2 are at most c."""
        through = c if self.project else 1.0  # ReLU does not stretch
        kept = np.ones(graph.num_edges) if graph.edge_mask is None else np.asarray(graph.edge_mask, np.float64)
        edges = (np.asarray(graph.receivers), np.asarray(graph.senders))
        A = sp.coo_array((kept, edges), (graph.num_nodes, graph.num_nodes)).tocsr()
        if self.aggregation == "max":
            # Of each column a row picks one sender (or an average of equal ones): row sums are at most 1, column sums
            # at most the number of nodes that receive from the sender, and ||M||_2^2 <= ||M||_1 ||M||_inf.
            return c * (through * math.sqrt(np.max(A.sum(axis=0), initial=0.0)) + 1)
        if self.aggregation == "mean":
            A = sp.diags_array(1 / np.maximum(A.sum(axis=1), 1)) @ A  # as `Graph.aggregate`
        return c * (through * operator_norm(A) + 1)

"""Arms of comparisons, by the names that they have in every figure."""

from typing import Any

import flax.linen as nn
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.network.state_space import StateSpace

# Options of DeepGNN. GCN-SSM's Lambda is I, its B frozen, a linear layer's usual uniform draw; the identity residual is
# the network with Lambda = B = I, to the bit, and stands beside it everywhere.
ARMS: dict[str, dict[str, Any]] = {
    "GCN": {},
    "identity residual": {"residual": "identity"},
    "GCN-SSM": {"residual": "ssm", "ssm": StateSpace()},
    "GCN-SSM, B = 0.1": {"residual": "ssm", "ssm": StateSpace(input="scalar", input_scale=0.1)},
    "k-hop GCN": {"khop": True},
    "k-hop identity residual": {"khop": True, "residual": "identity"},
    "k-hop GCN-SSM": {"khop": True, "residual": "ssm", "ssm": StateSpace()},
}


class LinearSkip(nn.Module):
    """H = P X W + X W_s + b: a GCN layer with a linear skip inside, before norm and activation.

    Source: Luo et al. 2024 (arXiv 2406.08993), whose networks put batch norm and ReLU after it.
    """

    features: int

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n features"]:
        glorot = nn.initializers.glorot_uniform()
        skip = nn.Dense(self.features, kernel_init=nn.initializers.lecun_uniform(), name="skip")(X)
        return graph.propagation @ nn.Dense(self.features, use_bias=False, kernel_init=glorot, name="linear")(X) + skip

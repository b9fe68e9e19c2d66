"""Layers by name. Any Linen module whose __call__(graph, X) returns [n, features] works as one."""

from jaxgnn.layers.gcn import GCN as GCN
from jaxgnn.layers.mlp import MLP as MLP

LAYERS = {"gcn": GCN, "mlp": MLP}

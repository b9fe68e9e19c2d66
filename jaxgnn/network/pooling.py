"""Reading out whole graphs: one row for each, from those of its nodes."""

import jax.numpy as jnp
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.segment import segment_max, segment_sum
from jaxgnn.host.arrays import Array


def pooled(graph: Graph, X: Float[Array, "n d"], pool: str) -> Float[Array, "m d"]:
    """Sum, mean or maximum over each graph's nodes, [graphs, d], padding left out; X itself for "none"."""
    if pool == "none":
        return X
    graphs, count = graph.graph_of_nodes, graph.graphs_tuple.n_node.shape[0]
    mask = jnp.ones((X.shape[0], 1), X.dtype) if graph.node_mask is None else jnp.asarray(graph.node_mask)[:, None]
    if pool == "max":
        return segment_max(jnp.where(mask > 0, X, -jnp.inf), graphs, count, sorted=True)
    total = segment_sum(X * mask.astype(X.dtype), graphs, count, sorted=True)
    if pool == "sum":
        return total
    return total / jnp.maximum(segment_sum(mask.astype(X.dtype), graphs, count, sorted=True), 1)

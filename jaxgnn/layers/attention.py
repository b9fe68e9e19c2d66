"""The softmax that attention layers share: over the in-edges of every node and the node itself."""

import jax.numpy as jnp
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.segment import segment_sum, segment_top
from jaxgnn.host.arrays import Array
from jaxgnn.host.remat import not_stored


def attention_weights(
    graph: Graph, edge_scores: Float[Array, "e h"], self_scores: Float[Array, "n h"]
) -> tuple[Float[Array, "e h"], Float[Array, "n h"]]:
    """Softmax of the scores of each node's in-edges and its own, h heads side by side; every row's weights add up to 1.

    A node attends to itself once: loops of the graph get weight 0, and so do edges that `graph.edge_mask` drops.
    """
    # Softmax stays the same when a row is shifted. Shifted by its own score, every row holds a 0, edges or none.
    relative = edge_scores - graph.at_receivers(self_scores)
    counts = jnp.asarray(graph.senders != graph.receivers)
    if graph.edge_mask is not None:
        counts = counts & (jnp.asarray(graph.edge_mask) > 0)
    relative = jnp.where(counts[:, None], relative, -jnp.inf)
    # The maximum keeps exp in range and cancels, so it is a constant to derivatives.
    top = jnp.maximum(segment_top(relative, graph.receivers, graph.num_nodes, sorted=True), 0)
    on_edges, on_self = jnp.exp(relative - graph.at_receivers(top)), jnp.exp(-top)
    total = segment_sum(on_edges, graph.receivers, graph.num_nodes, sorted=True) + on_self
    return on_edges / graph.at_receivers(total), on_self / total


def mean_on_edges(graph: Graph, E: Float[Array, "e k"]) -> Float[Array, "n k"]:
    """The mean of E over each node's in-edges without its loop, 0 without any: what the node's own edge is given."""
    others = jnp.asarray(graph.senders != graph.receivers, E.dtype)
    if graph.edge_mask is not None:
        others = others * jnp.asarray(graph.edge_mask, E.dtype)
    count = segment_sum(others, graph.receivers, graph.num_nodes, sorted=True)
    total = segment_sum(E * others[:, None], graph.receivers, graph.num_nodes, sorted=True)
    return total / jnp.maximum(count, 1)[:, None]


@not_stored
def attend(
    graph: Graph, on_edges: Float[Array, "e h"], on_self: Float[Array, "n h"], Z: Float[Array, "n h d"]
) -> Float[Array, "n h d"]:
    """sum_u a_vu Z_u + a_vv Z_v for every node v and head."""
    # Repeated along d by a product with ones, whose derivative is a product too: on a CPU XLA would fuse the sum over d
    # of the plain form's derivative with two gathers, element by element, which took three times as long.
    on_edges, on_self = (a[..., None] @ jnp.ones((1, Z.shape[-1]), Z.dtype) for a in (on_edges, on_self))
    return graph.aggregate(on_edges * graph.at_senders(Z)) + on_self * Z


def row_sums(Z: Float[Array, "e h d"]) -> Float[Array, "e h"]:
    """The sum over the last axis as a product with ones, for the reason that `attend` gives."""
    return (Z @ jnp.ones((Z.shape[-1], 1), Z.dtype))[..., 0]

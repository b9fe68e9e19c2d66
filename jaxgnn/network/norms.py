"""Activation normalisations, on H before the activation. Any Linen module with __call__(graph, H, train) works as one.

Means over nodes leave padding out, and are taken graph by graph where there are several.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.segment import segment_sum
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_finite, check_whole

_EPSILON = 1e-5


class LayerNorm(nn.Module):
    """Every node's features to mean 0 and variance 1, then a learned scale and shift. Source: Ba et al. 2016."""

    @nn.compact
    def __call__(self, graph: Graph, H: Float[Array, "n d"], train: bool) -> Float[Array, "n d"]:
        return nn.LayerNorm(epsilon=_EPSILON, name="norm")(H)


class BatchNorm(nn.Module):
    """Every feature to mean 0 and variance 1 over the nodes in training, by running means (0.9) in evaluation.

    Then a learned scale and shift. A graph without nodes leaves the running means as they are.
    Source: Ioffe & Szegedy 2015.
    """

    @nn.compact
    def __call__(self, graph: Graph, H: Float[Array, "n d"], train: bool) -> Float[Array, "n d"]:
        mask = None if graph.node_mask is None else (jnp.asarray(graph.node_mask) > 0)[:, None]
        train = train and H.shape[0] > 0
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=_EPSILON, name="norm")
        return norm(H, mask=mask)


class GroupNorm(nn.Module):
    """Every node's features normalised in groups of equal size, at least 2, then a learned scale and shift.

    There are `groups` of them, or the largest smaller number that divides d into such groups.
    Source: Wu & He 2018.
    """

    groups: int = 4

    def __post_init__(self) -> None:
        check_whole("groups", self.groups, least=1)
        super().__post_init__()

    @nn.compact
    def __call__(self, graph: Graph, H: Float[Array, "n d"], train: bool) -> Float[Array, "n d"]:
        d = H.shape[-1]
        groups = next(g for g in range(min(self.groups, max(d // 2, 1)), 0, -1) if d % g == 0)
        return nn.GroupNorm(num_groups=groups, epsilon=_EPSILON, name="norm")(H)


class PairNorm(nn.Module):
    """scale (H - mean row) / sqrt(mean_v ||H_v - mean row||^2 + 1e-5). Source: Zhao & Akoglu 2020, equations 10, 11."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_finite("scale", self.scale)
        super().__post_init__()

    @nn.compact
    def __call__(self, graph: Graph, H: Float[Array, "n d"], train: bool) -> Float[Array, "n d"]:
        H = H - row_mean(graph, H)
        squares = row_mean(graph, jnp.sum(H**2, axis=1, keepdims=True))
        return self.scale * H / jnp.sqrt(squares + _EPSILON)


class MeanSubtraction(nn.Module):
    """H - mean row. Source: Yang et al. 2020."""

    @nn.compact
    def __call__(self, graph: Graph, H: Float[Array, "n d"], train: bool) -> Float[Array, "n d"]:
        return H - row_mean(graph, H)


class DiffGroupNorm(nn.Module):
    """H + strength sum_g BatchNorm(s_g * H), s = softmax(H U), U [d, groups] learned.

    Source: Zhou et al. 2020 (DGN), equation 5.
    """

    groups: int = 10
    strength: float = 0.01

    def __post_init__(self) -> None:
        check_whole("groups", self.groups, least=1)
        check_finite("strength", self.strength)
        super().__post_init__()

    @nn.compact
    def __call__(self, graph: Graph, H: Float[Array, "n d"], train: bool) -> Float[Array, "n d"]:
        n, d = H.shape
        s = nn.softmax(nn.Dense(self.groups, use_bias=False, name="assignment")(H))
        grouped = (s[:, :, None] * H[:, None, :]).reshape(n, self.groups * d)
        grouped = BatchNorm(name="groups")(graph, grouped, train)
        return H + self.strength * grouped.reshape(n, self.groups, d).sum(axis=1)


NORMS: dict[str, type[nn.Module] | None] = {
    "none": None,
    "layer": LayerNorm,
    "batch": BatchNorm,
    "group": GroupNorm,
    "pairnorm": PairNorm,
    "mean_subtraction": MeanSubtraction,
    "dgn": DiffGroupNorm,
}


def centred(graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """X less the mean row of each node's own graph, from differences to one row of it.

    They are exact where all rows are nearly equal, where X - mean would be rounding alone.
    """
    n_node = graph.graphs_tuple.n_node
    if n_node.shape[0] == 1:
        reference = X[:1]
    else:
        first = jnp.minimum(jnp.cumsum(jnp.asarray(n_node)) - jnp.asarray(n_node), max(X.shape[0] - 1, 0))
        reference = X[first][graph.graph_of_nodes] if X.shape[0] else X
    D = X - jax.lax.stop_gradient(reference)
    return D - row_mean(graph, D)


def row_mean(graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "_ d"]:
    """The mean row of each node's own graph, [n, d], or [1, d] where there is one graph; padding left out."""
    mask = None if graph.node_mask is None else jnp.asarray(graph.node_mask, X.dtype)[:, None]
    n_node = graph.graphs_tuple.n_node
    if n_node.shape[0] == 1:
        if mask is None:
            return jnp.sum(X, axis=0, keepdims=True) / max(X.shape[0], 1)
        return jnp.sum(X * mask, axis=0, keepdims=True) / jnp.maximum(jnp.sum(mask), 1)
    graphs = graph.graph_of_nodes
    weights = jnp.ones((X.shape[0], 1), X.dtype) if mask is None else mask
    total = segment_sum(X * weights, graphs, n_node.shape[0], sorted=True)
    count = segment_sum(weights, graphs, n_node.shape[0], sorted=True)
    return (total / jnp.maximum(count, 1))[graphs]

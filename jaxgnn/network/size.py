"""How many numbers a network trains, and the width at which it trains as many as another one."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import Features
from jaxgnn.host.options import check_whole


class Size(NamedTuple):
    """Numbers in a network's variables.

    Attributes:
      trainable: of all parameters, encoder and readout included.
      frozen: of what is drawn once and not trained: Lambda and B.
    """

    trainable: int
    frozen: int


def size(model: Any, graph: Graph, x: Features) -> Size:
    """What `DeepGNN.size` returns."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), graph, x)
    trainable, frozen = (
        sum(math.prod(a.shape) for a in jax.tree.leaves(tree))
        for tree in (shapes.get("params", {}), shapes["constants"].get("ssm", {}))
    )
    return Size(trainable, frozen)


def with_size(model: Any, trainable: int, graph: Graph, x: Features, multiple: int) -> Any:
    """What `DeepGNN.with_size` returns."""
    check_whole("trainable", trainable, least=1)
    check_whole("multiple", multiple, least=1)
    if isinstance(model.layer, nn.Module) and not hasattr(model.layer, "features"):
        raise ValueError(f"layer={type(model.layer).__name__} has no option features: its width cannot be chosen")

    def wide(units):
        width = units * multiple
        layer = model.layer.clone(features=width) if isinstance(model.layer, nn.Module) else model.layer
        return model.clone(width=width, layer=layer)

    def fits(units):
        return wide(units).size(graph, x).trainable <= trainable

    if not fits(1):
        least = wide(1).size(graph, x).trainable
        raise ValueError(f"trainable={trainable}: allowed are {least} and more, those of width {multiple}")
    low, high = 1, 2  # low fits
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return wide(low)

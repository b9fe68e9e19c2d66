"""A network's blocks as plain functions of X: one layer, the steps of a scan, a segment X^(start) -> X^(stop).

In evaluation mode, with X^(0) and what the residual rule carries beside X held constant at the network's own
trajectory, so that the Jacobian of a segment is the product of its layers' Jacobians.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import Features, SparseFeatures
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_whole
from jaxgnn.host.precision import precision
from jaxgnn.host.program import of_model
from jaxgnn.network.interventions import forward_alone
from jaxgnn.network.stack import PER_LAYER, Block, Shared, residual_rule
from jaxgnn.network.state_space import Matrices

Step = Callable[[Float[Array, "n d"], Any], Float[Array, "n d"]]
Function = Callable[[Float[Array, "n d"]], Float[Array, "n d"]]


class Inputs(NamedTuple):
    """What each block of a segment has of its own, every array with a leading axis l.

    Attributes:
      own: the block's variables; of shared weights none.
      state: what the residual rule carries into the block.
      index: the block's number.
    """

    own: Any
    state: Any
    index: Int[Array, "l"]


def layer_function(
    model: Any, params: Any, graph: Graph, x: Features, *, layer: int, dtype: Any = None
) -> tuple[Function, Float[Array, "n d"]]:
    """What `DeepGNN.layer_fn` returns."""
    model = forward_alone(model)
    check_whole("layer", layer)
    if not 0 <= layer < model.blocks:
        raise ValueError(f"layer={layer}: a network of {model.blocks} blocks has layers 0 to {model.blocks - 1}")
    function, params, shared, before = _prepared(model, params, graph, x, layer, dtype)
    own = jax.tree.map(np.asarray, of_layer(model, params, layer))
    return Partial(function, own, shared, before.state, np.int32(layer)), before.X


def scan_function(
    model: Any, params: Any, graph: Graph, x: Features, *, start: int, stop: int | None, dtype: Any = None
) -> tuple[Step, Float[Array, "n d"], Inputs]:
    """What `DeepGNN.scan_fn` returns."""
    model = forward_alone(model)
    L: int = model.blocks
    stop = L if stop is None else stop
    check_whole("start", start)
    check_whole("stop", stop)
    if not 0 <= start < stop <= L:
        raise ValueError(f"start={start}, stop={stop}: a network of {L} blocks allows 0 <= start < stop <= {L}")
    function, params, shared, before = _prepared(model, params, graph, x, start, dtype)
    common, own = split(model, params)
    own, index = jax.tree.map(lambda a: a[start:stop], own), np.arange(start, stop, dtype=np.int32)
    state = before.state
    if jax.tree.leaves(state):
        with precision(function.dtype):
            state = jax.tree.map(np.asarray, _states(function, common, shared, before, own, index))
    return Partial(_Step(function), common, shared), before.X, Inputs(own, state, index)


def segment_function(
    model: Any, params: Any, graph: Graph, x: Features, *, start: int, stop: int | None, dtype: Any = None
) -> tuple[Function, Float[Array, "n d"]]:
    """What `DeepGNN.segment_fn` returns."""
    model = forward_alone(model)
    step, h, inputs = scan_function(model, params, graph, x, start=start, stop=stop, dtype=dtype)
    return Partial(_Segment(np.dtype(h.dtype)), step, inputs), h


def split(model: Any, params: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The blocks' variables that all blocks share, and those of which each has its own, in a leading axis L."""
    own = {name: tree["stack"] for name, tree in params.items() if name in PER_LAYER and "stack" in tree}
    common = {"params": own.pop("params")} if model.share_weights and "params" in own else {}
    return common, own


def of_layer(model: Any, params: Any, layer: Any) -> dict[str, Any]:
    """The variables of block `layer`."""
    common, own = split(model, params)
    return common | jax.tree.map(lambda a: a[layer], own)


def shared_of(model: Any, params: Any, graph: Graph, x0: Float[Array, "n d"]) -> Shared:
    """What is the same in every block, from a network's variables."""
    ssm = None
    if model.residual == "ssm":
        ssm = Matrices(**params["params" if model.ssm.trainable else "constants"]["ssm"])
    return Shared(graph, x0, {name: params["constants"][name] for name in model.numbers()}, ssm)


class _Before(NamedTuple):
    x0: Float[Array, "n d"]
    X: Float[Array, "n d"]
    state: Any


@dataclass(frozen=True)
class _BlockFunction:
    """Block.apply as a hashable function of arrays: all layers of a model share what is compiled from it."""

    block: Block
    dtype: np.dtype

    def __call__(self, own, shared, state, index, h):
        return self.both(own, shared, state, index, h)[0]

    def both(self, own, shared, state, index, h):
        with precision(self.dtype):
            return self.block.apply(own, jnp.asarray(h), state, index, None, shared=shared, train=False)


@dataclass(frozen=True)
class _Step:
    """A block as a step of a scan: h, Inputs of that layer -> h'."""

    function: _BlockFunction

    def __call__(self, common, shared, h, inputs):
        return self.function(common | inputs.own, shared, inputs.state, inputs.index, h)


@dataclass(frozen=True)
class _Segment:
    """All steps of a segment by one scan, which has a vjp and grows with the number of layers in its data alone."""

    dtype: np.dtype

    def __call__(self, step, inputs, h):
        with precision(self.dtype):
            return jax.lax.scan(lambda h, layer: (step(h, layer), None), jnp.asarray(h, self.dtype), inputs)[0]


def _prepared(model, params, graph, x, layer, dtype) -> tuple[_BlockFunction, Any, Shared, _Before]:
    """The block, the variables on the host, what all blocks share and where block `layer` is taken."""
    dtype = np.dtype(dtype if dtype is not None else x.dtype)
    # On the host, float64 outlives x32 mode.
    params = jax.tree.map(lambda a: np.asarray(a, dtype), params)
    x = x if isinstance(x, SparseFeatures) else np.asarray(x, dtype)
    # Fresh arrays: of one that an eager program closed over, jax 0.10.2 keeps the float32 version for good.
    graph = jax.tree.map(np.array, graph)
    with precision(dtype):
        before = jax.tree.map(np.asarray, _features_before(model, params, graph, x, layer))
    return _BlockFunction(model.block(), dtype), params, shared_of(model, params, graph, before.x0), before


@of_model
def _features_before(model: Any, params, graph: Graph, x, layer) -> _Before:
    """X^(0), X^(layer) and the rule's state there; `layer` is traced, so that one program serves every layer."""
    x0 = model.apply(params, graph, x, method="encode")
    function = _BlockFunction(model.block(), x.dtype)
    shared = shared_of(model, params, graph, x0)

    def body(index, carry):
        return function.both(of_layer(model, params, index), shared, carry[1], index, carry[0])

    X, state = jax.lax.fori_loop(0, layer, body, (x0, residual_rule(model.residual).start(x0)))
    return _Before(x0, X, state)


@of_model
def _states(function: _BlockFunction, common, shared: Shared, before: _Before, own, index):
    """The rule's state before each block of a segment, in a leading axis."""

    def body(carry, layer):
        X, state = carry
        own, index = layer
        return function.both(common | own, shared, state, index, X), state

    return jax.lax.scan(body, (before.X, before.state), (own, index))[1]

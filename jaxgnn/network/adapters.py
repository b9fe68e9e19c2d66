"""Ways in for networks of other libraries: layers in a row, a module that has its layers, or a whole network."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known
from jaxgnn.layers.parts import WAYS, Part, is_instance, made_by, part
from jaxgnn.network.foreign import Network
from jaxgnn.network.stack import ACTIVATIONS

_LARGEST_DIFFERENCE = 1e-3  # of float32 outputs that are computed in another order, relative to the largest


def sequential(layers: Any, *, encoder: Any = None, readout: Any = None, activation: str = "identity") -> Network:
    """A network of the given layers in a row, each with its X^(l) and errors known to `probe` and the rest.

    Args:
      layers: a list of layers; or an NNX or Equinox module, or a function key -> one, that has them as its `blocks`,
        and its ends as `encoder` and `readout` (compared with the module's own output where it is first used). Each is
        a Linen module (`jaxgnn.layers` among them), an NNX or Equinox module, called with (graph, h) or (h)
        as its signature has it; a function of (h) or (graph, h); or a pair (init, apply) of functions
        (key, graph, h) -> params and (params, graph, h) -> h'. All map X^(l) to one shape.
      encoder, readout: x -> X^(0) and X^(L) -> logits, of the same kinds.
      activation: rho in X^(l+1) = rho(H^(l)), where H^(l) is what layer l gives: backward errors B^(l) are d loss / d
        H^(l). With "identity" they are G^(l+1).

    Weight gradients are those of all parameters of a layer together.
    Raises ValueError for what is no layer, for no layers, and for a module that is not its blocks in a row.
    """
    check_known("activation", activation, ACTIVATIONS)
    if (module := _with_blocks(layers)) is not None:
        if encoder is not None or readout is not None:
            raise ValueError(
                f"{type(module).__name__} has its own ends: encoder= and readout= go with a list of layers"
            )
        return _taken_from(module, layers, activation)
    if not isinstance(layers, Sequence) or not layers:
        raise ValueError(f"sequential: a list of layers is needed: {WAYS}")
    ends = (None if end is None else _one(end) for end in (encoder, readout))
    return Network(tuple(map(_one, layers)), *ends, activation=activation)


def adapt(model: Any, init: Callable[[Array, Graph, Any], Any] | None = None) -> Network:
    """A whole network of another library, or a plain function, for `train` and `jacobian`; its layers are not known.

    Args:
      model: a Linen, NNX or Equinox module; a function of (params, graph, x), with `init`; of (graph, x) or (x); or a
        function key -> NNX or Equinox module, which draws the weights of every seed.
      init: (key, graph, x) -> params.

    Raises ValueError for what is none of these.
    """
    if isinstance(model, Network):
        return model
    if init is None and _is_factory(model):
        return Network((made_by(model),), exposed=False)
    return Network((part(model, init),), exposed=False)


def as_network(model: Any, graph: Graph, x: Any) -> Any:
    """A DeepGNN, or anything that is tapped, as it is; any other as a `Network`.

    Raises ValueError for no network, and where layers that were taken from a module give another output than it.
    """
    if not isinstance(model, Network):
        return model if hasattr(model, "zero_taps") else adapt(model)
    model.check(graph, x)
    return model


def taps_of(model: Any, params: Any, graph: Graph, x: Any) -> Any:
    """Perturbations that change nothing, of a network whose shapes the graph decides or of any that is tapped."""
    on_graph = getattr(model, "zero_taps_on", None)
    return model.zero_taps(params, x) if on_graph is None else on_graph(params, graph, x)


def _one(layer: Any) -> Part:
    if isinstance(layer, tuple) and len(layer) == 2 and not is_instance(layer):
        return part(layer[1], layer[0])
    return part(layer)


def _with_blocks(given: Any) -> Any:
    """The module that has `blocks`, made of a key where a function makes it; None for anything else."""
    if not is_instance(given):
        if isinstance(given, Sequence) or not callable(given) or not _is_factory(given):
            return None
        given = given(jax.random.key(0))
    return given if hasattr(given, "blocks") else None


def _taken_from(module: Any, given: Any, activation: str) -> Network:
    """A module's encoder, blocks and readout in a row; drawn anew where `given` is a function of keys."""
    number = len(module.blocks)
    if not number:
        raise ValueError(f"{type(module).__name__} has no blocks: a list of layers is needed: {WAYS}")
    ends = [name for name in ("encoder", "readout") if getattr(module, name, None) is not None]

    def network(one: Callable[[Callable[[Any], Any]], Part]) -> Network:
        layers = tuple(one(lambda m, l=l: m.blocks[l]) for l in range(number))
        return Network(layers, **{n: one(lambda m, n=n: getattr(m, n)) for n in ends}, activation=activation)

    whole, own = part(module), network(lambda get: part(get(module)))

    def agrees(graph, x):
        expected, found = whole.apply(whole.own or {}, graph, x, False, None)[0], own.apply(None, graph, x)
        shapes = jnp.shape(expected), jnp.shape(found)
        if shapes[0] != shapes[1] or not _close(expected, found):
            raise ValueError(
                f"{type(module).__name__} is not {', '.join([*ends[:1], 'blocks', *ends[1:]])} in a row with "
                f"activation={activation!r}: its output is another; jaxgnn.sequential([f0, f1, ...]) takes any layers"
            )

    found = own if given is module else network(lambda get: made_by(lambda key: get(given(key))))
    return found.clone(agrees=agrees)


def _close(a: Any, b: Any) -> bool:
    return bool(jnp.max(jnp.abs(a - b)) <= _LARGEST_DIFFERENCE * jnp.max(jnp.abs(a)))


def _is_factory(model: Any) -> bool:
    """Whether it makes an NNX or Equinox module of a key: a class, or a plain function of one argument that does."""
    if isinstance(model, type):
        return True
    code = getattr(model, "__code__", None)
    if code is None or code.co_argcount != 1:
        return False
    if code.co_varnames[0] == "key":
        return True
    try:
        return is_instance(model(jax.random.key(0)))
    except Exception:  # a function of features cannot take a key
        return False

"""A piece of a network as two pure functions, whatever library it is from: Linen, Flax NNX, Equinox, or none."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array

WAYS = (
    "a Linen, NNX or Equinox module, a function of (h), (graph, h) or, with init=, (params, graph, h) is one, "
    "and jaxgnn.sequential puts them in a row"
)


@dataclass(frozen=True, eq=False)
class Part:
    """h -> h' on a graph.

    Attributes:
      name: for messages and a run's folder.
      init: (key, graph, h) -> variables by collection, "params" among them; {} for none.
      apply: (variables, graph, h, train, rngs) -> h', and the collections that training changed.
      own: the weights that a module has at present, by collection; None where `init` has to draw them.
    """

    name: str
    init: Callable[[Array, Graph, Any], dict[str, Any]]
    apply: Callable[[dict[str, Any], Graph, Any, bool, Any], tuple[Array, dict[str, Any]]]
    own: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return self.name


def part(module: Any, init: Callable[[Array, Graph, Any], Any] | None = None) -> Part:
    """A piece of a network. Raises ValueError that names the ways for what is none.

    init: (key, graph, h) -> params, of a function of (params, graph, h).
    """
    if isinstance(module, Part):
        return module
    if isinstance(module, nn.Module):
        return _linen(module)
    if isinstance(module, nnx.Module):
        return _instance(_name(module), module, *_nnx(module))
    if _is_equinox(module):
        return _instance(_name(module), module, *_equinox(module))
    if not callable(module):
        raise ValueError(f"{type(module).__name__} is no piece of a network: {WAYS}")
    takes = len(_positional(module))
    if takes == 3:
        if init is None:
            needed = "init=(key, graph, h) -> params is needed"
            raise ValueError(f"{_name(module)} takes (params, graph, h), so that {needed}")
        return Part(
            _name(module),
            lambda key, graph, h: {"params": init(key, graph, h)},
            lambda variables, graph, h, train, rngs: (module(variables.get("params", {}), graph, h), {}),
        )
    if takes not in (1, 2):
        raise ValueError(f"{_name(module)} takes {takes} arguments: {WAYS}")
    return Part(
        _name(module),
        lambda key, graph, h: {},
        lambda variables, graph, h, train, rngs: (module(h) if takes == 1 else module(graph, h), {}),
        own={},
    )


def made_by(factory: Callable[[Array], Any]) -> Part:
    """A piece from a function key -> NNX or Equinox module, which draws its weights.

    Raises ValueError where it gives no such module.
    """
    template = factory(jax.random.key(0))
    if isinstance(template, nnx.Module):
        split = _nnx
    elif _is_equinox(template):
        split = _equinox
    else:
        given = type(template).__name__
        raise ValueError(f"{_name(factory)} gives a {given}: a function key -> NNX or Equinox module is needed")
    found = _instance(_name(type(template)), template, *split(template))

    def init(key, graph, h):
        return {"params": split(factory(key))[0]}

    return Part(found.name, init, found.apply)


def _linen(module: nn.Module) -> Part:
    names = _positional(module.__call__)
    on_graph = len(names) > 1 and names[1] != "train"
    takes_train = "train" in inspect.signature(module.__call__).parameters

    def given(graph, h, train):
        return ((graph, h) if on_graph else (h,)), ({"train": train} if takes_train else {})

    def init(key, graph, h):
        args, more = given(graph, h, False)
        return dict(module.init(key, *args, **more))

    def apply(variables, graph, h, train, rngs):
        args, more = given(graph, h, train)
        changing = [name for name in variables if name != "params"] if train else []
        out, changed = module.apply(variables, *args, **more, rngs=rngs, mutable=changing)
        return out, dict(changed)

    return Part(repr(module), init, apply)


def _nnx(module: nnx.Module) -> tuple[dict[str, Array], Callable[[dict[str, Array]], Any]]:
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    named, tree = _named(params)

    def rebuilt(named):
        return _evaluating(nnx.merge(graphdef, jax.tree.unflatten(tree, list(named.values())), rest))

    return named, rebuilt


def _evaluating(module: nnx.Module) -> nnx.Module:
    module.eval()
    return module


def _equinox(module: Any) -> tuple[dict[str, Array], Callable[[dict[str, Array]], Any]]:
    import equinox as eqx  # the module is one of it

    params, static = eqx.partition(eqx.nn.inference_mode(module), eqx.is_inexact_array)
    named, tree = _named(params)
    return named, lambda named: eqx.combine(jax.tree.unflatten(tree, list(named.values())), static)


def _named(tree: Any) -> tuple[dict[str, Array], Any]:
    """Leaves by their path, in order, and the tree without them."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [f"{i:04d}{jax.tree_util.keystr(path)}" for i, (path, _) in enumerate(leaves)]
    return dict(zip(names, (jnp.asarray(leaf) for _, leaf in leaves), strict=True)), structure


def _instance(name: str, module: Any, named: dict[str, Array], rebuilt: Callable[[dict[str, Array]], Any]) -> Part:
    """A module with weights of its own, in evaluation mode: dropout and running means are not trained with."""
    on_graph = len(_positional(type(module).__call__)) > 2  # self, graph, h

    def apply(variables, graph, h, train, rngs):
        own = variables["params"]
        module = rebuilt({name: own[name] for name in named})
        return (module(graph, h) if on_graph else module(h)), {}

    return Part(name, lambda key, graph, h: {"params": dict(named)}, apply, own={"params": dict(named)})


def is_instance(module: Any) -> bool:
    """Whether it is a module of NNX or Equinox."""
    return isinstance(module, nnx.Module) or _is_equinox(module)


def _is_equinox(module: Any) -> bool:
    equinox = sys.modules.get("equinox")
    return equinox is not None and isinstance(module, equinox.Module)


def _positional(f: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # of code that is not Python's
        return ["h"]
    return [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]


def _name(module: Any) -> str:
    kind = module if isinstance(module, type) or hasattr(module, "__qualname__") else type(module)
    return f"{kind.__module__}.{kind.__qualname__}"

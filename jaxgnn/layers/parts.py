"""A piece of a network as two pure functions, whatever library it is from: Linen, Flax NNX, Equinox, or none."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    if (split := _split(module)) is not None:
        return _instance(module, split)
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
    split = _split(template)
    if split is None:
        given = type(template).__name__
        raise ValueError(f"{_name(factory)} gives a {given}: a function key -> NNX or Equinox module is needed")
    found = _instance(template, split)

    def init(key, graph, h):
        drawn = _split(factory(key))
        assert drawn is not None  # as the first was
        return drawn.variables

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


class _Split(NamedTuple):
    """A module with weights of its own as arrays by name, and what is left of it.

    Attributes:
      variables: arrays by name, by collection: "params", and what training changes without a gradient.
      run: (variables, args, train, key) -> h', and the collections that training changed.
    """

    variables: dict[str, dict[str, Array]]
    run: Callable[[dict[str, Any], tuple[Any, ...], bool, Any], tuple[Array, dict[str, Any]]]


def _nnx(module: nnx.Module) -> _Split:
    """Running means and whatever else it keeps are its state; random streams start anew from the key of each step."""
    kinds = nnx.Param, nnx.RngState, ...
    graphdef, params, streams, state = nnx.split(module, *kinds)
    (params, tree), (streams, streams_tree), (state, state_tree) = map(_named, (params, streams, state))

    def run(variables, args, train, key):
        keys = [
            jax.random.fold_in(key, i) if key is not None and jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a
            for i, a in enumerate(streams.values())
        ]
        own, kept = (list(variables.get(c, {}).values()) for c in ("params", "state"))
        states = zip((tree, streams_tree, state_tree), (own, keys, kept), strict=True)
        called = nnx.merge(graphdef, *(jax.tree.unflatten(tree, leaves) for tree, leaves in states))
        called.train() if train else called.eval()
        out = called(*args)
        return out, {"state": _named(nnx.split(called, *kinds)[3])[0]} if train and state else {}

    return _Split({"params": params} | ({"state": state} if state else {}), run)


def _equinox(module: Any, state: Any = None) -> _Split:
    """`state` is what `equinox.nn.make_with_state` gives beside the module: (.., state) -> (h', state) then."""
    import equinox as eqx  # the module is one of it

    params, static = eqx.partition(module, eqx.is_inexact_array)
    named, tree = _named(params)
    kept, state_tree = _named(state)
    takes_key = "key" in inspect.signature(type(module).__call__).parameters

    def run(variables, args, train, key):
        own = jax.tree.unflatten(tree, list(variables["params"].values()))
        called = eqx.nn.inference_mode(eqx.combine(own, static), not train)
        more = {"key": key if train else None} if takes_key else {}
        if state is None:
            return called(*args, **more), {}
        out, after = called(*args, jax.tree.unflatten(state_tree, list(variables["state"].values())), **more)
        return out, {"state": _named(after)[0]} if train else {}

    return _Split({"params": named} | ({"state": kept} if kept else {}), run)


def _named(tree: Any) -> tuple[dict[str, Array], Any]:
    """Leaves by their path, in order, and the tree without them."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [f"{i:04d}{jax.tree_util.keystr(path)}" for i, (path, _) in enumerate(leaves)]
    return dict(zip(names, (jnp.asarray(leaf) for _, leaf in leaves), strict=True)), structure


def _split(module: Any) -> _Split | None:
    """Of an NNX or Equinox module, or a pair (Equinox module, state); None for anything else."""
    module, *state = module if isinstance(module, tuple) and len(module) == 2 else (module,)
    if isinstance(module, nnx.Module) and not state:
        return _nnx(module)
    return _equinox(module, *state) if _is_equinox(module) else None


def _kind(module: Any) -> tuple[type, int]:
    """The class of an NNX or Equinox module, and how many arrays and graphs it is called with."""
    kind = type(module[0] if isinstance(module, tuple) else module)
    return kind, sum(name not in ("self", "state", "key") for name in _positional(kind.__call__))


def evaluated(f: Callable[..., Any], graph: Graph | None = None, *, arguments: int = 1) -> Callable[..., Any]:
    """A plain function of the last `arguments` that f takes; the first, where there is one more, is the graph.

    An NNX or Equinox module has the weights of now and runs in evaluation mode; any other f is as it is. Raises
    ValueError for a module without weights, and where the graph is needed and missing.
    """
    if isinstance(f, nn.Module) and f.scope is None:
        raise ValueError(
            f"{_name(type(f))} has no weights: a function of one array is needed, lambda h: module.apply(params, h)"
        )
    if (split := _split(f)) is None:
        return f
    kind, takes = _kind(f)
    if takes == arguments:
        return lambda *args: split.run(split.variables, args, False, None)[0]
    if takes != arguments + 1:
        raise ValueError(f"{_name(kind)} takes {takes} arguments: allowed are {arguments}, with a graph before or not")
    if graph is None:
        raise ValueError(f"{_name(kind)} takes (graph, h): graph= is needed")
    return lambda *args: split.run(split.variables, (graph, *args), False, None)[0]


def _instance(module: Any, split: _Split) -> Part:
    """A module with weights of its own."""
    kind, takes = _kind(module)
    on_graph = takes > 1

    def apply(variables, graph, h, train, rngs):
        ordered = {c: {name: variables[c][name] for name in tree} for c, tree in split.variables.items()}
        return split.run(ordered, (graph, h) if on_graph else (h,), train, (rngs or {}).get("dropout"))

    def init(key, graph, h):
        return jax.tree.map(lambda a: a, split.variables)

    return Part(_name(kind), init, apply, own=init(None, None, None))


def is_instance(module: Any) -> bool:
    """Whether it is a module of NNX or Equinox, the latter with its state or without."""
    return _split(module) is not None


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

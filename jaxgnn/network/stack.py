"""Depth by one nn.scan: blocks of layer, bound, norm, activation and residual, whose every layer's features can be had.

H^(l) = layer(X^(l))                        weights bounded, dropout on X^(l), edges dropped in training
R = rho(norm(H^(l)))                        or the norm on X^(l) before the layer, or on X^(l+1): norm_placement
X^(l+1) = X^(l) + R                         residual "identity"; `residuals` has the others

With a compute_dtype of half precision every X^(l) and every weight (after its bound) is rounded to it, and X^(l) and
its gradient are kept in it from layer to layer (`precision.kept_dtype`: on a CPU not in bfloat16); within a block all
products and sums are float32, P X among them.
"""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.scope import LazyRng
from flax.traverse_util import unflatten_dict
from jax.nn import initializers
from jaxtyping import Float, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.memory import available_bytes
from jaxgnn.host.precision import kept_dtype, rounded
from jaxgnn.host.remat import SHARE, Policy, choose, nbytes, policy_of, residual_bytes, scan_in_chunks
from jaxgnn.layers import LAYERS
from jaxgnn.network.bounds import advance_power, bound_params, start_power
from jaxgnn.network.copies import copied, products_by_part
from jaxgnn.network.dropedge import drop_edges
from jaxgnn.network.interventions import Intervention, edited
from jaxgnn.network.norms import NORMS
from jaxgnn.network.residuals import RESIDUALS, Given, Residual
from jaxgnn.network.state_space import Matrices

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "tanh": jnp.tanh,
    "elu": nn.elu,
    "gelu": nn.gelu,
    "identity": lambda H: H,
}
INITIALISERS = {
    "glorot": initializers.glorot_uniform(),
    "he": initializers.he_uniform(),
    "lecun": initializers.lecun_uniform(),
    "orthogonal": initializers.orthogonal(),
}
PLACEMENTS = ("activation", "pre", "post")
# Variables that every layer has of its own; what is not "params" changes in training without a gradient.
PER_LAYER = ("params", "batch_stats", "power")

LayerSpec = str | type[nn.Module] | nn.Module
NormSpec = str | nn.Module
ResidualSpec = str | Residual


class Recipe(NamedTuple):
    """A module's class and options: what an instance becomes in a block, which makes modules of its own from it."""

    kind: type[nn.Module]
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, value: Any) -> Any:
        """The recipe of an instance; anything else as it is."""
        if not isinstance(value, nn.Module):
            return value
        names = [f.name for f in dataclasses.fields(value) if f.init and f.name not in ("parent", "name")]
        return cls(type(value), tuple((name, cls.of(getattr(value, name))) for name in names))

    def made(self) -> dict[str, Any]:
        """The options, with modules made anew from recipes among them."""
        return {name: v(parent=None) if isinstance(v, Recipe) else v for name, v in self.options}

    def __call__(self, **kwargs: Any) -> nn.Module:
        return self.kind(**self.made(), **kwargs)


class Taps(NamedTuple):
    """Perturbations added inside every block; zero in use, their gradients are what `probe` measures.

    Attributes:
      features: [L, n, d] added to X^(l+1).
      pre_activation: [L, n, d] added to H^(l).
      weights: the layer's parameters with a leading axis L, added to the parameters after the bound.
    """

    features: Float[Array, "L n d"]
    pre_activation: Float[Array, "L n d"]
    weights: Any


class Shared(NamedTuple):
    """What is the same in every block: the graph, X^(0), the numeric options, Lambda and B (or None)."""

    graph: Graph
    x0: Float[Array, "n d"]
    numbers: dict[str, Float[Array, ""]]
    ssm: Matrices | None


class Block(nn.Module):
    """One block of the stack: X^(l), state -> X^(l+1), state. See the module's docstring for the equation."""

    layer: str | type[nn.Module] | Recipe
    width: int
    activation: str = "relu"
    residual: str | Recipe = "none"
    norm: str | Recipe = "none"
    norm_placement: str = "activation"
    bound: str = "none"
    init_weights: str = "glorot"
    bias: bool = False
    dropout: float = 0.0
    dropedge: float = 0.0
    khop: bool = False
    compute_dtype: str = "float32"
    interventions: tuple[Intervention, ...] = ()

    @nn.compact
    def __call__(
        self,
        X: Float[Array, "n d"],
        state: Any,
        index: Int[Array, ""],
        taps: Taps | None,
        *,
        shared: Shared,
        train: bool,
        copies: dict[str, Float[Array, "parts d e"]] | None = None,
    ) -> tuple[Float[Array, "n d"], Any]:
        c = shared.numbers["bound_c"]
        with products_by_part(self, copies, lambda path, W: self._effective_matrix(path, W, c)):
            return self._block(X, state, index, taps, shared=shared, train=train)

    @nn.nowrap
    def _block(self, X, state, index, taps, *, shared: Shared, train: bool):
        kept_as = X.dtype
        X = rounded(X.astype(_wide(kept_as)), self.compute_dtype)
        graph = shared.graph.hop(index) if self.khop else shared.graph
        if train and self.dropedge > 0:
            graph = drop_edges(graph, self.dropedge, self.make_rng("dropout"))
        layer, options = layer_options(self.layer, self.width, bias=self.bias, init_weights=self.init_weights)
        available = {"x0": shared.x0, "index": index, "train": train}
        available["earlier"] = getattr(state, "earlier", None)
        extra = {k: v for k, v in available.items() if k in inspect.signature(layer.__call__).parameters}
        edit = partial(edited, self.interventions)
        change = None
        if any(one.site == "weights" for one in self.interventions):
            change = partial(edit, "weights", graph, layer=index)
        effective = partial(self._effective_weights, taps=taps, c=shared.numbers["bound_c"], change=change)
        # At initialisation what the mapping returns would be stored: the bounded weights, not those drawn.
        bounded_layer = nn.map_variables(layer, "params", trans_in_fn=effective, init=self.is_initializing())
        made = NORMS[self.norm] if isinstance(self.norm, str) else self.norm
        norm = {} if made is None else {self.norm_placement: partial(made(name="norm"), graph, train=train)}
        read = nn.Dropout(self.dropout, deterministic=not train)(norm["pre"](X) if "pre" in norm else X)
        H = bounded_layer(**options, name="layer")(graph, read, **extra)
        if self.is_initializing() and self.bound != "none":
            _check_matrices(layer, self.variables.get("params", {}).get("layer", {}), self.bound)
        if self.is_initializing() and self.bound == "spectral":
            self.variable("power", "u", start_power, {"params": self.variables.get("params", {}).get("layer", {})})
        if H.shape != X.shape:
            raise ValueError(
                f"layer {layer.__name__} returned shape {H.shape} for {X.shape}: a stack needs equal shapes"
            )
        H = edit("pre_activations", graph, H, index)
        if taps is not None:
            H = H + taps.pre_activation
        H = edit("errors", graph, H, index)
        R = ACTIVATIONS[self.activation](norm["activation"](H) if "activation" in norm else H)
        residual = (RESIDUALS[self.residual] if isinstance(self.residual, str) else self.residual)(name="residual")
        rule_given = Given(graph, shared.x0, index, shared.numbers, shared.ssm)
        X_next, state = residual(X, R, state, rule_given)
        X_next = norm["post"](X_next) if "post" in norm else X_next
        X_next = graph.masked(X_next)  # padding stays 0: normalised by the scale of other rows it could grow
        X_next = edit("features", graph, X_next, index + 1)
        if taps is not None:
            X_next = X_next + taps.features
        X_next = edit("feature_grads", graph, X_next, index + 1)
        return rounded(X_next, self.compute_dtype).astype(kept_as), state

    def _effective_matrix(self, path: tuple[str, ...], W: Float[Array, "d e"], c: Float[Array, ""]):
        """A matrix as it is multiplied by; the bound is on the layer's own."""
        if path[0] != "layer":
            return W
        power = self.get_variable("power", "u") if self.bound == "spectral" else None
        (bounded,) = jax.tree.leaves(bound_params(unflatten_dict({("params", *path[1:]): W}), self.bound, c, power))
        return rounded(bounded, self.compute_dtype)

    def _effective_weights(self, variables, *, taps: Taps | None, c, change):
        """The weights that are propagated with: bounded, and the perturbation added."""
        if self.is_initializing():
            return variables
        power = self.get_variable("power", "u") if self.bound == "spectral" else None
        if power is not None and self.is_mutable_collection("power"):
            power = advance_power(variables, power)
            self.put_variable("power", "u", power)
        bounded = bound_params(variables, self.bound, c, power)
        bounded = jax.tree.map(partial(rounded, dtype=self.compute_dtype), bounded)
        if change is not None:
            bounded = jax.tree.map(lambda W: change(W) if W.ndim > 1 else W, bounded)
        if taps is None or not bounded.get("params"):
            return bounded
        return jax.tree.map(jnp.add, bounded, {"params": taps.weights})


def _wide(dtype: Any) -> Any:
    """The dtype to compute in with features that are kept in another: float32 for half precision."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def _check_matrices(layer: type[nn.Module], params: Any, bound: str) -> None:
    for path, W in jax.tree_util.tree_leaves_with_path(params):
        # A key of a dictionary has its name in `key`, one of a dataclass or a named tuple in `name`.
        name = getattr(path[-1], "key", getattr(path[-1], "name", None)) if path else None
        if name == "kernel" and W.ndim > 2:
            raise ValueError(
                f"bound={bound!r} is for matrices, but the layer {layer.__name__} has a kernel of shape {W.shape}"
            )


def residual_rule(residual: ResidualSpec | Recipe) -> Residual:
    """The rule that an option `residual` names or is."""
    made = RESIDUALS[residual] if isinstance(residual, str) else Recipe.of(residual)
    return made(parent=None)


def layer_options(
    layer: LayerSpec | Recipe, width: int, *, bias: bool, init_weights: str
) -> tuple[type[nn.Module], dict[str, Any]]:
    """A layer's class and options, from a name, a class with `features`, or an instance (whose own options stay)."""
    if isinstance(layer := Recipe.of(layer), Recipe):
        return layer.kind, layer.made()
    layer = LAYERS[layer] if isinstance(layer, str) else layer
    options = {"use_bias": bias, "kernel_init": INITIALISERS[init_weights]}
    known = inspect.signature(layer).parameters
    return layer, {"features": width} | {k: v for k, v in options.items() if k in known}


def scan_blocks(
    block: Block,
    depth: int,
    X: Float[Array, "n d"],
    taps: Taps | None,
    *,
    collect: bool,
    remat: bool | int | str,
    share_weights: bool,
    jump: Callable[[Any, Array, Int[Array, ""]], Any],
    jumped: Any,
    shared: Shared,
    train: bool,
) -> tuple[Float[Array, "n d"], Any, Float[Array, "L n d"] | None]:
    """Runs `depth` copies of a block, each with its own parameters, by one scan: the program does not grow with depth.

    `share_weights` gives all copies the same parameters. Returns X^(L), what `jump` folded from `jumped` over
    (X^(l+1), l), and with `collect` X^(1) .. X^(L) stacked [L, n, d] (None without).
    """

    if depth == 0:
        return X, jumped, jnp.zeros((0, *X.shape), X.dtype) if collect else None

    edits_weights = any(one.site == "weights" for one in block.interventions)
    own = common = None
    if not (block.is_initializing() or edits_weights) and taps is None:
        copies = copied(block.variables.get("params", {}), shared.graph, layers=int(not share_weights))
        own, common = (None, copies) if share_weights else (copies, None)

    def body(block, carry, inputs):
        X, state, jumped = carry
        index, taps, own = inputs
        copies = common if own is None else own
        X, state = block(X, state, index, taps, shared=shared, train=train, copies=copies)
        return (X, state, jump(jumped, X, index)), X if collect else None

    state, dtype = residual_rule(block.residual).start(X), X.dtype
    X = X.astype(kept_dtype(block.compute_dtype, dtype))  # what the rule carries beside X stays as it is
    carry, inputs = (X, state, jumped), (jnp.arange(depth), taps, own)
    one_for_all = ("params",) if share_weights else ()
    policy = Policy() if block.is_initializing() else None if remat == "auto" else policy_of(remat, depth)
    if policy is None or policy.every > 1:
        layers = _layers_of(block, body, one_for_all, depth)
        policy = _fitting(layers, carry, inputs, depth) if policy is None else policy
        if policy.every > 1:
            (X, _, jumped), (features, changed) = scan_in_chunks(
                layers.step, carry, (inputs, layers.variables, layers.keys), depth, policy
            )
            for collection, tree in changed.items():
                for name, value in tree.items():
                    block.put_variable(collection, name, value)
            return X.astype(dtype), jumped, None if features is None else features.astype(dtype)
    if policy.every:
        body = nn.remat(body, prevent_cse=False)
    scan = nn.scan(
        body,
        variable_axes={name: 0 for name in PER_LAYER if name not in one_for_all},
        variable_broadcast="params" if share_weights else False,
        split_rngs={"params": not share_weights, "dropout": True},
        length=depth,
    )
    (X, _, jumped), features = scan(block, carry, inputs)
    return X.astype(dtype), jumped, None if features is None else features.astype(dtype)


class _Layers(NamedTuple):
    """The layers as a pure step of `jax.lax.scan`, which can be cut into chunks where `nn.scan` cannot.

    Attributes:
      step: (carry, (inputs, variables, keys) of a layer) -> carry, (output, variables that changed).
      variables: those that each layer has of its own, in a leading axis L.
      keys: of every layer's draws, the same that `nn.scan` gives it.
    """

    step: Callable[[Any, Any], tuple[Any, Any]]
    variables: dict[str, Any]
    keys: dict[str, Array]


def _layers_of(block: Block, body: Callable[..., Any], common: tuple[str, ...], depth: int) -> _Layers:
    trees = {name: block.variables[name] for name in PER_LAYER if name in block.variables}
    shared = {name: trees.pop(name) for name in common if name in trees}
    mutable = [name for name in trees if name != "params" and block.is_mutable_collection(name)]
    scope = block.scope
    assert scope is not None  # a bound module has one
    rngs = {name: rng for name, rng in scope.rngs.items() if name == "dropout"}
    keys = {name: jax.random.split(jax.random.clone(rng.rng), depth) for name, rng in rngs.items()}
    counters: dict[Any, Any] = {}

    def counted(block, carry, inputs):
        _count_on(block.scope.rng_counters, counters)
        out = body(block, carry, inputs)
        return out, block.scope.rng_counters

    def step(carry, of_layer):
        inputs, own, keys = of_layer
        own_rngs = {name: LazyRng.create(key, *rngs[name].suffix) for name, key in keys.items()}
        one = nn.apply(counted, block.clone(parent=None, name=None), mutable=mutable)
        ((after, output), drawn), changed = one(shared | own, carry, inputs, rngs=own_rngs)
        # nn.scan goes through its body twice, the first time only for what does not depend on the layer, and numbers
        # the draws of the second time on from there: so that they are the same here, they start as far on.
        if keys and not counters:
            _count_on(counters, drawn)
            return step(carry, of_layer)
        return after, (output, changed)

    return _Layers(step, trees, keys)


def _count_on(counters: dict[Any, Any], others: dict[Any, Any]) -> None:
    """Sets counters of draws, and those of the modules inside, to what others stand at."""
    for key, value in others.items():
        if isinstance(value, dict):
            _count_on(counters.setdefault(key, {}), value)
        else:
            counters[key] = value


def _fitting(layers: _Layers, carry: Any, inputs: Any, depth: int) -> Policy:
    """The fastest policy whose activations fit in `SHARE` of the free memory, beside the gradients."""
    params = {name: tree for name, tree in layers.variables.items() if name == "params"}
    others = {name: tree for name, tree in layers.variables.items() if name != "params"}

    def bytes_of(length):
        def run(start, own, inputs, others, keys):
            return jax.lax.scan(layers.step, start, (inputs, own | others, keys))

        scanned = (params, inputs, others, layers.keys)
        some = jax.tree.map(lambda a: jax.ShapeDtypeStruct((length, *a.shape[1:]), a.dtype), scanned)
        return residual_bytes(lambda by, *rest: run(*by, *rest), (carry, some[0]), *some[1:])

    budget = SHARE * available_bytes() - nbytes(params)
    return policy_of(choose(depth, nbytes(carry), bytes_of(3) - bytes_of(2), budget), depth)

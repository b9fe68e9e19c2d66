"""Networks that are not DeepGNN's: layers of any library in a row, or a whole network of which no layer is known.

They have what `jaxgnn.probe`, `backward_analysis`, `jacobian`, `lyapunov` and `train` ask a network for.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_whole
from jaxgnn.host.precision import precision
from jaxgnn.layers.parts import Part
from jaxgnn.network.interventions import Intervention, Site, edited, forward_alone
from jaxgnn.network.model import NUMBERS, ModelTaps
from jaxgnn.network.stack import ACTIVATIONS, Taps

_NO_LAYERS = (
    "the network exposes no layers: jaxgnn.sequential([f0, f1, ...]) names them, or takes a module that has `blocks`"
)


@dataclass(frozen=True, eq=False)
class Network:
    """encoder, layers with an activation after each, readout: each of any library. Made by `sequential` and `adapt`.

    Variables are by collection and part: {"params": {"encoder": ..., "layer_0": ..., "readout": ...}, ...}.

    Attributes:
      encoder, readout: x -> X^(0) and X^(L) -> logits; None for the identity.
      layers: X^(l) -> H^(l).
      activation: X^(l+1) = rho(H^(l)).
      exposed: whether the layers are those of the network; a whole network is one part that is not.
      interventions: what `jaxgnn.intervene` puts here.
      agrees: (graph, x) raises ValueError where the parts in a row are not the network that they were taken from.
    """

    layers: tuple[Part, ...]
    encoder: Part | None = None
    readout: Part | None = None
    activation: str = "identity"
    exposed: bool = True
    interventions: tuple[Intervention, ...] = ()
    agrees: Callable[[Graph, Any], None] | None = None

    def check(self, graph: Graph, x: Any) -> None:
        """Raises ValueError where the parts in a row are not the network that they were taken from.

        Nothing is known of graphs and features that are traced.
        """
        if self.agrees is not None and not any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((graph, x))):
            self.agrees(graph, x)

    def clone(self, **changes: Any) -> "Network":
        """The same network with other attributes."""
        return replace(self, **changes)

    @property
    def blocks(self) -> int:
        """L, the number of layers."""
        return len(self.layers)

    def _parts(self) -> dict[str, Part]:
        named = {f"layer_{l}": one for l, one in enumerate(self.layers)}
        ends = {"encoder": self.encoder, "readout": self.readout}
        order = {"encoder": ends["encoder"], **named, "readout": ends["readout"]}
        return {name: one for name, one in order.items() if one is not None}

    def init(self, key: Array, graph: Graph, x: Any) -> dict[str, Any]:
        """Variables, drawn part by part from the shapes that come before."""
        found: dict[str, Any] = {"params": {}}
        h = x
        for number, (name, one) in enumerate(self._parts().items()):
            own = one.init(jax.random.fold_in(key, number), graph, h)
            for collection, tree in own.items():
                found.setdefault(collection, {})[name] = tree
            h = self._run(name, own, graph, h)[0]
        return found

    def own(self) -> dict[str, Any]:
        """The weights that NNX and Equinox modules have at present. Raises ValueError where a part has to draw them."""
        found: dict[str, Any] = {"params": {}}
        for name, one in self._parts().items():
            if one.own is None:
                raise ValueError(f"{one.name} has no weights yet: network.init(key, graph, x) draws them")
            for collection, tree in one.own.items():
                found.setdefault(collection, {})[name] = tree
        return found

    def apply(
        self,
        variables: Any,
        graph: Graph,
        x: Any,
        taps: ModelTaps | None = None,
        *,
        method: str | None = None,
        train: bool = False,
        rngs: Any = None,
        mutable: Any = False,
    ) -> Any:
        """Logits [n, out]; with method="tapped" and taps the features as well; with `mutable` what training changed."""
        variables = self.own() if variables is None else variables
        features, changed, h = [], {}, x
        for number, name in enumerate(self._parts()):
            keys = None if rngs is None else {k: jax.random.fold_in(v, number) for k, v in rngs.items()}
            if name == "layer_0":
                h = self._start(graph, h, None if taps is None else taps.encoder)
                features.append(h)
            h, new = self._run(name, _own(variables, name), graph, h, taps, train=train, keys=keys)
            if name.startswith("layer_"):
                features.append(h)
            for collection, tree in new.items():
                changed.setdefault(collection, {})[name] = tree
        if method == "tapped":
            return h, jnp.stack(features)
        return h if mutable is False else (h, {k: variables[k] | changed.get(k, {}) for k in mutable})

    def _run(
        self,
        name: str,
        own: dict[str, Any],
        graph: Graph,
        h: Any,
        taps: ModelTaps | None = None,
        *,
        train: bool = False,
        keys: Any = None,
    ) -> tuple[Any, dict[str, Any]]:
        """What a part gives, a layer with its activation, interventions and taps; and the collections that changed."""
        one = self._parts()[name]
        if not name.startswith("layer_") or not self.exposed:
            return one.apply(own, graph, h, train, keys)
        l = int(name.removeprefix("layer_"))
        tap = None if taps is None else taps.blocks
        own = self._edited_weights(own, graph, l)
        H, changed = one.apply(own if tap is None else self._with_taps(own, tap.weights[l]), graph, h, train, keys)
        H = self._edit("pre_activations", graph, H, l)
        H = self._edit("errors", graph, H if tap is None else H + tap.pre_activation[l], l)
        X = self._edit("features", graph, ACTIVATIONS[self.activation](H), l + 1)
        return self._edit("feature_grads", graph, X if tap is None else X + tap.features[l], l + 1), changed

    def _start(self, graph: Graph, h: Any, tap: Array | None = None) -> Any:
        """X^(0) from what the encoder gives."""
        h = self._edit("features", graph, h, 0)
        return self._edit("feature_grads", graph, h if tap is None else h + tap, 0)

    def _edit(self, site: Site, graph: Graph, X: Any, layer: int) -> Any:
        return edited(self.interventions, site, graph, X, layer) if self.interventions else X

    def _edited_weights(self, own: dict[str, Any], graph: Graph, layer: int) -> dict[str, Any]:
        if not any(one.site == "weights" for one in self.interventions) or "params" not in own:
            return own
        changed = jax.tree.map(lambda W: self._edit("weights", graph, W, layer) if W.ndim > 1 else W, own["params"])
        return own | {"params": changed}

    @staticmethod
    def _with_taps(own: dict[str, Any], tap: Float[Array, "p 1"]) -> dict[str, Any]:
        """A layer's parameters, each number with its own perturbation added."""
        leaves, tree = jax.tree.flatten(own.get("params", {}))
        start, moved = 0, []
        for W in leaves:
            moved.append(W + tap[start : start + W.size, 0].reshape(W.shape).astype(W.dtype))
            start += W.size
        return own | {"params": jax.tree.unflatten(tree, moved)} if leaves else own

    def zero_taps_on(self, variables: Any, graph: Graph, x: Any) -> ModelTaps:
        """Taps that change nothing. Raises ValueError where layers are not known, or do not all have one shape."""
        if not self.exposed:
            raise ValueError(_NO_LAYERS)
        self.check(graph, x)
        variables = self.own() if variables is None else variables
        shapes = [
            jax.eval_shape(lambda v, x, l=l: self._until(v, graph, x, l), variables, x) for l in range(self.blocks + 1)
        ]
        for l, shape in enumerate(shapes):
            if shape.shape != shapes[0].shape:
                raise ValueError(
                    f"X^({l}) has shape {shape.shape} and X^(0) {shapes[0].shape}: layers of one shape are probed; an "
                    "encoder= and a readout= change it before and after them"
                )
        L, dtype = self.blocks, jnp.result_type(*(s.dtype for s in shapes))
        sizes = [sum(W.size for W in jax.tree.leaves(variables["params"].get(f"layer_{l}", {}))) for l in range(L)]
        zeros = jnp.zeros((L, *shapes[0].shape), dtype)
        weights = jnp.zeros((L, max(sizes, default=0), 1), dtype)
        return ModelTaps(jnp.zeros(shapes[0].shape, dtype), Taps(zeros, zeros, weights))

    def _until(self, variables: Any, graph: Graph, x: Any, layer: int) -> Array:
        """X^(layer)."""
        h = x
        for name in self._parts():
            if name == "layer_0":
                h = self._start(graph, h)
            if name == f"layer_{layer}" or name == "readout":
                break
            h = self._run(name, _own(variables, name), graph, h)[0]
        return jnp.asarray(h)

    def layer_fn(
        self, variables: Any, graph: Graph, x: Any, *, layer: int, dtype: Any = None
    ) -> tuple[Callable[[Float[Array, "n d"]], Float[Array, "n e"]], Float[Array, "n d"]]:
        """Layer `layer` with its activation as a plain function f: X^(l) -> X^(l+1), and the X^(l) it is taken at.

        `dtype` evaluates in that precision. Raises ValueError where there is no such layer.
        """
        if not self.exposed:
            raise ValueError(_NO_LAYERS)
        check_whole("layer", layer)
        if not 0 <= layer < self.blocks:
            raise ValueError(f"layer={layer}: a network of {self.blocks} layers has layers 0 to {self.blocks - 1}")
        variables = self.own() if variables is None else variables
        forward, name = forward_alone(self), f"layer_{layer}"
        wanted = jnp.result_type(float) if dtype is None else dtype
        with precision(wanted):
            if dtype is not None:
                variables, x = jax.tree.map(lambda a: _cast(a, dtype), (variables, x))
            h = forward._until(variables, graph, x, layer)
        own = _own(variables, name)
        return lambda h: forward._run(name, own, graph, h)[0], h

    def scan_fn(
        self, variables: Any, graph: Graph, x: Any, *, dtype: Any = None
    ) -> tuple[Callable[[Array, Int[Array, ""]], Array], Float[Array, "n d"], Int[Array, "L"]]:
        """step(h, l): X^(l) -> X^(l+1), X^(0), and the numbers of the layers to scan over, as `jaxgnn.lyapunov` takes.

        Raises ValueError where layers are not known, or do not all have one shape.
        """
        variables = self.own() if variables is None else variables
        self.zero_taps_on(variables, graph, x)
        forward = forward_alone(self)
        with precision(jnp.result_type(float) if dtype is None else dtype):
            if dtype is not None:
                variables, x = jax.tree.map(lambda a: _cast(a, dtype), (variables, x))
            h = forward._until(variables, graph, x, 0)

        def layer(l):
            name = f"layer_{l}"
            own = _own(variables, name)
            return lambda h: forward._run(name, own, graph, h)[0]

        steps = [layer(l) for l in range(self.blocks)]
        return lambda h, l: jax.lax.switch(l, steps, h), h, jnp.arange(self.blocks)

    def drawn_before(self) -> str | None:
        """A part whose weights are there already, the same for every seed; None where all draw them."""
        return next((one.name for one in self._parts().values() if one.own and one.own.get("params")), None)

    def numbers(self) -> dict[str, float]:
        """The options of DeepGNN that training passes on: this network has none."""
        return dict.fromkeys(NUMBERS, 1.0)

    def used_numbers(self) -> tuple[str, ...]:
        return ()

    def same_in_training(self) -> bool:
        """Not known: parts may do anything while they are trained."""
        return False

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={one}" for name, one in self._parts().items())
        edits = f", interventions={self.interventions}" if self.interventions else ""
        return f"Network({parts}, activation={self.activation!r}{edits})"


def _own(variables: Any, name: str) -> dict[str, Any]:
    """A part's variables by collection."""
    return {collection: tree[name] for collection, tree in variables.items() if name in tree}


def _cast(a: Any, dtype: Any) -> Any:
    return a.astype(dtype) if hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jnp.floating) else a

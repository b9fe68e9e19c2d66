"""Depth by one nn.scan: blocks of layer, bound, activation and residual, whose every layer's features can be had.

H^(l) = layer(X^(l))          weights bounded
X^(l+1) = rho(H^(l))          residual "none"
X^(l+1) = X^(l) + rho(H^(l))  residual "identity"
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers
from jaxtyping import Float, Int

from jaxgnn.arrays import Array
from jaxgnn.bounds import bound_params
from jaxgnn.graph import Graph
from jaxgnn.layers import LAYERS

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
RESIDUALS = ("none", "identity")

LayerSpec = str | type[nn.Module] | nn.Module


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


class Block(nn.Module):
    """One block of the stack: X^(l) -> X^(l+1). See the module's docstring for the equation."""

    layer: LayerSpec
    width: int
    activation: str = "relu"
    residual: str = "none"
    bound: str = "none"
    init_weights: str = "glorot"
    bias: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        X: Float[Array, "n d"],
        index: Int[Array, ""],
        taps: Taps | None,
        *,
        graph: Graph,
        x0: Float[Array, "n d"],
        bound_c: Float[Array, ""],
        train: bool,
    ) -> Float[Array, "n d"]:
        layer, options = layer_options(self.layer, self.width, bias=self.bias, init_weights=self.init_weights)
        available = {"x0": x0, "index": index, "train": train}
        extra = {k: v for k, v in available.items() if k in inspect.signature(layer.__call__).parameters}

        def effective(variables):
            if self.is_initializing():  # what is returned here would be stored: the bounded weights, not those drawn
                return variables
            bounded = bound_params(variables, self.bound, bound_c)
            if taps is None:
                return bounded
            return jax.tree.map(jnp.add, bounded, {"params": taps.weights}) if bounded.get("params") else bounded

        bounded_layer = nn.map_variables(layer, "params", trans_in_fn=effective, init=self.is_initializing())
        H = bounded_layer(**options, name="layer")(graph, nn.Dropout(self.dropout, deterministic=not train)(X), **extra)
        if H.shape != X.shape:
            raise ValueError(
                f"layer {layer.__name__} returned shape {H.shape} for {X.shape}: a stack needs equal shapes"
            )
        if taps is not None:
            H = H + taps.pre_activation
        X_next = ACTIVATIONS[self.activation](H)
        if self.residual == "identity":
            X_next = X + X_next
        return X_next if taps is None else X_next + taps.features


def layer_options(
    layer: LayerSpec, width: int, *, bias: bool, init_weights: str
) -> tuple[type[nn.Module], dict[str, Any]]:
    """A layer's class and options, from a name, a class with `features`, or an instance (whose own options stay)."""
    if isinstance(layer, nn.Module):
        names = {f.name for f in dataclasses.fields(layer) if f.init} - {"parent", "name"}
        return type(layer), {name: getattr(layer, name) for name in names}
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
    remat: bool,
    **shared: Any,
) -> tuple[Float[Array, "n d"], Float[Array, "L n d"] | None]:
    """Runs `depth` copies of a block, each with its own parameters, by one scan: the program does not grow with depth.

    Returns X^(L), and with `collect` X^(1) .. X^(L) stacked [L, n, d] (None without).
    """

    def body(block, X, inputs):
        X = block(X, *inputs, **shared)
        return X, X if collect else None

    if remat:
        body = nn.remat(body, prevent_cse=False)
    scan = nn.scan(
        body,
        variable_axes={"params": 0, "batch_stats": 0},
        split_rngs={"params": True, "dropout": True},
        length=depth,
    )
    return scan(block, X, (jnp.arange(depth), taps))

"""DeepGNN: a linear encoder, a stack of blocks, a linear readout."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from jaxgnn.arrays import Array
from jaxgnn.bounds import BOUNDS
from jaxgnn.graph import Graph
from jaxgnn.layers import LAYERS
from jaxgnn.precision import precision
from jaxgnn.stack import ACTIVATIONS, INITIALISERS, RESIDUALS, Block, LayerSpec, Taps, scan_blocks


class ModelTaps(NamedTuple):
    """Perturbations of a DeepGNN: `encoder` [n, d] is added to X^(0), `blocks` inside every block."""

    encoder: Float[Array, "n d"]
    blocks: Taps


class DeepGNN(nn.Module):
    """Encoder X^(0) = x W_e + b_e, `depth` blocks, readout X^(L) R + b_r: [n, f] -> [n, out].

    Each block is X^(l+1) = X^(l) + rho(H^(l)), H^(l) the layer's output; without X^(l) + where residual="none".

    Attributes:
      layer: a name ("gcn", "mlp"), a Linen class with `features`, or an instance; __call__(graph, X) -> [n, width].
        x0, index and train are passed to it where its signature has them.
      depth: L, number of blocks, at least 1.
      width: d, features of every block.
      out: columns of the logits.
      activation: "relu", "leaky_relu", "tanh", "elu", "gelu" or "identity", applied in every block.
      residual: "none" or "identity".
      bound: "none", "frobenius" (c W / ||W||_F) or "frobenius_soft" (W / max(1, ||W||_F / c)), on the layers' matrices.
      bound_c: c. It is kept in the collection "constants", so that one compiled program serves every c.
      init_weights: "glorot", "he", "lecun" (all uniform) or "orthogonal", for the layers' matrices.
      bias: bias in the layers (the encoder and the readout always have one).
      dropout: rate on every block's input in training.
      input_dropout: rate on x in training.
      remat: recompute each block's insides on the way back, to save memory.

    Raises:
      ValueError: an option that is not known or out of its range, when the object is made.
    """

    layer: LayerSpec = "gcn"
    depth: int = 2
    width: int = 64
    out: int = 1
    activation: str = "relu"
    residual: str = "none"
    bound: str = "none"
    bound_c: float = 1.0
    init_weights: str = "glorot"
    bias: bool = False
    dropout: float = 0.0
    input_dropout: float = 0.0
    remat: bool = False

    def __post_init__(self) -> None:
        known = {
            "activation": ACTIVATIONS,
            "residual": RESIDUALS,
            "bound": BOUNDS,
            "init_weights": INITIALISERS,
        }
        if isinstance(self.layer, str):
            known["layer"] = LAYERS
        elif not (
            isinstance(self.layer, nn.Module) or (isinstance(self.layer, type) and issubclass(self.layer, nn.Module))
        ):
            raise ValueError(
                f"layer={self.layer!r} is no layer: allowed are {', '.join(LAYERS)}, a Linen class or instance"
            )
        for option, allowed in known.items():
            if (value := getattr(self, option)) not in allowed:
                raise ValueError(f"{option}={value!r} is not known: allowed are {', '.join(allowed)}")
        for option in ("depth", "width", "out"):
            value = getattr(self, option)
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{option}={value!r}: allowed are 1 and more, whole")
        if not self.bound_c > 0:
            raise ValueError(f"bound_c={self.bound_c!r}: allowed are numbers above 0")
        for option in ("dropout", "input_dropout"):
            if not 0 <= (value := getattr(self, option)) < 1:
                raise ValueError(f"{option}={value!r}: allowed are 0 and more, below 1")
        super().__post_init__()

    def setup(self) -> None:
        glorot = INITIALISERS["glorot"]
        self.bound_constant = self.variable("constants", "bound_c", lambda: jnp.float32(self.bound_c))
        self.encoder = nn.Dense(self.width, kernel_init=glorot)
        self.stack = self.block()
        self.readout = nn.Dense(self.out, kernel_init=glorot)
        self.input_drop = nn.Dropout(self.input_dropout)

    def __call__(self, graph: Graph, x: Float[Array, "n f"], train: bool = False) -> Float[Array, "n out"]:
        """Logits, [n, f] -> [n, out]."""
        return self._run(graph, x, None, train=train, collect=False)[0]

    def tapped(
        self, graph: Graph, x: Float[Array, "n f"], taps: ModelTaps
    ) -> tuple[Float[Array, "n out"], Float[Array, "L+1 n d"]]:
        """Logits and X^(0) .. X^(L) in evaluation mode, with a perturbation added at every tap."""
        logits, features = self._run(graph, x, taps, train=False, collect=True)
        assert features is not None  # collected
        return logits, features

    def encode(self, x: Float[Array, "n f"]) -> Float[Array, "n d"]:
        """X^(0) = x W_e + b_e."""
        return self.encoder(x)

    def _run(self, graph, x, taps: ModelTaps | None, *, train: bool, collect: bool):
        x0 = self.encode(self.input_drop(x, deterministic=not train))
        if taps is not None:
            x0 = x0 + taps.encoder
        X, features = scan_blocks(
            self.stack,
            self.depth,
            x0,
            None if taps is None else taps.blocks,
            collect=collect,
            remat=self.remat,
            graph=graph,
            x0=x0,
            bound_c=self.bound_constant.value,
            train=train,
        )
        return self.readout(X), features if features is None else jnp.concatenate([x0[None], features])

    @nn.nowrap
    def block(self) -> Block:
        """The block that every layer runs, without its parameters."""
        names = ("layer", "width", "activation", "residual", "bound", "init_weights", "bias", "dropout")
        return Block(**{name: getattr(self, name) for name in names})

    @nn.nowrap
    def zero_taps(self, params: Any, x: Float[Array, "n f"]) -> ModelTaps:
        """Taps that change nothing, of the shapes that `tapped` takes."""
        shape, dtype = (self.depth, x.shape[0], self.width), x.dtype
        weights = jax.tree.map(jnp.zeros_like, _stack_params(params).get("layer", {}))
        return ModelTaps(jnp.zeros(shape[1:], dtype), Taps(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), weights))

    @nn.nowrap
    def layer_fn(
        self, params: Any, graph: Graph, x: Float[Array, "n f"], *, layer: int, dtype: Any = None
    ) -> tuple[Callable[[Float[Array, "n d"]], Float[Array, "n d"]], Float[Array, "n d"]]:
        """Block `layer` as a plain function f: X^(l) -> X^(l+1), and the X^(l) that it is taken at.

        The whole block in evaluation mode (layer, bound, activation, residual), X^(0) held constant. `dtype`
        evaluates in that precision: with float64, f runs in float64 whatever the global setting is.
        Raises ValueError when there is no such layer.
        """
        if not 0 <= layer < self.depth:
            raise ValueError(f"layer={layer}: a network of depth {self.depth} has layers 0 to {self.depth - 1}")
        dtype = np.dtype(dtype if dtype is not None else x.dtype)
        params, x = jax.tree.map(lambda a: np.asarray(a, dtype), (params, x))  # on the host, float64 outlives x32 mode
        function = _BlockFunction(self.block(), dtype)
        with precision(dtype):
            x0, h = jax.tree.map(np.asarray, _features_before(self, params, graph, x, layer))
        stack = jax.tree.map(lambda a: np.asarray(a[layer]), _stack_params(params))
        return Partial(function, stack, graph, x0, np.int32(layer), params["constants"]["bound_c"]), h


def _stack_params(params: Any) -> Any:
    return params["params"].get("stack", {})  # a layer may have no parameters


@dataclass(frozen=True)
class _BlockFunction:
    """Block.apply as a hashable function of arrays: all layers of a model share what is compiled from it."""

    block: Block
    dtype: np.dtype

    def __call__(self, stack, graph, x0, index, bound_c, h):
        with precision(self.dtype):
            shared = {"graph": graph, "x0": x0, "bound_c": bound_c, "train": False}
            return self.block.apply({"params": stack}, jnp.asarray(h), index, None, **shared)


@partial(jax.jit, static_argnums=0)
def _features_before(model: DeepGNN, params, graph: Graph, x, layer):
    """X^(0) and X^(layer); `layer` is traced, so that one program serves every layer."""
    x0 = model.apply(params, x, method="encode")
    step = _BlockFunction(model.block(), x.dtype)

    def body(index, X):
        stack = jax.tree.map(lambda a: a[index], _stack_params(params))
        return step(stack, graph, x0, index, params["constants"]["bound_c"], X)

    return x0, jax.lax.fori_loop(0, layer, body, x0)

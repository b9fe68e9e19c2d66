"""DeepGNN: a linear encoder, a stack of blocks, a linear readout."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import Features, Linear, SparseFeatures
from jaxgnn.host.arrays import Array
from jaxgnn.layers import LAYERS
from jaxgnn.network import state_space
from jaxgnn.network.dynamics import Dynamics, dynamics, lipschitz
from jaxgnn.network.interventions import Intervention, edited
from jaxgnn.network.layer_function import Inputs, Step, layer_function, scan_function, segment_function
from jaxgnn.network.options import complete
from jaxgnn.network.pooling import pooled
from jaxgnn.network.residuals import RESIDUALS
from jaxgnn.network.size import Size, size, with_size
from jaxgnn.network.stack import (
    ACTIVATIONS,
    INITIALISERS,
    Block,
    LayerSpec,
    NormSpec,
    Recipe,
    ResidualSpec,
    Shared,
    Taps,
    layer_options,
    residual_rule,
    scan_blocks,
)

SCALED = ("scaled", "depth_scaled", "initial", "graphcon")  # the residual rules that use residual_scale
# Kept as arrays in the collection "constants": one compiled program serves every value of them.
NUMBERS = ("bound_c", "residual_scale", "modulus")


class ModelTaps(NamedTuple):
    """Perturbations of a DeepGNN: `encoder` [n, d] is added to X^(0), `blocks` inside every block."""

    encoder: Float[Array, "n d"]
    blocks: Taps


class DeepGNN(nn.Module):
    """Encoder X^(0) = x W_e + b_e, `depth` blocks, readout X^(L) R + b_r: [n, f] -> [n, out].

    Each block is X^(l+1) = X^(l) + rho(norm(H^(l))), H^(l) the layer's output; without X^(l) + where residual="none".

    Attributes:
      layer: a name of `jaxgnn.layers.LAYERS`, a Linen class with `features`, or an instance; __call__(graph, X) ->
        [n, width]. x0, index and train are passed to it where its signature has them.
      depth: L, number of blocks, at least 1; with ends="layer" the ends count too, L = depth - 2, at least 0.
      width: d, features of every block.
      out: columns of the logits.
      activation: "relu", "leaky_relu", "tanh", "elu", "gelu" or "identity", applied in every block; by default the
        layer's own (A-DGN: tanh), or "relu".
      residual: "none", "identity", "scaled", "depth_scaled", "initial", "gated", "weighted", "graphcon",
        "gradient_gating", "delayed" or "ssm" (`jaxgnn.network.residuals`), or an instance of a rule; by default the
        layer's own, or "none".
      residual_scale: s of "scaled" (0.1 by default), "depth_scaled" (1 / sqrt(L)), "initial" (0.1), "graphcon" (0.5).
      norm: "none", "layer", "batch", "group", "pairnorm", "mean_subtraction" or "dgn" (`jaxgnn.network.norms`), or an
        instance.
      norm_placement: "activation", norm(H) before the activation; "pre", layer(norm(X^(l))), so that with a residual
        X^(l) itself passes untouched; "post", X^(l+1) = norm(what the residual rule made). The readout has no norm.
      bound: "none", "frobenius", "frobenius_soft", "spectral", "row", "column", "orthogonal" or "cayley"
        (`jaxgnn.network.bounds`), on the layers' matrices: ||W||_2 <= c.
      bound_c: c.
      ssm: Lambda and B of residual="ssm".
      khop: block l propagates over the pairs at distance exactly l + 1 (`prepare(..., hops=K)`; cyclic beyond K).
      share_weights: all blocks have the same parameters.
      jumping: what is read out: "last" X^(L), "sum" a learned weighted sum of X^(0) .. X^(L), "max" their maximum,
        "concat" X^(1) .. X^(L) side by side, [n, L d] (Xu et al. 2018).
      ends: "linear", or "layer": X^(0) = rho(layer(x)) and the logits are layer(X^(L)), as in a GCN of two layers (the
        readout with one head). Bounds, norms, residuals, DropEdge and the k-hop schedule are the blocks' alone.
      pool: "none" for logits of nodes [n, out]; "sum", "mean" or "max" over each graph's nodes for [graphs, out].
      init_weights: "glorot", "he", "lecun" (all uniform) or "orthogonal", for the layers' matrices.
      bias: bias in the layers (the encoder and the readout always have one).
      dropout: rate on every block's and on the readout's input in training.
      input_dropout: rate on x in training.
      dropedge: rate at which every block leaves out edges in training.
      remat: what the way back computes again, to save memory (`jaxgnn.host.remat`). False or "none": nothing; True or
        "block": each block's insides, X^(l) of every layer is kept; k: X^(l) of every k-th layer is kept, "sqrt": k
        about sqrt(L); "least": that, and between them X^(l) alone; "auto": the fastest of "none", "sqrt" and "least"
        that fits in 60% of the memory free when the program is compiled. Initial parameters, values and draws are the
        same under each, gradients to rounding.

      compute_dtype: "float32", or "bfloat16" or "float16": features are kept, and the blocks' weights used, rounded to
        it (on a CPU bfloat16 is kept as float32: `precision.kept_dtype`); sums and products are float32, and so are
        the trained weights, their gradients, the encoder and the readout. There is no loss scaling: float16
        loses small gradients of features. In float64 mode "float32" leaves float64 as it is.

      interventions: what `jaxgnn.intervene` puts here.

    bound_c, residual_scale and ssm.modulus are kept in the collection "constants" (Lambda and B too, unless they are
    trainable), so that one compiled program serves every value.

    Raises:
      ValueError: an option that is not known or out of its range, when the object is made.
    """

    layer: LayerSpec = "gcn"
    depth: int = 2
    width: int = 64
    out: int = 1
    activation: str | None = None
    residual: ResidualSpec | None = None
    residual_scale: float | None = None
    norm: NormSpec = "none"
    norm_placement: str = "activation"
    bound: str = "none"
    bound_c: float = 1.0
    ssm: state_space.StateSpace = state_space.StateSpace()
    khop: bool = False
    share_weights: bool = False
    jumping: str = "last"
    ends: str = "linear"
    pool: str = "none"
    init_weights: str = "glorot"
    bias: bool = False
    dropout: float = 0.0
    input_dropout: float = 0.0
    dropedge: float = 0.0
    remat: bool | int | str = False
    compute_dtype: str = "float32"
    interventions: tuple[Intervention, ...] = ()

    def __post_init__(self) -> None:
        complete(self)
        super().__post_init__()

    def setup(self) -> None:
        glorot = INITIALISERS["glorot"]
        self.constants = {
            name: self.variable("constants", name, lambda v=value: jnp.float32(v))
            for name, value in self.numbers().items()
        }
        if self.ends == "linear":
            self.encoder = Linear(self.width, kernel_init=glorot)
            self.readout = nn.Dense(self.out, kernel_init=glorot)
        else:
            kind, options = self._layer_options()
            one_head = {"heads": 1} if "heads" in kind.__dataclass_fields__ else {}
            self.encoder = kind(**options | {"features": self.width})
            self.readout = kind(**options | one_head | {"features": self.out})
        self.stack = self.block()
        self.input_drop = nn.Dropout(self.input_dropout)
        self.readout_drop = nn.Dropout(self.dropout)
        if self.residual == "ssm":
            draw = partial(state_space.draw, self.ssm, self.width)
            if self.ssm.trainable:
                self.ssm_matrices = self.param("ssm", lambda key: draw(key)._asdict())
            else:
                frozen = self.variable("constants", "ssm", lambda: draw(self.make_rng("params"))._asdict())
                self.ssm_matrices = frozen.value
        if self.jumping == "sum":
            equal = nn.initializers.constant(1 / (self.blocks + 1))
            self.jump_weights = self.param("jump", equal, (self.blocks + 1,))

    def __call__(self, graph: Graph, x: Features, train: bool = False) -> Float[Array, "n out"]:
        """Logits, [n, f] -> [n, out], 0 in padding, or [graphs, out] with a `pool`.

        Raises ValueError where the graph is not one that `jaxgnn.prepare` made.
        """
        if not isinstance(graph, Graph):
            said = f"{type(graph).__name__} is no prepared graph"
            raise ValueError(f"{said}: jaxgnn.prepare(graph) makes one, once, with its propagation matrix")
        return self._run(graph, x, None, train=train, collect=False)[0]

    def tapped(
        self, graph: Graph, x: Features, taps: ModelTaps
    ) -> tuple[Float[Array, "n out"], Float[Array, "L+1 n d"]]:
        """Logits and X^(0) .. X^(L) in evaluation mode, with a perturbation added at every tap."""
        logits, features = self._run(graph, x, taps, train=False, collect=True)
        assert features is not None  # collected
        return logits, features

    def encode(self, graph: Graph, x: Features, train: bool = False) -> Float[Array, "n d"]:
        """X^(0): x W_e + b_e, or rho(layer(x)) with ends="layer"; 0 in padding."""
        if isinstance(x, SparseFeatures):
            if self.ends == "layer" or (train and self.input_dropout > 0):
                raise ValueError('sparse features go with ends="linear" and input_dropout=0: use an array x')
        else:
            x = self.input_drop(graph.masked(x), deterministic=not train)
        H = self._end(self.encoder, graph, x, train)
        X = graph.masked(H if self.ends == "linear" else ACTIVATIONS[self.activation](H))
        return edited(self.interventions, "features", graph, X, 0)

    def _end(self, module, graph, X, train):
        if self.ends == "linear":
            return module(X)
        takes_train = "train" in inspect.signature(type(module).__call__).parameters
        return module(graph, X, **{"train": train} if takes_train else {})

    def _run(self, graph, x, taps: ModelTaps | None, *, train: bool, collect: bool):
        if x.shape[0] != graph.num_nodes:
            raise ValueError(f"x has shape {x.shape}, but the graph has {graph.num_nodes} nodes: rows must agree")
        x0 = self.encode(graph, x, train)
        if taps is not None:
            x0 = x0 + taps.encoder
        x0 = edited(self.interventions, "feature_grads", graph, x0, 0)
        jump, jumped = self._jump(x0)
        X, jumped, features = scan_blocks(
            self.stack,
            self.blocks,
            x0,
            None if taps is None else taps.blocks,
            collect=collect or self.jumping == "concat",
            remat=self.remat,
            share_weights=self.share_weights,
            jump=jump,
            jumped=jumped,
            shared=self._shared(graph, x0),
            train=train,
        )
        if self.jumping == "concat":
            assert features is not None  # collected
            jumped = jnp.moveaxis(features, 0, 1).reshape(x0.shape[0], self.blocks * self.width)
        X = self.readout_drop(X if self.jumping == "last" else jumped, deterministic=not train)
        logits = self._end(self.readout, graph, pooled(graph, X, self.pool), train)
        logits = graph.masked(logits) if self.pool == "none" else logits
        return logits, jnp.concatenate([x0[None], features]) if collect and features is not None else None

    def _shared(self, graph: Graph, x0: Float[Array, "n d"]) -> Shared:
        ssm = state_space.Matrices(**self.ssm_matrices) if self.residual == "ssm" else None
        return Shared(graph, x0, {name: variable.value for name, variable in self.constants.items()}, ssm)

    def _jump(self, x0):
        """The fold over X^(1) .. X^(L) for the readout, and where it starts."""
        if self.jumping == "max":
            return lambda jumped, X, index: jnp.maximum(jumped, X), x0
        if self.jumping == "sum":
            weights = jnp.asarray(self.jump_weights)
            return lambda jumped, X, index: jumped + weights[index + 1] * X, weights[0] * x0
        return lambda jumped, X, index: jumped, ()

    @nn.nowrap
    def clone(self, **updates: Any) -> "DeepGNN":
        """The same network with other options; those that were left to the layer or the rule follow the new ones."""
        return super().clone(**(dict.fromkeys(self._left) | updates))

    @property
    def blocks(self) -> int:
        """L, the number of blocks in the scan."""
        return self.depth if self.ends == "linear" else self.depth - 2

    @nn.nowrap
    def _layer_options(self) -> tuple[type[nn.Module], dict[str, Any]]:
        return layer_options(self.layer, self.width, bias=self.bias, init_weights=self.init_weights)

    @property
    def distances(self) -> int | None:
        """The `hops` of `jaxgnn.prepare` that this network needs; None where it needs none."""
        if self.khop:
            return max(self.blocks, 1)
        kind, options = self._layer_options()
        return getattr(kind(**options, parent=None), "distances", None)

    @nn.nowrap
    def size(self, graph: Graph, x: Features) -> Size:
        """How many numbers are trained and how many are drawn and frozen; nothing is computed."""
        return size(self, graph, x)

    @nn.nowrap
    def with_size(self, trainable: int, graph: Graph, x: Features, *, multiple: int = 1) -> "DeepGNN":
        """This network at the largest width that trains at most so many numbers: networks compared at equal size.

        The width is a multiple of `multiple`, for layers that need one. Raises ValueError where none is small enough.
        """
        return with_size(self, trainable, graph, x, multiple)

    @nn.nowrap
    def numbers(self) -> dict[str, float]:
        """The numeric options that are kept in "constants"."""
        return {"bound_c": self.bound_c, "residual_scale": self.residual_scale, "modulus": self.ssm.modulus}

    @nn.nowrap
    def used_numbers(self) -> tuple[str, ...]:
        """Those of the numeric options in "constants" that change something in this network."""
        kind = type(residual_rule(self.residual))
        without_scale = [rule for name, rule in RESIDUALS.items() if name not in SCALED]
        used = {
            "bound_c": self.bound != "none",
            "residual_scale": kind not in without_scale,
            "modulus": self.residual == "ssm",
        }
        return tuple(name for name, does in used.items() if does)

    @nn.nowrap
    def same_in_training(self) -> bool:
        """Whether train=True computes the same as train=False, as far as the options tell."""
        kind, options = self._layer_options()
        if "train" in inspect.signature(kind.__call__).parameters:
            module = kind(**options, parent=None)
            own = getattr(module, "attention_dropout", 1) > 0  # a layer of one's own may do anything
            if getattr(module, "changes_in_training", own):
                return False
        rates = self.dropout + self.input_dropout + self.dropedge
        return rates == 0 and self.bound != "spectral" and self.norm in _NORMS_WITHOUT_STATE

    @nn.nowrap
    def _layer_defaults(self) -> dict[str, str]:
        return getattr(LAYERS[self.layer] if isinstance(self.layer, str) else self.layer, "defaults", {})

    @nn.nowrap
    def block(self) -> Block:
        """The block that every layer runs, without its parameters."""
        return Block(**{name: Recipe.of(getattr(self, name)) for name in _BLOCK_OPTIONS})

    @nn.nowrap
    def zero_taps(self, params: Any, x: Features) -> ModelTaps:
        """Taps that change nothing, of the shapes that `tapped` takes."""
        # The precision of x W_e + b_e: of integers, and of half precision with other parameters, not x's own.
        dtype = jnp.result_type(x.dtype, *(W.dtype for W in jax.tree.leaves(params["params"])))
        shape = (self.blocks, x.shape[0], self.width)
        leading = (self.blocks,) if self.share_weights else ()
        layer = params["params"].get("stack", {}).get("layer", {})  # a layer may have no parameters
        weights = jax.tree.map(lambda W: jnp.zeros(leading + W.shape, W.dtype), layer)
        return ModelTaps(jnp.zeros(shape[1:], dtype), Taps(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), weights))

    @nn.nowrap
    def layer_fn(
        self, params: Any, graph: Graph, x: Features, *, layer: int, dtype: Any = None
    ) -> tuple[Callable[[Float[Array, "n d"]], Float[Array, "n d"]], Float[Array, "n d"]]:
        """Block `layer` as a plain function f: X^(l) -> X^(l+1), and the X^(l) that it is taken at.

        The whole block in evaluation mode (layer, bound, norm, activation, residual), X^(0) and what the residual
        rule carries beside X held constant. `dtype` evaluates in that precision: with float64, f runs in float64
        whatever the global setting is. Raises ValueError when there is no such layer.
        """
        return layer_function(self, params, graph, x, layer=layer, dtype=dtype)

    @nn.nowrap
    def scan_fn(
        self, params: Any, graph: Graph, x: Features, *, start: int = 0, stop: int | None = None, dtype=None
    ) -> tuple[Step, Float[Array, "n d"], Inputs]:
        """step(h, inputs_l): X^(l) -> X^(l+1), X^(start), and the inputs of layers start to stop - 1 to scan over.

        Each step is `layer_fn`'s function of its layer, all by one program; every array of `inputs` has a leading
        axis stop - start. `stop` is the number of blocks by default. Raises ValueError for an empty or other range.
        """
        return scan_function(self, params, graph, x, start=start, stop=stop, dtype=dtype)

    @nn.nowrap
    def segment_fn(
        self, params: Any, graph: Graph, x: Features, *, start: int = 0, stop: int | None = None, dtype=None
    ) -> tuple[Callable[[Float[Array, "n d"]], Float[Array, "n d"]], Float[Array, "n d"]]:
        """Blocks start to stop - 1 as a plain function f: X^(start) -> X^(stop), and the X^(start) it is taken at.

        Its Jacobian is the product of those of its layers, J_(stop-1) .. J_start of `layer_fn`: d X^(stop) / d
        X^(start) where the blocks are a chain, without x0 or a state. One program serves all segments of one length.
        Raises ValueError for an empty or other range.
        """
        return segment_function(self, params, graph, x, start=start, stop=stop, dtype=dtype)

    @nn.nowrap
    def lipschitz(self, graph: Graph, *, layer: int = 0) -> float | None:
        """An upper bound of ||d X^(l+1) / d X^(l)||_2 that holds wherever it is taken; None where there is none.

        Where the layer is linear in X and its weights are bounded, with ||H' || <= l: l without a residual, 1 + l
        with "identity", 1 + s l with "scaled" and "depth_scaled", (1 - s) l with "initial", ||Lambda|| + ||B|| l with
        frozen "ssm" of kinds other than "uniform". Attention, gates and norms have no such bound: measure what they do
        where they are taken, with `layer_fn` and `jaxgnn.jacobian`. "spectral" holds up to its power iteration's error.
        Source: Park & Kim 2024; Arroyo et al. 2025, proposition 3.3.
        """
        return lipschitz(self, graph, layer)

    @nn.nowrap
    def dynamics(self, params: Any) -> Dynamics:
        """alpha_l and s_l, with which ||d X_v^(k) / d X_u^(0)||_2 <= [prod_(l < k) (alpha_l I + s_l |P|)]_vu.

        With W^(l) the weights after the bound: 0 and ||W||_2 without a residual, 1 and ||W|| with "identity", 1 and
        s ||W|| with "scaled" and "depth_scaled", 0 and |1 - s| ||W|| with "initial" (X^(0) held constant, as in
        `segment_fn`), ||Lambda|| and ||B|| ||W|| with "ssm"; for gelu s_l is 1.13 times that. P is the graph's, or I
        for the layer "mlp".
        Raises ValueError for other layers than gcn and mlp, other residuals, a norm, or the k-hop schedule.
        Source: after Arroyo et al. 2025, theorem 5.1; `jaxgnn.jacobian.sensitivity_bound` multiplies it out.
        """
        return dynamics(self, params)


_NORMS_WITHOUT_STATE = ("none", "layer", "group", "pairnorm", "mean_subtraction")
_BLOCK_OPTIONS = tuple(name for name in Block.__dataclass_fields__ if name not in ("parent", "name"))

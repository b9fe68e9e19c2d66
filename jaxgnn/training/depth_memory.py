"""How much memory a training run will hold, part by part, before anything is computed or compiled.

Shapes alone are looked at: the run's state by `jax.eval_shape`, and what reverse mode keeps by tracing it.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.dtypes import canonicalize_dtype

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import Features
from jaxgnn.host.memory import available_bytes, require_memory
from jaxgnn.host.remat import SHARE, nbytes, policy_of, residual_bytes
from jaxgnn.network.model import DeepGNN
from jaxgnn.training.optimisers import Hyper, TrainConfig, make_optimiser


class _Layout(NamedTuple):
    """What a compiler holds beside the activations, fitted to its own count.

    `python -m jaxgnn.experiments.bench.memory` compares them: csbm, width 64 and 128, 16 to 1000 layers.

    Attributes:
      rows: [n, d] arrays of any depth: carries in and out of the loops, a layer's input and its gradient; a TPU's are
        many because what stands in its fast memory counts.
      copies: arrays of the parameters' size where the layers are gone back through.
      updated: arrays of that size while the parameters are updated, what the layers keep not counted, for layers in
        chunks; the second where the layers within a chunk are computed once more.
      relaid: as many more where the parameters' last axis is filled up: they stand in two layouts.
      program: bytes of its code.
    """

    rows: float
    copies: float
    updated: tuple[float, float] = (0.0, 0.0)
    relaid: tuple[float, float] = (0.0, 0.0)
    program: int = 0


_LAYOUTS = {
    "cpu": _Layout(3.5, 1.25, (4.0, 4.0)),
    "gpu": _Layout(5.0, 1.35),
    "tpu": _Layout(9.0, 1.6, (4.5, 3.0), (3.0, 5.5), 8 * 2**20),
}
_UPDATE = 5.0  # arrays of the parameters' size that a CPU's update holds once the layers' features are gone


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a training run holds at most at once, by what they are for.

    Attributes:
      data: the graph and x, and the program where it stands beside them.
      parameters: all collections of the model.
      optimiser: its state.
      best: the parameters at the best validation score so far.
      initial: the first parameters, which `jaxgnn.train` keeps to the end.
      gradients: of the parameters, and other arrays of their size that a step holds where memory is fullest.
      kept: what the layers keep for the way back.
      recomputed: what the layers between two kept ones keep while they are gone back through.
      workspace: buffers that do not grow with depth.
    """

    data: int
    parameters: int
    optimiser: int
    best: int
    initial: int
    gradients: int
    kept: int
    recomputed: int
    workspace: int

    @property
    def state(self) -> int:
        """What the run holds between two steps beside the data and its first state."""
        return self.parameters + self.optimiser + self.best

    @property
    def temporary(self) -> int:
        """What a step needs beside its arguments."""
        return self.gradients + self.kept + self.recomputed + self.workspace

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


def estimate(
    model: DeepGNN,
    graph: Graph,
    x: Features,
    config: TrainConfig | None = None,
    *,
    seeds: int = 1,
    side_by_side: bool = False,
    platform: str | None = None,
) -> MemoryEstimate:
    """The memory of training `model` on a graph, full batch, as `jaxgnn.train` does.

    Args:
      x: [n, f], or a `jax.ShapeDtypeStruct` of it.
      config: how to train; AdamW by default.
      seeds: runs, whose states are all held.
      side_by_side: whether they are computed at once (batching="vmap") and not one after another.
      platform: "cpu", "gpu" or "tpu"; by default the one that JAX computes on.

    With remat="auto" the policy that `fitted` would choose. It is an estimate: a compiler may keep more or less.
    """
    config = TrainConfig() if config is None else config
    platform = jax.default_backend() if platform is None else platform
    platform = platform if platform in ("cpu", "tpu") else "gpu"
    layout, tpu = _LAYOUTS[platform], platform == "tpu"
    if model.remat == "auto":
        model = fitted(model, graph, x, config, seeds=seeds, side_by_side=side_by_side, platform=platform)
    variables = _variables(model, graph, x)
    params = variables["params"]
    hyper = Hyper(*(jnp.float32(0) for _ in Hyper._fields))
    parameters = seeds * nbytes(variables)
    optimiser = seeds * nbytes(jax.eval_shape(make_optimiser(config, hyper).init, params))
    at_once = seeds if side_by_side else 1
    kept, recomputed = _activations(model, graph, x, tpu=tpu)
    policy, P = policy_of(model.remat, model.blocks), nbytes(params, tpu=tpu)
    rows = layout.rows - (platform != "tpu" and policy.within)
    row = nbytes(jax.ShapeDtypeStruct((x.shape[0], model.width), x.dtype), tpu=tpu)
    workspace = int(rows * row)
    gradients = layout.copies * P
    if policy.every > 1:
        updated = layout.updated[policy.within]
        updated += layout.relaid[policy.within] if nbytes(params) < 0.75 * P else 0
        held = max(updated * P, _UPDATE * P - kept if platform == "cpu" else 0)
        gradients = max(gradients, held - recomputed - workspace)
    return MemoryEstimate(
        data=_on_device((graph, x)) + layout.program,
        parameters=parameters,
        optimiser=optimiser,
        best=parameters,
        initial=parameters,
        gradients=at_once * int(gradients),
        kept=at_once * kept,
        recomputed=at_once * recomputed,
        workspace=at_once * workspace,
    )


def _on_device(tree: Any) -> int:
    """Bytes of a tree of host arrays once they are on a device, where float64 is float32 unless it is asked for."""
    return sum(math.prod(a.shape) * canonicalize_dtype(a.dtype).itemsize for a in jax.tree.leaves(tree))


def fitted(
    model: DeepGNN,
    graph: Graph,
    x: Features,
    config: TrainConfig | None = None,
    *,
    seeds: int = 1,
    side_by_side: bool = False,
    budget: float | None = None,
    platform: str | None = None,
) -> DeepGNN:
    """A model of remat="auto" with the fastest policy whose estimate is at most `budget` bytes; others as they are.

    The budget is 60% of the memory that is free by default. Of "none", "sqrt" and "least", in that order, the last is
    returned where none fits: `require` refuses it then.
    """
    if model.remat != "auto":
        return model
    budget = SHARE * available_bytes() if budget is None else budget
    for remat in ("none", "sqrt"):
        candidate = model.clone(remat=remat)
        options = {"seeds": seeds, "side_by_side": side_by_side, "platform": platform}
        if estimate(candidate, graph, x, config, **options).total <= budget:
            return candidate
    return model.clone(remat="least")


def checked_model(
    model: DeepGNN, graph: Graph, x: Any, config: TrainConfig, *, seeds: int, side_by_side: bool
) -> DeepGNN:
    """`fitted`, after `require` where the features of all layers take more than a GiB; less is not looked at."""
    model = fitted(model, graph, x, config, seeds=seeds, side_by_side=side_by_side)
    rows = 4 * graph.num_nodes * model.width * model.blocks * (seeds if side_by_side else 1)
    if rows > 2**30:
        require(estimate(model, graph, x, config, seeds=seeds, side_by_side=side_by_side), model)
    return model


def runs_at_once(model: DeepGNN, graph: Graph, x: Any, config: TrainConfig, *, runs: int, devices: int) -> int:
    """How many of a host's devices, 1 to `devices`, can each compute a run within 60% of the memory that is free.

    Where the features of all layers take less than a GiB for all of them, memory is not looked at.
    """
    most = min(runs, devices)
    if most < 2 or 4 * graph.num_nodes * model.width * model.blocks * most <= 2**30:
        return most
    needed = estimate(model, graph, x, config, seeds=runs)
    each = needed.gradients + needed.kept + needed.recomputed + needed.workspace
    return max(1, min(most, int((SHARE * available_bytes() - (needed.total - each)) // max(each, 1))))


def require(needed: MemoryEstimate, model: DeepGNN) -> None:
    """Raises MemoryError, one sentence with the bytes and a way out, where an estimate is more than is free."""
    instead = 'less depth or width, or compute_dtype="float16"' if model.remat == "least" else 'remat="least"'
    require_memory(needed.total, f"training {model.blocks} layers of width {model.width}", instead)


def _variables(model: DeepGNN, graph: Graph, x: Any) -> dict[str, Any]:
    return dict(jax.eval_shape(model.init, jax.random.key(0), graph, x))


def _activations(model: DeepGNN, graph: Graph, x: Any, *, tpu: bool = False) -> tuple[int, int]:
    """Bytes kept between the forward and the backward pass, and bytes of the layers that are computed again."""
    depth = model.blocks
    every, within = policy_of(model.remat, depth)
    kept = _kept(model, graph, x, tpu=tpu)
    if not every:
        return kept, 0

    def per_layer(remat: str) -> int:
        two, three = (_kept(model.clone(depth=model.depth - depth + L, remat=remat), graph, x, tpu=tpu) for L in (2, 3))
        return three - two

    return kept, every * per_layer("block") + per_layer("none") if within else every * per_layer("none")


def _kept(model: DeepGNN, graph: Graph, x: Any, *, tpu: bool) -> int:
    variables = _variables(model, graph, x)
    params = variables.pop("params")
    changing = [name for name in variables if name != "constants"]

    def logits(params, variables, graph, x):
        rngs = {"dropout": jax.random.key(0)}
        return model.apply({"params": params, **variables}, graph, x, train=True, rngs=rngs, mutable=changing)[0]

    return residual_bytes(logits, params, variables, graph, x, tpu=tpu)

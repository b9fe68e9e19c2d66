"""How much memory a training run will hold, part by part, before anything is computed or compiled.

Shapes alone are looked at: the run's state by `jax.eval_shape`, and what reverse mode keeps by tracing it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import Features
from jaxgnn.host.memory import available_bytes, require_memory
from jaxgnn.host.remat import SHARE, nbytes, policy_of, residual_bytes
from jaxgnn.network.model import DeepGNN
from jaxgnn.training.optimisers import Hyper, TrainConfig, make_optimiser

# [n, d] arrays that a step holds besides, of any depth: a carry in and out of each of two loops, the input of the
# layer that is differentiated and its gradient. Ours, compared with XLA's own count in the tests.
_WORKSPACE = 6


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a training run holds at most at once, by what they are for.

    Attributes:
      data: the graph and x.
      parameters: all collections of the model.
      optimiser: its state.
      best: the parameters at the best validation score so far.
      initial: the first parameters, which `jaxgnn.train` keeps to the end.
      gradients: of the parameters. Where the layers are gone back through in chunks, three such arrays, which XLA's CPU
        compiler made of them at width 64 (fewer at 16 and 32), and one more where the last chunk is shorter.
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
) -> MemoryEstimate:
    """The memory of training `model` on a graph, full batch, as `jaxgnn.train` does.

    Args:
      x: [n, f], or a `jax.ShapeDtypeStruct` of it.
      config: how to train; AdamW by default.
      seeds: runs, whose states are all held.
      side_by_side: whether they are computed at once (batching="vmap") and not one after another.

    With remat="auto" the policy that `fitted` would choose. It is an estimate: a compiler may keep more or less.
    """
    config = TrainConfig() if config is None else config
    if model.remat == "auto":
        model = fitted(model, graph, x, config, seeds=seeds, side_by_side=side_by_side)
    variables = _variables(model, graph, x)
    params = variables["params"]
    hyper = Hyper(*(jnp.float32(0) for _ in Hyper._fields))
    parameters = seeds * nbytes(variables)
    optimiser = seeds * nbytes(jax.eval_shape(make_optimiser(config, hyper).init, params))
    at_once = seeds if side_by_side else 1
    kept, recomputed = _activations(model, graph, x)
    every = policy_of(model.remat, model.blocks).every
    copies = 1 if every < 2 else 3 + (model.blocks % every > 0)
    row = x.shape[0] * jnp.dtype(x.dtype).itemsize
    return MemoryEstimate(
        data=nbytes((graph, x)),
        parameters=parameters,
        optimiser=optimiser,
        best=parameters,
        initial=parameters,
        gradients=copies * at_once * nbytes(params),
        kept=at_once * kept,
        recomputed=at_once * recomputed,
        workspace=at_once * row * (_WORKSPACE * model.width + x.shape[1]),
    )


def fitted(
    model: DeepGNN,
    graph: Graph,
    x: Features,
    config: TrainConfig | None = None,
    *,
    seeds: int = 1,
    side_by_side: bool = False,
    budget: float | None = None,
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
        if estimate(candidate, graph, x, config, seeds=seeds, side_by_side=side_by_side).total <= budget:
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


def _activations(model: DeepGNN, graph: Graph, x: Any) -> tuple[int, int]:
    """Bytes kept between the forward and the backward pass, and bytes of the layers that are computed again."""
    depth = model.blocks
    every, within = policy_of(model.remat, depth)
    kept = _kept(model, graph, x)
    if not every:
        return kept, 0

    def per_layer(remat: str) -> int:
        two, three = (_kept(model.clone(depth=model.depth - depth + L, remat=remat), graph, x) for L in (2, 3))
        return three - two

    return kept, every * per_layer("block") + per_layer("none") if within else every * per_layer("none")


def _kept(model: DeepGNN, graph: Graph, x: Any) -> int:
    variables = _variables(model, graph, x)
    params = variables.pop("params")
    changing = [name for name in variables if name != "constants"]

    def logits(params, variables, graph, x):
        rngs = {"dropout": jax.random.key(0)}
        return model.apply({"params": params, **variables}, graph, x, train=True, rngs=rngs, mutable=changing)[0]

    return residual_bytes(logits, params, variables, graph, x)

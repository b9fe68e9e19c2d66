"""One run of training as pure functions: its state, one step, many steps."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.network.model import NUMBERS, DeepGNN
from jaxgnn.tasks.task import Metrics, Task
from jaxgnn.training.optimisers import Hyper, TrainConfig, make_optimiser

_BATCHES = 2**32 - 1  # folded into a run's key for its batches: no step has this number


class Best(NamedTuple):
    """The step with the best validation score (ties: lower validation loss) and what was there."""

    params: Any
    variables: Any
    metrics: Metrics
    step: Int[Array, ""]


class TrainState(NamedTuple):
    """One run between two steps; `stopped` by patience or because something was not finite (`failed`).

    Attributes:
      params: what is trained.
      variables: the model's other collections: constants, running means, power iterations.
      optimiser: optax's state.
      best: the best step so far.
      key: the run's own, for dropout and the order of batches.
    """

    params: Any
    variables: Any
    optimiser: Any
    best: Best
    step: Int[Array, ""]
    stopped: Bool[Array, ""]
    failed: Bool[Array, ""]
    key: Array


def start(model: DeepGNN, config: TrainConfig, task: Task, key: Array, hyper: Hyper) -> TrainState:
    """The state before the first step."""
    init_key, run_key = jax.random.split(key)
    with config.products():
        variables = dict(model.init(init_key, task.graph, task.x))
    params = variables.pop("params")
    variables["constants"] = variables.get("constants", {}) | {name: getattr(hyper, name) for name in NUMBERS}
    nan, no = jnp.float32(jnp.nan), jnp.bool_(False)
    worst = Metrics(nan, nan, jnp.float32(-jnp.inf if task.maximise else jnp.inf), nan, jnp.float32(jnp.inf))
    optimiser = make_optimiser(config, hyper).init(params)
    best = Best(params, variables, worst, jnp.int32(0))
    return TrainState(params, variables, optimiser, best, jnp.int32(0), no, no, run_key)


def gradient(model: Any, task: Task, key: Array) -> tuple[Array, Any]:
    """The loss of new parameters on the first batch and its gradient: what a network's own code computes."""
    variables = dict(model.init(key, task.graph, task.x))
    params = variables.pop("params")
    changing = [name for name in variables if name != "constants"]
    batch = task.batch(key, jnp.int32(0))

    def loss(params):
        given = {"params": params, **variables}
        options = {"train": True, "rngs": {"dropout": key}, "mutable": changing}
        logits, changed = model.apply(given, batch.graph, batch.x, **options)
        return batch.loss(logits), changed

    return jax.value_and_grad(loss, has_aux=True)(params)


def step(
    model: DeepGNN, config: TrainConfig, task: Task, hyper: Hyper, state: TrainState, *, branches: bool = True
) -> tuple[TrainState, Metrics]:
    """One update, and the metrics of the parameters before it (NaN at a step that is not evaluated)."""
    batch = task.batch(jax.random.fold_in(state.key, _BATCHES), state.step)
    rngs = {"dropout": jax.random.fold_in(state.key, state.step)}
    changing = [name for name in state.variables if name != "constants"]

    def loss_fn(params):
        variables = {"params": params, **state.variables}
        logits, changed = model.apply(variables, batch.graph, batch.x, train=True, rngs=rngs, mutable=changing)
        return batch.loss(logits) + hyper.l2 / 2 * optax.tree.norm(params, squared=True), (logits, changed)

    (loss, (logits, changed)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    if task.full_batch and model.same_in_training():  # the training pass is the evaluation pass
        current = partial(_measured, task, lambda graph, x: logits)
    else:
        current = partial(evaluate, model, task, state.params, state.variables)
    if config.evaluate_every == 1:
        metrics = current()
    else:
        metrics = _either(state.step % config.evaluate_every == 0, current, nothing, branches=branches)
    failed = ~(jnp.isfinite(loss) & jax.tree.reduce(jnp.logical_and, jax.tree.map(_finite, gradients)))

    found = better(task, metrics, state.best.metrics) & ~failed
    best = select(found, Best(state.params, state.variables, metrics, state.step), state.best)
    waited = state.step - best.step
    stopped = failed | ((waited >= config.patience) if config.patience else jnp.bool_(False))

    # In float64 mode running means come back wider than they are kept.
    kept = {name: state.variables[name] for name in changing}
    changed = jax.tree.map(lambda new, old: new.astype(old.dtype), dict(changed), kept)
    updates, optimiser = make_optimiser(config, hyper).update(gradients, state.optimiser, state.params, value=loss)
    updated = (optax.apply_updates(state.params, updates), state.variables | changed, optimiser)
    params, variables, optimiser = select(~stopped, updated, (state.params, state.variables, state.optimiser))
    return TrainState(params, variables, optimiser, best, state.step + 1, stopped, failed, state.key), metrics


def steps(
    model: DeepGNN,
    config: TrainConfig,
    task: Task,
    total: Any,
    hyper: Hyper,
    state: TrainState,
    *,
    length: int,
    branches: bool = True,
) -> tuple[TrainState, Metrics]:
    """`length` steps of one run, without effect once it has stopped or has done `total` of them.

    Without `branches` such a step is computed all the same, and not taken.
    """

    def one(state, _):
        # With branches a step without effect costs nothing.
        proceed = partial(step, model, config, task, hyper, branches=branches)
        idle = state.stopped | (state.step >= total)
        return _either(idle, lambda s: (s, nothing()), proceed, state, branches=branches)

    with config.products():
        return jax.lax.scan(one, state, length=length)


def _either(condition: Array, yes: Callable, no: Callable, *operands: Any, branches: bool) -> Any:
    """One of two functions' results; without `branches` both are computed."""
    if branches:
        return jax.lax.cond(condition, yes, no, *operands)
    return select(condition, yes(*operands), no(*operands))


def evaluate(model: DeepGNN, task: Task, params: Any, variables: Any) -> Metrics:
    """Metrics of a set of parameters in evaluation mode, float32."""
    return _measured(task, lambda graph, x: model.apply({"params": params, **variables}, graph, x))


def _measured(task: Task, apply: Callable[[Graph, Any], Array]) -> Metrics:
    return Metrics(*(jnp.asarray(m, jnp.float32) for m in task.evaluate(apply)))


def better(task: Task, new: Metrics, old: Metrics) -> Array:
    """Whether a validation score is better than another; between equal ones the lower validation loss is."""
    tie = new.val_score == old.val_score
    higher = new.val_score > old.val_score if task.maximise else new.val_score < old.val_score
    return higher | (tie & (new.val_loss < old.val_loss))


def _finite(array: Array) -> Array:
    return jnp.isfinite(array).all()


def nothing() -> Metrics:
    """The metrics of a step that was not taken or not evaluated."""
    return Metrics(*(jnp.float32(jnp.nan),) * len(Metrics._fields))


def select(condition: Array, yes: Any, no: Any) -> Any:
    """One of two equal pytrees; PRNG keys too."""
    return jax.tree.map(partial(jnp.where, condition), yes, no)

"""Training over many seeds in one compiled program.

`make_train` gives the pure function train(key) of one run; `train` and `sweep` drive many of them, over seeds and
over numeric options, a few steps of all runs at a time.
"""

import itertools
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Int

from jaxgnn.arrays import Array
from jaxgnn.graph import Graph
from jaxgnn.model import DeepGNN
from jaxgnn.storage import environment, writable_folder, write_json

Batching = Literal["auto", "map", "vmap"]
_CHUNK = 25  # steps in one compiled loop: progress, history and Ctrl-C wait for no more than this


class Task(Protocol):
    """What is trained on: a pytree with a graph, features, a loss and scores (`train`, `val`, `test`, `val_loss`)."""

    @property
    def graph(self) -> Graph: ...
    @property
    def x(self) -> Any: ...
    def loss(self, logits: Array) -> Array: ...
    def scores(self, logits: Array) -> Any: ...


@dataclass(frozen=True)
class TrainConfig:
    """How to train; full-batch AdamW, which is Adam at weight_decay 0.

    Attributes:
      steps: number of updates.
      learning_rate: of Adam.
      weight_decay: decoupled decay (AdamW's).
      l2: adds l2 / 2 ||params||^2 to the loss.
      patience: stop a run after this many steps without a better validation score (ties: lower loss); 0 never.

    Raises:
      ValueError: an option out of its range, when the object is made.
    """

    steps: int = 200
    learning_rate: float = 5e-3
    weight_decay: float = 0.0
    l2: float = 0.0
    patience: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: allowed are 1 and more")
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(f"learning_rate={self.learning_rate}: allowed are finite numbers above 0")
        for option in ("weight_decay", "l2", "patience"):
            if not 0 <= (value := getattr(self, option)) < np.inf:
                raise ValueError(f"{option}={value}: allowed are 0 and more")


class Hyper(NamedTuple):
    """The numeric options that one compiled program serves for every value of."""

    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    l2: Float[Array, ""]
    bound_c: Float[Array, ""]


class Metrics(NamedTuple):
    """Of the parameters before each update, in evaluation mode, [seeds, steps] in a history; NaN once a run stopped."""

    train_loss: Float[Array, "..."]
    train_score: Float[Array, "..."]
    val_score: Float[Array, "..."]
    test_score: Float[Array, "..."]
    val_loss: Float[Array, "..."]


class Best(NamedTuple):
    """The step with the best validation score (ties: lower validation loss) and what was there."""

    params: Any
    metrics: Metrics
    step: Int[Array, ""]


class TrainState(NamedTuple):
    """One run between two steps; `stopped` by patience or because something was not finite (`failed`)."""

    params: Any
    constants: Any
    optimiser: Any
    best: Best
    step: Int[Array, ""]
    stopped: Bool[Array, ""]
    failed: Bool[Array, ""]
    key: Array


class TrainResult(NamedTuple):
    """Results with a leading seed axis.

    Attributes:
      score: [seeds] test score at the best validation score.
      val_score: [seeds] that validation score.
      train_loss: [seeds] final training loss without penalties, in evaluation mode.
      history: Metrics, each [seeds, steps done].
      params: what `model.apply` takes, at the best validation score.
      final_params: the same after the last step.
      initial_params: the same before the first.
      best_step: [seeds] the step that `params` are from.
      failed: [seeds] whether a loss or gradient became NaN or infinite, which stopped that seed.
    """

    score: Float[np.ndarray, "seeds"]
    val_score: Float[np.ndarray, "seeds"]
    train_loss: Float[np.ndarray, "seeds"]
    history: Metrics
    params: Any
    final_params: Any
    initial_params: Any
    best_step: Int[np.ndarray, "seeds"]
    failed: Bool[np.ndarray, "seeds"]


class SweepPoint(NamedTuple):
    """The options of one grid point and its result."""

    options: dict[str, float]
    result: TrainResult


def make_train(model: DeepGNN, task: Task, config: TrainConfig) -> Callable[..., tuple[TrainState, Metrics]]:
    """The pure function train(key, hyper=...) -> (final TrainState, Metrics [steps]) of one run, to jit or vmap."""

    def train(key: Array, hyper: Hyper | None = None) -> tuple[TrainState, Metrics]:
        hyper = default_hyper(model, config) if hyper is None else hyper
        state = _init(model, task, key, hyper)
        return _scan(model, config.patience, task, config.steps, hyper, state, length=config.steps)

    return train


def default_hyper(model: DeepGNN, config: TrainConfig) -> Hyper:
    """The numeric options as the model and the config say."""
    values = asdict(config) | {"bound_c": model.bound_c}
    return Hyper(*(jnp.float32(values[name]) for name in Hyper._fields))


def train(
    model: DeepGNN,
    task: Task,
    *,
    seeds: int = 10,
    seed: int = 0,
    out: Path | str | None = None,
    batching: Batching = "auto",
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> TrainResult:
    """Trains `seeds` runs of a model in one compiled program.

    Args:
      seeds: number of runs; run i uses fold_in(key(seed), i), so it does not depend on how many there are.
      out: a folder for config.json and history.jsonl (one line a step, written while it runs).
      batching: "vmap" runs the seeds side by side, "map" one after another in the same program; "auto" is "map"
        on a CPU and "vmap" elsewhere.
      progress: called with the number of steps done.
      options: fields of TrainConfig.

    Raises:
      ValueError: an option that is not known or out of its range.
    """
    (point,) = sweep(
        model, task, grid={}, seeds=seeds, seed=seed, out=out, batching=batching, progress=progress, **options
    )
    return point.result


def sweep(
    model: DeepGNN,
    task: Task,
    *,
    grid: Mapping[str, Sequence[float]],
    seeds: int = 10,
    seed: int = 0,
    out: Path | str | None = None,
    batching: Batching = "auto",
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> list[SweepPoint]:
    """Trains every combination of the grid's values over all seeds in one compiled program.

    grid: values by name, of "learning_rate", "weight_decay", "l2" and "bound_c". The rest is as for `train`.
    """
    for name in grid:
        if name not in Hyper._fields:
            raise ValueError(f"grid option {name!r} is not known: allowed are {', '.join(Hyper._fields)}")
    known = TrainConfig.__dataclass_fields__
    for name in options:
        if name not in known:
            raise ValueError(f"option {name!r} is not known: allowed are {', '.join(known)}")
    if seeds < 1:
        raise ValueError(f"seeds={seeds}: allowed are 1 and more")
    if batching not in get_args(Batching):
        raise ValueError(f"batching={batching!r} is not known: allowed are {', '.join(get_args(Batching))}")
    config = TrainConfig(**options)
    for name, values in grid.items():
        if not len(values):
            raise ValueError(f"grid option {name!r} has no values: at least one is needed")
        for value in values:  # made only to be validated
            _ = model.clone(bound_c=value) if name == "bound_c" else TrainConfig(**options | {name: value})
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    hyper = default_hyper(model, config)
    hypers = [hyper._replace(**{k: jnp.float32(v) for k, v in p.items()}) for p in points for _ in range(seeds)]
    keys = [jax.random.fold_in(jax.random.key(seed), i) for _ in points for i in range(seeds)]
    one_by_one = jax.default_backend() == "cpu" if batching == "auto" else batching == "map"
    log = _Log(out, {"train": config, "grid": dict(grid), "seeds": seeds, "seed": seed, "model": repr(model)})
    initial, states, metrics = _drive(
        model, config, task, _stacked(hypers), jnp.stack(keys), one_by_one=one_by_one, log=log, progress=progress
    )
    results = _results(model, task, initial, states, metrics, one_by_one=one_by_one)
    split = [jax.tree.map(operator.itemgetter(slice(i * seeds, (i + 1) * seeds)), results) for i in range(len(points))]
    return [SweepPoint(point, result) for point, result in zip(points, split, strict=True)]


def _init(model: DeepGNN, task: Task, key: Array, hyper: Hyper) -> TrainState:
    init_key, run_key = jax.random.split(key)
    variables = model.init(init_key, task.graph, task.x)
    constants = {name: value for name, value in variables.items() if name != "params"}
    constants["constants"] = {**constants["constants"], "bound_c": hyper.bound_c}
    params = variables["params"]
    nan = jnp.float32(jnp.nan)
    worst = Metrics(nan, nan, jnp.float32(-jnp.inf), nan, jnp.float32(jnp.inf))
    no = jnp.bool_(False)
    optimiser = _optimiser(hyper).init(params)
    return TrainState(params, constants, optimiser, Best(params, worst, jnp.int32(0)), jnp.int32(0), no, no, run_key)


def _optimiser(hyper: Hyper) -> optax.GradientTransformation:
    return optax.adamw(hyper.learning_rate, weight_decay=hyper.weight_decay)


def _step(model: DeepGNN, patience: int, task: Task, hyper: Hyper, state: TrainState) -> tuple[TrainState, Metrics]:
    rngs = {"dropout": jax.random.fold_in(state.key, state.step)}

    def loss_fn(params):
        logits = model.apply({"params": params, **state.constants}, task.graph, task.x, train=True, rngs=rngs)
        return task.loss(logits) + hyper.l2 / 2 * optax.tree.norm(params, squared=True), logits

    (loss, logits), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    if model.dropout > 0 or model.input_dropout > 0:  # otherwise the training pass is the evaluation pass
        logits = model.apply({"params": state.params, **state.constants}, task.graph, task.x)
    metrics = _metrics(task, logits)
    failed = ~(jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradients)))

    better = _better(metrics, state.best.metrics) & ~failed
    best = _select(better, Best(state.params, metrics, state.step), state.best)
    waited = state.step - best.step
    stopped = failed | ((waited >= patience) if patience else jnp.bool_(False))

    updates, optimiser = _optimiser(hyper).update(gradients, state.optimiser, state.params)
    updated = (optax.apply_updates(state.params, updates), optimiser)
    params, optimiser = _select(~stopped, updated, (state.params, state.optimiser))
    after = state._replace(
        params=params, optimiser=optimiser, best=best, step=state.step + 1, stopped=stopped, failed=failed
    )
    return after, metrics


def _metrics(task: Task, logits: Array) -> Metrics:
    scores = task.scores(logits)
    return Metrics(task.loss(logits), scores.train, scores.val, scores.test, scores.val_loss)


def _better(new: Metrics, old: Metrics) -> Array:
    tie = new.val_score == old.val_score
    return (new.val_score > old.val_score) | (tie & (new.val_loss < old.val_loss))


def _select(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(partial(jnp.where, condition), yes, no)


def _runs(one_by_one: bool, function: Callable, arguments: Any) -> Any:
    return jax.lax.map(lambda a: function(*a), arguments) if one_by_one else jax.vmap(function)(*arguments)


@partial(jax.jit, static_argnums=(0, 4))
def _start(model: DeepGNN, task: Task, keys, hypers, one_by_one: bool) -> TrainState:
    return _runs(one_by_one, lambda key, hyper: _init(model, task, key, hyper), (keys, hypers))


@partial(jax.jit, static_argnums=(0, 1, 6), donate_argnums=5)
def _advance(model, patience, task, total, hypers, states, one_by_one: bool):
    """_CHUNK steps of every run, those after step `total` without effect: one program for any number of steps."""
    run = partial(_scan, model, patience, task, total, length=_CHUNK)
    return _runs(one_by_one, run, (hypers, states))


def _scan(model, patience, task, total, hyper: Hyper, state: TrainState, *, length: int) -> tuple[TrainState, Metrics]:
    """`length` steps of one run, without effect once it has stopped or is at step `total`."""
    nothing = Metrics(*(jnp.float32(jnp.nan),) * len(Metrics._fields))

    def step(state, _):
        # One run after another, a step without effect costs nothing; side by side, `cond` becomes a selection.
        proceed = partial(_step, model, patience, task, hyper)
        return jax.lax.cond(state.stopped | (state.step >= total), lambda s: (s, nothing), proceed, state)

    return jax.lax.scan(step, state, length=length)


@partial(jax.jit, static_argnums=(0, 3))
def _evaluate(model: DeepGNN, task: Task, states: TrainState, one_by_one: bool) -> Metrics:
    def run(params, constants):
        return _metrics(task, model.apply({"params": params, **constants}, task.graph, task.x))

    return _runs(one_by_one, run, (states.params, states.constants))


def _drive(model, config: TrainConfig, task, hypers, keys, *, one_by_one: bool, log: "_Log", progress):
    states = _start(model, task, keys, hypers, one_by_one)
    initial = jax.tree.map(jnp.copy, states.params)  # `states` is donated to the first steps
    history = []
    for done in range(0, config.steps, _CHUNK):
        states, metrics = _advance(model, config.patience, task, config.steps, hypers, states, one_by_one)
        history.append(jax.tree.map(lambda m, left=config.steps - done: np.asarray(m)[:, :left], metrics))
        log.append(done, history[-1])
        if progress is not None:
            progress(min(done + _CHUNK, config.steps))
        if np.asarray(states.stopped).all():
            break
    joined = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *history)
    return initial, states, joined


def _results(
    model: DeepGNN, task: Task, initial: Any, states: TrainState, history: Metrics, *, one_by_one: bool
) -> TrainResult:
    final = jax.tree.map(np.asarray, _evaluate(model, task, states, one_by_one))
    best = states.best
    # The last update is evaluated here; it counts when it is the best.
    better = np.asarray(_better(final, best.metrics)) & ~np.asarray(states.stopped) & np.isfinite(final.train_loss)
    choose = jax.vmap(_select)
    best = choose(better, Best(states.params, Metrics(*map(jnp.asarray, final)), states.step), best)
    return TrainResult(
        score=np.asarray(best.metrics.test_score),
        val_score=np.asarray(best.metrics.val_score),
        train_loss=final.train_loss,
        history=history,
        params={"params": best.params, **states.constants},
        final_params={"params": states.params, **states.constants},
        initial_params={"params": initial, **states.constants},
        best_step=np.asarray(best.step),
        failed=np.asarray(states.failed) | ~np.isfinite(final.train_loss),
    )


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


class _Log:
    """config.json and history.jsonl of a run's folder; nothing without a folder."""

    def __init__(self, out: Path | str | None, config: dict[str, Any]):
        self._file: Path | None = None
        if out is not None:
            folder = writable_folder(Path(out))
            config = config | {"train": asdict(config["train"])}
            write_json(folder / "config.json", config | environment())
            self._file = folder / "history.jsonl"
            self._file.write_text("")

    def append(self, done: int, metrics: Metrics) -> None:
        if self._file is None:
            return
        columns = {name: np.asarray(values) for name, values in metrics._asdict().items()}
        lines = []
        for i in range(next(iter(columns.values())).shape[1]):
            numbers = {k: [float(v) if np.isfinite(v) else None for v in c[:, i]] for k, c in columns.items()}
            lines.append(json.dumps({"step": done + i} | numbers))
        with self._file.open("a") as file:
            file.write("\n".join(lines) + "\n")

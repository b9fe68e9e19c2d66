"""Training over many seeds in one compiled program.

`make_train` gives the pure function train(key) of one run; `train` and `sweep` drive many of them, over seeds and
over numeric options, a few steps of all runs at a time, and go on where they were interrupted.
"""

import itertools
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgnn.host import interrupts
from jaxgnn.host.arrays import Array, unshared
from jaxgnn.host.occupied import occupied
from jaxgnn.host.options import check_flag, check_known, check_seed, check_whole
from jaxgnn.host.precision import REPEATABLE, debugs_numbers, nan_is_a_value
from jaxgnn.host.program import as_traced, digest, is_value
from jaxgnn.network.adapters import as_network
from jaxgnn.network.foreign import Network
from jaxgnn.network.model import NUMBERS, SCALED, DeepGNN
from jaxgnn.tasks.task import Metrics, Task
from jaxgnn.training import run, scale, warm
from jaxgnn.training.depth_memory import checked_model, runs_at_once
from jaxgnn.training.folder import NoFolder, RunFolder, restored
from jaxgnn.training.optimisers import Hyper, TrainConfig
from jaxgnn.training.recorder import Record, Recorder, check_record_every
from jaxgnn.training.result import FeatureRule, Origin, with_numbers
from jaxgnn.training.result import SweepPoint as SweepPoint
from jaxgnn.training.result import TrainResult as TrainResult
from jaxgnn.training.run import TrainState

Batching = Literal["auto", "map", "vmap"]
STEPS_AT_ONCE = 10  # in one compiled loop: progress, history, checkpoints and Ctrl-C wait for no more than this


def make_train(model: Any, task: Task, config: TrainConfig) -> Callable[..., tuple[TrainState, Metrics]]:
    """The pure function train(key, hyper=...) -> (final TrainState, Metrics [steps]) of one run, to jit or vmap."""

    model = as_network(model, task.graph, task.x)

    def train(key: Array, hyper: Hyper | None = None) -> tuple[TrainState, Metrics]:
        hyper = default_hyper(model, config) if hyper is None else hyper
        state = run.start(model, config, task, key, hyper)
        return run.steps(model, config, task, config.steps, hyper, state, length=config.steps)

    return train


def default_hyper(model: DeepGNN, config: TrainConfig) -> Hyper:
    """The numeric options as the model and the config say."""
    values = asdict(config) | model.numbers()
    return Hyper(*(jnp.float32(values[name]) for name in Hyper._fields))


def train(
    model: Any,
    task: Task,
    *,
    init: TrainResult | Mapping[str, Any] | None = None,
    seeds: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    batching: Batching = "auto",
    progress: Callable[[int], None] | None = None,
    tensorboard: bool = False,
    record_every: int | None = None,
    mesh: Mesh | None = None,
    continue_: bool = False,
    fresh: bool = False,
    **options: Any,
) -> TrainResult:
    """Trains `seeds` runs of a model in one compiled program.

    Args:
      init: what to start from: a result, each of its runs from its last step (those of `.seed` and `.best`: all runs
        from that one), or parameters, one run's or with a leading seed axis; result.params are the best ones. The
        optimiser starts anew, unless it is the result of the run in `out`: then that goes on as by `continue_`. By
        default every run draws its own.
      seeds: number of runs, 10 by default, or as many as `init` has; run i uses fold_in(key(seed), i), so it does not
        depend on how many there are.
      out: a folder for config.json, history.jsonl (one line a step, written while it runs) and checkpoints: the same
        call goes on from the last one, to the same bits on a CPU.
      batching: "vmap" runs the seeds side by side, "map" one after another in the same program; "auto" is "map"
        on a CPU and "vmap" elsewhere.
      progress: called with the number of steps done, at the start (0, or where the run goes on) and as it proceeds.
      tensorboard: write the history into `out`/tensorboard as well (pip install 'jaxgnn[tensorboard]').
      record_every: sample norm and mu of every layer's features, feature gradients and backward errors, and the norms
        of the weight gradients, every so many steps, a multiple of 10: the result's `record`. On a mesh these samples
        are taken by one device.
      mesh: devices from `jaxgnn.scale.mesh`: the runs share out its "seeds", and the nodes of the task's graph its
        "nodes". The numbers are the same up to rounding (with dropout and nodes > 1: other draws), and a folder can be
        continued on another mesh or none. The result is on the host. Without a mesh, several CPU devices
        (`jaxgnn.use_cores`) share out the runs, as many at a time as memory allows: the same bits for any number.
      continue_: the run in `out` goes on with other steps, learning_rate, weight_decay, l2, patience or
        evaluate_every: a new leg of it, optimiser and history kept; runs that had stopped stay so. `steps` are those
        of the run in all, or, where it has done as many, as many more. The same call again goes on with that leg.
      fresh: a run that is in `out` is removed first.
      options: fields of TrainConfig.

    Raises:
      ValueError: an option that is not known or out of its range, an `init` of another network, a task or a model that
        the mesh cannot partition, a folder that cannot be written to or that holds a run with other options, data,
        versions or kind of device.
    """
    (point,) = sweep(
        model,
        task,
        grid={},
        init=init,
        seeds=seeds,
        seed=seed,
        out=out,
        batching=batching,
        progress=progress,
        tensorboard=tensorboard,
        record_every=record_every,
        mesh=mesh,
        continue_=continue_,
        fresh=fresh,
        **options,
    )
    return point.result


def sweep(
    model: Any,
    task: Task,
    *,
    grid: Mapping[str, Sequence[float]],
    init: TrainResult | Mapping[str, Any] | None = None,
    seeds: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    batching: Batching = "auto",
    progress: Callable[[int], None] | None = None,
    tensorboard: bool = False,
    record_every: int | None = None,
    mesh: Mesh | None = None,
    continue_: bool = False,
    fresh: bool = False,
    **options: Any,
) -> list[SweepPoint]:
    """Trains every combination of the grid's values over all seeds in one compiled program.

    grid: values by name, of "learning_rate", "weight_decay", "l2", "bound_c", "residual_scale" and "modulus" (of a
    GNN-SSM's Lambda). `init` is of one run or of every seed, for all points. The rest is as for `train`.
    """
    seeds = warm.number_of_seeds(seeds, init)
    model = as_network(model, task.graph, task.x)
    config = checked(model, grid, seeds, batching, options)
    check_seed("seed", seed)
    for name, flag in (("tensorboard", tensorboard), ("continue_", continue_), ("fresh", fresh)):
        check_flag(name, flag)
    if continue_ and out is not None and not (Path(out) / "config.json").exists():
        raise ValueError(f"{out} holds no run to continue: without continue_ (--continue) one is begun")
    if (continue_ or fresh) and (out is None or (continue_ and fresh)):
        raise ValueError("continue_ and fresh are of a run in a folder, and one of them: out= names it")
    scale.check_partitionable(model, task, mesh)
    check_record_every(record_every, STEPS_AT_ONCE)
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    one_by_one = jax.default_backend() == "cpu" if batching == "auto" else batching == "map"
    if mesh is None:
        count = seeds * len(points)
        known = isinstance(model, DeepGNN)  # of another network it is not known what memory it needs
        if known:
            model = checked_model(model, task.graph, task.x, config, seeds=count, side_by_side=not one_by_one)
        if one_by_one and (cores := scale.idle_devices()) > 1:
            wanted = {"runs": count, "devices": cores}
            at_once = runs_at_once(model, task.graph, task.x, config, **wanted) if known else min(wanted.values())
            mesh = scale.mesh(seeds=at_once) if at_once > 1 else None
    hyper = default_hyper(model, config)
    hypers = [hyper._replace(**{k: jnp.float32(v) for k, v in p.items()}) for p in points for _ in range(seeds)]
    keys = [jax.random.fold_in(jax.random.key(seed), i) for _ in points for i in range(seeds)]
    runs = _Runs(model, config, task, _stacked(hypers), jnp.stack(keys), one_by_one, record_every, mesh, init, seeds)
    values = {name: [float(v) for v in grid[name]] for name in grid}
    described = {"train": asdict(config), "grid": values, "seeds": seeds, "seed": seed, "model": repr(model)}
    described["batching"] = "map" if one_by_one else "vmap"
    if record_every is not None:
        described["record_every"] = record_every
    if (rule := getattr(task, "feature_rule", None)) is not None:
        described["features"] = rule
    if out is not None and not is_value(model):  # a name does not say what code of one's own computes
        described["code"] = digest(partial(run.gradient, model), task, keys[0])
    with ExitStack() as stack, interrupts.deferred() as stop:
        folder = None
        if out is not None:
            of_first = scale.by_first(
                lambda: RunFolder(
                    stack.enter_context(occupied(Path(out))),
                    described,
                    task,
                    tensorboard=tensorboard,
                    proceed=continue_,
                    fresh=fresh,
                    init=init,
                )
            )
            total = scale.from_first(np.asarray(config.steps if of_first is None else of_first.steps))
            folder = NoFolder() if of_first is None else of_first
            if of_first is not None and of_first.begins_leg and "cosine" in config.schedule:
                schedule = f"schedule={config.schedule!r}"
                warnings.warn(f"{schedule} depends on the number of steps: it goes on as that of {total}", stacklevel=3)
            config = replace(config, steps=int(total))
            runs = runs._replace(config=config, init=init if of_first is None else of_first.init)
        debugged = debugs_numbers()
        stack.enter_context(nan_is_a_value())  # of steps not taken; a step that fails is looked for here
        stack.enter_context(runs.code())
        initial, states, history, record = runs.drive(folder, progress, stop, debugged=debugged)
        results = runs.results(initial, states, history)
        slices = [slice(i * seeds, (i + 1) * seeds) for i in range(len(points))]
        split = [jax.tree.map(operator.itemgetter(of_point), results) for of_point in slices]
        if record is not None:
            split = [r._replace(record=record.of_runs(of_point)) for r, of_point in zip(split, slices, strict=True)]
        found = [
            SweepPoint(point, result._replace(origin=origin_of(point, model, config, task, seed)))
            for point, result in zip(points, split, strict=True)
        ]
        if isinstance(folder, RunFolder) and folder.initial:
            pairs = zip(found, folder.initial, strict=True)
            found = [p._replace(result=p.result._replace(initial_params=params)) for p, params in pairs]
        if folder is not None:
            folder.write_results([point.result for point in found])
    return found


def origin_of(point: dict[str, float], model: DeepGNN, config: TrainConfig, task: Task, seed: int) -> Origin:
    """What the result of a grid point is of."""
    trained = {name: value for name, value in point.items() if name in asdict(config)}
    config = replace(config, **trained)
    return Origin(
        with_numbers(model, point), config, bool(task.maximise), seed, {k: float(v) for k, v in point.items()}
    )


def checked(model: Any, grid: Mapping, seeds: int, batching: str, options: Mapping) -> TrainConfig:
    """The TrainConfig of a sweep's options. Raises ValueError for what is not known or out of its range."""
    if not isinstance(model, DeepGNN | Network):
        raise ValueError(f"model={model!r}: a DeepGNN is needed, or a network of another library")
    if isinstance(model, Network) and (same := model.drawn_before()) and seeds > 1:
        needed = "a function key -> module draws every seed its own"
        raise ValueError(f"seeds={seeds}: {same} has weights already, the same for all: {needed}")
    if not isinstance(grid, Mapping):
        raise ValueError(f"grid={grid!r}: values by name are needed, for example {{'bound_c': [0.5, 1.0]}}")
    for name in grid:
        if name not in Hyper._fields:
            raise ValueError(f"grid option {name!r} is not known: allowed are {', '.join(Hyper._fields)}")
    known = [field.name for field in fields(TrainConfig)]
    for name in options:
        if name not in known:
            raise ValueError(f"option {name!r} is not known: allowed are {', '.join(known)}")
    check_whole("seeds", seeds, least=1)
    check_known("batching", batching, get_args(Batching))
    for name, values in grid.items():
        if name in NUMBERS and name not in model.used_numbers():
            needs = {"bound_c": "a bound", "modulus": 'residual="ssm"'}.get(name, f"one of {', '.join(SCALED)}")
            raise ValueError(f"grid option {name!r} changes nothing in this network: it needs {needs}")
        if isinstance(values, str) or np.ndim(values) != 1:
            raise ValueError(f"grid option {name!r} has the values {values!r}: a list of numbers is needed")
        if not len(values):
            raise ValueError(f"grid option {name!r} has no values: at least one is needed")
        for value in values:  # made only to be validated
            if name == "modulus":
                _ = replace(model.ssm, modulus=value)
            else:
                _ = TrainConfig(**{**options, name: value}) if name in known else model.clone(**{name: value})
    return TrainConfig(**options)


class _Runs(NamedTuple):
    """All runs of a sweep; `hypers` and `keys` have a leading axis of runs."""

    model: DeepGNN
    config: TrainConfig
    task: Task
    hypers: Hyper
    keys: Array
    one_by_one: bool
    record_every: int | None
    mesh: Mesh | None
    init: Any
    seeds: int

    def drive(
        self, folder: "RunFolder | NoFolder | None", progress, stop: interrupts.Stop, *, debugged: bool
    ) -> tuple[Any, Any, Metrics, Record | None]:
        """The states before the first step and after the last, the history [runs, steps done], and the record.

        Raises KeyboardInterrupt, after a checkpoint, where any process is asked to stop, and where it is `debugged`
        FloatingPointError when a run fails.
        """
        program, place = self.config.without_numbers(), scale.Runs(self.mesh, self.keys.shape[0])
        task, keys, hypers = self._placed(place)
        states = _start(self.model, program, task, keys, hypers, self.one_by_one, self.mesh)
        if self.init is not None:
            states = warm.started_from(self.init, states, self.seeds, place)
        # `states` is donated to the first steps; of the first only this is looked at again.
        initial = place.get(jax.tree.map(jnp.copy, states._replace(optimiser=None, best=None)))
        shape = (place.count, self.config.steps)
        history = Metrics(*(np.full(shape, np.nan, np.float32) for _ in Metrics._fields))
        done, recorder = 0, self._recorder(initial)

        def kept(states: TrainState) -> tuple[Any, ...]:
            return (states, history) if recorder is None else (states, history, recorder.samples)

        if folder is not None and (found := restored(folder, kept(place.get(states)))) is not None:
            done, (states, history, *samples) = found
            states = place.put(states)
            if recorder is not None:
                recorder.samples = samples[0]
        elif recorder is not None:
            recorder.take(0, initial)
        if progress is not None:
            progress(done)
        if scale.agreed(stop.wanted):
            raise KeyboardInterrupt
        stopped = np.asarray(place.get(states.stopped)).all()
        while done < self.config.steps and not stopped:
            left = min(STEPS_AT_ONCE - done % STEPS_AT_ONCE, self.config.steps - done)
            states, metrics = _advance(
                self.model, program, task, done + left, hypers, states, self.one_by_one, self.mesh
            )
            for whole, part in zip(history, place.get(metrics), strict=True):
                whole[:, done : done + left] = np.asarray(part)[:, :left]
            stopped = np.asarray(place.get(states.stopped)).all()
            if recorder is not None:
                recorder.take(done + left, place.get(states))
            stopping = scale.agreed(stop.wanted)
            if folder is not None:
                folder.append(done, Metrics(*(m[:, done : done + left] for m in history)))
                at_once = done + left == self.config.steps or bool(stopped) or stopping
                if scale.agreed(at_once or folder.due()):
                    folder.save(done + left, kept(place.get(states)), at_once=at_once)
            done += left
            if progress is not None:
                progress(done)
            if stopping:
                raise KeyboardInterrupt
            if debugged:
                _require_finite(np.asarray(place.get(states.failed)), done)
        record = None if recorder is None else recorder.record(done)
        return initial, states, Metrics(*(m[:, :done] for m in history)), record

    def code(self) -> AbstractContextManager:
        """A context that programs are compiled anew in where a model's own code computes something else than before."""
        if is_value(self.model):
            return nullcontext()
        program = self.config.without_numbers()

        def once(task, key, hyper):
            state = run.start(self.model, program, task, key, hyper)
            return run.steps(self.model, program, task, 1, hyper, state, length=1)

        return as_traced(once, self.task, *jax.tree.map(lambda a: a[0], (self.keys, self.hypers)))

    def _placed(self, place: scale.Runs) -> tuple[Task, Array, Hyper]:
        task = unshared(self.task) if self.mesh is None else scale.spread(self.task, self.mesh)
        return task, place.put(self.keys), place.put(self.hypers)

    def _recorder(self, states: TrainState) -> Recorder | None:
        if self.record_every is None:
            return None
        every, total = self.record_every, self.config.steps
        return Recorder(self.model, self.task, every=every, total=total, states=states, one_by_one=self.one_by_one)

    def results(self, initial: TrainState, states: TrainState, history: Metrics) -> TrainResult:
        place = scale.Runs(self.mesh, self.keys.shape[0])
        task, *_ = self._placed(place)
        rule = getattr(task, "feature_rule", None)
        final = place.get(
            _evaluate(self.model, self.config.without_numbers(), task, states, self.one_by_one, self.mesh)
        )
        final, states = jax.tree.map(np.asarray, final), place.get(states)
        best = states.best
        # The last update is evaluated here; it counts when it is the best.
        better = np.asarray(run.better(self.task, final, best.metrics)) & ~np.asarray(states.stopped)
        better &= np.isfinite(final.train_loss)
        last = run.Best(states.params, states.variables, Metrics(*map(jnp.asarray, final)), states.step)
        best = jax.vmap(run.select)(better, last, best)
        return TrainResult(
            score=np.asarray(best.metrics.test_score),
            val_score=np.where(np.isfinite(best.metrics.val_score), best.metrics.val_score, np.float32(np.nan)),
            train_loss=final.train_loss,
            history=history,
            params={"params": best.params, **best.variables},
            final_params={"params": states.params, **states.variables},
            initial_params={"params": initial.params, **initial.variables},
            best_step=np.asarray(best.step),
            failed=np.asarray(states.failed) | ~np.isfinite(final.train_loss),
            feature_rule=None if rule is None else FeatureRule(rule),
        )


@partial(jax.jit, static_argnums=(0, 1, 5, 6), compiler_options=REPEATABLE)
def _start(model: DeepGNN, config: TrainConfig, task: Task, keys, hypers, one_by_one: bool, mesh) -> TrainState:
    def start(task, key, hyper):
        return run.start(model, config, task, key, hyper)

    return scale.Runs(mesh, keys.shape[0]).each(start, task, (keys, hypers), one_by_one=one_by_one)


@partial(jax.jit, static_argnums=(0, 1, 6, 7), donate_argnums=5, compiler_options=REPEATABLE)
def _advance(model, config, task, total, hypers, states, one_by_one: bool, mesh):
    """So many steps of every run, those after step `total` without effect: one program for any number of steps."""

    place = scale.Runs(mesh, states.step.size)

    def steps(given, hyper, state):
        task, total = given
        options = {"length": STEPS_AT_ONCE, "branches": place.may_branch(one_by_one=one_by_one)}
        return run.steps(model, config, task, total, hyper, state, **options)

    return place.each(steps, (task, total), (hypers, states), one_by_one=one_by_one)


@partial(jax.jit, static_argnums=(0, 1, 4, 5), compiler_options=REPEATABLE)
def _evaluate(model, config: TrainConfig, task: Task, states: TrainState, one_by_one: bool, mesh) -> Metrics:
    def evaluate(task, params, variables):
        with config.products():
            return run.evaluate(model, task, params, variables)

    place = scale.Runs(mesh, states.step.size)
    return place.each(evaluate, task, (states.params, states.variables), one_by_one=one_by_one)


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _require_finite(failed: np.ndarray, done: int) -> None:
    """What jax_debug_nans asks for, of a program in which NaN also stands for steps that were not taken."""
    if failed.any():
        run = int(np.argmax(failed))
        raise FloatingPointError(f"run {run}: a loss or a gradient is not finite within the first {done} steps")

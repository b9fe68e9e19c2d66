"""The runs of a sweep side by side or one after another, a few steps of all at a time: kept, recorded, interrupted."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgnn.host import interrupts
from jaxgnn.host.arrays import Array, unshared
from jaxgnn.host.precision import REPEATABLE
from jaxgnn.host.program import as_traced, digest, is_value
from jaxgnn.network.model import DeepGNN
from jaxgnn.tasks.task import Metrics, Task
from jaxgnn.training import run, scale, warm
from jaxgnn.training.folder import NoFolder, RunFolder, restored
from jaxgnn.training.loggers import log_steps
from jaxgnn.training.optimisers import Hyper, TrainConfig
from jaxgnn.training.recorder import Record, Recorder
from jaxgnn.training.result import FeatureRule, TrainResult
from jaxgnn.training.run import TrainState

STEPS_AT_ONCE = 10  # in one compiled loop: progress, history, checkpoints and Ctrl-C wait for no more than this


class Drive(NamedTuple):
    """All runs of a sweep; `hypers` and `keys` have a leading axis of runs."""

    model: DeepGNN
    config: TrainConfig
    task: Task
    hypers: Hyper
    keys: Array
    one_by_one: bool
    record_every: int | None
    record_ranks: bool
    mesh: Mesh | None
    init: Any
    seeds: int

    def drive(
        self, folder: "RunFolder | NoFolder | None", progress, log, stop: interrupts.Stop, *, debugged: bool
    ) -> tuple[Any, Any, Metrics, Record | None]:
        """The states before the first step and after the last, the history [runs, steps done], and the record.

        Raises KeyboardInterrupt, after a checkpoint, where any process is asked to stop, and where it is `debugged`
        FloatingPointError when a run fails.
        """
        program, place = self.config.without_numbers(), scale.Runs(self.mesh, self.keys.shape[0])
        task, keys, hypers = self._placed(place)
        states = place.settled(start(self.model, program, task, keys, hypers, self.one_by_one, self.mesh))
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
            states, metrics = advance(
                self.model, program, task, np.int32(done + left), hypers, states, self.one_by_one, self.mesh
            )
            states = place.settled(states)
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
            if log is not None and scale.is_first():
                log_steps(log, done, Metrics(*(m[:, done : done + left] for m in history)), (-1, self.seeds))
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
        how = {"one_by_one": self.one_by_one, "with_ranks": self.record_ranks}
        return Recorder(self.model, self.task, every=every, total=total, states=states, **how)

    def results(self, initial: TrainState, states: TrainState, history: Metrics) -> TrainResult:
        """What came of the runs, the update after the last step evaluated as well."""
        place = scale.Runs(self.mesh, self.keys.shape[0])
        task, *_ = self._placed(place)
        rule = getattr(task, "feature_rule", None)
        final = place.get(evaluate(self.model, self.config.without_numbers(), task, states, self.one_by_one, self.mesh))
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


def fingerprint(model: Any, task: Task, config: TrainConfig, hyper: Hyper) -> str:
    """SHA-256 of what the training of a run computes: its start and first step, with the task's numbers.

    The same for code that computes the same; of one version of JAX.
    """

    def once(key, hyper):
        state = run.start(model, config, task, key, hyper)
        return run.steps(model, config, task, 1, hyper, state, length=1)

    return digest(once, jax.random.key(0), hyper)


@partial(jax.jit, static_argnums=(0, 1, 5, 6), compiler_options=REPEATABLE)
def start(model: DeepGNN, config: TrainConfig, task: Task, keys, hypers, one_by_one: bool, mesh) -> TrainState:
    """The states of all runs before their first step."""

    def one(task, key, hyper):
        return run.start(model, config, task, key, hyper)

    return scale.Runs(mesh, keys.shape[0]).each(one, task, (keys, hypers), one_by_one=one_by_one)


@partial(jax.jit, static_argnums=(0, 1, 6, 7), donate_argnums=5, compiler_options=REPEATABLE)
def advance(model, config, task, total, hypers, states, one_by_one: bool, mesh):
    """So many steps of every run, those after step `total` without effect: one program for any number of steps."""

    place = scale.Runs(mesh, states.step.size)

    def steps(given, hyper, state):
        task, total = given
        options = {"length": STEPS_AT_ONCE, "branches": place.may_branch(one_by_one=one_by_one)}
        return run.steps(model, config, task, total, hyper, state, **options)

    return place.each(steps, (task, total), (hypers, states), one_by_one=one_by_one)


@partial(jax.jit, static_argnums=(0, 1, 4, 5), compiler_options=REPEATABLE)
def evaluate(model, config: TrainConfig, task: Task, states: TrainState, one_by_one: bool, mesh) -> Metrics:
    """The metrics of all runs as they are."""

    def one(task, params, variables):
        with config.products():
            return run.evaluate(model, task, params, variables)

    place = scale.Runs(mesh, states.step.size)
    return place.each(one, task, (states.params, states.variables), one_by_one=one_by_one)


def _require_finite(failed: np.ndarray, done: int) -> None:
    """What jax_debug_nans asks for, of a program in which NaN also stands for steps that were not taken."""
    if failed.any():
        run = int(np.argmax(failed))
        raise FloatingPointError(f"run {run}: a loss or a gradient is not finite within the first {done} steps")

"""Training over many seeds in one compiled program.

`make_train` gives the pure function train(key) of one run; `train` and `sweep` drive many of them, over seeds and
over numeric options, a few steps of all runs at a time, and go on where they were interrupted.
"""

import itertools
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgnn.host import interrupts
from jaxgnn.host.arrays import Array
from jaxgnn.host.occupied import occupied
from jaxgnn.host.options import check_flag, check_known, check_seed, check_whole
from jaxgnn.host.precision import debugs_numbers, nan_is_a_value
from jaxgnn.host.program import digest, is_value
from jaxgnn.host.spelling import meant
from jaxgnn.network.adapters import as_network
from jaxgnn.network.foreign import Network
from jaxgnn.network.model import NUMBERS, SCALED, DeepGNN
from jaxgnn.tasks.task import Metrics, Task
from jaxgnn.training import run, scale, warm
from jaxgnn.training.depth_memory import checked_model, runs_at_once
from jaxgnn.training.drive import STEPS_AT_ONCE, Drive
from jaxgnn.training.folder import NoFolder, RunFolder
from jaxgnn.training.loggers import Log, check_log
from jaxgnn.training.optimisers import Hyper, TrainConfig
from jaxgnn.training.own_task import check_parts, check_shapes
from jaxgnn.training.recorder import check_record_every, check_record_ranks
from jaxgnn.training.result import Origin, with_numbers
from jaxgnn.training.result import SweepPoint as SweepPoint
from jaxgnn.training.result import TrainResult as TrainResult
from jaxgnn.training.run import TrainState

Batching = Literal["auto", "map", "vmap"]


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
    log: Log | None = None,
    tensorboard: bool = False,
    record_every: int | None = None,
    record_ranks: bool = False,
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
      log: called as log(step, metrics by name, each [seeds]) for every step, a few steps after it was taken, by the
        host between compiled loops; NaN where a run was not evaluated. What a folder holds already is not told again.
      tensorboard: write the history into `out`/tensorboard as well (pip install 'jaxgnn[tensorboard]').
      record_every: sample norm and mu of every layer's features, feature gradients and backward errors, and the norms
        of the weight gradients, every so many steps, a multiple of 10: the result's `record`. On a mesh these samples
        are taken by one device.
      record_ranks: with `record_every`, their effective and stable ranks as well: every layer's singular values.
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
        log=log if not callable(log) else lambda step, metrics: log(step, {n: m[0] for n, m in metrics.items()}),
        tensorboard=tensorboard,
        record_every=record_every,
        record_ranks=record_ranks,
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
    log: Log | None = None,
    tensorboard: bool = False,
    record_every: int | None = None,
    record_ranks: bool = False,
    mesh: Mesh | None = None,
    continue_: bool = False,
    fresh: bool = False,
    notes: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[SweepPoint]:
    """Trains every combination of the grid's values over all seeds in one compiled program.

    grid: values by name, of "learning_rate", "weight_decay", "l2", "bound_c", "residual_scale" and "modulus" (of a
    GNN-SSM's Lambda). `init` is of one run or of every seed, for all points. `log` gets
    [points, seeds]. `notes` stand in config.json and make no other run. The rest is as for `train`.
    """
    seeds = warm.number_of_seeds(seeds, init)
    check_parts(task)
    model = as_network(model, task.graph, task.x)
    config = checked(model, grid, seeds, batching, options)
    check_shapes(model, task)
    check_seed("seed", seed)
    check_log(log)
    for name, flag in (("tensorboard", tensorboard), ("continue_", continue_), ("fresh", fresh)):
        check_flag(name, flag)
    if continue_ and out is not None and not (Path(out) / "config.json").exists():
        raise ValueError(f"{out} holds no run to continue: without continue_ (--continue) one is begun")
    if (continue_ or fresh) and (out is None or (continue_ and fresh)):
        raise ValueError("continue_ and fresh are of a run in a folder, and one of them: out= names it")
    scale.check_partitionable(model, task, mesh)
    check_record_every(record_every, STEPS_AT_ONCE)
    check_record_ranks(record_ranks, record_every)
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    one_by_one = jax.default_backend() == "cpu" if batching == "auto" else batching == "map"
    if mesh is None:
        model, mesh = _fitted(model, task, config, seeds * len(points), one_by_one=one_by_one)
    hyper = default_hyper(model, config)
    hypers = [hyper._replace(**{k: jnp.float32(v) for k, v in p.items()}) for p in points for _ in range(seeds)]
    keys = [jax.random.fold_in(jax.random.key(seed), i) for _ in points for i in range(seeds)]
    recorded = record_every, record_ranks
    runs = Drive(model, config, task, _stacked(hypers), jnp.stack(keys), one_by_one, *recorded, mesh, init, seeds)
    described = {} if out is None else _described(runs, grid, seed)
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
                    notes=notes,
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
        initial, states, history, record = runs.drive(folder, progress, log, stop, debugged=debugged)
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


def _fitted(model: Any, task: Task, config: TrainConfig, runs: int, *, one_by_one: bool) -> tuple[Any, Mesh | None]:
    """The model with the memory policy that fits, and a mesh of idle CPU devices, if there are any, to share out runs.

    Of a network that is not DeepGNN's it is not known what memory it needs.
    """
    known = isinstance(model, DeepGNN)
    if known:
        model = checked_model(model, task.graph, task.x, config, seeds=runs, side_by_side=not one_by_one)
    cores = scale.idle_devices() if one_by_one else 1
    if cores < 2:
        return model, None
    wanted = {"runs": runs, "devices": cores}
    at_once = runs_at_once(model, task.graph, task.x, config, **wanted) if known else min(wanted.values())
    return model, scale.mesh(seeds=at_once) if at_once > 1 else None


def _described(runs: Drive, grid: Mapping[str, Sequence[float]], seed: int) -> dict[str, Any]:
    """What a run's folder says of it, and must find again to go on."""
    found = {
        "train": asdict(runs.config),
        "grid": {name: [float(v) for v in grid[name]] for name in grid},
        "seeds": runs.seeds,
        "seed": seed,
        "model": repr(runs.model),
        "batching": "map" if runs.one_by_one else "vmap",
    }
    if runs.record_every is not None:
        found["record_every"] = runs.record_every
    if runs.record_ranks:
        found["record_ranks"] = True
    if (rule := getattr(runs.task, "feature_rule", None)) is not None:
        found["features"] = rule
    if not is_value(runs.model):  # a name does not say what code of one's own computes
        found["code"] = digest(partial(run.gradient, runs.model), runs.task, runs.keys[0])
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
            near = meant(name, Hyper._fields)
            raise ValueError(f"grid option {name!r} is not known{near} allowed are {', '.join(Hyper._fields)}")
    known = [field.name for field in fields(TrainConfig)]
    for name in options:
        if name not in known:
            raise ValueError(f"option {name!r} is not known{meant(name, known)} allowed are {', '.join(known)}")
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


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

"""What `jaxgnn train` does: one network on one data set over many seeds, and over a grid of numeric options."""

import contextlib
import hashlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import jax
import numpy as np
import tyro
from jax.sharding import Mesh

from jaxgnn.analysis.explained import of_training
from jaxgnn.commands import recipes, several
from jaxgnn.commands.options_file import save as save_options
from jaxgnn.commands.options_file import values_of
from jaxgnn.commands.setting import ModelConfig, label, named_values, network, start_on, summary
from jaxgnn.commands.task_setting import TaskConfig, fitted, measured, recorded, subject
from jaxgnn.graphs.graph import Graph
from jaxgnn.host import interrupts
from jaxgnn.host.occupied import occupied
from jaxgnn.host.options import check_flag, check_known, check_seed, check_texts, check_whole
from jaxgnn.host.storage import environment, writable_folder, write_arrays, write_json
from jaxgnn.jacobian import jacobian
from jaxgnn.layers import MLP
from jaxgnn.report.several import write_several
from jaxgnn.report.terminal import print_table, progress_bar
from jaxgnn.report.training import HEADER, headline, references, table, write_training
from jaxgnn.training import loggers, scale
from jaxgnn.training.drive import STEPS_AT_ONCE
from jaxgnn.training.loggers import Logger
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.recorder import check_record_every, check_record_ranks
from jaxgnn.training.result import with_numbers
from jaxgnn.training.train import Batching, SweepPoint, checked, sweep


@dataclass(frozen=True)
class RunConfig:
    """How often.

    Attributes:
      seeds: number of runs.
      seed: of all randomness.
      grid: options and their values, name=value,value,...: learning_rate, weight_decay, l2, bound_c, residual_scale,
        modulus: every combination is trained over all seeds, in one program; and layer, depth, width, for which
        `--depth 2,8` is short: each is a program and a folder of its own.
      layer_options: options of the layer, name=value,...: heads=8,attention_dropout=0.6 of gat, for example.
      batching: "vmap" runs the seeds side by side, "map" one after another; "auto" maps on a CPU.
      log: "tensorboard", "wandb" (Weights & Biases) or "mlflow": write the history there as well, while it runs.
      tensorboard: the same as log "tensorboard".
      record_every: sample every layer's features, gradients and errors every so many steps, a multiple of 10, into
        record.npz; 0 for never.
      record_ranks: and their effective and stable ranks.
    """

    seeds: int = 10
    seed: int = 0
    grid: tuple[str, ...] = ()
    layer_options: tuple[str, ...] = ()
    batching: Batching = "auto"
    log: Logger = "none"
    tensorboard: bool = False
    record_every: int = 0
    record_ranks: bool = False

    def __post_init__(self) -> None:
        check_whole("seeds", self.seeds, least=1)
        check_seed("seed", self.seed)
        for option in ("grid", "layer_options"):
            check_texts(option, getattr(self, option))
        check_known("batching", self.batching, get_args(Batching))
        check_known("log", self.log, get_args(Logger))
        check_flag("tensorboard", self.tensorboard)
        check_whole("record_every", self.record_every)
        check_record_every(self.record_every or None, STEPS_AT_ONCE)
        check_record_ranks(self.record_ranks, self.record_every or None)


_SHOWN = ("options", "score_mean", "score_std", "val_mean", "train_loss", "failed_seeds")


@dataclass(frozen=True)
class DevicesConfig:
    """On what.

    Attributes:
      cores: CPU cores, by default all physical ones: on a CPU so many runs are computed at a time where memory allows.
        The results are the same to the bit for any.
      mesh: devices, as seeds=4,nodes=2: the runs share out the first number of them, and the graph's nodes, for each of
        those, the second. By default a GPU or TPU is one device, and the CPU one for each of the cores.
      coordinator: address:port where process 0 of several processes listens; each is started with the same command but
        for its own `process`, and only process 0 writes files and prints results.
      processes: how many there are.
      process: the number of this one, 0 to processes - 1.
      heartbeat: seconds without a sign of life after which a process counts as lost, which ends the others.
    """

    cores: int | None = None
    mesh: str | None = None
    coordinator: str | None = None
    processes: int = 1
    process: int = 0
    heartbeat: int = 30

    def start(self) -> Mesh | None:
        """Joins the other processes, if there are any, and gives the mesh. Raises ValueError where it cannot be had."""
        sizes = None if self.mesh is None else scale.parse_mesh(self.mesh)
        if self.coordinator is None or self.cores is not None:
            start_on(self.cores)
        if self.coordinator is None:
            if (self.processes, self.process) != (1, 0):
                raise ValueError(f"processes={self.processes}, process={self.process}: they need a coordinator")
        else:
            if sizes is None:
                raise ValueError(f"coordinator={self.coordinator!r}: several processes need a mesh")
            numbers = (self.processes, self.process)
            scale.start_process(self.coordinator, *numbers, heartbeat=self.heartbeat, say=_say)
        return None if sizes is None else scale.mesh(**sizes)


class Training:
    """One call of `jaxgnn train`, in a folder that the same call goes on in.

    Raises ValueError for an unknown data set, layer or option, data that do not fit, or a folder that cannot be
    written to; before anything is trained. With several processes only the first has the folder.
    """

    def __init__(
        self,
        source: TaskConfig,
        model: Any,
        optimisation: TrainConfig,
        runs: RunConfig,
        out: Path,
        mesh: Mesh | None = None,
        *,
        continue_: bool = False,
        fresh: bool = False,
        notes: Mapping[str, Any] | None = None,
    ):
        self.leg = {"continue_": continue_, "fresh": fresh}
        self.notes = notes
        self.configs = {"data": source, "model": model, "train": optimisation, "runs": runs}
        self.optimisation, self.runs = optimisation, runs
        self.grid = {name: [_number(name, v) for v in values] for name, values in named_values(runs.grid).items()}
        # Made once without a data set, so that a wrong option is refused before anything is read.
        model = network(model, runs.layer_options)
        self.benchmark = source.benchmark(model.distances)
        self.task = source.problem(model.distances) if self.benchmark is None else self.benchmark.task
        self.model = fitted(model, self.task)
        _ = checked(self.model, self.grid, runs.seeds, runs.batching, asdict(optimisation))  # before a folder is made
        scale.check_partitionable(self.model, self.task, mesh)
        if runs.log != "none":
            loggers.module_of(runs.log)  # is there
        self.mesh = mesh
        self.out = writable_folder(out) if scale.is_first() else out

    def run(self, progress: Callable[[int], None] | None = None) -> list[SweepPoint]:
        """Trains every grid point over all seeds."""
        options = {name: value for config in self.configs.values() for name, value in values_of(config)}
        logger = self.runs.log if scale.is_first() else "none"
        with loggers.opened(logger, folder=self.out, options=options) as log:
            return sweep(
                self.model,
                self.task,
                grid=self.grid,
                seeds=self.runs.seeds,
                seed=self.runs.seed,
                out=self.out,
                batching=self.runs.batching,
                tensorboard=self.runs.tensorboard or self.runs.log == "tensorboard",
                record_every=self.runs.record_every or None,
                record_ranks=self.runs.record_ranks,
                mesh=self.mesh,
                progress=progress,
                log=log,
                notes=self.notes,
                **self.leg,
                **asdict(self.optimisation),
            )

    def layer_norms(self, point: SweepPoint) -> list[dict[str, Any]]:
        """||d X^(l+1) / d X^(l)||_2 of the first seed's first, middle and last layer, and the bound that holds for it.

        Measured at the features of this data set, before and after training, by block Lanczos in float32: lower
        bounds, with their residuals. `guaranteed` holds for any weights, `bound` for these weights at any
        features; each is None where there is none.
        """
        rows = []
        model = with_numbers(self.model, point.options)
        example = self.task if self.benchmark is None else self.benchmark.example
        for layer in sorted({0, model.blocks // 2, model.blocks - 1} - {-1}):
            row: dict[str, Any] = {"layer": layer}
            for state, params in (("initial", point.result.initial_params), ("trained", point.result.params)):
                first = jax.tree.map(lambda a: a[0], params)
                row[state] = _largest(*model.layer_fn(first, example.graph, example.x, layer=layer))
                row[state]["bound"] = _bound(model, first, example.graph, layer)
            rows.append(row | {"guaranteed": model.lipschitz(example.graph, layer=layer)})
        return rows

    def write_results(self, points: list[SweepPoint]) -> dict[str, Any]:
        """Writes results.json and returns what it holds: one row a grid point. Writes record.npz if asked for one."""
        rows = [self._row(point) for point in points]
        results = {"config": {name: asdict(config) for name, config in self.configs.items()}, "rows": rows}
        results |= {"constant_loss": self.task.constant_loss(), "maximise": self.task.maximise}
        results |= {"metric": self.task.metric}
        if self.benchmark is not None:
            results["benchmark"] = recorded(self.benchmark, self.configs["data"].task_options)
        results["chosen"] = _chosen(rows, self.task.maximise)
        results["layer_norms"] = self.layer_norms(points[results["chosen"]]) if self.model.blocks else []
        results |= {"parameters": self.model.size(self.task.graph, self.task.x)._asdict()} | environment()
        results |= {} if self.notes is None else {"notes": self.notes}
        write_json(self.out / "results.json", results)
        records = [point.result.record for point in points]
        arrays = [r.arrays(f"record/{i}") for i, r in enumerate(records) if r is not None]
        if arrays:
            write_arrays(self.out / "record.npz", {name: a for of_point in arrays for name, a in of_point.items()})
        return results

    def _row(self, point: SweepPoint) -> dict[str, Any]:
        result = point.result
        return {
            "options": point.options,
            "scores": result.score.tolist(),
            "score_mean": float(np.mean(result.score)),
            "score_std": float(np.std(result.score)),
            "val_scores": result.val_score.tolist(),
            "val_mean": float(np.mean(result.val_score)),
            "val_std": float(np.std(result.val_score)),
            "train_loss": float(np.mean(result.train_loss)),
            "train_losses": result.train_loss.tolist(),
            "best_steps": result.best_step.tolist(),
            "failed_seeds": int(np.sum(result.failed)),
            **measured(self.benchmark, self.model, point),
        }


def _bound(model: Any, params: Any, graph: Graph, layer: int) -> float | None:
    """alpha_l + s_l ||P||_2: a bound of the block's Jacobian at any features; None where there is none."""
    try:
        found = model.dynamics(params)
    except (ValueError, np.linalg.LinAlgError):  # another layer, or weights that are not finite
        return None
    norm = 1.0 if model.layer in ("mlp", MLP) else graph.propagation.norm()
    return float(found.alphas[layer] + found.scales[layer] * norm)


def _largest(f: Callable, h: Any) -> dict[str, float | None]:
    """The largest singular value of a Jacobian and its residual; None where it cannot be taken."""
    try:
        found = jacobian(f, h).extremes(1, max_products=200)
    except (ValueError, MemoryError):
        return {"value": None, "residual": None}
    return {"value": float(found.values[0]), "residual": float(found.upper[0] - found.values[0])}


def _say(line: str) -> None:
    print(f"jaxgnn: {line}", file=sys.stderr, flush=True)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"grid option {name!r} has the value {text!r}: a number is needed") from None


def _chosen(rows: list[dict[str, Any]], maximise: bool) -> int:
    """The row with the best mean validation score; one that has none, because a seed failed at once, comes last."""
    means = np.asarray([row["val_mean"] for row in rows], float) * (1 if maximise else -1)
    return int(np.argmax(np.where(np.isnan(means), -np.inf, means)))


@dataclass(frozen=True)
class TrainCommand:
    """Train one network over many seeds, and over a grid of numeric options, in one compiled program.

    Writes index.html, results.json, config.json, history.jsonl (readable while it runs), figures/ and checkpoints/
    into the folder; of several layers, depths or widths (--depth 2,8,32 --layer gcn,gat) into a folder for each, and
    one page and results.json of all. The same command goes on where it was interrupted, to the same result.

    Attributes:
      recipe: kipf2017, velickovic2018, chen2020 or platonov2023: the paper's settings, where nothing else is said.
      model: the network.
      out: the folder; by default jaxgnn-train-DATASET-LAYER-DEPTH-SIX, six letters and digits that are those of the
        options.
      continue_: the run in `out` goes on as a new leg with other steps, learning rate, weight decay, l2, patience or
        evaluate-every, its history kept; steps are those in all or, where it has done as many, as many more.
      fresh: remove the run that is in the folder first.
      json: print a summary as the last line of standard output, as JSON.
    """

    source: tyro.conf.OmitArgPrefixes[TaskConfig] = field(default_factory=TaskConfig)
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = field(default_factory=ModelConfig)  # pyright: ignore[reportInvalidTypeForm]
    optimisation: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    runs: tyro.conf.OmitArgPrefixes[RunConfig] = field(default_factory=RunConfig)
    devices: tyro.conf.OmitArgPrefixes[DevicesConfig] = field(default_factory=DevicesConfig)
    recipe: str | None = None
    out: Path | None = None
    continue_: Annotated[bool, tyro.conf.arg(name="continue")] = False
    fresh: bool = False
    json: bool = False

    def _folder(self, found: Sequence[several.Combination]) -> Path:
        if self.continue_ and self.out is None:
            raise ValueError("--continue goes on with the run in a folder: --out FOLDER names it")
        if self.out is not None:
            if self.continue_ and not several.runs_there(self.out, found):
                raise ValueError(f"{self.out} holds no run to continue: without --continue one is begun")
            return self.out
        options = repr((self.source, self.model, self.optimisation, self.runs))
        which = hashlib.sha256(options.encode()).hexdigest()[:6]
        network = several.folder_label(self.model, self.runs)
        return Path(f"jaxgnn-train-{label(subject(self.source))}-{network}-{which}")

    def run(self, arguments: Sequence[str]) -> None:
        found = several.combinations(self.model, self.runs)
        folder, mesh = self._folder(found), self.devices.start()
        command, first = f"jaxgnn {shlex.join(arguments)}", scale.is_first()
        with contextlib.ExitStack() as stack:
            if found[0].options:
                scale.by_first(lambda: stack.enter_context(occupied(folder)))
            with progress_bar() if first else contextlib.nullcontext(_silent) as report:
                trained = [self._trained(one, folder, mesh, _part(report, found, one, self)) for one in found]
            if not first:
                waits = f"jaxgnn: process {self.devices.process} waits for process 0, which writes the page"
                print(waits, file=sys.stderr, flush=True)
                return
            written = [self._written(*one, command) for one in trained]
            results, page = written[0]
            if found[0].options:
                save_options(folder, "train", self)
                results = several.joined([one for one, _ in written], found, _chosen)
                write_json(folder / "results.json", results)
                page = write_several(folder, results, command, explain=of_training)
        print_table(HEADER, [*table(results), *references(results)])
        print(headline(results))
        counts = None if found[0].options else results["parameters"]  # each of several networks has its own
        if counts is not None:
            print(f"{counts['trainable']:,} parameters are trained, {counts['frozen']:,} frozen")
        print(f"page: {page}")
        if self.json:
            shown = [*_SHOWN, *(["folder"] if found[0].options else [])]
            rows = [{name: row[name] for name in shown} for row in results["rows"]]
            said = {"headline": headline(results), "rows": rows, "chosen": results["chosen"]}
            said |= {"references": results["benchmark"]["references"]} if "benchmark" in results else {}
            print(summary(page, folder, **said, **({} if counts is None else {"parameters": counts})))

    def _trained(
        self, one: several.Combination, folder: Path, mesh: Mesh | None, report: Callable[[int], None]
    ) -> tuple[several.Combination, Training, list[SweepPoint]]:
        """Trains one network over its grid and seeds, in its folder."""
        notes = None if self.recipe is None else {"recipe": recipes.described(self.recipe, "train", self)}
        leg = {"continue_": self.continue_ and bool(several.runs_there(folder, [one])), "fresh": self.fresh}
        training = Training(
            self.source, one.model, self.optimisation, one.runs, folder / one.name, mesh, notes=notes, **leg
        )
        kept = f"the same command goes on from {training.out / 'checkpoints'}"
        with contextlib.ExitStack() as stack:
            scale.by_first(lambda: stack.enter_context(occupied(training.out)))
            try:
                points = training.run(report)
            except KeyboardInterrupt:
                if scale.is_first():
                    save_options(folder, "train", self)
                raise KeyboardInterrupt(kept) from None
            except jax.errors.JaxRuntimeError as error:
                if not jax.distributed.is_initialized():
                    raise
                lost = f"another process of the run was lost; {kept}, started in all processes"
                raise interrupts.ProcessLost(lost) from error
        return one, training, points

    def _written(
        self, one: several.Combination, training: Training, points: list[SweepPoint], command: str
    ) -> tuple[dict[str, Any], Path]:
        """Writes a network's options, results and page into its folder."""
        with occupied(training.out):
            save_options(training.out, "train", replace(self, model=one.model, runs=one.runs))
            results = training.write_results(points)
            histories = [point.result.history for point in points]
            record = points[results["chosen"]].result.record
            return results, write_training(training.out, results, histories, command, record, explain=of_training)


def _part(report: Callable, found: Sequence[several.Combination], one: several.Combination, command: Any) -> Callable:
    """report(steps done) of one of the networks, as its part of all."""
    steps, before = command.optimisation.steps, found.index(one)

    def tell(done: int) -> None:
        of_one = max(done, steps)  # a continued run may have more
        label = " ".join([*([one.name] if one.options else []), "training" if done else "compiling"])
        report(label, before * of_one + done, len(found) * of_one)

    return tell


def _silent(*_: Any) -> None:
    pass

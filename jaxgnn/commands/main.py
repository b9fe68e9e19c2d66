"""The command line: parses and delegates.

Exit code 0 done, 1 a theorem's check failed, 2 bad input (one line on standard error), 3 another process of the run was
lost, 130 interrupted and 143 terminated (what was done is kept).
"""

import contextlib
import errno
import io
import json
import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import jax
import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxgnn import __version__
from jaxgnn.commands import check as checking
from jaxgnn.commands.check import CheckConfig
from jaxgnn.commands.probe import ProbeConfig, Probing
from jaxgnn.commands.spectrum import Spectrum, SpectrumConfig
from jaxgnn.commands.study import Study, StudyConfig
from jaxgnn.commands.train import DataConfig, DevicesConfig, ModelConfig, RunConfig, Training
from jaxgnn.data import DATASETS, describe, fetch
from jaxgnn.data.errors import DataError
from jaxgnn.evidence import reproduction as reproducing
from jaxgnn.experiments.bench import cost
from jaxgnn.experiments.bench.page import headline as headline_of_bench
from jaxgnn.experiments.bench.page import write_bench
from jaxgnn.experiments.bench.suite import HEADER as HEADER_OF_BENCH
from jaxgnn.experiments.bench.suite import BenchConfig, bench
from jaxgnn.experiments.bench.suite import table as table_of_bench
from jaxgnn.host import interrupts
from jaxgnn.host.occupied import occupied
from jaxgnn.host.precision import REPEATABLE
from jaxgnn.host.storage import as_json, write_json
from jaxgnn.report.depth_study import headline, write_study
from jaxgnn.report.probing import HEADER as HEADER_OF_PROBING
from jaxgnn.report.probing import table as table_of_probing
from jaxgnn.report.probing import write_probing
from jaxgnn.report.reproduction import HEADER as HEADER_OF_VERDICTS
from jaxgnn.report.reproduction import Preset, gather, verdicts, write_report
from jaxgnn.report.spectrum import HEADER as HEADER_OF_SPECTRUM
from jaxgnn.report.spectrum import headline as headline_of_spectrum
from jaxgnn.report.spectrum import table as table_of_spectrum
from jaxgnn.report.spectrum import write_spectrum
from jaxgnn.report.terminal import print_scores, print_table, progress_bar, tolerant
from jaxgnn.report.training import HEADER, table, write_training
from jaxgnn.report.training import headline as headline_of_training
from jaxgnn.training import scale
from jaxgnn.training.optimisers import TrainConfig


@dataclass(frozen=True)
class StudyCommand:
    """Sweep depths and remedies on a data set; train over seeds, probe, take spectra; write one page.

    Writes index.html, results.json, figures/ and cells/ into the folder. Ctrl-C keeps the cells that are done,
    and the same command goes on from there.

    Attributes:
      out: the folder; by default jaxgnn-study-DATASET.
      json: print a summary as the last line of standard output, as JSON.
    """

    config: tyro.conf.OmitArgPrefixes[StudyConfig] = field(default_factory=StudyConfig)
    out: Path | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        study = Study(self.config, self.out or Path(f"jaxgnn-study-{self.config.dataset}"))
        with occupied(study.out):
            try:
                with progress_bar() as report:
                    study.run(report)
            except KeyboardInterrupt:
                kept = f"{len(study.cells)} of {len(study.keys)} cells are kept in {study.out / 'cells'}"
                raise KeyboardInterrupt(f"{kept}; the same command goes on from there") from None
            results = study.write_results()
            arrays = {key: cell.arrays for key, cell in study.cells.items()}
            page = write_study(study.out, results, arrays, f"jaxgnn {shlex.join(arguments)}")
        print_scores(results["cells"])
        print(headline(results["cells"]))
        print(f"page: {page}")
        if self.json:
            print(json.dumps({"page": str(page), "results": str(study.out / "results.json")}))


@dataclass(frozen=True)
class TrainCommand:
    """Train one network over many seeds, and over a grid of numeric options, in one compiled program.

    Writes index.html, results.json, config.json, history.jsonl (readable while it runs), figures/ and checkpoints/
    into the folder. The same command goes on where it was interrupted, to the same result.

    Attributes:
      model: the network.
      out: the folder; by default jaxgnn-train-DATASET-LAYER-DEPTH.
      json: print a summary as the last line of standard output, as JSON.
    """

    source: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = field(default_factory=ModelConfig)  # pyright: ignore[reportInvalidTypeForm]
    optimisation: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    runs: tyro.conf.OmitArgPrefixes[RunConfig] = field(default_factory=RunConfig)
    devices: tyro.conf.OmitArgPrefixes[DevicesConfig] = field(default_factory=DevicesConfig)
    out: Path | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        name = f"jaxgnn-train-{self.source.dataset}-{self.model.layer}-{self.model.depth}"
        mesh = self.devices.start()
        training = Training(self.source, self.model, self.optimisation, self.runs, self.out or Path(name), mesh)
        kept = f"the same command goes on from {training.out / 'checkpoints'}"
        with contextlib.ExitStack() as stack:
            scale.by_first(lambda: stack.enter_context(occupied(training.out)))
            try:
                with progress_bar() if scale.is_first() else contextlib.nullcontext(_silent) as report:
                    steps = self.optimisation.steps
                    points = training.run(lambda done: report("training" if done else "compiling", done, steps))
            except KeyboardInterrupt:
                raise KeyboardInterrupt(kept) from None
            except jax.errors.JaxRuntimeError as error:
                if not jax.distributed.is_initialized():
                    raise
                lost = f"another process of the run was lost; {kept}, started in all processes"
                raise scale.ProcessLost(lost) from error
            if not scale.is_first():
                print(
                    f"jaxgnn: process {self.devices.process} waits for process 0, which writes the page",
                    file=sys.stderr,
                    flush=True,
                )
                return
            results = training.write_results(points)
            histories = [point.result.history for point in points]
            record = points[results["chosen"]].result.record
            page = write_training(training.out, results, histories, f"jaxgnn {shlex.join(arguments)}", record)
        print_table(HEADER, table(results))
        print(headline_of_training(results))
        print(f"page: {page}")
        if self.json:
            print(json.dumps({"page": str(page), "results": str(training.out / "results.json")}))


@dataclass(frozen=True)
class ProbeCommand:
    """Follow features forward, and gradients and errors backward, through every layer, beside a graph-blind network.

    Writes index.html, results.json, probe.npz and figures/ into the folder.

    Attributes:
      model: the network.
      out: the folder; by default jaxgnn-probe-DATASET-LAYER-DEPTH.
      json: print a summary as the last line of standard output, as JSON.
    """

    source: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = field(default_factory=partial(ModelConfig, depth=32, width=32))  # pyright: ignore[reportInvalidTypeForm]
    optimisation: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=partial(TrainConfig, steps=100))
    probe: tyro.conf.OmitArgPrefixes[ProbeConfig] = field(default_factory=ProbeConfig)
    out: Path | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        name = f"jaxgnn-probe-{self.source.dataset}-{self.model.layer}-{self.model.depth}"
        probing = Probing(self.source, self.model, self.optimisation, self.probe, self.out or Path(name))
        with occupied(probing.out):
            try:
                with progress_bar() as report:
                    results = probing.run(report)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"the same command goes on from {probing.out}") from None
            page = write_probing(probing.out, results, probing.arrays, f"jaxgnn {shlex.join(arguments)}")
        print_table(HEADER_OF_PROBING, table_of_probing(results))
        print(results["headline"])
        print(f"page: {page}")
        if self.json:
            print(json.dumps({"page": str(page), "results": str(probing.out / "results.json")}))


@dataclass(frozen=True)
class SpectrumCommand:
    """Take the Jacobian spectra of a network's layers, and follow perturbations through its depth.

    Writes index.html, results.json, spectrum.npz and figures/ into the folder.

    Attributes:
      model: the network.
      out: the folder; by default jaxgnn-spectrum-DATASET-LAYER-DEPTH.
      json: print a summary as the last line of standard output, as JSON.
    """

    source: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = field(default_factory=ModelConfig)  # pyright: ignore[reportInvalidTypeForm]
    optimisation: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    spectra: tyro.conf.OmitArgPrefixes[SpectrumConfig] = field(default_factory=SpectrumConfig)
    out: Path | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        name = f"jaxgnn-spectrum-{self.source.dataset}-{self.model.layer}-{self.model.depth}"
        spectrum = Spectrum(self.source, self.model, self.optimisation, self.spectra, self.out or Path(name))
        with occupied(spectrum.out):
            try:
                results = spectrum.run(_say)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"the same command goes on from {spectrum.out / 'cells'}") from None
            page = write_spectrum(spectrum.out, results, spectrum.arrays, f"jaxgnn {shlex.join(arguments)}")
        print_table(HEADER_OF_SPECTRUM, table_of_spectrum(results))
        print(headline_of_spectrum(results))
        print(f"page: {page}")
        if self.json:
            print(json.dumps({"page": str(page), "results": str(spectrum.out / "results.json")}))


@dataclass(frozen=True)
class CheckCommand:
    """Check the papers' theorems on many random networks, and that planted violations of each are caught.

    Exit code 1 if a statement fails. Slack is 1 - lhs/rhs: 0 where a bound is attained, negative where it is violated.

    Attributes:
      out: a folder for results.json; none is written without it.
      json: print the results as the last line of standard output, as JSON.
    """

    config: tyro.conf.OmitArgPrefixes[CheckConfig] = field(default_factory=CheckConfig)
    out: Path | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> int:
        del arguments
        with contextlib.nullcontext() if self.out is None else occupied(self.out) as out:
            with progress_bar() as report:
                findings = checking.check(self.config, report)
            results = checking.results(self.config, findings)
            if out is not None:
                write_json(out / "results.json", results)
        print_table(checking.HEADER, checking.table(findings))
        print(checking.headline(findings))
        if self.json:
            print(as_json(results))
        return 0 if all(finding.passed for finding in findings.values()) else 1


@dataclass(frozen=True)
class ReproduceCommand:
    """Reproduce figures and tables of the papers; measured cells are kept, so that it goes on where it was.

    Writes PAPER/NAME/PRESET-DIGEST/ with cells/, run.json, results.json, figures/ and index.html into the folder.

    Attributes:
      names: figures or tables, or a paper for all of its.
      list: show what there is, and what it costs.
      all: every one; those whose data are not here are said to be not available.
      preset: smoke takes seconds, cpu minutes on two cores, paper needs an accelerator.
      out: the folder.
      json: print a summary as the last line of standard output, as JSON.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    list: bool = False
    all: bool = False
    preset: Preset = "cpu"
    out: Path = Path("runs")
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        del arguments
        if self.list:
            self._print_list()
            return
        pages = {}
        for one in reproducing.chosen(self.names, self.all):
            folder = reproducing.folder_of(one, self.preset, self.out)
            with occupied(folder):
                try:
                    with progress_bar() as report:
                        outcome = reproducing.reproduce(one, self.preset, self.out, report)
                except DataError as error:
                    if not self.all:
                        raise
                    outcome = reproducing.unavailable(one, self.preset, error)
                except KeyboardInterrupt:
                    raise KeyboardInterrupt(f"the same command goes on from {folder / 'cells'}") from None
                pages[one.name] = str(outcome.write(self.out))
            print(f"{one.name}: {outcome.finding.verdict}. {outcome.finding.reason}")
            print(f"page: {pages[one.name]}", flush=True)
        if self.json:
            print(json.dumps(pages))

    def _print_list(self) -> None:
        known = [reproducing.load(name) for name in reproducing.names()]
        if self.json:
            rows = [{"name": r.name, "title": r.title, "claim": r.claim, "cost": dict(r.cost)} for r in known]
            print(json.dumps(rows))
            return
        presets = get_args(Preset)
        rows = [(r.name, r.title, *(r.cost.get(p, "") for p in presets)) for r in known]
        print_table(("name", "what", *presets), rows)
        print("\n".join(f"{r.name}: {r.claim}" for r in known))


@dataclass(frozen=True)
class ReportCommand:
    """Join what `jaxgnn reproduce` left in a folder to one page: ours, the published value, difference and verdict.

    Writes index.html and verdicts.md into the folder.

    Attributes:
      runs: the folder.
      json: print a summary as the last line of standard output, as JSON.
    """

    runs: tyro.conf.Positional[Path] = Path("runs")
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        del arguments
        page = write_report(self.runs)
        rows = verdicts(gather(self.runs))
        print_table(HEADER_OF_VERDICTS[:-1], [row[:-1] for row in rows])
        print("\n".join(f"{row[0]}: {row[-1]}" for row in rows))
        print(f"page: {page}")
        if self.json:
            print(json.dumps({"page": str(page), "verdicts": {row[0]: row[1] for row in rows}}))


@dataclass(frozen=True)
class BenchCommand:
    """Measure training steps and probes by depth, width, edges, runs and layer, beside torch and the machine's floor.

    Writes index.html, results.json and figures/ into the folder. Wants a machine that does nothing else.

    Attributes:
      plan: predict a run instead, from what was measured in the folder (measured first where nothing was):
        depth=1000,nodes=1e8,devices=256,device=tpu-v4, and width, degree, features, seeds, halo, keep.
      out: the folder.
      json: print a summary as the last line of standard output, as JSON.
    """

    config: tyro.conf.OmitArgPrefixes[BenchConfig] = field(default_factory=BenchConfig)
    plan: tuple[str, ...] = ()
    out: Path = Path("jaxgnn-bench")
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        plan = cost.parse(self.plan) if self.plan else None
        measured = self.out / "results.json"
        if plan is not None and measured.exists():
            results = cost.read(measured)
        else:
            with occupied(self.out):
                with progress_bar() as report:
                    results = bench(self.config, report)
                page = write_bench(self.out, results, f"jaxgnn {shlex.join(arguments)}")
            print_table(HEADER_OF_BENCH, table_of_bench(results))
            print(headline_of_bench(results))
            print(f"page: {page}")
        if plan is not None:
            fitted = cost.fit(results)
            predicted = cost.predict(fitted, plan)
            print("\n".join(cost.sentences(fitted, plan, predicted)))
            if self.json:
                print(as_json({"plan": asdict(plan), **predicted}))
        elif self.json:
            print(json.dumps({"page": str(self.out / "index.html"), "results": str(measured)}))


@dataclass(frozen=True)
class ListCommand:
    """Show the data sets, their splits, and whether their files are here.

    Attributes:
      json: print JSON in place of the table.
    """

    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        del arguments
        infos = describe()
        if self.json:
            print(json.dumps([info._asdict() for info in infos]))
        else:
            print_table(
                ("name", "kind", "splits", "status"), [(i.name, i.kind, _spans(i.splits), i.status) for i in infos]
            )


@dataclass(frozen=True)
class FetchCommand:
    """Download data sets into the cache (JAXGNN_CACHE names another), with their checksums verified.

    Attributes:
      names: the data sets.
      json: print JSON in place of the paths.
    """

    names: tyro.conf.Positional[tuple[str, ...]]
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        del arguments
        if not self.names:
            raise ValueError(f"jaxgnn data fetch needs a name: allowed are {', '.join(DATASETS)}")
        paths = {name: [str(path) for path in fetch(name)] for name in self.names}
        print(json.dumps(paths) if self.json else "\n".join(p for found in paths.values() for p in found))


@dataclass(frozen=True)
class DataCommand:
    """List data sets, or download them."""

    action: tyro.conf.OmitSubcommandPrefixes[
        Annotated[ListCommand, tyro.conf.subcommand("list")] | Annotated[FetchCommand, tyro.conf.subcommand("fetch")]
    ]

    def run(self, arguments: Sequence[str]) -> None:
        self.action.run(arguments)


Command = tyro.conf.OmitSubcommandPrefixes[
    Annotated[StudyCommand, tyro.conf.subcommand("study")]
    | Annotated[TrainCommand, tyro.conf.subcommand("train")]
    | Annotated[ProbeCommand, tyro.conf.subcommand("probe")]
    | Annotated[SpectrumCommand, tyro.conf.subcommand("spectrum")]
    | Annotated[CheckCommand, tyro.conf.subcommand("check")]
    | Annotated[ReproduceCommand, tyro.conf.subcommand("reproduce")]
    | Annotated[ReportCommand, tyro.conf.subcommand("report")]
    | Annotated[BenchCommand, tyro.conf.subcommand("bench")]
    | Annotated[DataCommand, tyro.conf.subcommand("data")]
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        tolerant(stream)
    if arguments == ["--version"]:
        print(__version__)
        return 0
    _repeatable_on_gpus()
    warnings.showwarning = lambda message, *_: print(f"jaxgnn: note: {message}", file=sys.stderr)
    stop = interrupts.Stop()
    try:
        command = _parse(arguments)
        with interrupts.of_command() as stop:
            code = command.run(arguments) or 0
            if stop.wanted:
                raise KeyboardInterrupt("all was done")
        return code
    except (ValueError, MemoryError) as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(_reason(error), 2)
    except scale.ProcessLost as error:
        return _fail(str(error), 3)
    except KeyboardInterrupt as error:
        return _fail(f"interrupted: {str(error) or 'nothing was kept'}", 128 + (stop.signal or signal.SIGINT))
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        return _fail("this process stopped, and the others with it", 1)


def _repeatable_on_gpus() -> None:
    """Where JAX has devices of others, every program of the command is to give the same bits each time."""
    flags, ((option, on),) = os.environ.get("XLA_FLAGS", ""), REPEATABLE.items()
    if option not in flags and entry_points(group="jax_plugins"):
        os.environ["XLA_FLAGS"] = f"{flags} --{option}={str(on).lower()}".strip()


def _reason(error: OSError) -> str:
    """A system's error as a sentence, with the file where it is known."""
    said = error.strerror or str(error)
    if error.filename is not None:
        said = f"{error.filename}: {said}"
    if error.errno == errno.ENOSPC:
        said = f"the disk is full, {said}; with more space the same command goes on from what is kept"
    return said


def _say(line: str) -> None:
    interrupts.check()
    print(line, file=sys.stderr, flush=True)


def _fail(sentence: str, code: int) -> int:
    print(f"jaxgnn: {' '.join(sentence.split())}", file=sys.stderr, flush=True)
    if jax.distributed.is_initialized():  # the usual way out waits for processes that may wait for this one
        sys.stdout.flush()
        os._exit(code)
    return code


def _silent(*_: Any) -> None:
    pass


def _parse(arguments: Sequence[str]) -> Any:
    """The command as an object. Raises ValueError in one sentence where tyro would draw a box."""
    registry = ConstructorRegistry()
    registry.primitive_rule(_comma_separated)
    options = {"prog": "jaxgnn", "registry": registry, "config": (tyro.conf.FlagCreatePairsOff,)}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(Command, args=arguments, **options)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_sentence(complaint.getvalue())) from None


def _sentence(box: str) -> str:
    """The first paragraph in tyro's box, on one line; the box is drawn in ASCII where the terminal's encoding is."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]  # without its title
    rules = [i for i, line in enumerate(lines) if line and set(line) <= set("─-")]
    start = 1 if rules[:1] == [0] else 0
    end = next((i for i in rules if i >= start), len(lines))
    sentence = " ".join(lines[start:end]).strip() or "the arguments are not understood"
    return f"{re.sub(r'^Error parsing __[^:]*: ', '', sentence)}; see jaxgnn --help"


def _comma_separated(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """2,8,32 for every tuple[X, ...] option that is not positional."""
    if get_origin(info.type) is not tuple or tyro.conf.Positional in info.markers:
        return None
    convert: Callable[[str], Any] = get_args(info.type)[0]
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{convert.__name__.upper()},...",
        instance_from_str=lambda texts: tuple(convert(part.strip()) for part in texts[0].split(",")),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value))],
    )


def _spans(splits: Sequence[str]) -> str:
    """geom:0 ... geom:9 in short."""
    return f"{splits[0]} … {splits[-1]}" if len(splits) > 3 else ", ".join(splits)

"""The study: depths x remedies on one data set, trained over seeds, probed, and shown on one page."""

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np
import tyro

from jaxgnn.analysis.explained import of_study
from jaxgnn.commands.options_file import save as save_options
from jaxgnn.commands.setting import label, summary
from jaxgnn.commands.study_cell import arrays_of_cell, spectrum_said
from jaxgnn.commands.task_setting import check_task, fitted, made, measured, recorded, subject
from jaxgnn.data import load_dataset
from jaxgnn.graphs.connectivity import components, second_eigenvalue
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.graphs.prepare import prepare
from jaxgnn.host.cores import chosen_cores, side_by_side
from jaxgnn.host.memory import host_bytes, require_memory
from jaxgnn.host.occupied import occupied
from jaxgnn.host.options import check_known, check_number, check_seed, check_whole, checked_list
from jaxgnn.host.spelling import counted, meant
from jaxgnn.host.storage import Cell, environment, kept_cell, writable_folder, write_json
from jaxgnn.network.bounds import BOUNDS
from jaxgnn.network.model import DeepGNN
from jaxgnn.network.norms import NORMS
from jaxgnn.network.residuals import RESIDUALS
from jaxgnn.network.stack import ACTIVATIONS
from jaxgnn.report.depth_study import headline, write_study
from jaxgnn.report.terminal import print_references, print_scores, progress_bar
from jaxgnn.tasks import node_classification
from jaxgnn.training.train import SweepPoint, TrainConfig, sweep

_NORM_NAMES = ("pairnorm", "mean_subtraction", "dgn")  # "layer_norm" and so on are clearer for the others
# A remedy is one of these or several joined by "+": what it changes in the plain network.
REMEDIES: Mapping[str, dict[str, Any]] = {
    "none": {},
    "residual": {"residual": "identity"},
    "mlp": {"layer": "mlp"},
    "dropedge": {"dropedge": 0.3},
    "shared_weights": {"share_weights": True},
    "jumping": {"jumping": "sum"},
    "pre_norm": {"norm_placement": "pre"},
    "post_norm": {"norm_placement": "post"},
    **{name: {"residual": name} for name in RESIDUALS if name not in ("none", "identity")},
    **{name if name in _NORM_NAMES else f"{name}_norm": {"norm": name} for name in NORMS if name != "none"},
    **{name: {"bound": name} for name in BOUNDS if name != "none"},
}
_SMALL_GRAPH = 400
_EVALUATED_EVERY = 10  # steps, where an evaluation takes many batches


_SHOWN = ("dataset", "layer", "depth", "remedy", "bound_c", "score_mean", "score_std", "train_loss", "constant_loss")


@dataclass(frozen=True)
class StudyConfig:
    """What to study. Written to results.json; the command line is derived from it.

    Attributes:
      dataset: a name that `jaxgnn data list` shows; csbm, power_law, roads and karate need no file.
      split: "public" or "geom:0" to "geom:9"; by default the data set's first.
      task: a benchmark in place of a data set, made from nothing, with its constant predictor and its oracle: lrim,
        bottlenecks, recall, roads, graph_properties, ring_transfer or graph_transfer. Its first training graph is
        probed.
      task_options: its options, name=value,...: alpha=2,side=16 of lrim, for example.
      layer: the graph layer.
      depths: numbers of layers.
      remedies: none, residual, mlp (the graph-blind control), dropedge, shared_weights, jumping; the bounds frobenius,
        frobenius_soft, spectral, row, column, orthogonal, cayley; the residual rules scaled, depth_scaled, initial,
        gated, weighted, graphcon, gradient_gating, delayed, ssm; layer_norm, batch_norm, group_norm, pairnorm,
        mean_subtraction, dgn, with pre_norm or post_norm elsewhere than before the activation; or some joined by
        "+".
      bound_c: the bounds' c is chosen from these, by mean validation accuracy.
      seeds: runs of every cell.
      steps: updates of every run.
      width: features of every layer; by default 64, and on graphs of up to 400 nodes 8, or 32 of a benchmark.
      normalisation: of the propagation matrix.
      activation: of every layer.
      init_weights: glorot, he, lecun or orthogonal.
      bias: biases in the layers.
      features: "row" divides every node's features by their absolute sum, "raw" takes them as they are.
      input_dropout: rate of dropout on the features in training; by default 0.8, and 0 of a benchmark.
      learning_rate: of Adam.
      l2: adds l2 / 2 ||params||^2 to the loss.
      weight_decay: decoupled decay (AdamW's).
      exact_below: all singular values of a layer up to n * d of this; above it the 20 largest.
      seed: of all randomness.
      cores: cells at a time; by default one a core. The numbers are the same for any.
    """

    dataset: str = "csbm"
    split: str | None = None
    task: str | None = None
    task_options: tuple[str, ...] = ()
    layer: str = "gcn"
    depths: tuple[int, ...] = (2, 8, 32, 64)
    remedies: tuple[str, ...] = ("none", "residual", "residual+frobenius", "mlp")
    bound_c: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    seeds: int = 3
    steps: int = 200
    width: int | None = None
    normalisation: Normalisation = "sym"
    activation: str = "relu"
    init_weights: str = "glorot"
    bias: bool = False
    features: Literal["row", "raw"] = "row"
    input_dropout: float | None = None
    learning_rate: float = 1e-2
    l2: float = 5e-4
    weight_decay: float = 0.0
    exact_below: int = 4000
    seed: int = 0
    cores: int | None = None

    def __post_init__(self) -> None:
        for option in ("depths", "remedies", "bound_c"):
            values = checked_list(option, getattr(self, option))
            for value in values:
                if option == "depths":
                    check_whole(option, value)
                elif option == "bound_c":
                    check_number(option, value, lambda v: 0 < v < np.inf, "finite numbers above 0")
                else:
                    _check_remedy(value)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{option}={','.join(map(str, values))}: at least one value, each once, is needed")
        check_task(self)
        check_known("activation", self.activation, ACTIVATIONS)
        check_known("features", self.features, get_args(type(self).__annotations__["features"]))
        check_whole("seeds", self.seeds, least=1)
        check_whole("exact_below", self.exact_below, least=0)
        check_seed("seed", self.seed)
        _ = chosen_cores(self.cores)
        width = 1 if self.width is None else self.width
        # Made only to be validated.
        _ = self.training, [self.model(depth, remedy, width, 1) for depth in self.depths for remedy in self.remedies]

    @property
    def training(self) -> TrainConfig:
        return TrainConfig(
            steps=self.steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            l2=self.l2,
            evaluate_every=1 if self.task is None else min(_EVALUATED_EVERY, self.steps),
        )

    @property
    def dropped(self) -> float:
        """The rate of dropout on the features."""
        if self.input_dropout is not None:
            return self.input_dropout
        return 0.8 if self.task is None else 0.0

    def model(self, depth: int, remedy: str, width: int, out: int) -> DeepGNN:
        """The network of one cell; its bound_c is a stand-in until c is chosen."""
        options: dict[str, Any] = {"layer": self.layer}
        for part in remedy.split("+"):
            options |= REMEDIES[part]
        options |= {name: getattr(self, name) for name in ("activation", "init_weights", "bias")}
        return DeepGNN(depth=depth, width=width, out=out, input_dropout=self.dropped, **options)


def _check_remedy(remedy: Any) -> None:
    for part in remedy.split("+") if isinstance(remedy, str) else [remedy]:
        if not isinstance(part, str) or part not in REMEDIES:
            near = meant(part, REMEDIES)
            raise ValueError(f"remedy {part!r} is not known{near} allowed are {', '.join(REMEDIES)}, joined by +")


Report = Callable[[str, float, float], None]  # a cell's label, work done and in all, in layer-steps


class Study:
    """A study in a folder: cells/ holds what is done, so that the same study goes on where it was interrupted.

    Raises ValueError for an unknown data set or option, an unwritable folder, or data that do not fit, MemoryError
    where the singular values asked for do not fit; all before anything is trained.
    """

    def __init__(self, config: StudyConfig, out: Path):
        self.config = config
        self.benchmark = None if config.task is None else made(config, None)
        if self.benchmark is None:
            self.dataset = load_dataset(config.dataset, config.split)
            self.graph = prepare(self.dataset.graph, normalisation=config.normalisation)
            self.task = self.example = node_classification(self.dataset, self.graph, features=config.features)
        else:
            self.dataset, self.task, self.example = None, self.benchmark.task, self.benchmark.example
            self.graph = self.example.graph
        n = self.graph.num_nodes
        small = 8 if self.benchmark is None else 32
        self.width = config.width if config.width is not None else 64 if n > _SMALL_GRAPH else small
        size = n * self.width
        self.exact = size <= config.exact_below
        self.cores = chosen_cores(config.cores)
        if self.exact:
            needed = 32 * size**2
            require_memory(needed, f"every singular value at n*d = {size}", f"--exact-below {size - 1}", on_host=True)
            self.cores = max(1, min(self.cores, host_bytes() // max(needed, 1)))
        self.out = writable_folder(out)
        self.cells: dict[tuple[int, str], Cell] = {}

    def run(self, report: Report | None = None) -> None:
        """Trains and probes every cell that the folder does not hold yet."""
        with occupied(self.out):
            self._run(report)

    def _run(self, report: Report | None) -> None:
        folder = writable_folder(self.out / "cells")
        per_step = {key: key[0] * self._runs(key[1]) for key in self.keys}
        steps = dict.fromkeys(self.keys, 0)

        def tell(key: tuple[int, str], done: int) -> None:
            steps[key] = done
            if report is not None:
                worked = sum(per_step[k] * steps[k] for k in self.keys)
                report(f"depth {key[0]}, {key[1]}", worked, sum(per_step.values()) * self.config.steps)

        def measure(key: tuple[int, str]) -> None:
            tell(key, 0)
            run = partial(self._run_cell, key, partial(tell, key))
            self.cells[key] = kept_cell(folder / self._name(key), self._fingerprint(key), run)
            tell(key, self.config.steps)

        longest_first = sorted(self.keys, key=lambda key: -per_step[key])
        side_by_side([partial(measure, key) for key in longest_first], self.cores)

    @property
    def keys(self) -> list[tuple[int, str]]:
        """(depth, remedy) of every cell, in order."""
        return [(depth, remedy) for depth in self.config.depths for remedy in self.config.remedies]

    def results(self) -> dict[str, Any]:
        """What results.json holds."""
        decided = {"width": self.width, "input_dropout": self.config.dropped}
        if self.dataset is not None:
            decided["split"] = self.dataset.split
        config = asdict(self.config) | decided
        cells = [self.cells[key].summary for key in self.keys if key in self.cells]
        results = {"config": config, "cells": cells, "facts": self.facts(), **environment()}
        if self.benchmark is not None:
            results["benchmark"] = recorded(self.benchmark, self.config.task_options)
        return results

    def write_results(self) -> dict[str, Any]:
        """Writes results.json and returns what it holds."""
        results = self.results()
        write_json(self.out / "results.json", results)
        return results

    def facts(self) -> list[str]:
        """Sentences about the data that a reader of the numbers needs: sizes, split, components, lambda."""
        ds, P = self.dataset, self.graph.propagation
        sizes = f"{counted(self.graph.num_nodes, 'node')}, {counted(self.graph.num_edges, 'directed edge')}"
        sizes += f", {counted(self.example.x.shape[1], 'feature')}"
        component_sizes = np.bincount(components(self.graph))
        largest = counted(int(component_sizes.max()), "node")
        connected = counted(component_sizes.size, "connected component")
        connected += f", the largest of {largest}" if component_sizes.size > 1 else ""
        if P.backward is None:
            rate, deepest = second_eigenvalue(self.graph), max(self.config.depths)
            connected += f"; P ({P.normalisation}) has λ = {rate:.4f} there (λ^{deepest} = {rate**deepest:.2g})"
        if ds is None:
            return [f"{self.config.task}; the graph that is probed: {sizes}.", f"{connected}."]
        masks = {"training": ds.train_mask, "validation": ds.val_mask, "test": ds.test_mask}
        split = ", ".join(f"{int(np.sum(mask))} {name}" for name, mask in masks.items())
        return [
            f"{ds.name}: {sizes}, {ds.num_classes} classes; split {ds.split} with {split} nodes.",
            f"{connected}.",
        ]

    @staticmethod
    def _name(key: tuple[int, str]) -> str:
        return f"depth-{key[0]}-{key[1].replace('+', '-')}"

    def _runs(self, remedy: str) -> int:
        return self.config.seeds * (len(self.config.bound_c) if _bounded(remedy) else 1)

    def _run_cell(self, key: tuple[int, str], tell: Callable[[int], None]) -> Cell:
        depth, remedy = key
        started = time.perf_counter()
        model = fitted(self.config.model(depth, remedy, self.width, self.task.out), self.task)
        bounded = model.bound != "none"
        points = sweep(
            model,
            self.task,
            grid={"bound_c": self.config.bound_c} if bounded else {},
            seeds=self.config.seeds,
            seed=self.config.seed,
            progress=tell,
            **asdict(self.config.training),
        )
        sign = 1 if self.task.maximise else -1
        best = max(points, key=lambda point: float(np.nan_to_num(sign * np.mean(point.result.val_score), nan=-np.inf)))
        arrays = arrays_of_cell(model, best, self.example, exact=self.exact)
        summary = self._summary(model, key, best, points) | {"seconds": round(time.perf_counter() - started, 1)}
        return Cell(summary, arrays)

    def _summary(self, model: DeepGNN, key: tuple[int, str], best: SweepPoint, points: list[SweepPoint]) -> dict:
        result = best.result
        return {
            "dataset": self.config.task if self.dataset is None else self.dataset.name,
            "layer": model.layer,
            "depth": key[0],
            "remedy": key[1],
            "bound_c": best.options.get("bound_c"),
            "scores": result.score.tolist(),
            "score_mean": float(np.mean(result.score)),
            "score_std": float(np.std(result.score)),
            "val_scores": result.val_score.tolist(),
            "train_loss": float(np.mean(result.train_loss)),
            "constant_loss": self.task.constant_loss(),
            "metric": self.task.metric,
            "maximise": self.task.maximise,
            "failed_seeds": int(np.sum(result.failed)),
            "searched": [p.options | {"val_mean": float(np.mean(p.result.val_score))} for p in points if p.options],
            "spectrum": spectrum_said(exact=self.exact),
            **measured(self.benchmark, model, best),
        }

    def _fingerprint(self, key: tuple[int, str]) -> str:
        """Of everything that a cell's numbers depend on: options, data, versions and device."""
        irrelevant = ("depths", "remedies", "cores", *(() if _bounded(key[1]) else ("bound_c",)))
        config = {k: v for k, v in asdict(self.config).items() if k not in irrelevant}
        described = json.dumps([config, self.width, key, environment()], sort_keys=True)
        digest = hashlib.sha256(described.encode())
        for array in jax.tree.leaves(self.task):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _bounded(remedy: str) -> bool:
    return any("bound" in REMEDIES[part] for part in remedy.split("+"))


@dataclass(frozen=True)
class StudyCommand:
    """Sweep depths and remedies on a data set; train over seeds, probe, take spectra; write one page.

    Writes index.html, results.json, figures/ and cells/ into the folder. Ctrl-C keeps the cells that are done,
    and the same command goes on from there.

    Attributes:
      recipe: kipf2017, velickovic2018, chen2020 or platonov2023: the paper's settings, where nothing else is said.
      out: the folder; by default jaxgnn-study-DATASET.
      json: print a summary as the last line of standard output, as JSON.
    """

    config: tyro.conf.OmitArgPrefixes[StudyConfig] = field(default_factory=StudyConfig)
    recipe: str | None = None
    out: Path | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        study = Study(self.config, self.out or Path(f"jaxgnn-study-{label(subject(self.config))}"))
        with occupied(study.out):
            save_options(study.out, "study", self)
            try:
                with progress_bar() as report:
                    study.run(report)
            except KeyboardInterrupt:
                kept = f"{len(study.cells)} of {len(study.keys)} cells are kept in {study.out / 'cells'}"
                raise KeyboardInterrupt(f"{kept}; the same command goes on from there") from None
            results = study.write_results()
            arrays = {key: cell.arrays for key, cell in study.cells.items()}
            page = write_study(study.out, results, arrays, f"jaxgnn {shlex.join(arguments)}", explain=of_study)
        print_scores(results["cells"])
        if "benchmark" in results:
            print_references(results["benchmark"])
        print(headline(results["cells"]))
        print(f"page: {page}")
        if self.json:
            cells = [{name: cell[name] for name in _SHOWN} for cell in results["cells"]]
            said = {"references": results["benchmark"]["references"]} if "benchmark" in results else {}
            print(summary(page, study.out, headline=headline(results["cells"]), cells=cells, **said))

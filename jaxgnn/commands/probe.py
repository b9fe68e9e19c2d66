"""What `jaxgnn probe` does: signals forward and errors backward at every layer, at initialisation and trained."""

import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np
import tyro
from jax.tree_util import Partial

from jaxgnn import layers
from jaxgnn.analysis.backward import Backward, backward_analysis
from jaxgnn.analysis.explained import of_probing
from jaxgnn.analysis.layer_range import layer_influence
from jaxgnn.analysis.theory_lines import Geometry, Line, Lines, geometry, lines
from jaxgnn.analysis.verdict import verdict
from jaxgnn.commands.options_file import save as save_options
from jaxgnn.commands.setting import DataConfig, ModelConfig, label, network, start_on, summary
from jaxgnn.host.arrays import Array
from jaxgnn.host.memory import require_memory
from jaxgnn.host.occupied import occupied
from jaxgnn.host.options import check_known, check_seed, check_texts, check_whole, checked_list
from jaxgnn.host.precision import precision
from jaxgnn.host.storage import environment, fingerprint, writable_folder, write_arrays, write_json
from jaxgnn.jacobian import Influence
from jaxgnn.network.model import DeepGNN
from jaxgnn.report.probing import HEADER, STATES, headline, table, write_probing
from jaxgnn.report.probing_ranges import by_seed, ranges, ranges_said
from jaxgnn.report.probing_ranks import ranks, ranks_said
from jaxgnn.report.terminal import print_table, progress_bar
from jaxgnn.training.drive import STEPS_AT_ONCE
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.recorder import check_record_every, check_record_ranks, flat
from jaxgnn.training.train import TrainResult, train

# Layers that smooth to what P smooths to; the others' signals are measured against equal rows.
_OF_PROPAGATION = (layers.GCN, layers.GCNII, layers.SGC, layers.APPNP, layers.MLP)
Report = Callable[[str, float, float], None]


@dataclass(frozen=True)
class ProbeConfig:
    """What to probe, and when.

    Attributes:
      when: "init" (at initialisation), "trained" (after the last step), or both.
      control: "mlp" probes a graph-blind network of the same options beside the one asked for; or "none".
      seeds: networks; figures show the median and the range.
      record_every: sample every layer during training every so many steps, a multiple of 10; 0 for never.
      record_ranks: and their effective and stable ranks.
      precision: "float64" or "float32", of the probes; training is in float32.
      range_nodes: nodes, drawn at random, whose logits the range is taken of, at every layer; 0 for no range.
      layer_options: options of the layer, name=value,...: heads=8 of gat, for example.
      seed: of all randomness; seed i's network is the one that `jaxgnn train` trains as its i-th.

    Raises ValueError for an option that is not known or out of its range, when the object is made.
    """

    when: tuple[str, ...] = tuple(STATES)
    control: Literal["mlp", "none"] = "mlp"
    seeds: int = 3
    record_every: int = 10
    record_ranks: bool = False
    precision: Literal["float64", "float32"] = "float64"
    range_nodes: int = 16
    layer_options: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for state in checked_list("when", self.when):
            check_known("when", state, STATES)
        if not self.when or len(set(self.when)) != len(self.when):
            raise ValueError(f"when={','.join(self.when)!r}: at least one of {', '.join(STATES)}, each once, is needed")
        for option in ("control", "precision"):
            check_known(option, getattr(self, option), get_args(type(self).__annotations__[option]))
        check_whole("seeds", self.seeds, least=1)
        check_whole("range_nodes", self.range_nodes, least=0)
        check_texts("layer_options", self.layer_options)
        check_seed("seed", self.seed)
        check_whole("record_every", self.record_every)
        check_record_every(self.record_every or None, STEPS_AT_ONCE)
        check_record_ranks(self.record_ranks, self.record_every or None)


class Probing:
    """One call of `jaxgnn probe`.

    Raises ValueError for an unknown data set, layer or option, or a folder that cannot be written to, and MemoryError
    where a network's signals do not fit; before anything is computed.
    """

    def __init__(self, source: DataConfig, model: Any, optimisation: TrainConfig, config: ProbeConfig, out: Path):
        self.configs = {"data": source, "model": model, "train": optimisation, "probe": config}
        self.config, self.optimisation = config, optimisation
        made = network(model, config.layer_options)
        if made.blocks < 1:
            raise ValueError(f"depth={made.depth} with ends={made.ends!r} leaves no block between the ends")
        self.task = source.problem(made.distances)
        self.models: dict[str, DeepGNN] = {model.layer: made.clone(out=self.task.out)}
        if config.control == "mlp" and model.layer != "mlp":
            # The control keeps what the layer decides where it is not asked for.
            same = {name: getattr(made, name) for name in ("activation", "residual", "residual_scale")}
            self.models["mlp"] = made.clone(out=self.task.out, layer="mlp", khop=False, **same)
        signal = np.dtype(config.precision).itemsize * self.task.graph.num_nodes * made.width * (made.blocks + 1)
        require_memory(12 * signal, f"probing {made.blocks} layers of width {made.width}", "fewer layers or float32")
        self.out = writable_folder(out)
        self.arrays: dict[str, np.ndarray] = {}

    def run(self, report: Report = lambda label, done, total: None) -> dict[str, Any]:
        """Measures everything; writes results.json and probe.npz, and returns what the former holds.

        Trainings are kept in training/, so that an interrupted run goes on where they were.
        """
        with occupied(self.out):
            return self._run(report)

    def _run(self, report: Report) -> dict[str, Any]:
        steps = self.optimisation.steps if "trained" in self.config.when else 0
        total = len(self.models) * (steps + len(self.config.when))
        first, done = next(iter(self.models.values())), 0
        of_propagation = issubclass(first._layer_options()[0], _OF_PROPAGATION) and not first.khop
        shape = geometry(self.task.graph, of_propagation=of_propagation)
        states: dict[str, dict[str, Any]] = {state: {} for state in self.config.when}
        training: dict[str, Any] = {}
        for name, model in self.models.items():
            if "trained" not in states:
                parameters = {"init": self._initial(model)}
            else:
                before = done
                result = self._train(model, lambda step, k=before, n=name: report(f"training {n}", k + step, total))
                parameters = {"init": result.initial_params, "trained": result.final_params}
                training[name] = self._training(name, result)
                done += steps
            for state in states:
                report(f"probing {name}, {state}", done, total)
                states[state][name] = self._probe(f"{state}/{name}", model, parameters[state], shape)
                done += 1
        results = {
            "config": {name: asdict(config) for name, config in self.configs.items()},
            "graph": _described(shape, self.task.graph) | {"of_propagation": of_propagation},
            "states": states,
            "training": training,
            "constant_loss": self.task.constant_loss(),
        }
        results["headline"] = headline(results)
        results |= environment()
        write_arrays(self.out / "probe.npz", self.arrays)
        write_json(self.out / "results.json", results)
        return results

    def _initial(self, model: DeepGNN) -> Any:
        """What `jaxgnn.train` starts from, with a leading axis of seeds."""
        keys = [jax.random.fold_in(jax.random.key(self.config.seed), i) for i in range(self.config.seeds)]
        init = jax.jit(model.init)
        drawn = [init(jax.random.split(key)[0], self.task.graph, self.task.x) for key in keys]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)

    def _train(self, model: DeepGNN, progress: Callable[[int], None]) -> TrainResult:
        config, optimisation = self.config, asdict(self.optimisation)
        often = {"seeds": config.seeds, "seed": config.seed, "record_every": config.record_every or None}
        often |= {"record_ranks": True} if config.record_ranks else {}
        described = fingerprint([asdict(self.configs["data"]), repr(model), optimisation, often])
        out = self.out / "training" / described[:12]
        return train(model, self.task, progress=progress, out=out, **often, **optimisation)

    def _training(self, name: str, result: TrainResult) -> dict[str, Any]:
        if result.record is not None:
            self.arrays |= result.record.arrays(f"record/{name}")
        return {
            "scores": result.score.tolist(),
            "train_losses": result.train_loss.tolist(),
            "failed_seeds": int(np.sum(result.failed)),
        }

    def _probe(self, where: str, model: DeepGNN, params: Any, shape: Geometry) -> dict[str, Any]:
        """The numbers of one network in one state: arrays [seeds, layers], and their median and range by layer."""
        found, drawn, reached = [], [], []
        for seed in range(self.config.seeds):
            of_seed = jax.tree.map(lambda a, i=seed: np.asarray(a[i]), params)
            found.append(self._analysed(model, of_seed, shape))
            drawn.append(lines(model, of_seed, shape))
            if self.config.range_nodes:
                reached.append(self._influence(model, of_seed))
        numbers = flat("", jax.tree.map(lambda *leaves: np.stack(leaves), *found))
        numbers |= _energies(numbers, self.task.graph.num_nodes)
        about, of_layers, by_distance = by_seed(reached, model.blocks)
        numbers |= of_layers
        self.arrays |= {f"{where}/influence/{name}": values for name, values in by_distance.items()}
        theory = _theory(drawn, numbers)
        # Of those with lines, in these residual rules B^(l) = rho'(H^(l)) * G^(l+1), no factor between them.
        theory["backward"]["of_errors"] = model.residual in ("none", "identity")
        numbers |= {f"{way}_line": line["values"] for way, line in theory.items() if "values" in line}
        self.arrays |= {f"{where}/{name}": values for name, values in numbers.items()}
        described = {way: {k: v for k, v in line.items() if k != "values"} for way, line in theory.items()}
        return {
            "layers": {name: _summary(values) for name, values in numbers.items()},
            "lines": described,
            "verdict": verdict(numbers),
            "range": about,
        }

    def _influence(self, model: DeepGNN, params: Any) -> tuple[Influence, ...] | str:
        """Of every layer's features on the logits, or why there is none."""
        dtype = np.dtype(self.config.precision)
        task = jax.tree.map(np.array, self.task)  # as below
        params, x = jax.tree.map(lambda a: np.asarray(a, dtype), (params, task.x))
        nodes = min(self.config.range_nodes, task.graph.num_nodes)
        with precision(dtype):
            try:
                return layer_influence(model, params, task.graph, x, nodes=nodes, seed=self.config.seed)
            except ValueError as error:  # features that overflow have no derivatives
                return str(error)

    def _analysed(self, model: DeepGNN, params: Any, shape: Geometry) -> Backward:
        dtype = np.dtype(self.config.precision)
        # Fresh arrays: of one that an eager program closed over, jax 0.10.2 keeps the float32 version for good.
        task = jax.tree.map(np.array, self.task)
        params, x = jax.tree.map(lambda a: np.asarray(a, dtype), (params, task.x))
        with precision(dtype):
            analysed = backward_analysis(model, params, task.graph, x, Partial(_loss, task), shape)
            return jax.tree.map(np.asarray, analysed)


def _energies(numbers: Mapping[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    # E(X) = mu(X) / sqrt(n)
    return {f"{s}/energy": numbers[f"{s}/mu"] / np.sqrt(n) for s in ("features", "feature_grads", "errors")}


def _theory(drawn: list[Lines], numbers: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The lines [seeds, L+1], whether they are bounds, and the largest measured value over them."""
    theory = {}
    ways = (("forward", "features_off", 0, slice(1, None)), ("backward", "feature_grads_off", -1, slice(None, -1)))
    for way, signal, start, after in ways:
        found: list[Line | None] = [getattr(line, way) for line in drawn]
        if found[0] is None:
            theory[way] = {"holds": False, "why": drawn[0].reason}
            continue
        measured = numbers[f"{signal}/mu"]
        with np.errstate(all="ignore"):
            values = np.stack([line.factor for line in found if line is not None]) * measured[:, [start]]
            worst = float(np.nanmax(np.where(values > 0, measured / values, np.nan)[:, after], initial=0.0))
        if not np.isfinite(measured).all():
            worst = float("nan")  # what is not finite is not below a line
        broken = found[0].broken
        theory[way] = {"holds": not broken, "why": "; ".join(broken), "worst_ratio": worst, "values": values}
    return theory


def _described(shape: Geometry, graph: Any) -> dict[str, Any]:
    names = ("eigenvalue", "components", "spans", "normalisation")
    found = {name: getattr(shape, name) for name in names} | {"largest_component": shape.nodes}
    return found | {"nodes": graph.num_nodes, "edges": graph.num_edges}


def _summary(values: np.ndarray) -> Any:
    """Median, lowest and highest over seeds, by layer; empty where there is no layer (pairs of layers, of one)."""
    if not values.size:
        return {"median": [], "low": [], "high": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a layer where every seed is NaN
        low, median, high = np.nanquantile(values, (0, 0.5, 1), axis=0)
    return {"median": median.tolist(), "low": low.tolist(), "high": high.tolist()}


def _loss(task: Any, logits: Array) -> Array:
    return task.loss(logits)


@dataclass(frozen=True)
class ProbeCommand:
    """Follow features forward, and gradients and errors backward, through every layer, beside a graph-blind network.

    Writes index.html, results.json, probe.npz and figures/ into the folder.

    Attributes:
      recipe: kipf2017, velickovic2018, chen2020 or platonov2023: the paper's settings, where nothing else is said.
      model: the network.
      out: the folder; by default jaxgnn-probe-DATASET-LAYER-DEPTH.
      cores: CPU cores, by default all physical ones: on a CPU so many runs of training are computed at a time. The
        results are the same to the bit for any.
      json: print a summary as the last line of standard output, as JSON.
    """

    source: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = field(default_factory=partial(ModelConfig, depth=32, width=32))  # pyright: ignore[reportInvalidTypeForm]
    optimisation: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=partial(TrainConfig, steps=100))
    probe: tyro.conf.OmitArgPrefixes[ProbeConfig] = field(default_factory=ProbeConfig)
    recipe: str | None = None
    out: Path | None = None
    cores: int | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        start_on(self.cores)
        name = f"jaxgnn-probe-{label(self.source.dataset)}-{self.model.layer}-{self.model.depth}"
        probing = Probing(self.source, self.model, self.optimisation, self.probe, self.out or Path(name))
        with occupied(probing.out):
            save_options(probing.out, "probe", self)
            try:
                with progress_bar() as report:
                    results = probing.run(report)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"the same command goes on from {probing.out}") from None
            page = write_probing(
                probing.out, results, probing.arrays, f"jaxgnn {shlex.join(arguments)}", explain=of_probing
            )
        print_table(HEADER, table(results))
        print(results["headline"])
        print(ranks_said(results))
        if said := ranges_said(results):
            print(said)
        print(f"page: {page}")
        if self.json:
            print(summary(page, probing.out, headline=results["headline"], ranks=ranks(results), range=ranges(results)))

"""What `jaxgnn train` does: one network on one data set over many seeds, and over a grid of numeric options."""

import ast
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgnn import data
from jaxgnn.graphs import rewiring
from jaxgnn.graphs.graph import Normalisation, prepare
from jaxgnn.host.options import check_flag, check_known, check_seed, check_texts, check_whole
from jaxgnn.host.storage import environment, writable_folder, write_arrays, write_json
from jaxgnn.jacobian import jacobian
from jaxgnn.layers import LAYERS
from jaxgnn.network.model import DeepGNN
from jaxgnn.network.stack import INITIALISERS
from jaxgnn.tasks import node_classification
from jaxgnn.training import scale
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.recorder import check_record_every
from jaxgnn.training.train import STEPS_AT_ONCE, Batching, SweepPoint, checked, sweep

# DeepGNN's options as a dataclass of plain values, for the command line; what the data set decides is left out.
_TEXT = {"layer": str, "activation": str | None, "residual": str | None, "norm": str}
_DECIDED = ("out", "pool", "parent", "name")
_OPTIONS = [f for f in fields(DeepGNN) if f.init and f.name not in _DECIDED and f.default is not MISSING]
ModelConfig = make_dataclass(
    "ModelConfig",
    [(f.name, _TEXT.get(f.name, f.type), field(default=f.default)) for f in _OPTIONS],
    frozen=True,
    namespace={"__doc__": DeepGNN.__doc__},
)


@dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
      dataset: a name that `jaxgnn data list` shows; csbm and karate need no file.
      split: "public" or "geom:0" to "geom:9"; by default the data set's first.
      normalisation: of the propagation matrix.
      loops: whether it has a loop at every node; by default all but "raw" have.
      features: "row" divides every node's features by their absolute sum, "raw" takes them as they are.
      rewiring: "none", "fosr" or "sdrf", to `rewired` edges or by so many steps.
      rewired: edges that FoSR adds, steps of SDRF.
      metric: "accuracy", "roc_auc" or "average_precision" (two classes).
      class_weights: "none" or "balanced", in the loss.
    """

    dataset: str = "csbm"
    split: str | None = None
    normalisation: Normalisation = "sym"
    loops: bool | None = None
    features: Literal["row", "raw"] = "row"
    rewiring: Literal["none", "fosr", "sdrf"] = "none"
    rewired: int = 50
    metric: Literal["accuracy", "roc_auc", "average_precision"] = "accuracy"
    class_weights: Literal["none", "balanced"] = "none"

    def __post_init__(self) -> None:
        for option in ("features", "rewiring", "metric", "class_weights"):
            check_known(option, getattr(self, option), get_args(type(self).__annotations__[option]))
        check_whole("rewired", self.rewired, least=0)

    def task(self, hops: int | None) -> Any:
        """The node classification task of the data set; pairs at distance up to `hops` are found as well."""
        dataset = data.load_dataset(self.dataset, self.split)
        graph = dataset.graph
        if self.rewiring == "fosr":
            graph = rewiring.fosr(graph, edges=self.rewired)
        elif self.rewiring == "sdrf":
            graph = rewiring.sdrf(graph, steps=self.rewired)
        prepared = prepare(graph, normalisation=self.normalisation, loops=self.loops, hops=hops)
        weights = None if self.class_weights == "none" else self.class_weights
        options = {"features": self.features, "metric": self.metric, "class_weights": weights}
        return node_classification(dataset, prepared, **options)


@dataclass(frozen=True)
class RunConfig:
    """How often.

    Attributes:
      seeds: number of runs.
      seed: of all randomness.
      grid: numeric options and their values, name=value,value,...: learning_rate, weight_decay, l2, bound_c,
        residual_scale, modulus. Every combination is trained over all seeds, in one program.
      layer_options: options of the layer, name=value,...: heads=8,attention_dropout=0.6 of gat, for example.
      batching: "vmap" runs the seeds side by side, "map" one after another; "auto" maps on a CPU.
      tensorboard: write the history for TensorBoard as well.
      record_every: sample every layer's features, gradients and errors every so many steps, a multiple of 10, into
        record.npz; 0 for never.
    """

    seeds: int = 10
    seed: int = 0
    grid: tuple[str, ...] = ()
    layer_options: tuple[str, ...] = ()
    batching: Batching = "auto"
    tensorboard: bool = False
    record_every: int = 0

    def __post_init__(self) -> None:
        check_whole("seeds", self.seeds, least=1)
        check_seed("seed", self.seed)
        for option in ("grid", "layer_options"):
            check_texts(option, getattr(self, option))
        check_known("batching", self.batching, get_args(Batching))
        check_flag("tensorboard", self.tensorboard)
        check_whole("record_every", self.record_every)
        check_record_every(self.record_every or None, STEPS_AT_ONCE)


@dataclass(frozen=True)
class DevicesConfig:
    """On what.

    Attributes:
      mesh: devices, as seeds=4,nodes=2: the runs share out the first number of them, and the graph's nodes, for each of
        those, the second. By default one device.
      coordinator: address:port where process 0 of several processes listens; each is started with the same command but
        for its own `process`, and only process 0 writes files and prints results.
      processes: how many there are.
      process: the number of this one, 0 to processes - 1.
      heartbeat: seconds without a sign of life after which a process counts as lost, which ends the others.
    """

    mesh: str | None = None
    coordinator: str | None = None
    processes: int = 1
    process: int = 0
    heartbeat: int = 30

    def start(self) -> Mesh | None:
        """Joins the other processes, if there are any, and gives the mesh. Raises ValueError where it cannot be had."""
        sizes = None if self.mesh is None else scale.parse_mesh(self.mesh)
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
        source: DataConfig,
        model: Any,
        optimisation: TrainConfig,
        runs: RunConfig,
        out: Path,
        mesh: Mesh | None = None,
    ):
        self.configs = {"data": source, "model": model, "train": optimisation, "runs": runs}
        self.optimisation, self.runs = optimisation, runs
        self.grid = {name: [_number(name, v) for v in values] for name, values in named_values(runs.grid).items()}
        # Made once without a data set, so that a wrong option is refused before anything is read.
        model = network(model, runs.layer_options)
        self.task = source.task(max(model.blocks, 1) if model.khop else None)
        self.model = model.clone(out=self.task.out)
        _ = checked(self.model, self.grid, runs.seeds, runs.batching, asdict(optimisation))  # before a folder is made
        scale.check_partitionable(self.model, self.task, mesh)
        self.mesh = mesh
        self.out = writable_folder(out) if scale.is_first() else out

    def run(self, progress: Callable[[int], None] | None = None) -> list[SweepPoint]:
        """Trains every grid point over all seeds."""
        return sweep(
            self.model,
            self.task,
            grid=self.grid,
            seeds=self.runs.seeds,
            seed=self.runs.seed,
            out=self.out,
            batching=self.runs.batching,
            tensorboard=self.runs.tensorboard,
            record_every=self.runs.record_every or None,
            mesh=self.mesh,
            progress=progress,
            **asdict(self.optimisation),
        )

    def layer_norms(self, point: SweepPoint) -> list[dict[str, Any]]:
        """||d X^(l+1) / d X^(l)||_2 of the first seed's first, middle and last layer, and the bound that holds for it.

        Measured at the features of this data set, before and after training, by block Lanczos in float32: lower
        bounds, with their residuals. `guaranteed` is None where nothing bounds the layer wherever it is taken.
        """
        rows = []
        options = {name: value for name, value in point.options.items() if name in ("bound_c", "residual_scale")}
        if "modulus" in point.options:
            options["ssm"] = replace(self.model.ssm, modulus=point.options["modulus"])
        model = self.model.clone(**options)
        for layer in sorted({0, model.blocks // 2, model.blocks - 1} - {-1}):
            row: dict[str, Any] = {"layer": layer}
            for state, params in (("initial", point.result.initial_params), ("trained", point.result.params)):
                first = jax.tree.map(lambda a: a[0], params)
                row[state] = _largest(*model.layer_fn(first, self.task.graph, self.task.x, layer=layer))
            rows.append(row | {"guaranteed": model.lipschitz(self.task.graph, layer=layer)})
        return rows

    def write_results(self, points: list[SweepPoint]) -> dict[str, Any]:
        """Writes results.json and returns what it holds: one row a grid point. Writes record.npz if asked for one."""
        rows = [self._row(point) for point in points]
        results = {"config": {name: asdict(config) for name, config in self.configs.items()}, "rows": rows}
        results |= {"constant_loss": self.task.constant_loss(), "chosen": _chosen(rows, self.task.maximise)}
        results["layer_norms"] = self.layer_norms(points[results["chosen"]]) if self.model.blocks else []
        results |= environment()
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
        }


def _largest(f: Callable, h: Any) -> dict[str, float | None]:
    """The largest singular value of a Jacobian and its residual; None where it cannot be taken."""
    try:
        found = jacobian(f, h).extremes(1, max_products=200)
    except (ValueError, MemoryError):
        return {"value": None, "residual": None}
    return {"value": float(found.values[0]), "residual": float(found.upper[0] - found.values[0])}


def _say(line: str) -> None:
    print(f"jaxgnn: {line}", file=sys.stderr, flush=True)


def named_values(parts: tuple[str, ...]) -> dict[str, list[str]]:
    """name=value,value,name=value as lists of values by name. Raises ValueError for a value without a name."""
    found: dict[str, list[str]] = {}
    name = None
    for part in parts:
        if "=" in part:
            name, _, part = (text.strip() for text in part.partition("="))
            if name in found:
                raise ValueError(f"{name} is given twice: once is needed, with all its values")
            found[name] = []
        if name is None:
            raise ValueError(f"{part!r} has no name: allowed are name=value,value,...")
        found[name].append(part.strip())
    return found


def network(model: Any, layer_options: tuple[str, ...]) -> DeepGNN:
    """The network that a ModelConfig describes, with options of its layer; `out` is left for the data to decide."""
    options = {f.name: getattr(model, f.name) for f in fields(model)}
    literals = {name: _literal(name, values) for name, values in named_values(layer_options).items()}
    return DeepGNN(**options | {"layer": _layer(options, literals)})


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"grid option {name!r} has the value {text!r}: a number is needed") from None


def _literal(name: str, values: list[str]) -> Any:
    if len(values) != 1:
        raise ValueError(f"layer option {name!r} has {len(values)} values: one is needed")
    try:
        return ast.literal_eval(values[0])
    except (ValueError, SyntaxError):
        return values[0]  # a word


def _layer(options: Mapping[str, Any], layer_options: Mapping[str, Any]) -> Any:
    """The layer's name, or an instance where it has options of its own."""
    name = options["layer"]
    if not layer_options or name not in LAYERS:
        return name
    types = {f.name: f.type for f in fields(LAYERS[name]) if f.init and f.name not in ("parent", "name", "features")}
    defaults = {"use_bias": options["bias"], "kernel_init": INITIALISERS[options["init_weights"]]}
    defaults = {option: value for option, value in defaults.items() if option in types}
    types.pop("kernel_init", None)  # a function: init_weights names them
    for option, value in layer_options.items():
        if option not in types:
            raise ValueError(f"layer option {option!r} is not known: allowed for {name} are {', '.join(types)}")
        wanted = types[option]
        if not (isinstance(value, wanted) or (wanted is float and type(value) is int)):
            needed = getattr(wanted, "__name__", str(wanted))
            raise ValueError(f"layer option {option!r} has the value {value!r}: {needed} is needed")
    return LAYERS[name](features=options["width"], **defaults | dict(layer_options))


def _chosen(rows: list[dict[str, Any]], maximise: bool) -> int:
    """The row with the best mean validation score; one that has none, because a seed failed at once, comes last."""
    means = np.asarray([row["val_mean"] for row in rows], float) * (1 if maximise else -1)
    return int(np.argmax(np.where(np.isnan(means), -np.inf, means)))

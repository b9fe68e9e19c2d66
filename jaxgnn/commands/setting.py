"""What to work on, as the commands' options: a data set with its propagation matrix, and a network."""

import ast
import contextlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from jaxgnn import data
from jaxgnn.data.load import is_path
from jaxgnn.graphs import rewiring
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.graphs.prepare import prepare
from jaxgnn.host.cores import use_cores
from jaxgnn.host.options import check_known, check_whole
from jaxgnn.host.spelling import meant
from jaxgnn.host.storage import as_json
from jaxgnn.layers import LAYERS
from jaxgnn.network.model import DeepGNN
from jaxgnn.network.stack import INITIALISERS
from jaxgnn.tasks import node_classification

# DeepGNN's options as a dataclass of plain values, for the command line; what the data set decides is left out.
_TEXT = {"layer": str, "activation": str | None, "residual": str | None, "norm": str}
_DECIDED = ("out", "pool", "interventions", "parent", "name")
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
      dataset: a name that `jaxgnn data list` shows, of which csbm, power_law, roads and karate need no file; or the
        path of a file that `jaxgnn.save_dataset` wrote, or of a folder with edges.csv and nodes.csv.
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
            check_known(option, getattr(self, option), get_args(DataConfig.__annotations__[option]))
        check_whole("rewired", self.rewired, least=0)

    def problem(self, hops: int | None) -> Any:
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


def network(model: Any, layer_options: tuple[str, ...]) -> DeepGNN:
    """The network that a ModelConfig describes, with options of its layer; `out` is left for the data to decide."""
    options = {f.name: getattr(model, f.name) for f in fields(model)}
    literals = {name: literal(f"layer option {name!r}", values) for name, values in named_values(layer_options).items()}
    return DeepGNN(**options | {"layer": _layer(options, literals)})


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


def literal(what: str, values: list[str]) -> Any:
    """The one value of an option: a number, True, False or None, or a word. Raises ValueError for several."""
    if len(values) != 1:
        raise ValueError(f"{what} has {len(values)} values: one is needed")
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
            near = meant(option, types)
            raise ValueError(f"layer option {option!r} is not known{near} allowed for {name} are {', '.join(types)}")
        wanted = types[option]
        if not (isinstance(value, wanted) or (wanted is float and type(value) is int)):
            needed = getattr(wanted, "__name__", str(wanted))
            raise ValueError(f"layer option {option!r} has the value {value!r}: {needed} is needed")
    return LAYERS[name](features=options["width"], **defaults | dict(layer_options))


def label(dataset: str) -> str:
    """What a data set is called in a folder's name: its own, or its file's."""
    return Path(dataset).resolve().stem if is_path(dataset) else dataset


def start_on(cores: int | None) -> None:
    """A CPU device a core, for runs side by side. Raises ValueError where `cores` is given and cannot be had."""
    if cores is not None:
        use_cores(cores)
        return
    with contextlib.suppress(ValueError):  # JAX has started already: with what it has
        use_cores()


def summary(page: Path, folder: Path, **found: Any) -> str:
    """The last line of a command with --json: where its page and results are, and what it found; null for no number."""
    return as_json({"page": str(page), "results": str(folder / "results.json")} | found)

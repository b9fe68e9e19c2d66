"""Is gradient oversmoothing, or expansion, special to graph networks? GNN, CNN, MLP and RNN of equal depth.

Question (Park & Kim 2024, open): they show that gradients of a deep GCN smooth, and of a residual one expand. Here six
networks with the same nodes, features, labels, width, depth and norm-preserving weights (orthogonal, times sqrt(2)
under ReLU) differ in one thing alone, how a layer mixes the nodes:
  GNN on a csbm or a torus  H = P X W, P fixed and doubly stochastic
  CNN                       H_v = sum_o X_(v + o) W_o, o the torus' five offsets: as local as P there, but learned
  MLP                       H = X W
  RNN, recurrent GNN        an MLP and a GNN with one W for all layers: depth is time

Command: jaxgnn reproduce questions/architectures
Cost: 6 minutes (4 of them CPU time), measured beside other work on two cores.
Numbers: lowest mu(G)/||G|| of plain networks GNN 0.30 [0.10, 0.50], MLP 0.986 [0.973, 0.999], CNN 0.992 [0.985, 0.998],
RNN 0.937 [0.902, 0.972]; ln mu(G) per layer of residual ones GNN 0.415 [0.378, 0.452], MLP 0.477 [0.439, 0.515].
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import orthogonal

import jaxgnn as jg
from jaxgnn.data.dataset import Dataset
from jaxgnn.evidence import intervals
from jaxgnn.evidence.finding import Finding
from jaxgnn.evidence.intervals import Interval
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.questions import common
from jaxgnn.experiments.questions.common import Layers
from jaxgnn.graphs.connectivity import second_eigenvalue
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.page import Table
from jaxgnn.tasks.padding import stacked

OFFSETS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
# Norm-preserving, made once: equal networks are one program.
WEIGHTS = {"relu": orthogonal(math.sqrt(2)), "tanh": orthogonal()}


class Convolution(nn.Module):
    """H_v = sum_o X_(v + o) W_o, [n, d] -> [n, features]: nodes are the cells of a square torus, row by row."""

    features: int
    kernel_init: Any = orthogonal()
    hops: ClassVar[int] = 1

    @nn.compact
    def __call__(self, graph, X):
        del graph
        side, d = math.isqrt(X.shape[0]), X.shape[1]
        # As one matrix [5 d, features] with orthonormal columns, which keeps the norm on average both ways.
        W = self.param("kernel", self.kernel_init, (len(OFFSETS) * d, self.features))
        cells = X.reshape(side, side, d)
        near = [jnp.roll(cells, (-i, -j), (0, 1)).reshape(-1, d) for i, j in OFFSETS]
        return jnp.concatenate(near, axis=1) @ W


# The graph, the layer, and whether all layers share their weights. Without edges P = I: the MLP's H = X W.
NETWORKS = {
    "GNN, csbm": ("csbm", jg.layers.GCN, False),
    "GNN, torus": ("torus", jg.layers.GCN, False),
    "MLP": ("no edges", jg.layers.GCN, False),
    "recurrent GNN": ("csbm", jg.layers.GCN, True),
    "RNN": ("no edges", jg.layers.GCN, True),
    "CNN": ("torus", Convolution, False),
}
GRAPH_NETWORKS = ("GNN, csbm", "GNN, torus", "recurrent GNN")
_FLOOR = 1e-5  # relative mu below this is float32's rounding


@dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
      side: of the torus; all networks have side^2 nodes.
      depth: L.
      width: d.
      seeds: weights of each network.
      steps: updates of the short training.
      learning_rate: of Adam.
      average_degree, homophily: of the csbm.
      activations: "relu", "tanh"; networks are trained with the first.
      networks: which of NETWORKS.
    """

    side: int = 14
    depth: int = 32
    width: int = 32
    seeds: int = 6
    steps: int = 100
    learning_rate: float = 1e-3
    average_degree: float = 8.0
    homophily: float = 0.8
    activations: tuple[str, ...] = ("relu",)
    networks: tuple[str, ...] = tuple(NETWORKS)


SMOKE = Config(side=6, depth=6, width=8, seeds=2, steps=3, activations=("relu",), networks=("GNN, csbm", "MLP"))


class Row(NamedTuple):
    """One network before and after training, None where it is not trained; train_loss and score are [seeds]."""

    network: str
    activation: str
    residual: str
    initial: Layers
    trained: Layers | None = None
    train_loss: np.ndarray | None = None
    score: np.ndarray | None = None


class Results(NamedTuple):
    """lambda is P's second largest modulus, by graph."""

    config: Config
    constant_loss: float
    second_eigenvalues: dict[str, float]
    rows: list[Row]


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    """Every network at initialisation and after training, and what all of them were given."""
    return {"data": partial(_described, config)} | {_name(*s): partial(_measure, config, *s) for s in _setups(config)}


def _setups(config: Config) -> list[tuple[str, str, str]]:
    return list(itertools.product(config.activations, ("none", "identity"), config.networks))


def _name(activation: str, residual: str, network: str) -> str:
    return f"{network}, {activation}, residual {residual}"


@lru_cache(maxsize=1)
def _tasks(config: Config) -> tuple[dict[str, Any], dict[str, jg.Graph]]:
    """Tasks by graph, padded to one shape so that one program serves all three; and the graphs."""
    ds, torus = data(config)
    edges = {"csbm": {"graph": ds.graph}, "torus": torus, "no edges": {"num_nodes": config.side**2}}
    edges["no edges"] |= {end: np.zeros(0, np.int32) for end in ("senders", "receivers")}
    graphs = {name: jg.prepare(**arrays, normalisation="doubly") for name, arrays in edges.items()}
    padded = stacked(list(graphs.values()))
    tasks = {
        name: jg.tasks.node_classification(ds, jax.tree.map(lambda a, i=i: a[i], padded), features="raw")
        for i, name in enumerate(graphs)
    }
    return tasks, graphs


def _described(config: Config) -> Arrays:
    tasks, graphs = _tasks(config)
    eigenvalues = {f"eigenvalue/{name}": second_eigenvalue(graphs[name]) for name in ("csbm", "torus")}
    return {"constant_loss": tasks["csbm"].constant_loss(), **eigenvalues}


def _measure(config: Config, activation: str, residual: str, network: str) -> Arrays:
    graph, kind, shared = NETWORKS[network]
    task = _tasks(config)[0][graph]
    model = jg.DeepGNN(
        layer=kind(config.width, kernel_init=WEIGHTS[activation]),
        share_weights=shared,
        depth=config.depth,
        width=config.width,
        out=task.out,
        activation=activation,
        residual=residual,
    )
    if activation != config.activations[0]:
        return _by_name("initial", common.measured(model, _drawn(model, task, config.seeds), task))
    result = jg.train(model, task, seeds=config.seeds, steps=config.steps, learning_rate=config.learning_rate)
    ends = {"initial": result.initial_params, "trained": result.final_params}
    arrays = {"train_loss": result.train_loss, "score": result.score}
    for when, params in ends.items():
        arrays |= _by_name(when, common.measured(model, params, task))
    return arrays


def _by_name(when: str, layers: Layers) -> Arrays:
    return {f"{when}/{name}": values for name, values in layers._asdict().items()}


def _gathered(config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> Results:
    rows = []
    for activation, residual, network in _setups(config):
        arrays = found[_name(activation, residual, network)]
        ends = [
            Layers(*(arrays[f"{when}/{name}"] for name in Layers._fields)) if f"{when}/feature_mu" in arrays else None
            for when in ("initial", "trained")
        ]
        rows.append(Row(network, activation, residual, *ends, arrays.get("train_loss"), arrays.get("score")))
    given = found["data"]
    eigenvalues = {name: float(given[f"eigenvalue/{name}"]) for name in ("csbm", "torus")}
    return Results(config, float(given["constant_loss"]), eigenvalues, rows)


@partial(jax.jit, static_argnums=(0, 2))
def _drawn(model: jg.DeepGNN, task: Any, seeds: int) -> Any:
    """Weights of every seed, in a leading axis."""
    keys = jax.random.split(jax.random.key(0), seeds)
    return jax.lax.map(lambda key: model.init(key, task.graph, task.x), keys)


def data(config: Config) -> tuple[Dataset, dict[str, Any]]:
    """A connected csbm with its nodes sorted by class, and the torus whose cell v is node v: classes lie together."""
    n = config.side**2
    options = {"train_per_class": min(20, n // 6), "homophily": config.homophily}
    ds = common.connected_csbm(num_nodes=n, average_degree=config.average_degree, **options)
    order = np.argsort(ds.labels, kind="stable")
    number = np.argsort(order)
    graph = ds.graph._replace(senders=number[ds.graph.senders], receivers=number[ds.graph.receivers])
    sorted_ = {name: getattr(ds, name)[order] for name in ("x", "labels", "train_mask", "val_mask", "test_mask")}
    cells = np.arange(n).reshape(config.side, config.side)
    near = np.stack([np.roll(cells, (-i, -j), (0, 1)).ravel() for i, j in OFFSETS[1:]])
    torus = {"senders": near.ravel(), "receivers": np.tile(np.arange(n), len(near)), "num_nodes": n}
    return ds._replace(graph=graph, **sorted_), torus


class Rates(NamedTuple):
    """Per layer towards the input, mean over seeds.

    Attributes:
      mu, norm: slopes of ln mu(G) and ln ||G||_F over all layers.
      relative: slope of ln (mu(G) / ||G||_F) over the half of the layers next to the output: near the input, where the
        features are not smooth, it may rise again.
      least: the lowest mu(G) / ||G||_F of all layers.
    """

    mu: Interval
    norm: Interval
    relative: Interval
    least: Interval


def rates(layers: Layers) -> Rates:
    """The slopes and the lowest value with their intervals over the runs."""
    relative = layers.gradient_relative
    slopes = (common.rates(layers.gradient_mu), common.rates(layers.gradient_norm))
    upper = common.rates(relative[:, relative.shape[1] // 2 :], floor=_FLOOR)
    mu, norm, slope, least = map(intervals.mean_interval, (*slopes, upper, relative.min(axis=1)))
    return Rates(mu, norm, slope, least)


def plot(results: Results) -> dict[str, Shown]:
    """Relative mu and norm of G^(l) at every layer, plain and residual, medians over seeds."""
    figures = {}
    shown = results.config.activations[0]
    for residual, name in (("none", "plain"), ("identity", "residual")):
        rows = [row for row in results.rows if (row.activation, row.residual) == (shown, residual)]
        for quantity, label in (("gradient_relative", "μ(G⁽ˡ⁾) / ‖G⁽ˡ⁾‖"), ("gradient_norm", "‖G⁽ˡ⁾‖")):
            ends = (
                {row.network: common.median(getattr(getattr(row, when), quantity)) for row in rows}
                for when in ("initial", "trained")
            )
            figures[f"{name}_{quantity}"] = Shown(
                panels.by_layer(*ends, ylabel=label, limits=panels.PART if "relative" in quantity else panels.ANY),
                f"{label}, {name} networks",
                f"{label} at every layer, median of {results.config.seeds} seeds, {shown}; read from right to left.",
            )
    return figures


def _said(results: Results) -> tuple[str, str]:
    """The evidence, and the answer."""
    config = results.config
    found = {(row.activation, row.residual, row.network): rates(row.initial) for row in results.rows}
    threshold = common.DEPTH_RATE
    sides = {}
    for activation in config.activations:
        smoothing = [n for n in config.networks if found[activation, "none", n].relative.high < -threshold]
        expanding = [n for n in config.networks if found[activation, "identity", n].mu.low > threshold]
        alike = [n for n in config.networks if found[activation, "identity", n].relative.high < -threshold]
        sides[activation] = smoothing, expanding, alike
    first = config.activations[0]

    def said(residual, quantity):
        return "; ".join(f"{n} {getattr(found[first, residual, n], quantity).text()}" for n in config.networks)

    evidence = (
        f"{config.depth} layers of width {config.width}, {config.side**2} nodes, {config.seeds} seeds, at "
        f"initialisation, {first}. Change of ln(mu(G)/||G||) per layer towards the input over the upper half of plain "
        f"networks, mean with 95% interval: {said('none', 'relative')}; lowest mu(G)/||G||: {said('none', 'least')}. "
        f"Residual networks, change of ln mu(G): {said('identity', 'mu')}; lowest mu(G)/||G||: "
        f"{said('identity', 'least')}. "
        f"lambda of P: " + ", ".join(f"{name} {v:.3f}" for name, v in results.second_eigenvalues.items()) + "."
    )
    verdict = " ".join(_verdict(activation, sides[activation], found) for activation in config.activations)
    return evidence, verdict


def _verdict(activation: str, sides: tuple[list[str], ...], found: dict) -> str:
    smoothing, expanding, alike = sides
    networks = {network for _, _, network in found}
    others = [name for name in smoothing if name not in GRAPH_NETWORKS]
    all_graph = all(name in smoothing for name in networks if name in GRAPH_NETWORKS)
    if all_graph and not others:
        smooths = "smoothing is special to the graph networks: no other network shows it"
    elif all_graph:
        smooths = f"smoothing is not special to graph networks: {common.listed(others)} show it too"
    else:
        smooths = f"smoothing is seen in {common.listed(smoothing)}, not in every graph network"
        smooths += "" if others else ", and in no other"
    outside = [name for name in expanding if name not in GRAPH_NETWORKS]
    if outside:
        fastest = max(expanding, key=lambda name: found[activation, "identity", name].mu.value)
        expands = f"expansion is not special to them: {common.listed(expanding)} expand, {fastest} fastest"
    else:
        expands = f"expansion is seen in {common.listed(expanding)}, in no other network"
    diverse = (
        f"where it expands in {common.listed(alike)}, the gradients also become more alike, not more diverse"
        if alike
        else "the gradients that expand do not become more alike"
    )
    return f"With {activation}, {smooths}; {expands}; {diverse}."


def table(results: Results) -> Table:
    """One row a network: its rates at initialisation and after training, loss and accuracy."""
    header = (
        "network",
        "activation",
        "residual",
        "when",
        "ln μ(G) per layer",
        "ln ‖G‖ per layer",
        "ln relative μ(G), upper half",
        "lowest relative μ(G)",
        "training loss",
        "test accuracy",
    )
    body = []
    for row in results.rows:
        for when, layers in (("initial", row.initial), ("trained", row.trained)):
            if layers is None:
                continue
            cells = [interval.text() for interval in rates(layers)]
            ends = [""] * 2
            if row.train_loss is not None and row.score is not None and when == "trained":
                loss = intervals.mean_interval(row.train_loss)
                ends = [f"{loss.value:.3g}" if np.isfinite(loss.value) else "not finite"]
                ends.append(intervals.mean_interval(row.score).text())
            body.append((row.network, row.activation, row.residual, when, *cells, *ends))
    return Table(header, body)


def show(config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    results = _gathered(config, found)
    evidence, answer = _said(results)
    return Finding(
        evidence,
        "answered",
        answer,
        figures=plot(results),
        tables={"All networks": table(results)},
        notes=[
            "Slopes by least squares, of relative mu over the half of the layers next to the output, then the mean "
            "over seeds with Student's 95% interval; a change counts where its whole interval lies beyond "
            f"{common.DEPTH_RATE:g} per layer. Relative mu below {_FLOOR:g} is rounding and left out of slopes. One "
            "csbm; the intervals are over weights.",
            f"Trained with {config.activations[0]} alone, {config.steps} steps of Adam {config.learning_rate:g}: the "
            f"gradients are then those of the trained weights; constant predictor's loss {results.constant_loss:.4f}. "
            "The RNN is given its input once, as X^(0).",
        ],
    )


REPRODUCTION = Reproduction(
    name="questions/architectures",
    title="Is gradient oversmoothing or expansion special to graph networks?",
    claim="The gradients of a plain deep GNN become alike towards the input, and those of a residual one expand "
    "(Park & Kim 2024); whether other deep networks do the same is left open there.",
    presets={"smoke": SMOKE, "cpu": Config()},
    cost={"smoke": "seconds", "cpu": "6 min, beside other work"},
    cells=cells,
    show=show,
)

"""One network whose readout alone is trained: what `stationary` measures of it, and how that is kept in a file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import networkx as nx
import numpy as np
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.data import Dataset
from jaxgnn.data.dataset import graphs_tuple
from jaxgnn.graph import Graph, second_eigenvalue
from jaxgnn.landscape import HessianExtremes, Landscape, hessian_extremes, landscape
from jaxgnn.precision import precision
from jaxgnn.readout import Readout, descend_readout, exact_readout, readout_at, readout_path, with_readout
from jaxgnn.stationary import Balance, balance, kept_vector, norm_preserving, propagated
from jaxgnn.tasks.node_classification import masked_cross_entropy

STAGES = ("initial", "adam", "stationary", "exact", "no bias")
REMEDIES: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "residual": {"residual": "identity"},
    "residual + bound": {"residual": "identity", "bound": "frobenius", "bound_c": 0.5},
    "ssm": {"residual": "ssm"},
    "pairnorm": {"norm": "pairnorm"},
    "layer norm": {"norm": "layer"},
    "4-hop": {"khop": True},
    "rewired": {},
}
_HOPS = 4
_RADIUS = 0.5  # of a slice: directions are as long as each filter
_REWIRED = 0.25  # edges that fosr adds, as a share of those there are


@dataclass(frozen=True)
class Options:
    """How every network is measured: Adam's steps and rate, points of a slice, Hessian-vector products."""

    adam_steps: int
    learning_rate: float
    slice_points: int
    lanczos_steps: int


@dataclass(frozen=True)
class Setting:
    """One network on one graph; `weights` is DeepGNN's init_weights, `remedy` a name of `REMEDIES`."""

    graph: str = "csbm"
    normalisation: str = "doubly"
    layer: str = "gcn"
    activation: str = "relu"
    depth: int = 32
    width: int = 32
    weights: str = "orthogonal"
    remedy: str = "none"
    seed: int = 0

    @property
    def kind(self) -> "Setting":
        """The setting whatever its seed is."""
        return replace(self, seed=0)


class Stage(NamedTuple):
    """The network with one readout.

    Attributes:
      loss: training loss; score: test accuracy.
      gradient_norm, relative_gradient: of the readout, as in `jaxgnn.stationary.Readout`.
      separates: every training node's own class has the largest logit.
      readout_norm: ||R||_F ||X^(L)||_F / sqrt(n), so that the scale of X^(L) does not count.
      mean_error: ||1^T E|| / (sqrt(n) ||E||_F), E the output error.
      kept_error: ||v^T E|| / ||E||_F, v the unit vector that P keeps.
      balance: of every layer.
    """

    loss: float
    score: float
    gradient_norm: float
    relative_gradient: float
    separates: bool
    readout_norm: float
    mean_error: float
    kept_error: float
    balance: Balance


class Cell(NamedTuple):
    """A network.

    Attributes:
      eigenvalue: lambda of its P; 0 for the MLP, which has none.
      constant_loss: the best constant predictor's.
      smoothness: ||S|| / ||X^(l)||, S the part beside v, [L+1].
      path: gradient norm, loss and ||R||_F at every point of `readout_path`, [k, 3].
      stages: by name.
    """

    setting: Setting
    eigenvalue: float
    constant_loss: float
    nodes: int
    train_nodes: int
    smoothness: np.ndarray
    path: np.ndarray
    stages: dict[str, Stage]


class Around(NamedTuple):
    """The loss around a network in its layers' weights, at one stage."""

    setting: Setting
    stage: str
    constant_loss: float
    landscape: Landscape
    hessian: HessianExtremes


@cache
def dataset(name: str) -> Dataset:
    """A connected graph with labelled nodes, by a name used here."""
    sizes = {"num_nodes": 240, "train_per_class": 60, "val_fraction": 0.1}
    csbm = {"csbm": (10.0, 0.6), "csbm-dense": (30.0, 0.4), "csbm-homophilous": (10.0, 0.8)}
    if name in csbm:
        degree, homophily = csbm[name]
        ds = jg.load_dataset("csbm", average_degree=degree, homophily=homophily, **sizes)
    elif name == "karate":  # two training nodes have no loss to plateau at
        ds = jg.load_dataset("karate")
        ds = ds._replace(train_mask=ds.train_mask | ds.val_mask)
    elif name == "cora":
        ds = jg.load_dataset("cora", split="geom:0")
    elif name == "cora-public":
        ds = jg.load_dataset("cora")
    elif name in ("ring", "grid"):
        ds = _regular(name)
    else:
        allowed = ", ".join([*csbm, "cora", "cora-public", "ring", "grid", "karate"])
        raise ValueError(f"graph={name!r} is not known: allowed are {allowed}")
    return jg.largest_component(ds)


def _regular(name: str, signal: float = 1.25, features: int = 16) -> Dataset:
    """A ring of 60 nodes or an 8 x 8 grid, its nodes in three stretches of one class each; features as csbm's."""
    graph = nx.cycle_graph(60) if name == "ring" else nx.convert_node_labels_to_integers(nx.grid_2d_graph(8, 8))
    a, b = np.array(graph.edges()).T
    n = graph.number_of_nodes()
    labels = (np.arange(n) * 3 // n).astype(np.int32)
    rng = np.random.default_rng(0)
    x = signal * np.eye(features)[labels] + rng.standard_normal((n, features))
    split = rng.permutation(n) % 4
    return Dataset(
        name=name,
        split="default",
        graph=graphs_tuple(np.concatenate([a, b]), np.concatenate([b, a]), n),
        x=x.astype(np.float32),
        labels=labels,
        num_classes=3,
        train_mask=split < 2,
        val_mask=split == 2,
        test_mask=split == 3,
        files={},
    )


def prepared(setting: Setting, ds: Dataset) -> Graph:
    """The graph with the setting's P; rewired or with its pairs at a distance where the remedy asks for it."""
    edges = ds.graph
    if setting.remedy == "rewired":
        edges = jg.fosr(edges, edges=round(_REWIRED * edges.senders.size / 2))
    hops = _HOPS if REMEDIES[setting.remedy].get("khop") else None
    return jg.prepare(edges, normalisation=setting.normalisation, hops=hops)


class _Network(NamedTuple):
    ds: Dataset
    graph: Graph
    model: jg.DeepGNN
    params: Any
    x: np.ndarray
    loss: Partial
    readouts: dict[str, Readout]
    path: list[Readout]


@partial(jax.jit, static_argnums=0)
def _draw(model: jg.DeepGNN, key: Any, graph: Graph, x: np.ndarray) -> Any:
    return model.init(key, graph, x)


def network(setting: Setting, options: Options) -> _Network:
    """The network, and its readout at every stage."""
    ds = dataset(setting.graph)
    graph = prepared(setting, ds)
    model = jg.DeepGNN(
        layer=setting.layer,
        depth=setting.depth,
        width=setting.width,
        out=ds.num_classes,
        activation=setting.activation,
        init_weights=setting.weights,
        **REMEDIES[setting.remedy],
    )
    x = np.asarray(ds.x, np.float64)
    params = _draw(model, jax.random.key(setting.seed), graph, x)
    if setting.weights == "orthogonal":
        params = norm_preserving(model, params, graph, x)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    loss = Partial(masked_cross_entropy, ds.labels, ds.train_mask)
    X = np.asarray(jg.probe(model, params, graph, x, loss).features[-1])
    start = params["params"]["readout"]
    # A residual's features grow with depth: with a remedy the readout is trained on X^(L) / RMS.
    unit = np.sqrt(np.mean(X**2)) if setting.remedy != "none" else 1.0
    given = (X / unit, ds.labels, ds.train_mask, start["kernel"], start["bias"])
    path = readout_path(*given)
    trained = {
        "initial": readout_at(*given),
        "adam": descend_readout(*given, steps=options.adam_steps, learning_rate=options.learning_rate),
        "stationary": path[-1],
        "exact": exact_readout(*given),
        "no bias": readout_path(*given, train_bias=False)[-1],
    }
    readouts = {name: readout._replace(kernel=readout.kernel / unit) for name, readout in trained.items()}
    return _Network(ds, graph, model, params, x, loss, readouts, path)


def measure(setting: Setting, options: Options) -> Cell:
    """Trains the readout alone and takes every layer's balance at each stage."""
    with precision(np.float64):
        net = network(setting, options)
        v = kept_vector(net.graph)
        stages = {name: _stage(net, readout, v) for name, readout in net.readouts.items()}
        features = _features(net, net.readouts["initial"])[0]
        beside = features - v[:, None] * (v @ features)[:, None]
        constant = jg.tasks.node_classification(net.ds, net.graph).constant_loss()
    return Cell(
        setting,
        eigenvalue=second_eigenvalue(net.graph) if setting.layer != "mlp" else 0.0,
        constant_loss=constant,
        nodes=net.graph.num_nodes,
        train_nodes=int(net.ds.train_mask.sum()),
        smoothness=np.linalg.norm(beside, axis=(1, 2)) / np.linalg.norm(features, axis=(1, 2)),
        path=np.array([(r.gradient_norm, r.loss, np.linalg.norm(r.kernel)) for r in net.path]),
        stages=stages,
    )


def _features(net: _Network, readout: Readout) -> tuple[np.ndarray, np.ndarray]:
    """X^(0) .. X^(L) and B^(0) .. B^(L-1) with this readout."""
    trace = jg.probe(net.model, with_readout(net.params, readout), net.graph, net.x, net.loss)
    return np.asarray(trace.features), np.asarray(trace.errors)


def _stage(net: _Network, readout: Readout, v: np.ndarray) -> Stage:
    features, errors = _features(net, readout)
    X, n, test = features[-1], len(v), net.ds.test_mask
    logits = X @ readout.kernel + readout.bias
    E = np.asarray(jax.grad(net.loss)(logits))
    size = np.linalg.norm(E) or 1.0
    return Stage(
        loss=readout.loss,
        score=float(np.mean(logits.argmax(axis=1)[test] == net.ds.labels[test])),
        gradient_norm=readout.gradient_norm,
        relative_gradient=readout.relative_gradient,
        separates=readout.separates,
        readout_norm=float(np.linalg.norm(readout.kernel) * np.linalg.norm(X) / np.sqrt(n)),
        mean_error=float(np.linalg.norm(E.sum(axis=0)) / np.sqrt(n) / size),
        kept_error=float(np.linalg.norm(v @ E) / size),
        balance=balance(propagated(net.model, net.graph, features), errors, v),
    )


def surroundings(setting: Setting, options: Options) -> list[Around]:
    """The slice and the Hessian's extremes around the network with its readout trained by Adam, and to stationarity."""
    with precision(np.float64):
        net = network(setting, options)
        constant = jg.tasks.node_classification(net.ds, net.graph).constant_loss()
        found = []
        for stage in ("adam", "stationary"):
            point = (net.model, with_readout(net.params, net.readouts[stage]), net.graph, net.x, net.loss)
            shape = landscape(*point, radius=_RADIUS, points=options.slice_points)
            found.append(Around(setting, stage, constant, shape, hessian_extremes(*point, steps=options.lanczos_steps)))
    return found


NUMBERS = tuple(name for name in Stage._fields if name != "balance")


def pack_cell(cell: Cell) -> dict[str, Any]:
    arrays = {name: getattr(cell, name) for name in Cell._fields if name not in ("setting", "stages")}
    for name, stage in cell.stages.items():
        arrays |= {f"{name}/{field}": getattr(stage, field) for field in NUMBERS}
        arrays |= {f"{name}/balance/{field}": value for field, value in stage.balance._asdict().items()}
    return arrays


def unpack_cell(setting: Setting, arrays: dict[str, Any]) -> Cell:
    def stage(name):
        numbers = [arrays[f"{name}/{field}"].item() for field in NUMBERS]
        return Stage(*numbers, Balance(*(arrays[f"{name}/balance/{field}"] for field in Balance._fields)))

    numbers = [arrays[name].item() for name in ("eigenvalue", "constant_loss", "nodes", "train_nodes")]
    return Cell(setting, *numbers, arrays["smoothness"], arrays["path"], {name: stage(name) for name in STAGES})


def pack_around(found: list[Around]) -> dict[str, Any]:
    arrays = {"stages": np.array([one.stage for one in found]), "constant_loss": found[0].constant_loss}
    for one in found:
        arrays |= {f"{one.stage}/{name}": value for name, value in one.landscape._asdict().items()}
        arrays |= {f"{one.stage}/{name}": value for name, value in one.hessian._asdict().items()}
    return arrays


def unpack_around(setting: Setting, arrays: dict[str, Any]) -> list[Around]:
    def one(stage):
        shape = Landscape(*(arrays[f"{stage}/{name}"] for name in Landscape._fields))
        hessian = HessianExtremes(*(arrays[f"{stage}/{name}"].item() for name in HessianExtremes._fields))
        return Around(setting, stage, arrays["constant_loss"].item(), shape, hessian)

    return [one(str(stage)) for stage in arrays["stages"]]


def words(setting: Setting) -> str:
    P = "" if setting.layer == "mlp" else f" {setting.normalisation}"
    rest = "" if setting.remedy == "none" else f", {setting.remedy}"
    return (
        f"{setting.graph}, {setting.layer}{P}, {setting.activation}, {setting.depth} x {setting.width}, "
        f"{setting.weights}{rest}"
    )

"""What the reproductions share: connected graphs by name, and networks on them that keep norms, in float64."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import networkx as nx
import numpy as np
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.analysis.stationary import norm_preserving
from jaxgnn.data import Dataset
from jaxgnn.data.dataset import graphs_tuple
from jaxgnn.graphs.connectivity import second_eigenvalue
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.tasks.node_classification import masked_cross_entropy
from jaxgnn.tasks.objectives import constant_loss

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
_REWIRED = 0.25  # edges that fosr adds, as a share of those there are
OURS = "Graphs, depths, widths, orthogonal weights and X^(0) of RMS 1 are ours: the paper's settings are not known."


@dataclass(frozen=True)
class Setting:
    """One network on one graph; `weights` is DeepGNN's init_weights, `remedy` a name of `REMEDIES`."""

    graph: str = "csbm"
    normalisation: Normalisation = "doubly"
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

    @property
    def words(self) -> str:
        """All of it but the seed."""
        P = "" if self.layer == "mlp" else f" {self.normalisation}"
        rest = "" if self.remedy == "none" else f", {self.remedy}"
        sizes = f"{self.depth} x {self.width}"
        return f"{self.graph}, {self.layer}{P}, {self.activation}, {sizes}, {self.weights}{rest}"


class Network(NamedTuple):
    """A network, its variables in float64, and the cross-entropy on the training nodes; lambda, 0 for the MLP."""

    ds: Dataset
    graph: Graph
    model: jg.DeepGNN
    params: Any
    x: np.ndarray
    loss: Partial
    eigenvalue: float
    constant_loss: float


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
        test = np.flatnonzero(ds.test_mask)
        val_mask = np.isin(np.arange(ds.test_mask.size), test[::2])
        ds = ds._replace(train_mask=ds.train_mask | ds.val_mask, val_mask=val_mask, test_mask=ds.test_mask & ~val_mask)
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


def over_seeds(rows: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What was measured of every network, by name, with a leading axis of seeds."""
    rows = list(rows)
    return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}


def network(setting: Setting) -> Network:
    """The network; call it, and use what it returns, under `precision(np.float64)`.

    Orthogonal layers (times sqrt(2) for relu) and X^(0) of RMS 1: norms fall by what P takes away alone.
    """
    ds = dataset(setting.graph)
    graph, eigenvalue, constant = _prepared(setting.graph, setting.normalisation, setting.remedy)
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
    linear = model.clone(activation="identity")  # one program draws for every activation
    params = _draw(linear, jax.random.key(setting.seed), graph, x)
    if setting.weights == "orthogonal":
        params = norm_preserving(model, params, graph, x)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    loss = Partial(masked_cross_entropy, ds.labels, ds.train_mask)
    return Network(ds, graph, model, params, x, loss, eigenvalue if setting.layer != "mlp" else 0.0, constant)


@cache
def _prepared(name: str, normalisation: Normalisation, remedy: str) -> tuple[Graph, float, float]:
    """The graph with its P, rewired or with its pairs at a distance where asked for; lambda; the constant's loss."""
    ds = dataset(name)
    edges = ds.graph
    if remedy == "rewired":
        edges = jg.fosr(edges, edges=round(_REWIRED * len(np.asarray(edges.senders)) / 2))
    hops = _HOPS if REMEDIES[remedy].get("khop") else None
    graph = jg.prepare(edges, normalisation=normalisation, hops=hops)
    return graph, second_eigenvalue(graph), constant_loss("cross_entropy", ds.labels[ds.train_mask])


@partial(jax.jit, static_argnums=0)
def _draw(model: jg.DeepGNN, key: Any, graph: Graph, x: np.ndarray) -> Any:
    return model.init(key, graph, x)


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

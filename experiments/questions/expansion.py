"""How fast do a residual GCN's gradients expand, against homophily and topology? A spectral prediction tested.

Question (Park & Kim 2024, open). For P symmetric with eigenvalues p_i, W^(l) with independent entries N(0, sigma^2/d)
and X^(l+1) = X^(l) + rho(P X^(l) W^(l)), let g_i^(l) be the component of G^(l) along P's eigenvector i.
Linear: G^(l) = G^(l+1) + P G^(l+1) W^T, E ||g W^T||^2 = sigma^2 ||g||^2, and the cross term is odd in W:
  E ||g_i^(l)||^2 = (1 + sigma^2 p_i^2) E ||g_i^(l+1)||^2
so topology and homophily matter only through P's spectrum and where the gradient lies in it. ReLU: half of the entries
pass, sigma^2 / 2, were the masks independent of W; they are not. What holds exactly, for any P and every stack without
biases and norms that is positively homogeneous (linear, ReLU), is Euler's theorem: X^(L) = J X^(l), G^(l) = J^T G^(L),
  <G^(l), X^(l)> is the same at every l, so ||G^(l)||_F >= |<G^(L), X^(L)>| / ||X^(l)||_F
the gradient expands backward at least as the features do forward. ReLU makes all rows of X grow into one positive
direction: |x|^2 -> |x|^2 (1 + 2 rho kappa + 1/2), x . 1 -> x . 1 (1 + kappa / rho), rho = x . 1 / (|x| sqrt(d)),
kappa = 1 / sqrt(2 pi), sigma = p = 1, which rests at a growth of 1 + kappa / rho = 1.474, the same on every graph.
For doubly stochastic P mu(G) leaves out the eigenvector of p = 1. Tested on a csbm sweep over homophily and degree, as
drawn and with features and labels shuffled over the nodes, and on named graphs.

Command: jaxgnn reproduce questions/expansion
Cost: 2 minutes, measured beside other work on two cores.
Numbers: linear, measured / predicted 0.998 [0.990, 1.006]; ReLU against independent masks 3.04 [2.81, 3.35], against
the growth of the features 0.931 [0.924, 0.937].
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float
from scipy.optimize import brentq

import jaxgnn as jg
from jaxgnn.evidence import intervals
from jaxgnn.evidence.finding import Finding
from jaxgnn.evidence.intervals import Interval
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.questions import common
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import GREY, Axis, Panel, Series
from jaxgnn.report.page import Table
from jaxgnn.tasks.node_classification import masked_cross_entropy
from jaxgnn.tasks.padding import stacked

# The activation and the measure of G that each is about.
PREDICTIONS = {
    "linear, spectrum": ("identity", "mu"),
    "ReLU, spectrum and independent masks": ("relu", "mu"),
    "ReLU, growth of the features": ("relu", "norm"),
}
NODES = ("as drawn", "shuffled")
KAPPA = 1 / np.sqrt(2 * np.pi)  # E max(u, 0) of a standard normal u
RHO = float(brentq(lambda rho: (1 + KAPPA / rho) ** 2 - 1.5 - 2 * rho * KAPPA, 0.1, 1.0))
FORWARD_RATE = float(np.log(1 + KAPPA / RHO))


@dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
      side: all graphs have side^2 nodes.
      depth: L.
      width: d.
      homophily, average_degree: of the csbm sweep.
      graphs: csbm drawn for each, connected ones.
      seeds: weights drawn for each graph.
      resamples: of the bootstrap.
    """

    side: int = 14
    depth: int = 32
    width: int = 32
    homophily: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    average_degree: tuple[float, ...] = (6.0, 12.0, 24.0)
    graphs: int = 3
    seeds: int = 6
    resamples: int = 1000


SMOKE = Config(side=6, depth=6, width=8, homophily=(0.2, 0.8), average_degree=(6.0,), graphs=2, seeds=2, resamples=50)


class Results(NamedTuple):
    """What is predicted and what was measured for it at every layer of every graph and weights, [graphs, seeds, L+1].

    Attributes:
      homophily, average_degree, second_eigenvalue: of the graphs, [graphs]; homophily NaN for the `named`, which come
        last.
      measured: mu(G^(l)) or ||G^(l)||_F, by (one of PREDICTIONS, one of NODES).
      predicted: the same up to a factor.
    """

    config: Config
    homophily: np.ndarray
    average_degree: np.ndarray
    second_eigenvalue: np.ndarray
    named: tuple[str, ...]
    measured: dict[tuple[str, str], np.ndarray]
    predicted: dict[tuple[str, str], np.ndarray]

    def rates(self, kind: tuple[str, str], *, predicted: bool = False) -> np.ndarray:
        """Slopes of the logarithm of the root mean square over weights against L - l, [graphs]."""
        curves = (self.predicted if predicted else self.measured)[kind]
        return common.rates(np.sqrt(np.mean(np.square(curves, dtype=np.float64), axis=1)))


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    """Every graph at initialisation, by activation and order of the nodes: no training."""
    setups = itertools.product(("identity", "relu"), NODES)
    return {"graphs": partial(_described, config)} | {
        _name(*setup): partial(_measure, config, *setup) for setup in setups
    }


def _name(activation: str, nodes: str) -> str:
    return f"{activation}, nodes {nodes}"


class _Graphs(NamedTuple):
    """The csbm of the sweep (`cells`: homophily, degree and number), then the named graphs."""

    cells: list[tuple[float, float, int]]
    sets: list[Any]
    graphs: list[jg.Graph]
    eigenvalues: np.ndarray
    vectors: np.ndarray


@lru_cache(maxsize=1)
def _graphs(config: Config) -> _Graphs:
    n = config.side**2
    options = {"num_nodes": n, "train_per_class": min(20, n // 6)}
    sweep = list(itertools.product(config.homophily, config.average_degree, range(config.graphs)))
    drawn = [common.connected_csbm(seed=i, homophily=h, average_degree=k, **options) for h, k, i in sweep]
    sets = drawn + [drawn[0]._replace(graph=edges) for edges in named_graphs(config.side).values()]
    graphs = [jg.prepare(ds.graph, normalisation="doubly") for ds in sets]
    spectra = [np.linalg.eigh(np.asarray(graph.propagation.dense(), np.float64)) for graph in graphs]
    vectors = np.stack([vectors for _, vectors in spectra]).astype(np.float32)
    return _Graphs(sweep, sets, graphs, np.stack([values for values, _ in spectra]), vectors)


def _described(config: Config) -> Arrays:
    made = _graphs(config)
    homophily = [h for h, _, _ in made.cells] + [np.nan] * (len(made.sets) - len(made.cells))
    return {
        "homophily": np.array(homophily),
        "average_degree": np.array([graph.num_edges / graph.num_nodes for graph in made.graphs]),
        "second_eigenvalue": np.sort(np.abs(made.eigenvalues), axis=1)[:, -2],
    }


def _measure(config: Config, activation: str, nodes: str) -> Arrays:
    """By measure of G^(l): what was measured and what is predicted, each [graphs, seeds, L+1]."""
    made, n = _graphs(config), config.side**2
    model = jg.DeepGNN(
        depth=config.depth,
        width=config.width,
        out=made.sets[0].num_classes,
        activation=activation,
        residual="identity",
    )
    order = np.random.default_rng(0).permutation(n) if nodes == NODES[1] else np.arange(n)
    arrays = (np.stack([getattr(ds, name)[order] for ds in made.sets]) for name in ("x", "labels", "train_mask"))
    keys = jax.random.split(jax.random.key(0), (len(made.sets), config.seeds))
    found = _curves(model, stacked(made.graphs), *arrays, made.vectors, keys)
    curves, squares, growth = jax.tree.map(np.asarray, found)
    passed = 1.0 if activation == "identity" else 0.5
    predicted = {"mu": predicted_mu(made.eigenvalues[:, None], squares, config.depth, passed), "norm": growth}
    return {f"measured/{m}": curves[m] for m in curves} | {f"predicted/{m}": predicted[m] for m in curves}


def _gathered(config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> Results:
    curves = {when: {} for when in ("measured", "predicted")}
    for (name, (activation, measure)), nodes in itertools.product(PREDICTIONS.items(), NODES):
        for when, by_kind in curves.items():
            by_kind[name, nodes] = found[_name(activation, nodes)][f"{when}/{measure}"]
    return Results(config, named=tuple(named_graphs(config.side)), **found["graphs"], **curves)


def predicted_mu(
    p: Float[np.ndarray, "... n"], squares: Float[np.ndarray, "... n"], depth: int, variance: float
) -> Float[np.ndarray, "... L+1"]:
    """sqrt(sum_i (1 + variance p_i^2)^(L-l) ||g_i||^2), l = 0 .. L, from the ||g_i||^2 of G^(L) less its mean."""
    S = np.asarray(squares, np.float64)
    curve = [np.sqrt(np.sum((1 + variance * p**2) ** k * S, axis=-1)) for k in range(depth + 1)]
    return np.stack(curve[::-1], axis=-1)


@partial(jax.jit, static_argnums=0)
def _curves(model, graphs, xs, labels, masks, vectors, keys):
    """mu and norm of G^(l) and ||X^(L)|| / ||X^(l)||, [graphs, seeds, L+1]; ||g_i||^2 of G^(L) less its mean."""

    def of_graph(arguments):
        graph, x, y, mask, U, keys = arguments

        def of_key(key):
            params = model.init(key, graph, x)
            trace = jg.probe(model, params, graph, x, Partial(masked_cross_entropy, y, mask))
            last = trace.feature_grads[-1]
            parts = U.T @ (last - jnp.mean(last, axis=0, keepdims=True))
            norms = _by_layer(jg.measures.norm, trace.features)
            curves = {name: _by_layer(getattr(jg.measures, name), trace.feature_grads) for name in ("mu", "norm")}
            return curves, jnp.sum(jnp.square(parts), axis=1), norms[-1] / norms

        return jax.lax.map(of_key, keys)

    return jax.lax.map(of_graph, (graphs, xs, labels, masks, vectors, keys))


def _by_layer(measure, signals):
    return jax.vmap(partial(common.scaled, measure))(signals)


def named_graphs(side: int) -> dict[str, Any]:
    """Connected graphs of side^2 nodes whose spectra differ as much as they can, as GraphsTuples."""
    n = side * side
    ladder = nx.circulant_graph(n, [1, 2])
    made = {
        "ring": nx.cycle_graph(n),
        "ring, 4 nearest": ladder,
        "torus": nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side, periodic=True)),
        "binary tree": nx.full_rary_tree(2, n),
        "star": nx.star_graph(n - 1),
        "barbell": nx.barbell_graph(n // 2, n - 2 * (n // 2)),
        "4-regular": nx.random_regular_graph(4, n, seed=0),
        "complete": nx.complete_graph(n),
    }
    template = jg.load_dataset("karate").graph
    tuples = {}
    for name, graph in made.items():
        a, b = np.array(graph.edges(), np.int32).T
        senders, receivers = np.concatenate([a, b]), np.concatenate([b, a])
        counts = {"n_node": np.array([n], np.int32), "n_edge": np.array([senders.size], np.int32)}
        tuples[name] = template._replace(senders=senders, receivers=receivers, **counts)
    return tuples


class Answer(NamedTuple):
    """Over the csbm graphs, for one prediction, with bootstrap intervals over graphs.

    Attributes:
      ratio: mean measured rate / mean predicted rate.
      fit: Spearman's correlation of measured and predicted.
      homophily: Spearman's correlation of the measured rate with homophily.
      beyond_lambda: the same with lambda held fixed.
      beyond_prediction: the same with the predicted rate held fixed.
    """

    ratio: Interval
    fit: Interval
    homophily: Interval
    beyond_lambda: Interval
    beyond_prediction: Interval


def answers(results: Results) -> dict[tuple[str, str], Answer]:
    """By prediction and nodes."""
    return {kind: _answer(results, kind) for kind in results.predicted}


def _answer(results: Results, kind: tuple[str, str]) -> Answer:
    csbm = np.isfinite(results.homophily)
    rate, expected = (results.rates(kind, predicted=predicted)[csbm] for predicted in (False, True))
    h, moduli = results.homophily[csbm], results.second_eigenvalue[csbm]
    interval = partial(intervals.bootstrap, resamples=results.config.resamples)
    return Answer(
        ratio=interval(lambda a, b: float(np.mean(a) / np.mean(b)), rate, expected),
        fit=interval(intervals.spearman, rate, expected),
        homophily=interval(intervals.spearman, rate, h),
        beyond_lambda=interval(intervals.spearman, rate, h, moduli),
        beyond_prediction=interval(intervals.spearman, rate, h, expected),
    )


def plot(results: Results) -> dict[str, Shown]:
    """Measured against predicted, and measured against homophily by degree."""
    config, figures = results.config, {}
    csbm = np.isfinite(results.homophily)
    series, top = [], 0.0
    for i, name in enumerate(PREDICTIONS):
        x, y = (results.rates((name, NODES[0]), predicted=predicted) for predicted in (True, False))
        for chosen, kind in ((csbm, "csbm"), (~csbm, "named graph")):
            series.append(
                Series(f"{name}, {kind}", x[chosen], y[chosen], kind="points", colour=i, group=name, variants=(kind,))
            )
        top = max(top, float(x.max()))
    series.append(Series("equal", np.array([0, top]), np.array([0, top]), colour=GREY, dash="--"))
    figure = Panel(Axis("predicted rate per layer"), Axis("measured rate per layer"), tuple(series))
    figures["prediction"] = Shown(
        figure,
        "Measured against predicted expansion",
        "Slopes of ln of the root mean square over weights, of μ(G⁽ˡ⁾) for the spectra, of ‖G⁽ˡ⁾‖ for the features' "
        "growth: one point a graph; named graphs can be hidden.",
    )
    for name, file in (("linear, spectrum", "linear"), ("ReLU, spectrum and independent masks", "relu")):
        lines = {}
        rate = results.rates((name, NODES[0]))
        for degree in config.average_degree:
            means = [intervals.mean_interval(_group(results, h, degree, rate)) for h in config.homophily]
            errors = np.nan_to_num([m.high - m.value for m in means])
            values = np.array([m.value for m in means])
            lines[f"degree {degree:g}"] = panels.Line(np.array(config.homophily), values, errors)
        shown = "linear" if file == "linear" else "ReLU"
        figure = panels.by_option(lines, xlabel="homophily", ylabel="rate of ln μ(G) per layer")
        figure = replace(figure, x=replace(figure.x, scale="linear"))
        figures[f"homophily_{file}"] = Shown(
            figure,
            f"Expansion against homophily, {shown}",
            f"{shown} network, mean over {config.graphs} graphs with Student's 95% interval.",
        )
    return figures


def _group(results: Results, homophily: float, degree: float, rate: np.ndarray) -> np.ndarray:
    cells = list(itertools.product(results.config.homophily, results.config.average_degree))
    number = cells.index((homophily, degree)) * results.config.graphs
    return rate[number : number + results.config.graphs]


def _evidence(results: Results, found: dict[tuple[str, str], Answer]) -> str:
    config = results.config
    csbm = np.isfinite(results.homophily)
    parts = []
    for name in PREDICTIONS:
        it, moved = found[name, NODES[0]], found[name, NODES[1]]
        rates = results.rates((name, NODES[0]))[csbm]
        parts.append(
            f"{name}: rates {rates.min():.3f} to {rates.max():.3f}, measured / predicted {it.ratio.text()}, rank "
            f"correlation {it.fit.text(2)}; of the rate with homophily given lambda {it.beyond_lambda.text(2)}, given "
            f"the prediction {it.beyond_prediction.text(2)}, given lambda with the nodes shuffled over the same graphs "
            f"{moved.beyond_lambda.text(2)}"
        )
    return (
        f"Slope of the logarithm of mu(G^(l)), or for the growth of the features of ||G^(l)||_F, per layer towards the "
        f"input (root mean square over {config.seeds} weights; {config.depth} layers of width {config.width}; "
        f"{csbm.sum()} connected csbm of {config.side**2} nodes; 95% bootstrap intervals over graphs). "
        f"{'. '.join(parts)}. A row of ReLU layers grows by {FORWARD_RATE:.3f} per layer on any graph."
    )


def _verdict(found: dict[tuple[str, str], Answer]) -> str:
    parts = []
    for name in PREDICTIONS:
        it = found[name, NODES[0]]
        away = 100 * (it.ratio.value - 1)
        parts.append(
            f"“{name}” {'holds' if abs(away) < 10 else 'does not hold'}: measured rates are {away:+.1f}% from it on "
            f"average, and order the graphs with a rank correlation of {it.fit.value:.2f}."
        )
    for name, network in zip(PREDICTIONS, ("Linear network", "ReLU network", "ReLU network's norm"), strict=True):
        it, moved = found[name, NODES[0]], found[name, NODES[1]]
        if not _excludes_zero(it.beyond_lambda):
            parts.append(f"{network}: homophily is not seen to matter beyond lambda.")
            continue
        rest = "still" if _excludes_zero(it.beyond_prediction) else "no longer"
        shuffled = "still" if _excludes_zero(moved.beyond_lambda) else "no longer"
        parts.append(
            f"{network}: homophily matters beyond lambda; {rest} once the prediction is held fixed, {shuffled} when "
            "features and labels are shuffled over the nodes of the same graphs."
        )
    return " ".join(parts)


def _excludes_zero(interval: Interval) -> bool:
    return interval.low > 0 or interval.high < 0


def tables(results: Results, found: dict[tuple[str, str], Answer]) -> dict[str, Table]:
    """The statistics of every kind, and the named graphs."""
    header = ("prediction", "nodes", "measured / predicted", "correlation", "homophily", "given λ", "given prediction")
    rows = [(*kind, *(interval.text() for interval in it)) for kind, it in found.items()]
    named = []
    offset = len(results.homophily) - len(results.named)
    columns = {
        f"{name}, {when}": results.rates((name, NODES[0]), predicted=when == "predicted")
        for name in PREDICTIONS
        for when in ("measured", "predicted")
    }
    for i, name in enumerate(results.named, start=offset):
        cells = [f"{rate[i]:.3f}" for rate in columns.values()]
        named.append((name, f"{results.average_degree[i]:.1f}", f"{results.second_eigenvalue[i]:.4f}", *cells))
    return {"csbm sweep": Table(header, rows), "Named graphs": Table(("graph", "mean degree", "λ", *columns), named)}


def show(config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    results = _gathered(config, found)
    answered = answers(results)
    return Finding(
        evidence=_evidence(results, answered),
        verdict="answered",
        reason=_verdict(answered),
        figures=plot(results),
        tables=tables(results, answered),
        notes=[
            "P is doubly stochastic (Metropolis), so that its eigenvector for 1 is constant and mu leaves it out. "
            "Glorot weights (variance 1/d), sigma = 1. csbm are conditioned on being connected. The predictions take "
            "the measured G^(L) and are of the mean square: fewer weights give a slope a little below it.",
            "Partial correlations: Spearman's on what a linear regression on the other ranks leaves.",
        ],
    )


REPRODUCTION = Reproduction(
    name="questions/expansion",
    title="Expansion rate against homophily and topology",
    claim="The gradients of a residual GCN expand (Park & Kim 2024); how fast, for which graphs, is left open. Derived "
    "here: to the linear network topology and homophily matter only through the spectrum of P and where in it the "
    "gradient lies; a ReLU network's gradients expand as its features do.",
    presets={"smoke": SMOKE, "cpu": Config()},
    cost={"smoke": "seconds", "cpu": "2 min, beside other work"},
    cells=cells,
    show=show,
)

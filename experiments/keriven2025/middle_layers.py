"""How nearly linear the backward pass is by layer and depth: smooth activations and ReLU-like ones, GNN and MLP."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.keriven2025.networks import OURS, Network, Setting, network, over_seeds
from jaxgnn.experiments.setting import mean_std
from jaxgnn.host.precision import precision
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Panel, Series

_LINEAR = 0.1  # ||B - linear|| / ||B||: what counts as nearly linear
_SHOWN = 1e-8  # less is drawn as this
_LESS = 0.5  # of the MLP's distance: what counts as due to the graph


@dataclass(frozen=True)
class Config:
    """Networks at initialisation in float64, P doubly stochastic, orthogonal weights, X^(0) of RMS 1.

    Attributes:
      graphs: names of `networks.dataset`.
      smooth, kinked: activations with a Lipschitz derivative, and without.
      depths: numbers of layers.
      width: features of every layer.
      seeds: networks of each kind.
    """

    graphs: tuple[str, ...] = ("csbm", "cora")
    smooth: tuple[str, ...] = ("tanh", "gelu")
    kinked: tuple[str, ...] = ("relu", "leaky_relu")
    depths: tuple[int, ...] = (4, 8, 16, 32)
    width: int = 32
    seeds: int = 3


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    return {_name(kind): partial(_measure, config, kind) for kind in _kinds(config)}


def _kinds(config: Config) -> list[Setting]:
    every = itertools.product(config.graphs, (*config.smooth, *config.kinked), ("gcn", "mlp"), config.depths)
    return [
        Setting(graph, layer=layer, activation=activation, depth=depth, width=config.width)
        for graph, activation, layer, depth in every
    ]


def _name(kind: Setting) -> str:
    return f"{kind.graph}, {kind.activation}, {kind.layer}, {kind.depth} layers"


def _measure(config: Config, kind: Setting) -> Arrays:
    """||B^(l) - linear|| / ||B^(l)||, [seeds, L], and mu / norm of X^(l), [seeds, L+1]; lambda."""
    with precision(np.float64):
        return over_seeds(_distances(network(replace(kind, seed=seed))) for seed in range(config.seeds))


def _distances(net: Network) -> Arrays:
    one = jg.backward_analysis(net.model, net.params, net.graph, net.x, net.loss)
    return {
        "distance": one.linear_distance,
        "features": one.features.relative_mu,
        "eigenvalue": net.eigenvalue,
    }


def _middle(values: np.ndarray) -> np.ndarray:
    """The median over the middle third of the layers, or the middle one, [seeds, L] -> [seeds]."""
    depth = values.shape[1]
    return np.median(values[:, depth // 3 : max(depth - depth // 3, depth // 3 + 1)], axis=1)


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    kinds, deepest = _kinds(config), config.depths[-1]
    middle = {kind: _middle(results[_name(kind)]["distance"]) for kind in kinds}
    at_depth = [kind for kind in kinds if kind.depth == deepest]
    gcn = [kind for kind in at_depth if kind.layer == "gcn"]
    holds = {}
    for kind in gcn:
        blind, first = replace(kind, layer="mlp"), replace(kind, depth=config.depths[0])
        own = np.median(middle[kind])
        holds[kind] = own <= min(_LINEAR, _LESS * np.median(middle[blind])) and own <= np.median(middle[first])
    smooth, kinked = ([k for k in gcn if k.activation in group] for group in (config.smooth, config.kinked))
    counts = [sum(holds[kind] for kind in group) for group in (smooth, kinked)]
    eigenvalues = {k.graph: float(results[_name(k)]["eigenvalue"][0]) for k in gcn}
    return Finding(
        evidence=f"{deepest} layers of width {config.width}, {config.seeds} networks, median over the middle third of "
        "the layers of the distance to the linear recursion, GCN / MLP: "
        + "; ".join(
            f"{k.graph}, {k.activation} {np.median(middle[k]):.2g} / {np.median(middle[replace(k, layer='mlp')]):.2g}"
            for k in gcn
        )
        + f". Lambda {', '.join(f'{value:.4f} ({graph})' for graph, value in eigenvalues.items())}.",
        verdict="reproduced" if counts[0] == len(smooth) else "partly" if sum(counts) else "not reproduced",
        reason=f"At middle layers the errors are within {_LINEAR:g} of the linear recursion, at most {_LESS:g} of the "
        f"MLP's distance and no farther than at {config.depths[0]} layers in {counts[0]} of {len(smooth)} cases with a "
        f"smooth activation and in {counts[1]} of {len(kinked)} with a kink: "
        f"{', '.join(f'{k.graph} {k.activation}' for k in gcn if holds[k]) or 'none'}.",
        values=[Value(f"{_name(kind)}: distance at middle layers", *mean_std(middle[kind])) for kind in at_depth],
        figures={
            f"{what}-{graph}": figure
            for graph in config.graphs
            for what, figure in (
                ("layers", _by_layer(config, results, graph, eigenvalues[graph])),
                ("depth", _by_depth(config, middle, graph)),
            )
        },
        notes=[
            OURS,
            "The linear recursion replaces rho' by its mean over nodes. The verdict is on smooth activations, which "
            "the theorem is about; GELU is not 1-Lipschitz (its slope is at most 1.13). An activation is nearly linear "
            "as well where signals are small: the MLP shows how much of the distance that is.",
        ],
    )


def _by_layer(config: Config, results: Mapping[str, Mapping[str, np.ndarray]], graph: str, eigenvalue: float) -> Shown:
    series, depth = [], config.depths[-1]
    for i, activation in enumerate((*config.smooth, *config.kinked)):
        for layer in ("gcn", "mlp"):
            kind = Setting(graph, layer=layer, activation=activation, depth=depth, width=config.width)
            y = results[_name(kind)]["distance"].mean(axis=0)
            # With a kink rho' is exactly the same on every node in some layers and not in the next.
            kinked = layer == "gcn" and activation in config.kinked
            look = {"kind": "points"} if kinked else {"dash": ":" if layer == "mlp" else "-"}
            look |= {"group": activation, "variants": (layer.upper(),), "colour": i}
            series.append(Series(f"{activation}, {layer.upper()}", np.arange(y.size), y, **look))
    sentence = f"Means over networks of {depth} layers; 0 is a linear backward pass, less than {_SHOWN:g} drawn there."
    y = Axis("||B - linear|| / ||B||", "log", floor=_SHOWN)
    figure = Panel(Axis("layer", whole=True), y, tuple(series))
    return Shown(figure, f"Distance to linear by layer, {graph}, λ = {eigenvalue:.4f}", sentence)


def _by_depth(config: Config, middle: Mapping[Setting, np.ndarray], graph: str) -> Shown:
    lines = {}
    for activation, layer in itertools.product((*config.smooth, *config.kinked), ("gcn", "mlp")):
        kind = Setting(graph, layer=layer, activation=activation, width=config.width)
        values = [np.median(middle[replace(kind, depth=depth)]) for depth in config.depths]
        if layer == "gcn" or activation in (config.smooth[0], config.kinked[0]):
            name = activation if layer == "gcn" else f"{activation}, MLP"
            lines[name] = panels.Line(np.array(config.depths), np.maximum(values, _SHOWN))
    figure = panels.by_depth(lines, ylabel="||B - linear|| / ||B||, middle layers", log=True)
    return Shown(figure, f"Distance to linear by depth, {graph}", "Median over the middle third of the layers.")


REPRODUCTION = Reproduction(
    name="keriven2025/middle_layers",
    title="Linearity of the backward pass at middle layers",
    claim="At middle layers, where the features are smoothed, the backward pass of a GNN is nearly linear although its "
    "activation is not.",
    presets={
        "smoke": Config(graphs=("karate",), smooth=("tanh",), kinked=("relu",), depths=(3,), width=4, seeds=1),
        "cpu": Config(),
        "full": Config(
            graphs=("csbm", "csbm-dense", "csbm-homophilous", "cora"),
            smooth=("tanh", "gelu", "elu"),
            depths=(4, 8, 16, 32, 64, 128),
            width=64,
            seeds=20,
        ),
    },
    cost={"smoke": "seconds", "cpu": "6 minutes beside other work", "full": "not run"},
    cells=cells,
    show=show,
)

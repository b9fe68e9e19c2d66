"""The energy of features and of backward errors by layer, linear and not, against (lambda s)^k."""

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

_ROUNDING = 1e-12  # of ||X^(l)||: below it float64 does not tell energies apart
_SMOOTH = 0.1  # mu / ||B|| of the smoothest layer: what counts as smoothed


@dataclass(frozen=True)
class Config:
    """Networks at initialisation in float64, P doubly stochastic, orthogonal weights, X^(0) of RMS 1.

    Attributes:
      graphs: names of `networks.dataset`.
      activations: rho.
      depth, width: number of layers, features of each.
      seeds: networks of each kind.
    """

    graphs: tuple[str, ...] = ("csbm", "csbm-dense", "cora")
    activations: tuple[str, ...] = ("identity", "relu", "tanh")
    depth: int = 32
    width: int = 32
    seeds: int = 5


class Energy:
    """E = mu / sqrt(n) by layer, and the lines that bound it, of one cell: each [seeds, L+1] or [seeds, L]."""

    def __init__(self, found: Mapping[str, np.ndarray]):
        root = np.sqrt(found["nodes"])[:, None]
        steps = found["eigenvalue"][:, None] * found["scales"]
        self.forward, self.backward = found["feature_mu"] / root, found["error_mu"] / root
        self.relative = found["error_mu"] / found["error_norm"]
        self.floor, self.backward_floor = (_ROUNDING * found[f"{name}_norm"] / root for name in ("feature", "error"))
        one = np.ones((len(steps), 1))
        # E(X^(l)) <= prod_(j < l) lambda s_j E(X^(0)), E(B^(k)) <= prod_(j > k) lambda s_j E(B^(L-1)).
        self.line = self.forward[:, :1] * np.cumprod(np.concatenate([one, steps], axis=1), axis=1)
        up = np.cumprod(np.concatenate([one, steps[:, :0:-1]], axis=1), axis=1)[:, ::-1]
        self.backward_line = self.backward[:, -1:] * up

    @property
    def forward_share(self) -> float:
        """The largest share of its line that E(X^(l)) takes up, l > 0."""
        return float(np.max(((self.forward - self.floor) / self.line)[:, 1:]))

    @property
    def backward_share(self) -> float:
        """The largest share of its line that E(B^(k)) takes up, k < L - 1."""
        return float(np.max(((self.backward - self.backward_floor) / self.backward_line)[:, :-1]))


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    pairs = [(graph, activation) for graph in config.graphs for activation in config.activations]
    return {f"{graph}, {activation}": partial(_measure, config, graph, activation) for graph, activation in pairs}


def _measure(config: Config, graph: str, activation: str) -> Arrays:
    """Norm and mu of X^(l) [seeds, L+1] and of B^(l) [seeds, L]; s = ||W^(l)||_2 [seeds, L]; lambda; n."""
    setting = Setting(graph, activation=activation, depth=config.depth, width=config.width)
    with precision(np.float64):
        return over_seeds(_signals(network(replace(setting, seed=seed))) for seed in range(config.seeds))


def _signals(net: Network) -> Arrays:
    one = jg.backward_analysis(net.model, net.params, net.graph, net.x, net.loss)
    return {
        "feature_norm": one.features.norm,
        "feature_mu": one.features.mu,
        "error_norm": one.errors.norm,
        "error_mu": one.errors.mu,
        "scales": net.model.dynamics(net.params)[1],
        "eigenvalue": net.eigenvalue,
        "nodes": net.graph.num_nodes,
    }


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    energies = {name: Energy(found) for name, found in results.items()}
    names = {graph: [f"{graph}, {activation}" for activation in config.activations] for graph in config.graphs}
    eigenvalues = {graph: float(results[names[graph][0]]["eigenvalue"][0]) for graph in config.graphs}
    outside = [name for name, energy in energies.items() if energy.forward_share > 1 + 1e-6]
    linear = {name: energy for name, energy in energies.items() if name.endswith("identity")}
    outside_back = [name for name, energy in linear.items() if energy.backward_share > 1 + 1e-6]
    smoothest = {name: energy.relative.min(axis=1) for name, energy in energies.items()}
    bent = [name for name in energies if name not in linear]
    smooth = [name for name in bent if np.median(smoothest[name]) <= _SMOOTH]
    bounds = not outside and not outside_back
    above = [name for name in bent if energies[name].backward_share > 1 + 1e-6]
    everywhere = bounds and len(smooth) == len(bent)
    verdict = "reproduced" if everywhere else "partly" if bounds or smooth else "not reproduced"
    broken = f"Above the line: {', '.join(outside + outside_back)}. "
    return Finding(
        evidence=f"{config.depth} layers of width {config.width}, {config.seeds} networks. The largest "
        f"share of the forward line taken up is {max(e.forward_share for e in energies.values()):.3f}, of "
        f"the backward line by linear networks {max(e.backward_share for e in linear.values()):.3f}; the smoothest "
        "layer's mu(B)/||B|| is "
        + ", ".join(f"{np.median(value):.2g} ({name})" for name, value in smoothest.items())
        + ".",
        verdict=verdict,
        reason=("All features, and linear networks' errors, stay under (lambda s)^k. " if bounds else broken)
        + f"Nonlinear networks' errors smooth at some layer (mu(B)/||B|| at most {_SMOOTH:g}) in {len(smooth)} of "
        f"{len(bent)} cases: {'; '.join(smooth) or 'none'}; lambda is "
        + ", ".join(f"{value:.4f} ({graph})" for graph, value in eigenvalues.items())
        + "."
        + (f" Above (lambda s)^k, no bound for them, in some layer: {'; '.join(above)}." if above else ""),
        values=[
            *(Value(f"{graph}: lambda", value) for graph, value in eigenvalues.items()),
            *(Value(f"{name}: smoothest layer's mu(B)/||B||", *mean_std(value)) for name, value in smoothest.items()),
        ],
        figures={
            f"{kind}-{graph}": _figure(config, energies, graph, kind, eigenvalues[graph])
            for graph in config.graphs
            for kind in ("forward", "backward", "relative")
        },
        notes=[OURS, "Weights are times sqrt(2) for relu, so that s is 1.414 for it and 1 for the others."],
    )


_LABELS = {"forward": "E(X) / E(X at the input)", "backward": "E(B) / E(B at the output)", "relative": "mu(B) / ||B||"}
_SENTENCES = {
    "forward": "Medians over networks; dashed is (lambda s)^l, the bound for every 1-Lipschitz activation.",
    "backward": "Errors flow from right to left; dashed is (lambda s)^(L-1-k), the bound for linear networks.",
    "relative": "Near 0 the error is the same on every node, however small it is; near 1 it has mean 0.",
}


def _figure(config: Config, energies: Mapping[str, Energy], graph: str, kind: str, eigenvalue: float) -> Shown:
    series = []
    for i, activation in enumerate(config.activations):
        energy = energies[f"{graph}, {activation}"]
        values = getattr(energy, kind)
        start = {"forward": values[:, :1], "backward": values[:, -1:], "relative": 1.0}[kind]
        line = np.median(values / start, axis=0)
        series.append(Series(activation, np.arange(line.size), line, colour=i, group=activation))
        if kind != "relative":
            bound = energy.line if kind == "forward" else energy.backward_line
            line = np.median(bound / start, axis=0)
            look = {"colour": i, "dash": "--", "width": 1.1, "group": activation, "variants": ("(λ s)^k",)}
            series.append(Series(f"{activation}: (λ s)^k", np.arange(line.size), line, **look))
    title = {
        "forward": "Energy of features",
        "backward": "Energy of errors",
        "relative": "Errors' distance to equal rows",
    }
    limits = panels.PART if kind == "relative" else panels.ANY
    panel = Panel(Axis("layer", whole=True), Axis(_LABELS[kind], "log", **limits._asdict()), tuple(series))
    return Shown(panel, f"{title[kind]}, {graph}, λ = {eigenvalue:.4f}", _SENTENCES[kind])


REPRODUCTION = Reproduction(
    name="keriven2025/energy",
    title="Forward and backward energy by layer",
    claim="Features smooth as (lambda s)^k for every 1-Lipschitz activation; errors smooth on the way back, for linear "
    "networks as (lambda s)^k and for others at the layers where the features are smoothed.",
    presets={
        "smoke": Config(graphs=("karate",), activations=("identity", "relu"), depth=4, width=4, seeds=2),
        "cpu": Config(),
        "full": Config(graphs=("csbm", "csbm-dense", "csbm-homophilous", "cora", "cora-public"), depth=64, seeds=20),
    },
    cost={"smoke": "seconds", "cpu": "2 minutes", "full": "not run"},
    cells=cells,
    show=show,
)

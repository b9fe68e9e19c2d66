"""Figure 1: trajectories of two-dimensional features through depth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.arroyo2025.common import SETTINGS, features, panels, part, ssm
from jaxgnn.experiments.setting import drawn
from jaxgnn.report import plots
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Interval, Panel, Series

PRESERVED = 2.0  # a norm that changes by less than this factor from the first layer to the last; ours
PLAIN = "GCN"


@dataclass(frozen=True)
class Config:
    """Networks at initialisation, of width 2, on the largest component.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      depth: number of layers.
      moduli: of Lambda's eigenvalues, a rotation; the first is the one that is to preserve the norm.
      input_scale: about the modulus of B's eigenvalues.
      activation: of every layer; of two ReLU features both are soon 0 at every node.
      nodes: whose trajectories are drawn.
      seeds: networks of each kind.
    """

    dataset: str = "cora"
    depth: int = 32
    moduli: tuple[float, ...] = (1.0, 0.9, 0.7)
    input_scale: float = 0.1
    activation: str = "tanh"
    nodes: int = 6
    seeds: int = 20


def _kinds(config: Config) -> dict[str, dict]:
    made = {_name(modulus): ssm(modulus, config.input_scale, transition="rotation") for modulus in config.moduli}
    return {PLAIN: {}} | made


def _name(modulus: float) -> str:
    return f"GCN-SSM, |eig(Λ)| = {modulus:g}"


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    return {kind: partial(_measure, config, options) for kind, options in _kinds(config).items()}


def _measure(config: Config, options: dict) -> Arrays:
    """norms [seeds, L+1]: ||X^(l)||_F; paths [L+1, nodes, 2] of the first seed."""
    where = part(config.dataset)
    model = jg.DeepGNN(depth=config.depth, width=2, activation=config.activation, **options)
    X = features(model, drawn(model, where, config.seeds), where)
    shown = np.linspace(0, X.shape[2] - 1, min(config.nodes, X.shape[2])).astype(int)
    return {"norms": np.linalg.norm(X.astype(np.float64), axis=(2, 3)), "paths": X[0][:, shown]}


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    kept = {kind: found["norms"][:, -1] / found["norms"][:, 0] for kind, found in results.items()}
    middle = {kind: float(np.median(ratio)) for kind, ratio in kept.items()}
    one = _name(config.moduli[0])
    smaller = [_name(modulus) for modulus in config.moduli[1:]]
    preserves = 1 / PRESERVED < middle[one] < PRESERVED
    within = int(np.sum((kept[one] > 1 / PRESERVED) & (kept[one] < PRESERVED)))
    decays = all(middle[kind] < 1 / PRESERVED for kind in (PLAIN, *smaller))
    return Finding(
        evidence=f"{config.dataset}, largest component, width 2, {config.depth} layers, {config.seeds} networks at "
        "initialisation: median ||X^(L)||/||X^(0)|| "
        + "; ".join(f"{kind} {ratio:.2e}" for kind, ratio in middle.items())
        + ".",
        verdict="reproduced" if preserves and decays else "partly" if preserves or decays else "not reproduced",
        reason=f"With |eig(Λ)| = {config.moduli[0]:g} the median norm is "
        + ("" if preserves else "not ")
        + f"preserved to a factor of {PRESERVED:g} ({within} of {config.seeds} networks are)"
        + (
            "; the GCN's and those of smaller |eig(Λ)| shrink."
            if decays
            else "; not all of the others shrink below that."
        ),
        values=[Value(f"{kind}: log10 ||X^(L)||/||X^(0)||", *_log10(ratio)) for kind, ratio in kept.items()],
        figures={"trajectories": _trajectories(results), "norms": _norms(results)},
        notes=[
            f"{SETTINGS} {config.activation}, Glorot weights, P symmetric; Λ a rotation by a random angle, B uniform "
            f"of spectral radius about {config.input_scale:g}.",
            "Λ alone preserves the norm exactly where its eigenvalues have modulus 1; B F(X) is added to that, so the "
            "whole is preserved no better than B is small.",
        ],
    )


def _log10(ratio: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of log10 where the ratio is not 0 in float32; -inf where it always is."""
    logs = np.log10(ratio[ratio > 0])
    return (float(logs.mean()), float(logs.std())) if logs.size else (-np.inf, 0.0)


def _trajectories(results: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    figure, axes = panels(2, (len(results) + 1) // 2, size=(3.4, 3.2))
    for one, (kind, found) in zip(axes, results.items(), strict=False):
        paths = found["paths"] / np.linalg.norm(found["paths"][0], axis=1).max()
        for i, path in enumerate(paths.transpose(1, 0, 2)):
            colour = plots.COLOURS[i % 7]
            one.plot(*path.T, color=colour, linewidth=0.9, alpha=0.8)
            one.plot(*path[0], "o", color=colour, markersize=3.5)
            one.plot(*path[-1], "X", color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.4)
        one.set_title(kind, fontsize=9.5)
        one.set_aspect("equal", adjustable="datalim")
    for one in axes[len(results) :]:
        one.set_visible(False)
    axes[0].plot([], [], "o", color="0.3", markersize=3.5, label="input of the stack")
    axes[0].plot([], [], "X", color="0.3", markersize=5, label="last layer")
    return Shown(
        plots.finished(figure),
        "Trajectories of nodes through depth",
        "Each line is one node's two features, layer by layer, in units of the longest input; one network of each.",
    )


def _norms(results: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    series = []
    for i, (kind, found) in enumerate(results.items()):
        ratio = found["norms"] / found["norms"][:, :1]
        low, middle, high = np.percentile(ratio, (25, 50, 75), axis=0)
        series.append(Series(kind, np.arange(len(low)), middle, bands=(Interval(low, high),), colour=i))
    y = Axis("norm of the features, relative to the input", "log")
    sentence = "Median and quartiles over the networks; a line ends where it is 0."
    return Shown(Panel(Axis("layer", whole=True), y, tuple(series)), "Norm by layer", sentence)


REPRODUCTION = Reproduction(
    name="arroyo2025/fig1",
    title="Latent trajectories of a GCN and of GCN-SSM",
    claim="Through depth a GCN's features shrink to a point; GCN-SSM preserves their norm when |eig(Λ)| is about 1.",
    presets={
        "smoke": Config(dataset="karate", depth=16, moduli=(1.0, 0.7), nodes=4, seeds=4),
        "cpu": Config(),
        "full": Config(depth=128, moduli=(1.0, 0.99, 0.9, 0.7), seeds=100),
    },
    cost={"smoke": "seconds", "cpu": "17 s on two busy cores", "full": "not run"},
    cells=cells,
    show=show,
)

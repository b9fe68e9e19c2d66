"""Representation and gradient similarity by layer and depth, plain and residual."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.questions.common import measured, rates
from jaxgnn.experiments.setting import drawn, gap, node_task
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Panel, Series

KINDS = {
    "linear": {"activation": "identity"},
    "relu": {},
    "linear residual": {"activation": "identity", "residual": "identity"},
    "relu residual": {"residual": "identity"},
}


@dataclass(frozen=True)
class Config:
    """Networks at initialisation, P doubly stochastic, on the largest component.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      depths: numbers of layers.
      width: features of every layer.
      weights: of the layers; orthogonal ones have ||W||_2 = 1, so that lambda alone decides.
      seeds: networks of each kind.
    """

    dataset: str = "cora"
    depths: tuple[int, ...] = (8, 32, 64)
    width: int = 32
    weights: str = "orthogonal"
    seeds: int = 3


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    names = [(kind, depth) for kind in KINDS for depth in config.depths]
    return {f"{kind}, {depth} layers": partial(_measure, config, kind, depth) for kind, depth in names}


def _measure(config: Config, kind: str, depth: int) -> Arrays:
    """norm and mu of X^(l) and G^(l), each [seeds, L+1]; lambda."""
    task = node_task(config.dataset, "doubly", True)
    model = jg.DeepGNN(depth=depth, width=config.width, out=task.out, init_weights=config.weights, **KINDS[kind])
    return measured(model, drawn(model, task, config.seeds), task)._asdict() | {"gap": gap(config.dataset)}


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    depth = config.depths[-1]
    deepest = {kind: results[f"{kind}, {depth} layers"] for kind in KINDS}
    eigenvalue = float(deepest["linear"]["gap"])
    slope = {kind: rates(found["gradient_mu"]) for kind, found in deepest.items()}
    values = [
        Value(f"{kind}: change of ln mu(G) a layer towards the input", s.mean(), s.std()) for kind, s in slope.items()
    ]
    relative = {kind: found["gradient_mu"] / found["gradient_norm"] for kind, found in deepest.items()}
    values += [Value(f"{kind}: mu(G)/||G|| at layer 0", r[:, 0].mean(), r[:, 0].std()) for kind, r in relative.items()]
    smooths = bool((slope["linear"] <= np.log(eigenvalue) + 1e-3).all())
    expands = all(bool((slope[kind] > 0).all()) for kind in ("linear residual", "relu residual"))
    return Finding(
        evidence=f"{config.dataset}, largest component, lambda {eigenvalue:.4f}, {depth} layers, {config.seeds} seeds: "
        + "; ".join(f"{kind} ln mu(G) {s.mean():+.4f} a layer" for kind, s in slope.items())
        + f"; the linear network's bound is ln lambda = {np.log(eigenvalue):+.4f}.",
        verdict="reproduced" if smooths and expands else "partly" if smooths or expands else "not reproduced",
        reason=("Linear gradients smooth at least as fast as lambda" if smooths else "Linear gradients do not smooth")
        + (" and residual ones expand." if expands else ", residual ones do not all expand.")
        + f" Of the plain ReLU network's gradient at the input {relative['relu'][:, 0].mean():.3f} is off its mean, of "
        f"its size {np.exp(slope['relu'].mean() * depth):.1e} is left: "
        + ("it smooths." if relative["relu"][:, 0].mean() < 0.1 else "that is vanishing, not smoothing."),
        values=values,
        figures={
            "representation": _figure(deepest, "feature_mu", "mu(X)", depth),
            "gradient": _figure(deepest, "gradient_mu", "mu(G)", depth),
            "relative": _figure(deepest, "relative", "mu(G) / ||G||", depth),
            "depth": _by_depth(config, results),
        },
        notes=[
            "Settings (depths, width, orthogonal weights, row-normalised features) are ours: the paper's are not known."
        ],
    )


def _figure(deepest: Mapping[str, Mapping[str, np.ndarray]], name: str, label: str, depth: int) -> Shown:
    series = []
    for i, (kind, found) in enumerate(deepest.items()):
        values = found["gradient_mu"] / found["gradient_norm"] if name == "relative" else found[name]
        series.append(Series(kind, np.arange(values.shape[1]), np.median(values, axis=0), colour=i))
    y = Axis(label, "log", **(panels.PART if name == "relative" else panels.ANY)._asdict())
    sentence = f"Median over seeds at every layer of {depth}; gradients flow from right to left."
    return Shown(Panel(Axis("layer", whole=True), y, tuple(series)), f"{label} by layer", sentence)


def _by_depth(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    depths = np.array(config.depths)
    at_input = {
        kind: np.array([np.median(results[f"{kind}, {depth} layers"]["gradient_mu"][:, 0]) for depth in depths])
        for kind in KINDS
    }
    lines = {kind: panels.Line(depths, y) for kind, y in at_input.items()}
    figure = panels.by_depth(lines, ylabel="mu(G) at the input", log=True)
    return Shown(
        figure, "Gradient similarity at the input by depth", "Residual gradients grow with depth, others fall."
    )


REPRODUCTION = Reproduction(
    name="park2024/similarity",
    title="Representation and gradient similarity by layer and depth",
    claim="Gradients of linear GCNs become similar exponentially towards the input; those of residual ones expand.",
    presets={
        "smoke": Config(dataset="csbm", depths=(2, 4), width=4, seeds=2),
        "cpu": Config(),
        "full": Config(depths=(8, 32, 64, 128, 256, 512), width=64, seeds=10),
    },
    cost={"smoke": "seconds", "cpu": "1.3 min", "full": "not run"},
    cells=cells,
    show=show,
)

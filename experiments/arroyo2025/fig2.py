"""Figure 2: eigenvalues of layer Jacobians, and the vectorised Jacobians of GCN and GCN-SSM."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.colors import LogNorm

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.arroyo2025.common import SETTINGS, of_run, panels, part, ssm
from jaxgnn.experiments.setting import drawn
from jaxgnn.report import spectrum_plots
from jaxgnn.report.claim import Shown
from jaxgnn.report.page import Table

LINEAR, CONVOLUTION, GCN, SSM = "linear", "linear convolution", "nonlinear convolution (GCN)", "GCN-SSM"
NEAR = 0.1  # how far from 1 a modulus may be to count as near it; ours
MOST = 0.95  # the share of eigenvalues that has to be; ours


@dataclass(frozen=True)
class Config:
    """Layers at initialisation, on a part of the largest component.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      nodes: nodes of that part.
      width: features of every layer.
      layer: whose Jacobian is taken, at the features that reach it.
      modulus: of Lambda's eigenvalues.
      input_scale: about the modulus of B's eigenvalues.
      shown: nodes whose blocks the images hold.
      seeds: layers of each kind.
    """

    dataset: str = "cora"
    nodes: int = 100
    width: int = 16
    layer: int = 1
    modulus: float = 1.0
    input_scale: float = 0.1
    shown: int = 12
    seeds: int = 3


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    kinds = {
        LINEAR: {"layer": "mlp", "activation": "identity"},
        CONVOLUTION: {"activation": "identity"},
        GCN: {},
        SSM: ssm(config.modulus, config.input_scale),
    }
    return {kind: partial(_measure, config, options) for kind, options in kinds.items()}


def _measure(config: Config, options: dict) -> Arrays:
    """eigenvalues and singular_values [seeds, n d]; jacobian [s d, s d], its first nodes' blocks for the first seed."""
    where = part(config.dataset, config.nodes)
    model = jg.DeepGNN(depth=config.layer + 1, width=config.width, **options)
    params, size = drawn(model, where, config.seeds), config.shown * config.width
    eigenvalues, singular_values, shown = [], [], None
    for run in range(config.seeds):
        f, h = model.layer_fn(of_run(params, run), where.graph, where.x, layer=config.layer, dtype=np.float64)
        J = jg.jacobian(f, h, where.graph)
        eigenvalues.append(J.eigenvalues())
        singular_values.append(J.singular_values())
        shown = J.sparse()[:size, :size].toarray() if shown is None else shown
    return {"eigenvalues": eigenvalues, "singular_values": singular_values, "jacobian": shown}


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    moduli = {kind: np.abs(found["eigenvalues"]) for kind, found in results.items()}
    mean = {kind: m.mean(axis=1) for kind, m in moduli.items()}
    near = {kind: (np.abs(m - 1) <= NEAR).mean(axis=1) for kind, m in moduli.items()}
    # A contraction of most directions: each step from linear to convolutional to nonlinear takes the moduli down.
    contracts = bool((mean[LINEAR] > mean[CONVOLUTION]).all() and (mean[CONVOLUTION] > mean[GCN]).all())
    contracts &= bool((mean[GCN] < 1 - NEAR).all())
    keeps = bool((near[SSM] >= MOST).all())
    norm = results[GCN]["singular_values"].max(axis=1)
    rows = [
        (
            kind,
            _spread(mean[kind]),
            _spread(near[kind]),
            _spread((moduli[kind] < 1e-6).mean(axis=1)),
            _spread(moduli[kind].max(axis=1)),
            _spread(found["singular_values"].max(axis=1)),
        )
        for kind, found in results.items()
    ]
    header = ("layer", "mean |λ|", f"share within {NEAR:g} of 1", "share below 1e-6", "spectral radius", "||J||₂")
    return Finding(
        evidence=f"{config.dataset}, {config.nodes} nodes, width {config.width}, {config.seeds} draws: mean "
        "|eigenvalue| "
        + ", ".join(f"{kind} {_spread(m)}" for kind, m in mean.items())
        + f"; within {NEAR:g} of 1 lie {_spread(near[GCN])} of the GCN's and {_spread(near[SSM])} of GCN-SSM's.",
        verdict="reproduced" if contracts and keeps else "partly" if contracts or keeps else "not reproduced",
        reason=("Convolution and nonlinearity each" if contracts else "Convolution and nonlinearity do not each")
        + " take the moduli down in every draw; GCN-SSM's "
        + ("are" if keeps else "are not")
        + f" near 1 ({MOST:.0%} or more within {NEAR:g}). The GCN's ||J||₂ is {_spread(norm)}: one layer "
        + ("contracts every direction." if (norm < 1).all() else "does not contract every direction in every draw."),
        values=[Value(f"{kind}: mean |eigenvalue| of J", m.mean(), m.std()) for kind, m in mean.items()]
        + [Value(f"{kind}: share of |eigenvalue| near 1", n.mean(), n.std()) for kind, n in near.items()],
        figures={"moduli": _moduli(results), "jacobians": _jacobians(results)},
        tables={"Spectra": Table(header, rows)},
        notes=[
            f"{SETTINGS} ReLU, Glorot weights, P symmetric, no bias; layer {config.layer} at the features that reach "
            f"it. |eig(Λ)| = {config.modulus:g} (Λ a multiple of I), |eig(B)| about "
            f"{config.input_scale:g} (B uniform).",
            "All eigenvalues by LAPACK in float64. An eigenvalue below 1 does not bound the norm of a matrix that is "
            "not normal: ||J||₂ stands beside the spectral radius.",
        ],
    )


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std():.3f}"


def _moduli(results: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    figure = spectrum_plots.moduli({kind: np.ravel(found["eigenvalues"]) for kind, found in results.items()})
    return Shown(figure, "Modulus of the Jacobian's eigenvalues", "Over all draws; eigenvalues of 0 are in the legend.")


def _jacobians(results: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    figure, axes = panels(2, size=(3.9, 3.6))
    shown = {kind: np.abs(results[kind]["jacobian"]) for kind in (GCN, SSM)}
    high = max(J.max() for J in shown.values())
    for one, (kind, J) in zip(axes, shown.items(), strict=True):
        one.grid(False)
        scale = LogNorm(1e-4 * high, high)
        drawn = one.imshow(np.ma.masked_less(J, 1e-4 * high), norm=scale, cmap="viridis", interpolation="nearest")
        radius, norm = np.abs(results[kind]["eigenvalues"][0]).max(), results[kind]["singular_values"][0].max()
        one.set_title(f"{kind}\n|λ| up to {radius:.2f}, ‖J‖₂ = {norm:.2f}", fontsize=9.5)
        one.set_xlabel("input (node, feature)")
    axes[0].set_ylabel("output (node, feature)")
    figure.colorbar(drawn, ax=axes, label="|entry|", shrink=0.8)
    return Shown(
        figure,
        "Vectorised Jacobians",
        "Blocks of the first nodes in the order of a breadth-first search, one draw; entries below 1e-4 of the largest "
        "are white.",
    )


REPRODUCTION = Reproduction(
    name="arroyo2025/fig2",
    title="Eigenvalues of layer Jacobians",
    claim="Graph convolution and its nonlinearity contract the spectrum of the layer's Jacobian; with |eig(Λ)| about 1 "
    "and |eig(B)| about 0.1 GCN-SSM's eigenvalues have moduli near 1.",
    presets={
        "smoke": Config(dataset="karate", nodes=20, width=4, shown=6, seeds=2),
        "cpu": Config(),
        "full": Config(nodes=200, width=32, seeds=10),
    },
    cost={"smoke": "seconds", "cpu": "41 s on two busy cores", "full": "not run"},
    cells=cells,
    show=show,
)

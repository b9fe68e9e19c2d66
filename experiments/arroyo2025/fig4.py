"""Figure 4: Dirichlet energies of GIN and Gated-GCN with and without the state space, and their Jacobians' spectra."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.arroyo2025.common import SETTINGS, dirichlet, features, of_run, panels, part, ssm
from jaxgnn.experiments.setting import drawn
from jaxgnn.report import plots
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Interval, Panel, Series
from jaxgnn.report.page import Table

LAYERS = {"GIN": "gin", "Gated-GCN": "gated_gcn"}
WITH = "{}-SSM"
NEAR = 0.1  # how far from 1 a modulus may be to count as near it; ours
MOST = 0.95  # the share of eigenvalues that has to be; ours


@dataclass(frozen=True)
class Config:
    """Networks at initialisation: energies on the largest component and on a part of it, spectra on that part.

    Attributes:
      networks: of "GIN" and "Gated-GCN", without and with the state space.
      dataset: a name that `jaxgnn data list` shows.
      nodes: nodes of that part.
      depth: number of layers.
      width: features of every layer.
      layers: whose Jacobians are taken.
      modulus: of Lambda's eigenvalues.
      input_scale: about the modulus of B's eigenvalues.
      seeds: networks of each kind.
    """

    networks: tuple[str, ...] = tuple(LAYERS)
    dataset: str = "cora"
    nodes: int = 100
    depth: int = 16
    width: int = 16
    layers: tuple[int, ...] = (1, 15)
    modulus: float = 1.0
    input_scale: float = 0.1
    seeds: int = 3


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    made = {}
    for name in config.networks:
        layer = {"layer": LAYERS[name]}
        made[name] = partial(_measure, config, layer)
        options = ssm(config.modulus, config.input_scale) | layer
        made[WITH.format(name)] = partial(_measure, config, options)
    return made


def _measure(config: Config, options: dict) -> Arrays:
    """energies, feature_norms, part_energies [seeds, L+1]; eigenvalues [seeds, layers, n d], norms ||J||_2 of J."""
    model = jg.DeepGNN(depth=config.depth, width=config.width, **options)
    whole, where = part(config.dataset), part(config.dataset, config.nodes)
    params = drawn(model, where, config.seeds)
    eigenvalues, norms = [], []
    for run in range(config.seeds):
        for layer in config.layers:
            f, h = model.layer_fn(of_run(params, run), where.graph, where.x, layer=layer, dtype=np.float64)
            J = jg.jacobian(f, h, where.graph)
            eigenvalues.append(J.eigenvalues())
            norms.append(J.singular_values()[0])
    shape = (config.seeds, len(config.layers))
    X = features(model, params, whole)
    return {
        "energies": dirichlet(X, whole.graph),
        "feature_norms": np.linalg.norm(X.astype(np.float64), axis=(2, 3)),
        "part_energies": dirichlet(features(model, params, where), where.graph),
        "eigenvalues": np.reshape(eigenvalues, (*shape, -1)),
        "norms": np.reshape(norms, shape),
    }


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    rate = {kind: _rates(found["energies"]) for kind, found in results.items()}
    inside = {kind: _rates(found["part_energies"]) for kind, found in results.items()}
    radius = {kind: np.abs(found["eigenvalues"]).max(axis=2) for kind, found in results.items()}
    # ln E changes by about 2 ln |lambda_1| a layer where one direction takes over.
    growth = {kind: 2 * np.log(np.maximum(r, np.finfo(float).tiny)).mean(axis=1) for kind, r in radius.items()}
    agree = [kind for kind in results if bool((np.sign(growth[kind]) == np.sign(inside[kind])).all())]
    steadier = [n for n in config.networks if (np.abs(rate[WITH.format(n)]) < np.abs(rate[n])).all()]
    near = {kind: np.mean(_near(found["eigenvalues"]), axis=(1, 2)) for kind, found in results.items()}
    nearer = [n for n in config.networks if (near[WITH.format(n)] >= MOST).all()]
    points = (len(steadier) == len(config.networks), len(nearer) == len(config.networks))
    rows = [
        (
            kind,
            _spread(rate[kind]),
            _spread(inside[kind]),
            _spread(growth[kind]),
            _spread(radius[kind]),
            _spread(found["norms"]),
            _spread(_relative(found)[:, -1]),
            _spread(near[kind]),
        )
        for kind, found in results.items()
    ]
    header = (
        "network",
        "ln E a layer",
        "ln E a layer, part",
        "2 ln |λ₁|, part",
        "|λ₁|",
        "||J||₂",
        "E/||X||² of the last layer",
        f"share within {NEAR:g} of 1",
    )
    return Finding(
        evidence=f"{config.dataset}, {config.depth} layers of width {config.width}, {config.seeds} seeds: ln E changes "
        "by "
        + ", ".join(f"{kind} {_spread(r)}" for kind, r in rate.items())
        + f" a layer on the largest component; shares of eigenvalues within {NEAR:g} of modulus 1 on "
        f"{config.nodes} nodes: "
        + ", ".join(f"{kind} {_spread(r)}" for kind, r in near.items())
        + "; E/||X||² of the last layer: "
        + ", ".join(f"{kind} {_spread(_relative(found)[:, -1])}" for kind, found in results.items())
        + ".",
        verdict="reproduced" if all(points) else "partly" if any(points) else "not reproduced",
        reason=f"In every seed the state space makes the energy change less for {_listed(steadier)} and brings "
        f"{MOST:.0%} or more of the eigenvalues to within {NEAR:g} of modulus 1 for {_listed(nearer)}."
        + _exploding(rate, config)
        + f" The largest modulus is above 1 where the energy grows and below where it decays for {_listed(agree)}."
        + _apart([kind for kind in results if kind not in agree]),
        values=[Value(f"{kind}: change of ln E a layer", r.mean(), r.std()) for kind, r in rate.items()]
        + [Value(f"{kind}: largest |eigenvalue| of J", r.mean(), r.std()) for kind, r in radius.items()],
        figures={
            "energy": _energy(results, relative=False),
            "relative_energy": _energy(results, relative=True),
            "spectra": _spectra(config, results),
        },
        tables={"Energies and spectra": Table(header, rows)},
        notes=[
            f"{SETTINGS} What the paper says of this figure beyond its caption is not known to us: that the "
            "state space steadies both is what we test.",
            f"ReLU, Glorot weights, sums over neighbours without normalisation. |eig(Λ)| = {config.modulus:g}, "
            f"|eig(B)| about {config.input_scale:g}. E is tr X^T (I - P) X, P symmetric. Part: {config.nodes} nodes "
            f"nearest to the first one; Jacobians of layers {', '.join(map(str, config.layers))}, all "
            "eigenvalues in float64.",
        ],
    )


def _rates(E: np.ndarray) -> np.ndarray:
    """(ln E(X^(L)) - ln E(X^(1))) / (L - 1), [seeds]: the first layer only forgets the input's shape."""
    with np.errstate(divide="ignore"):
        return (np.log(E[:, -1]) - np.log(E[:, 1])) / (E.shape[1] - 2)


def _near(eigenvalues: np.ndarray) -> np.ndarray:
    return np.abs(np.abs(eigenvalues) - 1) <= NEAR


def _apart(disagree: list[str]) -> str:
    if not disagree:
        return ""
    return (
        f" Not for {_listed(disagree)}: one layer's eigenvalues do not tell what layers of other weights make "
        "of its eigenvectors."
    )


def _exploding(rate: Mapping[str, np.ndarray], config: Config) -> str:
    grows = [WITH.format(n) for n in config.networks if (rate[WITH.format(n)] > 0.1).all()]
    if not grows:
        return ""
    return (
        f" Still more than 10% a layer is the growth of {_listed(grows)}: sums over neighbours outweigh |eig(B)| of "
        f"about {config.input_scale:g} at nodes of high degree."
    )


def _relative(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """E(X) / ||X||_F^2, [seeds, L+1]: smoothing apart from growth."""
    return found["energies"] / np.maximum(found["feature_norms"] ** 2, np.finfo(float).tiny)


def _listed(names: list[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names) or "none"


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.3g} ± {values.std():.2g}"


def _energy(results: Mapping[str, Mapping[str, np.ndarray]], *, relative: bool) -> Shown:
    series = []
    for i, (kind, found) in enumerate(results.items()):
        of_seeds = _relative(found) if relative else found["energies"] / found["energies"][:, :1]
        line, band = np.median(of_seeds, axis=0), Interval(*_range(of_seeds))
        dash = "-" if i % 2 else "--"
        series.append(Series(kind, np.arange(line.size), line, bands=(band,), colour=i // 2, dash=dash))
    label = "E(X) / ||X||²" if relative else "E(X), relative to the input"
    sentence = (
        "On the largest component at initialisation: median and range over seeds, dashed without the state space. The "
        "energy grows with the features; in units of their norm it shows how smooth they are."
    )
    return Shown(
        Panel(Axis("layer", whole=True), Axis(label, "log"), tuple(series)), f"Dirichlet energy: {label}", sentence
    )


def _range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.min(axis=0), values.max(axis=0)


def _spectra(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    figure, axes = panels(2, len(config.networks), size=(3.4, 2.7))
    for one, (kind, found) in zip(axes, results.items(), strict=True):
        moduli = np.abs(found["eigenvalues"])
        shown = moduli[moduli > 1e-3]
        edges = np.geomspace(min(0.5, *shown) / 1.1, max(2.0, *shown) * 1.1, 41) if shown.size else np.geomspace(0.5, 2)
        for i, layer in enumerate(config.layers):
            of_layer = moduli[:, i].ravel()
            share = np.histogram(of_layer, edges)[0] / of_layer.size
            small = np.mean(of_layer <= 1e-3)
            one.stairs(share, edges, color=plots.COLOURS[i], linewidth=1.4, label=f"layer {layer}: {small:.0%} of them")
        one.axvline(1.0, color="0.4", linestyle="--", linewidth=1)
        one.set_xscale("log")
        one.xaxis.set_minor_formatter(NullFormatter())
        if edges[-1] < 100 * edges[0]:
            one.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        one.set_title(kind, fontsize=9.5)
        one.legend(title="below 1e-3", fontsize=7, title_fontsize=7, frameon=False)
    for one in axes[-2:]:
        one.set_xlabel("modulus of the eigenvalue")
    for one in axes[::2]:
        one.set_ylabel("share")
    return Shown(
        figure, "Eigenvalues of layer-to-layer Jacobians", f"On {config.nodes} nodes, over all seeds; dashed: 1."
    )


REPRODUCTION = Reproduction(
    name="arroyo2025/fig4",
    title="Energy and spectra of GIN and Gated-GCN",
    claim="With the state space around them GIN and Gated-GCN keep their Dirichlet energy through depth better, and "
    "the eigenvalues of their layer-to-layer Jacobians have moduli near 1.",
    presets={
        "smoke": Config(networks=("GIN",), dataset="karate", nodes=34, depth=4, width=4, layers=(1, 3), seeds=2),
        "cpu": Config(),
        "full": Config(nodes=200, depth=16, width=32, layers=(1, 8, 15), seeds=10),
    },
    cost={"smoke": "seconds", "cpu": "62 s on two busy cores", "full": "not run"},
    cells=cells,
    show=show,
)

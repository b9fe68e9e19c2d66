"""Figure 3: Dirichlet energy, projections of the last layer and accuracy against depth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.arroyo2025.common import SETTINGS, Part, dirichlet, features, panels, part, ssm, with_modulus
from jaxgnn.experiments.setting import drawn, majority, mean_std, node_task
from jaxgnn.report import plots
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Panel, Series
from jaxgnn.report.page import Table
from jaxgnn.report.panels import PART, Line, by_depth

PLAIN, SSM = "GCN", "GCN-SSM"
LOST = 0.2  # accuracy that has to be lost between a network's best depth and the deepest for it to collapse; ours
KEPT = 0.05  # accuracy that may be lost for it not to; ours
GONE, STAYS = 1e-6, 0.1  # a last layer's energy over the input's; ours


@dataclass(frozen=True)
class Config:
    """Energies at initialisation on the largest component, accuracies of trained networks on the whole graph.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      depths: numbers of layers; energies and projections are of the last.
      width: features of every layer.
      norms: ||Lambda||_2 of the energies; the first is also that of the trained networks.
      input_scale: about the modulus of B's eigenvalues.
      seeds: networks of each kind.
      steps: of training.
      learning_rate: of AdamW.
      weight_decay: of AdamW.
    """

    dataset: str = "cora"
    depths: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    width: int = 16
    norms: tuple[float, ...] = (1.0, 0.95, 0.8, 0.5)
    input_scale: float = 0.1
    seeds: int = 3
    steps: int = 150
    learning_rate: float = 1e-2
    weight_decay: float = 5e-4


def _kinds(config: Config) -> dict[str, dict]:
    return {PLAIN: {}, SSM: ssm(config.norms[0], config.input_scale)}


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    kinds = _kinds(config)
    energies = {f"energy, {kind}": partial(_energies, config, options) for kind, options in kinds.items()}
    return energies | {
        f"{kind}, {depth} layers": partial(_trained, config, options, depth)
        for kind, options in kinds.items()
        for depth in config.depths
    }


def _energies(config: Config, options: dict) -> Arrays:
    """energies [norms, seeds, L+1] at initialisation; of the plain network [1, seeds, L+1]."""
    where = part(config.dataset)
    # With the same readout as the trained networks, so that on a connected graph one program serves both.
    model = jg.DeepGNN(depth=config.depths[-1], width=config.width, out=node_task(config.dataset).out, **options)
    params = drawn(model, where, config.seeds)
    every = [with_modulus(params, norm) for norm in config.norms] if options else [params]
    return {"energies": [dirichlet(features(model, each, where), where.graph) for each in every]}


def _trained(config: Config, options: dict, depth: int) -> Arrays:
    """score, train_loss [seeds]; of the first seed's last layer two principal components [n, 2] and their share."""
    task = node_task(config.dataset)
    model = jg.DeepGNN(depth=depth, width=config.width, out=task.out, **options)
    result = jg.train(
        model,
        task,
        seeds=config.seeds,
        steps=config.steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    X = features(model, result.params, Part(task.graph, np.asarray(task.x)))[0, -1]
    plane, share = _principal(X.astype(np.float64))
    labels = np.asarray(task.labels)
    return {
        "score": result.score,
        "train_loss": result.train_loss,
        "plane": plane,
        "share": share,
        "labels": labels,
        "majority": majority(task),
    }


def _principal(X: np.ndarray) -> tuple[np.ndarray, float]:
    """X's two principal components [n, 2] and their share of its variance (0 where there is none)."""
    centred = X - X.mean(axis=0)
    U, sigma, _ = np.linalg.svd(centred, full_matrices=False)
    total = float(np.sum(sigma**2))
    return U[:, :2] * sigma[:2], float(np.sum(sigma[:2] ** 2)) / total if total else 0.0


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    deepest = config.depths[-1]
    score = {kind: np.array([mean_std(_of(results, kind, k)["score"]) for k in config.depths]) for kind in (PLAIN, SSM)}
    lost = {kind: float(s[:, 0].max() - s[-1, 0]) for kind, s in score.items()}
    collapses, stays = lost[PLAIN] > LOST, lost[SSM] < KEPT
    kept = _kept(config, results)
    norms = [kept[_name(norm)] for norm in sorted(config.norms)]
    ordered = norms == sorted(norms) and kept[PLAIN] < norms[-1]
    gone, preserved = kept[PLAIN] < GONE, kept[_name(config.norms[0])] > STAYS
    points = (collapses, stays, ordered and gone and preserved)
    chance = float(_of(results, PLAIN, deepest)["majority"])
    values = [
        Value(f"{kind}, {depth} layers: test accuracy", *found)
        for kind, of_kind in score.items()
        for depth, found in zip(config.depths, of_kind, strict=True)
    ]
    values += [Value(f"{kind}: log10 E(X^({deepest}))/E(X^(0))", _log10(ratio)) for kind, ratio in kept.items()]
    return Finding(
        evidence=f"{config.dataset}, {config.seeds} seeds, best validation of {config.steps} steps: test accuracy at "
        f"{config.depths[0]} and {deepest} layers "
        + ", ".join(f"{kind} {s[0, 0]:.3f} and {s[-1, 0]:.3f} ± {s[-1, 1]:.3f}" for kind, s in score.items())
        + f" (most frequent class {chance:.3f}). Dirichlet energy of the last layer over the "
        "first at initialisation: " + ", ".join(f"{kind} {ratio:.1e}" for kind, ratio in kept.items()) + ".",
        verdict="reproduced" if all(points) else "partly" if any(points) else "not reproduced",
        reason=f"From its best depth to {deepest} layers the GCN loses {lost[PLAIN]:.3f} of accuracy "
        f"({'a' if collapses else 'no'} collapse: more than {LOST:g}), GCN-SSM {lost[SSM]:.3f} "
        f"({'none' if stays else 'a loss'}: less than {KEPT:g} is none). The energies "
        f"{'are' if ordered else 'are not'} in the order of ||Λ||, the GCN's {'is' if gone else 'is not'} gone and "
        f"that of ||Λ|| = {config.norms[0]:g} {'is' if preserved else 'is not'} kept."
        + _faster([name for name, ratio in kept.items() if ratio < kept[PLAIN]]),
        values=values,
        figures={
            "accuracy": _accuracy(config, score, chance),
            "energy": _energy(config, results),
            "projections": _projections(config, results),
        },
        tables={"Training loss": _losses(config, results)},
        notes=[
            f"{SETTINGS} ReLU, Glorot weights, P symmetric, width {config.width}, row-normalised features, public "
            f"split, AdamW {config.learning_rate:g} with decay {config.weight_decay:g}, no dropout. Λ a multiple of I, "
            f"B uniform of spectral radius about {config.input_scale:g}, both fixed.",
            "Energies are tr X^T (I - P) X on the largest component, at initialisation; accuracies are of the whole "
            "graph. What counts as collapse, loss, gone (below 1e-6) and kept (above 0.1) is ours.",
        ],
    )


def _faster(names: Sequence[str]) -> str:
    return f" Faster than the GCN's decays that of {', '.join(names)}." if names else ""


def _of(results: Mapping[str, Mapping[str, np.ndarray]], kind: str, depth: int) -> Mapping[str, np.ndarray]:
    return results[f"{kind}, {depth} layers"]


def _name(norm: float) -> str:
    return f"GCN-SSM, ||Λ|| = {norm:g}"


def _lines(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Energies over that of the input, medians over seeds, [L+1] by name."""
    every = {PLAIN: results[f"energy, {PLAIN}"]["energies"][0]}
    every |= dict(zip(map(_name, config.norms), results[f"energy, {SSM}"]["energies"], strict=True))
    return {name: np.median(E / E[:, :1], axis=0) for name, E in every.items()}


def _kept(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, float]:
    return {name: float(line[-1]) for name, line in _lines(config, results).items()}


def _log10(ratio: float) -> float:
    return float(np.log10(ratio)) if ratio > 0 else -np.inf


def _losses(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Table:
    found = {kind: [mean_std(_of(results, kind, k)["train_loss"]) for k in config.depths] for kind in (PLAIN, SSM)}
    rows = [
        (str(depth), *(f"{found[kind][i][0]:.3f} ± {found[kind][i][1]:.3f}" for kind in found))
        for i, depth in enumerate(config.depths)
    ]
    return Table(("layers", *found), rows)


def _accuracy(config: Config, score: Mapping[str, np.ndarray], chance: float) -> Shown:
    lines = {kind: Line(np.array(config.depths), s[:, 0], s[:, 1]) for kind, s in score.items()}
    reference = ("most frequent class", chance)
    figure = by_depth(lines, ylabel="test accuracy", reference=reference, limits=PART)
    return Shown(figure, "Accuracy against depth", "Mean and standard deviation over seeds.")


def _energy(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    lines = _lines(config, results)
    series = [Series(name, np.arange(len(y)), np.asarray(y), colour=i) for i, (name, y) in enumerate(lines.items())]
    y = Axis("Dirichlet energy, relative to the input", "log")
    sentence = "At initialisation on the largest component, median over seeds; a line ends where the energy is 0."
    return Shown(Panel(Axis("layer", whole=True), y, tuple(series)), "Dirichlet energy by layer", sentence)


def _projections(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    ends = sorted({config.depths[0], config.depths[-1]})
    figure, axes = panels(len(ends), 2, size=(3.3, 3.0))
    for one, (kind, depth) in zip(axes, [(kind, depth) for kind in (PLAIN, SSM) for depth in ends], strict=True):
        found = _of(results, kind, depth)
        plane, labels = found["plane"], found["labels"]
        extent = float(np.abs(plane).max())
        for c in range(int(labels.max()) + 1):
            of_class = plane[labels == c] / (extent or 1.0)
            one.plot(*of_class.T, ".", color=plots.COLOURS[c % 7], markersize=2.5, alpha=0.6, rasterized=True)
        one.set_title(f"{kind}, {depth} layers: extent {extent:.1e},\n{found['share']:.0%} of the variance", fontsize=9)
        low, high = np.percentile(plane / (extent or 1.0), (1, 99), axis=0)
        room = 0.15 * np.maximum(high - low, 1e-6)
        (left, bottom), (right, top) = low - room, high + room
        one.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
    return Shown(
        figure,
        "The last layer's features on their two principal components",
        "Trained networks of the first seed, one colour a class, each panel in its own units without the outer nodes.",
    )


REPRODUCTION = Reproduction(
    name="arroyo2025/fig3",
    title="Cora against depth: energy, projections, accuracy",
    claim="The Dirichlet energy decays with depth the faster the smaller ||Λ|| is; a plain GCN's classes collapse and "
    "its accuracy with them, GCN-SSM's do not.",
    presets={
        "smoke": Config(dataset="karate", depths=(4,), width=4, norms=(1.0, 0.5), seeds=2, steps=10),
        "cpu": Config(),
        "full": Config(depths=(2, 4, 8, 16, 32, 64, 128, 256), width=64, seeds=10, steps=500),
    },
    cost={"smoke": "seconds", "cpu": "6 minutes on two busy cores", "full": "not run"},
    cells=cells,
    show=show,
)

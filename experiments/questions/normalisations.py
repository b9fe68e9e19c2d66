"""Which normalisations other than Frobenius control the expansion of a deep residual network's gradients?

Question (Park & Kim 2024, open). Every weight normalisation of `jaxgnn.network.bounds` at several c, and every
activation normalisation of `jaxgnn.network.norms`, in a residual GCN: growth of the gradient through all layers at
initialisation and after training, training loss, accuracy. A normalisation controls expansion if
||G^(0)||_F <= 100 ||G^(L)||_F in every run, before and after.

Command: jaxgnn reproduce questions/normalisations
Cost: 10 minutes of CPU time (14 programs and 105 trainings of 64 layers).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxgnn as jg
from jaxgnn.evidence import intervals
from jaxgnn.evidence.finding import Finding
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.questions import common
from jaxgnn.experiments.questions.common import Layers
from jaxgnn.network.bounds import BOUNDS
from jaxgnn.network.norms import NORMS
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Panel, Reference, Series
from jaxgnn.report.page import Table

_STATES = ("initial", "trained")
LIMIT = 100.0  # growth over all layers; 7% a layer at 64


@dataclass(frozen=True)
class Config:
    """What to train.

    Attributes:
      bounds: names of `jaxgnn.network.bounds.BOUNDS`, "none" among them for the network without any.
      norms: names of `jaxgnn.network.norms.NORMS`.
      bound_c: every bound's c is chosen from these, by mean validation accuracy.
      depth, width, activation: of the residual GCN.
      seeds: runs of each.
      steps: updates of each.
      learning_rate: of Adam.
    """

    bounds: tuple[str, ...] = tuple(BOUNDS)
    norms: tuple[str, ...] = tuple(name for name in NORMS if name != "none")
    bound_c: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    depth: int = 64
    width: int = 32
    activation: str = "relu"
    seeds: int = 3
    steps: int = 100
    learning_rate: float = 5e-3


SMOKE = Config(bounds=("frobenius",), norms=("batch",), bound_c=(0.3, 3.0), depth=4, width=8, seeds=2, steps=3)


class Cell(NamedTuple):
    """One normalisation at one c (None: has none); scores and losses are [seeds]. `chosen`: best on validation."""

    name: str
    kind: str
    bound_c: float | None
    initial: Layers
    trained: Layers
    train_loss: np.ndarray
    val_score: np.ndarray
    score: np.ndarray
    chosen: bool

    @property
    def growth(self) -> tuple[np.ndarray, np.ndarray]:
        """||G^(0)||_F / ||G^(L)||_F, [seeds], at initialisation and after training; inf where not finite."""
        return _growth(self.initial), _growth(self.trained)

    @property
    def controls(self) -> bool:
        """No run's growth above the limit, before and after."""
        return all(bool((g <= LIMIT).all()) for g in self.growth)


class Results(NamedTuple):
    config: Config
    constant_loss: float
    majority: float
    cells: list[Cell]


def _growth(layers: Layers) -> np.ndarray:
    first, last = layers.gradient_norm[:, 0], layers.gradient_norm[:, -1]
    finite = np.isfinite(first) & np.isfinite(last) & (last > 0)
    return np.divide(first, last, out=np.full(first.shape, np.inf), where=finite)


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    """The residual GCN with every normalisation, one after another, and what all of them were given."""
    return {"data": _described} | {
        f"{kind} {name}": partial(_measure, config, kind, name) for kind, name in _all(config)
    }


def _all(config: Config) -> list[tuple[str, str]]:
    return [(kind, name) for kind, names in (("bound", config.bounds), ("norm", config.norms)) for name in names]


def _described() -> Arrays:
    ds, task = _task()
    test = np.bincount(ds.labels[ds.test_mask]) / ds.test_mask.sum()
    return {"constant_loss": task.constant_loss(), "majority": test.max()}


def _task() -> tuple[Any, Any]:
    ds = jg.load_dataset("csbm")
    return ds, jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw")


def _measure(config: Config, kind: str, name: str) -> Arrays:
    """Every c's numbers, in a leading axis."""
    _, task = _task()
    sizes = {"depth": config.depth, "width": config.width, "activation": config.activation}
    model = jg.DeepGNN(out=task.out, residual="identity", **sizes, **{kind: name})
    points = jg.sweep(
        model,
        task,
        grid={"bound_c": config.bound_c} if kind == "bound" and name != "none" else {},
        seeds=config.seeds,
        steps=config.steps,
        learning_rate=config.learning_rate,
    )
    found = []
    for point in points:
        result = point.result
        arrays = {"bound_c": point.options.get("bound_c", np.nan)}
        arrays |= {name: getattr(result, name) for name in ("train_loss", "val_score", "score")}
        ends = {"initial": settled(model, result.initial_params, task), "trained": result.final_params}
        for when, params in ends.items():
            layers = common.measured(model, params, task)
            arrays |= {f"{when}/{name}": values for name, values in layers._asdict().items()}
        found.append(arrays)
    return {name: np.stack([arrays[name] for arrays in found]) for name in found[0]}


def _gathered(config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> Results:
    cells = []
    for kind, name in _all(config):
        arrays = found[f"{kind} {name}"]
        best = int(np.argmax(np.nan_to_num(arrays["val_score"], nan=0.0).mean(axis=1)))
        for i, c in enumerate(arrays["bound_c"]):
            ends = [Layers(*(arrays[f"{when}/{field}"][i] for field in Layers._fields)) for when in _STATES]
            numbers = (arrays[name][i] for name in ("train_loss", "val_score", "score"))
            cells.append(Cell(name, kind, None if np.isnan(c) else float(c), *ends, *numbers, i == best))
    given = found["data"]
    return Results(config, float(given["constant_loss"]), float(given["majority"]), cells)


def settled(model: jg.DeepGNN, params: Any, task: Any, passes: int = 100) -> Any:
    """The same weights, with running means as training passes leave them: at first they are 0 and 1, which is no norm.

    `params` have a leading axis of runs; without running means they are returned as they are.
    """
    return _settled(model, params, task, passes) if "batch_stats" in params else params


@partial(jax.jit, static_argnums=(0, 3))
def _settled(model: jg.DeepGNN, params: Any, task: Any, passes: int) -> Any:
    def one(params, _):
        _, changed = model.apply(params, task.graph, task.x, train=True, mutable=["batch_stats"])
        return params | dict(changed), None

    return jax.lax.map(lambda params: jax.lax.scan(one, params, length=passes)[0], params)


def chosen(results: Results) -> list[Cell]:
    """One cell a normalisation, those that control expansion first, by test accuracy."""
    cells = [cell for cell in results.cells if cell.chosen]
    return sorted(cells, key=lambda cell: (not cell.controls, -_mean(cell.score)))


def _mean(values: np.ndarray) -> float:
    return float(np.nan_to_num(values, nan=0.0).mean())


def _named(cell: Cell) -> str:
    label = f"{cell.name} norm" if cell.kind == "norm" else cell.name.replace("none", "no normalisation")
    return label if cell.bound_c is None else f"{label} (c = {cell.bound_c:g})"


def plot(results: Results) -> dict[str, Shown]:
    """Growth against accuracy for every cell, and the gradient's norm at every layer of the chosen ones."""
    series = []
    for i, (kind, label) in enumerate((("bound", "weight normalisations"), ("norm", "activation normalisations"))):
        cells = [cell for cell in results.cells if cell.kind == kind and np.isfinite(np.median(cell.growth[0]))]
        x, y = [np.median(cell.growth[0]) for cell in cells], [_mean(cell.score) for cell in cells]
        series.append(Series(label, np.asarray(x, float), np.asarray(y, float), kind="points", colour=i))
    references = (
        Reference(f"growth {LIMIT:g}", float(LIMIT), "x"),
        Reference("most frequent class", float(results.majority)),
    )
    axes = Axis("‖G⁽⁰⁾‖ / ‖G⁽ᴸ⁾‖ at initialisation", "log"), Axis("test accuracy", **panels.PART._asdict())
    figures = {
        "growth": Shown(
            Panel(*axes, tuple(series), references),
            "Accuracy against growth of the gradient",
            f"One point a normalisation and c: median growth over {results.config.depth} layers, mean test accuracy.",
        )
    }
    for kind in ("bound", "norm"):
        cells = [cell for cell in chosen(results) if cell.kind == kind]
        lines = ({_named(c): common.median(getattr(c, w).gradient_norm) for c in cells} for w in _STATES)
        figures[f"layers_{kind}"] = Shown(
            panels.by_layer(*lines, ylabel="‖G⁽ˡ⁾‖"),
            f"Gradient at every layer, {'weight' if kind == 'bound' else 'activation'} normalisations",
            "Median over seeds, c as chosen on validation; dotted at initialisation, solid after training.",
        )
    return figures


def _said(results: Results) -> tuple[str, str]:
    """The evidence, and the answer."""
    config = results.config
    best = chosen(results)
    reference = next((cell for cell in best if cell.name == "frobenius"), None)
    lines = []
    for cell in best:
        before, after = (f"{np.median(g):.3g}" for g in cell.growth)
        lines.append(
            f"{_named(cell)}: growth {before}, then {after}, accuracy {intervals.mean_interval(cell.score).text()}"
        )
    evidence = (
        f"Residual GCN, {config.depth} layers of width {config.width}, csbm, {config.seeds} seeds, {config.steps} "
        "steps; median growth ||G^(0)||/||G^(L)|| at initialisation, then after training; test accuracy with 95% "
        f"interval; c by validation. {'. '.join(lines)}."
    )
    return evidence, _verdict(results, best, reference)


def _verdict(results: Results, best: list[Cell], reference: Cell | None) -> str:
    controlling = [_named(cell) for cell in best if cell.controls]
    failing = [_named(cell) for cell in best if not cell.controls]
    parts = [
        f"Growth stays below {LIMIT:g} in every run with {common.listed(controlling)}; not with "
        f"{common.listed(failing)}."
    ]
    limits = []
    for name in dict.fromkeys(cell.name for cell in results.cells if cell.bound_c is not None):
        held = [cell.bound_c for cell in results.cells if cell.name == name and cell.bound_c and cell.controls]
        limits.append(f"{name} up to {max(held):g}" if held else f"{name} at none")
    if limits:
        parts.append(f"Of the c tried they control: {', '.join(limits)}.")
    if reference is not None:
        above, below = [], []
        for cell in best:
            if cell is not reference:
                difference = intervals.mean_interval(cell.score - reference.score)
                if difference.low > 0:
                    above.append(f"{_named(cell)} ({difference.text()})")
                elif difference.high < 0:
                    below.append(f"{_named(cell)} ({difference.text()})")
        parts.append(
            f"Against Frobenius's test accuracy, seed by seed, {common.listed(above)} are better and "
            f"{common.listed(below)} worse (95% intervals of the difference); the others are not told apart."
        )
    return " ".join(parts)


def table(results: Results) -> Table:
    """One row a normalisation and c, the chosen ones first, sorted."""
    header = (
        "normalisation",
        "c",
        "chosen",
        "growth at initialisation",
        "growth after training",
        "ln ‖G‖ per layer, initial",
        "training loss",
        "test accuracy",
        "controls",
    )
    first = chosen(results)
    rest = sorted((c for c in results.cells if not c.chosen), key=lambda c: (not c.controls, -_mean(c.score)))
    rows = []
    for cell in (*first, *rest):
        before, after = (f"{np.median(g):.3g} (up to {g.max():.3g})" for g in cell.growth)
        rate = intervals.mean_interval(common.rates(cell.initial.gradient_norm)).text()
        loss = f"{cell.train_loss.mean():.3g}" if np.isfinite(cell.train_loss).all() else "not finite"
        c = "" if cell.bound_c is None else f"{cell.bound_c:g}"
        label = _named(cell._replace(bound_c=None))
        score = intervals.mean_interval(cell.score).text()
        rows.append(
            (label, c, "yes" if cell.chosen else "", before, after, rate, loss, score, "yes" if cell.controls else "no")
        )
    return Table(header, rows)


def show(config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    results = _gathered(config, found)
    evidence, answer = _said(results)
    return Finding(
        evidence,
        "answered",
        answer,
        figures=plot(results),
        tables={"All normalisations": table(results)},
        notes=[
            f"One csbm of 200 nodes, sym, {config.activation}, Adam {config.learning_rate:g}; constant predictor's "
            f"loss {results.constant_loss:.4f}; intervals are over weights. The same c is not the same size: "
            "Frobenius, row and column give ||W||_F = c, so ||W||_2 about 2 c / sqrt(d); spectral gives ||W||_2 = c, "
            "orthogonal and Cayley make all singular values c.",
            "Gradients are measured in evaluation mode. Running means of batch norms are settled by 100 training "
            "passes before the measurement at initialisation; they are constants there, which training "
            "differentiates through.",
        ],
    )


REPRODUCTION = Reproduction(
    name="questions/normalisations",
    title="Which normalisations control the expansion of gradients?",
    claim="Scaling every weight matrix to a Frobenius norm of c controls the expansion of residual networks' gradients "
    "(Park & Kim 2024); whether other normalisations do is left open there.",
    presets={"smoke": SMOKE, "cpu": Config()},
    cost={"smoke": "seconds", "cpu": "10 min of CPU time"},
    cells=cells,
    show=show,
)

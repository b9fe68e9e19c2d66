"""Where is the trade-off between expressive power and expansion, as a function of the bound c?

Question (Park & Kim 2024, open): W <- c W / ||W||_F tames the expansion of a residual network; how small may c be
before it cannot express the task, and how large before it diverges? Residual GCN of several depths on three tasks, all
on csbm: classes of nodes; links held out of the graph (score of a pair: inner product of its outputs); whether a whole
graph is homophilous. Expected, with sigma = c / sqrt(d): a linear network expands by (1 + p^2 sigma^2)^(L / 2), so that
the largest c that trains would fall as sqrt(d / L); a ReLU network's features and gradients expand by about
(1 + sigma / sqrt(2 pi))^L (`questions/expansion`), so that it would fall as sqrt(d) / L.

Command: jaxgnn reproduce questions/expressivity
Cost: 10 minutes (7 of them CPU time), measured beside much other work on two cores.
Numbers: from 16 to 64 layers the largest good c falls from 1 to 0.25 for links, 4 to 1 for graphs, 8 to 1 for nodes.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence import intervals
from jaxgnn.evidence.finding import Finding
from jaxgnn.evidence.intervals import Interval
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.questions import common
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Reference
from jaxgnn.report.page import Table
from jaxgnn.tasks.many_graphs import ManyGraphs, many_graphs

TASKS = ("node", "link", "graph")


@dataclass(frozen=True)
class Config:
    """What to train.

    Attributes:
      tasks: "node", "link", "graph".
      depths: numbers of layers.
      bound_c: the values of c.
      width: d.
      num_nodes: of the graph for nodes and links.
      num_graphs, graph_nodes, batch_size: of the task of graphs.
      draws: data sets of each task.
      seeds: weights for each of them.
      steps: updates of each run.
      learning_rate: of Adam.
    """

    tasks: tuple[str, ...] = TASKS
    depths: tuple[int, ...] = (16, 64)
    bound_c: tuple[float, ...] = (0.0625, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    width: int = 32
    num_nodes: int = 200
    num_graphs: int = 120
    graph_nodes: int = 24
    batch_size: int = 12
    draws: int = 1
    seeds: int = 4
    steps: int = 100
    learning_rate: float = 5e-3


SMOKE = Config(
    tasks=("link",),
    depths=(2,),
    bound_c=(0.25, 4.0),
    width=8,
    num_nodes=48,
    num_graphs=12,
    batch_size=6,
    draws=1,
    seeds=2,
    steps=3,
)


class Cell(NamedTuple):
    """One task, depth and c: training loss over the constant predictor's, test score and growth, each [runs].

    growth is ||G^(0)||_F / ||G^(L)||_F at initialisation; runs are draws x seeds. A loss that is not finite is inf.
    """

    task: str
    depth: int
    bound_c: float
    loss: np.ndarray
    score: np.ndarray
    growth: np.ndarray


class Results(NamedTuple):
    config: Config
    cells: list[Cell]


def homophilous_graphs(config: Config, seed: int) -> ManyGraphs:
    """Is an edge of this graph likely (0.8) or unlikely (0.2) to join nodes of equal class? Classes are not given."""
    options = {"num_nodes": config.graph_nodes, "num_classes": 2, "num_features": 4, "signal": 2.0}
    sets = [
        jg.load_dataset(
            "csbm",
            homophily=(0.2, 0.8)[i % 2],
            seed=10_000 * seed + i,
            average_degree=4.0,
            train_per_class=2,
            val_fraction=0.3,
            **options,
        )
        for i in range(config.num_graphs)
    ]
    order = np.random.default_rng(seed).permutation(config.num_graphs)
    split = np.split(order, [config.num_graphs // 2, 3 * config.num_graphs // 4])
    return many_graphs(
        [ds.graph for ds in sets],
        [ds.x for ds in sets],
        np.arange(config.num_graphs) % 2,
        split=(split[0], split[1], split[2]),
        batch_size=config.batch_size,
    )


def _task(name: str, config: Config, seed: int) -> tuple[Any, dict[str, Any]]:
    """A task, and the options of the model that it needs."""
    if name == "link":
        sizes = {"num_nodes": config.num_nodes, "train_per_class": config.num_nodes // 10}
        ds = jg.load_dataset("csbm", average_degree=10.0, seed=seed, **sizes)
        task = jg.tasks.link_prediction(ds, out=8, seed=seed)
        return task, {"out": task.out}
    if name == "graph":
        return homophilous_graphs(config, seed), {"out": 2, "pool": "mean"}
    ds = jg.load_dataset("csbm", num_nodes=config.num_nodes, seed=seed, train_per_class=config.num_nodes // 10)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw"), {"out": ds.num_classes}


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    """Every task and depth, over the values of c, the draws and the seeds."""
    return {_name(*setup): partial(_measure, config, *setup) for setup in _setups(config)}


def _setups(config: Config) -> list[tuple[str, int]]:
    return list(itertools.product(config.tasks, config.depths))


def _name(task: str, depth: int) -> str:
    return f"{task}, {depth} layers"


def _measure(config: Config, name: str, depth: int) -> Arrays:
    """Loss over the constant predictor's, test score and growth, each [c, draws x seeds]."""
    found = {"loss": [], "score": [], "growth": []}
    for draw in range(config.draws):
        task, options = _task(name, config, draw)
        model = jg.DeepGNN(depth=depth, width=config.width, residual="identity", bound="frobenius", **options)
        points = jg.sweep(
            model,
            task,
            grid={"bound_c": config.bound_c},
            seeds=config.seeds,
            steps=config.steps,
            learning_rate=config.learning_rate,
            evaluate_every=10,
        )
        results = [point.result for point in points]
        loss = np.stack([result.train_loss for result in results]) / task.constant_loss()
        norms = np.stack([common.measured(model, r.initial_params, task).gradient_norm for r in results])
        found["loss"].append(np.where(np.isfinite(loss), loss, np.inf))
        found["score"].append(np.stack([result.score for result in results]))
        found["growth"].append(norms[..., 0] / norms[..., -1])
    return {name: np.concatenate(parts, axis=1) for name, parts in found.items()}


def _gathered(config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> Results:
    cells = []
    for setup in _setups(config):
        arrays = found[_name(*setup)]
        for i, c in enumerate(config.bound_c):
            cells.append(Cell(*setup, c, *(arrays[name][i] for name in ("loss", "score", "growth"))))
    return Results(config, cells)


class TradeOff(NamedTuple):
    """Of one task and depth, with bootstrap intervals over runs.

    Attributes:
      best_c: c with the lowest mean rank of training loss.
      smallest, largest: the ends of the c whose median training loss is within twice that of the best, or 5% of the
        constant predictor's.
      best_score_c: c with the highest mean test score.
    """

    best_c: Interval
    smallest: Interval
    largest: Interval
    best_score_c: Interval


def trade_off(results: Results, task: str, depth: int) -> TradeOff:
    """Where c is best, and how far one may go from there."""
    cells = [cell for cell in results.cells if (cell.task, cell.depth) == (task, depth)]
    c = np.array([cell.bound_c for cell in cells])
    loss = np.stack([cell.loss for cell in cells], axis=1)
    score = np.stack([cell.score for cell in cells], axis=1)

    def medians(loss):
        return np.median(loss, axis=0)

    def good(loss):
        middle = medians(loss)
        return c[middle <= max(2 * middle.min(), 0.05)]

    interval = partial(intervals.bootstrap, resamples=500)
    return TradeOff(
        best_c=interval(lambda loss: float(c[np.argmin(medians(loss))]), loss),
        smallest=interval(lambda loss: float(good(loss).min()), loss),
        largest=interval(lambda loss: float(good(loss).max()), loss),
        best_score_c=interval(lambda s: float(c[np.argmax(np.nan_to_num(s, nan=-1.0).mean(axis=0))]), score),
    )


def plot(results: Results) -> dict[str, Shown]:
    """Training loss, test score and growth against c, by task and depth."""
    config, figures = results.config, {}
    for name in config.tasks:
        for quantity, label in (("loss", "training loss / constant predictor's"), ("score", "test score")):
            lines = {}
            for i, depth in enumerate(config.depths):
                cells = [cell for cell in results.cells if (cell.task, cell.depth) == (name, depth)]
                values = np.stack([getattr(cell, quantity) for cell in cells])
                lines[f"{depth} layers"] = panels.Curve(np.array([cell.bound_c for cell in cells]), values.T, i)
            loss = quantity == "loss"
            reference = Reference("constant predictor", 1.0) if loss else None
            figure = panels.curves(lines, xlabel="c", ylabel=label, log=loss, reference=reference)
            figure = replace(figure, x=replace(figure.x, scale="log", base=2, whole=False))
            figures[f"{name}_{quantity}"] = Shown(
                figure,
                f"Task of {name}s: {label}",
                f"Median and range of {config.draws * config.seeds} runs after {config.steps} steps; runs whose loss "
                "is not finite are left out.",
            )
    lines = {}
    for depth in config.depths:
        cells = [cell for cell in results.cells if (cell.task, cell.depth) == (config.tasks[0], depth)]
        growth = np.array([common.median(cell.growth) for cell in cells])
        lines[f"{depth} layers"] = panels.Line(np.array([cell.bound_c for cell in cells]), growth)
    figure = panels.by_option(lines, xlabel="c", ylabel="‖G⁽⁰⁾‖ / ‖G⁽ᴸ⁾‖ at initialisation")
    figure = replace(figure, y=replace(figure.y, scale="log"))
    figures["growth"] = Shown(
        figure, "Expansion against c", f"Growth of the gradient through the layers, task of {config.tasks[0]}s."
    )
    return figures


def _said(results: Results) -> tuple[str, str]:
    """The evidence, and the answer."""
    config = results.config
    found = {(t, L): trade_off(results, t, L) for t, L in itertools.product(config.tasks, config.depths)}
    said = []
    for (task, depth), it in found.items():
        cells = [cell for cell in results.cells if (cell.task, cell.depth) == (task, depth)]
        ends = [float(np.median(cell.loss)) for cell in cells]
        best = min(ends)
        scores = [intervals.mean_interval(cell.score).value for cell in cells]
        said.append(
            f"{task}, {depth} layers: lowest loss {best:.3g} at c = {it.best_c.text(3)}, {ends[0]:.3g} at "
            f"c = {config.bound_c[0]:g}, {ends[-1]:.3g} at {config.bound_c[-1]:g}; good for c from "
            f"{it.smallest.text(3)} to {it.largest.text(3)}; best test score {np.nan_to_num(scores).max():.3f} at "
            f"{it.best_score_c.text(3)}"
        )
    evidence = (
        f"Residual GCN of width {config.width}, c times W / ||W||_F, {config.draws * config.seeds} runs a cell "
        f"({config.draws} of the data x {config.seeds} of the weights, 95% bootstrap intervals over runs), "
        f"{config.steps} steps. Median final training loss over the constant predictor's. {'. '.join(said)}."
    )
    return evidence, _verdict(results, found)


def _verdict(results: Results, found: dict[tuple[str, int], TradeOff]) -> str:
    config, parts = results.config, []
    for end, names in (("underfits at the smallest c", []), ("fails at the largest c", [])):
        for task, depth in found:
            cells = [cell for cell in results.cells if (cell.task, cell.depth) == (task, depth)]
            number = 0 if end.startswith("under") else -1
            best = min(float(np.median(cell.loss)) for cell in cells)
            if np.median(cells[number].loss) > max(2 * best, 0.05):
                names.append(f"{task} ({depth} layers)")
        c = config.bound_c[0] if end.startswith("under") else config.bound_c[-1]
        parts.append(f"The network {end} tried, {c:g}, for {common.listed(names)}.")
    if len(config.depths) > 1:
        shallow, deep = min(config.depths), max(config.depths)
        moved = [
            f"{task} from {found[task, shallow].largest.value:g} to {found[task, deep].largest.value:g}"
            for task in config.tasks
        ]
        parts.append(
            f"From {shallow} to {deep} layers the largest good c moves for {common.listed(moved)}; sqrt(d / L) "
            f"would divide it by {np.sqrt(deep / shallow):.1f}, sqrt(d) / L by {deep / shallow:.1f}."
        )
    return " ".join(parts)


def table(results: Results) -> Table:
    """One row a task, depth and c."""
    header = (
        "task",
        "layers",
        "c",
        "training loss / constant's",
        "test score",
        "growth at initialisation",
        "not finite",
    )
    rows = []
    for cell in results.cells:
        finite = np.isfinite(cell.loss)
        loss = f"{np.median(cell.loss):.3g} ({cell.loss.min():.3g} to {cell.loss.max():.3g})"
        growth = f"{common.median(cell.growth):.3g}"
        score = intervals.mean_interval(cell.score).text()
        rows.append((cell.task, str(cell.depth), f"{cell.bound_c:g}", loss, score, growth, str((~finite).sum())))
    return Table(header, rows)


def show(config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    results = _gathered(config, found)
    evidence, answer = _said(results)
    return Finding(
        evidence,
        "answered",
        answer,
        figures=plot(results),
        tables={"All cells": table(results)},
        notes=[
            f"Adam {config.learning_rate:g}, no decay, ReLU, sym. Scores: accuracy for nodes and graphs, area under "
            "the ROC curve for links. A c is called good where the median training loss is at most twice the lowest, "
            "or 5% of the constant predictor's. A larger c also makes the same step of Adam a "
            "larger step of the function.",
        ],
    )


REPRODUCTION = Reproduction(
    name="questions/expressivity",
    title="Expressive power against the bound c",
    claim="Bounding every layer's Lipschitz constant by c trades expressive power (c too small) against gradient "
    "expansion (c too large); where the trade-off lies is left open in Park & Kim 2024.",
    presets={"smoke": SMOKE, "cpu": Config()},
    cost={"smoke": "seconds", "cpu": "10 min, beside much other work"},
    cells=cells,
    show=show,
)

"""Residual GCN and GAT of 64 to 512 layers, unbounded and with the Frobenius bound, c chosen on validation."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.setting import MARGIN, majority, mean_std, node_task
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Panel, Series
from jaxgnn.report.page import Table


@dataclass(frozen=True)
class Case:
    """One layer on one data set at several depths; steps of Adam for each network."""

    dataset: str
    layer: str
    depths: tuple[int, ...] = (64, 128, 256, 512)
    steps: int = 60


@dataclass(frozen=True)
class Config:
    """What to train.

    Attributes:
      cases: data sets, layers and depths.
      bound_c: c is chosen from these by mean validation accuracy.
      width: features of every layer.
      seeds: runs of each.
      learning_rate: of Adam.
    """

    cases: tuple[Case, ...]
    bound_c: tuple[float, ...] = (0.03, 0.1, 0.3)
    width: int = 16
    seeds: int = 1
    learning_rate: float = 1e-2


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    return {
        _name(case, depth, c): partial(_train, config, case, depth, c)
        for case, depth in _networks(config)
        for c in (None, *config.bound_c)
    }


def _networks(config: Config) -> Iterator[tuple[Case, int]]:
    return ((case, depth) for case in config.cases for depth in case.depths)


def _name(case: Case, depth: int, c: float | None) -> str:
    return f"{case.dataset}, {case.layer}, {depth} layers, " + ("unbounded" if c is None else f"c {c:g}")


def _train(config: Config, case: Case, depth: int, c: float | None) -> Arrays:
    task = node_task(case.dataset)
    bound = {} if c is None else {"bound": "frobenius", "bound_c": c}
    model = jg.DeepGNN(layer=case.layer, depth=depth, width=config.width, out=task.out, residual="identity", **bound)
    result = jg.train(model, task, seeds=config.seeds, steps=case.steps, learning_rate=config.learning_rate)
    return {
        "score": result.score,
        "val_score": result.val_score,
        "train_loss": result.train_loss,
        "constant_loss": task.constant_loss(),
        "majority": majority(task),
    }


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    rows, values, trained, failed = [], [], 0, 0
    lines: dict[str, tuple[list, list]] = {}
    for case, depth in _networks(config):
        free = results[_name(case, depth, None)]
        tried = {c: results[_name(case, depth, c)] for c in config.bound_c}
        c = max(tried, key=lambda c: float(np.nan_to_num(tried[c]["val_score"].mean(), nan=-np.inf)))
        chance = float(free["majority"])
        name = f"{case.dataset}, residual {case.layer.upper()}, {depth} layers"
        bounded, unbounded = mean_std(tried[c]["score"]), mean_std(free["score"])
        trained += bounded[0] > chance + MARGIN
        failed += not unbounded[0] > chance + MARGIN
        rows.append((name, str(case.steps), _text(unbounded, free), f"{_text(bounded, tried[c])}, c = {c:g}"))
        values += [Value(f"{name}, bounded: test accuracy", *bounded)]
        for kind, value in (("unbounded", unbounded), ("bounded", bounded)):
            x, y = lines.setdefault(f"{case.dataset} {case.layer}, {kind}", ([], []))
            x.append(depth)
            y.append(value[0])
    count = len(rows)
    verdict = "reproduced" if trained == failed == count else "partly" if trained else "not reproduced"
    return Finding(
        evidence=f"Of {count} residual networks {trained} come more than {MARGIN:g} above the most frequent class with "
        f"the bound, and {count - failed} without it (test accuracy, c chosen on validation).",
        verdict=verdict,
        reason=f"The bound trains {trained} of {count} networks; without it {failed} of {count} stay at chance or "
        f"diverge. c is from {', '.join(f'{c:g}' for c in config.bound_c)}: the quoted c = 4 is park2024/c4.",
        values=values,
        figures={layer: _figure(lines, layer) for layer in dict.fromkeys(case.layer for case in config.cases)},
        tables={"Test accuracy, final training loss": Table(("network", "steps", "unbounded", "bounded"), rows)},
        notes=[
            f"Width {config.width}, {config.seeds} seed(s), Adam {config.learning_rate:g}, no dropout, no decay, few "
            "steps are ours, the paper's are not known; accuracies are below what tuned networks reach."
        ],
    )


def _text(score: tuple[float, float], found: Mapping[str, np.ndarray]) -> str:
    loss = float(found["train_loss"].mean())
    said = "not finite" if not np.isfinite(loss) else f"{loss:.3g}"
    return f"{score[0]:.3f} (loss {said})" if np.isfinite(score[0]) else "diverges"


def _figure(lines: Mapping[str, tuple[list, list]], layer: str) -> Shown:
    chosen = {name: points for name, points in lines.items() if name.split(",")[0].endswith(f" {layer}")}
    series = []
    for i, (name, (x, y)) in enumerate(chosen.items()):
        look = {"dash": "-" if name.endswith(", bounded") else ":", "colour": i // 2 % 7, "marked": True}
        series.append(Series(name, np.asarray(x, float), np.nan_to_num(y), **look))
    depths = tuple(sorted({float(d) for x, _ in chosen.values() for d in x}))
    x, y = Axis("depth (layers)", "log", ticks=depths, base=2), Axis("test accuracy", **panels.PART._asdict())
    sentence = "Solid with the bound, dotted without; 0 where the network diverges at once."
    return Shown(Panel(x, y, tuple(series)), f"Residual {layer.upper()} by depth", sentence)


DATASETS = ("cora", "citeseer", "chameleon", "squirrel")
REPRODUCTION = Reproduction(
    name="park2024/accuracy",
    title="Residual GCN and GAT at 64 to 512 layers, with and without the bound",
    claim="With each layer's Lipschitz constant bounded, residual GCN and GAT train at 64 to 512 layers.",
    presets={
        "smoke": Config((Case("csbm", "gcn", (2, 4), steps=3),), bound_c=(0.3,), width=4),
        "cpu": Config(
            (
                *(Case(name, "gcn") for name in ("cora", "citeseer", "chameleon")),
                Case("squirrel", "gcn", steps=30),
                *(Case(name, "gat", steps=40) for name in ("cora", "citeseer", "chameleon")),
                Case("squirrel", "gat", steps=20),
            ),
            bound_c=(0.1, 0.3),
        ),
        "full": Config(
            tuple(Case(name, layer, steps=1000) for layer in ("gcn", "gat") for name in DATASETS),
            bound_c=(0.03, 0.1, 0.3, 1.0, 4.0),
            width=256,
            seeds=10,
            learning_rate=5e-3,
        ),
    },
    cost={"smoke": "seconds", "cpu": "101 min, beside other work", "full": "not run"},
    cells=cells,
    show=show,
)

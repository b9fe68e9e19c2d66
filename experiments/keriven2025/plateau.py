"""Where a plain deep network's loss comes to rest, against the constant predictor's.

Keriven 2025 (derived form): once the readout is trained, a smoothed network is near-stationary at the loss of the
constant predictor. Initialisation, biases and decay decide whether the plain GCN gets there.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.setting import mean_std, node_task
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Interval, Panel, Reference, Series
from jaxgnn.report.page import Table

DECAYS: Mapping[str, Mapping[str, float]] = {"none": {}, "L2 5e-4": {"l2": 5e-4}, "AdamW 5e-4": {"weight_decay": 5e-4}}
_NEAR = 0.01  # of the constant predictor's loss: what counts as being at it


@dataclass(frozen=True)
class Config:
    """Plain ReLU networks with the symmetric P, trained with Adam, without dropout.

    Attributes:
      datasets: names that `jaxgnn data list` shows.
      initialisers: DeepGNN's init_weights.
      depth, width: number of layers, features of each.
      seeds: runs of each set-up.
      steps, learning_rate: of Adam.
    """

    datasets: tuple[str, ...] = ("csbm", "cora")
    initialisers: tuple[str, ...] = ("glorot", "he", "orthogonal")
    depth: int = 64
    width: int = 32
    seeds: int = 2
    steps: int = 200
    learning_rate: float = 5e-3


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    return {_name(*setup): partial(_measure, config, *setup) for setup in _setups(config)}


def _setups(config: Config) -> list[tuple[str, str, bool, str]]:
    return list(itertools.product(config.datasets, config.initialisers, (False, True), DECAYS))


def _name(dataset: str, initialiser: str, bias: bool, decay: str) -> str:
    return f"{dataset}, {initialiser}, {'bias' if bias else 'no bias'}, {decay}"


def _measure(config: Config, dataset: str, initialiser: str, bias: bool, decay: str) -> Arrays:
    """Final training loss and test accuracy, each [seeds]; the constant predictor's loss."""
    task = node_task(dataset)
    model = jg.DeepGNN(depth=config.depth, width=config.width, out=task.out, init_weights=initialiser, bias=bias)
    options: dict[str, Any] = {"steps": config.steps, "learning_rate": config.learning_rate, **DECAYS[decay]}
    result = jg.train(model, task, seeds=config.seeds, **options)
    return {"loss": result.train_loss, "score": result.score, "constant": task.constant_loss()}


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    setups = _setups(config)
    relative = {setup: _relative(results[_name(*setup)]) for setup in setups}
    at_rest = {setup: bool((abs(loss - 1) <= _NEAR).all()) for setup, loss in relative.items()}
    stays = {
        biased: [at_rest[setup] for setup in setups if setup[2] is biased]  # dataset, initialiser, bias, decay
        for biased in (False, True)
    }
    counts = {biased: f"{sum(found)} of {len(found)}" for biased, found in stays.items()}
    count = sum(at_rest.values())
    lowest = min(setups, key=lambda setup: relative[setup].mean())
    constants = {d: float(results[_name(d, *setups[0][1:])]["constant"]) for d in config.datasets}
    scores = [results[_name(*setup)]["score"].mean() for setup in setups if at_rest[setup]]
    tested = f"; test accuracy of those that do is {min(scores):.3f} to {max(scores):.3f}" if scores else ""
    return Finding(
        evidence=f"{config.depth} layers of width {config.width}, {config.steps} steps of Adam, {config.seeds} seeds; "
        f"the constant predictor's loss is {', '.join(f'{v:.4f} ({d})' for d, v in constants.items())}. Without "
        f"biases {counts[False]} set-ups end within {_NEAR:.0%} of it, with biases {counts[True]}{tested}.",
        verdict="reproduced" if count == len(setups) else "partly" if count else "not reproduced",
        reason=f"The loss comes to rest at the constant predictor's in {count} of {len(setups)} set-ups; the lowest is "
        f"{relative[lowest].mean():.3f} of it ({_name(*lowest)}).",
        values=[
            Value(f"{_name(*setup)}: final training loss", *mean_std(results[_name(*setup)]["loss"]))
            for setup in setups
        ],
        figures={
            f"loss-{dataset}": Shown(
                _figure(config, relative, dataset),
                f"Where the loss comes to rest, {dataset}",
                f"Training loss after {config.steps} steps over the constant predictor's: mean, and all seeds as bars.",
            )
            for dataset in config.datasets
        },
        tables={"Set-ups": _table(setups, results)},
        notes=["Depth, width, steps and decays are ours: the paper's are not known. Features are row-normalised."],
    )


def _relative(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The loss over the constant predictor's, [seeds]; infinite for runs that failed."""
    return np.nan_to_num(arrays["loss"] / arrays["constant"], nan=np.inf)


def _figure(config: Config, relative: Mapping[tuple, np.ndarray], dataset: str):
    series = []
    pairs = list(itertools.product(config.initialisers, (False, True)))
    for i, decay in enumerate(DECAYS):
        values = np.array([relative[dataset, *pair, decay] for pair in pairs])
        values[~np.isfinite(values)] = np.nan
        middle = values.mean(axis=1)
        ends = Interval(values.min(axis=1), values.max(axis=1))
        place = np.arange(len(pairs)) + 0.18 * (i - 1)
        series.append(Series(f"decay: {decay}", place, middle, kind="points", errors=ends, colour=i))
    names = tuple(f"{initialiser}{', bias' if bias else ''}" for initialiser, bias in pairs)
    x = Axis("weights of the layers", ticks=tuple(range(len(pairs))), names=names)
    reference = Reference("constant predictor", 1.0)
    return Panel(x, Axis("loss / constant predictor's"), tuple(series), (reference,))


def _table(setups: list, results: Mapping[str, Mapping[str, np.ndarray]]) -> Table:
    rows = []
    for setup in setups:
        dataset, initialiser, bias, decay = setup
        loss, score = (results[_name(*setup)][name] for name in ("loss", "score"))
        text = f"{loss.mean():.4f} ({loss.min():.4f} to {loss.max():.4f})"
        rows.append((dataset, initialiser, "yes" if bias else "no", decay, text, f"{score.mean():.3f}"))
    return Table(("data set", "weights", "bias", "decay", "final training loss", "test accuracy"), rows)


REPRODUCTION = Reproduction(
    name="keriven2025/plateau",
    title="Where a plain deep network's loss comes to rest",
    claim="Once the readout is trained, a smoothed network stays at the constant predictor's loss.",
    presets={
        "smoke": Config(datasets=("csbm",), initialisers=("glorot",), depth=4, width=8, seeds=1, steps=5),
        "cpu": Config(),
        "full": Config(datasets=("csbm", "cora", "citeseer", "pubmed"), width=64, seeds=10, steps=1000),
    },
    cost={"smoke": "seconds", "cpu": "13 minutes beside other work", "full": "not run"},
    cells=cells,
    show=show,
)

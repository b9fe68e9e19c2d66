"""The LRGB peptides: GCN against GCN-SSM and its k-hop variant, on files that have to be brought."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np

import jaxgnn as jg
from jaxgnn.data import load_peptides
from jaxgnn.data.molecules import ATOMS, one_hot
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.arroyo2025.common import SETTINGS, ssm
from jaxgnn.experiments.setting import mean_std
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Interval, Panel, Series

# Metric, loss, and whether more is better (Dwivedi et al. 2022, section 4).
METRICS = {
    "peptides_func": ("average_precision", "bce", True),
    "peptides_struct": ("mae", "mae", False),
}


@dataclass(frozen=True)
class Config:
    """What to train; scores are of the parameters with the best validation score.

    Attributes:
      datasets: "peptides_func", "peptides_struct".
      molecules: the first so many of the training, validation and test split; None for all.
      depth, width: of every network; a mean over the atoms is read out.
      hops: of the k-hop variant.
      modulus, input_scale: of Lambda's and B's eigenvalues.
      seeds: runs of each.
      epochs, batch_size, learning_rate: of Adam.
    """

    datasets: tuple[str, ...] = tuple(METRICS)
    molecules: tuple[int, int, int] | None = (1024, 256, 256)
    depth: int = 10
    width: int = 64
    hops: int = 5
    modulus: float = 1.0
    input_scale: float = 3**-0.5
    seeds: int = 1
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3


def _networks(config: Config) -> dict[str, dict[str, Any]]:
    space = ssm(config.modulus, config.input_scale)
    return {"GCN": {}, "GCN-SSM": space, "kGCN-SSM": {"khop": True, **space}}


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    every = [(dataset, kind) for dataset in config.datasets for kind in _networks(config)]
    return {_name(*each): partial(_train, config, *each) for each in every}


def _name(dataset: str, kind: str) -> str:
    return f"{dataset}, {kind}"


@cache
def _task(config: Config, dataset: str, hops: int | None) -> Any:
    peptides = load_peptides(dataset)  # pyright: ignore[reportArgumentType]
    parts = (peptides.train, peptides.val, peptides.test)
    counts = [part.size for part in parts] if config.molecules is None else config.molecules
    parts = [part[:count] for part, count in zip(parts, counts, strict=True)]
    chosen = np.concatenate(parts)
    starts = np.cumsum([0, *(part.size for part in parts)])
    metric, loss, _ = METRICS[dataset]
    return jg.tasks.many_graphs(
        [jg.prepare(peptides.graphs[i]._replace(edges=None), hops=hops) for i in chosen],
        [one_hot(peptides.x[i], ATOMS) for i in chosen],
        peptides.targets[chosen],
        split=tuple(np.arange(a, b) for a, b in pairwise(starts)),
        batch_size=min(config.batch_size, parts[0].size),
        loss=loss,
        metric=metric,
    )


def _train(config: Config, dataset: str, kind: str) -> Arrays:
    options = _networks(config)[kind]
    task = _task(config, dataset, config.hops if options.get("khop") else None)
    model = jg.DeepGNN(depth=config.depth, width=config.width, out=task.out, pool="mean", **options)
    per_epoch = task.batches_per_epoch
    rate = {"learning_rate": config.learning_rate, "evaluate_every": per_epoch}
    result = jg.train(model, task, seeds=config.seeds, steps=config.epochs * per_epoch, **rate)
    return {"score": result.score}


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    kinds = list(_networks(config))
    score = {(d, k): mean_std(results[_name(d, k)]["score"]) for d in config.datasets for k in kinds}
    ahead = {d: [k for k in kinds[1:] if _better(d, score[d, k][0], score[d, "GCN"][0])] for d in config.datasets}
    wins = sum(len(found) == len(kinds) - 1 for found in ahead.values())
    return Finding(
        evidence="; ".join(f"{d}, {METRICS[d][0]}: " + _said(score, d, kinds) for d in config.datasets) + ".",
        verdict="reproduced" if wins == len(ahead) else "partly" if any(ahead.values()) else "not reproduced",
        reason="Better than GCN: " + "; ".join(f"{d} {', '.join(f) or 'none'}" for d, f in ahead.items()) + ".",
        values=[Value(f"{d}, {k}: {METRICS[d][0]}", *s) for (d, k), s in score.items()],
        figures={dataset: _figure(dataset, score, kinds) for dataset in config.datasets},
        notes=[SETTINGS, "Bonds count as edges without features; average precision is better where more, MAE less."],
    )


def _better(dataset: str, score: float, other: float) -> bool:
    return score > other if METRICS[dataset][2] else score < other


def _said(score: Mapping[tuple[str, str], tuple[float, float]], dataset: str, kinds: list[str]) -> str:
    return ", ".join(f"{kind} {score[dataset, kind][0]:.3f}" for kind in kinds)


def _figure(dataset: str, score: Mapping[tuple[str, str], tuple[float, float]], kinds: list[str]) -> Shown:
    metric = METRICS[dataset][0]
    mean, spread = np.array([score[dataset, kind] for kind in kinds]).T
    at = np.arange(len(kinds))
    points = Series("test", at, mean, kind="points", errors=Interval(mean - spread, mean + spread))
    x = Axis("network", ticks=tuple(map(float, at)), names=tuple(kinds))
    y = Axis(metric.replace("_", " "), **panels.score_limits(metric)._asdict())
    return Shown(Panel(x, y, (points,)), dataset, "Mean and standard deviation over seeds.")


REPRODUCTION = Reproduction(
    name="arroyo2025/peptides",
    title="Long-range peptides",
    claim="GCN-SSM and its k-hop variant predict properties of peptides better than GCN.",
    presets={
        "smoke": Config(("peptides_struct",), (3, 1, 2), depth=2, width=4, hops=2, epochs=1, batch_size=3),
        "cpu": Config(),
        "full": Config(molecules=None, depth=40, width=96, hops=10, seeds=4, epochs=250, batch_size=128),
    },
    cost={"smoke": "seconds", "cpu": "not run", "full": "not run"},
    cells=cells,
    show=show,
)

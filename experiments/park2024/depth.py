"""Residual networks of 64 to 512 layers with and without the Frobenius bound, c searched on validation.

Claim tested (Park & Kim 2024): bounding every layer's Lipschitz constant lets residual GCN and GAT train at depths
where the unbounded ones diverge or stay at chance. The paper's own settings are not known to us: width, steps, rate
and the values of c are this file's.

Command: python -m jaxgnn.experiments.park2024.depth --dataset cora --layer gcn --out park2024-cora-gcn
Cost: printed in the table; the numbers are in the README. An interrupted run goes on where it was.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

import jaxgnn as jg
from jaxgnn.data import row_normalise


@dataclass(frozen=True)
class Config:
    """What to train.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      layer: the graph layer.
      depths: numbers of layers.
      width: features of every layer.
      bound_c: c is chosen from these by mean validation accuracy.
      seeds: runs of each.
      steps: updates of each.
      learning_rate: of Adam.
      out: a folder for checkpoints, so that an interrupted run goes on; none is kept without it.
    """

    dataset: str = "csbm"
    layer: str = "gcn"
    depths: tuple[int, ...] = (64, 128, 512)
    width: int = 16
    bound_c: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    seeds: int = 1
    steps: int = 100
    learning_rate: float = 1e-2
    out: Path | None = None


SMOKE = Config(depths=(2, 4), width=4, bound_c=(0.1, 1.0), steps=3)


class Row(NamedTuple):
    """One network: its depth, the c chosen (None: unbounded), scores and final training losses [seeds], seconds."""

    depth: int
    bound_c: float | None
    score: np.ndarray
    train_loss: np.ndarray
    failed: np.ndarray
    seconds: float


class Results(NamedTuple):
    config: Config
    constant_loss: float
    majority: float
    rows: list[Row]


def run(config: Config) -> Results:
    """Trains the residual network at every depth, unbounded and with every c."""
    ds = jg.load_dataset(config.dataset)
    task = jg.tasks.node_classification(ds._replace(x=row_normalise(ds.x)), jg.prepare(ds.graph))
    rows = []
    for depth in config.depths:
        for bound in ("none", "frobenius"):
            model = jg.DeepGNN(
                layer=config.layer,
                depth=depth,
                width=config.width,
                out=ds.num_classes,
                residual="identity",
                bound=bound,
            )
            started = time.perf_counter()
            points = jg.sweep(
                model,
                task,
                grid={} if bound == "none" else {"bound_c": config.bound_c},
                seeds=config.seeds,
                steps=config.steps,
                learning_rate=config.learning_rate,
                out=None if config.out is None else config.out / f"{depth}-{bound}",
            )
            best = max(points, key=lambda point: float(np.nan_to_num(np.mean(point.result.val_score), nan=-np.inf)))
            seconds = time.perf_counter() - started
            result = best.result
            c = best.options.get("bound_c")
            rows.append(Row(depth, c, result.score, result.train_loss, result.failed, seconds))
    test = np.bincount(ds.labels[ds.test_mask]) / ds.test_mask.sum()
    return Results(config, task.constant_loss(), float(test.max()), rows)


def table(results: Results) -> str:
    """The results as a Markdown table."""
    config = results.config
    tried = ", ".join(f"{c:g}" for c in config.bound_c)
    lines = [
        f"{config.dataset}, residual {config.layer.upper()} of width {config.width}, {config.seeds} seeds, "
        f"{config.steps} steps of Adam {config.learning_rate:g}; c from {tried}. Constant predictor's loss "
        f"{results.constant_loss:.4f}; the most frequent test class has {results.majority:.3f}.",
        "",
        "| layers | bound | test accuracy | final training loss | seconds |",
        "|---|---|---|---|---|",
    ]
    for row in results.rows:
        bound = "none" if row.bound_c is None else f"c = {row.bound_c:g}"
        failed = f" ({row.failed.sum()} of {row.failed.size} not finite)" if row.failed.any() else ""
        finite = np.isfinite(row.score).all()
        score = f"{row.score.mean():.3f} ± {row.score.std():.3f}" if finite else "none: failed at once"
        lines.append(
            f"| {row.depth} | {bound} | {score} | {_number(row.train_loss.mean())}{failed} | {row.seconds:.0f} |"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "not finite"
    return f"{value:.3f}" if value < 1000 else f"{value:.1e}"


if __name__ == "__main__":
    print(table(run(tyro.cli(Config, description=__doc__))))

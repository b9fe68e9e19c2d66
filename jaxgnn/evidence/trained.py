"""Cells that train: one arm over seeds, with its search over numeric options, the same budget for every arm."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxgnn.evidence.cells import Arrays, Cell
from jaxgnn.network.adapters import as_network
from jaxgnn.training.drive import fingerprint
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.train import default_hyper, sweep

By = Literal["val_score", "train_loss"]
LINE = 60  # points of a training curve that are kept


def trained(
    arm: str,
    settings: Mapping[str, Any],
    problem: Callable[[], tuple[Any, Any]],
    *,
    seeds: int,
    seed: int = 0,
    grid: Mapping[str, Sequence[float]] | None = None,
    by: By = "val_score",
    last: bool = False,
    more: Callable[[Any, Any], Arrays] | None = None,
    **options: Any,
) -> Cell:
    """The cell of one arm: every grid point over all seeds in one compiled program, one point chosen for all seeds.

    Args:
      settings: what the problem is made of.
      problem: () -> (model, task).
      seeds, seed, grid, options: as `jaxgnn.sweep` has them.
      by: what the point is chosen by: the mean of "val_score" or of the final "train_loss".
      last: scores are those of the last evaluated parameters, not of the best on validation.
      more: (result of the chosen point, task) -> further arrays.

    Its arrays: score, val_score, train_loss, best_step [seeds] and history [seeds, <= 60] of the chosen point, chosen
    (its number), and grid_score, grid_val_score, grid_train_loss [points, seeds]. Runs that failed score NaN.
    """
    grid = {name: tuple(values) for name, values in (grid or {}).items()}
    said = {"seeds": seeds, "seed": seed, "grid": grid, "by": by, "last": last, **options}

    def measure() -> Arrays:
        model, task = problem()
        points = sweep(model, task, grid=grid, seeds=seeds, seed=seed, **options)
        results = [point.result for point in points]
        scores = np.stack([_last(r.history) if last else r.score for r in results])
        scores = np.where(np.stack([r.failed for r in results]), np.nan, scores)
        val, loss = (np.stack([getattr(r, name) for r in results]) for name in ("val_score", "train_loss"))
        chosen = _chosen(val, loss, by, maximise=bool(task.maximise))
        result = results[chosen]
        found = {
            "seed": seed * 1000 + np.arange(seeds),
            "score": scores[chosen],
            "val_score": val[chosen],
            "train_loss": loss[chosen],
            "best_step": result.best_step,
            "chosen": chosen,
            "grid_score": scores,
            "grid_val_score": val,
            "grid_train_loss": loss,
            "history": _thinned(result.history.train_loss),
        }
        return found | dict(more(result, task) if more is not None else {})

    def code() -> str:
        model, task = problem()
        model = as_network(model, task.graph, task.x)
        config = TrainConfig(**options)
        return fingerprint(model, task, config.without_numbers(), default_hyper(model, config))

    return Cell(arm, {**settings, **said}, measure, code)


def _chosen(val: np.ndarray, loss: np.ndarray, by: By, *, maximise: bool) -> int:
    """The point with the best mean over seeds; one with a run that is not finite only where all have one."""
    worth = val if by == "val_score" and maximise else -val if by == "val_score" else -loss
    return int(np.argmax(np.where(np.isfinite(worth), worth, -1e30).mean(axis=1)))


def _last(history: Any) -> np.ndarray:
    """[seeds] of the last step that was evaluated."""
    scores = np.asarray(history.test_score)
    step = np.flatnonzero(np.isfinite(scores).any(axis=0))
    return scores[:, step[-1]] if step.size else np.full(len(scores), np.nan)


def _thinned(lines: np.ndarray) -> np.ndarray:
    """At most LINE evaluated points of each line, the first and the last among them."""
    steps = np.flatnonzero(np.isfinite(lines).any(axis=0))
    if steps.size > LINE:
        steps = steps[np.unique(np.linspace(0, steps.size - 1, LINE).round().astype(int))]
    return np.asarray(lines[:, steps], np.float32)

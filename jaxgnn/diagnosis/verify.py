"""Whether what a diagnosis says comes true: short trainings of the network, its remedy and shallow references."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgnn.diagnosis.causes import Finding, interval
from jaxgnn.network.model import DeepGNN
from jaxgnn.training.train import train

SHALLOW = (2, 4)
_LEAST = 1e-12  # losses below are 0 in float32


class Run(NamedTuple):
    """One network's short training: losses of each seed, before and after, and validation scores."""

    first_loss: Float[np.ndarray, "seeds"]
    loss: Float[np.ndarray, "seeds"]
    val_score: Float[np.ndarray, "seeds"]


class Verified(NamedTuple):
    """What the trainings showed.

    Attributes:
      steps, seeds: of every training.
      runs: by what was trained: "as it is", "remedy", "depth 2", ...
      loss_change: decades between the final training loss of the network as it is and that of the remedy, below 0 where
        the remedy's is lower: mean and 95% interval over seeds.
      score_change: the same of validation scores, in the direction that is better.
      came_true: whether the remedy's loss is lower or its score better by a whole interval; None without a remedy.
    """

    steps: int
    seeds: int
    runs: Mapping[str, Run]
    loss_change: tuple[float, float, float]
    score_change: tuple[float, float, float]
    came_true: bool | None


def run(model: Any, task: Any, **options: Any) -> Run:
    """Trains from initialisation; a run that failed has infinite loss and no score."""
    result = train(model, task, **options)
    failed = np.asarray(result.failed)
    first = np.asarray(result.history.train_loss)[:, 0]
    loss = np.where(failed | ~np.isfinite(result.train_loss), np.inf, result.train_loss)
    return Run(first, loss, np.where(np.isfinite(result.val_score) & ~failed, result.val_score, np.nan))


def compared(before: Run, after: Run, *, maximise: bool) -> tuple[tuple, tuple, bool]:
    """Changes of the loss's logarithm and of the score with intervals, and whether `after` is better by a whole one."""
    loss = _difference(*(np.log10(np.maximum(one.loss, _LEAST)) for one in (after, before)))
    score = _difference(after.val_score, before.val_score)
    score = score if maximise else (-score[0], -score[2], -score[1])
    better = loss[2] < 0 or score[1] > 0
    return loss, score, bool(better)


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """a - b seed by seed; one that failed where the other did not is infinitely worse, and both alike no difference."""
    with np.errstate(invalid="ignore"):
        found = np.where(a == b, 0.0, a - b)
    if np.isinf(found).any():
        worst = float(np.sign(found[np.isinf(found)]).mean()) * np.inf
        same = (np.sign(found) == np.sign(worst)).all()
        return (worst, worst if same else -np.inf, worst if same else np.inf)
    return interval(found[np.isfinite(found)])


def by_training(
    model: DeepGNN, task: Any, as_it_is: Run, *, options: Mapping[str, Any]
) -> tuple[dict[str, Finding], dict[str, Run]]:
    """The causes that only training decides, of a network whose signals are healthy.

    bound_too_small: its training loss is above the shallow reference's, and four times c lowers it, both by an
    interval. depth_not_needed: its validation score is not above that of the best shallow network by an interval; those
    have 2 and 4 layers and the same options, or 2 and no residual, bound or norm, and all the same budget.
    """
    runs = {}
    for depth in SHALLOW:
        if depth < model.depth:
            runs[f"depth {depth}"] = run(model.clone(depth=depth), task, **options)
    if model.depth > SHALLOW[0]:
        plain = model.clone(depth=SHALLOW[0], residual="none", bound="none", norm="none", khop=False)
        runs[f"depth {SHALLOW[0]}, plain"] = run(plain, task, **options)
    if not runs:
        return {}, {}
    sign = 1.0 if task.maximise else -1.0
    name, best = max(runs.items(), key=lambda one: np.nanmean(np.nan_to_num(sign * one[1].val_score, nan=-np.inf)))
    gain = _difference(sign * as_it_is.val_score, sign * best.val_score)
    means = f"validation score over that of {name}"
    findings = {"depth_not_needed": _finding("depth_not_needed", gain, 0.0, "below", not gain[1] > 0, means)}
    if model.bound != "none":
        lowest = min(runs.values(), key=lambda one: float(np.mean(one.loss)))
        above = _difference(as_it_is.loss, lowest.loss)
        wider = model.clone(bound_c=4 * model.bound_c)
        runs[f"bound_c {wider.bound_c:g}"] = run(wider, task, **options)
        change = _difference(runs[f"bound_c {wider.bound_c:g}"].loss, as_it_is.loss)
        holds = above[1] > 0 and change[2] < 0
        means = "training loss at four times c, less that at c, above the shallow reference's"
        findings["bound_too_small"] = _finding("bound_too_small", change, 0.0, "below", holds, means)
    return findings, runs


def _finding(
    cause: str, found: tuple[float, float, float], threshold: float, side: Any, holds: bool, means: str
) -> Finding:
    return Finding(cause, *found, threshold, side, None, bool(holds), means)

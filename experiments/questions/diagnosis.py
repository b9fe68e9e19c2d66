"""Does `jaxgnn diagnose` name the cause that was planted, and does the remedy that it predicts work?

Command: jaxgnn reproduce questions/diagnosis
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import get_args

import numpy as np

import jaxgnn as jg
from jaxgnn.diagnosis.causes import Name
from jaxgnn.evidence.cells import Arrays, Cell
from jaxgnn.evidence.effects import Effect, judge
from jaxgnn.evidence.finding import Finding
from jaxgnn.evidence.intervals import Interval
from jaxgnn.evidence.reproduction import Reproduction
from jaxgnn.experiments.questions.planted import CAUSES
from jaxgnn.report import plots
from jaxgnn.report.claim import Shown
from jaxgnn.report.page import Table

NAMES = get_args(Name)
GOAL = 0.9


@dataclass(frozen=True)
class Config:
    """What is diagnosed.

    Attributes:
      each: networks with one planted cause; the even ones are those that thresholds were set on.
      first: the number of the first, the seed of all that is random in it.
      causes: those that are planted.
      trained: of these, how many are trained with their remedy.
      steps: of every training.
    """

    each: int = 26
    first: int = 100
    causes: tuple[str, ...] = tuple(CAUSES)
    trained: int = 2
    steps: int = 60


def cells(config: Config) -> Mapping[str, Cell]:
    return {
        f"{cause}, network {i}": Cell(
            cause,
            {"network": i, "verify": only_by_training or i < config.first + config.trained, "steps": config.steps},
            partial(_measured, cause, i, only_by_training or i < config.first + config.trained, config.steps),
        )
        for cause, (_, only_by_training) in CAUSES.items()
        if cause in config.causes
        for i in range(config.first, config.first + config.each)
    }


def _measured(cause: str, i: int, verify: bool, steps: int) -> Arrays:
    case = CAUSES[cause][0](i)
    found = jg.diagnose(case.model, case.params, case.task, verify=verify, steps=steps, seeds=3, seed=i)
    predicted = found.prediction is not None and found.prediction.enough
    true = -1 if found.verified is None or found.verified.came_true is None else int(found.verified.came_true)
    values = {f"value/{name}": one.value for name, one in found.evidence.items()}
    holding = [name in (found.cause, *found.also) for name in NAMES]
    return {"found": NAMES.index(found.cause), "holding": holding, "predicted": predicted, "came_true": true, **values}


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    matrices = {half: _matrix(config, results, half) for half in (0, 1)}
    held_out = matrices[1]
    rate, first = (_share(int(np.trace(m)), int(m.sum())) for m in (held_out, matrices[0]))
    among = [
        (cause, bool(results[f"{cause}, network {i}"]["holding"][NAMES.index(cause)]))
        for cause in config.causes
        for i in range(config.first + 1, config.first + config.each, 2)
        if cause != "healthy"
    ]
    named = _share(sum(holds for _, holds in among), len(among))
    came = np.array([int(one["came_true"]) for one in results.values()])
    worked = _share(int((came == 1).sum()), int((came >= 0).sum()))
    judgement = judge([Effect("held-out half: share with the planted cause", rate, GOAL)], scale="literature")
    return Finding(
        evidence=f"The planted cause was named for {rate.text()} of {int(held_out.sum())} networks of the held-out "
        f"half (95% interval, Wilson), {first.text()} of the half that thresholds were set on; it was the cause or "
        f"among the others that hold for {named.text()} of those with one. Of the remedies that were trained "
        f"{worked.text()} of {int((came >= 0).sum())} lowered the training loss or raised the validation score by a "
        "whole interval.",
        verdict="answered",
        reason=judgement.reason,
        tables={"Held-out half": _table(held_out), "The other half": _table(matrices[0]), "Effect": judgement.table},
        figures={"confusion": _figure(held_out)},
        notes=[
            "Causes were planted by construction: experiments/questions/planted.py. Several can hold at once; the row "
            "counts the one that was named first.",
            "bound_too_small and depth_not_needed are told by trainings alone, of 3 seeds each.",
        ],
    )


def _matrix(config: Config, results: Mapping[str, Mapping[str, np.ndarray]], half: int) -> np.ndarray:
    """Networks by planted (rows) and named cause."""
    found = np.zeros((len(CAUSES), len(NAMES)), int)
    for row, cause in enumerate(config.causes):
        for i in range(config.first + half, config.first + config.each, 2):
            found[row, int(results[f"{cause}, network {i}"]["found"])] += 1
    order = [NAMES.index(cause) for cause in CAUSES]
    return found[:, order]


def _share(k: int, n: int) -> Interval:
    """k / n with Wilson's 95% interval. Source: Wilson 1927."""
    if not n:
        return Interval(np.nan, np.nan, np.nan)
    z, p = 1.959964, k / n
    middle, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Interval(p, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n))


def _table(matrix: np.ndarray) -> Table:
    names = list(CAUSES)
    rows = [
        (name, *(str(k) if k else "" for k in row), f"{row[i]} of {row.sum()}")
        for i, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]
    return Table(("planted", *(f"named {name}" for name in names), "right"), rows)


def _figure(matrix: np.ndarray) -> Shown:
    figure, axes = plots.new_figure(xlabel="named", ylabel="planted")
    figure.set_size_inches(7.5, 6.5)
    axes.imshow(matrix, cmap="Blues")
    for i, row in enumerate(matrix):
        for j, k in enumerate(row):
            if k:
                colour = "white" if k > matrix.max() / 2 else "black"
                axes.text(j, i, str(k), ha="center", va="center", color=colour)
    names = [name.replace("_", " ") for name in CAUSES]
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    return Shown(figure, "Planted and named causes", "Networks of the held-out half.")


REPRODUCTION = Reproduction(
    name="questions/diagnosis",
    title="Diagnosis of planted causes",
    claim="A forward and a backward pass, the labels' reach and, for two causes, short trainings name the cause that a "
    "network was made to fail of for nine networks in ten.",
    presets={"smoke": Config(2, causes=("healthy", "expansion"), trained=0, steps=10), "cpu": Config()},
    cost={"smoke": "seconds", "cpu": "an hour"},
    cells=cells,
    show=show,
)

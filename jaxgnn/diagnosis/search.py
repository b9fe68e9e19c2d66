"""`jaxgnn.search`: every combination of options at the same budget, in as few compiled programs as shapes allow."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgnn.host.maps import let_programs_go
from jaxgnn.host.options import check_whole
from jaxgnn.host.spelling import meant
from jaxgnn.host.storage import fingerprint
from jaxgnn.network.model import DeepGNN
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.result import TrainResult
from jaxgnn.training.train import sweep

NUMERIC = ("learning_rate", "weight_decay", "l2", "bound_c", "residual_scale", "modulus")
_OF_NETWORK = NUMERIC[3:]


class Tried(NamedTuple):
    """One combination: its options by name, and the result of its runs."""

    options: dict[str, Any]
    result: TrainResult

    @property
    def val_score(self) -> float:
        """Mean validation score over runs; NaN where one failed."""
        return float(np.mean(np.where(self.result.failed, np.nan, self.result.val_score)))


class Search(NamedTuple):
    """All that was tried.

    Attributes:
      tried: every combination, in the grid's order.
      maximise: whether a higher score is better.
      budget: points that each program searched, one program for every combination of options that change a shape or a
        rule. A number that does nothing in a network (bound_c without a bound) is not searched there: its points are
        one. Where the budgets differ, the best of each are not compared at equal search.
    """

    tried: list[Tried]
    maximise: bool
    budget: tuple[int, ...]

    @property
    def best(self) -> Tried:
        """The combination with the best mean validation score; of those with a failed run only where all have one."""
        sign = 1 if self.maximise else -1
        return max(self.tried, key=lambda one: np.nan_to_num(sign * one.val_score, nan=-np.inf))

    def of(self, **options: Any) -> "Search":
        """What was tried with these options. Raises ValueError where there is none."""
        found = [one for one in self.tried if all(one.options.get(k) == v for k, v in options.items())]
        if not found:
            said = ", ".join(f"{name}={value!r}" for name, value in options.items())
            raise ValueError(f"nothing was tried with {said}: the grid has {sorted(self.tried[0].options)}")
        return Search(found, self.maximise, self.budget)

    def __repr__(self) -> str:
        best = self.best
        said = ", ".join(f"{name}={value!r}" for name, value in best.options.items())
        return f"Search({len(self.tried)} combinations in {len(self.budget)} programs; best on validation: {said})"


def search(
    model: DeepGNN,
    task: Any,
    *,
    grid: Mapping[str, Sequence[Any]],
    seeds: int = 3,
    out: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Search:
    """Trains every combination of options for the same steps and seeds.

    Args:
      model: what is not in the grid is as it is here.
      task, seeds, options: as `jaxgnn.train` takes them.
      grid: values by name: options of DeepGNN ("depth", "norm", "residual", ...), and numbers of the training. Numbers
        (NUMERIC) share one program, all else has one for each combination.
      out: a folder that what is done is kept in: the same call goes on from there.
      progress: called with the programs done and their number.

    Raises ValueError for an option that is not known, a grid without values, and values that a network or the training
    refuses, before anything is trained.
    """
    if not isinstance(model, DeepGNN):
        raise ValueError(f"search: a DeepGNN is needed, not {type(model).__name__}: its options are what is searched")
    check_whole("seeds", seeds, least=1)
    known = {f.name for f in fields(DeepGNN) if f.init} - {"parent", "name", "interventions"}
    trained = {f.name for f in fields(TrainConfig)}
    if not grid:
        raise ValueError("grid is empty: at least one option with its values is needed, learning_rate=(1e-3, 1e-2)")
    for name, values in grid.items():
        if name not in known | trained:
            near = meant(name, (*known, *trained))
            raise ValueError(f"grid: {name!r} is not known{near} allowed are options of DeepGNN and of TrainConfig")
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
            raise ValueError(f"grid: {name} has the values {values!r}: a list of at least one is needed")
    numbers = {name: list(values) for name, values in grid.items() if name in NUMERIC}
    shapes = {name: list(values) for name, values in grid.items() if name not in NUMERIC}
    combinations = [dict(zip(shapes, values, strict=True)) for values in itertools.product(*shapes.values())]
    networks = [model.clone(**{k: v for k, v in one.items() if k in known}) for one in combinations]
    results, budget = [], []
    for done, (one, network) in enumerate(zip(combinations, networks, strict=True)):
        if progress is not None:
            progress(done, len(combinations))
        of_training = options | {k: v for k, v in one.items() if k not in known}
        used = {name: values for name, values in numbers.items() if _acts(name, network)}
        described = fingerprint([repr(network), repr(sorted(of_training.items())), repr(used)])
        folder = None if out is None else Path(out) / described[:12]
        points = sweep(network, task, grid=used, seeds=seeds, out=folder, **of_training)
        results.append(dict(zip(itertools.product(*used.values()), (point.result for point in points), strict=True)))
        budget.append(len(points))
        let_programs_go()
    tried = []
    for values in itertools.product(*grid.values()):
        one = dict(zip(grid, values, strict=True))
        at = combinations.index({name: one[name] for name in shapes})
        key = tuple(one[name] for name in numbers if _acts(name, networks[at]))
        tried.append(Tried(one, results[at][key]))
    return Search(tried, bool(task.maximise), tuple(budget))


def _acts(name: str, network: DeepGNN) -> bool:
    """Whether a number does something: those of the training always do, a network's where its rule is there."""
    return name not in _OF_NETWORK or name in network.used_numbers()

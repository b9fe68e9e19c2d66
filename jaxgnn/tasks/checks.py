"""What tasks refuse, each in one sentence."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from jaxgnn.arrays import Array
from jaxgnn.tasks.objectives import RANKINGS


def check_option(option: str, value: Any, allowed: Iterable[str]) -> None:
    """Raises ValueError unless the value is one of those allowed."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise ValueError(f"{option}={value!r} is not known: allowed are {', '.join(allowed)}")


def check_logits(logits: Array, rows: int, out: int, *, hint: str = "") -> None:
    """Raises ValueError unless logits are [rows, out]."""
    if logits.shape != (rows, out):
        raise ValueError(f"logits have shape {tuple(logits.shape)}, but this task needs {(rows, out)}{hint}")


def check_ranking(metric: str, split: str, targets: Num[np.ndarray, "n ..."]) -> None:
    """Raises ValueError where a metric that ranks positives and negatives has only one of them in a split."""
    targets = np.asarray(targets)
    if metric in RANKINGS and not (np.any(targets == 1, axis=0) & np.any(targets == 0, axis=0)).any():
        raise ValueError(f"{split} has one class only: metric={metric!r} needs both")


def check_finite(name: str, values: Float[np.ndarray, "n f"], *, of: str = "") -> None:
    """Raises ValueError naming the first row and column that is NaN or infinite."""
    if not np.isfinite(values).all():
        node, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{name} {column} of node {node}{of} is {values[node, column]}: {name}s must be finite numbers"
        )


def checked_split(split: Any, num_graphs: int) -> dict[str, np.ndarray]:
    """Numbers of the graphs of "train", "val" and "test"."""
    if len(split) != 3:
        raise ValueError(f"split has {len(split)} parts: training, validation and test graphs are needed")
    parts: dict[str, np.ndarray] = {}
    seen: dict[int, str] = {}
    for name, part in zip(("train", "val", "test"), split, strict=True):
        part = np.asarray(part)
        if not part.size:
            raise ValueError(f"the {name} split is empty: each split needs a graph")
        if part.ndim != 1 or not np.issubdtype(part.dtype, np.integer):
            raise ValueError(f"the {name} split is {part.dtype} {part.shape}: a list of graphs' numbers is needed")
        for number in part.tolist():
            if not 0 <= number < num_graphs:
                raise ValueError(f"the {name} split has graph {number}: graphs are 0 to {num_graphs - 1}")
            if number in seen:
                raise ValueError(f"graph {number} is in the {seen[number]} split and again in the {name} split")
            seen[number] = name
        parts[name] = part.astype(np.int32)
    return parts


def checked_features(xs: Sequence[Any], sizes: list[int]) -> list[np.ndarray]:
    """Features [n, f] of each graph, as floats."""
    features = [np.asarray(x) for x in xs]
    for number, (x, n) in enumerate(zip(features, sizes, strict=True)):
        if x.ndim != 2:
            raise ValueError(f"x of graph {number} has shape {x.shape}: a row for each node is needed")
        if x.shape != (n, features[0].shape[1]):
            raise ValueError(
                f"x of graph {number} has shape {x.shape}: {n} nodes and {features[0].shape[1]} columns are needed"
            )
        check_finite("feature", x, of=f" of graph {number}")
    return [_real(x) for x in features]


def checked_targets(targets: Any, sizes: list[int], level: str, loss: str) -> list[np.ndarray]:
    """Of each graph the targets' rows: classes [rows] or [rows, t], one row for a graph or one for each node."""
    classes = loss == "cross_entropy"
    checked: list[np.ndarray] = []
    for number, (target, n) in enumerate(zip(targets, sizes, strict=True)):
        target = np.asarray(target)
        expected = ((n,) if level == "node" else ()) + (() if classes else (np.shape(targets[0]) or (1,))[-1:])
        if target.shape != expected:
            raise ValueError(
                f"the target of graph {number} has shape {target.shape}: "
                f"loss={loss!r} and level={level!r} need {expected} here"
            )
        if classes and not np.issubdtype(target.dtype, np.integer):
            raise ValueError(f"the target of graph {number} has dtype {target.dtype}: classes are integers")
        if classes and target.size and target.min() < 0:
            raise ValueError(f"class {target.min()} of graph {number} is out of range: classes are 0 and more")
        if not np.isfinite(target).all():
            wrong = target[~np.isfinite(target)][0]
            raise ValueError(f"a target of graph {number} is {wrong}: targets must be finite numbers")
        if loss == "bce" and not np.isin(target, (0, 1)).all():
            wrong = target[~np.isin(target, (0, 1))][0]
            raise ValueError(f"a target of graph {number} is {wrong}: loss='bce' needs 0 and 1")
        target = target.astype(np.int32) if classes else _real(target)
        checked.append(target[None] if level == "graph" else target)
    return checked


def _real(values: np.ndarray) -> np.ndarray:
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float32)

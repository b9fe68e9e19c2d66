"""What tasks accept of masks, labels, targets and features, and what they refuse, each in one sentence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import shown
from jaxgnn.tasks.objectives import RANKINGS


def check_prepared(graph: Any) -> None:
    """Raises ValueError unless the graph comes from `jaxgnn.prepare`."""
    if not isinstance(graph, Graph):
        raise ValueError(f"graph is a {type(graph).__name__}: what jaxgnn.prepare returns is needed")


def check_logits(logits: Array, rows: int, out: int, *, hint: str = "") -> None:
    """Raises ValueError unless logits are [rows, out]."""
    if logits.shape != (rows, out):
        raise ValueError(f"logits have shape {tuple(logits.shape)}, but this task needs {(rows, out)}{hint}")


def check_ranking(metric: str, split: str, targets: Num[np.ndarray, "n ..."], present: Any = True) -> None:
    """Raises ValueError where a metric that ranks positives and negatives has only one of them in a split."""
    targets = np.asarray(targets)
    positive, negative = ((targets == value) & present for value in (1, 0))
    if metric in RANKINGS and not (np.any(positive, axis=0) & np.any(negative, axis=0)).any():
        raise ValueError(f"{split} has one class only: metric={metric!r} needs both")


def checked_masks(masks: Mapping[str, Any], graph: Graph) -> dict[str, Bool[np.ndarray, "n"]]:
    """The masks of a graph's nodes as booleans [n], each with a node, no node in two of them or padding."""
    checked = {name: checked_mask(name, mask, graph.num_nodes) for name, mask in masks.items()}
    for name, mask in checked.items():
        if not mask.any():
            raise ValueError(f"{name} is empty: each split needs a node")
        if graph.node_mask is not None and (padding := mask & (np.asarray(graph.node_mask) == 0)).any():
            raise ValueError(f"{name} has node {np.flatnonzero(padding)[0]}, which is padding: it is in no split")
    names = list(checked)
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            if shared := int(np.sum(checked[name] & checked[other])):
                raise ValueError(f"{name} and {other} overlap in {shared} nodes: a node is in one split at most")
    return checked


def checked_mask(name: str, mask: Any, rows: int, what: str = "the graph") -> Bool[np.ndarray, "n"]:
    """A mask [n] or [n, 1] of booleans, or of numbers that are all 0 or 1, as booleans [n]."""
    mask = np.asarray(mask)
    if mask.shape == (rows, 1):
        mask = mask[:, 0]
    indices = f"; nodes i are the mask np.isin(np.arange({rows}), i)" if mask.dtype.kind in "iu" else ""
    if mask.ndim == 2 and mask.shape[0] == rows:
        raise ValueError(f"{name} has shape {mask.shape}, a split in each column: choose one of them, {name}[:, 0]")
    if mask.shape != (rows,):
        raise ValueError(f"{name} has shape {mask.shape}, but {what} has {rows} nodes: rows must agree{indices}")
    if mask.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {mask.dtype}: a mask holds True and False, or 1 and 0")
    wrong = np.flatnonzero((mask != 0) & (mask != 1))
    if wrong.size:
        raise ValueError(f"{name} is {mask[wrong[0]]} at node {wrong[0]}: a mask holds 0 and 1{indices}")
    return mask.astype(bool)


def checked_classes(
    name: str,
    labels: Any,
    needed: Bool[np.ndarray, "n"],
    classes: int | None = None,
    *,
    row: Callable[[int], str] = "node {}".format,
) -> Int[np.ndarray, "n"]:
    """Classes [n] or [n, 1] of whole numbers, or exact one-hot rows [n, classes], as int32 [n].

    A row that is not needed may hold anything: -1 where it holds no class.
    """
    labels = checked_numbers(name, labels)
    n = needed.shape[0]
    if labels.shape == (n, 1):
        labels = labels[:, 0]
    columns = classes if labels.ndim != 2 or classes is not None else labels.shape[1]
    if labels.shape == (n, columns):
        labels = _from_one_hot(name, labels, needed, row)
    if labels.shape != (n,):
        one_hot = "" if classes is None else f", or one-hot rows {(n, classes)}"
        raise ValueError(f"{name} has shape {labels.shape}: classes {(n,)}{one_hot} are needed")
    most = np.iinfo(np.int32).max if classes is None else classes - 1
    with np.errstate(invalid="ignore"):
        known = (labels >= 0) & (labels <= most) & (labels == np.floor(labels))
    if (wrong := np.flatnonzero(needed & ~known)).size:
        allowed = "0 and more, whole" if classes is None else f"0 to {most}"
        value = labels[wrong[0]]
        raise ValueError(f"{name[:-1]} {value} of {row(wrong[0])} is out of range: classes are {allowed}")
    return np.where(known, labels, -1).astype(np.int32)


def checked_targets(
    name: str,
    targets: Any,
    needed: Bool[np.ndarray, "n"],
    *,
    loss: str,
    row: Callable[[int], str] = "node {}".format,
) -> tuple[Float[np.ndarray, "n t"], Bool[np.ndarray, "n t"] | None]:
    """Targets [n] or [n, t] as floats [n, t], and which of them are known; None where all are that are needed.

    Of several columns NaN in a needed row means that the target is not known. What is not known is stored as 0, as
    is what is not finite in a row that is not needed.
    """
    targets = checked_numbers(name, targets)
    targets = targets[:, None] if targets.ndim == 1 else targets
    if targets.ndim != 2 or targets.shape[0] != needed.shape[0]:
        raise ValueError(f"{name} has shape {targets.shape}: a row for each of {needed.shape[0]} is needed, [n, t]")
    targets = _real(targets)
    known = np.isfinite(targets)
    wrong = needed[:, None] & (np.isinf(targets) | (~known & (targets.shape[1] == 1)))
    if wrong.any():
        i, column = np.argwhere(wrong)[0]
        raise ValueError(f"{name[:-1]} {column} of {row(i)} is {targets[i, column]}: targets must be finite numbers")
    if loss == "bce" and (wrong := needed[:, None] & known & (targets != 0) & (targets != 1)).any():
        i, column = np.argwhere(wrong)[0]
        raise ValueError(f"{name[:-1]} {column} of {row(i)} is {targets[i, column]}: loss='bce' needs 0 and 1")
    present = None if known[needed].all() else known
    return np.where(known, targets, 0).astype(targets.dtype), present


def check_known_targets(split: str, known: Bool[np.ndarray, "n t"]) -> None:
    """Raises ValueError where no target of a split is known."""
    if not known.any():
        raise ValueError(f"{split} has no target that is known: all are NaN")


def checked_inputs(x: Any, graph: Graph) -> Float[np.ndarray, "n f"]:
    """Features [n, f] of a graph's nodes as they are, all finite."""
    x = checked_numbers("x", x)
    if x.shape[:1] != (graph.num_nodes,):
        raise ValueError(f"x has shape {x.shape}, but the graph has {graph.num_nodes} nodes: rows must agree")
    if x.ndim != 2:
        raise ValueError(f"x has shape {x.shape}: 2 axes are needed")
    check_finite("feature", x)
    return x


def check_finite(name: str, values: Float[np.ndarray, "n f"], *, of: str = "") -> None:
    """Raises ValueError naming the first row and column that is NaN or infinite."""
    if not np.isfinite(values).all():
        node, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{name} {column} of node {node}{of} is {values[node, column]}: {name}s must be finite numbers"
        )


def checked_numbers(name: str, values: Any) -> Num[np.ndarray, "..."]:
    """An array of booleans or real numbers."""
    array = np.asarray(values)
    if array.dtype.kind in "US" or (array.dtype == object and any(isinstance(v, str) for v in array.flat)):
        hint = f", which np.unique({name}, return_inverse=True)[1] makes of texts" if name == "labels" else ""
        raise ValueError(f"{name} are texts, {array.flat[0]!s:.40} for example: numbers are needed{hint}")
    if array.dtype.kind not in "biuf":
        kind = type(values).__name__ if array.ndim == 0 else array.dtype
        raise ValueError(f"{name} has the type {kind}: an array of real numbers is needed")
    return array


def checked_split(split: Any, num_graphs: int) -> dict[str, np.ndarray]:
    """Numbers of the graphs of "train", "val" and "test"."""
    if not isinstance(split, Sequence | np.ndarray) or isinstance(split, str):
        raise ValueError(f"split={shown(split)}: training, validation and test graphs are needed")
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
    features = [checked_numbers(f"x of graph {number}", x) for number, x in enumerate(xs)]
    for number, (x, n) in enumerate(zip(features, sizes, strict=True)):
        if x.ndim != 2:
            raise ValueError(f"x of graph {number} has shape {x.shape}: a row for each node is needed")
        if x.shape != (n, features[0].shape[1]):
            raise ValueError(
                f"x of graph {number} has shape {x.shape}: {n} nodes and {features[0].shape[1]} columns are needed"
            )
        check_finite("feature", x, of=f" of graph {number}")
    return [_real(x) for x in features]


def checked_rows(targets: Sequence[Any], sizes: list[int], level: str, loss: str) -> list[Num[np.ndarray, "rows t"]]:
    """Of each graph its target as one row, or its nodes' as a row for each; one column for classes and numbers."""
    found: list[np.ndarray] = []
    for number, (target, n) in enumerate(zip(targets, sizes, strict=True)):
        target = checked_numbers(f"the targets of graph {number}", target)
        shape, rows = target.shape, n if level == "node" else 1
        if level == "graph" and target.ndim < 2:
            target = target.reshape(1, -1)
        elif target.ndim == 1:
            target = target[:, None]
        columns = found[0].shape[1] if found else target.shape[1] if target.ndim == 2 else 1
        if target.shape != (rows, columns) or not columns:
            of_one = (columns,) if loss != "cross_entropy" or columns > 1 else ()
            expected = ((n,) if level == "node" else ()) + of_one
            raise ValueError(
                f"the target of graph {number} has shape {shape}: "
                f"loss={loss!r} and level={level!r} need {expected} here"
            )
        found.append(target)
    return found


def _from_one_hot(
    name: str, rows: Num[np.ndarray, "n c"], needed: Bool[np.ndarray, "n"], row: Callable[[int], str]
) -> Int[np.ndarray, "n"]:
    """The column of each row's only 1; -1 for a row that is not needed and not one-hot."""
    one_hot = ((rows == 0) | (rows == 1)).all(axis=1) & ((rows == 1).sum(axis=1) == 1)
    if (wrong := np.flatnonzero(needed & ~one_hot)).size:
        raise ValueError(f"{name} of {row(wrong[0])} are {rows[wrong[0]].tolist()}: not one-hot, one class is needed")
    return np.where(one_hot, rows.argmax(axis=1), -1)


def _real(values: np.ndarray) -> np.ndarray:
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float32)

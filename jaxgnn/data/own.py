"""Features, labels and masks of one's own, checked and put together with a graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxgnn.data.checks import checked_features, checked_labels
from jaxgnn.data.dataset import Dataset, GraphsTuple
from jaxgnn.data.errors import DataError
from jaxgnn.data.plain import plain
from jaxgnn.data.splits import DRAWN, FRACTIONS, check_labelled, drawn_masks, given_masks
from jaxgnn.host.memory import require_memory


def own_dataset(
    where: str,
    graph: GraphsTuple,
    x: Any,
    y: Any,
    split: Any,
    *,
    name: str = "own",
    seed: int = 0,
    fractions: Any = FRACTIONS,
    num_classes: int | None = None,
    files: Mapping[str, str] | None = None,
    complete: bool = True,
) -> Dataset:
    """A Dataset of one graph, from what `own_features`, `own_labels`, `drawn_masks` and `given_masks` take.

    Unless it is `complete`, masks may be empty or missing. Raises DataError where these do, or for several graphs.
    """
    if np.shape(graph.n_node) != (1,):
        raise DataError(f"{where}: one graph is needed, and the GraphsTuple holds {np.size(graph.n_node)}.")
    n = int(graph.n_node[0])
    labels = own_labels(where, y, n)
    x = own_features(where, x, n)
    if isinstance(split, str) and split in DRAWN:
        masks = drawn_masks(where, labels, split, seed, fractions)
        split = f"{split}:{seed}"
    else:
        masks = given_masks(where, split, n, complete=complete)
        split = "own" if any(mask.any() for mask in masks.values()) else "none"
    check_labelled(where, labels, masks)
    classes = int(labels.max()) + 1
    if num_classes is not None and not classes <= num_classes <= max(n, classes):
        raise DataError(f"{where}: num_classes={num_classes}: allowed are {classes} (of the labels) to {n} (nodes).")
    return Dataset(
        name=name,
        split=split,
        graph=graph._replace(nodes=None),
        x=x,
        labels=labels,
        num_classes=classes if num_classes is None else int(num_classes),
        **masks,
        files=dict(files or {}),
    )


def own_features(where: str, x: Any, num_nodes: int) -> Float[np.ndarray, "n f"]:
    """x as float32 [n, f]; without any the identity, as for karate. Raises DataError for what is no such matrix."""
    if x is None:
        require_memory(4 * num_nodes**2, f"{where}: x = I of {num_nodes} nodes without features", "x", on_host=True)
        return np.eye(num_nodes, dtype=np.float32)
    return checked_features(where, plain(f"{where}: x", x), num_nodes)


def own_labels(where: str, y: Any, num_nodes: int) -> Int[np.ndarray, "n"]:
    """Classes [n] or [n, 1] as int32 [n], -1 where a node has none: -1, NaN or None.

    Texts are numbered in the order of the alphabet. Raises DataError for another length, for what is no whole number
    of 0 to n - 1, and where no node has a label.
    """
    if y is None:
        raise DataError(f"{where}: labels y are needed, one class for each of {num_nodes} nodes.")
    y = plain(f"{where}: y", y)
    if y.shape == (num_nodes, 1):
        y = y[:, 0]
    if y.shape != (num_nodes,):
        one_hot = "; one-hot rows are classes by y.argmax(axis=1)" if y.ndim == 2 and len(y) == num_nodes else ""
        raise DataError(f"{where}: labels must have shape ({num_nodes},), found {y.shape}{one_hot}.")
    if y.dtype.kind in "OUS":
        y = _numbered(where, y)
    if y.dtype.kind == "f":
        known = np.isfinite(y)
        if (wrong := np.flatnonzero(np.isinf(y) | (known & (y != np.floor(y))))).size:
            raise DataError(f"{where}: the label of node {wrong[0]} is {y[wrong[0]]}: classes are whole numbers.")
        y = np.where(known, np.clip(y, -2, 2**40), -1).astype(np.int64)
    if y.dtype.kind == "b":
        y = y.astype(np.int32)
    if y.dtype.kind not in "iu":
        raise DataError(f"{where}: labels must be whole numbers or texts, found {y.dtype}.")
    none = y == -1
    if none.all():
        raise DataError(f"{where}: no node has a label: one at least is needed.")
    labels = checked_labels(where, np.where(none, 0, y), num_nodes)
    return np.where(none, -1, labels).astype(np.int32)


def _numbered(where: str, y: np.ndarray) -> Int[np.ndarray, "n"]:
    texts = [isinstance(value, str | bytes) for value in y.tolist()]
    none = np.asarray([value is None for value in y.tolist()])
    if not any(texts):
        try:
            return np.where(none, np.nan, y).astype(np.float64)
        except (TypeError, ValueError):
            pass
    if (wrong := np.flatnonzero(~(np.asarray(texts) | none))).size:
        value = y[wrong[0]]
        raise DataError(f"{where}: the label of node {wrong[0]} is {value!r}: classes are whole numbers, or texts.")
    numbers = np.full(len(y), -1)
    numbers[~none] = np.unique(y[~none].astype(str), return_inverse=True)[1]
    return numbers

"""Training, validation and test nodes: drawn at random or class by class, or given as masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jaxgnn.data.checks import check_split, checked_mask
from jaxgnn.data.dataset import MASKS
from jaxgnn.data.errors import DataError
from jaxgnn.data.plain import plain
from jaxgnn.host.options import check_seed, is_number

DRAWN = ("random", "stratified")
FRACTIONS = (0.6, 0.2, 0.2)


def drawn_masks(
    where: str, labels: Int[np.ndarray, "n"], how: str, seed: int = 0, fractions: Sequence[float] = FRACTIONS
) -> dict[str, Bool[np.ndarray, "n"]]:
    """Masks of the nodes with labels (0 and more), drawn without replacement; each holds a node.

    Args:
      where: begins the sentences of errors.
      labels: classes, -1 where a node has none.
      how: "random", or "stratified": every class is shared out by the fractions, to within a node.
      seed: of the draw.
      fractions: shares of the training, validation and test nodes, which add up to at most 1.

    Raises:
      ValueError: a seed or fractions out of range; DataError: fewer than three nodes to share out, of all or of one
        class.
    """
    check_seed("seed", seed)
    shares = _checked_fractions(fractions)
    rng = np.random.default_rng(seed)
    labelled = np.flatnonzero(labels >= 0)
    groups = [labelled] if how == "random" else [np.flatnonzero(labels == c) for c in np.unique(labels[labelled])]
    masks = {name: np.zeros(len(labels), bool) for name in MASKS}
    for group in groups:
        if len(group) < len(MASKS):
            what = "the labelled nodes are" if how == "random" else f"of class {labels[group[0]]} there are"
            instead = "" if how == "random" else '; split="random" does not ask for them'
            raise DataError(f"{where}: split={how!r} needs 3 nodes to share out, and {what} {len(group)}{instead}.")
        order = rng.permutation(group)
        ends = np.cumsum(_counts(len(group), shares))
        for name, part in zip(MASKS, np.split(order, ends), strict=False):
            masks[name][part] = True
    return masks


def given_masks(where: str, masks: Any, num_nodes: int, *, complete: bool = True) -> dict[str, Bool[np.ndarray, "n"]]:
    """Three masks from a mapping (train_mask or train, and so on) or a sequence, of booleans [n] or numbers of nodes.

    Unless they are `complete`, a mask that is not there is empty. Raises DataError where one is not there, has another
    shape, names a node that is not there or, if `complete`, is empty or shares a node with another.
    """
    if isinstance(masks, Mapping):
        short = {name.removesuffix("_mask"): name for name in MASKS}
        found = {short.get(str(key), str(key)): value for key, value in masks.items()}
    elif isinstance(masks, Sequence | np.ndarray) and not isinstance(masks, str) and len(masks) == len(MASKS):
        found = dict(zip(MASKS, masks, strict=True))
    else:
        raise DataError(f"{where}: split={masks!r} is not known: allowed are {', '.join(DRAWN)}, and three masks.")
    if (unknown := set(found) - set(MASKS)) or (complete and len(found) < len(MASKS)):
        said = f"{sorted(unknown)[0]!r} is no mask" if unknown else f"{sorted(set(MASKS) - set(found))[0]} is missing"
        raise DataError(f"{where}: {said}: train_mask, val_mask and test_mask are needed.")
    read = {
        name: _mask(where, name, found[name], num_nodes) if name in found else np.zeros(num_nodes, bool)
        for name in MASKS
    }
    if complete:
        check_split(where, "its own", **read)
    return read


def check_labelled(where: str, labels: Int[np.ndarray, "n"], masks: Mapping[str, Bool[np.ndarray, "n"]]) -> None:
    """DataError where a mask holds a node without a label."""
    for name, mask in masks.items():
        if (without := np.flatnonzero(mask & (labels < 0))).size:
            raise DataError(f"{where}: {name} holds node {without[0]}, which has no label.")


def _mask(where: str, name: str, mask: Any, num_nodes: int) -> Bool[np.ndarray, "n"]:
    mask = plain(f"{where}: {name}", mask)
    if mask.shape == (num_nodes, 1):
        mask = mask[:, 0]
    is_mask = mask.dtype == bool or (mask.shape == (num_nodes,) and bool(np.isin(mask, (0, 1)).all()))
    if mask.dtype.kind not in "iu" or is_mask or mask.ndim != 1:
        return checked_mask(where, name, mask.astype(np.uint8) if is_mask else mask, (num_nodes,))
    if (wrong := np.flatnonzero((mask < 0) | (mask >= num_nodes))).size:
        raise DataError(f"{where}: {name} holds node {mask[wrong[0]]}, but the nodes are 0 to {num_nodes - 1}.")
    return np.isin(np.arange(num_nodes), mask)


def _checked_fractions(fractions: Any) -> np.ndarray:
    numbers = list(fractions) if isinstance(fractions, Sequence | np.ndarray) else []
    if len(numbers) != 3 or not all(is_number(v) and v > 0 for v in numbers) or sum(numbers) > 1 + 1e-9:
        raise ValueError(f"fractions={fractions!r}: allowed are three numbers above 0 that add up to at most 1")
    return np.asarray(numbers, np.float64)


def _counts(total: int, shares: np.ndarray) -> np.ndarray:
    """Whole numbers, each 1 or more, next to total * shares: what is left over goes to the largest remainders."""
    wanted = total * shares
    counts = np.floor(wanted + 1e-9).astype(int)
    left = round(wanted.sum()) - counts.sum()
    counts[np.argsort(counts - wanted, kind="stable")[: max(left, 0)]] += 1
    for part in np.flatnonzero(counts == 0):
        if counts.sum() >= total:
            counts[np.argmax(counts)] -= 1
        counts[part] = 1
    return counts

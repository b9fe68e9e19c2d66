"""Structural checks of what a data file holds: each raises a DataError of one sentence."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxgnn.data.errors import DataError


def checked_features(file: str, x: np.ndarray, num_nodes: int | None = None) -> Float[np.ndarray, "n f"]:
    """x as float32 [n, f]; DataError unless it is a finite matrix of numbers with a row for each node."""
    if x.ndim != 2 or x.dtype.kind not in "biuf" or 0 in x.shape:
        raise DataError(f"{file}: features must be a matrix of numbers, found {x.dtype} of shape {x.shape}.")
    if num_nodes is not None and len(x) != num_nodes:
        raise DataError(f"{file}: features must have {num_nodes} rows, one for each node, found {len(x)}.")
    with np.errstate(over="ignore"):
        stored = x.astype(np.float32)
    if not np.isfinite(stored).all():
        node, column = np.argwhere(~np.isfinite(stored))[0]
        raise DataError(
            f"{file}: the feature of node {node} in column {column} is {x[node, column]}, "
            f"which is not a finite float32 number."
        )
    return stored


def checked_labels(file: str, labels: np.ndarray, num_nodes: int) -> Int[np.ndarray, "n"]:
    """The labels as int32 [n]; DataError unless they are integers in [0, n)."""
    if labels.shape != (num_nodes,):
        raise DataError(f"{file}: labels must have shape ({num_nodes},), found {labels.shape}.")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{file}: labels must be integers, found {labels.dtype}.")
    # A class number beyond the number of nodes is damage, and would become that many output columns.
    wrong = np.flatnonzero((labels < 0) | (labels >= num_nodes))
    if wrong.size:
        node = wrong[0]
        raise DataError(f"{file}: the label of node {node} is {labels[node]}, not one of 0 to {num_nodes - 1}.")
    return labels.astype(np.int32)


def checked_edges(file: str, edges: np.ndarray, num_nodes: int) -> Int[np.ndarray, "m 2"]:
    """The edges as int64 [m, 2]; DataError if one names a node that is not there."""
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise DataError(f"{file}: edges must have shape (number of edges, 2), found {edges.shape}.")
    if edges.dtype.kind not in "iu":
        raise DataError(f"{file}: edges must be integers, found {edges.dtype}.")
    wrong = np.flatnonzero(((edges < 0) | (edges >= num_nodes)).any(axis=1))
    if wrong.size:
        u, v = edges[wrong[0]]
        raise DataError(f"{file}: edge {wrong[0]} is ({u}, {v}), but the nodes are 0 to {num_nodes - 1}.")
    return edges.astype(np.int64)


def checked_mask(file: str, name: str, mask: np.ndarray, shape: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
    """The mask as bool; DataError unless it has the shape asked for and holds only booleans or 0 and 1."""
    if mask.shape != shape:
        raise DataError(f"{file}: {name} must have shape {shape}, found {mask.shape}.")
    # Some published splits store uint8.
    if mask.dtype.kind not in "biu" or (mask > 1).any() or (mask < 0).any():
        raise DataError(f"{file}: {name} must hold booleans or 0 and 1, found {mask.dtype} with other values.")
    return mask.astype(bool)


def check_split(file: str, split: str, **masks: Bool[np.ndarray, "n"]) -> None:
    """DataError unless every mask of a split holds a node and no node is in two of them."""
    for name, mask in masks.items():
        if not mask.any():
            raise DataError(f"{file}: {name} of split {split} holds no node.")
    shared = np.flatnonzero(sum(mask.astype(np.int8) for mask in masks.values()) > 1)
    if shared.size:
        names = " and ".join(name for name, mask in masks.items() if mask[shared[0]])
        raise DataError(f"{file}: node {shared[0]} of split {split} is in {names}; the masks must not overlap.")

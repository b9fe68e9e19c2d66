"""Sums of rows by gathers alone, planned on the host: each sum in pieces of few rows, level by level."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxgnn.host.arrays import Array

_WIDTHS = (4, 8, 16, 32)  # rows that a piece may hold


class Fold(NamedTuple):
    """How [R, d] rows, sorted by the row of the result that they belong to, are summed to [n, d].

    Attributes:
      levels: of each level [K, c] rows of the level before, the first of which are the given ones; piece i is the sum
        of rows levels[:, i]. Numbers past the last row read 0.
      place: [n] the piece of the last level that is the sum; past the last one where there is nothing to sum.
    """

    levels: tuple[Int[Array, "k c"], ...]
    place: Int[Array, "n"]


def fold(counts: Int[np.ndarray, "parts n"], size: int) -> Fold:
    """The plan for n sums of `counts` rows, which come in the order of the sums and are `size` with padding.

    All parts have the same levels, as large as the largest needs. The pieces of a level hold K rows, 4 to 32, such that
    the fewest are read and written.
    """
    counts = np.asarray(counts)
    parts, n = counts.shape
    owner = [np.flatnonzero(row) for row in counts]
    lengths = [row[nodes] for row, nodes in zip(counts, owner, strict=True)]
    levels = []
    while not levels or any((row > 1).any() for row in lengths):
        K = min(_WIDTHS, key=lambda width: (width + 1) * sum(int((-(-row // width)).sum()) for row in lengths))
        pieces = [-(-row // K) for row in lengths]
        total = max(int(row.sum()) for row in pieces)
        level = np.full((parts, K, total), size, np.int32)
        for part, (length, piece) in enumerate(zip(lengths, pieces, strict=True)):
            start = np.repeat(np.cumsum(length) - length, piece)
            number = np.arange(int(piece.sum())) - np.repeat(np.cumsum(piece) - piece, piece)
            left = np.repeat(length, piece) - K * number
            read = start + K * number + np.arange(K)[:, None]
            level[part, :, : number.size] = np.where(np.arange(K)[:, None] < left, read, size)
        levels.append(level)
        lengths, size = pieces, total
    place = np.full((parts, n), size, np.int32)
    for part, nodes in enumerate(owner):
        place[part, nodes] = np.arange(nodes.size)
    return Fold(tuple(levels), place)


def folded(data: Float[Array, "R d"], plan: Fold) -> Float[Array, "n d"]:
    """The sums, [R, d] -> [n, d]; rows are added in an order that the plan alone decides."""
    for level in plan.levels:
        total = _rows_or_zero(data, level[0])
        for k in range(1, level.shape[0]):
            total = total + _rows_or_zero(data, level[k])
        data = total
    return _rows_or_zero(data, plan.place)


def _rows_or_zero(data: Float[Array, "r d"], ids: Int[Array, "c"]) -> Float[Array, "c d"]:
    return jnp.asarray(data).at[ids].get(mode="fill", fill_value=0)

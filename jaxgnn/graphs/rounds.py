"""Rounds in which parts exchange rows: in each, a part sends to one other at most and receives from one at most.

A round is as long as its longest message, so that the rounds' lengths add up to what every device receives. No order
of rounds is shorter than the most rows that one part sends or receives, and with messages cut into pieces there is one
as short (Birkhoff 1946; Gonzalez & Sahni 1976, Open shop scheduling to minimize finish time); but every round has a
price of its own, so that the last rows go in fewer rounds than that.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

# Rows that cost what a round does, however short: about a microsecond at 200 GB/s and 64 float32 features.
_PRICE = 800
_MOST = 256  # rounds of pieces, and as many as four for each part


class Round(NamedTuple):
    """One exchange.

    Attributes:
      to: [parts] the part that each one sends to, -1 where it sends nothing.
      count: [parts] rows that it sends; the longest of them is the round's length.
    """

    to: Int[np.ndarray, "parts"]
    count: Int[np.ndarray, "parts"]

    @property
    def length(self) -> int:
        """Rows that every receiver has room for."""
        return int(self.count.max(initial=0))


def rounds(rows: Int[np.ndarray, "parts parts"]) -> list[Round]:
    """Rounds of least cost found: `rows[s, r]` rows of part s are read by part r, 0 on the diagonal.

    The cost is the sum of their lengths and a price a round.
    """
    rows = rows.astype(np.int64)
    parts = rows.shape[0]
    found, most, begun = _whole(rows), min(_MOST, 4 * parts), list[Round]()
    full = _filled(rows)
    while rows.any() and len(begun) < most:
        to, length = _matching(full)
        own = np.arange(parts)
        full[own, to] -= length
        count = np.minimum(rows[own, to], length)
        rows = rows.copy()
        rows[own, to] -= count
        if count.any():
            begun.append(Round(np.where(count > 0, to, -1), count))
        if len(begun) % max(parts // 4, 1) == 0 or not rows.any():
            found = min(found, begun + _whole(rows), key=cost)
    return found


def cost(found: list[Round]) -> int:
    """The sum of the rounds' lengths, and a price for each."""
    return sum(one.length + _PRICE for one in found)


def _whole(rows: Int[np.ndarray, "parts parts"]) -> list[Round]:
    """Messages in one piece, the longest together."""
    rows, found = rows.copy(), []
    while rows.any():
        own, to = linear_sum_assignment(rows, maximize=True)
        count = rows[own, to]
        rows[own, to] = 0
        found.append(Round(np.where(count > 0, to, -1), count))
    return found


def _filled(rows: Int[np.ndarray, "parts parts"]) -> Int[np.ndarray, "parts parts"]:
    """The same and as much more that every row and every column has the largest of their sums."""
    full = rows.copy()
    most = max(full.sum(0).max(initial=0), full.sum(1).max(initial=0))
    out, into = most - full.sum(1), most - full.sum(0)
    i = j = 0
    while i < out.size and j < into.size:
        more = min(out[i], into[j])
        full[i, j] += more
        out[i] -= more
        into[j] -= more
        i, j = i + (out[i] == 0), j + (out[i] != 0)
    return full


def _matching(full: Int[np.ndarray, "parts parts"]) -> tuple[Int[np.ndarray, "parts"], int]:
    """The permutation whose least entry is largest, and that entry; equal sums of rows and columns have one above 0."""
    values = np.unique(full[full > 0])
    low, high = 0, values.size - 1
    found, length = np.arange(len(full)), 0
    while low <= high:
        middle = (low + high) // 2
        to = sp.csgraph.maximum_bipartite_matching(sp.csr_matrix(full >= values[middle]), perm_type="column")
        if (to >= 0).all():
            found, length, low = to.astype(np.int64), int(values[middle]), middle + 1
        else:
            high = middle - 1
    return found, length

"""Which products determine a block-sparse Jacobian: distance-2 colouring of its columns, heavy rows apart.

Source: Curtis, Powell & Reid 1974; Coleman & Verma 1998 for the split into rows and columns.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Int


class Colouring(NamedTuple):
    """Columns of one colour share no row but heavy ones: one product with their sum gives all their entries.

    Attributes:
      colours: [n] colour of every block column, numbered from 0; -1 where only heavy rows have entries.
      heavy: [m] whether a block row is found by itself, from products with J^T.
    """

    colours: Int[np.ndarray, "n"]
    heavy: Bool[np.ndarray, "m"]

    @property
    def num_colours(self) -> int:
        return int(self.colours.max(initial=-1)) + 1


def colour(pattern: sp.csr_matrix, *, rows_per_block: int, columns_per_block: int) -> Colouring:
    """Colours the columns of a pattern [m, n] greedily, those with most entries first.

    A row with k entries needs k colours of `columns_per_block` products each, or `rows_per_block` products with J^T if
    it is taken by itself: rows with more entries than the threshold t are, where t minimises the total.
    """
    lengths = np.diff(pattern.indptr)
    thresholds, counts = np.unique(np.append(lengths, 0), return_counts=True)
    longer = lengths.size + 1 - np.cumsum(counts)
    best = thresholds[np.argmin(columns_per_block * thresholds + rows_per_block * longer)]
    heavy = lengths > best
    light = sp.csr_matrix(pattern.multiply((~heavy)[:, None]))
    columns = sp.csc_matrix(light)
    columns.eliminate_zeros()
    taken = [0] * pattern.shape[0]  # of every row, the colours of its columns as bits
    colours = np.full(pattern.shape[1], -1)
    lengths_of_columns = np.diff(columns.indptr)
    for column in np.argsort(-lengths_of_columns, kind="stable")[: np.count_nonzero(lengths_of_columns)]:
        rows = columns.indices[columns.indptr[column] : columns.indptr[column + 1]]
        forbidden = 0
        for row in rows:
            forbidden |= taken[row]
        free = ~forbidden & (forbidden + 1)  # the lowest bit that is not set
        colours[column] = free.bit_length() - 1
        for row in rows:
            taken[row] |= free
    found = Colouring(colours, heavy)
    if found.num_colours * columns_per_block + heavy.sum() * rows_per_block > colours.size * columns_per_block:
        return Colouring(np.arange(colours.size), np.zeros_like(heavy))  # every column by itself
    return found

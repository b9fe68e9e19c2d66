"""A restricted reader of Python 2 pickles that hold numbers, lists, NumPy arrays or a SciPy CSR matrix.

Nothing that a pickle names is ever imported: NumPy's and SciPy's classes are replaced by stand-ins that only
collect the stored state, from which arrays are built after it has been checked.
"""

import math
import pickle
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from jaxgnn.data.errors import DataError
from jaxgnn.data.opcodes import checked_pickle

MAX_BYTES = 8 * 2**30


# The state of an object that the pickle starts but never fills.
_NOTHING: Any = None


class _DType:
    def __init__(self, name: Any = None, *_: Any):
        self.name, self.state = name, _NOTHING

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def build(self) -> np.dtype:
        # The state is (version, byte order, subarray, names, fields, ...); only plain numbers are allowed.
        if not re.fullmatch("[biuf][1248]", str(self.name)) or any(self.state[2:5]) or self.state[1] not in "<>|=":
            raise ValueError(f"an array of dtype {self.name!r} is refused, only numbers are read")
        return np.dtype(self.state[1] + self.name)


class _Array:
    """Stands for numpy.ndarray and for the function that starts one off."""

    def __init__(self, *_: Any):
        self.state = _NOTHING

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def build(self) -> np.ndarray:
        _, shape, dtype, fortran, raw = self.state
        dtype, data = dtype.build(), raw.encode("latin1")
        if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array declares shape {shape} of {dtype}, but stores {len(data)} bytes")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


class _CSR:
    """Stands for scipy.sparse.csr_matrix."""

    state: Any = _NOTHING

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def build(self) -> scipy.sparse.csr_matrix:
        rows, columns = self.state["_shape"]
        indptr, indices, data = (self.state[key].build() for key in ("indptr", "indices", "data"))
        if min(rows, columns) < 0 or rows * columns * 8 > MAX_BYTES:
            raise ValueError(f"a matrix of shape ({rows}, {columns}) is refused")
        if {indptr.dtype.kind, indices.dtype.kind} - set("iu") or {indptr.ndim, indices.ndim, data.ndim} != {1}:
            raise ValueError("a CSR matrix needs flat arrays and integer indices")
        # int64: unsigned differences would wrap round and look monotone.
        indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
        if len(indptr) != rows + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
            raise ValueError(f"indptr of a CSR matrix must rise from 0 in {rows + 1} steps")
        if not indptr[-1] == len(indices) == len(data):
            raise ValueError("indptr, indices and data of a CSR matrix differ in length")
        if len(indices) and not 0 <= indices.min() <= indices.max() < columns:
            raise ValueError(f"column indices of a CSR matrix must be 0 to {columns - 1}")
        return scipy.sparse.csr_matrix((data, indices, indptr), shape=(rows, columns))


# What the names in a pickle stand for; every other name is refused.
_ALLOWED = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("scipy.sparse.csr", "csr_matrix"): _CSR,
    ("collections", "defaultdict"): defaultdict,
    ("__builtin__", "list"): list,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Without fix_imports the names arrive as they are stored, and the table compares exactly those.
        if (module, name) not in _ALLOWED:
            raise DataError(f"it names {module}.{name}, which is not allowed there, and nothing was run")
        return _ALLOWED[module, name]


def _load(path: Path, file: str, kind: type, noun: str) -> Any:
    try:
        content = _Unpickler(checked_pickle(path), fix_imports=False, encoding="latin1").load()
        if not isinstance(content, kind):
            raise ValueError(f"it does not hold {noun}")
        return content.build() if isinstance(content, (_Array, _CSR)) else content
    # Damaged pickles raise almost any exception, as the documentation of pickle says.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file} is not a readable pickle of {noun}: {reason}.") from error


def read_array(path: Path, file: str) -> np.ndarray:
    """The NumPy array of numbers that a pickle holds; DataError if it holds or names anything else."""
    return _load(path, file, _Array, "an array")


def read_csr(path: Path, file: str) -> scipy.sparse.csr_matrix:
    """The CSR matrix that a pickle holds; DataError if it is inconsistent or names anything else."""
    return _load(path, file, _CSR, "a CSR matrix")


def read_neighbours(path: Path, file: str) -> dict[int, list[int]]:
    """The dictionary from node to neighbours that a pickle holds; DataError if it is anything else."""
    graph = _load(path, file, dict, "a dictionary of neighbour lists")
    for node, neighbours in graph.items():
        if type(node) is not int or type(neighbours) is not list or any(type(v) is not int for v in neighbours):
            raise DataError(f"{file}: the entry of node {node!r} must be a list of node numbers.")
    return dict(graph)

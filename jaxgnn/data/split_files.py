"""A restricted reader of a pickled split: a dictionary from names to lists or NumPy arrays of integers.

Nothing that the pickle names is imported: NumPy's classes are replaced by stand-ins that only collect what is stored,
in any protocol and under the module names of NumPy 1 and 2. `jaxgnn.data.pickles` does the same for Python 2.
"""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxgnn.data.errors import DataError
from jaxgnn.data.opcodes import checked_pickle

_CODES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


class _DType:
    def __init__(self, code: Any = None, *_: Any):
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def build(self) -> np.dtype:
        if self.code not in _CODES or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"an array of dtype {self.code!r} is refused, only integers are read")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for numpy.ndarray, for the function that starts one off and for the one that takes a buffer."""

    def __init__(self, *arguments: Any):
        # _frombuffer(buffer, dtype, shape, order) holds everything; _reconstruct is filled by __setstate__.
        self.parts = (arguments[2], arguments[1], arguments[0]) if len(arguments) == 4 else None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, raw = state
        self.parts = (shape, dtype, raw)

    def build(self) -> np.ndarray:
        if self.parts is None:
            raise ValueError("an array is started and never filled")
        shape, dtype, raw = self.parts
        dtype = dtype.build()
        if len(shape) != 1 or not isinstance(raw, bytes | bytearray) or math.prod(shape) * dtype.itemsize != len(raw):
            raise ValueError(f"an array of shape {shape} is not a flat array of as many bytes as it says")
        return np.frombuffer(raw, dtype)


def _latin1(text: Any, encoding: Any) -> bytes:
    """What protocols before 3 store bytes as."""
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError("bytes are stored in an unknown way")
    return text.encode("latin1")


# What the names in a pickle stand for; every other name is refused.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _latin1,
} | {
    (f"numpy.{core}.{module}", name): _Array
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Without fix_imports the names arrive as they are stored, and the table compares exactly those.
        if (module, name) not in _ALLOWED:
            raise DataError(f"it names {module}.{name}, which is not allowed there, and nothing was run")
        return _ALLOWED[module, name]


def read_split(path: Path, file: str, count: int) -> tuple[Int[np.ndarray, "..."], ...]:
    """Numbers of the training, validation and test items of `count` in all, each int64.

    Raises:
      DataError: not a pickle of a dictionary with lists or arrays of integers under "train", "val" and "test", a
        number that is not one of 0 .. count - 1, one that stands twice, or an empty part.
    """
    try:
        content = _Unpickler(checked_pickle(path), fix_imports=False).load()
        if not isinstance(content, dict) or set(content) != {"train", "val", "test"}:
            raise ValueError('it does not hold a dictionary with "train", "val" and "test"')
        parts = tuple(_integers(content[name]) for name in ("train", "val", "test"))
    # Damaged pickles raise almost any exception, as the documentation of pickle says.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file} is not a readable pickle of a split: {reason}.") from error
    for name, part in zip(("train", "val", "test"), parts, strict=True):
        if not part.size:
            raise DataError(f"{file}: the {name} split is empty.")
    everything = np.concatenate(parts)
    outside = everything[(everything < 0) | (everything >= count)]
    if outside.size:
        raise DataError(f"{file}: item {outside[0]} is not one of 0 to {count - 1}.")
    twice = np.flatnonzero(np.bincount(everything, minlength=count) > 1)
    if twice.size:
        raise DataError(f"{file}: item {twice[0]} stands in it twice.")
    return parts


def _integers(values: Any) -> Int[np.ndarray, "k"]:
    if isinstance(values, _Array):
        return values.build().astype(np.int64)
    if not isinstance(values, list | tuple) or any(type(v) is not int for v in values):
        raise ValueError("a part must be a list or a flat array of integers")
    return np.array(values, np.int64)

"""What this machine can do at best: float32 products of large matrices, and copies of large arrays."""

import time
from typing import NamedTuple

import numpy as np


class Machine(NamedTuple):
    """Measured rates.

    Attributes:
      flops: floating point operations a second, of NumPy's product of two float32 matrices.
      bandwidth: bytes a second read and written, of a copy of an array larger than the caches.
    """

    flops: float
    bandwidth: float


def measure(size: int = 2048, megabytes: int = 256, rounds: int = 5) -> Machine:
    """The best of some rounds, on all cores for products and one for copies."""
    A = np.random.default_rng(0).standard_normal((size, size), np.float32)
    source = np.ones(megabytes * 2**20 // 4, np.float32)
    target = np.zeros_like(source)
    product = min(_seconds(lambda: A @ A) for _ in range(rounds))
    copy = min(_seconds(lambda: np.copyto(target, source)) for _ in range(rounds))
    return Machine(2 * size**3 / product, 2 * source.nbytes / copy)


def _seconds(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started

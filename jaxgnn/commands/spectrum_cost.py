"""How long a layer's spectrum will take, as a range: from its size and this machine's speed, and from layers before."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgnn.jacobian import LayerJacobian

# Measured on one core that did nothing else, in seconds where _probe() takes _PROBE.
_PROBE = 0.0026
_VALUES, _EIGENVALUES = 0.24e-9, 0.35e-9  # times the third power of the rows
_ENDS = 0.06e-3  # of both ends of a spectrum from products, a row
_COMPILE = {"exact": 2.5, "krylov": 3.0}  # the programs of the first layer
_FIRST, _LATER = 2.0, 1.7  # factors between the estimate and the ends of its range
_LAPACK = ("singular values", "eigenvalues")


class Work(NamedTuple):
    """The parts of a layer's work in seconds, without compiling."""

    values: float
    eigenvalues: float
    others: float


def seconds(J: LayerJacobian, method: str, config: Any, before: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """From so many to so many seconds; `before` are the records of the layers that this process has measured.

    The first layer's range includes what compiling its programs takes, and is longer above by how busy the machine is.
    Where a layer was measured by the same method, each of its parts is taken times what it has grown by.
    """
    slow = _probe() / _PROBE
    work, compiling = work_of(J, method, config, slow), _COMPILE[method] * slow
    last = next((record for record in reversed(before) if record["method"] == method), None)
    if last is None:
        total = sum(work) + compiling
        return total / _FIRST, total * _FIRST * _busy()
    there, parts = last["work"], last["seconds_of"]
    lapack = [parts.get(name, 0.0) for name in _LAPACK]
    others = last["seconds"] - sum(lapack)
    if last is before[0]:
        others = max(others - compiling, 0.1 * others)
    total = others * _grown(work.others, there.others)
    for taken, now, then in zip(lapack, work[:2], there[:2], strict=True):
        total += taken * _grown(now, then)
    return total / _LATER, total * _LATER


def work_of(J: LayerJacobian, method: str, config: Any, slow: float = 1.0) -> Work:
    """The estimate of a layer's work on a machine `slow` times slower than the one where it was measured."""
    rows, columns = (int(s.sum()) for s in J.support)
    product = _quickest(lambda: J.mv(np.ones(J.shape[1], J.dtype)))
    values = slow * _VALUES * min(rows, columns) ** 3 if method == "exact" else 0.0
    ends = 0.0 if method == "exact" else slow * _ENDS * max(J.shape)
    density = 2 * config.probes * config.lanczos_steps * product / 4  # several vectors at a time
    if rows <= config.eigenvalues_below:
        eigenvalues = slow * _EIGENVALUES * int((J.support[0] & J.support[1]).sum()) ** 3 if rows else 0.0
    else:
        eigenvalues = 400 * product
    return Work(values, eigenvalues, ends + density + 0.05 * slow)


def said(low: float, high: float) -> str:
    """A range in words."""
    return f"{_text(low)} to {_text(high)} s"


def _grown(now: float, then: float) -> float:
    return float(np.clip(now / max(then, 1e-9), 0.05, 20.0))


def _busy() -> float:
    """By how much the machine is asked for more than it has."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1.0, load / (os.cpu_count() or 1))


def _probe() -> float:
    """Seconds that 40 small eigenvalue problems take: too small for LAPACK's threads."""
    A = np.random.default_rng(0).standard_normal((48, 48))
    return _quickest(lambda: [np.linalg.eigvalsh(A + A.T) for _ in range(40)])


def _quickest(call: Callable[[], Any]) -> float:
    """Seconds of a call, the least of three after one that is not counted."""
    taken = []
    for _ in range(4):
        started = time.perf_counter()
        _ = call()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _text(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"

"""Timing in alternation: each candidate once a round, so that drift of the machine meets all of them alike."""

import time
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jaxtyping import Float


def timed(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1
) -> dict[str, Float[np.ndarray, "rounds"]]:
    """Seconds of each candidate in every round, which is called once a round and waited for."""
    seconds = {name: [] for name in candidates}
    for i in range(warm_up + rounds):
        for name, call in candidates.items():
            started = time.perf_counter()
            jax.block_until_ready(call())
            if i >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in seconds.items()}


def medians(candidates: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> dict[str, float]:
    """Median seconds of each candidate."""
    found = timed(candidates, rounds=rounds, warm_up=warm_up)
    return {name: float(np.median(values)) for name, values in found.items()}

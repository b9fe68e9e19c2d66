"""Compiled programs that a long-lived process lets go of before Linux refuses it more memory maps."""

import gc

import jax

_MOST = 20_000  # of the 65,530 that Linux allows a process; XLA ends it where there are no more


def let_programs_go(most: int = _MOST) -> bool:
    """Clears JAX's caches where this process has more memory maps than `most`; whether it did.

    What is needed again is compiled again. Nothing happens where maps cannot be counted, as on other systems.
    """
    try:
        with open("/proc/self/maps", "rb") as maps:
            many = sum(1 for _ in maps) > most
    except OSError:
        return False
    if many:
        jax.clear_caches()
        gc.collect()
    return many

"""How much memory is free, on the device and on its host, and refusal in one sentence of what does not fit."""

import os
import sys
from pathlib import Path

import jax

try:
    import resource
except ImportError:  # Windows
    resource = None


def available_bytes() -> int:
    """Bytes that can be allocated now where arrays are computed: on jax's default device, the host's for a CPU.

    A device that does not tell counts as the host does.
    """
    device = jax.config.jax_default_device
    if device is None or isinstance(device, str):
        device = jax.local_devices(backend=device)[0]
    stats = None if device.platform == "cpu" else device.memory_stats()
    if not stats or "bytes_limit" not in stats:
        return host_bytes()
    return max(int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0)), 0)


def host_bytes() -> int:
    """Bytes that can be allocated now without swapping: the host's, or the control group's where that is less."""
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        group = Path("/sys/fs/cgroup")
        available = min(
            available, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        )
    except (OSError, ValueError):  # no control group, or one without a limit ("max")
        pass
    return max(available, 0)


def peak_memory() -> int:
    """Bytes that this process has held at most; 0 where the system does not tell."""
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def require_memory(needed: int, what: str, instead: str, *, on_host: bool = False) -> None:
    """Raises MemoryError, naming the bytes needed and the way out, where `needed` bytes are not available.

    on_host: what NumPy, SciPy or LAPACK hold, wherever jax computes.
    """
    available = host_bytes() if on_host and jax.default_backend() != "cpu" else available_bytes()
    if needed > available:
        raise MemoryError(
            f"{what} needs {needed / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are available: use {instead} instead"
        )

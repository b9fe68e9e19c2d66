"""Independent pieces of work on the cores of the machine: a thread each, or runs of training on a CPU device each.

Compiling, compiled programs and LAPACK let other threads of Python run, which is most of what a study's cell or a
theorem's check spends its time on. Nothing that is computed depends on how many run at a time.
"""

import math
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from jaxgnn.host.interrupts import deferred
from jaxgnn.host.options import check_whole

T = TypeVar("T")
_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_FLAG = re.compile(r"--xla_force_host_platform_device_count=(\d+)")


def physical_cores() -> int:
    """Cores that this process may use: hyper-threads of one core count once, a container's quota is respected."""
    try:
        numbers = os.sched_getaffinity(0)
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
    cores = {
        _read(_TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list") or str(number) for number in numbers
    }
    quota, _, period = _read(_QUOTA).partition(" ")
    share = int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else math.inf
    return max(1, int(min(len(cores), share)))


def chosen_cores(cores: int | None) -> int:
    """`cores`, or all where it is None. Raises ValueError for less than one."""
    if cores is None:
        return physical_cores()
    check_whole("cores", cores, least=1)
    return cores


def use_cores(cores: int | None = None) -> int:
    """Gives JAX a CPU device for each of so many cores, over which `train` and `sweep` share out their runs.

    Call it before the first computation. A number of devices that XLA_FLAGS sets is left as it is.

    Args:
      cores: how many; by default the machine's physical cores, within a container's quota.

    Returns the number of CPU devices that there are now. Raises ValueError for less than one, and where JAX has started
    with another number.
    """
    wanted = chosen_cores(cores)
    if set_by_flags := _FLAG.search(os.environ.get("XLA_FLAGS", "")):
        return int(set_by_flags[1])
    import jax

    try:
        jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError:
        there = len(jax.devices("cpu"))
        if there != wanted:
            raise ValueError(
                f"JAX has started with {there} CPU device{'s' * (there != 1)}, not {wanted}: call use_cores() before "
                f"the first computation, or set JAX_NUM_CPU_DEVICES={wanted}"
            ) from None
    return wanted


def side_by_side(works: Sequence[Callable[[], T]], cores: int) -> list[T]:
    """What the works return, in their order; `cores` of them run at a time, the first ones first.

    The first error ends those that have not begun, and is raised when the running ones are done. So does Ctrl-C,
    which ends the running ones where they look for it, as `interrupts.deferred` says.
    """
    if cores == 1 or len(works) < 2:
        return [_unless_stopped(work) for work in works]
    with deferred(), ThreadPoolExecutor(min(cores, len(works))) as pool:
        running = [pool.submit(_unless_stopped, work) for work in works]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in running]


def _unless_stopped(work: Callable[[], T]) -> T:
    with deferred() as stop:
        if stop.wanted:
            raise KeyboardInterrupt
        return work()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

"""The memory and the time of a training step against depth, by what is kept for the way back.

Command: python -m jaxgnn.experiments.bench.depth --dataset cora --depths 64 1000 10000 --width 64
    --policies none block sqrt
Prints, for each depth and policy, the estimate made before the run, XLA's own count, the memory that training adds to
a new process, and seconds a step. What the estimate says does not fit is not run, and the row says so.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxgnn as jg
from jaxgnn.experiments.bench.spectrum import _high_water
from jaxgnn.host.remat import policy_of
from jaxgnn.training import run as training
from jaxgnn.training.depth_memory import MemoryEstimate, estimate, require
from jaxgnn.training.optimisers import Hyper, TrainConfig

Name = Literal["none", "block", "sqrt", "least"]


@dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      depths: L.
      width: features of every layer.
      policies: what is kept for the way back, see `jaxgnn.host.remat`.
      layer: the graph layer.
      compute_dtype: "float32", "bfloat16" or "float16".
      steps: steps in one compiled loop.
      rounds: timed calls of that loop, after one that is not timed; the median is printed.
    """

    dataset: str = "csbm"
    depths: tuple[int, ...] = (64, 1000, 10_000)
    width: int = 64
    policies: tuple[Name, ...] = ("none", "block", "sqrt")
    layer: str = "gcn"
    compute_dtype: str = "float32"
    steps: int = 2
    rounds: int = 3


class Measured(NamedTuple):
    """XLA's count of a step's temporary bytes, bytes added to the process's peak, seconds to compile and a step."""

    counted: float = np.nan
    added: float = np.nan
    compilation: float = np.nan
    seconds: float = np.nan


class Row(NamedTuple):
    """One depth and policy; `measured` is NaN where it was not run, for the reason in `skipped`."""

    depth: int
    policy: str
    every: int
    needed: MemoryEstimate
    measured: Measured = Measured()
    skipped: str = ""


def setting(config: Config, depth: int, policy: str) -> tuple[jg.DeepGNN, jg.tasks.Task]:
    """The network and its task: identity residual, ||W||_F = 1/L, so that its derivative stays below e in norm."""
    ds = jg.load_dataset(config.dataset)
    options = {"residual": "identity", "bound": "frobenius", "bound_c": 1 / depth}
    options |= {"layer": config.layer, "width": config.width, "compute_dtype": config.compute_dtype}
    model = jg.DeepGNN(depth=depth, out=ds.num_classes, remat=policy, **options)
    return model, jg.tasks.node_classification(ds, jg.prepare(ds.graph))


def run(config: Config) -> list[Row]:
    """A row for each depth and policy, each in a process of its own."""
    rows = []
    for depth in config.depths:
        for policy in config.policies:
            model, task = setting(config, depth, policy)
            needed = estimate(model, task.graph, task.x)
            row = Row(depth, policy, policy_of(policy, depth).every, needed)
            try:
                require(needed, model)
            except MemoryError as error:
                rows.append(row._replace(skipped=str(error)))
            else:
                rows.append(row._replace(measured=_in_a_process(config, depth, policy)))
    return rows


def _in_a_process(config: Config, depth: int, policy: str) -> Measured:
    module = "jaxgnn.experiments.bench.depth"
    program = f"from {module} import *; import json; print(json.dumps(measure({config!r}, {depth}, {policy!r})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{depth} layers, {policy}: the process ended with {done.returncode}\n{done.stderr[-2000:]}")
    return Measured(*json.loads(done.stdout.splitlines()[-1]))


def measure(config: Config, depth: int, policy: str) -> Measured:
    """Trains some steps as `jaxgnn.train` does, state donated and the first state kept; the process should be new."""
    model, task = setting(config, depth, policy)
    program, hyper = TrainConfig().without_numbers(), _hyper(model)
    jax.block_until_ready(jax.jit(lambda a: a @ a)(jnp.ones((2, 2))))  # what is set up at first is no part of it
    before = _high_water()
    task = jax.device_put(task)
    state = jax.jit(partial(training.start, model, program, task))(jax.random.key(0), hyper)
    initial = jax.tree.map(jnp.copy, state._replace(optimiser=None, best=None))

    def steps(task, hyper, state):
        return training.steps(model, program, task, 1_000_000, hyper, state, length=config.steps)

    started = time.perf_counter()
    compiled = jax.jit(steps, donate_argnums=2).lower(task, hyper, state).compile()
    compilation, seconds = time.perf_counter() - started, []
    for _ in range(1 + config.rounds):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(task, hyper, state))
        seconds.append((time.perf_counter() - started) / config.steps)
    added = _high_water() - before
    if bool(state.failed):
        raise ValueError(f"{depth} layers: the loss or a gradient became infinite, so that no step was taken")
    del initial
    sizes = compiled.memory_analysis()
    return Measured(
        np.nan if sizes is None else float(sizes.temp_size_in_bytes),
        float(added),
        compilation,
        float(np.median(seconds[1:])),
    )


def _hyper(model: jg.DeepGNN) -> Hyper:
    values = {"learning_rate": 1e-3, "weight_decay": 0.0, "l2": 0.0} | model.numbers()
    return Hyper(*(jnp.float32(values[name]) for name in Hyper._fields))


def table(rows: list[Row]) -> str:
    """Markdown, in MiB."""
    lines = [
        "| layers | kept | X^(l) kept every | a step's estimate, MiB | XLA's count | ratio | whole run's estimate "
        "| added to the process | compilation, s | s a step |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for depth, policy, every, needed, measured, skipped in rows:
        start = f"| {depth} | {policy} | {every or 'all'} | {needed.temporary / 2**20:.1f}"
        if skipped:
            lines.append(f"{start} | skipped: {skipped} | | {needed.total / 2**20:.0f} | | | |")
            continue
        counted, added, compilation, seconds = measured
        lines.append(
            f"{start} | {counted / 2**20:.1f} | {needed.temporary / counted:.2f} | {needed.total / 2**20:.1f}"
            f" | {added / 2**20:.0f} | {compilation:.1f} | {seconds:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    try:
        print(table(run(config)))
    except (ValueError, RuntimeError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

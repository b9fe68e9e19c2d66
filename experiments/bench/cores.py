"""Runs side by side on the cores of a CPU: milliseconds a run and step, and how much of the cores' number is gained.

Command: python -m jaxgnn.experiments.bench.cores --dataset cora
Cost: 3 minutes for Cora with the defaults on two cores. Numbers: README.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
import tyro

import jaxgnn as jg
from jaxgnn.host.cores import physical_cores


@dataclass(frozen=True)
class Config:
    """What to time.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      depths: numbers of layers.
      width: features of every layer.
      runs: runs of training for every core.
      steps: steps that are timed.
      rounds: of each number of cores, in alternation; medians are printed.
    """

    dataset: str = "csbm"
    depths: tuple[int, ...] = (16, 64)
    width: int = 64
    runs: int = 2
    steps: int = 20
    rounds: int = 3


def step_seconds(config: Config, depth: int, cores: int) -> float:
    """Seconds a run and step in this process, which has not used JAX yet."""
    jg.use_cores(cores)
    ds = jg.load_dataset(config.dataset)
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    model = jg.DeepGNN(depth=depth, width=config.width, out=ds.num_classes, residual="identity", bound="frobenius")
    runs, times = config.runs * physical_cores(), [(0, 0.0)]
    jg.train(model, task, seeds=runs, steps=10)
    jg.train(
        model,
        task,
        seeds=runs,
        steps=10 + config.steps,
        progress=lambda done: times.append((done, time.perf_counter())),
    )
    (first, start), (last, end) = times[2], times[-1]  # the first ten steps are not timed
    return (end - start) / (last - first) / runs


def measured(config: Config, depth: int, cores: int) -> float:
    """`step_seconds` in a process of its own: the number of devices is fixed when JAX starts."""
    code = "import json, sys; from jaxgnn.experiments.bench.cores import *; c = json.loads(sys.argv[1]); "
    code += "print(step_seconds(Config(**c['config']), c['depth'], c['cores']))"
    given = json.dumps({"config": asdict(config), "depth": depth, "cores": cores})
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run([sys.executable, "-c", code, given], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout.split()[-1])


def main(config: Config) -> None:
    most = physical_cores()
    numbers = sorted({1, most} | {n for n in (2, 4, 8, 16, 32, 64) if n < most})
    print("layers  cores  ms a run and step  speed-up  of the cores")
    for depth in config.depths:
        rounds = [[measured(config, depth, cores) for cores in numbers] for _ in range(config.rounds)]
        found = np.median(rounds, axis=0)
        for cores, seconds in zip(numbers, found, strict=True):
            gain = found[0] / seconds
            print(f"{depth:6d}  {cores:5d}  {1e3 * seconds:17.1f}  {gain:8.2f}  {gain / cores:12.2f}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))

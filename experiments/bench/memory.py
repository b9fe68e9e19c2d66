"""The memory estimate of a training against what compilers say it holds at most, over depth, width, policy and target.

Command: python -m jaxgnn.experiments.bench.memory --targets cpu v5e:1x1 h100:1x1x1
Nothing runs; TPUs and GPUs need not be there, but their compilers (`pip install 'jaxgnn[plan-tpu,plan-gpu]'`). The
ratio is the estimate over the compiler's peak for ten steps of one run, the first state left out, which stands outside
of that program. Exit code 1 where an estimate is more than 10% below the peak. A TPU's peak counts its fast memory
(128 MiB) as well, so that programs of that size come out less even than larger ones.
"""

import sys
from dataclasses import dataclass

import jax
import tyro

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.host.targets import Chip, Target, target
from jaxgnn.report.terminal import print_table, progress_bar
from jaxgnn.training import depth_memory, planning
from jaxgnn.training.optimisers import TrainConfig


@dataclass(frozen=True)
class Config:
    """What to compile.

    Attributes:
      targets: topologies of one device; "cpu" is this machine.
      nodes: of the csbm.
      num_features: its features.
      depths: numbers of layers.
      widths: features of every layer.
      remats: policies.
    """

    targets: tuple[str, ...] = ("cpu", "v5e:1x1", "h100:1x1x1")
    nodes: int = 2708
    num_features: int = 128
    depths: tuple[int, ...] = (16, 128, 1000)
    widths: tuple[int, ...] = (64, 128)
    remats: tuple[str, ...] = ("none", "sqrt", "least")


def device(name: str) -> Target:
    """A topology's devices, or this machine's CPU."""
    if name != "cpu":
        return target(name)
    jax.config.update("jax_platforms", "cpu")
    return Target(name, Chip("CPU", 2**60, 1e10, 1e11, 1e10, 1e9), jax.devices("cpu")[:1], on_gpu=False)


def main(config: Config) -> int:
    data = csbm(num_nodes=config.nodes, num_features=config.num_features)
    task = jg.tasks.node_classification(data, jg.prepare(data.graph))
    training, lines, ratios = TrainConfig(steps=20), [], []
    cases = [
        (name, depth, width, remat)
        for name in config.targets
        for depth in config.depths
        for width in config.widths
        for remat in config.remats
    ]
    with progress_bar() as report:
        for i, (name, depth, width, remat) in enumerate(cases):
            report(f"{name}, {depth} layers of {width}, {remat}", i, len(cases))
            there = device(name)
            options = {"residual": "identity", "bound": "frobenius"}
            model = jg.DeepGNN(depth=depth, width=width, out=task.out, remat=remat, **options)
            found = planning.plan(model, task, training, there, planning.mesh_of(there))
            platform = "gpu" if there.on_gpu else "cpu" if name == "cpu" else "tpu"
            needed = depth_memory.estimate(model, task.graph, task.x, training, platform=platform)
            within = needed.total - needed.initial
            ratios.append(within / found.peak)
            sizes = (f"{size / 2**20:.1f}" for size in (within, found.peak))
            lines.append((name, str(depth), str(width), remat, *sizes, f"{within / found.peak:.2f}"))
    print_table(("target", "layers", "width", "remat", "estimate, MiB", "peak, MiB", "ratio"), lines)
    near, above = (sum(low <= ratio <= high for ratio in ratios) for low, high in ((0.9, 1.1), (1.1, float("inf"))))
    print(f"{near} of {len(cases)} are within 10% of the peak, {above} above.")
    return int(near + above < len(cases))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config)))

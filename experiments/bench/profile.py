"""Where the time of a training step goes: XLA's own trace of the compiled loop, by kind of operation.

Command: python -m jaxgnn.experiments.bench.profile --dataset cora --depth 64
Thread-milliseconds a step: with two threads at work a step lasts about half the sum. Names of operations are those of
XLA on a CPU.
"""

import re
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import jax
import tyro

from jaxgnn.experiments.bench.cases import Case, training

# By the start of an operation's name; the first that fits.
KINDS = {
    "products with weights": r"dot|ynn_fusion|custom-call.*dot",
    "layers' rows stored and read back": r".*dynamic-(update-)?slice",
    "sums over segments (rows with many edges)": r".*scatter",
    "fresh memory set to 0": r"(wrapped_)?broadcast(\.\d+)?$",
    "gathers of P X and element-wise": r".*fusion|(wrapped_)?(add|multiply|select|compare|maximum|convert|copy|gather)",
}
# Not work: containers, whose time is that of what is in them, and waiting.
WITHOUT = re.compile(r"while|cond|call|ThunkExecutor|.*Await|\$|PjitFunction|.*Execute|tuple|Thread|.*::")


@dataclass(frozen=True)
class Config:
    """The network: a GCN with identity residuals and the Frobenius bound.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      depth, width: of the network.
      layer: kind of layer.
      edges: directed edges of a csbm, as in `jaxgnn bench`; 0 for the named data set.
    """

    dataset: str = "csbm"
    depth: int = 64
    width: int = 64
    layer: str = "gcn"
    edges: int = 0


def run(config: Config) -> tuple[float, dict[str, float]]:
    """Seconds a step, and thread-seconds a step by kind of operation."""
    size = {"layer": config.layer, "depth": config.depth, "width": config.width, "edges": config.edges}
    case = Case("edges" if config.edges else "depth", "csbm" if config.edges else config.dataset, **size)
    call = training(case, time.perf_counter).call
    for _ in range(2):
        jax.block_until_ready(call())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            started = time.perf_counter()
            jax.block_until_ready(call())
            seconds = (time.perf_counter() - started) / case.steps
        (trace,) = Path(folder).rglob("*.xplane.pb")
        found = jax.profiler.ProfileData.from_file(str(trace))
    spent: Counter[str] = Counter()
    for plane in found.planes:
        for line in plane.lines:
            if "XLA" in line.name:
                for event in line.events:
                    if not WITHOUT.match(event.name):
                        spent[kind(event.name)] += event.duration_ns / 1e9 / case.steps
    return seconds, dict(spent.most_common())


def kind(name: str) -> str:
    """What an operation of this name does."""
    return next((said for said, pattern in KINDS.items() if re.match(pattern, name)), "other")


def main() -> None:
    seconds, spent = run(tyro.cli(Config, description=__doc__))
    print(f"{1e3 * seconds:.1f} ms a step while traced\n\n| what | thread-ms a step | share |\n|---|---|---|")
    for name, value in spent.items():
        print(f"| {name} | {1e3 * value:.1f} | {100 * value / sum(spent.values()):.0f}% |")


if __name__ == "__main__":
    main()

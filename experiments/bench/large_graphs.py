"""Large graphs: seconds to make and to pack them, to train on and to probe at depth 16, and the memory it takes.

Command: python -m jaxgnn.experiments.bench.large_graphs --nodes 170000 1700000 --average-degree 14 --depth 16
         --width 16 --kinds csbm power_law
Prints a line for every kind and size, each in a process of its own. A graph of n nodes has n average_degree / 2
undirected edges, so that 170,000 nodes of degree 14 are ogbn-arxiv's size. Padding is what P stores over its entries.
Cost and numbers: README.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import numpy as np
import tyro
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.data import csbm, power_law
from jaxgnn.experiments.bench.timing import medians
from jaxgnn.graphs.propagation import Slots
from jaxgnn.host.memory import peak_memory, require_memory
from jaxgnn.training import run as single
from jaxgnn.training.train import default_hyper

Kind = Literal["csbm", "power_law"]
T = TypeVar("T")


@dataclass(frozen=True)
class Config:
    """What to make.

    Attributes:
      kinds: generators.
      nodes: n of the graphs.
      average_degree: neighbours of a node, on average.
      exponent: of the power law.
      layer: a name of `jaxgnn.layers.LAYERS`.
      depth: number of layers.
      width: features of every layer.
      steps: training steps in one call.
      rounds: calls; medians are printed, without the first call, which compiles.
      seed: of the graphs and the weights.
    """

    kinds: tuple[Kind, ...] = ("csbm", "power_law")
    nodes: tuple[int, ...] = (170_000,)
    average_degree: float = 14.0
    exponent: float = 2.1
    layer: str = "gcn"
    depth: int = 16
    width: int = 16
    steps: int = 2
    rounds: int = 3
    seed: int = 0


class Row(NamedTuple):
    """One graph.

    Attributes:
      kind: the generator.
      nodes: n.
      edges: undirected edges.
      largest: largest degree.
      make: seconds to make the data set.
      pack: seconds of `prepare`.
      slots: K, slots of every row of P.
      padding: slots, the edges beyond them included, over the entries of P: 1 is none, 4 the bound.
      step: median seconds of a training step.
      probe: median seconds of `jaxgnn.probe`.
      packed_peak: bytes of the process at most, until P is packed.
      peak: the same until the end.
      loss: training loss that the probe found, finite where all went well.
    """

    kind: str
    nodes: int
    edges: int
    largest: int
    make: float
    pack: float
    slots: int
    padding: float
    step: float
    probe: float
    packed_peak: int
    peak: int
    loss: float


def measure(config: Config, kind: Kind, nodes: int) -> Row:
    """One line of the table; its memory is this process's, which should be new."""
    options: dict[str, Any] = {"num_nodes": nodes, "average_degree": config.average_degree, "seed": config.seed}
    if kind == "power_law":
        options["exponent"] = config.exponent
    generator: Callable[..., Any] = {"csbm": csbm, "power_law": power_law}[kind]
    ds, make = _timed(lambda: generator(**options))
    graph, pack = _timed(lambda: jg.prepare(ds.graph, backend="padded"))
    packed_peak = peak_memory()
    packed = graph.propagation.forward
    assert isinstance(packed, Slots)
    rest = packed.rest.senders.shape[0]
    entries = np.count_nonzero(packed.weights) + rest
    largest = int(np.bincount(graph.receivers, minlength=nodes).max())
    shape = {"edges": graph.num_edges // 2, "largest": largest, "slots": packed.senders.shape[0]}
    padding = (packed.senders.size + rest) / entries
    del packed

    # Traced arrays are [L + 1 or L, n, width]: X, G and B are 3 L + 2 of the 5.5 L + 6 that XLA asks for.
    needed = int(4 * nodes * config.width * (5.5 * config.depth + 6))
    require_memory(needed, f"probing {nodes} nodes at depth {config.depth}", "a smaller --depth or --width")
    task = jax.device_put(jg.tasks.node_classification(ds, graph, features="raw"))  # once, not with every call
    del ds, graph
    model = jg.DeepGNN(
        layer=config.layer, depth=config.depth, width=config.width, out=task.out, residual="identity", bound="frobenius"
    )
    train = jg.TrainConfig(steps=config.steps)
    hyper = default_hyper(model, train)
    key = jax.random.key(config.seed)

    # The task is an argument of the programs: closed over, it would be copied into them.
    loss = Partial(lambda task, logits: task.loss(logits), task)
    params = jax.jit(model.init)(key, task.graph, task.x)
    losses = []

    def probed():
        losses.append(float(jg.probe(model, params, task.graph, task.x, loss).loss))

    probe = medians({"probe": probed}, rounds=config.rounds)["probe"]
    state = jax.jit(lambda task: single.start(model, train, task, key, hyper))(task)

    def updated(task, state):  # the parameters, not the metrics alone: those need no gradient of the last step
        return single.steps(model, train, task, config.steps, hyper, state, length=config.steps)[0].params

    steps = jax.jit(updated)
    step = medians({"step": lambda: steps(task, state)}, rounds=config.rounds)["step"] / config.steps
    return Row(kind, nodes, **shape, make=make, pack=pack, padding=padding, step=step, probe=probe,
               packed_peak=packed_peak, peak=peak_memory(), loss=losses[-1])  # fmt: skip


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def run(config: Config) -> list[Row]:
    """A row for each kind and size, in that order, from a process each."""
    return [_in_a_process(config, kind, nodes) for kind in config.kinds for nodes in config.nodes]


def _in_a_process(config: Config, kind: Kind, nodes: int) -> Row:
    program = (
        "import json, sys; from jaxgnn.experiments.bench import large_graphs as l; "
        "options, kind, nodes = json.loads(sys.argv[1]); "
        "print(json.dumps(l.measure(l.Config(**options), kind, nodes)))"
    )
    arguments = json.dumps([asdict(config), kind, nodes])
    done = subprocess.run([sys.executable, "-c", program, arguments], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"])[-1]
        raise RuntimeError(f"{kind} of {nodes} nodes: {reason}")
    return Row(*json.loads(done.stdout.splitlines()[-1]))


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| graph | nodes | edges | largest degree | make, s | pack, s | slots | padding | training step, s | probe, s"
        " | peak packed, GiB | peak, GiB | loss |",
        f"|{'---|' * 13}",
    ]
    lines += [
        f"| {row.kind} | {row.nodes} | {row.edges} | {row.largest} | {row.make:.2f} | {row.pack:.2f} | {row.slots}"
        f" | {row.padding:.2f} | {row.step:.3f} | {row.probe:.3f} | {row.packed_peak / 2**30:.2f}"
        f" | {row.peak / 2**30:.2f} | {row.loss:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    try:
        print(table(run(config)))
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""What the benchmark runs: one number varied at a time from a network of 64 layers, and its work counted."""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxgnn as jg
from jaxgnn.data import csbm, row_normalise
from jaxgnn.experiments.bench.machine import Machine
from jaxgnn.training import run as single
from jaxgnn.training.train import default_hyper

BOUND_C = 0.5
SERIES = ("depth", "width", "edges", "seeds", "layer")


@dataclass(frozen=True)
class Case:
    """A network with identity residuals and the Frobenius bound, and what it is trained on.

    Attributes:
      series: which number is varied.
      dataset: a name, or "csbm" with `edges`.
      edges: directed edges of a csbm of average degree 10 with 64 features and 7 classes; 0 for the named data set.
      layer, depth, width: of the network.
      seeds: runs in one program.
    """

    series: str
    dataset: str = "cora"
    edges: int = 0
    layer: str = "gcn"
    depth: int = 64
    width: int = 64
    seeds: int = 1

    @property
    def point(self) -> int | str:
        """The value that is varied."""
        return getattr(self, self.series)

    @property
    def steps(self) -> int:
        """Training steps in one call: ten, fewer, but four at least, where they take long."""
        work = self.depth * self.width * self.seeds * max(self.edges / 1e4, 1)
        return int(np.clip(10 * 64 * 64 / work, 4, 10))


class Work(NamedTuple):
    """What one training step cannot do without, x taken as a dense matrix.

    Attributes:
      flops: of products with weights and of P X, forward and backward.
      bytes: of each layer's X, P X and G, read and written once each, and of the rows that P X and P^T G gather.
      nodes, edges, features: n, entries of P, columns of x.
    """

    flops: float
    bytes: float
    nodes: int
    edges: int
    features: int

    def floor(self, machine: Machine) -> float:
        """Seconds below which no program with dense x can come: arithmetic and memory traffic overlapped perfectly."""
        return max(self.flops / machine.flops, self.bytes / machine.bandwidth)


def cases(
    dataset: str,
    *,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    edges: tuple[int, ...],
    seeds: tuple[int, ...],
    layers: tuple[str, ...],
) -> list[Case]:
    """One case for every value; width and depth start from 64 layers of 64 features, the others from 16 or 8 layers."""
    base = Case("depth", dataset)
    found = [replace(base, depth=depth) for depth in depths]
    found += [replace(base, series="width", width=width) for width in widths]
    found += [Case("edges", "csbm", edges=count, depth=8) for count in edges]
    found += [replace(base, series="seeds", depth=16, seeds=count) for count in seeds]
    return found + [replace(base, series="layer", depth=16, layer=layer) for layer in layers]


@cache
def data(dataset: str, edges: int) -> tuple[Any, jg.Graph]:
    """The data set with rows of features normalised, and its graph."""
    if edges:
        ds = csbm(
            num_nodes=max(edges // 10, 70), num_classes=7, num_features=64, average_degree=10.0, train_per_class=5
        )
    else:
        ds = jg.load_dataset(dataset)
    ds = ds._replace(x=row_normalise(ds.x))
    return ds, jg.prepare(ds.graph)


def network(case: Case, out: int) -> jg.DeepGNN:
    options = {"residual": "identity", "bound": "frobenius", "bound_c": BOUND_C}
    return jg.DeepGNN(layer=case.layer, depth=case.depth, width=case.width, out=out, **options)


def work(case: Case) -> Work:
    """Counted for a GCN; for other layers this is a GCN's."""
    ds, graph = data(case.dataset, case.edges)
    (n, f), d, L = ds.x.shape, case.width, case.depth
    entries = graph.propagation.sparse().nnz
    # The encoder's input needs no gradient; layers and readout need three products each.
    flops = 4 * n * f * d + L * (6 * n * d**2 + 4 * entries * d) + 6 * n * d * ds.num_classes
    rows = L * (6 * n * d + 2 * entries * d) + 2 * n * f
    return Work(case.seeds * flops, 4.0 * case.seeds * rows, n, entries, f)


class Program(NamedTuple):
    """A compiled training loop: call it for `case.steps` more steps.

    Attributes:
      compile_seconds: tracing, lowering and compiling.
      memory: bytes of the program's arguments, results and temporary arrays, from XLA.
    """

    call: Any
    compile_seconds: float
    memory: int


def training(case: Case, clock, *, sparse: bool = False) -> Program:
    """Training as `jaxgnn.train` runs it: several steps in one loop, runs one after another on a CPU."""
    ds, graph = data(case.dataset, case.edges)
    task = jax.device_put(jg.tasks.node_classification(ds, graph, features="raw", sparse_features=sparse))
    model, config = network(case, ds.num_classes), jg.TrainConfig(steps=10**9, learning_rate=1e-3)
    hyper = default_hyper(model, config)
    keys = jax.random.split(jax.random.key(0), case.seeds)
    one_by_one = jax.default_backend() == "cpu"

    def each(function, of_runs):
        return jax.lax.map(function, of_runs) if one_by_one else jax.vmap(function)(of_runs)

    def steps(task, states):
        return each(partial(single.steps, model, config, task, 10**9, hyper, length=case.steps), states)

    states = jax.jit(lambda task: each(lambda key: single.start(model, config, task, key, hyper), keys))(task)
    started = clock()
    compiled = jax.jit(steps, donate_argnums=1).lower(task, states).compile()
    seconds = clock() - started
    held = [states]

    def call():
        held[0], metrics = compiled(task, held[0])
        return metrics

    sizes = compiled.memory_analysis()
    memory = 0 if sizes is None else sizes.argument_size_in_bytes + sizes.temp_size_in_bytes
    return Program(call, seconds, memory)


def probing(case: Case):
    """A call that measures every layer's features, gradients and errors."""
    ds, graph = data(case.dataset, case.edges)
    task = jax.device_put(jg.tasks.node_classification(ds, graph, features="raw"))
    model = network(case, ds.num_classes)
    params = jax.jit(model.init)(jax.random.key(0), task.graph, task.x)
    loss = task.batch(jax.random.key(0), 0).loss
    return lambda: jg.probe(model, params, task.graph, task.x, loss)

"""All benchmarks by name: made from nothing, each with its constant predictor and its oracle."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxgnn.data.roads import roads
from jaxgnn.host.options import check_known
from jaxgnn.host.spelling import meant
from jaxgnn.tasks.benchmark import Benchmark, constant_prediction, make_benchmark, single_graph
from jaxgnn.tasks.distances import bottlenecks, properties_benchmark
from jaxgnn.tasks.graph_properties import graph_properties
from jaxgnn.tasks.graph_transfer import graph_transfer, transfer_graph
from jaxgnn.tasks.ising import lrim
from jaxgnn.tasks.recall import associative_recall
from jaxgnn.tasks.ring_transfer import ring_transfer
from jaxgnn.tasks.road_classes import roads_benchmark

_OF_NETWORK = ("normalisation", "hops")  # what the network's options say, not the benchmark's


def benchmark(name: str, **options: Any) -> Benchmark:
    """A benchmark by name, with the options of the function of this name.

    They are those of BENCHMARKS; `jaxgnn train --task NAME --task-options alpha=2,side=16` is one of them.

    Raises ValueError, naming what may have been meant, for a name or option that is not known, and as that function.
    """
    check_known("task", name, BENCHMARKS)
    allowed = [option for option in BENCHMARKS[name].options if option not in _OF_NETWORK]
    for option in options:
        if option not in (*allowed, *_OF_NETWORK):
            near = meant(option, allowed)
            raise ValueError(f"task option {option!r} is not known{near} allowed for {name} are {', '.join(allowed)}")
    return BENCHMARKS[name].make(**options)


def _ring_transfer(**options: Any) -> Benchmark:
    task = ring_transfer(**options)
    sizes = sorted(options.get("sizes") or [options.get("n") or 20])
    x, targets = np.asarray(task.features), np.asarray(task.targets)
    number = int(np.asarray(task.train)[0])
    kind, n = options.get("kind", "ring"), int(np.any(x[number] != 0, axis=1).sum()) + 1  # node 0 has zeros
    network = {option: options[option] for option in _OF_NETWORK if option in options}
    classes = np.arange(task.out)
    oracle = 50.0 * (targets[..., None] == classes)
    blind = np.broadcast_to(constant_prediction(task), oracle.shape)
    reach = sizes[0] // 2
    within = {reach - 1: blind} if len(sizes) == 1 else {}
    return make_benchmark(
        "ring_transfer",
        task,
        single_graph(task, transfer_graph(kind, n, **network), number),
        oracle=oracle,
        within=within,
        facts=[
            f"Rings of {', '.join(map(str, sizes))} nodes: node 0 must output what the opposite node holds, one of "
            f"{task.out} classes.",
            "Fewer hops than half the ring tell nothing of the class.",
        ],
    )


def _graph_transfer(**options: Any) -> Benchmark:
    task = graph_transfer(**options)
    n = task.graphs.num_nodes
    kind, distance = options.get("kind", "line"), options.get("distance", 5)
    network = {option: options[option] for option in _OF_NETWORK if option in options}
    return make_benchmark(
        "graph_transfer",
        task,
        single_graph(task, transfer_graph(kind, n, **network)),
        oracle=np.asarray(task.targets),
        within={},
        facts=[
            f"A {kind.replace('_', ' ')} of {n} nodes whose ends, {distance} hops apart, swap their features 1 and 0.",
            f"Copying all features scores 2/n = {2 / n:.4g}. A function of each node's own feature is perfect, since "
            'only the ends hold exactly 1 and 0: layer="mlp" shows how much of that is found.',
        ],
    )


class _Entry(NamedTuple):
    """What makes a benchmark, and the options that it takes."""

    make: Callable[..., Benchmark]
    options: tuple[str, ...]


def _entry(make: Callable[..., Benchmark], described: Callable[..., Any] | None = None) -> _Entry:
    return _Entry(make, tuple(inspect.signature(described or make).parameters))


BENCHMARKS: Mapping[str, _Entry] = MappingProxyType(
    {
        "lrim": _entry(lrim),
        "bottlenecks": _entry(bottlenecks),
        "recall": _entry(associative_recall),
        "roads": _entry(roads_benchmark, roads),
        "graph_properties": _entry(properties_benchmark, graph_properties),
        "ring_transfer": _entry(_ring_transfer, ring_transfer),
        "graph_transfer": _entry(_graph_transfer, graph_transfer),
    }
)

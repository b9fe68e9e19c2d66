"""Training steps and probes by depth, width, edges, seeds and layer, beside torch, with the machine's floor.

Command: jaxgnn bench --dataset cora --against pyg,torch
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jaxgnn.experiments.bench import cases, rivals
from jaxgnn.experiments.bench.cases import BOUND_C, Case
from jaxgnn.experiments.bench.machine import Machine
from jaxgnn.experiments.bench.machine import measure as measure_machine
from jaxgnn.experiments.bench.timing import timed

SPARSE = 0.1  # share of entries of x up to which sparse features are tried
NAMES = {"pyg": ("pyg",), "torch": ("torch csr", "torch csr, P^T kept")}


@dataclass(frozen=True)
class BenchConfig:
    """What to measure; candidates are called in alternation.

    Attributes:
      dataset: of all series but that of edges; csbm needs no file.
      against: "pyg" (its layers, GCNConv cached) and "torch" (a loop of CSR products), where they are installed.
      depths: numbers of layers.
      widths: features of every layer.
      edges: directed edges of a csbm of average degree 10.
      seeds: runs in one program.
      layers: kinds of layer.
      rounds: calls of each candidate; fewer, but three at least, where a round takes over `limit` / `rounds` seconds.
      limit: seconds for the rounds of one case.
      probes: whether probes are timed too.
    """

    dataset: str = "csbm"
    against: tuple[str, ...] = ()
    depths: tuple[int, ...] = (2, 8, 64, 256, 1024)
    widths: tuple[int, ...] = (16, 64, 256)
    edges: tuple[int, ...] = (10**4, 10**5, 10**6)
    seeds: tuple[int, ...] = (1, 8, 32)
    layers: tuple[str, ...] = ("mlp", "gcn", "sage", "gin", "gat")
    rounds: int = 15
    limit: float = 20.0
    probes: bool = True

    def __post_init__(self) -> None:
        for name in self.against:
            if name not in NAMES:
                raise ValueError(f"against={name!r} is not known: allowed are {', '.join(NAMES)}")
            for rival in NAMES[name]:
                if not rivals.available(rival):
                    raise ValueError(
                        f"against={name!r} needs torch{'_geometric' if name == 'pyg' else ''}: pip install it"
                    )
        if self.rounds < 1:
            raise ValueError(f"rounds={self.rounds}: allowed are 1 and more")


def bench(config: BenchConfig, progress: Callable[[str, int, int], None] | None = None) -> dict[str, Any]:
    """The machine's rates, and one row for each case and method, as plain numbers."""
    machine = measure_machine()
    every = cases.cases(
        config.dataset,
        depths=config.depths,
        widths=config.widths,
        edges=config.edges,
        seeds=config.seeds,
        layers=config.layers,
    )
    rows = []
    for number, case in enumerate(every):
        if progress is not None:
            progress(f"{case.series} {case.point}", number, len(every))
        rows += _measured(config, case, machine)
    return {"config": asdict(config), "machine": machine._asdict(), "rows": rows}


def _measured(config: BenchConfig, case: Case, machine: Machine) -> list[dict[str, Any]]:
    ds, graph = cases.data(case.dataset, case.edges)
    program = cases.training(case, time.perf_counter)
    candidates: dict[str, Callable[[], object]] = {"jaxgnn": program.call}
    if case.series == "depth" and np.mean(ds.x != 0) < SPARSE:
        candidates["jaxgnn, sparse x"] = cases.training(case, time.perf_counter, sparse=True).call
    if case.seeds == 1:
        size = {"depth": case.depth, "width": case.width, "layer": case.layer}
        for name in (rival for family in config.against for rival in NAMES[family]):
            if case.layer in rivals.LAYERS[name]:
                candidates[name] = rivals.steps(name, ds, graph, **size, c=BOUND_C, count=case.steps)
    seconds = {name: values / case.steps for name, values in _rounds(config, candidates).items()}
    work = cases.work(case)
    floor = work.floor(machine)
    known = asdict(case) | {"point": case.point, "nodes": work.nodes, "entries": work.edges, "features": work.features}
    rows = [known | _row("step", name, values, floor, seconds["jaxgnn"]) for name, values in seconds.items()]
    rows[0] |= {"compile_seconds": program.compile_seconds, "memory": program.memory}
    if config.probes and case.seeds == 1 and case.series != "width":
        call = {"probe": cases.probing(case)}
        rows.append(known | _row("probe", "jaxgnn", _rounds(config, call)["probe"], floor, None))
    return rows


def _rounds(config: BenchConfig, candidates: Mapping[str, Callable[[], object]]) -> dict[str, np.ndarray]:
    _ = timed(candidates, rounds=1, warm_up=0)  # what is compiled or cached at the first call
    started = time.perf_counter()
    first = timed(candidates, rounds=1, warm_up=0)
    taken = max(time.perf_counter() - started, 1e-9)
    more = int(np.clip(config.limit / taken, 3, config.rounds)) - 1
    rest = timed(candidates, rounds=more, warm_up=0) if more > 0 else {name: np.zeros(0) for name in candidates}
    return {name: np.concatenate([first[name], rest[name]]) for name in candidates}


def _row(what: str, method: str, seconds: np.ndarray, floor: float, ours: np.ndarray | None) -> dict[str, Any]:
    low, median, high = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    row = {"what": what, "method": method, "seconds": median, "low": low, "high": high, "rounds": seconds.size}
    if what == "step":
        row["floor"] = floor
    return row if ours is None else row | {"ratio": median / float(np.median(ours))}


HEADER = (
    "series",
    "value",
    "what",
    "method",
    "ms",
    "quartiles",
    "to jaxgnn",
    "floor, ms",
    "to floor",
    "compile, s",
    "MiB",
)


def table(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """Lines of the table that the command prints."""
    lines = []
    for row in results["rows"]:
        floor = row.get("floor")
        lines.append(
            (
                row["series"],
                str(row["point"]),
                row["what"],
                row["method"],
                f"{1e3 * row['seconds']:.2f}",
                f"{1e3 * row['low']:.2f} to {1e3 * row['high']:.2f}",
                f"{row['ratio']:.2f}" if "ratio" in row else "",
                "" if floor is None else f"{1e3 * floor:.2f}",
                "" if floor is None else f"{row['seconds'] / floor:.1f}",
                f"{row['compile_seconds']:.2f}" if "compile_seconds" in row else "",
                f"{row['memory'] / 2**20:.0f}" if "memory" in row else "",
            )
        )
    return lines

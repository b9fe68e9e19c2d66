"""The complete singular spectrum of a ReLU GCN layer's Jacobian in float64: here, in plain JAX and in torch.

Command: python -m jaxgnn.experiments.bench.spectrum --sizes 500 1600 3200
Prints, for each size N of the N x N Jacobian, the median seconds of a call and of the first call (compilation), the
memory the call adds, and how far the sorted spectra lie apart. Every method gets the same numbers, in float64.
Cost and numbers: README.
"""

import contextlib
import importlib.util
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from scipy.sparse import coo_array, csgraph

import jaxgnn as jg
from jaxgnn.data import Dataset, csbm
from jaxgnn.experiments.bench.timing import medians
from jaxgnn.host.memory import host_bytes

Method = Literal["jaxgnn", "jax jacfwd", "torch jacfwd", "torch jacrev"]
METHODS: tuple[Method, ...] = ("jaxgnn", "jax jacfwd", "torch jacfwd", "torch jacrev")


@dataclass(frozen=True)
class Config:
    """What to compare.

    Attributes:
      sizes: N = n d, rows of the Jacobian; rounded down to a multiple of d, for n = N // d nodes.
      d: features of the layer.
      dataset: csbm (any size), or one whose largest component has n nodes to grow a ball in, such as cora.
      methods: what to run.
      torch_propagation: P as a dense matrix or as edges, gathered and added up.
      rounds: calls of each, in alternation; medians are printed.
      limit: seconds that a call may be expected to take, from N^3 and the sizes before.
      memory: whether each method runs once more in a process of its own, to see its peak.
      seed: of the graph, the weights and the features.
    """

    sizes: tuple[int, ...] = (500, 1600, 3200)
    d: int = 16
    dataset: str = "csbm"
    methods: tuple[Method, ...] = METHODS
    torch_propagation: Literal["dense", "edges"] = "dense"
    rounds: int = 3
    limit: float = 120.0
    memory: bool = True
    seed: int = 0


class Layer(NamedTuple):
    """relu(P h W) at a point: all of it float64."""

    graph: jg.Graph
    h: np.ndarray
    W: np.ndarray


class Row(NamedTuple):
    """One method at one size; NaN where it was not run, for the reason in `skipped`.

    Attributes:
      first: seconds of the first call, compilation included.
      steady: median seconds of the later ones.
      peak: bytes that a call adds to the process's peak, in a process of its own.
      difference: largest difference of the sorted spectra from the first method's, relative to sigma_1.
    """

    size: int
    method: str
    first: float = np.nan
    steady: float = np.nan
    peak: float = np.nan
    difference: float = np.nan
    skipped: str = ""


def make_layer(config: Config, size: int) -> Layer:
    """A connected graph of size / d nodes, Glorot weights and normal features."""
    n = size // config.d
    if n < 1:
        raise ValueError(f"size={size}: at least d={config.d} is needed")
    ds = (
        csbm(num_nodes=2 * n + 10, train_per_class=1, seed=config.seed)
        if config.dataset == "csbm"
        else jg.load_dataset(config.dataset)
    )
    rng = np.random.default_rng(config.seed)
    limit = np.sqrt(6 / (2 * config.d))
    return Layer(
        jg.prepare(**_ball(jg.largest_component(ds), n)),
        rng.standard_normal((n, config.d)),
        rng.uniform(-limit, limit, (config.d, config.d)),
    )


def _ball(ds: Dataset, n: int) -> dict:
    """The edges among the first n nodes of a breadth-first search, a connected graph, as `prepare` takes them."""
    senders, receivers, total = np.asarray(ds.graph.senders), np.asarray(ds.graph.receivers), len(ds.labels)
    if n > total:
        raise ValueError(f"{ds.name} has {total} nodes in its largest component, {n} are needed")
    adjacency = coo_array((np.ones(senders.size), (senders, receivers)), shape=(total, total))
    number = np.full(total, -1)
    number[csgraph.breadth_first_order(adjacency, 0, directed=False, return_predecessors=False)[:n]] = np.arange(n)
    inside = (number[senders] >= 0) & (number[receivers] >= 0)
    return {"senders": number[senders[inside]], "receivers": number[receivers[inside]], "num_nodes": n}


def method(name: Method, layer: Layer, config: Config) -> Callable[[], np.ndarray]:
    """The call that is timed: all singular values of the Jacobian, descending."""
    graph, h, W = layer
    size = h.size
    P = graph.propagation
    if name == "jaxgnn":
        f = lambda h: jax.nn.relu(P @ (h @ W))  # noqa: E731
        return lambda: jg.jacobian(f, h, graph=graph).singular_values()
    if name == "jax jacfwd":
        with jax.enable_x64(True):
            dense = jnp.asarray(P.dense())
            whole = jax.jit(lambda h: jax.jacfwd(lambda h: jax.nn.relu(dense @ (h @ W)))(h).reshape(size, size))
            values = jax.jit(lambda h: jnp.linalg.svd(whole(h), compute_uv=False))

        def naive():
            with jax.enable_x64(True):
                return np.asarray(values(jnp.asarray(h)))

        return naive
    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("torch is not installed: pip install torch, or leave it out by --methods")
    import torch

    W_, h_ = torch.from_numpy(W), torch.from_numpy(h)
    P_ = torch.from_numpy(P.dense())
    if config.torch_propagation == "dense":
        propagate = lambda z: P_ @ z  # noqa: E731
    else:
        rows, columns = P_.nonzero(as_tuple=True)
        weight = P_[rows, columns][:, None]
        propagate = lambda z: torch.zeros_like(z).index_add(0, rows, weight * z[columns])  # noqa: E731
    transform = torch.func.jacfwd if name == "torch jacfwd" else torch.func.jacrev
    whole_ = transform(lambda h: torch.relu(propagate(h @ W_)))
    return lambda: torch.linalg.svdvals(whole_(h_).reshape(size, size)).numpy()


def run(config: Config) -> list[Row]:
    """A row for each size and method, in that order."""
    rows, last = [], {}
    for size in config.sizes:
        layer = make_layer(config, size)
        size = layer.h.size
        reasons = {name: _too_large(size, last.get(name), config) for name in config.methods}
        calls = {name: method(name, layer, config) for name, reason in reasons.items() if not reason}
        first, spectra = {}, {}
        for name, call in calls.items():
            started = time.perf_counter()
            spectra[name] = call()
            first[name] = time.perf_counter() - started
        steady = medians(calls, rounds=config.rounds, warm_up=0)
        reference = next(iter(spectra.values()), np.zeros(0))
        for name, reason in reasons.items():
            if reason:
                rows.append(Row(size, name, skipped=reason))
                continue
            last[name] = (size, steady[name])
            off = float(np.abs(spectra[name] - reference).max() / reference[0])
            added = _peak_in_a_process(config, size, name) if config.memory else np.nan
            rows.append(Row(size, name, first[name], steady[name], added, off))
    return rows


def _too_large(size: int, last: tuple[int, float] | None, config: Config) -> str:
    """Why a size is skipped, or an empty text."""
    # J, the tangents it is stacked from, a copy in another layout and LAPACK's.
    needed, free = 4 * 8 * size**2, host_bytes()
    if needed > free:
        return f"needs about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free"
    expected = last[1] * (size / last[0]) ** 3 if last else 0.0
    return f"would take about {expected:.0f} s, limit {config.limit:.0f}" if expected > config.limit else ""


def _peak_in_a_process(config: Config, size: int, name: Method) -> float:
    # A new process, with nothing left over from the other methods. The seed and the size give it the same layer.
    options = (size, name, config.dataset, config.d, config.seed, config.torch_propagation)
    program = f"from jaxgnn.experiments.bench.spectrum import peak; print(peak{options!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak(size: int, name: Method, dataset: str, d: int, seed: int, torch_propagation: Literal["dense", "edges"]) -> int:
    """Bytes that one call adds to this process's peak; the process should be new."""
    config = Config(dataset=dataset, d=d, seed=seed, torch_propagation=torch_propagation)
    small = method(name, make_layer(config, 4 * config.d), config)
    small()  # what is imported and set up at the first call is no part of it
    call = method(name, make_layer(config, size), config)
    with contextlib.suppress(OSError):  # Linux: the peak so far, of loading the graph, is forgotten
        Path("/proc/self/clear_refs").write_text("5")
    before = _high_water()
    call()
    return _high_water() - before


def _high_water() -> int:
    """Peak bytes of this process's memory."""
    try:  # ru_maxrss of a new process starts at its parent's peak on Linux
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def table(rows: list[Row]) -> str:
    """Markdown, with ratios to the first method of each size."""
    lines = [
        "| N | method | s a call | ratio | first call, s | added memory, MiB | ratio | off, of sigma_1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    base = {}
    for row in rows:
        if row.skipped:
            lines.append(f"| {row.size} | {row.method} | skipped: {row.skipped} | | | | | |")
            continue
        base.setdefault(row.size, row)
        time_ratio = row.steady / base[row.size].steady
        memory_ratio = row.peak / (base[row.size].peak or np.nan)  # a small call may need nothing new
        lines.append(
            f"| {row.size} | {row.method} | {row.steady:.3f} | {time_ratio:.2f} | {row.first:.2f}"
            f" | {row.peak / 2**20:.0f} | {memory_ratio:.2f} | {row.difference:.1e} |"
        )
    return "\n".join(lines)


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    try:
        print(table(run(config)))
    except (ValueError, ModuleNotFoundError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

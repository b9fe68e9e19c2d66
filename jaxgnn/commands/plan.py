"""`jaxgnn plan`: whether a training fits on devices that are not here, how long a step takes, what is exchanged."""

import json
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import tyro

from jaxgnn.commands.setting import DataConfig, ModelConfig, network
from jaxgnn.host.kept_programs import kept_programs
from jaxgnn.host.options import check_flag, check_known, check_texts, check_whole
from jaxgnn.host.storage import writable_folder
from jaxgnn.host.targets import target
from jaxgnn.report.plan import size, write_plan
from jaxgnn.report.terminal import print_table, progress_bar
from jaxgnn.training import planning, scale
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.unseen import unseen_task

_STEPS = {"train": "A step takes", "probe": "A probe takes", "spectrum": "A product with J and one with J^T take"}
_FEW = 64  # layers to start looking from where nothing fits


@dataclass(frozen=True)
class PlanConfig:
    """Where it would run.

    Attributes:
      what: "train"; "probe", what `jaxgnn probe` measures at once; "spectrum", one product with a layer's Jacobian and
        one with its transpose, of which `jaxgnn spectrum` takes many. Both on one device.
      precision: "float64" or "float32", of a spectrum's layers.
      topology: devices, as v5e:16x16, v4:2x2x1, v6e:4x4 or h100:1x1x8 (slices x hosts x GPUs a host).
      mesh: as for `jaxgnn train`, seeds=16,nodes=16; by default one device.
      seeds: number of runs.
      layer_options: options of the layer, name=value,...
      nodes: plan for a graph of so many nodes that is not here, in place of the data set.
      degree: its directed edges a node.
      num_features: its features a node.
      save: a folder to keep the compiled program in: with JAX_COMPILATION_CACHE_DIR set to it, `jaxgnn train` with the
        same options and the same --mesh loads it on such devices. Another version, topology or option compiles anew.
      largest: whether to look for the largest depth that still fits, which compiles several times more.
    """

    what: planning.What = "train"
    precision: Literal["float64", "float32"] = "float64"
    topology: str = "v5e:1x1"
    mesh: str = "seeds=1,nodes=1"
    seeds: int = 1
    layer_options: tuple[str, ...] = ()
    nodes: float | None = None
    degree: float = 14.0
    num_features: int = 128
    save: str | None = None
    largest: bool = True

    def __post_init__(self) -> None:
        check_known("what", self.what, get_args(planning.What))
        check_known("precision", self.precision, ("float64", "float32"))
        check_whole("seeds", self.seeds, least=1)
        check_whole("num_features", self.num_features, least=1)
        check_texts("layer_options", self.layer_options)
        check_flag("largest", self.largest)
        if self.save is not None:
            check_texts("save", (self.save,))
        if self.nodes is not None and not (math.isfinite(self.nodes) and self.nodes == int(self.nodes)):
            raise ValueError(f"nodes={self.nodes}: a whole number is needed, for example 1e6")


@dataclass(frozen=True)
class PlanCommand:
    """Compile for TPUs or GPUs that are not here, and say whether it fits and what a step costs.

    The program is that of a training, a probe or a spectrum's products.
    Exit code 0 if it fits, 1 if not, with what would make it fit. Needs the compilers: pip install
    'jaxgnn[plan-tpu]' or 'jaxgnn[plan-gpu]'.

    Attributes:
      model: the network.
      out: a folder for index.html and results.json; by default none is written.
      json: print the plan as the last line of standard output, as JSON.
    """

    config: tyro.conf.OmitArgPrefixes[PlanConfig] = field(default_factory=PlanConfig)
    source: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = field(default_factory=ModelConfig)  # pyright: ignore[reportInvalidTypeForm]
    optimisation: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    out: Path | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> int:
        out = None if self.out is None else writable_folder(self.out)
        config = self.config
        model = network(self.model, config.layer_options)
        there = target(config.topology)
        mesh = planning.mesh_of(there, **scale.parse_mesh(config.mesh))
        if config.nodes is None:
            task = self.source.problem(model.distances)
        else:
            sizes = {"nodes": int(config.nodes), "degree": config.degree, "features": config.num_features}
            task = unseen_task(mesh, **sizes, normalisation=self.source.normalisation)
        model = model.clone(out=task.out)

        def planned(model: Any) -> planning.Plan:
            options = {"count": config.seeds, "what": config.what, "dtype": config.precision}
            return planning.plan(model, task, self.optimisation, there, mesh, **options)

        largest = None
        with progress_bar() as report:
            report(f"compiling for {config.topology}", 0, 2)
            with nullcontext() if config.save is None else kept_programs(config.save):
                found = planned(model)
            if config.largest and found.fits and config.what != "spectrum":
                report("looking for the largest depth that fits", 1, 2)
                largest = planning.deepest(model, found, planned)
            elif not found.fits:
                report("looking for what would fit", 1, 2)
            ways = [] if found.fits else _ways(model, planned)
            if not found.fits and not ways and config.what != "spectrum":
                frugal = model.clone(remat="least", depth=_FEW)
                depth = planning.deepest(frugal, planned(frugal), planned)
                ways = [f"--remat least --depth {depth}"] * (depth > 0)
        _print(found, there.chip.name, mesh.size, config.what)
        if not there.on_gpu and model.width % 128:
            wide = -(-model.width // 128) * 128
            print(f"TPUs pad rows of {model.width} features to {wide}: --width {wide} takes about the same time.")
        if largest is not None:
            print(f"With remat={_policy(found.remat)} about {largest:,} layers fit.")
        results = _plain(found, largest, ways)
        if out is not None:
            more = {"chip": there.chip.name, "devices": mesh.size, "what": config.what}
            print(f"page: {write_plan(out, results | more, f'jaxgnn {shlex.join(arguments)}')}")
        if self.json:
            print(json.dumps(results))
        if not found.fits:
            said = f"; {' or '.join(ways)} fits" if ways else ""
            sentence = f"a device needs {size(found.peak)}, {there.chip.name} has {size(found.available)}{said}"
            print(f"jaxgnn: it does not fit: {sentence}", file=sys.stderr, flush=True)
        return 0 if found.fits else 1


def _ways(model: Any, planned: Callable[[Any], planning.Plan]) -> list[str]:
    """Up to two options, each of which makes it fit."""
    tried = {f"--remat {remat}": {"remat": remat} for remat in ("sqrt", "least") if model.remat != remat}
    tried["--compute-dtype bfloat16"] = {"compute_dtype": "bfloat16"}
    tried[f"--width {model.width // 2}"] = {"width": max(model.width // 2, 1)}
    found: list[str] = []
    for name, options in tried.items():
        if len(found) < 2 and planned(model.clone(**options)).fits:
            found.append(name)
    return found


def _policy(remat: Any) -> str:
    return {False: "none", True: "block"}.get(remat, str(remat))


def _print(found: planning.Plan, chip: str, devices: int, what: str) -> None:
    rows = [(name, size(held)) for name, held in found.parts.items()]
    print_table(
        ("a device holds", "bytes"), [*rows, ("at most", size(found.peak)), ("available", size(found.available))]
    )
    if found.collectives:
        where = {0: "once a step"}
        rows = [
            (c.kind, size(c.bytes), f"{c.times:g}", where.get(c.loops, "in the loops over layers"))
            for c in found.collectives
        ]
        print_table(("exchange", "bytes each", "times a step", "where"), rows)
    received, needed = found.rows
    if needed:
        print(f"For each P X a device receives {received:,} rows, {received / needed:.3g} times what it needs at most.")
    if math.isfinite(found.seconds[0]):
        low, high = (f"{1e3 * s:.3g}" for s in found.seconds)
        print(
            f"{_STEPS[what]} {low} to {high} ms on {devices} x {chip}, {found.flops:.3g} floating-point operations a "
            f"device; at the chip's peak rates it would take {1e3 * found.floor:.3g} ms. remat={_policy(found.remat)}."
        )


def _plain(found: planning.Plan, largest: int | None, ways: list[str]) -> dict[str, Any]:
    """What --json prints."""
    finite = [s if math.isfinite(s) else None for s in found.seconds]
    return {
        "fits": found.fits,
        "peak_bytes": found.peak,
        "available_bytes": found.available,
        "parts": found.parts,
        "step_seconds": finite,
        "floor_seconds": found.floor if math.isfinite(found.floor) else None,
        "flops": found.flops,
        "collectives": [c._asdict() for c in found.collectives],
        "rows_received": found.rows[0],
        "rows_needed": found.rows[1],
        "remat": _policy(found.remat),
        "largest_depth": largest,
        "fits_with": ways,
    }

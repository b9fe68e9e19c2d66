"""What a training run, a probe or a spectrum would take on devices that are not there, by their own compiler.

The program of a training is the one that `jaxgnn.train` runs: ten steps of every run, lowered with shapes alone. Peak
memory and collectives are the compiler's. Seconds are a range: a TPU's compiler counts cycles of every operation but
gathers, scatters and collectives, which are priced by rows and bytes; a GPU's counts none, and kernels are priced by
the bytes they move and a launch.
"""

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgnn.graphs.propagation import Halo
from jaxgnn.host import hlo
from jaxgnn.host.options import check_known, check_whole
from jaxgnn.host.remat import SHARE
from jaxgnn.host.targets import Chip, Target
from jaxgnn.network.model import DeepGNN
from jaxgnn.tasks.task import Task
from jaxgnn.training import run, scale
from jaxgnn.training.drive import STEPS_AT_ONCE, advance
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.plan_measures import lowered_probe, lowered_products
from jaxgnn.training.train import default_hyper

# Cycles a row of up to 128 lanes, from the machine code of a v5e: a gather's loop, and a scatter's.
_GATHER, _SCATTER = (1.6, 2.2), (6.0, 10.0)
_BANDWIDTH_BOUND = 3.0  # a TPU's operations that are bound by bandwidth take as little as a third of what is counted
_LATENCY = (1e-6, 1e-5)  # seconds of a collective, however small
_LAUNCH = (1.2e-6, 8e-6)  # seconds of a GPU's kernel, however small
_CACHED = 2.0  # a GPU moves bytes as much faster where its cache holds them: measured on an H200, up to 1.6
_NAN = float("nan")
_TRIES, _DEEPEST = 6, 1_000_000

What = Literal["train", "probe", "spectrum"]


class Collective(NamedTuple):
    """An exchange between devices: its kind, bytes that a device sends each time, and how often a step has it.

    `loops` counts the loops over layers that it stands in; 0 is once a step.
    """

    kind: str
    bytes: int
    times: float
    loops: int


class Plan(NamedTuple):
    """What the compiler says of one program.

    Attributes:
      fits: whether the peak is within what a device has.
      peak: bytes a device holds at most, or what the compiler asked for where that is more than there is.
      available: bytes a program may use.
      parts: bytes a device by what they are for: arguments (graph, features, state), temporary, code.
      seconds: of a step, from and to.
      floor: seconds of a step at the chip's peak arithmetic, or at its peak bandwidth, whichever is more.
      flops: of a step on each device.
      collectives: of a step, those that are alike together.
      rows: that a device receives for one P X, and that it needs at most; (0, 0) where each holds all nodes.
      remat: the policy, as it was asked for or chosen.
      compiled: the executable; None where it does not fit.
    """

    fits: bool
    peak: int
    available: int
    parts: dict[str, int]
    seconds: tuple[float, float]
    floor: float
    flops: float
    collectives: list[Collective]
    rows: tuple[int, int]
    remat: Any
    compiled: Any


def mesh_of(target: Target, *, seeds: int = 1, nodes: int = 1) -> Mesh:
    """The target's devices as `jaxgnn.scale.mesh` arranges them. Raises ValueError where there are fewer or more."""
    for name, value in (("seeds", seeds), ("nodes", nodes)):
        check_whole(name, value, least=1)
    if seeds * nodes > len(target.devices):
        raise ValueError(
            f"a mesh of seeds={seeds}, nodes={nodes} asks for {seeds * nodes} devices, but {target.topology} has "
            f"{len(target.devices)}"
        )
    devices = np.asarray(target.devices[: seeds * nodes]).reshape(seeds, nodes)
    return Mesh(devices, scale.AXES, axis_types=(AxisType.Auto,) * 2)


def plan(
    model: DeepGNN,
    task: Task,
    config: TrainConfig,
    target: Target,
    mesh: Mesh,
    *,
    count: int = 1,
    what: What = "train",
    dtype: Any = np.float64,
) -> Plan:
    """Compiles the training of `count` runs for the mesh, or a probe or a spectrum's products for its one device.

    With remat="auto" the first of "none", "sqrt" and "least" whose peak is at most 60% of a device's memory, or the
    last that was tried.

    task: as `jaxgnn.train` takes it, or what `unseen_task` gives.
    what: "train"; "probe", with "step" being one probe; "spectrum", one J v and one J^T u of a layer in `dtype`.

    Raises ValueError where the mesh cannot partition the task or the model, for several devices where one measures, and
    where the compiler refuses the program: TPUs know no bits of float64, which bounds and norms read (take float32).
    """
    check_known("what", what, get_args(What))
    if what != "train" and mesh.size > 1:
        raise ValueError(f"a {what} is computed by one device: the mesh has {mesh.size}")
    scale.check_partitionable(model, task, mesh)
    seen = isinstance(jax.tree.leaves(task.graph)[0], jax.ShapeDtypeStruct)
    given = task if seen else scale.spread(task, mesh, shapes=True)

    def lowered(model: DeepGNN) -> Any:
        if what == "train":
            return _lowered(model, given, config, mesh, count)
        return lowered_probe(model, given, mesh) if what == "probe" else lowered_products(model, given, mesh, dtype)

    steps = STEPS_AT_ONCE if what == "train" else 1
    if model.remat != "auto":
        return _compiled(lowered(model), model, given, target, steps)
    found = None
    for remat in ("none", "sqrt", "least"):
        candidate = model.clone(remat=remat)
        found = _compiled(lowered(candidate), candidate, given, target, steps)
        if found.fits and found.peak <= SHARE * found.available:
            break
    assert found is not None
    return found


def _compiled(lowered: Any, model: DeepGNN, task: Any, target: Target, steps: int) -> Plan:
    P = task.graph.propagation
    rows = max(((way.received, way.needed) for way in (P.forward, P.backward) if isinstance(way, Halo)), default=(0, 0))
    chip = target.chip
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = _used(str(error))
        if needed is None:
            said = str(error).splitlines()[0]
            raise ValueError(f"the compiler of {target.topology} refuses the program: {said}") from error
        nothing: tuple[float, float] = (float("nan"), float("nan"))
        return Plan(
            False,
            max(needed, int(chip.memory) + 1),
            int(chip.memory),
            {},
            nothing,
            float("nan"),
            0.0,
            [],
            rows,
            model.remat,
            None,
        )
    memory = compiled.memory_analysis()
    parts = {
        "graph, features and state": memory.argument_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "results": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
    }
    peak = max(int(memory.peak_memory_in_bytes), memory.argument_size_in_bytes + memory.temp_size_in_bytes)
    peak += memory.generated_code_size_in_bytes
    program = hlo.parse(compiled.as_text())
    seconds, floor, flops, collectives = _priced(program, chip, steps, on_gpu=target.on_gpu)
    available = int(chip.memory)
    return Plan(
        peak <= available, peak, available, parts, seconds, floor, flops, collectives, rows, model.remat, compiled
    )


def _lowered(model: DeepGNN, task: Any, config: TrainConfig, mesh: Mesh, count: int) -> Any:
    count += -count % mesh.shape["seeds"]
    program = config.without_numbers()
    hyper = default_hyper(model, config)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count))
    hypers = jax.tree.map(lambda a: jax.ShapeDtypeStruct((count, *a.shape), a.dtype), hyper)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), task)
    start = jax.vmap(lambda key, hyper: run.start(model, program, shapes_as_arrays(shapes), key, hyper))
    states = jax.eval_shape(start, keys, hypers)
    by_seed = NamedSharding(mesh, PartitionSpec("seeds"))
    hypers, states = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=by_seed), (hypers, states))
    total = jax.ShapeDtypeStruct((), jnp.int32)
    return advance.lower(model, program, task, total, hypers, states, False, mesh)


def shapes_as_arrays(tree: Any) -> Any:
    """Zeros of the same shapes, as a program's constants: for `jax.eval_shape`, which computes nothing."""
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), tree)


def _used(message: str) -> int | None:
    """Bytes that a compiler asked for where it ran out of memory, "Used 17.07G of 15.75G hbm"; None elsewhere."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    found = re.search(r"([\d.]+)([KMGT])\b", message)
    return int(float(found[1]) * 2 ** {"K": 10, "M": 20, "G": 30, "T": 40}[found[2]]) if found else 0


def _priced(
    program: hlo.Program, chip: Chip, steps: int, *, on_gpu: bool
) -> tuple[tuple[float, float], float, float, list[Collective]]:
    """Seconds of a step from and to, the floor, flops, collectives."""
    low = high = cycles = flops = moved = 0.0
    found: dict[tuple[str, int, int], float] = {}
    for one in hlo.runs(program):
        opcode, times = one.instruction.opcode, one.times / steps
        if opcode in ("dot", "convolution"):
            flops += times * hlo.products(program, one)
        if not on_gpu and opcode in ("gather", "scatter"):
            rows = hlo.rows(one) if opcode == "gather" else hlo.updates(program, one)
            a, b = _GATHER if opcode == "gather" else _SCATTER
            low, high = low + times * rows * a / chip.clock, high + times * rows * b / chip.clock
        if one.fused or one.instruction.is_free:
            continue
        kind = opcode.removesuffix("-start")
        if kind in hlo.COLLECTIVES:
            # What is started names operand and result, and counters.
            size = hlo.nbytes(one.instruction.result, counters=kind == opcode) // (1 if kind == opcode else 2)
            key = (kind, size, max(one.loops - (steps > 1), 0))
            found[key] = found.get(key, 0.0) + times
            low += times * (_LATENCY[0] + size / chip.link)
            high += times * (_LATENCY[1] + 2 * size / chip.link)
            continue
        cycles += times * one.instruction.cycles
        bytes_moved = hlo.moved(program, one)
        moved += times * bytes_moved
        if on_gpu:
            low += times * max(_LAUNCH[0], bytes_moved / chip.bandwidth / _CACHED)
            high += times * (_LAUNCH[1] + 2.5 * bytes_moved / chip.bandwidth)
    if not on_gpu:
        low, high = low + cycles / chip.clock / _BANDWIDTH_BOUND, high + cycles / chip.clock
    floor = max(flops / chip.flops, moved / chip.bandwidth / _CACHED if on_gpu else 0.0)
    low, high = max(low, flops / chip.flops), max(high, flops / chip.flops)
    collectives = [Collective(kind, size, times, loops) for (kind, size, loops), times in found.items()]
    return (low, high), floor, flops, sorted(collectives, key=lambda c: -c.bytes * c.times)


def deepest(model: DeepGNN, first: Plan, planned: Callable[[DeepGNN], Plan]) -> int:
    """The largest depth found to fit with the first plan's policy; 0 where not even the least does.

    Memory is nearly a line in depth: what is tried lies a little below where the line through two depths meets what
    there is, and is compiled; after a few tries the answer is within some percent.
    """
    model = model.clone(remat=first.remat)
    least = 2 if model.ends == "layer" else 1
    known = {model.depth: first}

    def at(depth: int) -> Plan:
        if depth not in known:
            known[depth] = planned(model.clone(depth=depth))
        return known[depth]

    if not at(max(least, model.depth // 2)).fits and not at(least).fits:
        return 0
    for _ in range(_TRIES):
        fitting = sorted(depth for depth, found in known.items() if found.fits)
        too_deep = min((depth for depth, found in known.items() if not found.fits), default=_DEEPEST)
        low = fitting[-1]
        if too_deep - low <= max(1, 0.03 * low):
            break
        low_peak, room = known[low].peak, first.available - known[low].peak
        if too_deep in known:
            slope = max((known[too_deep].peak - low_peak) / (too_deep - low), 1.0)
        else:
            shallower = max(depth for depth in (*fitting[:-1], 0))
            slope = (low_peak - (known[shallower].peak if shallower else 0)) / (low - shallower)
        guess = min(low + int(0.98 * room / slope), low + (9 * (too_deep - low)) // 10)
        at(max(guess, low + 1))
    return max(depth for depth, found in known.items() if found.fits)

"""A model of a training step's cost, fitted to measurements, and what it says about a run elsewhere.

seconds = seeds (a + b L + c n f d + L (p n d^2 + q n d + r e d)), all coefficients at least 0: of a step, of a layer,
of the encoder, of products with weights, of reading and writing rows, and of gathering the rows of e entries of P.
On another device products go with its peak arithmetic and rows with its peak bandwidth, both at the efficiency that
was measured here; a and b stay. That is an extrapolation, not a measurement.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from jaxgnn.experiments.bench.machine import Machine

TERMS = ("step", "layer", "encoder", "products", "rows", "gathers")
ARITHMETIC = (False, False, True, True, False, False)
TRAFFIC = (False, False, False, False, True, True)


class Device(NamedTuple):
    """Peak rates from the vendor's data sheet.

    Attributes:
      flops: a second, in the precision that products with float32 accumulation run in (bfloat16 on a TPU).
      bandwidth: bytes a second of its memory.
      link: bytes a second to other devices.
      memory: bytes.
    """

    flops: float
    bandwidth: float
    link: float
    memory: float


# Google Cloud's pages of TPU v4, v5e and v5p; NVIDIA's data sheet of the H100 SXM (TF32, dense; NVLink).
DEVICES = {
    "tpu-v4": Device(275e12, 1.2e12, 300e9, 32e9),
    "tpu-v5e": Device(197e12, 0.82e12, 200e9, 16e9),
    "tpu-v5p": Device(459e12, 2.77e12, 600e9, 95e9),
    "h100": Device(495e12, 3.35e12, 900e9, 80e9),
}


@dataclass(frozen=True)
class Plan:
    """A run to predict.

    Attributes:
      depth, width: of the network.
      nodes, degree: n, and directed edges a node; a loop is added to each.
      features: columns of x.
      seeds: runs.
      devices: so many, with the nodes spread evenly over them.
      device: "here", or a name of `DEVICES`.
      halo: rows that a device receives for one P X, as a share of the rows it has.
      keep: layers between those whose X is kept for the way back; 0 keeps everything.
    """

    depth: int = 64
    width: int = 64
    nodes: float = 2708
    degree: float = 4
    features: int = 64
    seeds: int = 1
    devices: int = 1
    device: str = "here"
    halo: float = 0.5
    keep: int = 0


class Cost(NamedTuple):
    """A fit.

    Attributes:
      coefficients: [6] of `TERMS`, in seconds.
      machine: where it was measured.
      errors: [k] predicted / measured - 1 at every point.
      left_out: [k] the same, each point predicted from the others.
    """

    coefficients: Float[np.ndarray, "6"]
    machine: Machine
    errors: Float[np.ndarray, "k"]
    left_out: Float[np.ndarray, "k"]


def terms(depth: int, width: int, nodes: float, entries: float, features: int) -> Float[np.ndarray, "6"]:
    """What the coefficients are multiplied by, for one seed."""
    d, L = width, depth
    return np.array([1.0, L, nodes * features * d, L * nodes * d**2, L * nodes * d, L * entries * d])


def fit(results: Mapping[str, Any]) -> Cost:
    """Non-negative least squares of relative errors over the steps of GCNs that `bench` measured.

    Raises ValueError where there are fewer measurements than coefficients.
    """
    rows = [r for r in results["rows"] if r["what"] == "step" and r["method"] == "jaxgnn" and r["layer"] == "gcn"]
    if len(rows) < len(TERMS):
        raise ValueError(f"{len(rows)} measured training steps of gcn: {len(TERMS)} and more are needed for a fit")
    seconds = np.array([r["seconds"] / r["seeds"] for r in rows])
    of_rows = [terms(*_size(row)) for row in rows]
    relative = np.array(of_rows) / seconds[:, None]
    left_out = [relative[i] @ _solved(np.delete(relative, i, axis=0)) - 1 for i in range(len(rows))]
    found = _solved(relative)
    return Cost(found, Machine(**results["machine"]), relative @ found - 1, np.array(left_out))


def _solved(relative: Float[np.ndarray, "k 6"]) -> Float[np.ndarray, "6"]:
    scale = np.linalg.norm(relative, axis=0)  # columns differ by ten orders of magnitude
    return nnls(relative / scale, np.ones(relative.shape[0]))[0] / scale


def parse(texts: Sequence[str]) -> Plan:
    """name=value texts as a Plan. Raises ValueError for a name or a value that is not known."""
    types = Plan.__annotations__
    values: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in types:
            raise ValueError(f"plan option {name!r} is not known: allowed are {', '.join(types)}")
        try:
            values[name] = value if types[name] is str else types[name](float(value))
        except ValueError:
            raise ValueError(f"plan option {name!r} has the value {value!r}: a number is needed") from None
        if types[name] is not str and not (
            0 <= values[name] < np.inf and (values[name] > 0 or name in ("halo", "keep"))
        ):
            raise ValueError(f"plan option {name!r} has the value {value!r}: a finite number above 0 is needed")
    if values.get("device", "here") not in ("here", *DEVICES):
        raise ValueError(f"device={values['device']!r} is not known: allowed are here, {', '.join(DEVICES)}")
    return Plan(**values)


def read(path: Path) -> dict[str, Any]:
    """results.json of `jaxgnn bench`. Raises ValueError where it is something else."""
    try:
        results = json.loads(path.read_text())
        _ = Machine(**results["machine"]), [terms(*_size(row)) for row in results["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what jaxgnn bench writes ({error}): choose another folder") from None
    return results


def _size(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("depth", "width", "nodes", "entries", "features"))


def sentences(cost: Cost, plan: Plan, predicted: Mapping[str, float]) -> list[str]:
    """What a plan comes to, and how far the model is off where it was measured."""
    parts = ", ".join(f"{name} {predicted[name]:.3g}" for name in (*TERMS, "links"))
    where = "this machine" if plan.device == "here" else plan.device
    fits = "" if plan.device == "here" else f" of {predicted['memory_allowed'] / 2**30:.0f}"
    off, out = (100 * float(np.max(np.abs(errors))) for errors in (cost.errors, cost.left_out))
    median = 100 * float(np.median(np.abs(cost.left_out)))
    return [
        f"{plan.depth} layers of width {plan.width}, {plan.nodes:.3g} nodes of degree {plan.degree:g}, {plan.seeds} "
        f"run(s), {plan.devices} x {where}: {predicted['seconds']:.3g} seconds a step ({parts}), "
        f"{predicted['memory_bytes'] / 2**30:.3g}{fits} GiB a device.",
        f"On the {cost.errors.size} measured points the model is off by {off:.0f}% at most; a point predicted from the "
        f"others by {median:.0f}% in the median, {out:.0f}% at most. Anything else is an extrapolation.",
    ]


def predict(cost: Cost, plan: Plan) -> dict[str, float]:
    """Seconds a step by part, bytes a device, and whether they fit; arithmetic, traffic and links do not overlap."""
    entries = plan.nodes * (plan.degree + 1)
    parts = cost.coefficients * terms(plan.depth, plan.width, plan.nodes, entries, plan.features) * plan.seeds
    spread = np.array([1.0, 1.0, *(1 / plan.devices,) * 4])
    faster = np.ones(len(TERMS))
    device = DEVICES.get(plan.device)
    if device is not None:
        faster[list(ARITHMETIC)] = cost.machine.flops / device.flops
        faster[list(TRAFFIC)] = cost.machine.bandwidth / device.bandwidth
    seconds: dict[str, float] = dict(zip(TERMS, (parts * spread * faster).tolist(), strict=True))
    own = plan.nodes / plan.devices
    received = 0.0 if plan.devices == 1 else 2 * plan.depth * plan.halo * own * plan.width * 4 * plan.seeds
    seconds["links"] = 0.0 if device is None else received / device.link
    return {
        **seconds,
        "seconds": sum(seconds.values()),
        "received_bytes": received,
        "memory_bytes": plan.seeds * memory(plan),
        "memory_allowed": np.inf if device is None else device.memory,
    }


def memory(plan: Plan) -> float:
    """Bytes on one device for one run: weights and what training keeps of them, features, and kept rows.

    Weights, gradients, two moments of Adam and the best weights so far are on every device. Each kept layer has X; the
    layers that are recomputed, or all of them where everything is kept, have P X and a byte for the activation's sign.
    """
    own, L, d = plan.nodes / plan.devices, plan.depth, plan.width
    weights = 5 * 4 * (L * d**2 + plan.features * d)
    whole = 5 * d  # P X in float32 and the sign
    rows = L * whole if plan.keep == 0 else -(-L // plan.keep) * 4 * d + min(plan.keep, L) * whole
    graph = own * (plan.degree + 1) * 8 * 2
    return weights + own * (rows + 4 * plan.features + 16 * d) + graph

"""Chips that need not be there: their compilers, by topology, and what the vendors say of them.

`v5e:16x16` is a TPU topology; `h100:1x8x8` one slice of 8 hosts with 8 GPUs each. Compiling for a TPU needs libtpu
(`pip install 'jaxgnn[plan-tpu]'`), for a GPU JAX's CUDA plugin (`'jaxgnn[plan-gpu]'`; no driver, no CUDA toolkit).
"""

import importlib.util
import math
import os
import re
from importlib.resources import files
from typing import Any, NamedTuple

import jax


class Chip(NamedTuple):
    """One device of a kind; peak rates are the vendor's.

    Attributes:
      name: for people.
      memory: bytes that a program may use.
      bandwidth: bytes a second of its memory.
      flops: multiply-adds times two a second of float32 products at "highest" precision.
      link: bytes a second to other devices.
      clock: cycles a second, 0 where the compiler counts none.
    """

    name: str
    memory: float
    bandwidth: float
    flops: float
    link: float
    clock: float


_GIB = 2**30
_PREALLOCATED = 0.75  # of a GPU's memory, which JAX takes unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise
# Google Cloud's pages of the TPUs; float32 products at "highest" are six passes of bfloat16.
TPUS = {
    "v4": Chip("TPU v4", 32 * _GIB, 1.2e12, 275e12 / 6, 300e9, 1.05e9),
    "v5e": Chip("TPU v5e", 15.75 * _GIB, 0.819e12, 197e12 / 6, 200e9, 1.5e9),
    "v5p": Chip("TPU v5p", 95 * _GIB, 2.765e12, 459e12 / 6, 600e9, 1.75e9),
    "v6e": Chip("TPU v6e", 32 * _GIB, 1.64e12, 918e12 / 6, 400e9, 1.75e9),
}
# NVIDIA's data sheets: float32 without tensor cores, NVLink in one direction.
GPUS = {
    "a100": Chip("NVIDIA A100", 0, 2.04e12, 19.5e12, 300e9, 0),
    "h100": Chip("NVIDIA H100", 0, 3.35e12, 67e12, 450e9, 0),
    "h200": Chip("NVIDIA H200", 0, 4.8e12, 67e12, 450e9, 0),
    "b200": Chip("NVIDIA B200", 0, 8e12, 80e12, 900e9, 0),
}


class Target(NamedTuple):
    """Devices that programs can be compiled for.

    Attributes:
      topology: its name.
      chip: what each device is.
      devices: jax's descriptions of them; nothing runs there.
      on_gpu: whether they are GPUs.
    """

    topology: str
    chip: Chip
    devices: list[Any]
    on_gpu: bool


def target(topology: str) -> Target:
    """The devices of a topology. Raises ValueError for a name that is not known, and where a compiler is missing."""
    kind, colon, shape = topology.partition(":") if isinstance(topology, str) else ("", "", "")
    if kind not in (*TPUS, *GPUS) or not colon or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", shape):
        raise ValueError(
            f"topology={topology!r} is not known: allowed are KIND:SHAPE, for example v5e:16x16, v4:2x2x1, v6e:4x4, "
            f"h100:1x1x8 (slices x hosts x GPUs a host); kinds are {', '.join((*TPUS, *GPUS))}"
        )
    return _tpus(topology, kind, shape) if kind in TPUS else _gpus(topology, kind, shape)


def _tpus(topology: str, kind: str, shape: str) -> Target:
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(f"topology={topology!r} needs the TPU compiler: pip install 'jaxgnn[plan-tpu]'")
    # libtpu asks the machine what TPUs it has unless it is told, and says so at length.
    for name, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several processes may plan at once
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_MIN_LOG_LEVEL": "3",
    }.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {}
    if math.prod(map(int, shape.split("x"))) == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if kind == "v4":
        options["chip_config_name"] = "megacore"  # one device a chip
    return Target(topology, TPUS[kind], _described("tpu", topology, topology_name=topology, **options), on_gpu=False)


def _gpus(topology: str, kind: str, shape: str) -> Target:
    if shape.count("x") != 2:
        raise ValueError(
            f"topology={topology!r}: a GPU's shape is slices x hosts x GPUs a host, for example {kind}:1x1x8"
        )
    if not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        raise ValueError(f"topology={topology!r} needs the CUDA compiler: pip install 'jaxgnn[plan-gpu]'")
    config = (files("jaxgnn.host") / "gpus" / f"{kind}.txtpb").read_text("utf-8")
    (size,) = map(int, re.findall(r"device_memory_size: (\d+)", config))
    share = float(os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", _PREALLOCATED))
    chip = GPUS[kind]._replace(memory=share * size)
    return Target(topology, chip, _described("cuda", topology, target_config=config, topology=shape), on_gpu=True)


def _described(platform: str, asked: str, **options: Any) -> list[Any]:
    from jax.experimental import topologies  # there is no other way to a compiler without its devices

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # what is compiled here cannot be loaded here
    try:
        return list(topologies.get_topology_desc(platform=platform, **options).devices)
    except Exception as error:  # whatever the plugin raises
        raise ValueError(f"topology={asked!r} is refused by its compiler: {' '.join(str(error).split())}") from error

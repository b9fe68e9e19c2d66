"""Files that are whole or not there, folders of one process at a time, and what a run needs to be repeated."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import numpy as np

from jaxgnn.host.cores import physical_cores


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Lets `write` fill a temporary file beside `path`, then renames it: readers see the old file or the whole new one.

    Raises OSError when the folder cannot be written to; nothing is left behind then.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not tell
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON text. NaN and infinite numbers become null, as JSON has none."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Writes `as_json` atomically."""
    write_text(path, as_json(value, indent=1) + "\n")


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Writes a compressed .npz atomically."""
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    write_atomically(path, lambda file: np.savez_compressed(file, **plain))


def writable_folder(path: Path) -> Path:
    """Makes a folder if need be. Raises ValueError, in one sentence, where it cannot be made or written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"full disks take no byte")
    except OSError as error:
        raise ValueError(f"cannot write to {path}: {error.strerror or error}; choose another folder") from error
    return path


class Cell(NamedTuple):
    """What was measured in one piece: numbers (`summary`, plain values) and arrays by name."""

    summary: dict[str, Any]
    arrays: dict[str, np.ndarray]


def kept_cell(stem: Path, fingerprint: str, measure: Callable[[], Cell]) -> Cell:
    """A cell from its two files where they are there and whole; otherwise it is measured and written, the JSON last.

    The fingerprint, of everything that it depends on, is part of the name, so that other options in the same folder
    overwrite nothing. What is measured now is read back as well: it is the same to the bit as what is read later.
    """
    stem = stem.with_name(f"{stem.name}-{fingerprint[:12]}")
    found = _read_cell(stem, fingerprint)
    if found is None:
        cell = measure()
        write_arrays(Path(f"{stem}.npz"), cell.arrays)
        stored = _plain({"fingerprint": fingerprint, "summary": cell.summary}, finite=False)
        write_text(Path(f"{stem}.json"), json.dumps(stored, indent=1))  # with NaN and Infinity, as Python reads them
        found = _read_cell(stem, fingerprint)
    if found is None:
        raise OSError(f"{stem}.json does not hold what was written to it")
    return found


def _read_cell(stem: Path, fingerprint: str) -> Cell | None:
    try:
        stored = json.loads(Path(f"{stem}.json").read_bytes())
        if stored["fingerprint"] != fingerprint:
            return None
        with Path(f"{stem}.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return Cell(dict(stored["summary"]), dict(archive))
    except Exception:  # nothing there, or damaged: then it may raise anything
        return None


def fingerprint(described: Any, arrays: Any = ()) -> str:
    """SHA-256 of what a measurement depends on: JSON, versions, device and commit, and the leaves of a pytree."""
    digest = hashlib.sha256(json.dumps([_plain(described), without_counts(environment())], sort_keys=True).encode())
    for array in map(np.asarray, jax.tree.leaves(arrays)):
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    """Versions, device and commit (None outside a checkout), for a run's folder.

    Of a CPU the device says how many cores there are as well: XLA's sums are parted by them, and round accordingly.
    """
    packages = ("jaxgnn", "jax", "jaxlib", "flax", "optax", "jraph", "numpy", "scipy", "matfree", "orbax-checkpoint")
    device = jax.devices()[0]
    cores = {"cores": physical_cores()} if device.platform == "cpu" else {}
    return {
        "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()} | cores,
        "commit": _commit(),
    }


def without_counts(described: Mapping[str, Any]) -> dict[str, Any]:
    """An environment without the numbers of devices and cores, which do not make a measurement another one."""
    return {**described, "device": {k: v for k, v in described["device"].items() if k not in ("count", "cores")}}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    # --porcelain marks a tree that differs from the commit.
    git = ["git", "-C", str(Path(__file__).parent)]
    quiet: dict[str, Any] = {"capture_output": True, "start_new_session": True}  # Ctrl-C on a terminal is not for it
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], check=False, **quiet)
        if tracked.returncode:
            return None
        head = subprocess.run([*git, "rev-parse", "HEAD"], text=True, check=True, **quiet).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], text=True, check=True, **quiet).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed.strip() else "")


def _plain(value: Any, *, finite: bool = True) -> Any:
    """What JSON has; numbers that are not finite as None, if only `finite` ones are wanted."""
    again = partial(_plain, finite=finite)
    if isinstance(value, dict):
        return {str(k): again(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [again(v) for v in value]
    if isinstance(value, (np.ndarray, jax.Array)):
        return again(np.asarray(value).tolist())
    if isinstance(value, np.generic):
        return again(value.item())
    if finite and isinstance(value, float) and not np.isfinite(value):
        return None
    return value

"""Files that are whole or not there, and what a run needs to be repeated: versions, device, commit."""

import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np


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
    except BaseException:
        Path(name).unlink(missing_ok=True)
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
        write_text(path / ".probe", "")
        (path / ".probe").unlink()
    except OSError as error:
        raise ValueError(f"cannot write to {path}: {error.strerror or error}; choose another folder") from error
    return path


def environment() -> dict[str, Any]:
    """Versions, device and commit (None outside a checkout), for a run's folder."""
    packages = ("jaxgnn", "jax", "jaxlib", "flax", "optax", "jraph", "numpy", "scipy", "matfree", "orbax-checkpoint")
    device = jax.devices()[0]
    return {
        "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    # --porcelain marks a tree that differs from the commit.
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=False)
        if tracked.returncode:
            return None
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed.strip() else "")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.ndarray, jax.Array)):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

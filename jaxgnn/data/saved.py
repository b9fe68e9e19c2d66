"""Results in one file: a zip of a JSON header and .npy members that is checked as a whole, and holds no code.

numpy.load opens it as well, to look at its arrays. The last bytes are the SHA-256 of all bytes before them.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgnn.data.errors import DataError
from jaxgnn.host.storage import environment, write_atomically

FORMAT = 1
_HEADER = "jaxgnn.json"
_MARK = b"jaxgnn sha256 "
_HEX = 64
_ONE_TIME = (1980, 1, 1, 0, 0, 0)  # the same values give the same bytes


class Saved(NamedTuple):
    """What a file holds.

    Attributes:
      kind: what the value is, "TrainResult" for example.
      about: plain values beside it, such as the versions it was made with.
      content: the value as `encoded` makes it.
      arrays: by name.
    """

    kind: str
    about: dict[str, Any]
    content: Any
    arrays: dict[str, np.ndarray]


def write(path: Path | str, kind: str, value: Any, about: Mapping[str, Any]) -> None:
    """Writes a value to exactly `path`, under a temporary name first.

    value: arrays, plain values, dicts with texts as keys, and named tuples of such.
    Raises ValueError where it holds anything else or `path` is no path, OSError where the file cannot be written.
    """
    path = checked_path(path)
    arrays: dict[str, np.ndarray] = {}
    header = {"format": FORMAT, "kind": kind, "about": dict(about), "content": encoded(value, "", arrays)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        _add(file, _HEADER, json.dumps(header, allow_nan=False).encode())
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            _add(file, f"{name}.npy", member.getvalue())
        file.comment = _MARK + b"0" * _HEX
    data = buffer.getvalue()[:-_HEX]
    data += hashlib.sha256(data).hexdigest().encode()
    write_atomically(path, lambda file: file.write(data))


def read(path: Path | str) -> Saved:
    """Reads what `write` wrote. Raises DataError, in one sentence, where it is not there, not whole, or another's."""
    path = checked_path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    if data[:4] != b"PK\x03\x04" or data[30 : 30 + len(_HEADER)] != _HEADER.encode():
        raise DataError(f"{path} is not a file of results: allowed is what .save(path) or jaxgnn.save wrote")
    body, found = data[:-_HEX], data[-_HEX:]
    if not body.endswith(_MARK) or hashlib.sha256(body).hexdigest().encode() != found:
        raise DataError(f"{path} is cut short or changed: its SHA-256 is not that which it was written with")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            header = json.loads(file.read(_HEADER))
            if header["format"] != FORMAT:
                made = header["about"].get("versions", {}).get("jaxgnn")
                raise DataError(
                    f"{path} has format {header['format']!r} (of jaxgnn {made}), and this version reads {FORMAT}"
                )
            arrays = {name.removesuffix(".npy"): _array(file, name) for name in file.namelist() if name != _HEADER}
            return Saved(header["kind"], header["about"], header["content"], arrays)
    except DataError:
        raise
    except Exception as error:  # whole, but made by something else
        raise DataError(f"{path} is not what jaxgnn saves: {type(error).__name__}") from error


def checked_path(path: Any) -> Path:
    """The path. Raises ValueError where it is neither a text nor a path."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path is a {type(path).__name__}: a text or a pathlib.Path is needed")
    return Path(path)


def encoded(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON has it; its arrays go to `arrays`, by their place in it.

    Raises ValueError where it holds anything but arrays of numbers, plain values, dicts and named tuples.
    """
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{name or 'a dict'} has the key {key!r}: files of results take texts as keys")
        return {"dict": {key: encoded(v, _inside(name, key), arrays) for key, v in value.items()}}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = {key: encoded(getattr(value, key), _inside(name, key), arrays) for key in value._fields}
        return {"record": type(value).__name__, "fields": parts}
    if isinstance(value, list | tuple):
        return {"list": [encoded(v, _inside(name, str(i)), arrays) for i, v in enumerate(value)]}
    if value is None or isinstance(value, bool | str | int):
        return {"value": str(value) if isinstance(value, str) else value}
    if isinstance(value, float):
        return {"value": value} if np.isfinite(value) else {"float": str(value)}
    if not hasattr(value, "dtype") or value.dtype == object or not hasattr(value, "shape"):
        raise ValueError(f"{name or 'the value'} is a {type(value).__name__}: files hold arrays and plain values")
    array = np.asarray(value)
    narrow = array.dtype.kind == "V" or array.dtype.name not in np.sctypeDict  # bfloat16, and narrower ones
    unique = _unique(name or "values", arrays)
    arrays[unique] = array.view(f"u{array.dtype.itemsize}") if narrow else array
    return {"array": unique} | ({"dtype": array.dtype.name} if narrow else {})


def decoded(content: Any, arrays: Mapping[str, np.ndarray], records: Mapping[str, type]) -> Any:
    """What `encoded` made its parts of, with named tuples of the classes in `records`. Raises KeyError for others."""
    again = {"arrays": arrays, "records": records}
    if "dict" in content:
        return {key: decoded(v, **again) for key, v in content["dict"].items()}
    if "record" in content:
        return records[content["record"]](**{key: decoded(v, **again) for key, v in content["fields"].items()})
    if "list" in content:
        return [decoded(v, **again) for v in content["list"]]
    if "array" in content:
        array = arrays[content["array"]]
        return array.view(jnp.dtype(content["dtype"])) if "dtype" in content else array
    return float(content["float"]) if "float" in content else content["value"]


def _inside(name: str, key: str) -> str:
    return f"{name}/{key}" if name else key


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    name = name.replace("\\", "/").replace("..", "__").replace("\0", "_").strip("/") or "values"
    while name in taken or name == _HEADER:
        name += "_"
    return name


def _add(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name, _ONE_TIME)
    member.compress_type = zipfile.ZIP_STORED if name == _HEADER else zipfile.ZIP_DEFLATED
    file.writestr(member, data)


def _array(file: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(file.read(name)), allow_pickle=False)


def save(self: Any, path: Path | str) -> None:
    """Writes it to exactly `path`, no suffix added; `jaxgnn.load(path)` gives it back.

    Raises OSError where the file cannot be written.
    """
    write(path, type(self).__name__, self, {"versions": environment()["versions"]})

"""Cells: what a reproduction measures, one at a time, and how each is kept as JSON with its arrays beside it.

PAPER/NAME/CELL-KEY.json    paper, figure, cell, arm, settings, seed, score, scalars and short arrays under
                            "measured", seconds, versions, device, commit, code
PAPER/NAME/CELL-KEY.npz     its longer arrays, at most 200 kB where they are kept with the code
"""

import hashlib
import io
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgnn.host.storage import environment, write_arrays, write_json

Arrays = Mapping[str, Any]
RESULTS = Path(__file__).parents[1] / "experiments" / "results"  # that are kept with the code
SHORT = 64  # numbers that are written out in the JSON file
LARGEST = 200_000  # bytes of a cell's arrays


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
      arm: what is compared, by the name that it has in every figure.
      settings: all that decides what is measured, as JSON has it: numbers, text, lists, and dictionaries of them.
      measure: () -> arrays by name; "score" and "seed" are those of its runs, where it has any.
      code: () -> a digest of what is computed, for cells that were measured with other code; None for not known.
    """

    arm: str
    settings: Mapping[str, Any]
    measure: Callable[[], Arrays] = field(repr=False)
    code: Callable[[], str] | None = field(default=None, repr=False)

    def key(self) -> str:
        """Eight hexadecimal digits of the arm and the settings."""
        text = json.dumps([self.arm, self.settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


class Measured(NamedTuple):
    """What a cell gave, and its JSON: settings, seconds, versions, device, commit."""

    arrays: dict[str, np.ndarray]
    record: Mapping[str, Any]


def measured(
    reproduction: str,
    name: str,
    cell: Cell,
    folder: Path,
    *,
    kept: Path | None = RESULTS,
    keep: bool = False,
    fresh: bool = False,
) -> Measured:
    """The cell from what is kept with the code, or from `folder`, else measured and written into `folder`.

    keep: copy it to what is kept with the code; ValueError where its arrays are too large for that. fresh: measure it
    in any case. A cell that was measured with other code is used only where what is computed is the same: by its
    digest, of one version of JAX. Damaged ones are measured again, with a warning.
    """
    file = f"{_file_name(name)}-{cell.key()}"
    of_code = None if kept is None else kept / reproduction
    for place in () if fresh else (of_code, folder):
        if place is not None and (found := _read(place / f"{file}.json")) is not None and _is_current(cell, found):
            if keep and of_code is not None and place != of_code:
                _write(of_code / f"{file}.json", found.record, found.arrays, largest=LARGEST)
            return found
    code = None if cell.code is None else cell.code()  # before hours of measuring, should it fail
    started = time.perf_counter()
    arrays = {key: np.asarray(value) for key, value in cell.measure().items()}
    paper, _, figure = reproduction.partition("/")
    record = {
        "paper": paper,
        "figure": figure,
        "cell": name,
        "arm": cell.arm,
        "settings": dict(cell.settings),
        "seed": arrays.pop("seed", np.arange(0)).tolist(),
        "seconds": time.perf_counter() - started,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment(),
        "code": code,
    }
    _write(folder / f"{file}.json", record, arrays)
    if keep and of_code is not None:
        _write(of_code / f"{file}.json", record, arrays, largest=LARGEST)
    found = _read(folder / f"{file}.json")
    assert found is not None  # it was written
    return found


def _write(
    path: Path, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, largest: int | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    long = {key: value for key, value in arrays.items() if value.size > SHORT}
    short = {key: value for key, value in arrays.items() if value.size <= SHORT}
    size = sum(value.nbytes for value in long.values())
    if largest is not None and size > largest:
        raise ValueError(f"the cell {record['cell']} has {size} bytes of arrays: at most {largest} are kept")
    said = {
        "score": _plain(short["score"]) if "score" in short else None,
        "measured": {key: {"dtype": str(v.dtype), "value": _plain(v)} for key, v in short.items()},
        "arrays": sorted(long),
    }
    if long:
        write_arrays(path.with_suffix(".npz"), long)
    write_json(path, {**record, **said})


def _plain(value: np.ndarray) -> Any:
    """Numbers as JSON has them, those that are not finite as text."""
    if value.dtype.kind == "f":
        return np.vectorize(lambda v: float(v) if np.isfinite(v) else str(v), otypes=[object])(value).tolist()
    return value.tolist()


def _read(path: Path) -> Measured | None:
    """A cell that is kept; None where it is not, is damaged, or lacks its arrays."""
    try:
        record = json.loads(path.read_bytes())
        arrays = {
            key: np.asarray(np.array(one["value"], dtype=object).astype(np.dtype(one["dtype"])))
            for key, one in record["measured"].items()
        }
        if record["arrays"]:
            with np.load(io.BytesIO(path.with_suffix(".npz").read_bytes()), allow_pickle=False) as long:
                arrays |= {key: long[key] for key in record["arrays"]}
        return Measured(arrays, record)
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file raises almost anything
        warnings.warn(f"{path} is damaged ({error}): it is measured again", stacklevel=3)
        return None


def _is_current(cell: Cell, found: Measured) -> bool:
    """Whether the code of now computes what was measured: known without tracing where the commit is the same."""
    now, then = environment(), found.record
    if now["commit"] is None or cell.code is None or then.get("code") is None:
        return True
    if now["commit"] == then["commit"] and not now["commit"].endswith("+changes"):
        return True
    if now["versions"]["jax"] != then["versions"]["jax"]:
        return True  # its text of the same program is another one
    return cell.code() == then["code"]


def _file_name(cell: str) -> str:
    return "".join(c if c.isalnum() or c in "-+.=" else "_" for c in cell)

"""Edges and nodes in text: comma, tab or blank between numbers, with or without a line of names."""

import csv
import gzip
import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxgnn.data.errors import DataError

_MOST = 2.0**53  # above, float64 does not tell whole numbers apart
_COLUMNS = (
    {"source", "sender", "senders", "src", "from", "u"},
    {"target", "receiver", "receivers", "dst", "to", "v"},
    {"weight", "weights", "w"},
)


def edges_of_csv(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Senders, receivers, and weights or None, of a file with a line an edge: two numbers of nodes, and its weight.

    A first line of names (source, target, weight) and lines that begin with # are passed over. Raises DataError, naming
    the line, for text, nodes that are no whole numbers of 0 and more that 64 bits hold, and weights that are not
    finite; and for a file that cannot be read and other numbers of columns.
    """
    names, table, lines = _numbered(path)
    columns = table.shape[1]
    if columns not in (2, 3):
        raise DataError(f"{path}: {columns} columns: source and target, or source, target and weight are needed.")
    if names is not None:
        for name, allowed in zip(names, _COLUMNS, strict=False):
            if name.lower() not in allowed:
                raise DataError(f"{path}: line 1 names a column {name!r}: source, target and weight are allowed.")
    nodes, weights = table[:, :2], table[:, 2:]
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(nodes) & (nodes == np.floor(nodes)) & (nodes >= 0) & (nodes < _MOST)
    for good, values, needed in (
        (whole, nodes, f"nodes are whole numbers of 0 and more, below {_MOST:.3g}"),
        (np.isfinite(weights), weights, "weights are finite"),
    ):
        if not good.all():
            row, column = np.argwhere(~good)[0]
            raise DataError(f"{path}: line {lines[row]} has {values[row, column]:g}: {needed}.")
    return table[:, 0], table[:, 1], table[:, 2] if columns == 3 else None


def numbers(path: Path) -> tuple[list[str] | None, Float[np.ndarray, "rows columns"]]:
    """The names in the first line, None where it holds numbers, and the numbers of all others, float64.

    Raises DataError, naming line and value, for what is no number and for lines of different lengths.
    """
    return _numbered(path)[:2]


def _numbered(path: Path) -> tuple[list[str] | None, Float[np.ndarray, "rows columns"], list[int]]:
    """What `numbers` returns, and the line in the file of every row."""
    text = _read(path)
    kept = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip() and line.lstrip()[0] != "#"]
    places, lines = [i for i, _ in kept], [line for _, line in kept]
    delimiter = next((d for d in (",", ";", "\t") if lines and d in lines[0]), None)
    names = None
    if lines and not all(map(_is_number, _cells(lines[0], delimiter))):
        names = _cells(lines[0], delimiter)
        if any(map(_is_number, names)):
            raise DataError(f"{path}: line 1 is {lines[0]!r}: names alone or numbers alone are allowed.")
        places, lines = places[1:], lines[1:]
    if not lines:
        return names, np.zeros((0, len(names or (0, 0)))), places
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = np.loadtxt(io.StringIO("\n".join(lines)), delimiter=delimiter, ndmin=2, comments=None)
    except ValueError:
        raise DataError(f"{path}: {_fault(lines, places, delimiter)}.") from None
    if names is not None and len(names) != table.shape[1]:
        raise DataError(f"{path}: {len(names)} names for {table.shape[1]} columns.")
    return names, table, places


def texts(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names in the first line, and the cells of all others. Raises DataError for lines of other lengths."""
    rows = [row for row in csv.reader(io.StringIO(_read(path))) if row]
    if not rows:
        raise DataError(f"{path}: the file is empty: a first line of names is needed.")
    names = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise DataError(f"{path}: line {number} has {len(row)} cells, and the first line names {len(names)}.")
    return names, rows[1:]


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: the file cannot be read: {reason}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: the file is not text in UTF-8.") from None


def _cells(line: str, delimiter: str | None) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(delimiter)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fault(lines: list[str], places: list[int], delimiter: str | None) -> str:
    first = len(_cells(lines[0], delimiter))
    for place, line in zip(places, lines, strict=True):
        cells = _cells(line, delimiter)
        wrong = [cell for cell in cells if not _is_number(cell)]
        if wrong:
            return f"line {place} holds {wrong[0]!r}, where numbers are needed"
        if len(cells) != first:
            return f"line {place} has {len(cells)} numbers, and the first {first}"
    return "the rows are not numbers"

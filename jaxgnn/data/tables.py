"""Edges and nodes in text: comma, tab or blank between numbers, with or without a line of names."""

import csv
import gzip
import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxgnn.data.errors import DataError

_COLUMNS = (
    {"source", "sender", "senders", "src", "from", "u"},
    {"target", "receiver", "receivers", "dst", "to", "v"},
    {"weight", "weights", "w"},
)


def edges_of_csv(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Senders, receivers, and weights or None, of a file with a line an edge: two numbers of nodes, and its weight.

    A first line of names (source, target, weight) and lines that begin with # are passed over. Raises DataError for a
    file that cannot be read, for text, and for other numbers of columns.
    """
    names, table = numbers(path)
    columns = table.shape[1]
    if columns not in (2, 3):
        raise DataError(f"{path}: {columns} columns: source and target, or source, target and weight are needed.")
    if names is not None:
        for name, allowed in zip(names, _COLUMNS, strict=False):
            if name.lower() not in allowed:
                raise DataError(f"{path}: line 1 names a column {name!r}: source, target and weight are allowed.")
    return table[:, 0], table[:, 1], table[:, 2] if columns == 3 else None


def numbers(path: Path) -> tuple[list[str] | None, Float[np.ndarray, "rows columns"]]:
    """The names in the first line, None where it holds numbers, and the numbers of all others, float64.

    Raises DataError, naming line and value, for what is no number and for lines of different lengths.
    """
    text = _read(path)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    delimiter = next((d for d in (",", ";", "\t") if lines and d in lines[0]), None)
    names = None
    if lines and not all(map(_is_number, _cells(lines[0], delimiter))):
        names = _cells(lines[0], delimiter)
        if any(map(_is_number, names)):
            raise DataError(f"{path}: line 1 is {lines[0]!r}: names alone or numbers alone are allowed.")
        lines = lines[1:]
    if not lines:
        return names, np.zeros((0, len(names or (0, 0))))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = np.loadtxt(io.StringIO("\n".join(lines)), delimiter=delimiter, ndmin=2, comments=None)
    except ValueError:
        raise DataError(f"{path}: {_fault(lines, delimiter)}.") from None
    if names is not None and len(names) != table.shape[1]:
        raise DataError(f"{path}: {len(names)} names for {table.shape[1]} columns.")
    return names, table


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


def _fault(lines: list[str], delimiter: str | None) -> str:
    first = len(_cells(lines[0], delimiter))
    for number, line in enumerate(lines, 1):
        cells = _cells(line, delimiter)
        wrong = [cell for cell in cells if not _is_number(cell)]
        if wrong:
            return f"row {number} holds {wrong[0]!r}, where numbers are needed"
        if len(cells) != first:
            return f"row {number} has {len(cells)} numbers, and the first {first}"
    return "the rows are not numbers"

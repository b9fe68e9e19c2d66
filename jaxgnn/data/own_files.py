"""A data set of one's own in a file or folder: written by `save_dataset`, read by `load_own`.

One file, in numpy's .npz format without pickled objects:

    edges       [2, e] senders and receivers, every direction that there is
    x           [n, f] features
    y           [n] classes, -1 where a node has none
    train_mask, val_mask, test_mask    [n] booleans
    weight      [e] weights of the edges, where they have any
    features    [e, ...] features of the edges, where they have any
    num_classes, name, split           where they are to be other than what the rest says

Or a folder with edges.csv (source, target and perhaps weight; a line an edge), nodes.csv (a first line of names, a line
a node: y, perhaps split with train, val, test or nothing, perhaps id with 0, 1, 2, .., and a column for each
feature), or the same as .parquet.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.data.archives import read_npz
from jaxgnn.data.dataset import MASKS, Dataset, edge_parts, graphs_tuple
from jaxgnn.data.errors import DataError
from jaxgnn.data.files import sha256
from jaxgnn.data.own import own_dataset
from jaxgnn.data.tables import edges_of_csv, texts
from jaxgnn.host.storage import write_arrays

_NEEDED = ("edges", "x", "y")
_KNOWN = {*_NEEDED, *MASKS, "weight", "features", "num_classes", "name", "split"}
_PARTS = {"train": "train_mask", "val": "val_mask", "valid": "val_mask", "validation": "val_mask", "test": "test_mask"}


def save_dataset(dataset: Dataset, path: Path | str) -> None:
    """Writes a data set to exactly this path, whole or not at all; `load_dataset(path)` gives it back.

    Raises ValueError where its edges' features are several arrays, OSError where the path cannot be written to.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(f"save_dataset: a Dataset is needed, not {type(dataset).__name__}")
    weight, features = edge_parts(dataset.graph.edges)
    if features is not None and not hasattr(features, "shape"):
        raise ValueError("save_dataset: the edges' features are several arrays: put them side by side in one [e, k]")
    arrays: dict[str, Any] = {
        "edges": np.stack([np.asarray(dataset.graph.senders), np.asarray(dataset.graph.receivers)]),
        "x": dataset.x,
        "y": dataset.labels,
        "num_classes": np.asarray(dataset.num_classes),
        "name": np.asarray(dataset.name),
        "split": np.asarray(dataset.split),
    }
    arrays |= {name: getattr(dataset, name) for name in MASKS}
    arrays |= {k: np.asarray(v) for k, v in (("weight", weight), ("features", features)) if v is not None}
    write_arrays(Path(path), arrays)


def load_own(path: Path | str) -> Dataset:
    """The data set in a file or folder of this module's formats, or in a folder as OGB leaves it.

    Raises DataError, naming file and value, for what is missing, damaged or does not fit.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "raw" / "edge.csv.gz").exists():
            from jaxgnn.data.ogb import load_ogb  # rarely needed

            return load_ogb(path)
        return _of_folder(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    held = read_npz(path, str(path), None)
    where = str(path)
    for name in _NEEDED:
        if name not in held:
            raise DataError(f"{path}: the array {name!r} is missing: {', '.join(_NEEDED)} are needed.")
    if unknown := sorted(set(held) - _KNOWN):
        raise DataError(f"{path}: the array {unknown[0]!r} is not known: allowed are {', '.join(sorted(_KNOWN))}.")
    edges, y = held["edges"], held["y"]
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise DataError(f"{path}: edges have shape {edges.shape}: [2, e], senders and receivers, are needed.")
    name = str(held["name"]) if "name" in held else path.stem
    num_classes = None
    if "num_classes" in held:
        if held["num_classes"].shape != () or held["num_classes"].dtype.kind not in "iu":
            raise DataError(f"{path}: num_classes is {held['num_classes']}: one whole number is needed.")
        num_classes = int(held["num_classes"])
    masks = {mask: held[mask] for mask in MASKS if mask in held}
    parts = held.get("weight"), held.get("features")
    found = _dataset(where, edges[0], edges[1], held["x"], y, masks, *parts, name, num_classes, path)
    return found._replace(split=str(held["split"])) if "split" in held else found


def _of_folder(path: Path) -> Dataset:
    for ending, read_edges, read_nodes in ((".csv", edges_of_csv, texts), (".parquet", _edges_of_parquet, _parquet)):
        edges, nodes = path / f"edges{ending}", path / f"nodes{ending}"
        if edges.exists() and nodes.exists():
            senders, receivers, weight = read_edges(edges)
            names, rows = read_nodes(nodes)
            x, y, masks = _columns(nodes, names, rows)
            return _dataset(str(path), senders, receivers, x, y, masks, weight, None, path.name, None, edges, nodes)
    raise DataError(f"{path}: edges.csv and nodes.csv, or edges.parquet and nodes.parquet, or OGB's raw/ are needed.")


def _columns(path: Path, names: list[str], rows: list[list[Any]]) -> tuple[Any, list[Any], dict[str, np.ndarray]]:
    """Features [n, f] or None, labels and masks of a table of nodes."""
    label = next((name for name in ("y", "label", "class") if name in names), None)
    if label is None:
        raise DataError(f"{path}: a column y with the nodes' classes is needed; there are {', '.join(names)}.")
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise DataError(f"{path}: the column {twice[0]!r} is there twice: every column needs a name of its own.")
    column = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    for name in {"id", "node"} & set(names):
        for node, value in enumerate(column[name]):
            if str(value).strip() != str(node):
                needed = f"0 to {len(rows) - 1} in this order are needed, or no such column"
                raise DataError(
                    f"{path}: row {node} of the nodes has {name} {value!r}: edges name rows, so that {needed}."
                )
    y = [_label(value) for value in column[label]]
    masks = {}
    if "split" in column:
        parts = [str(value or "").strip().lower() for value in column["split"]]
        for node, part in enumerate(parts):
            if part and part not in _PARTS:
                raise DataError(f"{path}: node {node} has split {part!r}: allowed are train, val, test and nothing.")
        masks = {mask: np.asarray([_PARTS.get(part) == mask for part in parts]) for mask in MASKS}
        masks = {name: mask for name, mask in masks.items() if mask.any()}
    others = [name for name in names if name not in (label, "split", "id", "node")]
    try:
        x = np.asarray([[float(value) for value in column[name]] for name in others], np.float64).T if others else None
    except (TypeError, ValueError):
        name, node, value = next(
            (name, i, v) for name in others for i, v in enumerate(column[name]) if not _is_number(v)
        )
        raise DataError(f"{path}: node {node} has {value!r} in column {name!r}, where a number is needed.") from None
    return x, y, masks


def _label(value: Any) -> Any:
    """A class from a cell: a whole number, a text, or None where it is empty."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    if not _is_number(text):
        return text
    number = float(text)
    return int(number) if number.is_integer() else None if np.isnan(number) else number


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _edges_of_parquet(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    names, rows = _parquet(path)
    if len(names) not in (2, 3):
        raise DataError(f"{path}: {len(names)} columns: source and target, or source, target and weight are needed.")
    columns = [np.asarray([row[i] for row in rows]) for i in range(len(names))]
    return columns[0], columns[1], columns[2] if len(names) == 3 else None


def _parquet(path: Path) -> tuple[list[str], list[list[Any]]]:
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DataError(f"{path}: Parquet needs pyarrow: python -m pip install 'jaxgnn[parquet]'.") from None
    try:
        table = parquet.read_table(path)
    except Exception as error:  # pyarrow's own kinds
        raise DataError(f"{path}: the file cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    columns = [table.column(i).to_pylist() for i in range(table.num_columns)]
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)]


def _dataset(where, senders, receivers, x, y, masks, weight, features, name, num_classes, *files: Path) -> Dataset:
    n = len(y)
    senders, receivers = (_nodes(where, side, n) for side in (senders, receivers))
    parts = {"weight": weight, "features": features}
    for part, value in parts.items():
        if value is not None and (value.ndim == 0 or len(value) != senders.size or not np.isfinite(value).all()):
            needed = f"a finite row for each of {senders.size} edges is needed"
            raise DataError(f"{where}: {part} has shape {value.shape}: {needed}.")
    graph = graphs_tuple(senders, receivers, n)._replace(
        edges={part: value for part, value in parts.items() if value is not None} or None
    )
    hashed = {file.name: sha256(file) for file in files}
    return own_dataset(where, graph, x, y, masks, name=name, num_classes=num_classes, files=hashed, complete=False)


def _nodes(where: str, side: np.ndarray, n: int) -> np.ndarray:
    side = np.asarray(side)
    whole = side.dtype.kind in "iu" or (side.dtype.kind == "f" and bool((side == np.floor(side)).all()))
    if side.size and not whole:
        raise DataError(f"{where}: edges name nodes by numbers 0 to {n - 1}, found {side.dtype}.")
    wrong = np.flatnonzero((side < 0) | (side >= n)) if side.size else side
    if wrong.size:
        raise DataError(f"{where}: edge {wrong[0]} names node {side[wrong[0]]:g}, but the nodes are 0 to {n - 1}.")
    return side.astype(np.int64)

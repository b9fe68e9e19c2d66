"""Cora, CiteSeer and PubMed in the files of Yang et al. 2016 (1603.08861), with two kinds of split."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxgnn.data.archives import read_npz
from jaxgnn.data.checks import check_split, checked_edges, checked_features, checked_mask
from jaxgnn.data.dataset import Dataset
from jaxgnn.data.edges import undirected_graph
from jaxgnn.data.errors import DataError
from jaxgnn.data.files import DataFile, data_file, hashes, locate, warn_unverified
from jaxgnn.data.pickles import read_array, read_csr, read_neighbours

NAMES = ("cora", "citeseer", "pubmed")
SPLITS = ("public", *(f"geom:{k}" for k in range(10)))
PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph", "test.index")
MASKS = ("train_mask", "val_mask", "test_mask")
NUM_VALIDATION = 500


def planetoid_files(name: str, split: str) -> tuple[DataFile, ...]:
    """The files that one split of a data set needs: the eight of PARTS, then the split's own, if any."""
    paths = [f"planetoid/ind.{name}.{part}" for part in PARTS]
    if split != "public":
        paths.append(f"splits/{name}_split_0.6_0.2_{split.removeprefix('geom:')}.npz")
    return tuple(data_file(path) for path in paths)


def load_planetoid(name: str, split: str) -> Dataset:
    """One of NAMES with one of SPLITS: "public" (Yang et al. 2016) or "geom:K" (Pei et al. 2020, 2002.05287).

    The graph is symmetrised, without loops and duplicates. The 15 nodes of CiteSeer that the files give edges but
    neither features nor a label have zero features, label 0 and no mask, although stored splits hold them.

    Raises:
      DataError: a file is missing, damaged, or not of this format.
    """
    files = planetoid_files(name, split)
    paths = {file.path: locate(file) for file in files}
    part = {key: (paths[file.path], file.path) for key, file in zip((*PARTS, "split"), files, strict=False)}

    allx, tx = _features(part["allx"]), _features(part["tx"])
    ally, ty = (_classes(*part[key], rows=len(rows)) for key, rows in (("ally", allx), ("ty", tx)))
    num_train = len(_classes(*part["y"], rows=len(_features(part["x"]))))
    num_classes = ally.shape[1]
    if tx.shape[1] != allx.shape[1] or ty.shape[1] != num_classes:
        raise DataError(f"{part['tx'][1]}: features and classes must be as many as in {part['allx'][1]}.")

    test = _test_index(*part["test.index"], first=len(allx), count=len(tx))
    num_nodes = int(test.max()) + 1
    x = np.zeros((num_nodes, allx.shape[1]), np.float32)
    one_hot = np.zeros((num_nodes, num_classes), np.int8)
    x[: len(allx)], one_hot[: len(allx)] = allx, ally
    x[test], one_hot[test] = tx, ty

    if split == "public":
        masks = _public_masks(part["y"][1], num_nodes, num_train, len(allx), test)
    else:
        masks = _stored_masks(*part["split"], num_nodes)
    # The stored splits of CiteSeer hold nodes whose label nobody knows.
    present = (np.arange(num_nodes) < len(allx)) | np.isin(np.arange(num_nodes), test)
    masks = {mask: nodes & present for mask, nodes in masks.items()}
    check_split(files[-1].path if split != "public" else part["test.index"][1], split, **masks)
    dataset = Dataset(
        name=name,
        split=split,
        graph=undirected_graph(_pairs(*part["graph"], num_nodes), num_nodes, keep_loops=False),
        x=x,
        labels=one_hot.argmax(axis=1).astype(np.int32),
        num_classes=num_classes,
        **masks,
        files=hashes(files, paths.values()),
    )
    warn_unverified(files)
    return dataset


def _features(part: tuple[Path, str]) -> np.ndarray:
    """A stored CSR matrix as a dense, finite float32 one."""
    return checked_features(part[1], read_csr(*part).toarray())


def _classes(path: Path, file: str, *, rows: int) -> np.ndarray:
    one_hot = read_array(path, file)
    if one_hot.ndim != 2 or len(one_hot) != rows:
        raise DataError(f"{file}: labels must be a matrix with {rows} rows, found shape {one_hot.shape}.")
    if not np.isin(one_hot, (0, 1)).all() or (one_hot.sum(axis=1) > 1).any():
        raise DataError(f"{file}: every row must hold at most one 1 and otherwise zeros.")
    return one_hot


def _test_index(path: Path, file: str, *, first: int, count: int) -> Int[np.ndarray, "t"]:
    try:
        test = np.array([int(line) for line in path.read_bytes().split()], np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{file}: every line must be the number of a node.") from error
    if len(test) != count or len(np.unique(test)) != count:
        raise DataError(f"{file}: {count} different nodes are expected, one for each row of tx, found {len(test)}.")
    # Left-out test nodes are few; a number far beyond is damage, and would become that many empty rows.
    last = first + 2 * count
    if test.min() < first or test.max() > last:
        raise DataError(f"{file}: nodes must be {first} to {last}, found {test.min()} to {test.max()}.")
    return test


def _pairs(path: Path, file: str, num_nodes: int) -> Int[np.ndarray, "m 2"]:
    neighbours = read_neighbours(path, file)
    pairs = [(node, other) for node, others in neighbours.items() for other in others]
    try:
        edges = np.array(pairs, np.int64).reshape(-1, 2)
    except OverflowError as error:
        raise DataError(f"{file}: an edge names a node beyond 0 to {num_nodes - 1}.") from error
    return checked_edges(file, edges, num_nodes)


def _public_masks(
    file: str, num_nodes: int, num_train: int, num_known: int, test: Int[np.ndarray, "t"]
) -> dict[str, np.ndarray]:
    if num_train + NUM_VALIDATION > num_known:
        raise DataError(f"{file}: {num_train} training and {NUM_VALIDATION} validation nodes exceed {num_known} nodes.")
    nodes = np.arange(num_nodes)
    return {
        "train_mask": nodes < num_train,
        "val_mask": (nodes >= num_train) & (nodes < num_train + NUM_VALIDATION),
        "test_mask": np.isin(nodes, test),
    }


def _stored_masks(path: Path, file: str, num_nodes: int) -> dict[str, np.ndarray]:
    arrays = read_npz(path, file, MASKS)
    return {name: checked_mask(file, name, mask, (num_nodes,)) for name, mask in arrays.items()}

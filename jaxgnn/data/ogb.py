"""Node data sets of the Open Graph Benchmark (Hu et al. 2020), from the folder that its own package leaves."""

from pathlib import Path

import numpy as np

from jaxgnn.data.checks import checked_edges
from jaxgnn.data.dataset import Dataset, graphs_tuple
from jaxgnn.data.errors import DataError
from jaxgnn.data.files import sha256
from jaxgnn.data.own import own_dataset
from jaxgnn.data.tables import numbers

_SPLITS = {"train_mask": "train", "val_mask": "valid", "test_mask": "test"}


def load_ogb(folder: Path) -> Dataset:
    """A data set like ogbn-arxiv: raw/edge.csv.gz, node-feat.csv.gz, node-label.csv.gz, and one split/.

    Edges are as they are given, one way: `jaxgnn.prepare(ds.graph, undirected=True)` adds the other, as is usual for
    ogbn-arxiv. Raises DataError where a file is missing, damaged or does not fit the others.
    """
    raw = folder / "raw"
    files = {name: raw / f"{name}.csv.gz" for name in ("edge", "node-feat", "node-label")}
    splits = sorted(path for path in (folder / "split").glob("*") if path.is_dir())
    if len(splits) != 1:
        raise DataError(f"{folder / 'split'}: one split is needed, found {[path.name for path in splits]}.")
    edges, x, y = (numbers(path)[1] for path in files.values())
    if y.shape != (len(y), 1):
        raise DataError(f"{files['node-label']}: labels have shape {y.shape}: one column, of classes, is read.")
    n = len(y)
    pairs = checked_edges(str(files["edge"]), edges.astype(np.int64), n)
    masks = {}
    for mask, name in _SPLITS.items():
        path = splits[0] / f"{name}.csv.gz"
        masks[mask] = numbers(path)[1].astype(np.int64).ravel()
        files[f"split/{splits[0].name}/{name}"] = path
    graph = graphs_tuple(pairs[:, 0], pairs[:, 1], n)
    hashed = {str(path.relative_to(folder)): sha256(path) for path in files.values()}
    found = own_dataset(str(folder), graph, x, y, masks, name=folder.name, files=hashed)
    return found._replace(split=splits[0].name)

"""The .npz data sets of Platonov et al. 2023 (arXiv 2302.11640), with ten stored splits each."""

import numpy as np

from jaxgnn.data.archives import read_npz
from jaxgnn.data.checks import check_split, checked_edges, checked_features, checked_labels, checked_mask
from jaxgnn.data.dataset import Dataset
from jaxgnn.data.edges import undirected_graph
from jaxgnn.data.files import DataFile, data_file, hashes, locate, warn_unverified

NAMES = (
    "chameleon",
    "squirrel",
    "chameleon_filtered",
    "squirrel_filtered",
    "texas",
    "cornell",
    "wisconsin",
    "actor",
    "minesweeper",
    "tolokers",
    "roman_empire",
    "amazon_ratings",
    "questions",
)
NUM_SPLITS = 10
SPLITS = tuple(f"geom:{k}" for k in range(NUM_SPLITS))
MASKS = ("train_mask", "val_mask", "test_mask")
KEYS = ("node_features", "node_labels", "edges", *(f"{mask}s" for mask in MASKS))


def heterophilous_files(name: str, split: str) -> tuple[DataFile, ...]:
    """The one file of a data set, which holds all its splits."""
    del split
    return (data_file(f"heterophilous/{name}.npz"),)


def load_heterophilous(name: str, split: str) -> Dataset:
    """One of NAMES with one of SPLITS; edges are symmetrised and merged, and stored loops are kept.

    Raises:
      DataError: the file is missing, damaged, or not of this format.
    """
    files = heterophilous_files(name, split)
    paths = [locate(file) for file in files]
    file = files[0].path
    arrays = read_npz(paths[0], file, KEYS)
    x = checked_features(file, arrays["node_features"])
    labels = checked_labels(file, arrays["node_labels"], len(x))
    edges = checked_edges(file, arrays["edges"], len(x))
    k = SPLITS.index(split)
    # Every split is checked, so that whether a file loads does not depend on the split that is asked for.
    stored = {mask: checked_mask(file, f"{mask}s", arrays[f"{mask}s"], (NUM_SPLITS, len(x))) for mask in MASKS}
    for row in range(NUM_SPLITS):
        check_split(file, SPLITS[row], **{name: masks[row] for name, masks in stored.items()})
    dataset = Dataset(
        name=name,
        split=split,
        graph=undirected_graph(edges, len(x), keep_loops=True),
        x=x,
        labels=labels,
        num_classes=int(labels.max()) + 1,
        # Copies, so that the other nine splits can be freed.
        **{name: np.copy(masks[k]) for name, masks in stored.items()},
        files=hashes(files, paths),
    )
    warn_unverified(files)
    return dataset

"""Peptides-func and Peptides-struct of the Long Range Graph Benchmark (Dwivedi et al. 2022, arXiv 2206.08164)."""

import csv
import gzip
import json
import zlib
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int

from jaxgnn.data.dataset import GraphsTuple
from jaxgnn.data.errors import DataError
from jaxgnn.data.files import data_file, hashes, locate, warn_unverified
from jaxgnn.data.molecules import molecule, rdkit
from jaxgnn.data.split_files import read_split

Name = Literal["peptides_func", "peptides_struct"]
# In the order of the column "labels".
FUNCTIONS = (
    "antifungal",
    "cell_cell_communication",
    "anticancer",
    "drug_delivery_vehicle",
    "antimicrobial",
    "antiviral",
    "antihypertensive",
    "antibacterial",
    "antiparasitic",
    "toxic",
)
# Columns of the table.
STRUCTURE = (
    *(f"Inertia_mass_{axis}" for axis in "abc"),
    *(f"Inertia_valence_{axis}" for axis in "abc"),
    *(f"length_{axis}" for axis in "abc"),
    "Spherocity",
    "Plane_best_fit",
)
# The table and the split of each, below JAXGNN_DATA, under their upstream names.
FILES: dict[str, tuple[str, str]] = {
    "peptides_func": (
        "peptides/peptide_multi_class_dataset.csv.gz",
        "peptides/splits_random_stratified_peptide.pickle",
    ),
    "peptides_struct": (
        "peptides/peptide_structure_dataset.csv.gz",
        "peptides/splits_random_stratified_peptide_structure.pickle",
    ),
}
LONGEST_FIELD = 2**24  # characters; a column that is not read holds the distances of all pairs of atoms


class Peptides(NamedTuple):
    """G molecules with t targets each; arrays live on the host.

    Attributes:
      name: "peptides_func" or "peptides_struct".
      graphs: G graphs, one node a heavy atom; edges [e, 3] int32 (`jaxgnn.data.molecules.BONDS`).
      x: of each graph [n, 9] int32 categories of its atoms (`jaxgnn.data.molecules.ATOMS`).
      targets: [G, t] float32: 0 and 1 for the functions, numbers for the structure.
      target_names: t names.
      train, val, test: numbers of the graphs.
      files: SHA-256 by file.
    """

    name: str
    graphs: list[GraphsTuple]
    x: list[Int[np.ndarray, "n 9"]]
    targets: Float[np.ndarray, "G t"]
    target_names: tuple[str, ...]
    train: Int[np.ndarray, "a"]
    val: Int[np.ndarray, "b"]
    test: Int[np.ndarray, "c"]
    files: dict[str, str]


def load_peptides(name: Name, *, standardise: bool = True) -> Peptides:
    """Peptides as molecular graphs, from the files that JAXGNN_DATA holds (see FILES).

    A task: many_graphs(p.graphs, [one_hot(x, ATOMS) for x in p.x], p.targets, split=(p.train, p.val, p.test), ...)
    with loss="bce", metric="average_precision" for the functions and loss="mae", metric="mae" for the structure.

    Args:
      name: "peptides_func", 10 functions that a peptide has or has not, or "peptides_struct", 11 numbers computed from
        its shape in space.
      standardise: give the numbers of "peptides_struct" mean 0 and standard deviation 1 (divisor G - 1) over all G
        molecules, test included, as the benchmark does. False leaves them as stored.

    Raises:
      ValueError: an unknown name, or RDKit is not installed.
      DataError: a file is missing, damaged or not of this format, or a SMILES string cannot be read.
    """
    if name not in get_args(Name):
        raise ValueError(f"name={name!r} is not known: allowed are {', '.join(get_args(Name))}")
    return _load(name, standardise)


def _load(name: str, standardise: bool) -> Peptides:
    files = [data_file(path) for path in FILES[name]]
    table, split = (locate(file) for file in files)
    rdkit()
    smiles, targets = _read_table(table, files[0].path, STRUCTURE if name == "peptides_struct" else None)
    parts = read_split(split, files[1].path, len(smiles))
    molecules = []
    for row, text in enumerate(smiles):
        try:
            molecules.append(molecule(text))
        except ValueError as error:
            raise DataError(f"{files[0].path}: row {row}: {error}.") from error
    if name == "peptides_struct" and standardise:
        targets = _standardised(targets, files[0].path)
    warn_unverified(files)
    return Peptides(
        name=name,
        graphs=[m.graph for m in molecules],
        x=[m.x for m in molecules],
        targets=targets.astype(np.float32),
        target_names=FUNCTIONS if name == "peptides_func" else STRUCTURE,
        train=parts[0],
        val=parts[1],
        test=parts[2],
        files=hashes(files, [table, split]),
    )


def _read_table(path: Path, file: str, columns: tuple[str, ...] | None) -> tuple[list[str], np.ndarray]:
    """SMILES and targets float64 [G, t]: these columns, or the list of 0 and 1 in the column "labels"."""
    smiles, rows = [], []
    limit = csv.field_size_limit(LONGEST_FIELD)  # a setting of the whole process: put back below
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if row["smiles"] is None:
                    raise ValueError("it has no SMILES")
                rows.append(_functions(row["labels"]) if columns is None else [float(row[c]) for c in columns])
                smiles.append(row["smiles"])
    except KeyError as error:
        raise DataError(f"{file} has no column {error}.") from error
    # OSError, EOFError, zlib.error: not gzip, or cut off; csv.Error, ValueError, TypeError: a row of another form.
    except (OSError, EOFError, zlib.error, csv.Error, ValueError, TypeError) as error:
        raise DataError(f"{file}: row {len(rows)} cannot be read: {' '.join(str(error).split())}.") from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise DataError(f"{file} holds no row.")
    targets = np.array(rows, np.float64)
    if not np.isfinite(targets).all():
        raise DataError(f"{file}: row {np.argwhere(~np.isfinite(targets))[0, 0]} holds a number that is not finite.")
    return smiles, targets


def _functions(text: str) -> list[float]:
    labels = json.loads(text)
    if not isinstance(labels, list) or len(labels) != len(FUNCTIONS) or any(v not in (0, 1) for v in labels):
        raise ValueError(f"labels must be a list of {len(FUNCTIONS)} numbers 0 and 1")
    return labels


def _standardised(targets: np.ndarray, file: str) -> np.ndarray:
    if len(targets) < 2 or not (deviation := targets.std(axis=0, ddof=1)).all():
        raise DataError(f"{file}: a column without variation cannot be standardised.")
    return (targets - targets.mean(axis=0)) / deviation

"""Molecular graphs from SMILES, with the categories of atoms and bonds that OGB's `smiles2graph` gives.

The tables follow Hu et al. 2020 (Open Graph Benchmark, arXiv 2005.00687): each column is a place in a list, and what
is in no list takes the last place. RDKit is optional: python -m pip install 'jaxgnn[molecules]'.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxgnn.data.dataset import GraphsTuple, graphs_tuple

_MISC = None  # a place that nothing but the rest takes
ATOMS: dict[str, tuple[Any, ...]] = {
    "atomic_number": (*range(1, 119), _MISC),
    "chirality": ("CHI_UNSPECIFIED", "CHI_TETRAHEDRAL_CW", "CHI_TETRAHEDRAL_CCW", "CHI_OTHER", _MISC),
    "degree": (*range(11), _MISC),
    "formal_charge": (*range(-5, 6), _MISC),
    "hydrogens": (*range(9), _MISC),
    "radical_electrons": (*range(5), _MISC),
    "hybridization": ("SP", "SP2", "SP3", "SP3D", "SP3D2", _MISC),
    "aromatic": (False, True),
    "in_ring": (False, True),
}
BONDS: dict[str, tuple[Any, ...]] = {
    "type": ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC", _MISC),
    "stereo": ("STEREONONE", "STEREOZ", "STEREOE", "STEREOCIS", "STEREOTRANS", "STEREOANY"),
    "conjugated": (False, True),
}


class Molecule(NamedTuple):
    """One molecule without its hydrogens.

    Attributes:
      graph: one node an atom, both directions of every bond; edges: [e, 3] int32 places in the lists of BONDS.
      x: [n, 9] int32 places in the lists of ATOMS.
    """

    graph: GraphsTuple
    x: Int[np.ndarray, "n 9"]


def rdkit() -> tuple[Any, Any]:
    """rdkit.Chem and rdkit.rdBase; ValueError where RDKit is not installed."""
    try:
        from rdkit import Chem, rdBase  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("molecules need RDKit: python -m pip install 'jaxgnn[molecules]'") from None
    return Chem, rdBase


def molecule(smiles: str) -> Molecule:
    """The graph of a SMILES string.

    Raises:
      ValueError: RDKit is not installed, or cannot read the string, or finds no atom in it.
    """
    Chem, rdBase = rdkit()
    with rdBase.BlockLogs():  # what is wrong is said below
        mol = Chem.MolFromSmiles(smiles)
    if mol is None or mol.GetNumAtoms() == 0:
        raise ValueError(f"{smiles[:80]!r} is not a molecule that RDKit can read")
    atoms = [
        (
            a.GetAtomicNum(),
            str(a.GetChiralTag()),
            a.GetTotalDegree(),
            a.GetFormalCharge(),
            a.GetTotalNumHs(),
            a.GetNumRadicalElectrons(),
            str(a.GetHybridization()),
            a.GetIsAromatic(),
            a.IsInRing(),
        )
        for a in mol.GetAtoms()
    ]
    bonds = [(str(b.GetBondType()), str(b.GetStereo()), b.GetIsConjugated()) for b in mol.GetBonds()]
    ends = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()], np.int32).reshape(-1, 2)
    features = np.repeat(_places(bonds, BONDS), 2, axis=0)
    # i -> j and j -> i of the first bond, then of the second, ...
    senders, receivers = ends.ravel(), ends[:, ::-1].ravel()
    graph = graphs_tuple(senders, receivers, len(atoms))._replace(edges=features)
    return Molecule(graph, _places(atoms, ATOMS))


def one_hot(places: Int[np.ndarray, "n k"], lists: dict[str, tuple[Any, ...]]) -> Float[np.ndarray, "n f"]:
    """Each column one-hot, side by side: a linear map of this is a sum of learnt embeddings, OGB's encoder."""
    places = np.asarray(places)
    return np.concatenate(
        [np.eye(len(values), dtype=np.float32)[places[:, k]] for k, values in enumerate(lists.values())], axis=1
    )


def _places(rows: Sequence[tuple[Any, ...]], lists: dict[str, tuple[Any, ...]]) -> Int[np.ndarray, "n k"]:
    tables = [({value: i for i, value in enumerate(values)}, len(values) - 1) for values in lists.values()]
    places = [[table.get(value, last) for value, (table, last) in zip(row, tables, strict=True)] for row in rows]
    return np.array(places, np.int32).reshape(-1, len(lists))

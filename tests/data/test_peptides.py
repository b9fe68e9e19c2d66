import csv
import gzip
import json
import pickle
import re
import sys

import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands.main import main
from jaxgnn.data import DataError, load_peptides
from jaxgnn.data.molecules import ATOMS, BONDS, one_hot
from jaxgnn.data.peptides import FILES, FUNCTIONS, STRUCTURE
from jaxgnn.data.split_files import read_split
from jaxgnn.evidence.reproduction import load as reproduction
from jaxgnn.evidence.reproduction import reproduce
from jaxgnn.experiments.arroyo2025 import peptides as experiment

NAMES = ("peptides_func", "peptides_struct")
# Glycine, alanyl-glycine (one centre), a salt, a double bond with a side, a ring with a charge.
SMILES = ("NCC(=O)O", "C[C@H](N)C(=O)NCC(=O)O", "[Na+].[Cl-]", "Cl[C@H](/C=C/C)Br", "c1cc[nH+]cc1", "O")
SPLIT = {"train": [0, 2, 4], "val": [5], "test": [1, 3]}


def functions():
    return np.random.default_rng(0).integers(0, 2, (len(SMILES), 10))


def structure():
    return np.random.default_rng(1).normal(3, 2, (len(SMILES), 11))


def write_table(folder, name, rows=None, header=None):
    """The table as upstream: other columns too, one of them longer than the csv module allows by default."""
    if rows is None:
        values = functions() if name == "peptides_func" else structure()
        labels = [[json.dumps(v.tolist())] if name == "peptides_func" else [repr(float(x)) for x in v] for v in values]
        rows = [["GA", *row, smiles, "0.0 1.5\n" * 25_000] for row, smiles in zip(labels, SMILES, strict=True)]
    named = ["labels"] if name == "peptides_func" else list(STRUCTURE)
    with gzip.open(folder / FILES[name][0], "wt", newline="") as stream:
        csv.writer(stream).writerows([header or ["peptide_seq", *named, "smiles", "self_dist_matrix"], *rows])


def write_split(folder, name, content=None, protocol=4):
    content = {k: np.array(v) for k, v in SPLIT.items()} if content is None else content
    (folder / FILES[name][1]).write_bytes(pickle.dumps(content, protocol=protocol))


@pytest.fixture
def stored(data):
    (data / "peptides").mkdir()
    for name in NAMES:
        write_table(data, name)
        write_split(data, name)
    return data


@pytest.fixture
def load(stored):
    pytest.importorskip("rdkit")

    def run(name, **options):
        with pytest.warns(UserWarning, match=r"no SHA-256 is known for peptides/.*csv\.gz, peptides/.*pickle"):
            return load_peptides(name, **options)

    return run


@pytest.mark.parametrize("name", NAMES)
def test_table_and_split_are_read(load, name):
    peptides = load(name)
    assert peptides.name == name
    assert len(peptides.graphs) == len(peptides.x) == len(SMILES)
    for part, expected in SPLIT.items():
        np.testing.assert_array_equal(getattr(peptides, part), expected)
    assert peptides.target_names == (FUNCTIONS if name == "peptides_func" else STRUCTURE)
    assert set(peptides.files) == set(FILES[name])
    assert csv.field_size_limit() == 131072


def test_functions_are_as_stored(load):
    targets = load("peptides_func").targets
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, functions())


def test_numbers_of_the_structure_are_standardised_over_all_molecules_or_as_stored(load):
    raw, z = structure(), load("peptides_struct").targets
    np.testing.assert_allclose(load("peptides_struct", standardise=False).targets, raw, rtol=1e-6)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose((z**2).sum(axis=0), len(raw) - 1, rtol=1e-5)
    np.testing.assert_allclose(np.corrcoef(z[:, 3], raw[:, 3])[0, 1], 1, rtol=1e-6)


def test_atoms_and_bonds_are_those_of_the_molecules(load):
    graphs, xs = (load("peptides_func")[i] for i in (1, 2))
    atoms = ["NCCOO", "CCNCONCCOO", ["Na", "Cl"], ["Cl", "C", "C", "C", "C", "Br"], "CCCNCC", "O"]
    numbers = {"H": 1, "C": 6, "N": 7, "O": 8, "Na": 11, "Cl": 17, "Br": 35}
    bonds = [4, 9, 0, 5, 6, 0]
    for graph, x, symbols, m in zip(graphs, xs, atoms, bonds, strict=True):
        assert x.shape == (len(symbols), 9)
        np.testing.assert_array_equal(x[:, 0] + 1, [numbers[s] for s in symbols])
        assert graph.edges.shape == (2 * m, 3)
        assert graph.n_node.tolist() == [len(symbols)]
        pairs = list(zip(graph.senders.tolist(), graph.receivers.tolist(), graph.edges.tolist(), strict=True))
        assert sorted(pairs) == sorted((r, s, e) for s, r, e in pairs)
        # Degrees with hydrogens, of which the table knows the number.
        np.testing.assert_array_equal(np.bincount(graph.receivers, minlength=len(symbols)) + x[:, 4], x[:, 2])
    # The example in the documentation of OGB: the chiral carbon and the double bond with a side.
    assert xs[3][1].tolist() == [5, 2, 4, 5, 1, 0, 2, 0, 0]
    assert [1, 2, 0] in graphs[3].edges.tolist()
    # Pyridinium: every atom sp2, aromatic, in a ring; every bond aromatic and conjugated; one charge of +1.
    assert xs[4][:, 6:].tolist() == [[1, 1, 1]] * 6
    assert graphs[4].edges.tolist() == [[3, 0, 1]] * 12
    assert xs[4][:, 3].tolist() == [5, 5, 5, 6, 5, 5]
    assert xs[2][:, 3].tolist() == [6, 4]


def test_one_hot_columns_are_the_tables_of_ogb():
    assert [len(v) for v in ATOMS.values()] == [119, 5, 12, 12, 10, 6, 6, 2, 2]
    assert [len(v) for v in BONDS.values()] == [5, 6, 2]
    places = np.array([[0, 5, 1], [4, 0, 0]])
    encoded = one_hot(places, BONDS)
    assert encoded.shape == (2, 13)
    np.testing.assert_array_equal(np.argwhere(encoded)[:, 1].reshape(2, 3), places + np.array([[0, 5, 11]]))


def test_is_a_task(load):
    peptides = load("peptides_func")
    task = jg.tasks.many_graphs(
        peptides.graphs,
        [one_hot(x, ATOMS) for x in peptides.x],
        peptides.targets,
        split=(peptides.train, peptides.val, peptides.test),
        batch_size=3,
        loss="bce",
        metric="accuracy",
    )
    assert task.out == 10
    assert task.x.shape == (3 * 10, 174)
    np.testing.assert_allclose(task.x.sum(axis=1).reshape(3, -1).sum(axis=1), [9 * 5, 9 * 2, 9 * 6])


def test_networks_are_trained_on_files_of_this_format(stored, tmp_path):
    pytest.importorskip("rdkit")
    with pytest.warns(UserWarning, match="no SHA-256 is known"):
        outcome = reproduce(reproduction("arroyo2025/peptides"), "smoke", tmp_path)
    assert [value.name for value in outcome.finding.values] == [
        f"peptides_struct, {kind}: mae" for kind in ("GCN", "GCN-SSM", "kGCN-SSM")
    ]
    assert all(value.ours > 0 for value in outcome.finding.values)


def test_the_verdict_knows_which_metric_is_better_where_it_is_less():
    def verdict(gcn, ssm, khop):
        scores = dict(zip(("GCN", "GCN-SSM", "kGCN-SSM"), (gcn, ssm, khop), strict=True))
        cells = {f"{d}, {k}": {"score": np.array([s])} for d in experiment.METRICS for k, s in scores.items()}
        return {d: experiment.show(experiment.Config((d,)), cells).verdict for d in experiment.METRICS}

    assert verdict(0.3, 0.4, 0.5) == {"peptides_func": "reproduced", "peptides_struct": "not reproduced"}
    assert verdict(0.5, 0.4, 0.3) == {"peptides_func": "not reproduced", "peptides_struct": "reproduced"}
    assert verdict(0.4, 0.3, 0.5) == dict.fromkeys(experiment.METRICS, "partly")


def test_without_its_files_the_reproduction_says_so(data, tmp_path, capsys):
    experiment._task.cache_clear()
    assert main(["reproduce", "arroyo2025/peptides", "--preset", "smoke", "--out", str(tmp_path)]) == 2
    assert "peptide_structure_dataset.csv.gz is not downloaded" in capsys.readouterr().err


def test_without_rdkit_one_sentence_says_what_to_install(stored, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ValueError, match=r"^molecules need RDKit: python -m pip install 'jaxgnn\[molecules\]'$"):
        load_peptides("peptides_func")


def test_unknown_names_and_missing_files_are_refused(data, monkeypatch):
    with pytest.raises(ValueError, match=r"^name='zinc' is not known: allowed are peptides_func, peptides_struct$"):
        load_peptides("zinc")
    with pytest.raises(DataError, match=r"peptide_multi_class_dataset\.csv\.gz is not downloaded"):
        load_peptides("peptides_func")


GOOD = "[0, 1, 0, 0, 0, 0, 0, 0, 0, 1]"
TABLES = {
    "no column": ([["GA", GOOD, "O"]], ["peptide_seq", "labels", "formula"], "has no column 'smiles'"),
    "no rows": ([], None, "holds no row"),
    "short list": ([["GA", GOOD, "O", ""], ["GA", "[0, 1]", "O", ""]], None, "row 1 cannot be read: labels must be"),
    "other numbers": ([["GA", GOOD.replace("1", "2"), "O", ""]], None, "row 0 cannot be read: labels must be a list"),
    "code": ([["GA", "__import__('os').getcwd()", "O", ""]], None, "row 0 cannot be read: Expecting value"),
    "short row": ([["GA"]], None, "row 0 cannot be read"),
    "no molecule": ([["GA", GOOD, "C(C", ""]] * 6, None, "row 0: 'C(C' is not a molecule that RDKit can read"),
    "empty molecule": ([["GA", GOOD, "", ""]] * 6, None, "row 0: '' is not a molecule that RDKit can read"),
    "no smiles": ([["GA", GOOD]] * 6, None, "row 0 cannot be read: it has no SMILES"),
}


@pytest.mark.parametrize("case", TABLES)
def test_damaged_tables_are_refused_in_one_sentence(stored, case, capfd):
    pytest.importorskip("rdkit")
    rows, header, sentence = TABLES[case]
    write_table(stored, "peptides_func", rows, header)
    with pytest.raises(DataError, match=re.escape("peptide_multi_class_dataset.csv.gz") + ".*" + re.escape(sentence)):
        load_peptides("peptides_func")
    assert capfd.readouterr() == ("", "")


def test_files_that_are_cut_off_or_no_numbers_are_refused(stored):
    pytest.importorskip("rdkit")
    file = stored / FILES["peptides_struct"][0]
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"no gzip", whole[:30] + b"\xff" * 50 + whole[80:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"peptide_structure_dataset\.csv\.gz"):
            load_peptides("peptides_struct")
    row = ["1.5"] * 11
    for bad, sentence in (("nan", "row 0 holds a number that is not finite"), ("x", "row 0 cannot be read")):
        write_table(stored, "peptides_struct", [["GA", bad, *row[1:], "O", ""], ["GA", *row, "O", ""]])
        with pytest.raises(DataError, match=sentence):
            load_peptides("peptides_struct")
    write_table(stored, "peptides_struct", [["GA", *row, "O", ""]] * 6)
    with pytest.raises(DataError, match="a column without variation cannot be standardised"):
        load_peptides("peptides_struct")


class Runs:
    """Unpickled by the ordinary reader, this makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


@pytest.fixture
def read(tmp_path):
    def run(content, protocol=4, count=6):
        path = tmp_path / "split"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
        return read_split(path, "split.pickle", count)

    return run


@pytest.mark.parametrize("kind", ["list", "int64", "int32", ">i8", "uint8"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_splits_of_every_protocol_are_read(read, protocol, kind):
    content = SPLIT if kind == "list" else {k: np.array(v, kind) for k, v in SPLIT.items()}
    for part, expected in zip(read(content, protocol), SPLIT.values(), strict=True):
        assert part.dtype == np.int64
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("protocol", [2, 3])
def test_splits_stored_by_numpy_1_are_read(read, protocol):
    raw = pickle.dumps({k: np.array(v) for k, v in SPLIT.items()}, protocol=protocol)
    old = raw.replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core.multiarray\n" in old
    assert b"_core" not in old
    for part, expected in zip(read(old), SPLIT.values(), strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_split_that_runs_code_is_refused_and_not_run(read, tmp_path, protocol):
    target = tmp_path / "made"
    raw = pickle.dumps({**SPLIT, "more": Runs(target)}, protocol=protocol)
    with pytest.raises(DataError, match=r"split\.pickle .* names (posix|nt)\.mkdir, which is not allowed"):
        read(raw)
    assert not target.exists()
    pickle.loads(raw)
    assert target.exists(), "the same bytes do run in the ordinary reader"


REFUSED = {
    "no dictionary": ([1, 2], "it does not hold a dictionary"),
    "other names": ({"train": [0], "valid": [1], "test": [2]}, "it does not hold a dictionary"),
    "numbers": ({**SPLIT, "val": [0.5]}, "a part must be a list or a flat array of integers"),
    "booleans": ({**SPLIT, "val": [True]}, "a part must be a list or a flat array of integers"),
    "objects": ({**SPLIT, "val": np.array([1, None])}, "an array of dtype 'O8' is refused, only integers are read"),
    "floats": ({**SPLIT, "val": np.ones(2)}, "an array of dtype 'f8' is refused, only integers are read"),
    "matrix": ({**SPLIT, "val": np.ones((2, 1), int)}, "an array of shape (2, 1) is not a flat array"),
    "empty": ({**SPLIT, "val": []}, "the val split is empty"),
    "outside": ({**SPLIT, "val": [6]}, "item 6 is not one of 0 to 5"),
    "negative": ({**SPLIT, "val": np.array([-1])}, "item -1 is not one of 0 to 5"),
    "twice": ({**SPLIT, "val": [1]}, "item 1 stands in it twice"),
    "damaged": (pickle.dumps(SPLIT)[:-4], "is not a readable pickle of a split"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_splits_are_refused_in_one_sentence(read, case):
    content, sentence = REFUSED[case]
    with pytest.raises(DataError, match=re.escape(sentence)):
        read(content)

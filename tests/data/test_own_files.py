"""Data sets of one's own: drawn splits, one file and back, folders, OGB's folder, and what is refused."""

import gzip
import json

import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands.main import main
from jaxgnn.data import DataError


@pytest.fixture
def own():
    G = nx.karate_club_graph()
    return jg.dataset(G, None, [d["club"] for _, d in G.nodes(data=True)], split="stratified", seed=3)


def same(a, b):
    for name in ("x", "labels", "train_mask", "val_mask", "test_mask"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    P, Q = (jg.prepare(ds.graph, normalisation="raw").propagation.dense() for ds in (a, b))
    np.testing.assert_array_equal(P, Q)
    assert (a.num_classes, a.name, a.split) == (b.num_classes, b.name, b.split)


def test_a_drawn_split_shares_the_nodes_out(own):
    masks = np.stack([own.train_mask, own.val_mask, own.test_mask])
    assert (masks.sum(axis=0) == 1).all()
    for c in range(2):
        counts = (masks & (own.labels == c)).sum(axis=1)
        assert np.abs(counts - 17 * np.array([0.6, 0.2, 0.2])).max() <= 1
    again = jg.dataset(own, split="stratified", seed=3)
    np.testing.assert_array_equal(again.train_mask, own.train_mask)
    other = jg.dataset(own, split="random", seed=4, fractions=(0.2, 0.2, 0.2))
    assert [m.sum() for m in (other.train_mask, other.val_mask, other.test_mask)] in ([7, 7, 7], [7, 7, 6], [7, 6, 7])
    chosen = jg.dataset(own, split={"train": [0, 1], "val": [2], "test": np.arange(34) > 30})
    assert (chosen.train_mask.sum(), chosen.val_mask.sum(), chosen.test_mask.sum()) == (2, 1, 3)


REFUSED = {
    "labels": ({"y": [0, 1]}, r"labels must have shape \(34,\), found \(2,\)"),
    "one-hot": ({"y": np.eye(34)}, r"one-hot rows are classes by y.argmax\(axis=1\)"),
    "half": ({"y": np.full(34, 0.5)}, r"the label of node 0 is 0.5: classes are whole numbers"),
    "none": ({"y": np.full(34, -1)}, r"no node has a label"),
    "x rows": ({"x": np.ones((3, 2))}, r"features must have 34 rows"),
    "x nan": ({"x": np.full((34, 1), np.nan)}, r"the feature of node 0 in column 0 is nan"),
    "x text": ({"x": [["a"]] * 34}, r"features must be a matrix of numbers"),
    "split": ({"split": "other"}, r"split='other' is not known: allowed are random, stratified, and three masks"),
    "mask": (
        {"split": {"train": [99], "val": [1], "test": [2]}},
        r"train_mask holds node 99, but the nodes are",
    ),
    "overlap": ({"split": ([0], [0], [1])}, r"node 0 of split its own is in train_mask and val_mask"),
    "fractions": ({"fractions": (0.9, 0.9, 0.1)}, r"fractions=\(0.9, 0.9, 0.1\): allowed are three numbers above 0"),
    "classes": ({"num_classes": 1}, r"num_classes=1: allowed are 2 \(of the labels\) to 34"),
    "seed": ({"seed": -1}, r"seed=-1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_data_set_refuses(case, own):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        jg.dataset(own, **options)


def test_one_file_and_back(own, tmp_path):
    for name in ("own.npz", "no ending"):
        path = tmp_path / "sub" / name
        path.parent.mkdir(exist_ok=True)
        jg.save_dataset(own, path)
        assert path.exists()
    same(jg.load_dataset(tmp_path / "sub" / "own.npz"), own)
    same(jg.load_dataset(tmp_path / "sub" / "no ending"), own)
    assert len(list((tmp_path / "sub").iterdir())) == 2
    with pytest.raises(ValueError, match=r"split='public': .*own.npz has a split of its own"):
        jg.load_dataset(str(tmp_path / "sub" / "own.npz"), "public")


DAMAGE = {
    "edges missing": (lambda a: a.pop("edges"), r"the array 'edges' is missing: edges, x, y are needed"),
    "unknown": (lambda a: a.update(z=np.ones(2)), r"the array 'z' is not known: allowed are edges, "),
    "node": (lambda a: a.update(edges=a["edges"] + 40), r"edge \d+ names node \d+, but the nodes are 0 to 33"),
    "shape": (lambda a: a.update(edges=a["edges"].T), r"edges have shape \(156, 2\): \[2, e\]"),
    "weight": (lambda a: a.update(weight=np.ones(3)), r"weight has shape \(3,\): a finite row for each of 156 edges"),
    "labels": (lambda a: a.update(y=a["y"] + 0.5), r"the label of node 0 is \S+: classes are whole numbers"),
    "objects": (lambda a: a.update(y=np.array([None] * 34)), r"holds Python objects, which are refused"),
    "mask": (lambda a: a.update(train_mask=np.ones(3, bool)), r"train_mask must have shape \(34,\), found \(3,\)"),
    "classes": (lambda a: a.update(num_classes=np.ones(2)), r"num_classes is \[1. 1.\]: one whole number is needed"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files(case, own, tmp_path):
    change, sentence = DAMAGE[case]
    jg.save_dataset(own, tmp_path / "own.npz")
    with np.load(tmp_path / "own.npz") as file:
        arrays = dict(file)
    change(arrays)
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataError, match=sentence):
        jg.load_dataset(tmp_path / "own.npz")


@pytest.mark.parametrize("cut", [0, 10, 0.5, -1])
def test_a_file_cut_short_is_refused(cut, own, tmp_path):
    path = tmp_path / "own.npz"
    jg.save_dataset(own, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content)) if isinstance(cut, float) else cut])
    with pytest.raises(DataError, match=r"own.npz is not a readable .npz archive"):
        jg.load_dataset(path)


NODES = "y,split,f,g\nred,train,1,2\nblue,val,3,4\nblue,test,5,6\n,,7,8\n"


def test_a_folder_of_csv_files(tmp_path, capsys):
    (tmp_path / "edges.csv").write_text("source,target,weight\n0,1,2\n1,0,2\n2,3,1\n3,2,1\n")
    (tmp_path / "nodes.csv").write_text(NODES)
    ds = jg.load_dataset(str(tmp_path))
    np.testing.assert_array_equal(ds.x, [[1, 2], [3, 4], [5, 6], [7, 8]])
    np.testing.assert_array_equal(ds.labels, [1, 0, 0, -1])
    assert [list(m) for m in (ds.train_mask, ds.test_mask)] == [
        [True, False, False, False],
        [False, False, True, False],
    ]
    assert jg.prepare(ds.graph).weighted
    assert set(ds.files) == {"edges.csv", "nodes.csv"}
    out = tmp_path / "run"
    command = ["train", "--dataset", str(tmp_path), "--depth", "1", "--width", "2", "--steps", "2", "--seeds", "1"]
    assert main([*command, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["results"] == str(out / "results.json")
    (tmp_path / "nodes.csv").write_text("id,y,f\n0,0,1\n1,1.0,2\n2,1,3\n3,nan,4\n")
    np.testing.assert_array_equal(jg.load_dataset(str(tmp_path)).labels, [0, 1, 1, -1])
    for content, sentence in (
        (NODES.replace("y,", "z,"), r"a column y with the nodes' classes is needed; there are z, split, f, g"),
        (NODES.replace("3,4", "3,x"), r"node 1 has 'x' in column 'g', where a number is needed"),
        (NODES.replace("val", "other"), r"node 1 has split 'other': allowed are train, val, test and nothing"),
        ("id,y,f\n1,0,1\n0,1,2\n", r"row 0 of the nodes has id '1': edges name rows, so that 0 to 1 in this"),
        ("id,y,f\na,0,1\nb,1,2\n", r"row 0 of the nodes has id 'a'"),
        (NODES.replace("f,g", "f,f"), r"the column 'f' is there twice"),
        ("y,f\n0.5,1\n1,2\n0,3\n1,4\n", r"the label of node 0 is 0.5: classes are whole numbers"),
        (NODES + "red\n", r"line 6 has 1 cells, and the first line names 4"),
        ("", r"the file is empty"),
    ):
        (tmp_path / "nodes.csv").write_text(content)
        with pytest.raises(DataError, match=sentence):
            jg.load_dataset(str(tmp_path))
    (tmp_path / "nodes.csv").unlink()
    with pytest.raises(DataError, match=r"edges.csv and nodes.csv, or edges.parquet and nodes.parquet"):
        jg.load_dataset(str(tmp_path))
    assert main(["train", "--dataset", str(tmp_path / "none.npz")]) == 2
    assert "none.npz: there is no such file or folder." in capsys.readouterr().err


def test_a_folder_of_parquet_files(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"source": [0, 1], "target": [1, 0]}), tmp_path / "edges.parquet")
    nodes = {"y": [0, 1], "split": ["train", "test"], "f": [0.5, 1.5]}
    parquet.write_table(pyarrow.table(nodes), tmp_path / "nodes.parquet")
    ds = jg.load_dataset(tmp_path)
    np.testing.assert_array_equal(ds.x, [[0.5], [1.5]])
    np.testing.assert_array_equal(ds.labels, [0, 1])


def test_the_folder_that_ogb_leaves(tmp_path):
    folder = tmp_path / "ogbn_arxiv"
    files = {
        "raw/edge": "0,1\n2,1\n3,0\n",
        "raw/node-feat": "0.5,1\n-1,2\n0,0\n1e-3,4\n",
        "raw/node-label": "3\n0\n1\n2\n",
        "raw/num-node-list": "4\n",
        "split/time/train": "0\n2\n",
        "split/time/valid": "1\n",
        "split/time/test": "3\n",
    }
    for name, text in files.items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()))
    ds = jg.load_dataset(folder)
    np.testing.assert_array_equal(ds.x, np.float32([[0.5, 1], [-1, 2], [0, 0], [1e-3, 4]]))
    np.testing.assert_array_equal(ds.labels, [3, 0, 1, 2])
    assert list(zip(ds.graph.senders, ds.graph.receivers, strict=True)) == [(0, 1), (2, 1), (3, 0)]
    np.testing.assert_array_equal(np.flatnonzero(ds.train_mask), [0, 2])
    assert (ds.name, ds.split) == ("ogbn_arxiv", "time")
    edge = folder / "raw/edge.csv.gz"
    for content, sentence in (
        (b"0,9\n", r"edge 0 is \(0, 9\), but the nodes are 0 to 3"),
        (b"0,1\n0,x\n", "holds 'x'"),
    ):
        edge.write_bytes(gzip.compress(content))
        with pytest.raises(DataError, match=sentence):
            jg.load_dataset(folder)
    edge.write_bytes(gzip.compress(b"0,1\n" * 99)[:20])
    with pytest.raises(DataError, match=r"edge.csv.gz: the file cannot be read"):
        jg.load_dataset(folder)

import os
import pickle

import numpy as np
import pytest

from jaxgnn.data import DataError, load_dataset


@pytest.mark.parametrize(
    ("name", "nodes", "features", "edges", "classes", "num_train"),
    [("cora", 2708, 1433, 10556, 7, 140), ("citeseer", 3327, 3703, 9104, 6, 120)],
)
def test_published_numbers(real_data, name, nodes, features, edges, classes, num_train):
    # The table of Kipf & Welling 2017, with both directions of an edge counted and loops and duplicates left out.
    ds = load_dataset(name)
    assert ds.x.shape == (nodes, features)
    assert ds.graph.n_node.tolist() == [nodes]
    assert ds.graph.n_edge.tolist() == [len(ds.graph.senders)] == [edges]
    assert ds.num_classes == classes
    assert set(ds.labels) == set(range(classes))
    assert (ds.train_mask.sum(), ds.val_mask.sum(), ds.test_mask.sum()) == (num_train, 500, 1000)
    assert np.bincount(ds.labels[ds.train_mask]).tolist() == [20] * classes
    assert ds.split == "public"
    assert len(ds.files) == 8


@pytest.mark.parametrize(("name", "covered"), [("cora", {2485}), ("citeseer", {2110, 3312})])
def test_stored_splits(real_data, name, covered):
    # They cover the largest component or all nodes, without those of the 15 nodes of CiteSeer that have no label.
    for k in range(10):
        ds = load_dataset(name, f"geom:{k}")
        masks = np.stack([ds.train_mask, ds.val_mask, ds.test_mask])
        assert masks.sum(axis=0).max() == 1
        assert masks.sum() in covered
        np.testing.assert_allclose(masks.sum(axis=1) / masks.sum(), [0.48, 0.32, 0.2], atol=0.01)
        assert len(ds.files) == 9


@pytest.mark.parametrize("split", ["public", "geom:0"])
def test_nodes_that_citeseer_leaves_out(real_data, split):
    ds = load_dataset("citeseer", split)
    left_out = np.flatnonzero(~ds.x.any(axis=1))
    assert len(left_out) == 15
    assert not ds.labels[left_out].any()
    assert not (ds.train_mask | ds.val_mask | ds.test_mask)[left_out].any()
    # They are cited all the same: the published number of edges counts theirs. 48 other nodes have no edge.
    degrees = np.bincount(ds.graph.receivers, minlength=3327)
    assert degrees[left_out].min() == 1
    assert (degrees == 0).sum() == 48


def test_small_files_of_the_format(write_planetoid):
    content = write_planetoid()
    with pytest.warns(UserWarning, match=r"no SHA-256 is known for planetoid/ind\.pubmed\.x, "):
        ds = load_dataset("pubmed")
    assert ds.x.dtype == np.float32
    np.testing.assert_array_equal(ds.x[:520], content["allx"].toarray().astype(np.float32))
    # Row i of tx belongs to the node in line i of test.index.
    np.testing.assert_array_equal(ds.x[[525, 520, 523, 521, 524]], content["tx"].toarray().astype(np.float32))
    assert ds.labels[[525, 520, 523, 521, 524]].tolist() == [0, 1, 2, 0, 1]
    assert not ds.x[522].any()
    assert ds.labels[522] == 0
    assert np.flatnonzero(ds.train_mask).tolist() == list(range(6))
    assert np.flatnonzero(ds.val_mask).tolist() == list(range(6, 506))
    assert np.flatnonzero(ds.test_mask).tolist() == [520, 521, 523, 524, 525]
    edges = set(zip(ds.graph.senders.tolist(), ds.graph.receivers.tolist(), strict=True))
    # A ring of 520 nodes, whose stored loops go, and five nodes tied to node 0, whose doubled edges merge.
    assert len(edges) == len(ds.graph.senders) == 2 * 520 + 2 * 5
    assert edges == {(v, u) for u, v in edges}
    assert all(u != v for u, v in edges)
    assert {(519, 0), (0, 525)} <= edges
    assert all(len(digest) == 64 for digest in ds.files.values())


def test_a_stored_split(write_planetoid, data):
    write_planetoid()
    nodes = np.arange(526)
    masks = {"train_mask": nodes < 200, "val_mask": (nodes >= 200) & (nodes < 300), "test_mask": nodes >= 300}
    path = data / "splits" / "pubmed_split_0.6_0.2_3.npz"
    np.savez(path, **{name: mask.astype(np.uint8) for name, mask in masks.items()})
    with pytest.warns(UserWarning, match="pubmed_split"):
        ds = load_dataset("PubMed", "geom:3")
    assert ds.split == "geom:3"
    assert np.flatnonzero(ds.train_mask).tolist() == list(range(200))
    assert not ds.test_mask[522]
    assert ds.test_mask.sum() == 225

    np.savez(path, **(masks | {"val_mask": nodes < 300}))
    with pytest.raises(DataError, match="node 0 of split geom:3 is in train_mask and val_mask"):
        load_dataset("pubmed", "geom:3")
    np.savez(path, **(masks | {"val_mask": nodes[:9] < 3}))
    with pytest.raises(DataError, match=r"val_mask must have shape \(526,\), found \(9,\)"):
        load_dataset("pubmed", "geom:3")
    np.savez(path, **(masks | {"val_mask": nodes}))
    with pytest.raises(DataError, match="val_mask must hold booleans or 0 and 1"):
        load_dataset("pubmed", "geom:3")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"test.index": b"525\n520\n523\n521\n"}, "5 different nodes are expected"),
        ({"test.index": b"525\n520\n523\n521\n521\n"}, "5 different nodes are expected"),
        ({"test.index": b"525\n520\n523\n521\nx\n"}, "every line must be the number of a node"),
        ({"test.index": b"525\n520\n523\n521\n5\n"}, "nodes must be 520 to 530, found 5 to 525"),
        ({"test.index": b"525\n520\n523\n521\n9999\n"}, "nodes must be 520 to 530"),
        ({"test.index": b"525\n520\n523\n521\n" + b"9" * 30}, "every line must be the number of a node"),
        ({"y": np.zeros((5, 3), np.int32)}, r"ind\.pubmed\.y: labels must be a matrix with 6 rows"),
        ({"ally": np.ones((520, 3), np.int32)}, "at most one 1"),
        ({"ty": np.eye(5, dtype=np.int32)}, "must be as many as in"),
        ({"graph": {0: [1], 1: [526]}}, r"edge 1 is \(1, 526\), but the nodes are 0 to 525"),
        ({"graph": {0: [10**40]}}, "an edge names a node beyond 0 to 525"),
        ({"graph": [1, 2]}, "does not hold a dictionary"),
    ],
)
def test_defects_are_named(write_planetoid, changes, reason):
    write_planetoid(**changes)
    with pytest.raises(DataError, match=reason):
        load_dataset("pubmed")


def test_features_that_are_not_finite(write_planetoid):
    tx = write_planetoid()["tx"]
    tx[2, 4] = np.nan
    write_planetoid(tx=tx)
    with pytest.raises(DataError, match=r"ind\.pubmed\.tx: the feature of node 2 in column 4 is nan"):
        load_dataset("pubmed")


class Runs:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_file_that_runs_code_is_refused_and_not_run(write_planetoid, tmp_path):
    write_planetoid(graph=pickle.dumps(Runs(tmp_path / "made"), protocol=2))
    with pytest.raises(DataError, match=r"ind\.pubmed\.graph .*mkdir, which is not allowed"):
        load_dataset("pubmed")
    assert not (tmp_path / "made").exists()


def test_files_of_another_origin_under_a_known_name_are_refused(write_planetoid):
    write_planetoid("cora")
    with pytest.raises(DataError, match=r"is expected for planetoid/ind\.cora\.x"):
        load_dataset("cora")

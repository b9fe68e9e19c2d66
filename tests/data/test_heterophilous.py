import numpy as np
import pytest

from jaxgnn.data import DataError, load_dataset


@pytest.mark.parametrize(
    ("name", "nodes", "features", "edges", "classes", "sizes"),
    [
        ("chameleon", 2277, 2325, 62742, 5, (1092, 729, 456)),
        ("squirrel", 5201, 2089, 396706, 5, (2496, 1664, 1041)),
        ("chameleon_filtered", 890, 2325, 17708, 5, (409, 287, 194)),
        ("actor", 7600, 932, 53318, 5, (3648, 2432, 1520)),
        ("minesweeper", 10000, 7, 78804, 2, (5000, 2500, 2500)),
        ("texas", 183, 1703, 558, 5, (87, 59, 37)),
        ("cornell", 183, 1703, 554, 5, (87, 59, 37)),
        ("wisconsin", 251, 1703, 900, 5, (120, 80, 51)),
    ],
)
def test_published_numbers(real_data, name, nodes, features, edges, classes, sizes):
    ds = load_dataset(name)
    assert ds.x.shape == (nodes, features)
    assert len(ds.graph.senders) == edges
    assert ds.num_classes == classes
    assert (ds.train_mask.sum(), ds.val_mask.sum(), ds.test_mask.sum()) == sizes
    assert ds.split == "geom:0"


@pytest.fixture
def load(data, heterophilous_arrays):
    def read(split=None, **changes):
        np.savez(data / "heterophilous" / "questions.npz", **(heterophilous_arrays | changes))
        return load_dataset("questions", split)

    return read


@pytest.mark.filterwarnings("ignore:no SHA-256 is known")
def test_small_file_of_the_format(load, heterophilous_arrays):
    ds = load("geom:7")
    assert (ds.name, ds.split, ds.num_classes) == ("questions", "geom:7", 3)
    assert ds.x.dtype == np.float32
    assert ds.labels.dtype == np.int32
    edges = list(zip(ds.graph.senders.tolist(), ds.graph.receivers.tolist(), strict=True))
    # Both directions once, the loop at node 3 kept, sorted by receiver.
    assert edges == [(1, 0), (0, 1), (2, 1), (1, 2), (3, 3), (5, 4), (4, 5)]
    for name in ("train_mask", "val_mask", "test_mask"):
        np.testing.assert_array_equal(getattr(ds, name), heterophilous_arrays[f"{name}s"][7])


def test_an_unknown_hash_is_a_notice(load):
    with pytest.warns(UserWarning, match=r"no SHA-256 is known for heterophilous/questions\.npz") as notices:
        load()
    assert len(notices) == 1
    assert notices[0].filename == __file__


def changed(array, index, value, dtype=None):
    array = np.array(array, dtype=dtype)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("key", "change", "reason"),
    [
        ("node_features", lambda a: a.reshape(-1), "features must be a matrix of numbers"),
        ("node_features", lambda a: a.astype("S3"), "features must be a matrix of numbers"),
        ("node_features", lambda a: a[:, :0], "features must be a matrix of numbers"),
        ("node_features", lambda a: changed(a, (4, 1), np.nan), "feature of node 4 in column 1 is nan"),
        ("node_features", lambda a: changed(a, (0, 1), -np.inf), "feature of node 0 in column 1 is -inf"),
        ("node_features", lambda a: changed(a, (3, 0), 1e300, "f8"), "node 3 in column 0 is 1e"),
        ("node_labels", lambda a: a[:5], r"labels must have shape \(6,\), found \(5,\)"),
        ("node_labels", lambda a: a.astype(float), "labels must be integers, found float64"),
        ("node_labels", lambda a: changed(a, 2, -1), "label of node 2 is -1"),
        ("node_labels", lambda a: changed(a, 5, 10**9), "label of node 5 is 1000000000, not one of 0 to 5"),
        ("edges", lambda a: a.T, r"edges must have shape \(number of edges, 2\), found \(2, 6\)"),
        ("edges", lambda a: a.astype(float), "edges must be integers"),
        ("edges", lambda a: changed(a, (4, 1), 6), r"edge 4 is \(4, 6\), but the nodes are 0 to 5"),
        ("edges", lambda a: changed(a, (1, 0), -1), r"edge 1 is \(-1, 2\), but the nodes are 0 to 5"),
        ("val_masks", lambda a: a[:9], r"val_masks must have shape \(10, 6\), found \(9, 6\)"),
        ("val_masks", lambda a: a * 0.5, "val_masks must hold booleans"),
        ("val_masks", lambda a: a & False, "val_mask of split geom:0 holds no node"),
        ("val_masks", lambda a: changed(a, (8, slice(None)), True), "of split geom:8 is in .* and val_mask"),
    ],
)
def test_defects_are_named(load, heterophilous_arrays, key, change, reason):
    with pytest.raises(DataError, match=reason) as error:
        load(**{key: change(heterophilous_arrays[key])})
    assert str(error.value).startswith("heterophilous/questions.npz")


def test_a_missing_array(data, heterophilous_arrays):
    del heterophilous_arrays["edges"]
    np.savez(data / "heterophilous" / "questions.npz", **heterophilous_arrays)
    with pytest.raises(DataError, match=r"heterophilous/questions\.npz holds no array 'edges'"):
        load_dataset("questions")


def test_a_file_that_is_no_archive(data):
    (data / "heterophilous" / "questions.npz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"heterophilous/questions\.npz is not a readable"):
        load_dataset("questions")

import numpy as np
import pytest

from jaxgnn.data import DATASETS, DataError, describe, fetch, load_dataset


def test_default_splits():
    assert {source.splits[0] for source in DATASETS.values() if source.kind == "planetoid"} == {"public"}
    assert {source.splits[0] for source in DATASETS.values() if source.kind == "heterophilous"} == {"geom:0"}
    assert load_dataset("csbm").split == load_dataset("karate", "default").split == "default"


@pytest.mark.parametrize("name", ["Karate", "KARATE"])
def test_upper_case_is_allowed(name):
    assert load_dataset(name).name == "karate"


def test_dashes_are_underscores():
    with pytest.raises(DataError, match=r"heterophilous/roman_empire\.npz"):
        load_dataset("Roman-Empire")


def test_an_unknown_data_set():
    with pytest.raises(ValueError, match=r"unknown data set 'coar' \(did you mean 'cora'\?\); allowed: csbm, karate"):
        load_dataset("coar")
    with pytest.raises(ValueError, match="unknown data set 'zzz'; allowed"):
        load_dataset("zzz")
    with pytest.raises(ValueError, match="unknown data set None"):
        load_dataset(None)


@pytest.mark.parametrize(
    ("name", "split"), [("chameleon", "public"), ("cora", "geom:10"), ("csbm", "public"), ("cora", "Public")]
)
def test_an_unknown_split(name, split):
    with pytest.raises(ValueError, match=f"unknown split of {name} '{split}'.*; allowed: {DATASETS[name].splits[0]}"):
        load_dataset(name, split)


def test_options_go_to_generators():
    assert load_dataset("csbm", num_nodes=300, seed=5).x.shape[0] == 300
    with pytest.raises(ValueError, match=r"unknown option of csbm 'num_node' \(did you mean 'num_nodes'\?\)"):
        load_dataset("csbm", num_node=300)
    with pytest.raises(ValueError, match="unknown option of karate 'seed'; allowed: none"):
        load_dataset("karate", seed=1)
    with pytest.raises(ValueError, match="cora is read from files and takes no options, but was given seed"):
        load_dataset("cora", seed=1)


def test_the_list_says_where_files_are(data, cache, heterophilous_arrays):
    for folder, name in ((data, "texas"), (cache, "cornell"), (data, "questions"), (cache, "tolokers")):
        path = folder / "heterophilous" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **heterophilous_arrays)
    status = {info.name: info.status for info in describe()}
    assert list(status) == list(DATASETS)
    assert status["csbm"] == status["karate"] == "embedded"
    # Wrong content does not show here: nothing is hashed.
    assert status["texas"] == status["questions"] == "in JAXGNN_DATA"
    assert status["cornell"] == "cached"
    assert status["cora"] == status["squirrel"] == "downloadable"
    # A cached file of unknown hash does not count.
    assert status["pubmed"] == status["tolokers"] == "bring the file"


def test_fetch_of_a_generator_and_of_an_unknown_name():
    assert fetch("csbm") == []
    with pytest.raises(ValueError, match="unknown data set"):
        fetch("csbn")


def test_fetch_verifies(data, heterophilous_arrays):
    np.savez(data / "heterophilous" / "texas.npz", **heterophilous_arrays)
    with pytest.raises(DataError, match="is expected for heterophilous/texas"):
        fetch("texas")
    np.savez(data / "heterophilous" / "questions.npz", **heterophilous_arrays)
    with pytest.warns(UserWarning, match="no SHA-256 is known"):
        assert fetch("questions") == [data / "heterophilous" / "questions.npz"]


def test_fetch_of_all_splits(real_data):
    paths = fetch("citeseer")
    assert len(paths) == len(set(paths)) == 18
    assert all(path.is_file() for path in paths)

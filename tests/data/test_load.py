import hashlib

import numpy as np
import pytest

from jaxgnn.commands.main import main
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
    for folder, name in ((data, "texas"), (cache, "cornell"), (data, "questions"), (cache, "roman_empire")):
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
    assert status["pubmed"] == status["roman_empire"] == "jaxgnn data fetch"


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


def test_a_file_whose_hash_is_not_known_is_fetched_by_name_and_then_the_same_ever_after(
    data, cache, tmp_path, serve, heterophilous_arrays, monkeypatch, capsys
):
    served = tmp_path / "served" / "heterophilous" / "questions.npz"
    served.parent.mkdir(parents=True)
    np.savez(served, **heterophilous_arrays)
    serve(tmp_path / "served")
    kept = cache / "heterophilous" / "questions.npz"
    with pytest.raises(DataError, match="its SHA-256 is not known: `jaxgnn data fetch` downloads it"):
        load_dataset("questions")
    assert main(["data", "fetch", "questions"]) == 0
    said = capsys.readouterr()
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert said.out.split() == [str(kept)]
    assert f"heterophilous/questions.npz has SHA-256 {digest}, which was not known: recorded" in said.err
    load_dataset("questions")  # without a notice: the hash is known now
    assert {info.name: info.status for info in describe()}["questions"] == "cached"
    changed = dict(heterophilous_arrays, node_labels=heterophilous_arrays["node_labels"][::-1])
    np.savez(kept, **changed)
    with pytest.raises(DataError, match=f"but {digest} is expected for heterophilous/questions.npz"):
        load_dataset("questions")
    kept.unlink()
    np.savez(served, **changed)
    assert main(["data", "fetch", "questions"]) == 2
    assert f"but {digest} is expected" in capsys.readouterr().err
    assert not kept.exists()


def test_a_fetched_file_of_another_structure_is_not_kept(data, cache, tmp_path, serve, heterophilous_arrays):
    served = tmp_path / "served" / "heterophilous" / "questions.npz"
    served.parent.mkdir(parents=True)
    np.savez(served, **{k: v for k, v in heterophilous_arrays.items() if k != "edges"})
    serve(tmp_path / "served")
    for _ in range(2):
        with pytest.raises(DataError, match=r"questions\.npz holds no array 'edges'"):
            fetch("questions")
        assert not list(cache.rglob("*.npz"))
        assert "questions" not in (cache / "fetched.txt").read_text()

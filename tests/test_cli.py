"""The command line: exit codes, one-line sentences, nothing lost or half written."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn import memory
from jaxgnn import study as study_module
from jaxgnn.cli import main

QUICK = ["--depths", "1", "--remedies", "none", "--seeds", "1", "--steps", "2", "--width", "3"]


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Runs a command that must be refused: exit code 2, one line on standard error (returned), nothing written."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        assert main(list(arguments)) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert [p for p in sorted(tmp_path.rglob("*")) if p not in before and p.is_file()] == []
        return err

    return run


@pytest.fixture
def user_file(tmp_path, monkeypatch):
    """Writes questions.npz, a file without a known checksum, into a folder that JAXGNN_DATA names."""

    def write(**changes):
        n = 12
        masks = np.tile(np.arange(n) % 3, (10, 1))
        arrays = {
            "node_features": np.ones((n, 4), np.float32),
            "node_labels": np.arange(n) % 2,
            "edges": np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1),
            "train_masks": masks == 0,
            "val_masks": masks == 1,
            "test_masks": masks == 2,
        }
        folder = tmp_path / "data" / "heterophilous"
        folder.mkdir(parents=True)
        np.savez(folder / "questions.npz", **(arrays | changes))
        monkeypatch.setenv("JAXGNN_DATA", str(tmp_path / "data"))

    return write


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "--layer", "gnc"], ["layer='gnc'", "allowed are gcn, mlp"]),
        (["study", "--dataset", "coro"], ["'coro'", "did you mean 'cora'"]),
        (["study", "--dataset", "csbm", "--split", "geom:3"], ["geom:3", "default"]),
        (["study", "--remedies", "none,batchnorm"], ["'batchnorm'", "residual"]),
        (["study", "--activation", "swish"], ["activation='swish'", "relu"]),
        (["study", "--init-weights", "zeros"], ["init_weights='zeros'", "glorot"]),
        (["study", "--normalisation", "col"], ["col", "sym"]),
        (["study", "--depths", "2,0"], ["depth=0", "1 and more"]),
        (["study", "--depths", "2,x"], ["--depths", "'x'"]),
        (["study", "--seeds", "0"], ["seeds=0", "1 and more"]),
        (["study", "--width", "0"], ["width=0", "1 and more"]),
        (["study", "--steps", "-3"], ["steps=-3", "1 and more"]),
        (["study", "--bound-c", "0"], ["bound_c=0", "above 0"]),
        (["study", "--learning-rate", "nan"], ["learning_rate=nan", "above 0"]),
        (["study", "--depht", "3"], ["--depht"]),
        (["studdy"], ["studdy"]),
        ([], ["study", "data"]),
        (["data", "fetch", "coro"], ["'coro'", "did you mean 'cora'"]),
        (["data", "fetch"], ["needs a name", "cora"]),
    ],
)
def test_an_unknown_option_or_value_is_named_with_what_is_allowed(refused, arguments, said):
    sentence = refused(*arguments)
    for part in said:
        assert part in sentence


def test_nan_features(refused, user_file):
    features = np.ones((12, 4), np.float32)
    features[7, 2] = np.nan
    user_file(node_features=features)
    sentence = refused("study", "--dataset", "questions", *QUICK)
    assert "nan" in sentence.lower()
    assert "node 7" in sentence
    assert "2" in sentence


def test_an_edge_to_a_node_that_is_not_there(refused, user_file):
    user_file(edges=np.asarray([[0, 1], [3, 12]]))
    sentence = refused("study", "--dataset", "questions", *QUICK)
    assert "12" in sentence
    assert "0 to 11" in sentence


def test_a_tampered_file(refused, user_file, tmp_path):
    user_file()
    file = tmp_path / "data" / "heterophilous" / "questions.npz"
    file.rename(file.with_name("chameleon.npz"))  # a name whose checksum is known
    sentence = refused("study", "--dataset", "chameleon", *QUICK)
    assert "chameleon.npz" in sentence
    assert "4c640bd2877f" in sentence


def test_a_truncated_file(refused, user_file, tmp_path):
    user_file()
    file = tmp_path / "data" / "heterophilous" / "questions.npz"
    file.write_bytes(file.read_bytes()[:300])
    assert "questions.npz" in refused("study", "--dataset", "questions", *QUICK)


def test_data_that_are_nowhere(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGNN_DATA", str(tmp_path / "nowhere"))
    assert "nowhere" in refused("study", "--dataset", "cora", *QUICK)


def test_an_unwritable_folder(refused, tmp_path):
    (tmp_path / "file").write_text("kept")
    sentence = refused("study", "--dataset", "karate", *QUICK, "--out", str(tmp_path / "file" / "inside"))
    assert "cannot write to" in sentence
    assert str(tmp_path / "file" / "inside") in sentence
    assert (tmp_path / "file").read_text() == "kept"


def test_too_little_memory_for_the_dense_jacobian(refused, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**20)
    monkeypatch.setattr(study_module, "sweep", None)  # refused before anything is trained
    sentence = refused("study", "--dataset", "karate", "--width", "100", "--out", "here")
    assert "n*d = 3400" in sentence
    assert "0.3 GiB" in sentence
    assert "--exact-below 3399" in sentence


def test_a_study_ends_with_a_page_and_a_line_of_json(tmp_path, capsys):
    assert main(["study", "--dataset", "karate", *QUICK, "--out", str(tmp_path / "out"), "--json"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    named = json.loads(last)
    assert os.path.getsize(named["page"]) > 0
    with open(named["results"]) as file:
        (cell,) = json.load(file)["cells"]
    assert cell["depth"] == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["cells", "figures", "index.html", "results.json"]


def test_ctrl_c_keeps_what_is_done(tmp_path, capsys, monkeypatch):
    arguments = ["study", "--dataset", "karate", *QUICK, "--out", str(tmp_path)]
    arguments[arguments.index("none")] = "none,mlp"
    sweep, calls = study_module.sweep, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sweep(*args, **kwargs)

    monkeypatch.setattr(study_module, "sweep", interrupted)
    assert main(arguments) == 130
    assert "1 of 2 cells are kept" in capsys.readouterr().err
    assert main(arguments) == 0
    assert len(calls) == 3


def test_data_list_shows_every_data_set(capsys):
    assert main(["data", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"karate", "csbm", "cora", "citeseer", "pubmed", "chameleon", "squirrel", "roman_empire"} <= {
        entry["name"] for entry in listed
    }
    assert main(["data", "list"]) == 0
    assert "chameleon_filtered" in capsys.readouterr().out


def test_every_command_has_help(capsys):
    for command in ([], ["study"], ["data"], ["data", "list"], ["data", "fetch"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
        assert "usage: jaxgnn" in capsys.readouterr().out


def test_as_a_process(tmp_path):
    command = [sys.executable, "-m", "jaxgnn"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == jg.__version__
    bad = subprocess.run([*command, "study", "--layer", "x"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert bad.returncode == 2
    assert bad.stderr == "jaxgnn: layer='x' is not known: allowed are gcn, mlp; see jaxgnn --help\n"
    assert list(tmp_path.iterdir()) == []

import errno
import json
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgnn.host.storage import environment, writable_folder, write_arrays, write_atomically, write_json, write_text


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "result.txt"
    write_text(path, "old")

    def fail(file):
        file.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_replaces_the_old_one_whole_and_is_readable_by_others(tmp_path):
    path = tmp_path / "result.txt"
    write_text(path, "a long old text")
    write_text(path, "café")
    assert path.read_text(encoding="utf-8") == "café"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        write_text(tmp_path / "nowhere" / "file", "")


def test_json_has_null_where_a_number_is_not_finite(tmp_path):
    value = {"a": [1.5, float("nan"), np.float32("inf")], "b": np.array([[1.0, -np.inf]]), 3: (jnp.float32(np.nan),)}
    write_json(tmp_path / "v.json", value)
    assert json.loads((tmp_path / "v.json").read_text(), parse_constant=pytest.fail) == {
        "a": [1.5, None, None],
        "b": [[1.0, None]],
        "3": [None],
    }


def test_json_keeps_integers_booleans_and_text(tmp_path):
    write_json(tmp_path / "v.json", {"n": np.int64(3), "yes": np.bool_(True), "none": None, "t": "relu"})
    read = json.loads((tmp_path / "v.json").read_text())
    assert read == {"n": 3, "yes": True, "none": None, "t": "relu"}
    assert type(read["n"]) is int
    assert type(read["yes"]) is bool


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"a": np.arange(3), "b": jnp.ones((2, 2)), "c": np.float64(0.1)}
    write_arrays(tmp_path / "v.npz", arrays)
    with np.load(tmp_path / "v.npz", allow_pickle=False) as read:
        assert set(read) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    folder = writable_folder(tmp_path / "a" / "b")
    assert list(folder.iterdir()) == []
    assert writable_folder(folder) == folder


def test_a_folder_below_a_file_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=rf"^cannot write to {tmp_path}/file/runs: .*; choose another folder$"):
        writable_folder(tmp_path / "file" / "runs")


def test_the_environment_names_versions_device_and_commit():
    found = environment()
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert found["device"]["platform"] == jax.devices()[0].platform
    assert found["device"]["count"] == jax.device_count()
    json.dumps(found, allow_nan=False)


def test_the_commit_is_none_without_git(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert environment()["commit"] is None


def test_a_full_disk_is_said_with_the_file_and_leaves_nothing(tmp_path):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")  # as a file's write does, without a name

    with pytest.raises(OSError, match="No space left") as error:
        write_atomically(tmp_path / "results.json", full)
    assert error.value.filename == str(tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []

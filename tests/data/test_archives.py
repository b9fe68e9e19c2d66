import zipfile
from io import BytesIO

import numpy as np
import pytest

from jaxgnn.data import DataError, archives
from jaxgnn.data.archives import read_npz


def refused(path, keys=("a",)):
    with pytest.raises(DataError) as error:
        read_npz(path, "small.npz", keys)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("small.npz")
    return str(error.value)


def with_header(path, shape, payload=b"\0" * 16):
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", stream.getvalue() + payload)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_round_trip(tmp_path, save):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.eye(3)), "c": np.array(5)}
    save(tmp_path / "f.npz", **arrays)
    read = read_npz(tmp_path / "f.npz", "small.npz", ("a", "b", "c"))
    for key, array in arrays.items():
        assert read[key].dtype == array.dtype
        np.testing.assert_array_equal(read[key], array)


def test_a_missing_array_is_named_with_those_there_are(tmp_path):
    np.savez(tmp_path / "f.npz", b=np.ones(2))
    message = refused(tmp_path / "f.npz")
    assert "holds no array 'a'" in message
    assert "it holds b" in message


def test_arrays_of_objects_are_refused(tmp_path):
    np.savez(tmp_path / "f.npz", a=np.array([print], dtype=object))
    assert "holds Python objects" in refused(tmp_path / "f.npz")


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "f.npz").write_bytes(b"<html>not found</html>")
    assert "is not a readable .npz archive" in refused(tmp_path / "f.npz")


def test_truncated_archives(tmp_path):
    np.savez(tmp_path / "whole.npz", a=np.arange(50))
    raw = (tmp_path / "whole.npz").read_bytes()
    for length in range(0, len(raw), 7):
        (tmp_path / "f.npz").write_bytes(raw[:length])
        refused(tmp_path / "f.npz")


def test_a_flipped_byte_is_found(tmp_path):
    np.savez_compressed(tmp_path / "f.npz", a=np.random.default_rng(0).random(100))
    raw = bytearray((tmp_path / "f.npz").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "f.npz").write_bytes(raw)
    assert "is not a readable .npz archive" in refused(tmp_path / "f.npz")


def test_a_member_that_declares_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "f.npz", a=np.zeros(10000))
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    assert "declares 80128 bytes, and more than 1000 are refused" in refused(tmp_path / "f.npz")


@pytest.mark.parametrize("shape", [(10**15,), (3,), (-2, -1), (2, 2)])
def test_a_shape_that_the_stored_bytes_do_not_fill(tmp_path, shape):
    assert "but stores 16 bytes" in refused(with_header(tmp_path / "f.npz", shape))


def test_a_member_that_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("a.npy", b"text")
    assert "is not a readable .npz archive" in refused(tmp_path / "f.npz")

import hashlib
import re
import socket
from urllib.parse import urlsplit

import pytest

from jaxgnn.data import DataError, fetch, load_dataset
from jaxgnn.data.files import DataFile, cache_folder, data_file, data_folder, find, locate, registry

CONTENT = b"some numbers\n" * 100
FILE = DataFile("planetoid/small", hashlib.sha256(CONTENT).hexdigest(), "http://127.0.0.1:9/upstream")


def put(folder, content=CONTENT, file=FILE):
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def sentence(file=FILE):
    """The message with which a file is refused, which must be one line."""
    with pytest.raises(DataError) as error:
        locate(file)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def files_below(folder):
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_registry_holds_a_hash_and_an_address_for_every_file():
    assert len(registry()) == 45
    for path, file in registry().items():
        assert path == file.path
        assert path.split("/")[0] in ("planetoid", "heterophilous", "splits")
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert urlsplit(file.url).hostname == "raw.githubusercontent.com"
        assert file.url.endswith(path.split("/")[1])


def test_unknown_files_have_no_hash_and_lie_beside_those_that_are_known(cache):
    upstream = data_file("planetoid/ind.cora.x").url.rsplit("/", 1)[0]
    assert data_file("planetoid/ind.pubmed.x") == DataFile("planetoid/ind.pubmed.x", None, f"{upstream}/ind.pubmed.x")
    assert data_file("elsewhere/file") == DataFile("elsewhere/file", None, None)


def test_data_folder_comes_before_cache(data, cache):
    cached = put(cache)
    assert locate(FILE) == cached
    brought = put(data)
    assert locate(FILE) == brought


def test_cache_defaults_to_the_systems_cache_folder(monkeypatch):
    monkeypatch.delenv("JAXGNN_CACHE")
    assert "jaxgnn" in str(cache_folder())


def test_a_wrong_hash_in_the_data_folder_does_not_fall_through(data, cache, tmp_path, serve):
    wrong = put(data, b"other")
    put(cache)
    put(tmp_path / "served")
    serve(tmp_path / "served")
    message = sentence()
    assert str(wrong) in message
    assert FILE.sha256 in message
    assert hashlib.sha256(b"other").hexdigest() in message


def test_a_wrong_hash_in_the_cache_is_not_downloaded_again(cache, tmp_path, serve):
    wrong = put(cache, b"other")
    put(tmp_path / "served")
    serve(tmp_path / "served")
    assert "delete it" in sentence()
    assert wrong.read_bytes() == b"other"


def test_download_ends_in_the_cache(cache, tmp_path, serve):
    put(tmp_path / "served")
    serve(tmp_path / "served")
    assert find(FILE) is None
    assert locate(FILE) == cache / FILE.path
    assert files_below(cache) == [cache / FILE.path]
    assert (cache / FILE.path).read_bytes() == CONTENT


def test_without_a_mirror_the_upstream_address_is_used(cache, tmp_path, serve, monkeypatch):
    put(tmp_path / "served")
    address = serve(tmp_path / "served")
    monkeypatch.delenv("JAXGNN_MIRROR")
    assert locate(FILE._replace(url=f"{address}/{FILE.path}")) == cache / FILE.path


def test_a_mirrors_address_may_end_with_a_slash(cache, tmp_path, serve, monkeypatch):
    put(tmp_path / "served")
    monkeypatch.setenv("JAXGNN_MIRROR", serve(tmp_path / "served") + "/")
    assert locate(FILE) == cache / FILE.path


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("truncated", "the connection ended before the file did"),
        ("shorter", hashlib.sha256(CONTENT[: len(CONTENT) // 2]).hexdigest()),
        ("tampered", f"{FILE.sha256} is expected"),
    ],
)
def test_a_damaged_download_leaves_nothing(cache, tmp_path, serve, mode, reason):
    put(tmp_path / "served")
    serve(tmp_path / "served", mode)
    message = sentence()
    assert reason in message
    assert "nothing was kept" in message
    assert FILE.path in message
    assert files_below(cache) == []


def test_a_file_that_the_server_lacks(cache, tmp_path, serve):
    address = serve(tmp_path)
    message = sentence()
    assert "status 404" in message
    assert address in message
    assert files_below(cache) == []


def test_an_unreachable_server(cache, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("JAXGNN_MIRROR", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert "the server cannot be reached" in sentence()
    assert files_below(cache) == []


def test_a_mirror_that_is_no_address(monkeypatch):
    monkeypatch.setenv("JAXGNN_MIRROR", "nowhere")
    assert "cannot be downloaded from nowhere/" in sentence()


def test_a_cache_that_cannot_be_written(tmp_path, serve, monkeypatch):
    put(tmp_path / "served")
    serve(tmp_path / "served")
    # A file where the folder should be stops every user, root as well.
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("JAXGNN_CACHE", str(tmp_path / "occupied" / "cache"))
    message = sentence()
    assert "cannot be written to the cache folder" in message
    assert "JAXGNN_CACHE" in message


def test_a_folder_where_the_file_should_be(data):
    (data / FILE.path).mkdir()
    assert "cannot be read" in sentence()


def test_a_data_folder_that_does_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXGNN_DATA", str(tmp_path / "absent"))
    message = sentence()
    assert message.startswith("JAXGNN_DATA names")
    assert "absent" in message


def test_an_empty_data_folder_variable_means_none(monkeypatch):
    monkeypatch.setenv("JAXGNN_DATA", "")
    assert data_folder() is None


def test_a_file_without_a_hash_is_taken_from_the_data_folder_only(data, cache, tmp_path, serve, monkeypatch):
    file = DataFile("heterophilous/questions.npz")
    put(cache, file=file)
    put(tmp_path / "served", file=file)
    serve(tmp_path / "served")
    message = sentence(file)
    brought = put(data, file=file)
    assert f"put it at {file.path} in {data}" in message
    assert "yandex-research/heterophilous-graphs" in message
    assert locate(file) == brought
    monkeypatch.delenv("JAXGNN_DATA")
    assert "the environment variable JAXGNN_DATA" in sentence(file)


def test_cora_from_a_mirror(real_data, cache, serve, monkeypatch):
    serve(real_data)
    monkeypatch.delenv("JAXGNN_DATA")
    ds = load_dataset("cora")
    assert ds.x.shape == (2708, 1433)
    assert len(files_below(cache)) == 8
    assert len(fetch("cora")) == 18
    assert len(files_below(cache)) == 18


@pytest.mark.parametrize("mode", ["truncated", "shorter", "tampered"])
def test_damaged_cora_from_a_mirror(real_data, cache, serve, monkeypatch, mode):
    serve(real_data, mode)
    monkeypatch.delenv("JAXGNN_DATA")
    with pytest.raises(DataError, match=r"planetoid/ind\.cora\.x"):
        load_dataset("cora")
    assert files_below(cache) == []

"""Every reader of files, on seeded damage: what cannot be read is a DataError of one line, whatever the bytes are."""

import gzip
import pickle
import zipfile
from collections import defaultdict
from io import BytesIO

import numpy as np
import pytest
import scipy.sparse

from jaxgnn.data import DataError, load_dataset
from jaxgnn.data.archives import read_npz
from jaxgnn.data.peptides import STRUCTURE, _read_table
from jaxgnn.data.pickles import read_array, read_csr, read_neighbours
from jaxgnn.data.split_files import read_split

COUNT = 400  # damaged files of each format


def damaged(raw, count=COUNT, seed=0):
    """`count` versions of some bytes, each damaged in one to three places; some can be read still."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        found = bytearray(raw)
        for _ in range(rng.integers(1, 4)):
            found = _DAMAGE[rng.integers(len(_DAMAGE))](rng, found)
        yield bytes(found)


def _place(rng, raw):
    """A position, half of the time among the first hundred bytes, where headers stand."""
    return int(rng.integers(min(100, len(raw)) if rng.random() < 0.5 else len(raw))) if raw else 0


def _span(rng, raw):
    start = _place(rng, raw)
    return start, start + int(rng.integers(1, 20))


def _flipped(rng, raw):
    if raw:
        raw[_place(rng, raw)] ^= 1 << int(rng.integers(8))
    return raw


def _replaced(rng, raw):
    if raw:
        likely = rng.choice(list(b"\0\xff\n (){}[]'\",.:-+eN019"))
        raw[_place(rng, raw)] = likely if rng.random() < 0.5 else rng.bytes(1)[0]
    return raw


def _cut_off(rng, raw):
    return raw[: _place(rng, raw)]


def _without(rng, raw):
    start, stop = _span(rng, raw)
    return raw[:start] + raw[stop:]


def _doubled(rng, raw):
    start, stop = _span(rng, raw)
    return raw[:stop] + raw[start:]


def _noise(rng, raw):
    start, stop = _span(rng, raw)
    return raw[:start] + rng.bytes(stop - start) + raw[stop:]


def _moved(rng, raw):
    start, stop = _span(rng, raw)
    rest = raw[:start] + raw[stop:]
    at = _place(rng, rest)
    return rest[:at] + raw[start:stop] + rest[at:]


_DAMAGE = (_flipped, _replaced, _cut_off, _without, _doubled, _noise, _moved)


def npz(save, **arrays):
    stream = BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def npy(array):
    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def in_an_archive(raw):
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", raw)
    return stream.getvalue()


def as_it_is(raw):
    return raw


def table(columns, row):
    return ("smiles," + ",".join(columns) + "\n" + f"CC,{row}\n" * 4).encode()


A, B = np.arange(12.0).reshape(4, 3), np.arange(7)
PARTS = {"train": np.arange(2), "val": np.array([2]), "test": np.array([3, 4])}
NUMBERS = table(STRUCTURE, ",".join(str(k / 7) for k in range(11)))
# What is damaged, what is made of it then, and what reads it.
FORMATS = {
    "npz": (npz(np.savez, a=A, b=B), as_it_is, lambda path: read_npz(path, "f", ("a", "b"))),
    "compressed npz": (npz(np.savez_compressed, a=A, b=B), as_it_is, lambda path: read_npz(path, "f", ("a", "b"))),
    "an array in an npz": (npy(A), in_an_archive, lambda path: read_npz(path, "f", ("a",))),
    "a split of lists": (pickle.dumps({k: v.tolist() for k, v in PARTS.items()}, 2), as_it_is, None),
    "a split, protocol 2": (pickle.dumps(PARTS, 2), as_it_is, None),
    "a split, protocol 4": (pickle.dumps(PARTS, 4), as_it_is, None),
    "a split, protocol 5": (pickle.dumps(PARTS, 5), as_it_is, None),
    "a table of numbers": (NUMBERS, gzip.compress, lambda path: _read_table(path, "f", STRUCTURE)),
    "a table of lists": (
        table(["labels"], '"[0, 1, 0, 1, 0, 1, 0, 0, 0, 1]"'),
        gzip.compress,
        lambda path: _read_table(path, "f", None),
    ),
    "gzip": (gzip.compress(NUMBERS), as_it_is, lambda path: _read_table(path, "f", STRUCTURE)),
}
PICKLES = {
    "an array": (np.eye(3, dtype=np.int32), read_array),
    "a CSR matrix": (scipy.sparse.csr_matrix(np.eye(4)), read_csr),
    "neighbours": (defaultdict(list, {0: [1, 2], 1: [0], 2: [0]}), read_neighbours),
}


def outcomes(path, raw, wrap, read, count=COUNT):
    """How many damaged files could be read, after the whole one; raises what is no DataError of one line."""
    path.write_bytes(wrap(raw))
    read(path)
    readable, sentences = 0, []
    for number, bad in enumerate(damaged(raw, count)):
        path.write_bytes(wrap(bad))
        try:
            read(path)
            readable += 1
        except DataError as error:
            sentences.append(str(error))
        except BaseException as error:
            raise AssertionError(f"damage {number} came through as {type(error).__name__}: {error}") from error
    assert not any("\n" in sentence for sentence in sentences)
    return readable


@pytest.mark.parametrize("case", FORMATS)
def test_damage_is_a_data_error_or_does_no_harm(tmp_path, case):
    raw, wrap, read = FORMATS[case]
    read = read or (lambda path: read_split(path, "f", 5))
    assert outcomes(tmp_path / "f", raw, wrap, read) < COUNT / 4  # most of it is found


@pytest.mark.parametrize("case", PICKLES)
def test_damage_to_a_pickle_of_python_2(tmp_path, python2_pickle, case):
    content, read = PICKLES[case]
    raw = python2_pickle(content)
    assert outcomes(tmp_path / "f", raw, as_it_is, lambda path: read(path, "f")) < COUNT / 4


def test_a_damaged_archive_never_loads_as_a_data_set(data, heterophilous_arrays):
    raw = npz(np.savez, **heterophilous_arrays)
    path = data / "heterophilous" / "questions.npz"
    with pytest.warns(UserWarning, match="no SHA-256"):
        outcomes(path, raw, as_it_is, lambda _: load_dataset("questions", "geom:3"))


@pytest.mark.parametrize("part", ["allx", "ty", "graph", "test.index"])
def test_a_damaged_part_of_a_planetoid_data_set(data, write_planetoid, part):
    write_planetoid("pubmed")
    path = data / "planetoid" / f"ind.pubmed.{part}"
    with pytest.warns(UserWarning, match="no SHA-256"):
        outcomes(path, path.read_bytes(), as_it_is, lambda _: load_dataset("pubmed"), COUNT // 4)


def test_a_header_that_python_cannot_read(tmp_path):
    """A bracket that is opened and never closed ends the parser of headers with an error of its own."""
    raw = npy(A).replace(b"(4, 3)", b"(4, 3 ")
    (tmp_path / "f").write_bytes(in_an_archive(raw))
    with pytest.raises(DataError, match=r"not a readable \.npz archive"):
        read_npz(tmp_path / "f", "f", ("a",))


@pytest.mark.parametrize("instruction", [b"r\xff\xff\xff\x7f", b"p2000000000\n"])
def test_a_pickle_that_asks_for_memory_is_refused_before_it_gets_it(tmp_path, instruction):
    """Room for two thousand million objects, in a file of thirty bytes."""
    (tmp_path / "f").write_bytes(b"\x80\x02]" + instruction + b".")
    for read in (lambda path: read_split(path, "f", 5), lambda path: read_array(path, "f")):
        with pytest.raises(DataError, match="numbers an object"):
            read(tmp_path / "f")

import os
import pickle

import numpy as np
import pytest
import scipy.sparse

from jaxgnn.data import DataError
from jaxgnn.data.pickles import read_array, read_csr, read_neighbours


class Runs:
    """Unpickled by the ordinary reader, this makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def stored(tmp_path, python2_pickle):
    def write(content):
        path = tmp_path / "file"
        path.write_bytes(content if isinstance(content, bytes) else python2_pickle(content))
        return path, "ind.small.x"

    return write


def test_the_test_files_use_the_names_of_python_2(python2_pickle):
    raw = python2_pickle(scipy.sparse.csr_matrix(np.eye(3)))
    for name in (b"numpy.core.multiarray\n_reconstruct", b"scipy.sparse.csr\ncsr_matrix", b"numpy\ndtype"):
        assert b"c" + name in raw


@pytest.mark.parametrize("dtype", ["int32", "float64", ">i4", "bool", "uint8"])
def test_arrays_round_trip(stored, dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    for layout in (array, np.asfortranarray(array)):
        read = read_array(*stored(layout))
        assert read.dtype == layout.dtype
        np.testing.assert_array_equal(read, layout)


def test_csr_matrices_round_trip(stored):
    matrix = scipy.sparse.random(7, 5, 0.4, format="csr", rng=np.random.default_rng(0))
    np.testing.assert_array_equal(read_csr(*stored(scipy.sparse.csr_matrix(matrix))).toarray(), matrix.toarray())


def test_neighbour_lists_round_trip(stored):
    graph = {0: [1, 2], 1: [0], 2: [0]}
    assert read_neighbours(*stored(graph)) == graph


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_code_is_refused_and_not_run(stored, tmp_path, protocol):
    target = tmp_path / "made"
    raw = pickle.dumps(Runs(target), protocol=protocol)
    for read in (read_array, read_csr, read_neighbours):
        with pytest.raises(DataError, match=r"names (posix|nt)\.mkdir, which is not allowed"):
            read(*stored(raw))
    assert not target.exists()
    pickle.loads(raw)
    assert target.exists(), "the same bytes do run in the ordinary reader"


def test_os_system_is_named_in_the_refusal(stored, tmp_path):
    raw = b"cos\nsystem\n(S'touch " + str(tmp_path / "made").encode() + b"'\ntR."
    with pytest.raises(DataError, match=r"ind\.small\.x .* names os\.system"):
        read_csr(*stored(raw))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", [b"numpy\nload", b"__builtin__\neval", b"builtins\nlist", b"numpy\nndarray.tofile"])
def test_other_names_of_allowed_modules_are_refused(stored, name):
    with pytest.raises(DataError, match="not allowed"):
        read_array(*stored(b"\x80\x02c" + name + b"\n."))


def test_arrays_of_objects_are_refused(stored):
    with pytest.raises(DataError, match="dtype 'O8' is refused"):
        read_array(*stored(np.array([{}, []], dtype=object)))


def test_structured_arrays_are_refused(stored):
    with pytest.raises(DataError, match="is refused"):
        read_array(*stored(np.zeros(2, [("a", "i4")])))


def broken(**changes):
    matrix = scipy.sparse.csr_matrix(np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]))
    vars(matrix).update(changes)
    return matrix


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"indptr": np.array([0, 4, 3])}, "indptr of a CSR matrix must rise"),
        ({"indptr": np.array([0, 3])}, "indptr of a CSR matrix must rise"),
        ({"indptr": np.array([1, 2, 3])}, "indptr of a CSR matrix must rise"),
        ({"indptr": np.array([0, 4, 3], np.uint64)}, "indptr of a CSR matrix must rise"),
        ({"indptr": np.array([0, 2, 4])}, "differ in length"),
        ({"indices": np.array([0, 3, 1])}, "column indices of a CSR matrix must be 0 to 2"),
        ({"indices": np.array([0, -1, 1])}, "column indices"),
        ({"indices": np.array([0.0, 2.0, 1.0])}, "integer indices"),
        ({"data": np.ones((3, 1))}, "flat arrays"),
        ({"data": np.array([None, 1, 2])}, "dtype 'O8' is refused"),
        ({"_shape": (10**9, 10**9)}, "is refused"),
        ({"_shape": (-1, 3)}, "is refused"),
    ],
)
def test_inconsistent_matrices_are_refused(stored, changes, reason):
    with pytest.raises(DataError, match=reason):
        read_csr(*stored(broken(**changes)))


def test_an_array_that_declares_more_than_it_stores(stored, python2_pickle):
    raw = python2_pickle(np.arange(4, dtype=np.int32)).replace(b"K\x04\x85", b"K\x7f\x85", 1)
    with pytest.raises(DataError, match=r"declares shape \(127,\) of int32, but stores 16 bytes"):
        read_array(*stored(raw))


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"\x80\x02", b"\x80\x02cnumpy\nndarray\n)\x81.", b"\x80\x63."])
def test_damaged_pickles_are_one_line(stored, raw):
    with pytest.raises(DataError) as error:
        read_array(*stored(raw))
    assert str(error.value).startswith("ind.small.x is not a readable pickle of an array")
    assert "\n" not in str(error.value)


def test_every_truncation_is_refused(stored, python2_pickle):
    raw = python2_pickle(scipy.sparse.csr_matrix(np.eye(2)))
    for length in range(len(raw)):
        with pytest.raises(DataError):
            read_csr(*stored(raw[:length]))


def test_the_wrong_kind_of_content_is_refused(stored):
    with pytest.raises(DataError, match="does not hold a CSR matrix"):
        read_csr(*stored(np.arange(3)))


@pytest.mark.parametrize("graph", [{0: (1,)}, {0: [1.5]}, {"a": [1]}, {0: [True]}])
def test_neighbours_that_are_not_numbers_are_refused(stored, graph):
    with pytest.raises(DataError, match="must be a list of node numbers"):
        read_neighbours(*stored(graph))

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgnn.host.memory
from jaxgnn.jacobian import dense


def orthogonal(rows, columns, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


def with_singular_values(sigma, rows, columns):
    size = min(rows, columns)
    sigma = np.concatenate([sigma, np.zeros(size - len(sigma))])
    return (orthogonal(rows, size, 0) * sigma) @ orthogonal(columns, size, 1).T


def check(A):
    """Descending, as many as LAPACK's on the whole array, as close as LAPACK is to itself."""
    expected = np.linalg.svd(A, compute_uv=False)
    for values in (dense.svdvals(sp.csr_matrix(A)), dense.singular_values(A), dense.singular_values(sp.csr_matrix(A))):
        assert values.dtype == np.float64
        assert values.shape == expected.shape
        assert (np.diff(values) <= 1e-12 * expected[0]).all()
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12 * expected.max(initial=0.0))


N = 300  # more than _SMALL: the Gram matrix is used
AT = dense._split(N)
SPECTRA = {
    "graded": np.logspace(0, -15, N),
    "graded, few small": np.logspace(0, -2, N),
    "two clusters": np.concatenate([1 - 1e-13 * np.arange(200), 0.3 + 1e-13 * np.arange(100)]),
    "a cluster where the two ways meet": np.concatenate(
        [np.linspace(1, 0.1, 250), AT * (1 + 1e-9 * np.arange(-25, 25))]
    ),
    "values at the edge": np.concatenate([np.linspace(1, 0.1, 260), AT * np.linspace(1.2, 0.8, 40)]),
    "all but one equal": np.concatenate([[1.0], np.full(N - 1, 1.001 * AT)]),
    "zeros": np.linspace(1, 0.5, 250),
    "many zeros": np.linspace(1, 0.5, 90),
    "many small": np.concatenate([np.linspace(1, 0.5, 150), np.logspace(-4, -16, 150)]),
    "few small, far apart": np.concatenate([np.linspace(1, 0.5, 290), np.logspace(-4, -15, 10)]),
    "small and zeros": np.concatenate([np.linspace(1, 0.01, 230), np.repeat([1e-6, 1e-12], 20)]),
    "tiny": 1e-180 * np.linspace(1, 1e-4, N),
    "huge": 1e180 * np.linspace(1, 1e-4, N),
    "nothing": np.zeros(1),
}


BY_LAPACK = {"graded", "many zeros", "many small"}
BY_GRAM = {"two clusters", "all but one equal"}  # and the others by both


@pytest.mark.parametrize("name", sorted(SPECTRA.keys() - {"nothing"}))
def test_each_spectrum_takes_the_way_it_is_for(name, monkeypatch):
    seen = []
    svd, cho_factor = np.linalg.svd, dense.sl.cho_factor
    monkeypatch.setattr(dense.np.linalg, "svd", lambda A, **o: (seen.append(min(A.shape)), svd(A, **o))[1])
    monkeypatch.setattr(dense.sl, "cho_factor", lambda G, **o: (seen.append("both"), cho_factor(G, **o))[1])
    dense.svdvals(sp.csr_matrix(with_singular_values(SPECTRA[name], N, N)))
    if name in BY_LAPACK:
        assert seen == [N]
    elif name in BY_GRAM:
        assert seen == []
    else:
        assert len(seen) == 2
        assert seen[0] == "both"
        assert 1 <= seen[1] <= N // 3


@pytest.mark.parametrize(("rows", "columns"), [(N, N), (N, 420), (420, N)])
@pytest.mark.parametrize("name", SPECTRA)
def test_singular_values_of_nasty_matrices(name, rows, columns):
    check(with_singular_values(SPECTRA[name], rows, columns))


@pytest.mark.parametrize("shape", [(270, 270), (265, 900), (900, 265)])
def test_singular_values_of_random_matrices(shape):
    check(np.random.default_rng(0).standard_normal(shape))


def test_singular_values_of_a_sparse_block():
    # Few entries: the Gram matrix is formed from the sparse matrix. The blocks of a banded matrix are one.
    n = 400
    A = sp.diags_array([np.full(n - 1, 0.5), np.full(n, -1.0), np.full(n - 2, 0.25)], offsets=[-1, 0, 2]).toarray()
    assert len(dense.bipartite_blocks(sp.csr_matrix(A))) == 1
    assert np.count_nonzero(A) < 0.05 * A.size
    check(A)


@given(st.integers(0, 9), st.integers(0, 9), st.floats(0, 0.6), st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_singular_values_and_eigenvalues_of_sparse_matrices(m, n, filled, seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n)) * (rng.random((m, n)) < filled)
    values = dense.singular_values(A)
    assert values.shape == (min(m, n),)
    if min(m, n):
        expected = np.linalg.svd(A, compute_uv=False)
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-13 * max(expected[0], 1.0))
    # Zero rows and columns leave exact zeros.
    support = min(np.any(A, axis=1).sum(), np.any(A, axis=0).sum())
    assert (values[support:] == 0).all()
    rows, columns = (
        (
            np.concatenate([np.zeros(0, int), *part])
            for part in zip(*dense.bipartite_blocks(sp.csr_matrix(A)), strict=True)
        )
        if A.any()
        else (np.zeros(0), np.zeros(0))
    )
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(A.any(axis=1)))
    np.testing.assert_array_equal(np.sort(columns), np.flatnonzero(A.any(axis=0)))
    square = A[: min(m, n), : min(m, n)]
    found = dense.eigenvalues(square)
    assert found.shape == (min(m, n),)
    assert (np.diff(np.abs(found)) <= 0).all()
    for power in range(1, 4):  # sum_i lambda_i^p = tr A^p, well conditioned
        scale = max(np.linalg.norm(square, 2) if square.size else 0.0, 1.0) ** power * max(m, 1)
        assert abs(np.sum(found**power) - np.trace(np.linalg.matrix_power(square, power))) <= 1e-12 * scale


def test_blocks_of_a_matrix():
    A = np.zeros((5, 6))
    A[0, 1] = A[0, 3] = A[2, 3] = 1  # rows 0, 2 and columns 1, 3
    A[4, 0] = -1
    (first, second), (rows, columns) = dense.bipartite_blocks(sp.csr_matrix(A))
    assert (first.tolist(), second.tolist()) == ([0, 2], [1, 3])
    assert (rows.tolist(), columns.tolist()) == ([4], [0])


def test_eigenvalues_by_strong_components():
    # Two rotations that feed each other one way, in a shuffled order, and a node that only listens.
    turn = lambda r, t: r * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])  # noqa: E731
    A = np.zeros((5, 5))
    A[:2, :2], A[2:4, 2:4], A[2:4, :2], A[4, 0] = turn(2.0, 0.3), turn(0.5, 1.0), 1e6, 1e6
    order = np.random.default_rng(0).permutation(5)
    values = dense.eigenvalues(A[np.ix_(order, order)])
    expected = [2 * np.exp(-0.3j), 2 * np.exp(0.3j), 0.5 * np.exp(-1j), 0.5 * np.exp(1j), 0]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-14)
    assert values[-1] == 0


def test_eigenvalues_of_equal_blocks_that_feed_each_other_one_way():
    # Defective as a whole: LAPACK on all of it is off by eps^(1/8). Each strong component has its own two.
    turn = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    A = np.kron(np.eye(8), turn) + np.kron(np.eye(8, k=1), np.eye(2))
    order = np.random.default_rng(0).permutation(16)
    A = A[np.ix_(order, order)]
    assert np.abs(np.abs(np.linalg.eigvals(A)) - 1).max() > 1e-3
    values = dense.eigenvalues(A)
    np.testing.assert_allclose(np.sort(values.imag), np.repeat([-np.sin(1), np.sin(1)], 8), rtol=1e-14)
    np.testing.assert_allclose(values.real, np.cos(1), rtol=1e-14)


def test_eigenvalues_of_a_triangular_matrix_are_its_diagonal_exactly():
    n = 60
    A = np.triu(np.random.default_rng(0).standard_normal((n, n)))
    values = dense.eigenvalues(A)
    np.testing.assert_array_equal(np.sort(values.real), np.sort(np.diagonal(A)))
    np.testing.assert_array_equal(values.imag, 0)


def test_eigenvalues_of_a_matrix_that_is_not_square():
    with pytest.raises(ValueError, match=r"^a Jacobian of shape \(2, 3\) has no eigenvalues: it must be square$"):
        dense.eigenvalues(np.ones((2, 3)))


def test_padding():
    np.testing.assert_array_equal(dense.padded(np.array([2.0, 1.0]), 4), [2, 1, 0, 0])
    np.testing.assert_array_equal(dense.padded(np.array([2.0, 1.0]), 1), [2])


def test_blocks_that_do_not_fit_are_refused(monkeypatch):
    A = sp.csr_matrix(np.random.default_rng(0).standard_normal((30, 40)))
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 30000)
    with pytest.raises(MemoryError, match=r"^a 30 x 40 block of J needs .* GiB.*: use extremes\(\) and density"):
        dense.singular_values(A)
    with pytest.raises(MemoryError, match=r"^a block of J of 40 rows needs .*: use outer_eigenvalues\(\) instead$"):
        dense.eigenvalues(sp.csr_matrix(np.random.default_rng(0).standard_normal((40, 40))))


EPS = np.finfo(float).eps


def rotated(sigma, m, n, rng):
    U, V = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in (m, n))
    return (U * sigma) @ V[:, :m].T


@st.composite
def clustered_spectra(draw, m):
    """Clusters above, at and below the place where the two ways of `svdvals` meet, then zeros; descending from 1."""
    at = dense._split(m)
    few = draw(st.integers(0, m // 3))
    parts = [np.ones(m - few), np.linspace(1, at, m - few), np.geomspace(1, 1.01 * at, m - few)]
    sigma = parts[draw(st.integers(0, 2))]
    levels = at * np.array([1.3, 1.01, 1 + 1e-6, 1 + 1e-11, 1 - 1e-11, 0.9, 0.4, 1e-3, 1e-8, 0.0])
    copies = draw(st.lists(st.sampled_from(levels), min_size=few, max_size=few))
    if draw(st.booleans()):  # what is large as well
        sigma = np.where(np.arange(m - few) < draw(st.integers(1, m - few)), sigma, 1.01 * at)
    width = draw(st.sampled_from([0.0, 1e-13, 1e-7]))
    spread = 1 + width * np.random.default_rng(0).standard_normal(m)
    return np.sort(np.concatenate([sigma, copies]) * spread)[::-1]


@given(st.data(), st.integers(0, 10**6), st.sampled_from([0, 9, 40]))
@settings(max_examples=300, deadline=None)
def test_clustered_spectra_keep_the_promise(data, seed, wider):
    m, rng = 45, np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_SMALL", 24)
        sigma = data.draw(clustered_spectra(m))
        A = rotated(sigma, m, m + wider, rng)
        # The values are known by construction, to the rounding of the construction.
        found = dense.svdvals(sp.csr_matrix(A))
        assert np.abs(found - sigma).max() <= 0.5 * dense.ACCURACY * sigma[0]
        assert (np.abs(found - sigma) <= dense.errors(sigma, EPS)).all()


@pytest.mark.parametrize("seed", range(6))
def test_many_copies_just_above_the_split(seed):
    m, rng = N, np.random.default_rng(seed)
    for level in (1.01e-3, 1.01 * dense._split(m)):
        sigma = np.repeat([1.0, level, 0.0], [150, 75, 75])
        found = dense.svdvals(sp.csr_matrix(rotated(sigma, m, m, rng)))
        assert np.abs(found - sigma).max() <= dense.ACCURACY
        assert (np.abs(found - sigma) <= dense.errors(sigma, EPS)).all()


def test_eigenvalues_of_gram_matrices_err_by_what_is_said():
    # p = 16 sqrt(m) times eps sigma_1^2 is a bound, and the worst of some is not far below.
    worst = 0.0
    for seed in range(12):
        m, rng = 120, np.random.default_rng(seed)
        sigma = np.repeat([1.0, 1e-3, 0.0], [60, 30, 30])
        A = rotated(sigma, m, m, rng)
        w, _ = dense._eigen(A @ A.T)
        worst = max(worst, np.abs(w[::-1] - sigma**2).max() / (np.sqrt(m) * EPS))
    assert 0.5 <= worst <= dense._GRAM_ERROR == 16


@pytest.mark.parametrize("m", [257, 300, 2048])
def test_where_the_two_ways_meet(m):
    # sigma errs by p eps sigma_1^2 / (2 sigma): 1e-12 sigma_1 at sigma = split sigma_1
    assert 16 * np.sqrt(m) * EPS / (2 * dense._split(m)) == pytest.approx(1e-12, rel=1e-12)


def test_the_error_of_each_value():
    values = np.array([2.0, 0.02, 1e-3, 1e-13, 0.0])
    split = 16 * np.sqrt(256) * EPS / 2e-12
    expected = [2e-12, 1e-12 * 0.04 / split, 1e-12 * 2e-3 / split, 50 * EPS * 2, 50 * EPS * 2]
    np.testing.assert_allclose(dense.errors(values, EPS), expected, rtol=1e-12)
    single = float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(dense.errors(values, single), 50 * single * 2, rtol=1e-12)
    assert dense.errors(np.zeros(0), EPS).shape == (0,)

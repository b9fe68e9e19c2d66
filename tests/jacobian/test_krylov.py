import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgnn.host.memory
from jaxgnn.jacobian.krylov import largest_ritz
from jaxgnn.jacobian.sparse import Products


def products_of(M, counter=None):
    """The products of an array, which count the vectors they are given."""

    def times(A):
        def product(V):
            if counter is not None:
                counter.append(len(V))
            return (V @ A.T).astype(M.dtype)

        return product

    return Products(times(M), times(M.T), (M.shape[1],), (M.shape[0],), M.dtype, 8)


def with_singular_values(sigma, rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0][:, : len(sigma)] for n in (rows, columns))
    return (U * sigma) @ V.T


def lapack(M):
    return np.linalg.svd(M.astype(np.float64), compute_uv=False)


def check(M, k, *, tolerance=1e-8, max_products=10_000, block=8):
    """Ritz values interlace, their residuals cover a singular value each, and the k first have converged."""
    counter = []
    found = largest_ritz(products_of(M, counter), k, tolerance=tolerance, max_products=max_products, block=block)
    sigma = lapack(M)
    rounding = 100 * float(np.finfo(M.dtype).eps) * sigma[0]
    assert found.products == sum(counter)
    assert k <= found.values.size == found.residuals.size <= sigma.size
    assert (np.diff(found.values) <= 0).all()
    assert (found.values <= sigma[: found.values.size] + rounding).all()
    # Parlett 1998, theorem 11.5.1: g Ritz values have g singular values within their common residual (0 and -sigma
    # are eigenvalues of [[0, J], [J^T, 0]] as well).
    everything = np.concatenate([sigma, [0.0]])
    nearest = np.abs(found.values[:, None] - everything).min(axis=1)
    assert (nearest <= found.residuals + rounding).all()
    return found, sigma, rounding


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (120, 90), (90, 120), (10, 100), (100, 10), (300, 9)])
@pytest.mark.parametrize("k", [1, 6, 9])
def test_the_largest_of_random_matrices(rows, columns, k, dtype):
    M = np.random.default_rng(0).standard_normal((rows, columns)).astype(dtype)
    tolerance = 1e-8 if dtype == np.float64 else 1e-4
    found, sigma, rounding = check(M, k, tolerance=tolerance)
    assert (found.residuals[:k] <= tolerance * sigma[0] + rounding).all()
    # The error of a Ritz value is at most its residual's square over the gap, and at most the residual.
    np.testing.assert_allclose(found.values[:k], sigma[:k], rtol=0, atol=tolerance * sigma[0] + rounding)


SPECTRA = {
    "two values": np.repeat([2.0, 0.5], [3, 37]),
    "one value": np.ones(40),
    "ten copies of the largest": np.repeat([3.0, 1.0, 0.1], [10, 20, 10]),
    "rank three": np.array([3.0, 2.0, 1.0]),
    "rank one": np.array([1.0]),
    "nothing": np.zeros(1),
    "graded": np.logspace(0, -15, 40),
    "a cluster": np.concatenate([1 + 1e-10 * np.arange(6)[::-1], np.linspace(0.9, 0, 34)]),
    "pairs": np.repeat(np.linspace(1, 0.05, 20), 2),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 5, 20, 40])
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (70, 40), (40, 70)])
def test_multiplicities_and_deficient_ranks(rows, columns, name, k, dtype):
    M = with_singular_values(SPECTRA[name], rows, columns).astype(dtype)
    tolerance = 1e-8 if dtype == np.float64 else 1e-4
    found, sigma, rounding = check(M, k, tolerance=tolerance)
    assert (found.residuals[:k] <= tolerance * sigma[0] + rounding).all()
    if name in ("rank one", "rank three", "nothing", "graded") or k == 40:
        np.testing.assert_allclose(found.values[:k], sigma[:k], rtol=0, atol=tolerance * sigma[0] + rounding)


@pytest.mark.parametrize("copies", [5, 8])
def test_a_block_finds_as_many_copies_at_once(copies):
    M = with_singular_values(np.repeat([3.0, 1.0], [copies, 60]), 90, 80)
    found, sigma, rounding = check(M, 8)
    np.testing.assert_allclose(found.values[:8], sigma[:8], rtol=0, atol=1e-8 + rounding)


def test_block_columns_that_end_one_after_another():
    # A direct sum, started in full: Krylov spaces of the parts are exhausted at different steps, and a column of a
    # block that has nothing new stands before one that has.
    M = np.zeros((60, 60))
    M[:2, :2] = [[3.0, 1.0], [0.0, 2.0]]
    M[2:30, 2:30] = np.diag(np.linspace(1.0, 2.5, 28))
    M[30:, 30:] = with_singular_values(np.repeat([2.9, 0.3], 15), 30, 30)
    for block in (1, 2, 3, 8):
        found, sigma, rounding = check(M, 20, block=block)
        if block == 8:
            np.testing.assert_allclose(found.values[:20], sigma[:20], rtol=0, atol=1e-7)
        assert (found.residuals[:20] <= 1e-8 * sigma[0] + rounding).all()


def test_restarts_keep_what_was_found():
    # Close values and few wanted: the search space, 8 + 16 x 8 vectors, is full long before they have converged.
    sigma = 1 - 1e-3 * np.sqrt(np.arange(600))
    M = with_singular_values(sigma, 600, 600)
    found, sigma, _rounding = check(M, 4, tolerance=1e-7, max_products=20_000)
    assert found.products > 2 * 136
    np.testing.assert_allclose(found.values[:4], sigma[:4], rtol=0, atol=1e-7)


@pytest.mark.parametrize("most", [1, 16, 64])
def test_the_number_of_products_is_kept_about(most):
    M = with_singular_values(1 - 1e-3 * np.sqrt(np.arange(300)), 300, 300)
    found, _, _ = check(M, 12, max_products=most)
    assert found.products <= max(most + 16, 32)  # as many as there are values wanted are found in any case
    assert found.residuals[:12].max() > 1e-6  # and their residuals say that they have not converged


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 12), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_the_bases_span_everything_at_their_end(rows, columns, rank, block, seed):
    rng = np.random.default_rng(seed)
    M = rng.integers(-2, 3, (rows, rank)).astype(float) @ rng.integers(-2, 3, (rank, columns))
    size = min(rows, columns)
    found, sigma, _rounding = check(M, size, block=block)
    np.testing.assert_allclose(found.values, sigma, rtol=0, atol=1e-12 * sigma[0])


def test_vectors_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 10_000)
    message = r"^a Krylov space of 40 vectors for a 50 x 40 Jacobian needs .* GiB, .*: use a smaller k instead$"
    with pytest.raises(MemoryError, match=message):
        largest_ritz(products_of(np.ones((40, 50))), 3, tolerance=1e-8, max_products=100)

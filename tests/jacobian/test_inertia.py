import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgnn as jg
from jaxgnn.jacobian.inertia import Block, Pivots, Reflection, ShiftedFactor
from jaxgnn.jacobian.ordering import EIGEN_ROOT, order


def propagation(edges):
    """P = D^(-1/2) (A + I) D^(-1/2) as an array, also of directed edges."""
    return jg.prepare(**edges).propagation.dense().astype(np.float64)


def layer(P, W, *, kept=1.0, seed=0):
    """diag(mask) kron(P, W^T) without the masked rows, and the node of each row and column."""
    J, nodes = np.kron(P, W.T), np.repeat(np.arange(len(P)), len(W))
    rows = np.random.default_rng(seed).random(len(J)) < kept
    return J[rows], nodes[rows], nodes


def weights(d, seed=1):
    return np.random.default_rng(seed).standard_normal((d, d)) / np.sqrt(d)


def grid(a, b):
    v = np.arange(a * b).reshape(a, b)
    pairs = np.concatenate(
        [np.stack([v[1:], v[:-1]], -1).reshape(-1, 2), np.stack([v[:, 1:], v[:, :-1]], -1).reshape(-1, 2)]
    )
    return {"senders": pairs.ravel(), "receivers": pairs[:, ::-1].ravel(), "num_nodes": a * b}


def random_graph(n, e, seed):
    pairs = np.random.default_rng(seed).integers(0, n, (e, 2))
    return {"senders": pairs.ravel(), "receivers": pairs[:, ::-1].ravel(), "num_nodes": n}


def twins(n):
    """A path whose every node has a copy with the same links: rows and columns of P are repeated."""
    P = np.kron(np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1) + np.eye(n), np.ones((2, 2)))
    return P / P.sum(1, keepdims=True)


def shifts_of(sigma):
    """One below, one above every gap's middle that is wide enough to tell, and tiny ones where there are zeros."""
    scale = sigma.max(initial=1.0)
    levels = np.concatenate([[1.5 * scale], np.sort(sigma)[::-1], [0.0]])
    middles = (levels[1:] + levels[:-1]) / 2
    wide = levels[:-1] - levels[1:] > 1e-10 * scale
    chosen = middles[wide & (middles > 0)]
    return np.unique(np.concatenate([chosen[:: max(chosen.size // 12, 1)], [1e-11 * scale, 1e-7 * scale, 2 * scale]]))


def check(J, row_nodes, column_nodes):
    sigma = np.linalg.svd(J, compute_uv=False) if J.size else np.zeros(0)
    ordering = order(sp.csr_matrix(J), row_nodes, column_nodes)
    x = np.random.default_rng(2).standard_normal((sum(J.shape), 2))
    for shift in shifts_of(sigma):
        factor = ShiftedFactor(sp.csr_matrix(J), shift, ordering)
        assert factor.error <= 1e-12 * max(sigma.max(initial=0.0), shift)
        below, above = (sigma > shift + factor.error).sum(), (sigma > shift - factor.error).sum()
        assert below <= factor.count <= above
        y = factor.solve(x)
        residual = np.concatenate([J @ y[len(J) :], J.T @ y[: len(J)]]) - shift * y - x
        allowed = 1e-12 * (np.linalg.norm(y) * max(sigma.max(initial=0.0), shift) + np.linalg.norm(x))
        assert np.linalg.norm(residual) <= allowed
        np.testing.assert_allclose(factor.solve(x[:, 0]), y[:, 0], rtol=0, atol=1e-9 * np.abs(y).max(initial=0.0))


@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_counts_on_every_graph(edges, kept):
    check(*layer(propagation(edges), weights(3), kept=kept))


@pytest.mark.parametrize(
    "P",
    [
        propagation(grid(9, 11)),
        propagation(random_graph(120, 130, 0)),
        propagation(random_graph(90, 240, 1)),
        twins(40),
        np.diag(np.arange(6.0)),
        np.zeros((5, 5)),
    ],
    ids=["grid", "sparse random", "dense random", "twins", "diagonal", "zero"],
)
@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_counts_on_larger_graphs(P, kept):
    check(*layer(P, weights(4), kept=kept))


def test_a_large_root_and_a_chain_of_dense_fronts():
    J, rows, columns = layer(propagation(random_graph(160, 700, 3)), weights(6), kept=0.5)
    ordering = order(sp.csr_matrix(J), rows, columns)
    assert ordering.fronts[-1].own.size > EIGEN_ROOT
    factor = ShiftedFactor(sp.csr_matrix(J), 1e-11, ordering)
    # Pivots in eigenvectors, rotations of what was delayed, definite blocks, Bunch and Kaufman's 2 x 2 blocks.
    assert {type(step) for step in factor._steps} == {Pivots, Reflection, Block}
    assert {bool(step.off.any()) for step in factor._steps if isinstance(step, Block)} == {True, False}
    check(J, rows, columns)


def test_a_path_has_many_fronts_and_few_delayed(graphs):
    J, rows, columns = layer(propagation(graphs.path(300)), weights(4), kept=0.5)
    ordering = order(sp.csr_matrix(J), rows, columns)
    assert len(ordering.fronts) > 20
    # What stays coupled to the nodes above a front is bounded by them, whatever null vectors lie below.
    assert ShiftedFactor(sp.csr_matrix(J), 1e-11, ordering).delayed <= 16 * len(ordering.fronts)
    check(J, rows, columns)


@pytest.mark.parametrize("seed", range(6))
def test_the_rank_of_a_masked_layer(seed):
    edges = random_graph(100, 110 + 30 * seed, seed)
    J, rows, columns = layer(propagation(edges), weights(5, seed), kept=0.5, seed=seed)
    sigma = np.linalg.svd(J, compute_uv=False)
    shift = 1e-11 * sigma[0]
    factor = ShiftedFactor(sp.csr_matrix(J), shift, order(sp.csr_matrix(J), rows, columns))
    assert factor.error < 0.01 * shift
    assert factor.count == (sigma > shift).sum() == np.linalg.matrix_rank(J)


@pytest.mark.parametrize("smallest", [1e-3, 1e-6, 1e-9, 1e-13])
def test_small_singular_values_of_the_weights(smallest):
    U, V = (np.linalg.qr(weights(4, seed))[0] for seed in (1, 2))
    W = (U * np.geomspace(1, smallest, 4)) @ V
    check(*layer(propagation(random_graph(60, 80, 4)), W, kept=0.7))


def test_repeated_and_zero_rows():
    J, rows, columns = layer(propagation(random_graph(40, 60, 5)), weights(4))
    J[1::4] = J[0::4]
    J[2::4] = 0
    check(J, rows, columns)
    check(J.T, columns, rows)


@pytest.mark.parametrize("builder", ["complete", "ring"])
def test_either_side_of_a_multiple_value(graphs, builder):
    n = 16
    J, rows, columns = layer(propagation(getattr(graphs, builder)(n)), np.diag([1.0, 1.0, 0.5]))
    # The complete graph's P has the eigenvalue 1 and zeros, the ring's (1 + 2 cos(2 pi k / n)) / 3.
    P = np.eye(n)[0] if builder == "complete" else np.abs(1 + 2 * np.cos(2 * np.pi * np.arange(n) / n)) / 3
    sigma = np.outer(P, [1, 1, 0.5]).ravel()
    ordering = order(sp.csr_matrix(J), rows, columns)
    for value in np.unique(np.round(sigma[sigma > 0.01], 12)):
        for shift in (value - 1e-11, value + 1e-11):
            factor = ShiftedFactor(sp.csr_matrix(J), shift, ordering)
            assert factor.error < 1e-12
            assert factor.count == (sigma > shift).sum()


def test_a_shift_that_is_a_singular_value():
    ordering = order(sp.csr_matrix(np.eye(6)), np.arange(6), np.arange(6))
    factor = ShiftedFactor(sp.csr_matrix(np.eye(6)), 1.0, ordering)
    assert 0 <= factor.count <= 6
    assert np.isfinite(factor.solve(np.ones(12))).all()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scale_does_not_matter(scale, graphs):
    J, rows, columns = layer(propagation(graphs.several_components()), weights(3), kept=0.6)
    ordering = order(sp.csr_matrix(J), rows, columns)
    plain = [ShiftedFactor(sp.csr_matrix(J), s, ordering).count for s in (1e-11, 0.1, 0.5)]
    assert [ShiftedFactor(sp.csr_matrix(scale * J), scale * s, ordering).count for s in (1e-11, 0.1, 0.5)] == plain


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 14), st.integers(0, 30), st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**16))
def test_blocks_of_any_size(n, e, most_rows, most_columns, seed):
    rng = np.random.default_rng(seed)
    rows, columns = (np.repeat(np.arange(n), rng.integers(0, most + 1, n)) for most in (most_rows, most_columns))
    linked = np.eye(n, dtype=bool)
    linked[rng.integers(0, n, e), rng.integers(0, n, e)] = True
    rank_one = rng.integers(0, 2, rows.size)[:, None] * rng.integers(-1, 2, columns.size)
    J = rank_one + rng.choice([0.0, 1e-6, 1.0]) * rng.standard_normal((rows.size, columns.size))
    J = J * linked[np.ix_(rows, columns)]
    mixed = rng.permutation(rows.size)
    check(J[mixed], rows[mixed] * 7, columns * 7)


def test_without_rows_or_columns():
    for shape in ((0, 5), (5, 0), (0, 0)):
        ordering = order(sp.csr_matrix(shape), np.zeros(shape[0], int), np.zeros(shape[1], int))
        factor = ShiftedFactor(sp.csr_matrix(shape), 0.5, ordering)
        assert factor.count == 0
        np.testing.assert_allclose(factor.solve(np.ones(sum(shape))), -2 * np.ones(sum(shape)))
        assert factor.error <= 1e-15


def test_what_is_refused(monkeypatch):
    J = sp.csr_matrix(np.eye(4))
    ordering = order(J, np.arange(4), np.arange(4))
    for shift in (0.0, -0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"^shift={shift}: allowed are positive finite numbers$"):
            ShiftedFactor(J, shift, ordering)
    with pytest.raises(ValueError, match=r"^J of shape \(4, 4\) does not have the pattern that was ordered"):
        ShiftedFactor(sp.csr_matrix(np.ones((4, 4))), 0.5, ordering)
    with pytest.raises(ValueError, match=r"^row_blocks and column_blocks have shapes \(3,\) and \(4,\): a matrix of"):
        order(J, np.arange(3), np.arange(4))
    monkeypatch.setattr("jaxgnn.host.memory.available_bytes", lambda: 8)
    with pytest.raises(MemoryError, match=r"^a factorisation of a 4 x 4 Jacobian needs"):
        ShiftedFactor(J, 0.5, ordering)


def test_cora(cora):
    # The linear layer's singular values are products; the masked layer's counts fall, and start at its rank.
    P, W = sp.csr_matrix(jg.prepare(cora.graph).propagation.sparse()).astype(np.float64), weights(2)
    sigma = np.outer(np.abs(np.linalg.eigvalsh(P.toarray())), np.linalg.svd(W, compute_uv=False)).ravel()
    J, nodes = sp.csr_matrix(sp.kron(P, W.T)), np.repeat(np.arange(P.shape[0]), 2)
    ordering = order(J, nodes, nodes)
    for shift in (1e-9, 0.3):
        factor = ShiftedFactor(J, shift, ordering)
        assert factor.error <= 1e-12
        assert (sigma > shift + 1e-11).sum() <= factor.count <= (sigma > shift - 1e-11).sum()


def test_a_masked_piece_of_cora(cora):
    P = sp.csr_matrix(jg.prepare(cora.graph).propagation.sparse()).astype(np.float64)
    piece = [0]  # the first 200 nodes that a breadth-first search meets
    for v in piece:
        piece += [u for u in P.indices[P.indptr[v] : P.indptr[v + 1]] if u not in piece]
        if len(piece) >= 200:
            break
    piece = piece[:200]
    J, rows, columns = layer(P[piece][:, piece].toarray(), weights(6), kept=0.5)
    sigma = np.linalg.svd(J, compute_uv=False)
    ordering = order(sp.csr_matrix(J), rows, columns)
    factors = [ShiftedFactor(sp.csr_matrix(J), s, ordering) for s in (1e-11 * sigma[0], 1e-6, 1e-3, 0.3)]
    assert max(factor.error for factor in factors) <= 1e-13 * sigma[0]
    assert [factor.count for factor in factors] == [(sigma > factor.shift).sum() for factor in factors]


def test_counts_fall_with_the_shift():
    J, rows, columns = layer(propagation(random_graph(250, 400, 8)), weights(6), kept=0.5)
    ordering = order(sp.csr_matrix(J), rows, columns)
    shifts = np.geomspace(1e-12, 2, 30)
    counts = [ShiftedFactor(sp.csr_matrix(J), s, ordering).count for s in shifts]
    assert np.all(np.diff(counts) <= 0)
    assert counts[0] == np.linalg.matrix_rank(J)
    assert counts[-1] == (np.linalg.svd(J, compute_uv=False) > 2).sum()


class Off(ShiftedFactor):
    """A factorisation of a J whose products are those of J and another matrix: its error is known."""

    def off_by(self, D):
        self._J = sp.csr_matrix(self._J + D)
        return self


@pytest.mark.parametrize("rank", [1, 8])
def test_the_error_is_the_bound_written_out(graphs, rank):
    J, rows, columns = layer(propagation(graphs.ring(8)), weights(3), kept=0.7)
    rng = np.random.default_rng(5)
    D = 1e-6 * rng.standard_normal((J.shape[0], rank)) @ rng.standard_normal((rank, J.shape[1]))
    factor = Off(sp.csr_matrix(J), 0.3, order(sp.csr_matrix(J), rows, columns)).off_by(D)
    # E = A - s I - L D L^T, up to rounding [[0, D], [D^T, 0]]; 10 sqrt(2 / pi) max ||E^4 w|| >= ||E||^4.
    E = np.block([[np.zeros((len(D), len(D))), D], [D.T, np.zeros((D.shape[1], D.shape[1]))]])
    W = np.random.default_rng(0).standard_normal((len(E), 8))
    images = np.linalg.norm(np.linalg.matrix_power(E, 4) @ W, axis=0)
    expected = (10 * np.sqrt(2 / np.pi) * images.max()) ** 0.25
    assert factor.error == pytest.approx(expected, rel=1e-8)
    norm = np.linalg.norm(D, 2)
    assert 0.3 <= norm / factor.error <= 1


@pytest.mark.parametrize("seed", range(20))
def test_the_error_is_above_the_norm_of_what_it_bounds(seed):
    # Random directions: without the factor 10 sqrt(2 / pi) some of twenty would be below.
    J = np.diag(np.linspace(1, 2, 6))
    rng = np.random.default_rng(seed)
    D = 1e-5 * np.outer(*rng.standard_normal((2, 6)))
    factor = Off(sp.csr_matrix(J), 0.3, order(sp.csr_matrix(J), np.arange(6), np.arange(6))).off_by(D)
    assert np.linalg.norm(D, 2) <= factor.error <= 3 * np.linalg.norm(D, 2)


@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_products_of_the_factors_are_the_shifted_matrix(kept):
    J, rows, columns = layer(propagation(random_graph(60, 90, 2)), weights(3), kept=kept)
    for shift in (1e-9, 0.37):
        factor = ShiftedFactor(sp.csr_matrix(J), shift, order(sp.csr_matrix(J), rows, columns))
        A = np.block([[np.zeros((len(J), len(J))), J], [J.T, np.zeros((J.shape[1], J.shape[1]))]])
        x = np.random.default_rng(0).standard_normal((len(A), 3))
        np.testing.assert_allclose(factor.product(x), A @ x - shift * x, rtol=0, atol=1e-12)
        E = A - shift * np.eye(len(A)) - factor.product(np.eye(len(A)))
        assert 0 < np.linalg.norm(E, 2) <= factor.error


@given(st.integers(0, 10**6), st.sampled_from([1e-12, 1e-9, 1e-3, 0.5]))
@settings(max_examples=60, deadline=None)
def test_counts_of_clustered_spectra(seed, level):
    # Exactly the values above some shift within the error of the one asked for; clusters on either side of it.
    rng = np.random.default_rng(seed)
    sigma = np.repeat([1.0, level * 1.01, level * 0.99, 0.0], rng.integers(1, 7, 4))
    U, V = (np.linalg.qr(rng.standard_normal((sigma.size, sigma.size)))[0] for _ in range(2))
    J = sp.csr_matrix((U * sigma) @ V.T)
    nodes = np.arange(sigma.size) // 3
    factor = ShiftedFactor(J, level, order(J, nodes, nodes))
    assert factor.error <= 1e-13
    allowed = factor.error + 1e-15 * sigma.size  # of the construction
    assert (sigma > level + allowed).sum() <= factor.count <= (sigma > level - allowed).sum()
    if level > 1e-10:
        assert factor.count == (sigma > level).sum()

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial

import jaxgnn as jg
import jaxgnn.host.memory
from jaxgnn.jacobian import dense, extremes, operator
from jaxgnn.jacobian.inertia import ShiftedFactor
from jaxgnn.jacobian.krylov import largest_ritz
from jaxgnn.jacobian.ordering import order
from jaxgnn.jacobian.sparse import Products

SIZES = {"complete": 20, "ring": 24, "star": 30, "path": 40}


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def propagated(edges, d=2, dtype=np.float64, W=None, **options):
    """J of P h W with its graph, and LAPACK's singular values."""
    graph = jg.prepare(**edges, **options)
    W = np.eye(d) if W is None else W
    J = jg.jacobian(
        lambda h: graph.propagation @ h @ W.astype(h.dtype), signal(graph.num_nodes, d).astype(dtype), graph
    )
    return J, np.linalg.svd(J.dense().astype(np.float64), compute_uv=False)


def equal_rings(graphs):
    """Four rings of six: every value eight times and more."""
    parts = [graphs.ring(6) for _ in range(4)]
    return {
        "senders": np.concatenate([p["senders"] + 6 * i for i, p in enumerate(parts)]),
        "receivers": np.concatenate([p["receivers"] + 6 * i for i, p in enumerate(parts)]),
        "num_nodes": 24,
    }


def bounds_hold(found, sigma, size):
    rounding = 4 * np.finfo(float).eps * sigma.max()  # of LAPACK's values
    assert found.values.shape == found.lower.shape == found.upper.shape == found.certified.shape == (size,)
    assert (found.lower <= found.values).all()
    assert (found.values <= found.upper).all()
    return (found.lower <= sigma[:size] + rounding), (found.upper >= sigma[:size] - rounding)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("certify", [True, False])
@pytest.mark.parametrize("name", [*SIZES, "equal rings", "several components", "directed"])
def test_the_largest_lie_inside_their_bounds(graphs, monkeypatch, name, certify, dtype):
    monkeypatch.setattr(operator, "_SMALL_BLOCK", 0)  # by Lanczos, not by LAPACK
    edges = (
        getattr(graphs, name)(SIZES[name])
        if name in SIZES
        else {"equal rings": equal_rings(graphs), "several components": graphs.several_components()}.get(name)
        or graphs.directed()
    )
    J, sigma = propagated(edges, dtype=dtype)
    for k in (1, 5, 13, 1000):
        size = min(k, sigma.size)
        found = J.extremes(k, certify=certify)
        lower, upper = bounds_hold(found, sigma, size)
        assert lower.all()  # by interlacing, certified or not
        assert upper[found.certified].all()
        assert found.null_dim is None
        assert found.products > 0
        if certify:
            assert found.certified.all()
        else:
            assert not found.certified.any()


@pytest.mark.parametrize("exact_below", [0, 2048])
@pytest.mark.parametrize("name", [*SIZES, "equal rings", "several components", "directed"])
def test_the_smallest_lie_inside_their_bounds(graphs, monkeypatch, name, exact_below):
    monkeypatch.setattr(operator, "_EXACT_BELOW", exact_below)
    edges = (
        getattr(graphs, name)(SIZES[name])
        if name in SIZES
        else {"equal rings": equal_rings(graphs), "several components": graphs.several_components()}.get(name)
        or graphs.directed()
    )
    J, sigma = propagated(edges)
    tolerance = max(J.shape) * np.finfo(float).eps * sigma[0]
    positive = np.sort(sigma[sigma > tolerance])
    for k in (1, 4, 1000):
        size = min(k, positive.size)
        found = J.extremes(k, which="smallest")
        lower, upper = bounds_hold(found, positive, size)
        assert upper.all()
        assert lower[found.certified].all()
        assert found.null_dim == sigma.size - positive.size == sigma.size - np.linalg.matrix_rank(J.dense())
        assert found.rank_tolerance == pytest.approx(tolerance, rel=1e-6)
        if exact_below:
            assert found.certified.all()


def test_values_of_the_complete_graph(graphs):
    J, _ = propagated(graphs.complete(20), d=3)  # 1 three times, and zeros
    found = J.extremes(5, certify=True)
    np.testing.assert_allclose(found.values, [1, 1, 1, 0, 0], rtol=0, atol=1e-12)
    found = J.extremes(5, which="smallest")
    np.testing.assert_allclose(found.values, [1, 1, 1], rtol=0, atol=1e-12)
    assert found.null_dim == 57


def test_what_has_not_converged_says_so(graphs):
    J, sigma = propagated(graphs.path(300), d=1)
    found = J.extremes(10, max_products=20, certify=False)
    assert found.products <= 32
    assert (found.lower <= sigma[:10]).all()
    assert sigma[9] - found.values[9] > 1e-6
    certified = J.extremes(10, max_products=20, certify=True)
    assert (certified.upper >= sigma[:10])[certified.certified].all()


def test_nothing_and_next_to_nothing(monkeypatch):
    for exact_below in (0, 2048):
        monkeypatch.setattr(operator, "_EXACT_BELOW", exact_below)
        J = jg.jacobian(jnp.ones_like, signal(20, 2))
        np.testing.assert_array_equal(J.extremes(3).values, [0, 0, 0])
        found = J.extremes(3, which="smallest")
        assert found.values.shape == (0,)
        assert found.null_dim == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"which": "middle"}, "which='middle' is not known: allowed are largest, smallest"),
        ({"k": 0}, "k=0: allowed are 1 and more, whole"),
        ({"k": 0, "which": "smallest"}, "k=0: allowed are 1 and more, whole"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        jg.jacobian(jnp.sin, signal(5, 2)).extremes(**options)


def test_vectors_that_do_not_fit(monkeypatch):
    J = jg.jacobian(jnp.sin, signal(20, 2))
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 1000)
    with pytest.raises(
        MemoryError, match=r"^a Krylov space of .* vectors for a 40 x 40 Jacobian needs .*: use a smaller k"
    ):
        J.extremes(3)


@pytest.mark.parametrize("small", [0, 512])
def test_equal_components_are_all_counted(graphs, monkeypatch, small):
    """24 equal rings: every value of one is there 24 times, more often than the vectors of a block."""
    monkeypatch.setattr(operator, "_SMALL_BLOCK", small)
    ring = graphs.ring(5)
    copies = 5 * np.repeat(np.arange(24), ring["senders"].size)
    edges = {end: np.tile(ring[end], 24) + copies for end in ("senders", "receivers")} | {"num_nodes": 120}
    J, sigma = propagated(edges)
    found = J.extremes(30, certify=True)
    assert found.certified.all()
    np.testing.assert_allclose(found.values, sigma[:30], rtol=0, atol=1e-7 * sigma[0])
    assert (found.upper >= sigma[:30]).all()


def test_zero_rows_are_zero_singular_values():
    graph = jg.prepare(senders=np.arange(5), receivers=np.arange(1, 6), num_nodes=6, undirected=False)
    mask = np.array([1.0, 0, 1, 0, 0, 1])[:, None]
    J = jg.jacobian(lambda h: mask * h**2, np.arange(1.0, 7)[:, None], graph)
    found = J.extremes(6, certify=True)
    np.testing.assert_allclose(found.values, [12, 6, 2, 0, 0, 0], atol=1e-12)
    assert found.certified.all()


def with_values(sigma, rows=60, columns=50):
    """A matrix with these singular values, and zeros."""
    U, V = (np.linalg.qr(signal(n, n, seed=n))[0][:, : len(sigma)] for n in (rows, columns))
    return (U * sigma) @ V.T


def products_of(M):
    times = lambda A: lambda V: V @ A.T  # noqa: E731
    return Products(times(M), times(M.T), M.shape[1:], M.shape[:1], M.dtype, 8)


def counting(sigma, *, wrong=0, error=0.0):
    """A factorisation that counts the singular values above its shift, `wrong` too many."""
    shifts = []

    def factorise(shift):
        shifts.append(shift)
        return SimpleNamespace(shift=shift, count=int((sigma > shift).sum()) + wrong, error=error)

    return factorise, shifts


DOUBLE = {"eps": np.finfo(float).eps, "tolerance": 1e-8, "max_products": 4000}
APART = np.concatenate([[3.0, 2.5, 2.5, 2.0, 1.0], np.linspace(0.5, 0.1, 30)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wrong", [-1, 0, 1])
def test_a_count_that_differs_by_one_proves_nothing(wrong, dtype):
    M = with_values(APART).astype(dtype)
    options = DOUBLE if dtype == np.float64 else DOUBLE | {"eps": float(np.finfo(dtype).eps), "tolerance": 1e-4}
    factorise, shifts = counting(APART, wrong=wrong)
    found = extremes.largest([products_of(M)], np.zeros(0), 4, factorise=factorise, **options)
    rounding = 50 * options["eps"] * found.values[0]
    ritz = largest_ritz(products_of(M), 4, tolerance=options["tolerance"], max_products=4000)
    np.testing.assert_array_equal(found.values, ritz.values[:4])
    # Lower bounds by interlacing, up to the rounding of the products.
    np.testing.assert_array_equal(found.lower, found.values - rounding)
    # In the middle of the gap between 2 and 1.
    assert len(shifts) == 1
    assert shifts[0] == pytest.approx(1.5, abs=1e-2)
    if wrong:
        assert not found.certified.any()
        np.testing.assert_allclose(found.upper, found.values + ritz.residuals[:4] + rounding, rtol=1e-15)
    else:
        assert found.certified.all()
        together = np.sqrt(np.sum(ritz.residuals[:4] ** 2)) + rounding
        np.testing.assert_allclose(found.upper, found.values + together, rtol=1e-15)


def test_a_value_that_was_missed_is_not_certified():
    # Ten copies and a block of eight, which has converged and does not restart: two are not among the Ritz values.
    sigma = np.repeat([3.0, 0.2], [10, 30])
    factorise, shifts = counting(sigma)
    found = extremes.largest([products_of(with_values(sigma))], np.zeros(0), 9, factorise=factorise, **DOUBLE)
    assert found.values[7] == pytest.approx(3, rel=1e-12)
    assert found.values[8] < sigma[8] - 1  # missed
    assert len(shifts) == 1
    assert found.values[8] < shifts[0] < 3
    assert not found.certified.any()
    assert (found.upper < sigma[:9]).any()  # and without a certificate nothing is claimed of them


@pytest.mark.parametrize("more", [-1e-9, 1e-9])
def test_a_shift_whose_error_reaches_the_values_proves_nothing(more):
    M = with_values(APART)
    ritz = largest_ritz(products_of(M), 4, tolerance=1e-8, max_products=4000)
    rounding = 50 * DOUBLE["eps"] * ritz.values[0]
    lowest = ritz.values[3] - np.linalg.norm(ritz.residuals[:4]) - rounding
    shift = counting(APART)
    extremes.largest([products_of(M)], np.zeros(0), 4, factorise=shift[0], **DOUBLE)
    factorise, _ = counting(APART, error=lowest - shift[1][0] + more)
    found = extremes.largest([products_of(M)], np.zeros(0), 4, factorise=factorise, **DOUBLE)
    assert found.certified.all() == (more < 0)
    assert found.certified.any() == (more < 0)


def test_after_the_last_gap_the_shift_is_the_upper_bound():
    # The second to the sixth are a cluster that no shift is set into: two values before it, four of the six wanted.
    sigma = np.concatenate([[3.0, 2.0], 1 - 1e-9 * np.arange(20), np.linspace(0.5, 0.1, 20)])
    factorise, shifts = counting(sigma, error=1e-5)
    found = extremes.largest([products_of(with_values(sigma))], np.zeros(0), 6, factorise=factorise, **DOUBLE)
    assert found.certified.all()
    assert 1 < shifts[0] < 1.1
    np.testing.assert_allclose(found.upper[2:], shifts[0] + 1e-5 + 50 * DOUBLE["eps"] * found.values[0], rtol=1e-15)
    assert (found.upper[:2] < found.values[:2] + 1e-6).all()


def test_known_values_are_bounded_by_rounding_alone():
    known = np.array([2.0, 1.0, 0.5])
    factorise, _ = counting(known)
    found = extremes.largest([], known, 3, factorise=factorise, **DOUBLE)
    assert found.certified.all()
    rounding = 50 * DOUBLE["eps"] * 2
    np.testing.assert_array_equal(found.lower, known - rounding)
    np.testing.assert_allclose(found.upper[:2], known[:2] + rounding, rtol=1e-16)


def sparse_layer(sigma=None):
    """A sparse J whose singular values are isolated, its ordering, and LAPACK's values ascending."""
    M = np.diag(np.linspace(1, 2, 40)) + np.diag(np.full(39, 0.3), 1)
    M[:, :3] = 0  # three columns are 0: three null vectors
    M = sp.csr_matrix(M[:, 3:])
    ordering = order(M, np.arange(40), np.arange(37))
    return M, ordering, np.linalg.svd(M.toarray(), compute_uv=False)[::-1]


class Inexact(ShiftedFactor):
    """A factorisation with another count and another error."""

    def changed(self, more, error):
        self.count += more
        self.__dict__["error"] = error
        return self


@pytest.mark.parametrize(("at_zero", "elsewhere", "sure"), [(0.49, 0.0, True), (0.5, 0.0, False), (0.0, 1.0, False)])
def test_the_smallest_are_certified_where_no_shift_errs_too_much(at_zero, elsewhere, sure):
    J, ordering, sigma = sparse_layer()
    tolerance, asked = 1e-13, []

    def factorise(shift):
        asked.append(shift)
        error = at_zero * tolerance if shift == tolerance else 1e-14 + elsewhere
        return Inexact(J, shift, ordering).changed(0, error)

    found = extremes.smallest(J, 3, rank_tolerance=tolerance, top=2.5, factorise=factorise)
    assert found.certified.tolist() == [sure] * 3
    assert len(asked) >= 2
    np.testing.assert_allclose(found.values, sigma[:3], rtol=0, atol=1e-12)
    together = found.upper - found.values
    assert (together < 1e-9).all()
    assert (together >= 50 * DOUBLE["eps"] * 2.5).all()
    np.testing.assert_allclose(found.values - found.lower, together, rtol=0.1)


def test_the_precision_of_the_entries_is_in_the_bounds_of_the_smallest():
    J, ordering, _ = sparse_layer()
    equal = sp.csr_matrix(sp.eye_array(100))
    for matrix, at in ((J, ordering), (equal, order(equal, np.arange(100), np.arange(100)))):
        found = [
            extremes.smallest(
                matrix,
                2,
                rank_tolerance=1e-13,
                top=2.5,
                factorise=lambda s, a=(matrix, at): ShiftedFactor(a[0], s, a[1]),
                **options,
            )
            for options in ({}, {"eps": 1e-9})
        ]
        np.testing.assert_array_equal(found[0].values, found[1].values)
        more = 50 * (1e-9 - DOUBLE["eps"]) * 2.5
        np.testing.assert_allclose(found[1].upper - found[0].upper, more, rtol=1e-6)
        np.testing.assert_allclose(found[0].lower - found[1].lower, more, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 4])
def test_a_value_lanczos_takes_from_the_null_space_is_not_certified(monkeypatch, k):
    J, ordering, _ = sparse_layer()
    eigsh = sp.linalg.eigsh

    def with_a_zero(*args, **options):
        values, X = eigsh(*args, **options)
        return np.append(values[1:], 1e-15), X

    monkeypatch.setattr(extremes.sp.linalg, "eigsh", with_a_zero)
    found = extremes.smallest(J, k, rank_tolerance=1e-13, top=2.5, factorise=lambda s: ShiftedFactor(J, s, ordering))
    assert not found.certified.any()
    assert (found.upper == np.inf).all()


def test_values_no_shift_tells_apart_have_the_shifts_around_them_as_bounds():
    # A hundred equal values, two wanted, and no shift has few of them below: Lanczos is not asked.
    J = sp.csr_matrix(sp.eye_array(100))
    ordering = order(J, np.arange(100), np.arange(100))
    found = extremes.smallest(J, 2, rank_tolerance=1e-13, top=1.0, factorise=lambda s: ShiftedFactor(J, s, ordering))
    assert (found.lower <= 1).all()
    assert (found.upper >= 1).all()
    assert (found.upper - found.lower < 1e-2).all()
    np.testing.assert_allclose(found.values, (found.lower + found.upper) / 2, rtol=1e-9)
    assert (np.abs(found.values - 1) > 1e-9).all()


@pytest.mark.parametrize(
    ("factor", "sure", "null_dim"), [(0.49, True, 1), (0.51, False, 1), (1.49, False, 0), (1.51, True, 0)]
)
def test_values_that_rounding_may_put_on_either_side_of_the_rank_tolerance(factor, sure, null_dim):
    eps, shape = DOUBLE["eps"], (3000, 2000)
    tolerance = 3000 * eps * 2
    values = np.array([2.0, 1.0, 0.5, factor * tolerance])
    found = extremes.from_all(values, 3, shape, eps)
    assert found.certified.all() == found.certified.any() == sure
    assert (found.null_dim, found.rank_tolerance) == (null_dim, tolerance)
    kept = values[::-1][null_dim : null_dim + 3]
    np.testing.assert_array_equal(found.values, kept)
    error = dense.errors(values, eps)[::-1][null_dim : null_dim + 3]
    np.testing.assert_array_equal(found.upper, kept + error)
    np.testing.assert_array_equal(found.lower, kept - error)


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_of_clusters_lie_inside_their_bounds(seed):
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((300, 300)))[0] for _ in range(2))
    for level in (1.01e-3, 1.01 * dense._split(300)):
        sigma = np.repeat([1.0, level, 0.0], [150, 75, 75])
        M = (U * sigma) @ V.T
        found = jg.jacobian(Partial(jnp.matmul, M), np.ones(300)).extremes(75, which="smallest")
        assert found.null_dim == 75
        assert found.certified.all()
        assert ((found.lower <= level) & (level <= found.upper)).all()


SEARCHED = settings(max_examples=60, deadline=None)


@given(st.integers(0, 10**6), st.sampled_from([np.float32, np.float64]), st.integers(1, 12))
@SEARCHED
def test_bounds_of_random_clusters(seed, dtype, k):
    # Lower bounds always; upper bounds where the count, which is LAPACK's here, certifies them.
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.random(4))[::-1]
    sigma = np.sort(np.repeat(levels, rng.integers(1, 12, 4)) * (1 + rng.choice([0, 1e-9, 1e-4]) * rng.random()))[::-1]
    U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0][:, : sigma.size] for n in (60, 50))
    M = ((U * sigma) @ V.T).astype(dtype)
    sigma = np.linalg.svd(M.astype(np.float64), compute_uv=False)
    single = {"eps": float(np.finfo(dtype).eps), "tolerance": 1e-4, "max_products": 4000}
    factorise, _ = counting(sigma)
    found = extremes.largest(
        [products_of(M)], np.zeros(0), k, factorise=factorise, **(DOUBLE if dtype == np.float64 else single)
    )
    assert (found.lower <= sigma[: found.values.size]).all()
    assert (found.upper >= sigma[: found.values.size])[found.certified].all()


@pytest.mark.parametrize("exact_below", [0, 2048])
def test_zero_rows_and_blocks_that_are_not_square_leave_zeros(monkeypatch, exact_below):
    # A block 1 x 3, one 3 x 1, two zero rows and columns: two of six singular values are not 0.
    monkeypatch.setattr(operator, "_EXACT_BELOW", exact_below)
    M = np.zeros((6, 6))
    M[0, :3], M[1:4, 3] = [3, 0.5, 4], [1, 2, 0.5]
    J = jg.jacobian(lambda h: M @ h, signal(6, 1))
    expected = [np.sqrt(25.25), np.sqrt(5.25), 0, 0, 0, 0]
    found = J.extremes(6, certify=True)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)
    assert found.certified.all()
    found = J.extremes(3, which="smallest")
    np.testing.assert_allclose(found.values, expected[1::-1], rtol=1e-12)
    assert found.null_dim == 4


@given(st.integers(0, 10**6), st.integers(1, 9))
@SEARCHED
def test_the_smallest_of_random_clusters(seed, k):
    # By factorisations: certified bounds hold for values known by construction, and nearly all are certified.
    rng = np.random.default_rng(seed)
    levels = rng.choice([1.0, 0.3, 1e-2, 1e-5, 1e-8, 1e-11], 3, replace=False)
    sigma = np.repeat(np.append(levels, 0.0), np.append(rng.integers(1, 8, 3), rng.integers(0, 6)))
    sigma = np.sort(sigma * (1 + rng.choice([0.0, 1e-12, 1e-6]) * rng.standard_normal(sigma.size)))[::-1]
    U, V = (np.linalg.qr(rng.standard_normal((sigma.size, sigma.size)))[0] for _ in range(2))
    J = sp.csr_matrix((U * sigma) @ V)
    nodes = np.arange(sigma.size) // 4
    ordering = order(J, nodes, nodes)
    found = extremes.smallest(
        J, k, rank_tolerance=1e-13, top=1.01 * sigma[0], factorise=lambda s: ShiftedFactor(J, s, ordering)
    )
    positive = sigma[sigma > 1e-13][::-1][:k]
    assert found.values.size == positive.size
    rounding = 4 * sigma.size * np.finfo(float).eps * sigma[0]  # of the construction
    assert (found.upper >= positive - rounding)[found.certified].all()
    assert (found.lower <= positive + rounding)[found.certified].all()
    if found.certified.any():
        assert found.null_dim == (sigma <= 1e-13).sum()
    assert found.certified.any() or sigma[0] < 0.1 or positive.size < k or positive[0] < 1e-10

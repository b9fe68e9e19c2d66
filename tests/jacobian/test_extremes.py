import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
import jaxgnn.memory
from jaxgnn.jacobian import operator

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
    monkeypatch.setattr(jaxgnn.memory, "available_bytes", lambda: 1000)
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
    graph = jg.prepare(senders=np.arange(5), receivers=np.arange(1, 6), num_nodes=6)
    mask = np.array([1.0, 0, 1, 0, 0, 1])[:, None]
    J = jg.jacobian(lambda h: mask * h**2, np.arange(1.0, 7)[:, None], graph)
    found = J.extremes(6, certify=True)
    np.testing.assert_allclose(found.values, [12, 6, 2, 0, 0, 0], atol=1e-12)
    assert found.certified.all()

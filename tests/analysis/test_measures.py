from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import jaxgnn as jg
from jaxgnn.analysis import measures

EPS = float(np.finfo(np.float32).eps)
SIGNALS = arrays(np.float32, (5, 3), elements=st.floats(-100, 100, width=32))
# Of X alone, with a gradient everywhere.
SMOOTH = ("norm", "mu", "relative_mu", "energy", "mean_cosine")
RANKS = ("effective_rank", "stable_rank")


def signal(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def pairwise_energy(X):
    return np.sqrt(sum(np.sum((a - b) ** 2) for a in X for b in X) / (2 * len(X) ** 2))


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths else 0.0


@pytest.fixture
def on_graph(graphs):
    """Every measure as a function of X alone, on a ring of 6."""
    graph = jg.prepare(**graphs.ring(6), normalisation="sym")
    P, components = graph.propagation, jnp.array([0, 0, 1, 1, 1, 2])
    of_x = {name: getattr(measures, name) for name in (*SMOOTH, *RANKS, "numerical_rank")}
    return of_x | {
        "dirichlet": partial(measures.dirichlet, P=P),
        "normalised_dirichlet": partial(measures.normalised_dirichlet, P=P),
        "mad": partial(measures.mad, graph=graph),
        "off_span": partial(measures.off_span, v=np.arange(6.0)),
        "off_degree_span": partial(measures.off_degree_span, P=P),
        "mu_per_component": partial(measures.mu_per_component, components=components, num_components=3),
        "energy_per_component": partial(measures.energy_per_component, components=components, num_components=3),
    }


ALL = (*SMOOTH, *RANKS, "numerical_rank", "dirichlet", "normalised_dirichlet", "mad", "off_span", "off_degree_span")
ALL += ("mu_per_component", "energy_per_component")
DIFFERENTIABLE = tuple(name for name in ALL if name != "numerical_rank")


def test_mu_energy_and_norm_are_their_sums(x64):
    X = np.asarray(signal(7, 3, dtype=np.float64))
    assert measures.norm(jnp.asarray(X)) == pytest.approx(np.sqrt(np.sum(X**2)), rel=1e-14)
    assert measures.energy(jnp.asarray(X)) == pytest.approx(pairwise_energy(X), rel=1e-13)
    assert measures.mu(jnp.asarray(X)) == pytest.approx(np.sqrt(7) * pairwise_energy(X), rel=1e-13)
    assert measures.relative_mu(jnp.asarray(X)) == pytest.approx(
        np.sqrt(7 * pairwise_energy(X) ** 2 / np.sum(X**2)), rel=1e-13
    )


@settings(deadline=None, max_examples=50, derandomize=True)
@given(SIGNALS)
def test_norm_splits_into_mu_and_the_mean(X):
    mean = np.sqrt(5) * np.linalg.norm(X.astype(np.float64).mean(axis=0))
    square = float(measures.norm(jnp.asarray(X))) ** 2
    assert float(measures.mu(jnp.asarray(X))) ** 2 + mean**2 == pytest.approx(square, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("name", ["mu", "energy", "relative_mu"])
def test_zero_on_constant_columns_and_on_nothing_else(name):
    measure = getattr(measures, name)
    constant = jnp.broadcast_to(jnp.array([1.0, -3.0, 0.5]), (8, 3))
    assert measure(constant) == 0
    assert measure(jnp.zeros((8, 3))) == 0
    assert measure(constant.at[2, 1].add(1e-3)) > 1e-4 / 8


@pytest.mark.parametrize("name", ["mu", "energy", "off_span", "off_degree_span"])
@settings(deadline=None, max_examples=50, derandomize=True)
@given(X=SIGNALS, Y=SIGNALS)
def test_triangle_inequality(name, X, Y):
    edges = {"senders": [0, 1, 1], "receivers": [1, 0, 2], "num_nodes": 5, "undirected": False}
    other = {"off_span": np.arange(5.0), "off_degree_span": jg.prepare(**edges).propagation}
    arguments = [other[name]] if name in other else []
    values = [float(getattr(measures, name)(jnp.asarray(Z), *arguments)) for Z in (X + Y, X, Y)]
    rounding = 20 * EPS * float(np.linalg.norm(X) + np.linalg.norm(Y))
    assert values[0] <= values[1] + values[2] + rounding


@pytest.mark.parametrize("name", ["norm", "mu", "energy"])
def test_homogeneous(name):
    measure, X = getattr(measures, name), signal(6, 3)
    np.testing.assert_allclose(measure(-2.5 * X), 2.5 * measure(X), rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["relative_mu", "normalised_dirichlet", "mad", "mean_cosine", *RANKS, "numerical_rank"]
)
def test_scale_does_not_matter(on_graph, name):
    X = signal(6, 3)
    np.testing.assert_allclose(on_graph[name](1e-3 * X), on_graph[name](X), rtol=1e-5)
    np.testing.assert_allclose(on_graph[name](-1e3 * X), on_graph[name](X), rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_rotating_the_features_does_not_matter(on_graph, name):
    Q = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    X = signal(6, 3)
    np.testing.assert_allclose(on_graph[name](X @ jnp.asarray(Q, np.float32)), on_graph[name](X), rtol=1e-5)


@pytest.mark.parametrize("name", ["row", "sym", "doubly"])
def test_dirichlet_is_the_trace(graphs, name, x64):
    P = jg.prepare(**graphs.several_components(), normalisation=name).propagation
    X = np.asarray(signal(16, 3, dtype=np.float64))
    expected = np.trace(X.T @ (np.eye(16) - P.dense()) @ X)
    assert measures.dirichlet(jnp.asarray(X), P) == pytest.approx(expected, rel=1e-12)
    assert measures.dirichlet(jnp.asarray(X), jnp.asarray(P.dense())) == pytest.approx(expected, rel=1e-12)
    assert measures.normalised_dirichlet(jnp.asarray(X), P) == pytest.approx(expected / np.sum(X**2), rel=1e-12)


def test_dirichlet_of_a_stochastic_matrix_is_half_the_sum_over_edges(graphs, x64):
    P = jg.prepare(**graphs.star(6), normalisation="doubly").propagation
    X, A = np.asarray(signal(6, 2, dtype=np.float64)), P.dense()
    expected = sum(A[u, v] * np.sum((X[u] - X[v]) ** 2) for u in range(6) for v in range(6)) / 2
    assert measures.dirichlet(jnp.asarray(X), P) == pytest.approx(expected, rel=1e-12)


def test_dirichlet_vanishes_on_the_root_of_the_degrees_of_each_component(graphs, x64):
    graph = jg.prepare(**graphs.several_components(), normalisation="sym")
    root = np.sqrt(graph.propagation.degree)
    members = jg.components(graph)[:, None] == np.arange(5)
    X = jnp.asarray(root[:, None] * members * [1.0, -2.0, 3.0, 0.5, 1.0])
    assert abs(float(measures.dirichlet(X, graph.propagation))) <= 1e-13
    assert measures.dirichlet(jnp.ones((16, 1)), graph.propagation) > 0.1


def test_dirichlet_of_a_signal_close_to_the_root_of_the_degrees(graphs, x64):
    # Of size 1e-18 where the sum of squares is of size 1: a form that cancels has no digit of it.
    graph = jg.prepare(**graphs.star(9), normalisation="sym")
    root = np.sqrt(np.r_[9.0, 2 * np.ones(8)])
    z = 1 + 1e-9 * np.asarray(signal(9, dtype=np.float64))
    found = float(measures.dirichlet(jnp.asarray((root * z)[:, None]), graph.propagation))
    assert found == pytest.approx(np.sum((z[1:] - z[0]) ** 2), rel=1e-6, abs=0)


@pytest.mark.parametrize("k", range(5))
def test_eigenvectors_of_the_ring_have_one_minus_their_eigenvalue(graphs, k, x64):
    n = 9
    P = jg.prepare(**graphs.ring(n)).propagation
    X = jnp.outer(jnp.cos(2 * jnp.pi * k * jnp.arange(n) / n), jnp.array([1.0, -2.0]))
    eigenvalue = (1 + 2 * np.cos(2 * np.pi * k / n)) / 3
    assert measures.normalised_dirichlet(X, P) == pytest.approx(1 - eigenvalue, abs=1e-14)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(arrays(np.float32, (6, 2), elements=st.floats(-100, 100, width=32)))
def test_ranges_on_any_signal(X):
    v = np.arange(6)
    graph = jg.prepare(senders=np.r_[v, (v + 1) % 6], receivers=np.r_[(v + 1) % 6, v], num_nodes=6)
    X = jnp.asarray(X)
    slack = 1e-5
    assert 0 <= measures.relative_mu(X) <= 1 + slack
    assert -slack <= measures.normalised_dirichlet(X, graph.propagation) <= 2 + slack
    assert -slack <= measures.mad(X, graph) <= 2 + slack
    assert -1 - slack <= measures.mean_cosine(X) <= 1 + slack
    rank = int(measures.numerical_rank(X, 0.0))
    for name in RANKS:
        value = float(getattr(measures, name)(X))
        assert (value == 0) if not X.any() else (1 - slack <= value <= max(rank, 1) + slack)


def test_normalised_dirichlet_reaches_its_end(graphs):
    P = jg.prepare(**graphs.ring(6), normalisation="row", loops=False).propagation
    alternating = jnp.array([1.0, -1.0] * 3)[:, None]
    np.testing.assert_allclose(measures.normalised_dirichlet(alternating, P), 2, rtol=1e-6)


def test_mad_is_the_mean_over_nodes_of_the_mean_over_their_neighbours(graphs, x64):
    edges = graphs.directed()
    X = np.asarray(signal(12, 3, dtype=np.float64)).copy()
    X[4] = 0
    pairs = set(zip(edges["receivers"].tolist(), edges["senders"].tolist(), strict=True))
    means = []
    for v in range(12):
        reached = [u for w, u in pairs if w == v and u != v]
        if reached:
            means.append(np.mean([1 - cosine(X[v], X[u]) for u in reached]))
    assert 0 < len(means) < 12
    assert measures.mad(jnp.asarray(X), jg.prepare(**edges)) == pytest.approx(np.mean(means), rel=1e-12)


def test_mad_of_parallel_opposite_and_absent_neighbours(graphs):
    ring = jg.prepare(**graphs.ring(6))
    direction = jnp.array([3.0, 4.0])
    np.testing.assert_allclose(measures.mad(jnp.outer(jnp.arange(1.0, 7), direction), ring), 0, atol=1e-6)
    np.testing.assert_allclose(measures.mad(jnp.outer(jnp.array([1.0, -1] * 3), direction), ring), 2, rtol=1e-6)
    np.testing.assert_allclose(measures.mad(jnp.zeros((6, 2)), ring), 1)
    assert measures.mad(jnp.ones((4, 2)), jg.prepare(**graphs.edgeless(4))) == 0


def test_mean_cosine_is_the_mean_over_pairs(x64):
    X = np.asarray(signal(6, 3, dtype=np.float64)).copy()
    X[2] = 0
    expected = np.mean([cosine(X[i], X[j]) for i in range(6) for j in range(6) if i != j])
    assert measures.mean_cosine(jnp.asarray(X)) == pytest.approx(expected, rel=1e-12)
    assert measures.mean_cosine(jnp.outer(jnp.arange(1.0, 5), jnp.array([1.0, -2]))) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("name", [*RANKS, "numerical_rank"])
def test_ranks_of_rank_one_identity_and_zero(name, x64):
    measure = getattr(measures, name)
    assert measure(jnp.outer(jnp.arange(1.0, 8), jnp.array([1.0, -2.0, 0.5]))) == pytest.approx(1, abs=1e-12)
    assert measure(jnp.eye(5)) == pytest.approx(5, rel=1e-12)
    assert measure(jnp.zeros((5, 3))) == 0


def test_ranks_of_known_singular_values(x64):
    X = jnp.zeros((5, 3)).at[:3, :3].set(jnp.diag(jnp.array([2.0, 1.0, 1.0])))
    assert measures.stable_rank(X) == pytest.approx(6 / 4, rel=1e-14)
    # p = 1/2, 1/4, 1/4: entropy 3/2 log 2
    assert measures.effective_rank(X) == pytest.approx(2**1.5, rel=1e-14)


def orthonormal(n, d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, d)))[0]


@pytest.mark.parametrize(("n", "d"), [(300, 5), (7, 5), (5, 5), (4, 9)])
@pytest.mark.parametrize("q", [1.0, 0.5, 1e-3])
def test_ranks_of_geometric_singular_values(n, d, q, dtype):
    m = min(n, d)
    sigma = q ** np.arange(m)
    X = (orthonormal(n, m) * sigma @ orthonormal(d, m, seed=1).T).astype(dtype)
    p = sigma / sigma.sum()
    tolerance = 16 * m * float(np.finfo(dtype).eps)
    assert measures.effective_rank(X) == pytest.approx(np.exp(-np.sum(p * np.log(p))), rel=40 * tolerance)
    assert measures.stable_rank(X) == pytest.approx(np.sum(sigma**2), rel=tolerance)
    if q == 1:
        assert measures.effective_rank(X) == pytest.approx(m, rel=tolerance)


@pytest.mark.parametrize("name", RANKS)
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_ranks_do_not_change_with_scale_and_rotations(name, scale, dtype):
    X = np.random.default_rng(0).standard_normal((40, 4)) * [1, 0.1, 3, 1e-3]
    sigma = np.linalg.svd(X, compute_uv=False)
    p = sigma / sigma.sum()
    exact = {"effective_rank": np.exp(-np.sum(p * np.log(p))), "stable_rank": np.sum(sigma**2) / sigma[0] ** 2}[name]
    eps = float(np.finfo(dtype).eps)
    for rotated in (X, orthonormal(40, 40) @ X, X @ orthonormal(4, 4), -X, np.pad(X, ((0, 60), (0, 0)))):
        assert getattr(measures, name)((rotated * scale).astype(dtype)) == pytest.approx(exact, rel=200 * eps)


@pytest.mark.parametrize("name", RANKS)
def test_ranks_of_layers_side_by_side_and_their_derivatives(name, x64):
    measure, rng = getattr(measures, name), np.random.default_rng(2)
    X = rng.standard_normal((3, 50, 4)) * np.array([1.0, 2.0, 0.5])[:, None, None]
    X[1, :, 3] = X[1, :, 0] - X[1, :, 1]  # rank 3
    np.testing.assert_allclose(jax.vmap(measure)(jnp.asarray(X)), [float(measure(x)) for x in X], rtol=1e-13)
    for x in X[::2] if name == "effective_rank" else X:  # p log p has no derivative at 0
        direction, step = rng.standard_normal(x.shape), 1e-6
        slope = (measure(jnp.asarray(x + step * direction)) - measure(jnp.asarray(x - step * direction))) / (2 * step)
        assert np.sum(jax.grad(measure)(jnp.asarray(x)) * direction) == pytest.approx(float(slope), rel=1e-5, abs=1e-7)


def test_numerical_rank_by_default_counts_above_the_larger_side_times_eps(x64):
    rng, eps = np.random.default_rng(0), np.finfo(np.float64).eps
    U, V = np.linalg.qr(rng.standard_normal((50, 3)))[0], np.linalg.qr(rng.standard_normal((3, 3)))[0]
    for last, rank in ((15 * eps, 2), (150 * eps, 3)):  # 50 eps lies between, 3 eps below both
        for X in (U @ np.diag([1, 0.5, last]) @ V, V @ np.diag([1, 0.5, last]) @ U.T):
            assert int(jg.measures.numerical_rank(jnp.asarray(X))) == rank


def test_numerical_rank_counts_above_its_tolerance():
    X = jnp.diag(jnp.array([1.0, 1e-3, 1e-12]))
    assert measures.numerical_rank(X) == 2
    assert measures.numerical_rank(X, tolerance=1e-2) == 1
    assert measures.numerical_rank(X, tolerance=1e-13) == 3
    assert jnp.issubdtype(measures.numerical_rank(X).dtype, jnp.integer)


def test_off_span_is_what_least_squares_leaves(x64):
    X, v = np.asarray(signal(7, 3, dtype=np.float64)), np.arange(1.0, 8)
    left = np.linalg.lstsq(v[:, None], X)[1]
    assert measures.off_span(jnp.asarray(X), v) == pytest.approx(np.sqrt(left.sum()), rel=1e-12)
    np.testing.assert_allclose(measures.off_span(jnp.outer(v, jnp.array([1.0, -2])), v), 0, atol=1e-13)
    assert measures.off_span(jnp.ones((7, 1)), np.zeros(7)) == pytest.approx(np.sqrt(7))


def test_off_degree_span_is_zero_where_sym_collapses_to(graphs, x64):
    P = jg.prepare(**graphs.star(6), normalisation="sym").propagation
    X = signal(6, 2, dtype=np.float64)
    far = measures.off_degree_span(X, P)
    for _ in range(100):
        X = P @ X
    assert measures.off_degree_span(X, P) <= 1e-13 * far
    assert measures.off_degree_span(jnp.ones((6, 1)), P) > 0.1


def test_of_components_is_of_each_component_alone(graphs, x64):
    graph = jg.prepare(**graphs.several_components())
    components = jg.components(graph)
    X = signal(16, 3, dtype=np.float64)
    mu = measures.mu_per_component(X, components, 5)
    energy = measures.energy_per_component(X, components, 5)
    for c in range(5):
        rows = np.asarray(X)[components == c]
        assert energy[c] == pytest.approx(pairwise_energy(rows), rel=1e-12, abs=1e-15)
        assert mu[c] == pytest.approx(np.sqrt(len(rows)) * pairwise_energy(rows), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_finite_where_norms_vanish(on_graph, name):
    X = jnp.asarray([np.zeros((6, 3)), np.ones((6, 3)), 0.1 * np.ones((6, 3)), np.eye(6, 3)], np.float32)
    gradients = jax.jit(jax.vmap(jax.grad(lambda X: jnp.sum(on_graph[name](X)))))(X)
    assert np.isfinite(gradients).all()
    if name not in RANKS:
        assert not np.any(gradients[0])


def test_gradient_of_mu_is_the_unit_direction(x64):
    X = np.asarray(signal(6, 3, dtype=np.float64))
    centred = X - X.mean(axis=0, keepdims=True)
    gradient = jax.grad(measures.mu)(jnp.asarray(X))
    np.testing.assert_allclose(gradient, centred / np.linalg.norm(centred), rtol=0, atol=1e-14)


def test_gradient_of_dirichlet_where_the_matrix_is_not_symmetric(graphs, x64):
    P = jg.prepare(**graphs.directed(), normalisation="row").propagation
    X, A = np.asarray(signal(12, 2, dtype=np.float64)), np.eye(12) - P.dense()
    np.testing.assert_allclose(jax.grad(measures.dirichlet)(jnp.asarray(X), P), (A + A.T) @ X, atol=1e-13)


@pytest.mark.parametrize("name", ALL)
def test_layers_and_seeds_are_leading_axes(on_graph, name):
    X = signal(2, 3, 6, 2)
    single = np.array([[on_graph[name](x) for x in layers] for layers in X])
    seeded = jax.jit(jax.vmap(jax.vmap(on_graph[name])))(X)
    np.testing.assert_allclose(seeded, single, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["norm", "mu", "relative_mu", "energy", "mean_cosine", *RANKS, "numerical_rank"])
def test_no_nodes_give_zero(name):
    assert getattr(measures, name)(jnp.zeros((0, 3))) == 0

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

import jaxgnn as jg
import jaxgnn.host.memory
from jaxgnn.jacobian import dense, operator
from jaxgnn.jacobian.kronecker import Factors


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


A = signal(3, 4, seed=9)


def plain(h):
    return jnp.sin(h) @ A.astype(h.dtype)


def set_distance(a, b):
    """Largest distance between two multisets of numbers, matched to make the sum smallest."""
    distance = np.abs(np.subtract.outer(a, b))
    return distance[linear_sum_assignment(distance)].max()


LAYERS = {
    "plain": {"activation": "relu"},
    "residual": {"activation": "relu", "residual": "identity", "bound": "frobenius"},
    "tanh": {"activation": "tanh"},
    "mlp": {"activation": "relu", "layer": "mlp"},
}


@pytest.fixture(params=LAYERS)
def layer(request, graphs, random_variables):
    """The Jacobian of a layer, several components and directed, in float64."""
    edges = graphs.several_components() if request.param in ("plain", "mlp") else graphs.directed()
    graph = jg.prepare(**edges, normalisation="row")
    model = jg.DeepGNN(depth=2, width=3, bound_c=0.75, **LAYERS[request.param])
    x = signal(graph.num_nodes, 3)
    params = random_variables(model, graph, x)
    return jg.jacobian(*model.layer_fn(params, graph, x, layer=1, dtype=np.float64))


def test_dense_is_the_central_differences(graphs, random_variables):
    graph = jg.prepare(**graphs.directed(), normalisation="row")
    model = jg.DeepGNN(depth=2, width=2, activation="tanh", residual="identity", bound="frobenius")
    x = signal(12, 2)
    f, h = model.layer_fn(random_variables(model, graph, x), graph, x, layer=1, dtype=np.float64)
    step, columns = 1e-5, []
    for entry in np.eye(24).reshape(24, 12, 2):  # row-major: vec(X)[v d + i] = X[v, i]
        difference = np.asarray(f(h + step * entry)) - np.asarray(f(h - step * entry))
        columns.append(difference.ravel() / (2 * step))
    np.testing.assert_allclose(jg.jacobian(f, h).dense(), np.array(columns).T, rtol=0, atol=1e-9)


def test_products_are_those_of_the_dense_matrix(layer):
    rows, columns = layer.shape
    v, u = signal(columns), signal(rows, seed=1)
    np.testing.assert_allclose(layer.mv(v), layer.dense() @ v, rtol=0, atol=1e-13)
    np.testing.assert_allclose(layer.rmv(u), layer.dense().T @ u, rtol=0, atol=1e-13)


def test_products_keep_the_form_and_the_precision_they_are_given():
    for dtype in (np.float64, np.float32):
        J = jg.jacobian(plain, signal(5, 3, dtype=dtype))
        assert J.shape == (20, 15)
        v, u = signal(5, 3, dtype=dtype), signal(5, 4, dtype=dtype)
        assert J.mv(v).shape == (5, 4)
        assert J.rmv(u).shape == (5, 3)
        np.testing.assert_array_equal(J.mv(v.ravel()), np.ravel(J.mv(v)))
        np.testing.assert_array_equal(J.rmv(u.ravel()), np.ravel(J.rmv(u)))
        for product in (J.mv(v), J.mv(v.ravel()), J.rmv(u), J.rmv(u.ravel()), J.dense()):
            assert product.dtype == dtype


def test_adjoint(layer):
    rows, columns = layer.shape
    v, u = signal(columns), signal(rows, seed=1)
    size = np.linalg.norm(u) * np.linalg.norm(layer.dense()) * np.linalg.norm(v)
    assert abs(np.vdot(u, layer.mv(v)) - np.vdot(layer.rmv(u), v)) <= 1e-14 * size


def test_singular_values_are_those_of_the_whole_matrix(layer):
    values = layer.singular_values()
    expected = np.linalg.svd(layer.dense(), compute_uv=False)
    assert values.shape == (min(layer.shape),)
    assert values.dtype == np.float64
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10 * expected[0])


def test_relu_leaves_exact_zeros(graphs, random_variables):
    graph = jg.prepare(**graphs.several_components())
    model = jg.DeepGNN(depth=1, width=3)
    x = signal(16, 3)
    J = jg.jacobian(*model.layer_fn(random_variables(model, graph, x), graph, x, layer=0, dtype=np.float64))
    dead = ~J.dense().any(axis=1)
    assert dead.any()
    assert np.count_nonzero(J.singular_values() == 0) >= dead.sum()
    assert np.count_nonzero(J.eigenvalues() == 0) >= dead.sum()


def test_eigenvalues_are_those_of_the_whole_matrix(layer):
    values, J = layer.eigenvalues(), layer.dense()
    assert values.dtype == np.complex128
    assert values.shape == (len(J),)
    assert (np.diff(np.abs(values)) <= 0).all()
    for power in range(1, 5):  # well conditioned, unlike the eigenvalues: sum_i lambda_i^p = tr J^p
        scale = np.sum(np.abs(values) ** power)
        assert abs(np.sum(values**power) - np.trace(np.linalg.matrix_power(J, power))) <= 1e-12 * scale
    assert set_distance(values, np.linalg.eigvals(J)) <= 1e-6 * np.linalg.norm(J, 2)


def test_eigenvalues_of_one_way_edges_are_the_diagonal_exactly():
    # 0 -> 1 -> 2 -> .. with loops: one strong component a node. LAPACK on the whole Jordan-like block is 1e-3 off.
    n = 12
    edges = {"senders": np.arange(n - 1), "receivers": np.arange(1, n), "num_nodes": n}
    graph = jg.prepare(**edges, normalisation="row", undirected=False)
    values = jg.jacobian(lambda h: graph.propagation @ h, signal(n, 1)).eigenvalues()
    np.testing.assert_array_equal(values, [1.0] + [0.5] * (n - 1))


@pytest.mark.parametrize("n", [5, 8])
def test_spectrum_of_the_ring(graphs, n):
    P = jg.prepare(**graphs.ring(n)).propagation
    J = jg.jacobian(lambda h: P @ h, signal(n, 2))  # W = I
    expected = np.repeat((1 + 2 * np.cos(2 * np.pi * np.arange(n) / n)) / 3, 2)
    assert set_distance(J.eigenvalues(), expected) <= 1e-14
    np.testing.assert_allclose(J.singular_values(), np.sort(np.abs(expected))[::-1], rtol=0, atol=1e-14)


def test_spectrum_of_the_complete_graph(graphs):
    n, W = 6, np.diag([2.0, -1.0, 0.5])
    P = jg.prepare(**graphs.complete(n)).propagation
    J = jg.jacobian(lambda h: P @ h @ W, signal(n, 3))
    expected = np.concatenate([[2.0, -1.0, 0.5], np.zeros(3 * (n - 1))])
    assert set_distance(J.eigenvalues(), expected) <= 1e-14
    np.testing.assert_allclose(J.singular_values(), np.abs(expected), rtol=0, atol=1e-14)


def test_spectrum_of_the_directed_ring_is_complex(graphs):
    n = 7
    P = jg.prepare(**graphs.directed_ring(n), normalisation="raw").propagation
    J = jg.jacobian(lambda h: P @ h, signal(n, 1))
    root = np.exp(2j * np.pi * np.arange(n) / n)
    assert set_distance(J.eigenvalues(), root + root**2) <= 1e-14
    np.testing.assert_allclose(J.singular_values(), np.sort(np.abs(root + root**2))[::-1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("residual", ["none", "identity"])
def test_linear_layer_on_the_ring_has_a_block_for_each_frequency(graphs, random_variables, residual):
    # J is similar to the sum of (p I or 0) + p_i W over the eigenvalues p_i of P, here with an asymmetric W.
    n = 6
    graph = jg.prepare(**graphs.ring(n))
    model = jg.DeepGNN(depth=1, width=3, activation="identity", residual=residual)
    x = signal(n, 3)
    params = random_variables(model, graph, x)
    J = jg.jacobian(*model.layer_fn(params, graph, x, layer=0, dtype=np.float64))
    W, kept = params["params"]["stack"]["layer"]["linear"]["kernel"][0], np.eye(3) * (residual == "identity")
    blocks = [kept + p * W for p in (1 + 2 * np.cos(2 * np.pi * np.arange(n) / n)) / 3]
    singular = np.sort(np.concatenate([np.linalg.svd(b, compute_uv=False) for b in blocks]))[::-1]
    np.testing.assert_allclose(J.singular_values(), singular, rtol=0, atol=1e-13)
    assert set_distance(J.eigenvalues(), np.concatenate([np.linalg.eigvals(b) for b in blocks])) <= 1e-6


def test_any_function_and_other_widths():
    h = signal(5, 3)
    J = jg.jacobian(plain, h)
    expected = np.einsum("uv,vi,ij->ujvi", np.eye(5), np.cos(h), A).reshape(20, 15)
    np.testing.assert_allclose(J.dense(), expected, rtol=0, atol=1e-15)
    assert J.singular_values().shape == (15,)
    np.testing.assert_allclose(J.singular_values(), np.linalg.svd(expected, compute_uv=False), rtol=1e-12)
    with pytest.raises(ValueError, match=r"^a Jacobian of shape \(20, 15\) has no eigenvalues: it must be square$"):
        J.eigenvalues()


def test_single_precision_stays_and_agrees():
    single, double = (jg.jacobian(plain, signal(5, 3, dtype=dtype)) for dtype in (np.float32, np.float64))
    assert single.dense().dtype == np.float32
    assert double.dense().dtype == np.float64
    sigma = double.singular_values()
    np.testing.assert_allclose(single.singular_values(), sigma, rtol=0, atol=1e-4 * sigma[0])
    assert jnp.zeros(1).dtype == np.float32


def test_dense_is_computed_once():
    J = jg.jacobian(plain, signal(5, 3))
    assert J.dense() is J.dense()


def test_jax_and_numpy_points_are_alike(x64):
    np.testing.assert_array_equal(
        jg.jacobian(plain, signal(5, 3)).dense(), jg.jacobian(plain, jnp.asarray(signal(5, 3))).dense()
    )


def test_a_vector_to_a_vector():
    M = signal(4, 6)
    J = jg.jacobian(lambda h: M @ h, signal(6))
    np.testing.assert_array_equal(J.dense(), M)
    np.testing.assert_allclose(J.mv(np.arange(6.0)), M @ np.arange(6.0), rtol=1e-14)


def test_no_nodes():
    J = jg.jacobian(jnp.sin, np.zeros((0, 3)))
    assert J.dense().shape == (0, 0)
    assert J.singular_values().shape == (0,)
    assert J.eigenvalues().shape == (0,)
    assert J.extremes(k=3).values.shape == (0,)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_one_entry(value):
    J = jg.jacobian(lambda h: value * h, np.ones((1, 1)))
    np.testing.assert_array_equal(J.singular_values(), [value])
    np.testing.assert_array_equal(J.eigenvalues(), [value])


def test_a_dense_matrix_that_does_not_fit_is_refused(monkeypatch):
    J = jg.jacobian(plain, signal(5, 3))
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 1000)
    for method in (J.dense, J.singular_values, J.eigenvalues):
        with pytest.raises(
            MemoryError,
            match=r"^a dense 20 x 15 Jacobian needs .* GiB.*: use sparse\(\), extremes\(\), mv or rmv instead$",
        ):
            method()
    assert J.mv(signal(15)).shape == (20,)


@pytest.mark.parametrize("f", [lambda h: h / 0 * 0, lambda h: h / 0])
def test_a_value_that_is_not_finite_is_refused(f):
    with pytest.raises(ValueError, match=r"^f\(h\) is NaN or infinite: the Jacobian is not defined there$"):
        jg.jacobian(f, np.ones((2, 2)))


@pytest.mark.parametrize("dtype", [int, bool, complex])
def test_points_that_are_not_floating_point_are_refused(dtype):
    with pytest.raises(
        ValueError, match=r"^h has dtype .*: a Jacobian is taken at an array of floating-point numbers$"
    ):
        jg.jacobian(lambda h: h, np.ones((2, 2), dtype))


@pytest.mark.parametrize("spectrum", ["singular_values", "eigenvalues"])
def test_unknown_methods_and_missing_factors(spectrum):
    J = jg.jacobian(jnp.sin, signal(3, 3))
    with pytest.raises(ValueError, match=r"^method='magic' is not known: allowed are exact, kronecker$"):
        getattr(J, spectrum)(method="magic")
    with pytest.raises(ValueError, match=r'^method="kronecker" needs factors: jacobian\(f, h, factors=\(P, W\)\)$'):
        getattr(J, spectrum)(method="kronecker")


@pytest.mark.parametrize("product", ["mv", "rmv"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (5, 3, 1)])
def test_vectors_that_do_not_fit(product, shape):
    J = jg.jacobian(jnp.sin, signal(5, 3))
    with pytest.raises(ValueError, match=r"^a vector of shape .*: allowed are \(5, 3\) and its flat form$"):
        getattr(J, product)(np.ones(shape))


def test_a_jitted_function_of_float64_is_not_spoilt_by_float32_mode():
    f = jax.jit(lambda h: jnp.sin(h) ** 2)
    h = signal(3, 2)
    f(h.astype(np.float32))
    np.testing.assert_allclose(jg.jacobian(f, h).dense(), np.diag(np.sin(2 * h.ravel())), rtol=0, atol=1e-15)


def matrix(M, **options):
    return jg.jacobian(lambda h: M @ h, signal(M.shape[1], dtype=M.dtype), **options)


@pytest.mark.parametrize("k", [1, 2, 5, 20, 38])
def test_outer_eigenvalues_are_those_of_lapack(k):
    # Not normal, with complex pairs; the eigenvalues are kept apart.
    X = signal(40, 40, seed=2)
    blocks = [
        np.array([[a, b], [-b, a]]) for a, b in zip(np.linspace(0.5, 2, 10), np.linspace(1, 0.2, 10), strict=True)
    ]
    blocks += [np.array([[-0.1 * i]]) for i in range(1, 21)]
    D = np.zeros((40, 40))
    for i, block in enumerate(blocks):
        at = slice(2 * i, 2 * i + 2) if i < 10 else slice(10 + i, 11 + i)
        D[at, at] = block
    M = X @ D @ np.linalg.inv(X)
    expected = np.linalg.eigvals(M)
    assert np.linalg.norm(M @ M.T - M.T @ M) > np.linalg.norm(M)
    found = matrix(M).outer_eigenvalues(k)
    size = np.linalg.norm(M, 2)
    assert found.values.shape == found.residuals.shape == (k,)
    assert found.values.dtype == np.complex128
    assert (np.diff(np.abs(found.values)) <= 1e-9).all()
    np.testing.assert_allclose(np.abs(found.values), np.sort(np.abs(expected))[::-1][:k], rtol=0, atol=1e-9 * size)
    assert np.abs(found.values[:, None] - expected).min(axis=1).max() <= 1e-9 * size
    assert found.residuals.max() <= 1e-12 * size
    # A residual is what the smallest singular value of J - lambda I is below.
    for value, residual in zip(found.values, found.residuals, strict=True):
        smallest = np.linalg.svd(M - value * np.eye(40), compute_uv=False)[-1]
        assert smallest <= residual + 1e-14 * size


def test_residuals_are_those_of_the_vectors_found(monkeypatch):
    M = signal(12, 12)
    values, X = np.array([0.5, 2 + 1j, -1.0]), signal(12, 3, seed=1) + 1j * signal(12, 3, seed=2)
    X /= np.linalg.norm(X, axis=0)
    monkeypatch.setattr(operator.sp.linalg, "eigs", lambda *_, **__: (values, X))
    found = matrix(M).outer_eigenvalues(3)
    order = [1, 2, 0]  # by modulus
    np.testing.assert_array_equal(found.values, values[order])
    np.testing.assert_allclose(found.residuals, np.linalg.norm(M @ X - X * values, axis=0)[order], rtol=1e-12)


def test_outer_eigenvalues_in_single_precision():
    M = signal(40, 40)
    found = matrix(M.astype(np.float32)).outer_eigenvalues(4)
    expected = np.sort(np.abs(np.linalg.eigvals(M)))[::-1][:4]
    np.testing.assert_allclose(np.abs(found.values), expected, rtol=1e-3)
    assert found.residuals.max() <= 1e-3 * np.linalg.norm(M, 2)


def test_outer_eigenvalues_that_there_are_none_of():
    for k in (-1, 0, 9, 10):
        with pytest.raises(ValueError, match=rf"^k={k}: allowed are 1 to 8$"):
            matrix(signal(10, 10)).outer_eigenvalues(k)
    with pytest.raises(ValueError, match=r"^a Jacobian of shape \(4, 6\) has no eigenvalues: it must be square$"):
        matrix(signal(4, 6)).outer_eigenvalues(1)


def test_how_it_is_shown():
    assert repr(jg.jacobian(plain, signal(5, 3))) == "LayerJacobian(20 x 15, float64)"
    assert repr(jg.jacobian(plain, signal(5, 3, dtype=np.float32))) == "LayerJacobian(20 x 15, float32)"


def test_graph_and_factors_by_position_and_by_name(graphs):
    graph, W = jg.prepare(**graphs.ring(20)), signal(3, 3)
    f, h = lambda h: graph.propagation @ h @ W, signal(20, 3)
    expected = np.linalg.svd(np.kron(graph.propagation.dense(), W.T), compute_uv=False)
    factors = (graph.propagation, W)
    for J in (
        jg.jacobian(f, h, graph, factors),
        jg.jacobian(f, h, factors=factors, graph=graph),
        jg.jacobian(f=f, h=h, graph=graph, factors=Factors(*factors)),
    ):
        assert J.sparsity.pattern == "graph"
        for method in ("exact", "kronecker"):
            np.testing.assert_allclose(J.singular_values(method), expected, rtol=0, atol=1e-13 * expected[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_support_is_what_is_not_zero(dtype):
    M = signal(30, 20, dtype=dtype)
    M[::3], M[:, 1::4] = 0, 0
    rows, columns = matrix(M).support
    np.testing.assert_array_equal(rows, M.any(axis=1))
    np.testing.assert_array_equal(columns, M.any(axis=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 1}, "probes=1: allowed are 2 and more"),
        ({"steps": 1}, "steps=1: allowed are 2 and more"),
    ],
)
def test_quadrature_options_out_of_range(options, message):
    J = jg.jacobian(jnp.sin, signal(5, 2))
    for method in (J.quadrature, lambda **options: J.statistics("lanczos", **options), J.density):
        with pytest.raises(ValueError, match=f"^{message}$"):
            method(**options)


def test_quadrature_is_exact_where_the_steps_exhaust_the_space():
    # Each rule then has the singular values as its nodes, weighted by what its vector has of them.
    M = signal(8, 8)  # of more steps without re-orthogonalisation the last are less exact
    _, sigma, Vt = np.linalg.svd(M)
    J = matrix(M)
    rule, starts = J.quadrature(probes=5, steps=8), J._sampled(5, 8, 0).start
    assert (rule.size, rule.total, rule.steps, rule.zero_mass) == (8, 8, 8, 0)
    for nodes, weights, v in zip(rule.nodes, rule.weights, starts, strict=True):
        order = np.argsort(-nodes)
        np.testing.assert_allclose(nodes[order], sigma, rtol=0, atol=1e-6 * sigma[0])
        np.testing.assert_allclose(weights[order], (Vt @ v / np.linalg.norm(v)) ** 2, rtol=0, atol=1e-5)


def test_a_nan_of_the_derivative_is_refused():
    J = jg.jacobian(jnp.sqrt, np.zeros((20, 2)))
    for method in (
        J.dense,
        J.sparse,
        J.singular_values,
        J.extremes,
        J.density,
        J.quadrature,
        lambda: J.outer_eigenvalues(2),
        lambda: J.extremes(which="smallest"),
    ):
        with pytest.raises(ValueError, match=r"^the Jacobian is NaN or infinite at h: f is not differentiable there$"):
            method()


def test_factors_that_do_not_fit_in_memory(graphs, monkeypatch):
    monkeypatch.setattr(operator, "_EXACT_BELOW", 0)
    graph, W = jg.prepare(**graphs.ring(40)), signal(2, 2)
    J = jg.jacobian(lambda h: graph.propagation @ h @ W, signal(40, 2), graph)
    J.sparse(), J.extremes(1)
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 1000)
    with pytest.raises(MemoryError, match=r"^a Krylov space of .* vectors for a 80 x 80 Jacobian needs .* GiB, "):
        J.extremes(3, certify=False)
    # The vectors of one singular value fit, the factors do not.
    available = 3 * 80 * 160 * 8
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: available)
    entries, ordering = J._restricted
    J.__dict__["_restricted"] = (entries, ordering._replace(bytes=available + 1))
    for which in ("smallest", "largest"):
        with pytest.raises(MemoryError, match=r"^a factorisation of a 80 x 80 Jacobian needs .* GiB, .* are available"):
            J.extremes(1, which=which, certify=True)


@pytest.mark.parametrize("tail", [0, 40, 90, 200])
def test_singular_values_by_the_eigenvalues_of_an_accelerator(monkeypatch, tail):
    # `tail` values from 1e-4 down to 0: below what the Gram matrix knows.
    U, _ = np.linalg.qr(signal(300, 300, seed=1))
    V, _ = np.linalg.qr(signal(400, 300, seed=2))
    sigma = np.concatenate([np.linspace(3, 0.1, 300 - tail), np.geomspace(1e-4, 1e-15, tail)])
    M = U * sigma @ V.T
    expected = np.linalg.svd(M, compute_uv=False)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for A in (M, M.T):
        found = dense.svdvals(sp.csr_matrix(A))
        assert found.shape == (300,)
        assert (np.diff(found) <= 1e-15).all()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * expected[0])


def test_scipy_has_the_same_products(layer):
    J, A = layer.dense(), layer.to_scipy()
    assert A.shape == layer.shape
    assert A.dtype == np.float64
    V, U = signal(J.shape[1], 11), signal(J.shape[0], 11, seed=1)
    for found, expected in (
        (A @ V, J @ V),
        (A.T @ U, J.T @ U),
        (A @ V[:, 0], J @ V[:, 0]),
        (A.H @ U[:, 0], J.T @ U[:, 0]),
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    Z = V[:, 0] + 1j * V[:, 1]
    np.testing.assert_allclose(A @ Z, J @ Z, rtol=0, atol=1e-13)
    np.testing.assert_allclose(sp.linalg.svds(A, 3)[1][::-1], layer.singular_values()[:3], rtol=1e-10)


def test_scipy_takes_vectors_beyond_the_range_of_float32():
    J = jg.jacobian(plain, signal(5, 3, dtype=np.float32))
    A, v = J.to_scipy(), signal(15)
    for scale in (1e-200, 1.0, 1e200):
        np.testing.assert_allclose((A @ (scale * v)) / scale, J.mv(v), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(A @ np.arange(15), J.dense().astype(float) @ np.arange(15), rtol=1e-5, atol=1e-5)
    assert not np.any(A @ np.zeros((15, 2)))
    for broken in (np.nan, np.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            A @ np.full(15, broken)

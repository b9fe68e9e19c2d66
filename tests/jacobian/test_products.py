import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.jacobian import products
from jaxgnn.jacobian.products import lyapunov
from jaxgnn.network.residuals import RESIDUALS

CHAINS = (
    "none",
    "identity",
    "scaled",
    "depth_scaled",
    "gated",
    "gradient_gating",
    "ssm",
)  # neither X^(0) nor a state beside X


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def linear(h, A):
    """vec(h') = A vec(h)."""
    return (A @ h.ravel()).reshape(h.shape)


def repeated(A, layers):
    return np.broadcast_to(A, (layers, *A.shape))


@pytest.fixture
def network(graphs, random_variables):
    """A network of 5 blocks on a directed graph, its variables, x."""

    def make(residual, **options):
        graph = jg.prepare(**graphs.directed(), normalisation="row")
        model = jg.DeepGNN(depth=5, width=3, activation="tanh", residual=residual, **options)
        x = signal(12, 4)
        return model, random_variables(model, graph, x), graph, x

    return make


def dense(f, h):
    """The Jacobian by jacfwd and nothing of the operator."""
    with jax.enable_x64(True):
        return np.asarray(jax.jacfwd(f)(jnp.asarray(h))).reshape(-1, h.size)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_a_segment_has_the_product_of_its_layers_jacobians(network, residual):
    model, *at = network(residual, share_weights=residual in ("weighted", "identity"))
    product = np.eye(36)
    for layer in (1, 2, 3):
        product = dense(*model.layer_fn(*at, layer=layer, dtype=np.float64)) @ product
    J = jg.jacobian(*model.segment_fn(*at, start=1, stop=4, dtype=np.float64))
    scale = np.linalg.norm(product, 2)
    np.testing.assert_allclose(J.dense(), product, rtol=0, atol=1e-10 * scale)
    sigma = np.linalg.svd(product, compute_uv=False)
    np.testing.assert_allclose(J.singular_values(), sigma, rtol=0, atol=1e-10 * scale)
    u = signal(36, seed=1)
    np.testing.assert_allclose(J.rmv(u), product.T @ u, rtol=0, atol=1e-10 * scale * np.linalg.norm(u))


@pytest.mark.parametrize("residual", CHAINS)
def test_of_a_chain_it_is_the_total_derivative(network, x64, residual):
    model, params, graph, x = network(residual)
    taps = model.zero_taps(params, x)

    def last(h):
        return model.apply(params, graph, x, taps._replace(encoder=h), method="tapped")[1][-1]

    total = dense(last, np.zeros((12, 3)))
    J = jg.jacobian(*model.segment_fn(params, graph, x, dtype=np.float64)).dense()
    np.testing.assert_allclose(J, total, rtol=0, atol=1e-10 * np.linalg.norm(total, 2))


def test_exponents_of_a_diagonal_map_are_its_logarithms():
    moduli = np.array([3.0, -1.5, 1.0, 0.5, 0.1, 0.01])
    result = lyapunov(linear, signal(3, 2) * 1e-200, repeated(np.diag(moduli), 400), k=6)
    expected = np.log(np.abs(moduli))
    # Once Q has aligned every layer stretches by the modulus; before, the sum of the logarithms is off by a constant.
    np.testing.assert_allclose(result.history[-1], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.exponents, expected, rtol=0, atol=10 / 400)
    assert result.largest == result.exponents[0]
    assert (result.standard_error <= 0.05).all()
    assert result.history.shape == (400, 6)
    assert lyapunov(linear, signal(3, 2), repeated(np.diag(moduli), 9), k=2).exponents.shape == (2,)


def test_pairs_of_complex_eigenvalues_and_a_map_that_is_not_normal():
    def rotation(r, angle):
        return r * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    A = np.zeros((5, 5))
    A[:2, :2], A[2:4, 2:4], A[4, 4] = rotation(1.2, 0.7), rotation(0.9, 2.0), 0.3
    S = signal(5, 5, seed=3) + 2 * np.eye(5)
    A = S @ A @ np.linalg.inv(S)
    layers = 4000
    result = lyapunov(linear, np.zeros((5, 1)), repeated(A, layers), k=5)
    expected = np.log([1.2, 1.2, 0.9, 0.9, 0.3])
    # ||A^L q|| lies between r^L / cond(S) and r^L cond(S), and so for every volume.
    np.testing.assert_allclose(result.exponents, expected, rtol=0, atol=4 * np.log(np.linalg.cond(S)) / layers)


def test_the_sum_of_all_exponents_is_the_mean_log_determinant():
    weights = signal(30, 6, 6, seed=2)

    def step(h, W):
        return jnp.tanh(h @ W) + 0.5 * h

    h, total = signal(2, 6), 0.0
    result = lyapunov(step, h, weights, k=12)
    norms = [np.linalg.norm(h)]
    for W in weights:
        slope = 1 - np.tanh(h @ W) ** 2
        J = np.einsum("uv,vj,ij->ujvi", np.eye(2), slope, W).reshape(12, 12) + 0.5 * np.eye(12)
        total += np.linalg.slogdet(J)[1]
        h = np.tanh(h @ W) + 0.5 * h
        norms.append(np.linalg.norm(h))
    assert result.exponents.sum() == pytest.approx(total / 30, rel=1e-11)
    np.testing.assert_allclose(np.exp(result.log_norms), norms, rtol=1e-11)


def test_shared_weights_on_the_ring_have_the_moduli_of_the_kronecker_product(graphs, random_variables):
    n, layers = 6, 3000
    graph = jg.prepare(**graphs.ring(n))
    model = jg.DeepGNN(depth=layers, width=3, activation="identity", share_weights=True)
    x = signal(n, 2)
    params = random_variables(model, graph, x)
    W = np.diag([1.1, -0.7, 0.4]) + np.triu(signal(3, 3), 1) / 4
    params["params"]["stack"]["layer"]["linear"]["kernel"] = W
    result = lyapunov(*model.scan_fn(params, graph, x, dtype=np.float64), k=7)
    eigenvalues = np.outer((1 + 2 * np.cos(2 * np.pi * np.arange(n) / n)) / 3, [1.1, -0.7, 0.4])
    expected = np.log(np.sort(np.abs(eigenvalues).ravel())[::-1][:7])
    np.testing.assert_allclose(result.exponents, expected, rtol=0, atol=20 / layers)


def test_the_first_exponent_is_below_the_largest_singular_value_and_tends_to_it(network):
    model, *at = network("identity")
    step, h, inputs = model.scan_fn(*at, dtype=np.float64)
    sigma = jg.jacobian(*model.segment_fn(*at, dtype=np.float64)).singular_values()
    full = lyapunov(step, h, inputs, k=36)
    partial_sums = np.cumsum(full.exponents)
    assert (partial_sums <= np.cumsum(np.log(sigma)) / 5 + 1e-12).all()  # volumes: product of the largest sigma
    assert partial_sums[-1] == pytest.approx(np.log(sigma).sum() / 5, abs=1e-10)
    A = signal(6, 6, seed=5)
    for layers in (10, 100, 400):
        first = lyapunov(linear, np.zeros((6, 1)), repeated(A, layers), k=1).largest
        log_sigma = np.log(np.linalg.norm(np.linalg.matrix_power(A, layers), 2))
        assert -5.0 / layers <= first - log_sigma / layers <= 1e-12


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_products_that_leave_the_range_of_numbers(factor):
    Qs = np.linalg.qr(signal(1000, 6, 6, seed=4))[0]
    result = lyapunov(linear, np.zeros((3, 2)), factor * Qs, k=6)
    np.testing.assert_allclose(result.exponents, np.log(factor), rtol=1e-12)
    np.testing.assert_allclose(result.standard_error, 0, rtol=0, atol=1e-13)
    assert (result.log_norms == -np.inf).all()


def test_a_thousand_layers_of_a_network(graphs, random_variables):
    graph = jg.prepare(**graphs.several_components())
    model = jg.DeepGNN(depth=1000, width=4, activation="tanh", residual="identity", bound="frobenius")
    x = signal(16, 3, dtype=np.float32)
    params = random_variables(model, graph, x, dtype=np.float32)
    for dtype in (np.float32, np.float64):
        result = lyapunov(*model.scan_fn(params, graph, x, dtype=dtype), k=3)
        assert np.isfinite(result.exponents).all()
        assert (result.standard_error > 0).all()
        assert (result.exponents <= np.log(2)).all()  # ||I + J|| <= 1 + ||P|| c


def test_lost_ranks_are_minus_infinity_and_never_nan():
    A = repeated(np.eye(4), 30).copy()
    A[10] = np.diag([1.0, 1.0, 0.0, 0.0])  # rank 2 from layer 10 on
    S = signal(4, 4, seed=6)
    result = lyapunov(linear, np.ones((2, 2)), S @ A @ np.linalg.inv(S), k=4)
    assert np.isfinite(result.exponents[:2]).all()
    assert (result.exponents[2:] == -np.inf).all()
    assert np.isfinite(result.standard_error).all()
    dead = lyapunov(lambda h, b: jax.nn.relu(h - b), np.ones((3, 2)), 10.0 * np.ones(5), k=3)  # J = 0
    assert (dead.exponents == -np.inf).all()
    assert dead.largest == -np.inf
    assert (dead.standard_error == 0).all()


def test_the_standard_error_is_that_of_independent_layers():
    # Scalars: exponent = mean of independent log |a_l|, of variance s^2 / L.
    logs = 0.3 * signal(10_000, seed=7)
    result = lyapunov(lambda h, a: a * h, np.zeros((1, 1)), np.exp(logs))
    assert result.exponents[0] == pytest.approx(logs.mean(), abs=1e-14)
    assert result.standard_error[0] == pytest.approx(0.3 / 100, rel=0.25)  # 100 batches: 7 % standard deviation
    assert lyapunov(lambda h, a: a * h, np.zeros((1, 1)), np.ones(3)).standard_error[0] == np.inf


def test_precision_is_that_of_h():
    A = repeated(np.diag([2.0, 0.5]), 60)
    double = lyapunov(linear, np.zeros((2, 1)), A)
    single = lyapunov(linear, np.zeros((2, 1), np.float32), A.astype(np.float32))
    np.testing.assert_allclose(double.history[-1], np.log([2, 0.5]), rtol=0, atol=1e-14)
    np.testing.assert_allclose(single.exponents, double.exponents, rtol=0, atol=1e-5)
    assert jnp.zeros(1).dtype == np.float32


def test_no_nodes():
    result = lyapunov(lambda h, l: h, np.zeros((0, 3)), np.arange(4))
    assert result.exponents.shape == (0,)
    assert result.history.shape == (4, 0)


def test_what_has_no_exponents_is_refused():
    def grow(h, l):
        return 1e100 * h

    h, layers = np.ones((2, 2)), np.arange(6)
    with pytest.raises(ValueError, match=r"^k=0: allowed are 1 and more$"):
        lyapunov(grow, h, layers, k=0)
    with pytest.raises(ValueError, match=r"^step maps shape \(2, 2\) to \(1, 2\): exponents need one shape"):
        lyapunov(lambda h, l: h[:1], h, layers)
    with pytest.raises(ValueError, match=r"^X is NaN or infinite after 4 layers: take fewer"):
        lyapunov(grow, h, layers)
    with pytest.raises(ValueError, match=r"^the Jacobian of layer 0 is NaN or infinite$"):
        lyapunov(lambda h, l: jnp.sqrt(h), 0 * h, layers)
    with pytest.raises(ValueError, match=r"^h has dtype int64"):
        lyapunov(grow, h.astype(int), layers)
    for inputs in (None, np.float64(1), (np.ones(2), np.ones(3)), np.ones(0)):
        with pytest.raises(ValueError, match=r"^inputs have no common leading axis"):
            lyapunov(grow, h, inputs)


@pytest.mark.parametrize(("rows", "columns"), [(1000, 3), (37, 5), (8, 8), (6, 1)])
def test_chunks_of_a_tall_matrix_make_its_qr(x64, rows, columns):
    Z = signal(rows, columns) * np.logspace(0, -8, columns)
    Q, R = products._tall_qr(Z)
    np.testing.assert_allclose(Q @ R, Z, rtol=0, atol=1e-14 * np.abs(Z).max())
    np.testing.assert_allclose(Q.T @ Q, np.eye(columns), rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.abs(np.diag(R)), np.abs(np.diag(np.linalg.qr(Z)[1])), rtol=1e-12)
    np.testing.assert_array_equal(np.tril(R, -1), 0)


def test_the_standard_error_written_out():
    # 11 layers: three batches of three, the first two layers left out; one direction, so that its history is log |a|.
    logs = np.array([9.0, -7, 0.3, 0.1, -0.2, 0.5, 0.7, 0.4, -1, -2, -0.5])
    result = lyapunov(lambda h, a: a * h, np.zeros((1, 1)), np.exp(logs))
    np.testing.assert_allclose(result.history[:, 0], logs, rtol=0, atol=1e-14)
    means = [logs[2:5].mean(), logs[5:8].mean(), logs[8:].mean()]
    assert result.standard_error[0] == pytest.approx(np.std(means, ddof=1) / np.sqrt(3), rel=1e-12)
    assert result.exponents[0] == pytest.approx(logs.mean(), rel=1e-12)

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.stats import norm

import jaxgnn as jg
import jaxgnn.host.memory
from jaxgnn.jacobian.density import kernel


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def relu_layer(graphs):
    """Rows that are 0, several components."""
    P, W = jg.prepare(**graphs.several_components()).propagation, signal(3, 3)
    return lambda h: jnp.maximum(P @ h @ W.astype(h.dtype), 0), signal(16, 3)


def dead_columns(graphs):
    P, W = jg.prepare(**graphs.directed()).propagation, signal(4, 6)
    kept = np.diag([1.0, 0.0, 1.0, 0.0])
    return lambda h: jnp.tanh(P @ h @ (kept @ W).astype(h.dtype)), signal(12, 4)


CASES = {
    "relu": relu_layer,
    "dead columns": dead_columns,
    "complete": lambda graphs: (lambda h, P=jg.prepare(**graphs.complete(20)).propagation: P @ h + h, signal(20, 2)),  # noqa: B008
    "ring": lambda graphs: (lambda h, P=jg.prepare(**graphs.ring(40)).propagation: P @ h, signal(40, 1)),  # noqa: B008
    "wide": lambda graphs: (lambda h, M=signal(10, 30): M.astype(h.dtype) @ h, signal(30)),  # noqa: B008
}


@pytest.fixture(params=CASES)
def case(request, graphs):
    f, h = CASES[request.param](graphs)
    sigma = np.linalg.svd(jg.jacobian(f, h).dense(), compute_uv=False)
    return f, h, sigma


def exact(found, sigma, J):
    """The spectrum without the zeros of zero rows and columns, smoothed by the same kernel."""
    zeros = round(found.zero_mass * sigma.size)
    assert zeros == sigma.size - min(J.support[0].sum(), J.support[1].sum())
    assert (sigma[sigma.size - zeros :] < 1e-12).all()
    return kernel(found.grid, sigma[: sigma.size - zeros], found.bandwidth).sum(axis=1) / sigma.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("steps", [10, 64])
@pytest.mark.parametrize("method", ["lanczos", "chebyshev"])
def test_the_density_is_the_smoothed_spectrum(case, method, steps, dtype):
    f, h, sigma = case
    J = jg.jacobian(f, h.astype(dtype))
    found = J.density(probes=48, steps=steps, method=method)
    expected = exact(found, sigma, J)
    rounding = (1e-3 if dtype == np.float32 else 1e-9) * expected.max()
    assert (np.abs(found.density - expected) <= 5 * found.standard_error + found.bias + rounding).all()
    assert found.bias.max() <= 0.05 * expected.max()
    total = np.trapezoid(found.density, found.grid) + found.zero_mass
    assert total == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("method", ["lanczos", "chebyshev"])
def test_grid_and_bandwidth_are_those_asked_for(case, method):
    f, h, sigma = case
    J, grid = jg.jacobian(f, h), np.linspace(0, 1.5 * sigma[0], 50)
    found = J.density(probes=48, steps=40, method=method, grid=grid, bandwidth=0.3 * sigma[0])
    np.testing.assert_array_equal(found.grid, grid)
    assert found.bandwidth == 0.3 * sigma[0]
    expected = exact(found, sigma, J)
    allowed = 5 * found.standard_error + found.bias + 1e-9 * expected.max()
    assert (np.abs(found.density - expected) <= allowed).all()
    assert found.bias.max() <= 1e-6 * expected.max()  # a wide kernel is resolved


def test_more_steps_than_the_spectrum_has_values(graphs):
    # Two distinct values, 1 and 0: the rules are exhausted after two steps and exact from then on.
    P = jg.prepare(**graphs.complete(20)).propagation
    J = jg.jacobian(lambda h: P @ h, signal(20, 2))
    for steps in (2, 5, 200):
        rule = J.quadrature(probes=400, steps=steps)
        seen = rule.weights > 1e-10
        assert np.isfinite(rule.nodes).all()
        assert (np.minimum(np.abs(rule.nodes - 1), rule.nodes)[seen] <= 1e-6).all()
        np.testing.assert_allclose(rule.weights.sum(axis=1), 1, rtol=0, atol=1e-12)
        share = rule.mean(lambda s: s**2)
        assert abs(share.value - 1 / 20) <= 5 * share.error
        assert share.error < 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quadrature_of_powers(case, dtype):
    f, h, sigma = case
    J = jg.jacobian(f, h.astype(dtype))
    rule = J.quadrature(probes=64, steps=30)
    assert rule.total == sigma.size
    assert 0 < rule.size <= rule.total
    np.testing.assert_allclose(rule.weights.sum(axis=1), 1, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-12)
    for power in (2, 4):  # sum_i sigma_i^2 = ||J||_F^2
        found = rule.mean(lambda s, p=power: s**p)
        total = np.sum(sigma**power)
        assert abs(rule.size * found.value - total) <= 5 * rule.size * found.error + 1e-5 * total
        assert found.error * rule.size < 0.5 * total


def test_one_probe_is_exact_for_its_own_vector():
    # v^T (J^T J)^p v for the start vector itself, p up to 2 steps - 1.
    M = signal(30, 30)
    J = jg.jacobian(lambda h: M @ h, signal(30))
    rule, start = J.quadrature(probes=3, steps=6), J._sampled(3, 6, 0).start
    for power in range(12):
        for v, nodes, weights in zip(start, rule.nodes, rule.weights, strict=True):
            v = v / np.linalg.norm(v)
            expected = v @ np.linalg.matrix_power(M.T @ M, power) @ v
            assert weights @ nodes ** (2 * power) == pytest.approx(expected, rel=1e-8)


def test_seeds_are_kept_apart(graphs):
    f, h = relu_layer(graphs)
    J = jg.jacobian(f, h)
    one, again, other = (J.density(4, 8, seed=seed).density for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("method", ["lanczos", "chebyshev"])
def test_a_zero_jacobian_is_all_zeros(method):
    J = jg.jacobian(jnp.ones_like, signal(6, 2))
    found = J.density(method=method)
    assert found.zero_mass == 1
    np.testing.assert_array_equal(found.density, 0)
    np.testing.assert_array_equal(found.standard_error, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method='magic' is not known: allowed are lanczos, chebyshev"),
        ({"probes": 1}, "probes=1: allowed are 2 and more"),
        ({"steps": 1}, "steps=1: allowed are 2 and more"),
        ({"bandwidth": 0.0}, "bandwidth=0.0: allowed are finite numbers above 0"),
        ({"bandwidth": np.nan}, "bandwidth=nan: allowed are finite numbers above 0"),
        ({"bandwidth": -1.0, "method": "chebyshev"}, "bandwidth=-1.0: allowed are finite numbers above 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        jg.jacobian(jnp.sin, signal(5, 2)).density(**options)


def test_vectors_that_do_not_fit(monkeypatch):
    J = jg.jacobian(jnp.sin, signal(20, 2))
    J.support  # noqa: B018
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 1000)
    with pytest.raises(MemoryError, match=r"^40 Lanczos vectors of both sides needs .*: use fewer steps instead$"):
        J.density(steps=64)


def chebyshev_coefficients(grid, bandwidth, top, count):
    """c_j, j < count, of the two Gaussians at each grid point as sum_j c_j T_2j(sigma / top), by the midpoint rule."""
    theta = np.pi * (np.arange(4096) + 0.5) / 4096
    sigma = top * np.cos(theta)
    gauss = lambda x: np.exp(-0.5 * (x / bandwidth) ** 2) / (bandwidth * np.sqrt(2 * np.pi))  # noqa: E731
    values = gauss(grid[:, None] - sigma) + gauss(grid[:, None] + sigma)
    # f(cos t) = sum_n a_n cos(n t), a_n = (2 / pi) int_0^pi f cos(n t) dt; odd ones are 0.
    a = 2 / 4096 * values @ np.cos(2 * np.outer(theta, np.arange(count)))
    a[:, 0] /= 2
    return a


@pytest.mark.parametrize(("method", "factor"), [("lanczos", 2), ("chebyshev", 1)])
def test_the_bias_is_the_sum_of_the_coefficients_that_are_left_out(graphs, method, factor):
    # Gauss rules err by as much again as what they leave out: |int T_n| and |sum_j w_j T_n(x_j)| are at most 1.
    f, h = dead_columns(graphs)
    J, steps = jg.jacobian(f, h), 4
    grid, bandwidth = np.linspace(0, 2, 7), 0.11
    found = J.density(5, steps, method=method, grid=grid, bandwidth=bandwidth)
    sigma = np.linalg.svd(J.dense(), compute_uv=False)
    share = min(J.support[0].sum(), J.support[1].sum()) / sigma.size
    assert 0.3 < share < 0.9
    top = 1.05 * (J.quadrature(5, steps).nodes.max() if method == "lanczos" else sigma[0])
    coefficients = chebyshev_coefficients(grid, bandwidth, top, 200)
    # Products of J^T J: both know polynomials in sigma up to the degree 2 (2 steps - 1).
    expected = factor * share * np.abs(coefficients[:, 2 * steps :]).sum(axis=1)
    assert expected.min() > 1e-3
    np.testing.assert_allclose(found.bias, expected, rtol=1e-2 if method == "chebyshev" else 1e-8)


@pytest.mark.parametrize("steps", [3, 5])
def test_the_bias_of_moments_is_attained_at_zero(steps):
    # T_2j(0) = (-1)^j, as the coefficients at 0 alternate: all that is left out adds up where sigma is 0.
    sigma = np.append(1.0, np.full(199, 1e-9))
    J = jg.jacobian(lambda h: sigma * h, signal(200))
    bandwidth, grid = 0.12, np.zeros(1)
    found = J.density(8, steps, method="chebyshev", grid=grid, bandwidth=bandwidth)
    starts = J._sampled(8, steps, 0).start ** 2
    weights = starts / starts.sum(axis=1, keepdims=True)
    seen = (kernel(grid, sigma, bandwidth) @ weights.T).mean()  # what exhausted probes would give
    assert 0.9 * found.bias[0] <= abs(found.density[0] - seen) <= found.bias[0]
    assert found.bias[0] > 0.02 * seen


@pytest.mark.parametrize("method", ["lanczos", "chebyshev"])
@pytest.mark.parametrize("seed", range(6))
def test_densities_of_clusters_err_by_no_more_than_their_bias(method, seed):
    # Against what exhausted probes would give: the error that is not of the probes.
    rng = np.random.default_rng(seed)
    sigma = np.repeat(rng.random(4), 10)
    J = jg.jacobian(Partial(jnp.multiply, sigma), signal(40))
    found = J.density(6, 3, method=method, bandwidth=0.1, grid=np.linspace(0, 1, 21))
    starts = J._sampled(6, 3, 0).start ** 2
    seen = (kernel(found.grid, sigma, 0.1) @ (starts / starts.sum(axis=1, keepdims=True)).T).mean(axis=1)
    assert (np.abs(found.density - seen) <= found.bias + 1e-10 * seen.max()).all()
    assert np.abs(found.density - seen).max() > 1e-4 * seen.max()  # and it is not nothing


def test_the_standard_error_is_that_of_many_seeds():
    J = jg.jacobian(Partial(jnp.multiply, np.linspace(0.1, 1, 40)), signal(40))
    grid = np.linspace(0, 1, 7)
    found = [J.density(8, 12, seed=seed, grid=grid, bandwidth=0.1) for seed in range(60)]
    spread = np.std([each.density for each in found], axis=0, ddof=1)
    stated = np.sqrt(np.mean([each.standard_error**2 for each in found], axis=0))
    assert (spread / stated >= 0.7).all()
    assert (spread / stated <= 1.4).all()
    rule = J.quadrature(8, 12, seed=3)
    each = np.sum(rule.weights * rule.nodes, axis=1)
    assert rule.mean(lambda s: s) == pytest.approx((each.mean(), each.std(ddof=1) / np.sqrt(8)), rel=1e-12)


@pytest.mark.parametrize("method", ["lanczos", "chebyshev"])
def test_default_bandwidth_and_grid(method):
    # 5 sigma_1 over the degree in sigma, 2 (2 steps - 1), from 0 to three bandwidths beyond sigma_1.
    J = jg.jacobian(Partial(jnp.multiply, np.linspace(0.1, 2, 30)), signal(30))
    found = J.density(4, 10, method=method)
    # Chebyshev's sigma_1 is a Ritz value with a residual of at most 1%.
    top, close = (1.05 * J.quadrature(4, 10).nodes.max(), 1e-12) if method == "lanczos" else (1.05 * 2, 1e-2)
    assert found.bandwidth == pytest.approx(5 * top / 38, rel=close)
    assert found.grid[0] == 0
    assert found.grid[-1] == pytest.approx(top + 3 * found.bandwidth, rel=close)


def test_the_kernel_is_a_reflected_gaussian():
    at, sigma = np.array([0.0, 0.3, 1.0]), np.array([0.2, 0.9])
    expected = [[norm.pdf(x, s, 0.25) + norm.pdf(x, -s, 0.25) for s in sigma] for x in at]
    np.testing.assert_allclose(kernel(at, sigma, 0.25), expected, rtol=1e-13)

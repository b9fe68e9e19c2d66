"""Spectra of Jacobians whose squares leave the range of numbers: those of the same J near 1, times the factor."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.host.precision import precision
from jaxgnn.jacobian import linear
from jaxgnn.jacobian.products import lyapunov
from jaxgnn.jacobian.sensitivity import sensitivity

SCALES = {np.float32: [1e-35, 1e-27, 1e-12, 1e20, 1e35], np.float64: [1e-300, 1e-160, 1e200, 1e300]}
CASES = [(dtype, scale) for dtype, scales in SCALES.items() for scale in scales]
N, D = 30, 3


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


P = np.where(np.random.default_rng(7).random((N, N)) < 0.12, signal(N, N, seed=1), 0) + np.diag(np.linspace(1, 2, N))
W = signal(D, D, seed=2)
H = signal(N, D, seed=3)


def layer(scale, P, W, h):
    return scale * jnp.maximum(P @ h @ W, 0)


def linear_layer(scale, P, W, h):
    return scale * (P @ h @ W)


def of_size(scale, dtype):
    """max(P h W, 0) times the scale, at a point where about half of the rows are 0; one program for all scales."""
    return jg.jacobian(Partial(layer, *(np.asarray(a, dtype) for a in (scale, P, W))), H.astype(dtype))


@pytest.fixture(params=CASES, ids=[f"{dtype.__name__} {scale}" for dtype, scale in CASES])
def pair(request):
    """J at 1 in float64, J at the scale, the scale as the dtype has it, and a tolerance: 100 eps."""
    dtype, scale = request.param
    return (
        of_size(1.0, np.float64),
        of_size(scale, dtype),
        float(dtype(scale)),
        100 * float(np.finfo(dtype).eps),
    )


def test_the_whole_spectrum(pair):
    plain, J, scale, tolerance = pair
    sigma = plain.singular_values()
    assert sigma[0] > 1
    np.testing.assert_allclose(J.singular_values() / scale, sigma, rtol=0, atol=tolerance * sigma[0])
    found, expected = J.eigenvalues() / scale, plain.eigenvalues()
    for power in (1, 2):
        assert abs(np.sum(found**power) - np.sum(expected**power)) <= tolerance * N * D * sigma[0] ** power
    outer = J.outer_eigenvalues(3)
    np.testing.assert_allclose(
        np.abs(outer.values) / scale, np.abs(expected[:3]), rtol=1e-3 if tolerance > 1e-9 else 1e-9
    )
    assert (outer.residuals / scale <= 1e-2 * sigma[0]).all()
    for support, same in zip(J.support, plain.support, strict=True):
        np.testing.assert_array_equal(support, same)


def test_entries_and_blocks(pair):
    plain, J, scale, tolerance = pair
    expected = plain.dense()
    largest = np.abs(expected).max()
    for found in (J.dense(), J.sparse().toarray()):
        assert found.dtype == J.dtype
        np.testing.assert_allclose(found.astype(np.float64) / scale, expected, rtol=0, atol=tolerance * largest)
    blocks = np.sqrt(np.sum(expected.reshape(N, D, N, D) ** 2, axis=(1, 3)))
    np.testing.assert_allclose(J.block_norms().toarray() / scale, blocks, rtol=0, atol=tolerance * largest)


def test_the_ends(pair):
    plain, J, scale, tolerance = pair
    sigma = plain.singular_values()
    found = J.extremes(4)
    np.testing.assert_allclose(found.values / scale, sigma[:4], rtol=0, atol=10 * tolerance * sigma[0])
    assert (found.lower / scale <= sigma[:4] + tolerance * sigma[0]).all()
    found = J.extremes(4, which="smallest")
    positive = sigma[sigma > 1e-4][::-1]
    np.testing.assert_allclose(found.values / scale, positive[:4], rtol=0, atol=tolerance * sigma[0])
    assert found.null_dim == N * D - positive.size
    expected = N * D * float(np.finfo(J.dtype).eps) * sigma[0]
    assert found.rank_tolerance / scale == pytest.approx(expected, rel=tolerance)


def test_density_and_quadrature(pair):
    plain, J, scale, tolerance = pair
    sigma = plain.singular_values()
    # In units of the scale, exactly: the grid and the bandwidth are asked for.
    for method in ("lanczos", "chebyshev"):
        one = plain.density(4, 8, method=method, grid=np.linspace(0, 2 * sigma[0], 9), bandwidth=0.5)
        found = J.density(4, 8, method=method, grid=one.grid * scale, bandwidth=0.5 * scale)
        np.testing.assert_array_equal(found.grid, one.grid * scale)
        assert found.bandwidth / scale == pytest.approx(0.5)
        assert found.zero_mass == one.zero_mass > 0.1
        for name in ("density", "standard_error", "bias"):
            height = 10 * tolerance * one.density.max()
            np.testing.assert_allclose(getattr(found, name) * scale, getattr(one, name), rtol=1e-6, atol=height)
    one, found = plain.quadrature(4, 5), J.quadrature(4, 5)
    np.testing.assert_allclose(found.nodes / scale, one.nodes, rtol=0, atol=100 * tolerance * sigma[0])


def test_statistics(pair):
    plain, J, scale, tolerance = pair
    one, log = plain.statistics(), np.log(scale)
    for found in (J.statistics(), J.statistics("lanczos", probes=8, steps=90)):
        stochastic = np.isnan(found.condition.value)
        if stochastic:
            one = plain.statistics("lanczos", probes=8, steps=90)
        close = max(1e3 * tolerance, 1e-6 if stochastic else 0.0)  # Lanczos without re-orthogonalisation
        for name in ("nuclear", "frobenius", "spectral"):
            assert getattr(found, name).value / scale == pytest.approx(getattr(one, name).value, rel=close)
        if not stochastic:
            assert found.condition.value == pytest.approx(one.condition.value, rel=close * one.condition.value)
            assert found.mean_log.value - log == pytest.approx(one.mean_log.value, abs=close)
            assert found.null_dim.value == one.null_dim.value
        for name, power in (("mean_square", 2), ("variance_square", 4)):
            with np.errstate(over="ignore", under="ignore"):
                expected, error = getattr(one, name).value, getattr(found, name).error
                for _ in range(power):
                    expected = expected * scale
            assert getattr(found, name).value == pytest.approx(expected, rel=close)
            assert error > 0


def test_a_value_below_the_range_of_numbers_is_not_called_exact():
    found = of_size(1e-300, np.float64).statistics()
    assert found.mean_square.value == 0 < found.mean_square.error
    assert found.spectral.value > 0


@pytest.mark.parametrize(("dtype", "scale"), CASES)
def test_sensitivity(dtype, scale):
    v = np.arange(N)
    graph = jg.prepare(senders=np.append(v, (v + 1) % N), receivers=np.append((v + 1) % N, v), num_nodes=N)
    tolerance = 100 * float(np.finfo(dtype).eps)
    for norm, of_block in (("spectral", 2), ("frobenius", "fro")):
        f = Partial(linear_layer, *(np.asarray(a, dtype) for a in (scale, P, W)))
        found = sensitivity(f, H.astype(dtype), graph, norm=norm, sources=np.array([0, 7]))
        expected = np.abs(P[:, [0, 7]]).T * np.linalg.norm(W, of_block)
        np.testing.assert_allclose(found.norms / float(dtype(scale)), expected, rtol=tolerance, atol=tolerance * 1e-6)


def standing(h, inputs):
    weights, size = inputs
    return 1 + size * (weights @ (h - 1))


@pytest.mark.parametrize(("dtype", "scale"), CASES)
def test_lyapunov_exponents(dtype, scale):
    # h stays where it is, so that the scale is in J alone.
    weights = signal(6, 12, 12, seed=4).astype(dtype)
    one = lyapunov(standing, np.ones(12), (weights.astype(np.float64), np.ones(6)), k=4)
    found = lyapunov(standing, np.ones(12, dtype), (weights, np.full(6, scale, dtype)), k=4)
    log = np.log(float(dtype(scale)))
    np.testing.assert_allclose(found.history - log, one.history, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-10)


def test_a_jacobian_that_changes_its_size_from_layer_to_layer():
    weights, sizes = signal(6, 12, 12, seed=4), np.array([1e-30, 1e30, 1.0, 1e-36, 0.3, 1e36])
    inputs = (weights.astype(np.float32), sizes.astype(np.float32))
    found = lyapunov(standing, np.ones(12, np.float32), inputs, k=12)
    logs = np.linalg.slogdet(weights)[1] + 12 * np.log(sizes)
    np.testing.assert_allclose(found.history.sum(axis=1), logs, rtol=0, atol=2e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scaled_function_has_the_values_of_f_and_its_jacobian_times_a_power_of_two(dtype):
    f = lambda h: jnp.sin(h) * 3  # noqa: E731
    h = np.linspace(0.1, 1, 5).astype(dtype)
    J = jg.jacobian(f, h)
    for twos in (-7, 0, 11):
        scaled = linear.scaled(J._f, twos, J.dtype)
        with precision(dtype):
            np.testing.assert_array_equal(linear.value(scaled, h), linear.value(J._f, h))
            for product in (linear.jvp, linear.vjp):
                plain = np.asarray(product(J._f, h, h))
                np.testing.assert_array_equal(product(scaled, h, h), np.ldexp(plain, twos))


def test_entries_beyond_the_range_of_numbers_are_refused():
    f = lambda h: (h * 1e30) @ np.float32([[1e4, 1e12], [1.0, 2.0]])  # noqa: E731
    J = jg.jacobian(f, np.full((3, 2), 1e-20, np.float32))
    expected = np.linalg.norm([[1e34, 1e42], [1e30, 2e30]], 2)
    np.testing.assert_allclose(J.singular_values()[:3], expected, rtol=1e-5)
    for entries in (J.dense, J.sparse):
        with pytest.raises(ValueError, match=r"^J has entries beyond the range of float32: singular_values\(\) has no"):
            entries()

from itertools import pairwise

import jax
import numpy as np
import pytest
from scipy.integrate import quad

import jaxgnn as jg
from jaxgnn.jacobian.random_matrix import kolmogorov_smirnov, linear_layer_law, marchenko_pastur

SHAPES = [(300, 300), (300, 75), (75, 300), (4, 3), (1, 1), (1, 7), (1, 99), (1, 101), (2000, 2), (10**6, 1)]
# The counting function of n singular values has a standard deviation of sqrt(log n) / pi < 1, and its mean is off the
# law's by O(1): so sup |F_n - F| stays below a few / n, where independent draws would give about 1 / sqrt(n).
RIGID = 4


def gaussian(d, e, *, variance, seed=0):
    return np.sqrt(variance) * np.random.default_rng(seed).standard_normal((d, e))


def integral(law, x):
    """The law of t = x^2 written out for one scale and integrated, its square-root edges as the rule's weights."""
    a, b = law.support
    scale = law.scales[0] ** 2
    if a == 0:
        return quad(lambda y: np.sqrt(b**2 - y**2) / (np.pi * scale), 0, x, epsabs=1e-14)[0]
    half = (a**2 + x**2) / 2

    def part(f, low, high, edges):
        options = {"weight": "alg", "wvar": edges} if edges else {}
        return quad(lambda t: f(t) / (2 * np.pi * law.ratio * scale * t), low, high, epsabs=1e-13, **options)[0]

    first = part(lambda t: np.sqrt(b**2 - t), a**2, half, (0.5, 0))
    if x == b:
        return first + part(lambda t: np.sqrt(t - a**2), half, b**2, (0, 0.5))
    return first + part(lambda t: np.sqrt((t - a**2) * (b**2 - t)), half, x**2, ())


@pytest.mark.parametrize("shape", SHAPES)
def test_cdf_is_the_integral_of_the_law(shape):
    law = marchenko_pastur(shape=shape, variance=0.7 / shape[0])
    a, b = law.support
    for x in (*(a + np.array([0.01, 0.3, 0.5, 0.9]) * (b - a)), b):
        assert law.cdf(np.float64(x)) == pytest.approx(integral(law, x), rel=0, abs=1e-12)
    np.testing.assert_allclose(law.cdf(np.array([-1.0, 0.0, a, b, 2 * b, np.inf])), [0, 0, 0, 1, 1, 1], atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_density_is_the_derivative_of_the_cdf(shape):
    law = marchenko_pastur(shape=shape, variance=2.0)
    a, b = law.support
    x, step = np.linspace(a, b, 203)[1:-1], (b - a) / 1e5
    slope = (law.cdf(x + step) - law.cdf(x - step)) / (2 * step)
    np.testing.assert_allclose(law.density(x), slope, rtol=1e-4, atol=1e-4 / (b - a))
    np.testing.assert_array_equal(law.density(np.array([-1.0, a - step, b + step, np.inf])), 0)


def test_square_weights_have_the_quarter_circle():
    law = marchenko_pastur(shape=(50, 50), variance=1 / 50)
    x = np.linspace(0, 2, 11)
    np.testing.assert_allclose(law.density(x), np.sqrt(4 - x**2) / np.pi, rtol=1e-14, atol=1e-15)
    assert law.support == (0.0, 2.0)


@pytest.mark.parametrize("ratio", [(9, 9), (9, 5), (1, 40)])
def test_moments_are_integrals_of_the_density(ratio):
    law = linear_layer_law(np.array([2.0, 1.0, 0.3, 0.0]), shape=ratio, variance=0.4)
    edges = np.outer(law.scales, [1 - np.sqrt(law.ratio), 1 + np.sqrt(law.ratio)])
    for order in range(5):
        expected = law.zero_mass * (order == 0)
        breaks = np.unique(edges)
        for low, high in pairwise(breaks):  # square-root edges: x = low .. high by sin^2
            width = high - low
            expected += quad(
                lambda t: (
                    law.density(x := low + width * np.sin(t) ** 2) * x ** (2 * order) * width * np.sin(2 * t)  # noqa: B023
                ),
                0,
                np.pi / 2,
            )[0]
        assert law.moment_square(order) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("eigenvalue", [1.0, -0.3])
def test_numbers_of_theorem_3_2(eigenvalue):
    sigma, d = 1.7, 64
    law = linear_layer_law(np.array([eigenvalue]), shape=(d, d), variance=sigma**2 / d)
    assert law.mean_square == pytest.approx(eigenvalue**2 * sigma**2)
    assert law.variance_square == pytest.approx(eigenvalue**4 * sigma**4)
    assert law.support[1] ** 2 == pytest.approx(4 * sigma**2 * eigenvalue**2)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0, 0.1])
def test_sampled_matrices_approach_the_law(ratio):
    distances = []
    for d in (25, 100, 400):
        e = round(ratio * d)
        W = gaussian(d, e, variance=1.5 / d, seed=d)
        law = marchenko_pastur(shape=(d, e), variance=1.5 / d)
        sigma = np.linalg.svd(W, compute_uv=False)
        distances.append(kolmogorov_smirnov(sigma, law))
        assert distances[-1] <= RIGID / min(d, e)
        assert kolmogorov_smirnov(1.2 * sigma, law) > 0.08  # and another law it is not
    assert distances[0] > distances[1] > distances[2]


def test_moments_of_sampled_matrices():
    d, e, n, draws = 30, 20, 5, 400
    P = np.random.default_rng(1).standard_normal((n, n))
    law = linear_layer_law(P, shape=(d, e), variance=0.1)
    lambdas = np.linalg.svd(P, compute_uv=False)
    weights = [gaussian(d, e, variance=0.1, seed=i) for i in range(draws)]
    squares = np.array([np.outer(lambdas, np.linalg.svd(W, compute_uv=False)).ravel() ** 2 for W in weights])
    means = squares.mean(axis=1)
    assert abs(means.mean() - law.mean_square) <= 4 * means.std() / np.sqrt(draws)
    # E tr (W W^T)^2 has one term more at finite size, 1 / max(d, e) of the limit's.
    assert np.mean(squares**2) == pytest.approx(law.moment_square(2), rel=2 / d)


@pytest.mark.parametrize(
    ("shape", "size", "zero_mass"),
    [((60, 20), None, 0), ((60, 20), 60, 2 / 3), ((20, 60), 60, 2 / 3), ((20, 60), 20, 0)],
)
def test_atoms_of_the_aspect_ratio(shape, size, zero_mass):
    law = marchenko_pastur(shape=shape, variance=1 / 60, size=size)
    assert law.zero_mass == pytest.approx(zero_mass, abs=1e-15)
    assert law.cdf(np.array(0.0)) == law.zero_mass
    assert law.cdf(np.array(-1e-300)) == 0
    assert law.cdf(np.array(3.0)) == pytest.approx(1, abs=1e-14)
    sigma = np.linalg.svd(gaussian(*shape, variance=1 / 60), compute_uv=False)
    values = np.append(sigma, np.zeros((size or 20) - 20))
    assert kolmogorov_smirnov(values, law) <= RIGID / 20 * (1 - law.zero_mass)


def layer_spectrum(edges, d, *, normalisation="sym"):
    P = jg.prepare(**edges, normalisation=normalisation).propagation
    W = gaussian(d, d, variance=1 / d)
    h = np.ones((edges["num_nodes"], d))
    values = jg.jacobian(lambda h: P @ h @ W, h).singular_values()
    return values, linear_layer_law(P, shape=(d, d), variance=1 / d)


def test_ring(graphs):
    values, law = layer_spectrum(graphs.ring(12), 40)
    expected = np.sort(np.abs(1 + 2 * np.cos(2 * np.pi * np.arange(12) / 12)) / 3)[::-1]
    np.testing.assert_allclose(law.scales, expected[expected > 1e-12], rtol=1e-13)
    assert law.zero_mass == pytest.approx(2 / 12)  # 1 + 2 cos(2 pi / 3) = 0, twice
    assert kolmogorov_smirnov(values, law) <= RIGID / 40


def test_complete_graph_has_one_value_that_is_not_zero(graphs):
    values, law = layer_spectrum(graphs.complete(10), 40)
    assert law.zero_mass == pytest.approx(0.9)
    np.testing.assert_allclose(law.scales, [1.0], rtol=1e-14)
    assert kolmogorov_smirnov(values, law) <= RIGID / 40 / 10


def test_p_that_is_not_symmetric_acts_by_its_singular_values(graphs):
    values, law = layer_spectrum(graphs.star(9), 40, normalisation="row")
    assert law.scales[0] > 1.5  # its eigenvalues are at most 1
    assert kolmogorov_smirnov(values, law) <= RIGID / 40
    P = np.triu(np.ones((3, 3)), 1)  # nilpotent: all eigenvalues are 0
    np.testing.assert_allclose(linear_layer_law(P, shape=(2, 2), variance=0.5).scales[0], np.linalg.norm(P, 2))


def test_rectangular_p_counts_as_the_jacobian_does():
    P, W = np.random.default_rng(0).standard_normal((3, 5)), gaussian(4, 2, variance=0.5)
    values = jg.jacobian(lambda h: P @ h @ W, np.ones((5, 4))).singular_values()
    law = linear_layer_law(P, shape=(4, 2), variance=0.5)
    assert law.zero_mass == np.mean(values < 1e-14) == 0
    values = jg.jacobian(lambda h: P @ h @ W.T, np.ones((5, 2))).singular_values()
    law = linear_layer_law(P, shape=(2, 4), variance=0.5)
    assert law.zero_mass == np.mean(values < 1e-14) == 0.4


def test_karate_layer_follows_its_law(karate):
    d = 32
    graph = jg.prepare(karate.graph)
    model = jg.DeepGNN(depth=1, width=d, activation="identity", residual="none")
    params = model.init(jax.random.key(0), graph, karate.x)
    f, h = model.layer_fn(params, graph, karate.x, layer=0, dtype=np.float64)
    values = jg.jacobian(f, h).singular_values()
    law = linear_layer_law(graph.propagation, shape=(d, d), variance=2 / (d + d))  # Glorot
    assert values.size == 34 * d
    assert kolmogorov_smirnov(values, law) <= RIGID / d
    assert np.mean(values**2) == pytest.approx(law.mean_square, rel=0.1)
    assert kolmogorov_smirnov(values, marchenko_pastur(shape=(d, d), variance=1 / d)) > 0.2


@pytest.mark.parametrize("law", [linear_layer_law(np.zeros((4, 4)), shape=(3, 2), variance=1.0)])
def test_no_propagation_is_an_atom(law):
    assert (law.zero_mass, law.support, law.mean_square, law.variance_square) == (1, (0, 0), 0, 0)
    np.testing.assert_array_equal(law.cdf(np.array([-1.0, 0.0, 1.0])), [0, 1, 1])
    np.testing.assert_array_equal(law.density(np.ones((2, 3))), np.zeros((2, 3)))
    np.testing.assert_array_equal(law.quantile(np.array([0.0, 0.5, 1.0])), 0)
    assert kolmogorov_smirnov(np.zeros(8), law) == 0
    assert kolmogorov_smirnov(np.array([0.0, 1.0]), law) == 0.5
    assert linear_layer_law(np.eye(4), shape=(3, 2), variance=0.0).zero_mass == 1


def test_quantile_inverts_the_cdf():
    law = linear_layer_law(np.array([1.0, 0.8, 1e-3, 0.0, 0.0]), shape=(40, 40), variance=1 / 40)
    q = np.linspace(0, 1, 41)
    x = law.quantile(q)
    assert (np.diff(x) >= 0).all()
    np.testing.assert_array_equal(x[q <= 0.4], 0)
    np.testing.assert_allclose(law.cdf(x)[q > 0.4], q[q > 0.4], rtol=0, atol=1e-12)
    assert x[-1] == pytest.approx(law.support[1])


@pytest.mark.parametrize("shape", [(3, 3), (5, 2)])
def test_what_is_not_a_number_has_no_density(shape):
    law = marchenko_pastur(shape=shape, variance=1.0)
    at = np.array([np.nan, 1.0, np.inf])
    for values in (law.density(at), law.cdf(at)):
        np.testing.assert_array_equal(np.isnan(values), [True, False, False])


def test_thousands_of_scales_are_the_mean_of_single_ones():
    lambdas, x = np.linspace(0.1, 1, 3000), np.linspace(0, 2.5, 701)
    law = linear_layer_law(lambdas, shape=(8, 4), variance=1 / 8)
    single = [linear_layer_law(lambdas[i : i + 1], shape=(8, 4), variance=1 / 8) for i in range(0, 3000, 500)]
    few = linear_layer_law(lambdas[::500], shape=(8, 4), variance=1 / 8)
    np.testing.assert_allclose(few.cdf(x), np.mean([s.cdf(x) for s in single], axis=0), rtol=0, atol=1e-15)
    assert law.cdf(x).shape == law.density(x).shape == x.shape
    grid = np.linspace(*law.support, 20001)
    assert np.trapezoid(law.density(grid), grid) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("value", [0.3, 1.0])
def test_kolmogorov_smirnov_at_a_jump(value):
    law = marchenko_pastur(shape=(9, 9), variance=1 / 9)
    F = law.cdf(np.array(value))
    assert kolmogorov_smirnov(np.full(4, value), law) == pytest.approx(max(F, 1 - F))
    # Exact quantiles of the middle of each step are 1 / (2 k) away.
    assert kolmogorov_smirnov(law.quantile((np.arange(10) + 0.5) / 10), law) == pytest.approx(0.05)


def test_kolmogorov_smirnov_counts_rounding_as_zero():
    law = linear_layer_law(np.array([1.0, 0.0]), shape=(50, 50), variance=1 / 50)
    sigma = np.linalg.svd(gaussian(50, 50, variance=1 / 50), compute_uv=False)
    noise = np.append(sigma, np.linspace(0, 1e-16, 50))
    exact = kolmogorov_smirnov(np.append(sigma, np.zeros(50)), law)
    assert kolmogorov_smirnov(noise, law) == exact <= RIGID / 100
    assert kolmogorov_smirnov(noise, law, tolerance=0.0) > 0.4
    # Rounding is relative to the largest value.
    scaled = linear_layer_law(np.array([1.0, 0.0]), shape=(50, 50), variance=1e20 / 50)
    assert kolmogorov_smirnov(1e10 * noise, scaled) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("variance", [-1.0, np.nan, np.inf])
def test_variances_out_of_range(variance):
    with pytest.raises(ValueError, match=r"^variance=.*: allowed are finite numbers from 0$"):
        marchenko_pastur(shape=(3, 3), variance=variance)


@pytest.mark.parametrize("shape", [(0, 3), (3, -1), (2.5, 2)])
def test_shapes_out_of_range(shape):
    with pytest.raises(ValueError, match=r"^shape=.*: allowed are two integers from 1$"):
        marchenko_pastur(shape=shape, variance=1.0)


def test_other_bad_input():
    with pytest.raises(ValueError, match=r"^P has entries that are NaN or infinite$"):
        linear_layer_law(np.array([1.0, np.nan]), shape=(2, 2), variance=1.0)
    with pytest.raises(ValueError, match=r"^P of shape \(1, 2, 2\): allowed are a matrix \[m, n\] and its singular"):
        linear_layer_law(np.ones((1, 2, 2)), shape=(2, 2), variance=1.0)
    with pytest.raises(ValueError, match=r"^size=3: the layer has 4 singular values that are not 0, and a law needs"):
        linear_layer_law(np.eye(2), shape=(2, 2), variance=1.0, size=3)
    with pytest.raises(ValueError, match=r"^size=0: the layer has 0 singular values"):
        linear_layer_law(np.zeros((0, 0)), shape=(2, 2), variance=1.0)
    law = marchenko_pastur(shape=(3, 3), variance=1.0)
    for q in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"^q: allowed are probabilities in \[0, 1\]$"):
            law.quantile(np.array([0.5, q]))
    for order in (-1, 1.5):
        with pytest.raises(ValueError, match=r"^order=.*: allowed are integers from 0$"):
            law.moment_square(order)
    for values in ([], [1.0, np.nan], [np.inf], [-1e-3, 1.0]):
        with pytest.raises(ValueError, match=r"^values: allowed are one or more finite singular values >= 0$"):
            kolmogorov_smirnov(np.array(values), law)

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.analysis.landscape import _direction, hessian_extremes, landscape, layer_weights, with_layer_weights
from jaxgnn.tasks.node_classification import masked_cross_entropy


@pytest.fixture
def point(karate, x64):
    graph = jg.prepare(karate.graph)
    model = jg.DeepGNN(depth=2, width=3, out=2, activation="tanh", bias=True)
    x = np.random.default_rng(0).standard_normal((34, 4))
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), model.init(jax.random.key(0), graph, x))
    return model, params, graph, x, Partial(masked_cross_entropy, karate.labels, ~karate.test_mask)


def loss_of(point):
    model, params, graph, x, loss = point
    return lambda weights: loss(model.apply(with_layer_weights(params, weights), graph, x))


def test_slice_passes_through_the_point(point):
    found = landscape(*point, radius=0.5, points=5)
    np.testing.assert_allclose(found.axis, [-0.5, -0.25, 0, 0.25, 0.5])
    assert found.loss.shape == (5, 5)
    assert found.loss[2, 2] == pytest.approx(float(loss_of(point)(layer_weights(point[1]))), rel=1e-12)


def test_slice_is_the_loss_along_two_directions_whose_columns_are_as_long_as_the_weights(point):
    weights = layer_weights(point[1])
    first, second = (_direction(weights, key) for key in jax.random.split(jax.random.key(3)))
    for D in (first["linear"]["kernel"], second["linear"]["kernel"]):
        np.testing.assert_allclose(
            np.sum(np.square(D), axis=1), np.sum(weights["linear"]["kernel"] ** 2, axis=1), rtol=1e-12
        )
    found = landscape(*point, radius=0.4, points=3, seed=3)
    for i, s in enumerate((-0.4, 0.0, 0.4)):
        for j, t in enumerate((-0.4, 0.0, 0.4)):
            moved = jax.tree.map(lambda W, D, E, s=s, t=t: W + s * D + t * E, weights, first, second)
            assert found.loss[i, j] == pytest.approx(float(loss_of(point)(moved)), rel=1e-12)


def test_slice_is_quadratic_nearby_with_directions_as_long_as_the_weights(point):
    # loss(r, 0) - 2 loss(0, 0) + loss(-r, 0) = r^2 D^T H D + O(r^4), and ||D|| = ||W|| bounds D^T H D.
    params = point[1]
    radius = 1e-3
    found = landscape(*point, radius=radius, points=3).loss
    flat, unravel = ravel_pytree(layer_weights(params))
    H = np.asarray(jax.hessian(lambda w: loss_of(point)(unravel(w)))(flat))
    values = np.linalg.eigvalsh(H)
    square = np.sum(layer_weights(params)["linear"]["kernel"] ** 2)
    for along in (found[:, 1], found[1, :]):
        curvature = (along[0] - 2 * along[1] + along[2]) / radius**2
        assert values[0] * square - 1e-4 <= curvature <= values[-1] * square + 1e-4
    assert not np.allclose(found[:, 1], found[1, :])


def test_directions_are_normalised_by_filter(point):
    # A network whose first column of every W is 0 has directions without it: nothing there moves.
    model, params, graph, x, loss = point
    weights = layer_weights(params)
    kernel = np.array(weights["linear"]["kernel"])
    kernel[:] = 0
    found = landscape(model, with_layer_weights(params, weights | {"linear": {"kernel": kernel}}), graph, x, loss)
    assert np.ptp(found.loss) == 0


def test_extremes_are_those_of_the_dense_hessian(point):
    flat, unravel = ravel_pytree(layer_weights(point[1]))
    H = jax.hessian(lambda w: loss_of(point)(unravel(w)))(flat)
    values = np.linalg.eigvalsh(np.asarray(H))
    found = hessian_extremes(*point, steps=1000)
    assert found.dimension == flat.size == 2 * (9 + 3)
    assert found.lowest == pytest.approx(values[0], abs=1e-10 * np.abs(values).max())
    assert found.highest == pytest.approx(values[-1], rel=1e-10)
    for steps in (3, 6, 12):
        few = hessian_extremes(*point, steps=steps)
        assert values[0] - 1e-12 <= few.lowest
        assert few.highest <= values[-1] + 1e-12
        assert np.abs(values - few.lowest).min() <= few.lowest_error + 1e-12
        assert np.abs(values - few.highest).min() <= few.highest_error + 1e-12


@pytest.mark.parametrize("steps", [2, 3, 6])
def test_errors_of_the_extremes_are_the_residuals_of_their_ritz_pairs(point, steps):
    flat, unravel = ravel_pytree(layer_weights(point[1]))
    H = np.asarray(jax.hessian(lambda w: loss_of(point)(unravel(w)))(flat))
    # The Krylov space of the start, whatever its basis: Ritz pairs are those of H projected on it.
    start = np.asarray(jax.random.normal(jax.random.key(0), flat.shape, flat.dtype))
    K = np.zeros((flat.size, 0))
    for _ in range(steps):
        v = H @ K[:, -1] if K.size else start
        for _ in range(2):
            v = v - K @ (K.T @ v)
        K = np.concatenate([K, v[:, None] / np.linalg.norm(v)], axis=1)
    values, vectors = np.linalg.eigh(K.T @ H @ K)
    residuals = np.linalg.norm(H @ K @ vectors - K @ vectors * values, axis=0)
    found = hessian_extremes(*point, steps=steps)
    np.testing.assert_allclose([found.lowest, found.highest], values[[0, -1]], rtol=1e-9)
    np.testing.assert_allclose([found.lowest_error, found.highest_error], residuals[[0, -1]], rtol=1e-7)


def test_errors_of_the_extremes_are_never_below_what_rounding_does(point):
    found = hessian_extremes(*point, steps=24)
    rounding = 24 * np.finfo(np.float64).eps * max(abs(found.lowest), abs(found.highest))
    assert rounding <= min(found.lowest_error, found.highest_error) <= 1e3 * rounding


def test_what_spans_nothing_is_refused(point):
    with pytest.raises(ValueError, match="radius=0"):
        landscape(*point, radius=0.0)
    with pytest.raises(ValueError, match="points=1"):
        landscape(*point, points=1)
    with pytest.raises(ValueError, match="steps=1"):
        hessian_extremes(*point, steps=1)


def test_directions_of_tiny_weights_and_a_hessian_that_is_not_finite(point):
    model, params, graph, x, loss_fn = point
    weights = layer_weights(params)
    drawn = [_direction(jax.tree.map(lambda W, t=t: t * W, weights), jax.random.key(1)) for t in (1.0, 2.0**-90)]
    jax.tree.map(lambda D, E: np.testing.assert_array_equal(2.0**-90 * D, E), *drawn)
    broken = with_layer_weights(params, jax.tree.map(lambda W: np.nan * W, weights))
    with pytest.raises(ValueError, match="Hessian is NaN or infinite"):
        hessian_extremes(model, broken, graph, x, loss_fn, steps=4)

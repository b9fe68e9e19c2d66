import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgnn.bounds import bound_params, frobenius, frobenius_soft


def matrix(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


@pytest.mark.parametrize("c", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e12])
def test_norm_is_exactly_c(c, scale):
    W = frobenius(matrix(4, 3) * scale, jnp.float32(c))
    np.testing.assert_allclose(np.linalg.norm(W), c, rtol=1e-6)
    assert np.linalg.norm(W, 2) <= c


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_norm_is_c_where_the_squares_leave_the_range_of_numbers(scale):
    W = frobenius(matrix(4, 3) * scale, jnp.float32(0.5))
    np.testing.assert_allclose(np.linalg.norm(W), 0.5, rtol=1e-6)


def test_direction_is_kept(x64):
    W = matrix(4, 3, dtype=np.float64)
    bounded = frobenius(W, jnp.float64(0.5))
    np.testing.assert_allclose(bounded * jnp.linalg.norm(W), 0.5 * W, rtol=1e-14)


def test_soft_form_changes_nothing_inside_the_ball_and_projects_outside():
    W = matrix(4, 3)
    norm = float(jnp.linalg.norm(W))
    np.testing.assert_array_equal(frobenius_soft(W, jnp.float32(1.01 * norm)), W)
    outside = frobenius_soft(W, jnp.float32(norm / 3))
    np.testing.assert_allclose(outside, W / 3, rtol=1e-6)


@pytest.mark.parametrize("bound", [frobenius, frobenius_soft])
def test_differentiated_through(bound, x64):
    W, c = matrix(4, 3, dtype=np.float64), jnp.float64(0.75)
    assert np.linalg.norm(W) > c  # the soft form is at work
    check_grads(bound, (W, c), order=1, modes=["fwd", "rev"], atol=1e-6, rtol=1e-6)


def test_gradient_of_the_hard_form_has_no_radial_part(x64):
    W = matrix(4, 3, dtype=np.float64)
    gradient = jax.grad(lambda W: jnp.sum(jnp.sin(frobenius(W, jnp.float64(2.0)))))(W)
    assert abs(float(jnp.sum(gradient * W))) <= 1e-14


@pytest.mark.parametrize("bound", [frobenius, frobenius_soft])
def test_zero_stays_zero_with_a_finite_gradient(bound):
    W = jnp.zeros((4, 3))
    np.testing.assert_array_equal(bound(W, jnp.float32(2.0)), W)
    gradient = jax.grad(lambda W: jnp.sum(jnp.cos(bound(W, jnp.float32(2.0))) + bound(W, jnp.float32(2.0))))(W)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("bound", ["none", "frobenius", "frobenius_soft"])
def test_matrices_are_bounded_and_vectors_left(bound):
    params = {"linear": {"kernel": matrix(4, 3)}, "deep": {"er": {"kernel": matrix(2, 2)}}, "bias": 9 * jnp.ones(3)}
    bounded = bound_params(params, bound, jnp.float32(0.5))
    np.testing.assert_array_equal(bounded["bias"], params["bias"])
    for name, W in (("linear", bounded["linear"]["kernel"]), ("deep", bounded["deep"]["er"]["kernel"])):
        before = params[name]["kernel"] if name == "linear" else params[name]["er"]["kernel"]
        expected = np.linalg.norm(before) if bound == "none" else 0.5
        np.testing.assert_allclose(np.linalg.norm(W), expected, rtol=1e-6)


def test_c_takes_the_precision_of_the_weights(x64):
    bounded = bound_params({"W": matrix(2, 2)}, "frobenius", jnp.float64(0.5))
    assert bounded["W"].dtype == np.float32

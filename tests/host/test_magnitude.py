"""Sizes of arrays at scales whose squares leave their dtype's range, and of arrays of different scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgnn.host import magnitude

SCALES = (1e-30, 1e-3, 1.0, 1e30)
A = np.array([[3.0, 0.0], [0.0, -4.0]], np.float32)  # of norm 5


@pytest.mark.parametrize("t", SCALES)
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_norm_and_direction(t, transform):
    X = jnp.asarray(A * np.float32(t))
    assert float(transform(magnitude.norm)(X)) == pytest.approx(5 * t, rel=1e-6, abs=0)
    np.testing.assert_allclose(transform(magnitude.unit)(X), A / 5, rtol=1e-6)
    assert magnitude.host_norm(A * np.float64(t) ** 8) == pytest.approx(5 * np.float64(t) ** 8, rel=1e-14, abs=0)


@pytest.mark.parametrize("s", SCALES)
@pytest.mark.parametrize("t", SCALES)
def test_ratio_of_norms(s, t):
    X, Y = jnp.asarray(A * np.float32(s)), jnp.asarray(np.ones((4, 4), np.float32) * np.float32(t))
    expected = np.float64(5 * s) / (4 * t)  # of float32's range, or 0 or infinite
    found = float(magnitude.norm_ratio(X, Y))
    limit = np.finfo(np.float32)
    if expected > limit.max:
        assert found == np.inf
    elif expected < limit.tiny:
        assert found <= limit.tiny
    else:
        assert found == pytest.approx(expected, rel=1e-6, abs=0)


def test_ratio_to_nothing():
    assert float(magnitude.norm_ratio(jnp.ones(3), jnp.zeros(3), 7.0)) == 7.0

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgnn.host.precision import HALF, kept_dtype, precision, rounded


def test_float64_is_kept_inside_and_the_setting_restored_after():
    with precision(np.float64):
        assert jnp.zeros(1, np.float64).dtype == np.float64
    assert jnp.zeros(1).dtype == np.float32


def test_float32_leaves_the_present_setting(x64):
    with precision(np.float32):
        assert jnp.zeros(1).dtype == np.float64


def test_float32_does_not_turn_float64_on():
    with precision(np.float32):
        assert jnp.zeros(1).dtype == np.float32


@pytest.mark.parametrize("dtype", HALF)
def test_rounding_is_a_cast_there_and_back_with_derivative_1(dtype):
    X = np.random.default_rng(0).uniform(0.5, 2, 1000) * 10.0 ** np.arange(-2, 3).repeat(200)
    X = np.append(X, [0.0, -1e30 if dtype == "bfloat16" else -6e4, np.inf]).astype(np.float32)
    value, slope = jax.jit(lambda X: jax.jvp(lambda X: rounded(X, dtype), (X,), (jnp.ones_like(X),)))(X)
    np.testing.assert_array_equal(value, X.astype(jnp.dtype(dtype)).astype(np.float32))
    np.testing.assert_array_equal(slope, 1)
    unit = float(jnp.finfo(dtype).eps) / 2
    assert unit == 2.0 ** -(HALF[dtype][1] + 1)
    np.testing.assert_allclose(value[:1000], X[:1000], rtol=unit)


def test_other_names_round_nothing():
    X = jnp.float32(1 / 3)
    assert rounded(X, "float32") is X
    assert kept_dtype("float32", X.dtype) == X.dtype
    assert kept_dtype("float16", X.dtype) == np.float16

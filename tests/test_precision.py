import jax.numpy as jnp
import numpy as np

from jaxgnn.precision import precision


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

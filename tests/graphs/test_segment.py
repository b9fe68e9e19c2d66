import jax.numpy as jnp
import numpy as np
import pytest

from jaxgnn.graphs.segment import segment_mean, segment_sum

SEGMENTS = jnp.array([0, 0, 2, 2, 2])


@pytest.mark.parametrize("is_sorted", [True, False])
def test_sums_and_means_of_each_segment(is_sorted):
    data = jnp.array([[1.0, 2.0], [3.0, 4.0], [1.0, 0.0], [2.0, 0.0], [6.0, 3.0]])
    total = segment_sum(data, SEGMENTS, 4, sorted=is_sorted)
    mean = segment_mean(data, SEGMENTS, 4, sorted=is_sorted)
    np.testing.assert_array_equal(total, [[4, 6], [0, 0], [9, 3], [0, 0]])
    np.testing.assert_array_equal(mean, [[2, 3], [0, 0], [3, 1], [0, 0]])


def test_an_empty_segment_of_nothing_is_zero():
    nothing = jnp.zeros((0, 3))
    np.testing.assert_array_equal(segment_mean(nothing, jnp.zeros(0, jnp.int32), 2), np.zeros((2, 3)))


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 3)])
def test_trailing_axes_are_kept(shape):
    assert segment_mean(jnp.ones(shape), SEGMENTS, 4).shape == (4, *shape[1:])

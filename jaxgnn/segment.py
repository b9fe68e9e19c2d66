"""Segment operations over jraph's, guarded: an empty segment gives 0, never NaN or -inf."""

import jax.numpy as jnp
import jraph
from jaxtyping import Float, Int

from jaxgnn.arrays import Array


def segment_sum(
    data: Float[Array, "e ..."], segments: Int[Array, "e"], num_segments: int, *, sorted: bool = False
) -> Float[Array, "s ..."]:
    """Sum of the rows of each segment; [e, ...] -> [num_segments, ...]. `sorted` promises ascending ids."""
    return jraph.segment_sum(data, segments, num_segments, indices_are_sorted=sorted)


def segment_mean(
    data: Float[Array, "e ..."], segments: Int[Array, "e"], num_segments: int, *, sorted: bool = False
) -> Float[Array, "s ..."]:
    """Mean of the rows of each segment, 0 where a segment is empty; [e, ...] -> [num_segments, ...]."""
    total = segment_sum(data, segments, num_segments, sorted=sorted)
    count = segment_sum(jnp.ones(data.shape[:1], data.dtype), segments, num_segments, sorted=sorted)
    return total / jnp.maximum(count, 1).reshape((-1,) + (1,) * (data.ndim - 1))

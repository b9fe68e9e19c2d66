"""Segment operations over jraph's, guarded: an empty segment gives 0, never NaN or -inf."""

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Float, Int

from jaxgnn.host.arrays import Array


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


def segment_max(
    data: Float[Array, "e ..."], segments: Int[Array, "e"], num_segments: int, *, sorted: bool = False
) -> Float[Array, "s ..."]:
    """Maximum of each segment, 0 where it is empty or all -inf; equal maxima share the gradient equally."""
    # As the mean over the rows that attain the maximum: scatter-max itself has no forward-mode derivative.
    top = segment_top(data, segments, num_segments, sorted=sorted)
    attains = (data == top.at[segments].get(mode="promise_in_bounds")) & jnp.isfinite(data)
    count = segment_sum(attains.astype(data.dtype), segments, num_segments, sorted=sorted)
    total = segment_sum(jnp.where(attains, data, 0), segments, num_segments, sorted=sorted)
    return jnp.where(jnp.isfinite(top), total / jnp.maximum(count, 1), top)


def segment_top(
    data: Float[Array, "e ..."], segments: Int[Array, "e"], num_segments: int, *, sorted: bool = False
) -> Float[Array, "s ..."]:
    """Maximum of each segment as a constant (no gradient), 0 where it is empty or all -inf."""
    data = jax.lax.stop_gradient(data)
    top = jraph.segment_max(data, segments, num_segments, indices_are_sorted=sorted)
    return jnp.where(top == -jnp.inf, 0, top)

"""Sums, means and maxima of segments, and their rows: an empty segment gives 0, never NaN or -inf.

Sums are jraph's but on GPUs, where its scatter adds in no order of its own or, where an order is asked for, sorts every
number that it adds: there rows are summed in a tree, by gathers alone. `segment_sum` and `rows` are each other's
transposes, so that neither direction of a derivative scatters there.
"""

from functools import partial

import jax
import jax.numpy as jnp
import jraph
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Float, Int

from jaxgnn.host.arrays import Array

GPUS = ("cuda", "rocm")


def segment_sum(
    data: Float[Array, "e ..."], segments: Int[Array, "e"], num_segments: int, *, sorted: bool = False
) -> Float[Array, "s ..."]:
    """Sum of the rows of each segment; [e, ...] -> [num_segments, ...]. `sorted` promises ascending ids.

    Ids are constants, 0 to num_segments - 1. Raises TypeError where they are differentiated.
    """
    return _sum_p.bind(jnp.asarray(data), jnp.asarray(segments), num_segments=num_segments, sorted=sorted)


def rows(X: Float[Array, "n ..."], ids: Int[Array, "e"], *, sorted: bool = False) -> Float[Array, "e ..."]:
    """Rows X[ids], [n, ...] -> [e, ...]; ids are constants, 0 to n - 1. `sorted` promises ascending ids."""
    return _rows_p.bind(jnp.asarray(X), jnp.asarray(ids), sorted=sorted)


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
    attains = (data == rows(top, segments, sorted=sorted)) & jnp.isfinite(data)
    count = segment_sum(attains.astype(data.dtype), segments, num_segments, sorted=sorted)
    total = segment_sum(jnp.where(attains, data, 0), segments, num_segments, sorted=sorted)
    return jnp.where(jnp.isfinite(top), total / jnp.maximum(count, 1), top)


def segment_top(
    data: Float[Array, "e ..."], segments: Int[Array, "e"], num_segments: int, *, sorted: bool = False
) -> Float[Array, "s ..."]:
    """Maximum of each segment as a constant (no gradient), 0 where it is empty or all -inf."""
    data = jax.lax.stop_gradient(jnp.asarray(data))
    top = _max_p.bind(data, jnp.asarray(segments), num_segments=num_segments, sorted=sorted)
    return jnp.where(top == -jnp.inf, 0, top)


def tree(
    data: Float[Array, "e ..."], segments: Int[Array, "e"], num_segments: int, *, sorted: bool = False, largest=False
) -> Float[Array, "s ..."]:
    """The sum or, if `largest`, the maximum (-inf where empty) of each segment without a scatter: what GPUs run.

    The order is one that the ids alone decide. After a pass with the stride s every row holds the sum of those up to
    4 s - 1 places after it in its segment, so that after log_4 e passes a segment's first row holds its sum. A sum of m
    rows has an error of at most about 2 log_2 m roundings of the sum of their absolute values.
    """
    data, segments = jnp.asarray(data), jnp.asarray(segments)
    if not sorted:
        order = jnp.argsort(segments, stable=True)
        segments, data = segments[order], data.at[order].get(mode="promise_in_bounds")
    e, neutral = segments.shape[0], -jnp.inf if largest else 0
    if not e:
        return jnp.full((num_segments, *data.shape[1:]), neutral, data.dtype)
    wide = (-1,) + (1,) * (data.ndim - 1)
    stride = 1
    while stride < e:
        found = data
        after = jnp.pad(data, [(0, 3 * stride)] + [(0, 0)] * (data.ndim - 1))
        owner = jnp.pad(segments, (0, 3 * stride), constant_values=num_segments)
        for ahead in (stride, 2 * stride, 3 * stride):
            same = (owner[ahead : ahead + e] == segments).reshape(wide)
            other = jnp.where(same, after[ahead : ahead + e], neutral)
            found = jnp.maximum(found, other) if largest else found + other
        data, stride = found, 4 * stride
    ids = jnp.arange(num_segments, dtype=segments.dtype)
    first = jnp.minimum(jnp.searchsorted(segments, ids), e - 1)
    there = (segments[first] == ids).reshape(wide)
    return jnp.where(there, data.at[first].get(mode="promise_in_bounds"), neutral)


def _scatter_add(data, segments, *, num_segments, sorted):
    return jraph.segment_sum(data, segments, num_segments, indices_are_sorted=sorted)


def _scatter_max(data, segments, *, num_segments, sorted):
    return jraph.segment_max(data, segments, num_segments, indices_are_sorted=sorted)


def _gather(X, ids, *, sorted):
    return X.at[ids].get(mode="promise_in_bounds", indices_are_sorted=sorted)


def _of_segments(data, segments, *, num_segments, sorted):
    return jax.core.ShapedArray((num_segments, *data.shape[1:]), data.dtype)


def _of_ids(X, ids, *, sorted):
    return jax.core.ShapedArray((ids.shape[0], *X.shape[1:]), X.dtype)


def _primitive(name: str, compute, abstract, on_gpus=None) -> Primitive:
    """A primitive of data and constant ids; a batch is folded into the trailing axes of the data."""
    primitive = Primitive(name)

    def batch(args, axes, **params):
        data, ids = args
        if axes[1] is not None:  # ids of its own for everything in the batch
            return jax.vmap(partial(compute, **params), axes)(data, ids), 0
        return primitive.bind(jnp.moveaxis(data, axes[0], 1), ids, **params), 1

    primitive.def_impl(jax.jit(primitive.bind, static_argnames=("num_segments", "sorted")))
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    for gpu in GPUS if on_gpus is not None else ():
        mlir.register_lowering(primitive, mlir.lower_fun(on_gpus, multiple_results=False), platform=gpu)
    return primitive


def _is_linear(primitive: Primitive, transposed) -> None:
    def jvp(primals, tangents, **params):
        (data, ids), (tangent, _) = primals, tangents
        out = primitive.bind(data, ids, **params)
        if isinstance(tangent, ad.Zero):
            return out, ad.Zero.from_primal_value(out)
        return out, primitive.bind(tangent, ids, **params)

    def transpose(cotangent, data, ids, **params):
        if isinstance(cotangent, ad.Zero):
            return ad.Zero(data.aval), None
        return transposed(cotangent, ids, data.aval.shape[0], params["sorted"]), None

    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose


_sum_p = _primitive("segment_sum", _scatter_add, _of_segments, tree)
_max_p = _primitive("segment_max", _scatter_max, _of_segments, partial(tree, largest=True))
_rows_p = _primitive("rows", _gather, _of_ids)
_is_linear(_sum_p, lambda cotangent, ids, size, sorted: _rows_p.bind(cotangent, ids, sorted=sorted))
_is_linear(_rows_p, lambda cotangent, ids, size, sorted: _sum_p.bind(cotangent, ids, num_segments=size, sorted=sorted))

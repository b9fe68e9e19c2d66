"""Sums, means and maxima of segments, and their rows: an empty segment gives 0, never NaN or -inf.

Sums are jraph's but on GPUs, where its scatter adds in no order of its own or, where an order is asked for, sorts every
number that it adds: there rows are summed pairwise in a tree, by gathers alone. `segment_sum` and `rows` are
transposes of each other, so that neither direction of a derivative scatters there.
"""

from functools import partial

import jax
import jax.numpy as jnp
import jraph
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Float, Int

from jaxgnn.host.arrays import Array

_GPUS = ("cuda", "rocm")


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
    data = jax.lax.stop_gradient(data)
    top = jraph.segment_max(data, segments, num_segments, indices_are_sorted=sorted)
    return jnp.where(top == -jnp.inf, 0, top)


def tree_sum(
    data: Float[Array, "e ..."], segments: Int[Array, "e"], num_segments: int, *, sorted: bool = False
) -> Float[Array, "s ..."]:
    """`segment_sum` without a scatter, in an order that the ids alone decide: what runs on GPUs.

    After a pass with the stride s every row holds the sum of those up to 4 s - 1 places after it in its segment, so
    that after log_4 e passes a segment's first row holds its sum. A sum of m rows has an error of at most about
    log_2 m roundings of the sum of their absolute values.
    """
    if not sorted:
        order = jnp.argsort(segments, stable=True)
        segments, data = segments[order], data.at[order].get(mode="promise_in_bounds")
    e = segments.shape[0]
    if not e:
        return jnp.zeros((num_segments, *data.shape[1:]), data.dtype)
    wide = (-1,) + (1,) * (data.ndim - 1)
    stride = 1
    while stride < e:
        found = data
        for ahead in range(stride, min(4 * stride, e), stride):
            same = (segments[ahead:] == segments[:-ahead]).reshape(wide)
            after = jnp.where(same, data[ahead:], 0)
            found = found + jnp.concatenate([after, jnp.zeros((ahead, *data.shape[1:]), data.dtype)])
        data, stride = found, 4 * stride
    ids = jnp.arange(num_segments, dtype=segments.dtype)
    first = jnp.minimum(jnp.searchsorted(segments, ids), e - 1)
    there = (segments[first] == ids).reshape(wide)
    return jnp.where(there, data.at[first].get(mode="promise_in_bounds"), 0)


def _scatter(data, segments, *, num_segments, sorted):
    return jraph.segment_sum(data, segments, num_segments, indices_are_sorted=sorted)


def _tree(data, segments, *, num_segments, sorted):
    return tree_sum(data, segments, num_segments, sorted=sorted)


def _gather(X, ids, *, sorted):
    return X.at[ids].get(mode="promise_in_bounds", indices_are_sorted=sorted)


def _linear(name: str, compute, abstract, transpose) -> Primitive:
    """A primitive that is linear in its first operand; the second, ids, is constant."""
    primitive = Primitive(name)

    def jvp(primals, tangents, **params):
        (data, ids), (tangent, _) = primals, tangents
        out = primitive.bind(data, ids, **params)
        if isinstance(tangent, ad.Zero):
            return out, ad.Zero.from_primal_value(out)
        return out, primitive.bind(tangent, ids, **params)

    def transposed(cotangent, data, ids, **params):
        if isinstance(cotangent, ad.Zero):
            return ad.Zero(data.aval), None
        return transpose(cotangent, ids, data.aval, **params), None

    def batch(args, axes, **params):
        data, ids = args
        if axes[1] is not None:  # ids of its own for everything in the batch
            return jax.vmap(partial(compute, **params), axes)(data, ids), 0
        return primitive.bind(jnp.moveaxis(data, axes[0], 1), ids, **params), 1

    primitive.def_impl(jax.jit(primitive.bind, static_argnames=("num_segments", "sorted")))
    primitive.def_abstract_eval(abstract)
    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transposed
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    return primitive


def _sum_abstract(data, segments, *, num_segments, sorted):
    return jax.core.ShapedArray((num_segments, *data.shape[1:]), data.dtype)


def _rows_abstract(X, ids, *, sorted):
    return jax.core.ShapedArray((ids.shape[0], *X.shape[1:]), X.dtype)


def _sum_transpose(cotangent, ids, data, *, num_segments, sorted):
    return _rows_p.bind(cotangent, ids, sorted=sorted)


def _rows_transpose(cotangent, ids, X, *, sorted):
    return _sum_p.bind(cotangent, ids, num_segments=X.shape[0], sorted=sorted)


_sum_p = _linear("segment_sum", _scatter, _sum_abstract, _sum_transpose)
_rows_p = _linear("rows", _gather, _rows_abstract, _rows_transpose)
for _gpu in _GPUS:
    mlir.register_lowering(_sum_p, mlir.lower_fun(_tree, multiple_results=False), platform=_gpu)

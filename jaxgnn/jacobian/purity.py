"""Refusal, in one sentence, of what has no Jacobian: functions with side effects, or that JAX cannot differentiate."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxgnn.host.program import copied, differentiable, kept, trace
from jaxgnn.host.structure import structure


def frozen(f: Partial, h: np.ndarray) -> Partial:
    """f as it is now: a function that never changes, from and to arrays in `kept` precision. Nothing is compiled.

    f itself is called in h's own precision. Whether it is pure is found by tracing it twice more, once for all arrays
    of equal shapes that are bound to it, and whether it has derivatives once for all equal programs.

    Raises ValueError where f does not return one array of floating-point numbers, keeps what it was given beyond its
    end, does something else the second time, has effects (callbacks, printing), or has no forward or reverse mode.
    """
    leaves, tree = jax.tree.flatten(f)
    point = jax.ShapeDtypeStruct(h.shape, h.dtype)
    shapes = tuple(jax.ShapeDtypeStruct(np.shape(a), jnp.result_type(a)) for a in leaves)
    _require_pure(tree, (*shapes, point), jnp.result_type(float))
    traced = _trace(lambda *arrays: _called(tree, arrays), (*shapes, point))
    _require_one_output(traced)
    arrays = tuple(copied(a) for a in leaves)

    def function(h):
        found = jax.core.eval_jaxpr(traced.jaxpr, traced.consts, *arrays, h.astype(point.dtype))
        return found[0].astype(wide.dtype)

    wide = jax.ShapeDtypeStruct(h.shape, kept(h.dtype))
    try:
        found = differentiable(trace(function, wide), wide)
    except Exception as error:
        raise ValueError(f"f is not differentiable in forward mode: {_first_line(error)}") from error
    leaves, tree = jax.tree.flatten(found)
    _require_derivatives(tree, (*(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in leaves), wide))
    return found


@lru_cache(maxsize=64)
def _require_pure(tree: Any, shapes: tuple[jax.ShapeDtypeStruct, ...], default: Any) -> None:
    first = _trace(lambda *arrays: _called(tree, arrays), shapes, leaks=True)
    _require_one_output(first)
    # The text of two traces differs where JAX found parts of the second one in a cache, the structure where f makes a
    # function of its own each time that JAX is told to call.
    second = _trace(lambda *arrays: _called(tree, arrays), shapes)
    if structure(first.jaxpr) != structure(second.jaxpr):
        second = _trace(lambda *arrays: _called(tree, arrays), shapes, leaks=True)
    if not _same(first, second):
        raise ValueError(
            "f is not a pure function: traced twice, it did different things (a counter, numpy's random numbers, an "
            "object that it changes?)"
        )


def _require_one_output(traced: Any) -> None:
    out = traced.out_avals
    if len(out) != 1:
        raise ValueError(f"f(h) returned {len(out)} arrays: one is needed")
    if not jnp.issubdtype(out[0].dtype, jnp.floating):
        raise ValueError(f"f(h) has dtype {out[0].dtype}: a function of floating-point values has a Jacobian")
    if traced.effects:
        names = ", ".join(sorted(str(effect) for effect in traced.effects))
        raise ValueError(f"f has side effects ({names}): a Jacobian needs a pure function of h")


@lru_cache(maxsize=256)
def _require_derivatives(tree: Any, shapes: tuple[jax.ShapeDtypeStruct, ...]) -> None:
    for mode, derivative in (("forward", _forward), ("reverse", _reverse)):
        try:
            jax.eval_shape(lambda *arrays, d=derivative: d(tree.unflatten(arrays[:-1]), arrays[-1]), *shapes)
        except Exception as error:
            raise ValueError(f"f is not differentiable in {mode} mode: {_first_line(error)}") from error


def _called(tree: Any, arrays: tuple[Any, ...]) -> Any:
    return tree.unflatten(arrays[:-1])(arrays[-1])


def _trace(call: Callable, shapes: tuple[jax.ShapeDtypeStruct, ...], *, leaks: bool = False):
    try:
        with jax.checking_leaks() if leaks else nullcontext():
            return trace(call, *shapes)
    except Exception as error:
        if "leak" in str(error).lower():
            raise ValueError(
                "f is not a pure function: it keeps an intermediate array beyond its end (in a list, an attribute or "
                "a global?)"
            ) from error
        raise ValueError(f"f cannot be traced by JAX: {_first_line(error)}") from error


def _same(first: Any, second: Any) -> bool:
    return (
        (structure(first.jaxpr) == structure(second.jaxpr) or str(first.jaxpr) == str(second.jaxpr))
        and len(first.consts) == len(second.consts)
        and all(a is b or _equal(a, b) for a, b in zip(first.consts, second.consts, strict=True))
    )


def _equal(a: Any, b: Any) -> bool:
    if jnp.issubdtype(jnp.asarray(a).dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    a, b = np.asarray(a), np.asarray(b)
    return np.array_equal(a, b, equal_nan=np.issubdtype(a.dtype, np.inexact))


def _forward(f: Callable, h):
    return jax.vmap(jax.linearize(f, h)[1])(h[None])


def _reverse(f: Callable, h):
    out, backward = jax.vjp(f, h)
    return backward(out)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__).rstrip(".")

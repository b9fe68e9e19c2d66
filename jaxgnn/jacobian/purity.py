"""Refusal, in one sentence, of what has no Jacobian: functions with side effects, or that JAX cannot differentiate."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial


def check(f: Partial, h: np.ndarray) -> tuple[int, ...]:
    """Traces f twice, and its derivatives once; returns the shape of f(h). Nothing is compiled.

    A function is checked once for all arrays of equal shapes that are bound to it.

    Raises ValueError where f does not return one array of floating-point numbers, keeps what it was given beyond its
    end, does something else the second time, has effects (callbacks, printing), or has no forward or reverse mode.
    """
    leaves, tree = jax.tree.flatten(f)
    shapes = tuple(jax.ShapeDtypeStruct(np.shape(a), jnp.result_type(a)) for a in (*leaves, h))
    return _checked(tree, shapes)


@lru_cache(maxsize=64)
def _checked(tree: Any, shapes: tuple[jax.ShapeDtypeStruct, ...]) -> tuple[int, ...]:
    def call(*arrays):
        return tree.unflatten(arrays[:-1])(arrays[-1])

    first, second = _trace(call, shapes), _trace(call, shapes)
    out = first.out_avals
    if len(out) != 1:
        raise ValueError(f"f(h) returned {len(out)} arrays: one is needed")
    if not jnp.issubdtype(out[0].dtype, jnp.floating):
        raise ValueError(f"f(h) has dtype {out[0].dtype}: a function of floating-point values has a Jacobian")
    if first.effects:
        names = ", ".join(sorted(str(effect) for effect in first.effects))
        raise ValueError(f"f has side effects ({names}): a Jacobian needs a pure function of h")
    if not _same(first, second):
        raise ValueError(
            "f is not a pure function: traced twice, it did different things (a counter, numpy's random numbers, an "
            "object that it changes?)"
        )
    for mode, derivative in (("forward", _forward), ("reverse", _reverse)):
        try:
            jax.eval_shape(lambda *arrays, d=derivative: d(lambda h: call(*arrays[:-1], h), arrays[-1]), *shapes)
        except Exception as error:
            raise ValueError(f"f is not differentiable in {mode} mode: {_first_line(error)}") from error
    return tuple(out[0].shape)


def _trace(call: Callable, shapes: tuple[jax.ShapeDtypeStruct, ...]):
    try:
        with jax.checking_leaks():
            return jax.make_jaxpr(lambda *arrays: call(*arrays))(*shapes)  # new, so that no earlier trace is returned
    except Exception as error:
        if "leak" in str(error).lower():
            raise ValueError(
                "f is not a pure function: it keeps an intermediate array beyond its end (in a list, an attribute or "
                "a global?)"
            ) from error
        raise ValueError(f"f cannot be traced by JAX: {_first_line(error)}") from error


def _same(first: Any, second: Any) -> bool:
    return (
        str(first.jaxpr) == str(second.jaxpr)
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

"""A function of arrays as a value: traced once, with what it closed over as arguments of its program.

Under `jax.jit` a function object stands for what it closed over when it was first traced; whatever is changed later
(a variable bound anew, an attribute, a module, a numpy array in place) is not seen. Here a function is traced anew
each time, and compiled once for all traces that are equal in everything but the arrays that were closed over.
"""

import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache, partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.tree_util import Partial

from jaxgnn.host.arrays import unshared
from jaxgnn.host.precision import exact_products
from jaxgnn.host.structure import arrays, entries, private, structure

_LIBRARIES = ("jaxgnn", "flax", "jax", "jaxlib", "optax", "numpy", "builtins")

_trace_number = jax.make_user_context(None)  # in the key of all of JAX's trace caches


def anew() -> AbstractContextManager:
    """A context in which nothing that was traced before is taken for the trace of a function, jitted ones inside it
    and the bodies of its loops among them."""
    return _trace_number(object())


def as_traced(f: Callable[..., Any], *args: Any) -> AbstractContextManager:
    """A context in which compiled programs are those of an equal trace of f, with equal numbers closed over."""
    closed = trace(f, *args)
    return _trace_number((Program.of(closed.jaxpr), tuple(entries(c) for c in closed.consts)))


def trace(f: Callable[..., Any], *args: Any) -> ClosedJaxpr:
    """f's jaxpr at arguments like these, of arrays that are f's own: what f closed over is copied.

    Its products are exact in their dtype on every device, unless f asks for another precision itself.
    """
    with anew(), exact_products():
        closed = jax.make_jaxpr(lambda *args: f(*args))(*args)
        if _hidden(closed.jaxpr):  # constants of jitted functions inside f become its own
            closed = jax.make_jaxpr(lambda *args: _evaluate(closed.jaxpr, closed.consts, args))(*args)
    return ClosedJaxpr(private(closed.jaxpr), [copied(c) for c in closed.consts])


def digest(f: Callable[..., Any], *args: Any) -> str:
    """SHA-256 of what f computes at arguments like these, with the numbers that it closed over: of code, not of names.

    The same in another process of the same versions: addresses in memory are left out.
    """
    closed = trace(f, *args)
    found = hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)).encode())
    for array in arrays(closed):  # long ones are not written out in the text
        dtype, shape, numbers = entries(array)[-3:]
        found.update(f"{dtype}{shape}".encode() + numbers)
    return found.hexdigest()


def copied(array: Any) -> Any:
    """The array on a device, with memory of its own (of a numpy array a CPU device would share it)."""
    if isinstance(array, jax.Array):
        return jnp.array(array, copy=True)
    return jnp.asarray(np.array(array, copy=True))


class Program:
    """A jaxpr that is equal to every other that computes the same: a static argument of compiled functions.

    A call takes the constants and the arguments, and returns the list of outputs.
    """

    def __init__(self, jaxpr: Jaxpr):
        self.jaxpr = jaxpr
        self._structure = structure(jaxpr)
        self._hash = hash(self._structure)

    @classmethod
    def of(cls, jaxpr: Jaxpr) -> "Program":
        """The first of all equal programs, so that comparing them is comparing objects."""
        return _first(cls(jaxpr))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Program) and self._structure == other._structure)

    def __call__(self, constants: Any, *args: Any) -> list[Any]:
        return jax.core.eval_jaxpr(self.jaxpr, constants, *args)


@lru_cache(maxsize=1024)
def _first(program: Program) -> Program:
    return program


@dataclass(frozen=True)
class _Differentiable:
    """h, rest -> f(h, *rest) with the derivative in h that f had when it was traced."""

    value: Program
    derivative: Program

    def __call__(self, constants, more, h, *rest):
        rest = jax.tree.leaves(rest)

        @jax.custom_jvp
        def f(h):
            return self.value(constants, h, *rest)[0]

        # A rule of f's own (custom_jvp) is a Python function, which may have changed: it was traced as well.
        f.defjvp(lambda primals, tangents: tuple(self.derivative((*constants, *more), *primals, *rest, *tangents)))
        return f(h)


def frozen(f: Callable[..., Any], h: Any, *rest: Any) -> Partial:
    """f(h, *rest) as it is now, from and to arrays in `kept` precision; it can be differentiated in h, once."""
    leaves, tree = jax.tree.flatten(f if isinstance(f, Partial) else Partial(f))
    arrays, wide = [copied(a) for a in leaves], jax.ShapeDtypeStruct(h.shape, kept(h.dtype))

    def function(point, *rest):
        return jnp.asarray(tree.unflatten(arrays)(point.astype(h.dtype), *rest)).astype(wide.dtype)

    return differentiable(trace(function, wide, *rest), wide, *rest)


def kept(dtype: Any) -> np.dtype:
    """The precision that numbers of one are kept in between two programs: float32 for half precision."""
    return np.dtype(np.float32) if np.dtype(dtype).itemsize < 4 else np.dtype(dtype)


def call(f: Callable[..., Any], *args: Any) -> Any:
    """f(*args), compiled once for all f that are equal in everything but the arrays they close over."""
    leaves, tree = jax.tree.flatten(args)
    shapes: list[Any] = []

    def flat(*leaves):
        found, out = jax.tree.flatten(f(*tree.unflatten(leaves)))
        shapes[:] = [out]
        return found

    closed = trace(flat, *leaves)
    return jax.tree.unflatten(shapes[0], _run(Program.of(closed.jaxpr), closed.consts, leaves))


def of_model(f: Callable[..., Any]) -> Callable[..., Any]:
    """f(model, *args) compiled once for equal models; where a model has code of a user's own, traced at every call.

    With exact products, as `trace`.
    """
    compiled = jax.jit(exact_products()(f), static_argnums=0)

    @wraps(f)
    def run(model, *args):
        if is_value(model) or any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves(args)):
            return compiled(model, *unshared(args))
        return call(partial(f, model), *unshared(args))

    run._cache_size = compiled._cache_size
    run.eval_shape = compiled.eval_shape
    return run


@partial(jax.jit, static_argnums=0)
def _run(program: Program, constants: Any, args: Any) -> list[Any]:
    return program(constants, *args)


def is_value(value: Any) -> bool:
    """Whether equal objects compute equal numbers for good: numbers, text and modules of code that does not change.

    Not those with code of a user's own, which may read what can be changed.
    """
    if isinstance(value, str | bytes | bool | int | float | complex | np.dtype | None):
        return True
    if isinstance(value, tuple | list | frozenset):
        return all(is_value(v) for v in value)
    if isinstance(value, dict | FrozenDict):
        return all(is_value(v) for v in value.values())
    code = value if isinstance(value, type) or (callable(value) and not is_dataclass(value)) else type(value)
    if (getattr(code, "__module__", None) or "").partition(".")[0] not in _LIBRARIES:
        return False
    # A function of the libraries may have been made of one that is not.
    cells = () if isinstance(value, type) else getattr(value, "__closure__", None) or ()
    if any(not is_value(cell.cell_contents) for cell in cells if cell.cell_contents is not value):
        return False
    return (
        not is_dataclass(value)
        or isinstance(value, type)
        or all(is_value(getattr(value, field.name)) for field in fields(value) if field.name not in ("parent", "name"))
    )


def differentiable(closed: ClosedJaxpr, h: Any, *rest: Any) -> Partial:
    """A trace of one output as a pytree: a function of (h, *rest) that can be differentiated in h, once."""
    constants = closed.consts
    traced = trace(
        lambda constants, *args: _jvp(closed.jaxpr, constants, *args), constants, h, *jax.tree.leaves(rest), h
    )
    jaxpr, count = traced.jaxpr, len(constants)
    # The constants of f, which both programs share, come first.
    jaxpr = jaxpr.replace(constvars=[*jaxpr.invars[:count], *jaxpr.constvars], invars=jaxpr.invars[count:])
    f = _Differentiable(Program.of(closed.jaxpr), Program.of(jaxpr))
    return Partial(f, tuple(constants), tuple(traced.consts))


def _jvp(jaxpr: Jaxpr, constants, h, *rest_and_tangent):
    *rest, v = rest_and_tangent
    return jax.jvp(lambda h: jax.core.eval_jaxpr(jaxpr, constants, h, *rest)[0], (h,), (v,))


def _hidden(jaxpr: Jaxpr) -> bool:
    """Whether a jitted function has constants of its own."""
    inner = [eqn.params["jaxpr"] for eqn in jaxpr.eqns if eqn.primitive.name == "jit"]
    return any(closed.consts or _hidden(closed.jaxpr) for closed in inner)


def _evaluate(jaxpr: Jaxpr, consts: Any, args: Any) -> list[Any]:
    """The outputs, with jitted functions that have constants written out."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        if eqn.primitive.name == "jit" and (eqn.params["jaxpr"].consts or _hidden(eqn.params["jaxpr"].jaxpr)):
            found = _evaluate(eqn.params["jaxpr"].jaxpr, eqn.params["jaxpr"].consts, inputs)
        else:
            with eqn.ctx.manager:
                found = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
        values.update(zip(eqn.outvars, found if eqn.primitive.multiple_results else [found], strict=True))
    return [read(atom) for atom in jaxpr.outvars]

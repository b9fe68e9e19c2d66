"""What a jaxpr computes as a hashable value, whatever names and objects it was traced with."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

# Rules that a program of values alone never calls. Derivatives are traced to programs of their own.
_RULES = {
    "custom_jvp_call": ("jvp_jaxpr_fun",),
    "custom_vjp_call": ("fwd_jaxpr_thunk", "bwd"),
}
_PLAIN = (str, bytes, bool, int, type(None), type(Ellipsis))


class _Same:
    """An object that is equal to itself alone, as long as this is kept."""

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


def structure(jaxpr: Jaxpr) -> tuple[Any, ...]:
    """Equal for jaxprs that compute the same from equal arguments and constants; if in doubt it is another.

    Variables are numbered as they come; literals and constants inside are compared by their bytes, parameters by type
    and value, functions among them by identity.
    """
    numbers: dict[Any, int] = {}

    def bound(variables):
        for variable in variables:
            numbers[variable] = len(numbers)
        return tuple(variable.aval for variable in variables)

    def read(atom):
        return (atom.aval, entries(atom.val)) if isinstance(atom, Literal) else numbers[atom]

    inputs = (bound(jaxpr.constvars), bound(jaxpr.invars))
    lines = []
    for eqn in jaxpr.eqns:
        arguments = tuple(read(atom) for atom in eqn.invars)
        skipped = _RULES.get(eqn.primitive.name, ())
        params = tuple((name, _value(v)) for name, v in sorted(eqn.params.items()) if name not in skipped)
        lines.append((_Same(eqn.primitive), arguments, params, _Same(eqn.ctx), bound(eqn.outvars)))
    return (*inputs, tuple(lines), tuple(read(atom) for atom in jaxpr.outvars))


def _value(value: Any) -> Any:
    """A parameter of an equation, of a type that tells 1, 1.0 and True apart, and 0.0 and -0.0."""
    kind = _Same(type(value))
    if isinstance(value, Jaxpr | ClosedJaxpr):
        opened, constants = parts(value)
        return ("jaxpr", structure(opened), tuple(entries(c) for c in constants))
    if isinstance(value, _PLAIN):
        return (kind, value)
    if isinstance(value, float | complex | np.generic | np.ndarray | jax.Array):
        return (kind, entries(value))
    if isinstance(value, tuple | list):
        return (kind, tuple(_value(v) for v in value))
    if isinstance(value, dict):
        return (kind, tuple((_value(k), _value(v)) for k, v in value.items()))
    return (kind, value) if _compares(value) else _Same(value)


def _compares(value: Any) -> bool:
    """Whether an object is equal to others by what it is: one of JAX's or numpy's own that is no function."""
    if callable(value) and not isinstance(value, type | np.dtype):
        return False
    module = (value if isinstance(value, type) else type(value)).__module__.partition(".")[0]
    if module not in ("jax", "jaxlib", "numpy", "ml_dtypes", "builtins"):
        return False
    try:
        hash(value)
    except TypeError:
        return False
    return True


def entries(array: Any) -> tuple[Any, ...]:
    """An array's numbers, hashable: dtype, shape and bytes."""
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return (array.dtype, *entries(jax.random.key_data(array)))
    numbers = np.asarray(array)
    return (numbers.dtype, numbers.shape, numbers.tobytes())


def parts(value: Jaxpr | ClosedJaxpr) -> tuple[Jaxpr, Sequence[Any]]:
    """A jaxpr and its constants, none where it is open. From JAX 0.11 on both types are one."""
    return (value.jaxpr, value.consts) if isinstance(value, ClosedJaxpr) else (value, ())


def arrays(value: Any) -> Iterator[Any]:
    """The numbers that are written in a jaxpr, or in one inside a parameter, in the order of its equations."""
    if isinstance(value, Jaxpr | ClosedJaxpr):
        opened, constants = parts(value)
        yield from constants
        for eqn in opened.eqns:
            yield from (atom.val for atom in eqn.invars if isinstance(atom, Literal))
            for param in eqn.params.values():
                yield from arrays(param)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from arrays(part)


def private(jaxpr: Jaxpr) -> Jaxpr:
    """The jaxpr with copies of all numbers that are written in it, which may be the memory of somebody's array."""
    return jaxpr.replace(eqns=[_private_line(eqn) for eqn in jaxpr.eqns], outvars=_atoms(jaxpr.outvars))


def _private_line(eqn: JaxprEqn) -> JaxprEqn:
    return eqn.replace(invars=_atoms(eqn.invars), params={name: _map(v) for name, v in eqn.params.items()})


def _atoms(atoms: Any) -> list[Any]:
    return [Literal(_copy(a.val), a.aval) if isinstance(a, Literal) else a for a in atoms]


def _map(value: Any) -> Any:
    if isinstance(value, ClosedJaxpr):
        return ClosedJaxpr(private(value.jaxpr), [_copy(c) for c in value.consts])
    if isinstance(value, Jaxpr):
        return private(value)
    if isinstance(value, tuple | list) and any(isinstance(v, Jaxpr | ClosedJaxpr | tuple | list) for v in value):
        mapped = [_map(v) for v in value]
        return type(value)(*mapped) if hasattr(value, "_fields") else type(value)(mapped)
    return value


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer):
        return jnp.array(value, copy=True)
    return value

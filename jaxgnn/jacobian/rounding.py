"""How exactly a function computes: the least precise floating-point number that a derivative passes through."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

# What products of float32 matrices are rounded to by default: TF32 on a GPU that has it, bfloat16 on a TPU.
_PRODUCTS = {"gpu": 2.0**-10, "tpu": 2.0**-7}


class _Moves(NamedTuple):
    """Whether a number changes with h, and whether with the tangent."""

    point: bool
    tangent: bool

    def __or__(self, other: Any) -> "_Moves":
        return _Moves(self.point or other.point, self.tangent or other.tangent)


_STILL = _Moves(False, False)


def coarsest_eps(derivative: Jaxpr) -> float:
    """The largest eps of all floating-point numbers between (h, v) and J v, in a program (h, v) -> f(h), J v.

    Numbers that J v needs and that change with h or v count, those in loops, branches and jitted functions among them;
    what does not change with either may be as coarse as it likes. A rounding of its own of numbers that only h
    changes (`reduce_precision` of what no gradient goes through) is part of f.
    """
    changes = (_Moves(True, False), *(_STILL for _ in derivative.invars[1:-1]), _Moves(False, True))
    return _walk(derivative, changes, (False, True))[0]


def _walk(jaxpr: Jaxpr, inputs: tuple[_Moves, ...], wanted: tuple[bool, ...]) -> tuple[float, tuple[_Moves, ...]]:
    """The largest eps, and which outputs change."""
    needed = {v for v, want in zip(jaxpr.outvars, wanted, strict=True) if want and isinstance(v, Var)}
    lines = []
    for eqn in reversed(jaxpr.eqns):
        if needed.intersection(eqn.outvars):
            lines.append(eqn)
            needed.update(v for v in eqn.invars if isinstance(v, Var))
    changes = dict(zip(jaxpr.invars, inputs, strict=True))
    eps = 0.0
    for eqn in reversed(lines):
        moves = tuple(_STILL if isinstance(v, Literal) else changes.get(v, _STILL) for v in eqn.invars)
        if _any(moves) == _STILL:
            continue
        inside, outputs = _inside(eqn, moves)
        eps = max(eps, inside)
        for variable, moved in zip(eqn.outvars, outputs, strict=True):
            if moved != _STILL and jnp.issubdtype(variable.aval.dtype, jnp.inexact):
                changes[variable] = moved
                eps = max(eps, _eps(eqn, variable.aval.dtype, moved))
    return eps, tuple(changes.get(v, _STILL) if isinstance(v, Var) else _STILL for v in jaxpr.outvars)


def _inside(eqn: JaxprEqn, moves: tuple[_Moves, ...]) -> tuple[float, tuple[_Moves, ...]]:
    """The largest eps in the programs that an equation runs, and which of its outputs change."""
    outputs = tuple(_any(moves) for _ in eqn.outvars)
    if eqn.primitive.name == "while":
        carried = moves[eqn.params["cond_nconsts"] :]
        return _loop(_open(eqn.params["body_jaxpr"]), carried, eqn.params["body_nconsts"], len(outputs))
    if eqn.primitive.name == "scan":
        return _loop(_open(eqn.params["jaxpr"]), moves, *_scan_sizes(eqn))
    eps, found = 0.0, None
    for jaxpr in _programs(eqn.params):
        last = moves[max(len(moves) - len(jaxpr.invars), 0) :]  # the first one of `cond` chooses
        same = len(last) == len(jaxpr.invars)
        into = last if same else tuple(_any(moves) for _ in jaxpr.invars)
        inside, out = _walk(jaxpr, into, tuple(True for _ in jaxpr.outvars))
        eps = max(eps, inside)
        if same and len(out) == len(outputs):
            found = out if found is None else tuple(a | b for a, b in zip(found, out, strict=True))
    return eps, outputs if found is None else found


def _scan_sizes(eqn: JaxprEqn) -> tuple[int, int]:
    """How many of a scan's inputs are constants, and how many are carried: what is scanned has an axis more outside.

    Read off shapes, since versions of JAX name the numbers differently.
    """
    body = _open(eqn.params["jaxpr"])
    scanned = sum(len(a.aval.shape) > len(b.aval.shape) for a, b in zip(eqn.invars, body.invars, strict=True))
    carried = sum(len(a.aval.shape) == len(b.aval.shape) for a, b in zip(eqn.outvars, body.outvars, strict=True))
    return len(eqn.invars) - scanned - carried, carried


def _loop(jaxpr: Jaxpr, moves: tuple[_Moves, ...], consts: int, carried: int) -> tuple[float, tuple[_Moves, ...]]:
    while True:
        eps, out = _walk(jaxpr, moves, tuple(True for _ in jaxpr.outvars))
        carry = tuple(a | b for a, b in zip(moves[consts : consts + carried], out[:carried], strict=True))
        after = (*moves[:consts], *carry, *moves[consts + carried :])
        if after == moves:
            return eps, (*carry, *out[carried:])
        moves = after


def _eps(eqn: JaxprEqn, dtype: Any, moved: _Moves) -> float:
    eps = float(jnp.finfo(dtype).eps)
    if eqn.primitive.name == "reduce_precision":
        return max(eps, 2.0 ** -eqn.params["mantissa_bits"]) if moved.tangent else eps
    if eqn.primitive.name in ("dot_general", "conv_general_dilated") and dtype == jnp.float32:
        asked = eqn.params["precision"]
        if asked is None or jax.lax.Precision.DEFAULT in (asked if isinstance(asked, tuple) else (asked,)):
            return max(eps, _PRODUCTS.get(jax.default_backend(), 0.0))
    return eps


def _programs(params: dict[str, Any]) -> list[Jaxpr]:
    values = [v for p in params.values() for v in (p if isinstance(p, tuple | list) else (p,))]
    return [_open(v) for v in values if isinstance(v, Jaxpr | ClosedJaxpr)]


def _open(jaxpr: Jaxpr | ClosedJaxpr) -> Jaxpr:
    return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr


def _any(moves: tuple[_Moves, ...]) -> _Moves:
    return _Moves(any(m.point for m in moves), any(m.tangent for m in moves))

"""What a scan over layers keeps for the way back, and what it computes again: `policy_of` an option, `scan_in_chunks`.

With s bytes of X^(l) and e bytes of all that a layer's derivative reads, L layers keep about
  none     L e                  nothing is computed again
  every k  (L / k) s + k e      X^(l) of every k-th layer; the k layers between run once more, all at once
  least    (L / k) s + k s + e  the same, and within the k layers again only X^(l): they run twice more
"block" is k = 1, and k about sqrt(L) keeps O(sqrt(L)). Source: Chen et al. 2016, Training deep nets with sublinear
memory cost, section 4.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

NAMED = ("none", "block", "sqrt", "least", "auto")
SHARE = 0.6  # of the free memory that "auto" may fill

# Wraps a function from nodes to edges and back, so that only its arguments are kept, whatever the policy: to gather
# rows [e, d] once more takes less time than to write them down in one pass and read them in the other.
not_stored = functools.partial(jax.checkpoint, prevent_cse=False)


class Policy(NamedTuple):
    """`every`: X^(l) of every so many layers is kept, 0 for all that is needed; `within`: between them X^(l) alone."""

    every: int = 0
    within: bool = False


def check_remat(remat: Any) -> None:
    """Raises ValueError unless `remat` is True, False, a name or a whole number from 1."""
    whole = isinstance(remat, int | np.integer) and remat >= 1
    if not (isinstance(remat, bool) or whole or (isinstance(remat, str) and remat in NAMED)):
        allowed = ", ".join(map(repr, NAMED))
        raise ValueError(f"remat={remat!r}: allowed are False, True, {allowed} and whole numbers from 1")


def policy_of(remat: Any, depth: int) -> Policy:
    """The policy that an option names; "auto" is to be chosen before (`choose`)."""
    if isinstance(remat, bool) or remat in ("none", "block"):
        return Policy(1 if remat in (True, "block") else 0)
    if remat == "auto":
        raise ValueError('remat="auto" names no policy until a memory estimate has chosen one')
    if isinstance(remat, str):
        return Policy(near_root(depth), remat == "least")
    return Policy(min(int(remat), max(depth, 1)))


def near_root(depth: int) -> int:
    """The divisor of L nearest to sqrt(L) by ratio, within a factor 2 of it; ceil(sqrt(L)) where there is none.

    A k that does not divide L has the parameters cut in two, and so copied.
    """
    root = math.sqrt(max(depth, 1))
    near = [k for k in range(1, depth + 1) if depth % k == 0 and root / 2 <= k <= 2 * root]
    return min(near, key=lambda k: abs(math.log(k / root)), default=math.ceil(root))


def activation_bytes(policy: Policy, depth: int, kept: int, everything: int) -> int:
    """Bytes that `depth` layers keep at most at once, from a layer's X^(l) (`kept`) and all it needs (`everything`)."""
    k, within = policy
    if k == 0:
        return depth * everything
    chunk = k * kept + everything if within else k * everything
    return -(-depth // k) * kept + chunk


def choose(depth: int, kept: int, everything: int, budget: float) -> str:
    """The fastest of "none", "sqrt" and "least" that keeps at most `budget` bytes; "least" where none does.

    "block" computes as much again as "sqrt" and keeps more, so that it is not among them.
    """
    for name in ("none", "sqrt"):
        if activation_bytes(policy_of(name, depth), depth, kept, everything) <= budget:
            return name
    return "least"


def residual_bytes(function: Callable[..., Any], primal: Any, *others: Any, tpu: bool = False) -> int:
    """Bytes of what reverse mode keeps of function(primal, *others) between its passes.

    Arguments are left out, in another shape too. The derivative is taken by `primal`. All may be
    `jax.ShapeDtypeStruct`s: nothing is computed. `tpu`: as TPUs lay arrays out.
    """

    def kept_of(primal, *others):
        return jax.tree.leaves(jax.vjp(lambda primal: function(primal, *others), primal)[1])

    jaxpr = jax.make_jaxpr(kept_of)(primal, *others).jaxpr
    given = {*jaxpr.invars, *jaxpr.constvars}
    for equation in jaxpr.eqns:
        if equation.primitive.name in _SAME_BYTES and equation.invars[0] in given:
            given.update(equation.outvars)
    kept = {v for v in jaxpr.outvars if not isinstance(v, Literal)} - given
    return sum(nbytes(v.aval, tpu=tpu) for v in kept)


_SAME_BYTES = ("reshape", "squeeze", "expand_dims")
_LANES = 128  # of a TPU: the last axis is filled up to them, the one before to rows of 8 numbers of 4 bytes


def nbytes(tree: Any, *, tpu: bool = False) -> int:
    """Bytes of all arrays in a tree, of their shapes and dtypes alone; `tpu`: as TPUs lay them out."""
    return sum(_size(a.shape, a.dtype.itemsize, tpu) for a in jax.tree.leaves(tree))


def _size(shape: tuple[int, ...], itemsize: int, tpu: bool) -> int:
    if tpu and len(shape) > 1:
        rows = 8 * max(4 // itemsize, 1)
        shape = (*shape[:-2], -(-shape[-2] // rows) * rows, -(-shape[-1] // _LANES) * _LANES)
    return math.prod(shape) * itemsize


def scan_in_chunks(
    body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, inputs: Any, depth: int, policy: Policy
) -> tuple[Any, Any]:
    """`jax.lax.scan` of `depth` steps that keeps the carry of every `policy.every`-th step for the way back."""
    every, within = policy
    step = jax.checkpoint(body, prevent_cse=False) if within else body  # inside a scan nothing is merged anyway

    def layers(carry, inputs):
        return jax.lax.scan(step, carry, inputs)

    if every == 0:
        return layers(carry, inputs)
    chunks, rest = divmod(depth, every)
    whole = chunks * every
    cut = inputs if not rest else jax.tree.map(lambda a: a[:whole], inputs)
    folded = jax.tree.map(lambda a: a.reshape(chunks, every, *a.shape[1:]), cut)
    carry, outputs = jax.lax.scan(jax.checkpoint(layers, prevent_cse=False), carry, folded)
    outputs = jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), outputs)
    if not rest:
        return carry, outputs
    carry, last = jax.checkpoint(layers)(carry, jax.tree.map(lambda a: a[whole:], inputs))
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outputs, last)

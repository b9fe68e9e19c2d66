"""tr X^T (I - P) X as a sum over edges, for every form that P is kept in.

For any w > 0, with z_v = x_v / w_v and r, c the row and column sums of diag(w)^-1 P diag(w) and its mirror,

  tr X^T (I - P) X = 1/2 sum_vu P_vu w_v w_u ||z_v - z_u||^2 + sum_v t_v ||x_v||^2,  t_v = 1 - (r_v + c_v) / 2.

With w = D~^(1/2) 1 for "sym" and 1 for the others, t = 0 on every node with an edge for "sym" and "doubly": nothing
cancels and nothing is negative. t is 0 where it cannot be told from the rounding of P's entries.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgnn.graphs.propagation import Edges, Halo, Packed, Propagation, Slots, exchange_and_apply
from jaxgnn.graphs.segment import segment_sum
from jaxgnn.host.arrays import Array


class Form(NamedTuple):
    """The quadratic form of I - P: P packed, w [n] and t [n] as above."""

    packed: Packed
    w: Float[Array, "n"]
    t: Float[Array, "n"]


def dirichlet_form(P: Propagation | Float[Array, "n n"]) -> Form:
    """The form of a Propagation or a square array, t in float64 where P is not traced.

    Raises ValueError for anything else.
    """
    if not isinstance(P, Propagation):
        P = P if isinstance(P, jax.Array) else np.asarray(P)
        if P.ndim != 2 or P.shape[0] != P.shape[1]:
            raise ValueError(f"P has shape {P.shape}: a Propagation or a square array is needed")
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(P))
    xp = jnp if traced else np
    if isinstance(P, Propagation):
        n, forward, backward = P.num_nodes, P.forward, P.forward if P.backward is None else P.backward
        degree = xp.asarray(P.degree)
        w = xp.sqrt(xp.where(degree > 0, degree, 1)) if P.normalisation.startswith("sym") else xp.ones(n)
    else:
        n, forward, backward, w = P.shape[0], P, P.T, xp.ones(P.shape[0])
    if not traced:
        forward, backward = (jax.tree.map(np.asarray, packed) for packed in (forward, backward))
    sums, counts = zip(*(_row_sums(packed, w, n, xp) for packed in (forward, backward)), strict=True)
    t = 1 - (sums[0] + sums[1]) / 2
    # Every entry of P is rounded, in the precision P is kept in, and so is every sum.
    eps = jnp.finfo(P.dtype).eps if hasattr(P, "dtype") and jnp.issubdtype(P.dtype, jnp.floating) else 0
    rounding = (4 + xp.maximum(*counts)) * jnp.finfo(t.dtype).eps + 4 * eps
    return Form(forward, w, xp.where(abs(t) <= rounding, 0, t))


def energy(Y: Float[Array, "n d"], form: Form) -> Float[Array, ""]:
    """tr Y^T (I - P) Y."""
    packed, w, t = form.packed, jnp.asarray(form.w, Y.dtype)[:, None], jnp.asarray(form.t, Y.dtype)
    edges = jnp.sum(_row_energies(packed, jnp.concatenate([Y / w, w], axis=1), Y.shape[0]))
    return edges / 2 + jnp.sum(t * jnp.sum(Y**2, axis=1))


def _row_energies(packed: Any, Zw: Float[Array, "m d+1"], num_rows: int) -> Float[Array, "rows"]:
    """sum_u P_vu w_v w_u ||z_v - z_u||^2 for every row v; the columns of Zw are z and w."""

    def between(receiver, sender, weights):
        squares = jnp.sum((receiver[..., :-1] - sender[..., :-1]) ** 2, axis=-1)
        return weights.astype(Zw.dtype) * receiver[..., -1] * sender[..., -1] * squares

    own = Zw[:num_rows]
    if isinstance(packed, Edges):
        found = between(Zw[packed.receivers], Zw[packed.senders], jnp.asarray(packed.weights))
        return segment_sum(found, packed.receivers, num_rows, sorted=True)
    if isinstance(packed, Slots):
        out = jnp.zeros(num_rows, Zw.dtype)
        for k in range(packed.senders.shape[0]):
            out = out + between(own, Zw[packed.senders[k]], jnp.asarray(packed.weights[k]))
        return out + _row_energies(packed.rest, Zw, num_rows) if packed.rest.senders.shape[0] else out
    if isinstance(packed, Halo):
        return exchange_and_apply(packed, Zw, lambda local, rows, m: _row_energies(local, rows, m)[:, None])[:, 0]

    @jax.checkpoint  # or a gradient would keep n x n x d differences
    def row(v):
        return jnp.sum(between(v[0][None], Zw, v[1]))

    return jax.lax.map(row, (own, jnp.asarray(packed)), batch_size=64)


def _row_sums(packed: Any, w: Array, n: int, xp: Any) -> tuple[Array, Array]:
    """sum_u P_vu w_u / w_v, and the number of terms, [n]."""

    def add(rows, values):
        return np.bincount(rows, values, minlength=n) if xp is np else segment_sum(values, rows, n, sorted=True)

    if isinstance(packed, Halo):
        if xp is jnp:  # weights that a program is given: sums as P makes them, of at most n terms
            ones = Propagation(packed, None, w, n, "") @ w[:, None]
            return ones[:, 0] / w, jnp.full(n, _longest(packed))
        rows, columns, weights = packed.entries()
        packed = Edges(columns, rows, weights)
    if isinstance(packed, Edges):
        values = packed.weights * w[packed.senders]
        return add(packed.receivers, values) / w, add(packed.receivers, xp.ones_like(values))
    if isinstance(packed, Slots):
        total, count = _row_sums(packed.rest, w, n, xp) if packed.rest.senders.shape[0] else (xp.zeros(n), xp.zeros(n))
        return total + (packed.weights * w[packed.senders]).sum(axis=0) / w, count + packed.senders.shape[0]
    dense = packed if xp is jnp else packed.astype(np.float64)
    return dense @ w / w, xp.full(n, float(n))


def _longest(halo: Halo) -> float:
    return float(halo.local.senders.shape[1] + halo.local.rest.senders.shape[-1])

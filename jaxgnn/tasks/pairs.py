"""What the outputs of two nodes say of the pair: inner products, bilinear forms, linear maps of both ends."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgnn.host.arrays import Array

Scoring = Literal["dot", "bilinear", "concatenation"]


def columns_needed(scoring: Scoring, targets: int, rank: int) -> int:
    """Of the outputs, for so many numbers a pair; `rank` of each inner product or bilinear form."""
    return targets * {"dot": rank, "bilinear": 2 * rank, "concatenation": 2}[scoring]


def pair_scores(
    outputs: Float[Array, "n out"], pairs: Int[Array, "m 2"], scoring: Scoring, targets: int, *, symmetric: bool
) -> Float[Array, "m t"]:
    """t numbers of every pair (u, v), from t groups of columns.

    dot: Z_u . Z_v. bilinear: A_u . B_v with A and B the halves of a group, which after a linear readout is a bilinear
    form X_u M X_v^T of the features, of rank at most that of the halves. concatenation: a_u + b_v, a linear map of
    [X_u, X_v]. symmetric: the mean over (u, v) and (v, u).
    """
    u, v = jnp.asarray(pairs).T
    Z = outputs.reshape(outputs.shape[0], targets, -1)
    A, B = (Z, Z) if scoring == "dot" else jnp.split(Z, 2, axis=2)

    def one_way(u: Array, v: Array) -> Array:
        return jnp.sum(A[u] + B[v] if scoring == "concatenation" else A[u] * B[v], axis=2)

    return (one_way(u, v) + one_way(v, u)) / 2 if symmetric and scoring != "dot" else one_way(u, v)

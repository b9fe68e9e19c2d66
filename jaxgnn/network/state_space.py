"""GNN-SSM: X^(k+1)^T = Lambda X^(k)^T + B F(X^(k))^T around any layer, Lambda and B shared by the layers, frozen.

Source: Arroyo et al. 2025, section 3.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_flag, check_known, check_number

Kind = Literal["scalar", "diagonal", "rotation", "dense", "uniform"]


@dataclass(frozen=True)
class StateSpace:
    """What Lambda and B are. Both are drawn once, when the model is initialised, and stay as they are.

    With M of one of these kinds, Lambda = modulus M_Lambda and B = input_scale M_B:
      scalar    1, that is I
      diagonal  eigenvalues uniform in [1 - spread, 1]
      rotation  2 x 2 rotations by uniform angles, of moduli uniform in [1 - spread, 1]: complex eigenvalue pairs
                (of an odd width, the last eigenvalue is real)
      dense     Q D Q^T, Q random orthogonal, D as for "diagonal": a full matrix with that spectrum and norm
      uniform   entries uniform in sqrt(3 / d) [-1, 1]: spectral radius about 1, norm about 2

    Attributes:
      transition: kind of Lambda.
      modulus: the |eigenvalue| of Lambda, the largest that may occur where `spread` is not 0.
      input: kind of B.
      input_scale: factor of B; 1/sqrt(3) with "uniform" is a linear layer's usual uniform initialisation.
      spread: of the moduli, 0 to 1; 0 gives all the same.
      trainable: Lambda and B become parameters, one pair for all layers.

    Raises:
      ValueError: an option that is not known or out of its range, when the object is made.
    """

    transition: Kind = "scalar"
    modulus: float = 1.0
    input: Kind = "uniform"
    input_scale: float = 3**-0.5
    spread: float = 0.0
    trainable: bool = False

    def __post_init__(self) -> None:
        for option in ("transition", "input"):
            check_known(option, getattr(self, option), get_args(Kind))
        for option in ("modulus", "input_scale"):
            value = getattr(self, option)
            check_number(option, value, lambda v: 0 <= v < float("inf"), "finite numbers of 0 and more")
        check_number("spread", self.spread, lambda v: 0 <= v <= 1, "numbers from 0 to 1")
        check_flag("trainable", self.trainable)


class Matrices(NamedTuple):
    """Lambda / modulus and B: each a number [], a diagonal [d] or a matrix [d, d]."""

    transition: Float[Array, "..."]
    input: Float[Array, "..."]


def draw(space: StateSpace, width: int, key: Array) -> Matrices:
    """Draws Lambda / modulus and B for features of a width."""
    keys = jax.random.split(key)
    transition = _matrix(space.transition, width, space.spread, keys[0])
    return Matrices(transition, space.input_scale * _matrix(space.input, width, space.spread, keys[1]))


def step(
    X: Float[Array, "n d"], F: Float[Array, "n d"], matrices: Matrices, modulus: Float[Array, ""]
) -> Float[Array, "n d"]:
    """X Lambda^T + F B^T."""
    return modulus * _times(X, matrices.transition) + _times(F, matrices.input)


def _times(X: Float[Array, "n d"], M: Float[Array, "..."]) -> Float[Array, "n d"]:
    M = jnp.asarray(M, X.dtype)
    return X @ M.T if M.ndim == 2 else X * (M[None] if M.ndim else M)


def _matrix(kind: Kind, width: int, spread: float, key: Array) -> Float[Array, "..."]:
    if kind == "scalar":
        return jnp.ones(())
    moduli_key, other_key = jax.random.split(key)
    if kind == "uniform":
        limit = (3 / width) ** 0.5
        return jax.random.uniform(other_key, (width, width), minval=-limit, maxval=limit)
    moduli = jax.random.uniform(moduli_key, (width,), minval=1 - spread, maxval=1.0)
    if kind == "diagonal":
        return moduli
    if kind == "dense":
        Q = jax.random.orthogonal(other_key, width)
        return (Q * moduli[None]) @ Q.T
    pairs = width // 2
    angles = jax.random.uniform(other_key, (pairs,), maxval=jnp.pi)
    first, second = 2 * jnp.arange(pairs), 2 * jnp.arange(pairs) + 1
    cosine, sine = moduli[:pairs] * jnp.cos(angles), moduli[:pairs] * jnp.sin(angles)
    rotation = jnp.zeros((width, width)).at[first, first].set(cosine).at[second, second].set(cosine)
    rotation = rotation.at[first, second].set(-sine).at[second, first].set(sine)
    return rotation.at[-1, -1].set(moduli[-1]) if width % 2 else rotation

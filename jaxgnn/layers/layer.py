"""What the layers share: options of one name mean one thing in all of them, and have one range."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
from jax.nn.initializers import Initializer
from jaxtyping import Float

from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_finite, check_flag, check_number, check_whole, is_whole, shown


class Layer(nn.Module):
    """The base of this package's layers. Raises ValueError for an option out of its range, when the object is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name in _CHECKS:
                _CHECKS[field.name](field.name, getattr(self, field.name))
        super().__post_init__()


class Matrix(nn.Module):
    """A parameter "kernel" of a name of its own, for layers that use more of a matrix than the product with it.

    Attributes:
      shape: of the matrix.
      kernel_init: its initialiser.
    """

    shape: tuple[int, int]
    kernel_init: Initializer

    @nn.compact
    def __call__(self, dtype: Any) -> Float[Array, "d e"]:
        return self.param("kernel", self.kernel_init, self.shape, dtype)


def check_heads(features: int, heads: int, concat: bool) -> None:
    """Raises ValueError where the heads do not share out the columns."""
    if concat and features % heads:
        raise ValueError(f"heads={heads} does not divide features={features}: with concat=True it must")


def _check_columns(option: str, value: Any) -> None:
    if value is not None and not (is_whole(value) and value >= 1):
        raise ValueError(f"{option}={shown(value)}: allowed are None and 1 and more, whole")


def _check_initialiser(option: str, value: Any) -> None:
    if not callable(value):
        raise ValueError(f"{option}={shown(value)}: allowed are functions of a key, a shape and a dtype")


_whole = partial(check_whole, least=1)
_share = partial(check_number, inside=lambda v: 0 <= v <= 1, allowed="0 to 1")
_rate = partial(check_number, inside=lambda v: 0 <= v < 1, allowed="0 and more, below 1")
_not_below_0 = partial(check_number, inside=lambda v: 0 <= v < math.inf, allowed="finite numbers of 0 and more")
_above_0 = partial(check_number, inside=lambda v: 0 < v < math.inf, allowed="numbers above 0, finite")
_CHECKS: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(("features", "heads", "K"), _whole),
    **dict.fromkeys(("hidden", "attention_dim"), _check_columns),
    **dict.fromkeys(("use_bias", "concat", "share_weights", "learn_eps", "residual", "project"), check_flag),
    **dict.fromkeys(("gamma", "beta", "eps", "negative_slope"), check_finite),
    "alpha": _share,
    **dict.fromkeys(("theta", "lambda_max", "step"), _above_0),
    "damping": _not_below_0,
    "attention_dropout": _rate,
    "kernel_init": _check_initialiser,
}

"""How a block joins its input X^(l) with what its layer made of it, R = rho(norm(H^(l))).

Each is a Linen module: __call__(X, R, state, given) -> (X^(l+1), state), where the state (`start(X^(0))`) is what a
rule carries from layer to layer beside X. A subclass of `Residual` of one's own works as one.
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_finite, check_number, check_whole
from jaxgnn.host.remat import not_stored
from jaxgnn.network import state_space

State = Any


class Given(NamedTuple):
    """What every block is given beside X^(l).

    Attributes:
      graph: the prepared graph.
      x0: X^(0).
      index: l.
      numbers: options that one compiled program serves every value of: "bound_c", "residual_scale", "modulus".
      ssm: Lambda / modulus and B, or None.
    """

    graph: Graph
    x0: Float[Array, "n d"]
    index: Int[Array, ""]
    numbers: dict[str, Float[Array, ""]]
    ssm: state_space.Matrices | None


class Residual(nn.Module):
    """The base of the rules: no state, and `scale` the default of the option residual_scale (s)."""

    scale: ClassVar[float] = 1.0

    @nn.nowrap
    def start(self, X: Float[Array, "n d"]) -> State:
        del X
        return ()

    @nn.nowrap
    def default_scale(self, blocks: int) -> float:
        """s in a network of so many blocks, where residual_scale is left open."""
        del blocks
        return self.scale


class NoResidual(Residual):
    """X^(l+1) = R."""

    @nn.compact
    def __call__(self, X, R, state, given):
        return R, state


class Identity(Residual):
    """X^(l+1) = X + R. Source: He et al. 2016; Park & Kim 2024."""

    @nn.compact
    def __call__(self, X, R, state, given):
        return X + R, state


class Scaled(Residual):
    """X^(l+1) = X + s R. Source: with s the step size, forward Euler, as in Gravina et al. 2023 (A-DGN)."""

    scale: ClassVar[float] = 0.1

    @nn.compact
    def __call__(self, X, R, state, given):
        return X + given.numbers["residual_scale"] * R, state


class DepthScaled(Scaled):
    """X^(l+1) = X + s R with s = 1 / sqrt(L), L the number of blocks, unless s is given.

    L independent branches of one size and mean 0 then add up to that size. Source: Hayou et al. 2021 (stable ResNet).
    """

    @nn.nowrap
    def default_scale(self, blocks):
        return max(blocks, 1) ** -0.5


class Initial(Residual):
    """X^(l+1) = (1 - s) R + s X^(0). Source: the initial residual of Gasteiger et al. 2019 and Chen et al. 2020."""

    scale: ClassVar[float] = 0.1

    @nn.compact
    def __call__(self, X, R, state, given):
        s = given.numbers["residual_scale"]
        return (1 - s) * R + s * given.x0, state


class Gated(Residual):
    """X^(l+1) = g X + (1 - g) R, g = sigmoid(X U + R V + b). Source: Srivastava et al. 2015; Bresson & Laurent 2018."""

    @nn.compact
    def __call__(self, X, R, state, given):
        d = X.shape[-1]
        g = nn.sigmoid(nn.Dense(d, name="input")(X) + nn.Dense(d, use_bias=False, name="update")(R))
        return g * X + (1 - g) * R, state


class Weighted(Residual):
    """X^(l+1) = R + 1/(l+1) sum_(j <= l) a_j X^(j), the weights a_j learned, 1 at first: all earlier layers."""

    @nn.nowrap
    def start(self, X):
        return jnp.zeros_like(X)

    @nn.compact
    def __call__(self, X, R, state, given):
        state = state + self.param("weight", nn.initializers.ones, ()) * X
        return R + state / (given.index + 1).astype(X.dtype), state


class GraphCON(Residual):
    """Y' = Y + s (R - gamma Y - alpha X), X^(l+1) = X + s Y', from Y = X^(0): oscillators, s the time step.

    With s = alpha = gamma = 1 this is X^(l+1) = R, no residual at all, so s is 1/2 unless it is given.
    Source: Rusch et al. 2022 (their IMEX scheme), around any layer.
    """

    scale: ClassVar[float] = 0.5
    alpha: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        for option in ("alpha", "gamma"):
            check_finite(option, getattr(self, option))
        super().__post_init__()

    @nn.nowrap
    def start(self, X):
        return X

    @nn.compact
    def __call__(self, X, R, state, given):
        s = given.numbers["residual_scale"]
        Y = state + s * (R - self.gamma * state - self.alpha * X)
        return X + s * Y, Y


class GradientGating(Residual):
    """X^(l+1) = (1 - tau) X + tau R, tau_v = tanh(sum_(u -> v) |R_u - R_v|^p), feature by feature.

    Source: Rusch et al. 2023 (G2), the layer itself also driving its gates.
    """

    p: float = 2.0

    def __post_init__(self) -> None:
        check_number("p", self.p, lambda v: 0 < v < jnp.inf, "finite numbers above 0")
        super().__post_init__()

    @nn.compact
    def __call__(self, X, R, state, given):
        given.graph.warn_unused('residual="gradient_gating"', weights=True)

        @not_stored
        def variation(R):
            difference = given.graph.at_senders(R) - given.graph.at_receivers(R)
            return given.graph.aggregate(jnp.abs(difference) ** self.p)

        tau = jnp.tanh(variation(R))
        return (1 - tau) * X + tau * R, state


class Earlier(NamedTuple):
    """What `Delayed` carries: [delays, n, d], X^(l-1), X^(l-2), ..; 0 before X^(0)."""

    earlier: Float[Array, "m n d"]


class Delayed(Residual):
    """X^(l+1) = X + R, and carries the last `delays` X to layers that take `earlier`, as DRew does with a delay.

    Source: Gutteridge et al. 2023 (nu-DRew).
    """

    delays: int = 1

    def __post_init__(self) -> None:
        check_whole("delays", self.delays, least=1)
        super().__post_init__()

    @nn.nowrap
    def start(self, X):
        return Earlier(jnp.zeros((self.delays, *X.shape), X.dtype))

    @nn.compact
    def __call__(self, X, R, state, given):
        return X + R, Earlier(jnp.concatenate([X[None].astype(state.earlier.dtype), state.earlier[:-1]]))


class SSM(Residual):
    """X^(l+1) = X Lambda^T + R B^T, Lambda and B as the option `ssm` says. Source: Arroyo et al. 2025, section 3."""

    @nn.compact
    def __call__(self, X, R, state, given):
        return state_space.step(X, R, given.ssm, given.numbers["modulus"]), state


RESIDUALS: dict[str, type[Residual]] = {
    "none": NoResidual,
    "identity": Identity,
    "scaled": Scaled,
    "depth_scaled": DepthScaled,
    "initial": Initial,
    "gated": Gated,
    "weighted": Weighted,
    "graphcon": GraphCON,
    "gradient_gating": GradientGating,
    "delayed": Delayed,
    "ssm": SSM,
}

"""A network that statements speak about: P and its spectrum, the weights, and one pass forward and back in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgnn.analysis.probe import Trace, probe
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.precision import precision
from jaxgnn.network.dynamics import effective_kernels
from jaxgnn.network.foreign import Network as Row
from jaxgnn.network.model import DeepGNN
from jaxgnn.theory.equivalent import equivalent
from jaxgnn.theory.statement import require

_EPS = 1e-13  # rounding, relative to the largest that a signal can be, of tens of layers in float64
_STOCHASTIC = 1e-9
LIPSCHITZ = ("identity", "relu", "leaky_relu", "tanh", "elu")  # 1-Lipschitz and 0 at 0; gelu is not
# Of the activations with a Lipschitz derivative: sup |rho''|.
SLOPE_LIPSCHITZ = {"identity": 0.0, "tanh": 4 / 27**0.5, "elu": 1.0}


@dataclass(frozen=True, eq=False)
class Matrix:
    """P, dense, with what its spectrum says.

    Attributes:
      P: [n, n] float64.
      degree: [n] row sums of the matrix that was normalised, loops included.
    """

    P: Float[np.ndarray, "n n"]
    degree: Float[np.ndarray, "n"]

    @classmethod
    def of(cls, graph: Graph) -> "Matrix":
        """Of a prepared graph; MemoryError where a dense P does not fit."""
        return cls(graph.propagation.dense(), np.asarray(graph.propagation.degree))

    @cached_property
    def symmetric(self) -> bool:
        return bool(np.allclose(self.P, self.P.T, rtol=0, atol=_STOCHASTIC))

    @cached_property
    def norm(self) -> float:
        """||P||_2."""
        return float(np.abs(self.eigen[0]).max() if self.symmetric else np.linalg.norm(self.P, 2))

    @cached_property
    def eigen(self) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n n"]]:
        """Eigenvalues, ascending, and eigenvectors of a symmetric P."""
        return np.linalg.eigh((self.P + self.P.T) / 2)

    def off(self, v: Float[np.ndarray, "n"]) -> tuple[float, Float[np.ndarray, "n-1"]]:
        """lambda and all the eigenvalues p_2 .. p_n of symmetric P off its eigenvector v; lambda is the largest |p_i|.

        Raises AssumptionError, with lambda, where P is not symmetric, P v != v, or lambda is 1: several components
        (or a bipartite graph without loops), on which every bound by lambda says nothing.
        """
        require(self.symmetric, f"P is not symmetric: it differs from its transpose by {_asymmetry(self.P):.2g}")
        v = v / np.linalg.norm(v)
        error = float(np.abs(self.P @ v - v).max())
        require(
            error < _STOCHASTIC, f"P does not leave the vector it is to collapse to: P v differs from v by {error:.2g}"
        )
        values = np.linalg.eigvalsh(self.P - np.outer(v, v))
        values = np.delete(values, np.argmin(np.abs(values)))  # v itself is at 0 now
        lam = float(np.abs(values).max(initial=0.0))
        require(lam < 1 - 1e-9, f"lambda = {lam:.6g}: P is not connected, or bipartite; it must be below 1")
        return lam, values

    @cached_property
    def doubly(self) -> tuple[float, Float[np.ndarray, "n-1"]]:
        """`off` the constants: symmetric P with P 1 = 1."""
        return self.off(np.ones(self.P.shape[0]))

    @cached_property
    def degrees(self) -> tuple[float, Float[np.ndarray, "n-1"]]:
        """`off` D~^(1/2) 1: P = D~^(-1/2) A~ D~^(-1/2)."""
        return self.off(np.sqrt(self.degree))


def _asymmetry(P: np.ndarray) -> float:
    return float(np.abs(P - P.T).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Network:
    """A DeepGNN with layers gcn (or mlp), what it did to a signal, and what came back.

    Attributes:
      model: the network.
      params: its parameters, float64.
      graph: what it ran on.
      x: [n, f] its input.
      matrix: P of the layers; I for "mlp".
      weights: [L, d, d] W^(l) as they propagate, after the bound.
      trace: `jaxgnn.probe`'s, float64 arrays on the host.
      loss_fn: logits -> the loss.
    """

    model: DeepGNN
    params: Any
    graph: Graph
    x: Float[np.ndarray, "n f"]
    matrix: Matrix
    weights: Float[np.ndarray, "L d d"]
    trace: Trace
    loss_fn: Callable[[Array], Array]

    @property
    def P(self) -> Float[np.ndarray, "n n"]:
        return self.matrix.P

    @cached_property
    def norms(self) -> Float[np.ndarray, "L"]:
        """s_l = ||W^(l)||_2."""
        return np.linalg.norm(self.weights, 2, axis=(1, 2))

    @cached_property
    def pre_activations(self) -> Float[np.ndarray, "L n d"]:
        """H^(l) = P X^(l) W^(l)."""
        return self.P @ self.trace.features[:-1] @ self.weights

    @property
    def lipschitz(self) -> Float[np.ndarray, "L"]:
        """Of every block in X, in the Frobenius norm: alpha_l + s_l ||P||, s_l with activation and residual."""
        dynamics = self.model.dynamics(self.params)
        return dynamics.alphas + dynamics.scales * max(self.matrix.norm, 1e-300)

    @property
    def forward_rounding(self) -> Float[np.ndarray, "L+1"]:
        """What rounding may add to ||X^(l)||_F."""
        growth = np.concatenate([[1.0], np.cumprod(np.maximum(self.lipschitz, 1e-300))])
        return _EPS * growth * np.linalg.norm(self.trace.features[0])

    @property
    def backward_rounding(self) -> Float[np.ndarray, "L+1"]:
        """What rounding may add to ||G^(l)||_F."""
        growth = np.concatenate([[1.0], np.cumprod(np.maximum(self.lipschitz[::-1], 1e-300))])[::-1]
        return _EPS * growth * np.linalg.norm(self.trace.feature_grads[-1])

    def plain(self, *, activations: tuple[str, ...], residuals: tuple[str, ...] = ("none",)) -> None:
        """Raises AssumptionError unless the network has one of these activations and residuals, and no norm."""
        activation, residual = self.model.activation, self.model.residual
        require(activation in activations, f"the activation is {activation}: it must be {' or '.join(activations)}")
        require(residual in residuals, f"the residual is {residual}: it must be {' or '.join(residuals)}")
        require(self.model.norm == "none", f"the norm is {self.model.norm}: it must be none")
        require(not self.model.bias, "the layers have biases: they must have none")


def observe(
    model: DeepGNN | Row,
    params: Any,
    graph: Graph,
    x: Float[Array, "n f"],
    loss_fn: Callable[[Array], Array],
    *,
    matrix: Matrix | None = None,
) -> Network:
    """Runs a network forward and back in float64, for statements to be checked on it.

    model: a DeepGNN; or `jaxgnn.sequential` of layers of any library that are all P X W, or all X W, which is found by
    what they give: statements are checked on the DeepGNN that it is then, from X^(0) on.
    matrix: that of `graph`, where it is already at hand. Raises ValueError for layers other than gcn and mlp (as
    `DeepGNN.dynamics`), for interventions, MemoryError where a dense P does not fit.
    """
    if matrix is None:
        matrix = Matrix.of(graph)
    if model.interventions:
        raise ValueError(f"{len(model.interventions)} interventions: statements speak of networks without them")
    with precision(np.float64):
        if isinstance(model, Row):
            found = equivalent(model, params, graph, matrix.P, jnp.asarray(x, np.float64), loss_fn)
            model, params, x, loss_fn = found
        model.dynamics(params)  # refuses what has no weights W^(l)
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
        x = np.asarray(x, np.float64)
        trace = jax.tree.map(np.asarray, probe(model, params, graph, jnp.asarray(x), loss_fn))
        weights = np.asarray(effective_kernels(model, params))
    if model.layer == "mlp":
        matrix = Matrix(np.eye(graph.num_nodes), np.ones(graph.num_nodes))
    return Network(model, params, graph, x, matrix, weights, trace, loss_fn)


def mu(X: Float[Array, "... n d"]) -> Float[np.ndarray, "..."]:
    """mu(X) = ||X - 1 gamma_X||_F, of a stack of signals."""
    return np.linalg.norm(X - X.mean(axis=-2, keepdims=True), axis=(-2, -1))


def off(X: Float[Array, "... n d"], v: Float[np.ndarray, "n"]) -> Float[np.ndarray, "..."]:
    """||(I - v v^T / v^T v) X||_F, of a stack of signals."""
    v = v / np.linalg.norm(v)
    return np.linalg.norm(X - v[:, None] * (v @ X)[..., None, :], axis=(-2, -1))


def products(factors: Float[np.ndarray, "L"]) -> Float[np.ndarray, "L+1"]:
    """1, f_0, f_0 f_1, ..."""
    return np.concatenate([[1.0], np.cumprod(factors)])


def suffixes(factors: Float[np.ndarray, "L"]) -> Float[np.ndarray, "L+1"]:
    """f_0 .. f_(L-1), f_1 .. f_(L-1), ..., f_(L-1), 1."""
    return products(factors[::-1])[::-1]


def chains(weights: Float[np.ndarray, "... L d d"]) -> Float[np.ndarray, "... L+1 d d"]:
    """I, W_0, W_0 W_1, ..., W_0 .. W_(L-1), of stacks of matrices."""
    out = [np.broadcast_to(np.eye(weights.shape[-1]), weights[..., 0, :, :].shape)]
    for layer in range(weights.shape[-3]):
        out.append(out[-1] @ weights[..., layer, :, :])
    return np.stack(out, axis=-3)


def chain_ends(weights: Float[np.ndarray, "... L d d"]) -> Float[np.ndarray, "... L+1 d d"]:
    """W_0 .. W_(L-1), W_1 .. W_(L-1), ..., W_(L-1), I, of stacks of matrices."""
    transposed = weights[..., ::-1, :, :].swapaxes(-1, -2)
    return chains(transposed).swapaxes(-1, -2)[..., ::-1, :, :]

"""What an intervention does to a signal [n, d], forward or on the way back: replaced, projected, scaled, held fixed.

Each is a function of a signal and the graph, with a repr of its own, so that a run's folder knows it again. `function`
makes one of any function of arrays.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import is_number
from jaxgnn.network.norms import row_mean


@dataclass(frozen=True, eq=False)
class Edit:
    """A named function (graph, X) -> X of X's shape."""

    name: str
    apply: Callable[[Graph, Array], Array]
    forward_only: bool = False

    def __call__(self, graph: Graph, X: Float[Array, "n d"]) -> Float[Array, "n d"]:
        found = self.apply(graph, X)
        if jnp.shape(found) != X.shape:
            raise ValueError(f"the edit {self.name} gives shape {jnp.shape(found)} for {X.shape}: one shape is needed")
        return jnp.asarray(found, X.dtype)

    def __repr__(self) -> str:
        return self.name


def replace(value: Any) -> Edit:
    """The given [n, d], or a number, whatever the signal was: of another run, or zeros. Copied.

    Raises ValueError for what is not finite.
    """
    value = np.array(value)
    if value.dtype.kind not in "biuf" or not np.isfinite(value).all():
        raise ValueError("replace: finite real numbers are needed")
    digest = hashlib.sha256(f"{value.dtype}{value.shape}".encode() + value.tobytes()).hexdigest()[:12]
    return Edit(f"replace({digest})", lambda graph, X: jnp.broadcast_to(jnp.asarray(value, X.dtype), X.shape))


def scale(factor: float) -> Edit:
    """c X. Raises ValueError unless c is a finite number."""
    if not is_number(factor):
        raise ValueError(f"scale({factor!r}): a finite number is needed")
    return Edit(f"scale({float(factor)!r})", lambda graph, X: factor * X)


def off_mean() -> Edit:
    """X - 1 1^T X / n: the signal without its mean over the nodes (of each graph of several)."""
    return Edit("off_mean()", lambda graph, X: graph.masked(X - row_mean(graph, X)))


def mean() -> Edit:
    """1 1^T X / n: the mean over the nodes (of each graph of several) at every node."""
    return Edit("mean()", lambda graph, X: graph.masked(jnp.broadcast_to(row_mean(graph, X), X.shape)))


def onto(basis: Any) -> Edit:
    """Q Q^T X: the signal's part in the span of the columns of `basis`, [n, k] of full rank.

    Raises ValueError where it is not of full rank, or not finite.
    """
    Q, digest = _orthonormal(basis)
    return Edit(f"onto({digest})", lambda graph, X: _projected(Q, X))


def off(basis: Any) -> Edit:
    """X - Q Q^T X: the signal's part orthogonal to the columns of `basis`, [n, k] of full rank."""
    Q, digest = _orthonormal(basis)
    return Edit(f"off({digest})", lambda graph, X: X - _projected(Q, X))


def freeze() -> Edit:
    """X as it is, held constant: nothing is differentiated through it. For signals forward alone."""
    return Edit("freeze()", lambda graph, X: jax.lax.stop_gradient(X), forward_only=True)


def function(f: Callable[[Array], Array], name: str | None = None) -> Edit:
    """f(X), any function of one signal to one of its shape; traced where it is used."""
    if not callable(f):
        raise ValueError(f"edits.function: a function of X is needed, not {type(f).__name__}")
    known = name or f"{getattr(f, '__module__', '')}.{getattr(f, '__qualname__', type(f).__qualname__)}"
    return Edit(f"function({known})", lambda graph, X: f(X))


def _orthonormal(basis: Any) -> tuple[np.ndarray, str]:
    basis = np.asarray(basis, np.float64)
    basis = basis[:, None] if basis.ndim == 1 else basis
    if basis.ndim != 2 or not np.isfinite(basis).all() or np.linalg.matrix_rank(basis) < basis.shape[1]:
        raise ValueError(f"a basis has shape {basis.shape}: finite [n, k] of rank k is needed")
    digest = hashlib.sha256(f"{basis.shape}".encode() + basis.tobytes()).hexdigest()[:12]
    return np.linalg.qr(basis)[0], digest


def _projected(Q: np.ndarray, X: Array) -> Array:
    if Q.shape[0] != X.shape[0]:
        raise ValueError(f"the basis has {Q.shape[0]} rows, and the signal {X.shape[0]}: rows must agree")
    Q = jnp.asarray(Q, X.dtype)
    return jnp.matmul(Q, jnp.matmul(Q.T, X, precision="highest"), precision="highest")

"""What a diagnosis is read from: one forward and one backward pass of one network in float64, in numbers by layer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse as sp
from jaxtyping import Float

from jaxgnn.analysis import measures
from jaxgnn.analysis.backward import slopes
from jaxgnn.analysis.probe import probe
from jaxgnn.graphs.connectivity import components
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.precision import nan_is_a_value, precision


class Signals(NamedTuple):
    """One network's signals; NaN where a signal is 0 or not finite.

    Attributes:
      feature_norm: ||X^(l)||_F, [L+1].
      feature_off: ||X^(l) off the span|| / ||X^(l)||, in [0, 1], [L+1]; see `off_ratio`.
      feature_rank: effective rank of X^(l), [L+1].
      grad_norm: ||G^(l)||_F, [L+1].
      grad_off: the same ratio of G^(l), [L+1].
      dead: share of layer l's units whose slope d X^(l+1)_vi / d H^(l)_vi is 0 at every node, [L].
      loss, constant_loss: the loss, and the least loss of logits that are the same in every row.
      readout_gradient: ||X^(L)^T E||_F / (||X^(L)||_F ||E||_F), E = d loss / d logits: 0 where a linear readout of
        X^(L) is stationary; of networks whose logits have a row a node.
      error_mean: ||sum of E's rows|| / sum of their norms: 0 where the readout's bias is stationary.
      passed: ||G^(L)||_F / ||E||_F, what the readout passes back.
    """

    feature_norm: Float[np.ndarray, "L+1"]
    feature_off: Float[np.ndarray, "L+1"]
    feature_rank: Float[np.ndarray, "L+1"]
    grad_norm: Float[np.ndarray, "L+1"]
    grad_off: Float[np.ndarray, "L+1"]
    dead: Float[np.ndarray, "L"]
    loss: float
    constant_loss: float
    readout_gradient: float
    error_mean: float
    passed: float


def measured(model: Any, params: Any, graph: Graph, x: Any, loss: Callable[[Array], Array]) -> Signals:
    """The signals of one network. Raises ValueError where the loss is not a number per logits [rows, out]."""
    # Fresh arrays: of one that an eager program closed over, jax 0.10.2 keeps the float32 version for good.
    params, x = jax.tree.map(_float64, (params, x))
    graph = jax.tree.map(np.array, graph)
    with precision(np.float64), nan_is_a_value():
        trace = probe(model, params, graph, x, loss)
        slope = np.asarray(slopes(model, params, graph, jnp.asarray(x))) if _is_entrywise(model) else None
        logits = np.asarray(model.apply(params, graph, x))
        E = np.asarray(jax.grad(lambda z: loss(z))(jnp.asarray(logits)))
        X, G = (np.asarray(a) for a in (trace.features, trace.feature_grads))
        ranks = [float(measures.effective_rank(Y)) if np.isfinite(Y).all() else np.nan for Y in X]
        constant = least_constant_loss(loss, logits.shape)
    bases = spans(graph)
    norms = np.stack([[_norm(Y) for Y in A] for A in (X, G)])
    offs = np.stack([[off_ratio(Y, bases) for Y in A] for A in (X, G)])
    per_node = E.shape[0] == X.shape[1]
    return Signals(
        feature_norm=norms[0],
        feature_off=offs[0],
        feature_rank=np.array(ranks),
        grad_norm=norms[1],
        grad_off=offs[1],
        dead=np.full(len(X) - 1, np.nan) if slope is None else (slope == 0).all(axis=1).mean(axis=1),
        loss=float(trace.loss),
        constant_loss=constant,
        readout_gradient=_over(_norm(_unit(X[-1]).T @ _unit(E)), 1.0) if per_node else np.nan,
        error_mean=_over(_norm(E.sum(axis=0)), np.linalg.norm(E, axis=1).sum()),
        passed=_over(norms[1, -1], _norm(E)),
    )


class Spans(NamedTuple):
    """What signals collapse to on every component: multiples of v, for each v of `vectors` [k, n].

    `members` [c, n] has a 1 where a node is in a component; nodes that are alone in theirs, and padding, are in none.
    """

    members: sp.csr_array
    vectors: Float[np.ndarray, "k n"]


def spans(graph: Graph) -> Spans:
    """Equal rows, and D~^(1/2) 1, which "sym" keeps, on every component of two nodes and more."""
    labels = components(graph)
    counts = np.bincount(labels[labels >= 0], minlength=1)
    inside = np.flatnonzero((labels >= 0) & (counts[labels] > 1))
    shape = (counts.size, labels.size)
    members = sp.csr_array((np.ones(inside.size), (labels[inside], inside)), shape=shape)
    degree = np.sqrt(np.maximum(np.asarray(graph.propagation.degree, np.float64), 0))
    return Spans(members, np.stack([np.ones(labels.size), degree]))


def off_ratio(X: Float[np.ndarray, "n d"], bases: Spans) -> float:
    """||X - the nearest multiple of v on every component||_F / ||X||_F, least over v; NaN for X = 0 or not finite.

    Invariant to X's scale. To 16 eps.
    """
    inside = np.asarray(bases.members.sum(axis=0)).ravel() > 0
    X = np.where(inside[:, None], X, 0)
    top = np.max(np.abs(X), initial=0.0)
    if not np.isfinite(top) or top == 0:
        return np.nan
    X = X / top
    found = []
    for v in bases.vectors:
        size = bases.members @ v**2
        share = (bases.members @ (v[:, None] * X)) / np.where(size > 0, size, 1)[:, None]
        found.append(_norm(X - np.where(inside[:, None], v[:, None] * (bases.members.T @ share), 0)))
    return min(found) / _norm(X)


def least_constant_loss(loss: Callable[[Array], Array], shape: tuple[int, ...]) -> float:
    """min over b of loss(1 b^T), the loss of the best constant predictor; by BFGS, in float64."""
    value = jax.jit(jax.value_and_grad(lambda b: loss(jnp.broadcast_to(b, shape))))

    def both(b):
        found, slope = value(jnp.asarray(b))
        return float(found), np.asarray(slope, np.float64)

    found = scipy.optimize.minimize(both, np.zeros(shape[-1]), jac=True, method="BFGS")
    return float(found.fun)


def _is_entrywise(model: Any) -> bool:
    """Whether slopes are of single units: no norm stands between a pre-activation and its activation."""
    return getattr(model, "norm", None) == "none" or getattr(model, "norm_placement", None) in ("pre", "post")


def _float64(a: Any) -> Any:
    a = np.asarray(a)
    return a.astype(np.float64) if a.dtype.kind == "f" else a


def _norm(X: np.ndarray) -> float:
    """||X||_F, scaled first; not finite where X is not."""
    top = float(np.max(np.abs(X), initial=0.0))
    return top * float(np.linalg.norm(X / top)) if np.isfinite(top) and top > 0 else top


def _unit(X: np.ndarray) -> np.ndarray:
    size = _norm(X)
    return X / size if np.isfinite(size) and size > 0 else np.full_like(X, np.nan)


def _over(a: float, b: float) -> float:
    return a / b if b > 0 else np.nan

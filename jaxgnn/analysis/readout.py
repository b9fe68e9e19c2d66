"""A linear readout on given features, trained alone: by Adam, to a gradient norm, or to its exact minimum."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg as sl
from jaxtyping import Bool, Float, Int

from jaxgnn.host.magnitude import host_norm
from jaxgnn.host.precision import exact_products

_LEAST_SHARE = 1e-14  # of the Hessian's trace, added to its diagonal: less cannot be told from rounding
_MAX_DECADES = 20


class Readout(NamedTuple):
    """A linear readout, logits X R + 1 b^T, and how far it is trained.

    Attributes:
      kernel: R, [d, classes].
      bias: b, [classes].
      loss: mean cross-entropy over the training nodes, nats.
      gradient_norm: ||[d loss / d R; d loss / d b]||_F, of R alone where the bias is not trained.
      relative_gradient: gradient_norm / (||[X, 1]||_F ||E||_F), E = d loss / d logits: 0 to 1, whatever X's scale is.
      separates: every training node's own class has the largest logit. Then the loss has no minimum: it falls to 0 as
        R grows, and the readout is the first on Newton's path where the gradient is small enough.
      steps: of the solver.
    """

    kernel: Float[np.ndarray, "d c"]
    bias: Float[np.ndarray, "c"]
    loss: float
    gradient_norm: float
    relative_gradient: float
    separates: bool
    steps: int


def readout_path(
    X: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    mask: Bool[np.ndarray, "n"],
    kernel: Float[np.ndarray, "d c"],
    bias: Float[np.ndarray, "c"],
    *,
    train_bias: bool = True,
    tolerance: float = 1e-8,
) -> list[Readout]:
    """Readouts of ever smaller gradient, each with the smallest ||R - kernel||_F for it; the last has `tolerance`.

    Minimisers of loss + tau / 2 ||R - kernel||_F^2 for tau = 1, 1/10, ..: convex, so each is the only one, and
    d loss / d R = -tau (R - kernel) there. By Newton's method in float64, from one to the next. Where the loss has no
    minimum (`separates`) or a flat one, R grows along the path no more than the gradient asks for.

    Raises ValueError for X that is not finite and for an empty mask.
    """
    fit = _Fit(X, labels, mask, kernel, bias, train_bias, resolution=0.0)
    found, point = [], fit.first(1.0)
    for exponent in range(_MAX_DECADES):
        point, steps = fit.newton(point, 10.0**-exponent, 1e-3 * tolerance)
        found.append(fit.readout(point)._replace(steps=steps))
        if found[-1].gradient_norm <= tolerance:
            break
    return found


def exact_readout(
    X: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    mask: Bool[np.ndarray, "n"],
    kernel: Float[np.ndarray, "d c"],
    bias: Float[np.ndarray, "c"],
    *,
    train_bias: bool = True,
    tolerance: float = 1e-8,
    resolution: float = 1e-9,
) -> Readout:
    """Trains R and b to the minimum in every direction of X that float64 resolves, however large R becomes.

    By Newton's method in an orthonormal basis of the training rows of [1, X], where smoothed directions count like the
    others: its gradient is at most `tolerance` there too. R keeps its start in directions whose singular value is
    below `resolution` times the largest. Where the loss has no minimum (`separates`) it ends at that gradient.

    Raises ValueError for X that is not finite and for an empty mask.
    """
    fit = _Fit(X, labels, mask, kernel, bias, train_bias, resolution)
    point, steps = fit.newton(fit.first(0.0), 0.0, 0.1 * tolerance)
    return fit.readout(point)._replace(steps=steps)


def descend_readout(
    X: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    mask: Bool[np.ndarray, "n"],
    kernel: Float[np.ndarray, "d c"],
    bias: Float[np.ndarray, "c"],
    *,
    steps: int = 500,
    learning_rate: float = 1e-2,
) -> Readout:
    """Trains R and b by `steps` of Adam on all training nodes: what training does."""
    rows = np.flatnonzero(mask)
    arrays = (np.asarray(X, np.float64)[rows], np.asarray(labels)[rows], np.asarray(kernel), np.asarray(bias))
    with jax.enable_x64(True):
        R, b = jax.tree.map(np.asarray, _adam(*arrays, np.float64(learning_rate), steps))
    return readout_at(X, labels, mask, R, b)._replace(steps=steps)


def readout_at(
    X: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    mask: Bool[np.ndarray, "n"],
    kernel: Float[np.ndarray, "d c"],
    bias: Float[np.ndarray, "c"],
    *,
    train_bias: bool = True,
) -> Readout:
    """A given readout, measured."""
    X, rows = np.asarray(X, np.float64), np.flatnonzero(mask)
    R, b = np.asarray(kernel, np.float64), np.asarray(bias, np.float64)
    Z, own = X[rows], np.asarray(labels)[rows]
    logits = Z @ R + b
    loss, _, E = _cross_entropy(logits, np.eye(b.size)[own])
    correct = logits[np.arange(own.size), own]
    others = np.where(np.eye(b.size, dtype=bool)[own], -np.inf, logits).max(axis=1)
    norm = _gradient_norm(Z, E, train_bias)
    scale, error = np.hypot(host_norm(Z), np.sqrt(rows.size) * train_bias), host_norm(E)
    relative = float(norm / scale / error) if scale and error else 0.0
    return Readout(R, b, loss, norm, relative, bool((correct > others).all()), 0)


def with_readout(params: Any, readout: Readout) -> Any:
    """A DeepGNN's variables with this readout. Raises ValueError where the model has no linear one."""
    old = params["params"].get("readout", {})
    if set(old) != {"kernel", "bias"}:
        raise ValueError('a linear readout with a bias is needed: DeepGNN has one with ends="linear"')
    return params | {"params": params["params"] | {"readout": {"kernel": readout.kernel, "bias": readout.bias}}}


class _Point(NamedTuple):
    """R, b and what follows from them on the training rows: loss, probabilities, E = d loss / d logits."""

    R: np.ndarray
    b: np.ndarray
    loss: float
    p: np.ndarray
    E: np.ndarray


class _Fit:
    """Newton's method for loss + tau / 2 ||R - R_0||_F^2.

    In the basis Q = sqrt(m) [1, U] of the training rows, U s V^T = Z - 1 mu^T (mu = 0 without bias): logits of size 1
    have coordinates Theta of size 1, and dR = V (sqrt(m) / s) dTheta, however small some of s are.
    """

    def __init__(self, X, labels, mask, kernel, bias, train_bias, resolution):
        self.X, self.labels, self.mask, self.train_bias = np.asarray(X, np.float64), labels, mask, train_bias
        rows = np.flatnonzero(mask)
        if not rows.size or not np.isfinite(self.X).all():
            raise ValueError("the readout is trained on finite features of at least one training node")
        self.Z = self.X[rows]
        R, b = np.asarray(kernel, np.float64), np.asarray(bias, np.float64)
        self.onehot = np.eye(b.size)[np.asarray(labels)[rows]]
        self.mean = self.Z.mean(axis=0) if train_bias else np.zeros(self.Z.shape[1])
        U, s, Vt = np.linalg.svd(self.Z - self.mean, full_matrices=False)
        kept = s > max(resolution, max(self.Z.shape) * np.finfo(float).eps) * np.linalg.norm(self.Z, 2)
        root = np.sqrt(rows.size)
        self.scale, self.Vt = root / s[kept], Vt[kept]
        self.Q = np.concatenate([np.ones((rows.size, int(train_bias))), root * U[:, kept]], axis=1)
        self.start = self.at(R, b)
        flat = R - self.Vt.T @ (self.Vt @ R)
        self.flat = self.at(flat, -self.mean @ flat if train_bias else b)

    def at(self, R: np.ndarray, b: np.ndarray) -> _Point:
        return _Point(R, b, *_cross_entropy(self.Z @ R + b, self.onehot))

    def readout(self, point: _Point) -> Readout:
        return readout_at(self.X, self.labels, self.mask, point.R, point.b, train_bias=self.train_bias)

    def objective(self, point: _Point, tau: float) -> float:
        return point.loss + tau / 2 * float(np.sum((point.R - self.start.R) ** 2))

    def first(self, tau: float) -> _Point:
        """The start, or all logits equal where that is better: where the start is far off, its Hessian is 0."""
        return min((self.start, self.flat), key=lambda point: self.objective(point, tau))

    def newton(self, point: _Point, tau: float, tolerance: float, max_steps: int = 200) -> tuple[_Point, int]:
        """The minimiser, as far as rounding lets it be reached, and the number of steps."""
        first = int(self.train_bias)
        penalty = np.concatenate([np.zeros(first), tau * self.scale**2])[:, None]

        def gradient(point):
            G = self.Q.T @ point.E
            G[first:] += tau * self.scale[:, None] * (self.Vt @ (point.R - self.start.R))
            return G

        for steps in range(max_steps):
            G = gradient(point)
            if np.linalg.norm(G) <= tolerance:
                return point, steps
            step = -_newton_step(self.Q, point.p, G, penalty)
            dR = self.Vt.T @ (self.scale[:, None] * step[first:])
            db = step[0] - self.mean @ dR if self.train_bias else 0.0
            slope, value = float(np.sum(step * G)), self.objective(point, tau)
            for halvings in range(40):
                t = 0.5**halvings
                trial = self.at(point.R + t * dR, point.b + t * db)
                if self.objective(trial, tau) <= value + 1e-4 * t * slope:
                    break
                # Near the end the loss no longer tells steps apart: the gradient does.
                if -slope < 1e-9 * value and np.linalg.norm(gradient(trial)) < (1 - 1e-3 * t) * np.linalg.norm(G):
                    break
            else:
                return point, steps  # rounding: nothing near is better
            point = trial
            # The squared Newton decrement, which no choice of basis changes; the step just taken squared it.
            if tau and -slope <= 1e-12 * value:
                return point, steps + 1
        return point, max_steps


def _cross_entropy(logits: np.ndarray, onehot: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Its mean over rows, the probabilities, and its gradient, all with full relative precision near 0."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    others = p * (1 - onehot)
    wrong = others.sum(axis=1, keepdims=True)
    own = np.sum(logits * onehot, axis=1)
    # log sum_c exp(z_c - z_y) = log1p of the others' part, which overflows only where it is the largest logit's.
    margin = np.where(onehot > 0, -np.inf, logits - own[:, None])
    largest = np.maximum(margin.max(axis=1), 0.0)
    rest = np.exp(margin - largest[:, None]).sum(axis=1)
    loss = largest + np.log1p(rest + np.expm1(-largest))
    return float(np.mean(loss)), p, (others - onehot * wrong) / len(p)


def _newton_step(Q: np.ndarray, p: np.ndarray, G: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """H^-1 G, H the Hessian in Theta, [r, classes]; `penalty` [r, 1] is added to its diagonal."""
    m, classes = p.shape
    # H = 1/m sum_v q_v q_v^T (x) (diag p_v - p_v p_v^T). Adding equal numbers to all logits of a row changes nothing:
    # G has no part there, and H is filled up to be invertible.
    H = np.empty((len(G), classes, len(G), classes))
    for c in range(classes):
        for e in range(classes):
            H[:, c, :, e] = Q.T @ ((p[:, c] * ((c == e) - p[:, e]) / m)[:, None] * Q)
    H = H.reshape(G.size, G.size)
    largest = max(np.trace(H), np.finfo(float).tiny)
    H += np.kron(np.eye(len(G)), np.full((classes, classes), largest / G.size / classes))
    H[np.diag_indices_from(H)] += np.repeat(penalty.ravel(), classes) + _LEAST_SHARE * largest
    # Rows and columns to unit diagonal: the penalty spans many decades.
    unit = 1 / np.sqrt(np.diagonal(H))
    return (unit * sl.solve(H * unit * unit[:, None], unit * G.ravel(), assume_a="sym")).reshape(G.shape)


def _gradient_norm(Z: np.ndarray, E: np.ndarray, train_bias: bool) -> float:
    return float(np.hypot(host_norm(Z.T @ E), host_norm(E.sum(axis=0)) * train_bias))


@partial(jax.jit, static_argnames="steps")
@exact_products()
def _adam(Z, labels, R, b, learning_rate, steps):
    optimiser = optax.adam(learning_rate)

    def loss(parameters):
        R, b = parameters
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(Z @ R + b[None], labels))

    def step(carry, _):
        parameters, state = carry
        updates, state = optimiser.update(jax.grad(loss)(parameters), state)
        return (optax.apply_updates(parameters, updates), state), None

    return jax.lax.scan(step, ((R, b), optimiser.init((R, b))), length=steps)[0][0]

"""Products of layer Jacobians: the network read as a recurrent system, and its Lyapunov exponents.

The singular values of J_(stop-1) .. J_start themselves are those of `jacobian(*model.segment_fn(...))`, as long as the
product stays in the range of numbers; the exponents have no such limit.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgnn.data import saved
from jaxgnn.host.arrays import Array, summary
from jaxgnn.host.memory import require_memory
from jaxgnn.host.options import check_whole
from jaxgnn.host.precision import exact_products, nan_is_a_value, precision
from jaxgnn.host.program import frozen, kept
from jaxgnn.jacobian.linear import generator, point
from jaxgnn.jacobian.rounding import coarsest_eps
from jaxgnn.layers.parts import evaluated


class Lyapunov(NamedTuple):
    """Lyapunov exponents of L layers: natural logarithms a layer.

    Attributes:
      exponents: [k] mean of `history` over the layers, as they come out: descending where the layers are enough.
        -inf where a rank was lost.
      standard_error: [k] of the exponents, from the means of about sqrt(L) batches of successive layers; inf below 4
        layers, 0 where the exponent is -inf.
      history: [L, k] log |R_ii| of every layer: by how much it stretched the i-th direction.
      log_norms: [L+1] log ||X^(l)||_F of the trajectory.
    """

    exponents: Float[np.ndarray, "k"]
    standard_error: Float[np.ndarray, "k"]
    history: Float[np.ndarray, "L k"]
    log_norms: Float[np.ndarray, "L+1"]

    save = saved.save

    def __repr__(self) -> str:
        return summary(self)

    @property
    def largest(self) -> float:
        """The first exponent, the distance to the edge of chaos: below 0 perturbations die out, above they grow."""
        return float(self.exponents[0]) if self.exponents.size else -np.inf


def lyapunov(
    step: Callable[[Float[Array, "..."], Any], Float[Array, "..."]],
    h: Float[Array, "..."],
    inputs: Any,
    *,
    k: int = 8,
    seed: int = 0,
) -> Lyapunov:
    """The k largest Lyapunov exponents of h -> step(h, inputs_l), l = 0 .. L - 1, by QR, in h's precision.

    From a random orthonormal Q_0 [N, k], Q_(l+1) R_l = J_l Q_l and exponent_i = 1/L sum_l log |(R_l)_ii|; J_l Q_l by
    jvp, all layers in one scan, so that memory grows with N k. An entry |R_ii| within 100 eps of the length of
    its column counts as 0, eps that of the least precise number between h and J_l Q_l. At finite L the i-th sum is not
    log sigma_i of the product: it lags by the alignment of Q_0, which 1/L makes small.

    Args:
      step: a plain function, `model.scan_fn`'s or your own, or an NNX or Equinox module that is called so; h and
        step(h, inputs_l) have one shape, of N entries.
      h: where it starts.
      inputs: arrays with a leading axis L; np.arange(L) for a step that is the same in every layer.
      k: number of exponents; at most N come out.
      seed: of Q_0.

    Raises:
      ValueError: k below 1, inputs without a common leading axis, a step that changes the shape, an X^(l) or a J_l
        Q_l that is NaN or infinite.
      MemoryError: the k directions do not fit.
    Source: Benettin et al. 1980; Engelken et al. 2023 for networks.
    """
    h, step = point(h), evaluated(step, arguments=2)
    check_whole("k", k)
    check_whole("seed", seed, least=0)
    if k < 1:
        raise ValueError(f"k={k}: allowed are 1 and more")
    length, k = _length(inputs), min(k, h.size)
    require_memory(6 * h.size * k * h.dtype.itemsize, f"{k} directions of {h.size} entries", "a smaller k")
    with precision(h.dtype), nan_is_a_value():  # -inf: a direction that dies out
        first = jax.tree.map(lambda a: a[0], inputs)
        shape = jax.eval_shape(lambda *args: step(*args), h, first).shape
        if shape != h.shape:
            raise ValueError(f"step maps shape {h.shape} to {shape}: exponents need one shape, a square Jacobian")
        fixed = frozen(step, h, first)
        eps = max(float(jnp.finfo(h.dtype).eps), coarsest_eps(fixed.func.derivative.jaxpr))
        h = h.astype(kept(h.dtype))
        Q = np.linalg.qr(generator(seed).standard_normal((h.size, k)))[0].astype(h.dtype)
        outputs = _accumulate(fixed, h, inputs, Q, np.asarray(eps, h.dtype))
    history, log_norms = (np.asarray(a, np.float64) for a in outputs)
    _require_finite(history, log_norms)
    return Lyapunov(history.mean(axis=0), _standard_error(history, length), history, log_norms)


@jax.jit
@exact_products()
def _accumulate(step, h, inputs, Q, eps):
    def layer(carry, inputs):
        h, Q = carry
        h, push = jax.linearize(lambda h: step(h, inputs), h)
        # Q_(l+1) R_l = Z = J_l Q_l
        Z, twos = _near_one(jax.vmap(lambda q: jnp.ravel(push(q.reshape(h.shape))), in_axes=1, out_axes=1), Q)
        Q, R = _tall_qr(Z)
        stretch = jnp.abs(jnp.diagonal(R))
        lost = jnp.log(stretch) <= jnp.log(100 * eps) + jax.vmap(_log_norm, in_axes=1)(Z)
        return (h, Q), (
            jnp.where(lost, -jnp.inf, jnp.log(stretch) - (twos * np.log(2)).astype(stretch.dtype)),
            _log_norm(h),
        )

    history, log_norms = jax.lax.scan(layer, (jnp.asarray(h), jnp.asarray(Q)), inputs)[1]
    return history, jnp.concatenate([_log_norm(h)[None], log_norms])


def _near_one(times, Q):
    """J Q 2^twos and `twos`: 0 but where J Q would leave the range of numbers, or its squares.

    Then the product is taken again, half of the factor before J, half after it.
    """
    most = jnp.finfo(Q.dtype).maxexp - 8

    def magnitude(Z):
        largest = jnp.max(jnp.abs(Z), initial=0)
        # Of what is 0 or infinite it is not known.
        known = jnp.round(jnp.log2(jnp.where(largest > 0, largest, 1))).astype(jnp.int32)
        return jnp.where(largest == jnp.inf, most, jnp.where(largest > 0, known, -most))

    def again(Z):
        before = -magnitude(Z) // 2
        Z = times(jnp.ldexp(Q, before))
        after = -magnitude(Z)
        return jnp.ldexp(Z, after), before + after

    Z = times(Q)
    return jax.lax.cond(jnp.abs(magnitude(Z)) > most // 4, again, lambda Z: (Z, jnp.zeros((), jnp.int32)), Z)


def _tall_qr(Z):
    """Q [N, k] and R [k, k] of a tall Z: rows in about sqrt(N / k) chunks, each to Q R, then their R's stacked.

    Twenty times as fast as one QR of 43,000 x 8 on a CPU, and as stable. Zeros fill the last chunk: they stay zeros
    in Q but for columns beyond the rank, whose exponent is -inf already.
    Source: Demmel, Grigori, Hoemmen & Langou 2012 (TSQR).
    """
    (N, k), chunks = Z.shape, max(math.isqrt(Z.shape[0] // max(Z.shape[1], 1)), 1)
    rows = -(-N // chunks)
    Q, R = jnp.linalg.qr(jnp.pad(Z, ((0, rows * chunks - N), (0, 0))).reshape(chunks, rows, k))
    Q_top, R = jnp.linalg.qr(R.reshape(chunks * k, k))
    Q = jnp.matmul(Q, Q_top.reshape(chunks, k, k), precision="highest")
    return Q.reshape(chunks * rows, k)[:N], R


def _log_norm(X):
    """log ||X||_F, whose squares leave the range of numbers before X does; inf or NaN where X has such entries."""
    largest = jnp.max(jnp.abs(X), initial=0)
    scaled = X / jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return jnp.log(largest) + jnp.where(largest > 0, jnp.log(jnp.linalg.norm(scaled)), 0)


def _length(inputs: Any) -> int:
    """L, the leading axis that all inputs have."""
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
    if len(lengths) != 1 or () in lengths or (0,) in lengths:
        raise ValueError(
            "inputs have no common leading axis of 1 and more layers: allowed are arrays [L, ...]; "
            "for a step without inputs np.arange(L)"
        )
    return lengths.pop()[0]


def _require_finite(history: np.ndarray, log_norms: np.ndarray) -> None:
    wrong = np.isnan(log_norms) | (log_norms == np.inf)
    if wrong.any():
        raise ValueError(f"X is NaN or infinite after {int(np.argmax(wrong))} layers: take fewer, or bound the weights")
    wrong = (np.isnan(history) | (history == np.inf)).any(axis=1)
    if wrong.any():
        raise ValueError(f"the Jacobian of layer {int(np.argmax(wrong))} is NaN or infinite")


def _standard_error(history: np.ndarray, length: int) -> np.ndarray:
    # Batch means: layers are correlated, means over batches of sqrt(L) of them hardly. The first layers, which do not
    # fill a batch, are left out; they are also the ones in which Q_0 still aligns.
    batches = int(np.sqrt(length))
    if batches < 2:
        return np.full(history.shape[1], np.inf)
    lost = np.isneginf(history).any(axis=0)
    finite = np.where(lost, 0.0, history)[length % batches :]
    means = finite.reshape(batches, length // batches, history.shape[1]).mean(axis=1)
    return means.std(axis=0, ddof=1) / np.sqrt(batches)

"""Losses and scores of predictions, over the rows of a mask.

Every function is pure, to be jitted and vmapped, and gives a number in the dtype of its predictions: half precision is
computed in float32 and rounded at the end, integers are taken as floats. Rows outside the mask influence neither the
value nor the gradient, whatever they hold, NaN included. Inside it a prediction that is not finite makes the value NaN.
A value that its dtype does not hold is 0 or infinite in a program, and raises OverflowError outside one.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Num

from jaxgnn.host.arrays import Array
from jaxgnn.host.evaluate import at_most_infinite, evaluate, real, scale_free
from jaxgnn.host.magnitude import Number, homogeneous, scaled, squared_top, times_power

_LIMB = 4096


def accuracy(logits: Float[Array, "n c"], labels: Int[Array, "n"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Fraction of rows whose largest logit is that of the label; 0 for an empty mask."""
    return _metric("accuracy", _accuracy, logits, labels, mask)


def cross_entropy(
    logits: Float[Array, "n c"],
    labels: Int[Array, "n"],
    mask: Bool[Array, "n"],
    class_weights: Float[Array, "c"] | None = None,
) -> Float[Array, ""]:
    """Mean cross-entropy in nats, each row weighted by its class's weight; 0 where the weights sum to 0.

    The weighted sum is divided by the sum of the rows' weights, as PyTorch's CrossEntropyLoss(weight=...) does. A row's
    term is right to 4 eps (1 + its spread of logits).
    """
    return _metric("cross_entropy", _cross_entropy, logits, labels, mask, class_weights)


def balanced_class_weights(
    labels: Int[Array, "n"], mask: Bool[Array, "n"], num_classes: int, *, dtype: jnp.dtype = jnp.float32
) -> Float[Array, "num_classes"]:
    """n / (num_classes * n_c), with n rows in the mask and n_c of them of class c; 0 for a class without rows.

    After scikit-learn's compute_class_weight("balanced"), which counts only the classes that occur.
    """
    labels = jnp.where(mask, labels, 0)
    count = jnp.zeros(num_classes, jnp.int32).at[labels].add(jnp.asarray(mask, jnp.int32))
    return jnp.where(count > 0, jnp.sum(count) / (num_classes * jnp.maximum(1, count)), 0).astype(dtype)


def mse(prediction: Float[Array, "n t"], target: Num[Array, "n t"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Mean squared error over rows and columns; 0 for an empty mask."""
    return _metric("mse", _mse, prediction, target, mask)


def mae(prediction: Float[Array, "n t"], target: Num[Array, "n t"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Mean absolute error over rows and columns; 0 for an empty mask."""
    return _metric("mae", _mae, prediction, target, mask)


def log10_mse(prediction: Float[Array, "n t"], target: Num[Array, "n t"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Decimal logarithm of the mean squared error, of any size; -inf, without a gradient, where that is 0."""
    return _metric("log10_mse", _log10_mse, prediction, target, mask)


def roc_auc(scores: Float[Array, "n"], labels: Num[Array, "n"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Area under the ROC curve: the fraction of (positive, negative) pairs in the right order, ties counted one half.

    labels are 1 and 0. 0.5 where either class is missing. Its gradient is 0.
    Source: Mann and Whitney 1947; Hanley and McNeil 1982.
    """
    return _metric("roc_auc", _roc_auc, scores, labels, mask)


def average_precision(scores: Float[Array, "n"], labels: Num[Array, "n"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """sum_k (R_k - R_(k-1)) P_k over the distinct scores as thresholds, with recall R_k and precision P_k at each.

    labels are 1 and 0. 0 where there is no positive. Its gradient is 0.
    Source: scikit-learn's average_precision_score.
    """
    return _metric("average_precision", _average_precision, scores, labels, mask)


def mean_roc_auc(
    scores: Float[Array, "n t"], labels: Num[Array, "n t"], mask: Bool[Array, "n"] | Bool[Array, "n t"]
) -> Float[Array, ""]:
    """Mean of `roc_auc` over the columns that have both classes, as OGB averages it; 0.5 where no column has.

    A mask [n, t] leaves out single entries.
    """
    return _metric("mean_roc_auc", partial(_column_mean, metric=_auc, otherwise=0.5), scores, labels, mask)


def mean_average_precision(
    scores: Float[Array, "n t"], labels: Num[Array, "n t"], mask: Bool[Array, "n"] | Bool[Array, "n t"]
) -> Float[Array, ""]:
    """Mean of `average_precision` over the columns that have both classes, as OGB averages it; 0 where no column has.

    For one class of many in each column, labels are one-hot. A mask [n, t] leaves out single entries.
    """
    return _metric("mean_average_precision", partial(_column_mean, metric=_ap, otherwise=0.0), scores, labels, mask)


def _metric(name: str, core: Callable[..., Number], predictions: Array, targets: Array, mask: Array, *others) -> Array:
    X = real("predictions", predictions)
    own = getattr(predictions, "dtype", X.dtype)
    half = own if jnp.issubdtype(own, jnp.floating) and jnp.finfo(own).bits < 32 else None
    return evaluate(name, core, X, targets, jnp.asarray(mask) != 0, *others, dtype=half)


@jax.jit
@scale_free
def _accuracy(logits, labels, mask):
    correct = jnp.sum(mask & (jnp.argmax(logits, axis=1) == labels))
    share = (correct / jnp.maximum(1, jnp.sum(mask))).astype(logits.dtype)
    return share + _nan_unless_finite(jnp.where(mask[:, None], logits, 0))


@jax.jit
@at_most_infinite
def _cross_entropy(logits, labels, mask, class_weights=None):
    labels = jnp.where(mask, labels, 0)  # a label outside the mask may be no class at all
    logits = jnp.where(mask[:, None], logits, 0)
    own = labels[:, None] == jnp.arange(logits.shape[1])[None]  # selected, not indexed: the derivative scatters nothing
    nll = jnp.where(own.any(axis=1), -jnp.sum(jnp.where(own, jax.nn.log_softmax(logits, axis=1), 0), axis=1), jnp.nan)
    w = mask.astype(logits.dtype)
    if class_weights is not None:
        w = jnp.where(mask, scaled(jnp.asarray(class_weights, logits.dtype))[0][labels], 0)
    total = jnp.sum(w)
    return _sum_over(w * nll, jnp.where(total > 0, total, 1)) + _nan_unless_finite(logits)


@jax.jit
def _mse(prediction, target, mask):
    pair, top = _pair(prediction, target, mask), squared_top(prediction.dtype)
    return homogeneous(_mean_square, 2, pair, _count(prediction, mask), top=top)


@jax.jit
def _mae(prediction, target, mask):
    def mean(pair, count):
        return jnp.sum(jnp.abs(pair[0] - pair[1])) / count

    return homogeneous(mean, 1, _pair(prediction, target, mask), _count(prediction, mask))


@jax.jit
@scale_free
def _log10_mse(prediction, target, mask):
    pair, e = scaled(_pair(prediction, target, mask), squared_top(prediction.dtype))
    m = _mean_square(pair, _count(prediction, mask))
    value = times_power(m, 2 * e)
    held = (value != 0) & jnp.isfinite(value)
    beyond = jnp.log10(jnp.where(held, 1, m)) + 2 * e.astype(m.dtype) * jnp.log10(jnp.asarray(2, m.dtype))
    return jnp.where(held, jnp.log10(jnp.where(held, value, 1)), beyond)


def _pair(prediction: Array, target: Array, mask: Array) -> Array:
    # Both are replaced before they meet: a NaN in what `where` drops afterwards would still make the gradient NaN.
    inside = mask[:, None]
    return jnp.stack([jnp.where(inside, Z, 0) for Z in (prediction, jnp.asarray(target, prediction.dtype))])


def _count(prediction: Array, mask: Array) -> Array:
    return jnp.maximum(1, jnp.sum(mask) * prediction.shape[1]).astype(prediction.dtype)


def _mean_square(pair: Array, count: Array) -> Array:
    return jnp.sum((pair[0] - pair[1]) ** 2) / count


@jax.jit
@scale_free
def _roc_auc(scores, labels, mask):
    return _auc(scores, labels, mask)


@jax.jit
@scale_free
def _average_precision(scores, labels, mask):
    return _ap(scores, labels, mask)


@partial(jax.jit, static_argnames=("metric", "otherwise"))
def _column_mean(scores, labels, mask, *, metric, otherwise):
    values = jax.vmap(metric, in_axes=(1, 1, None if mask.ndim == 1 else 1))(scores, labels, mask)
    inside = mask[:, None] if mask.ndim == 1 else mask
    both = jnp.any(inside & (labels == 1), axis=0) & jnp.any(inside & (labels == 0), axis=0)
    mean = jnp.sum(jnp.where(both, values, 0)) / jnp.maximum(1, jnp.sum(both)).astype(values.dtype)
    value = jnp.where(jnp.any(both), mean, otherwise).astype(values.dtype)
    value = value + _nan_unless_finite(jnp.where(inside, scores, 0))
    return Number(value, value, jnp.int32(0))


def _auc(scores, labels, mask):
    scores, positive, negative = _prepared(scores, labels, mask)
    P, N = _sum(positive), _sum(negative)
    ordered = _ascending(scores, negative)
    below = jnp.searchsorted(ordered, scores, side="left")
    up_to = jnp.minimum(jnp.searchsorted(ordered, scores, side="right"), N)  # the padding is no negative
    # AUC = (1 / 2PN) sum_positives c,  c = #{negatives below} + #{negatives below or tied}, an integer <= 2N.
    # The sum passes 2^24, where float32 stops counting, and 2^31. So it is kept in two int32 limbs, divided by P with
    # remainder, and only what is left, c_mean = q + r / P with q <= 2N, becomes a float: exact for n < 2^18.
    c = jnp.where(positive, below + up_to, 0).astype(jnp.int32)
    high, low = _sum(c // _LIMB), _sum(c % _LIMB)
    one_P = jnp.maximum(1, P)
    rest = (high % one_P) * _LIMB + low
    q, r = (high // one_P) * _LIMB + rest // one_P, rest % one_P
    c_mean = q.astype(scores.dtype) + r.astype(scores.dtype) / one_P.astype(scores.dtype)
    area = jnp.where((P > 0) & (N > 0), c_mean / (2 * jnp.maximum(1, N)).astype(scores.dtype), 0.5)
    return area + _nan_unless_finite(scores)


def _ap(scores, labels, mask):
    scores, positive, negative = _prepared(scores, labels, mask)
    counted = positive | negative
    # R_k - R_(k-1) is the share of the positives at threshold k, so this is the mean over positives of the precision
    # among all that score at least as high. The counts are integers.
    true = _sum(positive) - jnp.searchsorted(_ascending(scores, positive), scores, side="left")
    predicted = _sum(counted) - jnp.searchsorted(_ascending(scores, counted), scores, side="left")
    precision = jnp.where(positive, true.astype(scores.dtype) / jnp.maximum(1, predicted).astype(scores.dtype), 0)
    mean = jnp.sum(precision) / jnp.maximum(1, _sum(positive)).astype(scores.dtype)
    return mean + _nan_unless_finite(scores)


def _prepared(scores: Array, labels: Array, mask: Array) -> tuple[Array, Array, Array]:
    labels = jnp.asarray(labels)
    scores = jax.lax.stop_gradient(jnp.where(mask, scores, 0))
    return scores, mask & (labels == 1), mask & (labels == 0)


def _ascending(scores: Array, members: Array) -> Array:
    """The members' scores in order, then infinities up to n."""
    return jnp.sort(jnp.where(members, scores, jnp.inf))


def _nan_unless_finite(X: Array) -> Array:
    """0, or NaN where an entry is not finite: to be added, so that the gradient is not finite either."""
    return jnp.where(jnp.isfinite(X).all(), 0, jnp.nan).astype(X.dtype)


def _sum_over(values: Array, total: Array) -> Array:
    """sum values / total, no sum of numbers in range being out of it."""
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(values)), initial=0)
    part = jnp.where(largest > 2.0 ** (jnp.finfo(values.dtype).maxexp // 2), 2.0**-40, 1).astype(values.dtype)
    return jnp.sum(values * part) / total / part


def _sum(values: Array) -> Array:
    return jnp.sum(values, dtype=jnp.int32)

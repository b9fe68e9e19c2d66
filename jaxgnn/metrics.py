"""Losses and scores of predictions, over the rows of a mask.

Every function is pure, to be jitted and vmapped, and gives a number in the dtype of its predictions. Rows outside the
mask influence neither the value nor the gradient, whatever they hold, NaN included.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Num

from jaxgnn.arrays import Array

_LIMB = 4096


def accuracy(logits: Float[Array, "n c"], labels: Int[Array, "n"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Fraction of rows whose largest logit is that of the label; 0 for an empty mask."""
    correct = jnp.sum(jnp.asarray(mask) & (jnp.argmax(logits, axis=1) == labels))
    return (correct / jnp.maximum(1, jnp.sum(mask))).astype(logits.dtype)


def cross_entropy(
    logits: Float[Array, "n c"],
    labels: Int[Array, "n"],
    mask: Bool[Array, "n"],
    class_weights: Float[Array, "c"] | None = None,
) -> Float[Array, ""]:
    """Mean cross-entropy in nats, each row weighted by its class's weight; 0 where the weights sum to 0.

    The weighted sum is divided by the sum of the rows' weights, as PyTorch's CrossEntropyLoss(weight=...) does.
    """
    mask = jnp.asarray(mask)
    labels = jnp.where(mask, labels, 0)  # a label outside the mask may be no class at all
    log_p = jax.nn.log_softmax(jnp.where(mask[:, None], logits, 0), axis=1)
    nll = -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    w = mask.astype(logits.dtype)
    if class_weights is not None:
        w = jnp.where(mask, jnp.asarray(class_weights, logits.dtype)[labels], 0)
    total = jnp.sum(w)
    return jnp.sum(w * nll) / jnp.where(total > 0, total, 1)


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
    return _mean_error(jnp.square, prediction, target, mask)


def mae(prediction: Float[Array, "n t"], target: Num[Array, "n t"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Mean absolute error over rows and columns; 0 for an empty mask."""
    return _mean_error(jnp.abs, prediction, target, mask)


def log10_mse(prediction: Float[Array, "n t"], target: Num[Array, "n t"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Decimal logarithm of the mean squared error; -inf, without a gradient, where that is 0."""
    return jnp.log10(mse(prediction, target, mask))


def roc_auc(scores: Float[Array, "n"], labels: Num[Array, "n"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Area under the ROC curve: the fraction of (positive, negative) pairs in the right order, ties counted one half.

    labels are 1 and 0. 0.5 where either class is missing; NaN where a score inside the mask is. Its gradient is 0.
    Source: Mann and Whitney 1947; Hanley and McNeil 1982.
    """
    scores, positive, negative, real = _prepared(scores, labels, mask)
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
    c_mean = q.astype(real) + r.astype(real) / one_P.astype(real)
    area = jnp.where((P > 0) & (N > 0), c_mean / (2 * jnp.maximum(1, N)).astype(real), 0.5)
    return _unless_nan(area, scores)


def average_precision(scores: Float[Array, "n"], labels: Num[Array, "n"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """sum_k (R_k - R_(k-1)) P_k over the distinct scores as thresholds, with recall R_k and precision P_k at each.

    labels are 1 and 0. 0 where there is no positive; NaN where a score inside the mask is. Its gradient is 0.
    Source: scikit-learn's average_precision_score.
    """
    scores, positive, negative, real = _prepared(scores, labels, mask)
    counted = positive | negative
    # R_k - R_(k-1) is the share of the positives at threshold k, so this is the mean over positives of the precision
    # among all that score at least as high. The counts are integers.
    true = _sum(positive) - jnp.searchsorted(_ascending(scores, positive), scores, side="left")
    predicted = _sum(counted) - jnp.searchsorted(_ascending(scores, counted), scores, side="left")
    precision = jnp.where(positive, true.astype(real) / jnp.maximum(1, predicted).astype(real), 0)
    return _unless_nan(jnp.sum(precision) / jnp.maximum(1, _sum(positive)).astype(real), scores)


def mean_roc_auc(scores: Float[Array, "n t"], labels: Num[Array, "n t"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    """Mean of `roc_auc` over the columns that have both classes, as OGB averages it; 0.5 where no column has."""
    return _column_mean(roc_auc, scores, labels, mask, otherwise=0.5)


def mean_average_precision(
    scores: Float[Array, "n t"], labels: Num[Array, "n t"], mask: Bool[Array, "n"]
) -> Float[Array, ""]:
    """Mean of `average_precision` over the columns that have both classes, as OGB averages it; 0 where no column has.

    For one class of many in each column, labels are one-hot.
    """
    return _column_mean(average_precision, scores, labels, mask, otherwise=0.0)


def _column_mean(metric: Callable[..., Array], scores: Array, labels: Array, mask: Array, *, otherwise: float) -> Array:
    values = jax.vmap(metric, in_axes=(1, 1, None))(scores, labels, mask)
    inside = jnp.asarray(mask)[:, None]
    both = jnp.any(inside & (labels == 1), axis=0) & jnp.any(inside & (labels == 0), axis=0)
    mean = jnp.sum(jnp.where(both, values, 0)) / jnp.maximum(1, jnp.sum(both)).astype(values.dtype)
    return jnp.where(jnp.any(both), mean, otherwise).astype(values.dtype)


def _prepared(scores: Array, labels: Array, mask: Array) -> tuple[Array, Array, Array, jnp.dtype]:
    mask = jnp.asarray(mask)
    scores = jax.lax.stop_gradient(jnp.where(mask, scores, 0))
    # float16 has no number as large as a count may be.
    return scores, mask & (labels == 1), mask & (labels == 0), jnp.promote_types(scores.dtype, jnp.float32)


def _ascending(scores: Array, members: Array) -> Array:
    """The members' scores in order, then infinities up to n."""
    return jnp.sort(jnp.where(members, scores, jnp.inf))


def _unless_nan(value: Array, scores: Array) -> Array:
    return jnp.where(jnp.isnan(scores).any(), jnp.nan, value).astype(scores.dtype)


def _mean_error(error: Callable[[Array], Array], prediction: Array, target: Array, mask: Array) -> Array:
    # Both are replaced before they meet: a NaN in what `where` drops afterwards would still make the gradient NaN.
    inside = jnp.asarray(mask)[:, None]
    difference = jnp.where(inside, prediction, 0) - jnp.where(inside, target, 0).astype(prediction.dtype)
    return jnp.sum(error(difference)) / jnp.maximum(1, jnp.sum(mask) * prediction.shape[1]).astype(prediction.dtype)


def _sum(values: Array) -> Array:
    return jnp.sum(values, dtype=jnp.int32)

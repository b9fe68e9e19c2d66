"""Losses and metrics by name, and what the best constant prediction gives: shared by all tasks."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Num

from jaxgnn.host.arrays import Array
from jaxgnn.tasks import metrics

Loss = Literal["cross_entropy", "bce", "mse", "mae"]
ClassificationMetric = Literal["accuracy", "roc_auc", "average_precision"]
RegressionMetric = Literal["mse", "mae", "log10_mse"]
Metric = ClassificationMetric | RegressionMetric
# What a loss is scored by.
METRICS: dict[str, tuple[str, ...]] = {
    "cross_entropy": get_args(ClassificationMetric),
    "bce": get_args(ClassificationMetric),
    "mse": get_args(RegressionMetric),
    "mae": get_args(RegressionMetric),
}
RANKINGS = ("roc_auc", "average_precision")


def maximise(metric: str) -> bool:
    """Whether a higher value of the metric is better."""
    return metric in get_args(ClassificationMetric)


def loss_value(
    loss: str,
    logits: Float[Array, "n out"],
    targets: Num[Array, "n ..."],
    mask: Bool[Array, "n"] | Bool[Array, "n out"],
    class_weights: Float[Array, "out"] | None = None,
) -> Float[Array, ""]:
    """Mean loss over the rows of a mask (and their columns), or over the entries of a mask [n, out].

    logits and targets are [n, out]; for "cross_entropy", in nats, targets are classes [n]. "bce" is the binary
    cross-entropy of each column in nats, targets 0 and 1.
    """
    logits, mask = jnp.asarray(logits), jnp.asarray(mask)
    if loss == "cross_entropy":
        return metrics.cross_entropy(logits, jnp.asarray(targets), mask, class_weights)
    if loss == "bce":
        inside = mask if mask.ndim == 2 else mask[:, None]
        z, y = jnp.where(inside, logits, 0), jnp.where(inside, targets, 0).astype(logits.dtype)
        # -y ln sigmoid(z) - (1 - y) ln sigmoid(-z), where the one is the other minus z
        nll = -jax.nn.log_sigmoid(z) + (1 - y) * z
        return _mean_inside(nll, mask) + _nan_unless_finite(z)
    return (metrics.mse if loss == "mse" else metrics.mae)(*_of_numbers(logits, jnp.asarray(targets), mask))


def score_value(
    metric: str,
    logits: Float[Array, "n out"],
    targets: Num[Array, "n ..."],
    mask: Bool[Array, "n"] | Bool[Array, "n out"],
) -> Float[Array, ""]:
    """The metric over the rows of a mask, or over the entries of a mask [n, out].

    Classes [n] are ranked by the difference of two logits; targets [n, out] of 0 and 1 are scored column by column
    and the columns' values averaged, over those with an entry in the mask (rankings: those with both classes), as OGB
    does. Errors are means over all entries.
    """
    logits, targets, mask = jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(mask)
    classes = targets.ndim == 1
    if metric == "accuracy":
        if classes:
            return metrics.accuracy(logits, targets, mask)
        right = ((logits > 0) == (targets > 0.5)).astype(logits.dtype)
        share = _mean_inside(right, mask) if mask.ndim == 1 else _mean_of_columns(right, mask)
        return share + _nan_unless_finite(jnp.where(mask if mask.ndim == 2 else mask[:, None], logits, 0))
    if metric in RANKINGS:
        if classes:
            ranked = metrics.roc_auc if metric == "roc_auc" else metrics.average_precision
            return ranked(logits[:, 1] - logits[:, 0], targets, mask)
        mean = metrics.mean_roc_auc if metric == "roc_auc" else metrics.mean_average_precision
        return mean(logits, targets, mask)
    error = {"mse": metrics.mse, "mae": metrics.mae, "log10_mse": metrics.log10_mse}[metric]
    return error(*_of_numbers(logits, targets, mask))


def constant_loss(
    loss: str,
    targets: Num[np.ndarray, "n ..."],
    class_weights: Any = None,
    present: Bool[np.ndarray, "n t"] | None = None,
) -> float:
    """The least loss that one prediction for all rows has: an entropy, or the spread about the mean or the median.

    Of targets [n, t] those are the columns' own, over the entries that are present.
    """
    targets = np.asarray(targets)
    if loss == "cross_entropy":
        count = np.bincount(targets).astype(np.float64)
        weights = np.ones(count.size) if class_weights is None else np.asarray(class_weights, np.float64)[: count.size]
        p = weights * count / np.sum(weights * count)
        return float(-np.sum(p[p > 0] * np.log(p[p > 0])))
    targets = targets.astype(np.float64)
    if present is not None:
        present = np.asarray(present, bool)
        columns = [(y[kept, None], kept.sum()) for y, kept in zip(targets.T, present.T, strict=True) if kept.any()]
        return float(sum(constant_loss(loss, y) * count for y, count in columns) / present.sum())
    if loss == "bce":
        p = np.stack([targets.mean(axis=0), 1 - targets.mean(axis=0)])
        return float(-np.sum(p * np.log(np.where(p > 0, p, 1))) / targets.shape[1])
    if loss == "mse":
        return float(np.mean(np.square(targets - targets.mean(axis=0))))
    return float(np.mean(np.abs(targets - np.median(targets, axis=0))))


def entries(mask: Bool[Array, "n"], present: Bool[Array, "n t"] | None) -> Bool[Array, "n ..."]:
    """The rows of a mask, or where some targets are not known, the entries [n, t] in these rows that are."""
    return mask if present is None else jnp.asarray(mask)[:, None] & jnp.asarray(present)


def _of_numbers(prediction: Array, targets: Array, mask: Array) -> tuple[Array, Array, Array]:
    """As they are; of a mask [n, t], every entry as a row of its own."""
    if mask.ndim == 1:
        return prediction, targets, mask
    return prediction.reshape(-1, 1), targets.reshape(-1, 1), mask.reshape(-1)


def _mean_inside(values: Float[Array, "n out"], mask: Bool[Array, "n ..."]) -> Float[Array, ""]:
    inside, columns = (mask, 1) if mask.ndim == 2 else (mask[:, None], values.shape[1])
    count = jnp.maximum(jnp.sum(mask) * columns, 1).astype(values.dtype)
    return jnp.sum(jnp.where(inside, values, 0)) / count


def _mean_of_columns(values: Float[Array, "n out"], mask: Bool[Array, "n out"]) -> Float[Array, ""]:
    """The mean over the columns with an entry in the mask of their own means."""
    count = jnp.sum(mask, axis=0)
    means = jnp.sum(jnp.where(mask, values, 0), axis=0) / jnp.maximum(count, 1).astype(values.dtype)
    return jnp.sum(means) / jnp.maximum(jnp.sum(count > 0), 1).astype(values.dtype)


def _nan_unless_finite(logits: Float[Array, "n out"]) -> Float[Array, ""]:
    return jnp.where(jnp.isfinite(logits).all(), 0, jnp.nan).astype(logits.dtype)

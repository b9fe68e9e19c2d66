"""Losses and metrics by name, and what the best constant prediction gives: shared by all tasks."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Num

from jaxgnn import metrics
from jaxgnn.arrays import Array

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
    mask: Bool[Array, "n"],
    class_weights: Float[Array, "out"] | None = None,
) -> Float[Array, ""]:
    """Mean loss over the rows of a mask (and their columns).

    logits and targets are [n, out]; for "cross_entropy", in nats, targets are classes [n]. "bce" is the binary
    cross-entropy of each column in nats, targets 0 and 1.
    """
    logits, mask = jnp.asarray(logits), jnp.asarray(mask)
    if loss == "cross_entropy":
        return metrics.cross_entropy(logits, jnp.asarray(targets), mask, class_weights)
    if loss == "bce":
        inside = mask[:, None]
        z, y = jnp.where(inside, logits, 0), jnp.where(inside, targets, 0).astype(logits.dtype)
        # -y ln sigmoid(z) - (1 - y) ln sigmoid(-z), where the one is the other minus z
        nll = -jax.nn.log_sigmoid(z) + (1 - y) * z
        return _mean_inside(nll, mask) + _nan_unless_finite(z)
    return (metrics.mse if loss == "mse" else metrics.mae)(logits, jnp.asarray(targets), mask)


def score_value(
    metric: str, logits: Float[Array, "n out"], targets: Num[Array, "n ..."], mask: Bool[Array, "n"]
) -> Float[Array, ""]:
    """The metric over the rows of a mask.

    Classes [n] are ranked by the difference of two logits; targets [n, out] of 0 and 1 column by column, and the
    columns' values averaged.
    """
    logits, targets, mask = jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(mask)
    classes = targets.ndim == 1
    if metric == "accuracy":
        if classes:
            return metrics.accuracy(logits, targets, mask)
        right = (logits > 0) == (targets > 0.5)
        share = _mean_inside((right & mask[:, None]).astype(logits.dtype), mask)
        return share + _nan_unless_finite(jnp.where(mask[:, None], logits, 0))
    if metric in RANKINGS:
        if classes:
            ranked = metrics.roc_auc if metric == "roc_auc" else metrics.average_precision
            return ranked(logits[:, 1] - logits[:, 0], targets, mask)
        mean = metrics.mean_roc_auc if metric == "roc_auc" else metrics.mean_average_precision
        return mean(logits, targets, mask)
    return {"mse": metrics.mse, "mae": metrics.mae, "log10_mse": metrics.log10_mse}[metric](logits, targets, mask)


def constant_loss(loss: str, targets: Num[np.ndarray, "n ..."], class_weights: Any = None) -> float:
    """The least loss that one prediction for all rows has: an entropy, or the spread about the mean or the median."""
    targets = np.asarray(targets)
    if loss == "cross_entropy":
        count = np.bincount(targets).astype(np.float64)
        weights = np.ones(count.size) if class_weights is None else np.asarray(class_weights, np.float64)[: count.size]
        p = weights * count / np.sum(weights * count)
        return float(-np.sum(p[p > 0] * np.log(p[p > 0])))
    targets = targets.astype(np.float64)
    if loss == "bce":
        p = np.stack([targets.mean(axis=0), 1 - targets.mean(axis=0)])
        return float(-np.sum(p * np.log(np.where(p > 0, p, 1))) / targets.shape[1])
    if loss == "mse":
        return float(np.mean(np.square(targets - targets.mean(axis=0))))
    return float(np.mean(np.abs(targets - np.median(targets, axis=0))))


def _mean_inside(values: Float[Array, "n out"], mask: Bool[Array, "n"]) -> Float[Array, ""]:
    count = jnp.maximum(jnp.sum(mask) * values.shape[1], 1).astype(values.dtype)
    return jnp.sum(jnp.where(mask[:, None], values, 0)) / count


def _nan_unless_finite(logits: Float[Array, "n out"]) -> Float[Array, ""]:
    return jnp.where(jnp.isfinite(logits).all(), 0, jnp.nan).astype(logits.dtype)

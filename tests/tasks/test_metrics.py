from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgnn.tasks.metrics import (
    accuracy,
    average_precision,
    balanced_class_weights,
    cross_entropy,
    log10_mse,
    mae,
    mean_average_precision,
    mean_roc_auc,
    mse,
    roc_auc,
)


def tolerance(dtype):
    return {"rtol": 20 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps}


def auc_of_pairs(scores, labels):
    """The definition: every pair of a positive and a negative."""
    difference = scores[labels == 1][:, None] - scores[labels == 0]
    return np.mean((difference > 0) + 0.5 * (difference == 0)) if difference.size else 0.5


def ap_of_thresholds(scores, labels):
    """The definition: one distinct threshold after another, from the highest."""
    total, recall = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        true = labels[scores >= threshold]
        total += (true.sum() / max(labels.sum(), 1) - recall) * true.mean()
        recall = true.sum() / max(labels.sum(), 1)
    return total


def column_mean(metric, scores, labels, otherwise):
    both = [j for j in range(labels.shape[1]) if 0 < labels[:, j].sum() < len(labels)]
    return np.mean([metric(scores[:, j], labels[:, j]) for j in both]) if both else otherwise


def weighted_cross_entropy(logits, labels, weights=None):
    weights = np.ones(logits.shape[1]) if weights is None else weights
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    total = weights[labels].sum()
    return sum(-weights[y] * np.log(p[i, y]) for i, y in enumerate(labels)) / total if total else 0.0


def mean_or_0(values):
    return values.mean() if values.size else 0.0


RANKED = {roc_auc: auc_of_pairs, average_precision: ap_of_thresholds}
COLUMNS = {
    mean_roc_auc: lambda s, y: column_mean(auc_of_pairs, s, y, 0.5),
    mean_average_precision: lambda s, y: column_mean(ap_of_thresholds, s, y, 0.0),
}
CLASSES = {
    accuracy: lambda z, y: mean_or_0(np.argmax(z, axis=1) == y),
    cross_entropy: weighted_cross_entropy,
    partial(cross_entropy, class_weights=np.array([0.3, 2.0, 1.0])): partial(
        weighted_cross_entropy, weights=np.array([0.3, 2.0, 1.0])
    ),
}
ERRORS = {mse: lambda p, t: mean_or_0((p - t) ** 2), mae: lambda p, t: mean_or_0(np.abs(p - t))}
TABLE = {
    **{metric: (oracle, "ranked") for metric, oracle in RANKED.items()},
    **{metric: (oracle, "columns") for metric, oracle in COLUMNS.items()},
    **{metric: (oracle, "classes") for metric, oracle in CLASSES.items()},
    **{metric: (oracle, "errors") for metric, oracle in ERRORS.items()},
    log10_mse: (lambda p, t: np.log10(np.mean((p - t) ** 2)), "errors"),
}
every_metric = pytest.mark.parametrize("metric", TABLE, ids=lambda m: getattr(m, "__name__", "weighted_cross_entropy"))


def data(kind, rng, n, dtype):
    """Predictions with many ties, targets, and a mask."""
    mask = rng.random(n) < 0.7
    if kind == "ranked":
        return rng.integers(-4, 5, n).astype(dtype) / 4, rng.integers(0, 2, n), mask
    if kind == "columns":
        labels = (rng.random((n, 4)) < [0.5, 0.2, 0.0, 1.0]).astype(int)  # two columns lack a class
        return rng.integers(-4, 5, (n, 4)).astype(dtype) / 4, labels, mask
    if kind == "classes":
        return rng.integers(-3, 4, (n, 3)).astype(dtype), rng.integers(0, 3, n), mask
    return rng.standard_normal((n, 2)).astype(dtype), rng.standard_normal((n, 2)).astype(dtype), mask


def wide(array):
    return array.astype(np.float64) if array.dtype.kind == "f" else array


@every_metric
@pytest.mark.parametrize("n", [1, 7, 60])
def test_the_definition(metric, n, dtype):
    oracle, kind = TABLE[metric]
    for seed in range(8):
        prediction, target, mask = data(kind, np.random.default_rng(seed), n, dtype)
        mask[0] = True
        value = jax.jit(metric)(prediction, target, mask)
        assert value.dtype == dtype
        assert value.shape == ()
        np.testing.assert_allclose(value, oracle(wide(prediction)[mask], wide(target)[mask]), **tolerance(dtype))


@every_metric
def test_the_order_of_the_rows_does_not_matter(metric, dtype):
    rng = np.random.default_rng(1)
    rows = data(TABLE[metric][1], rng, 50, dtype)
    order, value = rng.permutation(50), jax.jit(metric)
    np.testing.assert_allclose(value(*rows), value(*(a[order] for a in rows)), **tolerance(dtype))


@every_metric
def test_vmap_is_one_call_after_another(metric, dtype):
    rng = np.random.default_rng(2)
    many = [data(TABLE[metric][1], rng, 20, dtype) for _ in range(4)]
    stacked = jax.jit(jax.vmap(metric))(*(np.stack(a) for a in zip(*many, strict=True)))
    np.testing.assert_allclose(stacked, [jax.jit(metric)(*rows) for rows in many], **tolerance(dtype))


@every_metric
def test_rows_outside_the_mask_have_no_influence(metric, dtype):
    prediction, target, mask = data(TABLE[metric][1], np.random.default_rng(3), 30, dtype)
    evaluate = jax.jit(jax.value_and_grad(metric))
    value, gradient = evaluate(prediction, target, mask)
    for fill in (np.nan, np.inf, -1e30):
        other, label = prediction.copy(), target.copy()
        other[~mask] = fill
        label[~mask] = -1 if label.dtype.kind == "i" else fill
        filled, filled_gradient = evaluate(other, label, mask)
        assert filled == value
        np.testing.assert_array_equal(filled_gradient, gradient)
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[~mask].any()
    kept = jax.jit(metric)(*(a[mask] for a in (prediction, target, mask)))
    np.testing.assert_allclose(value, kept, **tolerance(dtype))


@every_metric
def test_an_empty_mask(metric, dtype):
    prediction, target, mask = data(TABLE[metric][1], np.random.default_rng(4), 10, dtype)
    expected = {roc_auc: 0.5, mean_roc_auc: 0.5, log10_mse: -np.inf}.get(metric, 0.0)
    value, gradient = jax.jit(jax.value_and_grad(metric))(prediction * np.nan, target, np.zeros_like(mask))
    assert value == expected
    assert metric is log10_mse or not np.asarray(gradient).any()


@pytest.mark.parametrize(("label", "ap"), [(0, 0.0), (1, 1.0)])
def test_one_class_only(label, ap, dtype):
    scores, labels, mask = np.arange(5, dtype=dtype), np.full(5, label), np.ones(5, bool)
    assert roc_auc(scores, labels, mask) == 0.5
    assert average_precision(scores, labels, mask) == ap
    assert mean_roc_auc(scores[:, None], labels[:, None], mask) == 0.5
    assert mean_average_precision(scores[:, None], labels[:, None], mask) == 0.0


def test_the_ends_of_the_scale_are_met_exactly(dtype):
    labels, mask = np.arange(1001) % 3 == 0, np.ones(1001, bool)
    assert roc_auc(labels.astype(dtype), labels, mask) == 1.0
    assert roc_auc(-labels.astype(dtype), labels, mask) == 0.0
    assert roc_auc(np.ones(1001, dtype), labels, mask) == 0.5
    assert average_precision(labels.astype(dtype), labels, mask) == 1.0


def test_the_largest_scores_and_signed_zeros_are_ranked(dtype):
    top = np.finfo(dtype).max
    scores = np.array([top, top, -top, 0.0, -0.0, -top, top], dtype)
    labels, mask = np.array([1, 0, 1, 0, 1, 0, 1]), np.array([1, 1, 1, 1, 1, 1, 0], bool)
    ranks = np.array([2, 2, 0, 1, 1, 0, 2.0])[mask]
    for metric, oracle in RANKED.items():
        np.testing.assert_allclose(metric(scores, labels, mask), oracle(ranks, labels[mask]), **tolerance(dtype))


def test_a_nan_score_that_counts_shows(dtype):
    scores, labels, mask = np.array([0.0, np.nan, 1.0], dtype), np.array([0, 1, 1]), np.ones(3, bool)
    for metric in RANKED:
        assert np.isnan(metric(scores, labels, mask))


@pytest.mark.parametrize("n", [100_000, 2**18 - 1])
@pytest.mark.parametrize("shift", [0.0, 0.3, 4.0])
def test_ranks_are_exact_in_float32_for_many_rows(n, shift):
    rng = np.random.default_rng(0)
    labels, mask = rng.random(n) < 0.5, np.ones(n, bool)
    scores = np.round(rng.standard_normal(n) + shift * labels, 3).astype(np.float32)
    # Integers as large as the sums of ranks are exact in float64.
    negatives, positives = np.sort(scores[~labels]), np.sort(scores[labels])
    pairs = sum(np.searchsorted(negatives, positives, side=side).sum() for side in ("left", "right"))
    area = pairs / (2 * negatives.size * positives.size)
    np.testing.assert_allclose(jax.jit(roc_auc)(scores, labels, mask), area, rtol=2 * np.finfo(np.float32).eps)
    true = positives.size - np.searchsorted(positives, positives)
    precision = true / (n - np.searchsorted(np.sort(scores), positives))
    np.testing.assert_allclose(jax.jit(average_precision)(scores, labels, mask), precision.mean(), rtol=1e-6)


def test_few_positives_among_many_rows():
    n = 100_000
    scores, labels, mask = np.arange(n, dtype=np.float32), np.zeros(n, int), np.ones(n, bool)
    labels[[3, 50_001, n - 1]] = 1
    area = (3 + 50_000 + n - 3) / (3 * (n - 3))
    np.testing.assert_allclose(roc_auc(scores, labels, mask), area, rtol=2 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(roc_auc(scores, 1 - labels, mask), 1 - area, rtol=2 * np.finfo(np.float32).eps)


def test_half_precision_counts_no_worse():
    n = 70_000
    scores, labels, mask = jnp.arange(n) % 2, jnp.arange(n) % 2, jnp.ones(n, bool)
    for metric in RANKED:
        value = metric(scores.astype(jnp.float16), labels, mask)
        assert (value, value.dtype) == (1.0, jnp.float16)


def test_the_gradient_of_a_ranking_is_0(dtype):
    scores, labels, mask = data("ranked", np.random.default_rng(5), 30, dtype)
    for metric in RANKED:
        assert not np.asarray(jax.grad(metric)(scores, labels, mask)).any()


def test_balanced_weights_give_every_class_the_same_share():
    labels, mask = np.array([0, 0, 0, 1, 1, 3, -1, 2]), np.array([1, 1, 1, 1, 1, 1, 0, 0], bool)
    weights = balanced_class_weights(labels, mask, 4)
    np.testing.assert_allclose(weights, [6 / 12, 6 / 8, 0, 6 / 4], rtol=1e-6)  # no row of class 2 is in the mask
    assert weights.dtype == jnp.float32
    assert not balanced_class_weights(labels, np.zeros(8, bool), 4).any()
    # With them the cross-entropy is the mean of the classes' means.
    logits = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    means = [cross_entropy(logits, labels, mask & (labels == c)) for c in (0, 1, 3)]
    np.testing.assert_allclose(cross_entropy(logits, labels, mask, weights), np.mean(means), rtol=1e-5)


def test_balanced_weights_in_another_dtype(dtype):
    labels, mask = np.arange(3), np.ones(3, bool)
    assert balanced_class_weights(labels, mask, 3, dtype=dtype).dtype == dtype

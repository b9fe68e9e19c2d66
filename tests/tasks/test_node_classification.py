import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm


@pytest.fixture
def ds():
    return csbm(num_nodes=30, num_features=4, train_per_class=4, average_degree=4.0)


@pytest.fixture
def task(ds):
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


def logits_of(task):
    return np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)


def test_loss_is_the_mean_surprise_of_the_training_labels(task):
    logits = logits_of(task).astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for mask, value in ((task.train_mask, task.loss(logits)), (task.val_mask, task.scores(logits).val_loss)):
        nodes = np.flatnonzero(mask)
        assert float(value) == pytest.approx(-np.mean(np.log(p[nodes, task.labels[nodes]])), rel=1e-6)


def test_scores_are_the_share_of_right_guesses_on_each_split(task):
    logits = logits_of(task)
    guess = logits.argmax(axis=1)
    scores = task.scores(logits)
    for split in ("train", "val", "test"):
        mask = getattr(task, f"{split}_mask")
        assert float(getattr(scores, split)) == pytest.approx(np.mean(guess[mask] == task.labels[mask]), rel=1e-6)


def test_loss_sees_the_training_nodes_only(task):
    gradient = jax.grad(task.loss)(jnp.asarray(logits_of(task)))
    np.testing.assert_array_equal(np.abs(gradient).sum(axis=1) > 0, task.train_mask)


def test_constant_loss_is_the_entropy_of_the_training_labels(ds):
    graph = jg.prepare(ds.graph)
    v = np.arange(30)
    seven = ds._replace(labels=v % 7, num_classes=7, train_mask=v < 28, val_mask=v == 28, test_mask=v == 29)
    assert jg.tasks.node_classification(seven, graph).constant_loss() == pytest.approx(np.log(7), rel=1e-14)
    masks = {"train_mask": v < 12, "val_mask": (v >= 12) & (v < 20), "test_mask": v >= 20}
    two = ds._replace(labels=(v < 3).astype(np.int32), **masks)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert jg.tasks.node_classification(two, graph).constant_loss() == pytest.approx(entropy, rel=1e-14)


def test_no_constant_predictor_does_better(task):
    for seed in range(5):
        constant = np.random.default_rng(seed).standard_normal(3)
        assert float(task.loss(np.tile(constant, (30, 1)))) >= task.constant_loss() - 1e-6


def test_is_a_pytree_that_passes_through_a_compiled_program(task):
    compiled = jax.jit(lambda task, logits: task.loss(logits))(task, logits_of(task))
    assert float(compiled) == pytest.approx(float(task.loss(logits_of(task))), rel=1e-6)
    assert task.num_classes == 3


REFUSED = {
    "NaN": (
        lambda ds: {"x": np.where(np.arange(120).reshape(30, 4) == 4 * 7 + 2, np.nan, ds.x)},
        "feature 2 of node 7 is nan: features must be finite numbers",
    ),
    "infinite": (
        lambda ds: {"x": np.where(np.arange(120).reshape(30, 4) == 5, -np.inf, ds.x)},
        "feature 1 of node 1 is -inf: features must be finite numbers",
    ),
    "label too large": (
        lambda ds: {"labels": np.where(np.arange(30) == 4, 3, ds.labels)},
        "label 3 of node 4 is out of range: classes are 0 to 2",
    ),
    "label negative": (
        lambda ds: {"labels": np.where(np.arange(30) == 4, -1, ds.labels)},
        "label -1 of node 4 is out of range: classes are 0 to 2",
    ),
    "no training node": (
        lambda ds: {"train_mask": np.zeros(30, bool)},
        "train_mask is empty: each split needs a node",
    ),
    "no validation node": (lambda ds: {"val_mask": np.zeros(30, bool)}, "val_mask is empty: each split needs a node"),
    "no test node": (lambda ds: {"test_mask": np.zeros(30, bool)}, "test_mask is empty: each split needs a node"),
    "features": (
        lambda ds: {"x": ds.x[:29]},
        "x has shape (29, 4), but the graph has 30 nodes: rows must agree",
    ),
    "labels": (
        lambda ds: {"labels": ds.labels[:3]},
        "labels has shape (3,), but the graph has 30 nodes: rows must agree",
    ),
    "mask": (
        lambda ds: {"val_mask": np.ones(31, bool)},
        "val_mask has shape (31,), but the graph has 30 nodes: rows must agree",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(ds, case):
    change, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.tasks.node_classification(ds._replace(**change(ds)), jg.prepare(ds.graph))


def test_another_graph_is_refused(ds, graphs):
    with pytest.raises(ValueError, match="the graph has 5 nodes: rows must agree"):
        jg.tasks.node_classification(ds, jg.prepare(**graphs.ring(5)))


@pytest.fixture
def two(ds):
    """Two classes, one of them rare."""
    return ds._replace(labels=(np.arange(30) % 4 == 0).astype(np.int32), num_classes=2)


def test_evaluation_is_one_application_to_the_graph(ds, two):
    for task in (
        jg.tasks.node_classification(ds, jg.prepare(ds.graph)),
        jg.tasks.node_classification(two, jg.prepare(ds.graph), metric="roc_auc", class_weights="balanced"),
    ):
        calls, logits = [], logits_of(task)[:, : task.out]

        def apply(graph, x, calls=calls, logits=logits):
            calls.append((graph, x))
            return logits

        metrics, scores = task.evaluate(apply), task.scores(logits)
        assert calls == [(task.graph, task.x)]
        assert metrics == (task.loss(logits), scores.train, scores.val, scores.test, scores.val_loss)
        assert task.batch(jax.random.key(0), 3) is task
        assert task.full_batch
        assert task.maximise


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_two_classes_are_ranked_by_the_difference_of_their_logits(two, metric):
    task = jg.tasks.node_classification(two, jg.prepare(two.graph), metric=metric)
    logits = logits_of(task)[:, :2]
    s, t = (logits[:, 1] - logits[:, 0])[two.test_mask], two.labels[two.test_mask] == 1
    expected = {
        "roc_auc": np.mean(s[t][:, None] > s[~t]),
        "average_precision": np.mean([np.mean(t[s >= at]) for at in s[t]]),
    }[metric]
    assert float(task.scores(logits).test) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weights", ["balanced", np.array([1.0, 3.0])])
def test_class_weights_weigh_the_losses(two, weights):
    task = jg.tasks.node_classification(two, jg.prepare(two.graph), class_weights=weights)
    train = two.labels[two.train_mask]
    w = len(train) / (2 * np.bincount(train)) if isinstance(weights, str) else weights
    logits = logits_of(task)[:, :2].astype(np.float64)
    nll = -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[np.arange(30), two.labels]
    for mask, value in ((two.train_mask, task.loss(logits)), (two.val_mask, task.scores(logits).val_loss)):
        expected = np.average(nll[mask], weights=w[two.labels[mask]])
        assert float(value) == pytest.approx(expected, rel=1e-6)
    p = np.bincount(train) * w / np.sum(np.bincount(train) * w)
    best = float(task.loss(np.tile(np.log(p), (30, 1))))
    assert task.constant_loss() == pytest.approx(best, rel=1e-6)
    if isinstance(weights, str):
        assert task.constant_loss() == pytest.approx(np.log(2), rel=1e-6)


REFUSED_OPTIONS = {
    "metric": (
        {"metric": "f1"},
        "metric='f1' is not known: allowed are accuracy, roc_auc, average_precision",
    ),
    "metric of two classes": (
        {"metric": "roc_auc"},
        "metric='roc_auc' is for two classes, but there are 3: accuracy is for any",
    ),
    "class weights by name": (
        {"class_weights": "equal"},
        "class_weights='equal' is not known: allowed are None, 'balanced' and [classes] weights",
    ),
    "number of class weights": (
        {"class_weights": [1.0, 2.0]},
        "class_weights has shape (2,) for 3 classes: one for each is needed",
    ),
    "negative class weight": (
        {"class_weights": [1, 2, -1]},
        "class_weights=[1.0, 2.0, -1.0]: allowed are finite numbers of 0 and more, not 0 for all training labels",
    ),
    "no weight": (
        {"class_weights": [0, 0, 0]},
        "class_weights=[0.0, 0.0, 0.0]: allowed are finite numbers of 0 and more, not 0 for all training labels",
    ),
}


@pytest.mark.parametrize("case", REFUSED_OPTIONS)
def test_an_option_that_does_not_fit_is_refused_in_one_sentence(ds, case):
    options, sentence = REFUSED_OPTIONS[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.tasks.node_classification(ds, jg.prepare(ds.graph), **options)


def test_a_split_of_one_class_cannot_be_ranked(two):
    labels = np.where(two.val_mask, 0, two.labels)
    with pytest.raises(ValueError, match=r"^val_mask has one class only: metric='roc_auc' needs both$"):
        jg.tasks.node_classification(two._replace(labels=labels), jg.prepare(two.graph), metric="roc_auc")


def test_features_are_divided_by_their_absolute_sum_once(ds):
    """The default; negative entries keep their sign, a row of zeros stays one, and "raw" is x as it stands."""
    x = np.array(ds.x)
    x[3], x[4] = 0, [-1, 2, 0, 1]
    assert (x < 0).any()
    graph = jg.prepare(ds.graph)
    given = ds._replace(x=x)
    row, raw = (jg.tasks.node_classification(given, graph, **rule) for rule in ({}, {"features": "raw"}))
    size = np.abs(x.astype(np.float64)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(row.x, x / np.where(size > 0, size, 1), rtol=1e-6)
    np.testing.assert_array_equal(row.x[4], [-0.25, 0.5, 0, 0.25])
    assert raw.x is x
    assert (row.feature_rule, raw.feature_rule) == ("row", "raw")
    sparse = jg.tasks.node_classification(given, graph, sparse_features=True)
    np.testing.assert_allclose(sparse.x.dense(), row.x, rtol=1e-6)
    assert sparse.feature_rule == "row"


@pytest.mark.parametrize("features", ["rows", None, 1, True])
def test_an_unknown_rule_is_refused(ds, features):
    with pytest.raises(
        ValueError, match=rf"^features={features!r} is not known(:|, did you mean 'row'\?) allowed are row, raw$"
    ):
        jg.tasks.node_classification(ds, jg.prepare(ds.graph), features=features)

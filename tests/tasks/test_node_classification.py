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
    seven = ds._replace(labels=np.arange(30, dtype=np.int32) % 7, num_classes=7, train_mask=np.arange(30) < 28)
    assert jg.tasks.node_classification(seven, graph).constant_loss() == pytest.approx(np.log(7), rel=1e-14)
    two = ds._replace(labels=(np.arange(30) < 3).astype(np.int32), train_mask=np.arange(30) < 12)
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
        "label 3 is out of range: classes are 0 to 2",
    ),
    "label negative": (
        lambda ds: {"labels": np.where(np.arange(30) == 4, -1, ds.labels)},
        "label -1 is out of range: classes are 0 to 2",
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

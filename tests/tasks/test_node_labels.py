"""Several labels a node: losses and scores against plain loops in float64, and what is not known leaves no trace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg

RNG = np.random.default_rng(0)
LABELS = (RNG.random((34, 3)) < 0.4).astype(float)
MISSING = RNG.random((34, 3)) < 0.3
MASKS = {name: np.arange(34) % 3 == i for i, name in enumerate(("train_mask", "val_mask", "test_mask"))}


def made(labels=None, **options):
    ds = jg.load_dataset("karate")
    labels = np.where(MISSING, np.nan, LABELS) if labels is None else labels
    return jg.tasks.node_labels(jg.prepare(ds.graph), ds.x, labels, **MASKS | options)


def auc(scores, labels):
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels == 1] for b in scores[labels == 0]]
    return np.mean(pairs) if pairs else np.nan


def test_loss_and_scores_are_those_of_a_loop():
    task, Z = made(), RNG.standard_normal((34, 3)) * 3
    known = ~MISSING & MASKS["train_mask"][:, None]
    p = 1 / (1 + np.exp(-Z))
    nll = -np.where(LABELS == 1, np.log(p), np.log(1 - p))
    np.testing.assert_allclose(task.loss(jnp.asarray(Z)), nll[known].mean(), rtol=1e-5)
    found = task.evaluate(lambda graph, x: jnp.asarray(Z))
    columns = [~MISSING[:, t] & MASKS["test_mask"] for t in range(3)]
    expected = np.nanmean([auc(Z[rows, t], LABELS[rows, t]) for t, rows in enumerate(columns)])
    np.testing.assert_allclose(found.test_score, expected, rtol=1e-5)
    right = np.mean([((Z[rows, t] > 0) == LABELS[rows, t]).mean() for t, rows in enumerate(columns)])
    accuracy = made(metric="accuracy").evaluate(lambda graph, x: jnp.asarray(Z)).test_score
    np.testing.assert_allclose(accuracy, right, rtol=1e-5)


def test_labels_that_are_not_known_leave_no_gradient():
    G = np.asarray(jax.grad(made().loss)(jnp.ones((34, 3))))
    known = ~MISSING & MASKS["train_mask"][:, None]
    assert (G[~known] == 0).all()
    assert (G[known] != 0).all()


def test_it_is_trained_over_seeds():
    task = made()
    assert task.maximise
    found = jg.train(jg.DeepGNN(depth=2, width=16, out=task.out), task, seeds=2, steps=60, learning_rate=1e-2)
    assert (found.train_loss < 0.8 * task.constant_loss()).all()


REFUSED = {
    "two": (lambda: made(LABELS * 2), "label 1 of node 0 is 2.0: loss='bce' needs 0 and 1"),
    "one column": (lambda: made(LABELS[:, 0]), r"labels has shape \(34,\), but the graph has 34 nodes: \[34, t\]"),
    "rows": (lambda: made(LABELS[:20]), r"labels has shape \(20, 3\)"),
    "metric": (lambda: made(metric="mse"), "metric='mse'"),
    "one class": (lambda: made(np.ones((34, 2))), "train_mask has one class only: metric='roc_auc' needs both"),
    "nothing": (lambda: made(np.full((34, 2), np.nan)), "train_mask has no target that is known"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    call, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        call()

import re

import jax
import numpy as np
import pytest

import jaxgnn as jg

N = 9


@pytest.fixture
def options(graphs):
    rng = np.random.default_rng(0)
    v = np.arange(N)
    return {
        "graph": jg.prepare(**graphs.ring(N)),
        "x": rng.standard_normal((N, 4)).astype(np.float32),
        "targets": rng.standard_normal((N, 2)).astype(np.float32),
        "train_mask": v < 5,
        "val_mask": (v >= 5) & (v < 7),
        "test_mask": v >= 7,
    }


def make(options):
    return jg.tasks.node_regression(options["graph"], **{k: v for k, v in options.items() if k != "graph"})


@pytest.mark.parametrize("loss", ["mse", "mae"])
@pytest.mark.parametrize("metric", ["mse", "mae", "log10_mse"])
def test_evaluation_is_errors_on_each_split_from_one_application(options, loss, metric):
    task = make(options | {"loss": loss, "metric": metric})
    prediction, calls = np.random.default_rng(1).standard_normal((N, 2)).astype(np.float32), []
    error = {
        "mse": lambda d: np.mean(d**2),
        "mae": lambda d: np.mean(np.abs(d)),
        "log10_mse": lambda d: np.log10(np.mean(d**2)),
    }
    by_split = [(prediction - task.targets)[mask] for mask in (task.train_mask, task.val_mask, task.test_mask)]
    expected = [error[loss](by_split[0]), *map(error[metric], by_split), error[loss](by_split[1])]
    metrics = task.evaluate(lambda graph, x: calls.append((graph, x)) or prediction)
    np.testing.assert_allclose(metrics, expected, rtol=1e-6)
    assert calls == [(task.graph, task.x)]
    assert task.batch(jax.random.key(0), 1) is task
    assert (task.maximise, task.full_batch, task.out) == (False, True, 2)


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_constant_loss_is_that_of_mean_and_median(options, loss):
    task = make(options | {"loss": loss})
    train = task.targets[task.train_mask]
    best = train.mean(axis=0) if loss == "mse" else np.median(train, axis=0)
    assert task.constant_loss() == pytest.approx(float(task.loss(np.tile(best, (N, 1)))), rel=1e-6)
    for seed in range(5):
        other = best + 0.1 * np.random.default_rng(seed).standard_normal(2).astype(np.float32)
        assert float(task.loss(np.tile(other, (N, 1)))) >= task.constant_loss() - 1e-7


def test_loss_sees_the_training_nodes_only(options):
    task = make(options)
    gradient = jax.jit(jax.grad(lambda p, task: task.loss(p)))(np.zeros((N, 2), np.float32), task)
    np.testing.assert_array_equal(np.abs(gradient).sum(axis=1) > 0, task.train_mask)


def test_predictions_of_another_shape_are_refused(options):
    with pytest.raises(ValueError, match=re.escape("logits have shape (9, 1), but this task needs (9, 2)")):
        make(options).loss(np.zeros((N, 1)))


ONE_NAN = np.where(np.arange(2 * N).reshape(N, 2) == 5, np.nan, 0)
REFUSED = {
    "target": ({"targets": ONE_NAN[:, 1]}, "target 0 of node 2 is nan: targets must be finite numbers"),
    "infinite": ({"targets": ONE_NAN + np.inf}, "target 0 of node 0 is inf: targets must be finite numbers"),
    "feature": ({"x": ONE_NAN}, "feature 1 of node 2 is nan: features must be finite numbers"),
    "rows": ({"targets": np.zeros((8, 2))}, "targets has shape (8, 2), but the graph has 9 nodes: rows must agree"),
    "axes": (
        {"targets": np.zeros((N, 1, 1))},
        "targets has shape (9, 1, 1): a row for each of 9 is needed, [n, t]",
    ),
    "mask": ({"val_mask": np.zeros(N, bool)}, "val_mask is empty: each split needs a node"),
    "indices": (
        {"val_mask": np.arange(N)},
        "val_mask is 2 at node 2: a mask holds 0 and 1; nodes i are the mask np.isin(np.arange(9), i)",
    ),
    "loss": ({"loss": "huber"}, "loss='huber' is not known: allowed are mse, mae"),
    "metric": ({"metric": "accuracy"}, "metric='accuracy' is not known: allowed are mse, mae, log10_mse"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(options, case):
    change, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make(options | change)

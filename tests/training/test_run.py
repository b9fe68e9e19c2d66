"""Which step of a run is chosen, when it stops, and what its history is measured on, by tasks with scripted scores."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.network.norms import BatchNorm
from jaxgnn.tasks.task import Metrics

NAN = float("nan")
LONGEST = 9


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Scripted:
    """The scores of step t are those of the script, whatever is learnt; training counts the steps.

    x is 0 and the loss -(mean logit), so that with SGD of rate 1 and no momentum the readout's bias, and with it every
    logit, is t after t updates.
    """

    graph: Any
    x: Any
    script: Metrics
    maximise: bool = field(default=True, metadata={"static": True})
    full_batch: bool = field(default=True, metadata={"static": True})

    def batch(self, key, step):
        return self

    def loss(self, logits):
        return -jnp.mean(logits)

    def evaluate(self, apply):
        t = jnp.round(jnp.mean(apply(self.graph, self.x))).astype(jnp.int32)
        return Metrics(*(jnp.asarray(scores)[t] for scores in self.script))


@pytest.fixture(scope="module")
def train():
    """A training of so many steps as the script has scores, one for the parameters after the last included."""
    graph = jg.prepare(senders=[0, 1], receivers=[1, 0], num_nodes=2)
    model = jg.DeepGNN(depth=1, width=1, out=1)

    def run(val, test, *, val_loss=None, maximise=True, full_batch=True, **options):
        t = np.arange(LONGEST, dtype=np.float32)
        losses = np.zeros(len(val)) if val_loss is None else val_loss
        # Of one length, so that all scripts are one program.
        written = (np.pad(np.asarray(a, np.float32), (0, LONGEST - len(val))) for a in (val, test, losses))
        script = Metrics(-t, t / 10, *written)
        task = Scripted(graph, np.zeros((2, 1), np.float32), script, maximise, full_batch)
        options = {"optimiser": "sgd", "momentum": 0.0, "learning_rate": 1.0, "steps": len(val) - 1} | options
        result = jg.train(model, task, seeds=1, **options)
        if options.get("evaluate_every", 1) == 1:
            assert bias(result.final_params) == steps_done(result)
        return result

    return run


def bias(params):
    return float(np.asarray(params["params"]["readout"]["bias"]).squeeze())


def steps_done(result):
    evaluated = np.flatnonzero(np.isfinite(result.history.train_loss[0]))
    stopped = evaluated.size < result.history.train_loss.shape[1]
    return evaluated[-1] if stopped else result.history.train_loss.shape[1]


# Validation is best at step 3, test at 5, training at the end.
VAL = [0.1, 0.5, 0.3, 0.8, 0.7, 0.4, 0.6, 0.2]
TEST = [0.2, 0.3, 0.1, 0.45, 0.5, 0.9, 0.15, 0.35]


@pytest.mark.parametrize(("maximise", "full_batch"), [(True, True), (True, False), (False, True)])
def test_the_best_step_is_chosen_on_the_validation_score_alone(train, maximise, full_batch):
    sign = 1 if maximise else -1
    result = train(np.multiply(sign, VAL), np.multiply(sign, TEST), maximise=maximise, full_batch=full_batch)
    best = int(np.argmax(VAL))
    assert 0 < best < len(VAL) - 1
    assert best not in (np.argmax(TEST), np.argmin(TEST), np.argmin(VAL))
    assert result.best_step[0] == bias(result.params) == best
    np.testing.assert_array_equal(result.val_score, np.float32(sign * VAL[best]))
    np.testing.assert_array_equal(result.score, np.float32(sign * TEST[best]))
    np.testing.assert_array_equal(result.train_loss, [1 - len(VAL)])
    np.testing.assert_array_equal(result.history.test_score[0], np.float32(sign * np.array(TEST[:-1])))


@pytest.mark.parametrize("best", range(4))
def test_every_step_can_be_the_best_one_the_last_update_too(train, best):
    val = np.where(np.arange(4) == best, 0.9, 0.5)
    result = train(val, [0.1, 0.2, 0.3, 0.4])
    assert result.best_step[0] == bias(result.params) == best
    assert result.score[0] == np.float32(0.1 * (best + 1))


def test_between_equal_scores_the_lower_validation_loss_is_better_then_the_earlier_step(train):
    #      0    1    2    3    4    5
    val = [0.5, 0.8, 0.8, 0.8, 0.8, 0.7]
    loss = [0.1, 0.6, 0.4, 0.4, 0.5, 0.0]
    result = train(val, [0, 1, 2, 3, 4, 5], val_loss=loss)
    assert (result.best_step[0], result.score[0]) == (2, 2)
    equal = train([0.5] * 6, [0, 1, 2, 3, 4, 5], val_loss=[0.3] * 6)
    assert (equal.best_step[0], equal.score[0]) == (0, 0)
    last = train([0.5] * 6, [0, 1, 2, 3, 4, 5], val_loss=[0.3, 0.3, 0.3, 0.3, 0.3, 0.2])
    assert (last.best_step[0], last.score[0]) == (5, 5)
    lower = train(np.negative(val), [0, 1, 2, 3, 4, 5], val_loss=loss, maximise=False)
    assert (lower.best_step[0], lower.score[0]) == (2, 2)


@pytest.mark.parametrize("maximise", [True, False])
def test_a_score_that_is_nan_is_never_the_best(train, maximise):
    val = np.array([NAN, 0.4, NAN, 0.6, NAN, NAN]) * (1 if maximise else -1)
    result = train(val, [9, 1, 9, 3, 9, 9], val_loss=[0, 1, 0, 1, 0, 0], maximise=maximise)
    assert (result.best_step[0], result.score[0]) == (3, 3)
    assert not result.failed[0]
    never = train([NAN] * 6, [0, 1, 2, 3, 4, 5], maximise=maximise)
    assert never.best_step[0] == 0
    assert np.isnan(never.val_score[0])
    assert np.isnan(never.score[0])


def test_steps_that_are_not_evaluated_are_never_the_best(train):
    val = [0.1, 0.9, 0.3, 0.9, 0.5, 0.9, 0.2, 0.9, 0.4]
    result = train(val, np.arange(9), evaluate_every=2)
    assert (result.best_step[0], result.score[0]) == (4, 4)
    np.testing.assert_array_equal(np.isfinite(result.history.val_score[0]), np.arange(8) % 2 == 0)


def test_patience_counts_from_the_best_validation_step(train):
    result = train(VAL, TEST, patience=2)
    # Best at 3, so that step 5 is the second without a better one; it is measured and takes no update.
    assert result.best_step[0] == 3
    assert steps_done(result) == bias(result.final_params) == 5
    np.testing.assert_array_equal(np.isfinite(result.history.val_score[0]), np.arange(len(VAL) - 1) <= 5)
    assert result.score[0] == np.float32(TEST[3])
    # A tie with a lower loss is better, and patience starts again.
    tied = train([0.5] * 8, TEST, val_loss=[0.5, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], patience=2)
    assert (tied.best_step[0], steps_done(tied)) == (2, 4)
    # A score that is NaN is none: patience goes on.
    broken = train([0.5, NAN, NAN, 0.9, 0.9, 0.9], [0, 1, 2, 3, 4, 5], patience=2)
    assert (broken.best_step[0], steps_done(broken)) == (0, 2)


# The training pass stands in for an evaluation only where both compute the same.

NOISY = {
    "dropout": {"dropout": 0.5},
    "input dropout": {"input_dropout": 0.5},
    "DropEdge": {"dropedge": 0.5},
    "batch norm": {"norm": "batch"},
    "DGN": {"norm": "dgn"},
    "a norm of one's own": {"norm": BatchNorm()},
    "attention dropout": {"layer": jg.layers.GAT(features=4, attention_dropout=0.5)},
    "power iteration": {"bound": "spectral"},
}
SAME = {
    "nothing": {},
    "a bound": {"bound": "frobenius", "residual": "identity"},
    "layer norm": {"norm": "layer"},
    "attention": {"layer": jg.layers.GAT(features=4)},
}


@pytest.fixture(scope="module")
def data():
    ds = csbm(num_nodes=45, num_features=4, train_per_class=5, average_degree=4.0)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


@pytest.mark.parametrize("case", [*NOISY, *SAME])
def test_the_history_is_of_an_evaluation_pass(data, case):
    """Each of these alone: the losses are those of a separate pass in evaluation mode, and another in training."""
    model = jg.DeepGNN(depth=2, width=4, out=3, **(NOISY | SAME)[case])
    assert model.same_in_training() == (case in SAME)
    result = jg.train(model, data, seeds=1, steps=1)
    variables = jax.tree.map(lambda a: jnp.asarray(a)[0], result.initial_params)
    changing = [name for name in variables if name not in ("params", "constants")]

    def passes(train):
        options = {"rngs": {"dropout": jax.random.key(1)}, "mutable": changing} if train else {}
        found = model.apply(variables, data.graph, data.x, train=train, **options)
        return data.evaluate(lambda graph, x: found[0] if train else found)

    evaluated, training = jax.jit(lambda: (passes(False), passes(True)))()
    for name in ("train_loss", "val_loss", "train_score", "val_score", "test_score"):
        assert getattr(result.history, name)[0, 0] == pytest.approx(float(getattr(evaluated, name)), rel=1e-5), name
    difference = abs(float(training.train_loss - evaluated.train_loss))
    if case != "power iteration":  # it has converged where training starts, and moves with the weights
        assert (difference > 1e-4) == (case in NOISY)


def test_the_history_of_mini_batches_is_of_whole_splits():
    """Where nothing is random in training either: a batch of it stands in for nothing."""
    rng, ring = np.random.default_rng(0), {"senders": [0, 1, 2], "receivers": [1, 2, 0], "num_nodes": 3}
    graph = jg.prepare(**ring, undirected=True)
    xs, split = list(rng.standard_normal((8, 3, 2)).astype(np.float32)), ((0, 1, 2, 3), (4, 5), (6, 7))
    task = jg.tasks.many_graphs([graph] * 8, xs, np.arange(8) % 2, split=split, batch_size=2)
    model = jg.DeepGNN(depth=1, width=4, out=2, pool="mean")
    assert model.same_in_training()
    assert not task.full_batch
    result = jg.train(model, task, seeds=1, steps=1)
    variables = jax.tree.map(lambda a: a[0], result.initial_params)
    evaluated = task.evaluate(lambda graph, x: model.apply(variables, graph, x))
    np.testing.assert_allclose([m[0, 0] for m in result.history], evaluated, rtol=1e-5)

"""A task of one's own in twenty lines, trained; and what is none refused in a sentence before anything is compiled."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Degrees:
    """To tell the logarithm of every node's degree: nodes 0-16 train, 17-25 validate, 26-33 test."""

    graph: jg.Graph
    x: jax.Array
    maximise, full_batch = False, True

    def batch(self, key, step):
        return self

    def loss(self, logits):
        return self._errors(logits)[:17].mean()

    def evaluate(self, apply):
        train, val, test = (e.mean() for e in jnp.split(self._errors(apply(self.graph, self.x)), [17, 26]))
        return jg.tasks.Metrics(train_loss=train, train_score=train, val_score=val, test_score=test, val_loss=val)

    def _errors(self, logits):
        return (logits[:, 0] - jnp.log(self.graph.propagation.degree)) ** 2


@pytest.fixture(scope="module")
def task():
    graph = jg.prepare(jg.load_dataset("karate").graph)
    return Degrees(graph, jnp.ones((34, 1)))


def test_it_is_trained_and_scored(task, tmp_path):
    model = jg.DeepGNN(layer="sage", depth=2, width=8, out=1, norm="none")
    found = jg.train(model, task, seeds=2, steps=100, learning_rate=1e-2, out=tmp_path / "run")
    assert (found.train_loss < 0.5 * found.history.train_loss[:, 0]).all()
    params = jax.tree.map(lambda a: a[0], found.params)
    logits = model.apply(params, task.graph, task.x)
    errors = (np.asarray(logits[:, 0]) - np.log(np.asarray(task.graph.propagation.degree))) ** 2
    np.testing.assert_allclose(found.score[0], errors[26:].mean(), rtol=1e-4)
    again = jg.train(model, task, seeds=2, steps=100, learning_rate=1e-2, out=tmp_path / "run")
    np.testing.assert_array_equal(again.score, found.score)


def registered(**changes):
    """The task with other attributes."""
    return jax.tree_util.register_dataclass(dataclass(frozen=True, eq=False)(type("Own", (Degrees,), changes)))


Bare = dataclasses.make_dataclass("Bare", ["graph", "x", "maximise", "full_batch"])
REFUSED = {
    "a number": (lambda t: 3, "int is no task: it has no graph"),
    "no batch": (lambda t: Bare(t.graph, t.x, True, True), "Bare is no task: it has no batch"),
    "source": (lambda t: Degrees(jg.load_dataset("karate").graph, t.x), "graph is a GraphsTuple: jaxgnn.prepare"),
    "flag": (lambda t: registered(maximise="yes")(t.graph, t.x), "maximise is 'yes': True or False is needed"),
    "no pytree": (lambda t: type("Own", (Degrees,), {})(t.graph, t.x), "is no pytree: jax.tree_util"),
    "losses": (
        lambda t: registered(loss=lambda self, logits: logits[:, 0])(t.graph, t.x),
        r"the loss of a batch is float32 of shape \(34,\): one floating-point number is needed",
    ),
    "a whole loss": (
        lambda t: registered(loss=lambda self, logits: (logits > 0).sum())(t.graph, t.x),
        "the loss of a batch is int32 of shape",
    ),
    "columns": (
        lambda t: registered(loss=lambda self, logits: (logits @ jnp.ones((5, 1))).mean())(t.graph, t.x),
        "the loss of a batch cannot be taken: ",
    ),
    "a tuple": (lambda t: registered(evaluate=lambda self, apply: (1.0, 2.0))(t.graph, t.x), "evaluate gives a tuple"),
    "scores": (
        lambda t: registered(evaluate=lambda self, apply: jg.tasks.Metrics(*[jnp.zeros(3)] * 5))(t.graph, t.x),
        r"evaluate: train_loss is float32 of shape \(3,\): one number is needed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_task_is_refused(case, task, tmp_path):
    make, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        jg.train(jg.DeepGNN(depth=1, width=4, out=1), make(task), seeds=1, steps=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

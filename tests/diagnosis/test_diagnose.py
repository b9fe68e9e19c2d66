"""`jg.diagnose` on networks with planted causes, of every way in, and what it refuses."""

import json

import flax.linen as nn
import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands.main import main
from jaxgnn.data import csbm
from jaxgnn.diagnosis.causes import from_signals, named
from jaxgnn.diagnosis.verify import compared
from jaxgnn.experiments.questions.planted import CAUSES

# The figure's smoke preset has healthy and expanding ones.
BY_SIGNALS = [name for name, (_, trained) in CAUSES.items() if not trained and name not in ("healthy", "expansion")]


@pytest.mark.parametrize("cause", BY_SIGNALS)
def test_the_planted_cause_is_named(cause):
    case = CAUSES[cause][0](0)
    found = jg.diagnose(case.model, case.params, case.task)
    assert found.cause == cause
    assert found.networks == 1
    assert found.evidence[cause].holds
    assert found.prediction is None or found.prediction.enough


@pytest.fixture(scope="module")
def task():
    ds = csbm(num_nodes=60, num_classes=2, num_features=4, seed=1, average_degree=8, train_per_class=10)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw")


@pytest.fixture(scope="module")
def expanding(task):
    return jg.DeepGNN(depth=48, width=8, out=task.out, residual="identity", init_weights="he")


def test_a_remedy_comes_true_and_its_theorem_holds(task, expanding):
    found = jg.diagnose(expanding, None, task, verify=True, steps=20, seeds=2)
    assert found.cause == "expansion"
    assert found.networks == 2
    assert found.verified.came_true
    remedied = expanding.clone(**found.prediction.options)
    healed = jg.diagnose(remedied, None, task, seeds=2)
    assert healed.cause == "healthy"
    # (1 - s)^L <= ||G^(0)|| / ||G^(L)|| <= (1 + s)^L, s = ||P||_2 c
    s, L = remedied.bound_c, remedied.depth
    for one in healed.signals:
        ratio = one.grad_norm[0] / one.grad_norm[-1]
        assert (1 - s) ** L <= ratio <= (1 + s) ** L


def test_numbers_are_medians_over_a_leading_axis_of_networks(task, expanding):
    keys = jax.random.split(jax.random.key(0), 3)
    several = jax.vmap(lambda key: expanding.init(key, task.graph, task.x))(keys)
    found = jg.diagnose(expanding, several, task)
    alone = [jg.diagnose(expanding, jax.tree.map(lambda a, i=i: a[i], several), task) for i in range(3)]
    values = [one.evidence["expansion"].value for one in alone]
    assert found.networks == 3
    assert found.evidence["expansion"].value == pytest.approx(np.median(values), rel=1e-9)
    assert found.evidence["expansion"].low == pytest.approx(min(values), rel=1e-9)


def test_without_a_task_what_needs_labels_is_not_asked(task, expanding):
    found = jg.diagnose(expanding, expanding.init(jax.random.key(0), task.graph, task.x), task.graph, task.x, task.loss)
    assert found.cause == "expansion"
    assert [found.evidence[name].holds for name in ("under_reach", "over_squashing")] == [None, None]
    assert json.loads(json.dumps(found.as_json()))["cause"] == "expansion"


class Layer(nn.Module):
    @nn.compact
    def __call__(self, graph, X):
        return X + 3 * nn.relu(graph.propagation @ nn.Dense(4)(X))


def test_layers_of_ones_own(task):
    network = jg.sequential([Layer()] * 30, encoder=nn.Dense(4), readout=nn.Dense(2))
    found = jg.diagnose(network, network.init(jax.random.key(0), task.graph, task.x), task)
    assert found.cause == "expansion"
    assert found.prediction is None
    assert "bound" in found.remedy


def test_the_distance_that_labels_need_can_be_said(task):
    model = jg.DeepGNN(depth=2, width=4, out=task.out)
    params = model.init(jax.random.key(0), task.graph, task.x)
    assert jg.diagnose(model, params, task, distance=3).cause == "under_reach"
    assert jg.diagnose(model, params, task, distance=2).cause == "healthy"


def test_a_network_that_works_is_not_said_to_fail(task, expanding):
    found = jg.diagnose(expanding, None, task, seeds=1)
    assert named(found.evidence, working=True) == ("healthy", [])


def test_a_signal_that_is_not_finite_is_expansion(task):
    model = jg.DeepGNN(depth=700, width=4, out=task.out, residual="identity", init_weights="he")
    params = jax.tree.map(lambda a: 30 * a, model.init(jax.random.key(0), task.graph, task.x))
    found = jg.diagnose(model, params, task)
    assert found.cause == "expansion"
    assert found.evidence["expansion"].value == np.inf
    assert "expansion" in from_signals(found.signals, task.out)


def test_a_run_that_fails_is_worse_than_any_that_does_not():
    from jaxgnn.diagnosis.verify import Run

    good = Run(np.ones(2), np.array([0.5, 0.6]), np.array([0.8, 0.9]))
    failed = Run(np.ones(2), np.full(2, np.inf), np.full(2, np.nan))
    assert compared(failed, good, maximise=True)[2]
    assert not compared(good, failed, maximise=True)[2]
    assert not compared(good, good, maximise=True)[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("task", None, None, {"steps": 0}), "steps=0"),
        (("task", None, None, {"distance": -1}), "distance=-1"),
        (("graph", None, None, {}), "x and loss"),
        (("graph", "x", "loss", {"verify": True}), "verify=True"),
        (("task", "x", None, {}), "x and loss go with a graph"),
        ((3, None, None, {}), "task is a int"),
    ],
)
def test_what_is_refused(task, expanding, arguments, said):
    known = {"task": task, "graph": task.graph, "x": task.x, "loss": task.loss}
    *given, options = (known.get(a, a) if isinstance(a, str) else a for a in arguments)
    with pytest.raises(ValueError, match=said):
        jg.diagnose(expanding, None, *given, **options)


def test_the_command_writes_a_page_and_ends_with_the_diagnosis(tmp_path, capsys):
    arguments = ["diagnose", "--dataset", "karate", "--depth", "24", "--width", "4", "--residual", "identity"]
    assert main([*arguments, "--init-weights", "he", "--seeds", "1", "--json", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"cause", "also", "layer", "evidence", "remedy", "page"} <= set(found)
    assert found["cause"] == "expansion"
    page = (tmp_path / "index.html").read_text()
    assert ">Diagnosis: expansion<" in page
    assert "--bound frobenius" in page
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["evidence"] == found["evidence"]
    assert saved["versions"]["jax"]


@pytest.mark.parametrize("option", [["--when", "later"], ["--distance", "0"], ["--seeds", "0"]])
def test_the_command_refuses(option, tmp_path, capsys):
    assert main(["diagnose", *option, "--out", str(tmp_path / "new")]) == 2
    assert option[0].strip("-") in capsys.readouterr().err

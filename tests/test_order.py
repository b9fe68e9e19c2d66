"""Whatever was computed before in a process, a call gives what it gives alone: float32 and float64 in any order."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

import jaxgnn as jg

sys.path.insert(0, str(Path(__file__).parent))
import order_calls

ALONE: dict[str, list[np.ndarray]] = {}


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory):
    results = tmp_path_factory.mktemp("order") / "results.pickle"
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, order_calls.__file__, results], check=True, env=environment)
    ALONE.update(pickle.loads(results.read_bytes()))


def as_alone(name):
    found, expected = order_calls.arrays(order_calls.CALLS[name]()), ALONE[name]
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.isfinite(b).all()
        eps = np.finfo(b.dtype).eps if np.issubdtype(b.dtype, np.floating) else 0
        np.testing.assert_allclose(a, b, rtol=0, atol=100 * eps * np.abs(b).max(initial=0), err_msg=name)


class Orders(RuleBasedStateMachine):
    @rule(name=st.sampled_from(sorted(order_calls.CALLS)))
    def call(self, name):
        as_alone(name)
        assert jnp.zeros(1).dtype == np.float32  # no mode is left behind

    @rule(double=st.booleans())
    def keep_a_copy(self, double):
        order_calls.keep_a_copy(double)


Orders.TestCase.settings = settings(
    max_examples=6, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestOrders = Orders.TestCase


def test_every_call_is_of_its_own_precision():
    for name, results in ALONE.items():
        if name.endswith(("_32", "_64")) and "spectrum" not in name:  # singular values are float64 always
            assert {a.dtype for a in results} == {np.dtype(f"float{name[-2:]}")}


FIRST = ("closure", "spectrum", "probe")
SECOND = ("eager", "closure", "argument", "gradient", "logits", "probe", "spectrum")


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", FIRST)
def test_pairs_in_both_orders(first, second):
    for a, b in (("64", "32"), ("32", "64")):
        order_calls.keep_a_copy(a == "64")
        as_alone(f"{first}_{a}")
        as_alone(f"{second}_{b}")


@pytest.mark.parametrize("backend", ["dense", "padded", "segment"])
def test_a_closed_over_graph_is_an_argument_in_the_other_precision(graphs, backend):
    graph = jg.prepare(**graphs.hub(), backend=backend)
    x, P = np.random.default_rng(0).standard_normal((73, 2)), graph.propagation.dense()
    times = jax.jit(lambda graph, x: graph.propagation @ x)
    closures = []
    for dtype in (np.float64, np.float32, np.float64, np.float32):
        with jax.enable_x64(dtype == np.float64):
            closures.append(jax.jit(lambda x: graph.propagation @ x))
            for found in (closures[-1](x.astype(dtype)), times(graph, x.astype(dtype))):
                assert found.dtype == dtype
                np.testing.assert_allclose(found, P @ x, rtol=0, atol=100 * np.finfo(dtype).eps)
    assert times._cache_size() == 2


def test_a_task_whose_arrays_were_closed_over():
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    task = jg.tasks.node_classification(ds, graph)
    model = jg.DeepGNN(depth=2, width=3, out=2)
    scores = [jg.train(model, task, seeds=1, steps=2).history.train_loss]
    weights = np.asarray(task.x, np.float64)
    with jax.enable_x64(True):
        kept = jax.jit(lambda h: jnp.asarray(task.x) @ h + graph.propagation @ jnp.asarray(weights) @ h)
        kept(np.ones((34, 2)))
        jg.jacobian(lambda h: jnp.tanh(graph.propagation @ h) * jnp.sum(task.x), np.ones((34, 4))).singular_values()
    scores.append(jg.train(model, task, seeds=1, steps=2).history.train_loss)
    np.testing.assert_array_equal(*scores)

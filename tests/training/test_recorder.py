"""Samples during training: what the parameters give, kept through interruptions, and nothing at all when off."""

import json
import re
from functools import partial

import jax
import numpy as np
import pytest
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.training import folder as module
from jaxgnn.training.recorder import _sample, measure

DATA = csbm(num_nodes=30, num_features=4, train_per_class=4, average_degree=4.0)
TASK = jg.tasks.node_classification(DATA, jg.prepare(DATA.graph))
MODEL = jg.DeepGNN(layer="gcn", depth=3, width=4, out=3, activation="tanh")
OPTIONS = {"steps": 25, "seeds": 2, "learning_rate": 0.02, "record_every": 10}


def train(**changes):
    options = {"model": MODEL, "task": TASK} | OPTIONS | changes
    return jg.train(options.pop("model"), options.pop("task"), **options)


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def whole():
    """The run that nothing interrupts, without a folder."""
    return train()


@pytest.fixture
def every_chunk(monkeypatch):
    """A checkpoint after every few steps."""
    monkeypatch.setattr(module, "_SECONDS", -1.0)


def norms(X):
    return np.sqrt(np.sum(np.square(X), axis=(1, 2)))


def test_a_sample_is_a_probe_of_the_parameters(whole):
    result = train(steps=20)
    np.testing.assert_array_equal(result.record.steps, [0, 10, 20])
    for at, params in ((0, result.initial_params), (-1, result.final_params)):
        for seed in range(2):
            of_seed = jax.tree.map(lambda a, i=seed: a[i], params)
            trace = jg.probe(MODEL, of_seed, TASK.graph, TASK.x, TASK.loss)
            found = jax.tree.map(lambda a, s=seed, t=at: a[s, t], result.record.samples)
            for name in ("features", "feature_grads", "errors"):
                X = np.asarray(getattr(trace, name), np.float64)
                mu = norms(X - X.mean(axis=1, keepdims=True))
                np.testing.assert_allclose(getattr(found, name).norm, norms(X), rtol=1e-4)
                np.testing.assert_allclose(getattr(found, name).mu, mu, rtol=1e-4)
                np.testing.assert_allclose(getattr(found, name).relative_mu, mu / norms(X), rtol=1e-4)
            np.testing.assert_allclose(found.weight_grads, trace.weight_grads, rtol=1e-4)
            np.testing.assert_allclose(found.loss, trace.loss, rtol=1e-5)
    # The record of more steps begins with the record of fewer.
    assert_same_bits(jax.tree.map(lambda a: a[:, :3], whole.record.samples), result.record.samples)


def test_shapes_have_seeds_then_samples_then_layers(whole):
    np.testing.assert_array_equal(whole.record.steps, [0, 10, 20])
    samples = whole.record.samples
    assert samples.features.mu.shape == samples.feature_grads.norm.shape == (2, 3, 4)
    assert samples.errors.relative_mu.shape == samples.weight_grads.shape == (2, 3, 3)
    assert samples.loss.shape == (2, 3)
    assert {a.dtype for a in jax.tree.leaves(samples)} == {np.dtype("float32")}
    np.testing.assert_allclose(samples.loss, whole.history.train_loss[:, ::10], rtol=1e-6)


def test_recording_changes_no_bit_of_the_run_and_off_compiles_nothing(whole):
    before = _sample._cache_size()
    off = train(record_every=None)
    assert _sample._cache_size() == before
    assert off.record is None
    assert_same_bits(off, whole._replace(record=None))


def test_side_by_side_gives_what_one_by_one_gives(whole):
    variables = {name: tree for name, tree in whole.final_params.items() if name != "params"}
    at = TASK, whole.final_params["params"], variables
    vmapped, mapped = (_sample(MODEL, way, False, *at) for way in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), vmapped, mapped)


@pytest.mark.parametrize("at", [0, 10, 20])
def test_an_interrupted_run_has_the_same_record(whole, tmp_path, every_chunk, at):
    def progress(done):
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path, progress=progress)
    seen = []
    assert_same_bits(train(out=tmp_path, progress=seen.append), whole)
    assert seen[0] == at
    assert_same_bits(train(out=tmp_path), whole)  # and when it has been done before
    assert json.loads((tmp_path / "config.json").read_text())["record_every"] == 10


def test_ranks_are_recorded_where_they_are_asked_for(whole, tmp_path):
    result = train(record_ranks=True, out=tmp_path, steps=20)
    samples = result.record.samples
    assert whole.record.samples.feature_ranks is None
    assert not any("ranks" in name for name in whole.record.arrays("record"))
    assert samples.feature_ranks.stable.shape == samples.feature_grad_ranks.effective.shape == (2, 3, 4)
    assert samples.error_ranks.stable.shape == (2, 3, 3)
    of_first = jax.tree.map(lambda a: a[0], result.final_params)
    trace = jg.probe(MODEL, of_first, TASK.graph, TASK.x, TASK.loss)
    expected = [jg.measures.effective_rank(X) for X in trace.feature_grads]
    np.testing.assert_allclose(samples.feature_grad_ranks.effective[0, -1], expected, rtol=1e-4)
    without = samples._replace(feature_ranks=None, feature_grad_ranks=None, error_ranks=None)
    assert_same_bits(without, jax.tree.map(lambda a: a[:, :3], whole.record.samples))
    assert_same_bits(train(record_ranks=True, out=tmp_path, steps=20), result)
    with pytest.raises(ValueError, match="holds a run with other options"):
        train(out=tmp_path, steps=20)
    result.save(tmp_path / "file")
    assert_same_bits(jg.load(tmp_path / "file").record, result.record)
    with pytest.raises(ValueError, match=r"^record_ranks=True: nothing is recorded without record_every"):
        train(record_ranks=True, record_every=None)


def test_another_interval_in_the_same_folder_is_refused(tmp_path):
    train(out=tmp_path, steps=10)
    for other in (20, None):
        with pytest.raises(ValueError, match="holds a run with other options"):
            train(out=tmp_path, steps=10, record_every=other)


def test_a_folder_without_a_record_says_nothing_of_one(tmp_path):
    train(out=tmp_path, steps=10, record_every=None)
    assert "record_every" not in json.loads((tmp_path / "config.json").read_text())


def test_a_seed_that_stopped_is_sampled_no_further():
    result = train(steps=60, learning_rate=0.05, patience=4)
    taken = np.isfinite(result.history.train_loss).sum(axis=1)
    assert taken.min() < taken.max()
    steps, loss = result.record.steps, result.record.samples.loss
    np.testing.assert_array_equal(np.isfinite(loss), steps[None] <= taken[:, None])


def test_every_point_of_a_sweep_has_its_own_record():
    points = jg.sweep(MODEL, TASK, grid={"learning_rate": [0.02, 0.2]}, seeds=1, steps=20, record_every=10)
    for point in points:
        loss = point.result.record.samples.loss
        assert loss.shape == (1, 3)
        np.testing.assert_allclose(loss[:, :2], point.result.history.train_loss[:, ::10], rtol=1e-6)
    first, second = (point.result.record.samples.loss[0] for point in points)
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_many_graphs_are_sampled_on_one_batch_graph_by_graph():
    sizes = [3, 5, 4, 6, 5, 4]
    rings = [{"senders": np.arange(n), "receivers": (np.arange(n) + 1) % n, "num_nodes": n} for n in sizes]
    graphs = [jg.prepare(**ring, undirected=False) for ring in rings]
    x = [np.random.default_rng(n).standard_normal((n, 2)).astype(np.float32) for n in sizes]
    split = (np.arange(4), np.array([4]), np.array([5]))
    task = jg.tasks.many_graphs(graphs, x, np.array([0, 1, 0, 1, 0, 1]), split=split, batch_size=2)
    model = jg.DeepGNN(depth=2, width=3, out=task.out, pool="mean")
    batch = jax.jit(task.batch)(jax.random.key(0), 0)
    variables = jax.jit(model.init)(jax.random.key(1), batch.graph, batch.x)
    constants = {name: tree for name, tree in variables.items() if name != "params"}
    found = jax.jit(partial(measure, model, task))(variables["params"], constants)
    X = np.asarray(jg.probe(model, variables, batch.graph, batch.x, Partial(loss_of, batch)).errors)
    mask, graph_of = np.asarray(batch.graph.node_mask) > 0, np.asarray(batch.graph.graph_of_nodes)
    parts = [X[:, mask & (graph_of == g)] for g in range(2)]
    mu = np.sqrt(sum(norms(part - part.mean(axis=1, keepdims=True)) ** 2 for part in parts))
    np.testing.assert_allclose(found.errors.mu, mu, rtol=1e-4)
    np.testing.assert_allclose(found.errors.norm, np.sqrt(sum(norms(part) ** 2 for part in parts)), rtol=1e-4)


def loss_of(batch, logits):
    return batch.loss(logits)


@pytest.mark.parametrize("every", [7, 0, -10, 15, 10.0, "10"])
def test_an_interval_that_is_no_multiple_of_the_chunk_is_refused(tmp_path, every):
    sentence = f"record_every={every!r}: allowed are multiples of 10: 10, 20, ..."
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        train(record_every=every, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

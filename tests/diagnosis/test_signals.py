"""The numbers that a diagnosis is read from, against their definitions in dense numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.diagnosis.signals import least_constant_loss, measured, off_ratio, spans


def prepared(pairs, n, normalisation="sym"):
    a, b = np.asarray(pairs).T
    return jg.prepare(senders=np.r_[a, b], receivers=np.r_[b, a], num_nodes=n, normalisation=normalisation)


TWO = prepared([(0, 1), (1, 2), (2, 3), (0, 2), (4, 5), (5, 6)], 8)  # components of 4 and 3 nodes, and node 7 alone


def projected(X, groups, v):
    """X less its projection on v within each group, 0 elsewhere, by dense least squares."""
    found = np.zeros_like(X)
    for group in groups:
        u = v[group][:, None]
        found[group] = X[group] - u @ np.linalg.lstsq(u, X[group], rcond=None)[0]
    return found


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_off_ratio_is_the_distance_to_the_nearest_span_of_each_component(scale):
    X = np.random.default_rng(0).standard_normal((8, 3)) + 2
    groups, inside = [[0, 1, 2, 3], [4, 5, 6]], slice(0, 7)
    both = [projected(X, groups, v) for v in (np.ones(8), np.sqrt(np.asarray(TWO.propagation.degree)))]
    wanted = min(np.linalg.norm(one[inside]) for one in both) / np.linalg.norm(X[inside])
    assert off_ratio(scale * X, spans(TWO)) == pytest.approx(wanted, rel=1e-12)


def test_signals_that_the_graph_keeps_have_ratio_0_component_by_component():
    rows = np.array([1.0] * 4 + [-3.0] * 3 + [7.0])[:, None] * np.array([[1.0, 2.0]])
    assert off_ratio(rows, spans(TWO)) < 1e-15
    assert off_ratio(np.sqrt(np.asarray(TWO.propagation.degree))[:, None] * rows, spans(TWO)) < 1e-15


@pytest.mark.parametrize("X", [np.zeros((8, 2)), np.full((8, 2), np.nan), np.full((8, 2), np.inf)])
def test_no_ratio_of_nothing(X):
    assert np.isnan(off_ratio(X, spans(TWO)))


def test_a_graph_without_edges_has_no_ratio():
    alone = jg.prepare(senders=np.zeros(0, int), receivers=np.zeros(0, int), num_nodes=3)
    assert np.isnan(off_ratio(np.ones((3, 2)), spans(alone)))


def test_the_best_constant_predictor_has_the_labels_entropy_or_variance():
    labels = jnp.array([0, 0, 1, 2, 2, 2])
    share = np.array([2, 1, 3]) / 6

    def cross_entropy(z):
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), labels[:, None], axis=1))

    y = jnp.arange(6.0)[:, None]
    with jax.enable_x64(True):
        assert least_constant_loss(cross_entropy, (6, 3)) == pytest.approx(-np.sum(share * np.log(share)), abs=1e-9)
        assert least_constant_loss(lambda z: jnp.mean((z - y) ** 2), (6, 1)) == pytest.approx(35 / 12, abs=1e-9)


@pytest.fixture(scope="module")
def task():
    ds = csbm(num_nodes=40, num_classes=2, num_features=4, seed=3, train_per_class=8)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw")


def test_signals_are_those_of_the_network_written_out(task):
    model = jg.DeepGNN(depth=3, width=5, out=2, residual="identity")
    params = jax.tree.map(np.asarray, model.init(jax.random.key(1), task.graph, task.x))
    found = measured(model, params, task.graph, task.x, task.loss)

    P, x = task.graph.propagation.dense(), np.asarray(task.x, np.float64)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    W = jax.tree.leaves(p["stack"]["layer"])[0]
    with jax.enable_x64(True):

        def after(X, l):
            return X if l == 3 else after(X + jax.nn.relu(P @ X @ W[l]), l + 1)

        def loss(X, l):
            return task.loss(after(X, l) @ p["readout"]["kernel"] + p["readout"]["bias"][None])

        X = [x @ p["encoder"]["kernel"] + p["encoder"]["bias"][None]]
        for l in range(3):
            X.append(np.asarray(X[-1] + jax.nn.relu(P @ X[-1] @ W[l])))
        G = [np.asarray(jax.grad(loss)(jnp.asarray(X[l]), l)) for l in range(4)]
        E = np.asarray(jax.grad(task.loss)(jnp.asarray(X[3] @ p["readout"]["kernel"] + p["readout"]["bias"][None])))
    np.testing.assert_allclose(found.feature_norm, [np.linalg.norm(a) for a in X], rtol=1e-10)
    np.testing.assert_allclose(found.grad_norm, [np.linalg.norm(a) for a in G], rtol=1e-10)
    sigma = [np.linalg.svd(a, compute_uv=False) for a in X]
    ranks = [np.exp(-np.sum(s / s.sum() * np.log(s / s.sum()))) for s in sigma]
    np.testing.assert_allclose(found.feature_rank, ranks, rtol=1e-8)
    dead = [(P @ X[l] @ W[l] <= 0).all(axis=0).mean() for l in range(3)]
    np.testing.assert_allclose(found.dead, dead, atol=1e-12)
    readout = np.linalg.norm(X[3].T @ E) / np.linalg.norm(X[3]) / np.linalg.norm(E)
    assert found.readout_gradient == pytest.approx(readout, rel=1e-9)
    assert found.error_mean == pytest.approx(np.linalg.norm(E.sum(0)) / np.linalg.norm(E, axis=1).sum(), rel=1e-9)
    assert found.passed == pytest.approx(np.linalg.norm(G[3]) / np.linalg.norm(E), rel=1e-9)
    assert found.constant_loss == pytest.approx(task.constant_loss(), abs=1e-8)

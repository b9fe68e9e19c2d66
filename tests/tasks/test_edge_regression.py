"""Edge regression: no edge in two splits, predictions and losses by hand, and training."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.tasks.pairs import pair_scores

G = nx.Graph(nx.karate_club_graph().edges)
GRAPH = jg.from_networkx(G, nodelist=sorted(G))
S, R = np.asarray(GRAPH.senders), np.asarray(GRAPH.receivers)
SUMS = (S + R) / 10.0  # the same both ways
RNG = np.random.default_rng(0)


def parts(task):
    return [np.asarray(m) for m in (task.train_mask, task.val_mask, task.test_mask)]


def test_an_undirected_edge_is_one_edge_in_one_split():
    task = jg.tasks.edge_regression(GRAPH, SUMS, seed=1)
    assert task.symmetric
    assert task.pairs.shape == (78, 2)
    assert np.sum(parts(task), axis=0).tolist() == [1] * 78
    np.testing.assert_allclose(task.targets[:, 0], np.asarray(task.pairs).sum(axis=1) / 10)
    assert [m.sum() for m in parts(task)] == [47, 16, 15]


def test_directed_edges_between_the_same_nodes_are_drawn_together():
    senders, receivers = np.concatenate([S, S[:20]]), np.concatenate([R, R[:20]])
    graph = jg.from_edges(edge_index=np.stack([senders, receivers]), num_nodes=34)
    task = jg.tasks.edge_regression(graph, senders - receivers * 1.0, seed=2)
    assert not task.symmetric
    pairs = np.sort(np.asarray(task.pairs), axis=1)
    split = np.argmax(parts(task), axis=0)
    for pair in np.unique(pairs, axis=0):
        assert len(set(split[(pairs == pair).all(axis=1)])) == 1


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("scoring", ["dot", "bilinear", "concatenation"])
def test_scores_of_pairs_are_those_of_a_loop(scoring, symmetric):
    width = {"dot": 3, "bilinear": 6, "concatenation": 2}[scoring]
    Z, pairs = RNG.standard_normal((5, 2 * width)), [(0, 1), (4, 2), (3, 3)]

    def one(u, v, t):
        a, b = Z[u, t * width : (t + 1) * width], Z[v, t * width : (t + 1) * width]
        if scoring == "dot":
            return a @ b
        half = width // 2
        return a[0] + b[1] if scoring == "concatenation" else a[:half] @ b[half:]

    expected = [[(one(u, v, t) + one(v, u, t)) / 2 if symmetric else one(u, v, t) for t in (0, 1)] for u, v in pairs]
    found = pair_scores(jnp.asarray(Z), jnp.asarray(pairs), scoring, 2, symmetric=symmetric)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_losses_are_means_over_known_targets_alone():
    targets = np.stack([SUMS, np.where(S + R > 40, np.nan, SUMS**2)], axis=1)
    task = jg.tasks.edge_regression(GRAPH, targets, scoring="bilinear", rank=2)
    Z = RNG.standard_normal((34, task.out))
    found = np.asarray(task.predictions(jnp.asarray(Z)))
    u, v = np.asarray(task.pairs).T
    known = np.stack([np.ones(78, bool), u + v <= 40], axis=1)
    exact = np.stack([(u + v) / 10, ((u + v) / 10) ** 2], axis=1)
    train, _, test = parts(task)
    for mask, value in (
        (train, task.loss(jnp.asarray(Z))),
        (test, task.evaluate(lambda graph, x: jnp.asarray(Z)).test_score),
    ):
        rows = known & mask[:, None]
        np.testing.assert_allclose(value, ((found - exact) ** 2)[rows].mean(), rtol=1e-4)
    grad = np.asarray(jax.grad(lambda t: task.loss(jnp.asarray(Z) * t))(1.0))
    assert np.isfinite(grad)


@pytest.mark.parametrize("scoring", ["bilinear", "concatenation"])
def test_it_is_trained_over_seeds(scoring):
    task = jg.tasks.edge_regression(GRAPH, SUMS, scoring=scoring)
    model = jg.DeepGNN(layer="sage", depth=2, width=16, out=task.out)
    found = jg.train(model, task, seeds=2, steps=150, learning_rate=1e-2)
    assert (found.train_loss < 0.2 * task.constant_loss()).all()


def test_bilinear_scores_of_links():
    task = jg.tasks.link_prediction(GRAPH, scoring="bilinear", out=8)
    Z = jnp.asarray(RNG.standard_normal((34, 8)))
    u, v = np.asarray(task.pairs).T
    expected = (np.sum(Z[u, :4] * Z[v, 4:], axis=1) + np.sum(Z[v, :4] * Z[u, 4:], axis=1)) / 2
    np.testing.assert_allclose(task.scores(Z), expected, rtol=1e-4)


REFUSED = {
    "length": (lambda: jg.tasks.edge_regression(GRAPH, SUMS[:5]), r"targets has shape \(5, 1\): a row for each of 156"),
    "nan": (lambda: jg.tasks.edge_regression(GRAPH, SUMS * np.nan), "target 0 of edge 0 is nan"),
    "scoring": (lambda: jg.tasks.edge_regression(GRAPH, SUMS, scoring="max"), "scoring='max'"),
    "weights": (
        lambda: jg.tasks.edge_regression(GRAPH._replace(edges={"weight": SUMS}), SUMS),
        "weights and features may tell the targets",
    ),
    "fractions": (lambda: jg.tasks.edge_regression(GRAPH, SUMS, fractions=(0.9, 0.9, 0.1)), "fractions"),
    "option": (lambda: jg.tasks.edge_regression(GRAPH, SUMS, senders=3), "senders"),
    "outputs": (
        lambda: (t := jg.tasks.edge_regression(GRAPH, SUMS)).loss(jnp.ones((34, t.out + 1))),
        "has shape|have shape|shape",
    ),
    "links": (lambda: jg.tasks.link_prediction(GRAPH, scoring="bilinear", out=7), "out=7: an even number"),
    "kind": (lambda: jg.tasks.link_prediction(GRAPH, scoring="concatenation"), "scoring='concatenation'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    call, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        call()

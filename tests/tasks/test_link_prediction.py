"""Link prediction: no edge leaks, pairs without one are none, scores against plain loops, and training."""

import re

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.tasks.link_prediction import _without_edge, link_score


def made(**options):
    G = nx.Graph(nx.karate_club_graph().edges)
    return jg.tasks.link_prediction(jg.from_networkx(G, nodelist=sorted(G)), **options)


def test_every_edge_is_a_message_or_asked_for_once_and_pairs_without_one_are_none():
    G = nx.Graph(nx.karate_club_graph().edges)
    task = made(seed=3, negatives=2, fractions=(0.5, 0.2, 0.2, 0.1))
    messages = {frozenset(e) for e in zip(task.graph.senders.tolist(), task.graph.receivers.tolist(), strict=True)}
    assert task.graph.num_edges == 2 * len(messages)
    positive = task.joined[:, 0] == 1
    asked = [frozenset(p) for p in task.pairs[positive].tolist()]
    assert len(set(asked)) == len(asked)
    assert not messages & set(asked)
    assert messages | set(asked) == {frozenset(e) for e in G.edges}
    others = [frozenset(p) for p in task.pairs[~positive].tolist()]
    assert len(set(others)) == len(others) == 2 * len(asked)
    assert all(len(p) == 2 and not G.has_edge(*p) for p in others)
    masks = np.stack([task.train_mask, task.val_mask, task.test_mask])
    assert (masks.sum(axis=0) == 1).all()
    for mask, share in zip(masks, (0.2, 0.2, 0.1), strict=True):
        assert abs((mask & positive).sum() - share * 78) <= 1
        assert (mask & ~positive).sum() == 2 * (mask & positive).sum()
    again = made(seed=3, negatives=2, fractions=(0.5, 0.2, 0.2, 0.1))
    np.testing.assert_array_equal(task.pairs, again.pairs)
    assert not np.array_equal(task.pairs, made(seed=4, negatives=2, fractions=(0.5, 0.2, 0.2, 0.1)).pairs)


def test_pairs_without_an_edge_in_a_large_graph_are_drawn_uniformly():
    rng = np.random.default_rng(0)
    edges = np.stack([np.zeros(5000, int), np.arange(1, 5001)], axis=1)  # a star
    pairs = _without_edge(rng, edges, 6000, 4000)
    assert len(np.unique(pairs, axis=0)) == 4000
    assert (pairs[:, 0] < pairs[:, 1]).all()
    hub = pairs[pairs[:, 0] == 0]
    assert (hub[:, 1] > 5000).all()
    assert abs(pairs.mean() - 3000) < 60  # of 4,000 pairs of uniform nodes: 4 standard errors are 78


def by_loop(metric, scores, joined, mask):
    positive, negative = scores[mask & (joined > 0)], scores[mask & (joined == 0)]
    if metric == "mrr":
        ranks = [1 + (negative > s).sum() + 0.5 * (negative == s).sum() for s in positive]
        return np.mean([1 / r for r in ranks])
    if metric.startswith("hits@"):
        K = int(metric[5:])
        return 1.0 if len(negative) < K else np.mean(positive > np.sort(negative)[-K])
    if metric == "average_precision":  # the mean over edges of the share of edges among what scores as high
        at_least = [mask & (scores >= s) for s in positive]
        return np.mean([(joined[chosen] > 0).mean() for chosen in at_least])
    return np.mean([(s > negative).sum() + 0.5 * (s == negative).sum() for s in positive]) / len(negative)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "mrr", "hits@1", "hits@3", "hits@50"])
@pytest.mark.parametrize("tied", [False, True])
def test_scores_are_those_of_a_loop(metric, tied):
    rng = np.random.default_rng(2)
    scores = rng.standard_normal(60).astype(np.float32)
    scores = np.round(scores) if tied else scores
    joined, mask = (rng.random(60) < 0.4).astype(np.float32), rng.random(60) < 0.7
    found = link_score(metric, jnp.asarray(scores), jnp.asarray(joined), jnp.asarray(mask))
    np.testing.assert_allclose(found, by_loop(metric, scores, joined, mask), rtol=1e-6)
    scores[np.flatnonzero(mask)[0]] = np.nan
    assert np.isnan(link_score(metric, jnp.asarray(scores), jnp.asarray(joined), jnp.asarray(mask)))


@pytest.mark.parametrize("metric", ["roc_auc", "mrr", "hits@5"])
def test_it_trains_over_seeds_in_one_program(metric):
    ds = jg.load_dataset("csbm")
    task = jg.tasks.link_prediction(ds, metric=metric, out=8)
    np.testing.assert_array_equal(task.x, ds.x)
    model = jg.DeepGNN(depth=2, width=16, out=task.out, residual="identity")
    found = jg.train(model, task, seeds=2, steps=60, learning_rate=1e-2)
    assert (found.train_loss < found.history.train_loss[:, 0]).all()
    logits = model.apply(jax.tree.map(lambda a: a[0], found.params), task.graph, task.x)
    scores, joined = np.asarray(task.scores(logits)), task.joined[:, 0]
    np.testing.assert_allclose(found.score[0], by_loop(metric, scores, joined, task.test_mask), rtol=1e-4)
    s = scores.astype(np.float64)  # -log p = log(1 + e^-s), -log(1 - p) = log(1 + e^s)
    nll = np.logaddexp(0, np.where(joined > 0, -s, s))[task.train_mask].mean()
    np.testing.assert_allclose(task.loss(logits), nll, rtol=1e-4)
    assert task.constant_loss() == pytest.approx(np.log(2))


REFUSED = {
    "metric": ({"metric": "hits@0"}, "metric='hits@0': allowed are roc_auc, average_precision, mrr and hits@K"),
    "fractions": ({"fractions": (0.5, 0.5)}, "fractions=(0.5, 0.5): allowed are four numbers of at least 0"),
    "empty": ({"fractions": (1.0, 0, 0, 0)}, "of 78 edges leave [78, 0, 0, 0]: every split needs one"),
    "negatives": ({"negatives": 100}, "pairs without an edge are asked for, and there are 483: fewer negatives go"),
    "none": ({"negatives": 0}, "negatives=0"),
    "option": ({"senders": [0]}, "option 'senders' is not known: allowed are normalisation, loops, backend, hops"),
    "x": ({"x": np.ones((3, 2))}, "features must have 34 rows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(sentence)):
        made(**options)


def test_graphs_that_are_refused():
    with pytest.raises(ValueError, match="nodes 0 and 1 have an edge one way: an undirected graph is needed"):
        jg.tasks.link_prediction(jg.from_edges(pairs=[[0, 1], [1, 2], [2, 1]]))
    with pytest.raises(ValueError, match="the edges' weights and features would be lost"):
        jg.tasks.link_prediction(nx.karate_club_graph())

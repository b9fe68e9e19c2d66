import re
from functools import partial

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg

make = partial(jg.tasks.ring_transfer, num_train=50, num_val=20, num_test=30)


def ring_of(task, number):
    """Graph and features of one graph of a task, without padding."""
    real = np.asarray(task.graphs.node_mask)[number % task.graphs.node_mask.shape[0]] > 0
    pairs = np.stack([task.graphs.senders, task.graphs.receivers])[:, number % len(task.graphs.senders)]
    edge = np.asarray(task.graphs.edge_mask)[number % len(task.graphs.edge_mask)] > 0
    return int(real.sum()), pairs[:, edge].T, np.asarray(task.features[number])[real]


def copies_the_opposite_node(n, graph, x):
    """What an oracle would say: every node outputs the features of the node half a ring further."""
    return jnp.roll(x.reshape(-1, n, x.shape[1]), -(n // 2), axis=1).reshape(x.shape)


@pytest.mark.parametrize("n", [8, 9, 20])
def test_the_class_is_what_the_opposite_node_holds_and_the_source_alone_counts(n):
    task = make(n)
    for number in range(100):
        nodes, pairs, x = ring_of(task, number)
        assert nodes == n
        assert nx.is_isomorphic(nx.Graph(pairs.tolist()), nx.cycle_graph(n))
        assert nx.shortest_path_length(nx.Graph(pairs.tolist()), 0, n // 2) == n // 2
        assert x[n // 2].argmax() == task.targets[number, 0]
        assert x[n // 2].sum() == 1
        np.testing.assert_array_equal(x[0], 0)
        np.testing.assert_array_equal(np.delete(x, [0, n // 2], axis=0), 1)
        np.testing.assert_array_equal(task.counted[number], np.arange(n) == 0)


def test_copying_is_right_and_a_constant_is_right_in_one_of_five():
    task = make(12)
    metrics = task.evaluate(partial(copies_the_opposite_node, 12))
    np.testing.assert_array_equal([metrics.train_score, metrics.val_score, metrics.test_score], 1.0)
    constant = jax.jit(lambda label: task.evaluate(lambda graph, x: jnp.tile(jnp.eye(5)[label], (len(x), 1))))
    for label in range(5):
        metrics = constant(label)
        np.testing.assert_allclose([metrics.train_score, metrics.val_score, metrics.test_score], 0.2, rtol=1e-6)
    assert task.constant_loss() == pytest.approx(np.log(5))


def test_no_row_but_the_sources_has_a_loss_or_a_gradient():
    task = make(10, batch_size=7)
    batch = task.batch(jax.random.key(0), 7)  # the last of an epoch: 50 = 7 * 7 + 1
    assert np.asarray(batch.mask).nonzero()[0].tolist() == [0]
    logits = np.random.default_rng(0).standard_normal((70, 5)).astype(np.float32)
    z = logits[0].astype(np.float64)
    expected = np.log(np.exp(z).sum()) - z[int(batch.targets[0])]
    assert float(batch.loss(logits)) == pytest.approx(expected, rel=1e-6)
    gradient = jax.grad(batch.loss)(jnp.asarray(logits))
    np.testing.assert_array_equal(gradient[1:], 0)
    assert np.abs(gradient[0]).min() > 0
    assert np.isfinite(batch.loss(np.where(np.arange(70)[:, None] > 0, np.nan, logits)))


def test_splits_and_seeds_are_distinct_and_a_seed_is_the_same_task():
    tasks = [make(8, seed=seed) for seed in (0, 0, 1)]
    jax.tree.map(np.testing.assert_array_equal, tasks[0], tasks[1])
    labels = [np.asarray(task.targets)[:, 0] for task in tasks]
    assert (labels[0] != labels[2]).any()
    assert (labels[0][50:70] != labels[0][:20]).any()
    assert [len(part) for part in (tasks[0].train, tasks[0].val, tasks[0].test)] == [50, 20, 30]
    assert np.unique(np.concatenate([tasks[0].train, tasks[0].val, tasks[0].test])).size == 100
    for part in (tasks[0].train, tasks[0].val, tasks[0].test):
        np.testing.assert_array_equal(np.bincount(labels[0][part]), len(part) // 5)
    default = jg.tasks.ring_transfer(10)
    assert [len(part) for part in (default.train, default.val, default.test)] == [1000, 100, 100]


def test_a_mixture_of_sizes_has_every_size_and_class_equally_often():
    task = make(sizes=range(10, 31, 2), num_train=110, num_val=11, num_test=11)
    found = [ring_of(task, number) for number in range(110)]
    for n, pairs, x in found:
        assert nx.is_isomorphic(nx.Graph(pairs.tolist()), nx.cycle_graph(n))
        np.testing.assert_array_equal(np.delete(x, [0, n // 2], axis=0), 1)
    cells = [(n, int(x[n // 2].argmax())) for n, _, x in found]
    assert sorted(cells) == sorted([(n, c) for n in range(10, 31, 2) for c in range(5)] * 2)
    assert [int(task.targets[i, 0]) for i in range(110)] == [label for _, label in cells]


def test_sizes_are_mixed_with_as_many_classes():
    task = make(sizes=(8, 12), num_classes=2, num_train=12, num_val=4, num_test=4)
    cells = [(n, int(x[n // 2].argmax())) for n, _, x in (ring_of(task, number) for number in range(12))]
    assert sorted(cells) == sorted([(n, c) for n in (8, 12) for c in range(2)] * 3)


def test_a_network_sees_the_class_from_half_the_ring_on_and_not_before():
    n = 6
    task = make(n)

    def spread(depth):
        """Largest difference of the source's logits between graphs with different classes."""
        model = jg.DeepGNN(depth=depth, width=8, out=5, activation="tanh")
        graph, x = task.graph, task.x
        both = jax.jit(lambda key: model.apply(model.init(key, graph, x), graph, x))
        logits = np.asarray(both(jax.random.key(0))).reshape(-1, n, 5)[:, 0]
        return np.ptp(logits, axis=0).max()

    assert spread(2) < 1e-6
    assert spread(3) > 1e-4


def test_is_trained_with_the_pairs_at_each_distance():
    task = make(6, hops=3, batch_size=10)
    model = jg.DeepGNN(depth=3, width=8, out=task.out, residual="identity", khop=True)
    result = jg.train(model, task, seeds=2, steps=10, batching="vmap", evaluate_every=5)
    assert np.isfinite(result.train_loss).all()
    assert (result.train_loss < result.history.train_loss[:, 0]).all()


REFUSED = {
    "n": ({"n": 2}, "n=2: allowed are 3 and more, whole"),
    "both": ({"n": 8, "sizes": [8]}, "n=8 and sizes=[8] are both given: allowed is one of them"),
    "sizes": ({"sizes": [8, 2]}, "sizes=2: allowed are 3 and more, whole"),
    "no sizes": ({"sizes": []}, "sizes is empty: at least one ring is needed"),
    "kind": ({"kind": "line"}, "kind='line' is not known: allowed are ring, crossed_ring"),
    "classes": ({"num_classes": 1}, "num_classes=1: allowed are 2 and more, whole"),
    "train": ({"num_train": 4}, "num_train=4: allowed are 5 and more, whole"),
    "val": ({"num_val": 0}, "num_val=0: allowed are 1 and more, whole"),
    "seed": ({"seed": -1}, "seed=-1: allowed are 0 and more, whole"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_out_of_range_are_refused_in_one_sentence(case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.tasks.ring_transfer(**options)


def counted_by_hand(level="node", **options):
    graphs = [jg.prepare(senders=[0, 1], receivers=[1, 0], num_nodes=2)] * 3
    targets = [np.array([c, 1 - c]) if level == "node" else c for c in (0, 1, 0)]
    split = ((0,), (1,), (2,))
    return jg.tasks.many_graphs(graphs, [np.eye(2)] * 3, targets, split=split, batch_size=1, level=level, **options)


def test_masks_that_do_not_fit_are_refused_in_one_sentence():
    for options, sentence in (
        ({"level": "graph", "counts": [np.ones(2, bool)] * 3}, "counts goes with level='node', not level='graph'"),
        ({"counts": [np.ones(2, bool)]}, "counts has length 1 for 3 graphs: one for each is needed"),
        ({"counts": [np.full(2, 0.5)] * 3}, "counts of graph 0 is 0.5 at node 0: a mask holds 0 and 1"),
        (
            {"counts": [np.ones(2, bool), np.zeros(2, bool), np.ones(2, bool)]},
            "the val split has no nodes that count: each split needs one",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            counted_by_hand(**options)

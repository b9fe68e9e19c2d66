import re
from functools import partial

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.tasks.graph_transfer import transfer_graph

make = partial(jg.tasks.graph_transfer, num_train=12, num_val=5, num_test=7)
KINDS = ("line", "ring", "crossed_ring")


def nodes_of(kind, distance):
    return distance + 1 if kind == "line" else 2 * distance


@pytest.mark.parametrize("distance", [3, 5, 10, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_source_and_target_are_as_far_apart_as_is_said(kind, distance):
    n = nodes_of(kind, distance)
    graph = nx.Graph(jg.tasks.transfer_pairs(kind, n).tolist())
    assert sorted(graph) == list(range(n))
    assert nx.shortest_path_length(graph, 0, distance) == distance
    assert nx.number_of_selfloops(graph) == 0
    degrees = sorted({d for _, d in graph.degree})
    assert degrees == {"line": [1, 2], "ring": [2], "crossed_ring": [2, 3, 4] if n > 6 else [2, 3]}[kind]


def test_the_crossed_ring_has_the_edges_of_the_public_generator():
    for n in range(4, 21, 2):
        expected = {(i, i + 1) for i in range(n - 1)} | {(0, n - 1)}
        for i in range(n // 2):
            expected.add((i, n - 1 - i))
            if n + 1 - i < n:
                expected.add((i, n + 1 - i))
        found = jg.tasks.transfer_pairs("crossed_ring", n)
        assert {frozenset(pair) for pair in found.tolist()} == {frozenset(pair) for pair in expected}
        assert len(found) == len({frozenset(pair) for pair in found.tolist()})


@pytest.mark.parametrize("kind", KINDS)
def test_the_two_ends_are_swapped_and_nothing_else(kind):
    distance = 4
    task = make(kind, distance)
    x, y = np.asarray(task.features)[..., 0], np.asarray(task.targets)[..., 0]
    assert x.shape == (24, nodes_of(kind, distance))
    np.testing.assert_array_equal(x[:, [0, distance]], [[1, 0]] * 24)
    np.testing.assert_array_equal(y[:, [0, distance]], [[0, 1]] * 24)
    others = np.delete(np.arange(x.shape[1]), [0, distance])
    np.testing.assert_array_equal(x[:, others], y[:, others])
    assert x.min() >= 0
    assert x.max() <= 1
    assert np.unique(x[:, others]).size == x[:, others].size  # no sample twice, in no split
    assert abs(x[:, others].mean() - 0.5) < 4 / np.sqrt(12 * x[:, others].size)


@pytest.mark.parametrize("kind", KINDS)
def test_copying_scores_two_in_n_and_a_node_wise_function_is_perfect(kind):
    task = make(kind, 5)
    copied = task.evaluate(lambda graph, x: x)
    perfect = task.evaluate(lambda graph, x: jnp.where(x == 1, 0, jnp.where(x == 0, 1, x)))
    for scores, expected in ((copied, 2 / nodes_of(kind, 5)), (perfect, 0)):
        np.testing.assert_allclose([scores.train_score, scores.val_score, scores.test_score], expected, rtol=1e-6)
    y = np.asarray(task.targets, np.float64)[:12]
    assert task.constant_loss() == pytest.approx(y.var(), rel=1e-6)


def test_a_seed_is_a_task_and_sizes_are_those_of_the_paper():
    tasks = [make("ring", 3, seed=seed) for seed in (0, 0, 1)]
    jax.tree.map(np.testing.assert_array_equal, tasks[0], tasks[1])
    assert (np.asarray(tasks[0].features) != np.asarray(tasks[2].features)).any()
    default = jg.tasks.graph_transfer("line", 3)
    assert [len(part) for part in (default.train, default.val, default.test)] == [1000, 100, 100]


def test_one_graph_shared_by_all_samples_gives_what_copies_of_it_give():
    task = make("crossed_ring", 3, batch_size=5)
    assert task.graphs.senders.shape[0] == 1
    copies = jg.tasks.many_graphs(
        [transfer_graph("crossed_ring", 6) for _ in range(24)],
        list(task.features),
        list(task.targets),
        split=(task.train, task.val, task.test),
        batch_size=5,
        level="node",
        loss="mse",
        metric="mse",
    )
    assert copies.graphs.senders.shape[0] == 24
    assert task.constant_loss() == copies.constant_loss()
    keys = jax.random.split(jax.random.key(0), 2)
    for step in range(4):
        ours, theirs = (jax.vmap(t.batch, (0, None))(keys, step) for t in (task, copies))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)

    def apply(graph, x):
        return jnp.sin(graph.propagation @ x)

    np.testing.assert_allclose(task.evaluate(apply), copies.evaluate(apply), rtol=1e-6)


def test_seeds_side_by_side_share_the_graph():
    task = make("ring", 4)
    keys = jax.random.split(jax.random.key(0), 2)
    out_axes = jax.tree.map(lambda a: None, task.batch(keys[0], 0).graph)
    jax.vmap(lambda key: task.batch(key, 0).graph, out_axes=out_axes)(keys)  # refused if it depended on the seed


def test_is_trained():
    task = make("ring", 3, batch_size=4)
    model = jg.DeepGNN(depth=3, width=8, out=task.out, residual="identity")
    result = jg.train(model, task, seeds=2, steps=20, evaluate_every=10, learning_rate=0.01)
    assert (result.train_loss < result.history.train_loss[:, 0]).all()
    assert not task.maximise


REFUSED = {
    "kind": ({"kind": "star"}, "kind='star' is not known: allowed are line, ring, crossed_ring"),
    "distance": ({"distance": 0}, "distance=0: allowed are 1 and more, whole"),
    "ring": ({"kind": "ring", "distance": 1}, "distance=1: allowed are 2 and more, whole"),
    "fraction": ({"distance": 2.5}, "distance=2.5: allowed are 1 and more, whole"),
    "test": ({"num_test": 0}, "num_test=0: allowed are 1 and more, whole"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_out_of_range_are_refused_in_one_sentence(case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.tasks.graph_transfer(**options)

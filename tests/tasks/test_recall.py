import itertools
import re
from functools import partial

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.tasks.recall import CENTRE, FIRST, QUERY, recall_pairs, recall_selectivity

make = partial(jg.tasks.associative_recall, neighbours=4, num_train=20, num_val=5, num_test=17, batch_size=4)


def read(x, neighbours=4):
    """Keys, values and the query of one graph, from its features alone."""
    keys, values = x[FIRST:, :neighbours], x[FIRST:, neighbours:]
    assert not x[:QUERY].any()
    assert not x[QUERY, neighbours:].any()
    np.testing.assert_array_equal(keys.sum(axis=1), 1)
    np.testing.assert_array_equal(values.sum(axis=1), 1)
    return keys.argmax(axis=1), values.argmax(axis=1), int(x[QUERY, :neighbours].argmax())


def test_the_answer_is_the_value_of_the_neighbour_with_the_key_that_is_asked_for():
    found = make(num_classes=3)
    for x, y, counted in zip(found.task.features, found.task.targets, found.task.counted, strict=True):
        keys, values, query = read(np.asarray(x))
        assert sorted(keys) == [0, 1, 2, 3]
        assert y[CENTRE] == values[list(keys).index(query)]
        np.testing.assert_array_equal(np.flatnonzero(counted), [CENTRE])
    assert found.task.out == 3


def test_neighbours_are_one_hop_away_and_the_query_two():
    graph = nx.Graph(recall_pairs(4).tolist())
    hops = nx.single_source_shortest_path_length(graph, CENTRE)
    assert hops == {0: 0, 1: 1, 2: 2} | dict.fromkeys(range(3, 7), 1)
    own = make().example.graph.to_networkx().to_undirected()
    assert {frozenset(edge) for edge in own.edges()} == {frozenset(edge) for edge in graph.edges}


def test_within_one_hop_is_the_best_of_all_guesses():
    """By enumeration of all values of three neighbours and all queries."""
    best = 0.0
    for values in itertools.product(range(2), repeat=3):
        best += max(np.bincount(values, minlength=2)) / 3 / 8
    found = make(neighbours=3, num_classes=2, num_test=2000)
    assert abs(found.within[1].test - best) < 4 * np.sqrt(best * (1 - best) / 2000)
    said = float(re.search(r"probability ([\d.]+)\.", found.facts[1])[1])
    assert abs(said - best) < 0.02
    x = np.asarray(found.task.features)[found.task.test]
    counts = x[:, FIRST:, 3:].sum(axis=1)
    assert said == pytest.approx(np.mean(counts.max(axis=1)) / 3, abs=1e-4)
    right = counts.argmax(axis=1) == np.asarray(found.task.targets)[found.task.test, CENTRE]
    assert found.within[1].test == pytest.approx(right.mean())


def test_the_oracle_is_right_and_the_constant_has_its_share():
    found = make(num_train=200)
    assert found.oracle[1:] == (1, 1, 1)
    y = np.asarray(found.task.targets)[:, CENTRE]
    shares = np.bincount(y[found.task.train]) / 200
    assert found.constant.train == pytest.approx(shares.max())
    entropy = -np.sum(shares * np.log(shares))
    assert found.task.constant_loss() == pytest.approx(entropy, rel=1e-6)


def test_a_seed_is_a_benchmark_with_splits_of_their_own():
    first, again, other = make(), make(), make(seed=1)
    jax.tree.map(np.testing.assert_array_equal, first.task, again.task)
    assert (np.asarray(first.task.features) != np.asarray(other.task.features)).any()
    parts = (first.task.train, first.task.val, first.task.test)
    assert [len(part) for part in parts] == [20, 5, 17]
    assert sorted(np.concatenate(parts)) == list(range(42))


def test_selective_sensitivity_is_that_of_the_dense_jacobian_and_of_a_mean_over_graphs():
    found = make()
    model = jg.DeepGNN(depth=2, width=5, out=4, activation="tanh", residual="identity")
    graph, chosen = found.example.graph, np.asarray(found.task.test)[:16]
    params = model.init(jax.random.key(0), graph, found.example.x)
    x = np.asarray(found.task.features)[chosen]
    asked = np.array([read(one)[2] for one in x])
    measured = recall_selectivity(model, params, graph, x, asked)
    ratios = []
    with jax.enable_x64(True):
        fresh = jax.tree.map(np.array, graph)
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)), params)
        dense = jax.jit(jax.jacrev(lambda h: model.apply(wide, fresh, h)[CENTRE]))
        Js = [np.asarray(dense(jnp.asarray(one, jnp.float64))) for one in x]
    for J, m in zip(Js, asked, strict=True):
        norms = np.linalg.norm(J, axis=(0, 2))[FIRST:]
        ratios.append(norms[m] / np.delete(norms, m).mean())
    np.testing.assert_allclose(measured.ratio, ratios, rtol=1e-10)
    value = found.measures["selective sensitivity"](model, params)
    assert value == pytest.approx(np.exp(np.mean(np.log(ratios))), rel=1e-10)


def test_a_linear_network_depends_on_all_neighbours_alike():
    found = make()
    model = jg.DeepGNN(depth=2, width=4, out=4, activation="identity")
    params = model.init(jax.random.key(1), found.example.graph, found.example.x)
    assert found.measures["selective sensitivity"](model, params) == pytest.approx(1, rel=1e-12)


def test_is_trained():
    found = make()
    model = jg.DeepGNN(depth=2, width=8, out=4)
    result = jg.train(model, found.task, seeds=1, steps=20, evaluate_every=10, learning_rate=0.02)
    assert result.train_loss[0] < result.history.train_loss[0, 0]


REFUSED = {
    "neighbours": ({"neighbours": 1}, "neighbours=1: allowed are 2 and more, whole"),
    "classes": ({"num_classes": 1}, "num_classes=1: allowed are 2 and more, whole"),
    "test": ({"num_test": 0}, "num_test=0: allowed are 1 and more, whole"),
    "seed": ({"seed": "a"}, "seed='a': allowed are 0 and more, whole"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_out_of_range_are_refused_in_one_sentence(case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make(**options)

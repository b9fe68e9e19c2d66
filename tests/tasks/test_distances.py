import re
from functools import partial

import jax
import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data.bottlenecks import bottleneck_graph
from jaxgnn.tasks.graph_properties import property_of

SMALL = {"num_train": 10, "num_val": 4, "num_test": 6, "batch_size": 5}
make = partial(jg.tasks.bottlenecks, size=5, communities=(1, 2, 3), bridges=(1, 3), **SMALL)


def graphs_of(task):
    """Every graph of a task as a networkx graph, its features and targets without padding."""
    for i in range(len(task.graphs.senders)):
        real, edge = np.asarray(task.graphs.node_mask)[i] > 0, np.asarray(task.graphs.edge_mask)[i] > 0
        graph = nx.Graph()
        graph.add_nodes_from(range(int(real.sum())))
        ends = (np.asarray(a)[i][edge].tolist() for a in (task.graphs.senders, task.graphs.receivers))
        graph.add_edges_from(zip(*ends, strict=True))
        y = np.asarray(task.targets)[i]
        yield graph, np.asarray(task.features)[i][real], y[real] if task.level == "node" else y


@pytest.fixture(scope="module")
def made():
    """One benchmark for each target, from the same seed."""
    return {target: make(target=target) for target in ("sssp", "eccentricity", "diameter")}


def test_targets_are_what_they_are_called(made):
    for graph, x, y in graphs_of(made["sssp"].task):
        np.testing.assert_array_equal(np.sort(x[:, 0]), [0] * (len(x) - 1) + [1])
        found = nx.single_source_shortest_path_length(graph, int(x[:, 0].argmax()))
        np.testing.assert_array_equal(y[:, 0], [found[v] for v in graph])
    for graph, _, y in graphs_of(made["eccentricity"].task):
        np.testing.assert_array_equal(y[:, 0], [nx.eccentricity(graph, v) for v in graph])
    for graph, _, y in graphs_of(made["diameter"].task):
        np.testing.assert_array_equal(y, [nx.diameter(graph)])


def test_all_that_passes_between_two_communities_passes_every_edge_of_a_path():
    rng = np.random.default_rng(0)
    for communities, bridge in ((1, 1), (2, 1), (3, 4), (5, 2)):
        A = bottleneck_graph(rng, communities=communities, size=6, bridge=bridge)
        graph = nx.from_numpy_array(A)
        assert len(graph) == 6 * communities + (communities - 1) * (bridge - 1)
        assert nx.is_connected(graph)
        assert (A == A.T).all()
        assert not A.diagonal().any()
        cut = list(nx.bridges(graph))
        assert len(cut) == bridge * (communities - 1)  # a small world of degree 4 has none of its own here
        graph.remove_edges_from(cut)
        sizes = sorted(map(len, nx.connected_components(graph)))
        assert sizes == [1] * ((communities - 1) * (bridge - 1)) + [6] * communities
        assert graph.number_of_edges() == 12 * communities


def known_within(graph, x, k, target):
    """What a k-hop neighbourhood shows, from these neighbourhoods alone: nan where it does not."""
    source, found = int(x[:, 0].argmax()), []
    for v in graph:
        near = nx.single_source_shortest_path_length(nx.ego_graph(graph, v, radius=k), v)
        if target == "sssp":
            found.append(near.get(source, np.nan))
        else:  # whether the graph ends before the last hop
            found.append(max(near.values()) if max(near.values()) < k else np.nan)
    return np.array(found, float)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("target", ["sssp", "eccentricity", "diameter"])
def test_within_k_hops_is_what_neighbourhoods_show_and_else_a_mean(target, normalise):
    found, k = make(target=target, normalise=normalise), 4
    rows = [(known_within(graph, x, k, target), y[..., 0].ravel()) for graph, x, y in graphs_of(found.task)]
    if target == "diameter":  # of all nodes, if every one of them shows its own
        rows = [(np.atleast_1d(seen.max()), y) for seen, y in rows]
    train = [np.concatenate(part) for part in zip(*rows[:10], strict=True)]
    beyond = train[1][np.isnan(train[0])].mean()
    errors = []
    for start, stop in ((0, 10), (10, 14), (14, 20)):
        seen, y = (np.concatenate(part).astype(float) for part in zip(*rows[start:stop], strict=True))
        errors.append(np.mean((np.where(np.isnan(seen), beyond, y) - y) ** 2))
    np.testing.assert_allclose(found.within[k][1:], errors, rtol=1e-5)
    scores = np.array([row[1] for row in found.references])  # on the training graphs
    assert (np.diff(scores) <= 1e-6).all()
    np.testing.assert_array_equal(found.oracle[1:], 0)


def test_the_constant_predictor_has_the_variance_and_is_shown_in_both_units():
    raw, normalised = make(), make(normalise=True)
    y = np.concatenate([y.ravel() for _, _, y in graphs_of(raw.task)][:10]).astype(float)
    assert raw.constant.train == pytest.approx(y.var(), rel=1e-5)
    np.testing.assert_allclose(np.array(normalised.constant[1:]) * y.max() ** 2, raw.constant[1:], rtol=1e-5)
    assert raw.facts[1] == normalised.facts[1]
    for row in (raw, normalised):
        assert f"{row.constant.test:.4g}" in raw.facts[1]


def test_where_all_targets_are_alike_the_constant_predictor_is_perfect():
    found = make(target="diameter", communities=[1], size=5)  # complete: everybody knows everybody
    assert found.constant[1:] == found.oracle[1:] == (0, 0, 0)
    assert "MSE 0 in edges (log10 -inf)" in found.facts[1]
    assert not found.within
    log10 = make(metric="log10_mse")
    np.testing.assert_allclose(10 ** np.array(log10.constant[1:]), make().constant[1:], rtol=1e-5)
    assert log10.oracle.test == -np.inf


def test_nodes_numbered_otherwise_have_the_same_distances():
    rng = np.random.default_rng(1)
    A = bottleneck_graph(rng, communities=3, size=5, bridge=2)
    x = np.stack([np.arange(len(A)) == 2, rng.random(len(A))], axis=1).astype(np.float32)
    order = rng.permutation(len(A))
    for target in ("sssp", "eccentricity"):
        moved = property_of(A[order][:, order], target, x[order])
        np.testing.assert_array_equal(moved, property_of(A, target, x)[order])
    np.testing.assert_array_equal(property_of(A[order][:, order], "diameter", x[order]), property_of(A, "diameter", x))


def test_a_seed_is_a_benchmark_and_splits_are_graphs_of_their_own(made):
    again, other = make(target="sssp"), make(seed=1)
    jax.tree.map(np.testing.assert_array_equal, again.task, made["sssp"].task)
    assert (np.asarray(other.task.features)[0, :5] != np.asarray(again.task.features)[0, :5]).any()
    parts = (again.task.train, again.task.val, again.task.test)
    assert [len(part) for part in parts] == [10, 4, 6]
    assert sorted(np.concatenate(parts)) == list(range(20))
    numbers = [tuple(x[:, 1]) for _, x, _ in graphs_of(again.task)]
    assert len(set(numbers)) == 20
    for target in ("eccentricity", "diameter"):
        one, same = made[target].task, made["sssp"].task
        jax.tree.map(np.testing.assert_array_equal, (one.graphs, one.features), (same.graphs, same.features))


def test_the_example_is_the_first_training_graph_without_padding(made):
    for target, found in made.items():
        graph, x, y = next(graphs_of(found.task))
        assert found.example.graph.num_nodes == len(graph)
        own = nx.Graph(found.example.graph.to_networkx())
        assert set(map(frozenset, own.edges)) == set(map(frozenset, graph.edges)), target
        np.testing.assert_array_equal(found.example.x, x)
        assert found.example.loss(np.atleast_2d(y).reshape(-1, 1)) == 0


@pytest.mark.parametrize("target", ["sssp", "laplacian"])
def test_graph_properties_as_a_benchmark(target):
    options = {"target": target, "sizes": [6, 8], "normalise": True, **SMALL}
    found, plain = jg.tasks.benchmark("graph_properties", **options), jg.tasks.graph_properties(**options)
    jax.tree.map(np.testing.assert_array_equal, found.task, plain.task)
    np.testing.assert_allclose(found.constant[1:], plain.constant_normalised[1:], rtol=1e-5)
    assert found.oracle.test == 0
    assert bool(found.within) == (target == "sssp")  # one hop has all of the other


def test_is_trained():
    found = make(target="diameter")
    model = jg.DeepGNN(depth=2, width=4, out=1, pool="mean")
    result = jg.train(model, found.task, seeds=1, steps=10, evaluate_every=5, learning_rate=0.05)
    assert result.train_loss[0] < result.history.train_loss[0, 0]


REFUSED = {
    "target": ({"target": "ssps"}, "target='ssps' is not known, did you mean 'sssp'? allowed are sssp, eccentricity, "),
    "size": ({"size": 4}, "size=4: allowed are 5 and more, whole"),
    "communities": ({"communities": []}, "communities is empty: at least one number is needed"),
    "none": ({"communities": [0]}, "communities=0: allowed are 1 and more, whole"),
    "number": ({"bridges": 3}, "bridges=3: a list of values is needed"),
    "bridges": ({"bridges": [1, 0]}, "bridges=0: allowed are 1 and more, whole"),
    "normalise": ({"normalise": "yes"}, "normalise='yes': allowed are True and False"),
    "metric": ({"metric": "rmse"}, "metric='rmse' is not known, did you mean 'mse'? allowed are mse, mae, log10_mse"),
    "seed": ({"seed": 0.5}, "seed=0.5: allowed are 0 and more, whole"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_out_of_range_are_refused_in_one_sentence(case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        make(**options)

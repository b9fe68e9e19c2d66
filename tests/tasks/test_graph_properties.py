import re
from functools import partial

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data.random_graphs import MIXTURE, family_graph, random_graphs, rewired, shortest_paths
from jaxgnn.tasks.graph_properties import property_of

make = partial(jg.tasks.graph_properties, num_train=40, num_val=10, num_test=20)
TARGETS = ("sssp", "eccentricity", "diameter", "laplacian")


@pytest.fixture(scope="module")
def made():
    """One task for each target, from the same seed."""
    return {target: make(target) for target in TARGETS}


def graphs_of(task):
    """Every graph of a task as a networkx graph, its features and targets without padding."""
    s, r, edge, real = (
        np.asarray(a)
        for a in (task.graphs.senders, task.graphs.receivers, task.graphs.edge_mask, task.graphs.node_mask)
    )
    for i in range(len(s)):
        graph = nx.Graph()
        graph.add_nodes_from(range(int(real[i].sum())))
        graph.add_edges_from(zip(s[i][edge[i] > 0].tolist(), r[i][edge[i] > 0].tolist(), strict=True))
        rows = real[i] > 0 if task.level == "node" else slice(None)
        yield graph, np.asarray(task.features)[i][real[i] > 0], np.asarray(task.targets)[i][rows]


def distances_by_hand(graph, source):
    """Breadth-first search."""
    distance, front = {source: 0}, [source]
    while front:
        reached = {v for u in front for v in graph[u]} - set(distance)
        distance |= dict.fromkeys(reached, 1 + max(distance.values()))
        front = sorted(reached)
    return distance


def test_targets_are_what_they_are_called(made):
    for graph, x, y in graphs_of(made["sssp"].task):
        distance = distances_by_hand(graph, int(x[:, 0].argmax()))
        np.testing.assert_array_equal(y[:, 0], [distance[v] for v in graph])
    for graph, _, y in graphs_of(made["eccentricity"].task):
        eccentricity = nx.eccentricity(graph)
        np.testing.assert_array_equal(y[:, 0], [eccentricity[v] for v in graph])
    for graph, _, y in graphs_of(made["diameter"].task):
        np.testing.assert_array_equal(y, [nx.diameter(graph)])
    for graph, x, y in graphs_of(made["laplacian"].task):
        L = nx.laplacian_matrix(graph, nodelist=range(len(graph))).toarray()
        np.testing.assert_allclose(y[:, 0], L @ x[:, 1], rtol=1e-5, atol=1e-5)


def test_features_are_the_source_and_a_uniform_number_and_the_same_for_every_target(made):
    sssp, others = made["sssp"].task, [made[target].task for target in TARGETS[1:]]
    for _, x, _ in graphs_of(sssp):
        np.testing.assert_array_equal(np.sort(x[:, 0]), [0] * (len(x) - 1) + [1])
        assert 0 <= x[:, 1].min() < 0.5 < x[:, 1].max() <= 1
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, (sssp.graphs, sssp.features), (other.graphs, other.features))


def test_splits_have_their_sizes_and_graphs_of_their_own(made):
    result = made["diameter"]
    assert [part.graphs for part in (result.train, result.val, result.test)] == [40, 10, 20]
    assert [len(part) for part in (result.task.train, result.task.val, result.task.test)] == [40, 10, 20]
    numbers = [tuple(x[:, 1]) for _, x, _ in graphs_of(result.task)]
    assert len(set(numbers)) == 70
    assert len({n for row in numbers for n in row}) == sum(map(len, numbers))
    sizes = [len(graph) for graph, _, _ in graphs_of(result.task)]
    for start, stop, part in ((0, 40, result.train), (40, 50, result.val), (50, 70, result.test)):
        np.testing.assert_array_equal(np.bincount(sizes[start:stop])[25:], (stop - start) // 10)
        assert sum(sizes[start:stop]) == part.nodes
        assert sum(part.families.values()) == part.graphs
        assert part.drawn == part.graphs + part.isolated + part.disconnected
    jax.tree.map(np.testing.assert_array_equal, make("diameter").task, result.task)
    other = make("diameter", seed=1).task
    assert (np.asarray(other.features)[0, :, 1] != np.asarray(result.task.features)[0, :, 1]).any()
    small = make("diameter", evaluation_sizes=range(25, 30))
    assert [len(graph) for graph, _, _ in graphs_of(small.task)][40:] == [25, 26, 27, 28, 29] * 6


@pytest.mark.parametrize("target", TARGETS)
def test_the_constant_predictor_is_stated_raw_and_normalised(made, target):
    raw, normalised = made[target], make(target, normalise=True)
    values = [np.concatenate([y.ravel() for y in part]) for part in np.split(of_all(raw), [40, 50])]
    mean, largest = values[0].mean(), values[0].max()
    assert raw.maximum == normalised.maximum == pytest.approx(largest, rel=1e-6)
    maxima = [part.maximum for part in (raw.train, raw.val, raw.test)]
    np.testing.assert_allclose(maxima, [v.max() for v in values], rtol=1e-6)
    expected = [np.mean((v - mean) ** 2) for v in values]
    np.testing.assert_allclose(raw.constant_raw, [mean, *expected], rtol=1e-6, atol=1e-6)
    over = [mean / largest, *np.divide(expected, largest**2)]
    np.testing.assert_allclose(raw.constant_normalised, over, rtol=1e-6, atol=1e-6)
    assert raw.constant_raw.log10_test_mse == pytest.approx(np.log10(expected[2]))
    difference = raw.constant_raw.log10_test_mse - raw.constant_normalised.log10_test_mse
    assert difference == pytest.approx(2 * np.log10(largest))
    np.testing.assert_allclose(np.asarray(normalised.task.targets) * largest, raw.task.targets, rtol=1e-5, atol=1e-5)
    assert np.asarray(normalised.task.targets)[:40].max() == 1
    for result, constant in ((raw, raw.constant_raw), (normalised, normalised.constant_normalised)):
        assert result.task.constant_loss() == pytest.approx(constant.train_mse, rel=1e-5)
        scores = result.task.evaluate(partial(everywhere, result.task, constant.prediction))
        np.testing.assert_allclose([scores.train_score, scores.val_score, scores.test_score], constant[1:], rtol=1e-4)


def of_all(result):
    """Raw targets of every graph, an object array [G]."""
    values = np.empty(70, object)
    for i, (_, _, y) in enumerate(graphs_of(result.task)):
        values[i] = y.astype(np.float64)
    return values


def everywhere(task, value, graph, x):
    """One prediction for every node or graph."""
    return jnp.full((graph.num_nodes if task.level == "node" else graph.graphs_tuple.n_node.shape[0], 1), value)


def test_the_papers_score_is_the_logarithm_of_ours():
    scores = [make("eccentricity", metric=m).task.evaluate(lambda graph, x: x[:, 1:]) for m in ("mse", "log10_mse")]
    np.testing.assert_allclose(np.log10(scores[0].test_score), scores[1].test_score, rtol=1e-5)


def test_disconnected_graphs_are_redrawn_cut_or_kept_and_counted():
    sizes = [25 + i % 10 for i in range(120)]
    drawn = {
        how: random_graphs(np.random.default_rng(0), sizes, disconnected=how) for how in ("redraw", "largest", "within")
    }
    for how, result in drawn.items():
        apart = sum(not nx.is_connected(nx.from_numpy_array(A)) for A in result.adjacency)
        assert apart == (result.disconnected if how == "within" else 0)
        assert result.disconnected > 0
        assert all(A.any(axis=0).all() for A in result.adjacency)
        assert [len(A) <= n for A, n in zip(result.adjacency, sizes, strict=True)] == [True] * 120
        kept = result.disconnected if how == "redraw" else 0
        assert result.drawn == 120 + result.isolated + kept
    assert [len(A) for A in drawn["redraw"].adjacency] == sizes
    # The same draws, before and after the cut.
    for whole, cut in zip(drawn["within"].adjacency, drawn["largest"].adjacency, strict=True):
        parts = list(nx.connected_components(nx.from_numpy_array(whole)))
        assert len(cut) == max(map(len, parts))
        assert (len(cut) == len(whole)) == (len(parts) == 1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("how", ["redraw", "largest", "within"])
def test_targets_are_finite_whatever_happens_to_disconnected_graphs(target, how):
    result = make(target, disconnected=how)
    assert np.isfinite(np.asarray(result.task.targets)).all()
    counted = [part.disconnected for part in (result.train, result.val, result.test)]
    apart = [not nx.is_connected(graph) for graph, _, _ in graphs_of(result.task)]
    assert sum(apart) == (sum(counted) if how == "within" else 0)
    if how == "largest":
        for graph, x, y in graphs_of(result.task):
            distances = dict(nx.all_pairs_shortest_path_length(graph))
            rows = {"sssp": [distances[int(x[:, 0].argmax())][v] for v in graph], "diameter": [nx.diameter(graph)]}
            rows["eccentricity"] = [max(distances[v].values()) for v in graph]
            rows["laplacian"] = y.ravel()
            np.testing.assert_array_equal(y.ravel(), rows[target])


def test_distances_count_inside_components():
    A = nx.to_numpy_array(nx.disjoint_union(nx.path_graph(4), nx.cycle_graph(5)), dtype=bool)
    x = np.stack([np.eye(9)[1], np.zeros(9)], axis=1)
    np.testing.assert_array_equal(property_of(A, "sssp", x)[:, 0], [1, 0, 1, 2, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(property_of(A, "eccentricity", x)[:, 0], [3, 2, 2, 3, 2, 2, 2, 2, 2])
    np.testing.assert_array_equal(property_of(A, "diameter", x), [3])
    assert np.isinf(shortest_paths(A)[0, 5])
    np.testing.assert_array_equal(shortest_paths(A), shortest_paths(np.asfortranarray(A)))
    np.testing.assert_array_equal(shortest_paths(A), shortest_paths(np.repeat(A, 2, axis=1)[:, ::2]))


@pytest.mark.parametrize("n", [25, 29, 34])
@pytest.mark.parametrize("family", MIXTURE)
def test_families_are_what_they_are_called(family, n):
    graph = nx.from_numpy_array(family_graph(np.random.default_rng(n), family, n))
    assert len(graph) == n
    assert nx.number_of_selfloops(graph) == 0
    m, side = graph.number_of_edges(), max(k for k in range(1, 6) if n % k == 0)
    other = n // side
    without_leaves = graph.subgraph([v for v in graph if graph.degree[v] > 1])
    twice = without_leaves.subgraph([v for v in without_leaves if without_leaves.degree[v] > 1])

    def is_path(graph):
        return len(graph) == 0 or (nx.is_tree(graph) and max(d for _, d in graph.degree) <= 2)

    assert {
        "erdos_renyi": lambda: 0 <= m <= n * (n - 1) // 2,
        "barabasi_albert": lambda: any(m == k + k * (n - k - 1) for k in range(1, n)) and nx.is_connected(graph),
        "grid": lambda: nx.is_isomorphic(graph, nx.grid_2d_graph(side, other)),
        "caveman": lambda: (
            sorted(map(len, nx.connected_components(graph))) == [other] * side and m == side * other * (other - 1) // 2
        ),
        "tree": lambda: nx.is_tree(graph),
        "ladder": lambda: m == 3 * (n // 2) - 2 + n % 2 and nx.is_bipartite(graph) and nx.is_connected(graph),
        "line": lambda: nx.is_isomorphic(graph, nx.path_graph(n)),
        "star": lambda: nx.is_isomorphic(graph, nx.star_graph(n - 1)),
        "caterpillar": lambda: nx.is_tree(graph) and is_path(without_leaves),
        "lobster": lambda: nx.is_tree(graph) and is_path(twice),
    }[family]()


def test_the_mixture_is_that_of_the_paper():
    assert sum(MIXTURE.values()) == pytest.approx(1)
    drawn = random_graphs(np.random.default_rng(0), [12] * 1500, disconnected="within").family_counts()
    for family, share in MIXTURE.items():
        assert abs(drawn[family] / 1500 - share) < 4 * np.sqrt(share * (1 - share) / 1500)


@pytest.mark.parametrize(("n", "density"), [(60, 0.1), (60, 0.8)])
def test_edges_go_and_come_as_often_as_is_said(n, density):
    rng = np.random.default_rng(0)
    A = np.triu(rng.random((n, n)) < density, 1)
    A |= A.T
    new = [rewired(rng, A) for _ in range(60)]
    pairs = np.triu_indices(n, 1)
    e, r = int(A[pairs].sum()), int((~A[pairs]).sum())
    stay, come = (0.9, 0.1 * e / r) if e <= r else (0.9 + 0.1 * (e - r) / e, 0.1)
    gone, came = ([np.mean(B[pairs][A[pairs] == was] != was) for B in new] for was in (True, False))
    for found, expected, count in ((gone, 2 * (1 - stay) ** 2, e), (came, 2 * come**2, r)):
        assert abs(np.mean(found) - expected) < 4 * np.sqrt(expected / (60 * count))
    assert all((B == B.T).all() and not B.diagonal().any() for B in new)
    complete = ~np.eye(9, dtype=bool)
    np.testing.assert_array_equal(rewired(rng, complete), complete)
    np.testing.assert_array_equal(rewired(rng, ~complete & complete), ~complete & complete)


@pytest.mark.parametrize(("target", "pool"), [("sssp", "none"), ("diameter", "mean")])
def test_is_trained(target, pool):
    task = make(target, normalise=True, batch_size=10).task
    model = jg.DeepGNN(depth=2, width=8, out=task.out, activation="tanh", residual="identity", pool=pool)
    result = jg.train(model, task, seeds=1, steps=20, evaluate_every=10)
    assert (result.train_loss < result.history.train_loss[:, 0]).all()
    assert np.isfinite(result.score).all()


REFUSED = {
    "target": ({"target": "dist"}, "target='dist' is not known: allowed are diameter, sssp, eccentricity, laplacian"),
    "disconnected": (
        {"disconnected": "drop"},
        "disconnected='drop' is not known: allowed are redraw, largest, within",
    ),
    "metric": ({"metric": "accuracy"}, "metric='accuracy' is not known: allowed are mse, mae, log10_mse"),
    "sizes": ({"sizes": [3]}, "sizes=3: allowed are 4 and more, whole"),
    "no sizes": ({"evaluation_sizes": []}, "evaluation_sizes is empty: at least one number of nodes is needed"),
    "train": ({"num_train": 0}, "num_train=0: allowed are 1 and more, whole"),
    "seed": ({"seed": 1.5}, "seed=1.5: allowed are 0 and more, whole"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_out_of_range_are_refused_in_one_sentence(case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.tasks.graph_properties(**options)

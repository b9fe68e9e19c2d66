import re
from functools import partial

import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data.roads import local_eccentricity, quantile_classes, road_network

make = partial(jg.load_dataset, "roads", num_nodes=100, radius=4, num_classes=5)


def network(kind="delaunay", removed=0.75, num_nodes=100, seed=0):
    points, pairs, lengths = road_network(num_nodes=num_nodes, kind=kind, removed=removed, seed=seed)
    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_weighted_edges_from((int(u), int(v), w) for (u, v), w in zip(pairs, lengths, strict=True))
    return points, pairs, lengths, graph


@pytest.mark.parametrize("radius", [1, 3, 200])
@pytest.mark.parametrize("kind", ["delaunay", "grid"])
def test_the_eccentricity_is_that_of_the_subgraph_within_so_many_hops(kind, radius):
    _, pairs, lengths, graph = network(kind)
    found = local_eccentricity(pairs, lengths, 100, radius)
    for v in graph:
        near = nx.ego_graph(graph, v, radius=radius)  # radius counts edges
        expected = max(nx.single_source_dijkstra_path_length(near, v, weight="weight").values())
        assert found[v] == pytest.approx(expected, rel=1e-12)


def test_nodes_without_roads_have_0_and_scale_and_numbers_do_not_matter():
    pairs, lengths = np.array([[0, 1], [1, 2]]), np.array([2.0, 3.0])
    np.testing.assert_array_equal(local_eccentricity(pairs, lengths, 4, 1), [2, 3, 3, 0])
    np.testing.assert_array_equal(local_eccentricity(pairs, lengths, 4, 2), [5, 3, 5, 0])
    np.testing.assert_array_equal(local_eccentricity(np.zeros((0, 2), int), np.zeros(0), 1, 3), [0])
    _, pairs, lengths, _ = network()
    plain = local_eccentricity(pairs, lengths, 100, 3)
    for scale in (1e-25, 1e25):
        np.testing.assert_allclose(local_eccentricity(pairs, scale * lengths, 100, 3), scale * plain, rtol=1e-12)
    order = np.random.default_rng(0).permutation(100)
    np.testing.assert_allclose(local_eccentricity(order[pairs], lengths, 100, 3)[order], plain, rtol=1e-12)


@pytest.mark.parametrize("kind", ["delaunay", "grid"])
def test_networks_are_planar_connected_and_keep_their_spanning_tree(kind):
    points, pairs, lengths, graph = network(kind, removed=0.0)
    assert nx.check_planarity(graph)[0]
    np.testing.assert_allclose(lengths, [np.hypot(*(points[u] - points[v])) for u, v in pairs])
    assert len({frozenset(pair) for pair in pairs.tolist()}) == len(pairs)
    tree = {frozenset(pair) for pair in nx.minimum_spanning_edges(graph, data=False)}
    if kind == "grid":
        assert len(pairs) == 2 * 10 * 9
    bare = network(kind, removed=1.0)[3]
    assert {frozenset(pair) for pair in bare.edges} == tree
    thinned = network(kind, removed=0.75)[3]
    assert nx.is_connected(thinned)
    assert set(map(frozenset, thinned.edges)) <= set(map(frozenset, graph.edges))
    others = len(pairs) - 99
    assert abs(thinned.number_of_edges() - 99 - others / 4) < 4 * np.sqrt(others * 3 / 16)


def test_classes_are_quantiles_of_equal_size():
    values = np.random.default_rng(0).random(23)
    labels = quantile_classes(values, 5)
    assert labels.dtype == np.int32
    assert set(np.bincount(labels)) == {4, 5}
    order = np.argsort(values)
    assert (np.diff(labels[order]) >= 0).all()
    np.testing.assert_array_equal(quantile_classes(np.ones(4), 2), [0, 0, 1, 1])
    np.testing.assert_array_equal(quantile_classes(1e25 * values, 5), labels)


def test_the_data_set_has_the_published_split_and_its_features_are_of_roads():
    ds = make()
    assert [int(mask.sum()) for mask in (ds.train_mask, ds.val_mask, ds.test_mask)] == [10, 10, 80]
    assert (ds.train_mask.astype(int) + ds.val_mask + ds.test_mask == 1).all()
    assert (ds.num_classes, set(np.bincount(ds.labels))) == (5, {20})
    points, pairs, lengths, graph = network()
    np.testing.assert_array_equal(ds.labels, quantile_classes(local_eccentricity(pairs, lengths, 100, 4), 5))
    assert len(ds.graph.senders) == 2 * len(pairs)
    for v in (0, 57):
        own = [data["weight"] for _, _, data in graph.edges(v, data=True)]
        np.testing.assert_allclose(ds.x[v], [len(own) / 10, np.mean(own), min(own), max(own)], rtol=1e-6)
    np.testing.assert_allclose(make(coordinates=True).x[:, 4:], points / 10, rtol=1e-6)


def test_a_seed_is_a_data_set():
    first, again, other = make(), make(), make(seed=1)
    for name in ("x", "labels", "train_mask", "val_mask"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert (getattr(first, name) != getattr(other, name)).any()


def test_the_benchmark_has_accuracies_of_what_fewer_hops_tell():
    options = {"num_nodes": 100, "radius": 4, "num_classes": 5}
    found, ds = jg.tasks.benchmark("roads", normalisation="row", **options), make()
    assert found.example is found.task
    assert found.task.graph.propagation.normalisation == "row"
    assert found.oracle[1:] == (1, 1, 1)
    most = np.bincount(ds.labels[ds.train_mask]).argmax()
    assert found.constant.test == pytest.approx(np.mean(ds.labels[ds.test_mask] == most))
    _, pairs, lengths, _ = network()
    assert sorted(found.within) == [1, 2]
    for j, row in found.within.items():
        right = quantile_classes(local_eccentricity(pairs, lengths, 100, j), 5) == ds.labels
        masks = (ds.train_mask, ds.val_mask, ds.test_mask)
        np.testing.assert_allclose(row[1:], [right[mask].mean() for mask in masks], rtol=1e-6)
    assert "10 crossings train, 10 validate, 80 test" in found.facts[0]


REFUSED = {
    "nodes": ({"num_nodes": 3}, "num_nodes=3: allowed are 4 and more, whole"),
    "square": (
        {"kind": "grid", "num_nodes": 90},
        "num_nodes=90: allowed for kind='grid' are square numbers, 81 and 100",
    ),
    "kind": ({"kind": "grids"}, "kind='grids' is not known, did you mean 'grid'? allowed are delaunay, grid"),
    "removed": ({"removed": 1.5}, "removed=1.5 is not allowed: it must be 0 to 1."),
    "radius": ({"radius": 0}, "radius=0: allowed are 1 and more, whole"),
    "classes": ({"num_classes": 1}, "num_classes=1 is not allowed: it must be 2 to 100, whole."),
    "coordinates": ({"coordinates": 1}, "coordinates=1: allowed are True and False"),
    "seed": ({"seed": -1}, "seed=-1: allowed are 0 and more, whole"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_out_of_range_are_refused_in_one_sentence(case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make(**options)

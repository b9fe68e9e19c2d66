import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.experiments.arroyo2025.common import dirichlet, features, part, ssm, with_modulus
from jaxgnn.experiments.arroyo2025.fig3 import _principal
from jaxgnn.experiments.setting import drawn


@pytest.fixture
def club():
    return nx.karate_club_graph()


def test_a_part_is_the_nearest_nodes(club):
    near, whole = part("karate", 12), part("karate")
    # karate's features are the identity: they tell which nodes these are.
    nodes = near.x.argmax(axis=1)
    distance = nx.single_source_shortest_path_length(club, 0)
    assert max(distance[v] for v in nodes) <= min(distance[v] for v in club if v not in nodes)
    inside = nx.relabel_nodes(club.subgraph(nodes), {v: i for i, v in enumerate(nodes)})
    found = nx.Graph(list(zip(near.graph.senders.tolist(), near.graph.receivers.tolist(), strict=True)))
    assert set(map(frozenset, found.edges)) == set(map(frozenset, inside.edges))
    assert whole.graph.num_nodes == club.number_of_nodes()


def test_the_energy_is_the_sum_over_edges(club):
    # tr X^T (I - P) X = sum over edges of ||x_u / sqrt(d_u + 1) - x_v / sqrt(d_v + 1)||^2.
    X = np.random.default_rng(0).standard_normal((2, 34, 3))
    scaled = X / np.sqrt([club.degree[v] + 1 for v in club])[None, :, None]
    expected = sum(np.sum((scaled[:, u] - scaled[:, v]) ** 2, axis=1) for u, v in club.edges)
    np.testing.assert_allclose(dirichlet(X, part("karate").graph), expected, rtol=1e-12)


def test_another_modulus_is_another_network():
    where = part("karate", 12)
    models = [jg.DeepGNN(depth=3, width=4, **ssm(modulus, 0.1)) for modulus in (1.0, 0.5)]
    one, half = (drawn(model, where, 2) for model in models)
    changed = features(models[0], with_modulus(one, 0.5), where)
    np.testing.assert_allclose(changed, features(models[1], half, where), rtol=1e-5, atol=1e-7)
    assert changed.shape == (2, 4, 12, 4)


def test_principal_components():
    rng = np.random.default_rng(1)
    plane = rng.standard_normal((50, 2)) * [3.0, 1.0]
    plane -= plane.mean(axis=0)
    axes, _ = np.linalg.qr(rng.standard_normal((5, 2)))
    found, share = _principal(plane @ axes.T + 7)
    assert share == pytest.approx(1.0)
    # Distances between points are those in the plane.
    gram = found @ found.T
    np.testing.assert_allclose(gram, plane @ plane.T, atol=1e-10)

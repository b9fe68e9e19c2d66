import numpy as np
import pytest

from jaxgnn.data.edges import undirected_graph


@pytest.mark.parametrize("keep_loops", [True, False])
def test_the_adjacency_matrix_is_that_of_the_pairs(keep_loops):
    n = 9
    pairs = np.random.default_rng(0).integers(0, n, (40, 2))
    expected = np.zeros((n, n), int)
    expected[pairs[:, 0], pairs[:, 1]] = expected[pairs[:, 1], pairs[:, 0]] = 1
    if not keep_loops:
        np.fill_diagonal(expected, 0)
    graph = undirected_graph(pairs, n, keep_loops=keep_loops)
    counted = np.zeros((n, n), int)
    np.add.at(counted, (graph.receivers, graph.senders), 1)
    np.testing.assert_array_equal(counted, expected)
    assert (np.diff(graph.receivers) >= 0).all()
    assert graph.senders.dtype == graph.receivers.dtype == np.int32


def test_a_graph_without_edges():
    graph = undirected_graph(np.zeros((0, 2), int), 3, keep_loops=True)
    assert graph.n_edge.tolist() == [0]
    assert graph.n_node.tolist() == [3]

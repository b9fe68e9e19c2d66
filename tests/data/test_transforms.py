import numpy as np
import pytest

from jaxgnn.data import Dataset, graphs_tuple, largest_component, load_dataset, row_normalise


def small(senders, receivers, n):
    nodes = np.arange(n)
    return Dataset(
        name="small",
        split="default",
        graph=graphs_tuple(np.array(senders), np.array(receivers), n),
        x=np.eye(n, dtype=np.float32),
        labels=(nodes % 3).astype(np.int32),
        num_classes=3,
        train_mask=nodes < 2,
        val_mask=nodes == 2,
        test_mask=nodes > 2,
        files={},
    )


def test_nodes_keep_their_order_and_their_data():
    # Components {0, 3}, {1, 4, 5, 6} (tied by one-way edges) and {2}.
    ds = largest_component(small([0, 3, 4, 4, 6], [3, 0, 1, 5, 5], 7))
    kept = [1, 4, 5, 6]
    np.testing.assert_array_equal(ds.x, np.eye(7, dtype=np.float32)[kept])
    assert ds.graph.senders.tolist() == [1, 1, 3]
    assert ds.graph.receivers.tolist() == [0, 2, 2]
    assert (ds.graph.n_node.tolist(), ds.graph.n_edge.tolist()) == ([4], [3])
    assert ds.labels.tolist() == [1, 1, 2, 0]
    assert ds.train_mask.tolist() == [True, False, False, False]
    assert not ds.val_mask.any()
    assert ds.test_mask.tolist() == [False, True, True, True]


def test_features_of_edges_and_nodes_and_globals_move_along():
    ds = small([0, 3, 4, 4, 6], [3, 0, 1, 5, 5], 7)
    edges, nodes = {"kind": np.arange(5), "x": np.arange(10.0).reshape(5, 2)}, 10 * np.arange(7)
    given = ds.graph._replace(edges=edges, nodes=nodes, globals=np.ones((1, 2)))
    graph = largest_component(ds._replace(graph=given)).graph
    assert graph.edges["kind"].tolist() == [2, 3, 4]
    np.testing.assert_array_equal(graph.edges["x"], edges["x"][2:])
    assert graph.nodes.tolist() == [10, 40, 50, 60]
    np.testing.assert_array_equal(graph.globals, given.globals)


def test_several_graphs_are_refused():
    ds = small([0, 1], [1, 0], 4)
    with pytest.raises(ValueError, match=r"^one graph of 4 nodes is needed, and n_node is \[2 2\]$"):
        largest_component(ds._replace(graph=ds.graph._replace(n_node=np.int32([2, 2]))))


def test_the_first_of_equal_components_is_kept():
    ds = largest_component(small([0, 1, 2, 3], [1, 0, 3, 2], 4))
    np.testing.assert_array_equal(ds.x, np.eye(4, dtype=np.float32)[:2])


def test_a_connected_graph_stays_as_it_is():
    ds = load_dataset("karate")
    again = largest_component(ds)
    np.testing.assert_array_equal(again.graph.senders, ds.graph.senders)
    np.testing.assert_array_equal(again.x, ds.x)


@pytest.mark.parametrize(("name", "nodes", "edges"), [("cora", 2485, 10138), ("citeseer", 2120, 7358)])
def test_published_sizes(real_data, name, nodes, edges):
    ds = largest_component(load_dataset(name))
    assert ds.x.shape[0] == nodes
    assert len(ds.graph.senders) == edges
    assert ds.graph.senders.max() < nodes


def test_rows_have_unit_norm_and_zero_rows_stay():
    x = np.array([[1, 3], [0, 0], [-2, 2], [5, -15]], np.float32)
    normal = row_normalise(x)
    np.testing.assert_allclose(normal, [[0.25, 0.75], [0, 0], [-0.5, 0.5], [0.25, -0.75]])
    assert normal.dtype == np.float32
    assert x[0, 0] == 1


def test_integers_become_floats():
    np.testing.assert_allclose(row_normalise(np.array([[1, 1]])), [[0.5, 0.5]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_any_size_have_unit_norm(dtype):
    largest, least = np.finfo(dtype).max, np.finfo(dtype).smallest_normal
    x = np.array([[1, -1, 0.5], [1, 3, 0], [0, 0, 0]], dtype) * np.array([[largest], [2 * least], [1]], dtype)
    expected = [[0.4, -0.4, 0.2], [0.25, 0.75, 0], [0, 0, 0]]
    np.testing.assert_allclose(row_normalise(x), expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_nan_and_touches_no_other(wrong):
    normal = row_normalise(np.array([[wrong, 1], [1, 3]], np.float32))
    np.testing.assert_array_equal(normal, [[np.nan, np.nan], [0.25, 0.75]])

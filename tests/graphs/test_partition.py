from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.graphs.partition import _rows_read, partitioned, taken


def moved(P, order):
    """P of a partition: rows and columns in its order, 0 where a node fills up."""
    E = (order[:, None] == np.arange(P.shape[0])[None]).astype(float)
    return E @ P @ E.T


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_P_and_its_transpose_of_every_graph(edges, parts, x64):
    graph = jg.prepare(**edges, normalisation="row")
    found = partitioned(graph, parts)
    P, order = graph.propagation.dense(), found.order
    assert np.sort(order[order >= 0]).tolist() == list(range(graph.num_nodes))
    assert order.size % parts == 0
    assert 0 <= order.size - graph.num_nodes < parts
    Q, expected = found.graph.propagation, moved(P, order)
    np.testing.assert_array_equal(Q.dense(), expected)
    np.testing.assert_array_equal(Q.T.dense(), expected.T)
    X = np.random.default_rng(0).standard_normal((order.size, 3))
    np.testing.assert_allclose(Q @ X, expected @ X, atol=1e-14)
    np.testing.assert_allclose(Q.T @ X, expected.T @ X, atol=1e-14)


def test_derivatives_batches_and_loops(graphs, x64):
    found = partitioned(jg.prepare(**graphs.directed(), normalisation="row"), 3)
    P = found.graph.propagation
    dense = P.dense()
    X, G = np.random.default_rng(0).standard_normal((2, dense.shape[0], 4))
    np.testing.assert_allclose(jax.grad(lambda X: jnp.vdot(G, P @ X))(X), dense.T @ G, atol=1e-14)
    np.testing.assert_allclose(jax.jvp(lambda X: P @ X, (X,), (G,))[1], dense @ G, atol=1e-14)
    np.testing.assert_allclose(jax.vmap(lambda x: P @ x, 1, 1)(X), dense @ X, atol=1e-14)
    twice, _ = jax.jit(lambda X: jax.lax.scan(lambda X, _: (P @ X, None), X, length=2))(X)
    np.testing.assert_allclose(twice, dense @ dense @ X, atol=1e-14)


def test_what_is_read_and_cut(graphs):
    graph = jg.prepare(**graphs.hub(), normalisation="row")
    found = partitioned(graph, 4)
    P = found.graph.propagation.dense()
    m = P.shape[0] // 4
    outside = [np.delete(P[p * m : (p + 1) * m], np.s_[p * m : (p + 1) * m], axis=1) for p in range(4)]
    back = [np.delete(P[:, p * m : (p + 1) * m], np.s_[p * m : (p + 1) * m], axis=0) for p in range(4)]
    read = [max(a.any(axis=0).sum(), b.any(axis=1).sum()) for a, b in zip(outside, back, strict=True)]
    assert found.halo.tolist() == read  # of P or of P^T
    assert found.cut == sum(np.count_nonzero(a) for a in outside)


def test_what_the_transpose_reads_counts():
    # An edge from node 0 to each of the 7 others: P reads one row in every other part, P^T reads six in part 0.
    edges = {"senders": np.zeros(7, int), "receivers": np.arange(1, 8)}
    found = partitioned(jg.prepare(**edges, num_nodes=8, undirected=False), 4)
    assert found.order.tolist() == list(range(8))
    assert found.halo.tolist() == [6, 1, 1, 1]


def test_rows_read_are_those_of_every_part_written_out(graphs):
    rng = np.random.default_rng(0)
    P = jg.prepare(**graphs.directed()).propagation.sparse()
    for order in (np.arange(12), *(rng.permutation(12) for _ in range(5))):
        parts = [order[at : at + 4].tolist() for at in (0, 4, 8)]
        read = [{u for v in part for u in P[[v]].indices} - set(part) for part in parts]
        owner = np.empty(12, int)
        owner[order] = np.arange(12) // 4
        expected = [[sum(owner[u] == source for u in rows) for rows in read] for source in range(3)]
        assert _rows_read(P, order, 3).tolist() == expected


def test_the_parts_of_a_shuffled_path_read_only_their_ends(graphs):
    shuffled = np.random.default_rng(0).permutation(40)
    edges = graphs.path(40)
    graph = jg.prepare(senders=shuffled[edges["senders"]], receivers=shuffled[edges["receivers"]], num_nodes=40)
    found = partitioned(graph, 4)
    assert found.halo.tolist() == [1, 2, 2, 1]
    assert found.cut == 6
    assert found.received == 2
    assert found.excess == 1
    ends = np.isin(found.order, shuffled[[0, -1]])
    assert found.graph.propagation.degree.tolist() == np.where(ends, 2, 3).tolist()  # a loop and one edge, or two


def test_edges_features_and_masks_move_along(graphs):
    edges = graphs.directed()
    graph = jg.prepare(**edges, weights=np.random.default_rng(0).uniform(0.5, 2, 40))
    named = {"ends": np.stack([graph.senders, graph.receivers], axis=1), "number": np.arange(graph.num_edges)}
    graph = replace(graph, graphs_tuple=graph.graphs_tuple._replace(edges=named))
    found = partitioned(graph, 5)
    assert found.graph.weighted
    order = found.order
    old = set(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
    new = zip(order[found.graph.senders].tolist(), order[found.graph.receivers].tolist(), strict=True)
    assert set(new) == old
    assert (np.diff(found.graph.receivers) >= 0).all()
    ends = np.stack([found.graph.senders, found.graph.receivers], axis=1)
    np.testing.assert_array_equal(order[ends], found.graph.edge_features["ends"])
    assert sorted(found.graph.edge_features["number"].tolist()) == list(range(graph.num_edges))
    assert found.graph.node_mask.tolist() == (order >= 0).tolist()
    assert taken(np.arange(12) + 1, order).tolist() == (order + 1).tolist()
    assert partitioned(graph, 4).graph.node_mask is None  # 12 nodes: nothing to fill up


def test_what_cannot_be_partitioned(graphs):
    with pytest.raises(ValueError, match="parts=0"):
        partitioned(jg.prepare(**graphs.ring(6)), 0)
    with pytest.raises(ValueError, match="hops=K"):
        partitioned(jg.prepare(**graphs.ring(6), hops=2), 2)


@pytest.mark.parametrize("normalisation", ["sym", "row"])
def test_dirichlet_energy_of_parts_is_that_of_the_whole(graphs, normalisation):
    graph = jg.prepare(**graphs.hub(), normalisation=normalisation)
    found = partitioned(graph, 4)
    X = np.random.default_rng(0).standard_normal((73, 3)).astype(np.float32)
    P, Y = found.graph.propagation, taken(X, found.order)
    expected = float(jg.measures.dirichlet(jnp.asarray(X), graph.propagation))
    for energy in (jg.measures.dirichlet, jax.jit(jg.measures.dirichlet)):
        assert float(energy(jnp.asarray(Y), P)) == pytest.approx(expected, rel=1e-5)

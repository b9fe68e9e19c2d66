"""Graphs with hubs: the bound on the padding, and P X over 100,000 edges of one node."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
from jaxgnn.data import power_law
from jaxgnn.graphs.propagation import best_slots

C = 4  # what an edge beyond the slots costs


def cost(degree, k):
    return degree.size * k + C * np.maximum(degree - k, 0).sum()


DEGREES = {
    "star": np.array([999] + [1] * 999),
    "star without its leaves' edges": np.array([999] + [0] * 999),
    "complete": np.full(50, 49),
    "no edges": np.zeros(7, int),
    "one node": np.array([3]),
    "a third with many": np.repeat([0, 90], [200, 100]),
    "a fourth with many": np.repeat([0, 90], [300, 100]),
    "just over a fourth with many": np.repeat([0, 90], [300, 101]),
    "uniform": np.random.default_rng(0).integers(0, 40, 500),
    "pareto": np.minimum(np.random.default_rng(1).pareto(0.6, 3000).astype(int), 10**5),
    "power law": np.bincount(power_law(num_nodes=5000, average_degree=10.0, exponent=2.1).graph.receivers),
}


@pytest.mark.parametrize("name", DEGREES)
def test_slots_cost_least_and_over_a_fourth_of_them_hold_an_edge(name):
    degree = DEGREES[name]
    K = best_slots(degree)
    candidates = {0, *(degree - 1).clip(0).tolist(), *degree.tolist(), *(degree + 1).tolist()}
    assert cost(degree, K) == min(cost(degree, k) for k in candidates)
    beyond = np.maximum(degree - K, 0).sum()
    assert cost(degree, K) <= cost(degree, 0) == C * degree.sum()
    assert degree.size * K < C * (degree.sum() - beyond) or K == 0
    assert degree.size * K + beyond <= C * degree.sum()


def test_the_bound_is_sharp():
    ratios = []
    for m in (10, 100, 1000):
        degree = np.repeat([0, 7], [3 * m - 1, m])  # just over a fourth of the rows
        K = best_slots(degree)
        assert K == 7
        ratios.append(degree.size * K / degree.sum())
    np.testing.assert_allclose(ratios, [C - 1 / m for m in (10, 100, 1000)])
    assert best_slots(np.repeat([0, 7], [3 * 10, 10])) == 0  # a fourth: no slot pays


def stored(P):
    return P.forward.senders.size + P.forward.rest.senders.size


def test_a_star_has_two_slots_and_no_padding(graphs):
    n = 5000
    P = jg.prepare(**graphs.star(n), backend="padded").propagation  # rows of n, 2, 2, .. with the loops
    assert P.forward.senders.shape == (2, n)
    assert stored(P) == 2 * n + n - 2 == P.sparse().nnz


def test_a_complete_graph_has_no_padding(graphs):
    P = jg.prepare(**graphs.complete(70), backend="padded").propagation
    assert stored(P) == 70 * 70
    assert not P.forward.rest.senders.size


@pytest.mark.parametrize("normalisation", ["sym", "raw"])
def test_a_power_law_is_packed_within_the_bound(normalisation):
    ds = power_law(num_nodes=20_000, average_degree=14.0, exponent=2.1)
    P = jg.prepare(ds.graph, normalisation=normalisation).propagation
    edges = P.sparse().nnz
    assert edges == ds.graph.n_edge[0] + (20_000 if normalisation == "sym" else 0)
    assert stored(P) <= C * edges
    assert np.bincount(ds.graph.receivers).max() > 100 * P.forward.senders.shape[0]  # hubs do not make slots


@pytest.fixture(scope="module")
def hub():
    """A node with 100,000 neighbours, which have 200,000 edges among them; and A."""
    n, rng = 100_001, np.random.default_rng(0)
    u = np.concatenate([np.zeros(n - 1, int), rng.integers(1, n, 200_000)])
    v = np.concatenate([np.arange(1, n), rng.integers(1, n, 200_000)])
    A = sp.coo_array((np.ones(2 * u.size), (np.append(u, v), np.append(v, u))), (n, n)).tocsr()
    A.data[:] = 1  # edges that are there twice count once
    edges = {"senders": np.append(u, v), "receivers": np.append(v, u), "num_nodes": n}
    return edges, A


@pytest.mark.parametrize("normalisation", ["sym", "row"])
def test_a_hub_of_100_000_edges_is_summed_to_rounding(hub, normalisation, dtype):
    edges, A = hub
    n = edges["num_nodes"]
    looped = A + sp.diags_array((A.diagonal() == 0).astype(float), format="csr")
    degree = looped.sum(axis=1)
    assert degree[0] == 100_001
    if normalisation == "sym":
        expected = sp.diags_array(degree**-0.5) @ looped @ sp.diags_array(degree**-0.5)
    else:
        expected = sp.diags_array(1 / degree) @ looped
    P = jg.prepare(**edges, normalisation=normalisation).propagation
    assert P.forward.senders.shape[0] < 20
    X = np.random.default_rng(1).standard_normal((n, 3)).astype(dtype)
    for Q, M in ((P, expected), (P.T, expected.T)):
        out = jax.jit(lambda Q, X: Q @ X)(Q, X)
        assert out.dtype == dtype
        exact, size = M @ X.astype(float), abs(M) @ abs(X.astype(float))
        # A sum of k terms added one after another is off by at most k eps sum |terms|, in the mean by its root.
        terms = np.diff(M.tocsr().indptr)[:, None] + 3
        error = np.abs(np.asarray(out, float) - exact)
        assert (error <= 4 * np.sqrt(terms) * np.finfo(dtype).eps * size).all()


def leaves(graph):
    return jax.tree.map(np.asarray, jax.tree.leaves(graph))


def test_the_order_of_the_edges_and_duplicates_make_no_difference():
    graph = power_law(num_nodes=3000, average_degree=8.0).graph
    s, r = np.asarray(graph.senders), np.asarray(graph.receivers)
    in_order = jg.prepare(graph)
    order = np.random.default_rng(0).permutation(np.append(np.arange(s.size), np.arange(100)))
    mixed = jg.prepare(senders=s[order], receivers=r[order], num_nodes=3000)
    weighted = jg.prepare(senders=s[::-1], receivers=r[::-1], num_nodes=3000, weights=np.ones(s.size))
    for other in (mixed, weighted):
        for one, two in zip(leaves(in_order), leaves(other), strict=True):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("normalisation", ["sym", "row", "raw"])
def test_weights_of_no_edges(normalisation):
    empty = {"senders": [], "receivers": [], "num_nodes": 3, "weights": []}
    P = jg.prepare(**empty, normalisation=normalisation, loops=False).propagation
    np.testing.assert_array_equal(P.dense(), np.zeros((3, 3)))
    assert P.degree.dtype == np.float64

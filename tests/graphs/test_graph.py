import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
import jaxgnn.host.memory
from jaxgnn.graphs.connectivity import second_eigenvalue


def matrix(edges, normalisation, **options):
    return jg.prepare(**edges, normalisation=normalisation, **options).propagation.dense()


def as_tuple(senders, receivers, n_node, edges=None):
    return jraph.GraphsTuple(
        nodes=None,
        edges=edges,
        senders=np.asarray(senders, np.int32),
        receivers=np.asarray(receivers, np.int32),
        globals=None,
        n_node=np.asarray(n_node, np.int32),
        n_edge=np.asarray([len(senders)], np.int32),
    )


@pytest.mark.parametrize("normalisation", ["sym", "row", "doubly"])
def test_ring_has_thirds(graphs, normalisation):
    expected = sum(np.roll(np.eye(6), k, axis=1) for k in (-1, 0, 1)) / 3
    np.testing.assert_allclose(matrix(graphs.ring(6), normalisation), expected, rtol=1e-15)


def test_complete_graph_averages(graphs):
    for normalisation in ("sym", "row", "doubly"):
        np.testing.assert_allclose(matrix(graphs.complete(5), normalisation), np.full((5, 5), 0.2), rtol=1e-15)


def test_star_entries(graphs):
    n = 6
    sym, row, doubly = (matrix(graphs.star(n), name) for name in ("sym", "row", "doubly"))
    # D~ = n at the centre, 2 at the leaves; d = n - 1 and 1.
    np.testing.assert_allclose([sym[0, 0], sym[1, 1], sym[0, 1], sym[1, 0]], [1 / n, 0.5] + [(2 * n) ** -0.5] * 2)
    np.testing.assert_allclose([row[0, 0], row[1, 1], row[0, 1], row[1, 0]], [1 / n, 0.5, 1 / n, 0.5])
    np.testing.assert_allclose(
        [doubly[0, 0], doubly[1, 1], doubly[0, 1], doubly[1, 0]], [1 / n, 1 - 1 / n] + [1 / n] * 2
    )
    for P in (sym, row, doubly):
        assert P[1, 2] == 0


def test_star_row_is_not_a_contraction(graphs):
    # PAPERS.md: the row-stochastic 51-node star has ||P||_2 = 3.57.
    assert np.linalg.norm(matrix(graphs.star(51), "row"), 2) == pytest.approx(3.57, abs=5e-3)


def test_path_metropolis_entries(graphs):
    P = matrix(graphs.path(4), "doubly")
    third = 1 / 3
    expected = [[2 * third, third, 0, 0], [third] * 3 + [0], [0] + [third] * 3, [0, 0, third, 2 * third]]
    np.testing.assert_allclose(P, expected, rtol=1e-15)


@pytest.mark.parametrize("name", ["ring", "star", "path", "complete"])
@pytest.mark.parametrize("n", [3, 8])
def test_metropolis_is_doubly_stochastic_and_its_diagonal_positive(graphs, name, n):
    edges = getattr(graphs, name)(n)
    P = matrix(edges, "doubly")
    degree = np.bincount(edges["receivers"], minlength=n)
    np.testing.assert_array_equal(P, P.T)
    np.testing.assert_allclose(P.sum(1), 1, rtol=1e-15)
    np.testing.assert_allclose(P.sum(0), 1, rtol=1e-15)
    assert (np.diag(P) >= 1 / (1 + degree) - 1e-15).all()
    assert (P >= 0).all()


def test_metropolis_ignores_loops_that_are_there(graphs):
    edges = graphs.path(4)
    looped = {k: np.append(edges[k], [2]) for k in ("senders", "receivers")} | {"num_nodes": 4}
    np.testing.assert_array_equal(matrix(looped, "doubly"), matrix(edges, "doubly"))


def test_even_ring_has_no_eigenvalue_minus_one(graphs):
    values = np.linalg.eigvalsh(matrix(graphs.ring(8), "doubly"))
    np.testing.assert_allclose(values, np.sort((1 + 2 * np.cos(2 * np.pi * np.arange(8) / 8)) / 3), atol=1e-14)
    assert values.min() == pytest.approx(-1 / 3)


@pytest.mark.parametrize("half", [4, 120])  # by LAPACK below 200 nodes, by Lanczos above
def test_the_second_eigenvalue_is_the_second_largest_modulus(half):
    # The pairs of a complete bipartite graph, after a component of two: (I + A) / (h + 1) has 1, 1 / (h + 1) and
    # (1 - h) / (h + 1), whose modulus is the second largest.
    left, right = np.divmod(np.arange(half * half), half)
    senders, receivers = np.append(2 + left, 0), np.append(2 + half + right, 1)
    edges = {"senders": np.append(senders, receivers), "receivers": np.append(receivers, senders)}
    for normalisation in ("sym", "doubly"):
        graph = jg.prepare(**edges, num_nodes=2 * half + 2, normalisation=normalisation)
        np.testing.assert_allclose(second_eigenvalue(graph), (half - 1) / (half + 1), rtol=1e-8)


def test_the_second_eigenvalue_of_one_node_two_and_three(graphs):
    # P of two joined nodes is 1 1^T / 2; of a path of three, by Metropolis, 1, 2/3 and 0.
    found = [second_eigenvalue(jg.prepare(**graphs.path(n), normalisation="doubly")) for n in (0, 1, 2, 3)]
    np.testing.assert_allclose(found, [0, 0, 0, 2 / 3], atol=1e-14)


def test_row_sums(edges):
    np.testing.assert_allclose(matrix(edges, "row").sum(1), 1, rtol=1e-14)
    rows = matrix(edges, "row", loops=False).sum(1)
    reached = np.isin(np.arange(edges["num_nodes"]), edges["receivers"])
    np.testing.assert_allclose(rows, reached, rtol=1e-14)


def test_sym_has_spectrum_in_the_unit_interval_and_fixes_the_root_of_the_degrees(graphs):
    P = jg.prepare(**graphs.several_components(), normalisation="sym").propagation
    values = np.linalg.eigvalsh(P.dense())
    assert values.min() > -1
    assert values.max() == pytest.approx(1, abs=1e-14)
    assert np.sum(values > 1 - 1e-10) == 5  # one for each component
    np.testing.assert_allclose(P.dense() @ np.sqrt(P.degree), np.sqrt(P.degree), rtol=1e-14)


def test_sym_of_a_symmetric_graph_is_symmetric_to_the_last_bit(karate):
    P = jg.prepare(karate.graph, normalisation="sym").propagation
    np.testing.assert_array_equal(P.dense(), P.dense().T)
    assert P.backward is None


def test_sym_of_a_directed_graph_uses_receiver_in_degrees():
    # 0 -> 2, 1 -> 2, 2 -> 3: in-degrees 0, 0, 2, 1, and 1 more for each loop.
    P = matrix({"senders": [0, 1, 2], "receivers": [2, 2, 3], "num_nodes": 4}, "sym", undirected=False)
    expected = np.diag([1, 1, 1 / 3, 1 / 2])
    expected[2, :2] = 1 / np.sqrt(3)
    expected[3, 2] = 1 / np.sqrt(6)
    np.testing.assert_allclose(P, expected, rtol=1e-15)


def test_loops_are_added_by_all_but_raw_unless_said_otherwise(graphs):
    edges = graphs.path(3)
    assert not np.diag(matrix(edges, "raw")).any()
    np.testing.assert_array_equal(np.diag(matrix(edges, "raw", loops=True)), 1)
    for normalisation in ("sym", "row"):
        assert np.diag(matrix(edges, normalisation)).all()
        assert not np.diag(matrix(edges, normalisation, loops=False)).any()
    np.testing.assert_allclose(matrix(edges, "row", loops=False)[1], [0.5, 0, 0.5])


def test_loops_that_are_there_are_not_doubled():
    P = matrix({"senders": [0, 1, 1], "receivers": [1, 0, 1], "num_nodes": 2}, "raw", loops=True)
    np.testing.assert_array_equal(P, np.ones((2, 2)))
    heavy = {"senders": [0, 1, 1], "receivers": [1, 0, 1], "num_nodes": 2, "weights": [1.0, 1.0, 5.0]}
    np.testing.assert_array_equal(matrix(heavy, "raw", loops=True), [[1, 1], [1, 5]])


def test_added_loops_are_in_the_propagation_only(graphs):
    graph = jg.prepare(**graphs.ring(5), normalisation="sym")
    assert graph.num_edges == 10
    assert (np.asarray(graph.senders) != np.asarray(graph.receivers)).all()
    assert graph.propagation.sparse().nnz == 15


def test_duplicates_are_one_edge_and_weights_add_up():
    edges = {"senders": [0, 0, 0, 1], "receivers": [1, 1, 1, 0], "num_nodes": 2}
    np.testing.assert_array_equal(matrix(edges, "raw"), [[0, 1], [1, 0]])
    weighted = matrix(edges | {"weights": [0.5, 1.5, 2.0, 3.0]}, "raw")
    np.testing.assert_array_equal(weighted, [[0, 3], [4, 0]])
    assert jg.prepare(**edges).num_edges == 2


def test_weights_normalise():
    edges = {"senders": [1, 2, 0], "receivers": [0, 0, 1], "num_nodes": 3, "weights": [1.0, 3.0, 2.0]}
    edges |= {"undirected": False}
    np.testing.assert_allclose(matrix(edges, "row", loops=False), [[0, 0.25, 0.75], [1, 0, 0], [0, 0, 0]])
    # D~ = 5, 3, 1
    expected = np.array([[1 / 5, 1 / 15**0.5, 3 / 5**0.5], [2 / 15**0.5, 1 / 3, 0], [0, 0, 1]])
    np.testing.assert_allclose(matrix(edges, "sym"), expected, rtol=1e-15)


def test_edges_are_sorted_by_receiver_then_sender(edges):
    graph = jg.prepare(**edges)
    pairs = list(zip(graph.receivers.tolist(), graph.senders.tolist(), strict=True))
    assert pairs == sorted(set(zip(edges["receivers"].tolist(), edges["senders"].tolist(), strict=True)))


def test_edge_features_follow_their_edges_through_sorting_and_merging():
    senders, receivers = [2, 0, 1, 0, 2], [0, 1, 0, 1, 1]
    features = {"kind": np.array([20, 1, 10, 1, 21]), "x": np.array([[2.0], [0.0], [1.0], [0.0], [3.0]])}
    graph = jg.prepare(as_tuple(senders, receivers, [3], features), undirected=False)
    np.testing.assert_array_equal(graph.senders, [1, 2, 0, 2])
    np.testing.assert_array_equal(graph.receivers, [0, 0, 1, 1])
    np.testing.assert_array_equal(graph.graphs_tuple.edges["kind"], [10, 20, 1, 21])
    np.testing.assert_array_equal(graph.graphs_tuple.edges["x"], [[1], [2], [0], [3]])


def test_duplicates_with_different_features_are_refused():
    with pytest.raises(ValueError, match=r"^duplicate edges have different features: merge them before prepare\(\)$"):
        jg.prepare(as_tuple([0, 0], [1, 1], [2], np.array([1.0, 2.0])))


@pytest.mark.parametrize("name", ["star", "directed"])
def test_a_graphs_tuple_gives_what_edge_arrays_give(graphs, name):
    edges = graphs.star(6) if name == "star" else graphs.directed()
    one = jg.prepare(as_tuple(edges["senders"], edges["receivers"], [edges["num_nodes"]]), undirected=False)
    other = jg.prepare(**edges | {"undirected": False})
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_several_graphs_are_a_disjoint_union_with_their_edges_counted(graphs):
    parts = [graphs.ring(4), graphs.edgeless(2), graphs.star(3)]
    tuples = [as_tuple(e["senders"], e["receivers"], [e["num_nodes"]]) for e in parts]
    graph = jg.prepare(jraph.batch_np(tuples), normalisation="row")
    np.testing.assert_array_equal(graph.graphs_tuple.n_node, [4, 2, 3])
    np.testing.assert_array_equal(graph.graphs_tuple.n_edge, [8, 0, 4])
    expected = np.zeros((9, 9))
    for start, edges in zip((0, 4, 6), parts, strict=True):
        stop = start + edges["num_nodes"]
        expected[start:stop, start:stop] = matrix(edges, "row")
    np.testing.assert_array_equal(graph.propagation.dense(), expected)


@pytest.mark.parametrize("normalisation", ["sym", "row", "raw"])
def test_relabelling_the_nodes_permutes_the_matrix(graphs, normalisation):
    edges = graphs.directed()
    new = np.random.default_rng(1).permutation(12)
    relabelled = edges | {"senders": new[edges["senders"]], "receivers": new[edges["receivers"]]}
    P, Q = matrix(edges, normalisation), matrix(relabelled, normalisation)
    np.testing.assert_array_equal(Q[np.ix_(new, new)], P)


def test_components_are_weak_and_numbered_by_first_node(graphs):
    expected = [0] * 5 + [1] * 3 + [2] * 6 + [3, 4]
    np.testing.assert_array_equal(jg.components(jg.prepare(**graphs.several_components())), expected)
    one_way = as_tuple([4, 3, 0], [2, 1, 4], [5])  # 0 -> 4 -> 2, 3 -> 1
    np.testing.assert_array_equal(jg.components(one_way), [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(jg.components(jg.prepare(one_way, undirected=False)), [0, 1, 0, 1, 0])


@pytest.mark.parametrize("n", [0, 1, 3])
def test_components_without_edges(graphs, n):
    np.testing.assert_array_equal(jg.components(jg.prepare(**graphs.edgeless(n))), np.arange(n))


@pytest.mark.parametrize("normalisation", ["sym", "row", "doubly", "raw"])
def test_empty_lists_are_a_graph_without_edges(normalisation):
    graph = jg.prepare(senders=[], receivers=[], num_nodes=3, normalisation=normalisation)
    assert (graph.num_nodes, graph.num_edges) == (3, 0)
    np.testing.assert_array_equal(graph.propagation.dense(), np.eye(3) * (normalisation != "raw"))


def test_cora_has_its_known_shape(cora):
    graph = jg.prepare(cora.graph)
    assert (graph.num_nodes, graph.num_edges) == (2708, 10556)
    assert jg.components(graph).max() + 1 == 78
    np.testing.assert_array_equal(graph.propagation.sparse().diagonal() > 0, True)


PATH = {"senders": [0, 1], "receivers": [1, 2], "num_nodes": 3, "undirected": False}
REFUSED = {
    "normalisation": (
        {"normalisation": "magic"},
        "normalisation='magic' is not known: allowed are sym, row, doubly, raw",
    ),
    "receiver missing": (
        {"receivers": [1, 3]},
        "edge 1 has receiver 3, a node that is not there: nodes are 0 to 2",
    ),
    "sender missing": (
        {"senders": [-1, 1]},
        "edge 0 has sender -1, a node that is not there: nodes are 0 to 2",
    ),
    "different lengths": (
        {"senders": [0]},
        "senders (1,) and receivers (2,) must be one-dimensional and equally long",
    ),
    "two dimensions": (
        {"senders": [[0, 1]], "receivers": [[1, 2]]},
        "senders (1, 2) and receivers (1, 2) must be one-dimensional and equally long",
    ),
    "not integers": ({"senders": [0.0, 1.0]}, "senders have dtype float64: node numbers must be integers"),
    "negative size": ({"num_nodes": -1}, "num_nodes=-1 is negative: a graph has 0 nodes or more"),
    "no size": ({"num_nodes": None}, "prepare: senders, receivers and num_nodes are all needed for edge arrays"),
    "no receivers": ({"receivers": None}, "prepare: senders, receivers and num_nodes are all needed for edge arrays"),
    "weights": ({"weights": [1.0]}, "weights have shape (1,): one weight for each of 2 edges is needed"),
    "NaN": ({"weights": [1.0, np.nan]}, "the weight of edge 1 is nan: weights must be finite"),
    "infinite": ({"weights": [np.inf, 1.0]}, "the weight of edge 0 is inf: weights must be finite"),
    "negative, sym": (
        {"weights": [1.0, -2.0]},
        "an edge weight is -2.0: normalisation='sym' needs weights of 0 or more",
    ),
    "negative, row": (
        {"weights": [1.0, -2.0], "normalisation": "row"},
        "an edge weight is -2.0: normalisation='row' needs weights of 0 or more",
    ),
    "asymmetric": (
        {"senders": [0, 1, 1], "receivers": [1, 0, 2], "normalisation": "doubly"},
        'normalisation="doubly" needs a symmetric graph: edge 1 -> 2 has no edge back; undirected=True adds them',
    ),
    "weighted": (
        {"senders": [0, 1], "receivers": [1, 0], "weights": [1.0, 1.0], "normalisation": "doubly"},
        'normalisation="doubly" takes no edge weights: Metropolis weights follow from the degrees',
    ),
    "no loops": (
        {"senders": [0, 1], "receivers": [1, 0], "loops": False, "normalisation": "doubly"},
        'loops=False does not go with normalisation="doubly": its diagonal is 1 - sum_v P_uv',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_in_one_sentence(case):
    changes, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.prepare(**(PATH | changes))


def test_both_inputs_are_refused():
    graph = as_tuple([0], [1], [2])
    with pytest.raises(
        ValueError, match=r"^prepare: pass a GraphsTuple or senders, receivers and num_nodes, not both$"
    ):
        jg.prepare(graph, num_nodes=2)


def test_negative_weights_are_allowed_where_no_degree_is_needed():
    np.testing.assert_array_equal(matrix(PATH | {"weights": [1.0, -2.0]}, "raw"), [[0, 0, 0], [1, 0, 0], [0, -2, 0]])


def test_no_input_at_all():
    with pytest.raises(ValueError, match="are all needed"):
        jg.prepare()


def random_edges(seed, directed, n=20, e=30):
    rng = np.random.default_rng(seed)
    senders, receivers = rng.integers(0, n, (2, e))
    if not directed:
        senders, receivers = np.concatenate([senders, receivers]), np.concatenate([receivers, senders])
    return {"senders": senders, "receivers": receivers, "num_nodes": n, "undirected": False}


def distances(edges):
    """[n, n] of receiver and sender: the number of edges of a shortest path, inf where there is none."""
    n = edges["num_nodes"]
    A = sp.coo_matrix((np.ones(len(edges["senders"])), (edges["senders"], edges["receivers"])), (n, n))
    return sp.csgraph.shortest_path(A.tocsr(), unweighted=True).T


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_hops_are_the_pairs_at_each_distance(seed, directed):
    edges, K = random_edges(seed, directed), 4
    graph, distance = jg.prepare(**edges, hops=K), distances(edges)
    assert jg.prepare(**edges).khops is None
    for k in range(1, K + 1):
        hop = graph.hop(k - 1)
        kept = np.asarray(hop.edge_mask) > 0
        found = np.zeros((20, 20), int)
        np.add.at(found, (np.asarray(hop.receivers)[kept], np.asarray(hop.senders)[kept]), 1)
        np.testing.assert_array_equal(found, distance == k)
        assert (distance == k).any()
        assert (np.diff(np.asarray(hop.receivers)) >= 0).all()  # the sums rely on it


@pytest.mark.parametrize("loops", [None, False, True])
@pytest.mark.parametrize("normalisation", ["sym", "row", "raw"])
@pytest.mark.parametrize("directed", [False, True])
def test_the_matrix_of_every_distance_is_normalised_like_the_graphs(directed, normalisation, loops, x64):
    edges, options = random_edges(1, directed), {"normalisation": normalisation, "loops": loops}
    graph, distance = jg.prepare(**edges, **options, hops=3), distances(edges)
    for k in (1, 2, 3):
        receivers, senders = np.nonzero(distance == k)
        expected = jg.prepare(
            senders=senders, receivers=receivers, num_nodes=20, undirected=False, **options
        ).propagation
        P = graph.hop(k - 1).propagation
        np.testing.assert_allclose(P.dense(), expected.dense(), rtol=0, atol=1e-15)
        np.testing.assert_allclose(P.T @ np.eye(20), expected.dense().T, rtol=0, atol=1e-15)
        np.testing.assert_array_equal(P.degree, expected.degree)


def test_hops_of_metropolis_weights(graphs):
    edges = graphs.path(6)
    graph, distance = jg.prepare(**edges, normalisation="doubly", hops=2), distances(edges)
    receivers, senders = np.nonzero(distance == 2)
    second = matrix({"senders": senders, "receivers": receivers, "num_nodes": 6}, "doubly")
    np.testing.assert_allclose(graph.hop(1).propagation.dense(), second, atol=1e-7)
    np.testing.assert_allclose(graph.hop(0).propagation.dense(), graph.propagation.dense(), atol=1e-7)


def test_hops_go_round(graphs):
    graph = jg.prepare(**graphs.ring(9), hops=3)
    for index in range(3):
        one, other = (graph.hop(i).propagation.dense() for i in (index, index + 3))
        np.testing.assert_array_equal(one, other)
        traced = jax.jit(lambda i: graph.hop(i).propagation @ jnp.eye(9))(index + 6)
        np.testing.assert_allclose(traced, one, atol=1e-6)


def test_distances_that_no_pair_has_are_empty_and_weights_do_not_count(graphs):
    graph = jg.prepare(**graphs.path(3), hops=5)
    np.testing.assert_array_equal(graph.hop(4).propagation.dense(), np.eye(3))
    assert not np.any(graph.hop(4).edge_mask)
    with pytest.warns(UserWarning, match=r"^prepare: edge weights do not count in the pairs at a distance that hops="):
        weighted = jg.prepare(**graphs.path(3), weights=[5.0, 1.0, 2.0, 3.0], hops=2)
    np.testing.assert_array_equal(weighted.hop(0).propagation.dense(), graph.hop(0).propagation.dense())


def test_hops_that_are_not_there(graphs):
    with pytest.raises(ValueError, match=r"^hops=0: allowed are 1 and more, whole$"):
        jg.prepare(**graphs.ring(5), hops=0)
    with pytest.raises(ValueError, match=r"^the k-hop schedule needs the pairs at each distance: prepare the graph w"):
        jg.prepare(**graphs.ring(5)).hop(0)


@pytest.mark.parametrize("available", [0, 64 * 2 * 40])
def test_hops_that_do_not_fit_are_refused(graphs, monkeypatch, available):
    # Distance 1 of a ring of 40 takes 80 pairs; with the second distance there are too many.
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: available)
    k = 2 if available else 1
    sentence = (
        rf"^finding the pairs at distance {k} needs .* GiB, .* GiB are available: use at most {k - 1} hops instead$"
    )
    with pytest.raises(MemoryError, match=sentence):
        jg.prepare(**graphs.ring(40), hops=3, backend="segment")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_aggregate(graphs, x64, how, masked):
    graph = jg.prepare(**graphs.directed())
    e, n = graph.num_edges, graph.num_nodes
    rng = np.random.default_rng(0)
    messages, G = rng.standard_normal((e, 3)) - 2, rng.standard_normal((n, 3))  # below 0: no maximum is a 0
    mask = rng.random(e) < 0.6 if masked else np.ones(e, bool)
    mask &= ~(masked & (graph.receivers == graph.receivers[0]))  # a node that loses all its edges
    if masked:
        graph = replace(graph, edge_mask=mask.astype(np.float64))
    expected, gradient = np.zeros((n, 3)), np.zeros((e, 3))
    for v in range(n):
        edges = np.flatnonzero((graph.receivers == v) & mask)
        if not edges.size:
            continue
        expected[v] = {"sum": np.sum, "mean": np.mean, "max": np.max}[how](messages[edges], axis=0)
        if how == "max":
            gradient[edges[np.argmax(messages[edges], axis=0)], range(3)] = G[v]
        else:
            gradient[edges] = G[v] / (edges.size if how == "mean" else 1)
    out, pullback = jax.vjp(lambda m: graph.aggregate(m, how), jnp.asarray(messages))
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(pullback(jnp.asarray(G))[0], gradient, rtol=0, atol=1e-14)
    np.testing.assert_allclose(graph.aggregate(messages[:, 0], how), expected[:, 0], rtol=0, atol=1e-14)


def test_aggregate_shares_the_gradient_among_equal_maxima(graphs):
    graph = jg.prepare(**graphs.star(5))
    gradient = jax.grad(lambda m: graph.aggregate(m, "max")[0])(jnp.ones(8))
    np.testing.assert_allclose(gradient, np.where(np.asarray(graph.receivers) == 0, 0.25, 0))

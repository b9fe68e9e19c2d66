"""What `prepare` makes of a list of edges: both directions, weights of 0, features, padding."""

import re
import warnings

import jax
import jraph
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgnn as jg

ONCE = {"senders": [0, 1, 2, 2], "receivers": [1, 2, 3, 2], "num_nodes": 5}  # a path with a loop, each edge once


def as_tuple(edges, features=None, **fields):
    s, r = (np.asarray(edges[end], np.int32) for end in ("senders", "receivers"))
    sizes = {"n_node": np.int32([edges["num_nodes"]]), "n_edge": np.int32([s.size])}
    return jraph.GraphsTuple(
        **{"nodes": None, "edges": features, "globals": None, "senders": s, "receivers": r} | sizes
    )._replace(**fields)


def ends(graph):
    return list(zip(np.asarray(graph.senders).tolist(), np.asarray(graph.receivers).tolist(), strict=True))


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("normalisation", ["sym", "row", "doubly", "raw"])
def test_undirected_adds_the_reverse_of_every_edge(normalisation):
    both = {"senders": [0, 1, 1, 2, 2, 3, 2], "receivers": [1, 0, 2, 1, 3, 2, 2], "num_nodes": 5}
    expected = jg.prepare(**both, normalisation=normalisation)
    equal(jg.prepare(**ONCE, undirected=True, normalisation=normalisation), expected)
    equal(jg.prepare(**both, undirected=True, normalisation=normalisation), expected)
    equal(jg.prepare(as_tuple(ONCE), undirected=True, normalisation=normalisation), expected)


def test_undirected_keeps_weights_and_features_of_both_directions():
    features = np.array([[1.0, 5], [2, 6], [3, 7], [4, 8]])
    graph = jg.prepare(as_tuple(ONCE, features), weights=[1.0, 2, 3, 4], undirected=True, normalisation="raw")
    A = np.zeros((5, 5))
    for s, r, w in zip(ONCE["senders"], ONCE["receivers"], (1, 2, 3, 4), strict=True):
        A[r, s] = A[s, r] = w
    np.testing.assert_array_equal(graph.propagation.dense(), A)
    np.testing.assert_array_equal(graph.edge_features[:, 0], A[graph.receivers, graph.senders])
    np.testing.assert_array_equal(graph.edge_features[:, 1], 4 + A[graph.receivers, graph.senders])
    # Both directions with the same weight are one edge, not two; duplicates of one direction add up before that.
    twice = {"senders": [0, 1, 0, 2], "receivers": [1, 0, 1, 1], "num_nodes": 3}
    A = jg.prepare(**twice, weights=[1.0, 3, 2, 5], undirected=True, normalisation="raw").propagation.dense()
    np.testing.assert_array_equal(A, [[0, 3, 0], [3, 0, 5], [0, 5, 0]])


def test_directions_that_differ_are_refused():
    both = {"senders": [0, 1], "receivers": [1, 0], "num_nodes": 2}
    for options, what in (
        ({"weights": [1.0, 2.0]}, "weights"),
        ({"graph": as_tuple(both, np.array([1.0, 2.0]))}, "feat"),
    ):
        edges = {} if "graph" in options else both
        with pytest.raises(ValueError, match=rf"^undirected=True: an edge and its reverse have different {what}"):
            jg.prepare(**edges, **options, undirected=True)
        jg.prepare(**edges, **options)  # one-way weights and features are what they are


def test_an_asymmetric_list_is_warned_about_unless_it_is_said_what_it_is(graphs):
    sentence = (
        "prepare: 3 of 4 edges have no edge back, so that messages go one way along them: pass undirected=True where "
        "every edge is listed once, undirected=False where this is meant"
    )
    for how in (ONCE, {"graph": as_tuple(ONCE)}):
        with pytest.warns(UserWarning, match=f"^{re.escape(sentence)}$") as caught:
            graph = jg.prepare(**how)
        assert caught[0].filename == __file__
        equal(graph, jg.prepare(**how, undirected=False))
    # The fault that it is about: a P that is not symmetric.
    P = graph.propagation.dense()
    assert np.abs(P - P.T).max() > 0.4
    with pytest.raises(
        ValueError, match=r"^normalisation=\"doubly\" needs a symmetric graph: .*; undirected=True adds"
    ):
        jg.prepare(**ONCE, normalisation="doubly")
    # One edge is enough.
    ring = {end: nodes[:-1] for end, nodes in graphs.ring(9).items() if end != "num_nodes"}
    with pytest.warns(UserWarning, match=r"^prepare: 1 of 17 edges have no edge back"):
        jg.prepare(**ring, num_nodes=9)


@pytest.mark.parametrize("name", ["karate", "csbm", "power_law"])
def test_data_sets_are_quiet(name):
    ds = jg.load_dataset(name)
    equal(jg.prepare(ds.graph), jg.prepare(ds.graph, undirected=True))


def test_an_edge_of_weight_0_is_no_edge(graphs):
    edges = {"senders": [0, 1, 1, 2, 3, 3, 2], "receivers": [1, 0, 2, 1, 3, 0, 2], "num_nodes": 4}
    features = np.arange(7.0)[:, None]
    weights = np.array([1.0, 1, 0, 0, 0, 0, 2])
    kept = np.flatnonzero(weights)
    rest = {end: np.array(edges[end])[kept] for end in ("senders", "receivers")} | {"num_nodes": 4}
    for normalisation in ("sym", "row", "raw"):
        options = {"normalisation": normalisation, "undirected": False}
        with_zeros = jg.prepare(as_tuple(edges, features), weights=weights, **options)
        equal(with_zeros, jg.prepare(as_tuple(rest, features[kept]), weights=weights[kept], **options))
    assert jg.components(with_zeros).tolist() == [0, 0, 1, 2]
    assert with_zeros.propagation.sparse().nnz == 3
    # It may have other features than its duplicates.
    twice = as_tuple({"senders": [0, 0, 1], "receivers": [1, 1, 0], "num_nodes": 2}, np.array([1.0, 2.0, 3.0]))
    assert jg.prepare(twice, weights=[0.0, 1.0, 1.0]).edge_features.tolist() == [3, 2]
    # Nor are weights that cancel, and the reverse of an edge of weight 0 is what it is without it.
    cancelled = {"senders": [0, 0, 1], "receivers": [1, 1, 0], "num_nodes": 2}
    graph = jg.prepare(**cancelled, weights=[1.5, -1.5, 2.0], normalisation="raw", undirected=False)
    assert ends(graph) == [(1, 0)]
    graph = jg.prepare(senders=[0, 1], receivers=[1, 0], num_nodes=2, weights=[0.0, 2.0], undirected=True)
    assert ends(graph) == [(1, 0), (0, 1)]
    with pytest.warns(UserWarning, match="edge weights do not count in the pairs at a distance"):
        hops = jg.prepare(**graphs.path(4), weights=[1.0, 1, 0, 1, 1, 0], hops=3)
    assert [int(np.sum(hops.hop(k).edge_mask)) for k in range(3)] == [4, 2, 0]


EDGE = st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5]))


@settings(deadline=None, max_examples=150, derandomize=True)
@given(edges=st.lists(EDGE, max_size=14), weighted=st.booleans(), featured=st.booleans())
def test_any_list_is_its_dense_matrix(edges, weighted, featured):
    s, r = (np.array([e[i] for e in edges], int) for i in (0, 1))
    w = np.array([e[2] for e in edges])
    A = np.zeros((5, 5))
    np.add.at(A, (r, s), w if weighted else 1)
    A = A if weighted else (A > 0).astype(float)
    features = np.sin(1.0 + s + r)  # the same in both directions
    listed = as_tuple({"senders": s, "receivers": r, "num_nodes": 5}, features if featured else None)
    options = {"weights": w if weighted else None, "normalisation": "raw", "backend": "segment"}
    graph = jg.prepare(listed, undirected=False, **options)
    both, there = (A != 0) & (A.T != 0), A + A.T * (A == 0)
    np.testing.assert_array_equal(graph.propagation.dense(), A)
    assert ends(graph) == [(u, v) for v, u in np.argwhere(A).tolist()]
    if (both & (A != A.T)).any():
        with pytest.raises(ValueError, match=r"^undirected=True: an edge and its reverse have different weights"):
            jg.prepare(listed, undirected=True, **options)
        return
    graph = jg.prepare(listed, undirected=True, **options)
    np.testing.assert_array_equal(graph.propagation.dense(), there)
    if featured:
        np.testing.assert_array_equal(graph.edge_features, np.sin(1.0 + graph.senders + graph.receivers))


def test_weighted_says_whether_weights_differ_from_1(graphs):
    edges = graphs.path(3)
    assert not jg.prepare(**edges).weighted
    assert not jg.prepare(**edges, weights=np.ones(4)).weighted
    assert not jg.prepare(**edges, weights=[1.0, 1, 1, 1], undirected=True).weighted
    assert jg.prepare(**edges, weights=[1.0, 1, 1, 2], undirected=False).weighted
    doubled = {end: np.r_[edges[end], edges[end]] for end in ("senders", "receivers")} | {"num_nodes": 3}
    assert jg.prepare(**doubled, weights=np.ones(8)).weighted


FEATURES = {
    "NaN": (np.array([1.0, np.nan]), "a feature of edge 1 is not finite: edge features must be finite"),
    "infinite": (np.array([[1, 2], [-np.inf, 3]]), "a feature of edge 1 is not finite: edge features must be finite"),
    "too many rows": (np.ones((3, 2)), "edge features have shape (3, 2): one row for each of 2 edges is needed"),
    "too few rows": (
        {"a": np.ones(2), "b": np.ones(1)},
        "edge features have shape (1,): one row for each of 2 edges is needed",
    ),
    "no rows": (1.5, "edge features have shape (): one row for each of 2 edges is needed"),
    "text": (np.array(["single", "double"]), "edge features have dtype <U6: edge features must be numbers"),
}


@pytest.mark.parametrize("case", FEATURES)
def test_features_that_are_refused(case):
    features, sentence = FEATURES[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.prepare(as_tuple({"senders": [0, 1], "receivers": [1, 0], "num_nodes": 2}, features))


def test_what_of_a_graphs_tuple_is_not_kept_is_said():
    graph = as_tuple({"senders": [0, 1], "receivers": [1, 0], "num_nodes": 2})
    sentence = r"^prepare: {} of the GraphsTuple are not kept: .* x, and graph\._replace\({}\) says that this is meant$"
    for fields in ({"nodes": np.ones((2, 3))}, {"globals": {"y": np.ones((1, 2))}}, {"nodes": 1.0, "globals": 2.0}):
        expected = sentence.format(" and ".join(fields), ", ".join(f"{name}=None" for name in fields))
        with pytest.warns(UserWarning, match=expected):
            equal(jg.prepare(graph._replace(**fields)), jg.prepare(graph))


OPTIONS = {
    "normalisation": ({"normalisation": None}, "normalisation=None is not known: allowed are sym, row, doubly, raw"),
    "loops": ({"loops": "yes"}, "loops='yes': allowed are True, False and None"),
    "loops as a number": ({"loops": 1}, "loops=1: allowed are True, False and None"),
    "undirected": ({"undirected": "no"}, "undirected='no': allowed are True, False and None"),
    "padded": ({"padded": 0}, "padded=0: allowed are True, False and None"),
    "padded without a GraphsTuple": (
        {"padded": True},
        "padded=True is for a GraphsTuple that jraph.pad_with_graphs returned",
    ),
    "backend": ({"backend": None}, "backend=None is not known: allowed are auto, segment, padded, dense"),
    "hops as text": ({"hops": "2"}, "hops='2': allowed are 1 and more, whole"),
    "hops between": ({"hops": 1.5}, "hops=1.5: allowed are 1 and more, whole"),
    "hops as a bool": ({"hops": True}, "hops=True: allowed are 1 and more, whole"),
    "nodes as text": ({"num_nodes": "2"}, "num_nodes='2': a graph has a whole number of nodes"),
    "nodes between": ({"num_nodes": 2.5}, "num_nodes=2.5: a graph has a whole number of nodes"),
    "senders as text": ({"senders": ["a", "b"]}, "senders have dtype <U1: node numbers must be integers"),
    "senders as None": ({"senders": [None, 1]}, "senders have dtype object: node numbers must be integers"),
    "weights as text": ({"weights": ["a", "b"]}, "weights have dtype <U1: weights must be real numbers"),
    "weights as None": ({"weights": [1.0, None]}, "weights have dtype object: weights must be real numbers"),
    "weights complex": ({"weights": [1.0, 1j]}, "weights have dtype complex128: weights must be real numbers"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_are_refused(case):
    changes, sentence = OPTIONS[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.prepare(**{"senders": [0, 1], "receivers": [1, 0], "num_nodes": 2} | changes)


def test_graphs_that_are_none(graphs):
    with pytest.raises(ValueError, match=r"^prepare: the graph is prepared already"):
        jg.prepare(jg.prepare(**graphs.ring(3)))
    for wrong, kind in ((5, "int"), ({0: [1]}, "dict")):
        with pytest.raises(ValueError, match=rf"^prepare: a graph is needed, not {kind}: jg.from_edges, from_scipy"):
            jg.prepare(wrong)
    graph = as_tuple(graphs.ring(3))
    for fields, sentence in (
        ({"senders": None}, "the GraphsTuple has no senders or no receivers"),
        ({"n_edge": np.int32([5])}, "n_edge of the GraphsTuple adds up to 5 for 6 edges"),
        ({"n_node": np.float32([3])}, r"n_node of the GraphsTuple is \[3\.\]: counts of every graph"),
        ({"n_node": None}, "n_node of the GraphsTuple is None: counts of every graph"),
        ({"n_node": np.int32([4, -1])}, r"n_node of the GraphsTuple is \[ 4 -1\]: counts of every graph"),
    ):
        with pytest.raises(ValueError, match=f"^prepare: {sentence}"):
            jg.prepare(graph._replace(**fields))


def padded(edges, features=None, *, nodes, edges_in_all, graphs):
    return jraph.pad_with_graphs(as_tuple(edges, features), nodes, edges_in_all, graphs)


@pytest.mark.parametrize("normalisation", ["sym", "row", "doubly", "raw"])
@pytest.mark.parametrize("number", [2, 5])
def test_padding_is_masked_and_has_no_edges(graphs, normalisation, number):
    edges = graphs.several_components()
    features = np.arange(2.0 * len(edges["senders"])).reshape(-1, 2)
    more = padded(edges, features, nodes=23, edges_in_all=50, graphs=number)
    options = {"normalisation": normalisation, "padded": True}
    found, alone = jg.prepare(more, **options), jg.prepare(as_tuple(edges, features), normalisation=normalisation)
    if normalisation != "doubly":  # weights of the padding's edges are not looked for in the graph
        weights = np.tile(np.linspace(0.5, 2, len(edges["senders"]) // 2), 2)
        found = jg.prepare(more, weights=np.append(weights, np.full(50 - weights.size, 7.0)), **options)
        alone = jg.prepare(as_tuple(edges, features), weights=weights, normalisation=normalisation)
    n = edges["num_nodes"]
    assert (found.num_nodes, found.graphs_tuple.n_node.shape) == (23, (number,))
    np.testing.assert_array_equal(found.node_mask, np.arange(23) < n)
    np.testing.assert_array_equal(found.graphs_tuple.n_edge, [len(edges["senders"])] + [0] * (number - 1))
    assert ends(found) == ends(alone)
    np.testing.assert_array_equal(found.edge_features, alone.edge_features)
    P = found.propagation.dense()
    np.testing.assert_array_equal(P[:n, :n], alone.propagation.dense())
    assert not P[n:].any()
    assert not P[:, n:].any()
    np.testing.assert_array_equal(found.propagation.degree, np.append(alone.propagation.degree, np.zeros(23 - n)))
    np.testing.assert_array_equal(jg.components(found), np.append(jg.components(alone), np.full(23 - n, -1)))
    X = np.arange(46.0).reshape(23, 2)
    np.testing.assert_array_equal(found.without_padding(np.stack([X, -X])), np.stack([X, -X])[:, :n])
    np.testing.assert_array_equal(alone.without_padding(X[:n]), X[:n])


def test_padded_pairs_at_a_distance(graphs):
    found = jg.prepare(padded(graphs.path(5), nodes=9, edges_in_all=12, graphs=3), padded=True, hops=3)
    alone = jg.prepare(**graphs.path(5), hops=3)
    for k in range(3):
        P = found.hop(k).propagation.dense()
        np.testing.assert_array_equal(P[:5, :5], alone.hop(k).propagation.dense())
        assert np.count_nonzero(P) == np.count_nonzero(P[:5, :5])
        np.testing.assert_array_equal(found.hop(k).node_mask, found.node_mask)


def test_padding_is_not_guessed(graphs):
    more = padded(graphs.ring(5), nodes=7, edges_in_all=13, graphs=4)
    with pytest.warns(
        UserWarning, match=r"^prepare: the last graphs have no nodes, .*: padded=True masks what it adds"
    ) as caught:
        counted = jg.prepare(more)
    assert len(caught) == 1
    assert counted.node_mask is None
    equal(counted, jg.prepare(more, padded=False))
    # Without empty graphs padding looks like any graph, and one graph without nodes is no padding.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jg.prepare(padded(graphs.ring(5), nodes=7, edges_in_all=13, graphs=2)).node_mask is None
        jg.prepare(as_tuple(graphs.edgeless(0)))


def test_padding_that_cannot_be_is_refused(graphs):
    with pytest.raises(
        ValueError, match=r"^padded=True leaves no graph: n_node is \[5\], and its last graph with nodes"
    ):
        jg.prepare(as_tuple(graphs.ring(5)), padded=True)
    split = as_tuple(graphs.ring(5))._replace(n_node=np.int32([3, 2]))
    for said in (None, False, True):
        with pytest.raises(ValueError, match=r"^edge 2 joins node 2 of graph 0 and node 3 of graph 1$"):
            jg.prepare(split, padded=said)

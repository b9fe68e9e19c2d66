from functools import partial

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.jacobian import block_rows
from jaxgnn.jacobian.influence import Influence, Mixing, influence_of_blocks

NORMS = {
    "entrywise": lambda J: np.abs(J).sum(axis=(1, 3)),
    "frobenius": lambda J: np.linalg.norm(J, "fro", axis=(1, 3)),
    "spectral": lambda J: np.linalg.norm(J, 2, axis=(1, 3)),
}
GRAPHS = [("ring", 9), ("path", 8), ("star", 7), ("directed", None), ("several_components", None), ("edgeless", 1)]


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def built(graphs, name, size=None, **options):
    return jg.prepare(**getattr(graphs, name)(*[] if size is None else [size]), **options)


def distances(graph):
    """[v, u] edges from u to v by NetworkX, -1 without a path."""
    G = nx.DiGraph()
    G.add_nodes_from(range(graph.num_nodes))
    G.add_edges_from(zip(np.asarray(graph.senders).tolist(), np.asarray(graph.receivers).tolist(), strict=True))
    found = np.full((graph.num_nodes,) * 2, -1)
    for u, lengths in nx.all_pairs_shortest_path_length(G):
        found[list(lengths), u] = list(lengths.values())
    return found


def by_distance(norms, d):
    """T_h(v) [n, H+1] and what is at no distance [n], in plain loops."""
    last = max((d[v, u] for v in range(len(d)) for u in range(len(d)) if norms[v, u] > 0), default=0)
    T, rest = np.zeros((len(d), max(last, 0) + 1)), np.zeros(len(d))
    for v in range(len(d)):
        for u in range(len(d)):
            if d[v, u] < 0:
                rest[v] += norms[v, u]
            elif d[v, u] <= last:
                T[v, d[v, u]] += norms[v, u]
    return T, rest


def powers(k, P, W, h):
    for _ in range(k):
        h = P @ h
    return h @ W


@pytest.mark.parametrize(("name", "size"), GRAPHS)
@pytest.mark.parametrize("k", [1, 3])
def test_a_linear_network_has_the_range_of_the_power_of_p(graphs, name, size, k):
    graph, W = built(graphs, name, size, normalisation="row"), signal(2, 3, seed=1)
    P = graph.propagation.dense()
    found = jg.influence(Partial(partial(powers, k), P, W), signal(graph.num_nodes, 2), graph)
    # |d (P^k h W)_v / d h_u| = |P^k|_vu sum_ij |W|_ij
    T, _ = by_distance(np.abs(np.linalg.matrix_power(P, k)) * np.abs(W).sum(), distances(graph))
    np.testing.assert_allclose(found.by_node, T, rtol=1e-12)
    np.testing.assert_allclose(found.ranges, T @ np.arange(T.shape[1]) / T.sum(axis=1), rtol=1e-12)
    assert found.range == pytest.approx(np.mean(T @ np.arange(T.shape[1]) / T.sum(axis=1)), rel=1e-12)
    assert found.standard_error == 0
    assert found.interval == (found.range, found.range)
    assert (found.unreached == 0).all()  # to the bit: nothing comes from other components
    assert found.unreached_share == 0


def test_known_ranges(graphs):
    ring = built(graphs, "ring", 12, normalisation="row")  # P = (1 + S + S^T) / 3
    h = signal(12, 1)
    assert jg.influence(lambda h: ring.propagation @ h, h, ring).range == pytest.approx(2 / 3, rel=1e-13)
    # P^2 has 3, 2 + 2 and 1 + 1 ninths at distances 0, 1 and 2.
    assert jg.influence(lambda h: ring.propagation @ (ring.propagation @ h), h, ring).range == pytest.approx(8 / 9)
    star = built(graphs, "star", 6, normalisation="row")  # the centre averages 6 nodes, a leaf 2
    found = jg.influence(lambda h: star.propagation @ h, signal(6, 1), star)
    np.testing.assert_allclose(found.ranges, [5 / 6, *[1 / 2] * 5], rtol=1e-13)
    assert jg.influence(lambda h: jnp.tanh(h), h, ring).range == 0
    assert jg.influence(lambda h: jnp.tanh(h), h, ring).by_node.shape == (12, 1)


CASES = [("gcn", *graph, "entrywise") for graph in GRAPHS]
CASES += [("gcn", "directed", None, norm) for norm in ("frobenius", "spectral")]
CASES += [("gat", "directed", None, "entrywise"), ("gat", "several_components", None, "spectral")]


@pytest.mark.parametrize(("layer", "name", "size", "norm"), CASES)
def test_norms_are_those_of_the_dense_blocks(graphs, random_variables, name, size, norm, layer):
    graph = built(graphs, name, size)
    model = jg.DeepGNN(layer=layer, depth=2, width=4, activation="tanh", residual="identity")
    x = signal(graph.num_nodes, 2)
    params = random_variables(model, graph, x)
    for f, h in (
        model.layer_fn(params, graph, x, layer=0, dtype=np.float64),
        model.segment_fn(params, graph, x, dtype=np.float64),
    ):
        with jax.enable_x64(True):
            T, rest = by_distance(NORMS[norm](np.asarray(jax.jacfwd(f)(jnp.asarray(h)))), distances(graph))
        found = jg.influence(f, h, graph, norm=norm)
        np.testing.assert_allclose(found.by_node, T, rtol=1e-11, atol=1e-13)
        np.testing.assert_array_equal(found.unreached, rest)


def mixed(P, h):
    """Local but in what all nodes give to all."""
    return jnp.tanh(P @ h) + 0.1 * jnp.mean(h, axis=0, keepdims=True)


def test_what_no_path_leads_to_is_reported_apart(graphs):
    graph, h = built(graphs, "several_components"), signal(16, 2)
    f = Partial(mixed, graph.propagation.dense())
    with jax.enable_x64(True):
        norms = NORMS["entrywise"](np.asarray(jax.jacfwd(f)(jnp.asarray(h))))
    T, rest = by_distance(norms, distances(graph))
    found = jg.influence(f, h, graph)
    np.testing.assert_allclose(found.by_node, T, rtol=1e-11)
    np.testing.assert_allclose(found.unreached, rest, rtol=1e-12)
    assert found.unreached_share == pytest.approx(rest.sum() / norms.sum())
    assert f"{found.unreached_share:.1%} from nodes without a path" in repr(found)


def test_one_long_edge_that_is_not_in_the_graph_is_found(graphs):
    # No node of those that are tried shows it, or it makes few of them reach far: what shares products is checked.
    n = 60
    graph, h = built(graphs, "path", n), signal(n, 2)
    P = graph.propagation.dense()
    for u in range(0, n, 7):
        A = P.copy()
        A[(u + 31) % n, u] = 1e-3
        found = jg.influence(lambda h, A=A: jnp.tanh(A @ h), h, graph)
        with jax.enable_x64(True):
            J = np.asarray(jax.jacfwd(lambda h, A=A: jnp.tanh(A @ h))(jnp.asarray(h)))
        T, _ = by_distance(NORMS["entrywise"](J), distances(graph))
        np.testing.assert_allclose(found.by_node, T, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["directed", "several_components"])
def test_influence_from_the_sparse_jacobian(graphs, name):
    graph = built(graphs, name)
    f, h = Partial(mixed if name == "directed" else jnp.matmul, graph.propagation.dense()), signal(graph.num_nodes, 2)
    found = influence_of_blocks(jg.jacobian(f, h, graph).block_norms("entrywise"), graph)
    expected = jg.influence(f, h, graph)
    np.testing.assert_allclose(found.by_node, expected.by_node, rtol=1e-12)
    np.testing.assert_allclose(found.unreached, expected.unreached, rtol=1e-12)
    assert found.population == expected.population
    with pytest.raises(ValueError, match=r"^norms have shape \(2, 2\): allowed is one for each pair of nodes"):
        influence_of_blocks(sp.csr_matrix((2, 2)), graph)
    with pytest.raises(ValueError, match=r"^norm='spectral' is not known: allowed are frobenius, entrywise$"):
        jg.jacobian(f, h, graph).block_norms("spectral")


def test_a_node_far_smaller_than_the_others_is_checked_by_its_own_size(graphs):
    n = 60
    graph, h = built(graphs, "path", n), signal(n, 1)
    A = graph.propagation.dense() * np.where(np.arange(n) == 20, 1e-20, 1.0)[:, None]
    A[20, 45] = 1e-20  # from far away, as much as from its neighbours
    found = jg.influence(lambda h: A @ h, h, graph)
    T, _ = by_distance(np.abs(A), distances(graph))
    np.testing.assert_allclose(found.by_node, T, rtol=1e-12)


def test_nodes_that_share_no_input_share_products(graphs, monkeypatch):
    graph, h = built(graphs, "path", 40), signal(40, 2)
    counted, sizes = [], block_rows._sizes

    def counting(*args):
        counted.append(len(args[2]))
        return sizes(*args)

    monkeypatch.setattr(block_rows, "_sizes", counting)
    jg.influence(lambda h: graph.propagation @ jnp.sin(h), h, graph)
    assert counted == [3]  # of 40 nodes
    monkeypatch.setattr(block_rows, "_PAIRS", 400)  # as many as 10 nodes at a time
    in_parts = jg.influence(lambda h: graph.propagation @ jnp.sin(h), h, graph)
    assert counted[1:] == [3] * 4
    whole = jg.influence(lambda h: graph.propagation @ jnp.sin(h), h, graph, nodes=np.arange(40)[::-1])
    np.testing.assert_allclose(in_parts.by_node, whole.by_node[::-1], rtol=1e-13)


def test_equivariance(graphs):
    edges, h, order = graphs.several_components(), signal(16, 2), np.random.default_rng(3).permutation(16)
    graph = jg.prepare(**edges)
    renamed = jg.prepare(senders=order[edges["senders"]], receivers=order[edges["receivers"]], num_nodes=16)
    one = jg.influence(lambda h: jnp.tanh(graph.propagation @ h), h, graph)
    other = jg.influence(lambda h: jnp.tanh(renamed.propagation @ h), h[np.argsort(order)], renamed)
    np.testing.assert_allclose(other.by_node[order], one.by_node, rtol=1e-12)
    assert other.range == pytest.approx(one.range, rel=1e-13)


SCALES = [("f", scale, "entrywise") for scale in (1e-25, 1e-35, 1e25)] + [
    ("h", scale, "entrywise") for scale in (1e-25, 1e25)
]
SCALES += [("f", scale, norm) for scale in (1e-25, 1e25) for norm in ("frobenius", "spectral")]


@pytest.mark.parametrize(("at", "scale", "norm"), SCALES)
def test_at_any_scale(graphs, dtype, scale, norm, at):
    graph, W, h = built(graphs, "path", 8), signal(2, 2, seed=1, dtype=dtype), signal(8, 2, dtype=dtype)
    P = graph.propagation.dense().astype(dtype)
    plain = jg.influence(Partial(partial(powers, 2), P, W), h, graph, norm=norm)
    times = dtype.type(scale)
    f, h = (
        (Partial(partial(powers, 2), P, W * times), h) if at == "f" else (Partial(partial(powers, 2), P, W), h * times)
    )
    found = jg.influence(f, h, graph, norm=norm)
    np.testing.assert_allclose(found.ranges, plain.ranges, rtol=200 * np.finfo(dtype).eps)
    np.testing.assert_allclose(found.by_node, plain.by_node * (scale if at == "f" else 1), rtol=1e-5)


@pytest.mark.parametrize("dtype_", ["float32", "float16"])
def test_lower_precision_is_near_float64(graphs, dtype_):
    graph, h = built(graphs, "directed"), signal(12, 3).astype(np.float16)
    f = lambda h: jnp.tanh(graph.propagation @ h)  # noqa: E731
    exact, found = (jg.influence(f, h.astype(d), graph) for d in (np.float64, dtype_))
    np.testing.assert_allclose(found.ranges, exact.ranges, rtol=0, atol=30 * float(jnp.finfo(dtype_).eps))


def test_nodes_without_influence_are_nan_and_counted(graphs):
    graph, h = built(graphs, "ring", 6, normalisation="row"), signal(6, 1)
    there = np.array([1.0, 1, 0, 1, 1, 0])[:, None]
    found = jg.influence(lambda h: (graph.propagation @ h) * there, h, graph)
    np.testing.assert_array_equal(np.isnan(found.ranges), there[:, 0] == 0)
    assert (found.range, found.without) == (pytest.approx(2 / 3), 2)
    assert "2 without influence" in repr(found)
    nothing = jg.influence(lambda h: 0 * h, h, graph)
    assert np.isnan([nothing.range, nothing.standard_error, nothing.unreached_share]).all()
    assert nothing.without == 6
    assert jg.mixing(lambda h: jnp.sum(h), h, graph).range != jg.mixing(lambda h: jnp.sum(h), h, graph).range  # NaN


def test_samples(graphs):
    graph, h = built(graphs, "directed", None), signal(12, 2)
    f = lambda h: jnp.tanh(graph.propagation @ (graph.propagation @ h))  # noqa: E731
    every = jg.influence(f, h, graph)
    some = jg.influence(f, h, graph, nodes=5, seed=3)
    assert len(set(some.nodes.tolist())) == 5
    np.testing.assert_allclose(some.ranges, every.ranges[some.nodes], rtol=1e-12)
    values = some.ranges[~np.isnan(some.ranges)]
    expected = np.sqrt((1 - 5 / 12) * values.var(ddof=1) / values.size)
    assert some.standard_error == pytest.approx(expected, rel=1e-12)
    assert some.interval[1] - some.range == pytest.approx(2.7764451052 * expected)  # t, 4 degrees of freedom
    assert np.isnan(jg.influence(f, h, graph, nodes=1).standard_error)
    np.testing.assert_allclose(some.total, some.by_node.mean(axis=0))
    assert some.total_standard_error.shape == some.total.shape
    # Over all samples of 9 nodes the interval holds the range of all 12 about as often as it says.
    held, rng = 0, np.random.default_rng(0)
    for _ in range(400):
        nodes = rng.choice(12, 9, replace=False)
        part = Influence(nodes, every.by_node[nodes], every.unreached[nodes], 12)
        held += part.interval[0] <= every.range <= part.interval[1]
    assert 0.9 <= held / 400 <= 0.99


def test_the_standard_error_of_mixing_is_that_of_many_samples():
    rng = np.random.default_rng(1)
    table = rng.gamma(2.0, 1.0, (60, 4))
    whole = Mixing(np.arange(60), table, np.zeros(60), 60)
    assert whole.standard_error == 0
    samples = [Mixing(u, table[u], np.zeros(20), 60) for u in (rng.choice(60, 20, replace=False) for _ in range(600))]
    spread = np.std([s.range for s in samples])
    assert np.mean([s.standard_error for s in samples]) == pytest.approx(spread, rel=0.1)
    held = np.mean([s.interval[0] <= whole.range <= s.interval[1] for s in samples])
    assert 0.91 <= held <= 0.98


def pooled(P, W, h):
    return jnp.sum(jnp.tanh(P @ h @ W), axis=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("name", "size"), [("directed", None), ("several_components", None)])
def test_mixing_is_that_of_the_dense_hessian(graphs, name, size, norm):
    graph, W = built(graphs, name, size), signal(2, 3, seed=1)
    h, f = signal(graph.num_nodes, 2), Partial(pooled, graph.propagation.dense(), W)
    with jax.enable_x64(True):
        H = np.asarray(jax.hessian(f)(jnp.asarray(h)))  # [c, u, i, v, j]
    norms = sum(NORMS[norm](block) for block in H)
    both = jg.prepare(
        senders=np.r_[graph.senders, graph.receivers], receivers=np.r_[graph.receivers, graph.senders], num_nodes=len(h)
    )
    T, rest = by_distance(norms, distances(both))
    found = jg.mixing(f, h, graph, norm=norm)
    np.testing.assert_allclose(found.by_node, T, rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(found.unreached, rest)
    assert found.range == pytest.approx((T @ np.arange(T.shape[1])).sum() / T.sum(), rel=1e-11)
    assert found.total.shape == (T.shape[1],)


def test_mixing_across_components_is_reported_apart(graphs):
    graph, h = built(graphs, "several_components"), signal(16, 2)
    found = jg.mixing(lambda h: jnp.tanh(jnp.mean(h)), h, graph)
    same = jg.components(graph)[:, None] == jg.components(graph)[None]
    assert found.unreached_share == pytest.approx(1 - same.mean())  # all pairs alike


@pytest.mark.parametrize("n", [0, 1, 3])
def test_no_edges(graphs, n):
    graph = built(graphs, "edgeless", n)
    found = jg.influence(lambda h: jnp.sin(h), np.ones((n, 2)), graph)
    assert found.by_node.shape == (n, 1)
    assert found.range == 0 if n else np.isnan(found.range)
    assert repr(found).startswith("Influence(range ")


def test_what_does_not_fit_is_refused(graphs):
    graph, h = built(graphs, "ring", 5), np.ones((5, 2))
    for arguments, sentence in [
        ({"norm": "nuclear"}, r"^norm='nuclear' is not known: allowed are entrywise, frobenius, spectral$"),
        ({"nodes": 6}, r"^nodes=6: a graph of 5 nodes has 0 to 5 of them$"),
        ({"nodes": np.array([1, 5])}, r"^nodes 1 to 5: a graph of 5 nodes has nodes 0 to 4$"),
        ({"nodes": np.array([1, 1])}, r"^nodes: one of them is there twice: allowed are nodes that differ$"),
        ({"seed": -1}, r"^seed=-1: allowed are 0 and more, whole$"),
    ]:
        for measure in (jg.influence, jg.mixing):
            with pytest.raises(ValueError, match=sentence):
                measure(jnp.sin, h, graph, **arguments)
    with pytest.raises(ValueError, match=r"^h is float64 \(4, 2\): allowed are floating-point features \[5, d\]"):
        jg.influence(jnp.sin, h[:4], graph)
    with pytest.raises(ValueError, match=r"^f\(h\) has shape \(10,\): allowed are features \[5, e\]"):
        jg.influence(jnp.ravel, h, graph)
    with pytest.raises(ValueError, match="NaN or infinite"):
        jg.influence(lambda h: jnp.sqrt(h - 1), h, graph)

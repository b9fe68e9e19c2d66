from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.network.dropedge import drop_edges

RATE = 0.4
BACKENDS = ("segment", "padded", "dense")
# Each of these programs runs once: compiling is what takes time.
drop = jax.jit(drop_edges, static_argnums=1, compiler_options={"xla_backend_optimization_level": 0})


@jax.jit
def products(P, X):
    """P X, P^T X, and P^T X as the pullback."""
    return P @ X, P.T @ X, jax.vjp(lambda X: P @ X, X)[1](X)[0]


def edges_of(graph):
    """(sender, receiver) of every edge that counts."""
    kept = np.ones(graph.num_edges, bool) if graph.edge_mask is None else np.asarray(graph.edge_mask) > 0
    return set(zip(np.asarray(graph.senders)[kept].tolist(), np.asarray(graph.receivers)[kept].tolist(), strict=True))


def rest_of(graph, dropped):
    """The graph of the edges that `drop_edges` left, as `prepare` takes it."""
    senders, receivers = np.array(sorted(edges_of(dropped)), int).reshape(-1, 2).T
    return {"senders": senders, "receivers": receivers, "num_nodes": graph.num_nodes, "undirected": False}


CASES = [("directed", "sym"), ("directed", "row"), ("ring", "row"), ("hub", "sym")]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "normalisation"), [*CASES, ("directed", "raw")])
def test_is_the_prepared_graph_of_the_edges_that_stay(graphs, x64, name, normalisation, backend):
    build = getattr(graphs, name)
    edges = build(12) if "ring" in name else build()
    graph = jg.prepare(**edges, normalisation=normalisation, backend=backend)
    dropped = drop(graph, RATE, jax.random.key(2))
    assert 0 < len(edges_of(dropped)) < graph.num_edges
    expected = jg.prepare(**rest_of(graph, dropped), normalisation=normalisation).propagation.dense()
    np.testing.assert_allclose(dropped.propagation.dense(), expected, rtol=0, atol=1e-14)
    X = np.random.default_rng(0).standard_normal((graph.num_nodes, 2))
    for found, P in zip(products(dropped.propagation, X), (expected, expected.T, expected.T), strict=True):
        np.testing.assert_allclose(found, P @ X, rtol=0, atol=1e-13)


@pytest.mark.parametrize("normalisation", ["sym", "row"])
def test_on_the_pairs_at_a_distance(graphs, x64, normalisation):
    graph = jg.prepare(**graphs.directed(), normalisation=normalisation, hops=3).hop(1)
    dropped = drop(graph, RATE, jax.random.key(2))
    assert 0 < len(edges_of(dropped)) < len(edges_of(graph))
    expected = jg.prepare(**rest_of(graph, dropped), normalisation=normalisation).propagation.dense()
    np.testing.assert_allclose(dropped.propagation.dense(), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(dropped.propagation.T @ np.eye(12), expected.T, rtol=0, atol=1e-14)


@pytest.mark.parametrize("weights", [False, True])
def test_weights_are_normalised_anew(graphs, x64, weights):
    edges = graphs.ring(10)
    w = np.random.default_rng(0).uniform(0.5, 2, 10)
    edges["weights"] = np.concatenate([w, w]) if weights else np.ones(20)
    graph = jg.prepare(**edges)
    dropped = drop(graph, RATE, jax.random.key(0))
    kept = [(s, r) in edges_of(dropped) for s, r in zip(edges["senders"], edges["receivers"], strict=True)]
    rest = {name: np.asarray(edges[name])[kept] for name in ("senders", "receivers", "weights")}
    expected = jg.prepare(**rest, num_nodes=10).propagation.dense()
    np.testing.assert_allclose(dropped.propagation.dense(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_doubly_stochastic_stays_so(graphs, x64, backend):
    graph = jg.prepare(**graphs.several_components(), normalisation="doubly", backend=backend)
    dropped = drop(graph, RATE, jax.random.key(2))
    P, before = dropped.propagation.dense(), graph.propagation.dense()
    np.testing.assert_allclose(P.sum(0), 1, rtol=1e-14)
    np.testing.assert_allclose(P.sum(1), 1, rtol=1e-14)
    np.testing.assert_array_equal(P, P.T)
    A = np.zeros(P.shape)
    A[tuple(np.array(sorted(edges_of(dropped))).T)] = 1
    off = 1 - np.eye(len(P))
    np.testing.assert_array_equal(off * P, off * A * before)
    assert (P >= 0).all()
    assert 0 < A.sum() < graph.num_edges


def test_backends_drop_the_same(graphs, x64):
    graph = [jg.prepare(**graphs.hub(), backend=b) for b in BACKENDS]
    P = [drop(g, RATE, jax.random.key(2)).propagation.dense() for g in graph]
    for other in P[1:]:
        np.testing.assert_allclose(other, P[0], rtol=0, atol=1e-14)


def test_both_directions_go_together_and_loops_stay(graphs):
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 60, (400, 2))
    both = np.concatenate([pairs, pairs[:, ::-1], np.tile(np.arange(0, 60, 2)[:, None], 2)])
    graph = jg.prepare(senders=both[:, 0], receivers=both[:, 1], num_nodes=60)
    dropped = drop(graph, RATE, jax.random.key(0))
    left = edges_of(dropped)
    assert left == {(v, u) for u, v in left}
    loops = {(u, v) for u, v in edges_of(graph) if u == v}
    assert len(loops) >= 30
    assert loops <= left
    assert len(left) < 0.8 * graph.num_edges
    assert dropped.propagation.backward is None
    assert (np.diag(dropped.propagation.dense()) > 0).all()


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_share_that_stays(rate):
    n = 120
    u, v = np.triu_indices(n, 1)
    graph = jg.prepare(senders=np.r_[u, v], receivers=np.r_[v, u], num_nodes=n, backend="segment")
    share = np.mean(np.asarray(drop(graph, rate, jax.random.key(1)).edge_mask))
    deviation = np.sqrt(rate * (1 - rate) / u.size)  # over pairs
    assert abs(share - (1 - rate)) < 5 * deviation
    # Every pair by itself: a node's edges are as independent as any.
    degrees = np.bincount(graph.receivers, np.asarray(drop(graph, rate, jax.random.key(2)).edge_mask))
    assert np.var(degrees) == pytest.approx((n - 1) * rate * (1 - rate), rel=0.5)


@pytest.mark.parametrize("normalisation", ["sym", "row", "doubly"])
def test_rate_0_leaves_all(graphs, x64, normalisation):
    edges = graphs.several_components() if normalisation == "doubly" else graphs.directed()
    graph = jg.prepare(**edges, normalisation=normalisation)
    dropped = drop(graph, 0.0, jax.random.key(0))
    assert edges_of(dropped) == edges_of(graph)
    np.testing.assert_allclose(dropped.propagation.dense(), graph.propagation.dense(), rtol=0, atol=1e-15)


def test_same_key_same_edges_another_key_others(graphs):
    graph = jg.prepare(**graphs.hub())
    one, same, other = (np.asarray(drop(graph, RATE, jax.random.key(k)).edge_mask) for k in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert 0.2 < np.mean(one != other) < 0.8


def test_padding_is_no_edge_afterwards_either(graphs):
    graph = jg.prepare(**graphs.ring(20))
    mask = np.arange(40) % 4 > 0
    dropped = drop(replace(graph, edge_mask=mask.astype(np.float32)), RATE, jax.random.key(0))
    left = np.asarray(dropped.edge_mask) > 0
    assert not np.any(left & ~mask)
    np.testing.assert_array_equal(left, mask & (np.asarray(drop(graph, RATE, jax.random.key(0)).edge_mask) > 0))


class Degrees(nn.Module):
    """Writes the in-degrees that the edges and P have into column `index`."""

    features: int

    @nn.compact
    def __call__(self, graph, X, index):
        ones = jnp.ones((graph.num_nodes, 1))
        edges = graph.aggregate(graph.at_senders(ones))
        both = jnp.concatenate([edges, graph.propagation @ ones], axis=1)
        column = jax.nn.one_hot(index, self.features // 2)
        return X + (both[:, :, None] * column[None, None]).reshape(graph.num_nodes, self.features)


def test_every_layer_and_step_draws_anew_and_evaluation_drops_nothing(graphs):
    n, depth = 30, 3
    graph = jg.prepare(**graphs.complete(n), normalisation="raw", backend="segment")
    width = 2 * depth
    model = jg.DeepGNN(layer=Degrees, depth=depth, width=width, out=width, activation="identity", dropedge=RATE)
    x = np.zeros((n, 1), np.float32)
    params = jax.jit(model.init)(jax.random.key(0), graph, x)
    readout = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    params = params | {"params": params["params"] | {"readout": readout}}
    train = jax.jit(lambda key: model.apply(params, graph, x, train=True, rngs={"dropout": key}))
    runs = [np.asarray(train(jax.random.key(k))).reshape(n, 2, depth) for k in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0][:, 0], runs[0][:, 1])  # the edges and P lose the same
    for other in (runs[0][:, 0, 1], runs[0][:, 0, 2], runs[2][:, 0, 0]):
        assert np.mean(runs[0][:, 0, 0] != other) > 0.5
    np.testing.assert_allclose(runs[0].mean(), (1 - RATE) * (n - 1), rtol=0.1)
    np.testing.assert_array_equal(jax.jit(partial(model.apply, params))(graph, x), n - 1)


def test_the_network_in_training_is_that_of_the_graph_that_stays(graphs, random_variables, x64):
    # One layer: with the edges that are left known from the layer itself, P X W by hand.
    graph = jg.prepare(**graphs.directed(), normalisation="row")
    seen = jg.DeepGNN(layer=Adjacency, depth=1, width=12, out=12, activation="identity", dropedge=RATE)
    convolution = seen.clone(layer="gcn")
    x, rngs = np.random.default_rng(0).standard_normal((12, 12)), {"dropout": jax.random.key(5)}
    variables = random_variables(convolution, graph, x)
    end = {"kernel": np.eye(12), "bias": np.zeros(12)}
    variables["params"] |= {"encoder": end, "readout": end}
    only = {"constants": variables["constants"], "params": {"encoder": end, "readout": end}}
    A = np.asarray(jax.jit(partial(seen.apply, train=True))(only, graph, x, rngs=rngs))
    assert 0 < A.sum() < graph.num_edges
    receivers, senders = np.nonzero(A)
    rest = jg.prepare(
        senders=senders, receivers=receivers, num_nodes=12, normalisation="row", undirected=False
    ).propagation.dense()
    expected = rest @ x @ variables["params"]["stack"]["layer"]["linear"]["kernel"][0]
    H = jax.jit(partial(convolution.apply, train=True))(variables, graph, x, rngs=rngs)
    np.testing.assert_allclose(H, expected, rtol=0, atol=1e-12)


class Adjacency(nn.Module):
    """A: which edges count."""

    features: int

    @nn.compact
    def __call__(self, graph, X):
        return graph.aggregate(graph.at_senders(jnp.eye(self.features, dtype=X.dtype)))


@pytest.mark.parametrize("normalisation", ["sym", "row"])
@pytest.mark.parametrize("unit", [1e-40, 1e-33, 1e-20, 1e20, 1e33])
def test_degrees_out_of_range_give_nan_and_no_wrong_number(graphs, normalisation, unit):
    edges, w = graphs.ring(10), np.random.default_rng(0).uniform(0.5, 2, 10)
    options = {"normalisation": normalisation, "loops": False, "backend": "segment"}
    one, scaled = (jg.prepare(**edges, weights=np.tile(w * u, 2), **options) for u in (1.0, unit))
    expected, P = (np.asarray(drop(g, RATE, jax.random.key(0)).propagation.forward.weights) for g in (one, scaled))
    assert expected.any()
    if 1e-28 < unit < 1e28:
        np.testing.assert_allclose(P, expected, rtol=1e-5)
    else:
        assert np.isnan(P[expected != 0]).all()

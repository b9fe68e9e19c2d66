import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
from jaxgnn.jacobian.sensitivity import Sensitivity, _norms, by_distance, sensitivity, sensitivity_bound


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.fixture
def network(graphs, random_variables):
    """A network, its variables, the graph and x, in float64."""

    def make(name, size=None, *, normalisation="sym", scale=1.0, **options):
        edges = getattr(graphs, name)(*[] if size is None else [size])
        graph = jg.prepare(**edges, normalisation=normalisation)
        model = jg.DeepGNN(**{"depth": 4, "width": 3} | options)
        x = signal(graph.num_nodes, 2)
        return model, random_variables(model, graph, x, scale=scale), graph, x

    return make


GRAPHS = [("ring", 9), ("path", 8), ("star", 7), ("directed", None), ("several_components", None)]


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
@pytest.mark.parametrize(("name", "size"), GRAPHS)
def test_norms_are_those_of_the_dense_blocks(network, name, size, norm):
    model, *at = network(name, size, depth=2, activation="tanh", residual="identity")
    f, h = model.segment_fn(*at, dtype=np.float64)
    with jax.enable_x64(True):
        J = np.asarray(jax.jacfwd(f)(jnp.asarray(h)))  # [v, i, u, j]
    expected = np.linalg.norm(J, 2 if norm == "spectral" else "fro", axis=(1, 3)).T
    result = sensitivity(f, h, at[1], norm=norm)
    np.testing.assert_array_equal(result.sources, np.arange(len(h)))
    np.testing.assert_allclose(result.norms, expected, rtol=0, atol=1e-13)
    assert result.norms.dtype == np.float64


@pytest.mark.parametrize(("name", "size"), GRAPHS)
def test_distances_follow_the_edges(graphs, name, size):
    edges = getattr(graphs, name)(*[] if size is None else [size])
    graph = jg.prepare(**edges)
    n = graph.num_nodes
    G = nx.DiGraph()
    G.add_nodes_from(range(n))
    G.add_edges_from(zip(edges["senders"].tolist(), edges["receivers"].tolist(), strict=True))
    expected = np.full((n, n), -1)
    for u, lengths in nx.all_pairs_shortest_path_length(G):
        expected[u, list(lengths)] = list(lengths.values())
    result = sensitivity(lambda h: h, np.ones((n, 1)), graph)
    np.testing.assert_array_equal(result.distances, expected)
    np.testing.assert_array_equal(result.norms, np.eye(n))


def test_a_node_hears_exactly_those_within_the_depth(network):
    model, params, graph, x = network("several_components", depth=3, width=2, activation="identity")
    params = jax.tree.map(np.abs, params)  # nothing cancels
    result = sensitivity(*model.segment_fn(params, graph, x, dtype=np.float64), graph)
    within = (result.distances >= 0) & (result.distances <= 3)
    assert (result.norms[~within] == 0).all()
    assert (result.norms[within] > 0).all()
    assert within.any(axis=1).all()
    assert (~within).any(axis=1).all()


OPTIONS = {
    "relu": {"activation": "relu"},
    "identity": {"activation": "identity", "bias": True},
    "tanh": {"activation": "tanh", "bound": "frobenius", "bound_c": 1.5},
    "gelu": {"activation": "gelu", "share_weights": True},
    "elu": {"activation": "elu", "bound": "spectral", "bound_c": 2.0},
}


@pytest.mark.parametrize("residual", ["none", "identity", "scaled", "initial", "ssm"])
@pytest.mark.parametrize(("graph", "options"), list(zip(GRAPHS, OPTIONS, strict=True)), ids=list(OPTIONS))
def test_the_bound_holds_everywhere(network, graph, options, residual):
    model, params, graph, x = network(*graph, normalisation="row", scale=2.0, residual=residual, **OPTIONS[options])
    exact = sensitivity(*model.segment_fn(params, graph, x, dtype=np.float64), graph).norms
    bound = sensitivity_bound(graph.propagation, *model.dynamics(params))
    assert (exact <= bound.values * (1 + 1e-12)).all()
    assert (exact[bound.values == 0] == 0).all()
    assert exact.max() > 0
    np.testing.assert_allclose(10**bound.log10, bound.values, rtol=1e-12)


def test_the_bound_is_the_product_of_matrices(graphs):
    P = jg.prepare(**graphs.directed(), normalisation="row").propagation
    alphas, scales = np.array([0.5, 0.0, 1.0]), np.array([2.0, 1.0, 0.25])
    product = np.eye(12)
    for alpha, scale in zip(alphas, scales, strict=True):
        product = (alpha * np.eye(12) + scale * np.abs(P.dense())) @ product
    sources = np.array([7, 0, 7])
    for form in (P, P.sparse(), -P.dense()):
        bound = sensitivity_bound(form, alphas, scales, sources=sources)
        np.testing.assert_allclose(bound.values, product[:, sources].T, rtol=1e-14)
        np.testing.assert_array_equal(bound.sources, sources)


@pytest.mark.parametrize("residual", ["none", "identity", "scaled", "initial", "ssm"])
def test_one_feature_and_no_signs_leave_no_slack(network, residual):
    # Linear with d = 1 and W, Lambda, B >= 0: the network's Jacobian is the product itself.
    model, params, graph, x = network("star", 6, width=1, depth=5, activation="identity", residual=residual)
    params = jax.tree.map(np.abs, params)
    exact = sensitivity(*model.segment_fn(params, graph, x, dtype=np.float64), graph).norms
    bound = sensitivity_bound(graph.propagation, *model.dynamics(params)).values
    np.testing.assert_allclose(bound, exact, rtol=1e-13)


def test_one_linear_layer_has_the_blocks_p_w(network):
    model, params, graph, x = network("directed", depth=1, activation="identity")
    W = params["params"]["stack"]["layer"]["linear"]["kernel"][0]
    expected = np.abs(graph.propagation.dense()).T * np.linalg.norm(W, 2)
    exact = sensitivity(*model.segment_fn(params, graph, x, dtype=np.float64), graph).norms
    np.testing.assert_allclose(exact, expected, rtol=1e-13)
    bound = sensitivity_bound(graph.propagation, *model.dynamics(params)).values
    np.testing.assert_allclose(bound, expected, rtol=1e-13)


def test_the_network_without_a_graph_has_p_the_identity(network):
    model, params, graph, x = network("ring", 5, layer="mlp", residual="identity", activation="tanh")
    exact = sensitivity(*model.segment_fn(params, graph, x, dtype=np.float64), graph).norms
    bound = sensitivity_bound(sp.eye_array(5), *model.dynamics(params)).values
    assert (exact <= bound * (1 + 1e-12)).all()
    assert (exact[~np.eye(5, dtype=bool)] == 0).all()


@pytest.mark.parametrize(("scale", "log10"), [(1e-2, -1398), (1e2, 1402)])
def test_bounds_beyond_the_range_of_numbers_have_logarithms(graphs, scale, log10):
    P = jg.prepare(**graphs.complete(4)).propagation  # all entries 1/4, so P P = P
    bound = sensitivity_bound(P, np.zeros(700), np.full(700, scale))
    np.testing.assert_allclose(bound.log10, 700 * np.log10(scale) - np.log10(4), rtol=1e-12)
    assert (bound.values == (0 if scale < 1 else np.inf)).all()


def test_by_distance_is_the_mean_over_pairs():
    distances = np.array([[0, 1, 2, -1], [1, 0, 1, 4]])
    norms = np.array([[4.0, 1.0, 0.5, 9.0], [3.0, 2.0, 2.0, 0.0]])
    result = by_distance(Sensitivity(np.array([0, 1]), distances, norms))
    np.testing.assert_array_equal(result.distances, [0, 1, 2, 4])
    np.testing.assert_array_equal(result.mean, [3, 2, 0.5, 0])
    np.testing.assert_array_equal(result.maximum, [4, 3, 0.5, 0])
    np.testing.assert_array_equal(result.count, [2, 3, 1, 1])


def test_sources_may_be_chosen_or_drawn(network):
    model, *at = network("ring", 9, depth=2)
    f, h = model.segment_fn(*at)
    every = sensitivity(f, h, at[1])
    before = _norms._cache_size()
    chosen = sensitivity(f, h, at[1], sources=np.array([8, 2, 2]))
    np.testing.assert_allclose(chosen.norms, every.norms[[8, 2, 2]], rtol=1e-6)
    np.testing.assert_array_equal(chosen.distances, every.distances[[8, 2, 2]])
    drawn = [sensitivity(f, h, at[1], sources=3, seed=seed) for seed in (0, 0, 1)]
    assert _norms._cache_size() == before + 1  # one program for all triples
    assert len(set(drawn[0].sources.tolist())) == 3
    np.testing.assert_array_equal(drawn[0].sources, drawn[1].sources)
    assert (drawn[0].sources != drawn[2].sources).any()
    assert sensitivity(f, h, at[1], sources=0).norms.shape == (0, 9)


def test_no_nodes(graphs):
    graph = jg.prepare(**graphs.edgeless(0))
    result = sensitivity(lambda h: h, np.zeros((0, 2)), graph)
    assert result.norms.shape == (0, 0)
    assert by_distance(result).count.shape == (0,)
    assert sensitivity_bound(graph.propagation, np.ones(2), np.ones(2)).values.shape == (0, 0)


def test_what_does_not_fit_is_refused(graphs):
    graph, h = jg.prepare(**graphs.ring(5)), np.ones((5, 2))
    for arguments, sentence in [
        ({"norm": "nuclear"}, r"^norm='nuclear' is not known: allowed are spectral, frobenius$"),
        ({"sources": 6}, r"^sources=6: a graph of 5 nodes has 0 to 5 of them$"),
        ({"sources": np.array([1, 5])}, r"^sources 1 to 5: a graph of 5 nodes has nodes 0 to 4$"),
        ({"sources": np.array([0.5])}, r"^sources=array\(\[0.5\]\): allowed are node numbers \[s\] or how many"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            sensitivity(jnp.sin, h, graph, **arguments)
    with pytest.raises(ValueError, match=r"^h is float64 \(4, 2\): allowed are floating-point features \[5, d\]"):
        sensitivity(jnp.sin, h[:4], graph)
    with pytest.raises(ValueError, match=r"^f\(h\) has shape \(10,\): allowed are features \[5, e\]"):
        sensitivity(jnp.ravel, h, graph)
    with pytest.raises(ValueError, match=r"^f's Jacobian at h is NaN or infinite$"):
        sensitivity(lambda h: jnp.sqrt(h - 1), h, graph)
    with pytest.raises(ValueError, match=r"^alphas \(2,\) and scales \(3,\): allowed are one of each a layer"):
        sensitivity_bound(graph.propagation, np.ones(2), np.ones(3))
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^P has entries that are NaN or infinite$"):
            sensitivity_bound(np.diag([1.0, wrong]), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match=r"^scales=.*: allowed are finite numbers of 0 and more$"):
        sensitivity_bound(graph.propagation, np.ones(2), -np.ones(2))

"""DRew: what arrives from which distance, from which layer, and how that reaches through a network."""

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.layers import LAYERS
from jaxgnn.network.residuals import Delayed

D, DEPTH = 3, 4


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def network(K, nu, **options):
    layer = LAYERS["drew"](features=D, K=K, nu=nu)
    rule = {"residual": Delayed(layer.delays)} if layer.delays else {}
    return jg.DeepGNN(**{"layer": layer, "depth": DEPTH, "width": D, "activation": "tanh"} | rule | options)


def features(model, variables, graph, x):
    taps = model.zero_taps(variables, x)
    return np.asarray(jax.jit(model.apply, static_argnames="method")(variables, graph, x, taps, method="tapped")[1])


@pytest.mark.parametrize(("K", "nu"), [(1, None), (3, None), (3, 1), (3, 2), (4, 1), (2, 5)])
def test_is_its_formula_over_the_layers(graphs, random_variables, x64, K, nu):
    edges, x = graphs.path(7), signal(7, 4)
    graph, model = jg.prepare(**edges, hops=K), network(K, nu)
    variables = random_variables(model, graph, x)
    found = features(model, variables, graph, x)
    distance = np.abs(np.subtract.outer(np.arange(7), np.arange(7)))
    P = {}
    for k in range(1, K + 1):
        A = (distance == k) + np.eye(7)
        P[k] = A / np.sqrt(np.outer(A.sum(1), A.sum(1)))
    W, X = variables["params"]["stack"]["layer"], [found[0]]
    for l in range(DEPTH):
        H = sum(
            P[k] @ X[l - max(k - (nu or K), 0)] @ W[f"distance_{k}"]["kernel"][l] for k in range(1, min(l + 1, K) + 1)
        )
        X.append(X[l] + np.tanh(H))
    np.testing.assert_allclose(found, X, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("nu", "reach"), [(None, 1 + 2 + 3), (1, 1 + 1 + 1), (2, 1 + 2 + 2)])
def test_reach_of_three_layers(graphs, random_variables, x64, nu, reach):
    # Without delay layer l adds l + 1 hops; with a delay a message travels at most nu hops a layer.
    graph, x = jg.prepare(**graphs.path(10), hops=3), signal(10, D)
    model = network(3, nu, depth=3)
    variables = random_variables(model, graph, x)
    J = jax.jit(jax.jacfwd(lambda x: model.apply(variables, graph, x)))(jnp.asarray(x))
    reached = np.any(np.asarray(J) != 0, axis=(1, 3))
    distance = np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
    np.testing.assert_array_equal(reached, distance <= reach)


def test_distances_above_those_of_the_layer_have_no_gradient(graphs):
    graph, x = jg.prepare(**graphs.path(7), hops=3), signal(7, 4).astype(np.float32)
    model = network(3, 1)
    params = model.init(jax.random.key(0), graph, x)["params"]
    rest = {k: v for k, v in model.init(jax.random.key(0), graph, x).items() if k != "params"}
    grad = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(model.apply({"params": p, **rest}, graph, x)))))(params)
    for k in (1, 2, 3):
        used = np.any(np.asarray(grad["stack"]["layer"][f"distance_{k}"]["kernel"]), axis=(1, 2))
        np.testing.assert_array_equal(used, np.arange(DEPTH) >= k - 1)


def test_program_grows_neither_with_depth_nor_with_distance(graphs):
    graph, x, sizes = jg.prepare(**graphs.path(9), hops=6), signal(9, 4).astype(np.float32), []
    for K, depth in ((3, 4), (3, 32), (6, 4)):
        model = network(K, 1, depth=depth)
        params = model.init(jax.random.key(0), graph, x)
        sizes.append(str(jax.make_jaxpr(model.apply)(params, graph, x)).count("propagate["))
    assert sizes == [1, 1, 1]


def test_what_is_missing_is_said(graphs):
    x, key = signal(7, 4).astype(np.float32), jax.random.key(0)
    with pytest.raises(ValueError, match=r"^K=3: the graph has pairs at distances up to 0, prepare\(\.\.\., hops=K\)"):
        network(3, None).init(key, jg.prepare(**graphs.path(7)), x)
    graph = jg.prepare(**graphs.path(7), hops=3)
    with pytest.raises(ValueError, match=r"^nu=1: residual=Delayed\(2\) carries 2 earlier X, .* there are 0"):
        network(3, 1, residual="identity").init(key, graph, x)
    with pytest.raises(ValueError, match=r"^nu=1: .* there are 1"):
        network(3, 1, residual="delayed").init(key, graph, x)
    with pytest.raises(ValueError, match=r"^nu=0: allowed are 1 and more"):
        LAYERS["drew"](features=3, nu=0)
    with pytest.raises(ValueError, match=r"^dropedge=0\.5: allowed is 0 for a layer of pairs at distances up to 3"):
        network(3, None, dropedge=0.5)


@pytest.mark.parametrize(("nu", "now"), [(None, (1, 2, 3, 3)), (1, (1, 1, 1, 1)), (2, (1, 2, 2, 2))])
def test_bound_adds_up_the_distances_that_come_in_time(graphs, random_variables, nu, now):
    # On a ring every P_k has norm 1: W_k = c I in all blocks attains it.
    graph, x, c = jg.prepare(**graphs.ring(9), hops=3), signal(9, 4), 0.7
    model = network(3, nu, activation="identity")
    variables = random_variables(model, graph, x)
    for k in (1, 2, 3):
        variables["params"]["stack"]["layer"][f"distance_{k}"]["kernel"] = np.tile(c * np.eye(D), (DEPTH, 1, 1))
    for index, distances in enumerate(now):
        f, h = model.layer_fn(variables, graph, x, layer=index, dtype=np.float64)
        assert model.layer.lipschitz(graph, c, index) == pytest.approx(c * distances, rel=1e-12)
        assert jg.jacobian(f, h).singular_values()[0] == pytest.approx(1 + c * distances, rel=1e-12)


def test_padding_changes_nothing(graphs, x64):
    s, r = (np.asarray(graphs.path(5)[end], np.int32) for end in ("senders", "receivers"))
    s, r = np.r_[s, r], np.r_[r, s]  # repeated edges are merged
    alone = jraph.GraphsTuple(None, None, r, s, None, np.int32([5]), np.int32([s.size]))
    more = jraph.pad_with_graphs(alone, 8, s.size + 3, 3)
    model, x = network(3, 1, out=2), signal(5, 4)
    cases = [
        (jg.prepare(alone, hops=3), x),
        (jg.prepare(more, padded=True, hops=3), np.concatenate([x, np.full((3, 4), np.nan)])),
    ]
    variables = model.init(jax.random.key(0), *cases[0])
    expected, padded = (model.apply(variables, *case) for case in cases)
    np.testing.assert_allclose(padded[:5], expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(padded[5:], 0)


def test_network_says_which_pairs_it_needs():
    assert network(3, 1).distances == 3
    assert network(1, None).distances is None
    assert jg.DeepGNN(khop=True, depth=5).distances == 5
    assert jg.DeepGNN().distances is None


def test_layer_functions_hold_the_earlier_features(graphs, random_variables):
    graph, x = jg.prepare(**graphs.path(5), hops=3), signal(5, 4)
    model = network(3, 1)
    variables = random_variables(model, graph, x)
    with jax.enable_x64(True):
        X = features(model, variables, graph, x)
    for layer in (0, 2, 3):
        f, h = model.layer_fn(variables, graph, x, layer=layer, dtype=np.float64)
        np.testing.assert_allclose(h, X[layer], rtol=0, atol=1e-12)
        np.testing.assert_allclose(f(h), X[layer + 1], rtol=0, atol=1e-12)

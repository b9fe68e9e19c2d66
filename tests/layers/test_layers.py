"""What every layer of the table does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.layers import LAYERS

# H = A X W + b: the A of each layer, given P.
MATRIX = {"gcn": lambda P: P, "mlp": lambda P: np.eye(len(P))}


def signal(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), np.float32)


@pytest.fixture
def graph(graphs):
    return jg.prepare(**graphs.directed(), normalisation="row")


@pytest.mark.parametrize("layer", MATRIX)
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("features", [2, 4, 7])  # narrower than, as wide as and wider than X
def test_is_its_equation(graph, layer, features, use_bias):
    module = LAYERS[layer](features=features, use_bias=use_bias)
    X = signal(12, 4)
    params = jax.tree.map(lambda a: signal(*a.shape), module.init(jax.random.key(0), graph, X))
    W = np.asarray(params["params"]["linear"]["kernel"], np.float64)
    b = np.asarray(params["params"]["bias"])[None] if use_bias else 0.0
    assert W.shape == (4, features)
    expected = MATRIX[layer](graph.propagation.dense()) @ np.asarray(X, np.float64) @ W + b
    np.testing.assert_allclose(module.apply(params, graph, X), expected, rtol=0, atol=1e-5)


def test_every_layer_of_the_table_is_under_test():
    assert set(MATRIX) == set(LAYERS)


def test_the_control_has_the_parameters_of_the_convolution(graph):
    trees = [
        LAYERS[name](features=3, use_bias=True).init(jax.random.key(7), graph, signal(12, 4)) for name in ("gcn", "mlp")
    ]
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    jax.tree.map(np.testing.assert_array_equal, *trees)


@pytest.mark.parametrize("layer", LAYERS)
def test_hears_exactly_its_hops(graphs, layer):
    n = 7
    graph = jg.prepare(**graphs.path(n))
    module = LAYERS[layer](features=2)
    X = signal(n, 2)
    params = module.init(jax.random.key(0), graph, X)
    J = np.abs(jax.jacfwd(lambda X: module.apply(params, graph, X))(X)).sum(axis=(1, 3))
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    np.testing.assert_array_equal(J != 0, distance <= LAYERS[layer].hops)


@pytest.mark.parametrize("layer", LAYERS)
def test_relabelling_the_nodes_permutes_the_output(graphs, layer):
    edges = graphs.directed()
    new = np.random.default_rng(1).permutation(12)
    relabelled = edges | {"senders": new[edges["senders"]], "receivers": new[edges["receivers"]]}
    module = LAYERS[layer](features=3)
    X = signal(12, 3)
    graph = jg.prepare(**edges)
    params = module.init(jax.random.key(0), graph, X)
    moved = module.apply(params, jg.prepare(**relabelled), jnp.zeros_like(X).at[new].set(X))
    np.testing.assert_allclose(np.asarray(moved)[new], module.apply(params, graph, X), rtol=0, atol=1e-6)

"""A unitary convolution keeps every length: all singular values of its Jacobian are 1, to the bound that it states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import jaxgnn as jg
from jaxgnn.layers import LAYERS

D = 4


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def kernel(norm, seed=1):
    W = signal(D, D, seed=seed)
    return norm * W / np.linalg.norm(W, 2)


def jacobian(layer, graph, W):
    X = signal(graph.num_nodes, D, seed=2)
    return jg.jacobian(lambda X: layer.apply({"params": {"kernel": W}}, graph, X), X)


def prepared(graphs, name):
    """A symmetric P, one of norm above 1 that is not, one without loops of norm 1."""
    return {
        "symmetric": lambda: jg.prepare(**graphs.several_components()),
        "directed": lambda: jg.prepare(**graphs.directed(), normalisation="row"),
        "ring": lambda: jg.prepare(**graphs.ring(6), loops=False),
    }[name]()


@pytest.mark.parametrize("name", ["symmetric", "directed", "ring"])
@pytest.mark.parametrize("norm", [0.3, 1.0, 2.0])
def test_all_singular_values_are_1(graphs, name, norm):
    graph, W = prepared(graphs, name), kernel(norm)
    layer = LAYERS["unitary"](features=D)
    sigma = jacobian(layer, graph, W).singular_values()
    allowed = layer.truncation(graph, norm) + 1e-13
    assert np.abs(sigma - 1).max() <= allowed
    assert norm > 1 or allowed < 1e-9


@pytest.mark.parametrize("name", ["symmetric", "directed"])
@pytest.mark.parametrize("K", [1, 2, 5, 9])
def test_truncation_bounds_the_distance_from_the_exponential(graphs, name, K):
    graph, W = prepared(graphs, name), kernel(1.3)
    layer, P = LAYERS["unitary"](features=D, K=K), prepared(graphs, name).propagation.dense()
    exact = scipy.linalg.expm((np.kron(P, W.T) - np.kron(P.T, W)) / 2)
    np.testing.assert_allclose(exact @ exact.T, np.eye(len(exact)), rtol=0, atol=1e-13)
    error = np.linalg.norm(jacobian(layer, graph, W).dense() - exact, 2)
    assert 0 < error <= layer.truncation(graph, 1.3) * (1 + 1e-9)


def test_truncation_is_nearly_attained(graphs):
    # W = c J, J antisymmetric and orthogonal: A has the eigenvalues +- i c p. The remainder is its first term times
    # 1 + O(a / K).
    graph, J = jg.prepare(**graphs.ring(6)), np.kron(np.eye(D // 2), [[0.0, 1.0], [-1.0, 0.0]])
    for K in (2, 5, 8):
        layer = LAYERS["unitary"](features=D, K=K)
        exact = scipy.linalg.expm(np.kron(graph.propagation.dense(), 0.5 * J.T))
        error = np.linalg.norm(jacobian(layer, graph, 0.5 * J).dense() - exact, 2)
        assert 0.95 * layer.truncation(graph, 0.5) <= error <= layer.truncation(graph, 0.5) * (1 + 1e-9)


def test_depth_keeps_every_direction(graphs, random_variables):
    # Without an activation: the Jacobian of twelve layers is orthogonal, all exponents 0, all lengths kept.
    graph, x = jg.prepare(**graphs.several_components()), signal(16, 3)
    model = jg.DeepGNN(layer="unitary", depth=12, width=D, activation="identity")
    variables = random_variables(model, graph, x, scale=0.5)
    J = jg.jacobian(*model.segment_fn(variables, graph, x, dtype=np.float64))
    np.testing.assert_allclose(J.singular_values(), 1, rtol=0, atol=1e-11)
    found = jg.lyapunov(*model.scan_fn(variables, graph, x, dtype=np.float64), k=6)
    np.testing.assert_allclose(found.exponents, 0, rtol=0, atol=1e-12)
    trace = jg.probe(model, variables, graph, x, jnp.sum)
    lengths = np.linalg.norm(trace.features, axis=(1, 2))
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-5)
    plain = model.clone(layer="gcn")
    other = random_variables(plain, graph, x, scale=0.5)
    assert jg.jacobian(*plain.segment_fn(other, graph, x, dtype=np.float64)).singular_values()[0] < 0.1


def test_symmetric_matrix_is_propagated_with_once_a_term(graphs):
    X, W = signal(6, D).astype(np.float32), kernel(1.0).astype(np.float32)
    layer, counts = LAYERS["unitary"](features=D), []
    for graph in (jg.prepare(**graphs.ring(6)), jg.prepare(**graphs.directed_ring(6), normalisation="row")):
        counts.append(str(jax.make_jaxpr(layer.apply)({"params": {"kernel": W}}, graph, X)).count("propagate["))
    assert counts == [1, 2]


def test_without_weights_it_is_the_identity(graphs):
    graph, layer = jg.prepare(**graphs.ring(6)), LAYERS["unitary"](features=D)
    assert layer.truncation(graph, 0.0) == 0
    np.testing.assert_allclose(jacobian(layer, graph, np.zeros((D, D))).dense(), np.eye(6 * D), rtol=0, atol=0)

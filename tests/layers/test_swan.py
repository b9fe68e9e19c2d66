"""SWAN's stability: antisymmetric in features and in space, so that nothing grows and nothing fades."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.layers import LAYERS

D = 4


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


PREPARED = {
    "symmetric": lambda graphs: jg.prepare(**graphs.star(7)),
    "several components, lone nodes": lambda graphs: jg.prepare(**graphs.several_components(), loops=False),
    "row": lambda graphs: jg.prepare(**graphs.star(7), normalisation="row"),
    "directed": lambda graphs: jg.prepare(**graphs.directed(), normalisation="row"),
    "weighted": lambda graphs: jg.prepare(**graphs.path(4), weights=np.array([1.0, 2, 3, 1, 2, 3])),
}


def drawn(seed=1):
    names = ("own", "neighbours", "antisymmetric")
    return {"params": {name: {"kernel": signal(D, D, seed=seed + i)} for i, name in enumerate(names)}}


def jacobian(layer, graph, params, rho=lambda H: H):
    X = signal(graph.num_nodes, D, seed=9)
    return jg.jacobian(lambda X: rho(layer.apply(params, graph, X)), X)


@pytest.mark.parametrize("name", PREPARED)
def test_jacobian_is_antisymmetric_but_for_the_damping(graphs, name):
    J, s = jacobian(LAYERS["swan"](features=D, gamma=0.2, beta=0.8), PREPARED[name](graphs), drawn()).dense(), 0.05
    np.testing.assert_allclose(J + J.T, -0.4 * np.eye(len(J)), rtol=0, atol=1e-13 * np.abs(J).max())
    # So an Euler step I + s (S - gamma I) is normal: with i w an eigenvalue of S it stretches by |1 - s gamma + i s w|.
    w = np.linalg.eigvalsh(1j * (J + 0.2 * np.eye(len(J))))
    expected = np.sort(np.hypot(1 - 0.2 * s, s * w))[::-1]
    found = np.linalg.svd(np.eye(len(J)) + s * J, compute_uv=False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * expected[0])


@pytest.mark.parametrize("name", ["several components, lone nodes", "directed"])
def test_eigenvalues_behind_any_activation_are_imaginary(graphs, name):
    # D S with D positive diagonal is similar to the antisymmetric D^1/2 S D^1/2.
    layer, graph = LAYERS["swan"](features=D, gamma=0.0), PREPARED[name](graphs)
    values = jacobian(layer, graph, drawn(), rho=jnp.tanh).eigenvalues()
    assert np.abs(values.imag).max() > 0.05
    assert np.abs(values.real).max() <= 1e-12 * max(np.abs(values).max(), 1)


def test_space_term_is_that_of_the_row_normalised_matrix(graphs):
    # sym: D^-1/2 P D^1/2 = D^-1 (A + I), whose antisymmetric part weighs a leaf's sum by 1/2 - 1/7.
    graph, layer = jg.prepare(**graphs.star(7)), LAYERS["swan"](features=D, gamma=0.0, beta=1.0)
    params = jax.tree.map(np.zeros_like, drawn())
    params["params"]["antisymmetric"]["kernel"] = np.eye(D) / 2
    X = signal(7, D)
    H = jg.jacobian(lambda X: layer.apply(params, graph, X), X).mv(X)
    K = np.zeros((7, 7))
    K[0, 1:], K[1:, 0] = 1 / 7 - 1 / 2, 1 / 2 - 1 / 7
    np.testing.assert_allclose(H, K @ X, rtol=0, atol=1e-14)
    without = LAYERS["swan"](features=D, gamma=0.0, beta=0.0)
    np.testing.assert_array_equal(jg.jacobian(lambda X: without.apply(params, graph, X), X).mv(X), 0)


def test_bound_is_attained_where_all_terms_turn_the_same_way(graphs):
    # On a ring N = N^T and P has the eigenvalue 1: W = V = c J give 2 c (1 + 1) in one direction.
    graph, c = jg.prepare(**graphs.ring(6)), 0.7
    J = np.kron(np.eye(D // 2), [[0.0, 1.0], [-1.0, 0.0]])
    params = {"params": {"own": {"kernel": -c * J}, "neighbours": {"kernel": c * J}, "antisymmetric": {"kernel": J}}}
    layer = LAYERS["swan"](features=D, gamma=0.3)
    found = jacobian(layer, graph, params).singular_values()[0]
    assert found == pytest.approx(math.hypot(4 * c, 0.3), rel=1e-12)
    assert layer.lipschitz(graph, c) == pytest.approx(found, rel=1e-12)


def test_bound_of_the_space_term(graphs):
    # A star's N - N^T has the norm sqrt(6) (1/2 - 1/7); U = c I makes 2 c of it, W = V = 0.
    graph, layer = jg.prepare(**graphs.star(7)), LAYERS["swan"](features=D, gamma=0.0, beta=-0.5)
    params = jax.tree.map(np.zeros_like, drawn())
    params["params"]["antisymmetric"]["kernel"] = 0.9 * np.eye(D)
    alone = 2 * 0.9 * 0.5 * math.sqrt(6) * (1 / 2 - 1 / 7)
    assert jacobian(layer, graph, params).singular_values()[0] == pytest.approx(alone, rel=1e-12)
    assert layer.lipschitz(graph, 0.9) == pytest.approx(2 * 0.9 * 2 + alone, rel=1e-12)


def test_deep_network_neither_explodes_nor_forgets(graphs, random_variables):
    graph, x = jg.prepare(**graphs.several_components()), signal(16, 3)
    model = jg.DeepGNN(layer=LAYERS["swan"](features=D, gamma=0.0), depth=50, width=D, residual_scale=0.02)
    variables = random_variables(model, graph, x, scale=0.5)
    sigma = jg.jacobian(*model.segment_fn(variables, graph, x, dtype=np.float64)).singular_values()
    assert 0.5 < sigma[-1] < sigma[0] < 2

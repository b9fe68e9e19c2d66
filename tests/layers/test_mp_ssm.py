"""MP-SSM is linear through its hops: its Jacobian is known in closed form, and so is what the engine must find."""

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.layers import LAYERS

D, DEPTH = 3, 5


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.fixture
def recurrence(graphs, random_variables):
    """A network of MP-SSM steps with shared weights, its variables, graph, x, P and W."""
    graph = jg.prepare(**graphs.several_components())
    model = jg.DeepGNN(layer="mp_ssm_step", depth=DEPTH, width=D, share_weights=True)
    x = signal(graph.num_nodes, 4)
    variables = random_variables(model, graph, x)
    W = np.asarray(variables["params"]["stack"]["layer"]["linear"]["kernel"])
    return model, variables, graph, x, graph.propagation.dense(), W


def test_sensitivity_is_the_kronecker_product_of_powers(recurrence):
    model, variables, graph, x, P, W = recurrence
    for start, stop in ((0, 1), (1, 4), (2, DEPTH)):
        k = stop - start
        J = jg.jacobian(*model.segment_fn(variables, graph, x, start=start, stop=stop, dtype=np.float64))
        Pk, Wk = np.linalg.matrix_power(P, k), np.linalg.matrix_power(W, k)
        expected = np.kron(Pk, Wk.T)
        np.testing.assert_allclose(J.dense(), expected, rtol=0, atol=1e-13 * np.abs(expected).max())
        pairs = np.outer(*(np.linalg.svd(M, compute_uv=False) for M in (Pk, Wk)))
        sigma = np.sort(pairs.ravel())[::-1]
        np.testing.assert_allclose(J.singular_values(), sigma, rtol=0, atol=1e-12 * sigma[0])


def test_recurrence_starts_anew_from_the_input_at_every_step(recurrence, x64):
    model, variables, graph, x, P, W = recurrence
    _, X = jax.jit(model.apply, static_argnames="method")(
        variables, graph, x, model.zero_taps(variables, x), method="tapped"
    )
    B = np.asarray(variables["params"]["stack"]["layer"]["input"]["kernel"])
    Z = [np.asarray(X[0])]
    for _ in range(DEPTH):
        Z.append(P @ Z[-1] @ W + Z[0] @ B)
    np.testing.assert_allclose(X, Z, rtol=0, atol=1e-12 * np.abs(Z).max())


def test_lyapunov_exponents_are_sums_of_logarithms(graphs, random_variables):
    # P symmetric, W a scaled rotation of planes: every step stretches the same orthogonal directions by |p_i w_j|.
    graph, depth = jg.prepare(**graphs.path(4)), 400
    model = jg.DeepGNN(layer="mp_ssm_step", depth=depth, width=2, share_weights=True)
    x = signal(4, 3)
    variables = random_variables(model, graph, x)
    turn = 0.9 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    variables["params"]["stack"]["layer"]["linear"]["kernel"] = turn
    found = jg.lyapunov(*model.scan_fn(variables, graph, x, dtype=np.float64), k=4)
    moduli = np.sort(np.abs(np.linalg.eigvalsh(graph.propagation.dense())))[::-1]
    np.testing.assert_allclose(found.exponents, np.log(0.9 * np.repeat(moduli[:2], 2)), rtol=0, atol=0.02)
    assert found.largest == pytest.approx(np.log(0.9), abs=5e-3)  # of P's largest eigenvalue, 1


@pytest.mark.parametrize("K", [1, 2, 7])
def test_jacobian_of_a_layer_is_the_sum_over_its_steps(graphs, K):
    graph, X = jg.prepare(**graphs.directed(), normalisation="row"), signal(12, 4)
    layer, P = LAYERS["mp_ssm"](features=D, K=K), graph.propagation.dense()
    B, W = signal(4, D, seed=1), signal(D, D, seed=2) / 2
    J = jg.jacobian(lambda X: layer.apply({"params": {"input": {"kernel": B}, "kernel": W}}, graph, X), X)
    powers = [(np.linalg.matrix_power(P, k), np.linalg.matrix_power(W, k)) for k in range(K)]
    expected = sum(np.kron(Pk, (B @ Wk).T) for Pk, Wk in powers)
    np.testing.assert_allclose(J.dense(), expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    assert layer.hops == K - 1
    np.testing.assert_allclose(J.singular_values(), np.linalg.svd(expected, compute_uv=False), rtol=0, atol=1e-12)


def test_many_steps_cost_no_larger_program(graphs):
    graph, X = jg.prepare(**graphs.ring(7)), signal(7, D).astype(np.float32)
    sizes = []
    for K in (3, 64):
        layer = LAYERS["mp_ssm"](features=D, K=K)
        params = layer.init(jax.random.key(0), graph, X)
        sizes.append(len(str(jax.make_jaxpr(layer.apply)(params, graph, X)).splitlines()))
    assert sizes[0] == sizes[1]

"""PH-DGN is a symplectic map: volumes and the paired structure of positions and momenta are kept, energy nearly so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.layers import LAYERS

D = 4
NAMES = tuple(f"{half}_{end}" for half in "pq" for end in ("own", "neighbours"))


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def drawn(scale=1.0):
    return {"params": {name: {"kernel": scale * signal(2, 2, seed=i)} for i, name in enumerate(NAMES)}}


def energy(params, P, X):
    halves = {"p": X[:, :2], "q": X[:, 2:]}
    W = {name: params["params"][name]["kernel"] for name in NAMES}
    return sum(np.sum(np.log(np.cosh(x @ W[f"{h}_own"] + P @ x @ W[f"{h}_neighbours"]))) for h, x in halves.items())


PREPARED = {
    "symmetric": lambda graphs: jg.prepare(**graphs.several_components()),
    "directed": lambda graphs: jg.prepare(**graphs.directed(), normalisation="row"),
}


@pytest.fixture(params=PREPARED)
def graph(graphs, request):
    return PREPARED[request.param](graphs)


@pytest.mark.parametrize("step", [0.1, 1.5])
def test_jacobian_is_symplectic(graph, step):
    n, X = graph.num_nodes, signal(graph.num_nodes, D, seed=9)
    layer, params = LAYERS["ph_dgn"](features=D, step=step), drawn()
    J = jg.jacobian(lambda X: layer.apply(params, graph, X), X).dense()
    omega = np.kron(np.eye(n), np.kron([[0, 1], [-1, 0]], np.eye(2)))  # row-major vec of [p, q]
    scale = np.abs(J).max() ** 2
    np.testing.assert_allclose(J.T @ omega @ J, omega, rtol=0, atol=1e-12 * scale)
    sigma = np.linalg.svd(J, compute_uv=False)
    np.testing.assert_allclose(sigma * sigma[::-1], 1, rtol=1e-9)
    assert sigma[0] > 1.01


def test_damping_shrinks_volumes(graph, x64):
    X, params = signal(graph.num_nodes, D, seed=9), drawn()
    params["params"]["damping"] = np.array([1.0, -1.0])
    layer = LAYERS["ph_dgn"](features=D, damping=0.5)
    J = jg.jacobian(lambda X: layer.apply(params, graph, X), X).dense()
    assert 0 < np.linalg.det(J) < 0.99
    params["params"]["damping"] = np.array([-1.0, 0.0])  # relu(D) = 0
    free = LAYERS["ph_dgn"](features=D).apply(params, graph, X)
    np.testing.assert_array_equal(layer.apply(params, graph, X), free)


def test_energy_stays_over_many_steps_of_shared_weights(graphs, x64):
    # A symplectic step keeps a nearby energy for all time; an explicit Euler step of the same system gains steadily.
    graph, layer, params = jg.prepare(**graphs.path(5)), LAYERS["ph_dgn"](features=D, step=0.1), drawn()
    P, X = graph.propagation.dense(), jnp.asarray(signal(5, D, seed=9))
    run = jax.jit(lambda X: jax.lax.scan(lambda X, _: (layer.apply(params, graph, X),) * 2, X, length=2000)[1])
    energies = np.array([energy(params, P, Z) for Z in np.asarray(run(X))[::20]])
    assert np.ptp(energies) < 0.1 * energies[0]
    assert abs(energies[-30:].mean() - energies[:30].mean()) < 0.02 * energies[0]
    damped = LAYERS["ph_dgn"](features=D, step=0.1, damping=0.5)
    with_damping = {"params": params["params"] | {"damping": np.ones(2)}}
    run = jax.jit(lambda X: jax.lax.scan(lambda X, _: (damped.apply(with_damping, graph, X),) * 2, X, length=2000)[1])
    assert energy(params, P, np.asarray(run(X))[-1]) < 0.1 * energies[0]


def test_gradients_are_those_of_the_energy(graph, x64):
    # To first order in the step: (q' - q) / s = dE/dp, (p' - p) / s = -dE/dq.
    X, params, s = jnp.asarray(signal(graph.num_nodes, D, seed=9)), drawn(), 1e-7
    P = jnp.asarray(graph.propagation.dense())
    W = {name: params["params"][name]["kernel"] for name in NAMES}

    def total(X):
        halves = (("p", X[:, :2]), ("q", X[:, 2:]))
        return sum(jnp.log(jnp.cosh(x @ W[f"{h}_own"] + P @ x @ W[f"{h}_neighbours"])).sum() for h, x in halves)

    G = np.asarray(jax.jit(jax.grad(total))(X))
    moved = (LAYERS["ph_dgn"](features=D, step=s).apply(params, graph, X) - X) / s
    np.testing.assert_allclose(moved, np.hstack([-G[:, 2:], G[:, :2]]), rtol=0, atol=1e-5)


def test_deep_network_keeps_its_volume(graphs, random_variables):
    graph, x = jg.prepare(**graphs.path(4)), signal(4, 3)
    model = jg.DeepGNN(layer="ph_dgn", depth=30, width=D)
    assert (model.activation, model.residual) == ("identity", "none")
    variables = random_variables(model, graph, x)
    sigma = jg.jacobian(*model.segment_fn(variables, graph, x, dtype=np.float64)).singular_values()
    np.testing.assert_allclose(sigma * sigma[::-1], 1, rtol=1e-6)

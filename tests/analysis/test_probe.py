from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.analysis.probe import _probe

SLOPE = {
    "identity": lambda H: np.ones_like(H),
    "relu": lambda H: (H > 0).astype(float),
    "tanh": lambda H: 1 - np.tanh(H) ** 2,
}


def loss(logits):
    return jnp.sum(jnp.sin(logits))


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def reverse_mode(run, P, *, activation, residual):
    """G^(l), B^(l) and ||(P X^(l))^T B^(l)||_F of a network written out, for the loss sum sin(logits)."""
    G, errors, norms = [np.cos(run.logits) @ run.readout.T], [], []
    for X, H, W in list(zip(run.features, run.pre_activation, run.weights, strict=False))[::-1]:
        B = SLOPE[activation](H) * G[0]
        errors.insert(0, B)
        norms.insert(0, np.sqrt(np.sum((X.T @ P.T @ B) ** 2)))
        G.insert(0, P.T @ B @ W.T + (G[0] if residual == "identity" else 0.0))
    return np.stack(G), np.stack(errors), np.array(norms)


def assert_relative(actual, expected, tolerance=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


CASES = [
    {"activation": "identity"},
    {"activation": "relu", "residual": "identity"},
    {"activation": "tanh", "residual": "identity", "bound": "frobenius"},
    {"activation": "relu", "bound": "frobenius_soft", "bias": True},
    {"activation": "tanh", "layer": "mlp"},
    {"activation": "relu", "layer": "mlp", "residual": "identity", "bound": "frobenius", "bias": True},
]


@pytest.mark.parametrize(
    ("options", "normalisation"),
    [(case, name) for case in CASES for name in ("sym", "row") if "layer" not in case or name == "row"],
    ids=lambda o: o if isinstance(o, str) else " ".join(str(v) for v in o.values()),
)
def test_is_reverse_mode_written_out(graphs, random_variables, written_out, options, normalisation, x64):
    graph = jg.prepare(**graphs.directed(), normalisation=normalisation)
    model = jg.DeepGNN(depth=5, width=3, out=2, bound_c=0.75, **options)
    x = signal(12, 4)
    params = random_variables(model, graph, x, scale=1.3)
    P = np.eye(12) if model.layer == "mlp" else graph.propagation.dense()
    keys = {"activation": model.activation, "residual": model.residual}
    run = written_out(params, P, x, **keys, bound=model.bound, c=0.75)
    G, B, norms = reverse_mode(run, P, **keys)
    trace = jg.probe(model, params, graph, x, loss)
    assert_relative(trace.features, run.features)
    assert_relative(trace.feature_grads, G)
    assert_relative(trace.errors, B)
    assert_relative(trace.weight_grads, norms)
    assert float(trace.loss) == pytest.approx(np.sin(run.logits).sum(), rel=1e-12)


@pytest.mark.parametrize("kind", ["int32", "uint8", "bool", "float16", "bfloat16"])
def test_features_of_any_kind_are_probed_in_the_precision_of_the_network(graphs, kind):
    graph = jg.prepare(**graphs.ring(6))
    model = jg.DeepGNN(depth=2, width=3, out=2, activation="tanh")
    x = (np.arange(30).reshape(6, 5) % 3).astype(jnp.dtype(kind))
    expected_at = x.astype(np.float32)
    params = model.init(jax.random.key(0), graph, expected_at)
    trace, expected = jg.probe(model, params, graph, x, loss), jg.probe(model, params, graph, expected_at, loss)
    for name, found, right in zip(trace._fields, trace, expected, strict=True):
        assert found.dtype == np.float32, name
        assert float(jnp.max(jnp.abs(right))) > 1e-3, name
        np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-7, err_msg=name)


def test_shapes_and_single_precision(graphs):
    graph = jg.prepare(**graphs.ring(6))
    model = jg.DeepGNN(depth=4, width=3, out=2)
    x = signal(6, 5)  # float64 on the host, in float32 mode
    trace = jg.probe(model, model.init(jax.random.key(0), graph, x), graph, x, loss)
    shapes = {"features": (5, 6, 3), "feature_grads": (5, 6, 3), "errors": (4, 6, 3), "weight_grads": (4,), "loss": ()}
    assert {name: value.shape for name, value in trace._asdict().items()} == shapes
    assert {value.dtype for value in trace} == {np.dtype("float32")}


@pytest.mark.parametrize("residual", ["none", "identity"])
def test_feature_gradients_go_back_through_the_layer_jacobians(graphs, random_variables, residual, x64):
    graph = jg.prepare(**graphs.several_components(), normalisation="row")
    model = jg.DeepGNN(depth=3, width=2, activation="tanh", residual=residual, bound="frobenius", bound_c=0.75)
    x = signal(16, 2)
    params = random_variables(model, graph, x)
    G = jg.probe(model, params, graph, x, loss).feature_grads
    for k in range(3):
        J = jg.jacobian(*model.layer_fn(params, graph, x, layer=k))
        assert_relative(J.rmv(G[k + 1]), G[k], 1e-12)


class Anchored(nn.Module):
    """H = P X W + x0."""

    features: int

    @nn.compact
    def __call__(self, graph, X, x0):
        W = self.param("W", nn.initializers.normal(), (X.shape[-1], self.features))
        return graph.propagation @ X @ W + x0


def test_feature_gradients_are_total_derivatives(graphs, random_variables, x64):
    # The encoder's bias is added to every row of X^(0), so its gradient is 1^T G^(0), through x0 as well.
    graph = jg.prepare(**graphs.star(5))
    model = jg.DeepGNN(layer=Anchored, depth=3, width=2, activation="tanh")
    x = signal(5, 2)
    params = random_variables(model, graph, x)
    total = jax.grad(lambda params: loss(model.apply(params, graph, x)))(params)["params"]["encoder"]["bias"]
    assert_relative(jg.probe(model, params, graph, x, loss).feature_grads[0].sum(axis=0), total, 1e-12)


def test_without_a_bound_the_weight_gradients_are_those_of_the_parameters(graphs, random_variables, x64):
    graph = jg.prepare(**graphs.star(5))
    model = jg.DeepGNN(depth=3, width=2, activation="tanh", residual="identity", bias=True)
    x = signal(5, 2)
    params = random_variables(model, graph, x)
    W = jax.grad(lambda params: loss(model.apply(params, graph, x)))(params)["params"]["stack"]["layer"]["linear"]
    trace = jg.probe(model, params, graph, x, loss)
    assert_relative(trace.weight_grads, np.linalg.norm(W["kernel"], axis=(1, 2)), 1e-12)


def test_backward_errors_of_a_linear_network_keep_their_mean_and_smooth(graphs, random_variables, x64):
    # Keriven 2025 on P = P^T, P 1 = 1: mean B^(k) = mean B^(L-1) W^(L-1)^T .. W^(k+1)^T, and the energies contract.
    n, depth = 5, 8
    graph = jg.prepare(**graphs.ring(n), normalisation="doubly")
    model = jg.DeepGNN(depth=depth, width=3, activation="identity")
    x = signal(n, 3)
    params = random_variables(model, graph, x)
    B = np.asarray(jg.probe(model, params, graph, x, loss).errors)
    W = params["params"]["stack"]["layer"]["linear"]["kernel"]
    lam = np.abs(1 + 2 * np.cos(2 * np.pi * np.arange(1, n) / n)).max() / 3
    s = np.linalg.norm(W, 2, axis=(1, 2)).max()
    mean = B[-1].mean(axis=0)
    energies = np.array([jg.measures.energy(jnp.asarray(b)) for b in B])
    for k in range(depth - 2, -1, -1):
        mean = mean @ W[k + 1].T
        assert_relative(B[k].mean(axis=0), mean, 1e-12)
        assert energies[k] <= (lam * s) ** (depth - 1 - k) * energies[-1]


class OwnBlocks(NamedTuple):
    features: jax.Array
    pre_activation: jax.Array
    weights: dict


class OwnTaps(NamedTuple):
    encoder: jax.Array
    blocks: OwnBlocks


class Own(nn.Module):
    """A tapped model of ones own: two layers tanh(P X W^(l)), readout by the sum of columns."""

    width: int = 3

    def setup(self):
        self.W = self.param("W", nn.initializers.normal(1.0), (2, self.width, self.width))

    def tapped(self, graph, x, taps):
        features = [x + taps.encoder]
        for layer in range(2):
            W = self.W[layer] + taps.blocks.weights["W"][layer]
            H = graph.propagation @ features[-1] @ W + taps.blocks.pre_activation[layer]
            features.append(jnp.tanh(H) + taps.blocks.features[layer])
        return features[-1].sum(axis=1, keepdims=True), jnp.stack(features)

    @nn.nowrap
    def zero_taps(self, params, x):
        every = jnp.zeros((2, *x.shape))
        blocks = OwnBlocks(every, every, {"W": jnp.zeros((2, self.width, self.width))})
        return OwnTaps(jnp.zeros(x.shape), blocks)


def test_a_model_of_ones_own_can_be_probed(graphs, x64):
    graph = jg.prepare(**graphs.star(5), normalisation="row")
    x = jnp.asarray(signal(5, 3))
    params = {"params": {"W": jnp.asarray(signal(2, 3, 3, seed=1))}}
    trace = jg.probe(Own(), params, graph, x, loss)
    P, W = graph.propagation.dense(), params["params"]["W"]
    H0 = P @ x @ W[0]
    H1 = P @ np.tanh(H0) @ W[1]
    G2 = np.cos(np.tanh(H1).sum(axis=1, keepdims=True)) * np.ones((5, 3))
    B1 = SLOPE["tanh"](H1) * G2
    G1 = P.T @ B1 @ W[1].T
    B0 = SLOPE["tanh"](H0) * G1
    assert_relative(trace.features, np.stack([x, np.tanh(H0), np.tanh(H1)]))
    assert_relative(trace.feature_grads, np.stack([P.T @ B0 @ W[0].T, G1, G2]))
    assert_relative(trace.errors, np.stack([B0, B1]))
    norms = [np.linalg.norm((P @ x).T @ B0), np.linalg.norm((P @ np.tanh(H0)).T @ B1)]
    assert_relative(trace.weight_grads, norms)


def scaled(scale, logits):
    return scale * jnp.sum(logits)


def test_a_partial_of_a_function_is_compiled_once(graphs):
    graph = jg.prepare(**graphs.ring(6))
    model = jg.DeepGNN(depth=2, width=3, activation="elu")
    x = signal(6, 2)
    params = model.init(jax.random.key(0), graph, x)
    before = _probe._cache_size()
    losses = [jg.probe(model, params, graph, x, Partial(scaled, jnp.float32(s))).loss for s in (1, 2)]
    assert _probe._cache_size() == before + 1
    np.testing.assert_allclose(losses[1], 2 * losses[0])


def test_probing_is_of_evaluation_mode(graphs):
    graph = jg.prepare(**graphs.ring(6))
    x = signal(6, 3)
    plain, dropped = (jg.DeepGNN(depth=2, width=3, dropout=rate, input_dropout=rate) for rate in (0.0, 0.5))
    params = plain.init(jax.random.key(0), graph, x)
    jax.tree.map(
        np.testing.assert_array_equal, *(jg.probe(model, params, graph, x, loss) for model in (plain, dropped))
    )

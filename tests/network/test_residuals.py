"""The rules X^(l+1) = f(X^(l), R), written out in numpy over several layers."""

from functools import partial

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.network.residuals import RESIDUALS, GradientGating, GraphCON

DEPTH, D = 3, 4


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def single(value):
    """A numeric option: kept in float32."""
    return float(np.float32(value))


def delayed(X, R, A, p, s):
    return X[-1] + R(X[-1], len(X) - 1)


def sigmoid(Z):
    return 1 / (1 + np.exp(-Z))


def none(X, R, A, p, s):
    return R(X[-1], len(X) - 1)


def identity(X, R, A, p, s):
    return X[-1] + R(X[-1], len(X) - 1)


def scaled(X, R, A, p, s):
    return X[-1] + s * R(X[-1], len(X) - 1)


def depth_scaled(X, R, A, p, s):
    return X[-1] + s * R(X[-1], len(X) - 1)


def initial(X, R, A, p, s):
    return (1 - s) * R(X[-1], len(X) - 1) + s * X[0]


def gated(X, R, A, p, s):
    layer = len(X) - 1
    update = R(X[-1], layer)
    g = sigmoid(X[-1] @ p["input"]["kernel"][layer] + p["input"]["bias"][layer] + update @ p["update"]["kernel"][layer])
    return g * X[-1] + (1 - g) * update


def weighted(X, R, A, p, s):
    layer = len(X) - 1
    return R(X[-1], layer) + sum(p["weight"][j] * X[j] for j in range(layer + 1)) / (layer + 1)


def graphcon(X, R, A, p, s, alpha=1.0, gamma=1.0):
    # Y is all velocities from Y^(0) = X^(0): X^(l+1) - X^(l) = s Y^(l+1).
    Y = X[0] if len(X) == 1 else (X[-1] - X[-2]) / s
    Y = Y + s * (R(X[-1], len(X) - 1) - gamma * Y - alpha * X[-1])
    return X[-1] + s * Y


def gradient_gating(X, R, A, p, s, power=2.0):
    update = R(X[-1], len(X) - 1)
    tau = np.zeros_like(update)
    for receiver, sender in np.argwhere(A):
        tau[receiver] += np.abs(update[sender] - update[receiver]) ** power
    tau = np.tanh(tau)
    return (1 - tau) * X[-1] + tau * update


RULES = {
    "none": none,
    "identity": identity,
    "scaled": scaled,
    "depth_scaled": depth_scaled,
    "initial": initial,
    "gated": gated,
    "weighted": weighted,
    "graphcon": graphcon,
    "gradient_gating": gradient_gating,
    "delayed": delayed,
}


def run(model, random_variables, graph, x, **drawing):
    variables = random_variables(model, graph, x, **drawing)
    taps = model.zero_taps(variables, x)
    logits, features = jax.jit(partial(model.apply, method="tapped"))(variables, graph, x, taps)
    return variables["params"], np.asarray(logits), np.asarray(features)


def written_out(rule, params, graph, x0, s, layer, **options):
    A = np.zeros((graph.num_nodes, graph.num_nodes))
    A[graph.receivers, graph.senders] = 1
    X = [x0]
    for _ in range(DEPTH):
        X.append(rule(X, layer, A, params["stack"].get("residual"), s, **options))
    return np.stack(X)


def convolution(params, graph, rho=np.tanh):
    P, W = graph.propagation.dense(), params["stack"]["layer"]["linear"]["kernel"]
    return lambda X, layer: rho(P @ X @ W[layer])


@pytest.fixture
def graph(graphs):
    return jg.prepare(**graphs.directed(), normalisation="row")


def check(features, expected):
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_every_rule_is_under_test():
    assert set(RULES) == set(RESIDUALS) - {"ssm"}  # tests/network/test_state_space.py


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("name", RULES)
def test_is_its_formula_over_three_layers(graph, random_variables, x64, name, scale):
    model = jg.DeepGNN(depth=DEPTH, width=D, residual=name, residual_scale=scale, activation="tanh")
    params, _, X = run(model, random_variables, graph, signal(12, 3))
    default = {"scaled": 0.1, "depth_scaled": 3**-0.5, "initial": 0.1, "graphcon": 0.5}.get(name, 1.0)
    assert model.residual_scale == (default if scale is None else scale)
    expected = written_out(RULES[name], params, graph, X[0], single(model.residual_scale), convolution(params, graph))
    check(X, expected)


@pytest.mark.parametrize(
    ("rule", "written", "options"),
    [
        (GraphCON(alpha=0.4, gamma=0.7), graphcon, {"alpha": 0.4, "gamma": 0.7}),
        (GradientGating(p=3.0), gradient_gating, {"power": 3.0}),
    ],
)
def test_options_of_an_instance(graph, random_variables, x64, rule, written, options):
    model = jg.DeepGNN(depth=DEPTH, width=D, residual=rule, residual_scale=0.5, activation="tanh")
    params, _, X = run(model, random_variables, graph, signal(12, 3))
    check(X, written_out(written, params, graph, X[0], 0.5, convolution(params, graph), **options))


def test_graphcon_with_unit_step_and_constants_is_the_plain_network(graph, random_variables, x64):
    # Y' = Y + R - Y - X = R - X, and X + Y' = R.
    features = [
        run(
            jg.DeepGNN(depth=DEPTH, width=D, residual=name, residual_scale=1.0), random_variables, graph, signal(12, 3)
        )[2]
        for name in ("graphcon", "none")
    ]
    check(*features)


def test_gradient_gating_rests_where_neighbours_agree(graphs, random_variables, x64):
    # On a ring with equal rows every difference is 0: nothing changes, whatever the layer computes.
    graph, x = jg.prepare(**graphs.ring(6)), np.tile(signal(1, 3), (6, 1))
    model = jg.DeepGNN(depth=DEPTH, width=D, residual="gradient_gating", activation="tanh")
    _, _, X = run(model, random_variables, graph, x)
    np.testing.assert_array_equal(X, np.broadcast_to(X[0], X.shape))


def test_weighted_starts_as_the_mean_of_all_earlier_layers(graph, x64):
    model = jg.DeepGNN(depth=DEPTH, width=D, residual="weighted")
    weights = model.init(jax.random.key(0), graph, signal(12, 3))["params"]["stack"]["residual"]["weight"]
    np.testing.assert_array_equal(weights, np.ones(DEPTH))


@pytest.mark.parametrize("jumping", ["last", "sum", "max", "concat"])
def test_jumping_knowledge(graph, random_variables, x64, jumping):
    model = jg.DeepGNN(depth=DEPTH, width=D, out=2, jumping=jumping, activation="tanh")
    params, logits, X = run(model, random_variables, graph, signal(12, 3))
    if jumping == "sum":
        # Parameters on the host, outside of jit, as well.
        host = {"params": params, "constants": dict.fromkeys(("bound_c", "residual_scale", "modulus"), np.ones(()))}
        check(model.apply(host, graph, signal(12, 3)), logits)
        assert params["jump"].shape == (DEPTH + 1,)
        read = sum(a * X_l for a, X_l in zip(params["jump"], X, strict=True))
        start = jax.jit(model.init)(jax.random.key(0), graph, signal(12, 3))["params"]["jump"]
        np.testing.assert_allclose(start, 1 / (DEPTH + 1), rtol=1e-6)
    else:
        read = {"last": X[-1], "max": np.max(X, axis=0), "concat": np.concatenate(list(X[1:]), axis=1)}[jumping]
        assert "jump" not in params
    check(logits, read @ params["readout"]["kernel"] + params["readout"]["bias"])


def adgn(params, graph):
    P, layer = graph.propagation.dense(), params["stack"]["layer"]
    W, V = layer["kernel"], layer["neighbours"]["kernel"]
    # PyG's AntiSymmetricConv: X + epsilon tanh(X A^T + P X V), A = W - W^T - gamma I
    return lambda X, l: np.tanh(X @ (W[l] - W[l].T - 0.1 * np.eye(D)).T + P @ X @ V[l])


def grand(params, graph):
    layer, n = params["stack"]["layer"], graph.num_nodes
    reached = np.eye(n, dtype=bool)
    reached[graph.receivers, graph.senders] = True

    def R(X, l):
        scores = (X @ layer["key"]["kernel"][l]) @ (X @ layer["query"]["kernel"][l]).T / np.sqrt(D)
        a = np.where(reached, np.exp(scores), 0)
        return a / a.sum(1, keepdims=True) @ X - X

    return R


def relu_convolution(params, graph):
    return convolution(params, graph, lambda Z: np.maximum(Z, 0))


DEFAULTS = {
    "a_dgn": (scaled, adgn, 0.1),
    "grand": (scaled, grand, 0.1),
    "graphcon": (graphcon, relu_convolution, 0.5),
    "g2": (gradient_gating, relu_convolution, 1.0),
    "gcn": (none, relu_convolution, 1.0),
}


@pytest.mark.parametrize("layer", DEFAULTS)
def test_a_layer_comes_with_the_update_of_its_paper(graph, random_variables, x64, layer):
    rule, update, s = DEFAULTS[layer]
    params, _, X = run(jg.DeepGNN(layer=layer, depth=DEPTH, width=D), random_variables, graph, signal(12, 3))
    check(X, written_out(rule, params, graph, X[0], single(s), update(params, graph)))


def test_what_is_asked_for_goes_before_the_layers_defaults():
    model = jg.DeepGNN(layer="a_dgn", residual="none", activation="relu")
    assert (model.residual, model.activation) == ("none", "relu")
    assert jg.DeepGNN(layer="a_dgn", residual_scale=0.5).residual_scale == 0.5
    assert jg.DeepGNN(layer=jg.layers.ADGN(features=4)).residual == "scaled"


def test_a_clone_takes_what_was_left_open_from_its_own_layer_and_rule():
    model = jg.DeepGNN(layer="a_dgn")
    other = model.clone(layer="gcn", residual="graphcon")
    assert (other.activation, other.residual, other.residual_scale) == ("relu", "graphcon", 0.5)
    given = jg.DeepGNN(layer="a_dgn", activation="elu", residual_scale=0.2).clone(layer="gcn")
    assert (given.activation, given.residual, given.residual_scale) == ("elu", "none", 0.2)

"""Backward errors in numbers: against the network written out in numpy, closed forms, and what no basis changes."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.analysis.backward import sizes, sizes_off, slopes
from jaxgnn.analysis.theory_lines import geometry, lines
from jaxgnn.graphs.connectivity import second_eigenvalue
from jaxgnn.tasks.padding import stacked

SLOPE = {
    "identity": lambda H: np.ones_like(H),
    "relu": lambda H: (H > 0).astype(float),
    "leaky_relu": lambda H: np.where(H > 0, 1.0, 0.01),
    "tanh": lambda H: 1 - np.tanh(H) ** 2,
}


def loss(logits):
    return jnp.sum(jnp.sin(logits))


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def analysed(model, params, graph, x, shape=None):
    return jg.backward_analysis(model, params, graph, x, Partial(loss), shape)


def norms(X):
    return np.sqrt(np.sum(np.square(X), axis=(-2, -1)))


def off_mean(X):
    return X - X.mean(axis=-2, keepdims=True)


def off(X, v):
    """Distance to span(v) over the nodes where v is not 0, least squares."""
    inside = v != 0
    return np.array([np.sqrt(np.linalg.lstsq(v[inside, None], Y[inside])[1].sum()) for Y in X])


def cosines(A, B):
    return np.array([np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(A, B, strict=True)])


def close(actual, expected, tolerance=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=1e-13)


def passes(run, P, model):
    """X^(l), G^(l), B^(l) and rho'(H^(l)) of a network written out in numpy, for the loss sum sin(logits)."""
    slope = SLOPE[model.activation](run.pre_activation)
    G, B = [np.cos(run.logits) @ run.readout.T], []
    for rho, W in list(zip(slope, run.weights, strict=True))[::-1]:
        B.insert(0, rho * G[0])
        G.insert(0, P.T @ B[0] @ W.T + (G[0] if model.residual == "identity" else 0.0))
    return run.features, np.stack(G), np.stack(B), slope


def options_of(model):
    return {"activation": model.activation, "residual": model.residual, "bound": model.bound, "c": 0.75}


CASES = [
    ("sym", {"activation": "identity"}),
    ("sym", {"activation": "relu", "residual": "identity"}),
    ("row", {"activation": "tanh", "bound": "frobenius"}),
    ("row", {"activation": "leaky_relu", "bias": True}),
    ("row", {"activation": "tanh", "layer": "mlp"}),
]


@pytest.mark.parametrize(
    ("normalisation", "options"), CASES, ids=lambda o: o if isinstance(o, str) else o["activation"]
)
def test_numbers_are_those_of_the_network_written_out(
    graphs, random_variables, written_out, normalisation, options, x64
):
    graph = jg.prepare(**graphs.several_components(), normalisation=normalisation)
    model = jg.DeepGNN(depth=5, width=3, out=2, bound_c=0.75, **options)
    x = signal(16, 4)
    params = random_variables(model, graph, x, scale=1.3)
    P = np.eye(16) if model.layer == "mlp" else graph.propagation.dense()
    run = written_out(params, P, x, **options_of(model))
    X, G, B, slope = passes(run, P, model)

    shape = geometry(graph)
    found = analysed(model, params, graph, x, shape)
    for name, signals, v in (
        ("features", X, shape.forward),
        ("feature_grads", G, shape.backward),
        ("errors", B, shape.backward),
    ):
        of_all, on_span = getattr(found, name), getattr(found, f"{name}_off")
        close(of_all.norm, norms(signals))
        close(of_all.mu, norms(off_mean(signals)))
        close(of_all.relative_mu, norms(off_mean(signals)) / norms(signals))
        close(on_span.mu, off(signals, v))
        close(on_span.norm, norms(signals[:, v != 0]))
        close(on_span.relative_mu, off(signals, v) / norms(signals[:, v != 0]))
        of_ranks = getattr(found, name.removesuffix("s") + "_ranks")
        sigma = np.linalg.svd(signals, compute_uv=False)
        p = sigma / sigma.sum(axis=1, keepdims=True)
        close(of_ranks.effective, np.exp(-np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1)))
        close(of_ranks.stable, np.sum(sigma**2, axis=1) / sigma[:, 0] ** 2)
    close(found.error_mean, np.sqrt(16) * np.linalg.norm(B.mean(axis=1), axis=1))
    close(found.error_mean**2 + found.errors.mu**2, norms(B) ** 2)
    close(found.cosine, cosines(B[:-1], B[1:]))
    grams = B @ B.transpose(0, 2, 1)
    close(found.alignment, cosines(grams[:-1], grams[1:]))
    prediction = slope.mean(axis=1, keepdims=True) * G[1:]
    close(found.linear_cosine, cosines(B, prediction))
    close(found.linear_distance, norms(B - prediction) / norms(B))
    close(slopes(model, params, graph, x), slope)
    assert float(found.loss) == pytest.approx(np.sin(run.logits).sum())


class Taps(NamedTuple):
    encoder: jax.Array
    features: jax.Array
    pre_activation: jax.Array
    weights: jax.Array

    @property
    def blocks(self):
        return self


class Own(nn.Module):
    """A tapped model of ones own: two layers tanh(P X W^(l)), the second of which also adds X."""

    def setup(self):
        self.W = self.param("W", nn.initializers.normal(1.0), (2, 3, 3))

    def tapped(self, graph, x, taps):
        X = [x + taps.encoder]
        for layer in range(2):
            H = graph.propagation @ X[-1] @ (self.W[layer] + taps.weights[layer]) + taps.pre_activation[layer]
            X.append(jnp.tanh(H) + (X[-1] if layer else 0) + taps.features[layer])
        return X[-1].sum(axis=1, keepdims=True), jnp.stack(X)

    @nn.nowrap
    def zero_taps(self, params, x):
        every = jnp.zeros((2, *x.shape))
        return Taps(jnp.zeros(x.shape), every, every, jnp.zeros((2, 3, 3)))


def test_slopes_of_a_model_of_ones_own(graphs, x64):
    graph = jg.prepare(**graphs.star(6), normalisation="row")
    x, W = signal(6, 3), signal(2, 3, 3, seed=1)
    params = {"params": {"W": jnp.asarray(W)}}
    P = graph.propagation.dense()
    H0 = P @ x @ W[0]
    H1 = P @ np.tanh(H0) @ W[1]
    close(slopes(Own(), params, graph, jnp.asarray(x)), SLOPE["tanh"](np.stack([H0, H1])))


@pytest.mark.parametrize("residual", ["none", "weighted"])
def test_the_backward_pass_of_a_linear_network_is_the_linear_recursion(graphs, random_variables, residual, x64):
    graph = jg.prepare(**graphs.star(6))
    model = jg.DeepGNN(depth=3, width=3, activation="identity", residual=residual)
    found = analysed(model, random_variables(model, graph, signal(6, 2)), graph, signal(6, 2))
    np.testing.assert_allclose(found.linear_distance, 0, atol=1e-14)
    np.testing.assert_allclose(found.linear_cosine, 1, atol=1e-14)


MIXING = [{"norm": "layer"}, {"residual": "ssm"}]


@pytest.mark.parametrize("options", MIXING, ids=lambda o: "".join(o.values()))
def test_what_is_no_entrywise_multiple_has_no_linear_recursion(graphs, random_variables, options, x64):
    graph = jg.prepare(**graphs.star(6))
    model = jg.DeepGNN(depth=3, width=3, activation="tanh", **options)
    found = analysed(model, random_variables(model, graph, signal(6, 2)), graph, signal(6, 2))
    assert np.isnan(found.linear_distance).all()
    assert np.isnan(found.linear_cosine).all()
    assert np.isfinite(found.cosine).all()


@pytest.mark.parametrize("mixing", [0.0, 1e-3])
def test_a_little_mixing_is_no_entrywise_multiple_either(graphs, random_variables, mixing, x64):
    graph = jg.prepare(**graphs.star(6))
    space = jg.StateSpace(transition="scalar", input="dense")
    model = jg.DeepGNN(depth=3, width=3, activation="tanh", residual="ssm", ssm=space)
    params = random_variables(model, graph, signal(6, 2))
    params["constants"]["ssm"]["input"] = np.eye(3) + mixing * np.tri(3, k=-1)
    found = analysed(model, params, graph, signal(6, 2))
    for value in (found.linear_distance, found.linear_cosine):
        assert np.isnan(value).all() if mixing else np.isfinite(value).all()


def test_with_identity_weights_and_no_graph_all_errors_are_the_same(graphs, x64):
    graph = jg.prepare(**graphs.star(6))
    model = jg.DeepGNN(layer="mlp", depth=3, width=3, activation="identity")
    x = signal(6, 3)
    params = jax.tree.map(np.asarray, model.init(jax.random.key(0), graph, x))
    params["params"]["stack"]["layer"]["linear"]["kernel"] = np.tile(np.eye(3), (3, 1, 1))
    found = analysed(model, params, graph, x)
    for name in ("cosine", "alignment", "linear_cosine"):
        np.testing.assert_allclose(getattr(found, name), 1, rtol=1e-13)
    np.testing.assert_allclose(found.errors.mu, found.errors.mu[0], rtol=1e-13)
    np.testing.assert_array_equal(found.linear_distance, 0)


def test_rotations_of_the_hidden_features_change_the_cosine_alone(graphs, random_variables, x64):
    graph = jg.prepare(**graphs.star(6))
    model = jg.DeepGNN(depth=3, width=3, activation="identity")
    x = signal(6, 2)
    params = random_variables(model, graph, x)
    rotated = jax.tree.map(np.array, params)
    Q = np.linalg.qr(signal(3, 3, seed=5))[0]
    W = rotated["params"]["stack"]["layer"]["linear"]["kernel"]
    W[0], W[1] = W[0] @ Q, Q.T @ W[1]
    a, b = (analysed(model, p, graph, x) for p in (params, rotated))
    for name in ("alignment", "linear_cosine", "error_mean", "loss", "errors", "features_off"):
        jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=1e-10), getattr(a, name), getattr(b, name))
    assert abs(a.cosine[0] - b.cosine[0]) > 0.1
    np.testing.assert_allclose(a.cosine[1], b.cosine[1], rtol=1e-10)  # both after the rotation was taken back


def test_sizes_reach_as_far_as_the_numbers():
    X = signal(5, 3)
    for scale in (1e-36, 1e-20, 1e30):
        found = sizes(jnp.asarray(scale * X, jnp.float32), jg.prepare(senders=[], receivers=[], num_nodes=5))
        np.testing.assert_allclose(found.norm, scale * norms(X), rtol=1e-5)
        np.testing.assert_allclose(found.mu, scale * norms(off_mean(X)), rtol=1e-5)
    nothing = sizes(jnp.zeros((5, 3)), jg.prepare(senders=[], receivers=[], num_nodes=5))
    assert nothing.norm == nothing.mu == 0
    assert np.isnan(nothing.relative_mu)


def test_sizes_leave_padding_out(graphs, x64):
    small, large = (jg.prepare(**graphs.ring(n)) for n in (3, 5))
    padded = jax.tree.map(lambda a: a[0], stacked([small, large]))
    X = signal(5, 2)
    found = sizes(jnp.asarray(X), padded)
    close(found.mu, norms(off_mean(X[:3])))
    close(found.norm, norms(X[:3]))


@pytest.mark.parametrize("normalisation", ["sym", "row", "doubly"])
def test_the_spans_are_kept_by_the_propagation(graphs, normalisation):
    graph = jg.prepare(**graphs.several_components(), normalisation=normalisation)
    shape, P = geometry(graph), graph.propagation.dense()
    np.testing.assert_allclose(P @ shape.forward, shape.forward, atol=1e-12)
    np.testing.assert_allclose(P.T @ shape.backward, shape.backward, atol=1e-12)
    inside = np.arange(16) >= 8  # the star of 6 is the largest component, before two lone nodes
    inside[14:] = False
    np.testing.assert_array_equal(shape.forward > 0, inside)
    np.testing.assert_array_equal(shape.backward > 0, inside)
    assert (shape.components, shape.nodes) == (5, 6)
    if normalisation == "row":
        assert shape.eigenvalue is None
        assert shape.spans == ("span(1)", "span(D̃ 1)")
    else:
        star = np.sort(np.abs(np.linalg.eigvalsh(P[8:14, 8:14])))
        assert shape.eigenvalue == pytest.approx(star[-2])
    assert geometry(graph, of_propagation=False).spans == ("span(1)", "span(1)")


BOUNDED = [
    ("star", "sym", {"activation": "relu"}, {"backward"}),
    ("star", "sym", {"activation": "identity", "bound": "frobenius"}, set()),
    ("star", "sym", {"activation": "tanh"}, {"forward", "backward"}),
    ("star", "sym", {"activation": "leaky_relu", "bias": True}, {"forward", "backward"}),
    ("ring", "sym", {"activation": "tanh", "bias": True}, {"backward"}),  # equal degrees: v is constant
    ("star", "doubly", {"activation": "tanh", "residual": "identity", "bias": True}, {"backward"}),
    ("several_components", "sym", {"activation": "identity", "residual": "identity"}, set()),
    ("several_components", "doubly", {"activation": "identity"}, set()),
    ("star", "row", {"activation": "identity", "layer": "mlp"}, set()),
]


@pytest.mark.parametrize(
    ("name", "normalisation", "options", "broken"), BOUNDED, ids=lambda o: o if isinstance(o, str) else None
)
def test_the_lines_are_bounds_where_they_say_so(
    graphs, random_variables, written_out, name, normalisation, options, broken, x64
):
    edges = getattr(graphs, name)(*(() if name == "several_components" else (8,)))
    graph = jg.prepare(**edges, normalisation=normalisation)
    model = jg.DeepGNN(depth=4, width=3, bound_c=0.75, **options)
    x, shape = signal(graph.num_nodes, 3), geometry(graph)
    P = np.eye(graph.num_nodes) if model.layer == "mlp" else graph.propagation.dense()
    params = random_variables(model, graph, x)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        params["params"] = jax.tree.map(lambda a, rng=rng: rng.standard_normal(a.shape), params["params"])
        drawn = lines(model, params, shape)
        X, G, _, _ = passes(written_out(params, P, x, **options_of(model)), P, model)
        assert {way for way in ("forward", "backward") if getattr(drawn, way).broken} == broken
        if "forward" not in broken:
            measured = off(X, shape.forward)
            assert (measured <= drawn.forward.factor * measured[0] * (1 + 1e-9)).all()
        if "backward" not in broken:
            measured = off(G, shape.backward)
            assert (measured <= drawn.backward.factor * measured[-1] * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("options", "activation"), [({"residual": "ssm"}, "relu"), ({"residual": "scaled", "jumping": "sum"}, "identity")]
)
def test_lines_of_other_residual_rules(graphs, random_variables, options, activation, x64):
    graph = jg.prepare(**graphs.several_components(), normalisation="doubly")
    model = jg.DeepGNN(depth=4, width=3, activation=activation, **options)
    x, shape = signal(16, 3), geometry(graph)
    params = random_variables(model, graph, x)
    drawn = lines(model, params, shape)
    assert drawn.backward.broken
    measured = off(np.asarray(jg.probe(model, params, graph, x, loss).features), shape.forward)
    assert (measured <= drawn.forward.factor * measured[0] * (1 + 1e-9)).all()


def test_the_forward_line_is_met_by_the_second_eigenvector(graphs, written_out):
    graph = jg.prepare(**graphs.ring(9), normalisation="doubly")
    model = jg.DeepGNN(depth=6, width=2, activation="identity", residual="identity")
    u = np.cos(2 * np.pi * np.arange(9) / 9)  # eigenvalue (1 + 2 cos(2 pi / 9)) / 3 of P
    x = np.stack([u, 0 * u], axis=1)
    params = jax.tree.map(np.asarray, model.init(jax.random.key(0), graph, x))
    params["params"]["encoder"] = {"kernel": np.eye(2), "bias": np.zeros(2)}
    params["params"]["stack"]["layer"]["linear"]["kernel"] = np.tile(np.diag([0.7, 0.2]), (6, 1, 1))
    run, shape = written_out(params, graph.propagation.dense(), x, **options_of(model)), geometry(graph)
    growth = (1 + 0.7 * (1 + 2 * np.cos(2 * np.pi / 9)) / 3) ** np.arange(7)
    np.testing.assert_allclose(off(run.features, shape.forward), growth * np.linalg.norm(u), rtol=1e-9)
    np.testing.assert_allclose(lines(model, params, shape).forward.factor, growth, rtol=1e-7)
    np.testing.assert_allclose(lines(model, params, shape).backward.factor, growth[::-1], rtol=1e-7)
    assert shape.eigenvalue == second_eigenvalue(graph)


@pytest.mark.parametrize(
    ("options", "normalisation", "reason"),
    [
        ({"layer": "gat"}, "sym", "layer=GAT: allowed are"),
        ({"norm": "layer"}, "sym", "norm='layer'"),
        ({"residual": "initial"}, "sym", "where X^(0) is added"),
        ({"residual": "gated"}, "sym", "residual='gated'"),
        ({}, "row", "this P (row)"),
        ({}, "raw", "this P (raw)"),
    ],
)
def test_there_is_a_reason_where_there_is_no_line(graphs, options, normalisation, reason):
    graph = jg.prepare(**graphs.star(5), normalisation=normalisation)
    model = jg.DeepGNN(depth=2, width=2, **options)
    drawn = lines(model, None, geometry(graph))  # whatever the weights are
    assert drawn.forward is drawn.backward is None
    assert reason in drawn.reason


def test_tanh_leaves_the_span_that_relu_stays_in(graphs, written_out):
    # What `broken` says: X^(0) = v c^T, with "sym" on a star.
    graph = jg.prepare(**graphs.star(6))
    v = geometry(graph).forward
    layers = {"linear": {"kernel": signal(1, 2, 2)}}
    params = {"encoder": {"kernel": np.array([[1.0, -2.0]]), "bias": np.zeros(2)}, "stack": {"layer": layers}}
    params["readout"] = params["encoder"] | {"kernel": np.eye(2)}
    for activation, stays in (("relu", True), ("tanh", False)):
        run = written_out({"params": params}, graph.propagation.dense(), v[:, None], activation=activation)
        first, second = off(run.features, v)
        assert first < 1e-12
        assert (second < 1e-12) == stays


def test_distances_to_a_span_are_those_of_the_measures(graphs, x64):
    graph, X = jg.prepare(**graphs.star(6)), jnp.asarray(signal(6, 3))
    close(sizes_off(X, geometry(graph).forward).mu, jg.measures.off_degree_span(X, graph.propagation))
    close(sizes_off(X, np.ones(6)).mu, jg.measures.mu(X))

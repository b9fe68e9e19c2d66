import jax
import numpy as np
import pytest
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.analysis.readout import exact_readout, readout_path, with_readout
from jaxgnn.analysis.stationary import balance, kept_vector, norm_preserving, propagated, require_connected
from jaxgnn.tasks.node_classification import masked_cross_entropy


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def trained(graph, *, train=exact_readout, labels, mask, **options):
    """A network from orthogonal weights with its readout trained alone, and its trace."""
    x = signal(graph.num_nodes, 6)
    model = jg.DeepGNN(out=int(labels.max()) + 1, init_weights="orthogonal", **options)
    params = norm_preserving(model, model.init(jax.random.key(1), graph, x), graph, x)
    loss = Partial(masked_cross_entropy, labels, mask)
    X = np.asarray(jg.probe(model, params, graph, x, loss).features[-1])
    start = params["params"]["readout"]
    readout = train(X, labels, mask, start["kernel"], start["bias"])
    readout = readout[-1] if isinstance(readout, list) else readout
    trace = jg.probe(model, with_readout(params, readout), graph, x, loss)
    A = propagated(model, graph, np.asarray(trace.features))
    return model, trace, readout, balance(A, np.asarray(trace.errors), kept_vector(graph))


def labelled(n, classes=3, seed=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, n), rng.random(n) < 0.8


def test_balance_is_what_it_says():
    A, B, v = signal(2, 9, 3), signal(2, 9, 4, seed=1), signal(9, seed=2)
    v = v / np.linalg.norm(v)
    found = balance(A, B, v)
    for k in range(2):
        a, b = A[k].T @ v, B[k].T @ v
        S, T = A[k] - np.outer(v, a), B[k] - np.outer(v, b)
        # A^T B = a b^T + S^T T
        np.testing.assert_allclose(A[k].T @ B[k], np.outer(a, b) + S.T @ T, atol=1e-14)
        size = np.linalg.norm(A[k]) * np.linalg.norm(B[k])
        gradient = np.linalg.norm(A[k].T @ B[k])
        assert found.gradient[k] == pytest.approx(gradient)
        assert found.ratio[k] == pytest.approx(gradient / size)
        assert found.output_ratio[k] == pytest.approx(gradient / np.linalg.norm(A[k]) / np.linalg.norm(B[1]))
        assert found.mean_part[k] == pytest.approx(np.linalg.norm(np.outer(a, b)) / size)
        assert found.off_part[k] == pytest.approx(np.linalg.norm(S.T @ T) / size)
        assert found.forward_off[k] == pytest.approx(np.linalg.norm(S) / np.linalg.norm(A[k]))
        assert found.backward_off[k] == pytest.approx(np.linalg.norm(T) / np.linalg.norm(B[k]))
        assert found.ratio[k] <= found.mean_part[k] + found.off_part[k] + 1e-15
        assert found.off_part[k] <= found.forward_off[k] * found.backward_off[k] + 1e-15


@pytest.mark.parametrize("power", [-900, -400, 400])
def test_balance_has_no_scale_and_keeps_what_is_not_finite(power):
    A, B, v = signal(2, 9, 3), signal(2, 9, 4, seed=1), np.full(9, 1 / 3)
    found, moved = balance(A, B, v), balance(A, np.ldexp(B, power), v)
    for name in found._fields[1:]:
        np.testing.assert_array_equal(getattr(moved, name), getattr(found, name))
    np.testing.assert_array_equal(moved.gradient, np.ldexp(found.gradient, power))
    A[0, 2, 1] = np.nan
    bad = balance(A, B, v)._replace(backward_off=np.array([np.nan, 1]))  # which is of B alone
    assert all(np.isnan(value[0]) and np.isfinite(value[1]) for value in bad)


def test_chance_is_the_root_mean_square_over_turns_that_keep_v():
    n, rng = 7, np.random.default_rng(0)
    A, B = signal(1, n, 2), signal(1, n, 3, seed=1)
    v = np.ones(n) / np.sqrt(n)
    basis = np.linalg.qr(np.concatenate([v[:, None], rng.standard_normal((n, n - 1))], axis=1))[0][:, 1:]
    squares = []
    for _ in range(20_000):
        turn, R = np.linalg.qr(rng.standard_normal((n - 1, n - 1)))
        turned = np.outer(v, v) + basis @ (turn * np.sign(np.diagonal(R))) @ basis.T
        squares.append(np.sum((A[0].T @ turned @ B[0]) ** 2))
    size = np.linalg.norm(A) * np.linalg.norm(B)
    assert balance(A, B, v).chance[0] == pytest.approx(np.sqrt(np.mean(squares)) / size, rel=0.02)


def test_zero_signals_have_ratio_0():
    found = balance(np.zeros((1, 4, 2)), signal(1, 4, 2), np.full(4, 0.5))
    assert all(value[0] == 0 for name, value in found._asdict().items() if name != "backward_off")


@pytest.mark.parametrize(
    "options",
    [
        {"layer": "mlp", "activation": "tanh"},
        {"layer": "gcn", "activation": "tanh", "residual": "identity", "bound": "frobenius"},
        {"layer": "gcn", "activation": "relu", "norm": "pairnorm"},
        {"layer": "gcn", "activation": "tanh", "khop": True},
    ],
    ids=lambda o: " ".join(str(v) for v in o.values()),
)
def test_gradients_are_products_of_propagated_features_and_errors(karate, options, x64):
    graph = jg.prepare(karate.graph, normalisation="doubly", hops=3)
    labels, mask = labelled(34)
    _, trace, _, found = trained(graph, labels=labels, mask=mask, depth=5, width=4, **options)
    np.testing.assert_allclose(found.gradient, trace.weight_grads, rtol=1e-7)
    assert (found.gradient > 1e-4 * found.gradient.max()).all()  # every layer has something to say
    if options.get("khop"):  # the fourth layer is at distance 1 again, and no other distance would do
        A = np.asarray(trace.features)[3]
        hop = np.asarray(jax.tree.map(lambda a: np.asarray(a)[2], graph.khops.propagation).dense())
        other = np.linalg.norm((hop @ A).T @ np.asarray(trace.errors)[3])
        assert abs(other / found.gradient[3] - 1) > 1e-2


@pytest.mark.parametrize("normalisation", ["doubly", "sym"])
def test_kept_vector_is_kept(karate, normalisation):
    graph = jg.prepare(karate.graph, normalisation=normalisation)
    v = kept_vector(graph)
    P = graph.propagation.dense()
    np.testing.assert_allclose(P @ v, v, atol=1e-14)
    np.testing.assert_allclose(P.T @ v, v, atol=1e-14)
    assert np.linalg.norm(v) == pytest.approx(1)


def test_what_keeps_no_single_vector_is_refused(graphs, karate):
    with pytest.raises(ValueError, match=r"5 components.*largest_component"):
        require_connected(jg.prepare(**graphs.several_components()))
    with pytest.raises(ValueError, match="components and must have one"):
        kept_vector(jg.prepare(**graphs.isolated()))
    with pytest.raises(ValueError, match="normalisation='row': allowed are sym, doubly"):
        kept_vector(jg.prepare(karate.graph, normalisation="row"))
    with pytest.raises(ValueError, match="layer='gat': allowed are gcn and mlp"):
        propagated(jg.DeepGNN(layer="gat"), jg.prepare(karate.graph), np.zeros((3, 34, 4)))
    with pytest.raises(ValueError, match="prepare the graph with hops=K"):
        propagated(jg.DeepGNN(khop=True), jg.prepare(karate.graph), np.zeros((3, 34, 4)))


@pytest.mark.parametrize(("activation", "gain"), [("relu", 2.0), ("tanh", 1.0)])
def test_norm_preserving_weights(karate, activation, gain, x64):
    graph, x = jg.prepare(karate.graph), signal(34, 6)
    model = jg.DeepGNN(depth=3, width=8, activation=activation, init_weights="orthogonal")
    drawn = model.init(jax.random.key(0), graph, x)
    params = norm_preserving(model, drawn, graph, x)
    assert np.mean(np.asarray(model.apply(params, graph, x, method="encode")) ** 2) == pytest.approx(1)
    for W in params["params"]["stack"]["layer"]["linear"]["kernel"]:
        assert W.dtype == np.float64
        np.testing.assert_allclose(W.T @ W, gain * np.eye(8), atol=1e-5)


@pytest.mark.parametrize("layer", ["gcn", "mlp"])
def test_linear_networks_are_stationary_in_every_layer(karate, layer, x64):
    # d loss / d W_k = (W_0 .. W_(k-1))^T X_0^T P^L E (..)^T, and X_L^T E = (W_0 .. W_(L-1))^T X_0^T P^L E = 0.
    graph = jg.prepare(karate.graph, normalisation="doubly")
    labels, mask = labelled(34)
    _, _, readout, found = trained(
        graph, labels=labels, mask=mask, layer=layer, depth=6, width=4, activation="identity"
    )
    assert not readout.separates
    assert (found.ratio < 1e-7).all()


def test_perfect_smoothing_leaves_the_constant_predictor_and_nothing_to_learn(graphs, x64):
    # P = 1 1^T / n: every row of X^(L) is the same.
    graph = jg.prepare(**graphs.complete(24), normalisation="doubly")
    labels, mask = labelled(24)
    given = {"labels": labels, "mask": mask, "depth": 3, "width": 8, "train": readout_path}
    _, _, readout, found = trained(graph, activation="relu", **given)
    shares = np.bincount(labels[mask]) / mask.sum()
    assert readout.loss == pytest.approx(-np.sum(shares * np.log(shares)), abs=1e-12)
    assert (found.output_ratio < 1e-7).all()
    # The MLP beside it is neither at that loss nor stationary.
    _, _, readout, found = trained(graph, layer="mlp", activation="relu", **given)
    assert readout.loss < -np.sum(shares * np.log(shares)) - 0.05
    assert readout.gradient_norm <= 1e-8
    assert (found.ratio[:-1] > 1e-3).all()

import jax
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgnn as jg
from jaxgnn.theory import STATEMENTS, AssumptionError, Shape, draws, examine, observe
from jaxgnn.theory.network import Matrix, mu, off
from jaxgnn.theory.statement import About, Statement

SHAPE = Shape(10, 3, 5)


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_holds_and_catches_what_is_planted(name):
    statement = STATEMENTS[name]

    @settings(max_examples=10, deadline=None, derandomize=True, database=None)
    @given(seed=st.integers(0, 2**32 - 1))
    def no_counterexample(seed):
        check = statement.check(*statement.draw(np.random.default_rng(seed), SHAPE))
        assert check.holds, (check.slack, check.assumptions)
        assert check.lhs.shape == check.rhs.shape
        assert (check.name, check.source) == statement[:2]

    no_counterexample()
    finding = examine(statement, [SHAPE], seeds=6, seed=1)
    assert finding.passed
    assert finding.missed == ()
    assert finding.planted > 0
    assert finding.spoke > 0


@pytest.mark.parametrize(
    "name", ["representation_smoothing", "gradient_smoothing", "backward_smoothing", "dirichlet_decay"]
)
def test_bounds_are_attained_along_the_slowest_eigenvector(name):
    normalisation = "sym" if name == "dirichlet_decay" else "doubly"
    (network,) = draws.tight(normalisation=normalisation)(np.random.default_rng(0), SHAPE)
    check = STATEMENTS[name].check(network)
    assert check.holds
    np.testing.assert_allclose(check.lhs[-4:], check.rhs[-4:], rtol=1e-9)


@pytest.mark.parametrize("n", [5, 8, 13])
def test_lambda_of_a_ring_and_a_complete_graph(n):
    # Metropolis on a ring: P = (I + A) / 3, eigenvalues (1 + 2 cos(2 pi k / n)) / 3
    lam, values = Matrix.of(draws.prepared(nx.cycle_graph(n), "doubly")).doubly
    stated = (1 + 2 * np.cos(2 * np.pi * np.arange(1, n) / n)) / 3
    np.testing.assert_allclose(np.sort(values), np.sort(stated), atol=1e-12)
    np.testing.assert_allclose(lam, np.abs(stated).max(), atol=1e-12)
    assert Matrix.of(draws.prepared(nx.complete_graph(n), "doubly")).doubly[0] < 1e-12


def test_what_is_observed_is_the_network():
    (network,) = draws.networks(activations=("tanh",), residual="identity")(np.random.default_rng(3), SHAPE)
    X, P, W = network.x, network.P, network.weights
    features, H = [X], []
    for weights in W:
        H.append(P @ features[-1] @ weights)
        features.append(features[-1] + np.tanh(H[-1]))
    G, errors = network.loss_fn.args[0], []
    for h, weights in zip(H[::-1], W[::-1], strict=True):
        errors.append((1 - np.tanh(h) ** 2) * G)
        G = G + P.T @ errors[-1] @ weights.T
    np.testing.assert_allclose(network.trace.features, np.stack(features), rtol=1e-10)
    np.testing.assert_allclose(network.pre_activations, np.stack(H), rtol=1e-10)
    np.testing.assert_allclose(network.trace.errors, np.stack(errors[::-1]), rtol=1e-10)
    np.testing.assert_allclose(network.trace.feature_grads[0], G, rtol=1e-10)
    np.testing.assert_allclose(mu(X), np.linalg.norm(X - X.mean(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(off(X, np.ones(len(X))), mu(X), rtol=1e-12)


def test_any_network_can_be_checked_not_only_random_ones():
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph, normalisation="doubly")
    model = jg.DeepGNN(layer="gcn", depth=4, width=8, out=2, activation="relu", bound="orthogonal")
    params = model.init(jax.random.key(0), graph, ds.x)
    network = observe(model, params, graph, ds.x, lambda logits: (logits**2).sum())
    check = STATEMENTS["forward_smoothing"].check(network)
    assert check.holds
    assert any("lambda = 0.9" in text for text in check.assumptions)
    np.testing.assert_allclose(network.norms, 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("forward_smoothing", {"graphs": ("two parts",)}, "lambda = 1: P is not connected"),
        ("representation_smoothing", {"activations": ("tanh",)}, "the activation is tanh: it must be identity"),
        ("gradient_smoothing", {"normalisation": "row", "graphs": ("star",)}, "P is not symmetric"),
        ("representation_smoothing", {"normalisation": "sym", "graphs": ("star",)}, "P v differs from v by"),
        ("bounded_expansion", {}, "the bound is none"),
        ("state_space_smoothing", {}, "the residual is none: it must be ssm or identity"),
    ],
)
def test_refuses_naming_the_assumption(name, options, sentence):
    with pytest.raises(AssumptionError, match=sentence):
        STATEMENTS[name].check(*draws.networks(**options)(np.random.default_rng(0), SHAPE))


def test_layers_without_weights_are_refused():
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    model = jg.DeepGNN(layer="gat", depth=2, width=4, out=2)
    with pytest.raises(ValueError, match="layer=GAT: allowed are"):
        observe(model, model.init(jax.random.key(0), graph, ds.x), graph, ds.x, lambda logits: logits.sum())


def test_a_check_says_how_much_room_there_is():
    about = About("a", "b")
    check = about.at_most(("c",), [1.0, 3.0], [2.0, 4.0], 0.0)
    assert (check.slack, check.holds) == (0.25, True)
    assert about.at_most((), [5.0], [4.0], 0.0)[-2:] == (-0.25, False)
    assert about.at_most((), [4.0 + 1e-12], [4.0], 1e-11)[-2:] == (0.0, True)
    assert not about.at_most((), [np.nan], [1.0], 0.0).holds
    below = about.at_most((), [1e-20], [1e-18], 1e-16)
    assert below.holds
    assert np.isnan(below.slack)
    assert about.equal((), [1.0, 2.0], [1.0, 2.5], 1.0)[-2:] == (0.5, True)
    assert not about.equal((), [1.0], [3.0], 1.0).holds


def _statement(check, plants):
    return Statement("one", "two", "three", check, lambda rng, shape: (rng.random(),), plants)


def test_a_false_statement_and_a_blind_check_do_not_pass():
    about = About("one", "two")
    false = examine(_statement(lambda u: about.at_most((), [u], [0.5], 0.0), {}), [SHAPE], seeds=20)
    assert (false.passed, false.failures > 0, false.worst < 0) == (False, True, True)
    blind = _statement(lambda u: about.at_most((), [u], [1.0], 0.0), {"u too large": lambda rng, shape: (0.9,)})
    assert examine(blind, [SHAPE], seeds=2).missed == ("u too large",)
    assert not examine(blind, [SHAPE], seeds=2).passed
    draws = iter((2.0, 2.0, 0.9))  # the last of three violations passes
    partly = _statement(lambda u: about.at_most((), [u], [1.0], 0.0), {"u too large": lambda *_: (next(draws),)})
    assert examine(partly, [SHAPE], seeds=1).missed == ("u too large",)
    with pytest.raises(ValueError, match="seeds=0"):
        examine(blind, [SHAPE], seeds=0)


def test_the_worst_and_the_median_slack_are_told():
    about, values = About("one", "two"), iter((0.9, 0.5, 0.8))
    statement = Statement(
        "one", "two", "three", lambda u: about.at_most((), [u], [1.0], 0.0), lambda *_: (next(values),), {}
    )
    found = examine(statement, [SHAPE], seeds=3)
    assert (found.worst, found.median) == pytest.approx((0.1, 0.2))


def test_a_linear_network_with_a_trained_readout_is_stationary_everywhere_on_a_graph_or_not():
    # (4) of `stationarity`: invertible weights, and the readout's gradient 0
    from jaxgnn.theory.stationarity import read_out

    draw = read_out(draws.networks(weights=("orthogonal",), scales=(1.0, 1.0)))
    (network,) = draw(np.random.default_rng(4), SHAPE)
    assert network.trace.weight_grads.max() < 1e-10
    assert np.abs(network.trace.errors).max() > 1e-3


@pytest.mark.parametrize("part", [0.9, 1.1])
def test_a_statement_holds_up_to_its_rounding_and_not_beyond(part):
    about, rounding = About("name", "source"), 1e-3
    assert about.at_most((), [1 + part * rounding], [1.0], rounding).holds == (part < 1)
    assert about.equal((), [1 + part * rounding], [1.0], rounding).holds == (part < 1)


def test_nilpotent_weights_are_nilpotent():
    W = draws.random_weights(np.random.default_rng(0), 4, 5, kinds=("nilpotent",))
    np.testing.assert_array_equal(np.linalg.matrix_power(W, 5), 0)
    assert np.abs(np.linalg.matrix_power(W, 4)).max() > 0


def test_room_is_told_where_a_bound_stands_above_rounding():
    rounding = 1e-3
    assert About("name", "source").at_most((), [0.5, 49 * rounding], [1.0, 50 * rounding], rounding).slack == 0.5

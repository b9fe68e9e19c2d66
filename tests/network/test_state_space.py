from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.network.state_space import draw, step

KINDS = ("scalar", "diagonal", "rotation", "dense", "uniform")
D, STEPS = 3, 4


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def full(M, width):
    """[d, d] of a number, a diagonal or a matrix."""
    M = np.asarray(M, np.float64)
    return M if M.ndim == 2 else np.diag(np.broadcast_to(M, (width,)))


def transition(space, width, seed=0):
    matrices = draw(space, width, jax.random.key(seed))
    # By its action on the unit vectors: X Lambda^T of X = I, without F.
    X, F = jnp.eye(width), jnp.zeros((width, width))
    return np.asarray(step(X, F, matrices, jnp.float32(space.modulus)), np.float64).T, matrices


@pytest.mark.parametrize("width", [1, 6, 7])
@pytest.mark.parametrize("spread", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("kind", ["scalar", "diagonal", "rotation", "dense"])
def test_spectrum_and_norm(kind, spread, width):
    space = jg.StateSpace(kind, modulus=0.8, spread=spread)
    M, matrices = transition(space, width)
    np.testing.assert_allclose(M, 0.8 * full(matrices.transition, width), rtol=1e-6)
    moduli = np.sort(np.abs(np.linalg.eigvals(M)))
    sigma = np.linalg.svd(M, compute_uv=False)
    least = 0.8 if kind == "scalar" else 0.8 * (1 - spread)
    assert moduli.min() >= least * (1 - 1e-5) - 1e-6
    assert moduli.max() <= 0.8 * (1 + 1e-5)
    np.testing.assert_allclose(np.sort(sigma), moduli, rtol=1e-4, atol=1e-5)  # normal: the norm is the radius
    if spread > 0 and width > 1 and kind != "scalar":
        assert np.ptp(moduli) > 0.01


def test_rotations_have_pairs_of_complex_eigenvalues():
    M, _ = transition(jg.StateSpace("rotation", 0.9, spread=0.5), 7)
    values = np.linalg.eigvals(M)
    assert np.sum(np.abs(values.imag) > 1e-3) == 6
    np.testing.assert_allclose(np.sort_complex(values), np.sort_complex(values.conj()), atol=1e-6)
    angles = np.angle(values[values.imag > 1e-3])
    assert np.ptp(angles) > 0.1
    assert not np.any(M[0, 2:])


@pytest.mark.parametrize("kind", ["diagonal", "rotation", "dense"])
def test_moduli_are_uniform_from_one_minus_the_spread_and_angles_over_half_a_turn(kind):
    for spread, least in ((0.4, 0.6), (1.0, 0.0)):
        values = np.linalg.eigvals(
            full(draw(jg.StateSpace(kind, spread=spread), 600, jax.random.key(0)).transition, 600)
        )
        moduli = np.sort(np.abs(values))
        quantiles = least + spread * (np.arange(600) + 0.5) / 600
        assert np.abs(moduli - quantiles).max() < 0.08 * spread  # Kolmogorov-Smirnov, far beyond chance
        if kind == "rotation":
            angles = np.sort(np.angle(values[values.imag > 0]))
            assert np.abs(angles - np.pi * (np.arange(angles.size) + 0.5) / angles.size).max() < 0.1 * np.pi


@pytest.mark.parametrize("kind", ["diagonal", "rotation", "dense"])
def test_the_spread_is_of_both_matrices(kind):
    matrices = draw(jg.StateSpace(kind, input=kind, input_scale=0.5, spread=0.4), 61, jax.random.key(1))
    for M, scale in ((matrices.transition, 1.0), (matrices.input, 0.5)):
        moduli = np.abs(np.linalg.eigvals(full(M, 61)))
        assert scale * 0.6 - 1e-5 <= moduli.min() < scale * 0.7
        assert scale * 0.9 < moduli.max() <= scale + 1e-5
    if kind == "rotation":  # the last of an odd width has a modulus of its own
        assert not np.isclose(matrices.transition[-1, -1], 1.0)


def test_dense_is_no_diagonal_but_has_its_spectrum():
    M, _ = transition(jg.StateSpace("dense", 0.9, spread=0.5), 8)
    assert np.abs(M - np.diag(np.diag(M))).max() > 0.05
    np.testing.assert_allclose(M, M.T, atol=1e-6)
    assert 0.45 * (1 - 1e-5) <= np.linalg.eigvalsh(M).min() < np.linalg.eigvalsh(M).max() <= 0.9 * (1 + 1e-5)


def test_uniform_has_spectral_radius_about_1_and_norm_about_2():
    M, _ = transition(jg.StateSpace("uniform"), 400)
    assert np.abs(np.linalg.eigvals(M)).max() == pytest.approx(1, abs=0.1)
    assert np.linalg.norm(M, 2) == pytest.approx(2, abs=0.1)
    assert np.abs(M).max() <= (3 / 400) ** 0.5
    assert M.var() == pytest.approx(1 / 400, rel=0.02)


def test_input_is_drawn_on_its_own_and_scaled():
    for kind in KINDS:
        space = jg.StateSpace(kind, modulus=0.5, input=kind, input_scale=0.25, spread=0.5)
        (_, B), (_, B1) = (draw(replace(space, input_scale=s), 6, jax.random.key(1)) for s in (0.25, 1.0))
        np.testing.assert_allclose(B, 0.25 * np.asarray(B1), rtol=1e-6)
        if kind != "scalar":
            assert not np.allclose(draw(space, 6, jax.random.key(1)).transition, B1)
            assert not np.allclose(draw(space, 6, jax.random.key(2)).input, B)


@pytest.fixture
def graph(graphs):
    return jg.prepare(**graphs.several_components())


def linear(space, **options):
    return jg.DeepGNN(depth=2, width=D, out=2, activation="identity", residual="ssm", ssm=space, **options)


def matrices_of(model, variables, layer=0):
    """Lambda, B and W of a layer in float64."""
    pair = variables["params" if model.ssm.trainable else "constants"]["ssm"]
    Lambda = float(np.float32(model.ssm.modulus)) * full(pair["transition"], D)
    W = np.asarray(variables["params"]["stack"]["layer"]["linear"]["kernel"][layer], np.float64)
    return Lambda, full(pair["input"], D), W


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_jacobian_is_the_kronecker_sum(graph, random_variables, kind, trainable):
    model = linear(jg.StateSpace(kind, 0.9, KINDS[KINDS.index(kind) - 1], spread=0.5, trainable=trainable))
    x = signal(16, 4)
    variables = random_variables(model, graph, x)
    P = graph.propagation.dense()
    J = jg.jacobian(*model.layer_fn(variables, graph, x, layer=1, dtype=np.float64))
    Lambda, B, W = matrices_of(model, variables, 1)
    # vec(X)[v d + i] = X[v, i]: X Lambda^T + P X W B^T
    expected = np.kron(np.eye(16), Lambda) + np.kron(P, B @ W.T)
    np.testing.assert_allclose(J.dense(), expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    # With P = U diag(p) U^T the blocks Lambda + p_i B W^T are all there is.
    blocks = [np.linalg.svd(Lambda + p * B @ W.T, compute_uv=False) for p in np.linalg.eigvalsh(P)]
    together = np.sort(np.concatenate(blocks))[::-1]
    np.testing.assert_allclose(J.singular_values(), together, rtol=0, atol=1e-12 * together[0])


def test_identity_residual_is_a_state_space(graph, random_variables, x64):
    x = signal(16, 4)
    space = jg.StateSpace("scalar", 1.0, "scalar", input_scale=1.0)
    models = [jg.DeepGNN(depth=3, width=D, residual=name, ssm=space) for name in ("identity", "ssm")]
    variables = random_variables(models[1], graph, x)
    logits = [model.apply(variables, graph, x) for model in models]
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-13)


def test_all_layers_share_what_was_drawn(graph):
    x = signal(16, 4, dtype=np.float32)
    variables = linear(jg.StateSpace("dense", spread=0.5)).init(jax.random.key(0), graph, x)
    other = linear(jg.StateSpace("dense", spread=0.5)).init(jax.random.key(1), graph, x)
    assert jax.tree.map(jnp.shape, variables["constants"]["ssm"]) == {"transition": (D, D), "input": (D, D)}
    assert not np.allclose(variables["constants"]["ssm"]["transition"], other["constants"]["ssm"]["transition"])


def test_frozen_matrices_are_no_parameters_and_trained_ones_are_a_pair(graph):
    x = signal(16, 4, dtype=np.float32)
    frozen, trained = (linear(jg.StateSpace("dense", trainable=t)) for t in (False, True))
    plain = frozen.clone(residual="none")
    trees = [model.init(jax.random.key(0), graph, x) for model in (plain, frozen, trained)]
    jax.tree.map(np.testing.assert_array_equal, trees[0]["params"], trees[1]["params"])
    extra = dict(trees[2]["params"])
    assert jax.tree.map(jnp.shape, extra.pop("ssm")) == {"transition": (D, D), "input": (D, D)}
    assert jax.tree.structure(extra) == jax.tree.structure(trees[0]["params"])
    assert "ssm" not in trees[2]["constants"]


@pytest.fixture(scope="module")
def task():
    ds = jg.load_dataset("karate")
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


def model_for(task, **options):
    space = jg.StateSpace("rotation", **({"modulus": 0.5, "spread": 0.2} | options))
    return jg.DeepGNN(depth=2, width=D, out=task.out, residual="ssm", ssm=space)


@pytest.fixture(scope="module")
def alone(task):
    return jg.train(model_for(task), task, seeds=2, steps=STEPS)


def test_training_leaves_frozen_matrices_as_they_are(alone):
    before, after = (p["constants"] for p in (alone.initial_params, alone.final_params))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert not np.array_equal(before["ssm"]["transition"][0], before["ssm"]["transition"][1])  # a draw a seed
    W, trained = (p["params"]["stack"]["layer"]["linear"]["kernel"] for p in (alone.initial_params, alone.final_params))
    assert np.abs(W - trained).max() > 1e-3


def test_training_moves_trainable_matrices(task):
    result = jg.train(model_for(task, trainable=True), task, seeds=1, steps=STEPS)
    before, after = (p["params"]["ssm"] for p in (result.initial_params, result.final_params))
    for name in ("transition", "input"):
        assert np.abs(np.asarray(after[name]) - np.asarray(before[name])).max() > 1e-3


def test_a_sweep_over_the_modulus_is_its_trainings(task, alone):
    points = jg.sweep(model_for(task, modulus=0.7), task, grid={"modulus": [0.5, 1.2]}, seeds=2, steps=STEPS)
    for swept, expected in zip(points[0].result.history, alone.history, strict=True):
        np.testing.assert_allclose(swept, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal([p.result.params["constants"]["modulus"][0] for p in points], np.float32([0.5, 1.2]))
    other = points[1].result.history.train_loss
    assert np.abs(other[:, 0] - alone.history.train_loss[:, 0]).max() > 1e-3
    # What the first step evaluates is the network with that modulus.
    model, run = model_for(task, modulus=1.2), jax.tree.map(lambda a: a[0], points[1].result.initial_params)
    logits = jax.jit(partial(model.apply))(run, task.graph, task.x)
    assert float(task.loss(logits)) == pytest.approx(float(other[0, 0]), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transition": "full"}, "^transition='full' is not known: allowed are scalar, diagonal, rotation, dense, uni"),
        ({"input": "full"}, "^input='full' is not known"),
        ({"modulus": -0.1}, "^modulus=-0.1: allowed are finite numbers of 0 and more$"),
        ({"modulus": float("nan")}, "^modulus=nan"),
        ({"input_scale": float("inf")}, "^input_scale=inf"),
        ({"spread": 1.1}, "^spread=1.1: allowed are numbers from 0 to 1$"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        jg.StateSpace(**options)

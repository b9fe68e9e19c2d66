import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.analysis.readout import descend_readout, exact_readout, readout_at, readout_path, with_readout
from jaxgnn.tasks.node_classification import masked_cross_entropy


def problem(n=60, d=4, classes=3, seed=0):
    """Features, labels that overlap, a mask, and a readout to start from."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 1.0
    labels = (X[:, 0] > 1).astype(int) + (X[:, 1] + rng.standard_normal(n) > 1)
    mask = rng.random(n) < 0.7
    return X, labels, mask, 0.3 * rng.standard_normal((d, classes)), np.zeros(classes)


def cross_entropy(X, labels, R, b):
    """The loss and E = d loss / d logits, written out."""
    logits = X @ R + b
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    E = p.copy()
    E[rows, labels] -= 1
    return -np.log(p[rows, labels]).mean(), E / len(labels)


def by_scipy(X, labels, R, b):
    def objective(flat):
        R, b = flat[:-3].reshape(-1, 3), flat[-3:]
        loss, E = cross_entropy(X, labels, R, b)
        return loss, np.concatenate([(X.T @ E).ravel(), E.sum(axis=0)])

    options = {"maxiter": 10_000, "ftol": 1e-16, "gtol": 1e-10}
    start = np.concatenate([R.ravel(), b])
    return scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)


@pytest.mark.parametrize("train", [lambda *a: readout_path(*a)[-1], exact_readout], ids=["path", "exact"])
def test_reaches_the_minimum_that_scipy_finds(train):
    X, labels, mask, R, b = problem()
    readout = train(X, labels, mask, R, b)
    found = by_scipy(X[mask], labels[mask], R, b)
    assert readout.loss == pytest.approx(found.fun, abs=1e-10)
    logits, expected = (X @ readout.kernel + readout.bias), X @ found.x[:-3].reshape(-1, 3) + found.x[-3:]
    np.testing.assert_allclose(jax.nn.softmax(logits), jax.nn.softmax(expected), atol=1e-4)
    # X^T E = 0 and 1^T E = 0 on the training rows, and the norm that is reported is theirs
    loss, E = cross_entropy(X[mask], labels[mask], readout.kernel, readout.bias)
    norm = np.hypot(np.linalg.norm(X[mask].T @ E), np.linalg.norm(E.sum(axis=0)))
    assert norm <= 1e-8
    assert readout.gradient_norm == pytest.approx(norm, abs=1e-15)
    assert readout.loss == pytest.approx(loss, abs=1e-14)
    assert not readout.separates


def test_every_point_of_the_path_minimises_the_penalised_loss():
    X, labels, mask, R, b = problem()
    path = readout_path(X, labels, mask, R, b)
    for exponent, readout in enumerate(path):
        _, E = cross_entropy(X[mask], labels[mask], readout.kernel, readout.bias)
        # d loss / d R = -tau (R - R_0), d loss / d b = 0
        np.testing.assert_allclose(X[mask].T @ E, -(10.0**-exponent) * (readout.kernel - R), atol=1e-9)
        np.testing.assert_allclose(E.sum(axis=0), 0, atol=1e-9)
    norms = [readout.gradient_norm for readout in path]
    assert norms == sorted(norms, reverse=True)
    assert norms[-2] > 1e-8 >= norms[-1]


def test_exact_minimum_does_not_depend_on_the_scales_of_the_features():
    X, labels, mask, R, b = problem()
    mixing = np.random.default_rng(1).standard_normal((4, 4)) @ np.diag([1, 1e-3, 1e-5, 1e-6])
    plain = exact_readout(X, labels, mask, R, b)
    mixed = exact_readout(X @ mixing, labels, mask, np.zeros_like(R), b)
    assert mixed.loss == pytest.approx(plain.loss, abs=1e-10)
    probabilities = [jax.nn.softmax(Z @ r.kernel + r.bias) for Z, r in ((X, plain), (X @ mixing, mixed))]
    np.testing.assert_allclose(*probabilities, atol=1e-6)
    assert np.linalg.norm(mixed.kernel) > 1e4 * np.linalg.norm(plain.kernel)


def test_keeps_its_start_in_directions_that_are_not_resolved():
    X, labels, mask, R, b = problem()
    X = X * [1, 1, 1, 1e-12]
    readout = exact_readout(X, labels, mask, R, b)
    np.testing.assert_allclose(readout.kernel[3], R[3], atol=1e-6)
    without = exact_readout(X[:, :3], labels, mask, R[:3], b)
    assert readout.loss == pytest.approx(without.loss, abs=1e-9)


@pytest.mark.parametrize("train", [lambda *a: readout_path(*a)[-1], exact_readout], ids=["path", "exact"])
def test_separable_labels_have_no_minimum_and_are_named(train):
    X, _, mask, R, b = problem()
    labels = X[:, :3].argmax(axis=1)
    readout = train(X, labels, mask, R, b)
    assert readout.separates
    assert readout.gradient_norm <= 1e-8
    assert readout.loss < 1e-5
    # relative to the error that is left, the gradient is not small: there is no stationary point
    assert readout.relative_gradient > 1e-4


def test_without_training_the_bias_stays():
    X, labels, mask, R, _ = problem()
    b = np.array([0.1, -0.2, 0.3])
    for readout in (
        readout_path(X, labels, mask, R, b, train_bias=False)[-1],
        exact_readout(X, labels, mask, R, b, train_bias=False),
    ):
        np.testing.assert_array_equal(readout.bias, b)
        _, E = cross_entropy(X[mask], labels[mask], readout.kernel, b)
        np.testing.assert_allclose(X[mask].T @ E, 0, atol=1e-8)
        assert np.linalg.norm(E.sum(axis=0)) > 1e-4


def test_descends_as_adam_written_out():
    X, labels, mask, R, b = problem()
    found = descend_readout(X, labels, mask, R, b, steps=3, learning_rate=0.1)
    parameters, first, second = [R, b], [0.0, 0.0], [0.0, 0.0]
    for step in range(1, 4):
        _, E = cross_entropy(X[mask], labels[mask], *parameters)
        for i, g in enumerate((X[mask].T @ E, E.sum(axis=0))):
            first[i], second[i] = 0.9 * first[i] + 0.1 * g, 0.999 * second[i] + 0.001 * g**2
            mean, square = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
            parameters[i] = parameters[i] - 0.1 * mean / (np.sqrt(square) + 1e-8)
    np.testing.assert_allclose(found.kernel, parameters[0], atol=1e-10)
    np.testing.assert_allclose(found.bias, parameters[1], atol=1e-10)
    assert found.steps == 3


def test_measures_the_gradient_that_the_network_has(karate, x64):
    graph = jg.prepare(karate.graph)
    model = jg.DeepGNN(depth=2, width=5, out=2)
    x = karate.x.astype(np.float64)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), model.init(jax.random.key(0), graph, x))
    loss = Partial(masked_cross_entropy, karate.labels, ~karate.test_mask)
    X = jg.probe(model, params, graph, x, loss).features[-1]
    start = params["params"]["readout"]
    readout = readout_at(X, karate.labels, ~karate.test_mask, start["kernel"] + 0.1, start["bias"] + [0.2, 0])
    with_it = with_readout(params, readout)
    value, gradient = jax.value_and_grad(lambda p: loss(model.apply(p, graph, x)))(with_it)
    gradient = gradient["params"]["readout"]
    norm = jnp.hypot(jnp.linalg.norm(gradient["kernel"]), jnp.linalg.norm(gradient["bias"]))
    assert readout.gradient_norm == pytest.approx(float(norm), rel=1e-10)
    assert readout.loss == pytest.approx(float(value), rel=1e-10)
    assert params["params"]["readout"] is start


@pytest.mark.parametrize("train_bias", [True, False])
def test_a_readout_is_measured_as_it_is_written(train_bias):
    X, labels, mask, R, _ = problem()
    b = np.array([0.1, -0.2, 0.3])
    found = readout_at(X, labels, mask, R, b, train_bias=train_bias)
    Z = X[mask]
    loss, E = cross_entropy(Z, labels[mask], R, b)
    gradient = np.concatenate([Z, np.ones((len(Z), 1))], axis=1).T @ E if train_bias else Z.T @ E
    columns = np.linalg.norm(np.concatenate([Z, np.ones((len(Z), 1))], axis=1) if train_bias else Z)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert found.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-12)
    assert found.relative_gradient == pytest.approx(np.linalg.norm(gradient) / (columns * np.linalg.norm(E)), rel=1e-12)
    # In [0, 1], and 1 where every row pulls the same way.
    one = readout_at(np.ones((3, 1)), np.zeros(3, int), np.ones(3, bool), np.zeros((1, 2)), np.zeros(2))
    assert one.relative_gradient == pytest.approx(1, rel=1e-12)


def test_a_tie_does_not_separate():
    X, labels, mask = np.array([[1.0], [-1.0], [0.0]]), np.array([0, 1, 1]), np.ones(3, bool)
    R = np.array([[2.0, -2.0]])
    assert not readout_at(X, labels, mask, R, np.zeros(2)).separates  # the last row's logits are equal
    assert readout_at(X, labels, mask, R, np.array([0.0, 0.1])).separates
    assert readout_at(X, labels, np.array([True, True, False]), R, np.zeros(2)).separates


def test_the_path_ends_at_the_first_gradient_within_the_tolerance():
    X, labels, mask, R, b = problem()
    for tolerance in (1e-3, 3e-6, 1e-8):
        norms = [readout.gradient_norm for readout in readout_path(X, labels, mask, R, b, tolerance=tolerance)]
        assert norms[-2] > tolerance >= norms[-1]
        assert exact_readout(X, labels, mask, R, b, tolerance=tolerance).gradient_norm <= tolerance


def test_loss_of_far_margins_keeps_its_digits():
    X, labels, mask = np.array([[1.0], [-1.0]]), np.array([0, 1]), np.ones(2, bool)
    for scale in (40.0, 400.0):
        right = readout_at(X, labels, mask, np.array([[scale, -scale]]), np.zeros(2))
        assert right.loss == pytest.approx(np.exp(-2 * scale), rel=1e-10)
        wrong = readout_at(X, labels, mask, np.array([[-scale, scale]]), np.zeros(2))
        assert wrong.loss == pytest.approx(2 * scale, rel=1e-12)


def test_what_cannot_be_trained_on_is_refused(karate):
    X, labels, mask, R, b = problem()
    for train in (readout_path, exact_readout):
        with pytest.raises(ValueError, match="at least one training node"):
            train(X, labels, np.zeros_like(mask), R, b)
        with pytest.raises(ValueError, match="finite features"):
            train(np.where(mask[:, None], X, np.nan), labels, mask, R, b)
    graph = jg.prepare(karate.graph)
    model = jg.DeepGNN(depth=3, width=4, out=2, ends="layer")
    params = model.init(jax.random.key(0), graph, karate.x)
    with pytest.raises(ValueError, match='ends="linear"'):
        with_readout(params, readout_at(X, labels, mask, R, b))

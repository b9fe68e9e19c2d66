import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxgnn as jg
from jaxgnn.evidence import intervals
from jaxgnn.experiments.park2024 import predictors
from jaxgnn.experiments.questions import architectures, common, expansion, normalisations


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_rank_correlation_is_scipys_with_ties_and_infinities(rng):
    a, b = rng.integers(0, 6, (2, 40)).astype(float)
    a[3] = np.inf
    np.testing.assert_allclose(intervals.spearman(a, b), stats.spearmanr(a, b).statistic, rtol=1e-12)


def test_partial_rank_correlation_is_the_closed_form(rng):
    z = rng.standard_normal(60)
    a, b = z + rng.standard_normal(60), np.exp(z + rng.standard_normal(60))
    r = stats.spearmanr(np.stack([a, b, z], axis=1)).statistic
    expected = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    np.testing.assert_allclose(intervals.spearman(a, b, z), expected, rtol=1e-12)


def test_nothing_correlates_with_a_constant_or_with_what_is_held_fixed(rng):
    a, b = rng.standard_normal((2, 20))
    assert np.isnan(intervals.spearman(a, np.ones(20)))
    assert np.isnan(intervals.spearman(a, b, np.exp(b)))


def test_mean_interval_is_students(rng):
    values = rng.standard_normal(7)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(intervals.mean_interval(values)[1:], (expected.low, expected.high), rtol=1e-12)
    np.testing.assert_allclose(intervals.mean_interval(np.append(values, np.nan)), intervals.mean_interval(values))
    assert np.isnan(intervals.mean_interval(values[:1]).low)


def test_bootstrap_of_a_mean_has_the_standard_errors_width(rng):
    values = rng.standard_normal(400)
    interval = intervals.bootstrap(np.mean, values)
    assert interval.value == values.mean()
    np.testing.assert_allclose(interval.high - interval.low, 2 * 1.96 * values.std() / 20, rtol=0.1)


def test_bootstrap_draws_whole_clusters(rng):
    values = rng.standard_normal(50)
    repeated, clusters = np.repeat(values, 4), np.repeat(np.arange(50), 4)
    alone = intervals.bootstrap(np.mean, values)
    np.testing.assert_allclose(intervals.bootstrap(np.mean, repeated, clusters=clusters), alone)
    naive = intervals.bootstrap(np.mean, repeated)
    assert naive.high - naive.low < 0.7 * (alone.high - alone.low)


def test_bootstrap_within_strata_leaves_their_means_apart(rng):
    labels = np.repeat([0, 1], 200)
    values = 100.0 * labels + rng.standard_normal(400)
    interval = intervals.bootstrap(np.mean, values, strata=labels)
    np.testing.assert_allclose(interval.high - interval.low, 2 * 1.96 / 20, rtol=0.15)


def test_rate_of_an_exponential_is_its_exponent():
    layers = np.arange(9)
    values = np.stack([3 * np.exp(0.25 * (8 - layers)), np.exp(-0.5 * (8 - layers))])
    np.testing.assert_allclose(common.rates(values), (0.25, -0.5), rtol=1e-12)
    values[0, 2], values[1, :3] = np.inf, 0.3  # neither what is not finite nor what lies below the floor counts
    np.testing.assert_allclose(common.rates(values[:1]), (0.25,), rtol=1e-12)
    assert np.isnan(common.rates(np.full((1, 5), 1e-9), floor=1e-8)).all()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_scaled_measures_leave_float32s_range_at_no_point(rng, size):
    X = rng.standard_normal((5, 3))
    expected = size * np.sqrt(np.sum((X - X.mean(axis=0)) ** 2))
    np.testing.assert_allclose(common.scaled(jg.measures.mu, jnp.float32(size * X)), expected, rtol=1e-5)


def test_layers_hold_the_probes_norms():
    ds = jg.load_dataset("karate")
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    model = jg.DeepGNN(depth=3, width=4, out=2)
    keys = jax.random.split(jax.random.key(0), 2)
    layers = common.measured(model, jax.vmap(lambda key: model.init(key, task.graph, task.x))(keys), task)
    trace = jg.probe(model, model.init(keys[1], task.graph, task.x), task.graph, task.x, task.loss)
    G = np.asarray(trace.feature_grads, np.float64)
    np.testing.assert_allclose(layers.gradient_norm[1], np.sqrt((G**2).sum(axis=(1, 2))), rtol=1e-5)
    mu = np.sqrt(((G - G.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)))
    np.testing.assert_allclose(layers.gradient_relative[1], mu / np.sqrt((G**2).sum(axis=(1, 2))), rtol=1e-5)


def test_connected_csbm_is_connected():
    ds = common.connected_csbm(num_nodes=60, average_degree=4.0, train_per_class=4)
    assert jg.components(ds.graph).max() == 0
    with pytest.raises(ValueError, match="average_degree"):
        common.connected_csbm(tries=2, num_nodes=60, average_degree=0.5, train_per_class=4)


def test_convolution_adds_the_five_cells_of_a_torus(rng):
    X = rng.standard_normal((9, 2)).astype(np.float32)
    layer = architectures.Convolution(features=3)
    params = layer.init(jax.random.key(0), None, X)
    W = np.asarray(params["params"]["kernel"], np.float64).reshape(5, 2, 3)
    cells = X.reshape(3, 3, 2)
    expected = np.zeros((3, 3, 3))
    for i in range(3):
        for j in range(3):
            for (di, dj), W_o in zip(((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)), W, strict=True):
                expected[i, j] += cells[(i + di) % 3, (j + dj) % 3] @ W_o
    np.testing.assert_allclose(layer.apply(params, None, X), expected.reshape(9, 3), rtol=1e-5, atol=1e-6)


def test_convolution_and_its_torus_have_the_same_neighbours():
    config = architectures.Config(side=4, average_degree=3.0)
    ds, torus = architectures.data(config)
    P = jg.prepare(**torus, normalisation="doubly").propagation.dense()
    ones = {"params": {"kernel": np.full((5, 1), 0.2, np.float32)}}
    identity = np.eye(16, dtype=np.float32)
    columns = [architectures.Convolution(features=1).apply(ones, None, column[:, None]) for column in identity]
    np.testing.assert_allclose(np.concatenate(columns, axis=1), P, atol=1e-6)
    assert (np.diff(ds.labels) >= 0).all()


def test_the_predicted_expansion_is_the_mean_over_weights(rng):
    n, d, L = 6, 4, 3
    A = rng.integers(0, 2, (n, n))
    P = np.asarray(
        jg.prepare(
            senders=np.nonzero(A | A.T)[0], receivers=np.nonzero(A | A.T)[1], num_nodes=n, normalisation="doubly"
        ).propagation.dense(),
        np.float64,
    )
    last = rng.standard_normal((n, d))
    squares = np.zeros(L + 1)
    draws = 20_000
    W = rng.standard_normal((L, draws, d, d)) / np.sqrt(d)
    G = np.tile(last, (draws, 1, 1))
    for layer in range(L, -1, -1):
        squares[layer] = np.mean(np.sum((G - G.mean(axis=1, keepdims=True)) ** 2, axis=(1, 2)))
        if layer:
            G = G + P.T @ G @ W[layer - 1].transpose(0, 2, 1)
    p, U = np.linalg.eigh(P)
    parts = U.T @ (last - last.mean(axis=0))
    predicted = expansion.predicted_mu(p, np.sum(parts**2, axis=1), L, 1.0)
    np.testing.assert_allclose(predicted**2, squares, rtol=0.05)


@pytest.mark.parametrize("residual", ["none", "identity"])
def test_the_product_of_gradient_and_features_is_the_same_at_every_layer(residual):
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    model = jg.DeepGNN(depth=5, width=4, out=2, residual=residual)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), model.init(jax.random.key(0), graph, ds.x))
        trace = jg.probe(model, params, graph, ds.x.astype(np.float64), lambda Z: jnp.sum(jnp.tanh(Z[:, 0])))
    products = np.sum(np.asarray(trace.features) * np.asarray(trace.feature_grads), axis=(1, 2))
    assert products[0] != 0
    np.testing.assert_allclose(products, products[0], rtol=1e-10)


def test_a_relu_stacks_row_grows_at_the_forward_rate(rng):
    x = np.abs(rng.standard_normal(4000))
    growth = []
    for _ in range(40):
        x /= np.linalg.norm(x)
        x = x + np.maximum(rng.standard_normal(4000) / np.sqrt(4000), 0)  # x W: normal, of variance |x|^2 / d
        growth.append(np.log(np.linalg.norm(x)))
    np.testing.assert_allclose(np.mean(growth[10:]), expansion.FORWARD_RATE, rtol=0.01)


def test_named_graphs_are_connected_and_of_one_size():
    for graph in expansion.named_graphs(6).values():
        assert graph.n_node.sum() == 36
        assert jg.components(graph).max() == 0


def test_settled_running_means_are_those_of_the_weights():
    ds = jg.load_dataset("karate")
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    model = jg.DeepGNN(depth=1, width=4, out=2, norm="batch")
    params = jax.tree.map(lambda a: a[None], model.init(jax.random.key(0), task.graph, task.x))
    settled = normalisations.settled(model, params, task)
    tree = jax.tree.map(lambda a: np.asarray(a[0], np.float64), params["params"])
    X = task.x @ tree["encoder"]["kernel"] + tree["encoder"]["bias"]
    H = task.graph.propagation.dense() @ X @ tree["stack"]["layer"]["linear"]["kernel"][0]
    (mean,) = jax.tree_util.tree_leaves([v for k, v in _leaves(settled["batch_stats"]) if k.endswith("['mean']")])
    np.testing.assert_allclose(np.ravel(mean), H.mean(axis=0), rtol=1e-3, atol=1e-5)
    without = jg.DeepGNN(depth=1, width=4, out=2)
    assert normalisations.settled(without, params_of := {"params": {}}, task) is params_of


def _leaves(tree):
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def test_change_through_the_layers_counts_both_directions():
    ends = {"XL_norm": np.ones(3), "X0_mu": np.ones(3), "XL_mu": np.array([1.0, np.e**2, np.e**-2])}
    results = predictors.Results(predictors.SMOKE, 0.5, np.arange(3), [], {"initial": ends}, np.zeros(3), np.zeros(3))
    np.testing.assert_allclose(
        predictors.predictor(results, "initial", "representation", "change"), (0, 2, 2), atol=1e-12
    )

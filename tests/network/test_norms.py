from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.network.norms import (
    NORMS,
    BatchNorm,
    DiffGroupNorm,
    GroupNorm,
    LayerNorm,
    MeanSubtraction,
    PairNorm,
    row_mean,
)

N, D = 9, 6
EPSILON = 1e-5
MODULES = {
    "layer": LayerNorm(),
    "batch": BatchNorm(),
    "group": GroupNorm(groups=3),
    "pairnorm": PairNorm(scale=1.5),
    "mean_subtraction": MeanSubtraction(),
    "dgn": DiffGroupNorm(groups=4, strength=0.3),
}


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


H = 2 * signal(N, D) + 1  # neither centred nor of unit variance


@pytest.fixture
def graph(graphs):
    return jg.prepare(**graphs.star(N))


def drawn(module, graph, H):
    """Variables with scales, shifts and running statistics that are not the start's."""
    rng = np.random.default_rng(4)
    variables = module.init(jax.random.key(0), graph, H, True)
    return jax.tree.map(lambda a: rng.uniform(0.5, 1.5, a.shape).astype(H.dtype), variables)


def standard(H, axis):
    return (H - H.mean(axis, keepdims=True)) / np.sqrt(H.var(axis, keepdims=True) + EPSILON)


def affine(Z, p):
    return Z * p["scale"] + p["bias"]


def layer(p, H):
    return affine(standard(H, 1), p["norm"])


def batch(p, H):
    return affine(standard(H, 0), p["norm"])


def group(p, H):
    return affine(standard(H.reshape(len(H), 3, D // 3), 2).reshape(H.shape), p["norm"])


def pairnorm(p, H):
    centred = H - H.mean(0)
    return 1.5 * centred / np.sqrt(np.sum(centred**2) / len(H) + EPSILON)


def dgn(p, H):
    scores = H @ p["assignment"]["kernel"]
    s = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    q = p["groups"]["norm"]
    norms = [standard(s[:, [g]] * H, 0) * q["scale"].reshape(4, D)[g] + q["bias"].reshape(4, D)[g] for g in range(4)]
    return H + 0.3 * sum(norms)


FORMULAS = {
    "layer": layer,
    "batch": batch,
    "group": group,
    "pairnorm": pairnorm,
    "mean_subtraction": lambda p, H: H - H.mean(0),
    "dgn": dgn,
}


def test_every_norm_is_under_test():
    assert set(MODULES) == set(FORMULAS) == set(NORMS) - {"none"}
    assert NORMS["none"] is None
    assert {name: type(module) for name, module in MODULES.items()} == {k: v for k, v in NORMS.items() if v}


def trained(module, variables, graph, H):
    return module.apply(variables, graph, H, True, mutable=["batch_stats"])


@pytest.mark.parametrize("name", MODULES)
def test_is_its_formula(graph, x64, name):
    module = MODULES[name]
    variables = drawn(module, graph, H)
    out, _ = trained(module, variables, graph, H)
    expected = FORMULAS[name](variables.get("params", {}), H)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12)
    if name not in ("batch", "dgn"):
        np.testing.assert_array_equal(module.apply(variables, graph, H, False), out)


def test_batch_norm_evaluates_with_running_means(graph, x64):
    module = BatchNorm()
    variables = module.init(jax.random.key(0), graph, H, True)
    means, variances = np.zeros(D), np.ones(D)  # before the first step
    for step in range(3):
        batch = H + step
        before = variables["batch_stats"]["norm"]
        np.testing.assert_allclose(before["mean"], means, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(before["var"], variances, rtol=1e-6)
        evaluated = module.apply(variables, graph, batch, False)
        np.testing.assert_allclose(evaluated, (batch - means) / np.sqrt(variances + EPSILON), rtol=1e-5, atol=1e-6)
        _, changed = trained(module, variables, graph, batch)
        _, unasked = module.apply(variables, graph, batch, False, mutable=["batch_stats"])
        jax.tree.map(np.testing.assert_array_equal, unasked["batch_stats"], variables["batch_stats"])
        variables = variables | changed
        means, variances = 0.9 * means + 0.1 * batch.mean(0), 0.9 * variances + 0.1 * batch.var(0)


def test_batch_norm_of_a_stack_has_running_means_in_every_layer(graphs):
    graph = jg.prepare(**graphs.star(N))
    model, x = jg.DeepGNN(depth=3, width=4, norm="batch", dropout=0.0), signal(N, 3).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), graph, x)
    assert variables["batch_stats"]["stack"]["norm"]["norm"]["mean"].shape == (3, 4)
    logits, changed = jax.jit(lambda v: model.apply(v, graph, x, train=True, mutable=["batch_stats"]))(variables)
    variables = variables | changed
    mean = variables["batch_stats"]["stack"]["norm"]["norm"]["mean"]
    assert (np.abs(mean).max(axis=1) > 1e-4).all()
    assert not np.allclose(jax.jit(model.apply)(variables, graph, x), logits, atol=1e-3)


@pytest.mark.parametrize("norm", ["batch", "dgn"])
def test_a_graph_without_nodes_leaves_running_means_as_they_are(graphs, norm):
    graph, H = jg.prepare(**graphs.edgeless(0)), jnp.zeros((0, 4))
    module = NORMS[norm]()
    variables = module.init(jax.random.key(0), graph, H, True)
    out, changed = module.apply(variables, graph, H, True, mutable=["batch_stats"])
    assert out.shape == (0, 4)
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"])
    assert np.isfinite(jax.tree.leaves(changed["batch_stats"])[0]).all()


def padded(graph, extra):
    """The same graph with so many nodes of padding behind it."""
    more = jg.prepare(senders=graph.senders, receivers=graph.receivers, num_nodes=graph.num_nodes + extra)
    mask = np.arange(more.num_nodes) < graph.num_nodes
    return replace(more, node_mask=mask.astype(np.float32))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_padding_is_left_out(graph, x64, name, train):
    module, whole = MODULES[name], padded(graph, 4)
    variables = drawn(module, graph, H)
    filled = np.concatenate([H, 1e3 * signal(4, D, seed=1)])
    expected, stats = module.apply(variables, graph, H, train, mutable=["batch_stats"])
    out, with_padding = module.apply(variables, whole, filled, train, mutable=["batch_stats"])
    np.testing.assert_allclose(out[:N], expected, rtol=0, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), with_padding, stats)


def test_padding_stays_0_in_a_stack_and_changes_nothing(graph, x64):
    whole, x = padded(graph, 4), signal(N, 3)
    filled = np.concatenate([x, signal(4, 3, seed=1)])
    models = [jg.DeepGNN(depth=2, width=4, norm=norm, bias=True, activation="gelu") for norm in NORMS]

    @jax.jit
    def features(cases):
        every = []
        for model in models:
            variables = model.init(jax.random.key(0), graph, x)
            variables = jax.tree.map(lambda a: a + 0.1, variables)  # biases too
            taps = [model.zero_taps(variables, X) for _, X in cases]
            every.append([model.apply(variables, *c, t, method="tapped")[1] for c, t in zip(cases, taps, strict=True)])
        return every

    for out, expected in features([(whole, filled), (graph, x)]):
        np.testing.assert_allclose(out[:, :N], expected, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(out[1:, N:], 0)


def several(graphs, sizes, **options):
    """A ring, a star and so on, in one GraphsTuple."""
    parts = [build(n) for build, n in zip((graphs.star, graphs.ring, graphs.path), sizes, strict=True)]
    tuples = [
        jraph.GraphsTuple(None, None, p["receivers"], p["senders"], None, np.array([n]), np.array([p["senders"].size]))
        for p, n in zip(parts, sizes, strict=True)
    ]
    return jg.prepare(jraph.batch_np(tuples), **options)


@pytest.mark.parametrize("name", ["pairnorm", "mean_subtraction"])
@pytest.mark.parametrize("masked", [False, True])
def test_means_are_taken_graph_by_graph(graphs, x64, name, masked):
    sizes, ends = (4, 7, 3), (0, 4, 11, 14)
    together, X = several(graphs, sizes), signal(14, D) + np.repeat([0.0, 5.0, -9.0], sizes)[:, None]
    if masked:  # the last node of every graph is padding
        together = replace(together, node_mask=np.isin(np.arange(14), [3, 10, 13], invert=True).astype(np.float32))
    out = MODULES[name].apply({}, together, X, True)
    for start, end in pairwise(ends):
        inside = slice(start, end - masked)
        np.testing.assert_allclose(out[inside], FORMULAS[name]({}, X[inside]), rtol=0, atol=1e-12)


def test_means_are_taken_graph_by_graph_at_every_distance(graphs, x64):
    sizes = (4, 7, 3)
    graph, X = several(graphs, sizes, hops=2), signal(14, D)
    for index in range(3):
        np.testing.assert_array_equal(row_mean(graph.hop(index), X), row_mean(graph, X))
    masked = replace(graph, node_mask=(np.arange(14) % 2).astype(np.float32))
    np.testing.assert_array_equal(row_mean(masked.hop(1), X), row_mean(masked, X))
    # So that no graph of a batch depends on another, in a network either.
    model = jg.DeepGNN(depth=2, width=3, norm="pairnorm", khop=True, activation="tanh")
    variables = jax.jit(model.init)(jax.random.key(0), graph, X)
    J = jax.jit(jax.jacrev(lambda X: model.apply(variables, graph, X)))(X)
    own = np.repeat(np.arange(3), sizes)
    np.testing.assert_array_equal(np.any(np.asarray(J) != 0, axis=(1, 3)), own[:, None] == own[None])


@pytest.mark.parametrize("name", MODULES)
def test_equal_rows_give_finite_gradients(graph, name):
    # Where all is oversmoothed, variances are 0.
    module, X = MODULES[name], np.ones((N, D), np.float32)
    variables = drawn(module, graph, X)

    @jax.jit
    @jax.value_and_grad
    def loss(X):
        return jnp.sum(jnp.sin(trained(module, variables, graph, X)[0]))

    value, gradient = loss(X)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("d", "expected"), [(8, 4), (6, 3), (4, 2), (2, 1), (1, 1), (7, 1), (12, 4), (10, 2), (16, 4)])
def test_groups_have_equal_size_and_at_least_2(graph, d, expected):
    # The groups' number shows in what a row is invariant to: adding a constant to one group.
    X = signal(N, d).astype(np.float32)
    module = GroupNorm(groups=4)
    variables = module.init(jax.random.key(0), graph, X, True)
    out = np.asarray(module.apply(variables, graph, X, True))
    sums = out.reshape(N, expected, d // expected).sum(-1)
    np.testing.assert_allclose(sums, 0, atol=1e-4)
    if d % (2 * expected) == 0 and 2 * expected <= d:
        assert np.abs(out.reshape(N, 2 * expected, -1).sum(-1)).max() > 1e-2

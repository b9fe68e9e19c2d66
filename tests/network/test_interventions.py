"""Interventions: against the network written out by hand, forward and on the way back, and two known effects."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn import edits


@pytest.fixture
def setting(x64):
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph, normalisation="doubly")
    task = jg.tasks.node_classification(ds, graph)
    model = jg.DeepGNN(depth=4, width=5, out=2, activation="tanh")
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), model.init(jax.random.key(0), graph, task.x))
    return model, params, graph, np.asarray(task.x, np.float64), task


def by_hand(
    model, params, graph, x, forward=lambda l, X: X, backward=lambda l, X: X, weights=lambda l, W: W, pre=lambda l, H: H
):
    """Logits of the plain GCN; `backward` is applied to cotangents of X^(l)."""
    p = params["params"]
    P = graph.propagation.dense()

    @jax.custom_vjp
    def passed(X, l):
        return X

    passed.defvjp(
        lambda X, l: (X, l), lambda l, ct: (jnp.stack([backward(k, ct) for k in range(model.depth + 1)])[l], None)
    )
    X = passed(forward(0, x @ p["encoder"]["kernel"] + p["encoder"]["bias"][None]), 0)
    for l in range(model.depth):
        W = weights(l, jax.tree.leaves(p["stack"]["layer"])[0][l])
        X = passed(forward(l + 1, jnp.tanh(pre(l, P @ X @ W))), l + 1)
    return X @ p["readout"]["kernel"] + p["readout"]["bias"][None]


def same(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), a, b)


Q = np.random.default_rng(0).standard_normal((34, 2))
GIVEN = np.random.default_rng(1).standard_normal((34, 5))
FORWARD = {
    "replace": (edits.replace(GIVEN), lambda X: GIVEN),
    "zero": (edits.replace(0.0), lambda X: 0 * X),
    "scale": (edits.scale(-0.5), lambda X: -0.5 * X),
    "off the mean": (edits.off_mean(), lambda X: X - X.mean(0, keepdims=True)),
    "mean": (edits.mean(), lambda X: jnp.broadcast_to(X.mean(0, keepdims=True), X.shape)),
    "onto": (edits.onto(Q), lambda X: Q @ np.linalg.pinv(Q) @ X),
    "off": (edits.off(Q), lambda X: X - Q @ np.linalg.pinv(Q) @ X),
    "freeze": (edits.freeze(), jax.lax.stop_gradient),
    "function": (edits.function(jnp.sin), jnp.sin),
}


@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize("layer", [0, 2, 4, "all"])
def test_features_are_edited_and_the_rest_runs_on(name, layer, setting):
    model, params, graph, x, task = setting
    edit, change = FORWARD[name]
    other = jg.intervene(model, {layer: edit})

    def expected(p):
        return by_hand(model, p, graph, x, lambda l, X: change(X) if layer in (l, "all") else X)

    same(other.apply(params, graph, x), expected(params))

    def loss(apply):
        return lambda p: task.loss(apply(p))

    ours, theirs = (jax.grad(loss(f))(params)["params"] for f in (lambda p: other.apply(p, graph, x), expected))
    same(ours, theirs)


def test_weights_and_pre_activations_are_edited(setting):
    model, params, graph, x, _ = setting
    other = jg.intervene(model, {("weights", 1): edits.scale(3.0), ("pre_activations", 2): edits.off_mean()})
    expected = by_hand(
        model,
        params,
        graph,
        x,
        weights=lambda l, W: 3 * W if l == 1 else W,
        pre=lambda l, H: H - H.mean(0, keepdims=True) if l == 2 else H,
    )
    same(other.apply(params, graph, x), expected)


@pytest.mark.parametrize("remat", ["none", "block", "sqrt"])
def test_gradients_are_edited_on_the_way_back_and_nothing_forward(setting, remat):
    model, params, graph, x, task = setting
    model = model.clone(remat=remat)
    other = jg.intervene(model, {("feature_grads", 2): edits.off_mean(), ("feature_grads", 0): edits.scale(2.0)})
    change = {0: lambda G: 2 * G, 2: lambda G: G - G.mean(0, keepdims=True)}

    def expected(p):
        return by_hand(model, p, graph, x, backward=lambda l, G: change.get(l, lambda G: G)(G))

    same(other.apply(params, graph, x), model.apply(params, graph, x))

    def grad(f):
        return jax.grad(lambda p: task.loss(f(p)))(params)["params"]

    same(grad(lambda p: other.apply(p, graph, x)), grad(expected))
    with pytest.raises(AssertionError):
        same(grad(lambda p: other.apply(p, graph, x)), grad(lambda p: model.apply(p, graph, x)))


def test_probe_shows_what_was_edited(setting):
    model, params, graph, x, task = setting
    other = jg.intervene(model, {("errors", 1): edits.off_mean(), 3: edits.replace(GIVEN)})
    trace = jg.probe(other, params, graph, x, task.loss)
    np.testing.assert_allclose(trace.errors[1].mean(axis=0), 0, atol=1e-15)
    np.testing.assert_array_equal(trace.features[3], GIVEN)
    assert not np.asarray(trace.errors[:3]).any()  # nothing comes back through what was replaced
    assert np.asarray(trace.errors[3]).any()
    P, W = graph.propagation.dense(), jax.tree.leaves(params["params"]["stack"]["layer"])[0]
    trace = jg.probe(jg.intervene(model, {("errors", 1): edits.off_mean()}), params, graph, x, task.loss)
    for l in range(4):
        np.testing.assert_allclose(trace.feature_grads[l], P.T @ trace.errors[l] @ W[l].T, atol=1e-12)
    slope = 1 - np.asarray(trace.features[2]) ** 2
    B = slope * trace.feature_grads[2]
    np.testing.assert_allclose(trace.errors[1], B - B.mean(0, keepdims=True), atol=1e-14)


def test_jacobians_and_transforms(setting):
    model, params, graph, x, _ = setting
    other = jg.intervene(model, {2: edits.scale(0.5), ("feature_grads", 2): edits.replace(0.0)})
    f, h = other.layer_fn(params, graph, x, layer=1, dtype=jnp.float64)
    g, _ = model.layer_fn(params, graph, x, layer=1, dtype=jnp.float64)
    np.testing.assert_allclose(f(h), 0.5 * g(h), atol=1e-14)
    v = np.random.default_rng(2).standard_normal(h.shape)
    batch = jax.vmap(lambda v: jax.jvp(f, (h,), (v,))[1])(jnp.stack([v, 2 * v]))
    np.testing.assert_allclose(batch[1], jax.jvp(g, (h,), (v,))[1], atol=1e-13)
    back = jax.vmap(jax.vjp(f, h)[1])(jnp.stack([v, v]))[0]  # of what runs forward
    np.testing.assert_allclose(back[0], 0.5 * jax.vjp(g, h)[1](v)[0], atol=1e-13)
    half = jg.intervene(model, {2: edits.scale(0.5)})
    f, h = half.layer_fn(params, graph, x, layer=1)
    J = jg.jacobian(f, h)
    g, _ = model.layer_fn(params, graph, x, layer=1)
    same(J.singular_values(), 0.5 * jg.jacobian(g, h).singular_values())


def test_a_trained_network_and_its_folder(setting, tmp_path):
    model, _, _graph, _, task = setting
    other = jg.intervene(model, {("errors", "all"): edits.off_mean()})
    options = {"seeds": 2, "steps": 12, "out": tmp_path / "run"}
    first = jg.train(other, task, **options)
    again = jg.train(jg.intervene(model, {("errors", "all"): edits.off_mean()}), task, **options)  # its own run again
    np.testing.assert_array_equal(first.history.train_loss, again.history.train_loss)
    assert not np.array_equal(first.history.train_loss, jg.train(model, task, seeds=2, steps=12).history.train_loss)
    with pytest.raises(ValueError, match="other"):
        jg.train(jg.intervene(model, {("errors", 1): edits.mean()}), task, **options)


def test_a_folder_knows_what_a_function_computes(setting, tmp_path):
    model, _, _, _, task = setting

    def trained(site, M):
        edited = jg.intervene(model, {(site, 2): edits.function(lambda X: M @ X)})
        return jg.train(edited, task, seeds=1, steps=2, out=tmp_path / site)

    other = np.eye(34)
    other[17, 17] = 0
    for site in ("features", "errors"):
        trained(site, np.eye(34))
        trained(site, np.eye(34))
        with pytest.raises(ValueError, match=r"code is .* there and .* here"):
            trained(site, other)


REFUSED = {
    "site": ({("nodes", 1): edits.mean()}, "the site 'nodes' is not known: allowed are features, pre_activations"),
    "layer": ({5: edits.mean()}, "layer 5 of features: allowed are 0 to 4 and 'all'"),
    "error layer": ({("errors", 4): edits.mean()}, "layer 4 of errors: allowed are 0 to 3 and 'all'"),
    "edit": ({1: lambda X: X}, "is no edit: jaxgnn.edits has them"),
    "freeze": ({("errors", 1): edits.freeze()}, "changes nothing on the way back"),
    "name": ({"1": edits.mean()}, "layer '1' of features"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    given, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        jg.intervene(jg.DeepGNN(depth=4), given)


def test_edits_that_are_refused(setting):
    model, params, graph, x, _ = setting
    for call, sentence in (
        (lambda: edits.replace([np.nan]), "replace: finite real numbers are needed"),
        (lambda: edits.scale("2"), r"scale\('2'\): a finite number is needed"),
        (lambda: edits.onto(np.zeros((3, 1))), r"a basis has shape \(3, 1\): finite \[n, k\] of rank k is needed"),
        (lambda: edits.function(3), "a function of X is needed, not int"),
        (lambda: jg.intervene(graph, {}), "a DeepGNN or jaxgnn.sequential is needed, not Graph"),
        (
            lambda: jg.intervene(model, {1: edits.function(lambda X: X[:3], "short")}).apply(params, graph, x),
            r"the edit function\(short\) gives shape \(3, 5\) for \(34, 5\)",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_features_off_their_mean_do_not_collapse(seed):
    """X^(L) of 40 ReLU layers is nearly constant over the nodes, unless the mean is taken away before."""
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph, normalisation="doubly")
    model = jg.DeepGNN(depth=40, width=8, out=2, activation="relu", init_weights="he")
    params = model.init(jax.random.key(seed), graph, ds.x)
    off = jg.intervene(model, dict.fromkeys(range(40), edits.off_mean()))
    last = [jg.probe(m, params, graph, ds.x, jnp.sum).features[-1] for m in (model, off)]
    plain, edited = (float(jg.measures.mu(X) / jnp.linalg.norm(X)) for X in last)
    assert plain < 0.2
    assert edited > 0.5


def test_errors_that_are_smooth_vanish_with_their_mean():
    """Keriven 2025: errors smooth to their mean on the way back, so without it nothing reaches the first layers."""
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph, normalisation="doubly")
    task = jg.tasks.node_classification(ds, graph)
    model = jg.DeepGNN(depth=200, width=16, out=2, activation="tanh", init_weights="orthogonal")
    params = model.init(jax.random.key(0), graph, task.x)
    norms = {}
    for name, edit in (("plain", None), ("off", edits.off_mean()), ("mean", edits.mean())):
        network = model if edit is None else jg.intervene(model, {("errors", "all"): edit})
        norms[name] = float(jnp.linalg.norm(jg.probe(network, params, graph, task.x, task.loss).errors[0]))
    assert norms["off"] < 0.05 * norms["plain"]
    assert norms["mean"] > 0.2 * norms["plain"]


SITES = {
    "features": {0: edits.scale(2.0), 3: edits.off_mean()},
    "pre_activations": {("pre_activations", 1): edits.onto(Q), ("pre_activations", 3): edits.replace(GIVEN)},
    "weights": {("weights", 2): edits.function(jnp.sin), ("weights", 0): edits.scale(-1.0)},
    "feature_grads": {("feature_grads", "all"): edits.off_mean(), ("feature_grads", 4): edits.scale(3.0)},
    "errors": {("errors", 0): edits.scale(0.5), ("errors", 3): edits.mean()},
}


@pytest.mark.parametrize("site", SITES)
def test_layers_in_a_row_are_edited_as_the_same_layers_in_a_stack(setting, site):
    model, params, graph, x, task = setting
    p = params["params"]
    row = jg.sequential(
        [jg.layers.GCN(features=5)] * 4, encoder=nn.Dense(5), readout=nn.Dense(2), activation=model.activation
    )
    layers = {f"layer_{l}": jax.tree.map(lambda a, l=l: a[l], p["stack"]["layer"]) for l in range(4)}
    own = {"params": {"encoder": p["encoder"], "readout": p["readout"], **layers}}
    row, model = jg.intervene(row, SITES[site]), jg.intervene(model, SITES[site])
    same(row.apply(own, graph, x), model.apply(params, graph, x))
    ours, theirs = jg.probe(row, own, graph, x, task.loss), jg.probe(model, params, graph, x, task.loss)
    for name in ("features", "feature_grads", "errors", "loss"):
        same(getattr(ours, name), getattr(theirs, name))
    grads = jax.grad(lambda v: task.loss(row.apply(v, graph, x)))(own)["params"]
    stacked = jax.grad(lambda v: task.loss(model.apply(v, graph, x)))(params)["params"]
    same(grads["encoder"], stacked["encoder"])
    same([jax.tree.leaves(grads[f"layer_{l}"])[0] for l in range(4)], list(jax.tree.leaves(stacked["stack"])[0]))
    for l in range(4):
        (f, h), (g, k) = (n.layer_fn(v, graph, x, layer=l) for n, v in ((row, own), (model, params)))
        same(h, k)
        same(jax.jacfwd(f)(h), jax.jacfwd(g)(k))
    (step, h, inputs), (other, k, more) = (n.scan_fn(v, graph, x) for n, v in ((row, own), (model, params)))
    same(jg.lyapunov(step, h, inputs, k=2).exponents, jg.lyapunov(other, k, more, k=2).exponents)


def test_a_network_without_known_layers_is_not_edited():
    with pytest.raises(ValueError, match=r"a DeepGNN or jaxgnn\.sequential is needed, not Network"):
        jg.intervene(jg.adapt(nn.Dense(2)), {0: edits.mean()})

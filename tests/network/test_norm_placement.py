"""Where the norm stands: before the activation, before the layer, after the residual, each a plain numpy network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg

DEPTH, D = 4, 5
PLACEMENTS = ("activation", "pre", "post")


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def standard(Z, axis, p, layer):
    Z = (Z - Z.mean(axis, keepdims=True)) / np.sqrt(Z.var(axis, keepdims=True) + 1e-5)
    return Z * p["scale"][layer] + p["bias"][layer]


def written_out(placement, params, P, x, axis, s=1.0):
    """Features of every layer and logits."""
    stack = params["stack"]
    X = [x @ params["encoder"]["kernel"] + params["encoder"]["bias"]]
    for layer, W in enumerate(stack["layer"]["linear"]["kernel"]):

        def norm(Z, layer=layer):
            return standard(Z, axis, stack["norm"]["norm"], layer)

        R = {
            "activation": lambda X, W=W, norm=norm: np.tanh(norm(P @ X @ W)),
            "pre": lambda X, W=W, norm=norm: np.tanh(P @ norm(X) @ W),
            "post": lambda X, W=W: np.tanh(P @ X @ W),
        }[placement](X[-1])
        X.append(norm(X[-1] + s * R) if placement == "post" else X[-1] + s * R)
    return np.stack(X), X[-1] @ params["readout"]["kernel"] + params["readout"]["bias"]


@pytest.fixture
def graph(graphs):
    return jg.prepare(**graphs.directed(), normalisation="row")


def network(placement, norm="layer", residual="identity", **options):
    model = {"depth": DEPTH, "width": D, "out": 2, "activation": "tanh"} | options
    return jg.DeepGNN(norm=norm, norm_placement=placement, residual=residual, **model)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("residual", ["identity", "depth_scaled"])
def test_layer_norm_is_that_of_a_plain_network(graph, random_variables, x64, placement, residual):
    model, x = network(placement, residual=residual), signal(12, 3)
    variables = random_variables(model, graph, x)
    logits, X = jax.jit(model.apply, static_argnames="method")(
        variables, graph, x, model.zero_taps(variables, x), method="tapped"
    )
    s = float(np.float32(DEPTH**-0.5)) if residual == "depth_scaled" else 1.0
    expected = written_out(placement, variables["params"], graph.propagation.dense(), x, 1, s)
    for found, wanted in zip((X, logits), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_batch_norm_learns_its_means_there(graph, random_variables, x64, placement):
    model, x = network(placement, "batch"), signal(12, 3)
    variables = random_variables(model, graph, x)
    params, rest = variables["params"], {k: v for k, v in variables.items() if k != "params"}
    logits, changed = jax.jit(lambda p: model.apply({"params": p, **rest}, graph, x, True, mutable=["batch_stats"]))(
        params
    )
    X, expected = written_out(placement, params, graph.propagation.dense(), x, 0)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    if placement == "pre":  # running means move by a tenth from 0
        means = changed["batch_stats"]["stack"]["norm"]["norm"]["mean"]
        np.testing.assert_allclose(means, 0.1 * X[:-1].mean(1), rtol=0, atol=1e-12)
    assert not model.same_in_training()


def test_before_the_layer_the_signal_itself_passes_untouched(graph, random_variables):
    # With W = 0 a block is the identity: its Jacobian is I, where after the residual it is that of the norm.
    found = {}
    for placement in ("pre", "post"):
        model, x = network(placement), signal(12, 3)
        variables = random_variables(model, graph, x)
        variables["params"]["stack"]["layer"] = jax.tree.map(np.zeros_like, variables["params"]["stack"]["layer"])
        found[placement] = jg.jacobian(*model.layer_fn(variables, graph, x, layer=1, dtype=np.float64)).dense()
    np.testing.assert_array_equal(found["pre"], np.eye(12 * D))
    assert np.linalg.matrix_rank(found["post"]) == 12 * (D - 1)  # a row's mean is taken away


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_scale_of_the_features_where_the_norm_stands(graph, placement):
    # At the start, with scale 1 and shift 0, deep networks differ: only after the residual every row has norm sqrt(d).
    model, x = network(placement, depth=40, activation="relu"), signal(12, 3).astype(np.float32)
    params = model.init(jax.random.key(0), graph, x)
    X = np.asarray(jg.probe(model, params, graph, x, jnp.sum).features)
    rows = np.linalg.norm(X[-1], axis=1)
    if placement == "post":
        np.testing.assert_allclose(rows, np.sqrt(D), rtol=1e-3)
    else:
        assert rows.mean() > 2 * np.sqrt(D)


def test_unknown_placement_is_refused():
    with pytest.raises(ValueError, match=r"^norm_placement='before' is not known: allowed are activation, pre, post"):
        jg.DeepGNN(norm="layer", norm_placement="before")


def test_depth_scaled_follows_the_depth_unless_it_is_given():
    model = jg.DeepGNN(depth=16, residual="depth_scaled")
    assert model.residual_scale == 0.25
    assert model.clone(depth=64).residual_scale == 0.125
    assert model.clone(depth=64, residual_scale=0.5).residual_scale == 0.5
    assert jg.DeepGNN(depth=6, ends="layer", residual="depth_scaled").residual_scale == 0.5
    assert jg.DeepGNN(depth=2, ends="layer", residual="depth_scaled").residual_scale == 1.0
    assert "residual_scale" in model.used_numbers()

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.jacobian import dense


def signal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.fixture
def graph(graphs):
    return jg.prepare(**graphs.star(6), normalisation="row")


REFUSED = {
    "layer": ("magic", "layer='magic' is not known: allowed are gcn, mlp"),
    "activation": (
        "sine",
        "activation='sine' is not known: allowed are relu, leaky_relu, tanh, elu, gelu, identity",
    ),
    "residual": ("dense", "residual='dense' is not known: allowed are none, identity"),
    "bound": ("nuclear", "bound='nuclear' is not known: allowed are none, frobenius, frobenius_soft"),
    "init_weights": ("ones", "init_weights='ones' is not known: allowed are glorot, he, lecun, orthogonal"),
    "depth": (0, "depth=0: allowed are 1 and more"),
    "width": (-3, "width=-3: allowed are 1 and more"),
    "out": (0, "out=0: allowed are 1 and more"),
    "bound_c": (0.0, "bound_c=0.0: allowed are finite numbers above 0"),
    "dropout": (1.0, "dropout=1.0: allowed are 0 and more, below 1"),
    "input_dropout": (-0.1, "input_dropout=-0.1: allowed are 0 and more, below 1"),
}


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_out_of_range_is_refused_when_the_model_is_made(option):
    value, sentence = REFUSED[option]
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        jg.DeepGNN(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("bound_c", np.nan), ("dropout", np.nan), ("depth", 2.5), ("width", 4.5), ("layer", 42)],
)
def test_what_no_model_can_have_is_refused_when_the_model_is_made(option, value):
    with pytest.raises(ValueError, match=f"^{option}="):
        jg.DeepGNN(**{option: value})


def test_layers_of_the_stack_are_the_leading_axis_of_its_parameters(graph):
    model = jg.DeepGNN(depth=5, width=4, out=3, bias=True)
    variables = model.init(jax.random.key(0), graph, signal(6, 7))
    params = variables["params"]
    assert jax.tree.map(jnp.shape, params) == {
        "encoder": {"kernel": (7, 4), "bias": (4,)},
        "stack": {"layer": {"linear": {"kernel": (5, 4, 4)}, "bias": (5, 4)}},
        "readout": {"kernel": (4, 3), "bias": (3,)},
    }
    kernels = np.asarray(params["stack"]["layer"]["linear"]["kernel"])
    assert len(np.unique(kernels)) == kernels.size  # every layer draws its own
    assert np.shape(variables["constants"]["bound_c"]) == ()


@pytest.mark.parametrize("init_weights", ["glorot", "he", "lecun", "orthogonal"])
def test_initial_weights(graph, init_weights):
    d = 64
    model = jg.DeepGNN(depth=8, width=d, init_weights=init_weights)
    params = model.init(jax.random.key(0), graph, signal(6, 7))["params"]
    W = np.asarray(params["stack"]["layer"]["linear"]["kernel"], np.float64)
    if init_weights == "orthogonal":
        np.testing.assert_allclose(W @ W.transpose(0, 2, 1), np.tile(np.eye(d), (8, 1, 1)), atol=1e-5)
    else:  # uniform of variance 1/d or 2/d
        variance = (2 if init_weights == "he" else 1) / d
        assert W.var() == pytest.approx(variance, rel=0.03)
        assert np.abs(W).max() <= np.sqrt(3 * variance)


@pytest.mark.parametrize("bias", [False, True])
def test_gcn_and_its_control_have_the_same_parameters(graph, bias):
    models = [jg.DeepGNN(layer=layer, depth=3, width=4, out=2, bias=bias) for layer in ("gcn", "mlp")]
    one, other = (model.init(jax.random.key(3), graph, signal(6, 5)) for model in models)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    x = signal(6, 5)
    assert not np.allclose(models[0].apply(one, graph, x), models[1].apply(one, graph, x))


@pytest.mark.parametrize("name", ["no nodes", "one node", "no edges"])
def test_smallest_graphs(graphs, name):
    n = {"no nodes": 0, "one node": 1, "no edges": 4}[name]
    graph = jg.prepare(**graphs.edgeless(n))
    model = jg.DeepGNN(depth=2, width=3, out=2)
    params = model.init(jax.random.key(0), graph, signal(n, 3))
    logits = model.apply(params, graph, signal(n, 3))
    assert logits.shape == (n, 2)
    assert np.isfinite(logits).all()


def test_one_program_serves_every_c(graph, written_out):
    model = jg.DeepGNN(depth=3, width=4, bound="frobenius", bound_c=0.5)
    x = signal(6, 5)
    variables = model.init(jax.random.key(0), graph, x)
    assert variables["constants"]["bound_c"] == 0.5
    apply = jax.jit(model.apply)
    for c in (0.5, 2.0, 7.0):
        changed = variables | {"constants": variables["constants"] | {"bound_c": jnp.float32(c)}}
        expected = written_out(variables, graph.propagation.dense(), x, bound="frobenius", c=c).logits
        np.testing.assert_allclose(apply(changed, graph, x), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert apply._cache_size() == 1


def test_the_constant_is_no_parameter(graph):
    model = jg.DeepGNN(depth=2, width=3, bound="frobenius", bound_c=3.0)
    variables = model.init(jax.random.key(0), graph, signal(6, 2))
    assert "bound_c" not in str(jax.tree_util.tree_structure(variables["params"]))
    assert set(variables) == {"params", "constants"}


@pytest.mark.parametrize("option", ["dropout", "input_dropout"])
def test_dropout_acts_in_training_only(graph, option):
    x = signal(6, 5)
    plain, dropped = jg.DeepGNN(depth=2, width=4), jg.DeepGNN(depth=2, width=4, **{option: 0.5})
    params = dropped.init(jax.random.key(0), graph, x)
    np.testing.assert_array_equal(dropped.apply(params, graph, x), plain.apply(params, graph, x))
    runs = [
        np.asarray(dropped.apply(params, graph, x, train=True, rngs={"dropout": jax.random.key(k)})) for k in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()
    assert (runs[0] != np.asarray(plain.apply(params, graph, x))).any()


class Ones(nn.Module):
    """A layer that dropout on its input cannot change."""

    features: int

    def __call__(self, graph, X):
        return jnp.ones((len(X), self.features), X.dtype)


def test_dropout_acts_on_the_input_of_the_readout(graph):
    model, x = jg.DeepGNN(layer=Ones, depth=1, width=64, out=2, dropout=0.5), signal(6, 5)
    params = model.init(jax.random.key(0), graph, x)
    kept = model.apply(params, graph, x)
    trained = model.apply(params, graph, x, train=True, rngs={"dropout": jax.random.key(1)})
    assert (np.asarray(kept) == np.asarray(kept)[0]).all()
    assert (np.asarray(trained) != np.asarray(kept)).all()


def test_dropout_of_the_input_keeps_its_mean(graphs):
    # With a linear network E[logits] is the network at E[dropped x] = x.
    graph = jg.prepare(**graphs.edgeless(1), normalisation="sym")
    model = jg.DeepGNN(depth=1, width=2, activation="identity", input_dropout=0.25)
    x = signal(1, 3)
    params = model.init(jax.random.key(0), graph, x)
    keys = jax.random.split(jax.random.key(1), 20_000)
    train = jax.vmap(lambda key: model.apply(params, graph, x, train=True, rngs={"dropout": key}))(keys)
    sampling = 5 * float(np.std(train)) / np.sqrt(len(keys))
    np.testing.assert_allclose(np.mean(train), np.mean(model.apply(params, graph, x)), rtol=0, atol=sampling)


@pytest.mark.parametrize("options", [{}, {"residual": "identity", "bound": "frobenius", "bias": True}])
def test_layer_fn_is_the_step_between_two_features(graph, written_out, random_variables, options):
    model = jg.DeepGNN(depth=4, width=3, activation="tanh", bound_c=0.75, **options)
    x = signal(6, 5, dtype=np.float64)
    params = random_variables(model, graph, x)
    keys = {"residual": model.residual, "bound": model.bound}
    X = written_out(params, graph.propagation.dense(), x, activation="tanh", c=0.75, **keys).features
    for k in range(4):
        f, h = model.layer_fn(params, graph, x, layer=k, dtype=jnp.float64)
        np.testing.assert_allclose(h, X[k], rtol=0, atol=1e-13)
        np.testing.assert_allclose(f(h), X[k + 1], rtol=0, atol=1e-13)


def test_layer_fn_has_the_precision_asked_for_outside_float64_mode(graph):
    model = jg.DeepGNN(depth=3, width=4)
    x = signal(6, 5)
    params = model.init(jax.random.key(0), graph, x)
    f, h = model.layer_fn(params, graph, x, layer=2, dtype=jnp.float64)
    assert h.dtype == np.float64
    assert f(h).dtype == np.float64
    single, h32 = model.layer_fn(params, graph, x, layer=2)
    assert single(h32).dtype == h32.dtype == np.float32
    np.testing.assert_allclose(single(h32), f(h), rtol=1e-5, atol=1e-6)
    assert jnp.zeros(1).dtype == np.float32


def test_layer_fn_holds_x0_constant(graphs):
    class Anchored(nn.Module):
        features: int

        @nn.compact
        def __call__(self, graph, X, x0):
            return X @ self.param("W", nn.initializers.orthogonal(), (X.shape[-1], self.features)) + 5 * x0

    graph = jg.prepare(**graphs.ring(4))
    model = jg.DeepGNN(layer=Anchored, depth=2, width=3, activation="identity")
    x = signal(4, 2)
    params = model.init(jax.random.key(0), graph, x)
    f, h = model.layer_fn(params, graph, x, layer=0)  # h is X^(0) itself
    W = params["params"]["stack"]["layer"]["W"][0]
    np.testing.assert_allclose(jg.jacobian(f, h).dense(), np.kron(np.eye(4), W.T), atol=1e-6)


@pytest.mark.parametrize("layer", [-1, 3])
def test_layer_fn_of_a_layer_that_is_not_there(graph, layer):
    model = jg.DeepGNN(depth=3, width=4)
    x = signal(6, 5)
    params = model.init(jax.random.key(0), graph, x)
    with pytest.raises(ValueError, match=rf"^layer={layer}: a network of 3 blocks has layers 0 to 2$"):
        model.layer_fn(params, graph, x, layer=layer)


def test_one_compilation_serves_the_jacobians_of_all_layers(graph):
    x = signal(6, 5)
    before = dense.jacfwd_flat._cache_size()
    for seed in (0, 1):  # another model with the same options shares it as well
        model = jg.DeepGNN(depth=4, width=2, activation="elu")
        params = model.init(jax.random.key(seed), graph, x)
        Js = [jg.jacobian(*model.layer_fn(params, graph, x, layer=k)).dense() for k in range(4)]
        assert dense.jacfwd_flat._cache_size() == before + 1
    assert not np.allclose(Js[0], Js[1])


def test_gradients_with_respect_to_parameters_are_central_differences(graph, random_variables, x64):
    model = jg.DeepGNN(depth=2, width=3, activation="tanh", bound="frobenius_soft", bound_c=0.5, bias=True)
    x = signal(6, 4, dtype=np.float64)
    variables = random_variables(model, graph, x)
    params, constants = variables["params"], variables["constants"]
    loss = jax.jit(lambda p: jnp.sum(jnp.sin(model.apply({"params": p, "constants": constants}, graph, x))))
    direction = jax.tree.map(lambda a: signal(*a.shape, seed=1, dtype=np.float64), params)
    step = 1e-5
    moved = [loss(jax.tree.map(lambda p, v, s=s: p + s * v, params, direction)) for s in (step, -step)]
    slope = sum(map(jnp.vdot, jax.tree.leaves(jax.grad(loss)(params)), jax.tree.leaves(direction)))
    assert float(moved[0] - moved[1]) / (2 * step) == pytest.approx(float(slope), rel=1e-7)


def test_numpy_and_jax_inputs_are_alike(graph):
    model = jg.DeepGNN(depth=2, width=4)
    x = signal(6, 5)
    params = model.init(jax.random.key(0), graph, x)
    np.testing.assert_array_equal(model.apply(params, graph, x), model.apply(params, graph, jnp.asarray(x)))
    host = jax.tree.map(np.asarray, params)
    np.testing.assert_array_equal(partial(model.apply, host)(graph, x), model.apply(params, graph, x))


def test_layers_at_the_ends_are_the_two_layer_network_written_out(graph, random_variables, x64):
    x = signal(6, 5, dtype=np.float64)
    model = jg.DeepGNN(layer="gcn", depth=2, width=4, out=3, ends="layer")
    variables = random_variables(model, graph, x)
    W, R = (variables["params"][name]["linear"]["kernel"] for name in ("encoder", "readout"))
    P = graph.propagation.dense()
    expected = P @ np.maximum(P @ x @ W, 0) @ R
    np.testing.assert_allclose(model.apply(variables, graph, x), expected, rtol=0, atol=1e-13)
    trace = jg.probe(model, variables, graph, x, jnp.sum)
    assert trace.features.shape == (1, 6, 4)
    np.testing.assert_allclose(trace.feature_grads[0], P.T @ np.ones((6, 3)) @ R.T, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "layer", ["gcnii", "appnp", "a_dgn", "grand", "mp_ssm_step", "unitary", "swan", "ph_dgn", "drew"]
)
def test_ends_need_a_layer_of_any_width(layer):
    with pytest.raises(ValueError, match=r'^ends="layer" needs a layer that maps any number of features'):
        jg.DeepGNN(layer=layer, depth=3, ends="layer")


def test_ends_of_several_heads_read_out_one(graph):
    model = jg.DeepGNN(layer=jg.layers.GAT(features=8, heads=4), depth=3, width=8, out=3, ends="layer")
    params = model.init(jax.random.key(0), graph, signal(6, 5))["params"]
    assert params["encoder"]["attention_sender"].shape == (1, 4, 2)
    assert params["stack"]["layer"]["linear"]["kernel"].shape == (1, 8, 8)
    assert params["readout"]["attention_sender"].shape == (1, 1, 3)


def test_a_bias_that_a_layer_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"^bias=True: the layer GCNII has no bias \(no option use_bias\)$"):
        jg.DeepGNN(layer="gcnii", bias=True)


def test_features_of_another_number_of_nodes_are_refused(graph):
    with pytest.raises(ValueError, match=r"^x has shape \(5, 2\), but the graph has 6 nodes: rows must agree"):
        jg.DeepGNN(layer="gat").init(jax.random.key(0), graph, jnp.ones((5, 2)))


SEGMENTS = {
    "relu": {"bound": "frobenius", "bias": True},
    "shared": {"share_weights": True, "residual": "identity", "bound": "spectral"},
    "k-hop": {"khop": True, "activation": "tanh", "norm": "layer"},
    "graphcon": {"residual": "graphcon", "norm": "batch"},
    "weighted": {"residual": "weighted", "share_weights": True},
    "ssm": {"residual": "ssm", "ssm": jg.StateSpace(transition="rotation", trainable=True)},
    "gcnii": {"layer": "gcnii", "residual": "initial"},
    "ends": {"ends": "layer", "depth": 6},
}


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("options", SEGMENTS)
def test_steps_of_the_scan_are_the_layers_functions(graphs, random_variables, options, single):
    graph = jg.prepare(**graphs.path(6), hops=2)
    model = jg.DeepGNN(**{"depth": 4, "width": 3} | SEGMENTS[options])
    x = signal(6, 5, dtype=np.float64)
    at = random_variables(model, graph, x), graph, x
    dtype, tolerance = (np.float32, 1e-5) if single else (np.float64, 1e-13)
    step, h, inputs = model.scan_fn(*at, start=1, dtype=dtype)
    assert {np.shape(leaf)[0] for leaf in jax.tree.leaves(inputs)} == {3}
    for layer in (1, 2, 3):
        f, X = model.layer_fn(*at, layer=layer, dtype=dtype)
        np.testing.assert_allclose(h, X, rtol=0, atol=tolerance * np.abs(X).max())
        inputs_of_layer = jax.tree.map(lambda a, row=layer - 1: a[row], inputs)
        other = signal(6, 3, seed=1, dtype=dtype)  # the state is held constant: it does not follow h
        np.testing.assert_allclose(step(other, inputs_of_layer), f(other), rtol=0, atol=10 * tolerance)
        h = step(h, inputs_of_layer)
        assert h.dtype == dtype
    f, X = model.segment_fn(*at, start=1, stop=4, dtype=dtype)
    assert f(X).dtype == X.dtype == dtype
    np.testing.assert_allclose(f(X), h, rtol=0, atol=tolerance * np.abs(h).max())


def test_a_segment_goes_from_one_feature_to_another(graph, written_out, random_variables):
    model = jg.DeepGNN(depth=5, width=3, activation="tanh", residual="identity")
    x = signal(6, 5, dtype=np.float64)
    params = random_variables(model, graph, x)
    X = written_out(params, graph.propagation.dense(), x, activation="tanh", residual="identity").features
    for start, stop in [(0, 5), (0, 1), (2, 4), (4, None)]:
        f, h = model.segment_fn(params, graph, x, start=start, stop=stop, dtype=np.float64)
        np.testing.assert_allclose(h, X[start], rtol=0, atol=1e-13)
        np.testing.assert_allclose(f(h), X[5 if stop is None else stop], rtol=0, atol=1e-13)


def test_one_compilation_serves_all_segments_of_one_length(graph):
    x = signal(6, 5)
    traced = []

    @jax.jit
    def run(f, h):
        traced.append(f)
        return f(h)

    for seed in (0, 1):
        model = jg.DeepGNN(depth=5, width=3, residual="graphcon")
        params = model.init(jax.random.key(seed), graph, x)
        for start in (0, 1, 2):
            run(*model.segment_fn(params, graph, x, start=start, stop=start + 3))
    assert len(traced) == 1


@pytest.mark.parametrize("segment", [(0, 4), (-1, 2), (2, 2), (3, 1)])
def test_segments_that_are_not_there(graph, segment):
    model = jg.DeepGNN(depth=3, width=4)
    x = signal(6, 5)
    params = model.init(jax.random.key(0), graph, x)
    start, stop = segment
    sentence = rf"^start={start}, stop={stop}: a network of 3 blocks allows 0 <= start < stop <= 3$"
    for function in (model.scan_fn, model.segment_fn):
        with pytest.raises(ValueError, match=sentence):
            function(params, graph, x, start=start, stop=stop)


@pytest.mark.parametrize("bound", ["none", "frobenius", "spectral", "cayley"])
@pytest.mark.parametrize("share_weights", [False, True])
def test_dynamics_are_the_norms_of_the_weights_that_propagate(graph, random_variables, bound, share_weights):
    # With x = I, P = I and X^(l) = I, a linear block returns W itself.
    layers = {"layer": "mlp", "activation": "identity", "bound": bound, "share_weights": share_weights}
    model = jg.DeepGNN(depth=3, width=6, bound_c=0.75, **layers)
    x = signal(6, 5, dtype=np.float64)
    params = random_variables(model, graph, x)
    alphas, scales = model.dynamics(params)
    expected = []
    for layer in range(3):
        f, _ = model.layer_fn(params, graph, x, layer=layer, dtype=np.float64)
        expected.append(np.linalg.norm(f(np.eye(6)), 2))
    np.testing.assert_allclose(scales, expected, rtol=1e-12)
    np.testing.assert_array_equal(alphas, np.zeros(3))


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
@pytest.mark.parametrize(
    ("residual", "alpha", "factor"),
    [("none", 0, 1), ("identity", 1, 1), ("scaled", 1, 1.75), ("depth_scaled", 1, 1.75), ("initial", 0, 0.75)],
)
def test_dynamics_of_a_residual_rule(graph, residual, alpha, factor, activation):
    # s = 1.75: X + s R keeps X and scales R by s, (1 - s) R + s X^(0) scales R by |1 - s|.
    model = jg.DeepGNN(depth=2, width=4, residual=residual, residual_scale=1.75, activation=activation)
    params = model.init(jax.random.key(0), graph, signal(6, 5))
    norms = np.linalg.norm(np.float64(params["params"]["stack"]["layer"]["linear"]["kernel"]), 2, axis=(1, 2))
    alphas, scales = model.dynamics(params)
    np.testing.assert_array_equal(alphas, [alpha, alpha])
    np.testing.assert_allclose(scales, factor * (1.13 if activation == "gelu" else 1) * norms, rtol=1e-12)


def test_the_slope_of_gelu_is_below_its_constant():
    slopes = jax.vmap(jax.grad(jax.nn.gelu))(jnp.linspace(-5, 5, 10_001))
    assert 1.128 < float(jnp.max(jnp.abs(slopes))) < 1.13


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize(
    ("transition", "input"), [("scalar", "uniform"), ("diagonal", "scalar"), ("dense", "rotation")]
)
def test_dynamics_of_a_state_space(graph, transition, input, trainable):
    space = jg.StateSpace(transition=transition, modulus=0.9, input=input, spread=0.3, trainable=trainable)
    model = jg.DeepGNN(depth=2, width=4, residual="ssm", ssm=space, activation="gelu")
    x = signal(6, 5)
    params = model.init(jax.random.key(0), graph, x)
    ssm = params["params" if trainable else "constants"]["ssm"]
    matrices = [np.asarray(ssm[name], np.float64) for name in ("transition", "input")]
    Lambda, B = (np.linalg.norm(M * np.eye(4) if M.ndim < 2 else M, 2) for M in matrices)
    W = np.asarray(params["params"]["stack"]["layer"]["linear"]["kernel"])
    alphas, scales = model.dynamics(params)
    np.testing.assert_allclose(alphas, 0.9 * Lambda, rtol=1e-6)
    np.testing.assert_allclose(scales, 1.13 * B * np.linalg.norm(W, 2, axis=(1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layer": "gat"}, "layer=GAT: allowed are the layers H = P X W and H = X W, gcn, mlp"),
        ({"residual": "gated"}, "residual='gated': allowed are none, identity, scaled, depth_scaled, initial, ssm"),
        ({"norm": "layer"}, "norm='layer': allowed is none"),
        ({"khop": True}, "khop=True: allowed is False"),
    ],
)
def test_networks_without_known_dynamics(graph, options, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        jg.DeepGNN(**options).dynamics({})

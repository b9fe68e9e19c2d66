import dataclasses
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.host.remat import residual_bytes
from jaxgnn.network.residuals import RESIDUALS
from jaxgnn.network.stack import ACTIVATIONS

QUICK = {"xla_backend_optimization_level": 0}  # these programs run once: compiling is what takes time


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def features(model, params, graph, x):
    """X^(0) .. X^(L), as the taps give them."""
    return model.apply(params, graph, x, model.zero_taps(params, x), method="tapped")[1]


BLOCKS = [
    {"residual": residual, "bound": bound, "bias": bias}
    for residual in ("none", "identity")
    for bound, bias in (("none", False), ("frobenius", False), ("frobenius_soft", True))
]
BLOCKS += [{"layer": "mlp", "activation": "tanh", "residual": residual} for residual in ("none", "identity")]
BLOCKS += [{"activation": name, "bound": "frobenius"} for name in ACTIVATIONS if name != "relu"]


@pytest.mark.parametrize("options", BLOCKS, ids=lambda o: " ".join(str(v) for v in o.values()))
def test_scan_is_the_loop_over_layers(graphs, random_variables, written_out, options, x64):
    graph = jg.prepare(**graphs.directed(), normalisation="row")
    model = jg.DeepGNN(depth=4, width=3, out=2, bound_c=0.75, **options)
    x = signal(12, 5)
    params = random_variables(model, graph, x, scale=1.3)
    P = np.eye(12) if model.layer == "mlp" else graph.propagation.dense()
    keys = {"activation": model.activation, "residual": model.residual, "bound": model.bound, "c": 0.75}
    expected = written_out(params, P, x, **keys)
    logits, every = jax.jit(partial(model.apply, method="tapped"))(params, graph, x, model.zero_taps(params, x))
    np.testing.assert_allclose(every, expected.features, rtol=0, atol=1e-13 * np.abs(expected.features).max())
    np.testing.assert_allclose(logits, expected.logits, rtol=0, atol=1e-13 * np.abs(expected.logits).max())
    if options == BLOCKS[-1]:  # the other pass, without taps
        np.testing.assert_allclose(model.apply(params, graph, x), logits, rtol=1e-12)


def test_all_activations_are_under_test():
    assert {b.get("activation", "relu") for b in BLOCKS} == set(ACTIVATIONS)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recomputation_changes_no_gradient(graphs, random_variables, dropout, x64):
    graph = jg.prepare(**graphs.ring(6))
    x = signal(6, 4)
    gradients = []
    for remat in (False, True):
        model = jg.DeepGNN(depth=3, width=4, residual="identity", bound="frobenius", dropout=dropout, remat=remat)
        params = random_variables(model, graph, x)
        rngs = {"dropout": jax.random.key(5)}

        def loss(params, model=model, rngs=rngs):
            return jnp.sum(model.apply(params, graph, x, train=True, rngs=rngs) ** 2)

        gradients.append(jax.jit(jax.grad(loss))(params))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14), *gradients)


# Every residual rule, and beside it whatever else a layer has of its own, carries or draws.
RECOMPUTED: dict[str, dict] = {
    "none": {"share_weights": True, "jumping": "sum"},
    "identity": {"bound": "frobenius", "dropout": 0.4},
    "scaled": {"layer": jg.layers.GAT(features=4, attention_dropout=0.5)},
    "depth_scaled": {"norm": "batch", "norm_placement": "pre", "dropout": 0.4},
    "initial": {"dropedge": 0.4, "layer": "gcnii"},
    "gated": {"norm": "batch", "jumping": "max"},
    "weighted": {"khop": True},
    "graphcon": {"bound": "spectral"},
    "gradient_gating": {"norm": "dgn", "dropout": 0.4},
    "delayed": {"layer": jg.layers.DRew(features=4, K=2, nu=1), "dropout": 0.4},
    "ssm": {"ssm": jg.StateSpace("rotation", 0.9, trainable=True)},
}


@pytest.mark.parametrize("residual", RESIDUALS)
def test_chunks_change_no_value_no_draw_and_no_gradient(graphs, random_variables, residual, x64):
    graph, x = jg.prepare(**graphs.directed_ring(7), hops=3), signal(7, 3)
    model = jg.DeepGNN(depth=5, width=4, out=2, activation="tanh", residual=residual, **RECOMPUTED[residual])
    variables = random_variables(model, graph, x)
    rest, changing = {k: v for k, v in variables.items() if k != "params"}, ["batch_stats", "power"]

    def outcome(params, remat):
        def loss(params):
            rngs = {"dropout": jax.random.key(2)}
            options = {"train": True, "rngs": rngs, "mutable": changing}
            logits, changed = model.clone(remat=remat).apply({"params": params} | rest, graph, x, **options)
            return jnp.sum(jnp.sin(logits)), (logits, changed)

        return jax.value_and_grad(loss, has_aux=True)(params)

    # 5 = 2 + 2 + 1 layers, or 3 + 2 with only X^(l) kept between.
    remat = (2, "least")[list(RECOMPUTED).index(residual) % 2]
    run = jax.jit(lambda params: [outcome(params, remat) for remat in (False, remat)], compiler_options=QUICK)
    plain, chunked = run(variables["params"])
    assert {name for name in changing if name in variables} == set(plain[0][1][1])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-14, atol=1e-14), chunked[0], plain[0])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12), chunked[1], plain[1])
    assert np.abs(plain[1]["encoder"]["kernel"]).max() > 1e-6


def test_chunks_change_no_probe_and_no_parameters(graphs, random_variables, x64):
    graph, x = jg.prepare(**graphs.directed_ring(7), hops=3), signal(7, 3)
    model = jg.DeepGNN(depth=5, width=4, out=2, residual="weighted", khop=True, norm="batch")
    variables = random_variables(model, graph, x)
    trace, again = (jg.probe(model.clone(remat=remat), variables, graph, x, jnp.sum) for remat in (False, 2))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-12), again, trace)
    drawn = [model.clone(remat=remat).init(jax.random.key(1), graph, x) for remat in (False, "sqrt")]
    jax.tree.map(np.testing.assert_array_equal, *drawn)


def test_auto_keeps_what_fits(graphs, monkeypatch):
    graph, x = jg.prepare(**graphs.ring(50)), jnp.ones((50, 3))
    model = jg.DeepGNN(depth=64, width=4, residual="identity", remat="auto")
    params = jax.eval_shape(model.init, jax.random.key(0), graph, x)

    def kept(remat):
        return residual_bytes(lambda p: model.clone(remat=remat).apply(p, graph, x), params)

    X = 50 * 4 * 4
    # All that a layer keeps is at least X^(l); 8 chunks of 8 layers keep 8 X^(l), and what 8 layers need at once.
    for free, expected in ((2**40, "none"), (64 * X, "sqrt"), (0, "least")):
        monkeypatch.setattr("jaxgnn.network.stack.available_bytes", lambda free=free: free)
        assert kept("auto") == kept(expected)
    assert kept("none") - kept("sqrt") >= (64 - 8) * X - 64 * 4 * 4 * 4  # chunks may copy the parameters


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_features_and_weights_and_nothing_else(graphs, random_variables, dtype):
    graph = jg.prepare(**graphs.directed(), normalisation="row")
    model = jg.DeepGNN(depth=3, width=4, out=2, activation="tanh", residual="identity", compute_dtype=dtype)
    x = signal(12, 3, dtype=np.float32)
    params = random_variables(model, graph, x, dtype=np.float32)
    p, P = params["params"], graph.propagation.dense().astype(np.float32)

    def half(a):
        return np.asarray(a).astype(jnp.dtype(dtype)).astype(np.float32)

    expected = [half(x @ p["encoder"]["kernel"] + p["encoder"]["bias"])]
    for W in p["stack"]["layer"]["linear"]["kernel"]:
        expected.append(half(expected[-1] + np.tanh((P @ expected[-1]) @ half(W))))
    unit = float(jnp.finfo(dtype).eps)
    found = features(model, params, graph, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1:], expected[1:], rtol=0, atol=2 * unit * np.abs(expected).max())
    np.testing.assert_array_equal(found[1:], half(found[1:]))
    # The derivative is that of the network without rounding, where it is taken: in float32 throughout.
    f, h = model.layer_fn(params, graph, x, layer=1)
    W = half(p["stack"]["layer"]["linear"]["kernel"][1])
    slope = 1 - np.tanh(P @ half(h) @ W) ** 2
    J = np.eye(48) + slope.ravel()[:, None] * np.kron(P, W.T)
    np.testing.assert_allclose(jg.jacobian(f, h).dense(), J, rtol=0, atol=1e-5)
    gradients = jax.grad(lambda v: jnp.sum(model.apply(v, graph, x)))(params)["params"]
    assert {g.dtype for g in jax.tree.leaves(gradients)} == {np.dtype(np.float32)}


def test_sums_over_neighbours_are_float32_in_half_precision(graphs):
    # One 1 and 999 times 2^-9: added up one by one in bfloat16 they stay 1.
    graph = jg.prepare(**graphs.star(1001), normalisation="raw")
    model = jg.DeepGNN(layer=Averaging, depth=1, width=1, activation="identity", compute_dtype="bfloat16")
    x = np.full((1001, 1), 2.0**-9, np.float32)
    x[1] = 1.0
    params = model.init(jax.random.key(0), graph, x)
    ends = {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}
    out = model.apply(params | {"params": {"encoder": ends, "readout": ends}}, graph, x)
    np.testing.assert_allclose(out[0, 0], 1 + 999 * 2.0**-9, rtol=2**-8)


def test_the_program_does_not_grow_with_depth(graphs):
    graph = jg.prepare(**graphs.ring(6))

    def size(depth):
        model = jg.DeepGNN(depth=depth, width=4)
        params = jax.eval_shape(model.init, jax.random.key(0), graph, jnp.ones((6, 4)))
        loss = jax.grad(lambda params: jnp.sum(model.apply(params, graph, jnp.ones((6, 4)))))
        return len(str(jax.make_jaxpr(loss)(params)).splitlines())

    assert size(3) == size(300)


@pytest.mark.parametrize("bound", ["frobenius", "frobenius_soft"])
def test_a_bound_does_not_change_the_parameters_that_are_drawn(graphs, bound):
    graph = jg.prepare(**graphs.ring(6))
    plain, bounded = (jg.DeepGNN(depth=3, width=4, bound=b, bound_c=0.1) for b in ("none", bound))
    drawn = [model.init(jax.random.key(0), graph, jnp.ones((6, 4)))["params"] for model in (plain, bounded)]
    jax.tree.map(np.testing.assert_array_equal, *drawn)


def test_a_bound_does_not_change_the_parameters_that_are_kept(graphs):
    graph = jg.prepare(**graphs.ring(6))
    model = jg.DeepGNN(depth=3, width=4, bound="frobenius", bound_c=0.1)
    drawn = model.init(jax.random.key(0), graph, jnp.ones((6, 4)))
    _, kept = model.apply(drawn, graph, jnp.ones((6, 4)), mutable=True)  # all that it may write comes back
    jax.tree.map(np.testing.assert_array_equal, kept["params"], drawn["params"])


class Anchored(nn.Module):
    """H = P X W + x0 + index + 10 in training."""

    features: int

    @nn.compact
    def __call__(self, graph, X, x0, index, train):
        W = self.param("W", nn.initializers.normal(), (X.shape[-1], self.features))
        return graph.propagation @ X @ W + x0 + index + (10.0 if train else 0.0)


def test_layer_of_ones_own_gets_what_its_signature_asks_for(graphs, random_variables, x64):
    graph = jg.prepare(**graphs.star(5), normalisation="row")
    model = jg.DeepGNN(layer=Anchored, depth=3, width=2, out=1, activation="tanh", residual="identity")
    x = signal(5, 3)
    params = random_variables(model, graph, x)
    p, P = params["params"], graph.propagation.dense()
    x0 = x @ p["encoder"]["kernel"] + p["encoder"]["bias"]
    for train, added in ((False, 0.0), (True, 10.0)):
        X = x0
        for index in range(3):
            X = X + np.tanh(P @ X @ p["stack"]["layer"]["W"][index] + x0 + index + added)
        expected = X @ p["readout"]["kernel"] + p["readout"]["bias"]
        np.testing.assert_allclose(model.apply(params, graph, x, train=train), expected, rtol=1e-12)


@pytest.mark.parametrize("bound", ["none", "frobenius"])
def test_bound_reaches_every_matrix_of_a_layer_of_ones_own(graphs, random_variables, bound, x64):
    class Two(nn.Module):
        features: int

        @nn.compact
        def __call__(self, graph, X):
            hidden = nn.Dense(3, use_bias=False, name="first")(X)
            return nn.Dense(self.features, use_bias=False, name="second")(hidden)

    graph = jg.prepare(**graphs.ring(4))
    model = jg.DeepGNN(layer=Two, depth=2, width=2, out=1, activation="identity", bound=bound, bound_c=0.5)
    x = signal(4, 2)
    params = random_variables(model, graph, x)
    p = params["params"]
    X = x @ p["encoder"]["kernel"] + p["encoder"]["bias"]
    for index in range(2):
        for name in ("first", "second"):
            W = p["stack"]["layer"][name]["kernel"][index]
            X = X @ (W if bound == "none" else 0.5 * W / np.linalg.norm(W))
    np.testing.assert_allclose(features(model, params, graph, x)[-1], X, rtol=1e-12)


def test_an_instance_keeps_its_own_options(graphs):
    graph = jg.prepare(**graphs.ring(4))
    instance = jg.layers.GCN(features=3, use_bias=True, kernel_init=nn.initializers.ones)
    model = jg.DeepGNN(layer=instance, depth=2, width=3, out=1)
    layer = model.init(jax.random.key(0), graph, jnp.ones((4, 2)))["params"]["stack"]["layer"]
    np.testing.assert_array_equal(layer["linear"]["kernel"], np.ones((2, 3, 3)))
    assert layer["bias"].shape == (2, 3)


def test_a_layer_of_another_width_is_refused(graphs):
    graph = jg.prepare(**graphs.ring(4))
    model = jg.DeepGNN(layer=jg.layers.GCN(features=5), depth=2, width=3)
    sentence = r"^layer GCN returned shape \(4, 5\) for \(4, 3\): a stack needs equal shapes"
    with pytest.raises(ValueError, match=sentence):
        model.init(jax.random.key(0), graph, jnp.ones((4, 2)))


class Averaging(nn.Module):
    """P X: a layer without parameters."""

    features: int

    @nn.compact
    def __call__(self, graph, X):
        return graph.propagation @ X


def test_a_layer_without_parameters(graphs):
    graph = jg.prepare(**graphs.ring(4))
    model = jg.DeepGNN(layer=Averaging, depth=2, width=3)
    x = jnp.asarray(signal(4, 3, dtype=np.float32))
    params = model.init(jax.random.key(0), graph, x)
    f, h = model.layer_fn(params, graph, x, layer=1)
    np.testing.assert_allclose(f(h), np.maximum(graph.propagation @ h, 0), rtol=1e-6)
    trace = jg.probe(model, params, graph, x, jnp.sum)
    np.testing.assert_array_equal(trace.weight_grads, 0)
    np.testing.assert_allclose(trace.features[1], h, rtol=1e-6)


def test_a_stack_wrapped_in_its_own_dropout_draws_anew_in_every_layer(graphs):
    graph = jg.prepare(**graphs.edgeless(200), normalisation="raw")

    class Keep(nn.Module):
        features: int

        @nn.compact
        def __call__(self, graph, X, train):
            W = self.param("W", nn.initializers.zeros, (1, 1))
            return nn.Dropout(0.5, deterministic=not train)(X) + W[0, 0]

    model = jg.DeepGNN(layer=Keep, depth=3, width=1, activation="identity")
    params = model.init(jax.random.key(0), graph, jnp.ones((200, 1)))
    p = params["params"] | {
        "encoder": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)},
        "readout": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)},
    }
    rngs = {"dropout": jax.random.key(1)}
    out = model.apply(params | {"params": p}, graph, jnp.ones((200, 1)), train=True, rngs=rngs)
    # Kept by three independent draws: 1/8 of the nodes, with 2^3. One draw used thrice would keep half.
    assert set(np.unique(out)) == {0.0, 8.0}
    assert abs(np.mean(out == 8.0) - 1 / 8) < 0.1


@pytest.mark.parametrize("backend", ["segment", "padded", "dense"])
@pytest.mark.parametrize("name", ["path", "directed_ring"])
def test_receptive_field(graphs, random_variables, name, backend, x64):
    n, depth = 9, 3
    graph = jg.prepare(**getattr(graphs, name)(n), backend=backend)
    model = jg.DeepGNN(depth=depth, width=2, activation="tanh", residual="identity")
    x = signal(n, 2)
    params = random_variables(model, graph, x)
    J = jax.jit(jax.jacrev(lambda x: features(model, params, graph, x)))(x)
    A = graph.propagation.dense() != 0
    for layer in range(depth + 1):
        reachable = np.linalg.matrix_power(A.astype(int), layer) > 0
        assert layer == 0 or not reachable.all()
        np.testing.assert_array_equal(np.abs(J[layer]).sum(axis=(1, 3)) != 0, reachable)


@pytest.mark.parametrize("normalisation", ["sym", "row"])
def test_relabelling_the_nodes_permutes_everything(graphs, random_variables, normalisation, x64):
    edges = graphs.directed()
    new = np.random.default_rng(1).permutation(12)
    relabelled = edges | {"senders": new[edges["senders"]], "receivers": new[edges["receivers"]]}
    graph, moved = (jg.prepare(**e, normalisation=normalisation) for e in (edges, relabelled))
    model = jg.DeepGNN(depth=3, width=3, bound="frobenius", residual="identity")
    x = signal(12, 4)
    params = random_variables(model, graph, x)
    before = features(model, params, graph, x)
    after = features(model, params, moved, x[np.argsort(new)])
    np.testing.assert_allclose(after[:, new], before, rtol=0, atol=1e-13)


def test_gradients_are_finite_at_depth_128(graphs):
    graph = jg.prepare(**graphs.several_components())
    model = jg.DeepGNN(depth=128, width=8, out=3, residual="identity", bound="frobenius", bound_c=0.5)
    x = signal(16, 4, dtype=np.float32)
    params = model.init(jax.random.key(0), graph, x)
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(model.apply(params, graph, x) ** 2)))(params)["params"]
    for g in jax.tree.leaves(gradients):
        assert np.isfinite(g).all()
    assert (np.abs(gradients["stack"]["layer"]["linear"]["kernel"]).max(axis=(1, 2)) > 0).all()


class Wrapping(nn.Module):
    """A layer made of another."""

    features: int
    inner: nn.Module

    @nn.compact
    def __call__(self, graph, X):
        return self.inner(graph, X)


def test_a_layer_made_of_instances_has_its_parameters_in_the_stack(graphs):
    graph = jg.prepare(**graphs.ring(5))
    x = jnp.asarray(signal(5, 3, dtype=np.float32))
    model = jg.DeepGNN(layer=Wrapping(features=4, inner=jg.layers.GCN(features=4)), depth=3, width=4, bound="frobenius")
    params = model.init(jax.random.key(0), graph, x)
    assert params["params"]["stack"]["layer"]["inner"]["linear"]["kernel"].shape == (3, 4, 4)
    f, h = model.layer_fn(params, graph, x, layer=1)
    trace = jg.probe(model, params, graph, x, jnp.sum)
    np.testing.assert_allclose(f(h), trace.features[2], rtol=0, atol=1e-6)
    assert (trace.weight_grads > 0).all()


def test_a_bound_refuses_a_kernel_that_is_no_matrix(graphs):
    class Heads(nn.Module):
        features: int

        @nn.compact
        def __call__(self, graph, X):
            return nn.DenseGeneral((2, self.features // 2), use_bias=False)(X).reshape(X.shape)

    graph = jg.prepare(**graphs.ring(4))
    sentence = r"^bound='frobenius' is for matrices, but the layer Heads has a kernel of shape \(4, 2, 2\)"
    with pytest.raises(ValueError, match=sentence):
        jg.DeepGNN(layer=Heads, width=4, bound="frobenius").init(jax.random.key(0), graph, jnp.ones((4, 2)))


class Pair(NamedTuple):
    kernel: jax.Array
    other: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Held:
    kernel: jax.Array


@jax.tree_util.register_pytree_node_class
class Numbered:
    """Its leaf has a number for a path, no name."""

    def __init__(self, kernel):
        self.kernel = kernel

    def tree_flatten(self):
        return (self.kernel,), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


class Nested(nn.Module):
    """H = X (W_1 + .. + W_6), the matrices in containers of every kind: [d, d] each, or [1, d, d]."""

    features: int
    flat: bool = True

    @nn.compact
    def __call__(self, graph, X):
        def drawn(key):
            shape = (self.features, self.features) if self.flat else (1, self.features, self.features)
            W = jax.random.normal(key, (6, *shape))
            return {
                "tuple": (W[0],),
                "list": [W[1]],
                "named": Pair(W[2], W[3]),
                "held": Held(W[4]),
                "numbered": Numbered(W[5]),
            }

        return X @ sum(W.reshape(self.features, self.features) for W in jax.tree.leaves(self.param("all", drawn)))


@pytest.mark.parametrize("bound", ["none", "frobenius", "spectral"])
def test_parameters_may_be_in_containers_of_any_kind(graphs, bound):
    graph, x = jg.prepare(**graphs.ring(4)), jnp.asarray(signal(4, 3), jnp.float32)
    model = jg.DeepGNN(layer=Nested, width=3, depth=2, activation="identity", bound=bound, bound_c=0.5)
    params = model.init(jax.random.key(0), graph, x)
    step, h, inputs = model.scan_fn(params, graph, x)
    for layer in range(2):
        leaves = [np.asarray(W[layer], np.float64) for W in jax.tree.leaves(params["params"]["stack"]["layer"])]
        sigma = np.linalg.svd(leaves, compute_uv=False)
        size = {"frobenius": np.linalg.norm(sigma, axis=1), "spectral": sigma[:, 0]}.get(bound, np.full(6, 0.5))
        expected = np.array(leaves) / size[:, None, None]
        J = jax.jacobian(lambda h, layer=layer: step(h, jax.tree.map(lambda a: a[layer], inputs)))(h)[0, :, 0]
        np.testing.assert_allclose(J.T, 0.5 * expected.sum(axis=0), rtol=0, atol=1e-3 if bound == "spectral" else 1e-5)
    if bound == "frobenius":
        assert (jg.probe(model, params, graph, x, jnp.sum).weight_grads > 0).all()


def test_a_bound_refuses_a_nested_kernel_that_is_no_matrix(graphs):
    graph = jg.prepare(**graphs.ring(4))
    sentence = r"^bound='frobenius' is for matrices, but the layer Nested has a kernel of shape \(1, 3, 3\)"
    with pytest.raises(ValueError, match=sentence):
        jg.DeepGNN(layer=Nested(3, flat=False), width=3, bound="frobenius").init(
            jax.random.key(0), graph, np.ones((4, 3))
        )

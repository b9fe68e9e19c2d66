"""What every remedy against failure at depth does: one table, and properties that hold for all of it."""

import dataclasses
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.layers import LAYERS
from jaxgnn.network import state_space
from jaxgnn.network.bounds import BOUNDS
from jaxgnn.network.norms import NORMS
from jaxgnn.network.residuals import RESIDUALS
from jaxgnn.network.stack import Shared, residual_rule

KINDS = ("scalar", "diagonal", "rotation", "dense", "uniform")
REMEDIES: dict[str, dict[str, Any]] = {
    "nothing": {},
    **{f"residual {name}": {"residual": name} for name in RESIDUALS if name not in ("none", "ssm")},
    "residual graphcon": {"residual": "graphcon"},
    **{f"norm {name}": {"norm": name} for name in NORMS if name != "none"},
    **{f"bound {name}": {"bound": name, "bound_c": 0.75} for name in BOUNDS if name != "none"},
    **{
        f"ssm {kind}": {"residual": "ssm", "ssm": jg.StateSpace(kind, 0.9, KINDS[i - 1], spread=0.5)}
        for i, kind in enumerate(KINDS)
    },
    "ssm trained": {"residual": "ssm", "ssm": jg.StateSpace("rotation", 0.9, trainable=True)},
    "norm before the layer": {"norm": "layer", "norm_placement": "pre", "residual": "identity"},
    "norm after the residual": {"norm": "layer", "norm_placement": "post", "residual": "depth_scaled"},
    "dropedge": {"dropedge": 0.4},
    "dropout": {"dropout": 0.4},
    "khop": {"khop": True},
    "shared weights": {"share_weights": True, "residual": "identity"},
    "jumping sum": {"jumping": "sum"},
    "jumping max": {"jumping": "max"},
    "jumping concat": {"jumping": "concat"},
    "recomputed": {"remat": True, "residual": "identity"},
}
# Means over all nodes: of other components too. "batch" and "dgn" take them in training only.
GLOBAL = {"norm pairnorm", "norm mean_subtraction"}
GLOBAL_IN_TRAINING = GLOBAL | {"norm batch", "norm dgn"}
HOPS = {"residual gradient_gating": 2}  # the gates read the neighbours' R, which read theirs
READS_THE_GRAPH = ("nothing", "residual gradient_gating", "dropedge", "khop")
N, DEPTH, WIDTH = 10, 3, 4

# A directed path, an undirected triangle with a tail and a loop, two lone nodes.
EDGES = {
    "senders": np.array([0, 1, 2, 4, 5, 4, 6, 5, 6, 6, 7, 5]),
    "receivers": np.array([1, 2, 3, 5, 4, 6, 4, 6, 5, 7, 6, 5]),
    "num_nodes": N,
    "undirected": False,
}
QUICK = {"xla_backend_optimization_level": 0}  # these programs run once: compiling is what takes time


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


X = signal(N, 3)
REMEDY = pytest.mark.parametrize("name", REMEDIES)
# For what needs a program of its own: one of every kind.
ALIKE = {"bound row", "bound column", "bound frobenius_soft", "ssm scalar", "ssm diagonal", "ssm uniform", "recomputed"}
ALIKE |= {"norm layer", "norm mean_subtraction", "dropedge", "dropout", "jumping max"}
DIFFERENT = [name for name in REMEDIES if name not in ALIKE]


def made(name, **options):
    return jg.DeepGNN(**({"depth": DEPTH, "width": WIDTH, "out": 2, "activation": "tanh"} | REMEDIES[name] | options))


@cache
def prepared(backend="segment"):
    return jg.prepare(**EDGES, backend=backend, hops=3)


initialise = jax.jit(lambda model, key, graph, x: model.init(key, graph, x), static_argnums=0, compiler_options=QUICK)


def drawn(model, graph, x, dtype=np.float64):
    """What `init` returns, moved so that no bias is 0, no gate half open, no statistic the start's."""
    variables = initialise(model, jax.random.key(3), graph, x)
    rng = np.random.default_rng(1)

    def moved(a):
        return np.asarray(a, dtype) + 0.3 * np.abs(rng.standard_normal(a.shape)).astype(dtype)

    still = {name: jax.tree.map(lambda a: np.asarray(a, dtype), variables[name]) for name in variables}
    return still | {name: jax.tree.map(moved, variables[name]) for name in ("params", "batch_stats") if name in still}


def loop(model, variables, graph, x):
    """X^(0) .. X^(L) by a Python loop over the layers, each with its own slice of the parameters."""
    block, params = model.block(), variables["params"]
    x0 = x @ params["encoder"]["kernel"] + params["encoder"]["bias"][None]
    numbers = {k: v for k, v in variables["constants"].items() if k != "ssm"}
    ssm = variables["constants"].get("ssm", params.get("ssm"))
    shared = Shared(graph, x0, numbers, None if ssm is None else state_space.Matrices(**ssm))
    every, state = [x0], residual_rule(model.residual).start(x0)
    for index in range(model.depth):
        own = {
            name: jax.tree.map(lambda a, i=index, n=name: a if model.share_weights and n == "params" else a[i], tree)
            for name, tree in ((n, variables[n].get("stack", {})) for n in variables if n != "constants")
        }
        X, state = block.apply(own, every[-1], state, jnp.int32(index), None, shared=shared, train=False)
        every.append(X)
    return jnp.stack(every)


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def measure(model, variables, graph, x):
    """All that is looked at, in one program."""

    taps = model.zero_taps(variables, x)

    def outcome(x):
        return model.apply(variables, graph, x, taps, method="tapped")

    logits, X = outcome(x)
    J_logits, J_features = jax.jacfwd(outcome)(x)
    return {
        "logits": logits,
        "features": X,
        "loop": loop(model, variables, graph, x),
        "J features": J_features,
        "forward": J_logits,
        "reverse": jax.jacrev(lambda x: outcome(x)[0])(x),
        "both": jax.vmap(lambda x: model.apply(variables, graph, x))(jnp.stack([x, 2 * x])),
    }


@cache
def measured(name, permuted=False):
    """A remedy's variables and measurements in float64, of the graph or with its nodes renamed."""
    new = np.random.default_rng(1).permutation(N) if permuted else np.arange(N)
    edges = EDGES | {"senders": new[EDGES["senders"]], "receivers": new[EDGES["receivers"]]}
    with jax.enable_x64(True):
        graph = jg.prepare(**edges, backend="segment", hops=3) if permuted else prepared()
        variables = measured(name)[0] if permuted else drawn(made(name), graph, X)
        found = measure(made(name), variables, graph, X[np.argsort(new)])
        return variables, jax.tree.map(np.asarray, found), new


def close(actual, expected, tolerance=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max(initial=0)))


def test_every_remedy_is_under_test():
    for option, table in (("residual", RESIDUALS), ("norm", NORMS), ("bound", BOUNDS)):
        assert {options.get(option, "none") for options in REMEDIES.values()} == set(table)
    assert {o["ssm"].transition for o in REMEDIES.values() if "ssm" in o} == set(KINDS)
    assert {o["ssm"].input for o in REMEDIES.values() if "ssm" in o} == set(KINDS)


@REMEDY
def test_changes_what_the_network_computes(name):
    if name in ("dropedge", "dropout", "nothing", "recomputed"):
        pytest.skip("acts in training, or on memory")
    if name == "shared weights":
        pytest.skip("other parameters")
    changed, plain = measured(name), measured("nothing")
    assert np.abs(changed[1]["logits"] - plain[1]["logits"]).max() > 1e-3


@REMEDY
def test_renaming_the_nodes_permutes_the_logits(name):
    _, plain, _ = measured(name)
    _, renamed, new = measured(name, permuted=True)
    for what, axis in (("logits", 0), ("features", 1)):
        close(np.take(renamed[what], new, axis), plain[what])
    assert not np.allclose(renamed["logits"], plain["logits"])


def reached(model, name, graph):
    """[L + 1, n, n] which nodes' x a layer's features may depend on, from the patterns of P."""
    reach = [np.eye(N, dtype=bool)]
    for layer in range(DEPTH):
        P = np.asarray((graph.hop(layer) if model.khop else graph).propagation.dense()) != 0
        for _ in range(HOPS.get(name, 1)):
            reach.append(P.astype(int) @ reach[-1].astype(int) > 0)
    return np.stack(reach[:: HOPS.get(name, 1)])


@pytest.mark.parametrize("name", sorted({*REMEDIES} - GLOBAL))
def test_derivatives_beyond_the_receptive_field_are_exactly_0(name):
    expected = reached(made(name), name, prepared())
    assert not expected[DEPTH].all()
    np.testing.assert_array_equal(np.any(measured(name)[1]["J features"] != 0, axis=(2, 4)), expected)


@pytest.mark.parametrize("name", sorted(GLOBAL_IN_TRAINING))
def test_means_over_nodes_reach_every_component(name, x64):
    model, graph = made(name, depth=1), prepared()
    variables = drawn(model, graph, X)

    @partial(jax.jit, compiler_options=QUICK)
    def J(x):
        return jax.jacfwd(lambda x: model.apply(variables, graph, x, train=True, mutable=["batch_stats"])[0])(x)

    assert np.any(np.asarray(J(X)) != 0, axis=(1, 3)).all()
    evaluated = np.any(measured(name)[1]["J features"][1] != 0, axis=(1, 3))
    assert evaluated.all() == (name in GLOBAL)


def test_layer_l_of_the_khop_schedule_reaches_distance_l_plus_1_exactly(x64):
    # On a directed ring node v is at distance k from v - k; the schedule starts anew after 3 hops.
    v = np.arange(7)
    graph = jg.prepare(senders=v, receivers=(v + 1) % 7, num_nodes=7, hops=3, undirected=False)
    model = jg.DeepGNN(depth=4, width=2, activation="tanh", khop=True)
    x = signal(7, 2)
    variables = drawn(model, graph, x)
    distance = np.subtract.outer(v, v) % 7
    for layer in range(4):
        f, h = model.layer_fn(variables, graph, x, layer=layer, dtype=np.float64)
        J = jg.jacobian(f, h).dense().reshape(7, 2, 7, 2)
        np.testing.assert_array_equal(np.any(J != 0, axis=(1, 3)), np.isin(distance, [0, 1 + layer % 3]))


@REMEDY
def test_scan_is_the_loop_over_layers(name):
    variables, found, _ = measured(name)
    X = found["features"]
    close(X, found["loop"])
    jumping = made(name).jumping
    read = X[-1] if jumping == "last" else X.max(axis=0)
    if jumping == "concat":
        read = np.concatenate(list(X[1:]), axis=1)
    if jumping == "sum":
        read = np.einsum("l,lnd->nd", variables["params"]["jump"], X)
    close(found["logits"], read @ variables["params"]["readout"]["kernel"] + variables["params"]["readout"]["bias"])


@pytest.mark.parametrize("name", DIFFERENT)
def test_layer_fn_is_the_step_of_the_scan(name):
    variables, found, _ = measured(name)
    layer = DEPTH - 1
    f, h = made(name).layer_fn(variables, prepared(), X, layer=layer, dtype=np.float64)
    close(h, found["features"][layer])
    close(f(h), found["features"][layer + 1])


PROBED = ("residual graphcon", "residual weighted", "norm batch", "bound spectral", "ssm trained", "khop")


@pytest.mark.parametrize("name", [*PROBED, "shared weights", "jumping sum", "jumping max"])
def test_probe_sees_the_features_and_the_gradients_of_x(name, x64):
    variables, found, _ = measured(name)
    trace = jg.probe(made(name), variables, prepared(), X, jnp.sum)
    close(trace.features, found["features"])
    # x enters by X^(0) = x W + b alone: d loss / d x = G^(0) W^T, and d loss / d X^(0) counts every later use of it.
    slope = trace.feature_grads[0] @ variables["params"]["encoder"]["kernel"].T
    close(slope, found["reverse"].sum(axis=(0, 1)))
    assert np.abs(slope).max() > 1e-6


@REMEDY
def test_forward_and_reverse_mode_and_vmap_agree(name):
    _, found, _ = measured(name)
    close(found["forward"], found["reverse"])
    close(found["both"][0], found["logits"])
    assert not np.allclose(found["both"][1], found["logits"])
    with jax.enable_x64(True):  # twice x by itself, in the same program
        doubled = measure(made(name), measured(name)[0], prepared(), 2 * X)
    close(found["both"][1], doubled["logits"])


@pytest.mark.parametrize("backend", ["padded", "dense"])
@pytest.mark.parametrize("name", READS_THE_GRAPH)
def test_backends_agree(name, backend, x64):
    variables, _, _ = measured(name)

    def run(graph):  # in training, so that the same edges are dropped
        rngs = {"dropout": jax.random.key(5)}
        return jax.jit(partial(made(name).apply, train=True, rngs=rngs), compiler_options=QUICK)(variables, graph, X)

    close(run(prepared(backend)), run(prepared()))


@pytest.mark.parametrize("name", DIFFERENT)
def test_float32_is_close_to_float64(name):
    variables, found, _ = measured(name)
    single = jax.tree.map(lambda a: np.asarray(a, np.float32), variables)
    logits = jax.jit(made(name).apply, compiler_options=QUICK)(single, prepared(), X.astype(np.float32))
    assert logits.dtype == np.float32
    close(logits, found["logits"], 5e-5)


RECOMPUTED = ("residual weighted", "residual graphcon", "norm dgn", "bound spectral", "ssm trained", "jumping sum")


@pytest.mark.parametrize("name", [*RECOMPUTED, "dropedge", "dropout", "shared weights"])
def test_recomputation_changes_no_gradient(name, x64):
    variables, _, _ = measured(name)
    graph, rest = prepared(), {k: v for k, v in variables.items() if k != "params"}

    def loss(params, model):
        rngs, mutable = {"dropout": jax.random.key(2)}, ["batch_stats", "power"]
        logits, _ = model.apply({"params": params, **rest}, graph, X, train=True, rngs=rngs, mutable=mutable)
        return jnp.sum(jnp.sin(logits))

    models = [made(name, remat=remat) for remat in (False, True)]
    plain, again = jax.jit(lambda p: [jax.grad(loss)(p, m) for m in models], compiler_options=QUICK)(
        variables["params"]
    )
    jax.tree.map(lambda a, b: close(b, a), plain, again)
    assert np.abs(plain["encoder"]["kernel"]).max() > 1e-6


@pytest.mark.parametrize("name", [*DIFFERENT, "dropedge", "dropout"])
def test_gradients_are_finite_at_depth_128(name):
    options = {} if name.startswith("bound") else {"bound": "frobenius", "bound_c": 0.5}
    model = made(name, depth=128, activation="relu", **options)

    @partial(jax.jit, compiler_options=QUICK)
    def gradients(graph, x):
        variables = dict(model.init(jax.random.key(0), graph, x))
        params = variables.pop("params")

        def loss(params):
            rngs, mutable = {"dropout": jax.random.key(1)}, ["batch_stats"]
            logits, _ = model.apply({"params": params, **variables}, graph, x, train=True, rngs=rngs, mutable=mutable)
            return jnp.sum(jnp.sin(logits))

        return jax.value_and_grad(loss)(params)

    loss, found = gradients(prepared(), X.astype(np.float32))
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(found))
    assert np.any(found["readout"]["bias"])


SMALL = ["nothing", "residual gradient_gating", "residual weighted", "dropedge", "khop", "ssm dense"]


@pytest.mark.parametrize("name", [*SMALL, *(name for name in REMEDIES if name.startswith("norm"))])
def test_graphs_without_edges_with_one_node_and_with_none(name, graphs):
    model = made(name)

    def outcome(graph, x):
        variables = dict(model.init(jax.random.key(0), graph, x))
        params = variables.pop("params")

        def logits(params):
            rngs = {"dropout": jax.random.key(1)}
            H, _ = model.apply({"params": params, **variables}, graph, x, train=True, rngs=rngs, mutable=["power"])
            return H

        evaluated = model.apply({"params": params, **variables}, graph, x)
        return evaluated, jax.grad(lambda p: jnp.sum(jnp.sin(logits(p))))(params)

    if name in ("norm batch", "norm dgn"):
        outcome = lambda graph, x: model.init_with_output(jax.random.key(0), graph, x)[0]  # noqa: E731
    sizes = (4, 1, 0)
    cases = [(jg.prepare(**graphs.edgeless(n), hops=2), X[:n].astype(np.float32)) for n in sizes]
    found = jax.jit(lambda cases: [outcome(*case) for case in cases], compiler_options=QUICK)(cases)
    for n, leaves in zip(sizes, found, strict=True):
        assert jax.tree.leaves(leaves)[0].shape == (n, 2)
        assert all(np.isfinite(a).all() for a in jax.tree.leaves(leaves))


COMBINED = {
    "oscillators": {"residual": "graphcon", "norm": "layer", "bound": "frobenius", "dropedge": 0.3},
    "state space": {
        "residual": "ssm",
        "norm": "dgn",
        "bound": "spectral",
        "khop": True,
        "jumping": "sum",
        "share_weights": True,
        "dropout": 0.2,
    },
}


@pytest.mark.parametrize(("layer", "remedy"), [(layer, [*COMBINED][k % 2]) for k, layer in enumerate(LAYERS)])
def test_every_layer_trains_with_remedies(layer, remedy):
    model = jg.DeepGNN(layer=layer, depth=2, width=WIDTH, out=2, activation="tanh", **COMBINED[remedy])
    graph, x = prepared(), X.astype(np.float32)
    rest = dict(initialise(model, jax.random.key(0), graph, x))
    params = rest.pop("params")

    @partial(jax.jit, compiler_options=QUICK)
    @jax.value_and_grad
    def loss(params):
        rngs, mutable = {"dropout": jax.random.key(1)}, ["batch_stats"]
        logits, _ = model.apply({"params": params, **rest}, graph, x, train=True, rngs=rngs, mutable=mutable)
        return jnp.sum(jnp.square(logits - 1))

    before, g = loss(params)
    norm = np.sqrt(sum(np.sum(np.square(a)) for a in jax.tree.leaves(g)))
    after, _ = loss(jax.tree.map(lambda p, a: p - 1e-3 / norm * a, params, g))
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(g))
    # A step of length 1e-3 down the gradient loses 1e-3 ||g|| to first order.
    assert float(before - after) == pytest.approx(1e-3 * float(norm), rel=0.2)
    for path, a in jax.tree_util.tree_leaves_with_path(g.get("stack", {}).get("layer", {})):
        if a.ndim == (2 if model.share_weights else 3):
            assert np.any(a), path


INSTANCES = {
    "residual graphcon": {"residual": RESIDUALS["graphcon"]()},
    "residual gated": {"residual": RESIDUALS["gated"]()},
    "norm dgn": {"norm": NORMS["dgn"]()},
    "norm group": {"norm": NORMS["group"](groups=4)},
    "nothing": {"layer": LAYERS["gcn"](features=WIDTH)},
}


@pytest.mark.parametrize("name", INSTANCES)
def test_an_instance_is_as_good_as_a_name(name, x64):
    variables, found, _ = measured(name)
    model = dataclasses.replace(made(name), **INSTANCES[name])
    close(jax.jit(model.apply, compiler_options=QUICK)(variables, prepared(), X), found["logits"])
    f, h = model.layer_fn(variables, prepared(), X, layer=1, dtype=np.float64)
    close(h, found["features"][1])
    close(f(h), found["features"][2])
    drawn_by = [jax.eval_shape(m.init, jax.random.key(0), prepared(), X) for m in (made(name), model)]
    assert jax.tree.structure(drawn_by[0]) == jax.tree.structure(drawn_by[1])


def test_shared_weights_are_one_set_whose_gradient_is_the_sum_over_layers(x64):
    shared, own = (made("residual identity", share_weights=share, bound="frobenius") for share in (True, False))
    graph = prepared()
    variables = drawn(shared, graph, X)
    params = variables["params"]
    assert params["stack"]["layer"]["linear"]["kernel"].shape == (WIDTH, WIDTH)
    tiled = params | {"stack": jax.tree.map(lambda a: np.stack([a] * DEPTH), params["stack"])}

    @partial(jax.jit, static_argnums=0, compiler_options=QUICK)
    def gradient(model, params):
        loss = lambda p: jnp.sum(jnp.sin(model.apply(variables | {"params": p}, graph, X)))  # noqa: E731
        return jax.value_and_grad(loss)(params)

    (one, g), (other, by_layer) = gradient(shared, params), gradient(own, tiled)
    close(one, other)
    jax.tree.map(lambda a, b: close(a, b.sum(axis=0)), g["stack"], by_layer["stack"])
    first, second = by_layer["stack"]["layer"]["linear"]["kernel"][:2]
    assert not np.allclose(first, second)
    jax.tree.map(close, g["encoder"], by_layer["encoder"])


@pytest.mark.parametrize("name", ["dropedge", "dropout"])
def test_acts_in_training_only_and_anew_in_every_step(name):
    variables, found, _ = measured(name)
    close(found["logits"], measured("nothing")[1]["logits"])
    train = jax.jit(lambda key: made(name).apply(variables, prepared(), X, train=True, rngs={"dropout": key}))
    with jax.enable_x64(True):
        runs = [np.asarray(train(jax.random.key(k))) for k in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3
    assert np.abs(runs[0] - found["logits"]).max() > 1e-3

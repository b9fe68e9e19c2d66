"""Networks of other libraries: spectra, traces, Lyapunov exponents and training, against compositions by hand."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxgnn as jg
from jaxgnn.jacobian.products import generator
from jaxgnn.training import folder

eqx = pytest.importorskip("equinox")
D = 4


class Attention(nn.Module):
    """Softmax of scores over all nodes, with the graph's P beside it."""

    @nn.compact
    def __call__(self, graph, h):
        q, k = nn.Dense(D, name="q")(h), nn.Dense(D, name="k")(h)
        return nn.softmax(q @ k.T) @ nn.Dense(D, name="v")(h) + graph.propagation @ h


class Mixer(eqx.Module):
    """A nested MLP after a LayerNorm, node by node."""

    mlp: eqx.nn.MLP
    norm: eqx.nn.LayerNorm

    def __init__(self, key):
        self.mlp = eqx.nn.MLP(D, D, 8, 1, key=key)
        self.norm = eqx.nn.LayerNorm(D)

    def __call__(self, graph, h):
        return graph.propagation @ jax.vmap(lambda row: self.mlp(self.norm(row)))(h)


class Normed(nnx.Module):
    """BatchNorm with running means, in evaluation mode."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(D, D, rngs=rngs)
        self.norm = nnx.BatchNorm(D, rngs=rngs)
        self.norm.mean[...] = jnp.linspace(-1, 1, D)
        self.norm.var[...] = jnp.linspace(0.5, 2, D)

    def __call__(self, h):
        return self.norm(self.linear(h)) + h


@pytest.fixture(scope="module")
def setting():
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    return SimpleNamespace(
        ds=ds, graph=graph, A=graph.propagation.dense().astype(np.float32), task=jg.tasks.node_classification(ds, graph)
    )


def pieces(name, setting):
    """Two layers, and h -> H of each written with what the library itself offers, given the network's variables."""
    graph, A = setting.graph, jnp.asarray(setting.A)
    if name == "linen":
        return [Attention(), Attention()], [lambda own, h: Attention().apply(own, graph, h)] * 2
    if name == "equinox":
        modules = [Mixer(jax.random.key(i)) for i in range(2)]
        return modules, [lambda own, h, m=m: m(graph, h) for m in modules]
    if name == "nnx":
        modules = [Normed(nnx.Rngs(i)) for i in range(2)]

        def by_hand(m):
            kernel, bias, mean, var = (
                np.asarray(v[...]) for v in (m.linear.kernel, m.linear.bias, m.norm.mean, m.norm.var)
            )
            return lambda own, h: (h @ kernel + bias[None] - mean[None]) / jnp.sqrt(var + 1e-5)[None] + h

        return modules, [by_hand(m) for m in modules]
    W = np.random.default_rng(0).standard_normal((D, D)).astype(np.float32)
    return [lambda h: jnp.tanh(A @ h @ W), lambda graph, h: A @ h], [
        lambda own, h: jnp.tanh(A @ h @ W),
        lambda own, h: A @ h,
    ]


def made(name, setting):
    layers, by_hand = pieces(name, setting)
    network = jg.sequential(layers, encoder=nn.Dense(D), readout=nn.Dense(2), activation="tanh")
    variables = network.init(jax.random.key(1), setting.graph, setting.task.x)
    return network, variables, by_hand


def own(variables, part):
    return {collection: tree[part] for collection, tree in variables.items() if part in tree}


def composed(variables, by_hand, x, loss, taps=None):
    """Loss, X^(l) and H^(l), by hand; `taps` added to every X^(l) and H^(l)."""
    L = len(by_hand)
    taps = taps if taps is not None else [0.0] * (2 * L + 1)
    X = [nn.Dense(D).apply(own(variables, "encoder"), x) + taps[0]]
    for l, f in enumerate(by_hand):
        H = f(own(variables, f"layer_{l}"), X[-1]) + taps[2 * l + 1]
        X.append(jnp.tanh(H) + taps[2 * l + 2])
    return loss(nn.Dense(2).apply(own(variables, "readout"), X[-1])), X


NAMES = ("linen", "equinox", "nnx", "function")


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_gives_the_derivatives_of_the_composition(name, setting):
    network, variables, by_hand = made(name, setting)
    x, loss = jnp.asarray(setting.task.x), setting.task.loss
    trace = jg.probe(network, variables, setting.graph, x, loss)
    value, X = composed(variables, by_hand, x, loss)
    zero = [jnp.zeros((34, D))] * 5
    grads = jax.grad(lambda taps: composed(variables, by_hand, x, loss, taps)[0])(zero)
    close = {"rtol": 2e-4, "atol": 2e-6}
    np.testing.assert_allclose(trace.loss, value, rtol=1e-5)
    np.testing.assert_allclose(trace.features, jnp.stack(X), **close)
    np.testing.assert_allclose(trace.feature_grads, jnp.stack(grads[::2]), **close)
    np.testing.assert_allclose(trace.errors, jnp.stack(grads[1::2]), **close)
    grad = jax.grad(lambda v: loss(network.apply(v, setting.graph, x)))(variables)["params"]
    for l in range(2):
        leaves = jax.tree.leaves(grad.get(f"layer_{l}", {}))
        norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in leaves))
        np.testing.assert_allclose(trace.weight_grads[l], norm, rtol=1e-4, atol=1e-7)
    found = jg.backward_analysis(network, variables, setting.graph, x, loss)
    np.testing.assert_allclose(found.errors.norm, jnp.linalg.norm(trace.errors, axis=(1, 2)), rtol=1e-4)
    assert np.isfinite(found.linear_distance).all()  # rho acts entry by entry


@pytest.mark.parametrize("name", NAMES)
def test_spectra_and_lyapunov_exponents_in_float64(name, setting):
    network, variables, by_hand = made(name, setting)
    x = np.asarray(setting.task.x, np.float64)
    with jax.enable_x64(True):
        f, h = network.layer_fn(variables, setting.graph, x, layer=1, dtype=jnp.float64)
        assert h.dtype == np.float64
        wide = jax.tree.map(lambda a: np.asarray(a, np.float64), own(variables, "layer_1"))
        J = jax.jacfwd(lambda h: jnp.tanh(by_hand[1](wide, h)))(h).reshape(34 * D, 34 * D)
        exact = np.linalg.svd(np.asarray(J), compute_uv=False)
        tolerance = 1e-11 if name != "equinox" else 1e-6  # its weights are float32 in the composition by hand
        np.testing.assert_allclose(jg.jacobian(f, h).singular_values(), exact, atol=tolerance * exact[0])
        step, h, inputs = network.scan_fn(variables, setting.graph, x, dtype=jnp.float64)
        found = jg.lyapunov(step, h, inputs, k=3)
        Q = np.linalg.qr(generator(0).standard_normal((h.size, 3)))[0]
        total = np.zeros(3)
        for l in range(2):
            f, h = network.layer_fn(variables, setting.graph, x, layer=l, dtype=jnp.float64)
            Q, R = np.linalg.qr(np.asarray(jax.jacfwd(f)(h)).reshape(h.size, h.size) @ Q)
            total += np.log(np.abs(np.diag(R))) / 2
        np.testing.assert_allclose(found.exponents, total, atol=1e-8)


def trained(model, setting, **options):
    return jg.train(model, setting.task, seeds=2, steps=20, learning_rate=1e-2, **options)


class Whole(nn.Module):
    @nn.compact
    def __call__(self, graph, x, train=False):
        h = nn.Dropout(0.1, deterministic=not train)(nn.Dense(8)(x))
        return nn.Dense(2)(nn.BatchNorm(use_running_average=not train)(graph.propagation @ nn.relu(h)))


class Gated(eqx.Module):
    inner: eqx.nn.Linear
    outer: eqx.nn.Linear

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.inner, self.outer = eqx.nn.Linear(34, 6, key=one), eqx.nn.Linear(6, 2, key=two)

    def __call__(self, graph, x):
        return graph.propagation @ jax.vmap(self.outer)(jnp.tanh(jax.vmap(self.inner)(x)))


class Plain(nnx.Module):
    def __init__(self, rngs):
        self.one, self.two = nnx.Linear(34, 6, rngs=rngs), nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, graph, x):
        return self.two(jnp.tanh(graph.propagation @ self.one(x)))


def by_function(params, graph, x):
    return jnp.tanh(graph.propagation @ (x @ params["W"])) @ params["R"]


def drawn(key, graph, x):
    one, two = jax.random.split(key)
    return {"W": 0.3 * jax.random.normal(one, (34, 6)), "R": 0.3 * jax.random.normal(two, (6, 2))}


class Noisy(nnx.Module):
    """BatchNorm and dropout, with the graph between."""

    def __init__(self, rngs, rate=0.0):
        self.one, self.two = nnx.Linear(34, 6, rngs=rngs), nnx.Linear(6, 2, rngs=rngs)
        self.norm, self.drop = nnx.BatchNorm(6, momentum=0.9, rngs=rngs), nnx.Dropout(rate, rngs=rngs)

    def __call__(self, graph, x):
        return self.two(self.drop(jnp.tanh(self.norm(graph.propagation @ self.one(x)))))


class Stateful(eqx.Module):
    """The same in Equinox, whose running means are a state beside the module."""

    one: eqx.nn.Linear
    two: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    drop: eqx.nn.Dropout

    def __init__(self, key, rate=0.0):
        one, two = jax.random.split(key)
        self.one, self.two = eqx.nn.Linear(34, 6, key=one), eqx.nn.Linear(6, 2, key=two)
        self.norm = eqx.nn.BatchNorm(6, axis_name="nodes", momentum=0.9, mode="batch")
        self.drop = eqx.nn.Dropout(rate)

    def __call__(self, graph, x, state, *, key=None):
        H = graph.propagation @ jax.vmap(self.one)(x)
        H, state = jax.vmap(self.norm, axis_name="nodes", in_axes=(0, None), out_axes=(0, None))(H, state)
        return jax.vmap(self.two)(self.drop(jnp.tanh(H), key=key)), state


def noisy(rate):
    return lambda key: Noisy(nnx.Rngs(params=key, dropout=0), rate)


def stateful(rate):
    return lambda key: eqx.nn.make_with_state(Stateful)(key, rate)


WHOLE = {
    "linen": lambda: Whole(),
    "equinox": lambda: lambda k: Gated(k),
    "class": lambda: Gated,
    "nnx": lambda: lambda key: Plain(nnx.Rngs(params=key)),
    "function": lambda: jg.adapt(by_function, init=drawn),
    "nnx with dropout": lambda: noisy(0.3),
    "equinox with a state": lambda: stateful(0.3),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_networks_train_over_seeds_and_resume(name, setting, tmp_path):
    model = jg.adapt(WHOLE[name]())
    found = trained(model, setting, out=tmp_path / "run")
    assert (found.train_loss < 0.95 * found.history.train_loss[:, 0]).all()
    assert not np.array_equal(*found.history.train_loss)
    one = jg.train(model, setting.task, seeds=1, steps=20, learning_rate=1e-2)
    np.testing.assert_allclose(one.history.train_loss[0], found.history.train_loss[0], rtol=1e-5)
    again = trained(model, setting, out=tmp_path / "run")
    np.testing.assert_array_equal(again.history.train_loss, found.history.train_loss)
    params = jax.tree.map(lambda a: a[0], found.params)
    logits = model.apply(params, setting.graph, setting.task.x)
    np.testing.assert_allclose(setting.task.scores(logits).test, found.score[0], rtol=1e-6)
    f = lambda x: model.apply(params, setting.graph, x)  # noqa: E731
    sigma = jg.jacobian(f, setting.task.x).extremes(k=2).values
    J = np.asarray(jax.jacfwd(f)(jnp.asarray(setting.task.x))).reshape(68, -1)
    np.testing.assert_allclose(sigma, np.linalg.svd(J, compute_uv=False)[:2], rtol=1e-4)


@pytest.mark.parametrize("name", WHOLE)
def test_an_interrupted_training_goes_on_to_the_same_bits(name, setting, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_SECONDS", -1.0)  # a checkpoint after every few steps

    def progress(done):
        if done == 10:
            raise KeyboardInterrupt

    model = jg.adapt(WHOLE[name]())
    with pytest.raises(KeyboardInterrupt):
        trained(model, setting, out=tmp_path / "run", progress=progress)
    again, whole = trained(model, setting, out=tmp_path / "run"), trained(model, setting)
    for one, other in ((again.final_params, whole.final_params), (again.history, whole.history)):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_folder_knows_what_layers_of_functions_compute(setting, tmp_path):
    def network(c):
        return jg.sequential([lambda h: jnp.tanh(c * h)], encoder=nn.Dense(D), readout=nn.Dense(2))

    options = {"seeds": 1, "steps": 2, "out": tmp_path / "run"}
    first = jg.train(network(1.0), setting.task, **options)
    again = jg.train(network(1.0), setting.task, **options)
    np.testing.assert_array_equal(first.history.train_loss, again.history.train_loss)
    with pytest.raises(ValueError, match=r"code is .* there and .* here"):
        jg.train(network(0.1), setting.task, **options)


def test_one_step_of_a_function_is_adams_own(setting):
    import optax

    model = jg.adapt(by_function, init=drawn)
    found = jg.train(model, setting.task, seeds=1, steps=5, learning_rate=1e-2, weight_decay=0.0)
    params = jax.tree.map(lambda a: a[0], found.initial_params)["params"]["layer_0"]
    optimiser = optax.adam(1e-2)
    state = optimiser.init(params)
    for _ in range(5):
        grads = jax.grad(lambda p: setting.task.loss(by_function(p, setting.graph, setting.task.x)))(params)
        updates, state = optimiser.update(grads, state)
        params = optax.apply_updates(params, updates)
    final = jax.tree.map(lambda a: a[0], found.final_params)["params"]["layer_0"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), final, params)


def test_present_weights_of_instances_are_taken_without_parameters(setting):
    modules = [Mixer(jax.random.key(i)) for i in range(2)]
    network = jg.sequential(modules, encoder=lambda x: x[:, :D], readout=lambda h: h[:, :2])
    x = setting.task.x
    trace = jg.probe(network, None, setting.graph, x, setting.task.loss)
    h = modules[1](setting.graph, modules[0](setting.graph, jnp.asarray(x[:, :D])))
    np.testing.assert_allclose(trace.features[2], h, atol=1e-6)
    np.testing.assert_array_equal(trace.errors, trace.feature_grads[1:])  # no activation: the same


def test_recorded_training_of_layers_in_a_row(setting):
    network = jg.sequential(
        [jg.layers.GCN(features=D), nn.Dense(D)], encoder=nn.Dense(D), readout=nn.Dense(2), activation="relu"
    )
    found = jg.train(network, setting.task, seeds=2, steps=20, record_every=10)
    assert found.record.samples.errors.norm.shape == (2, 3, 2)
    assert np.isfinite(found.record.samples.errors.norm).all()


REFUSED = {
    "text": (lambda s: jg.adapt("gcn"), "str is no piece of a network: a Linen, NNX or Equinox module"),
    "no layers": (lambda s: jg.sequential([]), "a list of layers is needed"),
    "no init": (lambda s: jg.adapt(by_function), r"by_function takes \(params, graph, h\), so that init="),
    "four": (lambda s: jg.adapt(lambda a, b, c, d: a), "takes 4 arguments"),
    "activation": (lambda s: jg.sequential([nn.Dense(2)], activation="sine"), "activation='sine'"),
    "factory": (lambda s: jg.adapt(lambda key: 3), "gives a int: a function key -> NNX or Equinox module is needed"),
    "whole": (lambda s: jg.probe(Whole(), {}, s.graph, s.task.x, jnp.sum), "exposes no layers: jaxgnn.sequential"),
    "instance": (
        lambda s: jg.train(Gated(jax.random.key(0)), s.task, seeds=3, steps=1),
        "seeds=3: .*Gated has weights already, the same for all: a function key -> module",
    ),
    "weights": (
        lambda s: jg.probe(jg.sequential([nn.Dense(34)]), None, s.graph, s.task.x, jnp.sum),
        "has no weights yet",
    ),
    "shapes": (
        lambda s: jg.probe(
            n := jg.sequential([nn.Dense(3)]), n.init(jax.random.key(0), s.graph, s.task.x), s.graph, s.task.x, jnp.sum
        ),
        r"X\^\(1\) has shape \(34, 3\) and X\^\(0\) \(34, 34\)",
    ),
    "train text": (lambda s: jg.train(5, s.task, seeds=1), "int is no piece of a network"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, setting):
    call, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        call(setting)


def five_nnx_steps(key, setting):
    """Adam by Flax's own hand; the logits in evaluation mode after it."""
    import optax

    module = noisy(0.0)(key)
    optimiser = optax.adam(1e-2)
    state = optimiser.init(nnx.state(module, nnx.Param))
    for _ in range(5):
        module.train()
        loss = lambda m: setting.task.loss(m(setting.graph, setting.task.x))  # noqa: E731
        updates, state = optimiser.update(nnx.grad(loss)(module), state)
        nnx.update(module, optax.apply_updates(nnx.state(module, nnx.Param), updates))
    module.eval()
    return module(setting.graph, setting.task.x)


def five_equinox_steps(key, setting):
    import optax

    module, running = stateful(0.0)(key)
    optimiser = optax.adam(1e-2)
    state = optimiser.init(eqx.filter(module, eqx.is_inexact_array))

    @eqx.filter_grad(has_aux=True)
    def grad(m, running):
        out, running = m(setting.graph, setting.task.x, running)
        return setting.task.loss(out), running

    for _ in range(5):
        grads, running = grad(module, running)
        updates, state = optimiser.update(grads, state)
        module = eqx.apply_updates(module, updates)
    return eqx.nn.inference_mode(module)(setting.graph, setting.task.x, running)[0]


KEEPING = {"nnx": (noisy, five_nnx_steps), "equinox": (stateful, five_equinox_steps)}


@pytest.mark.parametrize("name", KEEPING)
def test_running_means_move_with_training_as_in_their_own_library(name, setting):
    factory, by_hand = KEEPING[name]
    key = jax.random.key(3)
    model = jg.adapt(lambda _: factory(0.0)(key))
    found = jg.train(model, setting.task, seeds=2, steps=5, learning_rate=1e-2, weight_decay=0.0)
    assert "state" in found.final_params
    final = jax.tree.map(lambda a: a[1], found.final_params)
    logits = model.apply(final, setting.graph, setting.task.x)
    np.testing.assert_allclose(logits, by_hand(key, setting), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", KEEPING)
def test_dropout_is_noise_in_training_alone(name, setting):
    factory, _ = KEEPING[name]
    model = jg.adapt(factory(0.5))
    variables, x = model.init(jax.random.key(0), setting.graph, setting.task.x), setting.task.x

    def trained(key):
        return model.apply(variables, setting.graph, x, train=True, rngs={"dropout": key}, mutable=["state"])[0]

    a, b = trained(jax.random.key(0)), trained(jax.random.key(1))
    assert not np.allclose(a, b)
    np.testing.assert_array_equal(a, trained(jax.random.key(0)))
    still = model.apply(variables, setting.graph, x)
    np.testing.assert_array_equal(still, model.apply(variables, setting.graph, x))


class Deep(eqx.Module):
    """A network that has its layers and its ends as attributes."""

    encoder: eqx.Module
    blocks: list
    readout: eqx.Module
    skips: bool = False

    def __init__(self, key, skips=False):
        keys = jax.random.split(key, 5)
        self.encoder = Rows(34, D, keys[0])
        self.blocks = [Mixer(k) for k in keys[1:4]]
        self.readout = Rows(D, 2, keys[4])
        self.skips = skips

    def __call__(self, graph, x):
        h = self.encoder(x)
        for block in self.blocks:
            h = block(graph, h) + (h if self.skips else 0)
        return self.readout(h)


class Rows(eqx.Module):
    linear: eqx.nn.Linear

    def __init__(self, d, e, key):
        self.linear = eqx.nn.Linear(d, e, key=key)

    def __call__(self, h):
        return jax.vmap(self.linear)(h)


class DeepNNX(nnx.Module):
    def __init__(self, rngs):
        self.encoder = nnx.Linear(34, D, rngs=rngs)
        self.blocks = nnx.List([Normed(rngs) for _ in range(3)])
        self.readout = nnx.Linear(D, 2, rngs=rngs)

    def __call__(self, graph, x):
        h = self.encoder(x)
        for block in self.blocks:
            h = block(h)
        return self.readout(h)


@pytest.mark.parametrize("make", [Deep, lambda key: DeepNNX(nnx.Rngs(params=key))], ids=["equinox", "nnx"])
def test_a_module_with_blocks_is_probed_and_trained_layer_by_layer(make, setting):
    module = make(jax.random.key(0))
    if isinstance(module, nnx.Module):
        module.eval()
    network, x = jg.sequential(module), jnp.asarray(setting.task.x)
    trace = jg.probe(network, None, setting.graph, x, setting.task.loss)
    h = module.encoder(x)
    for l, block in enumerate(module.blocks):
        np.testing.assert_allclose(trace.features[l], h, atol=1e-5)
        h = block(setting.graph, h) if isinstance(block, eqx.Module) else block(h)
    np.testing.assert_allclose(trace.loss, setting.task.loss(module(setting.graph, x)), rtol=1e-5)
    drawn = jg.sequential(make)
    found = jg.train(drawn, setting.task, seeds=2, steps=5)
    assert found.params["params"].keys() == {"encoder", "layer_0", "layer_1", "layer_2", "readout"}
    assert not np.array_equal(*found.history.train_loss)


def test_a_module_that_is_not_its_blocks_in_a_row_is_refused(setting):
    sentence = "Deep is not encoder, blocks, readout in a row with activation='.*': its output is another"
    for given in (Deep(jax.random.key(0), skips=True), lambda key: Deep(key, skips=True)):
        with pytest.raises(ValueError, match=sentence):
            jg.train(jg.sequential(given), setting.task, seeds=1, steps=1)
    with pytest.raises(ValueError, match=sentence):
        jg.probe(
            jg.sequential(Deep(jax.random.key(0)), activation="relu"), None, setting.graph, setting.task.x, jnp.sum
        )
    with pytest.raises(ValueError, match="Deep has its own ends: encoder= and readout= go with a list of layers"):
        jg.sequential(Deep, encoder=nn.Dense(2))


@pytest.mark.parametrize(
    "make", [lambda: DeepNNX(nnx.Rngs(0)), lambda: Deep(jax.random.key(0))], ids=["nnx", "equinox"]
)
def test_jacobians_of_modules_in_evaluation_mode(make, setting):
    module, x = make(), jnp.asarray(setting.task.x)
    f = jg.adapt(module)
    J = np.asarray(jax.jacfwd(lambda x: f.apply(None, setting.graph, x))(x)).reshape(68, -1)
    exact = np.linalg.svd(J, compute_uv=False)
    found = jg.jacobian(module, x, graph=setting.graph).singular_values(method="exact")
    np.testing.assert_allclose(found, exact, atol=1e-5 * exact[0])
    norms = jg.sensitivity(module, x, setting.graph, norm="frobenius").norms
    blocks = np.linalg.norm(J.reshape(34, 2, 34, 34), axis=(1, 3))
    np.testing.assert_allclose(norms, blocks.T, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"takes \(graph, h\): graph= is needed"):
        jg.jacobian(module, x)


def test_jacobians_and_exponents_of_modules_of_arrays(setting):
    module, h = Normed(nnx.Rngs(0)), jnp.linspace(-1, 1, 34 * D).reshape(34, D)
    part = jg.adapt(module)
    f = lambda h: part.apply(None, setting.graph, h)  # noqa: E731
    mean = np.asarray(module.norm.mean[...]).copy()
    for norms in (lambda f: jg.jacobian(f, h).singular_values(),):
        np.testing.assert_allclose(norms(module), norms(f), rtol=1e-5)
    np.testing.assert_array_equal(module.norm.mean[...], mean)  # its running means are not moved

    class Gain(eqx.Module):
        W: jax.Array

        def __call__(self, h, gain):
            return gain * jnp.tanh(h @ self.W)

    cell = Gain(jnp.eye(D) + 0.1)
    one, other = (jg.lyapunov(s, h, jnp.ones(5), k=2).exponents for s in (cell, lambda h, gain: cell(h, gain)))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"Dense has no weights: a function of one array is needed"):
        jg.jacobian(nn.Dense(3), h)

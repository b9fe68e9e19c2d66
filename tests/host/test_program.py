"""What is given as a function is taken as it is at the call, and compiled once for all that differ in arrays alone."""

from types import SimpleNamespace
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.analysis import backward, landscape
from jaxgnn.analysis.probe import _probe
from jaxgnn.host import program
from jaxgnn.host.program import _run, digest, is_value, trace
from jaxgnn.host.structure import structure
from jaxgnn.jacobian import lyapunov, products, sensitivity
from jaxgnn.training.drive import advance

N, D = 12, 3


@pytest.fixture
def network(graphs):
    graph = jg.prepare(**graphs.ring(N))
    model = jg.DeepGNN(depth=2, width=D, out=2, activation="tanh")
    x = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
    return model, model.init(jax.random.key(0), graph, x), graph, x


class Settings:
    weight = 1.0


def changes():
    """Losses w sum(logits^2), and what takes w from 1 to 2."""
    own = SimpleNamespace(w=1.0)
    yield "attribute", lambda y: own.w * jnp.sum(y**2), lambda: setattr(own, "w", 2.0)
    w = np.ones(2, np.float32)
    yield "numpy in place", lambda y: jnp.sum(w[None] * y**2), lambda: np.multiply(w, 2, out=w)
    Settings.weight = 1.0
    yield "global", lambda y: Settings.weight * jnp.sum(y**2), lambda: setattr(Settings, "weight", 2.0)
    one = jnp.ones(())
    box = [one]
    yield "jitted", jax.jit(lambda y: box[0] * jnp.sum(y**2)), lambda: box.append(box.pop() * 2)


@pytest.mark.parametrize("kind", ["attribute", "numpy in place", "global", "jitted"])
def test_a_loss_is_taken_as_it_is_at_every_call(network, kind):
    loss, double = next((loss, double) for name, loss, double in changes() if name == kind)
    calls = {
        "probe": lambda: jg.probe(*network, loss).errors,
        "backward": lambda: backward.backward_analysis(*network, loss).errors.norm,
        "landscape": lambda: landscape.landscape(*network, loss, points=2).loss,
        "hessian": lambda: landscape.hessian_extremes(*network, loss, steps=3).highest,
    }
    before = {name: np.asarray(call()) for name, call in calls.items()}
    double()
    for name, call in calls.items():
        np.testing.assert_allclose(call(), 2 * before[name], rtol=1e-4, err_msg=name)


def test_losses_that_differ_in_arrays_alone_are_compiled_once(network):
    def sizes(scale):
        w = np.full(2, scale, np.float32)
        loss = lambda y: jnp.sum(w[None] * y)  # noqa: E731
        jg.probe(*network, loss), landscape.landscape(*network, loss, points=2)
        return _probe._cache_size(), _run._cache_size()

    first = sizes(1.0)
    assert [sizes(scale) for scale in (2.0, 3.0, 4.0)] == [first] * 3


class Blocks(NamedTuple):
    features: jax.Array
    pre_activation: jax.Array
    weights: dict


class Taps(NamedTuple):
    encoder: jax.Array
    blocks: Blocks


class Mutable:
    """A tapped network of one layer X^(1) = s X^(0), with an s that changes; equal to itself whatever s is."""

    def __init__(self, s):
        self.s = s

    def apply(self, params, graph, x, taps, method):
        X = self.s * (x + taps.encoder + taps.blocks.pre_activation[0])
        return X, jnp.stack([x, X + taps.blocks.features[0]])

    def zero_taps(self, params, x):
        every = jnp.zeros((1, *x.shape))
        return Taps(jnp.zeros(x.shape), Blocks(every, every, {}))


def test_a_model_of_ones_own_may_change(network):
    *_, graph, x = network
    own = Mutable(2.0)
    for s in (2.0, 3.0):
        own.s = s
        trace = jg.probe(own, {}, graph, x, jnp.sum)
        np.testing.assert_array_equal(trace.features[1], np.float32(s) * x)
        np.testing.assert_allclose(backward.slopes(own, {}, graph, x)[0], s, rtol=1e-6)


class Reads(nn.Module):
    """H = s P X with an s that is not an option."""

    features: int

    @nn.compact
    def __call__(self, graph, X):
        return Settings.weight * (graph.propagation @ X)


def test_a_layer_of_ones_own_may_read_what_changes(network):
    _, _, graph, x = network
    model = jg.DeepGNN(layer=Reads, depth=2, width=D, activation="identity")
    Settings.weight = 1.0
    params = model.init(jax.random.key(0), graph, x)
    first = jg.probe(model, params, graph, x, jnp.sum).features
    Settings.weight = 2.0
    second = jg.probe(model, params, graph, x, jnp.sum).features
    np.testing.assert_allclose(second[2], 4 * first[2], rtol=1e-5)
    _, h = model.layer_fn(params, graph, x, layer=1)
    np.testing.assert_allclose(h, second[1], rtol=1e-5)
    Settings.weight = 1.0


def test_which_models_are_values(network):
    assert is_value(network[0])
    assert is_value(jg.DeepGNN(layer="gat", residual="ssm", norm="batch", depth=3, width=4))
    assert is_value(jg.DeepGNN(layer=jg.layers.GCN(features=3), depth=3, width=3))
    assert not is_value(jg.DeepGNN(layer=Reads, depth=3, width=3))
    assert not is_value(jg.DeepGNN(layer=Reads(features=3), depth=3, width=3))
    assert not is_value(Mutable(1.0))


def test_exponents_and_sensitivities_of_what_a_function_is_now(graphs):
    W = np.eye(D)
    graph = jg.prepare(**graphs.ring(N))
    h = np.ones((N, D))
    step = lambda h, inputs: h @ W  # noqa: E731
    f = lambda h: h @ W  # noqa: E731
    sizes = []
    for scale in (1.0, 2.0, 3.0):
        W[:] = scale * np.eye(D)
        np.testing.assert_allclose(lyapunov(step, h, np.arange(3), k=2).exponents, np.log(scale), atol=1e-12)
        norms = sensitivity(f, h, graph).norms
        np.testing.assert_allclose(np.diag(norms), scale, rtol=1e-12)
        sizes.append(products._accumulate._cache_size())
    assert sizes[0] == sizes[-1]


def test_what_runs_in_half_precision_is_measured_in_single(graphs):
    graph = jg.prepare(**graphs.ring(N))
    for dtype in (np.float16, jnp.bfloat16):
        h = np.ones((N, D), dtype)
        found = lyapunov(lambda h, _: 2 * h, h, np.arange(2), k=2)
        np.testing.assert_allclose(found.exponents, np.log(2), rtol=1e-3)  # Q is orthonormal to half precision
        norms = sensitivity(lambda h: 2 * h, h, graph).norms
        np.testing.assert_allclose(np.diag(norms), 2, rtol=1e-6)


PARAMETERS = {
    "numbers": (lambda x: 2.0 * x, lambda x: 3.0 * x),
    "signs of zero": (lambda x: jnp.copysign(x, 0.0), lambda x: jnp.copysign(x, -0.0)),
    "axes": (lambda x: jnp.sum(x, 0), lambda x: jnp.sum(x, 1)),
    "order of arguments": (lambda x: x - 2 * x, lambda x: 2 * x - x),
    "outputs": (lambda x: (x, 2 * x), lambda x: (2 * x, x)),
    "precision": (lambda x: jnp.matmul(x, x), lambda x: jnp.matmul(x, x, precision="default")),
    "inside a branch": (
        lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: 2 * x, lambda x: x, x),
        lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: 3 * x, lambda x: x, x),
    ),
    "branches": (
        lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: 2 * x, lambda x: x, x),
        lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x, lambda x: 2 * x, x),
    ),
    "inside a loop": (
        lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 9, lambda x: 2 * x, x),
        lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 8, lambda x: 2 * x, x),
    ),
    "lengths": (
        lambda x: jax.lax.scan(lambda c, _: (c + x, None), x, length=2)[0],
        lambda x: jax.lax.scan(lambda c, _: (c + x, None), x, length=3)[0],
    ),
    "a random key's kind": (
        lambda x: x + jax.random.normal(jax.random.key(0), x.shape),
        lambda x: x + jax.random.normal(jax.random.key(0, impl="rbg"), x.shape),
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_structures_tell_programs_apart_and_know_equal_ones(name):
    x = np.ones((2, 2), np.float32)
    first, second = (structure(trace(f, x).jaxpr) for f in PARAMETERS[name])
    assert first != second
    again = tuple(structure(trace(lambda x, f=f: f(x), x).jaxpr) for f in PARAMETERS[name])
    assert (first, second) == again
    assert tuple(map(hash, (first, second))) == tuple(map(hash, again))


def test_a_closed_over_key_is_a_constant():
    x = np.ones((2, 2), np.float32)
    found = []
    for seed in (0, 1):
        key = jax.random.key(seed)
        f = lambda x, key=key: x + jax.random.normal(key, x.shape)  # noqa: E731
        before = _run._cache_size() if seed else None
        found.append(program.call(f, x))
        np.testing.assert_allclose(found[-1], f(x), rtol=1e-6)
        assert before is None or _run._cache_size() == before
    assert not np.array_equal(*found)


def test_training_with_a_layer_of_ones_own_that_reads_what_changes():
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    task = jg.tasks.node_classification(ds, graph)
    model = jg.DeepGNN(layer=Reads, depth=2, width=D, out=2, activation="identity")
    histories, sizes = [], []
    for weight in (1.0, 0.0, 1.0):
        Settings.weight = weight
        histories.append(jg.train(model, task, seeds=1, steps=2).history.train_loss)
        sizes.append(advance._cache_size())
    Settings.weight = 1.0
    np.testing.assert_array_equal(histories[0], histories[2])
    assert sizes[1] == sizes[2] == sizes[0] + 1
    np.testing.assert_allclose(histories[1][0, 0], np.log(2), rtol=1e-6)  # logits are 0 where every H is
    assert abs(histories[0][0, 0] - np.log(2)) > 1e-3


@pytest.mark.parametrize("place", ["plain", "a branch", "a loop", "a jitted function", "a derivative"])
def test_a_digest_sees_every_number_that_is_closed_over(place):
    def of(M):
        def f(x):
            if place == "a branch":
                return jax.lax.cond(x[0, 0] > 0, lambda x: M @ x, lambda x: x, x)
            if place == "a loop":
                return jax.lax.scan(lambda x, _: (M @ x, None), x, length=2)[0]
            if place == "a jitted function":
                return jax.jit(lambda x: M @ x)(x)
            return jax.grad(lambda x: jnp.sum(M @ x))(x) if place == "a derivative" else M @ x

        return digest(f, jnp.ones((40, 40)))

    first = np.ones((40, 40), np.float32)
    other = first.copy()
    other[20, 20] = 2  # in the middle: where a text leaves numbers out
    assert of(first) == of(first.copy()) != of(other)

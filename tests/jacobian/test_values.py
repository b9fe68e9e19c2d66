"""J is a value: it never changes, and a new one sees what f closes over as it is then. Equal programs are one."""

from functools import partial
from types import SimpleNamespace

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.jacobian import dense, linear

H = np.random.default_rng(0).standard_normal((20, 3))
SCALE = 1.0
BODY_SCALE = 1.0


class Weights:
    def __init__(self, value):
        self.value = value

    def __call__(self, h):
        return h * self.value

    def method(self, h):
        return h * self.value


def reads_global(h):
    return SCALE * h


def body(h, _):
    return BODY_SCALE * h, None


def loops(h):
    return jax.lax.scan(body, h, length=1)[0]


@jax.custom_jvp
def own_rule(h):
    return SCALE * h


own_rule.defjvp(lambda primals, tangents: (SCALE * primals[0], SCALE * tangents[0]))


def rebound():
    w = 1.0

    def double():
        nonlocal w
        w = 2.0

    return lambda h: w * h, double


def rebound_array():
    W = jnp.eye(3)

    def double():
        nonlocal W
        W = 2 * W

    return lambda h: h @ W.astype(h.dtype), double


def attribute():
    own = SimpleNamespace(W=np.eye(3))
    return lambda h: h @ own.W, lambda: setattr(own, "W", 2 * own.W)


def callable_object():
    own = Weights(np.ones(()))
    return own, lambda: setattr(own, "value", 2 * own.value)


def bound_method():
    own = Weights(1.0)
    return own.method, lambda: setattr(own, "value", 2.0)


def partial_of_an_array():
    W = np.eye(3)
    return partial(lambda W, h: h @ W, W), lambda: np.multiply(W, 2, out=W)


def pytree_partial():
    W = np.eye(3)
    return Partial(lambda W, h: h @ W, W), lambda: np.multiply(W, 2, out=W)


def numpy_in_place():
    W = np.eye(3)
    return lambda h: h @ W, lambda: np.multiply(W, 2, out=W)


def numpy_number_in_place():
    w = np.array(1.0)
    return lambda h: h * w, lambda: w.fill(2.0)


def module_global():
    globals()["SCALE"] = 1.0
    return reads_global, lambda: globals().update(SCALE=2.0)


def inside_a_loop():
    globals()["BODY_SCALE"] = 1.0
    return loops, lambda: globals().update(BODY_SCALE=2.0)


def inside_a_rule():
    globals()["SCALE"] = 1.0
    return own_rule, lambda: globals().update(SCALE=2.0)


def jitted():
    W = np.eye(3)
    inner = jax.jit(lambda h: h @ W)
    return lambda h: 1.0 * inner(h), lambda: np.multiply(W, 2, out=W)


def checkpointed():
    W = np.eye(3)
    return jax.checkpoint(lambda h: h @ W), lambda: np.multiply(W, 2, out=W)


def branches():
    W = np.eye(3)
    double, own = jax.jit(lambda h: h @ W), lambda h: h
    return lambda h: jax.lax.cond(jnp.sum(h) > 1e9, own, double, h), lambda: np.multiply(W, 2, out=W)


def nnx_module():
    layer = nnx.Linear(3, 3, use_bias=False, param_dtype=np.float32, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.eye(3)

    def double():
        layer.kernel[...] = 2 * layer.kernel[...]

    return layer, double


CHANGES = (
    rebound,
    rebound_array,
    attribute,
    callable_object,
    bound_method,
    partial_of_an_array,
    pytree_partial,
    numpy_in_place,
    numpy_number_in_place,
    module_global,
    inside_a_loop,
    inside_a_rule,
    jitted,
    checkpointed,
    branches,
    nnx_module,
)


@pytest.mark.parametrize("made", CHANGES, ids=lambda made: made.__name__)
def test_a_jacobian_never_changes_and_a_new_one_is_new(made):
    # f(h) = h, then 2 h. What was asked of the first before the change and what was not are of one J.
    f, double = made()
    h = H.copy()
    first = jg.jacobian(f, h)
    np.testing.assert_array_equal(first.mv(H), H)
    double()
    h *= 3  # its point neither
    second = jg.jacobian(f, H)
    for J, scale in ((first, 1.0), (second, 2.0), (first, 1.0)):
        np.testing.assert_array_equal(J.singular_values(), np.full(60, scale))
        np.testing.assert_array_equal(J.mv(H), scale * H)
        np.testing.assert_array_equal(J.rmv(H), scale * H)
        np.testing.assert_array_equal(J.dense(), scale * np.eye(60))
        np.testing.assert_allclose(J.extremes(1).values, scale, rtol=1e-12)


def test_the_point_is_a_copy():
    h = H.copy()
    J = jg.jacobian(jnp.sin, h)
    h[:] = 0
    np.testing.assert_array_equal(J.dense(), np.diag(np.cos(H.ravel())))


def test_a_device_array_that_shares_its_memory_with_numpy():
    buffer = np.zeros(9 + 16)
    W = buffer[(-buffer.ctypes.data % 64) // 8 :][:9].reshape(3, 3)
    W[:] = np.eye(3)
    with jax.enable_x64(True):
        on_device = jax.device_put(W)
    J = jg.jacobian(lambda h: h @ on_device, H)
    W[:] = 0
    np.testing.assert_array_equal(J.dense(), np.eye(60))


def test_a_rule_changed_after_the_first_product():
    # The derivative is of the same moment as the value, though no product with it was asked for yet.
    f, double = inside_a_rule()
    J = jg.jacobian(f, H)
    double()
    np.testing.assert_array_equal(J.rmv(H), H)


def test_a_network_before_and_after_training():
    layer = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    h = H.astype(np.float32)
    before = jg.jacobian(layer, h)
    kernel = np.asarray(layer.kernel[...])

    @nnx.jit
    def step(layer, h):
        layer.kernel[...] = layer.kernel[...] - 0.1 * jax.grad(lambda W: jnp.sum(jnp.sin(h @ W)))(layer.kernel[...])

    for _ in range(3):
        step(layer, h)
    after = jg.jacobian(layer, h)
    for J, W in ((before, kernel), (after, np.asarray(layer.kernel[...]))):
        np.testing.assert_allclose(J.dense(), np.kron(np.eye(20), W.T), rtol=0, atol=1e-6)
    assert np.abs(before.dense() - after.dense()).max() > 1e-2


def test_an_aligned_array_changed_in_place():
    # On a CPU a device array may share the memory of a numpy array that begins at a multiple of 64 bytes.
    buffer = np.zeros(9 + 16)
    W = buffer[(-buffer.ctypes.data % 64) // 8 :][:9].reshape(3, 3)
    W[:] = np.eye(3)
    J = jg.jacobian(Partial(lambda W, h: h @ W, W), H)
    W *= 2
    np.testing.assert_array_equal(J.mv(H), H)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jitted"])
def test_equal_programs_are_compiled_once(wrap):
    counted = (linear.jvp, linear.vjp, linear.jvps, linear.vjps, dense.jacfwd_flat)
    sizes = []
    for seed in range(4):
        W = np.random.default_rng(seed).standard_normal((3, 3))
        J = jg.jacobian(wrap(partial(lambda W, h: jnp.tanh(h @ W), W)), H)
        np.testing.assert_allclose(J.dense(), J.sparse().toarray(), rtol=0, atol=1e-14)
        J.mv(H), J.rmv(H), J.extremes(2)
        sizes.append([program._cache_size() for program in counted])
    assert sizes[0] == sizes[-1]


def slope(c):
    return lambda h: c * h


DIFFERENT = {
    "numbers": (lambda h: 2.0 * h, lambda h: 3.0 * h, 3.0),
    "signs of zero": (lambda h: jnp.copysign(h, 0.0), lambda h: jnp.copysign(h, -0.0), -1.0),
    "exponents": (lambda h: h**1, lambda h: h**2, 2.0),
    "loops": (
        lambda h: jax.lax.fori_loop(0, 2, lambda _, h: 2 * h, h),
        lambda h: jax.lax.fori_loop(0, 3, lambda _, h: 2 * h, h),
        8.0,
    ),
    "a constant in a branch": (
        lambda h: jax.lax.cond(h[0] > 0, jax.jit(lambda h: h * np.array([1.0])), jax.jit(lambda h: h), h),
        lambda h: jax.lax.cond(h[0] > 0, jax.jit(lambda h: h * np.array([5.0])), jax.jit(lambda h: h), h),
        5.0,
    ),
    "rules": (jax.custom_jvp(lambda h: 1.0 * h), jax.custom_jvp(lambda h: 1.0 * h), 7.0),
}
DIFFERENT["rules"][0].defjvp(lambda p, t: (p[0], 2.0 * t[0]))
DIFFERENT["rules"][1].defjvp(lambda p, t: (p[0], 7.0 * t[0]))


@pytest.mark.parametrize("name", DIFFERENT)
def test_programs_that_differ_are_told_apart(name):
    first, second, expected = DIFFERENT[name]
    before = jg.jacobian(first, np.ones(1)).dense()
    found = jg.jacobian(second, np.ones(1)).dense()
    np.testing.assert_array_equal(found, [[expected]])
    assert before[0, 0] != expected

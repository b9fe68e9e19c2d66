"""What has no Jacobian is refused in one sentence; what has one is not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg

H = np.random.default_rng(0).standard_normal((4, 3)) + 3.0  # positive
KEPT = []


def leaks(h):
    KEPT.append(h)
    return 2 * h


class Counter:
    calls = 0


def counts(h):
    Counter.calls += 1
    return Counter.calls * h


def draws(h):
    return h + np.random.default_rng().standard_normal()


def prints(h):
    jax.debug.print("{}", h)
    return h


def calls_back(h):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(h.shape, h.dtype), h)


def writes(h):
    jax.debug.callback(lambda h: None, h)
    return h


def loops(h):
    return jax.lax.while_loop(lambda h: jnp.sum(h) < 100, lambda h: 2 * h, h)


@jax.custom_vjp
def backwards_only(h):
    return 2 * h


backwards_only.defvjp(lambda h: (2 * h, None), lambda _, g: (2 * g,))

IMPURE = {
    leaks: "f is not a pure function: it keeps an intermediate array beyond its end",
    counts: "f is not a pure function: traced twice, it did different things",
    draws: "f is not a pure function: traced twice, it did different things",
    prints: r"f has side effects \(.*\): a Jacobian needs a pure function of h$",
    writes: r"f has side effects \(.*\): a Jacobian needs a pure function of h$",
    calls_back: "f is not differentiable in forward mode: Pure callbacks do not support JVP",
    loops: "f is not differentiable in reverse mode: Reverse-mode differentiation does not work for .*while_loop",
    backwards_only: "f is not differentiable in forward mode: ",
}
NOT_ONE_ARRAY = {
    "int": (lambda h: jnp.argmax(h, axis=1), r"f\(h\) has dtype int.*: a function of floating-point values"),
    "bool": (lambda h: h > 0, r"f\(h\) has dtype bool"),
    "complex": (lambda h: h + 1j, r"f\(h\) has dtype complex"),
    "two": (lambda h: (h, 2 * h), r"f\(h\) returned 2 arrays: one is needed$"),
    "none": (lambda h: None, r"f\(h\) returned 0 arrays: one is needed$"),
}
NOT_TRACEABLE = {
    "numpy": (lambda h: np.sin(h), "f cannot be traced by JAX: .*numpy.ndarray"),
    "branch": (lambda h: h if h.sum() > 0 else -h, "f cannot be traced by JAX: Attempted boolean conversion"),
    "shape": (lambda h: h[h > 0], "f cannot be traced by JAX: Array boolean indices must be concrete"),
    "number": (lambda h: h * float(h[0, 0]), "f cannot be traced by JAX: "),
    "shapes": (lambda h: h @ h, "f cannot be traced by JAX: "),
    "rank": (lambda h: h + jnp.ones(3, h.dtype), "f cannot be traced by JAX: .*rank_promotion"),
    "text": (lambda h: "h", "f cannot be traced by JAX: "),
    "error": (lambda h: [][0], "f cannot be traced by JAX: list index out of range$"),
}


def refused(f, message, h=H):
    with pytest.raises(ValueError, match=rf"^{message}") as caught:
        jg.jacobian(f, h)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("f", IMPURE, ids=lambda f: getattr(f, "__name__", "custom_vjp"))
def test_functions_with_effects_and_without_derivatives(f):
    refused(f, IMPURE[f])
    refused(f, IMPURE[f])  # and again: a refusal is not taken for a check that was passed


@pytest.mark.parametrize("name", NOT_ONE_ARRAY)
def test_what_is_not_one_array_of_floating_point_numbers(name):
    refused(*NOT_ONE_ARRAY[name])


@pytest.mark.parametrize("name", NOT_TRACEABLE)
def test_what_cannot_be_traced(name):
    refused(*NOT_TRACEABLE[name])


def test_values_that_are_not_finite():
    refused(lambda h: h / 0, r"f\(h\) is NaN or infinite: the Jacobian is not defined there$", np.ones(2))
    refused(jnp.log, r"f\(h\) is NaN or infinite", np.zeros(2))


@pytest.mark.parametrize("n", [3, 20])  # all columns, or blocks that are told apart
@pytest.mark.parametrize(
    "method",
    [
        "dense",
        "sparse",
        "singular_values",
        "eigenvalues",
        "extremes",
        "density",
        "quadrature",
        "statistics",
        "chebyshev",
    ],
)
def test_entries_that_are_not_finite(method, n):
    J = jg.jacobian(jnp.sqrt, np.arange(float(n)))  # 1 / (2 sqrt(0))
    call = partial(J.density, method="chebyshev") if method == "chebyshev" else getattr(J, method)
    with pytest.raises(ValueError, match=r"^the Jacobian is NaN or infinite at h: f is not differentiable there$"):
        call()


def test_smallest_and_outer_eigenvalues_of_entries_that_are_not_finite():
    J = jg.jacobian(jnp.sqrt, np.arange(20.0))
    for call in (lambda: J.extremes(2, which="smallest"), lambda: J.outer_eigenvalues(2)):
        with pytest.raises(ValueError, match=r"^the Jacobian is NaN or infinite at h"):
            call()


W = np.random.default_rng(1).standard_normal((3, 3))


def noise(h):
    return h + jax.random.normal(jax.random.key(0), h.shape, h.dtype)


@jax.custom_jvp
def with_own_derivative(h):
    return jnp.sin(h)


with_own_derivative.defjvp(lambda h, v: (jnp.sin(h[0]), jnp.cos(h[0]) * v[0]))

PURE = {
    "closure": (lambda h: h @ W, lambda h: np.kron(np.eye(4), W.T)),
    "closure over a jax array": (lambda h, W=jnp.asarray(W, "float32"): h @ W.astype(h.dtype), None),  # noqa: B008
    "jit": (jax.jit(jnp.sin), lambda h: np.diag(np.cos(h.ravel()))),
    "partial": (partial(jnp.multiply, 3.0), lambda h: 3 * np.eye(12)),
    "Partial": (jax.tree_util.Partial(jnp.matmul, np.eye(4)), lambda h: np.eye(12)),
    "a fixed key": (noise, lambda h: np.eye(12)),
    "custom_jvp": (with_own_derivative, lambda h: np.diag(np.cos(h.ravel()))),
    "scan": (lambda h: jax.lax.scan(lambda c, _: (2 * c, None), h, length=3)[0], lambda h: 8 * np.eye(12)),
    "for": (lambda h: jax.lax.fori_loop(0, 3, lambda _, h: 2 * h, h), lambda h: 8 * np.eye(12)),
    "cond": (lambda h: jax.lax.cond(h[0, 0] > 0, lambda h: 2 * h, lambda h: h, h), lambda h: 2 * np.eye(12)),
    "checkpoint": (jax.checkpoint(jnp.sin), lambda h: np.diag(np.cos(h.ravel()))),
    "constant": (jnp.ones_like, lambda h: np.zeros((12, 12))),
    "a scalar": (jnp.sum, lambda h: np.ones((1, 12))),
    "a python list inside": (lambda h: sum([h, h]), lambda h: 2 * np.eye(12)),
}


@pytest.mark.parametrize("name", PURE)
def test_pure_functions_are_accepted(name):
    f, expected = PURE[name]
    D = jg.jacobian(f, H).dense()
    np.testing.assert_allclose(
        D, expected(H) if expected else np.kron(np.eye(4), W.T.astype(np.float32)), rtol=0, atol=1e-14
    )


def test_a_function_is_checked_once_and_traced_for_every_jacobian():
    traced = []

    def f(h):
        traced.append(1)  # of no consequence for what it returns
        return jnp.sin(h)

    J = jg.jacobian(f, H)
    assert len(traced) == 3  # twice to see whether it does the same, and for J itself
    J.singular_values(), J.extremes(2), J.rmv(H)
    assert len(traced) == 3
    jg.jacobian(f, H + 1)
    assert len(traced) == 4
    jg.jacobian(f, H[:2])
    assert len(traced) == 7

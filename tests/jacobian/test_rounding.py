"""Bounds hold where f computes in less precision than h has; half precision is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
from jaxgnn.jacobian import operator, sparse

N, D = 30, 4
DOUBLE, SINGLE, HALF, BRAIN = 2.0**-52, 2.0**-23, 2.0**-10, 2.0**-7


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


H, W = signal(N, D), signal(D, D, seed=1)


def handed_on(_, carry):
    """What h changes is in double precision after one step, and in single one step later."""
    first, second, third = carry
    return first, jnp.sin(first), second.astype(third.dtype)


def through(dtype):
    return lambda h: h.astype(dtype).astype(h.dtype)


def exchanged(_, carry):
    """What is in single precision goes into the second after one step, and comes back after another."""
    first, second = carry
    return second.astype(first.dtype), jnp.sin(first).astype(second.dtype)


EPS = {
    "all in double": (lambda h: jnp.tanh(h @ W), DOUBLE),
    "a product in single": (lambda h: (h.astype(jnp.float32) @ W.astype(np.float32)).astype(h.dtype), SINGLE),
    "a product in bfloat16": (lambda h: (h.astype(jnp.bfloat16) @ jnp.asarray(W, jnp.bfloat16)).astype(h.dtype), BRAIN),
    "an output in single": (lambda h: jnp.sin(h).astype(jnp.float32), SINGLE),
    "an output in half": (lambda h: jnp.sin(h).astype(jnp.float16), HALF),
    "in a loop": (lambda h: jax.lax.scan(lambda c, _: (through(jnp.float32)(c), None), h, length=2)[0], SINGLE),
    "carried by a loop": (
        lambda h: jax.lax.fori_loop(0, 2, exchanged, (h, jnp.zeros(h.shape, jnp.float32)))[0],
        SINGLE,
    ),
    "handed on by a loop": (
        lambda h: jax.lax.fori_loop(0, 3, handed_on, (h, jnp.zeros(h.shape), jnp.zeros(h.shape, jnp.float32)))[2],
        SINGLE,
    ),
    "handed on by a scan": (
        lambda h: (
            h
            + jax.lax.scan(
                lambda c, _: (handed_on(0, c), None),
                (h, jnp.zeros(h.shape), jnp.zeros(h.shape, jnp.float32)),
                length=3,
            )[0][2].astype(h.dtype)
        ),
        SINGLE,
    ),
    "in a branch": (lambda h: jax.lax.cond(h[0, 0] > 9, through(jnp.float16), lambda h: h, h), HALF),
    "jitted": (jax.jit(through(jnp.float32)), SINGLE),
    "checkpointed": (jax.checkpoint(lambda h: jnp.sin(through(jnp.float32)(h))), SINGLE),
    "rounded": (lambda h: jax.lax.reduce_precision(h, 11, 8), 2.0**-8),
    "a slope in single": (lambda h: h * jnp.sum(jax.lax.stop_gradient(through(jnp.float32)(h))), SINGLE),
    "weights in single": (lambda h: h @ W.astype(np.float32).astype(h.dtype), DOUBLE),
    "a mask in single": (lambda h: (h > 0).astype(jnp.float32).astype(h.dtype) * h, DOUBLE),
    "not used": (lambda h: (through(jnp.float16)(h), 2 * h)[1], DOUBLE),
    "a rounded point": (lambda h: h + jax.lax.stop_gradient(jax.lax.reduce_precision(h, 11, 8) - h), DOUBLE),
}


@pytest.mark.parametrize("name", EPS)
def test_the_least_precise_number_on_the_way(name):
    f, eps = EPS[name]
    assert jg.jacobian(f, H).eps == eps


def test_it_is_shown():
    assert repr(jg.jacobian(through(np.float32), H)) == "LayerJacobian(120 x 120, float64, computed to 1.2e-07)"
    assert repr(jg.jacobian(jnp.sin, H)) == "LayerJacobian(120 x 120, float64)"


def test_layers_compute_in_the_precision_that_they_are_asked_for(graphs):
    graph = jg.prepare(**graphs.ring(N))
    for layer in ("gcn", "gat"):
        model = jg.DeepGNN(layer=layer, depth=2, width=D, norm="layer")
        params = model.init(jax.random.key(0), graph, H.astype(np.float32))
        for dtype, eps in ((np.float64, DOUBLE), (np.float32, SINGLE)):
            assert jg.jacobian(*model.layer_fn(params, graph, H, layer=1, dtype=dtype)).eps == eps


def exact(h, graph):
    """Singular values of tanh(P h W)."""
    P = graph.propagation.dense()
    slope = 1 - np.tanh(P @ h @ W) ** 2
    return np.linalg.svd(slope.reshape(-1, 1) * np.kron(P, W.T), compute_uv=False)


def layer(graph, dtype):
    P = graph.propagation.dense()

    def f(h):
        product = jnp.asarray(P, dtype) @ h.astype(dtype) @ jnp.asarray(W, dtype)
        return jnp.tanh(product.astype(h.dtype))

    return f


@pytest.mark.parametrize("which", ["largest", "smallest", "smallest by a factorisation"])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_bounds_are_true_in_less_precision(graphs, dtype, which, monkeypatch):
    graph, k = jg.prepare(**graphs.path(N), normalisation="row"), 12
    sigma = exact(H, graph)
    J = jg.jacobian(layer(graph, dtype), H, graph)
    off = np.abs(np.linalg.svd(np.asarray(J.dense()), compute_uv=False) - sigma).max()
    assert off > 50 * DOUBLE * sigma[0]  # bounds of double precision would be false
    if which == "largest":
        for certify in (True, False):
            found = J.extremes(k, certify=certify)
            assert (found.lower <= sigma[:k]).all()
            assert (found.upper >= sigma[:k])[found.certified].all()
            assert found.certified.all() or dtype == jnp.bfloat16 or not certify
        np.testing.assert_allclose(J.singular_values(), sigma, rtol=0, atol=50 * J.eps * sigma[0])
        return
    if which != "smallest":
        monkeypatch.setattr(operator, "_EXACT_BELOW", 0)
    found = J.extremes(k, which="smallest")
    assert found.rank_tolerance == pytest.approx(4 * N * J.eps * sigma[0], rel=0.1)
    positive = sigma[sigma > found.rank_tolerance][::-1][:k]
    assert found.null_dim == pytest.approx((sigma <= found.rank_tolerance).sum(), abs=3)  # near the tolerance, either
    if found.null_dim == (sigma <= found.rank_tolerance).sum():
        assert (found.lower[: positive.size] <= positive)[found.certified[: positive.size]].all()
        assert (found.upper[: positive.size] >= positive).all()


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision_is_measured_in_single(graphs, dtype):
    graph = jg.prepare(**graphs.path(N), normalisation="row")
    h = H.astype(dtype)
    sigma = exact(h.astype(np.float64), graph)
    J = jg.jacobian(lambda h: jnp.tanh(graph.propagation @ h @ W.astype(h.dtype)), h, graph)
    assert J.dtype == np.float32
    assert J.eps == jnp.finfo(dtype).eps
    allowed = 50 * J.eps * sigma[0]
    np.testing.assert_allclose(J.singular_values(), sigma, rtol=0, atol=allowed)
    found = J.extremes(3)
    assert (found.lower <= sigma[:3]).all()
    np.testing.assert_allclose(np.abs(J.outer_eigenvalues(2).values), np.abs(J.eigenvalues()[:2]), rtol=0.1)
    assert J.mv(H).dtype == J.rmv(H).dtype == J.dense().dtype == np.float32
    assert J.density(probes=2, steps=4).density.shape == (400,)
    assert np.isfinite(J.statistics("lanczos", probes=4, steps=8).frobenius.value)


def test_a_wrong_pattern_is_seen_in_half_precision(graphs, monkeypatch):
    # Without the neighbours' blocks J is off by about a tenth, or a half.
    graph = jg.prepare(**graphs.path(N))
    P = graph.propagation.dense()
    monkeypatch.setattr(sparse, "graph_pattern", lambda *_: sp.eye_array(N, dtype=np.int8, format="csr"))
    for dtype, far in ((np.float16, 0.1), (jnp.bfloat16, 0.5)):  # both more than 10 eps
        A = np.eye(N) + far * (P - np.diag(np.diag(P)))
        J = jg.jacobian(lambda h, A=A: jnp.asarray(A, h.dtype) @ h, H.astype(dtype), graph)
        assert J.sparsity.pattern == "detected"
        assert J.sparsity.relative_error < J.eps


@pytest.mark.parametrize("h", [np.arange(3), np.ones(3, bool), np.ones(3, complex), np.ones(3, np.longdouble)])
def test_points_without_a_jacobian(h):
    if h.dtype.itemsize <= 8 and h.dtype == np.longdouble:
        pytest.skip("long double is double here")
    with pytest.raises(ValueError, match=rf"^h has dtype {h.dtype}: a Jacobian is taken at an array of floating-point"):
        jg.jacobian(jnp.sin, h)

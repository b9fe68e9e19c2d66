import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

import jaxgnn as jg
from jaxgnn.jacobian import dense, kronecker


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def set_distance(a, b):
    distance = np.abs(np.subtract.outer(a, b))
    return distance[linear_sum_assignment(distance)].max()


@pytest.fixture(params=["sym", "row"])
def linear(request, karate, random_variables):
    """f, h, P and W of a linear layer on the karate club."""
    graph = jg.prepare(karate.graph, normalisation=request.param)
    model = jg.DeepGNN(depth=1, width=4, activation="identity")
    params = random_variables(model, graph, karate.x)
    f, h = model.layer_fn(params, graph, karate.x, layer=0, dtype=np.float64)
    return f, h, graph.propagation, params["params"]["stack"]["layer"]["linear"]["kernel"][0]


def test_the_jacobian_is_the_kronecker_product(linear):
    f, h, P, W = linear
    np.testing.assert_allclose(jg.jacobian(f, h).dense(), np.kron(P.dense(), W.T), rtol=0, atol=1e-15)


@pytest.mark.parametrize("method", ["exact", "kronecker"])
def test_singular_values_of_the_linear_layer(linear, method):
    f, h, P, W = linear
    expected = np.linalg.svd(np.kron(P.dense(), W.T), compute_uv=False)
    values = jg.jacobian(f, h, factors=(P, W)).singular_values(method=method)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10 * expected[0])


def test_singular_values_are_not_the_products_of_eigenvalues_where_the_matrix_is_not_normal(linear):
    f, h, P, W = linear
    largest = jg.jacobian(f, h, factors=(P, W)).singular_values("kronecker")[0]
    by_eigenvalues = np.abs(np.linalg.eigvals(P.dense())).max() * np.linalg.norm(W, 2)
    if P.normalisation == "sym":
        assert largest == pytest.approx(by_eigenvalues, rel=1e-12)
    else:
        assert largest > 1.1 * by_eigenvalues


def test_eigenvalues_of_the_linear_layer(linear):
    f, h, P, W = linear
    J = jg.jacobian(f, h, factors=(P, W))
    values = J.eigenvalues(method="kronecker")
    assert values.dtype == np.complex128
    assert (np.diff(np.abs(values)) <= 1e-15).all()
    assert set_distance(values, np.linalg.eigvals(np.kron(P.dense(), W.T))) <= 1e-7
    assert set_distance(values, J.eigenvalues(method="exact")) <= 1e-7


def test_factors_may_be_arrays_and_single_precision(linear):
    f, h, P, W = linear
    expected = jg.jacobian(f, h, factors=(P, W)).singular_values("kronecker")
    W32 = W.astype(np.float32)
    single = jg.jacobian(lambda h: P @ h @ W32, h.astype(np.float32), factors=(P.dense(), W32))
    np.testing.assert_allclose(single.singular_values("kronecker"), expected, rtol=0, atol=1e-6 * expected[0])


def test_wrong_factors_are_refused(linear):
    f, h, P, W = linear
    for factors in ((P, W.T), (P.dense() @ P.dense(), W), (P, 1.0001 * W), (P, 0 * W), (P, np.nan * W)):
        with pytest.raises(ValueError, match=r"^factors \(P, W\) do not reproduce the Jacobian: on a random signal"):
            jg.jacobian(f, h, factors=factors)
    with pytest.raises(ValueError, match=r"^factors of shapes \(34, 34\) and \(4, 3\) do not make a Jacobian of shape"):
        jg.jacobian(f, h, factors=(P, W[:, :3]))


def test_factors_of_a_layer_with_an_activation_are_refused(karate, random_variables):
    graph = jg.prepare(karate.graph)
    model = jg.DeepGNN(depth=1, width=4, activation="relu")
    params = random_variables(model, graph, karate.x)
    f, h = model.layer_fn(params, graph, karate.x, layer=0, dtype=np.float64)
    with pytest.raises(ValueError, match="do not reproduce the Jacobian"):
        jg.jacobian(f, h, factors=(graph.propagation, params["params"]["stack"]["layer"]["linear"]["kernel"][0]))


@pytest.mark.parametrize(("rows", "columns"), [((5, 5), (3, 2)), ((5, 5), (2, 4)), ((3, 2), (3, 2)), ((4, 2), (2, 5))])
def test_factors_that_are_not_square(rows, columns):
    P, W = signal(*rows), signal(*columns, seed=1)
    J = jg.jacobian(lambda h: jnp.asarray(P) @ h @ W, signal(rows[1], columns[0]), factors=(P, W))
    np.testing.assert_allclose(J.singular_values("kronecker"), J.singular_values("exact"), rtol=0, atol=1e-12)


def test_eigenvalues_of_factors_that_are_not_square():
    P, W = signal(5, 5), signal(3, 2, seed=1)
    J = jg.jacobian(lambda h: P @ h @ W, signal(5, 3), factors=(P, W))
    with pytest.raises(ValueError, match="has no eigenvalues: it must be square"):
        J.eigenvalues("kronecker")


@pytest.mark.parametrize("transition", [np.eye(3), 0.9 * np.linalg.qr(signal(3, 3, seed=5))[0], signal(3, 3, seed=6)])
@pytest.mark.parametrize("B", [np.eye(3), signal(3, 3, seed=7)])
def test_layers_with_a_state(karate, transition, B):
    P, W = jg.prepare(karate.graph).propagation, signal(3, 3, seed=1)
    factors = (P, W, transition, B)
    J = jg.jacobian(lambda h: h @ transition.T + P @ h @ W @ B.T, signal(34, 3), factors=factors)
    expected = np.linalg.svd(J.dense(), compute_uv=False)
    np.testing.assert_allclose(J.singular_values("kronecker"), expected, rtol=0, atol=1e-12 * expected[0])
    assert set_distance(J.eigenvalues("kronecker"), np.linalg.eigvals(J.dense())) <= 1e-6


def test_factors_with_a_state_that_do_not_fit():
    P, W, A = signal(5, 5), signal(3, 3, seed=1), np.eye(3)
    for factors, message in (
        ((P, W, A), "factors with Lambda need a symmetric P"),
        ((P + P.T, W, np.eye(2)), r"factors Lambda \(2, 2\) and B W\^T \(3, 3\) do not fit"),
        ((P, W, None, np.ones((3, 2))), r"factors W \(3, 3\) and B \(3, 2\) do not fit"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            jg.jacobian(jnp.sin, signal(5, 3), factors=factors)


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_closed_forms_of_clustered_spectra(seed, state):
    # P with clusters above and below the place where the two ways of `dense.svdvals` meet; Lambda = 0 or I.
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_SMALL", 24)
        at = dense._split(40)
        p = np.repeat(
            [1.0, 1.01 * at, 0.9 * at, 0.0], np.random.default_rng(seed).multinomial(40, [0.7, 0.1, 0.1, 0.1])
        )
        m = np.array([2.0, 1.0, 1e-3])
        Q, U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (40, 3, 3))
        P = (Q * p) @ Q.T
        P = (P + P.T) / 2
        W = (U * m) @ (U.T if state else V.T)  # B W^T is symmetric where Lambda is I
        found = kronecker.singular_values(kronecker.as_arrays((P, W, np.eye(3)) if state else (P, W)))
        expected = np.sort((np.outer(p, m) + (1.0 if state else 0.0)).ravel())[::-1]
        assert np.abs(found - expected).max() <= 2 * dense.ACCURACY * expected[0]

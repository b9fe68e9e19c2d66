from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
import jaxgnn.host.memory

BACKENDS = ("segment", "padded", "dense")
NORMALISATIONS = ("sym", "row", "raw")


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def signal(n, *shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, *shape)), dtype)


def assert_rounded(actual, expected, terms):
    """Equal to rounding: the error of a few sums of `terms` numbers of the size of the result."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.isfinite(expected).all()
    scale = np.max(np.abs(expected), initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=8 * (terms + 4) * np.finfo(actual.dtype).eps * scale)


def adjacency(senders, receivers, num_nodes, **_):
    A = np.zeros((num_nodes, num_nodes))
    A[receivers, senders] = 1
    return A


# Each takes P (a Propagation or a dense array) and X [n, d].
TRANSFORMS = {
    "P X": lambda P, X: P @ X,
    "P^T X": lambda P, X: P.T @ X,
    "jit": lambda P, X: jax.jit(lambda P, X: P.T @ (P @ X))(P, X),
    "grad": lambda P, X: jax.grad(lambda X: jnp.sum(jnp.sin(P @ X)))(X),
    "grad of P^T": lambda P, X: jax.grad(lambda X: jnp.sum(jnp.sin(P.T @ X)))(X),
    "jvp": lambda P, X: jax.jvp(lambda X: jnp.sin(P @ X), (X,), (X**2,))[1],
    "linear_transpose": lambda P, X: jax.linear_transpose(lambda X: P @ X, X)(X)[0],
    "jacfwd": lambda P, X: jax.jacfwd(lambda X: jnp.sin(P @ X))(X),
    "jacrev": lambda P, X: jax.jacrev(lambda X: jnp.sin(P.T @ X))(X),
    "hessian product, forward over reverse": lambda P, X: jax.jvp(
        jax.grad(lambda X: jnp.sum(jnp.sin(P @ X))), (X,), (X**2,)
    )[1],
    "hessian product, reverse over forward": lambda P, X: jax.grad(
        lambda X: jax.jvp(lambda X: jnp.sum(jnp.sin(P @ X)), (X,), (jnp.cos(X),))[1]
    )(X),
    "grad of scan of checkpoint": lambda P, X: jax.grad(
        lambda X: jnp.sum(jax.lax.scan(jax.checkpoint(lambda h, _: (jnp.tanh(P @ h), None)), X, length=3)[0])
    )(X),
    "vmap, first axis": lambda P, X: jax.vmap(lambda X: P @ X)(jnp.stack([X, 2 * X, X**2])),
    "vmap, middle axis": lambda P, X: jax.vmap(lambda X: P @ X, 1, 1)(jnp.stack([X, 2 * X, X**2], 1)),
    "vmap, last axis": lambda P, X: jax.vmap(lambda X: P @ X, 2, 2)(jnp.stack([X, 2 * X, X**2], 2)),
    "vmap of vmap": lambda P, X: jax.vmap(jax.vmap(lambda X: P @ X, 0, 1), 1)(
        jnp.stack([jnp.stack([X, X**2]), jnp.stack([2 * X, X**3]), jnp.stack([X, X])], 1)
    ),
    "vmap of grad": lambda P, X: jax.vmap(jax.grad(lambda X: jnp.sum(jnp.sin(P @ X))))(jnp.stack([X, X**2])),
    "grad of vmap": lambda P, X: jax.grad(lambda X: jnp.sum(jnp.sin(jax.vmap(lambda X: P @ X)(X))))(
        jnp.stack([X, X**2])
    ),
    "vmap over columns": lambda P, X: jax.vmap(lambda x: P @ x, 1, 1)(X),
}


def test_backends_equal_the_dense_matrix(edges, backend, dtype):
    P = jg.prepare(**edges, normalisation="row", backend=backend).propagation
    A = P.dense()
    X = signal(len(A), 3, dtype=dtype)
    exact = np.asarray(X, np.float64)
    # |fl(sum of k products) - sum| <= (k + 2) eps sum |products|, P itself rounded once
    allowed = np.finfo(dtype).eps * (np.count_nonzero(A, axis=1)[:, None] + 3) * (np.abs(A) @ np.abs(exact))
    for product, expected in ((P @ X, A @ exact), (P @ X[:, 0], A @ exact[:, 0])):
        assert product.dtype == dtype
        assert product.shape == expected.shape
        error = np.abs(np.asarray(product, np.float64) - expected)
        assert (error <= allowed[(slice(None), 0) if error.ndim == 1 else slice(None)]).all()


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_equal_those_of_the_dense_matrix(graphs, backend, transform, dtype):
    edges = graphs.star(9) if dtype == np.float64 else graphs.directed()
    P = jg.prepare(**edges, normalisation="row", backend=backend).propagation
    A = P.dense()
    X = signal(len(A), 2, dtype=dtype)
    actual = jax.jit(TRANSFORMS[transform])(P, X)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        expected = jax.jit(TRANSFORMS[transform])(A, np.asarray(X, np.float64))
    assert actual.dtype == dtype
    assert_rounded(actual, expected, terms=len(A))


@pytest.mark.parametrize("transform", ["jacfwd", "vmap, first axis", "grad of scan of checkpoint"])
@pytest.mark.parametrize("n", [0, 1])
def test_transforms_where_there_are_no_edges(graphs, backend, transform, n):
    P = jg.prepare(**graphs.edgeless(n), normalisation="raw", backend=backend).propagation
    X = signal(n, 2)
    expected = jax.jit(TRANSFORMS[transform])(np.zeros((n, n), np.float32), X)
    np.testing.assert_array_equal(jax.jit(TRANSFORMS[transform])(P, X), expected)


@pytest.mark.parametrize("transform", ["P X", "P^T X", "grad", "vmap, first axis", "jvp"])
def test_a_heavy_row_goes_through_the_remainder(graphs, transform):
    P = jg.prepare(**graphs.hub(), normalisation="row").propagation
    assert P.forward.rest.senders.size  # the default for this size is padded, and the hub does not fit its slots
    X = signal(P.num_nodes, 3)
    assert_rounded(TRANSFORMS[transform](P, X), TRANSFORMS[transform](jnp.asarray(P.dense(), np.float32), X), terms=71)


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (0,)])
def test_trailing_axes_are_carried(graphs, backend, shape):
    P = jg.prepare(**graphs.star(5), normalisation="row", backend=backend).propagation
    X = signal(5, *shape)
    expected = np.einsum("vu,u...->v...", P.dense(), X)
    np.testing.assert_allclose(P @ X, expected, rtol=0, atol=1e-6)
    assert (P @ X).shape == X.shape


def test_adjoint(edges, backend, x64):
    P = jg.prepare(**edges, normalisation="row", backend=backend).propagation
    X, Y = (signal(P.num_nodes, 2, seed=s, dtype=np.float64) for s in (0, 1))
    size = float(jnp.sum(jnp.abs(P @ jnp.abs(X)) * jnp.abs(Y)))
    difference = jnp.sum((P @ X) * Y) - jnp.sum(X * (P.T @ Y))
    assert abs(float(difference)) <= 1e-14 * (P.num_nodes + 1) * size


def test_graph_is_an_argument_of_a_compiled_program(graphs, backend):
    edges = graphs.directed()
    f = jax.jit(jax.grad(lambda X, graph: jnp.sum((graph.propagation @ X) ** 2)))
    X = signal(12, 2)
    for weights in (np.ones(40), np.arange(1.0, 41.0)):  # the same packing: one program
        graph = jg.prepare(**edges, weights=weights, normalisation="raw", backend=backend)
        A = graph.propagation.dense()
        assert_rounded(f(X, graph), 2 * A.T @ (A @ np.asarray(X, np.float64)), terms=40)
    assert f._cache_size() == 1


@pytest.mark.parametrize("batched_signal", [True, False])
def test_batch_of_graphs_of_one_packing(graphs, backend, batched_signal):
    edges = graphs.directed()
    Ps = [
        jg.prepare(**edges, weights=np.arange(1.0, 41.0) ** k, normalisation="row", backend=backend).propagation
        for k in (0, 1, 2)
    ]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *Ps)
    X = signal(3, 12, 2) if batched_signal else signal(12, 2)
    axes = (0, 0 if batched_signal else None)

    def f(P, X):
        return jnp.sum(jnp.sin(P @ X))

    product = jax.vmap(lambda P, X: P @ X, axes)(batch, X)
    gradient = jax.vmap(jax.grad(f, argnums=1), axes)(batch, X)
    for i, P in enumerate(Ps):
        A, x = P.dense(), np.asarray(X[i] if batched_signal else X, np.float64)
        assert_rounded(product[i], A @ x, terms=12)
        assert_rounded(gradient[i], A.T @ np.cos(A @ x), terms=12)


def test_gradient_of_the_padded_backend_gathers_only(graphs):
    edges = graphs.directed_ring(70)

    def program(backend):
        P = jg.prepare(**edges, normalisation="raw", backend=backend).propagation
        assert P.backward is not None
        return jax.jit(jax.grad(lambda X: jnp.sum(jnp.sin(P @ X)))).lower(signal(70, 3)).as_text()

    assert "scatter" not in program("padded")
    assert "scatter" in program("segment")


@pytest.mark.parametrize("backend", ["segment", "padded"])
@pytest.mark.parametrize("u", [0, 3])
def test_what_is_not_finite_reaches_the_node_and_its_out_neighbours_only(graphs, backend, u):
    P = jg.prepare(**graphs.directed(), normalisation="row", backend=backend).propagation
    reached = P.dense()[:, u] != 0
    reached[u] = True
    for value in (np.nan, np.inf):
        out = np.asarray(P @ signal(12, 2).at[u].set(value))
        assert np.isfinite(out[~reached]).all()
        assert (~np.isfinite(out[reached & (P.dense()[:, u] != 0)])).all()


@pytest.mark.parametrize(
    ("normalisation", "loops"),
    [(name, loops) for name in NORMALISATIONS for loops in (None, False)] + [("doubly", None)],
)
def test_lone_nodes_give_no_nan(graphs, backend, normalisation, loops):
    P = jg.prepare(**graphs.isolated(), normalisation=normalisation, loops=loops, backend=backend).propagation
    X = signal(9, 2)
    lone = [0, 3, 7, 8]
    kept = 0.0 if loops is False or normalisation == "raw" else np.asarray(X)[lone]
    np.testing.assert_array_equal(np.asarray(P @ X)[lone], kept * np.ones((4, 2)))
    assert np.isfinite(jax.grad(lambda X: jnp.sum(jnp.sin(P @ X)))(X)).all()


def test_dense_holds_the_edges_receiver_by_sender(edges, backend):
    P = jg.prepare(**edges, normalisation="raw", backend=backend).propagation
    np.testing.assert_array_equal(P.dense(), adjacency(**edges))
    np.testing.assert_array_equal(P.T.dense(), adjacency(**edges).T)


def test_sparse_holds_the_edges_and_nothing_else(graphs, backend):
    P = jg.prepare(**graphs.directed(), normalisation="raw", backend=backend).propagation
    A = adjacency(**graphs.directed())
    assert P.sparse().nnz == np.count_nonzero(A)
    assert P.sparse().dtype == np.float64
    np.testing.assert_array_equal(P.sparse().toarray(), A)


def test_backends_hold_the_same_matrix(edges):
    kept = [jg.prepare(**edges, normalisation="sym", backend=backend).propagation.dense() for backend in BACKENDS]
    np.testing.assert_array_equal(kept[0], kept[1])
    np.testing.assert_array_equal(kept[0], kept[2])


def test_degree_is_the_row_sum_of_the_normalised_matrix(edges):
    A = adjacency(**edges)
    np.testing.assert_array_equal(jg.prepare(**edges, normalisation="raw").propagation.degree, A.sum(1))
    np.fill_diagonal(A, 1)
    for normalisation in ("sym", "row"):
        np.testing.assert_array_equal(jg.prepare(**edges, normalisation=normalisation).propagation.degree, A.sum(1))


@pytest.mark.parametrize("n", [9, 900])  # by LAPACK up to 800 nodes, by Lanczos above
def test_the_norm_is_the_largest_singular_value(graphs, n):
    for edges in (graphs.path(n), graphs.star(n)):
        P = jg.prepare(**edges, normalisation="row").propagation
        # P P^T of a path and of a star is no multiple of the identity: the norm is above 1, the largest eigenvalue.
        assert P.norm() == pytest.approx(np.linalg.norm(P.dense(), 2), rel=1e-9)
        assert P.norm() > 1 + 1e-3


def test_double_transpose_is_the_matrix(graphs, backend):
    P = jg.prepare(**graphs.directed(), normalisation="row", backend=backend).propagation
    assert P.shape == (12, 12)
    np.testing.assert_array_equal(P.T.T.dense(), P.dense())
    assert (P.T.dense() != P.dense()).any()


def test_float64_weights_outlive_float32_mode(graphs, backend):
    P = jg.prepare(**graphs.ring(7), normalisation="row", backend=backend).propagation
    with jax.enable_x64(True):
        out = P @ jnp.arange(7.0)
    np.testing.assert_allclose(out[1:-1], np.arange(1, 6), rtol=4e-16)


def test_integer_signals_become_floating_point(graphs, backend):
    P = jg.prepare(**graphs.ring(6), normalisation="row", backend=backend).propagation
    out = P @ np.arange(6)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[1:-1], [1, 2, 3, 4], rtol=1e-6)


@pytest.mark.parametrize("differentiate", [jax.grad, jax.jacfwd])
def test_weights_cannot_be_differentiated(graphs, backend, differentiate):
    P = jg.prepare(**graphs.ring(5), backend=backend).propagation

    def f(weights):
        forward = weights if backend == "dense" else P.forward._replace(weights=weights)
        return jnp.sum(replace(P, forward=forward) @ jnp.ones((5, 2)))

    weights = jnp.asarray(P.forward if backend == "dense" else P.forward.weights, np.float32)
    with pytest.raises(TypeError, match="P is a constant"):
        differentiate(f)(weights)


def test_unknown_backend(graphs):
    with pytest.raises(ValueError, match=r"^backend='magic' is not known: allowed are auto, segment, padded, dense$"):
        jg.prepare(**graphs.ring(5), backend="magic")


@pytest.mark.parametrize("X", [np.ones((4, 2)), np.ones(6), np.float32(1)])
def test_wrong_number_of_rows(graphs, backend, X):
    P = jg.prepare(**graphs.ring(5), backend=backend).propagation
    with pytest.raises(ValueError, match=r"^P @ X: X has shape \(.*\), but P has 5 nodes: rows must agree$"):
        P @ X


def test_dense_form_that_does_not_fit_is_refused(graphs, monkeypatch):
    P = jg.prepare(**graphs.hub()).propagation
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 8 * 73**2 - 1)
    with pytest.raises(MemoryError, match=r"a dense 73 x 73 P needs .* use P @ X or P\.sparse\(\) instead"):
        P.dense()
    with pytest.raises(MemoryError, match=r'the dense backend for 73 nodes needs .* use backend="padded" or "segment"'):
        jg.prepare(**graphs.hub(), backend="dense")


@pytest.mark.parametrize("backend", ["segment", "padded"])
@pytest.mark.parametrize("normalisation", ["sym", "row"])
def test_cora_equals_its_sparse_matrix(cora, backend, normalisation):
    P = jg.prepare(cora.graph, normalisation=normalisation, backend=backend).propagation
    X = signal(2708, 4)
    A, exact = P.sparse(), np.asarray(X, np.float64)
    longest = int(np.diff(A.indptr).max())
    assert_rounded(P @ X, A @ exact, terms=longest)
    gradient = jax.grad(lambda X: jnp.sum(jnp.sin(P @ X)))(X)
    assert_rounded(gradient, A.T @ np.cos(A @ exact), terms=longest)

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
import jaxgnn.host.memory
from jaxgnn.jacobian import sparse
from jaxgnn.jacobian.sparse import Products, detected_pattern, from_pattern, graph_pattern, relative_error


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def equals_dense(J, atol=1e-13):
    """Entry by entry, none stored that is 0."""
    S, D = J.sparse(), J.dense()
    assert isinstance(S, sp.csr_matrix)
    assert S.shape == D.shape == J.shape
    assert S.dtype == J.dtype
    assert (S.data != 0).all()
    np.testing.assert_allclose(S.toarray(), D, rtol=0, atol=atol * np.abs(D).max(initial=0.0))


def block_support(J, m, n):
    rows, columns = J.shape[0] // m, J.shape[1] // n
    return J.dense().reshape(m, rows, n, columns).any(axis=(1, 3))


def counted(J):
    """How many vectors other than 0 go through mm and rmm from now on."""
    used, products = {"mm": 0, "rmm": 0}, J._products

    def count(name, product):
        def apply(V):
            used[name] += int(np.any(V.reshape(len(V), -1), axis=1).sum())
            return product(V)

        return apply

    J.__dict__["_products"] = products._replace(mm=count("mm", products.mm), rmm=count("rmm", products.rmm))
    return used


def pooling(n, m):
    """Means of consecutive nodes, [m, n]."""
    groups = np.arange(n) * m // n
    mean = (groups == np.arange(m)[:, None]).astype(np.float64)
    return mean / mean.sum(axis=1, keepdims=True)


P = np.where(signal(12, 12, seed=3) > 0.8, signal(12, 12, seed=5), 0.0)
wide, narrow, pool, cube = signal(3, 5, seed=1), signal(3, 2, seed=2), pooling(12, 4), signal(2, 3, 4, seed=4)
FUNCTIONS = {  # f, h and the numbers of nodes that go out and in
    "wider": (lambda h: jnp.tanh(P @ h @ wide), signal(12, 3), 12, 12),
    "narrower": (lambda h: jnp.maximum(P @ h @ narrow, 0), signal(12, 3), 12, 12),
    "pooled": (lambda h: pool @ jnp.sin(h), signal(12, 3), 4, 12),
    "unpooled": (lambda h: pool.T @ jnp.sin(h), signal(4, 3), 12, 4),
    "pooled and wider": (lambda h: jnp.tanh(pool @ h @ wide), signal(12, 3), 4, 12),
    "one feature": (lambda h: jnp.sin(P @ h), signal(12), 12, 12),
    "vector to matrix": (lambda h: jnp.outer(P @ h**2, wide[0]), signal(12), 12, 12),
    "three axes": (lambda h: jnp.einsum("vu,uij,ijk->vk", P, jnp.sin(h), cube), signal(12, 2, 3), 12, 12),
    "a number": (lambda h: jnp.sum(jnp.sin(h)[::2]), signal(12, 3), 1, 12),
    "of a number": (lambda h: h * jnp.arange(5.0), np.ones(()), 5, 1),
    "last axis": (lambda h: h[:, ::-1] ** 2, signal(12, 3), 12, 12),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sparse_is_dense(name):
    f, h, m, n = FUNCTIONS[name]
    J = jg.jacobian(f, h)
    equals_dense(J)
    assert J.sparsity.pattern == "detected"
    np.testing.assert_array_equal(J.sparsity.blocks.toarray() != 0, block_support(J, m, n))


@pytest.mark.parametrize("shape", [(0, 3), (0,)])
def test_no_nodes(graphs, shape):
    for graph in (None, jg.prepare(**graphs.edgeless(0))):
        J = jg.jacobian(jnp.sin, np.zeros(shape), graph)
        assert J.sparse().shape == (0, 0)
        assert J.sparse().nnz == 0
        assert J.sparsity.pattern == "detected"
        assert J.sparsity.relative_error == 0
        assert J.block_norms().shape == (0, 0)


@pytest.mark.parametrize("f", [jnp.ones_like, lambda h: 0 * h, lambda h: jnp.maximum(h - 100, 0)])
def test_a_zero_jacobian(graphs, f):
    for graph, pattern in ((None, "detected"), (jg.prepare(**graphs.ring(12)), "graph")):
        J = jg.jacobian(f, signal(12, 3), graph)
        equals_dense(J)
        assert J.sparse().nnz == 0
        assert J.sparsity.pattern == pattern
        assert J.sparsity.relative_error == 0
        assert J.block_norms().nnz == 0


@pytest.mark.parametrize(("d", "e"), [(6, 2), (2, 6), (4, 4), (1, 3)])
def test_heavy_rows_are_found_by_themselves(graphs, d, e):
    # A star depends on itself along one heavy row: two colours of d products, e products with J^T.
    n = 50
    graph = jg.prepare(**graphs.star(n), normalisation="row")
    W = signal(d, e, seed=1)
    J = jg.jacobian(lambda h: jnp.tanh(graph.propagation @ h @ W), signal(n, d), graph)
    used = counted(J)
    equals_dense(J)
    assert J.sparsity.pattern == "graph"
    assert used["rmm"] == e
    assert used["mm"] <= 2 * d + J._products.batch + 2  # and one batch that is listened to, two for the check
    assert sum(used.values()) < n * d
    assert J.sparsity.blocks.nnz == 3 * n - 2


def test_several_heavy_rows_and_a_function_of_several_hops():
    rng = np.random.default_rng(2)
    M = sp.eye_array(40).toarray() * 2
    M[rng.integers(0, 40, 3)] = rng.standard_normal((3, 40))
    M[:, rng.integers(0, 40, 2)] += rng.standard_normal((40, 2))
    senders, receivers = np.nonzero(M.T)
    graph = jg.prepare(senders=senders, receivers=receivers, num_nodes=40, normalisation="raw", undirected=False)
    W = signal(3, 2, seed=1)
    for f in (lambda h: jnp.sin(M @ h @ W), lambda h: jnp.sin(M @ jnp.sin(M @ h @ W))):
        J = jg.jacobian(f, signal(40, 3), graph)
        used = counted(J)
        equals_dense(J)
        assert J.sparsity.pattern == "graph"
        assert sum(used.values()) <= 40 * 3 + J._products.batch + 2
    assert J._products.blocks == (40, 40)
    assert J._products.block_shape == (2, 3)


def test_the_pattern_reaches_as_far_as_single_nodes_do(graphs):
    n = 30
    graph = jg.prepare(**graphs.path(n))
    A = graph.propagation.dense()
    for hops in range(4):
        Q = np.linalg.matrix_power(A, hops)
        J = jg.jacobian(lambda h, Q=Q: jnp.sin(Q @ h), signal(n, 2), graph)
        used = counted(J)
        equals_dense(J)
        distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
        np.testing.assert_array_equal(J.sparsity.blocks.toarray() != 0, distance <= hops)
        assert J.sparsity.pattern == "graph"
        assert used["mm"] == (2 * hops + 1) * 2 + len(listened_to(J, graph)) + 2
        assert used["rmm"] == 0


def listened_to(J, graph):
    """The nodes that `graph_pattern` listens to."""
    seen = []
    products = J._products
    graph_pattern(products._replace(mm=lambda V: seen.append(V) or products.mm(V)), graph)
    return np.flatnonzero(np.concatenate(seen).any(axis=(0, 2)))


def centred(h):
    return jnp.sin(h) - jnp.mean(jnp.sin(h), axis=0, keepdims=True)


@pytest.mark.parametrize("name", ["several_components", "path", "ring"])
def test_a_function_that_mixes_all_nodes_is_detected(graphs, name):
    # No path leads to other components; on a path no node that is listened to is the farthest from another.
    edges = graphs.several_components() if name == "several_components" else getattr(graphs, name)(40)
    graph = jg.prepare(**edges)
    n = graph.num_nodes
    J = jg.jacobian(centred, signal(n, 2), graph)
    equals_dense(J)
    assert (J.sparsity.blocks.toarray() != 0).all()
    if name != "ring":
        assert J.sparsity.pattern == "detected"


def test_a_graph_whose_edges_do_not_carry_the_function(graphs):
    n, W = 30, signal(2, 3, seed=1)
    P = jg.prepare(**graphs.path(n)).propagation.dense()
    one_way = {"senders": np.arange(n - 1), "receivers": np.arange(1, n), "num_nodes": n, "undirected": False}
    shuffled = np.random.default_rng(0).permutation(n)
    edges = graphs.path(n) | {"undirected": False}
    others = {
        "edgeless": (graphs.edgeless(n), "detected"),
        "one way": (one_way, "detected"),
        "two halves": (matching(shuffled, n), "detected"),
        "shuffled": (edges | {k: shuffled[edges[k]] for k in ("senders", "receivers")}, None),
        "other size": (graphs.path(n + 1), "detected"),
    }
    for wrong, pattern in others.values():
        J = jg.jacobian(lambda h: jnp.tanh(P @ h @ W), signal(n, 2), jg.prepare(**wrong))
        equals_dense(J)
        assert J.sparsity.relative_error <= 1e-13
        assert pattern in (None, J.sparsity.pattern)


def matching(nodes, n):
    """A perfect matching of the nodes."""
    a, b = nodes[::2], nodes[1::2]
    return {"senders": np.concatenate([a, b]), "receivers": np.concatenate([b, a]), "num_nodes": n}


def test_single_precision(graphs):
    n, W = 40, signal(3, 4, seed=1, dtype=np.float32)
    graph = jg.prepare(**graphs.star(n))
    for given in (graph, None):
        J = jg.jacobian(lambda h: jnp.tanh(graph.propagation @ h @ W), signal(n, 3, dtype=np.float32), given)
        assert J.sparse().dtype == np.float32
        equals_dense(J, atol=1e-6)
        assert J.sparsity.pattern == ("detected" if given is None else "graph")
        assert J.sparsity.relative_error <= 1e-4
        assert J.block_norms().dtype == np.float64


def test_sparsity_says_what_was_found(graphs):
    n, W = 20, signal(3, 2, seed=1)
    graph = jg.prepare(**graphs.ring(n))
    J = jg.jacobian(lambda h: graph.propagation @ h @ W, signal(n, 3), graph=graph)
    pattern, blocks, error = J.sparsity
    assert pattern == "graph"
    assert isinstance(blocks, sp.csr_matrix)
    assert blocks.shape == (n, n)
    assert blocks.nnz == 3 * n
    V = signal(2, 3 * n, seed=1)
    expected = V @ J.dense().T
    difference = np.linalg.norm((J.sparse() @ V.T).T - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert difference.max() <= 1e-14
    assert 0 <= error <= 1e-14
    assert J.sparse() is J.sparse()


def test_a_pattern_that_misses_entries_is_refused(monkeypatch):
    missing = sp.csr_matrix(np.ones((12, 12)) - np.eye(12)[3][:, None] * np.eye(12)[7])
    monkeypatch.setattr(sparse, "detected_pattern", lambda products: missing)
    J = jg.jacobian(centred, signal(12, 2))
    with pytest.raises(
        ValueError, match=r"^no pattern of blocks reproduces J: on random vectors the sparse Jacobian is .* off$"
    ):
        J.sparse()


def test_entries_that_do_not_fit(graphs, monkeypatch):
    graph = jg.prepare(**graphs.ring(20))
    J = jg.jacobian(lambda h: graph.propagation @ h, signal(20, 2), graph)
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 1000)
    for method in (J.sparse, J.block_norms, lambda: J.sparsity, J.singular_values):
        with pytest.raises(
            MemoryError,
            match=r"^a sparse Jacobian of 240 entries needs .* GiB, 0\.0 GiB are available: use mv and rmv instead$",
        ):
            method()
    monkeypatch.undo()
    equals_dense(J)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_block_norms(name):
    f, h, m, n = FUNCTIONS[name]
    J = jg.jacobian(f, h)
    found = J.block_norms()
    assert isinstance(found, sp.csr_matrix)
    blocks = J.dense().reshape(m, J.shape[0] // m, n, J.shape[1] // n)
    expected = np.sqrt(np.sum(blocks**2, axis=(1, 3)))
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-13, atol=1e-15)


def products_of(M, inputs, outputs, batch=4):
    """Of a matrix, counted."""
    used = []

    def times(A, shape):
        def apply(V):
            used.append(int(np.any(V.reshape(len(V), -1), axis=1).sum()))
            return (V.reshape(len(V), -1) @ A.T).reshape(-1, *shape)

        return apply

    return Products(times(M, outputs), times(M.T, inputs), inputs, outputs, M.dtype, batch), used


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (3, 1), (1, 1)])
def test_any_block_sparse_matrix(rows, columns, batch):
    m, n = 17, 11
    blocks = sp.random_array((m, n), density=0.15, rng=np.random.default_rng(7)).toarray() != 0
    blocks[4] = True
    blocks[:, 6] = True
    M = np.kron(blocks, np.ones((rows, columns))) * signal(m * rows, n * columns)
    products, used = products_of(M, (n, columns), (m, rows), batch)
    pattern = detected_pattern(products)
    np.testing.assert_array_equal(pattern.toarray() != 0, blocks)
    assert sum(used) == n  # one a node
    used.clear()
    found = from_pattern(products, pattern)
    np.testing.assert_array_equal(found.toarray(), M)
    assert sum(used) <= n * columns
    assert relative_error(products, found) <= 1e-14


def test_an_error_is_relative_to_the_products():
    M = signal(12, 12)
    products, _ = products_of(M, (12, 1), (12, 1))
    wrong = M.copy()
    wrong[3, 5] += 1e-6
    error = relative_error(products, sp.csr_matrix(wrong))
    assert 1e-9 < error < 1e-5
    larger, _ = products_of(1e6 * M, (12, 1), (12, 1))
    assert relative_error(larger, sp.csr_matrix(1e6 * wrong)) == pytest.approx(error, rel=1e-6)
    zero, _ = products_of(0 * M, (12, 1), (12, 1))
    assert relative_error(zero, sp.csr_matrix(M)) > 1
    assert relative_error(zero, sp.csr_matrix(0 * M)) == 0

"""Every method on real graphs, a piece of Cora and the karate club, and on graphs with known spectra."""

from types import SimpleNamespace

import jax
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
from jaxgnn.jacobian import Factors, operator

WIDTH = 4
EPS = np.finfo(np.float64).eps
CASES = [(data, layer) for data in ("cora", "karate") for layer in ("gcn", "gat")]


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def piece(dataset, size):
    """The nodes nearest to the busiest one, as the edges among them, and their features."""
    n = dataset.x.shape[0]
    senders, receivers = dataset.graph.senders, dataset.graph.receivers
    adjacency = sp.csr_matrix((np.ones(senders.size), (receivers, senders)), (n, n))
    busiest = int(np.argmax(np.diff(adjacency.indptr)))
    nodes = sp.csgraph.breadth_first_order(adjacency, busiest, directed=False, return_predecessors=False)[:size]
    position = np.full(n, -1)
    position[nodes] = np.arange(nodes.size)
    inside = (position[senders] >= 0) & (position[receivers] >= 0)
    edges = {"senders": position[senders[inside]], "receivers": position[receivers[inside]], "num_nodes": nodes.size}
    return edges, np.asarray(dataset.x, np.float64)[nodes]


_made = {}


@pytest.fixture(params=CASES, ids="-".join)
def block(request):
    """J with its graph; the dense oracle D and its singular values by LAPACK. Made once a case."""
    data, layer = request.param
    dataset = request.getfixturevalue(data)
    if request.param not in _made:
        edges, x = piece(dataset, 200)
        graph = jg.prepare(**edges)
        model = jg.DeepGNN(depth=1, width=WIDTH, layer=layer)
        params = model.init(jax.random.key(0), graph, x.astype(np.float32))
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
        f, h = model.layer_fn(params, graph, x, layer=0, dtype=np.float64)
        D = jg.jacobian(f, h).dense()
        sigma = np.linalg.svd(D, compute_uv=False)
        positive = sigma[sigma > max(D.shape) * EPS * sigma[0]]
        _made[request.param] = SimpleNamespace(
            f=f, h=h, graph=graph, D=D, sigma=sigma, positive=positive, J=jg.jacobian(f, h, graph)
        )
    return _made[request.param]


def test_the_piece_is_connected(block):
    n = block.graph.num_nodes
    assert n in (34, 200)
    assert nx.is_connected(
        nx.Graph(zip(np.asarray(block.graph.senders), np.asarray(block.graph.receivers), strict=True))
    )
    assert block.D.shape == (n * WIDTH, n * WIDTH)
    assert block.sigma[0] > 0.1
    assert (~block.D.any(axis=1)).any()  # ReLU cuts some


def test_entries(block):
    np.testing.assert_allclose(block.J.sparse().toarray(), block.D, rtol=0, atol=1e-13 * np.abs(block.D).max())
    assert block.J.sparsity.pattern == "graph"
    detected = jg.jacobian(block.f, block.h)
    np.testing.assert_allclose(detected.sparse().toarray(), block.D, rtol=0, atol=1e-13 * np.abs(block.D).max())
    assert detected.sparsity.pattern == "detected"
    # Each node depends on itself and its neighbours: ||.||_F of every pair's block.
    n = block.graph.num_nodes
    reached = np.eye(n, dtype=bool)
    reached[block.graph.receivers, block.graph.senders] = True
    norms = block.J.block_norms().toarray()
    assert (norms[~reached] == 0).all()
    expected = np.sqrt(np.sum(block.D.reshape(n, WIDTH, n, WIDTH) ** 2, axis=(1, 3)))
    np.testing.assert_allclose(norms, expected, rtol=0, atol=1e-13 * expected.max())


def test_all_singular_values(block):
    np.testing.assert_allclose(block.J.singular_values(), block.sigma, rtol=0, atol=1e-10 * block.sigma[0])


def test_the_outer_eigenvalues(block):
    expected = np.linalg.eigvals(block.D)
    found = block.J.outer_eigenvalues(3)
    np.testing.assert_allclose(np.abs(found.values), np.sort(np.abs(expected))[::-1][:3], rtol=0, atol=1e-8)
    assert found.residuals.max() <= 1e-10 * block.sigma[0]


def test_the_largest(block):
    found, sigma = block.J.extremes(8), block.sigma[:8]
    assert found.certified.all()
    inside(found, sigma, block.sigma[0])
    np.testing.assert_allclose(found.values, sigma, rtol=0, atol=1e-10 * block.sigma[0])


@pytest.mark.parametrize("exact_below", [0, 2048])
def test_the_smallest(block, exact_below, monkeypatch):
    monkeypatch.setattr(operator, "_EXACT_BELOW", exact_below)
    found, sigma = block.J.extremes(8, which="smallest"), block.positive[::-1][:8]
    assert found.certified.all()
    inside(found, sigma, block.sigma[0])
    np.testing.assert_allclose(found.values, sigma, rtol=0, atol=1e-10 * block.sigma[0])
    assert found.null_dim == block.sigma.size - block.positive.size
    assert found.null_dim == block.sigma.size - np.linalg.matrix_rank(block.D)
    assert found.rank_tolerance == pytest.approx(max(block.D.shape) * EPS * block.sigma[0], rel=1e-6)


def inside(found, sigma, top):
    rounding = 4 * EPS * top  # of LAPACK's values
    assert found.values.shape == sigma.shape
    assert (found.lower <= sigma + rounding)[found.certified].all()
    assert (sigma - rounding <= found.upper).all()
    assert (found.upper - found.lower <= 1e-3 * top).all()


@pytest.mark.parametrize("method", ["lanczos", "chebyshev"])
def test_the_density(block, method):
    found = block.J.density(probes=32, steps=32, method=method)
    # Zeros of zero rows and columns are in zero_mass; the others are smoothed, and reflected at 0.
    zeros = block.sigma.size - min(np.count_nonzero(block.D.any(axis=axis)) for axis in (0, 1))
    assert found.zero_mass == pytest.approx(zeros / block.sigma.size, abs=1e-15)
    kept, h = block.sigma[: block.sigma.size - zeros], found.bandwidth
    normal = lambda t: np.exp(-0.5 * (t / h) ** 2) / (h * np.sqrt(2 * np.pi))  # noqa: E731
    x = found.grid[:, None]
    exact = (normal(x - kept) + normal(x + kept)).sum(axis=1) / block.sigma.size
    allowed = 5 * found.standard_error + found.bias + 1e-9 * exact.max()
    assert (np.abs(found.density - exact) <= allowed).all()
    assert allowed.max() <= 0.5 * exact.max()  # it says something
    assert np.trapezoid(found.density, found.grid) + found.zero_mass == pytest.approx(1, abs=5e-3)


def test_statistics(block):
    sigma, positive = block.sigma, block.positive
    expected = {
        "mean_square": np.sum(block.D**2) / sigma.size,
        "variance_square": np.var(sigma**2),
        "nuclear": np.linalg.norm(block.D, "nuc"),
        "frobenius": np.linalg.norm(block.D),
        "spectral": np.linalg.norm(block.D, 2),
        "mean_log": np.mean(np.log(positive)),
        "condition": positive[0] / positive[-1],
        "null_dim": sigma.size - np.linalg.matrix_rank(block.D),
    }
    found = block.J.statistics()
    for name, value in expected.items():
        estimate = getattr(found, name)
        assert abs(estimate.value - value) <= estimate.error + 1e-12 * abs(value), name
    sampled = block.J.statistics("lanczos", probes=32, steps=32)
    for name in ("mean_square", "variance_square", "nuclear", "frobenius"):
        estimate = getattr(sampled, name)
        assert abs(estimate.value - expected[name]) <= 5 * estimate.error, name
        assert 0 < estimate.error <= 0.3 * abs(expected[name]), name
    assert sampled.spectral.value <= expected["spectral"] * (1 + 1e-12)


def path_values(n):
    return 2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1))


def known():
    """Undirected graphs and the eigenvalues of their adjacency matrices A."""
    return {
        "path": (nx.path_graph(15), path_values(15)),
        "grid": (nx.grid_2d_graph(6, 7), np.add.outer(path_values(6), path_values(7)).ravel()),
        **{f"random {seed}": (nx.erdos_renyi_graph(25, 0.12, seed=seed), None) for seed in range(2)},
    }


@pytest.mark.parametrize("name", known())
def test_linear_layers_of_known_graphs(name, monkeypatch):
    network, eigenvalues = known()[name]
    A = nx.to_numpy_array(network, weight=None)
    receivers, senders = np.nonzero(A)
    graph = jg.prepare(senders=senders, receivers=receivers, num_nodes=len(A), normalisation="raw", undirected=False)
    W = signal(3, 3, seed=1)
    J = jg.jacobian(lambda h: graph.propagation @ h @ W, signal(len(A), 3), graph, Factors(graph.propagation, W))
    np.testing.assert_allclose(J.sparse().toarray(), np.kron(A, W.T), rtol=0, atol=1e-15)
    of_A = np.linalg.eigvalsh(A) if eigenvalues is None else eigenvalues
    sigma = np.sort(np.outer(np.abs(of_A), np.linalg.svd(W, compute_uv=False)).ravel())[::-1]
    rank = np.linalg.matrix_rank(A) * 3
    for method in ("exact", "kronecker"):
        np.testing.assert_allclose(J.singular_values(method), sigma, rtol=0, atol=1e-13 * sigma[0])
    largest = J.extremes(6)
    assert largest.certified.all()
    inside(largest, sigma[:6], sigma[0])
    monkeypatch.setattr(operator, "_EXACT_BELOW", 0)
    smallest = J.extremes(6, which="smallest")
    # Of so small a matrix rank_tolerance may lie below the rounding of a count: then it claims no lower bounds.
    assert smallest.certified.all() or name == "path"
    inside(smallest, sigma[:rank][::-1][:6], sigma[0])
    assert smallest.null_dim == sigma.size - rank
    assert J.statistics().null_dim.value == sigma.size - rank
    # The eigenvalues are all products p_i w_j: by their power sums, which are well conditioned.
    products = np.outer(of_A, np.linalg.eigvals(W)).ravel()
    for power in range(1, 5):
        found = np.sum(J.eigenvalues() ** power)
        assert abs(found - np.sum(products**power)) <= 1e-12 * np.sum(np.abs(products) ** power)


@pytest.mark.parametrize("n", [2, 9, 30])
def test_the_metropolis_path(n, graphs):
    # P = I - L / 3, L of the path with the eigenvalues 2 - 2 cos(pi k / n).
    graph = jg.prepare(**graphs.path(n), normalisation="doubly")
    p = 1 - (2 - 2 * np.cos(np.pi * np.arange(n) / n)) / (3 if n > 2 else 2)
    J = jg.jacobian(lambda h: graph.propagation @ h, signal(n, 2), graph)
    expected = np.sort(np.repeat(np.abs(p), 2))[::-1]
    np.testing.assert_allclose(J.singular_values(), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.sort(J.eigenvalues().real), np.sort(np.repeat(p, 2)), rtol=0, atol=1e-14)

"""Every method against the dense Jacobian in float64, for every layer and every residual rule."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
from jaxgnn.jacobian import operator
from jaxgnn.layers import LAYERS
from jaxgnn.network.residuals import RESIDUALS

D = 3
N = 26  # enough nodes that blocks are told apart
CASES: dict[str, dict[str, Any]] = {
    **{name: {"layer": name} for name in LAYERS},
    "ph_dgn": {"layer": "ph_dgn", "width": 4},  # an even number
    **{
        f"residual {name}": {"residual": name, "activation": "tanh"}
        for name in RESIDUALS
        if name not in ("none", "ssm")
    },
    "ssm": {"residual": "ssm", "ssm": jg.StateSpace("rotation", 0.9, "dense", spread=0.5), "activation": "identity"},
    "ssm of attention": {"residual": "ssm", "ssm": jg.StateSpace("dense", 0.9), "layer": "gat"},
    "khop": {"khop": True},
    "norm layer": {"norm": "layer"},
    "norm pairnorm": {"norm": "pairnorm", "activation": "tanh"},
    "norm mean_subtraction": {"norm": "mean_subtraction"},
}
MIXES_ALL = ("norm pairnorm", "norm mean_subtraction")
BOTH_WAYS = ("swan",)  # along edges and against them
MANY_HOPS = ("appnp", "cheb", "sgc", "khop", "mp_ssm", "unitary", "ph_dgn")


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def components(seed=0):
    """Directed: a random graph of 14 nodes, a path of 6, two equal rings of 3; some with no edge in, no loops."""
    rng = np.random.default_rng(seed)
    senders, receivers = rng.integers(0, 12, 30), rng.integers(0, 11, 30)
    path, ring = np.arange(14, 19), np.array([20, 21, 22])
    following = np.array([21, 22, 20])
    s = np.concatenate([senders, path, path + 1, ring, following, ring + 3, following + 3])
    r = np.concatenate([receivers, path + 1, path, following, ring, following + 3, ring + 3])
    return {"senders": s[s != r], "receivers": r[s != r], "num_nodes": N, "undirected": False}


@cache
def layer_function(name, layer=1):
    graph = jg.prepare(**components(), normalisation="row", hops=3)
    model = jg.DeepGNN(**({"depth": 2, "width": D} | CASES[name]))
    x = signal(N, D)
    params = model.init(jax.random.key(1), graph, x.astype(np.float32))
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    f, h = model.layer_fn(params, graph, x, layer=layer, dtype=np.float64)
    oracle = jg.jacobian(f, h).dense()
    return graph, f, h, oracle, np.linalg.svd(oracle, compute_uv=False)


@pytest.fixture(params=CASES)
def case(request):
    """The name, J with its graph, dense() and LAPACK's singular values of it."""
    graph, f, h, oracle, sigma = layer_function(request.param)
    return request.param, jg.jacobian(f, h, graph=graph), oracle, sigma


def holds(found, sigma, k):
    """Bounds and values of the k largest, or a smallest part of sigma, ascending."""
    allowed = 1e-10 * sigma.max()
    assert found.values.shape == found.lower.shape == found.upper.shape == found.certified.shape == (k,)
    assert (found.lower <= found.values).all()
    assert (found.values <= found.upper).all()
    np.testing.assert_allclose(found.values, sigma[:k], rtol=0, atol=allowed)
    assert (found.lower <= sigma[:k]).all()
    assert (found.upper >= sigma[:k]).all()


def test_every_method_is_exact(case):
    name, J, oracle, sigma = case
    scale = sigma[0]
    assert 0.01 < scale < 100
    # Entries, each to rounding, by few products; none stored that is 0.
    S = J.sparse()
    assert S.shape == oracle.shape
    assert isinstance(S, sp.csr_matrix)
    np.testing.assert_allclose(S.toarray(), oracle, rtol=0, atol=1e-14 * np.abs(oracle).max())
    assert (S.data != 0).all()
    assert J.sparsity.relative_error <= 1e-12
    blocks = np.abs(oracle).reshape(N, len(oracle) // N, N, -1).max(axis=(1, 3)) != 0
    assert (J.sparsity.blocks.toarray() != 0)[blocks].all()
    if name not in MANY_HOPS:  # few nodes are so far apart: those that were asked may not reach that far
        assert J.sparsity.pattern == ("detected" if name in MIXES_ALL + BOTH_WAYS else "graph")
    # Which rows and columns are not 0.
    np.testing.assert_array_equal(J.support[0], oracle.any(axis=1))
    np.testing.assert_array_equal(J.support[1], oracle.any(axis=0))
    # All singular values and eigenvalues.
    np.testing.assert_allclose(J.singular_values(), sigma, rtol=0, atol=1e-12 * scale)
    values = J.eigenvalues()
    for power in range(1, 5):
        moment = np.trace(np.linalg.matrix_power(oracle, power))
        assert abs(np.sum(values**power) - moment) <= 1e-12 * len(oracle) * scale**power
    # Both ends.
    holds(J.extremes(5), sigma, 5)
    assert J.extremes(5).certified.all()
    found = J.extremes(7, which="smallest")
    positive = sigma[sigma > len(oracle) * np.finfo(float).eps * scale][::-1]
    holds(found, positive, min(7, positive.size))
    assert found.null_dim == sigma.size - positive.size == sigma.size - np.linalg.matrix_rank(oracle)


@pytest.mark.parametrize("name", ["gcn", "gat", "sage", "residual gradient_gating", "ssm", "norm pairnorm"])
def test_a_pattern_is_detected_without_a_graph(name):
    _, f, h, oracle, sigma = layer_function(name)
    J = jg.jacobian(f, h)
    np.testing.assert_allclose(J.sparse().toarray(), oracle, rtol=0, atol=1e-14 * np.abs(oracle).max())
    assert J.sparsity.pattern == "detected"
    blocks = np.abs(oracle).reshape(N, len(oracle) // N, N, -1).max(axis=(1, 3)) != 0
    np.testing.assert_array_equal(J.sparsity.blocks.toarray() != 0, blocks)
    np.testing.assert_allclose(J.singular_values(), sigma, rtol=0, atol=1e-12 * sigma[0])


@pytest.mark.parametrize("name", ["gcn", "gat", "appnp", "residual identity", "ssm", "norm layer"])
def test_the_smallest_by_a_factorisation(name, monkeypatch):
    graph, f, h, _oracle, sigma = layer_function(name)
    monkeypatch.setattr(operator, "_EXACT_BELOW", 0)
    J = jg.jacobian(f, h, graph=graph)
    found = J.extremes(6, which="smallest")
    positive = sigma[sigma > N * D * np.finfo(float).eps * sigma[0]][::-1]
    assert found.null_dim == sigma.size - positive.size
    assert found.products > 0
    assert (found.upper >= positive[:6]).all()
    assert (found.lower <= positive[:6])[found.certified].all()
    assert found.certified.all()
    np.testing.assert_allclose(found.values, positive[:6], rtol=0, atol=1e-10 * sigma[0])


def test_a_star_needs_few_products(graphs):
    n = 60
    graph = jg.prepare(**graphs.star(n), normalisation="row")
    W, h = signal(D, D), signal(n, D)
    J = jg.jacobian(lambda h: jnp.tanh(graph.propagation @ h @ W), h, graph=graph)
    used = []
    products = J._products
    J.__dict__["_products"] = products._replace(
        mm=lambda V: used.append(np.any(V.reshape(len(V), -1), axis=1).sum()) or products.mm(V),
        rmm=lambda U: used.append(np.any(U.reshape(len(U), -1), axis=1).sum()) or products.rmm(U),
    )
    np.testing.assert_allclose(J.sparse().toarray(), J.dense(), rtol=0, atol=1e-14)
    # Two colours, the centre's row; one batch to find the distance reached, two vectors to check.
    assert sum(used) == 2 * D + D + products.batch + 2 < n * D

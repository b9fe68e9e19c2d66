"""Sums by gathers: against a loop, over lengths, parts and paddings; and P X as a GPU computes it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import power_law
from jaxgnn.graphs.fold import Fold, fold, folded
from jaxgnn.graphs.partition import partitioned
from jaxgnn.graphs.propagation import _propagate

COUNTS = {
    "a hub": [[0, 5000, 1, 0, 3, 33, 32, 31]],
    "ones": [[1, 1, 0, 1]],
    "one sum": [[7]],
    "parts": [[3, 0, 100], [0, 0, 0], [1, 1, 1]],
}


@pytest.mark.parametrize("name", COUNTS)
def test_every_row_is_added_once_to_its_sum(name, x64):
    counts = np.asarray(COUNTS[name])
    size = int(counts.sum(axis=1).max()) + 3
    plan = fold(counts, size)
    data = np.random.default_rng(0).standard_normal((len(counts), size, 2))
    for part, row in enumerate(counts):
        own = Fold(tuple(level[part] for level in plan.levels), plan.place[part])
        ids = np.repeat(np.arange(row.size), row)
        expected = np.zeros((row.size, 2))
        np.add.at(expected, ids, data[part, : ids.size])
        np.testing.assert_allclose(folded(jnp.asarray(data[part]), own), expected, atol=1e-12)
    assert all(level.shape[1] <= 32 for level in plan.levels)


def gathered(P, X, transpose=False):
    leaves, tree = jax.tree.flatten((P.forward, P.backward))
    program = partial(_propagate, tree=tree, shape=P.shape, transpose=transpose, gathers=True)
    return jax.jit(program)(X, *leaves)


@pytest.mark.parametrize("normalisation", ["sym", "row"])
def test_products_by_gathers_are_those_of_the_matrix(normalisation, x64):
    ds = power_law(num_nodes=3000, average_degree=10.0, exponent=2.1)
    P = jg.prepare(ds.graph, normalisation=normalisation).propagation
    X = np.random.default_rng(0).standard_normal((3000, 3))
    np.testing.assert_allclose(gathered(P, X), P.sparse() @ X, atol=1e-12)
    np.testing.assert_allclose(gathered(P, X, transpose=True), P.sparse().T @ X, atol=1e-12)


def test_products_by_gathers_of_parts(x64):
    graph = jg.prepare(power_law(num_nodes=500, average_degree=10.0, exponent=2.1).graph)
    found = partitioned(graph, 3)
    X = np.random.default_rng(0).standard_normal((found.order.size, 3))
    P = found.graph.propagation
    np.testing.assert_allclose(gathered(P, X), P.sparse() @ X, atol=1e-12)


@pytest.mark.parametrize("layer", ["gcn", "sage", "gin", "gat", "gated_gcn", "cheb"])
def test_a_gradient_for_a_gpu_scatters_nothing(layer):
    ds = power_law(num_nodes=300, average_degree=10.0, exponent=2.1)
    graph = jg.prepare(ds.graph)
    task = jg.tasks.node_classification(ds, graph)
    model = jg.DeepGNN(layer=layer, depth=2, width=8, out=task.out)
    params = model.init(jax.random.key(0), graph, task.x)

    def loss(params):
        return task.batch(jax.random.key(0), 0).loss(model.apply(params, graph, task.x))

    text = jax.export.export(jax.jit(jax.grad(loss)), platforms=["cuda"])(params).mlir_module()
    assert text.count('"stablehlo.scatter"') == 0

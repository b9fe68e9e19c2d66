"""x @ W with sparse x against the dense product: values, gradients, transformations, and training with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.graphs.sparse_features import SparseFeatures


def features(n=30, f=12, share=0.2, seed=0):
    """Sparse features with an empty row, an empty column, a full row and a full column."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, f)) * (rng.random((n, f)) < share)
    x[0], x[:, 0] = 0, 0
    x[1], x[:, 1] = 1, 2
    return x


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_products_and_gradients_are_those_of_the_dense_matrix(x64, shape):
    x = features(*shape)
    packed = SparseFeatures.of(x)
    W = jnp.asarray(np.random.default_rng(1).standard_normal((shape[1], 5)))
    V = jnp.asarray(np.random.default_rng(2).standard_normal((shape[1], 5)))
    np.testing.assert_allclose(packed @ W, x @ np.asarray(W), atol=1e-13)
    np.testing.assert_allclose(packed.dense(), x, atol=0)

    def loss(x):
        return lambda W: jnp.sum(jnp.tanh(x @ W) ** 2)

    np.testing.assert_allclose(jax.grad(loss(packed))(W), jax.grad(loss(x))(W), atol=1e-12)
    ours, theirs = (jax.jvp(jax.grad(loss(a)), (W,), (V,))[1] for a in (packed, x))  # a Hessian product
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    batch = jnp.stack([W, V, W - V])
    np.testing.assert_allclose(jax.vmap(lambda W: packed @ W)(batch), x @ np.asarray(batch), atol=1e-13)
    gradients = jax.jit(jax.vmap(jax.grad(loss(packed))))(batch)
    np.testing.assert_allclose(gradients, jax.vmap(jax.grad(loss(x)))(batch), atol=1e-12)


def test_wrong_shapes_get_one_sentence():
    with pytest.raises(ValueError, match=r"W has shape \(3, 2\), but x has 12 features"):
        _ = SparseFeatures.of(features()) @ jnp.ones((3, 2))


def test_a_network_trains_the_same(x64):
    ds = jg.load_dataset("karate")  # x = I
    graph = jg.prepare(ds.graph)
    model = jg.DeepGNN(depth=3, width=4, out=2, residual="identity", bound="frobenius")
    results = [
        jg.train(model, jg.tasks.node_classification(ds, graph, sparse_features=sparse), seeds=2, steps=12)
        for sparse in (False, True)
    ]
    np.testing.assert_allclose(results[1].history.train_loss, results[0].history.train_loss, rtol=1e-5)
    np.testing.assert_array_equal(results[1].best_step, results[0].best_step)
    np.testing.assert_allclose(
        results[1].final_params["params"]["encoder"]["kernel"],
        results[0].final_params["params"]["encoder"]["kernel"],
        rtol=1e-4,
        atol=1e-6,
    )


def test_probes_and_layer_functions_take_them():
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    dense, sparse = (jg.tasks.node_classification(ds, graph, sparse_features=s) for s in (False, True))
    model = jg.DeepGNN(depth=2, width=4, out=2)
    params = model.init(jax.random.key(0), graph, sparse.x)
    traces = [jg.probe(model, params, graph, task.x, task.loss) for task in (dense, sparse)]
    for ours, theirs in zip(traces[1], traces[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    for task in (dense, sparse):
        f, h = model.layer_fn(params, graph, task.x, layer=1)
        assert f(h).shape == (34, 4)


def test_what_needs_dense_features_says_so():
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    task = jg.tasks.node_classification(ds, graph, sparse_features=True)
    for options, said in (({"input_dropout": 0.5}, "input_dropout"), ({"ends": "layer", "depth": 3}, "ends")):
        with pytest.raises(ValueError, match=f"sparse features.*{said}|{said}.*sparse features"):
            jg.train(jg.DeepGNN(out=2, width=4, **options), task, seeds=1, steps=2)

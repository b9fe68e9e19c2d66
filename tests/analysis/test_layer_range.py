import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.analysis.layer_range import layer_influence


def signal(*shape, dtype=np.float64):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(("layer", "name"), [("gcn", "directed"), ("gat", "several_components")])
def test_every_layer_is_as_the_network_above_it(graphs, random_variables, x64, layer, name):
    graph = jg.prepare(**getattr(graphs, name)())
    model = jg.DeepGNN(layer=layer, depth=3, width=4, out=2, activation="tanh", residual="identity")
    x = signal(graph.num_nodes, 3)
    params = random_variables(model, graph, x)
    found = layer_influence(model, params, graph, x)
    readout = params["params"]["readout"]
    assert len(found) == 4
    for start, one in enumerate(found[:3]):
        f, h = model.segment_fn(params, graph, x, start=start)
        above = lambda h, f=f: f(h) @ readout["kernel"]  # noqa: E731
        expected = jg.influence(above, h, graph)
        np.testing.assert_allclose(one.by_node, expected.by_node, rtol=1e-10, atol=1e-14)
        np.testing.assert_array_equal(one.unreached, expected.unreached)
        assert one.range == pytest.approx(expected.range, rel=1e-12)
    # The readout is of each node alone.
    np.testing.assert_allclose(found[3].by_node, np.full((graph.num_nodes, 1), np.abs(readout["kernel"]).sum()))
    assert found[3].range == 0
    some = layer_influence(model, params, graph, x, nodes=4, seed=1)[0]
    np.testing.assert_allclose(some.by_node, found[0].by_node[some.nodes], rtol=1e-12)
    assert (some.population, some.nodes.size) == (graph.num_nodes, 4)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
@pytest.mark.parametrize("what", ["x", "readout"])
def test_at_any_scale(graphs, random_variables, scale, what):
    graph = jg.prepare(**graphs.path(8))
    model = jg.DeepGNN(layer="gcn", depth=3, width=4, out=2, activation="identity")
    x = signal(8, 3, dtype=np.float32)
    params = random_variables(model, graph, x, dtype=np.float32)
    plain = layer_influence(model, params, graph, x)
    if what == "x":
        x = x * np.float32(scale)
    else:
        params["params"]["readout"] = jax.tree.map(lambda a: a * np.float32(scale), params["params"]["readout"])
    for one, other in zip(layer_influence(model, params, graph, x), plain, strict=True):
        np.testing.assert_allclose(one.ranges, other.ranges, rtol=2e-5)
        np.testing.assert_allclose(one.by_node, other.by_node * (1 if what == "x" else scale), rtol=1e-5)


def test_layers_that_vanish_by_more_than_float32_holds_between_them(graphs, random_variables):
    graph = jg.prepare(**graphs.ring(7))
    model = jg.DeepGNN(layer="gcn", depth=24, width=3, out=2, activation="identity")
    x = signal(7, 3, dtype=np.float32)
    params = random_variables(model, graph, x, dtype=np.float32)
    params["params"]["stack"] = jax.tree.map(lambda a: a * np.float32(1e-2), params["params"]["stack"])
    found = layer_influence(model, params, graph, x)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, x))
        exact = layer_influence(model, wide[0], graph, wide[1])
    assert exact[0].total[0] < 1e-45  # float32 has no such number
    np.testing.assert_allclose([f.range for f in found], [e.range for e in exact], rtol=1e-4)


def test_no_nodes_and_pooled_networks(graphs):
    graph = jg.prepare(**graphs.edgeless(3))
    x, model = np.ones((3, 2), np.float32), jg.DeepGNN(depth=1, width=2, out=2)
    params = model.init(jax.random.key(0), graph, x)
    assert layer_influence(model, params, graph, x, nodes=0)[0].by_node.shape == (0, 1)
    assert layer_influence(model, params, graph, x)[0].total.shape == (1,)
    pooled = model.clone(pool="sum")
    with pytest.raises(ValueError, match=r"^logits have shape \(1, 2\): a range is of one row for each of 3 nodes$"):
        layer_influence(pooled, pooled.init(jax.random.key(0), graph, x), graph, x)
    with pytest.raises(ValueError, match=r"^nodes=4: a graph of 3 nodes has 0 to 3 of them$"):
        layer_influence(model, params, graph, x, nodes=4)
    broken = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), params)
    with pytest.raises(ValueError, match="NaN or infinite"):
        layer_influence(model, broken, graph, x)

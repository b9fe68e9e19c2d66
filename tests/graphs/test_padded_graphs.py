"""Networks on what `jraph.pad_with_graphs` returns: nothing of the padding reaches anything of the graph."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.analysis.theory_lines import geometry
from jaxgnn.jacobian import by_distance
from jaxgnn.layers import LAYERS
from jaxgnn.network.norms import NORMS

N, MORE, F, D = 12, 5, 3, 4
QUICK = {"xla_backend_optimization_level": 0}  # this program runs once: compiling is what takes time
SMALL = {"heads": 2, "K": 2, "attention_dim": D}


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def graphs_and_features(edges, fill=np.nan, **options):
    """The graph with edge features and x, and both padded, x by `fill`."""
    s, r = (np.asarray(edges[end], np.int32) for end in ("senders", "receivers"))
    alone = jraph.GraphsTuple(None, signal(N, N, 2)[r, s], r, s, None, np.int32([N]), np.int32([s.size]))
    more = jraph.pad_with_graphs(alone, N + MORE, s.size + 7, 4)
    given = (jg.prepare(alone, undirected=False, **options), jg.prepare(more, padded=True, undirected=False, **options))
    x = signal(N, F)
    return list(zip(given, (x, np.concatenate([x, np.full((MORE, F), fill)])), strict=True))


def network(name, norm, **options):
    kind = LAYERS[name]
    chosen = {k: v for k, v in SMALL.items() if k in kind.__dataclass_fields__}
    if name == "drew":  # pairs at a distance go without edge features: tests/layers/test_drew.py
        chosen["K"] = 1
    return jg.DeepGNN(layer=kind(features=D, **chosen), depth=2, width=D, out=3, norm=norm, **options)


@pytest.mark.filterwarnings("ignore:.* takes no edge features")
def test_logits_gradients_and_batch_statistics_of_every_layer(graphs, x64):
    cases = graphs_and_features(graphs.directed())
    norms = [name for name in NORMS if name != "none"]
    models = [network(name, norms[i % len(norms)]) for i, name in enumerate(LAYERS)]
    models += [network("gcn", "batch", norm_placement="pre"), network("gcn", "pairnorm", norm_placement="post")]
    models += [network("mlp", "pairnorm", jumping="max"), network("gatv2", "batch", residual="gradient_gating")]

    @partial(jax.jit, compiler_options=QUICK)
    def measured(cases):
        found = []
        for model in models:
            variables = model.init(jax.random.key(0), *cases[0])
            rest = {name: tree for name, tree in variables.items() if name != "params"}

            def loss(params, graph, x, model=model, rest=rest):
                logits, stats = model.apply({"params": params, **rest}, graph, x, True, mutable=["batch_stats"])
                return jnp.sum(jnp.sin(logits)), (logits, stats)  # a loss that knows of no padding: sin 0 = 0

            if model is models[-1]:
                loss = jax.value_and_grad(loss, has_aux=True)
            found.append([loss(variables["params"], graph, x) for graph, x in cases])
        return found

    for alone, padded in measured(cases):
        logits = next(a for a in jax.tree.leaves(padded) if a.shape == (N + MORE, 3))
        assert np.abs(logits[:N]).max() > 1e-3
        np.testing.assert_array_equal(logits[N:], 0)
        padded = jax.tree.map(lambda a: a[:N] if a.shape == (N + MORE, 3) else a, padded)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), padded, alone)


@pytest.mark.parametrize("pool", ["sum", "mean", "max"])
def test_pooled_logits_and_probes(graphs, pool):
    cases = graphs_and_features(graphs.directed())
    model = jg.DeepGNN(layer="gatv2", depth=2, width=D, out=2, pool=pool, norm="batch", residual="identity")
    variables = model.init(jax.random.key(0), *cases[0])
    traces = [
        jg.probe(model, variables, graph, x.astype(np.float32), lambda Y: jnp.sum(Y[0] ** 2)) for graph, x in cases
    ]
    alone, padded = traces
    assert padded.features.shape == (3, N + MORE, D)
    for name in ("features", "feature_grads", "errors"):
        own, other = getattr(alone, name), getattr(padded, name)
        np.testing.assert_allclose(other[:, :N], own, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(other[:, N:], 0)
    np.testing.assert_allclose(padded.weight_grads, alone.weight_grads, rtol=1e-4)
    np.testing.assert_allclose(padded.loss, alone.loss, rtol=1e-5)


def test_measures_of_what_is_not_padding(graphs):
    (alone, x), (padded, filled) = graphs_and_features(graphs.directed())
    x, filled = x.astype(np.float32), filled.astype(np.float32)
    rows = padded.without_padding(filled)
    for measure in (jg.measures.mu, jg.measures.energy, jg.measures.relative_mu, jg.measures.mean_cosine):
        assert measure(jnp.asarray(rows)) == measure(jnp.asarray(x))
    np.testing.assert_allclose(jg.measures.mad(jnp.nan_to_num(filled), padded), jg.measures.mad(x, alone), rtol=1e-6)
    labels = jg.components(padded)
    assert labels[N:].tolist() == [-1] * MORE
    count = int(labels.max()) + 1
    expected = jg.measures.mu_per_component(x, jg.components(alone), count)
    found = jg.measures.mu_per_component(jnp.nan_to_num(filled), labels, count)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_sensitivity_has_no_sources_in_padding(graphs):
    cases = graphs_and_features(graphs.directed(), fill=0.0)
    found = []
    for graph, x in cases:
        x = np.pad(x, ((0, 0), (0, 1)))[:, :D]
        found.append(jg.sensitivity(lambda h, P=graph.propagation: jnp.tanh(P @ h), x, graph))
    alone, padded = found
    np.testing.assert_array_equal(padded.sources, np.arange(N))
    np.testing.assert_allclose(padded.norms[:, :N], alone.norms, rtol=0, atol=1e-12)
    for one, other in zip(by_distance(padded), by_distance(alone), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    graph, x = cases[1]
    assert jg.sensitivity(lambda h: h, x, graph, sources=N).sources.tolist() == list(range(N))
    with pytest.raises(ValueError, match=r"^sources=13: a graph of 12 nodes has 0 to 12 of them$"):
        jg.sensitivity(lambda h: h, x, graph, sources=N + 1)


def test_influence_has_no_nodes_in_padding(graphs):
    alone, padded = (
        jg.influence(lambda h, P=graph.propagation: jnp.tanh(P @ h), np.pad(x, ((0, 0), (0, 1)))[:, :D], graph)
        for graph, x in graphs_and_features(graphs.directed(), fill=0.0)
    )
    np.testing.assert_array_equal(padded.nodes, np.arange(N))
    assert padded.population == N
    np.testing.assert_allclose(padded.by_node, alone.by_node, rtol=0, atol=1e-12)


def test_geometry_and_gap_are_those_of_the_graph(graphs):
    edges = graphs.several_components() | {"num_nodes": 40}  # more lone nodes, and below them more padding than edges
    s, r = (np.asarray(edges[end], np.int32) for end in ("senders", "receivers"))
    alone = jraph.GraphsTuple(None, None, r, s, None, np.int32([40]), np.int32([s.size]))
    padded = jg.prepare(jraph.pad_with_graphs(alone, 100, s.size, 2), padded=True)
    own, found = geometry(jg.prepare(alone)), geometry(padded)
    assert (found.components, found.nodes) == (own.components, own.nodes) == (29, 6)
    assert found.eigenvalue == pytest.approx(own.eigenvalue, rel=1e-12)
    for side in ("forward", "backward"):
        np.testing.assert_array_equal(getattr(found, side), np.append(getattr(own, side), np.zeros(60)))


def test_batch_norm_without_saying_that_a_graph_is_padded(graphs):
    """The fault that padded=True is for: padding moves the statistics of batch normalisation."""
    (alone, x), (padded, filled) = graphs_and_features(graphs.directed(), fill=0.0)
    alone, padded = (replace(g, graphs_tuple=g.graphs_tuple._replace(edges=None)) for g in (alone, padded))
    s, r = (np.asarray(graphs.directed()[end], np.int32) for end in ("senders", "receivers"))
    tuples = jraph.GraphsTuple(None, None, r, s, None, np.int32([N]), np.int32([s.size]))
    unsaid = jg.prepare(jraph.pad_with_graphs(tuples, N + MORE, s.size + 7, 2), undirected=False)
    model = jg.DeepGNN(depth=1, width=D, out=2, norm="batch", residual="identity")
    variables = model.init(jax.random.key(0), unsaid, filled)

    @jax.jit
    def logits(graph, x):
        return model.apply(variables, graph, x, train=True, mutable=["batch_stats"])[0]

    expected = logits(alone, x.astype(np.float32))
    said = logits(padded, filled.astype(np.float32))[:N]
    np.testing.assert_allclose(said, expected, rtol=0, atol=1e-5)
    assert np.abs(logits(unsaid, filled.astype(np.float32))[:N] - expected).max() > 0.05

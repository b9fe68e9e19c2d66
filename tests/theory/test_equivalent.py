"""Statements on networks of other libraries: found to be P X W by what they give, and refused where they are not."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.theory import STATEMENTS, AssumptionError, observe

eqx = pytest.importorskip("equinox")
D = 5


class Propagated(eqx.Module):
    """P X W in its library's own words: rows by a Linear's weight."""

    linear: eqx.nn.Linear

    def __init__(self, key):
        self.linear = eqx.nn.Linear(D, D, use_bias=False, key=key)

    def __call__(self, graph, h):
        return graph.propagation @ jax.vmap(self.linear)(h)


@pytest.fixture(scope="module")
def setting():
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph, normalisation="doubly")
    return graph, jnp.asarray(ds.x), jg.tasks.node_classification(ds, graph).loss


def row(layers, **options):
    return jg.sequential(layers, encoder=nn.Dense(D), readout=nn.Dense(2), **options)


def variables(network, setting):
    return network.init(jax.random.key(0), *setting[:2])


@pytest.mark.parametrize("activation", ["identity", "tanh"])
def test_what_is_observed_is_the_network(setting, activation):
    graph, x, loss = setting
    modules = [Propagated(jax.random.key(l)) for l in range(4)]
    network = row(modules, activation=activation)
    own = variables(network, setting)
    seen = observe(network, own, graph, x, loss)
    np.testing.assert_allclose(seen.weights, [m.linear.weight.T for m in modules], atol=1e-12)
    trace = jg.probe(network, own, graph, x, loss)
    for name in ("features", "feature_grads", "errors", "loss"):
        ours, theirs = getattr(seen.trace, name), np.asarray(getattr(trace, name))
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    linear = ("backward_smoothing", "gradient_smoothing", "linear_spectrum") if activation == "identity" else ()
    for name in ("forward_smoothing", "near_linearity", "over_squashing", "norm_decomposition", *linear):
        assert STATEMENTS[name].check(seen).holds, name


def test_layers_without_a_graph_are_an_mlp(setting):
    graph, x, loss = setting
    network = row([nn.Dense(D, use_bias=False)] * 2, activation="relu")
    seen = observe(network, variables(network, setting), graph, x, loss)
    np.testing.assert_array_equal(seen.P, np.eye(34))
    with pytest.raises(AssumptionError, match="lambda = 1"):
        STATEMENTS["forward_smoothing"].check(seen)


REFUSED = {
    "bias": ([jg.layers.GCN(features=D), nn.Dense(D)], "layer 1, Dense, is not P X W, nor X W as the layers before"),
    "not linear": ([lambda h: jnp.sin(h)], "is not P X W"),
    "almost": ([lambda h: h + 1e-6 * jnp.sin(h)], "is off by"),
    "of another graph": ([lambda graph, h: h - graph.propagation @ h], "is not P X W"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_layers_are_refused(setting, case):
    layers, sentence = REFUSED[case]
    network = row(layers)
    with pytest.raises(ValueError, match=sentence):
        observe(network, variables(network, setting), *setting)


def test_interventions_are_refused(setting):
    graph, x, loss = setting
    networks = row([jg.layers.GCN(features=D)] * 2), jg.DeepGNN(depth=2, width=D, out=2)
    for network in networks:
        own = variables(network, setting)
        edited = jg.intervene(network, {1: jg.edits.off_mean()})
        with pytest.raises(ValueError, match="1 interventions: statements speak of networks without them"):
            observe(edited, own, graph, x, loss)

"""Trained and frozen numbers of a network, and networks of equal size."""

import flax.linen as nn
import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.layers import LAYERS


class Fixed(nn.Module):
    """A layer of one's own without an option for its width."""

    @nn.compact
    def __call__(self, graph, X):
        return nn.Dense(4)(X)


@pytest.fixture
def at(graphs):
    return jg.prepare(**graphs.path(4)), np.ones((4, 5), np.float32)


def network(kind, *, trainable=False, width=6, depth=3, **options):
    space = jg.StateSpace(kind, input=kind, trainable=trainable)
    return jg.DeepGNN(depth=depth, width=width, out=2, residual="ssm", ssm=space, **options)


@pytest.mark.parametrize(("kind", "numbers"), [("scalar", 2), ("diagonal", 12), ("rotation", 72), ("uniform", 72)])
def test_size_of_a_state_space(at, kind, numbers):
    own = (5 + 1) * 6 + 3 * 6 * 6 + (6 + 1) * 2  # encoder, layers, readout
    assert network(kind).size(*at) == (own, numbers)
    assert network(kind, trainable=True).size(*at) == (own + numbers, 0)
    assert network(kind, share_weights=True).size(*at).trainable == own - 2 * 36


@pytest.mark.parametrize("layer", ["gcn", "gatv2", "gin", "mp_ssm", "swan", "appnp"])
def test_size_is_that_of_the_parameters(at, layer):
    model = jg.DeepGNN(layer=layer, depth=2, width=4, norm="batch", residual="gated")
    params = model.init(jax.random.key(0), *at)["params"]
    assert model.size(*at) == (sum(a.size for a in jax.tree.leaves(params)), 0)


def test_trained_and_frozen_matrices_at_equal_size(at):
    frozen = network("uniform", width=40)
    wanted = frozen.size(*at).trainable
    trained = network("uniform", trainable=True).with_size(wanted, *at)
    assert trained.width < frozen.width
    assert trained.size(*at).trainable <= wanted < trained.clone(width=trained.width + 1).size(*at).trainable
    assert frozen.clone(width=3).with_size(wanted, *at).width == 40  # its own number gives it back
    assert frozen.with_size(wanted - 1, *at).width == 39
    assert trained.clone(width=8) == network("uniform", trainable=True, width=8)


def test_widths_that_a_layer_needs(at):
    layer = LAYERS["gat"](features=4, heads=4)
    model = jg.DeepGNN(layer=layer, depth=2, width=4).with_size(2000, *at, multiple=4)
    assert model.width == model.layer.features
    assert model.width % 4 == 0
    wider = model.clone(width=model.width + 4, layer=layer.clone(features=model.width + 4))
    assert model.size(*at).trainable <= 2000 < wider.size(*at).trainable


def test_too_few_numbers_are_refused(at):
    model = jg.DeepGNN(depth=2, out=3)  # width 1: 5 + 1, 2 and 3 + 3
    assert model.with_size(14, *at).width == 1
    with pytest.raises(ValueError, match=r"^trainable=13: allowed are 14 and more, those of width 1$"):
        model.with_size(13, *at)
    with pytest.raises(ValueError, match=r"^layer=Fixed has no option features: its width cannot be chosen$"):
        jg.DeepGNN(layer=Fixed(), width=4).with_size(100, *at)
    with pytest.raises(ValueError, match=r"^trainable=0: allowed are 1 and more"):
        model.with_size(0, *at)

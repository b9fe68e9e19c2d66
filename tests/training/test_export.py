"""What training and measurements compute lowers for CPUs, GPUs and TPUs alike; no compiler of theirs is needed."""

import jax
import jax.export
import pytest
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.layers import LAYERS
from jaxgnn.training import run
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.train import default_hyper

PLATFORMS = ["cpu", "cuda", "tpu"]
CONFIG = TrainConfig(steps=2)


@pytest.fixture(scope="module")
def task():
    dataset = jg.load_dataset("karate")
    return jg.tasks.node_classification(dataset, jg.prepare(dataset.graph))


def lowered(function, *arguments):
    """The program's text, with one branch a platform where they differ."""
    return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments).mlir_module()


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_lowers_everywhere(layer, task):
    model = jg.DeepGNN(layer=layer, depth=2, width=4, out=task.out, residual="identity")
    hyper, key = default_hyper(model, CONFIG), jax.random.key(0)

    def trained(task, key):
        state = run.start(model, CONFIG, task, key, hyper)
        return run.steps(model, CONFIG, task, 2, hyper, state, length=2)[1]

    def probed(task, key):
        params = model.init(key, task.graph, task.x)
        return jg.probe(model, params, task.graph, task.x, Partial(lambda task, logits: task.loss(logits), task))

    params = model.init(key, task.graph, task.x)
    f, h = model.layer_fn(params, task.graph, task.x, layer=1)

    def products(h, v):
        return jax.jvp(f, (h,), (v,))[1], jax.vjp(f, h)[1](v)

    for text in (lowered(trained, task, key), lowered(probed, task, key), lowered(products, h, h)):
        assert "callback" not in text
        assert "f64" not in text
        assert "tensor<?x" not in text  # no dynamic shape

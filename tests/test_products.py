"""Products of float32 are of float32 on every device: what is compiled says so, whatever JAX's settings are.

A TPU rounds the factors of a product to bfloat16, and a GPU to TF32, where a program does not say otherwise. Here every
program that is compiled is looked at as it goes to the compiler; a layer and a loss of a user's own are among them.
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import compiler  # where every program passes; there is no public place

import jaxgnn as jg
from jaxgnn.analysis.readout import descend_readout
from jaxgnn.theory import STATEMENTS, Shape, examine

DOT = re.compile(r"stablehlo\.dot_general.*|stablehlo\.convolution.*")


class Own(nn.Module):
    """A layer as a user writes one: X W, P X and attention by products, none with a precision."""

    features: int

    @nn.compact
    def __call__(self, graph, X):
        W = self.param("W", nn.initializers.lecun_normal(), (X.shape[1], self.features))
        scores = jnp.einsum("nd,md->nm", X, X) / X.shape[1]
        return jnp.tanh(nn.softmax(scores) @ (graph.propagation @ nn.Dense(self.features)(X @ W)))


@pytest.fixture
def setting(karate):
    graph = jg.prepare(karate.graph, normalisation="doubly")
    task = jg.tasks.node_classification(karate, graph)
    model = jg.DeepGNN(layer=Own, depth=2, width=5, out=2, residual="identity", bound="spectral")
    return model, model.init(jax.random.key(0), graph, task.x), graph, task


@pytest.fixture
def programs(monkeypatch, setting):
    """The text of every program that is compiled from here on."""
    jax.clear_caches()
    texts, compile_ = [], compiler.compile_or_get_cached

    def listen(backend, computation, *args, **kwargs):
        texts.append(str(computation))
        return compile_(backend, computation, *args, **kwargs)

    monkeypatch.setattr(compiler, "compile_or_get_cached", listen)
    with jax.default_matmul_precision("default"):  # what a user may have asked for
        yield texts


def loss(logits):
    return jnp.sum((logits @ logits.T) ** 2)


def lyapunov(model, params, graph, task):
    f, h = model.layer_fn(params, graph, task.x, layer=1)
    return jg.lyapunov(lambda h, _: f(h), h, np.zeros(3), k=2)


def extremes(model, params, graph, task):
    return jg.jacobian(*model.layer_fn(params, graph, task.x, layer=1)).extremes(2, certify=False)


def spectrum(model, params, graph, task):
    J = jg.jacobian(*model.layer_fn(params, graph, task.x, layer=1), graph)
    J.density(probes=2, steps=4)
    J.rmv(np.ones(J.shape[0]))
    return J.mv(np.ones(J.shape[1])), J.dense()


def sensitivity(model, params, graph, task):
    return jg.sensitivity(lambda x: model.apply(params, graph, x), jnp.asarray(task.x), graph, sources=1)


def measures(model, params, graph, task):
    X = jnp.asarray(task.x) + jnp.ones((34, 34))
    names = ("mu", "relative_mu", "energy", "norm", "stable_rank", "effective_rank", "numerical_rank")
    return [getattr(jg.measures, name)(X) for name in names], jg.measures.dirichlet(X, graph.propagation)


def readout(model, params, graph, task):
    X, y = np.asarray(task.x[:, :3]), np.asarray(task.labels)
    return descend_readout(X, y, np.ones(34, bool), np.ones((3, 2), np.float32), np.zeros(2, np.float32), steps=3)


MEASURED = {
    "probe": lambda m, p, g, t: jg.probe(m, p, g, t.x, loss),
    "backward_analysis": lambda m, p, g, t: jg.backward_analysis(m, p, g, t.x, loss),
    "lyapunov": lyapunov,
    "extremes": extremes,
    "spectrum": spectrum,
    "sensitivity": sensitivity,
    "measures": measures,
    "readout": readout,
}


def unexact(texts):
    """Products of float32 or less without the highest precision."""
    found = [line for text in texts for line in DOT.findall(text)]
    return found, [line for line in found if "f64" not in line and line.count("HIGHEST") < 2]


@pytest.mark.parametrize("name", MEASURED)
def test_measurements_are_exact_in_their_dtype(programs, setting, name):
    MEASURED[name](*setting)
    products, wrong = unexact(programs)
    assert not wrong, wrong[:3]
    assert products or name == "measures"


@pytest.mark.parametrize("precision", ["highest", "high", "default"])
def test_training_has_the_precision_that_is_asked_for(programs, setting, precision):
    model, _, _, task = setting
    jg.train(model, task, seeds=2, steps=10, matmul_precision=precision)
    products, wrong = unexact(programs)
    assert products
    assert bool(wrong) == (precision != "highest")
    if precision == "high":
        assert all(line.count("HIGH") >= 2 for line in products)


def test_theorems_are_exact_in_their_dtype(programs):
    examine(STATEMENTS["expected_expansion"], [Shape(8, 3, 3)], seeds=1)
    assert not unexact(programs)[1]


def test_the_precision_of_training_is_refused_by_name():
    with pytest.raises(ValueError, match=r"matmul_precision='exact' is not known: allowed are highest, high, default"):
        jg.TrainConfig(matmul_precision="exact")

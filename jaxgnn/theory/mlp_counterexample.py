"""The MLP does not come to rest when its readout is trained: what Keriven 2025 finds is special to graphs.

Take P = I, ReLU, W^(0) any matrix and W^(l) = I for l >= 1, and the readout (with its bias) that minimises the mean
squared error. Then X^(l) = X^(1) for all l >= 1, since relu of what is >= 0 is itself, and

    d loss / d W^(k) = X^(1)^T (1[X^(1) > 0] * (E R^T)),   k = 1 .. L-1,

the same at every layer and every depth, where X^(1)^T E R^T = 0: only the masks keep it from 0. So the ratio ||d
loss / d W^(k)||_F / (||X^(k)||_F ||B^(k)||_F) does not depend on depth, and for random data it is not small. With
the same weights on a connected graph `stationarity` bounds it by what P leaves off the mean. (A linear MLP is no
such example: d loss / d W^(k) = W^T .. X^(0)^T E R^T .. W^T is 0 at a stationary readout when all W are invertible.)
"""

from dataclasses import replace

import networkx as nx
import numpy as np
from jax.tree_util import Partial

from jaxgnn.network.model import DeepGNN
from jaxgnn.theory.draws import altered, inner, prepared, said, with_weights
from jaxgnn.theory.network import Matrix, Network, observe
from jaxgnn.theory.statement import About, Check, Shape, Statement, require
from jaxgnn.theory.stationarity import mean_squared, output_error, read_out

ABOUT = About("the MLP's counterexample", "Keriven 2025; this example derived")


def check(network: Network) -> Check:
    """The ratio of every layer k >= 1 against the closed form's, which has no depth in it."""
    network.plain(activations=("relu",))
    require(bool(np.array_equal(network.P, np.eye(len(network.P)))), "P is not I: the counterexample is an MLP")
    E, R, _ = output_error(network)
    stationary = np.linalg.norm(network.trace.features[-1].T @ E) / max(np.linalg.norm(E), 1e-300)
    require(bool(stationary < 1e-6 * np.linalg.norm(network.trace.features[-1])), "the readout is not stationary")
    X = np.maximum(network.trace.features[0] @ network.weights[0], 0)
    B = (X > 0) * (E @ R.T)
    scale = np.linalg.norm(X) * np.linalg.norm(B)
    # ||X^T B|| / (||X|| ||B||), of every layer
    stated = np.linalg.norm(X.T @ B) / scale
    sizes = np.linalg.norm(network.trace.features[1:-1], axis=(1, 2)) * np.linalg.norm(
        network.trace.errors[1:], axis=(1, 2)
    )
    measured = network.trace.weight_grads[1:] / sizes
    return ABOUT.equal((f"P = I, ReLU; the ratio is {stated:.3g}",), measured, stated, 1e-9)


def _mlp(rng, shape: Shape):
    d = max(2, min(shape.width, shape.nodes // 3))  # more nodes than columns: the labels are not fitted
    model = DeepGNN(layer="mlp", depth=max(shape.depth, 2), width=d, out=d, activation="relu")
    weights = np.tile(np.eye(d), (model.depth, 1, 1))
    weights[0] = rng.standard_normal((d, d))
    graph = prepared(nx.cycle_graph(shape.nodes), "doubly")
    params = with_weights(model, shape.nodes, weights, rng)
    X = rng.standard_normal((shape.nodes, d))
    return (observe(model, params, graph, X, Partial(inner, X), matrix=Matrix.of(graph)),)


def _untrained(rng, shape):
    (network,) = _mlp(rng, shape)
    Y = rng.standard_normal(network.x.shape)
    loss = Partial(mean_squared, Y)
    return (observe(network.model, network.params, network.graph, network.x, loss, matrix=network.matrix),)


def _larger(network):
    return replace(network, trace=network.trace._replace(weight_grads=network.trace.weight_grads + 1))


STATEMENT = Statement(
    *ABOUT,
    "||dloss/dW^(k)|| / (||X^(k)|| ||B^(k)||) is the same at every depth, and not small",
    check,
    read_out(_mlp),
    {
        "gradients larger by 1 than said": altered(read_out(_mlp), _larger),
        "a readout that is not trained": _untrained,
        "tanh": said(read_out(_mlp), activation="tanh"),
    },
)

"""Random networks for statements to be checked on: graphs, weights and signals of many kinds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import networkx as nx
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.graphs.prepare import prepare
from jaxgnn.host.arrays import Array
from jaxgnn.network.model import DeepGNN
from jaxgnn.network.state_space import StateSpace
from jaxgnn.theory.network import Matrix, Network, observe
from jaxgnn.theory.statement import Draw, Shape

SCALES = (0.5, 1.5)  # of ||W||_2
CONNECTED = ("ring", "path", "star", "complete", "tree", "small world", "preferential", "random")
_SMALL = 64  # nodes
WEIGHTS = ("gaussian", "orthogonal", "rank one", "nilpotent")
_SSM = StateSpace(transition="dense", input="dense")


def random_graph(rng: np.random.Generator, shape: Shape, kinds: Sequence[str] = CONNECTED) -> nx.Graph:
    """The shape's graph, or a simple graph of its size, of one of the kinds: those of CONNECTED, or "two parts"."""
    if shape.graph is not None:
        return shape.graph
    n, kind, seed = shape.nodes, kinds[int(rng.integers(len(kinds)))], int(rng.integers(2**31))
    tree = nx.from_edgelist((v, int(rng.integers(v))) for v in range(1, n))  # recursive: connects the others
    tree.add_nodes_from(range(n))
    return {
        "ring": lambda: nx.cycle_graph(n),
        "path": lambda: nx.path_graph(n),
        "star": lambda: nx.star_graph(n - 1),
        "complete": lambda: nx.complete_graph(n),
        "tree": lambda: tree,
        "small world": lambda: nx.compose(nx.watts_strogatz_graph(n, min(4, n - 1), 0.3, seed=seed), tree),
        "preferential": lambda: nx.barabasi_albert_graph(n, min(2, n - 1), seed=seed),
        "random": lambda: nx.compose(nx.gnp_random_graph(n, 0.3, seed=seed), tree),
        "two parts": lambda: nx.disjoint_union(nx.cycle_graph(n // 2), nx.path_graph(n - n // 2)),
    }[kind]()


def prepared(graph: nx.Graph, normalisation: Normalisation) -> Graph:
    """A small graph's P alone, dense and without the edge list: programs are the same for all graphs of n nodes."""
    pairs = np.array([(u, v) for u, v in graph.edges if u != v], np.int64).reshape(-1, 2)
    senders, receivers = np.concatenate([pairs, pairs[:, ::-1]]).T
    n = graph.number_of_nodes()
    backend = "dense" if n <= _SMALL else "auto"
    whole = prepare(senders=senders, receivers=receivers, num_nodes=n, normalisation=normalisation, backend=backend)
    if n > _SMALL:
        return whole
    none = np.zeros(0, np.int32)
    return replace(
        whole, graphs_tuple=whole.graphs_tuple._replace(senders=none, receivers=none, n_edge=np.zeros(1, np.int32))
    )


def random_weights(
    rng: np.random.Generator,
    depth: int,
    width: int,
    scales: tuple[float, float] = SCALES,
    kinds: Sequence[str] = WEIGHTS,
) -> Float[np.ndarray, "L d d"]:
    """Matrices with ||W||_2 in `scales`, all of one of the kinds."""
    kind = kinds[int(rng.integers(len(kinds)))]
    W = rng.standard_normal((depth, width, width))
    if kind == "orthogonal":
        W = np.linalg.qr(W)[0]
    elif kind == "rank one":
        W = W[:, :, :1] * rng.standard_normal((depth, 1, width))
    elif kind == "nilpotent" and width > 1:
        W = np.triu(W, 1)
    elif kind == "identity":
        W = np.broadcast_to(np.eye(width), W.shape)
    norms = np.linalg.norm(W, 2, axis=(1, 2))
    return W / norms[:, None, None] * rng.uniform(*scales, depth)[:, None, None]


def networks(
    *,
    activations: tuple[str, ...] = ("identity",),
    normalisation: Normalisation = "doubly",
    scales: tuple[float, float] = SCALES,
    graphs: Sequence[str] = CONNECTED,
    weights: Sequence[str] = WEIGHTS,
    signals: str = "any",
    **options: Any,
) -> Draw:
    """Draws networks with one of the activations, on one of the kinds of graphs, and these options of DeepGNN.

    signals: what X^(0) and G^(L) are: "any" are Gaussian, or (a quarter) along P's first two eigenvectors, with
    orthogonal weights; "slowest" along the second alone, where with orthogonal weights the bounds of linear networks
    are attained; "constant": X^(0) along P's first eigenvector; "smooth": 0.1% off that.
    """
    kinds = weights

    def draw(rng: np.random.Generator, shape: Shape) -> tuple[Network]:
        activation = activations[rng.integers(len(activations))]
        model = DeepGNN(
            layer="gcn",
            depth=shape.depth,
            width=shape.width,
            out=shape.width,
            activation=activation,
            ssm=_SSM,
            **options,
        )
        graph = prepared(random_graph(rng, shape, graphs), normalisation)
        matrix = Matrix.of(graph)
        count = 1 if model.share_weights else shape.depth
        weights = random_weights(rng, count, shape.width, scales, kinds)
        X = rng.standard_normal((shape.nodes, shape.width)) * 10 ** rng.uniform(-2, 2)
        G = rng.standard_normal((shape.nodes, shape.width)) * 10 ** rng.uniform(-2, 2)
        rows = rng.standard_normal((3, shape.width))
        if signals == "slowest":
            X, G = (np.outer(v, row) for v, row in zip(eigenvectors(matrix, 2), rows, strict=False))
        elif signals in ("constant", "smooth"):
            first = np.outer(eigenvectors(matrix, 1)[0], rows[0]) * shape.nodes**0.5
            X = first + (1e-3 / np.abs(X).max() * X if signals == "smooth" else 0)
        elif rng.random() < 0.25:
            weights = random_weights(rng, count, shape.width, scales, ("orthogonal",))
            X, G = (
                np.outer(v, rows[0]) + np.outer(u, rows[1])
                for v, u in zip(eigenvectors(matrix, 2), eigenvectors(matrix, 1), strict=True)
            )
        return (run(model, graph, matrix, weights, X, G, rng),)

    return draw


def eigenvectors(matrix: Matrix, number: int) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Right and left eigenvectors of P's largest or second largest |eigenvalue|, P symmetric or D~^(-1) A~."""
    root = np.ones(len(matrix.P)) if matrix.symmetric else np.sqrt(matrix.degree)
    S = root[:, None] * matrix.P / root
    values, vectors = np.linalg.eigh((S + S.T) / 2)
    v = vectors[:, np.argsort(np.abs(values))[-number]]
    return v / root, v * root


def run(
    model: DeepGNN,
    graph: Graph,
    matrix: Matrix,
    weights: Float[np.ndarray, "L d d"],
    X: Float[np.ndarray, "n d"],
    G: Float[np.ndarray, "n d"],
    rng: np.random.Generator,
) -> Network:
    """The network with these weights, X^(0) = X and G^(L) = G."""
    params = with_weights(model, graph.num_nodes, weights, rng)
    return observe(model, params, graph, X, Partial(inner, G), matrix=matrix)


def inner(G: Float[Array, "n d"], logits: Float[Array, "n d"]) -> Float[Array, ""]:
    """<G, logits>: a loss whose gradient is G."""
    return (G * logits).sum()


def with_weights(model: DeepGNN, n: int, weights: Float[np.ndarray, "L d d"], rng: np.random.Generator) -> Any:
    """Parameters with these weights, an encoder and a readout that are I, and random Lambda and B of norm up to 1."""
    params = jax.tree.map(lambda a: np.zeros(a.shape), template(model, n))
    ends, d = params["params"], model.width
    ends["encoder"]["kernel"], ends["readout"]["kernel"] = np.eye(d), np.eye(d)
    ends["stack"]["layer"]["linear"]["kernel"] = weights[0] if model.share_weights else weights
    numbers: dict[str, Any] = {name: np.float64(value or 0) for name, value in model.numbers().items()}
    if model.residual == "ssm":
        transition, entry = random_weights(rng, 2, d, (0.3, 1.0))
        numbers["ssm"] = {"transition": transition, "input": entry}
    return params | {"constants": numbers}


@lru_cache(maxsize=256)
def template(model: DeepGNN, n: int) -> Any:
    """Shapes of the parameters of a network on n nodes whose input has as many features as its blocks."""
    graph = prepared(nx.path_graph(n), "doubly")
    init = partial(model.init, jax.random.key(0))
    return jax.eval_shape(init, graph, np.zeros((n, model.width), np.float32))


def altered(draw: Draw, change: Callable[[Network], Network]) -> Draw:
    """Draws what `draw` does, changed: a planted violation."""
    return lambda rng, shape: tuple(change(a) if isinstance(a, Network) else a for a in draw(rng, shape))


def delayed(network: Network) -> Network:
    """The features of every layer are those of the one before it: every exponent is too large by one."""
    X = network.trace.features
    return replace(network, trace=network.trace._replace(features=np.concatenate([X[:1], X[:-1]])))


def advanced(network: Network) -> Network:
    """The same of what comes back: gradients and errors of every layer are those of the one after it."""
    G, B = network.trace.feature_grads, network.trace.errors
    trace = network.trace._replace(
        feature_grads=np.concatenate([G[1:], G[-1:]]), errors=np.concatenate([B[1:], B[-1:]])
    )
    return replace(network, trace=trace)


def halved(network: Network) -> Network:
    """The weights are said to be half of those that ran."""
    return replace(network, weights=network.weights / 2)


def tight(**options: Any) -> Draw:
    """Linear networks on which bounds by lambda and ||W|| are attained, with lambda well above 0 and ||W|| = 1."""
    options = {"graphs": ("ring", "path", "tree"), **options}
    return networks(signals="slowest", scales=(1.0, 1.0), weights=("orthogonal",), **options)


def said(draw: Draw, **options: Any) -> Draw:
    """Draws what `draw` does, and says that it was a network with these options."""
    return altered(draw, lambda network: replace(network, model=network.model.clone(**options)))

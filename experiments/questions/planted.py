"""Networks that fail of a cause that was planted in them by construction, and healthy ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import networkx as nx
import numpy as np

import jaxgnn as jg

N, DEGREE, FEATURES, CLASSES, WIDTH = 120, 6, 8, 3, 16


class Case(NamedTuple):
    """A network on a task.

    Attributes:
      model, params, task: as `jaxgnn.diagnose` takes them.
      kind: what it is made of, in words.
      distance: hops that its labels depend on, where they were made so; 0 for others.
    """

    model: jg.DeepGNN
    params: Any
    task: Any
    kind: str
    distance: int = 0


def neighbourhoods(seed: int, *, own: bool = False, normalisation: str = "sym") -> Any:
    """A random graph in which every node has six neighbours; a label is the largest of three directions' scores.

    They are of the node's own features plus sqrt(6) times its neighbours' mean, or with `own` of its own alone. All
    have one shape, so that networks are compiled once; P's second eigenvalue is about 0.8.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, FEATURES)).astype(np.float32)
    graph = nx.random_regular_graph(DEGREE, N, seed=seed)
    around = nx.to_scipy_sparse_array(graph, nodelist=range(N)) @ x / np.sqrt(DEGREE)
    y = ((x if own else x + around) @ rng.standard_normal((FEATURES, CLASSES))).argmax(axis=1)
    ds = jg.dataset(jg.from_networkx(graph), x, y, seed=seed, fractions=(0.5, 0.3, 0.2))
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph, normalisation=normalisation), features="raw")


def ring(seed: int, distance: int, *, hops: int | None = None) -> Any:
    """A ring of 300 nodes with normal features; a label is the sign of the sum of the two nodes' at this distance."""
    n, rng = 300, np.random.default_rng(seed)
    x = rng.standard_normal((n, 2)).astype(np.float32)
    at = np.arange(n)
    y = (x[(at + distance) % n, 0] + x[(at - distance) % n, 0] > 0).astype(int)
    pairs = np.stack([at, (at + 1) % n], axis=1)
    ds = jg.dataset(jg.from_edges(pairs=pairs, undirected=True), x, y, seed=seed, fractions=(0.6, 0.3, 0.1))
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph, hops=hops), features="raw")


def network(task: Any, depth: int, **options: Any) -> jg.DeepGNN:
    return jg.DeepGNN(**{"depth": depth, "width": WIDTH, "out": task.out, **options})


def started(model: jg.DeepGNN, task: Any, seed: int) -> Any:
    return jax.tree.map(np.asarray, model.init(jax.random.key(seed), task.graph, task.x))


def changed(params: Any, change: Callable[[np.ndarray], np.ndarray], *, what: str = "kernel") -> Any:
    """The variables with every layer's matrices, or biases, changed: change([L, ...]) -> [L, ...]."""

    def one(path: Any, a: np.ndarray) -> np.ndarray:
        keys = jax.tree_util.keystr(path)
        inside = "stack" in keys and (what == "bias") == ("bias" in keys) and "params" in keys and a.ndim > 1
        return change(a) if inside else a

    return jax.tree_util.tree_map_with_path(one, params)


def _tame(depth: int) -> dict[str, Any]:
    """An identity residual with (1 + c)^L = 3: no signal can vanish or expand by more."""
    return {"residual": "identity", "bound": "frobenius", "bound_c": 3 ** (1 / depth) - 1}


def _choice(i: int, *options: Any) -> Any:
    return options[i % len(options)]


def healthy(i: int) -> Case:
    task, kind = neighbourhoods(i), _choice(i, "bounded residual", "two layers", "scaled residual", "bounded, tanh")
    depth = _choice(i // 4, 16, 32, 64)
    options: dict[str, Any] = {
        "bounded residual": _tame(depth),
        "two layers": {},
        "scaled residual": {"residual": "scaled", "residual_scale": 1 / depth, "init_weights": "orthogonal"},
        "bounded, tanh": _tame(depth) | {"activation": "tanh"},
    }[kind]
    model = network(task, 2 if kind == "two layers" else depth, **options)
    return Case(model, started(model, task, i), task, kind)


def forward_collapse(i: int) -> Case:
    """Linear layers with orthogonal weights: what P keeps stays as large as it is, all else falls by lambda a layer."""
    normalisation = _choice(i, "sym", "doubly", "row")
    task, depth = neighbourhoods(i, normalisation=normalisation), _choice(i // 3, 64, 96)
    model = network(task, depth, activation="identity", init_weights="orthogonal")
    return Case(model, started(model, task, i), task, f"linear, {normalisation}")


def rank_collapse(i: int) -> Case:
    """Weights of rank one and norm 1 in layers without a graph: nodes stay apart, along one direction."""
    task, depth = neighbourhoods(i, own=True), _choice(i, 8, 16, 32)
    activation = _choice(i // 3, "identity", "tanh")
    model = network(task, depth, layer="mlp", activation=activation)
    rng = np.random.default_rng(i)

    def rank_one(W: np.ndarray) -> np.ndarray:
        u = rng.standard_normal((*W.shape[:-1], 1))
        u /= np.linalg.norm(u, axis=-2, keepdims=True)
        return np.asarray(u @ u.swapaxes(-1, -2), W.dtype)

    first = changed(started(model, task, i), rank_one)
    aligned = changed(first, lambda W: np.broadcast_to(W[:1], W.shape).copy())
    return Case(model, aligned, task, f"rank one, {activation}")


def gradient_vanishing(i: int) -> Case:
    """Orthogonal weights times 0.8 in layers without a graph, or GCN-SSM that forgets: norms fall, shapes do not."""
    kind = _choice(i, "weights of norm 0.8", "modulus 0.8")
    task, depth = neighbourhoods(i, own=True), _choice(i // 2, 48, 64, 96)
    if kind == "modulus 0.8":
        model = network(task, depth, residual="ssm", ssm=jg.StateSpace(modulus=0.8, input="scalar", input_scale=0.01))
        return Case(model, started(model, task, i), task, kind)
    model = network(task, depth, layer="mlp", activation="identity", init_weights="orthogonal")
    return Case(model, changed(started(model, task, i), lambda W: 0.8 * W), task, kind)


def gradient_smoothing(i: int) -> Case:
    """X^(l+1) = 0.95 P X^(l) W + 0.05 X^(0): what is added keeps nodes apart forward, and P alone acts backward."""
    normalisation, depth = _choice(i, "sym", "doubly"), _choice(i // 2, 48, 64)
    task = neighbourhoods(i, normalisation=normalisation)
    model = network(task, depth, activation="identity", residual="initial", residual_scale=0.05)
    same = changed(started(model, task, i), lambda W: np.zeros_like(W) + np.eye(W.shape[-1], dtype=W.dtype))
    return Case(model, same, task, f"initial residual, {normalisation}")


def expansion(i: int) -> Case:
    """An identity residual and matrices without a bound."""
    layer, depth = _choice(i, "gcn", "mlp", "gat"), _choice(i // 3, 32, 64, 96)
    task = neighbourhoods(i)
    model = network(task, depth, layer=layer, residual="identity", init_weights=_choice(i // 9, "he", "glorot"))
    return Case(model, started(model, task, i), task, f"residual {layer}")


def dead_units(i: int) -> Case:
    """Biases of -100 from one layer on: a ReLU behind them is 0 at every node."""
    task, depth = neighbourhoods(i), _choice(i, 8, 16, 32)
    model = network(task, depth, bias=True, **_tame(depth))

    def low(b: np.ndarray) -> np.ndarray:
        b = np.array(b)
        b[depth // 2 :] = -100
        return b

    return Case(model, changed(started(model, task, i), low, what="bias"), task, "biases of -100")


def dead_readout(i: int) -> Case:
    """A readout of zeros with the classes' log frequencies as its bias: the constant predictor, and G^(L) = 0."""
    case = healthy(i)
    labels = np.asarray(case.task.labels)[np.asarray(case.task.train_mask)]
    share = np.bincount(labels, minlength=case.task.out) / labels.size
    readout = case.params["params"]["readout"]
    dead = {"kernel": np.zeros_like(readout["kernel"]), "bias": np.log(share).astype(np.float32)}
    params = case.params | {"params": case.params["params"] | {"readout": dead}}
    return case._replace(params=params, kind=f"zero readout, {case.kind}")


def under_reach(i: int) -> Case:
    distance = _choice(i, 3, 4, 6, 8)
    task, depth = ring(i, distance), _choice(i // 4, 1, 2)
    model = network(task, depth, **_tame(depth))
    return Case(model, started(model, task, i), task, f"distance {distance}, {depth} layers", distance)


def over_squashing(i: int) -> Case:
    """As many layers as hops are needed, on a ring, where 2 / 3^r of the walks of r steps come from distance r."""
    distance = _choice(i, 8, 9, 10)
    task, depth = ring(i, distance), distance + _choice(i // 3, 0, 4)
    model = network(task, depth, **_tame(depth))
    return Case(model, started(model, task, i), task, f"distance {distance}, {depth} layers", distance)


def bound_too_small(i: int) -> Case:
    """Labels of the neighbours' features, and a bound that keeps their part near 0."""
    task, depth = ring(i, 1), _choice(i, 4, 6)
    model = network(task, depth, residual="identity", bound="frobenius", bound_c=_choice(i // 2, 0.01, 0.02))
    return Case(model, started(model, task, i), task, f"c = {model.bound_c}", 1)


def depth_not_needed(i: int) -> Case:
    """Labels of a node's neighbourhood, which two layers see, in a deeper network that trains as well."""
    task, depth = neighbourhoods(i), _choice(i, 8, 16)
    model = network(task, depth, residual="identity", bound="frobenius", bound_c=0.5)
    return Case(model, started(model, task, i), task, f"{depth} layers")


# name: (how one is made, whether only training tells).
CAUSES: dict[str, tuple[Callable[[int], Case], bool]] = {
    "healthy": (healthy, False),
    "forward_collapse": (forward_collapse, False),
    "rank_collapse": (rank_collapse, False),
    "gradient_vanishing": (gradient_vanishing, False),
    "gradient_smoothing": (gradient_smoothing, False),
    "expansion": (expansion, False),
    "dead_units": (dead_units, False),
    "dead_readout": (dead_readout, False),
    "under_reach": (under_reach, False),
    "over_squashing": (over_squashing, False),
    "bound_too_small": (bound_too_small, True),
    "depth_not_needed": (depth_not_needed, True),
}

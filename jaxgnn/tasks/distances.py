"""Benchmarks of distances in random graphs: those of many families, and those with bottlenecks."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from jaxgnn.data.bottlenecks import bottleneck_graph
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.host.options import check_flag, check_known, check_whole, checked_list
from jaxgnn.tasks.benchmark import Benchmark, doubling, make_benchmark, single_graph
from jaxgnn.tasks.graph_properties import (
    ConstantPredictor,
    constant_predictor,
    graph_properties,
    prepared_graph,
    property_of,
    source_features,
)
from jaxgnn.tasks.graph_transfer import checked_seed, split_of
from jaxgnn.tasks.many_graphs import ManyGraphs, many_graphs
from jaxgnn.tasks.objectives import RegressionMetric

Distance = Literal["sssp", "eccentricity", "diameter"]
_LEAST = 5  # nodes of a community: above its degree


def bottlenecks(
    *,
    target: Distance = "sssp",
    communities: Sequence[int] = (2, 3, 4),
    size: int = 8,
    bridges: Sequence[int] = (1, 2, 4),
    normalise: bool = False,
    num_train: int = 512,
    num_val: int = 128,
    num_test: int = 128,
    batch_size: int = 32,
    normalisation: Normalisation = "sym",
    hops: int | None = None,
    metric: RegressionMetric = "mse",
    seed: int = 0,
) -> Benchmark:
    """Distances in random graphs of communities joined by paths (`jaxgnn.data.bottlenecks`), as in ECHO.

    x [n, 2] is a source node, one-hot, and a number uniform on [0, 1]; the same seed gives the same graphs and features
    for every target. The targets, d the number of edges on a shortest path:
      sssp          d(source, v) at every node v  [n, 1]
      eccentricity  max_u d(u, v) at every node v [n, 1]
      diameter      max_uv d(u, v) of the graph (a model with a `pool`) [1]
    Loss and score are the mean squared error over all nodes (graphs) of a split. The constant predictor's errors are in
    `facts` in edges and in fractions of the largest training target: a score depends on the unit.

    `within[k]` has the distance where k hops show it (sssp d <= k; eccentricity and diameter below k, where no path
    goes on) and otherwise the mean of the training targets beyond. What else k hops tell is left out: others that know
    no more may be better.

    Args:
      target: "sssp", "eccentricity" or "diameter".
      communities, bridges: how many there are and the edges of every path between them, each drawn for every graph.
      size: nodes of a community, at least 5.
      normalise: divide by the largest raw target of the training graphs.
      num_train, num_val, num_test: graphs, each split from a stream of its own; batch_size: graphs in a batch.
      normalisation, hops: as in `jaxgnn.prepare`.
      metric: "mse", "mae" or "log10_mse", the decimal logarithm of "mse".
      seed: of everything drawn.

    Raises:
      ValueError: an option is not known or out of its range.

    Source: the targets are those of ECHO (arXiv 2512.17762), whose graphs have bottlenecks; its graphs and features are
    not known to us, and these are ours.
    """
    check_known("target", target, get_args(Distance))
    check_known("metric", metric, get_args(RegressionMetric))
    check_whole("size", size, least=_LEAST)
    check_flag("normalise", normalise)
    counts, lengths = (
        _checked("communities", communities),
        _checked("bridges", bridges),
    )
    split = split_of(num_train, num_val, num_test)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(checked_seed(seed)).spawn(3)]
    drawn, xs, ys = [], [], []
    for rng, part in zip(streams, split, strict=True):
        for _ in part:
            count, bridge = (int(values[rng.integers(len(values))]) for values in (counts, lengths))
            A = bottleneck_graph(rng, communities=count, size=size, bridge=bridge)
            x = source_features(rng, len(A), int(rng.integers(len(A))))
            drawn.append(A)
            xs.append(x)
            ys.append(property_of(A, target, x))
    maximum = max(float(ys[i].max()) for i in split[0])
    scale = maximum if normalise else 1.0
    graphs = [prepared_graph(A, normalisation, hops) for A in drawn]
    task = many_graphs(
        graphs,
        xs,
        [(y / scale).astype(np.float32) for y in ys],
        split=split,
        batch_size=batch_size,
        level="graph" if target == "diameter" else "node",
        loss="mse",
        metric=metric,
    )
    nodes = [len(A) for A in drawn]
    said = (
        f"{target} in graphs of {_listed(counts)} communities of {size} nodes joined by paths of {_listed(lengths)} "
        f"edges: {min(nodes)} to {max(nodes)} nodes."
    )
    raw = constant_predictor([np.concatenate([ys[i].ravel() for i in part]) for part in split])
    return make_benchmark(
        "bottlenecks",
        task,
        single_graph(task, graphs[0]),
        oracle=np.asarray(task.targets),
        within=within_hops(task, target, scale),
        facts=[said, constants(raw, maximum), _WITHIN],
    )


def properties_benchmark(**options: Any) -> Benchmark:
    """`graph_properties` with its references: those within k hops as `bottlenecks` has them."""
    made = graph_properties(**options)
    task, scale = made.task, made.maximum if made.normalised else 1.0
    apart = options.get("disconnected") == "within"  # a distance of 0 is then also one that is infinite
    known = not apart and made.target != "laplacian"
    facts = [
        f"{made.target} in random graphs of {len(made.train.families)} families.",
        constants(made.constant_raw, made.maximum),
    ]
    number = int(np.asarray(task.train)[0])
    return make_benchmark(
        "graph_properties",
        task,
        single_graph(task, _graph(task, number, options), number),
        oracle=np.asarray(task.targets),
        within=within_hops(task, made.target, scale) if known else {},
        facts=[*facts, _WITHIN] if known else facts,
    )


def within_hops(task: ManyGraphs, target: str, scale: float) -> dict[int, Float[np.ndarray, "..."]]:
    """By k, the distances that k hops show, and otherwise the mean of the training targets beyond."""
    y = np.asarray(task.targets, np.float64) * scale
    train = task.training_targets().astype(np.float64) * scale
    found = {}
    for k in doubling(round(float(train.max()))):
        most = k if target == "sssp" else k - 1
        beyond = train[np.rint(train) > most]
        found[k] = np.where(np.rint(y) <= most, y, beyond.mean()) / scale
    return found


def constants(raw: ConstantPredictor, maximum: float) -> str:
    """The constant predictor's test error in both units, in a sentence."""
    found = np.array([raw.test_mse, raw.test_mse / maximum**2])
    with np.errstate(divide="ignore"):  # where all targets are alike
        log10 = np.log10(found)
    return (
        f"Constant predictor on the test graphs: MSE {found[0]:.4g} in edges (log10 {log10[0]:.3f}), {found[1]:.4g} in "
        f"fractions of the largest training target, {maximum:g} (log10 {log10[1]:.3f})."
    )


_WITHIN = (
    "Within k hops: the distance where k hops show it, otherwise the mean of the training targets beyond; what else "
    "they tell is left out, so that others may be better."
)


def _graph(task: ManyGraphs, number: int, options: dict[str, Any]) -> Any:
    """A graph of the task, prepared anew without padding."""
    graphs = task.graphs
    n = int(np.asarray(graphs.node_mask)[number].sum())
    kept = np.asarray(graphs.edge_mask)[number] > 0
    A = np.zeros((n, n), bool)
    A[np.asarray(graphs.receivers)[number][kept], np.asarray(graphs.senders)[number][kept]] = True
    return prepared_graph(A, options.get("normalisation", "sym"), options.get("hops"))


def _checked(option: str, values: Sequence[int]) -> list[int]:
    values = checked_list(option, values)
    if not values:
        raise ValueError(f"{option} is empty: at least one number is needed")
    for value in values:
        check_whole(option, value, least=1)
    return values


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:-1])) + (" or " if len(values) > 1 else "") + str(values[-1])

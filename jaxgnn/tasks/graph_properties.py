"""Graph property prediction: distances of a graph, computed from that graph and named by what they are."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float

from jaxgnn.data.random_graphs import Disconnected, RandomGraphs, random_graphs, shortest_paths
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.graphs.prepare import prepare
from jaxgnn.host.options import check_known, check_whole, checked_list
from jaxgnn.tasks.graph_transfer import checked_seed, split_of
from jaxgnn.tasks.many_graphs import ManyGraphs, many_graphs
from jaxgnn.tasks.objectives import RegressionMetric

Property = Literal["diameter", "sssp", "eccentricity", "laplacian"]


class SplitFacts(NamedTuple):
    """What one split holds.

    Attributes:
      graphs: how many.
      nodes: of all of them.
      families: how many graphs are of each family, by name.
      drawn, isolated, disconnected: as in `jaxgnn.data.random_graphs.RandomGraphs`.
      maximum: the largest raw target.
    """

    graphs: int
    nodes: int
    families: dict[str, int]
    drawn: int
    isolated: int
    disconnected: int
    maximum: float


class ConstantPredictor(NamedTuple):
    """The training targets' mean as the prediction of everything, and its mean squared error on each split."""

    prediction: float
    train_mse: float
    val_mse: float
    test_mse: float

    @property
    def log10_test_mse(self) -> float:
        """What a row of a table in log10(MSE) would hold."""
        return float(np.log10(self.test_mse))


class GraphProperties(NamedTuple):
    """A task and what has to be known to read its scores.

    Attributes:
      task: for `jaxgnn.train`; its targets are normalised if `normalised`.
      target: "diameter", "sssp", "eccentricity" or "laplacian".
      normalised: whether the targets are divided by `maximum`.
      maximum: the largest raw target among the training graphs.
      train, val, test: what the splits hold.
      constant_raw: the constant predictor in numbers of edges.
      constant_normalised: the same after division by `maximum`: its log10(MSE) is 2 log10(maximum) lower.
    """

    task: ManyGraphs
    target: str
    normalised: bool
    maximum: float
    train: SplitFacts
    val: SplitFacts
    test: SplitFacts
    constant_raw: ConstantPredictor
    constant_normalised: ConstantPredictor


def graph_properties(
    target: Property = "diameter",
    *,
    normalise: bool = False,
    disconnected: Disconnected = "redraw",
    sizes: Sequence[int] = range(25, 35),
    evaluation_sizes: Sequence[int] | None = None,
    num_train: int = 5120,
    num_val: int = 640,
    num_test: int = 1280,
    batch_size: int = 64,
    normalisation: Normalisation = "sym",
    hops: int | None = None,
    metric: RegressionMetric = "mse",
    seed: int = 0,
) -> GraphProperties:
    """The task of predicting a distance in random graphs of many families (`jaxgnn.data.random_graphs`).

    x [n, 2] is a source node, one-hot, and a number uniform on [0, 1]; the same seed gives the same graphs and
    features for every target. The targets, with d the number of edges on a shortest path:
      sssp          d(source, v) at every node v                        [n, 1]
      eccentricity  max_u d(u, v) at every node v                       [n, 1]
      diameter      max_uv d(u, v) of the graph (a model with a `pool`) [1]
      laplacian     deg(v) r_v - sum of r_u over v's neighbours u,      [n, 1]
                    r the uniform number: no distance, and one layer sees all of it
    The last is here for a warning. The public generator stacks sssp, eccentricity and laplacian in this order, and
    public code has read its columns as eccentricity, laplacian and sssp: then what a table calls "eccentricity" is
    sssp, and what it calls "sssp" is laplacian.

    The loss is the mean squared error over all nodes (graphs) of a split. So is the score: the papers' tables hold
    its decimal logarithm, log10(score), which metric="log10_mse" gives directly. It depends on the unit, so that a
    row in numbers of edges and one in fractions of the maximum differ by 2 log10(maximum) for the same predictions:
    compare with `constant_raw` or `constant_normalised`, never with each other.

    Args:
      target: "diameter", "sssp", "eccentricity" or "laplacian".
      normalise: divide by the largest raw target of the training graphs.
      disconnected: "redraw", "largest" or "within". With "within" distances count inside components: the largest
        finite one is an eccentricity or diameter, and sssp is 0 where the source is not reached, as in the public
        generator. Targets are finite with each of them. The default is ours.
      sizes: numbers of nodes, each for equally many graphs.
      evaluation_sizes: of the validation and test graphs, by default the same. The public generator's default
        arguments take only the five smallest there: range(25, 30).
      num_train, num_val, num_test: graphs, each split from a stream of its own.
      batch_size: graphs in a batch; normalisation, hops: as in `jaxgnn.prepare`.
      metric: "mse", "mae" or "log10_mse".
      seed: of everything drawn.

    Raises:
      ValueError: an option is not known or out of its range.

    Source: Corso et al. 2020 (PNA, arXiv 2004.05718); on 25 to 34 nodes Gravina et al. 2023 (A-DGN, arXiv 2210.09789).
    """
    check_known("target", target, get_args(Property))
    check_known("disconnected", disconnected, get_args(Disconnected))
    check_known("metric", metric, get_args(RegressionMetric))
    sizes = _checked_sizes("sizes", sizes)
    others = sizes if evaluation_sizes is None else _checked_sizes("evaluation_sizes", evaluation_sizes)
    split = split_of(num_train, num_val, num_test)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(checked_seed(seed)).spawn(3)]
    drawn, xs, targets = [], [], []
    for rng, part, of_split in zip(streams, split, (sizes, others, others), strict=True):
        drawn.append(random_graphs(rng, np.resize(of_split, len(part)).tolist(), disconnected=disconnected))
        sources = [int(rng.integers(len(A))) for A in drawn[-1].adjacency]
        xs.append([source_features(rng, len(A), s) for A, s in zip(drawn[-1].adjacency, sources, strict=True)])
        targets.append([property_of(A, target, x) for A, x in zip(drawn[-1].adjacency, xs[-1], strict=True)])

    maximum = max(float(y.max()) for y in targets[0])
    scale = maximum if normalise else 1.0
    graphs = [prepared_graph(A, normalisation, hops) for part in drawn for A in part.adjacency]
    task = many_graphs(
        graphs,
        [x for part in xs for x in part],
        [(y / scale).astype(np.float32) for part in targets for y in part],
        split=split,
        batch_size=batch_size,
        level="graph" if target == "diameter" else "node",
        loss="mse",
        metric=metric,
    )
    raw = constant_predictor([np.concatenate([y.ravel() for y in part]) for part in targets])
    normalised = ConstantPredictor(raw.prediction / maximum, *(mse / maximum**2 for mse in raw[1:]))
    train, val, test = (_facts(part, ys) for part, ys in zip(drawn, targets, strict=True))
    return GraphProperties(task, target, normalise, maximum, train, val, test, raw, normalised)


def property_of(A: Bool[np.ndarray, "n n"], target: str, x: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "..."]:
    """The raw target, [n, 1] or [1], in a graph that need not be connected (as for "within")."""
    source, r = int(x[:, 0].argmax()), x[:, 1].astype(np.float64)
    if target == "laplacian":
        return (A.sum(axis=1) * r - A @ r)[:, None]
    d = shortest_paths(A)
    d[~np.isfinite(d)] = 0
    if target == "sssp":
        return d[source][:, None]
    return d.max(axis=1, keepdims=True) if target == "eccentricity" else d.max(keepdims=True)[0]


def source_features(rng: np.random.Generator, n: int, source: int) -> Float[np.ndarray, "n 2"]:
    """The source node, one-hot, and a number uniform on [0, 1]."""
    return np.stack([np.arange(n) == source, rng.random(n)], axis=1).astype(np.float32)


def prepared_graph(A: Bool[np.ndarray, "n n"], normalisation: Normalisation, hops: int | None) -> Graph:
    """The graph of a symmetric adjacency matrix."""
    receivers, senders = np.nonzero(A)
    return prepare(senders=senders, receivers=receivers, num_nodes=len(A), normalisation=normalisation, hops=hops)


def constant_predictor(targets: list[np.ndarray]) -> ConstantPredictor:
    """The mean of the first of three splits' targets, and its errors."""
    mean = float(targets[0].mean())
    train, val, test = (float(np.mean(np.square(y - mean))) for y in targets)
    return ConstantPredictor(mean, train, val, test)


def _facts(part: RandomGraphs, targets: list[np.ndarray]) -> SplitFacts:
    return SplitFacts(
        graphs=len(part.adjacency),
        nodes=sum(len(A) for A in part.adjacency),
        families=part.family_counts(),
        drawn=part.drawn,
        isolated=part.isolated,
        disconnected=part.disconnected,
        maximum=max(float(y.max()) for y in targets),
    )


def _checked_sizes(option: str, sizes: Sequence[int]) -> list[int]:
    sizes = checked_list(option, sizes)
    if not sizes:
        raise ValueError(f"{option} is empty: at least one number of nodes is needed")
    for n in sizes:
        check_whole(option, n, least=4)
    return sizes

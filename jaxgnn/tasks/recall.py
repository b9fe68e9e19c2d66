"""Neighbour associative recall: a node keeps what many neighbours hold until one of them is asked for."""

from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Int

from jaxgnn.data.edges import undirected_graph
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.graphs.prepare import prepare
from jaxgnn.host.options import check_whole
from jaxgnn.jacobian.selectivity import SelectiveSensitivity, selective_sensitivity
from jaxgnn.tasks.benchmark import Benchmark, make_benchmark, single_graph
from jaxgnn.tasks.graph_transfer import checked_seed, split_of
from jaxgnn.tasks.many_graphs import many_graphs

CENTRE, QUERY, FIRST = 0, 2, 3  # node 1 stands between the first two
_MEASURED = 16  # test graphs whose selective sensitivity is taken


def associative_recall(
    *,
    neighbours: int = 8,
    num_classes: int | None = None,
    num_train: int = 2000,
    num_val: int = 250,
    num_test: int = 250,
    batch_size: int = 64,
    normalisation: Normalisation = "sym",
    hops: int | None = None,
    seed: int = 0,
) -> Benchmark:
    """The task of recalling, two layers deep, the value of the neighbour whose key is asked for: storage, not reach.

    Node 0 is joined to `neighbours` nodes, 3 and on, each with a key of its own and a random value, and over node 1 to
    node 2, which holds the key that is asked for. Node 0 must output the value of the neighbour with this key, one of
    `num_classes`: loss (cross-entropy) and score (accuracy) are of node 0 alone. The neighbours' features arrive one
    layer before the query does, so that all of them have to be kept until then.

    x [n, neighbours + num_classes] is the key, one-hot, and the value, one-hot; zeros where there is none.

    `within[1]` is exact: without the query every neighbour is as likely as any other, so that the most frequent value
    is the best guess. With two hops everything is known: that a network fails there is its capacity.

    `measures["selective sensitivity"](model, params)` is ||dy/dx_m|| / mean over the other neighbours n of ||dy/dx_n||,
    y the logits of node 0, m the neighbour that is asked for: the geometric mean over 16 test graphs, in float64.

    Args:
      neighbours: of node 0 that hold keys, at least 2.
      num_classes: values, at least 2; by default as many as neighbours.
      num_train, num_val, num_test: graphs, each split from a stream of its own; batch_size: graphs in a batch.
      normalisation, hops: as in `jaxgnn.prepare`.
      seed: of values and queries.

    Raises:
      ValueError: an option is out of its range.

    Source: Blayney et al. 2025 (arXiv 2510.08450) and the code beside it, which has 8000/1000/1000 graphs and learnt
    embeddings of keys and values side by side; the sizes of the splits and the one-hot features here are ours.
    """
    check_whole("neighbours", neighbours, least=2)
    classes = neighbours if num_classes is None else num_classes
    check_whole("num_classes", classes, least=2)
    split = split_of(num_train, num_val, num_test)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(checked_seed(seed)).spawn(3)]
    draws = [
        (rng.integers(classes, size=(len(part), neighbours)), rng.integers(neighbours, size=len(part)))
        for rng, part in zip(streams, split, strict=True)
    ]
    values, asked = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    count, n = len(values), FIRST + neighbours
    x = np.zeros((count, n, neighbours + classes), np.float32)
    each, own = np.arange(count), np.arange(neighbours)
    x[:, FIRST + own, own] = 1
    x[each[:, None], FIRST + own, neighbours + values] = 1
    x[each, QUERY, asked] = 1
    answers = values[each, asked]
    centre = np.arange(n) == CENTRE
    graph = prepare(
        undirected_graph(recall_pairs(neighbours), n, keep_loops=False), normalisation=normalisation, hops=hops
    )
    one_hot = np.eye(classes)
    task = many_graphs(
        [graph] * count,
        list(x),
        list(one_hot[np.where(centre, answers[:, None], 0)]),
        split=split,
        batch_size=batch_size,
        level="node",
        loss="cross_entropy",
        metric="accuracy",
        counts=[centre] * count,
    )
    oracle = np.broadcast_to(50 * one_hot[answers][:, None], (count, n, classes))
    frequency = one_hot[values].sum(axis=1)
    guess = np.broadcast_to(frequency[:, None], oracle.shape)
    expected = frequency.max(axis=1)[split[2]].mean() / neighbours
    found = make_benchmark(
        "recall",
        task,
        single_graph(task, graph),
        oracle=oracle,
        within={1: guess},
        facts=[
            f"A node with {neighbours} neighbours, each with a key and one of {classes} values, and two hops away the "
            "key that is asked for.",
            "Within 1 hop: the most frequent value, the best guess without the query, right on the test graphs with "
            f"probability {expected:.4f}. Two hops tell everything.",
        ],
    )
    chosen = np.asarray(task.test)[:_MEASURED]

    def selectivity(model: Any, params: Any) -> float:
        measured = recall_selectivity(model, params, graph, x[chosen], asked[chosen])
        with np.errstate(divide="ignore"):
            return float(np.exp(np.mean(np.log(measured.ratio))))

    return found._replace(measures={"selective sensitivity": selectivity})


def recall_pairs(neighbours: int) -> Int[np.ndarray, "m 2"]:
    """Edges: node 0 with 1 and all neighbours, 1 with 2."""
    return np.array([[0, 1], [1, 2], *([0, FIRST + i] for i in range(neighbours))])


def recall_selectivity(
    model: Any, params: Any, graph: Any, x: Float[np.ndarray, "g n f"], asked: Int[np.ndarray, "g"]
) -> SelectiveSensitivity:
    """`selective_sensitivity` of node 0's logits on the features of several graphs, in float64.

    `asked` are numbers of the neighbours that are asked for, from 0; the others are all other neighbours.
    """
    count, neighbours = len(x), x.shape[1] - FIRST
    others = np.array([np.delete(np.arange(neighbours), m) for m in asked]).reshape(count, -1)
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    # Fresh arrays: of one that a program in float32 closed over, JAX keeps the float32 version for good.
    logits = Partial(_logits, Partial(model.apply), wide, jax.tree.map(np.array, graph))
    h = np.asarray(x, np.float64)
    return selective_sensitivity(logits, h, node=CENTRE, queried=FIRST + np.asarray(asked), others=FIRST + others)


def _logits(apply: Any, params: Any, graph: Any, x: Any) -> Any:
    return apply(params, graph, x)

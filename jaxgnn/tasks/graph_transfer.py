"""Graph transfer: two nodes of a line or ring exchange their features, all other nodes keep theirs."""

from typing import Literal, get_args

import networkx as nx
import numpy as np
from jaxtyping import Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.graphs.prepare import prepare
from jaxgnn.host.options import check_known, check_whole
from jaxgnn.tasks.many_graphs import ManyGraphs, many_graphs

TransferGraph = Literal["line", "ring", "crossed_ring"]


def graph_transfer(
    kind: TransferGraph = "line",
    distance: int = 5,
    *,
    num_train: int = 1000,
    num_val: int = 100,
    num_test: int = 100,
    batch_size: int = 16,
    normalisation: Normalisation = "sym",
    hops: int | None = None,
    seed: int = 0,
) -> ManyGraphs:
    """The task of swapping the features of a source and a target node at a given distance.

    One graph for all samples: a line of distance + 1 nodes, or a ring, with crosses or without, of 2 distance nodes.
    x [n, 1] is uniform on [0, 1], but 1 at the source (node 0) and 0 at the target (node `distance`); the targets
    [n, 1] are x with these two swapped. Loss and score are the mean squared error over all nodes of a split.

    Two numbers to hold a score against. Copying x scores 2 / n: both ends are wrong by 1. And 0 is within reach
    without a single edge, because only the two ends have features of exactly 1 and 0: a node-wise function that maps
    1 to 0, 0 to 1 and the rest to itself is perfect. Train layer="mlp" beside the graph networks to see how much of
    that a network finds.

    Args:
      kind: "line", "ring" or "crossed_ring" (`transfer_pairs`).
      distance: edges on a shortest path from source to target. The public generator's line of "distance" k has k
        nodes, so that its ends are k - 1 apart; ours are k apart, as in its rings.
      num_train, num_val, num_test: samples, 1000 / 100 / 100 as published; every split has a stream of its own.
      batch_size: graphs in a batch.
      normalisation, hops: as in `jaxgnn.prepare`.
      seed: of the features.

    Raises:
      ValueError: an option is not known or out of its range.

    Source: Gravina et al. 2025 (SWAN, arXiv 2405.01009), after Di Giovanni et al. 2023 (arXiv 2302.02941).
    """
    check_known("kind", kind, get_args(TransferGraph))
    check_whole("distance", distance, least=1 if kind == "line" else 2)
    n = distance + 1 if kind == "line" else 2 * distance
    graph = transfer_graph(kind, n, normalisation=normalisation, hops=hops)
    split = split_of(num_train, num_val, num_test)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(checked_seed(seed)).spawn(3)]
    x = np.concatenate([rng.random((len(part), n, 1), np.float32) for rng, part in zip(streams, split, strict=True)])
    x[:, 0], x[:, distance] = 1, 0
    y = x.copy()
    y[:, 0], y[:, distance] = 0, 1
    return many_graphs(
        [graph] * len(x), list(x), list(y), split=split, batch_size=batch_size, level="node", loss="mse", metric="mse"
    )


def transfer_pairs(kind: str, n: int) -> Int[np.ndarray, "m 2"]:
    """Undirected edges of a line, ring or crossed ring of nodes 0 .. n - 1; a ring has at least 3.

    The crosses join node i of one side, i < n // 2, with nodes n - 1 - i and n + 1 - i of the other: the neighbours
    of its mirror image n - i. They shorten no path from node 0 to node n / 2 of an even ring.
    """
    ring = nx.path_graph(n) if kind == "line" else nx.cycle_graph(n)
    if kind == "crossed_ring":
        ring.add_edges_from((i, n - 1 - i) for i in range(n // 2) if i != n - 1 - i)
        ring.add_edges_from((i, n + 1 - i) for i in range(2, n // 2) if i != n + 1 - i)
    return np.array(ring.edges(), np.int64).reshape(-1, 2)


def transfer_graph(kind: str, n: int, *, normalisation: Normalisation = "sym", hops: int | None = None) -> Graph:
    """`transfer_pairs` in both directions, prepared."""
    u, v = transfer_pairs(kind, n).T
    senders, receivers = np.concatenate([u, v]), np.concatenate([v, u])
    return prepare(senders=senders, receivers=receivers, num_nodes=n, normalisation=normalisation, hops=hops)


def split_of(num_train: int, num_val: int, num_test: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the training, validation and test graphs, in this order."""
    for option, value in (("num_train", num_train), ("num_val", num_val), ("num_test", num_test)):
        check_whole(option, value, least=1)
    train, val, test = np.split(np.arange(num_train + num_val + num_test), [num_train, num_train + num_val])
    return train, val, test


def checked_seed(seed: int) -> int:
    """The seed, an integer of at least 0, or a ValueError."""
    check_whole("seed", seed, least=0)
    return int(seed)

"""Data sets that need no file: Zachary's karate club and the contextual stochastic block model."""

import networkx as nx
import numpy as np
from jaxtyping import Int

from jaxgnn.data.dataset import Dataset
from jaxgnn.data.edges import undirected_graph
from jaxgnn.data.planted import Planted


def karate() -> Dataset:
    """Zachary's karate club (1977): 34 nodes, 78 unweighted edges, x = I, the club joined as the class.

    The two leaders, nodes 0 and 33, train; of the others even nodes validate and odd nodes test.
    """
    club = nx.karate_club_graph()
    n = club.number_of_nodes()
    nodes = np.arange(n)
    leader = (nodes == 0) | (nodes == n - 1)
    return Dataset(
        name="karate",
        split="default",
        graph=undirected_graph(np.array(club.edges()), n, keep_loops=False),
        x=np.eye(n, dtype=np.float32),
        labels=np.array([club.nodes[v]["club"] == "Officer" for v in nodes], np.int32),
        num_classes=2,
        train_mask=leader,
        val_mask=~leader & (nodes % 2 == 0),
        test_mask=~leader & (nodes % 2 == 1),
        files={},
    )


def csbm(
    *,
    num_nodes: int = 200,
    num_classes: int = 3,
    num_features: int = 16,
    average_degree: float = 6.0,
    homophily: float = 0.8,
    signal: float = 1.25,
    train_per_class: int = 20,
    val_fraction: float = 0.3,
    seed: int = 0,
) -> Dataset:
    """A contextual stochastic block model (Deshpande et al. 2018, 1807.09596) of k balanced classes.

    Args:
      num_nodes: n.
      num_classes: k; class sizes differ by at most one.
      num_features: f, at least k - 1.
      average_degree: expected number of neighbours of a node.
      homophily: probability that an edge joins equal classes.
      signal: distance of the class means from the origin, where the noise in every feature has unit variance.
      train_per_class: training nodes drawn from each class.
      val_fraction: fraction of all nodes that validate; the remaining ones test.
      seed: of the graph, the features and the split.

    Returns:
      A simple undirected graph. x_v = signal * m_(y_v) + z_v with z_v ~ N(0, I), where the means m_c are the
      corners of a regular simplex of unit radius in a random direction: +u and -u for two classes, as in the
      paper, whose mu is signal^2 n / f.

    Raises:
      ValueError: an option is out of its range, or the graph cannot hold that many edges.
    """
    planted = Planted(
        num_nodes=num_nodes,
        num_classes=num_classes,
        num_features=num_features,
        average_degree=average_degree,
        homophily=homophily,
        signal=signal,
        train_per_class=train_per_class,
        val_fraction=val_fraction,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    labels = planted.labels(rng)
    return planted.dataset("csbm", rng, labels, _sample_edges(rng, planted, labels))


def _sample_edges(rng: np.random.Generator, planted: Planted, labels: Int[np.ndarray, "n"]) -> Int[np.ndarray, "m 2"]:
    # Independent pairs of equal probability are a binomial number of distinct pairs: draw it, then the pairs.
    by_class = np.argsort(labels, kind="stable")
    k, homophily = planted.num_classes, planted.homophily
    sizes = np.bincount(labels, minlength=k)
    starts = np.cumsum(sizes) - sizes
    expected = len(labels) * planted.average_degree / 2
    first, second = np.triu_indices(k, 1)
    within, between = sizes * (sizes - 1) // 2, sizes[first] * sizes[second]

    block, t = _draw_pairs(rng, planted, within, homophily * expected)
    # Pair t of a block is (i, j), j < i, with t = i (i - 1) / 2 + j; the root is rounded, so it is corrected.
    i = ((1 + np.sqrt(1 + 8.0 * t)) / 2).astype(np.int64)
    i -= i * (i - 1) // 2 > t
    i += i * (i + 1) // 2 <= t
    inner = np.stack([starts[block] + i, starts[block] + t - i * (i - 1) // 2], axis=1)

    block, t = _draw_pairs(rng, planted, between, (1 - homophily) * expected)
    a, b = first[block], second[block]
    outer = np.stack([starts[a] + t // sizes[b], starts[b] + t % sizes[b]], axis=1)
    return by_class[np.concatenate([inner, outer])]


def _draw_pairs(
    rng: np.random.Generator, planted: Planted, blocks: Int[np.ndarray, "blocks"], expected: float
) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]:
    """Distinct pairs, `expected` on average, from blocks of these sizes: (block, number within the block)."""
    total = int(blocks.sum())
    planted.check_pairs(expected, total)
    count = rng.binomial(total, expected / total) if total else 0
    pair = rng.choice(total, count, replace=False, shuffle=False) if count else np.zeros(0, np.int64)
    ends = np.cumsum(blocks)
    block = np.searchsorted(ends, pair, side="right")
    return block, pair - (ends - blocks)[block]

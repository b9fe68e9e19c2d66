"""Data sets that need no file: Zachary's karate club and the contextual stochastic block model."""

import math

import networkx as nx
import numpy as np
from jaxtyping import Bool, Int

from jaxgnn.data.dataset import Dataset
from jaxgnn.data.edges import undirected_graph


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
    for option, value in (
        ("num_nodes", num_nodes),
        ("num_classes", num_classes),
        ("num_features", num_features),
    ):
        _require(option, value, isinstance(value, int | np.integer), "an integer")
    for option, value in (("train_per_class", train_per_class), ("seed", seed)):
        _require(option, value, isinstance(value, int | np.integer) and value >= 0, "an integer of at least 0")
    _require("num_classes", num_classes, 2 <= num_classes <= num_nodes, f"2 to num_nodes = {num_nodes}")
    _require("num_features", num_features, num_features >= num_classes - 1, "at least num_classes - 1")
    _require("average_degree", average_degree, 0 <= average_degree < math.inf, "a finite number of at least 0")
    _require("homophily", homophily, 0 <= homophily <= 1, "0 to 1")
    _require("signal", signal, 0 <= signal < math.inf, "a finite number of at least 0")
    _require("val_fraction", val_fraction, 0 < val_fraction < 1, "between 0 and 1")
    smallest = num_nodes // num_classes
    _require("train_per_class", train_per_class, 1 <= train_per_class <= smallest, f"1 to {smallest}")
    num_val = round(val_fraction * num_nodes)
    room = num_nodes - train_per_class * num_classes - 1
    _require("val_fraction", val_fraction, 1 <= num_val <= room, f"worth 1 to {room} of {num_nodes} nodes")

    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_nodes) % num_classes)
    pairs = _sample_edges(rng, labels, num_classes, average_degree, homophily)
    means = _simplex(rng, num_classes, num_features)
    x = signal * means[labels] + rng.standard_normal((num_nodes, num_features))

    train_mask, val_mask = _draw_split(rng, labels, train_per_class, num_val)
    return Dataset(
        name="csbm",
        split="default",
        graph=undirected_graph(pairs, num_nodes, keep_loops=False),
        x=x.astype(np.float32),
        labels=labels.astype(np.int32),
        num_classes=num_classes,
        train_mask=train_mask,
        val_mask=val_mask,
        test_mask=~train_mask & ~val_mask,
        files={},
    )


def _require(option: str, value: float, condition: bool, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{option}={value!r} is not allowed: it must be {allowed}.")


def _draw_split(
    rng: np.random.Generator, labels: Int[np.ndarray, "n"], train_per_class: int, num_val: int
) -> Bool[np.ndarray, "2 n"]:
    """The training mask, the same number from each class, and the validation mask."""
    n = len(labels)
    order = rng.permutation(n)
    # The first train_per_class nodes of each class in the random order: sort by class, then count within it.
    by_class = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    rank = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    train_mask, val_mask = np.zeros((2, n), bool)
    train_mask[by_class[rank < train_per_class]] = True
    val_mask[order[~train_mask[order]][:num_val]] = True
    return np.stack([train_mask, val_mask])


def _simplex(rng: np.random.Generator, num_classes: int, num_features: int) -> np.ndarray:
    # Corners e_c - 1/k, in an orthonormal basis of their span, scaled to unit length, turned at random.
    corners = np.linalg.svd(np.eye(num_classes) - 1 / num_classes)[0][:, : num_classes - 1]
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    basis = np.linalg.qr(rng.standard_normal((num_features, num_classes - 1)))[0]
    return corners @ basis.T


def _sample_edges(
    rng: np.random.Generator, labels: Int[np.ndarray, "n"], k: int, average_degree: float, homophily: float
) -> Int[np.ndarray, "m 2"]:
    # Independent pairs of equal probability are a binomial number of distinct pairs: draw it, then the pairs.
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=k)
    starts = np.cumsum(sizes) - sizes
    expected = len(labels) * average_degree / 2
    first, second = np.triu_indices(k, 1)
    within, between = sizes * (sizes - 1) // 2, sizes[first] * sizes[second]

    block, t = _draw_pairs(rng, within, homophily * expected, average_degree, homophily)
    # Pair t of a block is (i, j), j < i, with t = i (i - 1) / 2 + j; the root is rounded, so it is corrected.
    i = ((1 + np.sqrt(1 + 8.0 * t)) / 2).astype(np.int64)
    i -= i * (i - 1) // 2 > t
    i += i * (i + 1) // 2 <= t
    inner = np.stack([starts[block] + i, starts[block] + t - i * (i - 1) // 2], axis=1)

    block, t = _draw_pairs(rng, between, (1 - homophily) * expected, average_degree, homophily)
    a, b = first[block], second[block]
    outer = np.stack([starts[a] + t // sizes[b], starts[b] + t % sizes[b]], axis=1)
    return by_class[np.concatenate([inner, outer])]


def _draw_pairs(
    rng: np.random.Generator, blocks: np.ndarray, expected: float, average_degree: float, homophily: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs, `expected` on average, from blocks of these sizes: (block, number within the block)."""
    total = int(blocks.sum())
    if expected > total:
        raise ValueError(
            f"average_degree={average_degree!r} with homophily={homophily!r} is not allowed: it needs "
            f"{expected:.0f} edges of one kind where only {total} pairs exist; lower the degree or add nodes."
        )
    count = rng.binomial(total, expected / total) if total else 0
    pair = rng.choice(total, count, replace=False, shuffle=False) if count else np.zeros(0, np.int64)
    ends = np.cumsum(blocks)
    block = np.searchsorted(ends, pair, side="right")
    return block, pair - (ends - blocks)[block]

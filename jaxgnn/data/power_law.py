"""A graph with heavy hubs: degrees by a power law, classes, features and a split as the csbm has them."""

import math

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import brentq

from jaxgnn.data.dataset import Dataset
from jaxgnn.data.planted import Planted, require

_ROUNDS = 1000


def power_law(
    *,
    num_nodes: int = 200,
    num_classes: int = 3,
    num_features: int = 16,
    average_degree: float = 6.0,
    exponent: float = 2.5,
    max_degree: float | None = None,
    homophily: float = 0.8,
    signal: float = 1.25,
    train_per_class: int = 20,
    val_fraction: float = 0.3,
    seed: int = 0,
) -> Dataset:
    """A random graph whose degrees follow a power law, with k balanced classes: Chung & Lu 2002, with classes.

    Every node draws a weight w from the Pareto law of density proportional to w^(-exponent) between w_min and
    max_degree, w_min such that the mean is `average_degree`. There are round(num_nodes average_degree / 2) edges, each
    within a class with probability `homophily`. One end is drawn in proportion to w, the other one in proportion to w
    among the nodes of its class, or else of the others; loops and pairs that are there already are drawn again. This
    takes from the heaviest hubs; the degrees of all other nodes are in proportion to w, with Poisson noise.

    Args:
      num_nodes, num_classes, num_features, average_degree, homophily, signal, train_per_class, val_fraction, seed: as
        for `csbm`, but the number of edges is exact and average_degree above 0.
      exponent: gamma, above 2. Hubs of the size n^(1 / (gamma - 1)): at 2.1 some nodes see a good part of the graph.
      max_degree: largest weight, above average_degree; num_nodes - 1 when absent.

    Returns:
      A simple undirected graph, with features, labels and masks as `csbm` gives.

    Raises:
      ValueError: an option is out of its range, or the graph cannot hold that many edges.

    Source: expected degrees by Chung & Lu 2002 (Annals of Combinatorics 6); classes by the degree-corrected block
    model of Karrer & Newman 2011 (arXiv 1008.3926).
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
    most = num_nodes - 1
    largest = most if max_degree is None else max_degree
    require("exponent", exponent, lambda v: 2 < v < np.inf, "a finite number above 2")
    require("average_degree", average_degree, lambda v: 0 < v < most, f"above 0 and below num_nodes - 1 = {most}")
    if max_degree is not None:
        allowed = f"above average_degree = {average_degree} and at most num_nodes - 1 = {most}"
        require("max_degree", max_degree, lambda v: average_degree < v <= most, allowed)

    rng = np.random.default_rng(seed)
    labels = planted.labels(rng)
    weights = pareto(rng.random(num_nodes), exponent, average_degree, largest)
    return planted.dataset("power_law", rng, labels, _sample_edges(rng, planted, labels, weights))


def pareto(u: Float[np.ndarray, "n"], exponent: float, mean: float, largest: float) -> Float[np.ndarray, "n"]:
    """Quantiles at u < 1 of the law of density proportional to w^(-exponent) on [w_min, largest] with this mean."""
    tail = exponent - 1

    # E[w] = w_min (g - 1) / (g - 2) (1 - r^(g - 2)) / (1 - r^(g - 1)), r = w_min / largest; it grows with r.
    def excess(log_r: float) -> float:
        above = np.expm1((tail - 1) * log_r) / np.expm1(tail * log_r)
        return largest * np.exp(log_r) * tail / (tail - 1) * above - mean

    r = math.exp(float(brentq(excess, np.log(mean / largest) - 800 / tail, -1e-15)))
    # P(W > w) = 1 - u = ((w / w_min)^(1 - g) - r^(g - 1)) / (1 - r^(g - 1)), solved for w.
    return largest * r * (1 - u + u * r**tail) ** (-1 / tail)


def _sample_edges(
    rng: np.random.Generator, planted: Planted, labels: Int[np.ndarray, "n"], weights: Float[np.ndarray, "n"]
) -> Int[np.ndarray, "m 2"]:
    n, num_edges = planted.num_nodes, round(planted.num_nodes * planted.average_degree / 2)
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=planted.num_classes)
    pairs_within = int(np.sum(sizes * (sizes - 1) // 2))
    num_within = int(rng.binomial(num_edges, planted.homophily))
    keys = []
    for within, count, pairs in (
        (True, num_within, pairs_within),
        (False, num_edges - num_within, n * (n - 1) // 2 - pairs_within),
    ):
        planted.check_pairs(count, pairs)
        keys.append(_distinct_pairs(rng, planted, labels[by_class], weights[by_class], count, within=within))
    return by_class[np.stack(np.divmod(np.concatenate(keys), n), axis=1)]


def _distinct_pairs(rng, planted: Planted, labels, weights, count: int, *, within: bool) -> Int[np.ndarray, "count"]:
    """The first `count` different pairs of all that are drawn, as keys smaller * n + larger, sorted."""
    keys = np.zeros(0, np.int64)
    for _ in range(_ROUNDS):
        missing = count - keys.size
        if not missing:
            return keys
        new = draw_pairs(rng, labels, weights, missing, within=within)  # never more than are missing
        new.sort()
        place = np.searchsorted(keys, new)
        fresh = np.append(True, new[1:] != new[:-1])[: new.size]
        fresh &= keys[np.minimum(place, keys.size - 1)] != new if keys.size else True
        keys = np.insert(keys, place[fresh], new[fresh])
    raise ValueError(
        f"average_degree={planted.average_degree!r} is not allowed: the hubs are so heavy that {_ROUNDS} rounds of "
        f"draws found {keys.size} of {count} different edges; lower the degree or raise the exponent."
    )


def draw_pairs(rng, labels, weights, count: int, *, within: bool) -> Int[np.ndarray, "m"]:
    """Keys of at most `count` pairs: those that are loops are left out. The nodes are sorted by class."""
    n = labels.size
    ends = np.cumsum(weights)  # node v owns [ends[v] - weights[v], ends[v])
    class_ends = np.append(0.0, ends[np.cumsum(np.bincount(labels)) - 1])

    def owner(points):
        return np.minimum(np.searchsorted(ends, points, side="right"), n - 1)

    # Sorted points are found several times faster than points in random order; one of two ends may be sorted.
    first = owner(np.sort(rng.random(count)) * ends[-1])
    low, high = class_ends[labels[first]], class_ends[labels[first] + 1]
    if within:
        points = low + rng.random(count) * (high - low)
    else:
        points = rng.random(count) * (ends[-1] - (high - low))
        points += np.where(points >= low, high - low, 0.0)
    order = np.argsort(points)
    second = np.empty_like(first)
    second[order] = owner(points[order])
    # A point at the end of a class may be rounded into the next one.
    kept = (first != second) & ((labels[first] == labels[second]) == within)
    first, second = first[kept], second[kept]
    return np.minimum(first, second) * n + np.maximum(first, second)

"""What generators with planted classes share: the options and their checks, the features, the split, the graph."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxgnn.data.dataset import Dataset, GraphsTuple, graphs_tuple
from jaxgnn.host.options import is_number, is_whole, shown


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Balanced classes on n nodes whose features and edges depend on them; the options are those of `csbm`.

    Raises:
      ValueError: an option is out of its range.
    """

    num_nodes: int
    num_classes: int
    num_features: int
    average_degree: float
    homophily: float
    signal: float
    train_per_class: int
    val_fraction: float
    seed: int

    def __post_init__(self) -> None:
        n, k = self.num_nodes, self.num_classes
        require("num_nodes", n, lambda v: is_whole(v) and v >= 1, "an integer of at least 1")
        for option in ("num_classes", "num_features"):
            require(option, getattr(self, option), is_whole, "an integer")
        for option in ("train_per_class", "seed"):
            require(option, getattr(self, option), lambda v: is_whole(v) and v >= 0, "an integer of at least 0")
        require("num_classes", k, lambda k: 2 <= k <= n, f"2 to num_nodes = {n}")
        require("num_features", self.num_features, lambda f: f >= k - 1, "at least num_classes - 1")
        finite = "a finite number of at least 0"
        require("average_degree", self.average_degree, lambda v: 0 <= v < math.inf, finite)
        require("homophily", self.homophily, lambda v: 0 <= v <= 1, "0 to 1")
        require("signal", self.signal, lambda v: 0 <= v < math.inf, finite)
        require("val_fraction", self.val_fraction, lambda v: 0 < v < 1, "between 0 and 1")
        smallest = n // k
        require("train_per_class", self.train_per_class, lambda v: 1 <= v <= smallest, f"1 to {smallest}")
        room = n - self.train_per_class * k - 1
        allowed = f"worth 1 to {room} of {n} nodes"
        require("val_fraction", self.val_fraction, lambda _: 1 <= self.num_val <= room, allowed)

    @property
    def num_val(self) -> int:
        """Nodes that validate."""
        return round(self.val_fraction * self.num_nodes)

    def labels(self, rng: np.random.Generator) -> Int[np.ndarray, "n"]:
        """Classes whose sizes differ by at most one, in random order."""
        return rng.permutation(np.arange(self.num_nodes) % self.num_classes)

    def dataset(
        self, name: str, rng: np.random.Generator, labels: Int[np.ndarray, "n"], pairs: Int[np.ndarray, "m 2"]
    ) -> Dataset:
        """The data set of these labels and distinct pairs, with its features and then its split drawn from `rng`."""
        means = _simplex(rng, self.num_classes, self.num_features)
        x = self.signal * means[labels] + rng.standard_normal((self.num_nodes, self.num_features))
        train_mask, val_mask = _draw_split(rng, labels, self.train_per_class, self.num_val)
        return Dataset(
            name=name,
            split="default",
            graph=simple_graph(pairs, self.num_nodes),
            x=x.astype(np.float32),
            labels=labels.astype(np.int32),
            num_classes=self.num_classes,
            train_mask=train_mask,
            val_mask=val_mask,
            test_mask=~train_mask & ~val_mask,
            files={},
        )

    def check_pairs(self, edges: float, pairs: int) -> None:
        """Raises ValueError where so many edges of one kind, within classes or between them, have not enough pairs."""
        if edges > pairs:
            raise ValueError(
                f"average_degree={self.average_degree!r} with homophily={self.homophily!r} is not allowed: it needs "
                f"{edges:.0f} edges of one kind where only {pairs} pairs exist; lower the degree or add nodes."
            )


def require(option: str, value: Any, inside: Callable[[Any], bool], allowed: str) -> None:
    """Raises ValueError, naming the option, its value and what is allowed, unless it is a number `inside` holds for."""
    if not is_number(value) or not inside(value):
        raise ValueError(f"{option}={shown(value)} is not allowed: it must be {allowed}.")


def simple_graph(pairs: Int[np.ndarray, "m 2"], num_nodes: int) -> GraphsTuple:
    """Both directions of distinct pairs of different nodes, sorted by receiver, then sender."""
    u, v = pairs.T
    keys = np.concatenate([u * num_nodes + v, v * num_nodes + u])  # distinct: sorting is enough, nothing to merge
    keys.sort()
    receivers = keys // num_nodes
    keys -= receivers * num_nodes
    return graphs_tuple(keys, receivers, num_nodes)


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


def _simplex(rng: np.random.Generator, num_classes: int, num_features: int) -> Float[np.ndarray, "k f"]:
    # Corners e_c - 1/k, in an orthonormal basis of their span, scaled to unit length, turned at random.
    corners = np.linalg.svd(np.eye(num_classes) - 1 / num_classes)[0][:, : num_classes - 1]
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    basis = np.linalg.qr(rng.standard_normal((num_features, num_classes - 1)))[0]
    return corners @ basis.T

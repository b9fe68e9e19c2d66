"""How far labels depend on features, and how much of that the graph lets through: no network is trained for it."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy import stats
from scipy.sparse.csgraph import shortest_path

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import SparseFeatures

RADII = (*range(11), 12, 14, 16)
SQUASHED = 1e-3  # share of walks below which what they bring is squashed
_NODES, _COLUMNS, _FOLDS, _RIDGES = 500, 16, 5, (1e-3, 1e-1, 1e1)


class Reach(NamedTuple):
    """What a linear predictor from features up to a distance gets right, on labelled nodes it was not fitted to.

    Attributes:
      radii: [r] distances up to which features are seen.
      right: [r, m] whether each node's label was predicted, out of fold.
      distance: the smallest radius whose score is within a standard error of the best, as long as the best is above
        radius 0's by a 95% interval; else 0.
    """

    radii: Int[np.ndarray, "r"]
    right: Float[np.ndarray, "r m"]
    distance: int

    def gain_beyond(self, field: int) -> tuple[float, float, float]:
        """Most right predictions that radii above `field` add, with a 95% interval corrected for how many there are."""
        inside = self.radii <= field
        if inside.all() or not inside.any():
            return 0.0, 0.0, 0.0
        base = self.right[np.flatnonzero(inside)[-1]]
        gains = [one - base for one in self.right[~inside]]
        best = max(gains, key=np.mean)
        z = stats.norm.ppf(1 - 0.025 / len(gains))
        half = z * best.std(ddof=1) / np.sqrt(best.size)
        return float(best.mean()), float(best.mean() - half), float(best.mean() + half)


def label_reach(task: Any, *, field: int | None = None, seed: int = 0) -> Reach | None:
    """The reach of a task with one label a node; None for others, and with too few labelled nodes to say.

    Features of node v are its own and the means over all nodes at distance 1, 2, .. exactly, in 16 random directions;
    the predictor is ridge regression on the classes, in five folds of the training and validation nodes. `field` is a
    radius that is tried in any case.
    """
    labels, masks = getattr(task, "labels", None), [getattr(task, f"{m}_mask", None) for m in ("train", "val")]
    if labels is None or any(m is None for m in masks) or np.ndim(labels) != 1:
        return None
    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)
    nodes = np.flatnonzero((np.asarray(masks[0]) | np.asarray(masks[1])) & (labels >= 0))
    if nodes.size < 10 * _FOLDS:
        return None
    nodes = rng.permutation(nodes)[:_NODES]
    x = task.x.dense() if isinstance(task.x, SparseFeatures) else np.asarray(task.x)
    x = np.asarray(x, np.float64)
    if x.shape[1] > _COLUMNS:
        x = x @ rng.standard_normal((x.shape[1], _COLUMNS)) / np.sqrt(x.shape[1])
    distances = _distances(task.graph, nodes)
    shells = [_shell_mean(distances, h, x) for h in range(RADII[-1] + 1)]
    Y = np.eye(int(labels.max()) + 1)[labels[nodes]]
    last = int(distances.max(initial=0))
    tried = sorted({*RADII, min(field or 0, RADII[-1])})
    radii = [r for i, r in enumerate(tried) if i == 0 or tried[i - 1] < last]
    folds = rng.permutation(np.arange(nodes.size) % _FOLDS)
    right = np.stack([_right(np.concatenate(shells[: r + 1], axis=1), Y, folds) for r in radii])
    best = right.mean(axis=1).argmax()
    gain = right[best] - right[0]
    error = right[best].std(ddof=1) / np.sqrt(nodes.size)
    distance = 0
    if best and gain.mean() > stats.norm.ppf(1 - 0.025 / len(radii)) * gain.std(ddof=1) / np.sqrt(nodes.size):
        distance = int(radii[int(np.argmax(right.mean(axis=1) >= right[best].mean() - error))])
    return Reach(np.array(radii), right, distance)


def passed_through(graph: Graph, nodes: Int[np.ndarray, "m"], distance: int, *, of: Graph | None = None) -> float:
    """sum over u at this distance of (|P|^distance)_vu over that of all u, mean over nodes v: what arrives from there.

    The share of walks as long as the distance that come from that far, weighted by P: the topology's factor of the
    sensitivity, whatever the weights. NaN where no node has any that far. `of` is the graph that distances are of,
    where `graph` is a rewired one.
    Source: Alon & Yahav 2021; Topping et al. 2022 (arXiv 2111.14522), lemma 1.
    """
    P = abs(graph.propagation.sparse().tocsr())
    walks = sp.csr_array((np.ones(nodes.size), (np.arange(nodes.size), nodes)), shape=(nodes.size, graph.num_nodes))
    for _ in range(distance):
        walks = walks @ P
    walks = np.asarray(walks.todense())
    there = _distances(graph if of is None else of, nodes) == distance
    has = there.any(axis=1) & (walks.sum(axis=1) > 0)
    if not has.any():
        return np.nan
    return float(((walks * there).sum(axis=1)[has] / walks.sum(axis=1)[has]).mean())


def _distances(graph: Graph, nodes: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m n"]:
    """Edges on the shortest path to each of the nodes from all; -1 where there is none."""
    n = graph.num_nodes
    kept = slice(None) if graph.edge_mask is None else np.asarray(graph.edge_mask) > 0
    senders, receivers = np.asarray(graph.senders)[kept], np.asarray(graph.receivers)[kept]
    A = sp.csr_array((np.ones(receivers.size), (receivers, senders)), shape=(n, n))
    found = shortest_path(A, unweighted=True, indices=nodes)
    return np.where(np.isfinite(found), found, -1).astype(np.int32)


def _shell_mean(distances: np.ndarray, h: int, x: np.ndarray) -> Float[np.ndarray, "m q"]:
    there = sp.csr_array((distances == h).astype(np.float64))
    count = np.asarray(there.sum(axis=1)).ravel()
    return (there @ x) / np.maximum(count, 1)[:, None]


def _right(F: np.ndarray, Y: np.ndarray, folds: np.ndarray) -> Float[np.ndarray, "m"]:
    """Whether each row's class is predicted by ridge regression on the other folds, at the best of three penalties."""
    spread = F.std(axis=0)
    F = (F - F.mean(axis=0)) / np.where(spread > 0, spread, 1)
    F = np.concatenate([F, np.ones((len(F), 1))], axis=1)
    found = np.zeros((len(_RIDGES), len(F)))
    for fold in range(_FOLDS):
        out = folds == fold
        A, B = F[~out].T @ F[~out], F[~out].T @ Y[~out]
        for i, ridge in enumerate(_RIDGES):
            W = np.linalg.solve(A + ridge * (~out).sum() * np.eye(len(A)), B)
            found[i, out] = (F[out] @ W).argmax(axis=1) == Y[out].argmax(axis=1)
    return found[found.mean(axis=1).argmax()]

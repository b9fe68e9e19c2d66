"""Rewiring: edges added to or removed from an undirected graph before `prepare`, against over-squashing."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxgnn.data.dataset import GraphsTuple
from jaxgnn.host.options import is_number, is_whole, shown

Neighbours = list[set[int]]  # S_1(v) of every node v, without v itself


class EdgeCurvature(NamedTuple):
    """A curvature of every undirected edge.

    Attributes:
      edges: [m, 2] nodes i < j of each edge, sorted; loops and duplicates left out.
      curvature: [m] Ric(i, j).
    """

    edges: Int[np.ndarray, "m 2"]
    curvature: Float[np.ndarray, "m"]


def fosr(graph: GraphsTuple, *, edges: int, initial_steps: int = 5, seed: int = 0) -> GraphsTuple:
    """First-order spectral rewiring: adds, one by one, the edges that raise the spectral gap most to first order.

    Each is the pair (i, j) without an edge of least x_i x_j / sqrt((1 + d_i)(1 + d_j)), x the current estimate of the
    second eigenvector of D^(-1/2) A D^(-1/2).

    Args:
      graph: one undirected graph, both directions of every edge; loops are kept and not counted in A.
      edges: undirected edges to add; both directions of each are appended, in the order they were chosen.
      initial_steps: power iterations before the first edge; one more between edges.
      seed: of the standard normal start of the power iteration.

    Raises:
      ValueError: an edge without its reverse, edge features, several graphs, an option below 0, or more edges than
        there are pairs of nodes without one.

    Source: Karhadkar, Banerjee & Montufar 2023 (2210.11790), algorithm 1, iterating I + D^(-1/2) A D^(-1/2).
    """
    _check_counts(edges=edges, initial_steps=initial_steps, seed=seed)
    neighbours = _neighbours(graph)
    n = len(neighbours)
    absent = n * (n - 1) // 2 - sum(map(len, neighbours)) // 2
    if edges > absent:
        raise ValueError(f"edges={edges} is too many: only {absent} pairs of different nodes have no edge yet")
    if edges == 0:
        return graph
    x = np.random.default_rng(seed).standard_normal(n)
    for _ in range(initial_steps):
        x = _power_step(x, neighbours)
    added = []
    for _ in range(edges):
        if added:
            x = _power_step(x, neighbours)
        added.append(_first_order_best(x, neighbours))
        _add(neighbours, *added[-1])
    return _rewired(graph, neighbours, added)


def balanced_forman(graph: GraphsTuple) -> EdgeCurvature:
    """Balanced Forman curvature of every edge of one undirected graph; above -2, and 0 at nodes of degree 1.

    With T the common neighbours of i and j, and Q_i the neighbours of i that form a 4-cycle i, k, w, j without
    diagonals,
      Ric(i, j) = 2/d_i + 2/d_j - 2 + 2 |T| / max(d_i, d_j) + |T| / min(d_i, d_j)
                  + (|Q_i| + |Q_j|) / (gamma max(d_i, d_j)),
    where gamma is the largest number of these 4-cycles through one node of Q_i or Q_j. Loops do not count.

    Raises ValueError for an edge without its reverse, edge features or several graphs.
    Source: Topping et al. 2022 (2111.14522), definitions 1 and 4.
    """
    curvature = _all_curvatures(_neighbours(graph))
    pairs = np.array(list(curvature), np.int64).reshape(-1, 2)
    return EdgeCurvature(pairs, np.array(list(curvature.values()), np.float64))


def sdrf(
    graph: GraphsTuple,
    *,
    steps: int,
    temperature: float = 100.0,
    remove_above: float | None = None,
    seed: int = 0,
) -> GraphsTuple:
    """Stochastic discrete Ricci flow: in each step an edge is added around the most negatively curved one.

    Of the edges (k, l) that are absent, k in B_1(i) and l in B_1(j), one is drawn with probabilities
    softmax(temperature x), x the improvement that it brings to Ric(i, j), the least balanced Forman curvature. An edge
    in a complete component offers none, and the next one is taken.

    Args:
      graph: one undirected graph, both directions of every edge; loops are kept and not counted.
      steps: number of undirected edges to add.
      temperature: tau, above 0: the larger, the greedier.
      remove_above: after each addition the edge of largest curvature is removed if it exceeds this; None: never.
      seed: of the draws.

    Raises:
      ValueError: an edge without its reverse, edge features, several graphs, an option out of range, or a step to
        take when every component is complete.

    Source: Topping et al. 2022 (2111.14522), algorithm 1.
    """
    _check_counts(steps=steps, seed=seed)
    if not (is_number(temperature) and 0 < temperature < np.inf):
        raise ValueError(f"temperature={shown(temperature)} is not allowed: a finite number above 0 is needed")
    if remove_above is not None and not is_number(remove_above):
        raise ValueError(f"remove_above={shown(remove_above)} is not allowed: a number or None is needed")
    neighbours = _neighbours(graph)
    curvature = _all_curvatures(neighbours)
    rng = np.random.default_rng(seed)
    added = []
    for step in range(steps):
        # Only in a complete component has an edge no candidates, and there the next edge is tried.
        by_curvature = sorted(curvature, key=lambda edge: (curvature[edge], edge))
        candidates = next(filter(None, (_candidates(neighbours, i, j) for i, j in by_curvature)), None)
        if candidates is None:
            raise ValueError(f"steps={steps} is too many: after {step} every component is complete, with none to add")
        x = np.array(list(candidates.values()))
        weights = np.exp(temperature * (x - x.max()))
        added.append(list(candidates)[rng.choice(len(x), p=weights / weights.sum())])
        _add(neighbours, *added[-1])
        _update(curvature, neighbours, *added[-1])
        if remove_above is not None:
            largest = min(curvature, key=lambda edge: (-curvature[edge], edge))
            if curvature[largest] > remove_above:
                _remove(neighbours, *largest)
                _update(curvature, neighbours, *largest)
    return _rewired(graph, neighbours, added)


def _power_step(x: np.ndarray, neighbours: Neighbours) -> np.ndarray:
    degree = np.array([len(S) for S in neighbours], np.float64)
    receivers = np.repeat(np.arange(len(neighbours)), degree.astype(np.int64))
    senders = np.fromiter((u for S in neighbours for u in S), np.int64, receivers.size)
    root = np.sqrt(degree)
    # sqrt(d) is the eigenvector of the eigenvalue 1: x - sqrt(d) <sqrt(d), x> / 2m has no part of it.
    x = x - root * (root @ x) / max(degree.sum(), 1.0)
    # I is added because the spectrum reaches down to -1 on bipartite graphs: lambda_2 is then the largest in modulus.
    # A node without edges is a component of its own, with L_vv = 0 and hence the eigenvalue 1.
    scaled = np.divide(x, root, out=np.zeros_like(x), where=degree > 0)
    Ax = np.bincount(receivers, scaled[senders], minlength=x.size)
    x = x + np.divide(Ax, root, out=x.copy(), where=degree > 0)
    return x / np.linalg.norm(x)


def _first_order_best(x: np.ndarray, neighbours: Neighbours) -> tuple[int, int]:
    # argmin of x_i x_j / sqrt((1 + d_i)(1 + d_j)) = y_i y_j over the pairs without an edge. The best partner of i
    # is the last one in the order of y that it is not joined to, or the first if y_i > 0: no n^2 products.
    y = x / np.sqrt([1.0 + len(S) for S in neighbours])
    ascending = np.argsort(y, kind="stable").tolist()
    descending = ascending[::-1]
    best = []
    for i, S in enumerate(neighbours):
        order = ascending if y[i] > 0 else descending
        partner = next((j for j in order if j != i and j not in S), None)
        if partner is not None:
            best.append((y[i] * y[partner], min(i, partner), max(i, partner)))
    _, i, j = min(best)
    return i, j


def _four_cycles(neighbours: Neighbours, i: int, j: int) -> tuple[dict[int, int], dict[int, int]]:
    """Number of diagonal-free 4-cycles based at (i, j) through each neighbour of i alone, and of j alone."""
    only_i = neighbours[i] - neighbours[j] - {j}
    only_j = neighbours[j] - neighbours[i] - {i}
    return {k: len(neighbours[k] & only_j) for k in only_i}, {l: len(neighbours[l] & only_i) for l in only_j}


def _squares_and_gamma(through_i: dict[int, int], through_j: dict[int, int]) -> tuple[int, int]:
    """|Q_i| + |Q_j|, and gamma; 1 where there is no 4-cycle, whose term is then 0 and not 0 / 0."""
    counts = [*through_i.values(), *through_j.values()]
    return sum(count > 0 for count in counts), max([1, *counts])


def _curvature(neighbours: Neighbours, i: int, j: int) -> float:
    low, high = sorted((len(neighbours[i]), len(neighbours[j])))
    if low == 1:
        return 0.0
    triangles = len(neighbours[i] & neighbours[j])
    squares, gamma = _squares_and_gamma(*_four_cycles(neighbours, i, j))
    # Ric = 2/d_i + 2/d_j - 2 + 2 |T| / max + |T| / min + (|Q_i| + |Q_j|) / (gamma max)
    return 2 / low + 2 / high - 2 + 2 * triangles / high + triangles / low + squares / (gamma * high)


def _all_curvatures(neighbours: Neighbours) -> dict[tuple[int, int], float]:
    return {(i, j): _curvature(neighbours, i, j) for i, S in enumerate(neighbours) for j in sorted(S) if i < j}


def _candidates(neighbours: Neighbours, i: int, j: int) -> dict[tuple[int, int], float]:
    """Each absent edge between B_1(i) and B_1(j), with the improvement of Ric(i, j) that adding it brings."""
    before, high = _curvature(neighbours, i, j), max(len(neighbours[i]), len(neighbours[j]))
    through_i, through_j = _four_cycles(neighbours, i, j)
    squares, gamma = _squares_and_gamma(through_i, through_j)
    improvements = {}
    for k in sorted(neighbours[i] | {i}):
        for l in sorted((neighbours[j] | {j}) - neighbours[k] - {k}):
            improvement = 0.0  # k or l is a common neighbour: (k, l) closes no triangle and no such 4-cycle.
            if k == i or l == j:
                _add(neighbours, k, l)
                improvement = _curvature(neighbours, i, j) - before
                _remove(neighbours, k, l)
            elif k in through_i and l in through_j:
                # One more 4-cycle, i, k, l, j: counting them all again for each of d_i d_j pairs would be slow.
                more = squares + (through_i[k] == 0) + (through_j[l] == 0)
                improvement = (more / max(gamma, through_i[k] + 1, through_j[l] + 1) - squares / gamma) / high
            improvements[min(k, l), max(k, l)] = improvement
    return improvements


def _update(curvature: dict[tuple[int, int], float], neighbours: Neighbours, k: int, l: int) -> None:
    # (k, l) enters Ric(i, j) through the neighbours of i or j, or as the far side of the 4-cycle i, k, l, j.
    changed = {(k, u) for u in neighbours[k]} | {(l, u) for u in neighbours[l]}
    changed |= {(i, j) for i in neighbours[k] for j in neighbours[i] & neighbours[l]}
    curvature.pop((min(k, l), max(k, l)), None)
    for i, j in changed:
        curvature[min(i, j), max(i, j)] = _curvature(neighbours, i, j)


def _add(neighbours: Neighbours, i: int, j: int) -> None:
    neighbours[i].add(j)
    neighbours[j].add(i)


def _remove(neighbours: Neighbours, i: int, j: int) -> None:
    neighbours[i].remove(j)
    neighbours[j].remove(i)


def _neighbours(graph: GraphsTuple) -> Neighbours:
    if not isinstance(graph, GraphsTuple):
        raise ValueError(f"a jraph.GraphsTuple is rewired, before prepare(), not {type(graph).__name__}")
    if graph.edges is not None:
        raise ValueError("the graph has edge features, which new edges would lack: pass graph._replace(edges=None)")
    if np.size(graph.n_node) != 1:
        raise ValueError(f"one graph is needed, and n_node holds {np.size(graph.n_node)}")
    n = int(np.sum(graph.n_node))
    neighbours = [set() for _ in range(n)]
    for sender, receiver in zip(np.asarray(graph.senders).tolist(), np.asarray(graph.receivers).tolist(), strict=True):
        if not (0 <= sender < n and 0 <= receiver < n):
            raise ValueError(f"edge {sender} -> {receiver} names a node that is not there: nodes are 0 to {n - 1}")
        if sender != receiver:
            neighbours[receiver].add(sender)
    for receiver, S in enumerate(neighbours):
        for sender in S:
            if receiver not in neighbours[sender]:
                raise ValueError(f"edge {sender} -> {receiver} has no edge back: an undirected graph is needed")
    return neighbours


def _rewired(graph: GraphsTuple, neighbours: Neighbours, added: list[tuple[int, int]]) -> GraphsTuple:
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    old = list(zip(senders.tolist(), receivers.tolist(), strict=True))
    keep = np.array([s == r or s in neighbours[r] for s, r in old], bool)
    # An edge can be added, removed and added again, and one of the given graph can be removed and added again.
    given = set(old)
    new = [(i, j) for i, j in dict.fromkeys(added) if j in neighbours[i] and (i, j) not in given]
    pairs = np.array(new, np.int64).reshape(-1, 2)
    senders = np.concatenate([senders[keep], pairs.ravel()]).astype(senders.dtype)
    receivers = np.concatenate([receivers[keep], pairs[:, ::-1].ravel()]).astype(receivers.dtype)
    return graph._replace(
        senders=senders, receivers=receivers, n_edge=np.array([senders.size], np.asarray(graph.n_edge).dtype)
    )


def _check_counts(**options: int) -> None:
    for name, value in options.items():
        if not is_whole(value) or value < 0:
            raise ValueError(f"{name}={shown(value)} is not allowed: an integer of 0 or more is needed")

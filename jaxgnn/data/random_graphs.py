"""Random graphs of many families with a few edges rewired, for the prediction of graph properties."""

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import networkx as nx
import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float
from scipy.sparse.csgraph import connected_components, shortest_path

from jaxgnn.host.options import check_known, check_whole, checked_list

Disconnected = Literal["redraw", "largest", "within"]
# How often each family is drawn.
MIXTURE = MappingProxyType(
    {
        "erdos_renyi": 0.2,
        "barabasi_albert": 0.2,
        "grid": 0.05,
        "caveman": 0.05,
        "tree": 0.15,
        "ladder": 0.05,
        "line": 0.05,
        "star": 0.05,
        "caterpillar": 0.1,
        "lobster": 0.1,
    }
)
KEEP = 0.9


class RandomGraphs(NamedTuple):
    """G graphs and what was drawn to obtain them.

    Attributes:
      adjacency: of each graph [n, n], symmetric, no loops, every node with an edge.
      families: of each graph its name in MIXTURE.
      drawn: graphs drawn, those thrown away included.
      isolated: of these, thrown away because a node had no edge.
      disconnected: of the others, how many were not connected: thrown away by "redraw", cut by "largest", kept by
        "within".
    """

    adjacency: list[Bool[np.ndarray, "n n"]]
    families: list[str]
    drawn: int
    isolated: int
    disconnected: int

    def family_counts(self) -> dict[str, int]:
        """How many of the graphs are of each family of MIXTURE."""
        return {family: self.families.count(family) for family in MIXTURE}


def random_graphs(rng: np.random.Generator, sizes: Sequence[int], *, disconnected: Disconnected) -> RandomGraphs:
    """One graph for each of the sizes: a family of MIXTURE, nodes in random order, edges rewired (`rewired`).

    A graph with an isolated node is drawn again from its family, as in the public generator. What is done with the
    other disconnected ones (all of the caves of "caveman" before rewiring, many trees that lost an edge):
      redraw   family and graph are drawn again, so that all graphs are connected;
      largest  the largest component replaces the graph, which becomes smaller (the first of equally large ones);
      within   the graph stays.

    Raises ValueError for another `disconnected`, or a size that is not 4 and more.
    Source: the mixture and its generators follow Corso et al. 2020 (PNA, arXiv 2004.05718), appendix.
    """
    check_known("disconnected", disconnected, get_args(Disconnected))
    for n in checked_list("sizes", sizes):
        check_whole("sizes", n, least=4)
    graphs, families, drawn, isolated, apart = [], [], 0, 0, 0
    names = list(MIXTURE)
    for n in sizes:
        family = names[rng.choice(len(names), p=list(MIXTURE.values()))]
        while True:
            A = rewired(rng, family_graph(rng, family, n))
            drawn += 1
            if not A.any(axis=0).all():
                isolated += 1
                continue
            count, component = connected_components(A, directed=False)
            apart += count > 1
            if count == 1 or disconnected != "redraw":
                break
            family = names[rng.choice(len(names), p=list(MIXTURE.values()))]
        if disconnected == "largest":
            inside = component == np.bincount(component).argmax()
            A = A[inside][:, inside]
        graphs.append(A)
        families.append(family)
    return RandomGraphs(graphs, families, drawn, isolated, apart)


def family_graph(rng: np.random.Generator, family: str, n: int) -> Bool[np.ndarray, "n n"]:
    """Adjacency matrix of one graph of a family of MIXTURE on n >= 4 nodes in random order.

    The edge probability of "erdos_renyi" is uniform on [0, 1], the edges that a node of "barabasi_albert" brings on
    1 .. n - 1; grids and caves are as square as n allows: one row, or one clique, where n is prime.
    """
    seed = int(rng.integers(2**31))
    side = max(k for k in range(1, math.isqrt(n) + 1) if n % k == 0)
    make = {
        "erdos_renyi": lambda: nx.fast_gnp_random_graph(n, rng.random(), seed=seed),
        "barabasi_albert": lambda: nx.barabasi_albert_graph(n, int(rng.integers(1, n)), seed=seed),
        "grid": lambda: nx.grid_2d_graph(side, n // side),
        "caveman": lambda: nx.caveman_graph(side, n // side),
        "tree": lambda: nx.random_powerlaw_tree(n, seed=seed, tries=10_000),
        "ladder": lambda: _ladder(n),
        "line": lambda: nx.path_graph(n),
        "star": lambda: nx.star_graph(n - 1),
        "caterpillar": lambda: _hanging(rng, n, int(rng.integers(1, n)), n),
        "lobster": lambda: _lobster(rng, n),
    }[family]
    A = nx.to_numpy_array(make(), dtype=bool)
    order = rng.permutation(n)
    return A[order][:, order]


def rewired(rng: np.random.Generator, A: Bool[np.ndarray, "n n"], keep: float = KEEP) -> Bool[np.ndarray, "n n"]:
    """The graph with some edges taken away and others added, each pair of nodes by itself.

    With e edges and r pairs without one, a pair's number u is compared with a threshold: an edge stays if
    u < keep, and a new one comes if u < (1 - keep) e / r; where e > r, if u < keep + (1 - keep) (e - r) / e and
    u < 1 - keep. As in the public generator, u is the sum of two numbers uniform on [0, 1/2]: an edge of a sparse
    graph goes with probability 2 (1 - keep)^2 = 0.02, not 0.1, and one comes with 2 ((1 - keep) e / r)^2.
    """
    n = len(A)
    upper = np.triu_indices(n, 1)
    edge = A[upper]
    e = int(edge.sum())
    r = edge.size - e
    if e <= r:
        stay, come = keep, (1 - keep) * e / max(r, 1)
    else:
        stay, come = keep + (1 - keep) * (e - r) / e, 1 - keep
    u = rng.random((2, edge.size)).sum(axis=0) / 2
    new = np.zeros_like(A)
    new[upper] = np.where(edge, u < stay, u < come)
    return new | new.T


def shortest_paths(A: Bool[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Numbers of edges on shortest paths, infinite where there is none."""
    # Sparse: of a dense array that is not C-contiguous SciPy 1.17.1 silently finds no path longer than an edge.
    return shortest_path(sp.csr_array(A), method="D", directed=False, unweighted=True)


def _ladder(n: int) -> nx.Graph:
    graph = nx.ladder_graph(n // 2)
    if n % 2:
        graph.add_edge(0, n - 1)
    return graph


def _lobster(rng: np.random.Generator, n: int) -> nx.Graph:
    backbone = int(rng.integers(1, n))
    return _hanging(rng, n, backbone, int(rng.integers(backbone + 1, n + 1)))


def _hanging(rng: np.random.Generator, n: int, backbone: int, inner: int) -> nx.Graph:
    """A path of `backbone` nodes, the nodes up to `inner` hung on it at random, and the rest hung on those."""
    graph = nx.path_graph(backbone)
    graph.add_edges_from((int(rng.integers(backbone)), v) for v in range(backbone, inner))
    graph.add_edges_from((int(rng.integers(backbone, inner)), v) for v in range(inner, n))
    return graph

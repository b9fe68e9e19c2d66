"""Rows that devices exchange in one P X: what the busiest part needs, and what each receives in equal rounds.

Command: python -m jaxgnn.experiments.bench.partition --nodes 170000 --parts 16
Prints a line for every kind of graph and number of parts: rows needed and received as `partitioned` packs them, and
as reverse Cuthill-McKee and a round for every distance between parts would have it.
"""

import time
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import tyro

import jaxgnn as jg
from jaxgnn.data import csbm, power_law
from jaxgnn.graphs.partition import partitioned
from jaxgnn.report.terminal import print_table


@dataclass(frozen=True)
class Config:
    """What to partition.

    Attributes:
      nodes: of the graphs.
      average_degree: neighbours of a node.
      parts: numbers of devices.
    """

    nodes: int = 170_000
    average_degree: float = 14.0
    parts: tuple[int, ...] = (4, 16)


def by_distance(P: sp.csr_matrix, parts: int) -> tuple[int, int]:
    """Rows that the busiest part needs, and that each receives, in that order and those rounds."""
    n, m = P.shape[0], -(-P.shape[0] // parts)
    place = np.empty(n, np.int64)
    place[sp.csgraph.reverse_cuthill_mckee(P, symmetric_mode=True)] = np.arange(n)
    entries = P.tocoo()
    read = np.unique(place[entries.row] // m * n + place[entries.col])
    rows = np.zeros((parts, parts), np.int64)
    np.add.at(rows, (read // n, read % n // m), 1)
    np.fill_diagonal(rows, 0)
    longest = [max(rows[(p + shift) % parts, p] for p in range(parts)) for shift in range(1, parts)]
    return int(rows.sum(1).max()), int(sum(longest))


def main(config: Config) -> None:
    lines = []
    for kind in (csbm, power_law):
        made = kind(num_nodes=config.nodes, average_degree=config.average_degree)
        graph = jg.prepare(made.graph)
        for parts in config.parts:
            needed, received = by_distance(graph.propagation.sparse(), parts)
            start = time.perf_counter()
            found = partitioned(graph, parts)
            seconds = time.perf_counter() - start
            now = (f"{found.halo.max():,}", f"{found.received:,}", f"{found.excess:.2f}")
            before = (f"{needed:,}", f"{received:,}", f"{received / needed:.2f}")
            lines.append((kind.__name__, str(parts), *now, f"{seconds:.0f}", *before))
    columns = ("needed", "received", "ratio")
    print_table(("graph", "parts", *columns, "s", *(f"{name}, by distance" for name in columns)), lines)


if __name__ == "__main__":
    main(tyro.cli(Config))

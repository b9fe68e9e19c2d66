"""What `jaxgnn check` does: every statement of the theory on many random networks, with violations planted."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import tyro

from jaxgnn import data
from jaxgnn.data import DATASETS
from jaxgnn.host.cores import chosen_cores, side_by_side
from jaxgnn.host.occupied import occupied
from jaxgnn.host.options import check_known, check_whole, checked_list
from jaxgnn.host.spelling import meant
from jaxgnn.host.storage import as_json, environment, write_json
from jaxgnn.report.terminal import print_table, progress_bar
from jaxgnn.theory import STATEMENTS, Finding, Shape, examine

HEADER = ("statement", "source", "cases", "worst slack", "median", "planted", "")


@dataclass(frozen=True)
class CheckConfig:
    """What to check, and on what.

    Attributes:
      statements: their names; by default all.
      graph: "random" (connected graphs of eight kinds, 8 to 24 nodes), or a data set, whose largest component is taken.
      widths: features of the networks, taken in turn with the depths: 4 with 2, 16 with 8, 4 with 32 layers.
      depths: layers of the networks.
      seeds: networks of each of these shapes.
      seed: of all randomness.
      cores: statements at a time; by default one a core. The findings are the same for any.
    """

    statements: tuple[str, ...] = ()
    graph: str = "random"
    widths: tuple[int, ...] = (4, 16)
    depths: tuple[int, ...] = (2, 8, 32)
    seeds: int = 67
    seed: int = 0
    cores: int | None = None

    def __post_init__(self) -> None:
        for name in checked_list("statements", self.statements):
            if not isinstance(name, str) or name not in STATEMENTS:
                near = meant(name, STATEMENTS)
                raise ValueError(f"statement {name!r} is not known{near} allowed are {', '.join(STATEMENTS)}")
        check_known("graph", self.graph, ("random", *DATASETS))
        for option in ("widths", "depths"):
            values = checked_list(option, getattr(self, option))
            for value in values:
                check_whole(option, value)
            if not values or min(values) < 1:
                raise ValueError(f"{option}={','.join(map(str, values))}: allowed are one integer from 1, or more")
        check_whole("seeds", self.seeds, least=1)
        check_whole("seed", self.seed, least=0)
        _ = chosen_cores(self.cores)

    def shapes(self) -> list[Shape]:
        """Of the networks: widths and depths in turn; random graphs of 8, 16, 24, 8, .. nodes."""
        count = max(len(self.widths), len(self.depths))
        turns = [(self.widths[i % len(self.widths)], self.depths[i % len(self.depths)]) for i in range(count)]
        if self.graph == "random":
            return [Shape(8 + 8 * (i % 3), *pair) for i, pair in enumerate(turns)]
        dataset = data.largest_component(data.load_dataset(self.graph))
        edges = zip(np.asarray(dataset.graph.senders), np.asarray(dataset.graph.receivers), strict=True)
        graph = nx.Graph()
        graph.add_nodes_from(range(len(dataset.x)))
        graph.add_edges_from((int(u), int(v)) for u, v in edges if u != v)
        return [Shape(len(graph), *pair, graph) for pair in turns]


def check(config: CheckConfig, report: Callable[[str, float, float], None] | None = None) -> dict[str, Finding]:
    """Examines the statements; `report` is told each one's name and how many have begun."""
    names, shapes = config.statements or tuple(STATEMENTS), config.shapes()
    begun = count()

    def examined(name: str) -> Finding:
        if report is not None:
            report(name, next(begun), len(names))
        return examine(STATEMENTS[name], shapes, seeds=config.seeds, seed=config.seed)

    works = [partial(examined, name) for name in names]
    return dict(zip(names, side_by_side(works, chosen_cores(config.cores)), strict=True))


def table(findings: dict[str, Finding]) -> list[tuple[str, ...]]:
    """One row of texts a statement, under HEADER."""
    rows = []
    for finding in findings.values():
        caught = f"{finding.planted - len(finding.missed)} of {finding.planted} caught"
        cases = f"{finding.spoke} of {finding.cases}"
        slacks = ["" if math.isnan(s) else f"{s:.1e}" if abs(s) < 0.01 else f"{s:.2f}" for s in finding[6:8]]
        rows.append((finding.name, finding.source.partition(";")[0], cases, *slacks, caught, verdict(finding)))
    return rows


def verdict(finding: Finding) -> str:
    """In a word, or a sentence where it is not simply that it passed."""
    if finding.failures:
        return f"FAILS on {finding.failures}"
    if finding.missed:
        return f"FAILS to catch: {'; '.join(finding.missed)}"
    if not finding.spoke:
        return f"silent: {finding.refused or 'every bound is below rounding'}"
    return "passes"


def headline(findings: dict[str, Finding]) -> str:
    """The result in a sentence."""
    failed = [finding.name for finding in findings.values() if not finding.passed]
    cases = sum(finding.cases for finding in findings.values())
    if failed:
        return f"{len(failed)} of {len(findings)} statements fail: {', '.join(failed)}."
    planted = sum(finding.planted for finding in findings.values())
    silent = [finding.name for finding in findings.values() if not finding.spoke]
    said = f"All {len(findings)} statements hold, on {cases:,} random cases"
    if silent:
        said = f"{len(findings) - len(silent)} of {len(findings)} statements hold; silent here: {', '.join(silent)}"
    return f"{said}; all {planted} planted violations are caught."


def results(config: CheckConfig, findings: dict[str, Finding]) -> dict[str, Any]:
    """What results.json holds."""
    statements = {name: finding._asdict() | {"passed": finding.passed} for name, finding in findings.items()}
    return {"config": asdict(config), "statements": statements, **environment()}


@dataclass(frozen=True)
class CheckCommand:
    """Check the papers' theorems on many random networks, and that planted violations of each are caught.

    Exit code 1 if a statement fails. Slack is 1 - lhs/rhs: 0 where a bound is attained, negative where it is violated.

    Attributes:
      out: a folder for results.json; none is written without it.
      json: print the results as the last line of standard output, as JSON.
    """

    config: tyro.conf.OmitArgPrefixes[CheckConfig] = field(default_factory=CheckConfig)
    out: Path | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> int:
        del arguments
        with contextlib.nullcontext() if self.out is None else occupied(self.out) as out:
            with progress_bar() as report:
                findings = check(self.config, report)
            found = results(self.config, findings)
            if out is not None:
                write_json(out / "results.json", found)
        print_table(HEADER, table(findings))
        print(headline(findings))
        if self.json:
            print(as_json(found))
        return 0 if all(finding.passed for finding in findings.values()) else 1

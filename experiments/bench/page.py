"""The page of `jaxgnn bench`: a figure for every number that is varied, and the table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.experiments.bench.suite import HEADER, table
from jaxgnn.report.claim import Claim, Shown, write_claim
from jaxgnn.report.explanation import Explanation
from jaxgnn.report.figure import GREY, Axis, Panel, Series
from jaxgnn.report.page import Table

LABELS = {"depth": "layers", "width": "features", "edges": "directed edges", "seeds": "runs in one program"}


def write_bench(out: Path, results: Mapping[str, Any], command: str) -> Path:
    """Writes results.json, figures/ and index.html into `out`, a writable folder; returns the page."""
    machine = results["machine"]
    said = f"{machine['flops'] / 1e9:.0f} GFLOP/s in products, {machine['bandwidth'] / 1e9:.1f} GB/s in copies"
    claim = Claim(
        "Speed",
        "Depth, edges and runs cost no more than in proportion, width no more than its square.",
        f"{headline(results)} The machine at best: {said}.",
        "; ".join(f"{name}: {slope:.2f}" for name, slope in slopes(results).items())
        + " (exponent of the seconds a training step between the two largest values; 1 is in proportion).",
    )
    return write_claim(
        out,
        claim,
        results=results,
        command=command,
        figures=draw(results),
        explain=explained,
        tables={"Medians": Table(HEADER, table(dict(results)))},
        notes=[
            "Candidates are called in alternation, several steps in one loop each. A step is forward, backward and an "
            "update by Adam; jaxgnn's takes validation and test scores as well. The floor is the larger of arithmetic "
            "over the measured rate of products and bytes over the measured rate of copies, for x as a dense matrix; "
            "other layers than gcn have gcn's. MiB are XLA's count of a program's arguments and temporary arrays.",
            'The torch networks are float32 with the same bound: "torch csr" differentiates torch.sparse.mm, '
            '"torch csr, P^T kept" has a backward pass of its own, "pyg" is PyTorch Geometric\'s layer of that kind, '
            "GCNConv with cached normalisation.",
        ],
    )


def explained(results: Mapping[str, Any], arrays: Mapping[Any, Any]) -> Explanation:
    """Times of the others, what the machine allows, and what to do with it."""
    del arrays
    return Explanation(
        results["evidence"],
        f"Exponents of a training step's seconds: {results['verdict']}",
        "`jaxgnn bench --plan depth=1000,nodes=1e6,devices=8,device=here` predicts another run from these numbers.",
    )


def headline(results: Mapping[str, Any]) -> str:
    """How many times as long the others take, by depth, in one sentence."""
    found: dict[str, list[str]] = {}
    for row in results["rows"]:
        if row["series"] == "depth" and row["what"] == "step" and row["method"] != "jaxgnn":
            found.setdefault(row["method"], []).append(f"{row['ratio']:.2f} at {row['point']}")
    if not found:
        return "Nothing else was measured beside jaxgnn."
    return "Times jaxgnn's seconds, by layers: " + "; ".join(f"{m} {', '.join(r)}" for m, r in found.items()) + "."


def slopes(results: Mapping[str, Any]) -> dict[str, float]:
    """d log(seconds) / d log(value) between the two largest values of each number, for jaxgnn's training step."""
    found = {}
    for series in LABELS:
        points = sorted((r["point"], r["seconds"]) for r in _of(results, series, "jaxgnn"))
        if len(points) > 1:
            (x0, y0), (x1, y1) = points[-2:]
            found[series] = float(np.log(y1 / y0) / np.log(x1 / x0))
    return found


def _of(results: Mapping[str, Any], series: str, method: str) -> list[Mapping[str, Any]]:
    return [r for r in results["rows"] if (r["what"], r["series"], r["method"]) == ("step", series, method)]


def draw(results: Mapping[str, Any]) -> dict[str, Shown]:
    """Medians by method, the floor dashed, by each number that is varied; kinds of layer are in the table only."""
    methods = list(dict.fromkeys(row["method"] for row in results["rows"]))
    figures = {}
    for name, label in LABELS.items():
        ours = _of(results, name, "jaxgnn")
        if len(ours) < 2:
            continue
        series = []
        for i, method in enumerate(methods):
            points = sorted((r["point"], r["seconds"]) for r in _of(results, name, method))
            if len(points) > 1:
                x, y = np.asarray(points, float).T
                series.append(Series(method, x, y, colour=i, marked=True))
        x, y = np.asarray(sorted((r["point"], r["floor"]) for r in ours), float).T
        series.append(Series("floor", x, y, colour=GREY, dash="--"))
        panel = Panel(Axis(label, "log", ticks=tuple(x)), Axis("seconds a training step", "log"), tuple(series))
        sentence = "Medians; the floor is the machine's, not a program's."
        figures[f"bench-{name}"] = Shown(panel, f"Seconds a training step by {label}", sentence)
    return figures

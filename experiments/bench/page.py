"""The page of `jaxgnn bench`: a figure with a panel for every number that is varied, and the table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from jaxgnn.experiments.bench.suite import HEADER, table
from jaxgnn.report import plots
from jaxgnn.report.claim import Claim, Shown, write_claim
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
    shown = Shown(draw(results), "Seconds a training step", "Medians; the floor is the machine's, not a program's.")
    return write_claim(
        out,
        claim,
        results=results,
        command=command,
        figures={"bench": shown},
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


def draw(results: Mapping[str, Any]) -> Figure:
    """Medians by method, the floor dashed; kinds of layer are in the table only."""
    methods = list(dict.fromkeys(row["method"] for row in results["rows"]))
    shown = [series for series in LABELS if len(_of(results, series, "jaxgnn")) > 1]
    columns = min(len(shown), 2) or 1
    figure = Figure(figsize=(3.6 * columns, 3.1 * -(-len(shown) // columns) + 0.5), layout="constrained")
    for number, series in enumerate(shown):
        axes = figure.add_subplot(-(-len(shown) // columns), columns, number + 1, xlabel=LABELS[series])
        axes.set_ylabel("seconds a step")
        for i, method in enumerate(methods):
            points = sorted((r["point"], r["seconds"]) for r in _of(results, series, method))
            if len(points) > 1:
                style = {"marker": plots.MARKERS[i % 7], "color": plots.COLOURS[i % 7]}
                axes.plot(*zip(*points, strict=True), markersize=4, label=method, **style)
        floor = {r["point"]: r["floor"] for r in _of(results, series, "jaxgnn")}
        axes.plot(list(floor), list(floor.values()), "--", color="0.4", linewidth=1.2, label="floor")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(list(floor), [f"{x:,}" for x in floor])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(color="0.9", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    return plots.finished(figure) if shown else figure

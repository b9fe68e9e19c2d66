"""The range of a network or a layer in numbers, in words and as a figure: what depends on what, by distance."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.jacobian import Influence
from jaxgnn.report import panels
from jaxgnn.report.page import FigureBlock, figure_block
from jaxgnn.report.panels import Line

ABOUT = (
    "T_h(v) is the sum over nodes u at distance h of Σᵢⱼ |∂out(v)ᵢ/∂in(u)ⱼ| (arXiv 2503.09008), and the range is the "
    "mean over v of Σₕ h T_h(v)/Σₕ T_h(v), the mean distance of what v depends on (arXiv 2506.05971), in edges."
)


def numbers(found: Influence) -> dict[str, Any]:
    """The range, its error and what it is of, as plain numbers."""
    return {
        "range": found.range,
        "standard_error": found.standard_error,
        "interval": list(found.interval),
        "nodes": int(found.nodes.size),
        "population": int(found.population),
        "without_influence": found.without,
        "unreached_share": found.unreached_share,
        "norm": "entrywise",
    }


def said(record: Mapping[str, Any]) -> str:
    """What `numbers` holds, in words: exact, or with a 95% interval."""
    nodes, population = record["nodes"], record["population"]
    if not _finite(record["range"]):
        return f"unknown: none of {nodes:,} nodes depends on any node at a distance"
    value = f"{record['range']:.3g}"
    if nodes == population:
        value += f", exact, all {nodes:,} nodes"
    else:
        low, high = record["interval"]
        known = f"95% interval {low:.3g} to {high:.3g}" if _finite(low) else "without an error, from one node"
        value += f" ({known}, {nodes:,} of {population:,} nodes)"
    if record["without_influence"]:
        value += f"; {record['without_influence']:,} more depend on nothing"
    if record["unreached_share"]:
        share = f"{record['unreached_share']:.2%}"
        value += f"; {share} of all influence is of nodes without a path, at no distance"
    return value


def arrays(name: str, found: Influence) -> dict[str, np.ndarray]:
    """By path: T_h, its standard error, and rho of every node."""
    return {
        f"{name}/nodes": np.asarray(found.nodes),
        f"{name}/total": found.total,
        f"{name}/total_standard_error": found.total_standard_error,
        f"{name}/ranges": found.ranges,
    }


def figure(folder: Path, file: str, lines: Mapping[str, Line], title: str, sentence: str) -> FigureBlock:
    """Influence against distance, on a log scale, with one standard error."""
    return figure_block(folder, file, panels.influences(lines), title, sentence)


def line(name: str, found: Mapping[str, np.ndarray]) -> Line:
    """T_h of `arrays`, for a figure."""
    total, error = found[f"{name}/total"], found[f"{name}/total_standard_error"]
    return Line(np.arange(total.size), total, np.where(np.isfinite(error) & (error > 0), error, np.nan))


def _finite(value: Any) -> bool:
    return value is not None and bool(np.isfinite(value))

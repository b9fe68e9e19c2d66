"""The page of `jaxgnn train` over several layers, depths or widths: one table, and scores by depth and width."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.report import panels
from jaxgnn.report.explanation import Explain
from jaxgnn.report.html import write_page
from jaxgnn.report.page import FigureBlock, Section, Table, figure_block
from jaxgnn.report.provenance import footer
from jaxgnn.report.training import HEADER, benchmark_section, headline, references, table, trained_on


def write_several(out: Path, results: Mapping[str, Any], command: str, *, explain: Explain | None = None) -> Path:
    """Writes figures/*.png, *.svg and *.json and index.html into `out`; returns the page's path.

    `results` has a row for every network and grid point, with the `folder` where the network's own page is. explain:
    (results, {}) -> the three lines at the top.
    """
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    header = (*HEADER, "its page")
    rows = [(*texts, f"{row['folder']}/index.html") for texts, row in zip(table(results), results["rows"], strict=True)]
    said = (
        "Test score at each run's best validation score, mean ± standard deviation over seeds. The row with the best "
        "mean validation score is chosen."
    )
    rows += [(*texts, "") for texts in references(results)]
    sections = [Section("All numbers", [said], Table(header, rows))]
    if "benchmark" in results:
        sections.append(benchmark_section(results["benchmark"]))
    blocks = [_by_number(figures, results, name) for name in ("depth", "width") if len(_shape(results, name)) > 1]
    if blocks:
        sections.append(
            Section("Scores", ["Each network at its best validation score; bars: one deviation."], figures=blocks)
        )
    config = results["config"]
    shown = {name: _shape(results, name) or [config["model"][name]] for name in ("layer", "depth")}
    layers, depths = ", ".join(shown["layer"]).upper(), ", ".join(map(str, shown["depth"]))
    page = out / "index.html"
    title = f"{layers} with {depths} layers on {trained_on(config['data'])}"
    explanation = None if explain is None else explain(results, {})
    write_page(page, title, [headline(results)], sections, footer(command, results), explanation)
    return page


def best_by_network(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The row of every network with the best mean validation score."""
    sign = 1 if results["maximise"] else -1
    best: dict[str, Mapping[str, Any]] = {}
    for row in results["rows"]:
        there = best.get(row["folder"])
        if there is None or sign * _value(row, "val_mean", sign) > sign * _value(there, "val_mean", sign):
            best[row["folder"]] = row
    return list(best.values())


def _by_number(figures: Path, results: Mapping[str, Any], name: str) -> FigureBlock:
    """Test scores against depth or width, a line for each of what else the networks differ in."""
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in best_by_network(results):
        others = ", ".join(f"{o} = {row['options'][o]}" for o in results["shapes"] if o != name)
        lines.setdefault(others or "test", []).append(row)
    drawn = {}
    for label, rows in lines.items():
        rows.sort(key=lambda row: row["options"][name])
        x = np.asarray([row["options"][name] for row in rows], float)
        y, error = (np.asarray([_value(row, f"score_{of}") for row in rows]) for of in ("mean", "std"))
        drawn[label] = panels.Line(x, y, error)
    metric = results.get("metric", results["config"]["data"]["metric"]).replace("_", " ")
    panel = panels.by_option(drawn, xlabel=name, ylabel=metric, limits=panels.score_limits(metric))
    said = "; ".join(
        f"{label}: " + ", ".join(f"{y:.4f} at {x:g}" for x, y in zip(line.x, line.y, strict=True))
        for label, line in drawn.items()
    )
    said = f"Mean test score by {name}: {said}."
    return figure_block(figures, f"by-{name}", panel, f"Test score against {name}", said)


def _shape(results: Mapping[str, Any], name: str) -> list[Any]:
    return results["shapes"].get(name, [])


def _value(row: Mapping[str, Any], name: str, sign: int = 0) -> float:
    """A number of a row; in a comparison (`sign`) one that is missing is worse than all others."""
    value = row[name]
    if value is None or not np.isfinite(value):
        return -sign * np.inf if sign else np.nan
    return value

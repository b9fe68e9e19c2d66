"""Pages of reproductions: one for each figure or table, and one that joins all that lie in a folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgnn.evidence.finding import PRESETS, SMOKE_SAYS, Finding
from jaxgnn.host.storage import write_text
from jaxgnn.report.claim import Claim, write_claim
from jaxgnn.report.page import FigureBlock, Section, Table, write_page

HEADER = ("figure or table", "verdict", "preset", "time", "why")
VALUES = ("value", "ours", "published", "difference")


def write_finding(
    folder: Path,
    finding: Finding,
    *,
    title: str,
    claim: str,
    command: str,
    seconds: float,
    where: Mapping[str, Any],
) -> Path:
    """Writes results.json, figures/ and index.html into a folder; returns the page.

    seconds: that the measurement took. where: its name, preset, config, versions, device and commit.
    """
    values = [value._asdict() for value in finding.values]
    shown = {name: {"title": f.title, "sentence": f.sentence} for name, f in finding.figures.items()}
    tables = {"Values": Table(VALUES, _values(values))} if values else {}
    return write_claim(
        folder,
        Claim(title, claim, finding.evidence, f"{finding.verdict}. {finding.reason}"),
        results={
            "outcome": finding.verdict,
            "reason": finding.reason,
            "values": values,
            "figures": shown,
            "seconds": seconds,
        },
        command=command,
        tables=tables | dict(finding.tables),
        figures=finding.figures,
        notes=[*finding.notes, f"The cells took {duration(seconds)}."],
        where=where,
    )


def gather(runs: Path) -> list[dict[str, Any]]:
    """results.json of every reproduction below `runs`, of each the fullest preset and of that the newest, by name.

    Raises ValueError where there is none, or one is damaged.
    """
    best: dict[str, tuple[tuple[int, float], dict[str, Any]]] = {}
    for path in runs.glob("*/*/*/results.json"):
        try:
            results = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is damaged: `jaxgnn reproduce` writes it again") from error
        if not isinstance(results, dict) or results.get("preset") not in PRESETS or "outcome" not in results:
            continue
        if results["preset"] == "smoke" and results["outcome"] != "not available":
            results |= {"outcome": "not judged", "reason": SMOKE_SAYS, "verdict": f"not judged. {SMOKE_SAYS}"}
        rank = (PRESETS.index(results["preset"]), path.stat().st_mtime)
        if results["name"] not in best or rank > best[results["name"]][0]:
            best[results["name"]] = (rank, results | {"folder": path.parent})
    if not best:
        raise ValueError(f"{runs} holds no reproduction: `jaxgnn reproduce NAME --out {runs}` makes one")
    return [results for _, (_, results) in sorted(best.items())]


def verdicts(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows for HEADER."""
    return [(f["name"], f["outcome"], f["preset"], duration(f["seconds"]), f["reason"]) for f in found]


def write_report(runs: Path) -> Path:
    """Writes index.html, and the verdicts as verdicts.md, into `runs`; returns the page. Raises as `gather`."""
    found = gather(runs)
    rows = verdicts(found)
    sections = [Section("Verdicts", table=Table(HEADER, rows)), *(_section(f) for f in found)]
    count = {name: sum(row[1] == name for row in rows) for name in dict.fromkeys(row[1] for row in rows)}
    lead = [f"{len(rows)} figures and tables: " + ", ".join(f"{k} {name}" for name, k in count.items()) + "."]
    write_page(page := runs / "index.html", "Three papers on deep graph networks, reproduced", lead, sections, [])
    escaped = [[text.replace("|", "\\|") for text in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in (HEADER, ("---",) * len(HEADER), *escaped)]
    write_text(runs / "verdicts.md", "\n".join(lines) + "\n")
    return page


def duration(seconds: float) -> str:
    """12 s, 3.4 min or 1.2 h."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _section(found: Mapping[str, Any]) -> Section:
    figures = [
        FigureBlock((found["folder"] / "figures" / f"{name}.svg").read_text("utf-8"), shown["title"], shown["sentence"])
        for name, shown in found["figures"].items()
    ]
    packages = ("jaxgnn", "jax", "flax", "optax")
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in packages)
    said = [
        f"Claim: {found['claim']}",
        f"Evidence: {found['evidence']}",
        f"Verdict: {found['verdict']}",
        f"{found['command']}: {duration(found['seconds'])} on {found['device']['kind']}; {versions}; "
        f"commit {found['commit'] or 'unknown'}.",
    ]
    table = Table(VALUES, _values(found["values"])) if found["values"] else None
    return Section(f"{found['name']}: {found['title']}", said, table, figures)


def _values(values: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    rows = []
    for value in values:
        ours, spread, published = value["ours"], value["spread"], value["published"]
        text = _number(ours) + ("" if spread is None else f" ± {_number(spread)}")
        if published is None:
            rows.append((value["name"], text, "not known", ""))
        else:
            difference = "" if ours is None else f"{ours - published:+.3g}"
            rows.append((value["name"], text, _number(published), difference))
    return rows


def _number(value: float | None) -> str:
    return "not finite" if value is None or value != value else f"{value:.4g}"

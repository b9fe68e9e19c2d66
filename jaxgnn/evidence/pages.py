"""Pages of reproductions: one for each figure or table, and one that joins all that lie in a folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgnn.evidence.finding import PRESETS, SMOKE_SAYS, Finding
from jaxgnn.host.spelling import counted
from jaxgnn.host.storage import write_text
from jaxgnn.report.claim import Claim, write_claim
from jaxgnn.report.explanation import Explain, Explanation
from jaxgnn.report.html import write_page
from jaxgnn.report.page import FigureBlock, Section, Table, View
from jaxgnn.report.provenance import commit, versions

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
    explain: Explain | None = None,
) -> Path:
    """Writes results.json, figures/ and index.html into a folder; returns the page.

    seconds: that the measurement took. where: its name, preset, config, versions, device and commit. explain: (what
    results.json holds, {}) -> the three lines at the top.
    """
    values = [value._asdict() for value in finding.values]
    shown = {name: {"title": f.title, "sentence": f.sentence} for name, f in finding.figures.items()}
    tables = {"Values": _values(values)} if values else {}
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
        explain=explain or explained,
    )


def explained(results: Mapping[str, Any], arrays: Mapping[Any, Any]) -> Explanation:
    """What was measured, the verdict with its reason, and the fuller preset."""
    del arrays
    again = f"`jaxgnn reproduce {results['name']} --preset {{}}`"
    then = {
        "smoke": f"{again.format('cpu')} takes minutes, and is judged.",
        "cpu": f"{again.format('full')}, where it has one and there is an accelerator: more seeds, deeper networks.",
    }
    return Explanation(
        f"Evidence: {results['evidence']}",
        f"Verdict: {results['verdict']}",
        then.get(results["preset"], "Other data sets, or other settings: they are in the experiment's file."),
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
    sizes = ", ".join(f"{k} {name}" for name, k in count.items())
    happened = f"{counted(len(rows), 'figure or table', 'figures and tables')}: {sizes}."
    why = "Each verdict has its reason in the table and its evidence below."
    open_one = next((row for row in rows if row[1] in ("not judged", "not available")), None)
    then = "Larger presets, and what differs from the papers: each says it."
    if open_one is not None:
        then = f"`jaxgnn reproduce {open_one[0]} --preset cpu`: {open_one[1]} so far."
    title = "Three papers on deep graph networks: what was measured"
    write_page(page := runs / "index.html", title, [], sections, [], Explanation(happened, why, then))
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
    packages = ("jaxgnn", "jax", "flax", "optax")
    said = [
        f"Claim: {found['claim']}",
        f"Evidence: {found['evidence']}",
        f"Verdict: {found['verdict']}",
        f"{found['command']}: {duration(found['seconds'])} on {found['device']['kind']}; "
        f"{versions(found, packages)}{commit(found)}.",
    ]
    table = _values(found["values"]) if found["values"] else None
    blocks = [_figure(found["folder"] / "figures", name, shown) for name, shown in found["figures"].items()]
    return Section(f"{found['name']}: {found['title']}", said, table, blocks)


def _figure(folder: Path, name: str, shown: Mapping[str, str]) -> FigureBlock:
    """A figure as its page has it: by its description where there is one, else as an image."""
    described = folder / f"{name}.json"
    if described.exists():
        view = View(shown["sentence"], json.loads(described.read_bytes()))
    else:
        view = View(shown["sentence"], None, (folder / f"{name}.svg").read_text("utf-8"))
    return FigureBlock(shown["title"], [view], name=name)


def _values(values: Sequence[Mapping[str, Any]]) -> Table:
    """Ours, and beside it what is published where that is known of any."""
    rows = []
    for value in values:
        ours, spread, published = value["ours"], value["spread"], value["published"]
        text = _number(ours) + ("" if spread is None else f" ± {_number(spread)}")
        difference = "" if ours is None or published is None else f"{ours - published:+.3g}"
        rows.append((value["name"], text, "" if published is None else _number(published), difference))
    known = any(value["published"] is not None for value in values)
    return Table(VALUES, rows) if known else Table(VALUES[:2], [row[:2] for row in rows])


def _number(value: float | None) -> str:
    return "not finite" if value is None or value != value else f"{value:.4g}"

"""A page that answers one question: the claim, the evidence, the verdict, with the figures and tables behind them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from jaxgnn.host.storage import environment, write_json
from jaxgnn.report import plots
from jaxgnn.report.page import FigureBlock, Section, Table, write_page


class Shown(NamedTuple):
    """A figure, its title, and one sentence that says what it shows."""

    figure: Figure
    title: str
    sentence: str


class Claim(NamedTuple):
    """What was asked and what came out.

    Attributes:
      title: of the page.
      claim: what is said, and by whom.
      evidence: what was measured, with its numbers and their uncertainty.
      verdict: what follows for the claim, also where it does not hold.
    """

    title: str
    claim: str
    evidence: str
    verdict: str


def write_claim(
    out: Path,
    claim: Claim,
    *,
    results: Mapping[str, Any],
    command: str,
    tables: Mapping[str, Table] | None = None,
    figures: Mapping[str, Shown] | None = None,
    notes: Sequence[str] = (),
    where: Mapping[str, Any] | None = None,
) -> Path:
    """Writes results.json, figures/*.png and *.svg and index.html into `out`, a writable folder; returns the page.

    results: what results.json holds beside the claim and where it was measured. tables: by heading. figures: by file
    name. notes: paragraphs of settings and limits. where: versions, device and commit of the measurement, by default
    those of now.
    """
    where = environment() if where is None else where
    write_json(out / "results.json", {**claim._asdict(), **where, **results, "command": command})
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    blocks = [
        FigureBlock(plots.save(shown.figure, folder, name), shown.title, shown.sentence)
        for name, shown in (figures or {}).items()
    ]
    sections = [Section("Figures", figures=blocks)] if blocks else []
    sections += [Section(heading, table=table) for heading, table in (tables or {}).items()]
    sections += [Section("Settings and limits", notes)] if notes else []
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items() if version)
    footer = [f"Made by: {command}", f"{versions}; {where['device']['kind']}; commit {where['commit'] or 'unknown'}"]
    said = f"Claim: {claim.claim} Evidence: {claim.evidence} Verdict: {claim.verdict}"
    write_page(page := out / "index.html", claim.title, [said], sections, footer)
    return page

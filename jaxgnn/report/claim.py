"""A page that answers one question: the claim, the evidence, the verdict, with the figures and tables behind them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from jaxgnn.host.storage import environment, write_json
from jaxgnn.report.canvas import save
from jaxgnn.report.explanation import Explain
from jaxgnn.report.figure import Panel
from jaxgnn.report.html import write_page
from jaxgnn.report.page import FigureBlock, Section, Table, View, figure_block
from jaxgnn.report.provenance import footer


class Shown(NamedTuple):
    """A figure, described or drawn by Matplotlib; its title, and one sentence that says what it shows.

    What is described can be read off and zoomed into on the page, what is drawn is an image.
    """

    figure: Figure | Panel
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
    explain: Explain | None = None,
) -> Path:
    """Writes results.json, figures/ and index.html into `out`, a writable folder; returns the page.

    results: what results.json holds beside the claim and where it was measured. tables: by heading. figures: by file
    name. notes: paragraphs of settings and limits. where: versions, device and commit of the measurement, by default
    those of now. explain: (what results.json holds, {}) -> the three lines at the top.
    """
    where = environment() if where is None else where
    held = {**claim._asdict(), **where, **results, "command": command}
    write_json(out / "results.json", held)
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    blocks = [block(folder, name, shown) for name, shown in (figures or {}).items()]
    sections = [Section("Figures", figures=blocks)] if blocks else []
    sections += [Section(heading, table=table) for heading, table in (tables or {}).items()]
    sections += [Section("Settings and limits", notes)] if notes else []
    said = [f"Claim: {claim.claim}"]
    explanation = None if explain is None else explain(held, {})
    if explanation is None:
        said += [f"Evidence: {claim.evidence}", f"Verdict: {claim.verdict}"]
    write_page(page := out / "index.html", claim.title, said, sections, footer(command, where), explanation)
    return page


def block(folder: Path, name: str, shown: Shown) -> FigureBlock:
    """The figure of a page; writes its files into the folder."""
    if isinstance(shown.figure, Panel):
        return figure_block(folder, name, shown.figure, shown.title, shown.sentence)
    return FigureBlock(shown.title, [View(shown.sentence, None, save(shown.figure, folder, name))], name=name)

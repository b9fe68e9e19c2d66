"""What a page holds: three lines, sections with tables and figures, selectors that change what all figures show."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxgnn.host.storage import write_json
from jaxgnn.report.canvas import save
from jaxgnn.report.figure import Panel
from jaxgnn.report.interactive import described
from jaxgnn.report.static import drawn_alone


class View(NamedTuple):
    """One state of a figure.

    Attributes:
      sentence: what it shows.
      panel: its description, as plain data (`interactive.described`), or None where there is an image alone.
      svg: the image where there is no description.
      when: the options of the page's selectors that it is for, by their names; {} for all.
    """

    sentence: str
    panel: Mapping[str, Any] | None = None
    svg: str | None = None
    when: Mapping[str, str] = {}


class FigureBlock(NamedTuple):
    """A figure of a page.

    Attributes:
      title: above it.
      views: what it shows; several where a selector chooses.
      scale: figures of a section with the same name here have the same scale.
      name: of its files in figures/.
    """

    title: str
    views: Sequence[View]
    scale: str = ""
    name: str = ""


class Table(NamedTuple):
    """A table of texts; columns are sorted by the number that a text begins with."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Selector(NamedTuple):
    """A choice that all figures of a page follow: its name, as "depth", its options, and which is shown first."""

    name: str
    options: Sequence[str]
    first: str


class Section(NamedTuple):
    """A heading, paragraphs, an optional table, and figures.

    Attributes:
      selectors: shown above the figures.
    """

    heading: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
    figures: Sequence[FigureBlock] = ()
    selectors: Sequence[Selector] = ()


def drawn_view(folder: Path, name: str, panel: Panel, sentence: str, when: Mapping[str, str] | None = None) -> View:
    """The view of a panel; writes NAME.png and NAME.svg for papers and NAME.json, the description, into the folder."""
    save(drawn_alone(panel), folder, name)
    plain = described(panel)
    write_json(folder / f"{name}.json", plain)
    return View(sentence, plain, None, when or {})


def figure_block(folder: Path, name: str, panel: Panel, title: str, sentence: str, *, scale: str = "") -> FigureBlock:
    """A figure with one view; writes its files as `drawn_view`."""
    return FigureBlock(title, [drawn_view(folder, name, panel, sentence)], scale, name)

"""One self-contained HTML page: no network, readable on a phone, every figure with one sentence."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

from jaxgnn.host.storage import write_text


class FigureBlock(NamedTuple):
    """A figure: its SVG, its title, and one sentence that says what it shows."""

    svg: str
    title: str
    sentence: str


class Table(NamedTuple):
    """A table of texts."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """A heading, paragraphs, an optional table, and figures."""

    heading: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
    figures: Sequence[FigureBlock] = ()


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; padding: 1rem;
  max-width: 74rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .3rem; }
p { max-width: 46rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; }
figure h3 { font-size: 1rem; margin: 0 0 .3rem; }
figure img { width: 100%; max-width: 36rem; height: auto; display: block; }
figcaption { font-size: .92rem; color: #333; max-width: 36rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #e3e3e3; white-space: nowrap; }
td:last-child { white-space: normal; }
nav a { margin-right: 1rem; white-space: nowrap; }
code { background: #f3f3f3; padding: .1rem .3rem; border-radius: 3px; }
footer { margin-top: 3rem; font-size: .85rem; color: #555; }
</style>
</head>
<body>
<h1>$title</h1>
$lead
<nav>$contents</nav>
$sections
<footer>$footer</footer>
</body>
</html>
""")


def render(title: str, lead: Sequence[str], sections: Sequence[Section], footer: Sequence[str]) -> str:
    """The page as text; all texts are escaped."""
    contents = [f'<a href="#section-{i}">{escape(s.heading)}</a>' for i, s in enumerate(sections)]
    return _PAGE.substitute(
        title=escape(title),
        lead=_paragraphs(lead),
        contents="\n".join(contents),
        sections="\n".join(_section(i, s) for i, s in enumerate(sections)),
        footer=_paragraphs(footer),
    )


def write_page(path: Path, title: str, lead: Sequence[str], sections: Sequence[Section], footer: Sequence[str]) -> None:
    """Writes the page atomically."""
    write_text(path, render(title, lead, sections, footer))


def _paragraphs(texts: Sequence[str]) -> str:
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def _section(number: int, section: Section) -> str:
    parts = [f'<h2 id="section-{number}">{escape(section.heading)}</h2>', _paragraphs(section.paragraphs)]
    if section.table is not None:
        parts.append(_table(section.table))
    if section.figures:
        parts.append(f'<div class="figures">\n{"".join(_figure(f) for f in section.figures)}</div>')
    return "\n".join(parts)


def _table(table: Table) -> str:
    rows = [_row("th", table.header), *(_row("td", row) for row in table.rows)]
    return f'<div class="scroll"><table>\n{"".join(rows)}</table></div>'


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>\n"


def _figure(block: FigureBlock) -> str:
    data = base64.b64encode(block.svg.encode()).decode()
    title, sentence = escape(block.title), escape(block.sentence)
    image = f'<img alt="{title}. {sentence}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure><h3>{title}</h3>\n{image}\n<figcaption>{sentence}</figcaption></figure>\n"

"""One self-contained HTML file: the page's text, Plotly, and the figures' descriptions. Nothing comes from a network.

Every text is escaped, and a policy in the page lets no script run but its own three (by their SHA-256) and nothing be
fetched: names of data sets, layers and folders are text whatever they hold.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from itertools import count
from pathlib import Path
from string import Template
from typing import Any

from jaxgnn.host.storage import write_text
from jaxgnn.report.explanation import TITLES, Explanation
from jaxgnn.report.glossary import entries, marked
from jaxgnn.report.page import FigureBlock, Section, Table, View

ASSETS = Path(__file__).parent / "assets"
_FEW = 3  # columns that a phone has room for
_SCRIPTS = ("plotly-basic.min.js", "figures.js", "page.js")  # Plotly 4.1.1 of npm's plotly.js-basic-dist-min

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:;
 style-src 'unsafe-inline'; script-src $hashes; base-uri 'none'; form-action 'none'">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<a class="skip" href="#main">To the results</a>
<header>
<h1>$heading</h1>
$explanation$lead
<nav aria-label="Sections">$contents</nav>
</header>
<main id="main">
$sections
<section aria-labelledby="glossary">
<h2 id="glossary">Symbols and words</h2>
$glossary
</section>
</main>
<footer>$footer</footer>
<noscript><p>Figures are drawn by a script of this page; figures/ holds them as images.</p></noscript>
<script type="application/json" id="data">$data</script>
$scripts
</body>
</html>
""")


def render(
    title: str,
    lead: Sequence[str],
    sections: Sequence[Section],
    footer: Sequence[str],
    explanation: Explanation | None = None,
) -> str:
    """The page as text; all texts are escaped, and the first place of a symbol in each is explained."""
    page = _Page()
    body = "\n".join(page.section(number, section) for number, section in enumerate(sections))
    contents = [f'<a href="#section-{i}">{escape(s.heading)}</a>' for i, s in enumerate(sections)]
    top = "" if explanation is None else page.explanation(explanation)
    return _PAGE.substitute(
        hashes=" ".join(f"'sha256-{digest}'" for _, digest in _scripts()),
        title=escape(title),
        heading=page.text(title),
        style=(ASSETS / "page.css").read_text("utf-8"),
        explanation=top,
        lead=page.paragraphs(lead),
        contents="\n".join([*contents, '<a href="#glossary">Symbols and words</a>']),
        sections=body,
        footer="\n".join(f"<p>{escape(text)}</p>" for text in footer),
        glossary=entries(page.terms),  # what is above has been gone through
        data=_json(page.data),
        scripts="\n".join(f"<script>{text}</script>" for text, _ in _scripts()),
    )


def write_page(
    path: Path,
    title: str,
    lead: Sequence[str],
    sections: Sequence[Section],
    footer: Sequence[str],
    explanation: Explanation | None = None,
) -> None:
    """Writes the page atomically. explanation: the three lines at its top, see `jaxgnn.report.explanation`."""
    write_text(path, render(title, lead, sections, footer, explanation))


class _Page:
    """Texts to HTML; collects the terms that are used and the figures' data on the way."""

    def __init__(self) -> None:
        self.terms: set[str] = set()
        self.data: dict[str, Any] = {"figures": [], "sections": []}
        self.numbers = count()

    def text(self, text: str) -> str:
        """Symbols as links to their entries, what stands between backticks as code."""
        parts = text.split("`")
        if len(parts) % 2 == 0:
            return marked(text, self.terms)
        found = (f"<code>{escape(part)}</code>" if i % 2 else marked(part, self.terms) for i, part in enumerate(parts))
        return "".join(found)

    def paragraphs(self, texts: Sequence[str]) -> str:
        return "\n".join(f"<p>{self.text(text)}</p>" for text in texts)

    def explanation(self, said: Explanation) -> str:
        rows = "\n".join(
            f"<dt>{title}</dt><dd>{self.text(line)}</dd>" for title, line in zip(TITLES, said, strict=True)
        )
        return f'<dl class="explanation">\n{rows}\n</dl>\n'

    def section(self, number: int, section: Section) -> str:
        head = f'<h2 id="section-{number}">{self.text(section.heading)}</h2>'
        parts = [head, self.paragraphs(section.paragraphs)]
        if section.table is not None:
            parts.append(self.table(section.table, section.heading))
        if section.figures:
            self.data["sections"].append({"id": number, "selectors": [s._asdict() for s in section.selectors]})
            label = escape(f"{section.heading}: what is shown")
            parts.append(f'<div class="controls" role="group" aria-label="{label}" data-section="{number}"></div>')
            parts.append(f'<div class="figures">\n{"".join(self.figure(number, f) for f in section.figures)}</div>')
        inside = "\n".join(part for part in parts if part)
        return f'<section aria-labelledby="section-{number}">\n{inside}\n</section>'

    def table(self, table: Table, caption: str) -> str:
        head = "".join(f'<th scope="col" role="columnheader">{self.text(cell)}</th>' for cell in table.header)
        rows = "\n".join(self.row(table.header, row) for row in table.rows)
        few = " few" if len(table.header) <= _FEW else ""
        return (
            f'<div class="table{few}"><table role="table"><caption class="hidden">{escape(caption)}</caption>\n'
            f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n'
            f'<tbody role="rowgroup">\n{rows}\n</tbody></table></div>'
        )

    def row(self, header: Sequence[str], cells: Sequence[str]) -> str:
        inside = "".join(
            f'<td role="cell" data-label="{escape(name)}">{self.cell(cell)}</td>'
            for name, cell in zip(header, cells, strict=True)
        )
        return f'<tr role="row">{inside}</tr>'

    def cell(self, text: str) -> str:
        """A cell; what is a page of a folder below this one is a link."""
        if text.endswith("/index.html") and not text.startswith(("/", ".")) and ":" not in text:
            return f'<a href="{escape(text)}">{escape(text)}</a>'
        return escape(text)

    def figure(self, section: int, block: FigureBlock) -> str:
        number = next(self.numbers)
        views = [{"when": view.when, "panel": view.panel} for view in block.views]
        name = block.name or f"figure-{number}"
        self.data["figures"].append({"section": section, "scale": block.scale, "name": name, "views": views})
        images = "".join(self.image(i, block.title, view) for i, view in enumerate(block.views))
        labels = "".join(self.label(i, view) for i, view in enumerate(block.views) if view.panel is not None)
        captions = "".join(self.caption(i, view) for i, view in enumerate(block.views))
        return (
            f'<figure data-figure="{number}"><h3 id="figure-{number}">{self.text(block.title)}</h3>\n'
            f'{labels}{images}<div class="plot" role="img" aria-labelledby="figure-{number} caption-{number}"></div>\n'
            f'<figcaption id="caption-{number}">{captions}</figcaption><div class="tools"></div></figure>\n'
        )

    def image(self, number: int, title: str, view: View) -> str:
        if view.svg is None:
            return ""
        data = base64.b64encode(view.svg.encode()).decode()
        alt = escape(f"{title}. {view.sentence}")
        return f'<img data-view="{number}" alt="{alt}" src="data:image/svg+xml;base64,{data}">\n'

    def caption(self, number: int, view: View) -> str:
        said = "" if view.panel is None else view.panel["note"]
        note = f' <span class="note">{self.text(said)}</span>' if said else ""
        return f'<p data-view="{number}">{self.text(view.sentence)}{note}</p>'

    def label(self, number: int, view: View) -> str:
        """What the vertical axis is: above the figure, where its symbols can be explained."""
        text = "" if view.panel is None else view.panel["y"]["label"]
        return f'<p class="label" data-view="{number}">Vertical: {self.text(text)}</p>\n'


@cache
def _scripts() -> tuple[tuple[str, str], ...]:
    """The page's scripts with the SHA-256 that its policy lets run."""
    texts = [(ASSETS / name).read_text("utf-8") for name in _SCRIPTS]
    return tuple((text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()) for text in texts)


def _json(data: Mapping[str, Any]) -> str:
    """JSON inside a script element: no character of it can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028")

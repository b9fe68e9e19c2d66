"""Figures and tables of the papers as programs: cells that are measured once and kept, and what they show.

A reproduction is one file in jaxgnn/experiments/PAPER/ with a `REPRODUCTION`: its claim, its presets, the cells to
measure, and a pure function from the measured arrays to figures, tables and a verdict.
"""

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgnn.data.errors import DataError
from jaxgnn.evidence.cells import RESULTS, Cell, Measured, measured
from jaxgnn.evidence.cells import Arrays as Arrays
from jaxgnn.evidence.finding import Finding, judged
from jaxgnn.evidence.pages import write_finding
from jaxgnn.host.maps import let_programs_go
from jaxgnn.host.occupied import occupied
from jaxgnn.host.spelling import meant
from jaxgnn.host.storage import environment, writable_folder

PAPERS = ("park2024", "arroyo2025", "keriven2025", "questions")  # the last: what they leave open
_SIGN = "\nREPRODUCTION = "  # of a file that holds one


@dataclass(frozen=True)
class Reproduction:
    """One figure or table.

    Attributes:
      name: PAPER/NAME, as in jaxgnn/experiments/PAPER/NAME.py.
      title: of its page.
      claim: what the paper says, in one sentence.
      presets: a frozen dataclass of settings for "smoke" (seconds), "cpu" (minutes on two cores) and, for most,
        "full", whose settings are ours at the papers' order of size.
      cost: what a preset takes, in words, as measured.
      cells: settings -> what is to be measured, by name: a `Cell`, or a function of nothing that returns arrays by
        name, whose settings are then all of the preset's.
      show: settings and the arrays of every cell -> the finding; measures nothing.
      revision: to be raised when the same settings measure something else, so that what is kept is not used.
    """

    name: str
    title: str
    claim: str
    presets: Mapping[str, Any]
    cost: Mapping[str, str]
    cells: Callable[[Any], Mapping[str, Cell | Callable[[], Arrays]]] = field(repr=False)
    show: Callable[[Any, Mapping[str, Mapping[str, np.ndarray]]], Finding] = field(repr=False)
    revision: int = 0

    def digest(self, preset: str) -> str:
        """Eight hexadecimal digits of the settings."""
        text = json.dumps([self.name, self.revision, asdict(self.presets[preset])], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def folder(self, preset: str, out: Path) -> Path:
        """Where a preset's page is kept: out/PAPER/NAME/PRESET-DIGEST."""
        return out / self.name / f"{preset}-{self.digest(preset)}"


class Outcome(NamedTuple):
    """A finding, with what it was measured with.

    Attributes:
      reproduction, preset: what was measured.
      finding: what it shows.
      seconds: that the cells took.
      where: the settings; versions, device and commit of the measurement.
    """

    reproduction: Reproduction
    preset: str
    finding: Finding
    seconds: float
    where: Mapping[str, Any]

    def write(self, out: Path) -> Path:
        """Writes results.json, figures/ and index.html into the preset's folder below `out`; returns the page."""
        one = self.reproduction
        return write_finding(
            writable_folder(one.folder(self.preset, out)),
            self.finding,
            claim=one.claim,
            title=one.title,
            command=f"jaxgnn reproduce {one.name} --preset {self.preset}",
            seconds=self.seconds,
            where=self.where,
        )


def names() -> tuple[str, ...]:
    """PAPER/NAME of every reproduction, in the papers' order; imports none of them."""
    found = []
    for paper in PAPERS:
        package = importlib.import_module(f"jaxgnn.experiments.{paper}")
        for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
            if _SIGN in (Path(package.__path__[0]) / f"{module}.py").read_text("utf-8"):
                found.append(f"{paper}/{module}")
    return tuple(found)


def load(name: str) -> Reproduction:
    """The reproduction of one of `names`."""
    return importlib.import_module(f"jaxgnn.experiments.{name.replace('/', '.')}").REPRODUCTION


def chosen(wanted: Sequence[str], everything: bool = False) -> list[Reproduction]:
    """The reproductions of these names; a paper's name stands for all of its.

    Raises ValueError for a name that is not known, and where there is none.
    """
    known = names()
    for name in wanted:
        if name not in known and name not in PAPERS:
            near = meant(name, (*PAPERS, *known))
            raise ValueError(f"{name!r} is not known{near} allowed are {', '.join((*PAPERS, *known))}")
    if not wanted and not everything:
        raise ValueError(f"a name is needed, or --all: allowed are {', '.join((*PAPERS, *known))}")
    return [load(name) for name in known if everything or name in wanted or name.partition("/")[0] in wanted]


def reproduce(
    reproduction: Reproduction,
    preset: str,
    out: Path,
    report: Callable[[str, float, float], None] | None = None,
    *,
    keep: bool = False,
    fresh: bool = False,
    kept: Path | None = RESULTS,
) -> Outcome:
    """Measures the cells that are not kept yet and says what all of them show.

    Each cell is kept in out/PAPER/NAME/cells as soon as it is measured, so that an interrupted run goes on where it
    was and a change of the figures measures nothing again. What is kept with the code is used as well, but not by
    "smoke", nor where `fresh` asks for everything anew. keep: copy cells to what is kept with the code.

    Raises ValueError for a preset that there is not and for a folder that cannot be written to, DataError where a data
    set's files are missing.
    """
    folder = folder_of(reproduction, preset, out)
    with occupied(folder):
        options = {"keep": keep, "fresh": fresh, "kept": kept} if preset != "smoke" else {"kept": None, "fresh": fresh}
        return _reproduced(reproduction, preset, folder, report, options)


def folder_of(reproduction: Reproduction, preset: str, out: Path) -> Path:
    """The preset's folder. Raises ValueError for a preset that there is not."""
    if preset not in reproduction.presets:
        raise ValueError(
            f"preset={preset!r} is not known for {reproduction.name}: allowed are {', '.join(reproduction.presets)}"
        )
    return reproduction.folder(preset, out)


def _reproduced(
    reproduction: Reproduction,
    preset: str,
    folder: Path,
    report: Callable[[str, float, float], None] | None,
    options: Mapping[str, Any],
) -> Outcome:
    config = reproduction.presets[preset]
    cells = {name: _as_cell(reproduction, preset, name, cell) for name, cell in reproduction.cells(config).items()}
    store = writable_folder(folder.parent / "cells")
    found: dict[str, Measured] = {}
    for number, (name, cell) in enumerate(cells.items()):
        if report is not None:
            report(f"{reproduction.name}: {name}", number, len(cells))
        found[name] = measured(reproduction.name, name, cell, store, **options)
        let_programs_go()
    settings = {"name": reproduction.name, "preset": preset, "config": asdict(config)}
    seconds = sum(one.record["seconds"] for one in found.values())
    finding = judged(reproduction.show(config, {name: one.arrays for name, one in found.items()}), preset)
    return Outcome(reproduction, preset, finding, seconds, settings | _where([one.record for one in found.values()]))


def _as_cell(reproduction: Reproduction, preset: str, name: str, cell: Cell | Callable[[], Arrays]) -> Cell:
    """A cell of which no settings of its own are known has those of its preset."""
    if isinstance(cell, Cell):
        return cell
    return Cell("", {"cell": name, "preset": reproduction.digest(preset)}, cell)


def _where(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Versions and device of the cell that was measured last, and the commits that cells were measured at."""
    last = max(records, key=lambda record: record["measured_at"])
    commits = sorted({record["commit"] for record in records if record["commit"]})
    return {name: last[name] for name in ("versions", "device")} | {"commit": ", ".join(commits) or None}


def unavailable(reproduction: Reproduction, preset: str, error: DataError) -> Outcome:
    """The outcome where a data set's files are not here."""
    finding = Finding("Nothing was measured.", "not available", str(error))
    settings = {"name": reproduction.name, "preset": preset, "config": asdict(reproduction.presets[preset])}
    return Outcome(reproduction, preset, finding, 0.0, settings | environment())

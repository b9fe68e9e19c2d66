"""`jaxgnn reproduce` and `jaxgnn report`: figures of the papers, open questions, one page of all of them."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import tyro

from jaxgnn.commands.setting import start_on
from jaxgnn.data.errors import DataError
from jaxgnn.evidence import reproduction as reproducing
from jaxgnn.evidence.finding import Preset
from jaxgnn.evidence.pages import HEADER, gather, verdicts, write_report
from jaxgnn.host.occupied import occupied
from jaxgnn.report.terminal import print_table, progress_bar


@dataclass(frozen=True)
class ReproduceCommand:
    """Reproduce figures and tables of the papers; cells that are kept are not measured again.

    Writes PAPER/NAME/cells/, and PAPER/NAME/PRESET-DIGEST/ with results.json, figures/ and index.html into the folder.

    Attributes:
      names: figures or tables, or a paper for all of its.
      list: show what there is, and what it costs.
      all: every one; those whose data are not here are said to be not available.
      preset: smoke takes seconds, cpu minutes on two cores, full needs an accelerator; "paper" is full's former name.
      out: the folder.
      cores: CPU cores, by default all physical ones: on a CPU so many runs of training are computed at a time. The
        results are the same to the bit for any.
      fresh: measure every cell anew, whatever is kept.
      keep: copy what is measured to what is kept with the code (experiments/results of a checkout).
      json: print a summary as the last line of standard output, as JSON.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    list: bool = False
    all: bool = False
    preset: Literal["smoke", "cpu", "full", "paper"] = "cpu"
    out: Path = Path("runs")
    cores: int | None = None
    fresh: bool = False
    keep: bool = False
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        del arguments
        if self.list:
            self._print_list()
            return
        start_on(self.cores)
        preset: Preset = "full" if self.preset == "paper" else self.preset
        if self.preset == "paper":
            print("jaxgnn: note: the preset paper is called full now: its settings are ours", file=sys.stderr)
        pages = {}
        for one in reproducing.chosen(self.names, self.all):
            folder = reproducing.folder_of(one, preset, self.out)
            with occupied(folder):
                try:
                    with progress_bar() as report:
                        outcome = reproducing.reproduce(one, preset, self.out, report, keep=self.keep, fresh=self.fresh)
                except DataError as error:
                    if not self.all:
                        raise
                    outcome = reproducing.unavailable(one, preset, error)
                except KeyboardInterrupt:
                    raise KeyboardInterrupt(f"the same command goes on from {folder.parent / 'cells'}") from None
                pages[one.name] = str(outcome.write(self.out))
            print(f"{one.name}: {outcome.finding.verdict}. {outcome.finding.reason}")
            print(f"page: {pages[one.name]}", flush=True)
        if self.json:
            print(json.dumps(pages))

    def _print_list(self) -> None:
        known = [reproducing.load(name) for name in reproducing.names()]
        if self.json:
            rows = [{"name": r.name, "title": r.title, "claim": r.claim, "cost": dict(r.cost)} for r in known]
            print(json.dumps(rows))
            return
        presets = get_args(Preset)
        rows = [(r.name, r.title, *(r.cost.get(p, "") for p in presets)) for r in known]
        print_table(("name", "what", *presets), rows)
        print("\n".join(f"{r.name}: {r.claim}" for r in known))


@dataclass(frozen=True)
class ReportCommand:
    """Join what `jaxgnn reproduce` left in a folder to one page: ours, the published value, difference and verdict.

    Writes index.html and verdicts.md into the folder.

    Attributes:
      runs: the folder.
      json: print a summary as the last line of standard output, as JSON.
    """

    runs: tyro.conf.Positional[Path] = Path("runs")
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        del arguments
        page = write_report(self.runs)
        rows = verdicts(gather(self.runs))
        print_table(HEADER[:-1], [row[:-1] for row in rows])
        print("\n".join(f"{row[0]}: {row[-1]}" for row in rows))
        print(f"page: {page}")
        if self.json:
            print(json.dumps({"page": str(page), "verdicts": {row[0]: row[1] for row in rows}}))

"""What the measured cells of a reproduction show: numbers, figures, and a verdict with its reason."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from jaxgnn.host.spelling import singular
from jaxgnn.report.claim import Shown
from jaxgnn.report.page import Table

Preset = Literal["smoke", "cpu", "full"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
Verdict = Literal[
    "reproduced",
    "consistent at small scale",
    "holds by theorem, measured",
    "partly",
    "explained by its control",
    "not told from its control",
    "undecided",
    "not reproduced",
    "answered",
    "not judged",
    "not available",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SMOKE_SAYS = "The smoke preset only shows that it runs."


class Value(NamedTuple):
    """One number beside the published one.

    Attributes:
      name: what it is, with data set, depth and unit.
      ours: what was measured.
      spread: its standard deviation over seeds, or None.
      published: the paper's number where it is known, else None.
    """

    name: str
    ours: float
    spread: float | None = None
    published: float | None = None


class Finding(NamedTuple):
    """What the measured cells show.

    Attributes:
      evidence: what was measured, in a sentence or two with its numbers.
      verdict: one of VERDICTS; "answered" where a question was asked and nothing published stands beside it.
      reason: why that is the verdict, and what differs from the paper.
      values: numbers for the table.
      figures: by file name.
      tables: further tables by heading.
      notes: settings that are ours, and limits.
    """

    evidence: str
    verdict: Verdict
    reason: str
    values: Sequence[Value] = ()
    figures: Mapping[str, Shown] = {}
    tables: Mapping[str, Table] = {}
    notes: Sequence[str] = ()


def judged(finding: Finding, preset: str) -> Finding:
    """The finding as a preset allows it: settings of seconds say nothing about a paper; and 1 of a thing is one."""
    figures = {
        name: shown._replace(title=singular(shown.title), sentence=singular(shown.sentence))
        for name, shown in finding.figures.items()
    }
    finding = finding._replace(
        evidence=singular(finding.evidence),
        reason=singular(finding.reason),
        figures=figures,
        notes=[singular(note) for note in finding.notes],
    )
    return finding._replace(verdict="not judged", reason=SMOKE_SAYS) if preset == "smoke" else finding

"""The page of a diagnosis: three lines, the evidence with its thresholds, the signals, and what training showed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.host.spelling import counted
from jaxgnn.host.storage import environment
from jaxgnn.report import panels
from jaxgnn.report.explanation import Explanation
from jaxgnn.report.html import write_page
from jaxgnn.report.page import FigureBlock, Section, Table, figure_block
from jaxgnn.report.provenance import footer

HEADER = ("cause", "holds", "value [range]", "threshold", "measured")
_WORDS = {True: "yes", False: "no", None: "not asked"}
_SHOWN = {
    "size": (
        "Size of the signals",
        "‖·‖_F, relative",
        {"features ‖X⁽ˡ⁾‖ / ‖X⁽⁰⁾‖": ("feature_norm", 0), "gradients ‖G⁽ˡ⁾‖ / ‖G⁽ᴸ⁾‖": ("grad_norm", -1)},
        "Features forward from layer 0, gradients backward from the output; falling towards 0 they vanish, rising they "
        "expand. Median and range over networks.",
    ),
    "smoothness": (
        "How far from alike the nodes are",
        "‖· off equal rows‖ / ‖·‖",
        {"features X⁽ˡ⁾": ("feature_off", None), "gradients G⁽ˡ⁾": ("grad_off", None)},
        "Distance to equal rows, or to rows in the ratio of the degrees' square roots, on every component: near 0 all "
        "nodes are alike, whatever the size.",
    ),
    "rank": (
        "Effective rank of the features",
        "effective rank",
        {"features X⁽ˡ⁾": ("feature_rank", None)},
        "exp of the entropy of the singular values; 1 is rank one.",
    ),
}


def table(found: Any) -> list[tuple[str, ...]]:
    """A row for each cause, the one that is named first."""
    order = sorted(found.evidence, key=lambda name: (name != found.cause, name not in found.also))
    return [_row(found.evidence[name]) for name in order]


def _row(one: Any) -> tuple[str, ...]:
    value = "not measured" if np.isnan(one.value) else f"{one.value:.3g}"
    if np.isfinite([one.low, one.high]).all() and one.low != one.high:
        value += f" [{one.low:.3g}, {one.high:.3g}]"
    where = "" if one.layer is None else f" from layer {one.layer}"
    holds = _WORDS[None if one.holds is None else bool(one.holds)]
    return one.cause.replace("_", " "), holds + where, value, f"{one.side} {one.threshold:g}", one.means


def write_diagnosis(out: Path, found: Any, command: str) -> Path:
    """Writes figures/ and index.html into `out`; returns the page's path."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    blocks = [_figure(figures, name, found.signals) for name in _SHOWN]
    sections = [
        Section("Evidence", [f"Of {counted(found.networks, 'network')}; a cause holds beyond its threshold."], None),
        Section("Signals by layer", [], None, blocks),
    ]
    sections[0] = sections[0]._replace(table=Table(HEADER, table(found)))
    if found.verified is not None:
        sections.insert(1, _trainings(found.verified))
    page = out / "index.html"
    said = (found.lines[0].replace("_", " "), *found.lines[1:])
    lines = Explanation(*(f"{line[:1].upper()}{line[1:]}." for line in said))
    title = f"Diagnosis: {found.cause.replace('_', ' ')}"
    write_page(page, title, [], sections, footer(command, environment()), lines)
    return page


def _trainings(verified: Any) -> Section:
    rows = [
        (name, *(_mean(v) for v in (one.first_loss, one.loss, one.val_score))) for name, one in verified.runs.items()
    ]
    steps, seeds = counted(verified.steps, "step"), counted(verified.seeds, "seed")
    said = f"Each network was trained for {steps} from {seeds}; mean ± standard deviation."
    return Section("Verified by training", [said], Table(("network", "first loss", "last loss", "validation"), rows))


def _figure(folder: Path, name: str, signals: Sequence[Any]) -> FigureBlock:
    title, label, lines, sentence = _SHOWN[name]
    curves: Mapping[str, Any] = {}
    for i, (said, (key, base)) in enumerate(lines.items()):
        values = np.stack([getattr(s, key) for s in signals])
        if base is not None:
            with np.errstate(all="ignore"):
                values = values / values[:, [base]]
        curves[said] = panels.Curve(np.arange(values.shape[1]), values, i, group=said.split()[0])
    limits = panels.PART if name == "smoothness" else panels.ANY
    panel = panels.curves(curves, xlabel="layer l", ylabel=label, log=name != "rank", limits=limits)
    return figure_block(folder, name, panel, title, sentence)


def _mean(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "not finite"
    failed = f" ({values.size - finite.size} not finite)" if finite.size < values.size else ""
    return f"{finite.mean():.4g} ± {finite.std():.2g}{failed}"

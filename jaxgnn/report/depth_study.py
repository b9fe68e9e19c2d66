"""The page of a depth study: what `jaxgnn.commands.study` measured, as figures with a sentence each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.host.spelling import counted
from jaxgnn.report import panels
from jaxgnn.report.explanation import Explain
from jaxgnn.report.html import write_page
from jaxgnn.report.page import Section, Table, figure_block
from jaxgnn.report.panels import Line
from jaxgnn.report.provenance import footer
from jaxgnn.report.study_layers import Arrays, network_name, through_layers
from jaxgnn.report.terminal import mean_and_deviation
from jaxgnn.report.training import benchmark_section, beside, measured


def write_study(
    out: Path, results: Mapping[str, Any], arrays: Arrays, command: str, *, explain: Explain | None = None
) -> Path:
    """Writes figures/*.png, *.svg and *.json and index.html into `out`; returns the page's path.

    `arrays` holds each cell's arrays by (depth, remedy); a study that was interrupted may lack some cells. explain:
    (results, arrays) -> the three lines at the top.
    """
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    cells = results["cells"]
    benchmark = results.get("benchmark")
    layers, jacobians = through_layers(figures, cells, arrays)
    sections = [_scores(figures, cells), layers, jacobians, _table(cells)]
    if benchmark is not None:
        sections.insert(0, benchmark_section(benchmark))
    dataset, layer = cells[0]["dataset"], results["config"]["layer"]
    page = out / "index.html"
    said = headline(cells) + beside(benchmark) if explain is None else beside(benchmark).strip()
    lead = [*([said] if said else []), *results["facts"]]
    title = f"Why a deep {layer.upper()} fails on {dataset}, and what fixes it"
    explanation = None if explain is None else explain(results, arrays)
    write_page(page, title, lead, sections, footer(command, results), explanation)
    return page


def headline(cells: Sequence[Mapping[str, Any]]) -> str:
    """The study's finding in one or two sentences: the deepest plain network against the best remedy."""
    depth = max(cell["depth"] for cell in cells)
    deepest = [cell for cell in cells if cell["depth"] == depth]
    best, metric = max(deepest, key=_rank), _metric(cells)
    plain = next((cell for cell in deepest if cell["remedy"] == "none"), None)
    at = counted(depth, "layer")
    said = f"At {at} the best is “{_named(best)}” with test {metric} {_score(best)}."
    if plain is None or plain is best:
        return said
    return f"At {at} the plain network reaches {_score(plain)} test {metric}; {_loss_phrase(plain)}. {said}"


def _scores(figures: Path, cells: Sequence[Mapping[str, Any]]) -> Section:
    scores, losses, metric = {}, {}, _metric(cells)
    for remedy in _remedies(cells):
        rows, name = [cell for cell in cells if cell["remedy"] == remedy], network_name(remedy)
        depths = np.asarray([cell["depth"] for cell in rows], float)
        scores[name] = Line(depths, _column(rows, "score_mean"), _column(rows, "score_std"))
        losses[name] = Line(depths, _column(rows, "train_loss"))
    constant = cells[0]["constant_loss"]
    shown = panels.by_depth(scores, ylabel=f"test {metric}", limits=panels.score_limits(metric))
    limits = panels.loss_limits([constant], *(line.y for line in losses.values()))
    reference = ("constant predictor", constant)
    loss = panels.by_depth(losses, ylabel="final training loss", log=True, reference=reference, limits=limits)
    seeds = len(cells[0]["scores"])
    deepest = [cell for cell in cells if cell["depth"] == max(c["depth"] for c in cells)]
    accuracies = "; ".join(f"{network_name(cell['remedy'])} {_score(cell)}" for cell in deepest)
    trained = "; ".join(f"{network_name(cell['remedy'])} {_number(cell['train_loss'])}" for cell in deepest)
    at = counted(deepest[0]["depth"], "layer")
    sentences = (
        f"At {at}, mean ± standard deviation over {counted(seeds, 'seed')}: {accuracies}.",
        f"The best constant predictor has {constant:.3f}; at {at}: {trained}.",
    )
    return Section(
        "Accuracy and loss by depth" if metric == "accuracy" else "Scores and loss by depth",
        figures=[
            figure_block(figures, metric.replace(" ", "-"), shown, f"Test {metric}", sentences[0]),
            figure_block(figures, "loss", loss, "Final training loss", sentences[1]),
        ],
    )


def _table(cells: Sequence[Mapping[str, Any]]) -> Section:
    header = ("depth", "remedy", "c", f"test {_metric(cells)}", "train loss", "constant", "failed seeds", "seconds")
    rows = [
        (
            str(cell["depth"]),
            network_name(cell["remedy"]),
            "" if cell["bound_c"] is None else f"{cell['bound_c']:g}",
            _score(cell),
            _number(cell["train_loss"]),
            f"{cell['constant_loss']:.3f}",
            str(cell["failed_seeds"]),
            str(cell["seconds"]),
        )
        for cell in cells
    ]
    more = [(f"Depth {cell['depth']}, {network_name(cell['remedy'])}:", measured(cell)) for cell in cells]
    said = [which + text for which, text in more if text]
    chosen = f"c is chosen by mean validation {_metric(cells)}."
    return Section("All numbers", [chosen, *said], Table(header, rows))


def _remedies(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(cell["remedy"] for cell in cells))


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.asarray([np.nan if row[name] is None else row[name] for row in rows], float)


def _metric(cells: Sequence[Mapping[str, Any]]) -> str:
    return cells[0].get("metric", "accuracy").replace("_", " ")


def _rank(cell: Mapping[str, Any]) -> float:
    score = cell["score_mean"]
    if score is None or np.isnan(score):
        return -np.inf
    return score if cell.get("maximise", True) else -score


def _named(cell: Mapping[str, Any]) -> str:
    return network_name(cell["remedy"]) + ("" if cell["bound_c"] is None else f", c = {cell['bound_c']:g}")


def _score(cell: Mapping[str, Any]) -> str:
    return mean_and_deviation(cell["score_mean"], cell["score_std"], digits=3)


def _loss_phrase(cell: Mapping[str, Any]) -> str:
    return (
        f"its training loss is {_number(cell['train_loss'])}, the best constant predictor's {cell['constant_loss']:.3f}"
    )


def _number(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "not finite"
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.1e}"

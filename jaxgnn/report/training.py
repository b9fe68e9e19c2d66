"""The page of `jaxgnn train`: the scores of every grid point, and how the runs went."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.host.spelling import counted
from jaxgnn.report import panels
from jaxgnn.report.explanation import Explain
from jaxgnn.report.html import write_page
from jaxgnn.report.page import Section, Table, figure_block
from jaxgnn.report.panels import Curve, Line
from jaxgnn.report.provenance import footer
from jaxgnn.report.recorded import recorded
from jaxgnn.report.terminal import mean_and_deviation

_SPLITS = {"training": "train", "validation": "val", "test": "test"}
_COLOUR = {split: i for i, split in enumerate(_SPLITS)}
HEADER = ("options", "test", "validation", "train loss", "failed seeds")


def write_training(
    out: Path,
    results: Mapping[str, Any],
    histories: Sequence[Any],
    command: str,
    record: Any = None,
    *,
    explain: Explain | None = None,
) -> Path:
    """Writes figures/*.png, *.svg and *.json and index.html into `out`; returns the page's path.

    `histories` holds the Metrics [seeds, steps] of every row of `results`, `record` the chosen row's
    `jaxgnn.training.recorder.Record` if there is one. explain: (results, the record's arrays) -> the three lines at
    the top.
    """
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    rows = [*table(results), *references(results)]
    sections = [Section("All numbers", [_how_chosen(results)], Table(HEADER, rows))]
    if "benchmark" in results:
        sections.append(benchmark_section(results["benchmark"]))
    sections.append(_curves(figures, results, histories))
    if results["layer_norms"]:
        sections.append(_layer_norms(results["layer_norms"]))
    if grid := _grid_section(figures, results):
        sections.insert(1, grid)
    config = results["config"]
    model = config["model"]
    arrays: Mapping[str, np.ndarray] = {}
    if record is not None:
        name = model["layer"]
        arrays = record.arrays(f"record/{name}")
        sections.append(recorded(figures, [name], arrays, config["runs"]["record_every"]))
    title = f"{model['layer'].upper()} with {counted(model['depth'], 'layer')} on {trained_on(config['data'])}"
    page = out / "index.html"
    more = f", matmul precision {config['train']['matmul_precision']}"
    explanation = None if explain is None else explain(results, arrays)
    write_page(page, title, [headline(results)], sections, footer(command, results, more), explanation)
    return page


def headline(results: Mapping[str, Any]) -> str:
    """The result in one sentence."""
    row = results["rows"][results["chosen"]]
    metric, seeds = _metric(results), len(row["scores"])
    at = f" at {_options(row)}" if row["options"] else ""
    failed = f" {row['failed_seeds']} of them failed." if row["failed_seeds"] else ""
    return (
        f"Test {metric} {_score(row, 'score')} over {counted(seeds, 'seed')}{at}; training loss "
        f"{_number(row['train_loss'])}, the best constant predictor's {results['constant_loss']:.4f}.{failed}"
        f"{beside(results.get('benchmark'))}{measured(row)}"
    )


def table(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row of texts a grid point, under HEADER; the chosen one is marked."""
    return [
        (
            _options(row) + (" (chosen)" if len(results["rows"]) > 1 and i == results["chosen"] else ""),
            _score(row, "score"),
            _score(row, "val"),
            _number(row["train_loss"]),
            f"{row['failed_seeds']} of {len(row['scores'])}",
        )
        for i, row in enumerate(results["rows"])
    ]


def references(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Of a benchmark, a row under HEADER for each predictor that nobody trains; none of a data set."""
    rows = results["benchmark"]["references"] if "benchmark" in results else ()
    return [(row["name"], untrained(row["test"]), untrained(row["val"]), "", "") for row in rows]


def benchmark_section(benchmark: Mapping[str, Any]) -> Section:
    """What was made, and the predictors that nobody trains on every split."""
    header = ("predictor", "training", "validation", "test")
    rows = [
        (row["name"], *(untrained(row[split]) for split in ("train", "val", "test"))) for row in benchmark["references"]
    ]
    said = f"Predictors that nobody trains, by {benchmark['metric'].replace('_', ' ')}."
    return Section("The benchmark", [*benchmark["facts"], said], Table(header, rows))


def beside(benchmark: Mapping[str, Any] | None) -> str:
    """The constant predictor's and the oracle's test scores in a sentence, after a space; none without a benchmark."""
    if benchmark is None:
        return ""
    rows = benchmark["references"]
    return f" Constant predictor {untrained(rows[0]['test'])}, oracle {untrained(rows[-1]['test'])}."


def untrained(score: float) -> str:
    """A score of a predictor that nobody trains; log10 of an error of 0 is -∞."""
    return "-∞" if score == -np.inf else _number(score)


def measured(row: Mapping[str, Any]) -> str:
    """Further numbers of a row's trained networks in a sentence each, after a space; mean ± deviation over seeds."""
    said = ""
    for name, values in row.get("measured", {}).items():
        found = np.asarray([v for v in values if v is not None and np.isfinite(v)])
        text = f"{found.mean():.3f} ± {found.std():.3f}" if found.size else "not finite"
        without = "" if found.size in (0, len(values)) else f" ({len(values) - found.size} not finite)"
        said += f" {name.capitalize()} {text}{without}."
    return said


def trained_on(config: Mapping[str, Any]) -> str:
    """The benchmark's or the data set's name."""
    return config.get("task") or config["dataset"]


def _how_chosen(results: Mapping[str, Any]) -> str:
    score = "Test score at each run's best validation score, mean ± standard deviation over seeds."
    return score if len(results["rows"]) == 1 else f"{score} The row with the best mean validation score is chosen."


def _grid_section(figures: Path, results: Mapping[str, Any]) -> Section | None:
    """Scores against each option of the grid that has several values, the others as chosen."""
    rows, chosen, metric = results["rows"], results["rows"][results["chosen"]], _metric(results)
    blocks = []
    for name in chosen["options"]:
        shown = [row for row in rows if all(row["options"][o] == v for o, v in chosen["options"].items() if o != name)]
        if len(shown) < 2:
            continue
        shown.sort(key=lambda row: row["options"][name])
        values = np.asarray([row["options"][name] for row in shown])
        lines = {
            split: Line(values, _column(shown, f"{key}_mean"), _column(shown, f"{key}_std"))
            for split, key in (("validation", "val"), ("test", "score"))
        }
        panel = panels.by_option(lines, xlabel=name, ylabel=metric, limits=panels.score_limits(metric))
        coloured = (replace(line, colour=_COLOUR[line.label]) for line in panel.series)
        said = "; ".join(f"{name} = {row['options'][name]:g}: {_number(row['score_mean'])}" for row in shown)
        panel, said = replace(panel, series=tuple(coloured)), f"Mean test score: {said}."
        blocks.append(figure_block(figures, f"grid-{name}", panel, f"Score against {name}", said))
    return Section("Grid", figures=blocks) if blocks else None


def _curves(figures: Path, results: Mapping[str, Any], histories: Sequence[Any]) -> Section:
    rows, history, metric = results["rows"], histories[results["chosen"]], _metric(results)

    def by_step(kind: str, ylabel: str, limits: panels.Limits, log: bool) -> Any:
        found = {split: getattr(history, f"{key}_{kind}", None) for split, key in _SPLITS.items()}
        lines = {
            split: Curve(np.arange(values.shape[1]), values, _COLOUR[split])
            for split, values in found.items()
            if values is not None
        }
        return panels.curves(lines, xlabel="step", ylabel=ylabel, log=log, limits=limits)

    losses = by_step("loss", "loss", panels.loss_limits(history.train_loss, history.val_loss), True)
    scores = by_step("score", metric, panels.score_limits(metric), False)
    row = rows[results["chosen"]]
    steps = ", ".join(map(str, row["best_steps"]))
    said = f"Final training losses: {_list(row)}.", f"Best validation scores at steps {steps}."
    return Section(
        "How the runs went",
        ["Median over seeds; the band goes from the lowest to the highest."],
        figures=[
            figure_block(figures, "loss", losses, "Loss", said[0]),
            figure_block(figures, "score", scores, "Score", said[1]),
        ],
    )


def _layer_norms(rows: Sequence[Mapping[str, Any]]) -> Section:
    """Measured norms of Jacobians, and bounds of them: by c for any weights, or by the weights for any features."""
    header = ["layer", "at initialisation", "at the best step"]
    bounds = {
        "bound for any weights": [row["guaranteed"] for row in rows],
        "bound by the weights at the best step": [row["trained"].get("bound") for row in rows],
    }
    bounds = {name: values for name, values in bounds.items() if any(v is not None for v in values)}
    texts = []
    for i, row in enumerate(rows):
        measured = [_number(row[state]["value"]) for state in ("initial", "trained")]
        known = ("" if values[i] is None else _number(values[i]) for values in bounds.values())
        texts.append((str(row["layer"]), *measured, *known))
    residuals = [row[state]["residual"] for row in rows for state in ("initial", "trained")]
    largest = max((r for r in residuals if r is not None), default=float("nan"))
    said = (
        "Largest singular value of ∂X⁽ˡ⁺¹⁾/∂X⁽ˡ⁾, first seed, measured at this data set's features by Lanczos (lower "
        f"bounds, residuals up to {_number(largest)}). "
    )
    holds = "The bounds hold at any features."
    none = (
        "Attention, gates and norms have no bound that holds at any features: these values change with the scale of "
        "the input."
    )
    return Section("Layer Jacobians", [said + (holds if bounds else none)], Table([*header, *bounds], texts))


def _metric(results: Mapping[str, Any]) -> str:
    return results.get("metric", results["config"]["data"]["metric"]).replace("_", " ")


def _list(row: Mapping[str, Any]) -> str:
    return ", ".join(_number(loss) for loss in row["train_losses"])


def _score(row: Mapping[str, Any], name: str) -> str:
    return mean_and_deviation(row[f"{name}_mean"], row[f"{name}_std"], digits=4)


def _options(row: Mapping[str, Any]) -> str:
    texts = {name: value if isinstance(value, str) else f"{value:g}" for name, value in row["options"].items()}
    return ", ".join(f"{name} = {text}" for name, text in texts.items()) or "as given"


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.asarray([np.nan if row[name] is None else row[name] for row in rows], float)


def _number(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "not finite"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1000 or value == 0 else f"{value:.1e}"

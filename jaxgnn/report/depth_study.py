"""The page of a depth study: what `jaxgnn.commands.study` measured, as figures with a sentence each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.report import plots
from jaxgnn.report.page import FigureBlock, Section, Table, write_page
from jaxgnn.report.terminal import mean_and_deviation
from jaxgnn.report.training import benchmark_section, beside, measured

Arrays = Mapping[tuple[int, str], Mapping[str, np.ndarray]]

# (array, title, axis label, how the sentence names it, whether it is read towards the input)
_BY_LAYER = (
    ("features/mu", "Features: distance from equal rows", "μ(X⁽ˡ⁾)", "μ of the features", False),
    ("features/dirichlet", "Features: Dirichlet energy", "tr Xᵀ(I−P)X", "the features' Dirichlet energy", False),
    ("feature_grads/mu", "Gradients: distance from equal rows", "μ(G⁽ˡ⁾)", "μ of the gradients", True),
    ("feature_grads/dirichlet", "Gradients: Dirichlet energy", "tr Gᵀ(I−P)G", "the gradients' Dirichlet energy", True),
    (
        "features/relative_mu",
        "Features: μ relative to the norm",
        "μ(X⁽ˡ⁾) / ‖X⁽ˡ⁾‖",
        "the features' relative μ",
        False,
    ),
    (
        "feature_grads/relative_mu",
        "Gradients: μ relative to the norm",
        "μ(G⁽ˡ⁾) / ‖G⁽ˡ⁾‖",
        "the gradients' relative μ",
        True,
    ),
)


def write_study(out: Path, results: Mapping[str, Any], arrays: Arrays, command: str) -> Path:
    """Writes figures/*.png and *.svg and index.html into `out`; returns the page's path.

    `arrays` holds each cell's arrays by (depth, remedy); a study that was interrupted may lack some cells.
    """
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    cells = results["cells"]
    benchmark = results.get("benchmark")
    sections = [_scores(figures, cells)]
    if benchmark is not None:
        sections.insert(0, benchmark_section(benchmark))
    for depth in sorted({cell["depth"] for cell in cells}):
        sections.append(_depth_section(figures, depth, [c for c in cells if c["depth"] == depth], arrays))
    sections.append(_table(cells))
    dataset, layer = cells[0]["dataset"], results["config"]["layer"]
    page = out / "index.html"
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    footer = [
        f"Made by: {command}",
        f"{versions}; {results['device']['kind']}; commit {results['commit'] or 'unknown'}",
    ]
    lead = [headline(cells) + beside(benchmark), *results["facts"]]
    write_page(page, f"Why a deep {layer.upper()} fails on {dataset}, and what fixes it", lead, sections, footer)
    return page


def headline(cells: Sequence[Mapping[str, Any]]) -> str:
    """The study's finding in one or two sentences: the deepest plain network against the best remedy."""
    depth = max(cell["depth"] for cell in cells)
    deepest = [cell for cell in cells if cell["depth"] == depth]
    best, metric = max(deepest, key=_rank), _metric(cells)
    plain = next((cell for cell in deepest if cell["remedy"] == "none"), None)
    said = f"At {depth} layers the best is “{_named(best)}” with test {metric} {_score(best)}."
    if plain is None or plain is best:
        return said
    return f"At {depth} layers the plain network reaches {_score(plain)} test {metric}; {_loss_phrase(plain)}. {said}"


def _scores(figures: Path, cells: Sequence[Mapping[str, Any]]) -> Section:
    scores, losses, metric = {}, {}, _metric(cells)
    for remedy in _remedies(cells):
        rows = [cell for cell in cells if cell["remedy"] == remedy]
        depths = np.asarray([cell["depth"] for cell in rows], float)
        scores[remedy] = plots.Line(depths, _column(rows, "score_mean"), _column(rows, "score_std"))
        losses[remedy] = plots.Line(depths, _column(rows, "train_loss"))
    constant = cells[0]["constant_loss"]
    shown = plots.by_depth(scores, ylabel=f"test {metric}")
    loss = plots.by_depth(losses, ylabel="final training loss", log=True, reference=("constant predictor", constant))
    seeds = len(cells[0]["scores"])
    deepest = [cell for cell in cells if cell["depth"] == max(c["depth"] for c in cells)]
    accuracies = "; ".join(f"{cell['remedy']} {_score(cell)}" for cell in deepest)
    trained = "; ".join(f"{cell['remedy']} {_number(cell['train_loss'])}" for cell in deepest)
    depth = deepest[0]["depth"]
    sentences = (
        f"At {depth} layers, mean ± standard deviation over {seeds} seeds: {accuracies}.",
        f"The best constant predictor has {constant:.3f}; at {depth} layers: {trained}.",
    )
    return Section(
        "Accuracy and loss by depth" if metric == "accuracy" else "Scores and loss by depth",
        figures=[
            FigureBlock(plots.save(shown, figures, metric.replace(" ", "-")), f"Test {metric}", sentences[0]),
            FigureBlock(plots.save(loss, figures, "loss"), "Final training loss", sentences[1]),
        ],
    )


def _depth_section(figures: Path, depth: int, cells: Sequence[Mapping[str, Any]], arrays: Arrays) -> Section:
    blocks = []
    for name, title, ylabel, noun, backward in _BY_LAYER:
        # The median over seeds keeps one diverged seed from hiding the others.
        states = {
            state: {c["remedy"]: _median(arrays[depth, c["remedy"]][f"{state}/{name}"]) for c in cells}
            for state in ("initial", "trained")
        }
        figure = plots.by_layer(states["initial"], states["trained"], ylabel=ylabel)
        svg = plots.save(figure, figures, f"depth-{depth}-{name.replace('/', '-')}")
        blocks.append(FigureBlock(svg, title, _layer_sentence(states, noun, backward)))
    first = arrays[depth, cells[0]["remedy"]]
    prefix = "trained/singular_values/"
    layers = sorted({int(key.split("/")[2]) for key in first if key.startswith(prefix)})
    for layer in layers:
        blocks.extend(_spectrum_block(figures, depth, layer, state, cells, arrays) for state in ("initial", "trained"))
    return Section(
        f"Depth {depth}",
        [
            "Dotted: at initialisation. Solid: after training. Medians over seeds; a line that ends has reached 0 or "
            "is not finite."
        ],
        figures=blocks,
    )


def _spectrum_block(figures: Path, depth: int, layer: int, state: str, cells, arrays: Arrays) -> FigureBlock:
    values = {c["remedy"]: arrays[depth, c["remedy"]][f"{state}/singular_values/{layer}"] for c in cells}
    values = {remedy: sigma for remedy, sigma in values.items() if sigma.size}
    everything = cells[0]["spectrum"] == "exact"
    count = "All" if everything else f"The {max((v.size for v in values.values()), default=0)} largest"
    when = "at initialisation" if state == "initial" else "after training"
    figure = plots.spectra(values, ylabel="singular value σ", xlabel="rank, largest first")
    svg = plots.save(figure, figures, f"depth-{depth}-layer-{layer}-{state}-singular-values")
    ranges = "; ".join(f"{remedy} {_range(sigma, everything)}" for remedy, sigma in values.items())
    sentence = (
        f"{count} singular values of ∂X⁽ˡ⁺¹⁾/∂X⁽ˡ⁾ for the first seed: {ranges or 'none, the features overflow'}."
    )
    if not everything:
        loose = max(_looseness(arrays[depth, c["remedy"]], f"{state}/singular_values/{layer}") for c in cells)
        sentence += f" block Lanczos: lower bounds, with residuals up to {loose:.1%}; upper bounds are not certified."
    return FigureBlock(svg, f"Jacobian of layer {layer}, {when}", sentence)


def _table(cells: Sequence[Mapping[str, Any]]) -> Section:
    header = ("depth", "remedy", "c", f"test {_metric(cells)}", "train loss", "constant", "failed seeds", "seconds")
    rows = [
        (
            str(cell["depth"]),
            cell["remedy"],
            "" if cell["bound_c"] is None else f"{cell['bound_c']:g}",
            _score(cell),
            _number(cell["train_loss"]),
            f"{cell['constant_loss']:.3f}",
            str(cell["failed_seeds"]),
            str(cell["seconds"]),
        )
        for cell in cells
    ]
    said = [f"Depth {cell['depth']}, {cell['remedy']}:{text}" for cell in cells if (text := measured(cell))]
    chosen = f"c is chosen by mean validation {_metric(cells)}."
    return Section("All numbers", [chosen, *said], Table(header, rows))


def _layer_sentence(states: Mapping[str, Mapping[str, np.ndarray]], noun: str, backward: bool) -> str:
    changes = []
    for remedy, values in states["trained"].items():
        before = states["initial"][remedy]
        changes.append(f"{remedy} {_change(before, backward)} before and {_change(values, backward)} after training")
    where = "from the output back to the input" if backward else "from the first layer to the last"
    return f"Factor by which {noun} changes {where}: {'; '.join(changes)}."


def _change(values: np.ndarray, backward: bool) -> str:
    start, end = (values[-1], values[0]) if backward else (values[0], values[-1])
    if not (np.isfinite(start) and np.isfinite(end)):
        return "not finite"
    if start <= 0:
        return "0 throughout" if end <= 0 else "from 0"
    return "to 0" if end <= 0 else f"{end / start:.2g}"


def _range(sigma: np.ndarray, everything: bool) -> str:
    if not np.isfinite(sigma).all():
        return "not finite"
    positive = sigma[sigma > 0]
    if not positive.size:
        return "all 0"
    zeros = sigma.size - positive.size
    tail = f", {zeros} exactly 0" if everything and zeros else ""
    return f"{_number(positive[0])} to {_number(positive[-1])}{tail}"


def _looseness(arrays: Mapping[str, np.ndarray], name: str) -> float:
    """The largest residual of a cell's Lanczos values, relative to the largest value."""
    values, upper = arrays[name], arrays.get(f"{name}/upper", arrays[name])
    return float(np.max(upper - values, initial=0.0) / np.max(values, initial=1e-300))


def _median(values: np.ndarray) -> np.ndarray:
    return np.median(values, axis=0)


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
    return cell["remedy"] + ("" if cell["bound_c"] is None else f", c = {cell['bound_c']:g}")


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

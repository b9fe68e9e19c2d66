"""The figures and tables of `stationary`."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxgnn.experiments.keriven2025.stationary_cells import STAGES, Cell, Setting
from jaxgnn.experiments.keriven2025.stationary_plan import Results, comparison, nonlinear, studies
from jaxgnn.report import plots
from jaxgnn.report.claim import Shown
from jaxgnn.report.page import Table
from jaxgnn.stationary import Balance


def figures(results: Results) -> dict[str, Shown]:
    """All figures, by file name."""
    config = results.config
    shown = {}
    for graph in config.graphs:
        shown[f"layers-{graph}"] = Shown(
            _plot_layers(results, graph),
            f"Every layer's gradient, {graph}",
            f"||d loss / d W_k|| / (||P X_k|| ||B_k||) left, with ||B_(L-1)|| in place of ||B_k|| right: medians of "
            f"{config.seeds} networks of {config.depth} layers, before the readout is trained (dotted), after "
            f"{config.adam_steps} steps of Adam (dashed) and at gradient norm 1e-8 (solid).",
        )
    for activation in nonlinear(config):
        shown[f"path-{activation}"] = Shown(
            _plot_path(results, activation),
            f"The loss as the readout's gradient falls, {activation}",
            "Every point is the readout of smallest change that has this gradient norm; dashed is the constant "
            "predictor. A smoothed network leaves it where the gradient is far smaller than Adam (crosses) makes it.",
        )
    for activation in config.activations:
        shown[f"depth-{activation}"] = Shown(
            _plot_depth(results, activation),
            f"Depth, {activation}",
            "Training loss over the constant predictor's, and the median layer's gradient over ||P X_k|| ||B_(L-1)||, "
            "with the readout trained by Adam (dashed) and to gradient norm 1e-8 (solid); bars: all networks.",
        )
    shown["why"] = Shown(
        _plot_why(results),
        "Why the ratio is small or not",
        "Readout trained by Adam, first network: the ratio is at most its part along v (what P keeps) plus its part "
        "beside v, and that at most the product of what the signal and the error have beside v.",
    )
    kinds = dict.fromkeys((a.setting.graph, a.setting.activation) for a in results.around)
    for graph, activation in kinds:
        shown[f"slice-{graph}-{activation}"] = Shown(
            _plot_slice(results, graph, activation),
            f"The loss around the point, {graph}, {activation}",
            f"Training loss over the constant predictor's on a plane through the weights of all "
            f"{config.slice_depth} layers, two random directions as long as each filter; one scale a column.",
        )
    return shown


def stages_of(cells: Iterable[Cell], stage: str, name: str) -> np.ndarray:
    """A number of a stage, or of its balance, of every seed: [seeds], or [seeds, L]."""
    stages = [cell.stages[stage] for cell in cells]
    return np.array([getattr(s.balance if name in Balance._fields else s, name) for s in stages])


_STYLES = {"initial": ":", "adam": "--", "stationary": "-"}


def _network_name(cells: list[Cell]) -> str:
    cell = cells[0]
    return "MLP" if cell.setting.layer == "mlp" else f"GCN, {cell.setting.normalisation}: λ = {cell.eigenvalue:.4f}"


def _panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.ravel():
        one.grid(color="0.9", linewidth=0.7)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _plot_layers(results: Results, graph: str) -> Figure:
    activations = nonlinear(results.config)
    figure, axes = _panels(len(activations), 2, (4.4, 3.1))
    for row, activation in zip(axes, activations, strict=True):
        found = [results.of(kind) for kind in comparison(results.config, graph, activation)]
        for one, name in zip(row, ("ratio", "output_ratio"), strict=True):
            every = []
            for i, cells in enumerate(found):
                for stage, style in _STYLES.items():
                    values = np.median(stages_of(cells, stage, name), axis=0)
                    every.append(values)
                    label = _network_name(cells) if (stage == "stationary" and one is axes[0, 0]) else None
                    one.plot(np.arange(values.size), values, style, color=plots.COLOURS[i], linewidth=1.6, label=label)
            plots.log_axis(one, every)
            one.set_title(
                f"{activation}: {'over ‖PX‖ ‖B‖ of the layer' if name == 'ratio' else 'over the output error'}"
            )
            one.title.set_fontsize(9.5)
        row[0].set_ylabel("relative gradient")
    for one in axes[-1]:
        one.set_xlabel("layer k")
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].plot([], [], "k:", label="readout as drawn")
    axes[0, 0].plot([], [], "k--", label="readout trained by Adam")
    axes[0, 0].plot([], [], "k-", label="readout's gradient at 1e-8")
    return plots.finished(figure)


def _plot_path(results: Results, activation: str) -> Figure:
    config = results.config
    columns = min(3, len(config.graphs))
    figure, axes = _panels(-(-len(config.graphs) // columns), columns, (2.9, 2.7))
    for one in axes.ravel()[len(config.graphs) :]:
        one.set_axis_off()
    for one, graph in zip(axes.ravel(), config.graphs, strict=False):
        labelled = one is axes[0, 0]
        for i, kind in enumerate(comparison(config, graph, activation)):
            colour = plots.COLOURS[i]
            for cell in (cells := results.of(kind)):
                label = _network_name(cells).split(":")[0] if cell is cells[0] and labelled else None
                x, y = cell.path[:, 0], cell.path[:, 1] / cell.constant_loss
                marker = {"marker": plots.MARKERS[i], "markersize": 2.5}
                one.plot(x, y, label=label, color=colour, linewidth=1.2, **marker)
                adam = cell.stages["adam"]
                cross = {"marker": "x", "markersize": 7, "markeredgewidth": 1.8, "linestyle": ""}
                one.plot(adam.gradient_norm, adam.loss / cell.constant_loss, color=colour, **cross)
        one.axhline(1.0, color="0.4", linestyle="--", linewidth=1)
        one.plot([], [], "kx", label="after Adam" if labelled else None)
        one.set_xscale("log")
        one.invert_xaxis()
        one.set_ylim(-0.05, 1.25)
        one.set_title(graph, fontsize=9.5)
        one.set_xlabel("readout's gradient norm")
        one.set_ylabel("loss / constant's")
    return plots.finished(figure)


def _plot_depth(results: Results, activation: str) -> Figure:
    config = results.config
    figure, axes = _panels(2, len(config.sweep_graphs), (4.4, 2.9))
    for column, graph in zip(axes.T, config.sweep_graphs, strict=True):
        for i, layer in enumerate(("gcn", "mlp")):
            kinds = [
                kind
                for kind in studies(config)["depth"]
                if (kind.graph, kind.activation, kind.layer) == (graph, activation, layer)
            ]
            depths = [kind.depth for kind in kinds]
            for stage in ("adam", "stationary"):
                loss, output = [], []
                for kind in kinds:
                    cells = results.of(kind)
                    loss.append(stages_of(cells, stage, "loss") / cells[0].constant_loss)
                    output.append(np.median(stages_of(cells, stage, "output_ratio"), axis=1))
                for one, values in zip(column, (np.array(loss), np.array(output)), strict=True):
                    middle = np.median(values, axis=1)
                    error = np.abs(np.stack([values.min(axis=1), values.max(axis=1)]) - middle)
                    style = {"color": plots.COLOURS[i], "marker": plots.MARKERS[i], "markersize": 4, "capsize": 3}
                    label = layer.upper() if stage == "stationary" and one is axes[0, 0] else None
                    one.errorbar(depths, middle, error, linestyle=_STYLES[stage], label=label, **style)
        for one in column:
            one.set_xscale("log", base=2)
            one.set_xticks(config.depths, [str(d) for d in config.depths])
        column[0].axhline(1.0, color="0.4", linewidth=1)
        column[0].set_title(graph, fontsize=9.5)
        column[1].set_yscale("log")
        column[1].set_xlabel("depth (layers)")
    axes[0, 0].set_ylabel("loss / constant's")
    axes[1, 0].set_ylabel("relative gradient")
    axes[0, 0].plot([], [], "k--", label="readout trained by Adam")
    axes[0, 0].plot([], [], "k-", label="readout's gradient at 1e-8")
    return plots.finished(figure)


_PARTS = {
    "ratio": ("ratio", "-"),
    "mean_part": ("part along v", "--"),
    "off_part": ("part beside v", "-."),
    "forward_off": ("signal beside v", ":"),
    "backward_off": ("error beside v", ":"),
    "chance": ("error turned at random", (0, (1, 3))),
}


def _plot_why(results: Results) -> Figure:
    config, activations = results.config, nonlinear(results.config)
    graph = config.graphs[0]
    figure, axes = _panels(len(activations), 2, (4.4, 3.1))
    for row, activation in zip(axes, activations, strict=True):
        kinds = comparison(config, graph, activation)
        for one, kind in zip(row, (kinds[0], kinds[-1]), strict=True):
            cells = results.of(kind)
            balance = cells[0].stages["adam"].balance
            for i, (name, (label, style)) in enumerate(_PARTS.items()):
                values = getattr(balance, name)
                label = label if one is axes[0, 0] else None
                one.plot(np.arange(values.size), values, linestyle=style, color=plots.COLOURS[i], label=label)
            plots.log_axis(one, [getattr(balance, name) for name in _PARTS])
            one.set_title(f"{graph}, {activation}: {_network_name(cells)}", fontsize=9.5)
    for one in axes[-1]:
        one.set_xlabel("layer k")
    return plots.finished(figure)


def _plot_slice(results: Results, graph: str, activation: str) -> Figure:
    found = [a for a in results.around if (a.setting.graph, a.setting.activation) == (graph, activation)]
    figure, axes = _panels(2, 2, (3.6, 2.9))
    for column, stage in zip(axes.T, ("adam", "stationary"), strict=True):
        here = [around for around in found if around.stage == stage]
        values = [np.log10(np.maximum(around.landscape.loss / around.constant_loss, 1e-12)) for around in here]
        levels = np.linspace(min(v.min() for v in values), max(v.max() for v in values) + 1e-9, 25)
        for one, around, value in zip(column, here, values, strict=True):
            axis = around.landscape.axis
            mesh = one.contourf(axis, axis, value.T, levels=levels, cmap="viridis")
            one.plot(0, 0, "w+", markersize=8)
            readout = "Adam" if stage == "adam" else "gradient 1e-8"
            one.set_title(f"{around.setting.layer.upper()}, readout: {readout}", fontsize=9.5)
            one.set_aspect("equal")
            one.grid(visible=False)
        figure.colorbar(mesh, ax=list(column), label="log10(loss / constant's)", format="%.1f")
    return figure


_HEADER = (
    "loss: drawn",
    "Adam",
    "1e-8",
    "exact",
    "gradient reached",
    "separates",
    "R grew to",
    "ratio: drawn",
    "Adam",
    "1e-8",
    "over output: drawn",
    "Adam",
    "1e-8",
    "gradient: drawn",
    "Adam",
    "1e-8",
)


def _numbers(cells: list[Cell]) -> list[str]:
    """Losses over the constant predictor's; then medians over layers; each the median over seeds."""

    def shown(name, stages=("initial", "adam", "stationary")):
        return [_short(np.median(stages_of(cells, stage, name))) for stage in stages]

    constant = cells[0].constant_loss
    losses = [_short(np.median(stages_of(cells, stage, "loss")) / constant) for stage in STAGES[:4]]
    separates = int(stages_of(cells, "stationary", "separates").sum())
    return [
        *losses,
        f"{stages_of(cells, 'stationary', 'gradient_norm').max():.0e}",
        f"{separates} of {len(cells)}",
        _short(np.median(stages_of(cells, "stationary", "readout_norm"))),
        *shown("ratio"),
        *shown("output_ratio"),
        *shown("gradient"),
    ]


def _short(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= abs(value) < 100 else f"{value:.1e}"


_ERROR_STAGES = ("initial", "adam", "stationary", "no bias")


def tables(results: Results) -> dict[str, Table]:
    """All tables, by heading."""
    config = results.config
    kinds = studies(config)
    headings = {
        f"GNN and MLP, {config.depth} layers of width {config.width}": ("graphs", None),
        "Other graphs": ("others", None),
        "Depth": ("depth", "depth"),
        "Width": ("width", "width"),
        "Orthogonal and Glorot weights": ("weights", "weights"),
        "Remedies": ("remedies", "remedy"),
    }
    leading = ("graph", "network", "rho", "lambda", "gap")
    found = {}
    for heading, (study, option) in headings.items():
        rows = []
        for kind in kinds[study]:
            cells = results.of(kind)
            more = [str(getattr(kind, option))] if option else []
            rows.append([*_network(kind, cells), *more, *_numbers(cells)])
        found[heading] = Table((*leading, *([option] if option else []), *_HEADER), rows)
    pairs = [(kind, results.of(kind)) for kind in kinds["graphs"]]
    found["The output error, and the readout without a bias"] = Table(
        (
            *leading,
            "1^T E: drawn",
            "Adam",
            "1e-8",
            "no bias",
            "v^T E: drawn",
            "Adam",
            "1e-8",
            "no bias",
            "loss, no bias",
        ),
        [
            [
                *_network(kind, cells),
                *(_short(np.median(stages_of(cells, s, "mean_error"))) for s in _ERROR_STAGES),
                *(_short(np.median(stages_of(cells, s, "kept_error"))) for s in _ERROR_STAGES),
                _short(np.median(stages_of(cells, "no bias", "loss")) / cells[0].constant_loss),
            ]
            for kind, cells in pairs
        ],
    )
    found["The Hessian in all layers' weights"] = Table(
        ("graph", "network", "rho", "readout", "loss", "lowest", "highest", "weights"),
        [
            [
                a.setting.graph,
                a.setting.layer.upper(),
                a.setting.activation,
                a.stage,
                _short(a.landscape.loss[len(a.landscape.axis) // 2, len(a.landscape.axis) // 2] / a.constant_loss),
                f"{a.hessian.lowest:.2e} ± {a.hessian.lowest_error:.0e}",
                f"{a.hessian.highest:.2e} ± {a.hessian.highest_error:.0e}",
                str(a.hessian.dimension),
            ]
            for a in results.around
        ],
    )
    return {heading: table for heading, table in found.items() if table.rows}


def _network(kind: Setting, cells: list[Cell]) -> list[str]:
    value = cells[0].eigenvalue
    if kind.layer == "mlp":
        return [kind.graph, "MLP", kind.activation, "", ""]
    return [kind.graph, f"GCN, {kind.normalisation}", kind.activation, f"{value:.4f}", f"{1 - value:.4f}"]

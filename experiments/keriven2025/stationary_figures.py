"""The figures and tables of `stationary`."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxgnn.experiments.keriven2025.networks import Setting
from jaxgnn.experiments.keriven2025.stationary_cells import SHOWN, STAGES
from jaxgnn.experiments.keriven2025.stationary_plan import Results, comparison, nonlinear, studies
from jaxgnn.report import plots
from jaxgnn.report.claim import Shown
from jaxgnn.report.page import Table

_READOUT = {"initial": "as drawn", "adam": "trained by Adam", "stationary": "gradient 1e-8"}
_STYLES = {"initial": ":", "adam": "--", "stationary": "-"}


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
    for graph, activation in dict.fromkeys((setting.graph, setting.activation) for setting in results.around):
        shown[f"slice-{graph}-{activation}"] = Shown(
            _plot_slice(results, graph, activation),
            f"The loss around the point, {graph}, {activation}",
            f"Training loss over the constant predictor's on a plane through the weights of all "
            f"{config.slice_depth} layers, two random directions as long as each filter; one scale a column.",
        )
    return shown


def _name(results: Results, kind: Setting) -> str:
    value = results.median(kind, "eigenvalue")
    return "MLP" if kind.layer == "mlp" else f"GCN, {kind.normalisation}: λ = {value:.4f}"


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
    names = {"ratio": "over ‖PX‖ ‖B‖ of the layer", "output_ratio": "over the output error"}
    for row, activation in zip(axes, activations, strict=True):
        for one, (name, over) in zip(row, names.items(), strict=True):
            every = []
            for i, kind in enumerate(comparison(results.config, graph, activation)):
                for stage, style in _STYLES.items():
                    every.append(np.median(results.of(kind, f"{stage}/{name}"), axis=0))
                    label = _name(results, kind) if (stage == "stationary" and one is axes[0, 0]) else None
                    one.plot(every[-1], style, color=plots.COLOURS[i], linewidth=1.6, label=label)
            plots.log_axis(one, every)
            one.set_title(f"{activation}: {over}", fontsize=9.5)
        row[0].set_ylabel("relative gradient")
    for one in axes[-1]:
        one.set_xlabel("layer k")
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
    for stage, style in _STYLES.items():
        axes[0, 0].plot([], [], f"k{style}", label=f"readout {_READOUT[stage]}")
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
            colour, constant = plots.COLOURS[i], results.median(kind, "constant_loss")
            # The paths' lengths differ.
            paths = [results.networks[s]["path"] for s in results.networks if s.kind == kind]
            for seed, path in enumerate(paths):
                label = _name(results, kind).split(":")[0] if labelled and not seed else None
                marker = {"marker": plots.MARKERS[i], "markersize": 2.5}
                one.plot(path[:, 0], path[:, 1] / constant, label=label, color=colour, linewidth=1.2, **marker)
            cross = {"marker": "x", "markersize": 7, "markeredgewidth": 1.8, "linestyle": ""}
            one.plot(results.of(kind, "adam/gradient_norm"), results.relative_loss(kind, "adam"), color=colour, **cross)
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
            wanted = (graph, activation, layer)
            kinds = [k for k in studies(config)["depth"] if (k.graph, k.activation, k.layer) == wanted]
            depths = [kind.depth for kind in kinds]
            for stage in SHOWN:
                loss = np.array([results.relative_loss(kind, stage) for kind in kinds])
                output = np.array([np.median(results.of(kind, f"{stage}/output_ratio"), axis=1) for kind in kinds])
                for one, values in zip(column, (loss, output), strict=True):
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
    for stage in SHOWN:
        axes[0, 0].plot([], [], f"k{_STYLES[stage]}", label=f"readout {_READOUT[stage]}")
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
        doubly, _, mlp = comparison(config, graph, activation)
        for one, kind in zip(row, (doubly, mlp), strict=True):
            every = []
            for i, (name, (label, style)) in enumerate(_PARTS.items()):
                every.append(results.of(kind, f"adam/{name}")[0])
                label = label if one is axes[0, 0] else None
                one.plot(every[-1], linestyle=style, color=plots.COLOURS[i], label=label)
            plots.log_axis(one, every)
            one.set_title(f"{graph}, {activation}: {_name(results, kind)}", fontsize=9.5)
    for one in axes[-1]:
        one.set_xlabel("layer k")
    return plots.finished(figure)


def _plot_slice(results: Results, graph: str, activation: str) -> Figure:
    found = {s.layer: arrays for s, arrays in results.around.items() if (s.graph, s.activation) == (graph, activation)}
    figure, axes = _panels(2, 2, (3.6, 2.9))
    for column, stage in zip(axes.T, SHOWN, strict=True):
        relative = [arrays[f"{stage}/loss"] / arrays["constant_loss"] for arrays in found.values()]
        values = [np.log10(np.maximum(loss, 1e-12)) for loss in relative]
        levels = np.linspace(min(v.min() for v in values), max(v.max() for v in values) + 1e-9, 25)
        for one, (layer, arrays), value in zip(column, found.items(), values, strict=True):
            axis = arrays[f"{stage}/axis"]
            mesh = one.contourf(axis, axis, value.T, levels=levels, cmap="viridis")
            one.plot(0, 0, "w+", markersize=8)
            one.set_title(f"{layer.upper()}, readout {_READOUT[stage]}", fontsize=9.5)
            one.set_aspect("equal")
            one.grid(visible=False)
        figure.colorbar(mesh, ax=list(column), label="log10(loss / constant's)", format="%.1f")
    return figure


_LEADING = ("graph", "network", "rho", "lambda", "gap")
_HEADER = (
    *("loss: drawn", "Adam", "1e-8", "exact", "gradient reached", "separates", "R grew to"),
    *("ratio: drawn", "Adam", "1e-8", "over output: drawn", "Adam", "1e-8", "gradient: drawn", "Adam", "1e-8"),
)
_ERROR_STAGES = ("initial", "adam", "stationary", "no bias")
_ERROR_HEADER = (
    *("1^T E: drawn", "Adam", "1e-8", "no bias", "v^T E: drawn", "Adam", "1e-8", "no bias", "loss, no bias"),
)


def _numbers(results: Results, kind: Setting) -> list[str]:
    """Losses over the constant predictor's; then medians over layers; each the median over seeds."""
    separates = results.of(kind, "stationary/separates")
    found = [results.median(kind, f"{s}/{n}") for n in ("ratio", "output_ratio", "gradient") for s in STAGES[:3]]
    return [
        *(_short(np.median(results.relative_loss(kind, stage))) for stage in STAGES[:4]),
        f"{results.of(kind, 'stationary/gradient_norm').max():.0e}",
        f"{int(separates.sum())} of {separates.size}",
        _short(results.median(kind, "stationary/readout_norm")),
        *(_short(value) for value in found),
    ]


def _short(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= abs(value) < 100 else f"{value:.1e}"


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
    found = {}
    for heading, (study, option) in headings.items():
        more = [option] if option else []
        rows = [
            [*_network(results, kind), *(str(getattr(kind, o)) for o in more), *_numbers(results, kind)]
            for kind in kinds[study]
        ]
        found[heading] = Table((*_LEADING, *more, *_HEADER), rows)
    errors = [f"{stage}/{name}" for name in ("mean_error", "kept_error") for stage in _ERROR_STAGES]
    found["The output error, and the readout without a bias"] = Table(
        (*_LEADING, *_ERROR_HEADER),
        [
            [
                *_network(results, kind),
                *(_short(results.median(kind, name)) for name in errors),
                _short(np.median(results.relative_loss(kind, "no bias"))),
            ]
            for kind in kinds["graphs"]
        ],
    )
    found["The Hessian in all layers' weights"] = Table(
        ("graph", "network", "rho", "readout", "loss", "lowest", "highest", "weights"),
        [
            [s.graph, s.layer.upper(), s.activation, stage, *_hessian(arrays, stage)]
            for s, arrays in results.around.items()
            for stage in SHOWN
        ],
    )
    return {heading: table for heading, table in found.items() if table.rows}


def _hessian(arrays, stage: str) -> list[str]:
    found = {name.partition("/")[2]: value for name, value in arrays.items() if name.startswith(f"{stage}/")}
    middle = len(found["axis"]) // 2
    ends = [f"{found[end]:.2e} ± {found[f'{end}_error']:.0e}" for end in ("lowest", "highest")]
    return [_short(found["loss"][middle, middle] / arrays["constant_loss"]), *ends, str(found["dimension"])]


def _network(results: Results, kind: Setting) -> list[str]:
    value = results.median(kind, "eigenvalue")
    if kind.layer == "mlp":
        return [kind.graph, "MLP", kind.activation, "", ""]
    return [kind.graph, f"GCN, {kind.normalisation}", kind.activation, f"{value:.4f}", f"{1 - value:.4f}"]

"""Plots: arrays in, matplotlib Figure out. No global state: pyplot is not used."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator, ScalarFormatter

from jaxgnn.host.storage import write_atomically

# Okabe & Ito 2008, readable with colour-blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
_MAX_POINTS = 300


class Line(NamedTuple):
    """One curve: x, y [k], and optionally the half width of its error bars."""

    x: Float[np.ndarray, "k"]
    y: Float[np.ndarray, "k"]
    error: Float[np.ndarray, "k"] | None = None


def by_depth(
    lines: Mapping[str, Line], *, ylabel: str, log: bool = False, reference: tuple[str, float] | None = None
) -> Figure:
    """A number against depth, one line a remedy, with error bars and a dashed reference value."""
    figure, axes = new_figure(ylabel=ylabel, xlabel="depth (layers)")
    for i, (name, line) in enumerate(lines.items()):
        style = {"color": COLOURS[i % 7], "marker": MARKERS[i % 7], "markersize": 4, "label": name}
        axes.errorbar(line.x, line.y, yerr=line.error, capsize=3, linewidth=1.6, **style)
    if reference is not None:
        axes.axhline(reference[1], color="0.4", linestyle="--", linewidth=1, label=reference[0])
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted({float(x) for line in lines.values() for x in line.x}))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    if log:
        log_axis(axes, [line.y for line in lines.values()])
    return finished(figure)


def by_layer(
    initial: Mapping[str, Float[np.ndarray, "k"]], trained: Mapping[str, Float[np.ndarray, "k"]], *, ylabel: str
) -> Figure:
    """A positive quantity at every layer on a log scale: dotted at initialisation, solid after training.

    Values of 0 have no place on a log scale: a line that ends there has reached 0 in float32, or is not finite.
    """
    figure, axes = new_figure(ylabel=ylabel, xlabel="layer")
    for i, name in enumerate(initial):
        colour = COLOURS[i % 7]
        for values, line, label in ((trained[name], "-", name), (initial[name], ":", None)):
            shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
            axes.plot(np.arange(values.size), shown, line, color=colour, linewidth=1.6, label=label)
    axes.plot([], [], "k:", linewidth=1.2, label="at initialisation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    log_axis(axes, [*initial.values(), *trained.values()])
    return finished(figure)


def spectra(lines: Mapping[str, Float[np.ndarray, "k"]], *, ylabel: str, xlabel: str) -> Figure:
    """Singular values by rank, one line a remedy, on a log scale; zeros are left out."""
    figure, axes = new_figure(ylabel=ylabel, xlabel=xlabel)
    for i, (name, values) in enumerate(lines.items()):
        rank = np.unique(np.linspace(0, values.size - 1, _MAX_POINTS).astype(int))
        shown = np.where(values[rank] > 0, values[rank], np.nan)
        marker = MARKERS[i % 7] if values.size <= 40 else None
        axes.plot(rank + 1, shown, marker=marker, markersize=3, linewidth=1.6, color=COLOURS[i % 7], label=name)
    axes.axhline(1.0, color="0.4", linestyle="--", linewidth=1, label="1: norm preserved")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    log_axis(axes, [*lines.values(), np.ones(1)])
    return finished(figure)


def by_option(lines: Mapping[str, Line], *, xlabel: str, ylabel: str) -> Figure:
    """A number against a numeric option, with error bars; a log scale where the option spans a factor of 4 or more."""
    figure, axes = new_figure(ylabel=ylabel, xlabel=xlabel)
    for i, (name, line) in enumerate(lines.items()):
        style = {"color": COLOURS[i % 7], "marker": MARKERS[i % 7], "markersize": 4, "label": name}
        axes.errorbar(line.x, line.y, yerr=line.error, capsize=3, linewidth=1.6, **style)
    values = sorted({float(x) for line in lines.values() for x in line.x})
    if values[0] > 0 and values[-1] >= 4 * values[0]:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if len(values) <= 8:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    return finished(figure)


def by_step(lines: Mapping[str, Float[np.ndarray, "seeds steps"]], *, ylabel: str, log: bool = False) -> Figure:
    """A number at every step: the median over seeds, and a band from the lowest to the highest."""
    figure, axes = new_figure(ylabel=ylabel, xlabel="step")
    for i, (name, values) in enumerate(lines.items()):
        steps = np.flatnonzero(np.isfinite(values).any(axis=0))
        shown = values[:, steps]
        axes.plot(steps, np.nanmedian(shown, axis=0), color=COLOURS[i % 7], linewidth=1.6, label=name)
        if len(values) > 1:
            low, high = np.nanmin(shown, axis=0), np.nanmax(shown, axis=0)
            axes.fill_between(steps, low, high, color=COLOURS[i % 7], alpha=0.18, linewidth=0)
    if log:
        log_axis(axes, list(lines.values()))
    return finished(figure)


def save(figure: Figure, folder: Path, name: str) -> str:
    """Writes NAME.png and NAME.svg atomically; returns the SVG's text."""
    # No date and fixed identifiers, so that the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": name}):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    write_atomically(folder / f"{name}.svg", lambda file: file.write(svg))
    write_atomically(folder / f"{name}.png", lambda file: figure.savefig(file, format="png", dpi=150))
    return svg.decode()


def new_figure(*, ylabel: str, xlabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.0, 3.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color="0.9", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def finished(figure: Figure) -> Figure:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    return figure


def log_axis(axes: Axes, values: Sequence[np.ndarray]) -> None:
    joined = np.concatenate([np.ravel(v) for v in values]).astype(np.float64)  # limits may leave float32's range
    positive = joined[np.isfinite(joined) & (joined > 0)]
    if not positive.size:
        axes.text(0.5, 0.5, "no value is positive and finite", transform=axes.transAxes, ha="center")
        return
    low, high = np.log10(positive.min()), np.log10(positive.max())
    margin = max(0.05 * (high - low), 0.15)
    axes.set_yscale("log")
    axes.set_ylim(10 ** (low - margin), 10 ** (high + margin))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if high - low > 1.2:
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))

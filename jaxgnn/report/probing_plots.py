"""Curves by layer or by step: medians over seeds, with bands from the lowest to the highest."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxgnn.report import plots


class Curve(NamedTuple):
    """One curve: values [seeds, k] at x [k], shown as median and range; the colour by its number."""

    x: Float[np.ndarray, "k"]
    values: Float[np.ndarray, "seeds k"]
    colour: int
    style: str = "-"
    width: float = 1.6


def curves(lines: Mapping[str, Curve], *, xlabel: str, ylabel: str, log: bool, nodes: int | None = None) -> Figure:
    """Curves with bands from the lowest to the highest seed; with `nodes` a right axis of E = mu / sqrt(nodes).

    What is not finite, and on a log scale what is 0 (below 1e-250) or above 1e250, is left out.
    """
    figure, axes = plots.new_figure(xlabel=xlabel, ylabel=ylabel)
    lowest, highest = (1e-250, 1e250) if log else (-np.inf, np.inf)  # matplotlib cannot go further on a log scale
    shown = []
    for name, line in lines.items():
        values = np.where(np.isfinite(line.values), line.values, np.nan).astype(np.float64)
        values = values[:, at := np.isfinite(values).any(axis=0)]
        if not values.size:
            continue
        low, median, high = np.nanquantile(values, (0, 0.5, 1), axis=0)
        inside = (high > lowest) & (high < highest)
        x, low, median, high = (a[inside] for a in (line.x[at], low, median, high))
        if not x.size:
            continue
        low, median = (np.where(a > lowest, a, np.nan) for a in (low, median))
        colour = plots.COLOURS[line.colour % 7]
        axes.plot(x, median, line.style, color=colour, linewidth=line.width, label=name)
        if len(values) > 1:
            axes.fill_between(x, np.where(np.isnan(low), lowest, low), high, color=colour, alpha=0.15, linewidth=0)
        shown += [low, median, high]
    if not shown:
        zero = any((line.values == 0).any() for line in lines.values())
        text = "every value is 0" if zero else "there is no value"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center")
        axes.set(xticks=[], yticks=[])
        return figure
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        plots.log_axis(axes, shown)
    if nodes is not None:
        right = axes.secondary_yaxis("right", functions=(lambda y: y / np.sqrt(nodes), lambda y: y * np.sqrt(nodes)))
        right.set_ylabel("E = μ/√n")
    return plots.finished(figure)

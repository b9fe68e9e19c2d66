"""Descriptions of figures drawn by Matplotlib, for papers: apart from pyplot on pages, or into a caller's axes."""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from jaxgnn.report.canvas import COLOURS, MARKERS, finished, log_axis, new_figure
from jaxgnn.report.figure import GREY, LOWEST, Axis, Interval, Panel, Series, cut, placed, view

_RASTER = 5000  # points from which on an SVG would be larger than an image
_SHADES = (0.3, 0.15, 0.1)


def draw(panel: Panel, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Draws a panel into axes, which it returns; into a new figure of pyplot where there are none.

    Nothing is shown or saved. What is in the axes already stays, and takes other colours. On a log scale values of 0
    are gaps, counted in the legend.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(5.0, 3.9), layout="constrained")[1]
    elif not isinstance(ax, Axes):
        raise ValueError(f"ax is a {type(ax).__name__}: Matplotlib's Axes are needed")
    panel = panel.apart()
    before = len(ax.get_legend_handles_labels()[0])
    seen = ax.get_ylim() if before and panel.y.scale == "log" == ax.get_yscale() else ()
    drawn = [_draw_series(ax, series, before, panel.y) for series in panel.series]
    drawn = [values for of_series in drawn for values in of_series if np.isfinite(values).any()]
    ax.set_axisbelow(True)
    ax.grid(color="0.9", linewidth=0.7)
    ax.set_xlabel(panel.x.label)
    ax.set_ylabel(panel.y.label)
    ax.set_title(panel.title)
    for reference in panel.references:
        look: dict[str, Any] = {"color": "0.4", "linestyle": "--", "linewidth": 1, "label": reference.label}
        if reference.of == "circle":
            ax.add_patch(Circle((0, 0), reference.value, fill=False, edgecolor="0.2", linestyle="--", linewidth=1.2))
            ax.plot([], [], **look)
        else:
            (ax.axvline if reference.of == "x" else ax.axhline)(reference.value, **look)
    if not drawn:
        _say_nothing(ax, panel)
    else:
        _set_scales(ax, panel, [*drawn, np.asarray(seen, float)])
    if legend and ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8.5)
    return ax


def drawn_alone(panel: Panel) -> Figure:
    """The figure of a page: the panel with its legend below, apart from pyplot."""
    figure, axes = new_figure(xlabel=panel.x.label, ylabel=panel.y.label)
    draw(panel, axes, legend=False)
    return finished(figure)


def _draw_series(ax: Axes, series: Series, before: int, axis: Axis) -> list[np.ndarray]:
    """Draws it and returns what of it has a place."""
    log, floor = axis.scale == "log", axis.floor
    colour = "0.6" if series.colour == GREY else COLOURS[(series.colour + before) % len(COLOURS)]
    y, label = placed(series.y, log=log, floor=floor), series.name(log=log, floor=floor) or None
    if series.kind == "bars":
        ax.stairs(np.nan_to_num(y), series.x, fill=True, color=colour, alpha=0.3 if series.colour != GREY else 0.5)
        ax.stairs(np.nan_to_num(y), series.x, color=colour, linewidth=1.2, label=label)
        return [y[y > 0]]
    if series.kind == "points":
        return [*_draw_points(ax, series, y, colour, label), *_draw_errors(ax, series, y, colour, axis)]
    style: dict[str, Any] = {"color": colour, "rasterized": y.size > _RASTER, "label": label}
    style |= {"linestyle": series.dash, "linewidth": series.width, "markersize": 2.4 + series.width}
    style |= {"marker": MARKERS[series.colour % 7] if series.marked or y.size == 1 else None}
    ax.plot(series.x, y, **style)
    if np.isfinite(y).any():  # gaps at the ends are in view
        ends = np.nanmin(series.x), np.nanmax(series.x)
        ax.update_datalim([(end, np.nanmax(y)) for end in ends])
    shown = [y]
    for band, alpha in zip(series.bands, _SHADES, strict=False):
        band = cut(band, axis)
        low, high = (
            placed(band.low, log=log and floor is not None, floor=floor),
            placed(band.high, log=log, floor=floor),
        )
        low = np.maximum(low, LOWEST) if log else low
        ax.fill_between(series.x, low, high, where=np.isfinite(high), color=colour, alpha=alpha, linewidth=0)
        shown += [placed(band.low, log=log, floor=floor), high]
    return shown + _draw_errors(ax, series, y, colour, axis)


def _draw_errors(ax: Axes, series: Series, y: np.ndarray, colour: str, axis: Axis) -> list[np.ndarray]:
    if series.errors is None:
        return []
    ends = cut(Interval(*(np.where(np.isfinite(end), end, y) for end in series.errors)), axis)
    error = np.stack([y - ends.low, ends.high - y]).clip(0)
    bars = {"linestyle": "", "color": colour, "capsize": 2.5, "elinewidth": 1}
    ax.errorbar(series.x, y, yerr=error, **bars)
    return [placed(end, log=axis.scale == "log", floor=axis.floor) for end in ends]


def _draw_points(ax: Axes, series: Series, y: np.ndarray, colour: str, label: str | None) -> list[np.ndarray]:
    """Points, the smaller and the fainter the more of them there are; the legend's is large."""
    size = float(np.clip(60 / np.sqrt(y.size + 1), 1.2, 5))
    style: dict[str, Any] = {"linestyle": "", "marker": MARKERS[series.colour % 7], "markeredgewidth": 0}
    style |= {"color": colour, "alpha": 0.7 if y.size > 100 else 1.0, "rasterized": y.size > _RASTER}
    ax.plot(series.x, y, markersize=size, **style)
    if label is not None:
        ax.plot([], [], markersize=5, label=label, **style)
    return [y]


def _set_scales(ax: Axes, panel: Panel, shown: list[np.ndarray]) -> None:
    if panel.half is not None:
        ax.set(xlim=(-panel.half, panel.half), ylim=(-panel.half, panel.half))
    elif panel.y.scale == "log":
        log_axis(ax, shown, panel.y)
    elif panel.y.from_zero:
        ax.set_ylim(bottom=0)
    elif panel.y.lowest is not None or panel.y.highest is not None:
        ax.set_ylim(view(shown, panel.y, log=False))
    if panel.equal:
        ax.set_aspect("equal")
        ax.locator_params(nbins=5)
    if panel.x.scale == "log":
        ax.set_xscale("log", base=panel.x.base)
        ax.xaxis.set_minor_locator(NullLocator())
    for axis, described in ((ax.xaxis, panel.x), (ax.yaxis, panel.y)):
        _set_ticks(axis, described)
    if panel.right is not None:
        factor = panel.right.factor
        right = ax.secondary_yaxis("right", functions=(partial(np.multiply, factor), partial(np.multiply, 1 / factor)))
        right.set_ylabel(panel.right.label)


def _set_ticks(axis: DrawnAxis, described: Axis) -> None:
    if described.whole:
        axis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    if described.ticks:
        axis.set_ticks(list(described.ticks), list(described.names) or [f"{tick:g}" for tick in described.ticks])
    elif described.scale == "log" and described.base == 2:
        axis.set_major_formatter(ScalarFormatter())


def _say_nothing(ax: Axes, panel: Panel) -> None:
    values = [series.y for series in panel.series]
    zero = panel.y.scale == "log" and any((np.asarray(y) == 0).any() for y in values)
    ax.text(0.5, 0.6, "every value is 0" if zero else panel.nothing, transform=ax.transAxes, ha="center")
    ax.set(xticks=[], yticks=[])

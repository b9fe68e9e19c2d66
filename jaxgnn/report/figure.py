"""A figure described once, and drawn by Matplotlib.

A `Panel` is data alone: what it shows, on which scales, with which labels. Every renderer reads the same one.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from jaxgnn.report.canvas import COLOURS, MARKERS, finished, log_axis, new_figure

LOWEST, HIGHEST = 1e-250, 1e250  # Matplotlib cannot go further on a log scale
_RASTER = 5000  # points from which on an SVG would be larger than an image
_SHADES = (0.3, 0.15, 0.1)
GREY = -1


class Interval(NamedTuple):
    """Ends of an interval at every x, [k]; NaN where there is none."""

    low: Float[np.ndarray, "k"]
    high: Float[np.ndarray, "k"]


@dataclass(frozen=True, eq=False)
class Series:
    """Values over x.

    Attributes:
      label: in the legend; "" for none.
      x: [k]; the k + 1 edges of "bars".
      y: [k], NaN where there is no value.
      kind: "line", "points" or "bars" (a histogram).
      bands: shaded, the innermost first.
      errors: of error bars.
      colour: its number, -1 for grey.
      dash: "-", "--" or ":".
      marked: a marker at every value.
      width: of the line, in points.
    """

    label: str
    x: Float[np.ndarray, "k"]
    y: Float[np.ndarray, "k"]
    kind: Literal["line", "points", "bars"] = "line"
    bands: tuple[Interval, ...] = ()
    errors: Interval | None = None
    colour: int = 0
    dash: str = "-"
    marked: bool = False
    width: float = 1.6

    def name(self, *, log: bool) -> str:
        """The label with the number of values that have no place: those that are not finite, and on a log scale 0."""
        if not self.label:
            return ""
        zeros, small, below = (int(np.sum(part)) if log else 0 for part in _out_of_log(self.y))
        broken, size = int(np.sum(~np.isfinite(self.y))), self.y.size
        counts = ((zeros, f"{zeros} of {size} are 0"), (small, f"{small} of {size} below {LOWEST:g}"))
        counts += ((below, f"{below} of {size} negative"), (broken, f"{broken} not finite"))
        parts = [text for count, text in counts if count]
        return f"{self.label} ({', '.join(parts)})" if parts else self.label


@dataclass(frozen=True)
class Axis:
    """An axis: its label with symbol and unit, scale, and where its ticks are if not anywhere.

    Attributes:
      whole: ticks at whole numbers alone.
      ticks: places of all ticks.
      base: of a logarithmic scale.
      from_zero: begins at 0.
    """

    label: str
    scale: Literal["linear", "log"] = "linear"
    whole: bool = False
    ticks: tuple[float, ...] = ()
    base: int = 10
    from_zero: bool = False


@dataclass(frozen=True)
class Reference:
    """A dashed line at a value of y, or of x."""

    label: str
    value: float
    of: Literal["x", "y"] = "y"


@dataclass(frozen=True)
class Scaled:
    """A second axis on the right: y times a factor."""

    label: str
    factor: float


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes: what is drawn in them.

    Attributes:
      nothing: what is said where no value has a place.
    """

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    references: tuple[Reference, ...] = ()
    right: Scaled | None = None
    title: str = ""
    nothing: str = "there is no value"


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
    before = len(ax.get_legend_handles_labels()[0])
    view = ax.get_ylim() if before and panel.y.scale == "log" == ax.get_yscale() else ()
    log = panel.y.scale == "log"
    drawn = [_draw_series(ax, series, before, log=log) for series in panel.series]
    drawn = [values for of_series in drawn for values in of_series if np.isfinite(values).any()]
    ax.set_axisbelow(True)
    ax.grid(color="0.9", linewidth=0.7)
    ax.set_xlabel(panel.x.label)
    ax.set_ylabel(panel.y.label)
    ax.set_title(panel.title)
    for reference in panel.references:
        line = ax.axvline if reference.of == "x" else ax.axhline
        line(reference.value, color="0.4", linestyle="--", linewidth=1, label=reference.label)
    if not drawn:
        _say_nothing(ax, panel)
    else:
        _set_scales(ax, panel, [*drawn, np.asarray(view, float)])
    if legend and ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8.5)
    return ax


def drawn_alone(panel: Panel) -> Figure:
    """The figure of a page: the panel with its legend below, apart from pyplot."""
    figure, axes = new_figure(xlabel=panel.x.label, ylabel=panel.y.label)
    draw(panel, axes, legend=False)
    return finished(figure)


def _draw_series(ax: Axes, series: Series, before: int, *, log: bool) -> list[np.ndarray]:
    """Draws it and returns what of it has a place."""
    colour = "0.6" if series.colour == GREY else COLOURS[(series.colour + before) % len(COLOURS)]
    y, label = _placed(series.y, log=log), series.name(log=log) or None
    if series.kind == "bars":
        ax.stairs(np.nan_to_num(y), series.x, fill=True, color=colour, alpha=0.3 if series.colour != GREY else 0.5)
        ax.stairs(np.nan_to_num(y), series.x, color=colour, linewidth=1.2, label=label)
        return [y[y > 0]]
    points = series.kind == "points"
    style: dict[str, Any] = {"color": colour, "rasterized": y.size > _RASTER, "label": label}
    style |= {"linestyle": "" if points else series.dash, "linewidth": series.width}
    style |= {"marker": MARKERS[series.colour % 7] if series.marked or points or y.size == 1 else None, "markersize": 4}
    ax.plot(series.x, y, **style)
    if np.isfinite(y).any():  # gaps at the ends are in view
        ends = np.nanmin(series.x), np.nanmax(series.x)
        ax.update_datalim([(end, np.nanmax(y)) for end in ends])
    shown = [y]
    for band, alpha in zip(series.bands, _SHADES, strict=False):
        low, high = _placed(band.low, log=False), _placed(band.high, log=log)
        low = np.maximum(low, LOWEST) if log else low
        ax.fill_between(series.x, low, high, where=np.isfinite(high), color=colour, alpha=alpha, linewidth=0)
        shown += [_placed(band.low, log=log), high]
    if series.errors is not None:
        low, high = (np.where(np.isfinite(end), end, y) for end in series.errors)
        error = np.stack([y - low, high - y]).clip(0)
        bars = {"linestyle": "", "color": colour, "capsize": 2.5, "elinewidth": 1}
        ax.errorbar(series.x, y, yerr=error, **bars)
        shown += [_placed(low, log=log), high]
    return shown


def _placed(values: np.ndarray, *, log: bool) -> np.ndarray:
    """The values in float64, NaN where they have no place on the axis."""
    values = np.asarray(values, np.float64)
    inside = np.isfinite(values)
    if log:
        inside &= (values >= LOWEST) & (values <= HIGHEST)
    return np.where(inside, values, np.nan)


def _out_of_log(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.asarray(values, np.float64)
    return values == 0, (values > 0) & (values < LOWEST), (values < 0) & np.isfinite(values)


def _set_scales(ax: Axes, panel: Panel, shown: list[np.ndarray]) -> None:
    if panel.y.scale == "log":
        log_axis(ax, shown)
    elif panel.y.from_zero:
        ax.set_ylim(bottom=0)
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
        axis.set_ticks(list(described.ticks), [f"{tick:g}" for tick in described.ticks])
    elif described.scale == "log" and described.base == 2:
        axis.set_major_formatter(ScalarFormatter())


def _say_nothing(ax: Axes, panel: Panel) -> None:
    values = [series.y for series in panel.series]
    zero = panel.y.scale == "log" and any((np.asarray(y) == 0).any() for y in values)
    ax.text(0.5, 0.6, "every value is 0" if zero else panel.nothing, transform=ax.transAxes, ha="center")
    ax.set(xticks=[], yticks=[])

"""A figure described once: data alone. Matplotlib draws it for papers (`static`), Plotly on pages (`interactive`).

Every renderer reads the same description: what is shown, on which scales, with which labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

LOWEST, HIGHEST = 1e-250, 1e250  # Matplotlib cannot go further on a log scale
GREY = -1
_RIM = 2.2  # points by which a line is wider than the one that lies on it
_SAME = 0.004  # of the height of the axes: what nobody tells apart


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
      group: the entry of a page's legend that shows and hides it, with all others of that name; by default its label.
      variants: further entries that all have to be shown, as ("before training",) or ("bound",).
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
    group: str = ""
    variants: tuple[str, ...] = ()

    def name(self, *, log: bool, floor: float | None = None) -> str:
        """The label with the number of values that have no place: those that are not finite, and on a log scale 0.

        floor: of the axis; what is below it is drawn there, and counted.
        """
        if not self.label:
            return ""
        zeros, small, below = (int(np.sum(part)) if log else 0 for part in _out_of_log(self.y, floor or LOWEST))
        broken, size = int(np.sum(~np.isfinite(self.y))), self.y.size
        counts = ((zeros, f"{zeros} of {size} are 0"), (small, f"{small} of {size} below {floor or LOWEST:g}"))
        counts += ((below, f"{below} of {size} negative"), (broken, f"{broken} not finite"))
        parts = [text for count, text in counts if count]
        return f"{self.label} ({', '.join(parts)})" if parts else self.label


@dataclass(frozen=True)
class Axis:
    """An axis: its label with symbol and unit, scale, and where its ticks are if not anywhere.

    Attributes:
      whole: ticks at whole numbers alone.
      ticks: places of all ticks.
      names: what stands at them in place of their numbers.
      base: of a logarithmic scale.
      from_zero: begins at 0.
      lowest, highest: what a value can be at all, as 0 and 1 of an accuracy: bars and bands end there.
      floor: on a log scale, where values from 0 up to it are drawn, so that what reaches 0 stays in view.
    """

    label: str
    scale: Literal["linear", "log"] = "linear"
    whole: bool = False
    ticks: tuple[float, ...] = ()
    base: int = 10
    from_zero: bool = False
    lowest: float | None = None
    highest: float | None = None
    floor: float | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """A dashed line at a value of y, or of x; or a circle around 0 of that radius."""

    label: str
    value: float
    of: Literal["x", "y", "circle"] = "y"


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
      equal: one unit has the same length on both axes.
      half: where it is given, both axes go from -half to half.
    """

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    references: tuple[Reference, ...] = ()
    right: Scaled | None = None
    title: str = ""
    nothing: str = "there is no value"
    equal: bool = False
    half: float | None = None

    def coinciding(self) -> tuple[tuple[str, ...], ...]:
        """Labels of lines that nobody can tell apart, each such set once; only lines with a label count."""
        return tuple(tuple(self.series[i].label for i in some) for some in self._sets() if len(some) > 1)

    def apart(self) -> "Panel":
        """The same, where lines that lie on each other are wider the earlier they are drawn, so that all are seen."""
        width = {i: _RIM * rank for some in self._sets() for rank, i in enumerate(reversed(some))}
        return replace(
            self, series=tuple(replace(s, width=s.width + width.get(i, 0.0)) for i, s in enumerate(self.series))
        )

    def _sets(self) -> list[list[int]]:
        log, sets = self.y.scale == "log", []
        lines = [(i, _heights(s.y, log=log)) for i, s in enumerate(self.series) if s.kind == "line" and s.label]
        ends = view([s.y for s in self.series], self.y, log=log)
        tolerance = _SAME * float(np.ptp(np.log10(ends) if log else ends)) if ends else 0.0
        for i, y in lines:
            for some in sets:
                if _same(self.series[some[0]], self.series[i], tolerance, log=log):
                    some.append(i)
                    break
            else:
                if np.isfinite(y).any():
                    sets.append([i])
        return sets


def placed(values: Float[np.ndarray, "k"], *, log: bool, floor: float | None = None) -> Float[np.ndarray, "k"]:
    """The values in float64, NaN where they have no place on the axis; from 0 up to the floor they are there."""
    values = np.asarray(values, np.float64)
    inside = np.isfinite(values)
    if log and floor is not None:
        values = np.where(inside & (values >= 0), np.maximum(values, floor), values)
    if log:
        inside &= (values >= LOWEST) & (values <= HIGHEST)
    return np.where(inside, values, np.nan)


def cut(interval: Interval, axis: Axis) -> Interval:
    """The interval where values can be at all."""
    lowest, highest = (None if end is None else float(end) for end in (axis.lowest, axis.highest))
    if lowest is None and highest is None:
        return interval
    return Interval(*(np.clip(np.asarray(end, np.float64), lowest, highest) for end in interval))


def view(values: Sequence[Float[np.ndarray, "k"]], axis: Axis, *, log: bool) -> tuple[float, float] | None:
    """The ends of an axis that shows all of these values, at least a decade on a log scale; None without a value."""
    joined = np.concatenate([np.zeros(0), *(placed(np.ravel(v), log=log, floor=axis.floor) for v in values)])
    joined = joined[np.isfinite(joined)]
    if not joined.size:
        return None
    low, high = float(joined.min()), float(joined.max())
    if not log:
        size = max(abs(low), abs(high))
        margin = 0.05 * (high - low if high - low > 1e-9 * size else size) or 1.0
        low, high = (0.0 if axis.from_zero else low - margin), high + margin
        return _within(low, high, axis, 0.02 * (high - low))
    low, high = np.log10(low), np.log10(high)
    margin = max(0.05 * (high - low), 0.06)
    low, high = low - margin, high + margin
    widened = max(1.1 - (high - low), 0.0)  # a scale of less than a decade shows differences that are none
    low, high = low - widened / 2, high + widened / 2
    top = np.inf if axis.highest is None else np.log10(axis.highest) + 0.03
    if high > top:
        low, high = low - min(high - top, widened / 2), top
    return float(10.0**low), float(10.0**high)


def _within(low: float, high: float, axis: Axis, rim: float) -> tuple[float, float]:
    if axis.lowest is not None:
        low = max(low, axis.lowest - rim)
    if axis.highest is not None:
        high = min(high, axis.highest + rim)
    return low, high


def _heights(y: Float[np.ndarray, "k"], *, log: bool) -> Float[np.ndarray, "k"]:
    y = placed(y, log=log)
    return np.log10(y) if log else y


def _same(one: Series, other: Series, tolerance: float, *, log: bool) -> bool:
    if one.dash != other.dash or one.x.shape != other.x.shape or not np.array_equal(one.x, other.x):
        return False
    a, b = _heights(one.y, log=log), _heights(other.y, log=log)
    known = np.isfinite(a)
    return np.array_equal(known, np.isfinite(b)) and bool(np.all(np.abs(a - b)[known] <= tolerance))


def _out_of_log(values: Float[np.ndarray, "k"], least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.asarray(values, np.float64)
    return values == 0, (values > 0) & (values < least), (values < 0) & np.isfinite(values)

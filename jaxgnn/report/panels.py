"""Figures described from plain arrays: what the pages draw, and what `jaxgnn.plot` draws."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgnn.report.figure import GREY, Axis, Interval, Panel, Reference, Scaled, Series

BEFORE, AFTER = "before training", "after training"
_FEW = 60  # values up to which bounds are error bars, and every value has a marker


class Line(NamedTuple):
    """One curve: x, y [k], and optionally the half width of its error bars."""

    x: Float[np.ndarray, "k"]
    y: Float[np.ndarray, "k"]
    error: Float[np.ndarray, "k"] | None = None


class Limits(NamedTuple):
    """What a value can be at all, and what of it is shown: as of `Axis`."""

    lowest: float | None = None
    highest: float | None = None
    floor: float | None = None


ANY = Limits()
# mu / norm, and all else that is a part of a whole.
PART = Limits(0.0, 1.0)
# In [0, 1], or at most or at least so large, by the name of the metric.
_SCORES: dict[str, Limits] = {"mse": Limits(0.0), "mae": Limits(0.0)}
_SCORES |= dict.fromkeys(("accuracy", "roc_auc", "average_precision"), PART)


def score_limits(metric: str) -> Limits:
    """What a score can be: an accuracy from 0 to 1, an error from 0."""
    return _SCORES.get(metric.replace(" ", "_"), ANY)


def loss_limits(*losses: Any) -> Limits:
    """A floor eight decades below the largest of these losses, at most 1e-8: what is less is rounding in float32."""
    joined = np.concatenate([np.zeros(0), *(np.ravel(np.asarray(one, np.float64)) for one in losses)])
    positive = joined[np.isfinite(joined) & (joined > 0)]
    top = min(float(positive.max(initial=0.0)), 1.0)
    return Limits(floor=float(10.0 ** np.floor(np.log10(top) - 8)) if top > 0 else None)


class Curve(NamedTuple):
    """One curve: values [seeds, k] at x [k], shown as median and range; the colour by its number.

    group, variants: as of `Series`.
    """

    x: Float[np.ndarray, "k"]
    values: Float[np.ndarray, "seeds k"]
    colour: int
    style: str = "-"
    width: float = 1.6
    group: str = ""
    variants: tuple[str, ...] = ()


class Ranked(NamedTuple):
    """Singular values by rank [k], and optionally bounds of each; NaN or infinity where there is no bound."""

    values: Float[np.ndarray, "k"]
    lower: Float[np.ndarray, "k"] | None = None
    upper: Float[np.ndarray, "k"] | None = None


class DensityCurve(NamedTuple):
    """A density on a grid [k] with its standard error, and optionally a bound of what smoothing changes."""

    grid: Float[np.ndarray, "k"]
    density: Float[np.ndarray, "k"]
    standard_error: Float[np.ndarray, "k"]
    bias: Float[np.ndarray, "k"] | None = None


class ByDistance(NamedTuple):
    """||d x_v / d x_u|| over the pairs of nodes at each distance [k]: mean, range and optionally a bound of all."""

    distance: Float[np.ndarray, "k"]
    mean: Float[np.ndarray, "k"]
    high: Float[np.ndarray, "k"]
    low: Float[np.ndarray, "k"] | None = None
    bound: Float[np.ndarray, "k"] | None = None


def curves(
    lines: Mapping[str, Curve],
    *,
    xlabel: str,
    ylabel: str,
    log: bool,
    nodes: int | None = None,
    reference: Reference | None = None,
    limits: Limits = ANY,
) -> Panel:
    """Medians over seeds and bands from the lowest to the highest; with `nodes` a right axis of E = mu / sqrt(nodes).

    Where no seed has a finite value there is none; 0 counts in a median.
    """
    series = []
    for name, line in lines.items():
        values = np.asarray(line.values, np.float64)
        values = np.where(np.isfinite(values), values, np.nan)
        values = values[:, at := np.isfinite(values).any(axis=0)]
        low, median, high = np.nanquantile(values, (0, 0.5, 1), axis=0) if values.size else np.zeros((3, 0))
        bands = (Interval(low, high),) if len(values) > 1 else ()
        look = {"colour": line.colour, "dash": line.style, "width": line.width}
        look |= {"group": line.group, "variants": line.variants}
        series.append(Series(name, np.asarray(line.x)[at], median, bands=bands, **look))
    right = None if nodes is None else Scaled("E = μ/√n", 1 / np.sqrt(nodes))
    y = Axis(ylabel, "log" if log else "linear", **limits._asdict())
    references = () if reference is None else (reference,)
    return Panel(Axis(xlabel, whole=True), y, tuple(series), references, right=right)


def by_step(
    lines: Mapping[str, Float[np.ndarray, "seeds steps"]],
    *,
    ylabel: str,
    log: bool = False,
    limits: Limits = ANY,
) -> Panel:
    """A number at every step: the median over seeds, and a band from the lowest to the highest."""
    found = {name: Curve(np.arange(v.shape[1]), v, i) for i, (name, v) in enumerate(lines.items())}
    return curves(found, xlabel="step", ylabel=ylabel, log=log, limits=limits)


def by_layer(
    initial: Mapping[str, Float[np.ndarray, "k"]],
    trained: Mapping[str, Float[np.ndarray, "k"]],
    *,
    ylabel: str,
    limits: Limits = ANY,
) -> Panel:
    """A positive quantity at every layer on a log scale: dotted before training, solid after it."""
    series = []
    for i, name in enumerate(initial):
        for values, state in ((trained[name], AFTER), (initial[name], BEFORE)):
            series.append(Series(name, np.arange(values.size), values, colour=i, **as_state(name, state)))
    return Panel(Axis("layer", whole=True), Axis(ylabel, "log", **limits._asdict()), (*series, key_of_states()))


def as_state(name: str, state: str) -> dict[str, Any]:
    """Options of a Series: a line of a network before or after training, of which the legend has one entry."""
    return {"group": name, "variants": (state,), "dash": "-" if state == AFTER else ":"}


def key_of_states() -> Series:
    """What a dotted line is, for a printed legend."""
    return Series(BEFORE, np.zeros(0), np.zeros(0), colour=6, dash=":", width=1.2, group=BEFORE)


def by_depth(
    lines: Mapping[str, Line],
    *,
    ylabel: str,
    log: bool = False,
    reference: tuple[str, float] | None = None,
    limits: Limits = ANY,
) -> Panel:
    """A number against depth, one line a remedy, with error bars and a dashed reference value."""
    depths = tuple(sorted({float(x) for line in lines.values() for x in line.x}))
    x = Axis("depth (layers)", "log", ticks=depths, base=2)
    references = () if reference is None else (Reference(*reference),)
    y = Axis(ylabel, "log" if log else "linear", **limits._asdict())
    return Panel(x, y, _with_errors(lines), references)


def by_option(lines: Mapping[str, Line], *, xlabel: str, ylabel: str, limits: Limits = ANY) -> Panel:
    """A number against a numeric option, with error bars; a log scale where the option spans a factor of 4 or more."""
    values = sorted({float(x) for line in lines.values() for x in line.x})
    log = bool(values) and values[0] > 0 and values[-1] >= 4 * values[0]
    x = Axis(xlabel, "log" if log else "linear", ticks=tuple(values) if len(values) <= 8 else ())
    return Panel(x, Axis(ylabel, **limits._asdict()), _with_errors(lines))


def spectra(
    lines: Mapping[Any, Ranked], *, xlabel: str = "rank", ylabel: str = "singular value", isometry: bool = False
) -> Panel:
    """Singular values by rank on a log scale, their bounds as error bars, or as a band where they are many.

    lines: by name, or by (name, state), BEFORE dotted and AFTER solid. isometry: a line at 1, where a norm is
    preserved.
    """
    series = []
    names = list(dict.fromkeys(name for name, _ in map(_split, lines)))
    for key, line in lines.items():
        name, state = _split(key)
        i, values = names.index(name), np.asarray(line.values)
        errors, bands = None, ()
        if line.lower is not None or line.upper is not None:
            ends = (values if end is None else np.where(np.isfinite(end), end, values) for end in line[1:])
            interval = Interval(*ends)
            errors, bands = (interval, ()) if values.size <= _FEW else (None, (interval,))
        rank, marked = np.arange(values.size) + 1, values.size <= _FEW
        look = {"colour": i, "marked": marked, "width": 1.4} | (as_state(name, state) if state else {})
        series.append(Series(name, rank, values, bands=bands, errors=errors, **look))
    if any(BEFORE in one.variants for one in series):
        series.append(key_of_states())
    references = (Reference("1: norm preserved", 1.0),) if isometry else ()
    nothing = "no value is above 0"
    return Panel(Axis(xlabel, whole=True), Axis(ylabel, "log"), tuple(series), references, nothing=nothing)


def _split(key: Any) -> tuple[str, str]:
    return key if isinstance(key, tuple) else (key, "")


def densities(
    lines: Mapping[str, DensityCurve],
    *,
    laws: Mapping[str, Line] | None = None,
    exact: Float[np.ndarray, "k"] | None = None,
    bins: int = 50,
) -> Panel:
    """Densities of singular values, each with a band of two standard errors and the bias beyond it.

    laws: other curves, such as a Marchenko-Pastur mixture; exact: all singular values, a histogram of those above 0
    whose area is their share.
    """
    series = [] if exact is None else [_histogram(exact, bins)]
    for i, (name, line) in enumerate(lines.items()):
        y, width = line.density, 2 * np.asarray(line.standard_error)
        bands = [_around(y, width)]
        if line.bias is not None:
            bands.append(_around(y, width + line.bias))
        series.append(Series(name, line.grid, y, bands=tuple(bands), colour=i))
    for i, (name, law) in enumerate((laws or {}).items()):
        series.append(Series(name, law.x, law.y, colour=len(lines) + i, dash="--"))
    y = Axis("density", from_zero=True)
    return Panel(Axis("singular value"), y, tuple(series), nothing="no value is above 0")


def sensitivities(lines: Mapping[str, ByDistance]) -> Panel:
    """Sensitivity of one node to another against their distance, on a log scale: mean, range and bound (dashed)."""
    series = []
    for i, (name, line) in enumerate(lines.items()):
        low = line.mean if line.low is None else line.low
        band = Interval(low, np.where(line.high > 0, line.high, np.nan))
        series.append(Series(name, line.distance, line.mean, bands=(band,), colour=i, marked=True))
        if line.bound is not None:
            label = "bound" if len(lines) == 1 else f"{name}: bound"
            series.append(Series(label, line.distance, line.bound, colour=i, dash="--", width=1.4))
    x, y = Axis("distance in the graph (edges)", whole=True), Axis("sensitivity ‖∂xᵥ/∂xᵤ‖", "log")
    return Panel(x, y, tuple(series), nothing="no value is above 0")


def influences(lines: Mapping[str, Line]) -> Panel:
    """Influence of all nodes at a distance on one node, on a log scale, with error bars."""
    x, y = Axis("distance in the graph (edges)", whole=True), Axis("influence Tₕ of all nodes at it", "log")
    return Panel(x, y, _with_errors(lines), nothing="no value is above 0")


def exponents(lines: Mapping[str, Line]) -> Panel:
    """Lyapunov exponents by index with error bars; at 0 a direction neither grows nor shrinks."""
    y = Axis("Lyapunov exponent (nats per layer)")
    references, nothing = (Reference("0: norm preserved", 0.0),), "no exponent is finite"
    return Panel(Axis("index", whole=True), y, _with_errors(lines), references, nothing=nothing)


def _with_errors(lines: Mapping[str, Line]) -> tuple[Series, ...]:
    series = []
    for i, (name, line) in enumerate(lines.items()):
        errors = None if line.error is None else _around(line.y, line.error)
        series.append(Series(name, line.x, line.y, errors=errors, colour=i, marked=True))
    return tuple(series)


def _around(y: Float[np.ndarray, "k"], width: Float[np.ndarray, "k"]) -> Interval:
    y, width = (np.where(np.isfinite(a), a, np.nan) for a in (np.asarray(y, float), np.asarray(width, float)))
    return Interval(y - width, y + width)


def _histogram(values: Float[np.ndarray, "k"], bins: int) -> Series:
    shown = values[np.isfinite(values) & (values > 0)]
    edges = np.histogram_bin_edges(shown, bins, range=(0, float(shown.max(initial=0.0)) or 1.0))
    height = np.histogram(shown, edges)[0] / max(values.size, 1) / np.diff(edges)
    zeros, broken = int(np.sum(values == 0)), int(np.sum(~np.isfinite(values)))
    parts = [f"{zeros} of {values.size} are 0"] * bool(zeros) + [f"{broken} not finite"] * bool(broken)
    label = f"exact ({', '.join(parts)})" if parts else "exact"
    return Series(label, edges, height, kind="bars", colour=GREY, group="exact")

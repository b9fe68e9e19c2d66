"""Descriptions of figures as JSON, which a page's script draws by Plotly: with zoom, hover and a linear or log scale.

Arrays of up to 512 values are there to the last digit, longer ones to seven digits where float32 holds them. Lines of
more than 500 points are thinned without a change that could be seen, and say so: of every bucket of neighbours the
first, the last, the lowest and the highest stay.
"""

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxgnn.report.figure import Axis, Interval, Panel, Series, cut, view

_SHORT = 512  # values to which an array is written out
_POINTS = 500
_NEAR = 100.0  # factor within which a reference is brought into view on a log scale


def described(panel: Panel) -> dict[str, Any]:
    """The panel as plain data for the page's script; `note` says in words what a reader of the lines should know."""
    panel = panel.apart()
    series = [_thinned(one) for one in panel.series if one.x.size]
    return {
        "x": _axis(panel.x, [one.x for one in series]),
        "y": _axis(panel.y, _heights(panel, series)),
        "series": [_series(one, panel.y) for one in series],
        "references": [{"label": r.label, "value": float(r.value), "of": r.of} for r in panel.references],
        "right": None if panel.right is None else {"label": panel.right.label, "factor": float(panel.right.factor)},
        "nothing": _nothing(panel),
        "equal": panel.equal,
        "half": panel.half,
        "note": note(panel),
    }


def note(panel: Panel) -> str:
    """Which lines lie on each other, what has no place on the axis, and what is thinned, in a sentence each."""
    said = []
    for labels in panel.coinciding():
        names = list(dict.fromkeys(labels))
        if len(names) > 1:
            said.append(f"{', '.join(names[:-1])} and {names[-1]} lie on each other.")
    log = panel.y.scale == "log"
    missing = []
    for one in panel.series:
        name = one.name(log=log, floor=panel.y.floor)
        if one.x.size and name != one.label:
            state = f", {one.variants[0]}" if one.variants else ""
            missing.append(f"{one.label}{state}: {name[len(one.label) + 2 : -1]}")
    names = dict.fromkeys(text.split(":")[0].split(", ")[0] for text in missing)
    where = " on the log scale" if log else ""
    if missing and log and panel.y.floor is not None:
        said.append(f"What is below {panel.y.floor:g} is drawn there: {'; '.join(missing)}.")
    elif 0 < len(missing) <= 2:
        said.append(f"Not seen{where}: {'; '.join(missing)}.")
    elif missing:
        said.append(f"Values of {', '.join(names)} are 0 or not finite in places, which are gaps{where}.")
    thin = [one.y.size for one in panel.series if _is_thinned(one)]
    if thin:
        said.append(f"Shown are at most {_POINTS:,} points of up to {max(thin):,}.")
    return " ".join(said)


def packed(values: Float[np.ndarray, "k"]) -> Any:
    """An array as JSON: a list with null for what is not finite, a range, or base64 of its little-endian bytes."""
    values = np.asarray(values, np.float64)
    if values.size > 2 and (np.abs(values) < 2**53).all() and (values % 1 == 0).all():  # NaN is not
        steps = np.diff(values)
        if (steps == steps[0]).all():
            return {"first": float(values[0]), "step": float(steps[0]), "size": values.size}
    if values.size <= _SHORT:
        return [float(v) if np.isfinite(v) else None for v in values]
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    held = not sizes.size or (sizes.min() > 1e-37 and sizes.max() < 1e38)
    kind = "<f4" if held else "<f8"
    return {kind[1:]: base64.b64encode(values.astype(kind).tobytes()).decode()}


def _axis(axis: Axis, values: Sequence[Float[np.ndarray, "k"]]) -> dict[str, Any]:
    linear, log = view(values, axis, log=False), view(values, axis, log=True)
    return {
        "label": axis.label,
        "log": axis.scale == "log",
        "whole": axis.whole,
        "ticks": list(map(float, axis.ticks)),
        "names": list(axis.names),
        "floor": axis.floor,
        "linear_view": linear,
        "log_view": log,
    }


def _heights(panel: Panel, series: Sequence[Series]) -> list[Float[np.ndarray, "k"]]:
    """All that has to be in view: values, bands, error bars, and references that are not far."""
    found = []
    for one in series:
        ends = [*one.bands, *([] if one.errors is None else [one.errors])]
        found += [one.y, *(end for interval in ends for end in cut(interval, panel.y))]
    log = panel.y.scale == "log"
    ends = view(found, panel.y, log=log)
    for reference in panel.references:
        near = ends is None or not log or ends[0] / _NEAR <= reference.value <= ends[1] * _NEAR
        if reference.of == "y" and near:
            found.append(np.array([reference.value]))
    return found


def _series(one: Series, axis: Axis) -> dict[str, Any]:
    def pair(interval: Interval) -> list[Any]:
        return [packed(end) for end in cut(interval, axis)]

    return {
        "label": one.label or one.group,
        "group": one.group or one.label,
        "variants": list(one.variants),
        "kind": one.kind,
        "x": packed(one.x),
        "y": packed(one.y),
        "bands": [pair(band) for band in one.bands],
        "errors": None if one.errors is None else pair(one.errors),
        "colour": one.colour,
        "dash": {"-": "solid", "--": "dash", ":": "dot"}[one.dash],
        "marked": one.marked or one.y.size == 1,
        "width": one.width,
    }


def _is_thinned(one: Series) -> bool:
    return one.kind != "bars" and one.y.size > _POINTS


def _thinned(one: Series) -> Series:
    if not _is_thinned(one):
        return one
    kept = _outermost(one) if one.kind == "points" else _extremes(np.asarray(one.y, np.float64))
    errors = None if one.errors is None else Interval(*(np.asarray(end)[kept] for end in one.errors))
    bands = tuple(Interval(*(np.asarray(end)[kept] for end in band)) for band in one.bands)
    return replace(one, x=np.asarray(one.x)[kept], y=np.asarray(one.y)[kept], bands=bands, errors=errors)


def _outermost(one: Series) -> Int[np.ndarray, "m"]:
    """Half of the points are those farthest from 0, the others are evenly spread."""
    order = np.argsort(-np.hypot(np.nan_to_num(one.x), np.nan_to_num(one.y)), kind="stable")
    even = np.linspace(0, order.size - 1, _POINTS // 2).astype(int)
    return np.unique(np.concatenate([order[: _POINTS // 2], order[even]]))


def _extremes(y: Float[np.ndarray, "k"]) -> Int[np.ndarray, "m"]:
    """Of each of 250 buckets the first, last, lowest and highest; what is not finite is neither of the latter two."""
    kept = []
    for bucket in np.array_split(np.arange(y.size), _POINTS // 4):
        values = y[bucket]
        finite = np.isfinite(values)
        kept += [bucket[0], bucket[-1]]
        if finite.any():
            kept += [
                bucket[np.where(finite, values, np.inf).argmin()],
                bucket[np.where(finite, values, -np.inf).argmax()],
            ]
    return np.unique(kept)


def _nothing(panel: Panel) -> str:
    """What is said where no value has a place, else ""."""
    log = panel.y.scale == "log"
    finite = [np.asarray(one.y, np.float64)[np.isfinite(one.y)] for one in panel.series]
    joined = np.concatenate([np.zeros(0), *finite])
    if (joined > 0).any() if log else joined.size:
        return ""
    return "every value is 0" if log and (joined == 0).any() else panel.nothing

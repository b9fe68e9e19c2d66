"""Measurements as descriptions of figures: what `jaxgnn.plot` draws, and any other renderer may."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Float

from jaxgnn.analysis import measures
from jaxgnn.analysis.backward import Backward
from jaxgnn.analysis.probe import Trace
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.options import check_known, check_whole
from jaxgnn.host.precision import precision
from jaxgnn.jacobian import Density, Extremes, LayerJacobian, Lyapunov, Sensitivity, SingularValueLaw, by_distance
from jaxgnn.jacobian.sensitivity import ByDistance, SensitivityBound
from jaxgnn.report import panels
from jaxgnn.report.figure import Axis, Panel, Series

Signal = Literal["features", "feature_grads", "errors"]
Quantity = Literal["loss", "score"]
SYMBOLS = {"features": "X⁽ˡ⁾", "feature_grads": "G⁽ˡ⁾", "errors": "B⁽ˡ⁾"}
_NAMES = {"features": "features", "feature_grads": "gradients", "errors": "errors"}
_DASHES = {"features": "-", "feature_grads": "--", "errors": ":"}


def energy(trace: Any, *, graph: Graph | None = None, signal: Signal = "features") -> Panel:
    """How far the signal at every layer is from smooth: E = mu / sqrt(n), or with a graph tr X^T (I - P) X.

    Args:
      trace: a Trace, signals [L, n, d], or several by name.
      graph: whose Dirichlet energy is shown.
      signal: of a Trace: "features" X^(l), "feature_grads" G^(l) or "errors" B^(l).

    Raises ValueError for anything else.
    """
    check_known("signal", signal, get_args(Signal))
    X = SYMBOLS[signal]
    if graph is not None and not isinstance(graph, Graph):
        raise ValueError(f"graph is a {type(graph).__name__}: what jaxgnn.prepare returns is needed")
    measure = measures.energy if graph is None else lambda Y: measures.dirichlet(Y, graph.propagation)
    label = f"energy E({X}) = μ/√n" if graph is None else f"Dirichlet energy tr {X}ᵀ(I − P){X}"
    series = []
    for i, (name, one) in enumerate(_named(trace, X).items()):
        values = _by_layer(measure, _signals(one, signal))
        series.append(Series(name, np.arange(values.size), values, colour=i, marked=values.size <= 12))
    return Panel(Axis("layer l", whole=True), Axis(label, "log"), tuple(series))


def similarity(trace: Any) -> Panel:
    """mu / norm at every layer, in [0, 1]: the distance to equal rows, blind to the scale; near 0 all nodes are alike.

    trace: a Trace or a Backward (features, their gradients and the errors), signals [L, n, d], or several by name.
    Raises ValueError for anything else.
    """
    series = []
    several = isinstance(trace, Mapping)
    for i, (name, one) in enumerate(_named(trace, "").items()):
        shown = SYMBOLS if isinstance(one, Trace | Backward) else {"features": SYMBOLS["features"]}
        for j, (signal, symbol) in enumerate(shown.items()):
            values = _relative(one, signal)
            label = f"{name}: {symbol}" if several else f"{_NAMES[signal]} {symbol}"
            look = {"colour": i if several else j, "dash": _DASHES[signal], "marked": values.size <= 12}
            series.append(Series(label, np.arange(values.size), values, **look))
    y = Axis("distance to equal rows μ/‖·‖", "log")
    return Panel(Axis("layer l", whole=True), y, tuple(series))


def spectrum(J: Any, *, k: int | None = None, name: str = "σᵢ") -> Panel:
    """Singular values by rank on a log scale, with their bounds where there are some; 1 is marked.

    Args:
      J: a LayerJacobian, Extremes, values [K], or several by name.
      k: of a LayerJacobian, the k largest with bounds; all of them by default.

    Raises ValueError for anything else.
    """
    if k is not None:
        check_whole("k", k, least=1)
    found = _named(J, name)
    smallest = {isinstance(one, Extremes) and one.rank_tolerance is not None for one in found.values()}
    if len(smallest) > 1:
        raise ValueError("the smallest singular values and others in one figure: their ranks are not the same")
    lines = {label: _ranked(one, k) for label, one in found.items()}
    xlabel = "rank i, smallest above 0 first" if smallest == {True} else "rank i, largest first"
    return panels.spectra(lines, xlabel=xlabel, ylabel="singular value σᵢ", isometry=True)


def density(found: Any, *, laws: Mapping[str, SingularValueLaw] | None = None) -> Panel:
    """Densities of singular values, each with a band of two standard errors and the bias beyond it.

    Args:
      found: a Density, a LayerJacobian (its `density()`), or several by name.
      laws: laws beside it by name, as `linear_layer_law` gives one.

    Raises ValueError for anything else.
    """
    lines = {}
    for name, one in _named(found, "density").items():
        one = one.density() if isinstance(one, LayerJacobian) else one
        if not isinstance(one, Density):
            raise _not(one, "a Density or a LayerJacobian")
        label = f"{name} ({one.zero_mass:.0%} are 0)" if one.zero_mass > 0 else name
        lines[label] = panels.DensityCurve(one.grid, one.density, one.standard_error, one.bias)
    grid = np.unique(np.concatenate([line.grid for line in lines.values()]))
    beside = {}
    for name, law in (laws or {}).items():
        if not isinstance(law, SingularValueLaw):
            raise ValueError(f"law {name!r} is a {type(law).__name__}: a SingularValueLaw is needed")
        beside[name] = panels.Line(grid, law.density(grid))
    return panels.densities(lines, laws=beside)


def lyapunov(exponents: Any) -> Panel:
    """Lyapunov exponents by index, with standard errors; at 0 a direction neither grows nor shrinks.

    exponents: a Lyapunov, exponents [k], or several by name. Raises ValueError for anything else.
    """
    lines = {}
    for name, one in _named(exponents, "λᵢ").items():
        values = one.exponents if isinstance(one, Lyapunov) else _vector(one, "a Lyapunov or exponents [k]")
        error = one.standard_error if isinstance(one, Lyapunov) else None
        lines[name] = panels.Line(np.arange(1, len(values) + 1), np.asarray(values), error)
    return panels.exponents(lines)


def sensitivity(found: Any, *, bound: SensitivityBound | None = None) -> Panel:
    """||d x_v / d x_u|| against the distance of v from u on a log scale: the mean, and a band up to the largest.

    Args:
      found: a Sensitivity or a ByDistance, or several by name.
      bound: its largest value at every distance is drawn beside one Sensitivity.

    Raises ValueError for anything else.
    """
    lines = {}
    for name, one in _named(found, "mean").items():
        grouped = by_distance(one) if isinstance(one, Sensitivity) else one
        if not isinstance(grouped, ByDistance):
            raise _not(grouped, "a Sensitivity or a ByDistance")
        largest = None
        if bound is not None:
            if not isinstance(one, Sensitivity):
                raise ValueError("bound= goes with a Sensitivity, whose distances it is grouped by")
            largest = by_distance(one._replace(norms=bound.values)).maximum
        lines[name] = panels.ByDistance(grouped.distances, grouped.mean, grouped.maximum, bound=largest)
    return panels.sensitivities(lines)


def training(result: Any, *, quantity: Quantity = "loss") -> Panel:
    """Losses (log scale) or scores by step: medians over seeds, and bands from the lowest to the highest.

    Args:
      result: a TrainResult, or several by name.
      quantity: "loss" of training and validation, "score" of training, validation and test.

    Raises ValueError for anything else.
    """
    check_known("quantity", quantity, get_args(Quantity))
    splits = {"training": f"train_{quantity}", "validation": f"val_{quantity}"}
    splits |= {"test": "test_score"} if quantity == "score" else {}
    several, lines = isinstance(result, Mapping), {}
    for i, (name, one) in enumerate(_named(result, "").items()):
        if not hasattr(one, "history"):
            raise _not(one, "a TrainResult")
        for j, (split, column) in enumerate(splits.items()):
            values = np.atleast_2d(getattr(one.history, column))
            label = f"{name}: {split}" if several else split
            dash = ("-", "--", ":")[j] if several else "-"
            lines[label] = panels.Curve(np.arange(values.shape[1]), values, i if several else j, dash)
    return panels.curves(lines, xlabel="step", ylabel=quantity, log=quantity == "loss")


def compare(found: Sequence[Any] | Mapping[str, Any], *, labels: Sequence[str] | None = None) -> Panel:
    """Several of one kind in one figure: spectra (LayerJacobian, Extremes, values [K]), Density, Lyapunov, Trace (its
    energy), Sensitivity or TrainResult.

    labels: their names, "1", "2", .. by default. Raises ValueError where there are none, or they are of several kinds.
    """
    if not isinstance(found, Mapping):
        if isinstance(found, str) or not isinstance(found, Sequence) or not found:
            raise ValueError(f"found is a {type(found).__name__}: a list with something in it is needed, or a dict")
        names = [str(i + 1) for i in range(len(found))] if labels is None else list(labels)
        if len(set(names)) != len(found):
            raise ValueError(f"labels={names!r}: {len(found)} different ones are needed")
        found = dict(zip(names, found, strict=True))
    drawings = {_drawing(one) for one in found.values()}
    if len(drawings) != 1:
        kinds = sorted({type(one).__name__ for one in found.values()})
        raise ValueError(f"{', '.join(kinds) or 'nothing'} in one figure: what is compared is of one kind")
    return drawings.pop()(found)


def _drawing(one: Any) -> Callable[[Any], Panel]:
    kinds: dict[type, Callable[[Any], Panel]] = {Density: density, Lyapunov: lyapunov, Trace: energy}
    kinds |= {Sensitivity: sensitivity, ByDistance: sensitivity, Backward: similarity}
    return training if hasattr(one, "history") and hasattr(one, "params") else kinds.get(type(one), spectrum)


def _named(found: Any, name: str) -> dict[str, Any]:
    if isinstance(found, Mapping):
        if not found:
            raise ValueError("there is nothing to draw: the dict is empty")
        return {str(label): one for label, one in found.items()}
    return {name: found}


def _signals(trace: Any, signal: Signal) -> Float[np.ndarray, "L n d"]:
    X = np.asarray(getattr(trace, signal) if isinstance(trace, Trace) else trace)
    if X.ndim != 3 or X.dtype.kind not in "iufV":
        kind = f"an array of shape {X.shape}" if hasattr(trace, "shape") else f"a {type(trace).__name__}"
        raise ValueError(f"{kind}: a Trace or signals [L, n, d] are needed, or several by name")
    return X


def _by_layer(measure: Callable[[Any], Any], X: Float[np.ndarray, "L n d"]) -> Float[np.ndarray, "L"]:
    with precision(X.dtype):
        return np.asarray(jax.vmap(measure)(X), np.float64)


def _relative(one: Any, signal: str) -> Float[np.ndarray, "L"]:
    if isinstance(one, Backward):
        return np.asarray(getattr(one, signal).relative_mu, np.float64)
    return _by_layer(measures.relative_mu, _signals(one, signal))


def _ranked(one: Any, k: int | None) -> panels.Ranked:
    if isinstance(one, LayerJacobian):
        one = one.singular_values() if k is None else one.extremes(k)
    if isinstance(one, Extremes):
        of_largest = one.rank_tolerance is None  # where it is not certified, that end of the bounds does not hold
        lower = one.lower if of_largest else np.where(one.certified, one.lower, np.nan)
        upper = np.where(one.certified, one.upper, np.nan) if of_largest else one.upper
        return panels.Ranked(one.values, lower, upper)
    return panels.Ranked(np.sort(_vector(one, "a LayerJacobian, Extremes or values [K]"))[::-1])


def _vector(one: Any, needed: str) -> Float[np.ndarray, "k"]:
    array = np.asarray(one)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise _not(one, needed)
    return array.astype(np.float64)


def _not(one: Any, needed: str) -> ValueError:
    shape = f" of shape {one.shape}" if hasattr(one, "shape") else ""
    return ValueError(f"a {type(one).__name__}{shape}: {needed} is needed, or several by name")

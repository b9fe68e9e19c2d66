"""Measurements drawn by Matplotlib: axes in and out; nothing is shown, nothing is saved.

Every function draws what the one of its name in `describe` says, into `ax` or into a new figure, and returns the axes:
the drawings of the commands' pages. Values of 0 on a log scale are gaps that the legend counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from jaxgnn.analysis import describe as describe
from jaxgnn.graphs.graph import Graph
from jaxgnn.report.static import draw as draw


def energy(
    trace: Any, ax: Axes | None = None, *, graph: Graph | None = None, signal: describe.Signal = "features"
) -> Axes:
    """How far the signal at every layer is from smooth: E = mu / sqrt(n), or with a graph tr X^T (I - P) X.

    As `describe.energy`, which says what it takes and refuses.
    """
    return draw(describe.energy(trace, graph=graph, signal=signal), ax)


def similarity(trace: Any, ax: Axes | None = None) -> Axes:
    """mu / norm of features, gradients and errors at every layer; near 0 all nodes are alike. `describe.similarity`."""
    return draw(describe.similarity(trace), ax)


def spectrum(J: Any, ax: Axes | None = None, *, k: int | None = None, name: str = "σᵢ") -> Axes:
    """Singular values of a LayerJacobian (all, or the k largest), Extremes or values [K]. As `describe.spectrum`."""
    return draw(describe.spectrum(J, k=k, name=name), ax)


def density(found: Any, ax: Axes | None = None, *, laws: Mapping[str, Any] | None = None) -> Axes:
    """The density of singular values with its errors, and laws beside it. As `describe.density`."""
    return draw(describe.density(found, laws=laws), ax)


def lyapunov(exponents: Any, ax: Axes | None = None) -> Axes:
    """Lyapunov exponents by index, in nats a layer. As `describe.lyapunov`."""
    return draw(describe.lyapunov(exponents), ax)


def sensitivity(found: Any, ax: Axes | None = None, *, bound: Any = None) -> Axes:
    """Sensitivities against distance in the graph. As `describe.sensitivity`."""
    return draw(describe.sensitivity(found, bound=bound), ax)


def training(result: Any, ax: Axes | None = None, *, quantity: describe.Quantity = "loss") -> Axes:
    """Losses or scores by step. As `describe.training`."""
    return draw(describe.training(result, quantity=quantity), ax)


def compare(
    found: Sequence[Any] | Mapping[str, Any], ax: Axes | None = None, *, labels: Sequence[str] | None = None
) -> Axes:
    """Several spectra, densities, traces, exponents, sensitivities or results in one figure. As `describe.compare`."""
    return draw(describe.compare(found, labels=labels), ax)

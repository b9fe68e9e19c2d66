"""Curves by layer or by step: medians over seeds, with bands from the lowest to the highest."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from jaxgnn.report import panels
from jaxgnn.report.figure import drawn_alone
from jaxgnn.report.panels import Curve as Curve


def curves(lines: Mapping[str, Curve], *, xlabel: str, ylabel: str, log: bool, nodes: int | None = None) -> Figure:
    """`panels.curves`, drawn."""
    return drawn_alone(panels.curves(lines, xlabel=xlabel, ylabel=ylabel, log=log, nodes=nodes))

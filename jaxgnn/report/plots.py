"""The pages' drawings: arrays in, matplotlib Figure out, by the descriptions of `jaxgnn.report.panels`.

No global state: pyplot is not used.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxgnn.report import panels
from jaxgnn.report.canvas import COLOURS as COLOURS
from jaxgnn.report.canvas import MARKERS as MARKERS
from jaxgnn.report.canvas import finished as finished
from jaxgnn.report.canvas import log_axis as log_axis
from jaxgnn.report.canvas import new_figure as new_figure
from jaxgnn.report.canvas import save as save
from jaxgnn.report.figure import drawn_alone
from jaxgnn.report.panels import Line as Line


def by_depth(lines: Mapping[str, Line], **options: Any) -> Figure:
    """`panels.by_depth`, drawn."""
    return drawn_alone(panels.by_depth(lines, **options))


def by_layer(
    initial: Mapping[str, Float[np.ndarray, "k"]], trained: Mapping[str, Float[np.ndarray, "k"]], *, ylabel: str
) -> Figure:
    """`panels.by_layer`, drawn."""
    return drawn_alone(panels.by_layer(initial, trained, ylabel=ylabel))


def spectra(lines: Mapping[str, Float[np.ndarray, "k"]], *, ylabel: str, xlabel: str) -> Figure:
    """`panels.spectra` of values without bounds, and a line at 1, drawn."""
    ranked = {name: panels.Ranked(values) for name, values in lines.items()}
    return drawn_alone(panels.spectra(ranked, xlabel=xlabel, ylabel=ylabel, isometry=True))


def by_option(lines: Mapping[str, Line], *, xlabel: str, ylabel: str) -> Figure:
    """`panels.by_option`, drawn."""
    return drawn_alone(panels.by_option(lines, xlabel=xlabel, ylabel=ylabel))


def by_step(lines: Mapping[str, Float[np.ndarray, "seeds steps"]], *, ylabel: str, log: bool = False) -> Figure:
    """`panels.by_step`, drawn."""
    return drawn_alone(panels.by_step(lines, ylabel=ylabel, log=log))

"""What all figures share: colours, axes, log scales, files. No global state: pyplot is not used."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jaxgnn.host.storage import write_atomically
from jaxgnn.report.figure import Axis, view

# Okabe & Ito 2008, readable with colour-blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
_LOG = Axis("", "log")


def save(figure: Figure, folder: Path, name: str) -> str:
    """Writes NAME.png and NAME.svg atomically; returns the SVG's text."""
    # No date and fixed identifiers, so that the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": name}):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    write_atomically(folder / f"{name}.svg", lambda file: file.write(svg))
    write_atomically(folder / f"{name}.png", lambda file: figure.savefig(file, format="png", dpi=150))
    return svg.decode()


def new_figure(*, ylabel: str, xlabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.0, 3.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color="0.9", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def finished(figure: Figure) -> Figure:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    return figure


def log_axis(axes: Axes, values: Sequence[np.ndarray], described: Axis = _LOG) -> None:
    """A log scale that shows what of the values is positive and finite, over a decade at least."""
    ends = view(values, described, log=True)
    if ends is None:
        axes.text(0.5, 0.5, "no value is positive and finite", transform=axes.transAxes, ha="center")
        return
    axes.set_yscale("log")
    axes.set_ylim(*ends)
    axes.yaxis.set_minor_formatter(NullFormatter())
    if ends[1] > 15 * ends[0]:
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))

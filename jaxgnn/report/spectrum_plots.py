"""Plots of Jacobian spectra: arrays in, matplotlib Figure out. Zeros, NaN and infinities are left out and counted."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
from jaxtyping import Complex, Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from jaxgnn.jacobian.density import Density
from jaxgnn.report import panels
from jaxgnn.report.canvas import finished, new_figure
from jaxgnn.report.figure import Axis, Panel, Reference, Series
from jaxgnn.report.panels import ByDistance as ByDistance
from jaxgnn.report.panels import DensityCurve as DensityCurve
from jaxgnn.report.panels import Line
from jaxgnn.report.panels import Ranked as Ranked
from jaxgnn.report.static import drawn_alone

_PIXELS = 400
_DECADES = 12


def moduli(lines: Mapping[str, Complex[np.ndarray, "k"]], *, log: bool = False, bins: int = 50) -> Panel:
    """A histogram of |lambda| for each name, as shares of all its eigenvalues, with 1 marked."""
    found = {name: np.abs(values) for name, values in lines.items()}
    shown = {name: values[np.isfinite(values) & (values > 0)] for name, values in found.items()}
    joined = np.concatenate([np.ones(1), *shown.values()])
    edges = np.geomspace(joined.min() / 1.1, joined.max() * 1.1, bins + 1) if log else bins
    edges = np.histogram_bin_edges(joined, edges, range=None if log else (0, 1.05 * joined.max()))
    series = []
    for i, (name, values) in enumerate(found.items()):
        share = np.histogram(shown[name], edges)[0] / max(values.size, 1)
        series.append(Series(_counted(name, values), edges, share, kind="bars", colour=i, group=name))
    x = Axis("modulus of the eigenvalue", "log" if log else "linear")
    y = Axis("share of the eigenvalues", from_zero=True)
    return Panel(x, y, tuple(series), (Reference("1", 1.0, "x"),), nothing="no value is above 0")


def plane(lines: Mapping[str, Complex[np.ndarray, "k"]]) -> Panel:
    """Eigenvalues in the complex plane with the unit circle, which is out of view where all are below 0.2."""
    finite = {name: values[np.isfinite(values)] for name, values in lines.items()}
    joined = np.concatenate([np.zeros(0, complex), *finite.values()])
    radius = float(np.abs(joined).max(initial=0.0))
    half = 1.1 * (radius if 0 < radius < 0.2 else max(radius, 1.0))
    series = []
    for i, (name, values) in enumerate(finite.items()):
        left_out = lines[name].size - values.size
        label = f"{name} ({left_out} not finite)" if left_out else name
        series.append(Series(label, values.real, values.imag, kind="points", colour=i, group=name))
    circle = Reference("unit circle" if half > 1 else "unit circle: out of view", 1.0, "circle")
    x, y = Axis("real part"), Axis("imaginary part")
    return Panel(x, y, tuple(series), (circle,), nothing="no eigenvalue is finite", equal=True, half=half)


def eigenvalue_moduli(lines: Mapping[str, Complex[np.ndarray, "k"]], *, log: bool = False, bins: int = 50) -> Figure:
    """`moduli`, drawn."""
    return drawn_alone(moduli(lines, log=log, bins=bins))


def eigenvalues_in_plane(lines: Mapping[str, Complex[np.ndarray, "k"]]) -> Figure:
    """`plane`, drawn."""
    return drawn_alone(plane(lines))


def singular_values_by_rank(lines: Mapping[str, Ranked], *, xlabel: str = "rank") -> Figure:
    """`panels.spectra`, drawn."""
    return drawn_alone(panels.spectra(lines, xlabel=xlabel))


def singular_value_density(
    curves: Mapping[str, DensityCurve | Density],
    *,
    laws: Mapping[str, Line] | None = None,
    exact: Float[np.ndarray, "k"] | None = None,
    bins: int = 50,
) -> Figure:
    """`panels.densities`, drawn."""
    lines = {name: DensityCurve(c.grid, c.density, c.standard_error, c.bias) for name, c in curves.items()}
    return drawn_alone(panels.densities(lines, laws=laws, exact=exact, bins=bins))


def jacobian_blocks(norms: Float[np.ndarray, "m n"] | sp.csr_matrix, *, label: str = "norm of the block") -> Figure:
    """An image of ||J_vu||_F over nodes v (output, downwards) and u (input, to the right); zeros are white.

    Colours are logarithmic over at most 12 decades. Beyond 400 nodes a pixel is the norm of several blocks together.
    """
    figure, axes = new_figure(xlabel="node u (input)", ylabel="node v (output)")
    axes.grid(False)
    norms = sp.coo_matrix(norms)
    image = _binned(norms)
    positive = image[image > 0]
    if positive.size:
        high = float(positive.max())
        low = max(float(positive.min()), high * 10.0**-_DECADES)
        narrow = high < 20 * low
        scale = LogNorm(low, high) if low < high else LogNorm(low / 2, high * 2)
        extent = (-0.5, norms.shape[1] - 0.5, norms.shape[0] - 0.5, -0.5)
        shown = np.ma.masked_less_equal(image, 0).clip(low, None)
        aspect = "equal" if norms.shape[0] == norms.shape[1] else "auto"
        drawn = axes.imshow(shown, norm=scale, cmap="viridis", extent=extent, interpolation="nearest", aspect=aspect)
        ticks: dict[str, Any] = {}
        if narrow:
            ticks = {
                "ticks": LogLocator(subs=(1, 2, 3, 5, 7)),
                "format": FuncFormatter(lambda value, _: f"{value:.3g}"),
            }
        figure.colorbar(drawn, ax=axes, label=label, **ticks).minorticks_off()
    _whole_numbers(axes.xaxis)
    _whole_numbers(axes.yaxis)
    return _with_values(figure, positive, "every block is 0")


def sensitivity_by_distance(lines: Mapping[str, ByDistance]) -> Figure:
    """`panels.sensitivities`, drawn."""
    return drawn_alone(panels.sensitivities(lines))


def lyapunov_exponents(lines: Mapping[str, Line]) -> Figure:
    """`panels.exponents`, drawn."""
    return drawn_alone(panels.exponents(lines))


def _whole_numbers(axis: DrawnAxis) -> None:
    axis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))


def _counted(name: str, values: np.ndarray) -> str:
    """The name with the number of values that a log scale cannot show."""
    zeros, broken = int(np.sum(values == 0)), int(np.sum(~np.isfinite(values)))
    parts = [f"{zeros} of {values.size} are 0"] * bool(zeros) + [f"{broken} not finite"] * bool(broken)
    return f"{name} ({', '.join(parts)})" if parts else name


def _binned(norms: sp.coo_matrix) -> np.ndarray:
    """At most 400 x 400: the root of the sum of squares of neighbouring blocks, those that are not finite left out."""
    shape, data = cast(tuple[int, int], norms.shape), np.asarray(norms.data, np.float64)
    pixels = tuple(min(size, _PIXELS) for size in shape)
    kept = np.isfinite(data)
    image = np.zeros(pixels)
    at = tuple(i[kept].astype(np.int64) * p // n for i, p, n in zip(norms.coords, pixels, shape, strict=True))
    largest = float(data[kept].max(initial=0.0)) or 1.0
    np.add.at(image, at, (data[kept] / largest) ** 2)
    return largest * np.sqrt(image)


def _with_values(figure: Figure, values: np.ndarray, otherwise: str = "no value is above 0") -> Figure:
    """Says so where nothing is to be seen, and adds the legend."""
    axes: Axes = figure.axes[0]
    axes.set_axisbelow(True)
    if not values.size:
        axes.text(0.5, 0.6, otherwise, transform=axes.transAxes, ha="center")
        axes.set(xticks=[], yticks=[])
    return finished(figure)

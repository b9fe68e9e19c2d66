import io

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from jaxgnn.report import plots, spectrum_plots
from jaxgnn.report.panels import Line
from jaxgnn.report.spectrum_plots import ByDistance, DensityCurve, Ranked

EDGE_CASES = {
    "zeros": np.zeros(5),
    "one value": np.array([0.3]),
    "empty": np.zeros(0),
    "not finite": np.array([np.inf, np.nan, 0.5, -np.inf, 0.0]),
    "nothing finite": np.array([np.nan, np.inf]),
    "extreme": np.array([1e100, 1.0, 1e-100]),
    "equal": np.ones(7),
}
FIGURES = {
    "eigenvalue_moduli": lambda v: spectrum_plots.eigenvalue_moduli({"a": v, "b": v.astype(complex)}),
    "eigenvalue_moduli, log": lambda v: spectrum_plots.eigenvalue_moduli({"a": v}, log=True),
    "eigenvalues_in_plane": lambda v: spectrum_plots.eigenvalues_in_plane({"a": v.astype(complex)}),
    "singular_values_by_rank": lambda v: spectrum_plots.singular_values_by_rank({"a": Ranked(v, v, 2 * v)}),
    "singular_value_density": lambda v: spectrum_plots.singular_value_density(
        {"a": DensityCurve(np.arange(v.size), v, v, v)}, laws={"law": Line(np.arange(v.size), v)}, exact=v
    ),
    "jacobian_blocks": lambda v: spectrum_plots.jacobian_blocks(np.outer(v, np.ones(3))),
    "sensitivity_by_distance": lambda v: spectrum_plots.sensitivity_by_distance(
        {"a": ByDistance(np.arange(v.size), v, v, v, v)}
    ),
    "lyapunov_exponents": lambda v: spectrum_plots.lyapunov_exponents(
        {"a": Line(np.arange(v.size), v, np.ones(v.size))}
    ),
}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()] if figure.legends else []


def notes(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("case", EDGE_CASES)
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn(name, case):
    figure = FIGURES[name](EDGE_CASES[case])
    for kind in ("png", "svg"):
        figure.savefig(io.BytesIO(), format=kind)
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes[:1])


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_to_be_seen_is_said(name):
    figure = FIGURES[name](EDGE_CASES["nothing finite"])
    assert len(notes(figure)) == 1
    assert notes(FIGURES[name](EDGE_CASES["equal"])) == []


@pytest.mark.parametrize("log", [False, True])
def test_moduli_are_shares_of_all_eigenvalues(log):
    values = np.array([0.0, 0.0, 3 + 4j, -1j, 1.0, np.nan])
    figure = spectrum_plots.eigenvalue_moduli({"gcn": values}, log=log, bins=7)
    share = figure.axes[0].patches[-1].get_data()
    np.testing.assert_allclose(share.values.sum(), 3 / 6)
    inside = share.edges.searchsorted(5.0) - 1
    assert share.values[inside] == pytest.approx(1 / 6)
    assert legend(figure) == ["gcn (2 of 6 are 0, 1 not finite)", "1"]


def test_plane_shows_every_finite_eigenvalue_and_the_circle():
    values = np.array([1 + 2j, -0.5, np.inf])
    axes = spectrum_plots.eigenvalues_in_plane({"gcn": values}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, 2], [-0.5, 0]])
    assert axes.patches[0].radius == 1
    assert axes.get_aspect() == 1
    assert axes.get_xlim()[1] >= np.sqrt(5)


def test_plane_looks_closer_where_all_is_small_and_rasterises_many():
    figure = spectrum_plots.eigenvalues_in_plane({"gcn": 0.01 * np.exp(1j * np.arange(6000))})
    assert figure.axes[0].get_xlim()[1] == pytest.approx(0.011)
    assert figure.axes[0].lines[0].get_rasterized()
    assert legend(figure) == ["gcn", "unit circle: out of view"]


@pytest.mark.parametrize("size", [20, 200])
def test_bounds_are_bars_or_a_band(size):
    values = np.linspace(2.0, 0.0, size)
    figure = spectrum_plots.singular_values_by_rank({"gcn": Ranked(values, 0.5 * values, 2 * values)})
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), np.arange(size) + 1)
    np.testing.assert_array_equal(axes.lines[0].get_ydata()[:-1], values[:-1])
    if size == 20:
        bars = np.array(axes.containers[0].lines[2][0].get_segments()[:-1])
        np.testing.assert_allclose(bars[:, :, 1], np.stack([0.5 * values, 2 * values], axis=1)[:-1], rtol=1e-14)
    else:
        band = next(part for part in axes.collections if isinstance(part, PolyCollection))
        assert band.get_paths()[0].vertices[:, 1].max() == 4.0
    assert legend(figure) == [f"gcn (1 of {size} are 0)"]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[1] > 4.0


def test_missing_bounds_are_left_out():
    values, upper = np.array([3.0, 2.0, 1.0]), np.array([3.5, np.nan, np.inf])
    figure = spectrum_plots.singular_values_by_rank({"gcn": Ranked(values, None, upper)})
    bars = np.array(figure.axes[0].containers[0].lines[2][0].get_segments())
    np.testing.assert_array_equal(bars[:, :, 1], [[3, 3.5], [2, 2], [1, 1]])


def test_density_has_curve_bands_law_and_histogram():
    grid = np.linspace(0.1, 1, 4)
    curve = DensityCurve(grid, grid**2, 0.1 * grid, 0.2 * grid)
    exact = np.array([0.0, 0.0, 0.2, 1.0])
    figure = spectrum_plots.singular_value_density(
        {"estimate": curve}, laws={"law": Line(grid, 1 / grid)}, exact=exact, bins=10
    )
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), grid**2)
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), 1 / grid)
    tops = [part.get_paths()[0].vertices[:, 1].max() for part in axes.collections]
    assert tops == pytest.approx([1.2, 1.4])  # two standard errors, and the bias beyond them
    histogram = axes.patches[0].get_data()
    assert np.sum(histogram.values * np.diff(histogram.edges)) == pytest.approx(0.5)
    assert legend(figure) == ["exact (2 of 4 are 0)", "estimate", "law"]


def test_block_image_leaves_zeros_white():
    norms = np.array([[1.0, 0.0, 1e-30], [np.nan, 2.0, 0.5]])
    image = spectrum_plots.jacobian_blocks(norms).axes[0].images[0]
    shown = image.get_array()
    np.testing.assert_array_equal(shown.mask, [[False, True, False], [True, False, False]])
    np.testing.assert_array_equal(shown.compressed(), [1.0, 2e-12, 2.0, 0.5])
    assert (image.norm.vmin, image.norm.vmax) == (2e-12, 2.0)
    assert image.get_extent() == [-0.5, 2.5, 1.5, -0.5]


@pytest.mark.parametrize("n", [400, 401, 1234])
def test_large_block_images_are_binned(n):
    norms = np.random.default_rng(0).random((n, n + 3))
    image = spectrum_plots.jacobian_blocks(norms).axes[0].images[0]
    assert image.get_array().shape == (400, 400)
    assert np.sum(image.get_array() ** 2) == pytest.approx(np.sum(norms**2))
    assert image.get_extent() == [-0.5, n + 2.5, n - 0.5, -0.5]


def test_sensitivity_shows_mean_range_and_bound():
    distance = np.arange(4.0)
    mean, high, bound = np.array([1.0, 0.1, 0.01, 0.0]), np.array([2.0, 0.2, 0.02, 0.0]), 3.0 * 0.5**distance
    figure = spectrum_plots.sensitivity_by_distance({"gcn": ByDistance(distance, mean, high, mean / 2, bound)})
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, 0.1, 0.01, np.nan])
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), bound)
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == 2.0
    assert legend(figure) == ["gcn (1 of 4 are 0)", "bound"]
    drawn = {line.get_label(): line for line in axes.lines}
    for shown, text in zip(figure.legends[0].legend_handles, legend(figure), strict=True):
        line = shown.lines[0] if hasattr(shown, "lines") else shown
        for look in ("get_color", "get_linestyle"):
            assert getattr(line, look)() == getattr(drawn[text], look)()
        assert len(drawn[text].get_xdata())  # what the legend shows is what is drawn


def test_every_networks_bound_has_its_own_colour_and_name():
    distance = np.arange(3)
    one = ByDistance(distance, np.ones(3), np.ones(3), None, np.full(3, 2.0))
    figure = spectrum_plots.sensitivity_by_distance({"gcn": one, "mlp": one})
    assert legend(figure) == ["gcn", "gcn: bound", "mlp", "mlp: bound"]
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_lyapunov_exponents_by_index():
    line = Line(np.arange(1, 4), np.array([0.5, -1.0, -np.inf]), np.full(3, 0.1))
    figure = spectrum_plots.lyapunov_exponents({"gcn": line})
    container = figure.axes[0].containers[0]
    np.testing.assert_array_equal(container.lines[0].get_ydata(), [0.5, -1.0, np.nan])
    np.testing.assert_allclose(container.lines[2][0].get_segments()[0][:, 1], [0.4, 0.6])
    assert legend(figure) == ["gcn (1 not finite)", "0: norm preserved"]


def test_a_log_axis_holds_the_ends_of_float32():
    _, axes = plots.new_figure(ylabel="y", xlabel="x")
    plots.log_axis(axes, [np.array([3e38, 1e-38], np.float32)])
    low, high = axes.get_ylim()
    assert 0 < low < 1e-38
    assert 3e38 < high < np.inf

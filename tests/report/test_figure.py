import json
from dataclasses import asdict

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from jaxgnn.host.storage import as_json
from jaxgnn.report.figure import Axis, Interval, Panel, Reference, Scaled, Series
from jaxgnn.report.static import draw, drawn_alone


@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close("all")


def panel(y, scale="log", **options):
    series = Series("a", np.arange(len(y)), np.asarray(y, float), **options)
    return Panel(Axis("x"), Axis("y", scale), (series,), title="t")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_what_has_no_place_is_a_gap_that_the_legend_counts():
    ax = draw(panel([1.0, 0.0, 1e-300, -2.0, np.inf, np.nan, 4.0]))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1, *[np.nan] * 5, 4])
    assert legend(ax) == ["a (1 of 7 are 0, 1 of 7 below 1e-250, 1 of 7 negative, 2 not finite)"]
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x", "y", "t")
    assert legend(draw(panel([1.0, 0.0, -2.0, np.inf], "linear"))) == ["a (1 not finite)"]


@pytest.mark.parametrize(
    ("y", "text"), [([0.0, 0.0], "every value is 0"), ([np.nan], "there is no value"), ([], "there is no value")]
)
def test_nothing_to_be_seen_is_said(y, text):
    ax = draw(panel(y))
    assert [t.get_text() for t in ax.texts] == [text]


def test_axes_that_are_given_are_drawn_into_and_nothing_else_changes():
    settings, figures = dict(mpl.rcParams), plt.get_fignums()
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert draw(panel([1.0, 2.0]), left) is left
    assert not right.lines
    assert plt.get_fignums() == figures
    assert dict(mpl.rcParams) == settings
    new = draw(panel([1.0, 2.0]))
    assert plt.get_fignums() == [*figures, new.figure.number]
    with pytest.raises(ValueError, match="ax is a Figure: Matplotlib's Axes are needed"):
        draw(panel([1.0]), figure)


def test_a_second_drawing_keeps_the_first_in_view_and_apart():
    ax = draw(panel([1e-8, 1.0]))
    draw(panel([1e5, 1e6]), ax)
    low, high = ax.get_ylim()
    assert low < 1e-8 < 1e6 < high
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    assert len(legend(ax)) == 2


def test_bands_errors_references_and_the_right_axis():
    y = np.array([1.0, 2.0, 4.0])
    series = Series(
        "a", np.arange(3), y, bands=(Interval(y / 2, 2 * y),), errors=Interval(0.9 * y, np.array([1.1, np.nan, np.inf]))
    )
    described = Panel(Axis("x", whole=True), Axis("y", "log"), (series,), (Reference("one", 1.0),), Scaled("z", 0.5))
    ax = draw(described)
    assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == 8
    segments = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in segments], [[0.9, 1.1], [1.8, 2.0], [3.6, 4.0]])
    assert legend(ax) == ["a", "one"]
    assert ax.child_axes[0].get_ylabel() == "z"
    np.testing.assert_allclose(ax.child_axes[0]._functions[0](np.array([2.0])), [1.0])


def test_a_description_is_plain_data():
    described = panel([1.0, np.nan], bands=(Interval(np.zeros(2), np.ones(2)),))
    found = json.loads(as_json(asdict(described)))
    assert found["series"][0]["y"] == [1.0, None]
    assert found["y"]["label"] == "y"
    assert found["y"]["scale"] == "log"
    with pytest.raises(AttributeError):
        described.title = "other"


def test_pages_draw_apart_from_pyplot():
    figures = plt.get_fignums()
    figure = drawn_alone(panel([1.0, 2.0]))
    assert plt.get_fignums() == figures
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a"]
    assert figure.axes[0].get_legend() is None

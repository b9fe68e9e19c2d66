import base64
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from jaxgnn.report.figure import Axis, Interval, Panel, Reference, Series, view
from jaxgnn.report.html import ASSETS
from jaxgnn.report.interactive import described, packed
from jaxgnn.report.static import drawn_alone


def panel(*ys, scale="log", **axis):
    series = tuple(Series(f"line {i}", np.arange(len(y)), np.asarray(y, float), colour=i) for i, y in enumerate(ys))
    return Panel(Axis("x"), Axis("y", scale, **axis), series)


def unpacked(array):
    """What the page's script makes of it."""
    if isinstance(array, list):
        return np.array([np.nan if v is None else v for v in array])
    if "size" in array:
        return array["first"] + array["step"] * np.arange(array["size"])
    (kind, text) = next(iter(array.items()))
    return np.frombuffer(base64.b64decode(text), f"<{kind}").astype(float)


@pytest.mark.parametrize(
    ("values", "kind", "tolerance"),
    [
        (np.arange(5.0), "size", 0),
        (np.array([0.1, np.nan, np.inf, 1e-300]), None, 0),
        (np.linspace(0, 1, 600) ** 2, "f4", 1e-7),
        (np.geomspace(1e-60, 1, 600), "f8", 0),
    ],
)
def test_arrays_keep_their_values(values, kind, tolerance):
    found = packed(values)
    assert (kind is None and isinstance(found, list)) or kind in found
    np.testing.assert_allclose(unpacked(found), np.where(np.isfinite(values), values, np.nan), rtol=tolerance)


def test_a_description_is_plain_json_with_values_bands_and_errors():
    y = np.array([1.0, np.nan, 4.0])
    one = Series("a", np.arange(3), y, bands=(Interval(y / 2, 2 * y),), errors=Interval(y - 1, y + 1), group="g")
    found = json.loads(
        json.dumps(described(Panel(Axis("x"), Axis("y"), (one,), (Reference("1", 1.0),))), allow_nan=False)
    )
    (series,) = found["series"]
    assert (series["label"], series["group"], series["y"]) == ("a", "g", [1.0, None, 4.0])
    assert series["bands"] == [[[0.5, None, 2.0], [2.0, None, 8.0]]]
    assert series["errors"] == [[0.0, None, 3.0], [2.0, None, 5.0]]
    assert found["references"] == [{"label": "1", "value": 1.0, "of": "y"}]


def test_long_lines_are_thinned_without_a_spike_less_and_say_so():
    y = np.ones(40_000)
    y[[777, 30_001]] = 50.0, 0.01
    found = described(panel(y))
    kept = unpacked(found["series"][0]["y"])
    assert kept.size <= 500
    assert (kept.max(), kept.min()) == (50.0, pytest.approx(0.01))
    x = unpacked(found["series"][0]["x"])
    assert (x[0], x[-1]) == (0, 39_999)
    np.testing.assert_allclose(kept, y[x.astype(int)], rtol=1e-7)
    assert "at most 500 points of up to 40,000" in found["note"]


def test_points_that_are_many_keep_the_outermost():
    z = np.random.default_rng(0).normal(size=(2, 9000))
    one = Series("a", z[0], z[1], kind="points")
    found = described(Panel(Axis("x"), Axis("y"), (one,)))["series"][0]
    radius = np.hypot(unpacked(found["x"]), unpacked(found["y"]))
    assert radius.size <= 500
    assert radius.max() == pytest.approx(np.hypot(*z).max(), rel=1e-6)


def test_lines_on_each_other_are_named_and_of_different_widths():
    same = np.array([1.0, 0.5, 0.2])
    shown = panel(same, same * 1.0001, same / 2)
    assert shown.coinciding() == (("line 0", "line 1"),)
    widths = [one.width for one in shown.apart().series]
    assert widths[0] > widths[1] == widths[2]
    assert "line 0 and line 1 lie on each other." in described(shown)["note"]
    assert panel(same, same[::-1]).coinciding() == ()
    dotted = replace(shown.series[1], dash=":")
    assert replace(shown, series=(shown.series[0], dotted)).coinciding() == ()  # dots on a line are seen


@pytest.mark.parametrize("y", [[0.7, 0.72], [1.0, 1.0], [0.98, 0.99]])
def test_a_log_scale_shows_a_decade_at_least(y):
    low, high = view([np.asarray(y)], Axis("y", "log"), log=True)
    assert high / low >= 10
    low, high = view([np.asarray(y)], Axis("y", "log", highest=1.0), log=True)
    assert high / low >= 10
    assert high < 1.1


def test_bars_and_bands_end_where_values_can_be():
    y = np.array([0.95, 0.05])
    one = Series("a", np.arange(2), y, errors=Interval(y - 0.1, y + 0.1), bands=(Interval(y - 0.2, y + 0.2),))
    found = described(Panel(Axis("x"), Axis("accuracy", lowest=0.0, highest=1.0), (one,)))
    np.testing.assert_allclose(found["series"][0]["errors"], [[0.85, 0.0], [1.0, 0.15]])
    np.testing.assert_allclose(found["series"][0]["bands"], [[[0.75, 0.0], [1.0, 0.25]]])
    assert found["y"]["linear_view"][1] < 1.05


def test_what_is_not_seen_is_said():
    assert "line 0: 1 of 3 are 0" in described(panel([1.0, 0.0, 2.0]))["note"]
    many = described(panel(*[[1.0, 0.0, float(i + 2)] for i in range(4)]))["note"]
    assert "line 0, line 1, line 2, line 3 are 0 or not finite in places" in many
    floor = described(panel([1.0, 0.0], floor=1e-8))
    assert floor["y"]["floor"] == 1e-8
    assert "What is below 1e-08 is drawn there: line 0: 1 of 2 are 0." in floor["note"]
    assert described(panel([0.0, 0.0]))["nothing"] == "every value is 0"
    assert described(panel([np.nan]))["nothing"] == "there is no value"


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_a_view_scales_with_its_values(scale):
    y = np.array([1.0, 3.0, 40.0])
    one = view([y], Axis("y", "log"), log=True)
    np.testing.assert_allclose(view([scale * y], Axis("y", "log"), log=True), np.multiply(one, scale), rtol=1e-12)


def test_plotly_is_what_npm_ships_with_its_licence():
    """plotly.js-basic-dist-min 4.1.1: to be changed with the file, and nothing else."""
    text = (ASSETS / "plotly-basic.min.js").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
    assert "MIT License" in (ASSETS / "PLOTLY-LICENSE").read_text()


def test_places_may_have_names_and_points_error_bars():
    y = np.array([0.2, 0.9])
    points = Series("a", np.arange(2), y, kind="points", errors=Interval(y - 0.1, y + 0.2))
    shown = Panel(Axis("network", ticks=(0, 1), names=("gcn", "<b>")), Axis("accuracy", highest=1.0), (points,))
    found = described(shown)
    assert (found["x"]["ticks"], found["x"]["names"]) == ([0.0, 1.0], ["gcn", "<b>"])
    np.testing.assert_allclose(found["series"][0]["errors"], [[0.1, 0.8], [0.4, 1.0]])
    axes = drawn_alone(shown).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["gcn", "<b>"]
    (bars,) = (c.lines[2][0].get_segments() for c in axes.containers)
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0.1, 0.4], [0.8, 1.0]])

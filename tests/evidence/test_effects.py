"""Verdicts by hand, and intervals of differences against their closed forms."""

import numpy as np
import pytest
from scipy import stats

from jaxgnn.evidence.effects import Effect, difference, judge
from jaxgnn.evidence.intervals import Interval

HOLDS = Effect("a", Interval(0.5, 0.4, 0.6), 0.1)
FAILS = Effect("b", Interval(0.0, -0.1, 0.1), 0.1)
OPEN = Effect("c", Interval(0.2, 0.0, 0.4), 0.1)
ONE = Effect("d", Interval(0.9, np.nan, np.nan), 0.1)


@pytest.mark.parametrize(
    ("effect", "outcome"),
    [
        (HOLDS, "holds"),
        (FAILS, "fails"),
        (OPEN, "undecided"),
        (ONE, "undecided"),
        (Effect("e", Interval(np.nan, np.nan, np.nan), 0.1), "undecided"),
        (Effect("f", Interval(-0.5, -0.6, -0.4), -0.1, "below"), "holds"),
        (Effect("g", Interval(0.0, -0.1, 0.1), -0.1, "below"), "fails"),
        (Effect("h", Interval(0.0, -0.2, 0.1), -0.1, "below"), "undecided"),
        (Effect("i", Interval(0.1, 0.1, 0.1), 0.1), "fails"),
    ],
)
def test_an_effect_holds_where_its_whole_interval_is_beyond_the_threshold(effect, outcome):
    assert effect.outcome == outcome
    assert effect.row()[-1] == outcome


@pytest.mark.parametrize(
    ("effects", "options", "verdict"),
    [
        ([HOLDS, HOLDS], {"scale": "literature"}, "reproduced"),
        ([HOLDS], {"scale": "small"}, "consistent at small scale"),
        ([HOLDS], {"scale": "literature", "basis": "theorem"}, "holds by theorem, measured"),
        ([HOLDS, FAILS], {"scale": "literature"}, "partly"),
        ([HOLDS, OPEN], {"scale": "literature"}, "partly"),
        ([FAILS, OPEN], {"scale": "small"}, "not reproduced"),
        ([OPEN, ONE], {"scale": "small"}, "undecided"),
        ([], {"scale": "small"}, "undecided"),
        ([HOLDS], {"scale": "literature", "controls": [HOLDS]}, "reproduced"),
        ([HOLDS], {"scale": "literature", "controls": [FAILS]}, "explained by its control"),
        ([HOLDS], {"scale": "small", "controls": [OPEN]}, "not told from its control"),
        ([HOLDS, FAILS], {"scale": "small", "controls": [FAILS]}, "partly"),
    ],
)
def test_the_verdict_follows_from_the_effects(effects, options, verdict):
    found = judge(effects, **options)
    assert found.verdict == verdict
    shown = (*effects, *options.get("controls", ()))
    assert [row[1:] for row in found.table.rows] == [effect.row() for effect in shown]
    for effect in shown:
        assert effect.name in found.reason


def test_a_caption_is_said_to_be_one():
    assert judge([HOLDS], scale="small", basis="caption").reason.startswith("Caption only: the text was not read.")


def test_differences_have_students_intervals():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(8) + 1, rng.standard_normal(8)
    found = difference(a, b)
    exact = stats.ttest_rel(a, b).confidence_interval(0.95)
    np.testing.assert_allclose(found, (np.mean(a - b), exact.low, exact.high))
    found = difference(a, b[:5], paired=False)
    exact = stats.ttest_ind(a, b[:5], equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(found, (a.mean() - b[:5].mean(), exact.low, exact.high))
    assert difference([1.0, 1.0], [0.2, 0.2]) == pytest.approx((0.8, 0.8, 0.8))
    assert difference([1.0, 1.0], [0.2, 0.2], paired=False) == pytest.approx((0.8, 0.8, 0.8))
    assert np.isnan(difference([1.0], [0.2])[1:]).all()
    assert np.isnan(difference([1.0, np.nan], [0.2, 0.1])).all()
    with pytest.raises(ValueError, match="3 and 2 runs: pairs need as many of each"):
        difference([1.0, 2.0, 3.0], [1.0, 2.0])

"""Differences of results, against SciPy's paired tests, and the same budget for every network."""

import numpy as np
import pytest
from scipy import stats

import jaxgnn as jg
from jaxgnn.data import csbm

RUNS = np.random.default_rng(0).normal([0.5, 0.6, 0.55], 0.05, (8, 3)).T


def test_two_results_have_student_s_paired_interval_and_p():
    (found,) = jg.compare({"a": RUNS[0], "b": RUNS[1]}).differences
    test = stats.ttest_rel(RUNS[1], RUNS[0])
    low, high = test.confidence_interval(0.95)
    assert (found.name, found.reference, found.runs) == ("b", "a", 8)
    np.testing.assert_allclose([found.mean, found.low, found.high], [RUNS[1].mean() - RUNS[0].mean(), low, high])
    assert found.p == pytest.approx(test.pvalue)
    assert found.differs == (low > 0 or high < 0)


def test_intervals_are_corrected_for_how_many_are_compared():
    both = jg.compare(RUNS, reference=0)
    for one, runs in zip(both.differences, RUNS[1:], strict=True):
        test = stats.ttest_rel(runs, RUNS[0])
        np.testing.assert_allclose([one.low, one.high], test.confidence_interval(1 - 0.05 / 2))
        assert one.p == pytest.approx(min(1, 2 * test.pvalue))


def test_intervals_hold_together_in_95_of_100():
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        found = jg.compare(rng.standard_normal((4, 6)))
        held += all(one.low <= 0 <= one.high for one in found.differences)
    # Bonferroni: at least 0.95, with room for 400 draws (3 standard errors).
    assert held / 400 > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)


def test_the_same_runs_differ_by_nothing():
    (found,) = jg.compare([RUNS[0], RUNS[0]]).differences
    assert (found.mean, found.low, found.high, found.differs) == (0, 0, 0, False)
    assert np.isnan(found.p)


@pytest.mark.parametrize(
    ("results", "options", "said"),
    [
        ([RUNS[0]], {}, "1 results"),
        ([RUNS[0], RUNS[1][:5]], {}, "as many runs of each"),
        ([RUNS[0][:1], RUNS[1][:1]], {}, "two at least"),
        ([RUNS[0], np.where(RUNS[1] > 0.6, np.nan, RUNS[1])], {}, "not finite"),
        ([RUNS[0], RUNS], {}, "shape"),
        ({"a": RUNS[0], "b": RUNS[1]}, {"reference": "c"}, "reference='c'"),
        ([RUNS[0], RUNS[1]], {"of": "speed"}, "speed"),
    ],
)
def test_what_cannot_be_compared_is_refused(results, options, said):
    with pytest.raises(ValueError, match=said):
        jg.compare(results, **options)


@pytest.fixture(scope="module")
def task():
    ds = csbm(num_nodes=40, num_classes=2, num_features=4, seed=3, train_per_class=8)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw")


GRID = {"bound": ["none", "frobenius"], "bound_c": [0.5, 1.0], "learning_rate": [1e-2, 1e-3]}


@pytest.fixture(scope="module")
def found(task, tmp_path_factory):
    model = jg.DeepGNN(depth=2, width=4, out=2, residual="identity")
    out = tmp_path_factory.mktemp("search")
    return jg.search(model, task, grid=GRID, seeds=2, steps=10, out=out), model, out


def test_every_combination_is_there_once_and_is_what_training_alone_gives(found, task):
    tried, model, _ = found
    assert [tuple(one.options.values()) for one in tried.tried] == [
        (b, c, r) for b in GRID["bound"] for c in GRID["bound_c"] for r in GRID["learning_rate"]
    ]
    one = tried.of(bound="frobenius", bound_c=0.5, learning_rate=1e-3).best
    alone = jg.train(model.clone(bound="frobenius", bound_c=0.5), task, seeds=2, steps=10, learning_rate=1e-3)
    np.testing.assert_allclose(one.result.train_loss, alone.train_loss, rtol=1e-5)


def test_a_number_that_does_nothing_is_not_searched_and_the_budget_says_so(found):
    tried, *_ = found
    assert tried.budget == (2, 4)
    plain = tried.of(bound="none", learning_rate=1e-2).tried
    assert plain[0].result.train_loss.tolist() == plain[1].result.train_loss.tolist()


def test_the_best_has_the_best_mean_validation_score(found):
    tried, *_ = found
    assert tried.best.val_score == max(one.val_score for one in tried.tried)


def test_what_is_done_is_kept(found, task):
    tried, model, out = found
    again = jg.search(model, task, grid=GRID, seeds=2, steps=10, out=out)
    assert len(list(out.iterdir())) == 2
    for a, b in zip(tried.tried, again.tried, strict=True):
        np.testing.assert_array_equal(a.result.score, b.result.score)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({}, "grid is empty"),
        ({"dept": [2]}, "did you mean.*depth"),
        ({"depth": 2}, "depth has the values 2"),
        ({"bound": "none"}, "bound has the values 'none'"),
        ({"norm": ["none", "loud"]}, "loud"),
    ],
)
def test_a_grid_that_is_none_is_refused(grid, said, task):
    with pytest.raises(ValueError, match=f"(?i){said}"):
        jg.search(jg.DeepGNN(depth=2, width=4, out=2), task, grid=grid, steps=10)

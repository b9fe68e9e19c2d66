"""Cells: kept once with all that is known of them, measured anew where settings or what is computed changed."""

import json

import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.evidence import cells
from jaxgnn.evidence.cells import Cell, measured
from jaxgnn.evidence.trained import LINE, trained


class Counted:
    """A cell that counts how often it is measured, with arrays of every kind."""

    def __init__(self, settings=None, code=None, size=100):
        self.count, self.size = 0, size
        self.cell = Cell("GCN", {"depth": 4} if settings is None else settings, self._measure, code)

    def _measure(self):
        self.count += 1
        return {
            "seed": np.arange(2),
            "score": np.array([0.5, np.nan], np.float32),
            "large": np.array([1e-300, np.inf, -np.inf]),
            "curve": np.linspace(0, 1, self.size),
            "flag": np.array(True),
            "name": np.array("cora"),
        }


def test_a_cell_comes_back_as_it_was_measured(tmp_path):
    one = Counted()
    first, again = (measured("park2024/x", "a cell, 4", one.cell, tmp_path, kept=None) for _ in range(2))
    assert one.count == 1
    for found in (first, again):
        np.testing.assert_array_equal(found.arrays["score"], np.array([0.5, np.nan], np.float32))
        assert found.arrays["score"].dtype == np.float32
        np.testing.assert_array_equal(found.arrays["large"], [1e-300, np.inf, -np.inf])
        np.testing.assert_array_equal(found.arrays["curve"], np.linspace(0, 1, 100))
        assert found.arrays["flag"].dtype == bool
        assert str(found.arrays["name"]) == "cora"
    (path,) = tmp_path.glob("*.json")
    record = json.loads(path.read_text())
    expected = {"paper": "park2024", "figure": "x", "arm": "GCN", "settings": {"depth": 4}, "seed": [0, 1]}
    assert {key: record[key] for key in expected} == expected
    assert record["score"] == [0.5, "nan"]
    assert {"versions", "device", "commit", "seconds", "measured_at", "code"} <= record.keys()
    assert record["arrays"] == ["curve"]


def test_other_settings_or_another_arm_are_another_cell(tmp_path):
    one = Counted()
    others = (Cell("GIN", one.cell.settings, one._measure), Cell("GCN", {"depth": 5}, one._measure))
    for cell in (one.cell, *others):
        measured("park2024/x", "name", cell, tmp_path, kept=None)
    assert one.count == 3


def test_what_is_kept_with_the_code_is_used_and_added_to(tmp_path):
    one, kept = Counted(), tmp_path / "kept"
    measured("park2024/x", "name", one.cell, tmp_path / "a", kept=kept)
    assert not kept.exists()
    measured("park2024/x", "name", one.cell, tmp_path / "a", kept=kept, keep=True)
    found = measured("park2024/x", "name", one.cell, tmp_path / "b", kept=kept)
    assert one.count == 1
    assert found.arrays["curve"].size == 100
    measured("park2024/x", "name", one.cell, tmp_path / "b", kept=kept, fresh=True)
    measured("park2024/x", "name", one.cell, tmp_path / "c", kept=None)
    assert one.count == 3


def test_arrays_that_are_large_are_not_kept_with_the_code(tmp_path):
    one = Counted(size=30_000)
    measured("park2024/x", "name", one.cell, tmp_path / "a", kept=tmp_path / "kept")
    with pytest.raises(ValueError, match="the cell name has 240000 bytes of arrays: at most 200000 are kept"):
        measured("park2024/x", "name", one.cell, tmp_path / "a", kept=tmp_path / "kept", keep=True)
    assert not list((tmp_path / "kept").rglob("*.json"))


@pytest.mark.parametrize("broken", ["json", "npz", "no npz"])
def test_a_damaged_cell_is_measured_again(broken, tmp_path):
    one = Counted()
    measured("park2024/x", "name", one.cell, tmp_path, kept=None)
    (path,) = tmp_path.glob("*.npz" if "npz" in broken else "*.json")
    if broken == "no npz":
        path.unlink()
        measured("park2024/x", "name", one.cell, tmp_path, kept=None)
    else:
        path.write_bytes(path.read_bytes()[:30])
        with pytest.warns(UserWarning, match="is damaged"):
            measured("park2024/x", "name", one.cell, tmp_path, kept=None)
    assert one.count == 2


@pytest.mark.parametrize(
    ("commits", "codes", "jax", "count"),
    [
        (("a", "a"), ("one", "two"), "same", 1),
        (("a", "b"), ("one", "one"), "same", 1),
        (("a", "b"), ("one", "two"), "same", 2),
        (("a", "a+changes"), ("one", "two"), "same", 2),
        (("a", "b"), ("one", "two"), "other", 1),
        (("a", None), ("one", "two"), "same", 1),
    ],
)
def test_another_code_counts_where_it_computes_something_else(commits, codes, jax, count, tmp_path, monkeypatch):
    def now(commit, version):
        return {"versions": {"jax": version}, "device": {"platform": "cpu"}, "commit": commit}

    one = Counted(code=lambda: said)
    for commit, said, version in zip(  # noqa: B007 (the digest reads it)
        commits, codes, ("same", jax), strict=True
    ):
        monkeypatch.setattr(cells, "environment", lambda c=commit, v=version: now(c, v))
        measured("park2024/x", "name", one.cell, tmp_path, kept=None)
    assert one.count == count


@pytest.fixture
def problem():
    ds = jg.load_dataset("karate")
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    return lambda width=4: (jg.DeepGNN(depth=2, width=width, out=task.out), task)


def test_the_better_rate_on_validation_is_chosen_for_all_seeds(problem, tmp_path):
    rates = (1e-9, 3e-2)
    cell = trained("GCN", {"depth": 2}, problem, seeds=3, grid={"learning_rate": rates}, steps=80, seed=1)
    found = measured("park2024/x", "name", cell, tmp_path, kept=None).arrays
    points = jg.sweep(*problem(), grid={"learning_rate": rates}, seeds=3, seed=1, steps=80)
    means = [float(p.result.val_score.mean()) for p in points]
    assert int(found["chosen"]) == int(np.argmax(means)) == 1
    np.testing.assert_array_equal(found["score"], points[1].result.score)
    np.testing.assert_array_equal(found["grid_score"], [p.result.score for p in points])
    assert found["history"].shape == (3, LINE)
    np.testing.assert_array_equal(found["history"][:, [0, -1]], points[1].result.history.train_loss[:, [0, -1]])
    assert cell.settings["grid"] == {"learning_rate": rates}


def test_a_failed_run_scores_nothing_and_its_point_is_not_chosen(problem, tmp_path):
    cell = trained("GCN", {}, problem, seeds=2, grid={"learning_rate": (1e38, 1e-2)}, steps=20, optimiser="sgd")
    found = measured("park2024/x", "name", cell, tmp_path, kept=None).arrays
    assert np.isnan(found["grid_score"][0]).all()
    assert int(found["chosen"]) == 1


def test_the_last_score_is_of_the_last_step_that_was_evaluated(problem, tmp_path):
    cell = trained("GCN", {}, problem, seeds=2, steps=23, evaluate_every=10, last=True)
    found = measured("park2024/x", "name", cell, tmp_path, kept=None).arrays
    history = jg.train(*problem(), seeds=2, steps=23, evaluate_every=10).history
    np.testing.assert_array_equal(found["score"], history.test_score[:, 20])


def test_the_digest_is_of_what_training_computes(problem):
    def digest(width=4, **options):
        return trained("GCN", {}, lambda: problem(width), seeds=1, **{"steps": 5, **options}).code()

    first = digest()
    assert first == digest() == digest(steps=50, learning_rate=0.1)  # numbers are arguments of the program
    assert len({first, digest(width=5), digest(optimiser="sgd"), digest(evaluate_every=5)}) == 4

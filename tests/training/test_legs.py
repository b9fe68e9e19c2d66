import json

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.training import folder as module
from jaxgnn.training.legs import Difference, differences, total_steps

MODEL = jg.DeepGNN(depth=2, width=4, out=3, norm="batch", bound="spectral", dropout=0.3)
HOW = {"seeds": 2, "learning_rate": 0.02, "record_every": 10}


@pytest.fixture(scope="module")
def task():
    ds = csbm(num_nodes=30, num_features=4, train_per_class=4, average_degree=4.0)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


@pytest.fixture
def train(task, tmp_path):
    def run(model=MODEL, **options):
        return jg.train(model, task, **({"out": tmp_path / "run"} | HOW | options))

    return run


@pytest.fixture(scope="module")
def whole(task):
    return jg.train(MODEL, task, steps=40, **HOW)


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_more_steps_are_the_run_that_had_them_from_the_start(train, whole, tmp_path):
    train(steps=20)
    result = train(steps=40, continue_=True)
    assert_same_bits(result, whole)
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(40))
    legs = json.loads((tmp_path / "run" / "config.json").read_text())["legs"]
    assert [(leg["done"], leg["steps"], leg["train"]["steps"]) for leg in legs] == [(20, 20, 20)]
    assert_same_bits(jg.load_run(tmp_path / "run"), whole)
    assert result.origin.config.steps == 40


def test_the_same_call_again_goes_on_with_its_leg(train, whole, monkeypatch):
    train(steps=20)
    monkeypatch.setattr(module, "_SECONDS", -1.0)

    def stop(done):
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(steps=40, continue_=True, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        train(steps=40, continue_=True, progress=stop)  # it starts there
    seen = []
    assert_same_bits(train(steps=40, continue_=True, progress=seen.append), whole)
    assert seen == [30, 40]
    assert_same_bits(train(steps=40, progress=seen.append), whole)
    assert seen[2:] == [40]


def test_a_leg_killed_before_its_first_checkpoint(train, whole, tmp_path):
    train(steps=20)

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(steps=40, continue_=True, progress=stop)
    with pytest.raises(ValueError, match="a run of 40 steps that is not finished"):
        jg.load_run(tmp_path / "run")
    assert_same_bits(train(steps=40, continue_=True), whole)
    assert_same_bits(jg.load_run(tmp_path / "run"), whole)


def test_another_learning_rate_for_as_many_steps_more(train, whole):
    first = train(steps=20)
    second = train(steps=20, learning_rate=1e-3, continue_=True)
    assert second.history.train_loss.shape == (2, 40)
    np.testing.assert_array_equal(second.history.train_loss[:, :20], first.history.train_loss)
    np.testing.assert_array_equal(second.history.train_loss[:, 20], whole.history.train_loss[:, 20])
    assert (second.history.train_loss[:, 25:] != whole.history.train_loss[:, 25:]).any()
    third = train(steps=50, learning_rate=1e-4, continue_=True)
    np.testing.assert_array_equal(third.history.train_loss[:, :40], second.history.train_loss)
    assert_same_bits(third.initial_params, first.initial_params)
    assert third.record.steps.tolist() == [0, 10, 20, 30, 40, 50]
    with pytest.raises(ValueError, match=r"learning_rate is 0\.0001 there and 0\.02 here"):
        train(steps=50)


def test_what_a_leg_cannot_change_is_refused(train):
    with pytest.raises(ValueError, match="holds no run to continue"):
        train(steps=20, continue_=True)
    train(steps=10)
    refused = [
        ({"seeds": 3}, "seeds is 2 there and 3 here"),
        ({"optimiser": "adam"}, "optimiser is adamw there and adam here"),
        ({"model": MODEL.clone(depth=3)}, "depth is 2 there and 3 here"),
        ({"record_every": None}, "record_every is 10 there and None here"),
    ]
    for change, named in refused:
        with pytest.raises(ValueError, match=rf"{named}.*; a leg may have other steps, learning_rate"):
            train(**({"steps": 20, "continue_": True} | change))
    for flags in ({"continue_": True, "fresh": True}, {"continue_": True, "out": None}, {"fresh": True, "out": None}):
        with pytest.raises(ValueError, match="of a run in a folder"):
            train(steps=20, **flags)


def test_a_schedule_over_the_steps_says_so(train):
    train(steps=10, schedule="cosine")
    with pytest.warns(UserWarning, match="schedule='cosine' depends on the number of steps: it goes on as that of 20"):
        train(steps=20, schedule="cosine", continue_=True)


def test_a_fresh_run_takes_the_place_of_another(train, task, tmp_path):
    train(steps=10)
    found = train(steps=20, learning_rate=0.01, fresh=True)
    assert_same_bits(found, jg.train(MODEL, task, steps=20, **(HOW | {"learning_rate": 0.01})))
    assert_same_bits(jg.load_run(tmp_path / "run"), found)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is not of a run of jaxgnn"):
        train(steps=20, out=tmp_path / "mine", fresh=True)
    assert (tmp_path / "mine" / "config.json").read_text() == "{}"


def test_a_leg_from_between_two_samples(task, train):
    """A run of 25 steps that goes on is sampled, and is, as one of 50."""
    train(steps=25)
    assert_same_bits(train(steps=50, continue_=True), jg.train(MODEL, task, steps=50, **HOW))


def test_the_runs_own_result_asks_for_a_leg(train, whole, tmp_path):
    first = train(steps=20)
    assert_same_bits(train(steps=40, init=first), whole)
    assert_same_bits(train(steps=40, init=first), whole)  # the same call again
    assert len(json.loads((tmp_path / "run" / "config.json").read_text())["legs"]) == 1
    with pytest.raises(ValueError, match=r"holds a run with other options.*; init is None there and "):
        train(steps=60, init=first.initial_params)


def test_a_run_from_given_parameters_goes_on(train, task):
    start = jg.train(MODEL, task, steps=10, seed=3, **HOW)
    first = train(steps=20, init=start)
    result = train(steps=40, continue_=True)
    assert_same_bits(result.initial_params, start.final_params)
    np.testing.assert_array_equal(result.history.train_loss[:, :20], first.history.train_loss)
    again = train(steps=60, init=result)
    assert_same_bits(again.initial_params, start.final_params)
    assert_same_bits(train(steps=60, init=start, out=None), again)


def test_steps_in_all_or_more():
    assert total_steps([], 20) == 20
    assert total_steps([{"done": 20}], 50) == 50
    assert total_steps([{"done": 20}], 20) == 40


def test_differences_name_the_inner_option():
    a = {"train": {"steps": 1, "l2": 0.0}, "model": "A(\n    depth = 2\n)", "legs": []}
    b = {"train": {"steps": 2, "l2": 0.0}, "model": "A(\n    depth = 3\n)", "x": 1}
    a["device"], b["device"] = {"kind": "cpu", "count": 1}, {"kind": "cpu", "count": 8}
    assert differences(a, b) == [Difference("steps", 1, 2), Difference("depth", "2", "3"), Difference("x", None, 1)]

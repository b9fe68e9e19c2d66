import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.train import TrainConfig, _advance

STEPS = 8
MODEL = jg.DeepGNN(layer="gcn", depth=2, width=6, out=3, residual="identity", bound="frobenius", bound_c=0.5)


@pytest.fixture(scope="module")
def task():
    ds = csbm(num_nodes=45, num_features=4, train_per_class=5, average_degree=4.0)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


@pytest.fixture(scope="module")
def result(task):
    """Three seeds, as most tests below compare with."""
    return jg.train(MODEL, task, seeds=3, steps=STEPS)


def run(result, i):
    """One seed of a result."""
    return jax.tree.map(lambda a: np.asarray(a)[i, ...], result)


def assert_trees_close(a, b, **tolerances):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerances), a, b)


def accuracy(logits, task, mask):
    return np.mean(np.argmax(logits, axis=1)[mask] == task.labels[mask])


def test_results_have_a_leading_seed_axis(task, result):
    assert result.score.shape == result.val_score.shape == result.train_loss.shape == result.failed.shape == (3,)
    assert {m.shape for m in result.history} == {(3, STEPS)}
    assert {a.shape[0] for a in jax.tree.leaves((result.params, result.final_params))} == {3}
    assert len(np.unique(result.history.train_loss[:, 0])) == 3  # each seed starts elsewhere
    assert not result.failed.any()


def test_training_lowers_the_loss(task):
    long = jg.train(MODEL, task, seeds=3, steps=60, learning_rate=2e-2)
    assert (long.train_loss < 0.5 * long.history.train_loss[:, 0]).all()
    assert (long.train_loss < task.constant_loss()).all()


def test_the_same_seed_gives_the_same_bits(task, result):
    again = jg.train(MODEL, task, seeds=3, steps=STEPS)
    jax.tree.map(np.testing.assert_array_equal, result, again)
    other = jg.train(MODEL, task, seeds=3, steps=STEPS, seed=1)
    assert not np.isin(other.history.train_loss[:, 0], result.history.train_loss[:, 0]).any()


def test_a_run_does_not_depend_on_how_many_there_are(task, result):
    alone = jg.train(MODEL, task, seeds=1, steps=STEPS)
    # The same operations in a program of another batch size: equal up to rounding, grown by a few steps of Adam.
    assert_trees_close(run(alone, 0), run(result, 0), rtol=1e-4, atol=1e-5)


def test_batching_changes_nothing_but_rounding(task, result):
    wide = jg.train(MODEL, task, seeds=3, steps=STEPS, batching="vmap")
    assert_trees_close(wide.history, result.history, rtol=1e-4, atol=1e-5)
    assert_trees_close(wide.final_params, result.final_params, rtol=1e-3, atol=1e-4)


def test_make_train_is_one_run(task, result):
    train = jg.make_train(MODEL, task, TrainConfig(steps=STEPS))
    state, history = jax.jit(train)(jax.random.fold_in(jax.random.key(0), 1))
    assert_trees_close(history, run(result.history, 1), rtol=1e-5, atol=1e-6)
    assert_trees_close(state.params, run(result.final_params["params"], 1), rtol=1e-4, atol=1e-5)
    assert state.step == STEPS


def test_history_is_of_the_parameters_before_each_update(task, result):
    for i in range(3):
        variables = run(result.initial_params, i)
        logits = MODEL.apply(variables, task.graph, task.x)
        history = run(result.history, i)
        assert history.train_loss[0] == pytest.approx(float(task.loss(logits)), rel=1e-5)
        for split in ("train", "val", "test"):
            expected = accuracy(logits, task, getattr(task, f"{split}_mask"))
            assert getattr(history, f"{split}_score")[0] == pytest.approx(expected)


def test_the_best_parameters_give_the_reported_score(task, result):
    for i in range(3):
        logits = MODEL.apply(run(result.params, i), task.graph, task.x)
        assert accuracy(logits, task, task.test_mask) == pytest.approx(result.score[i])
        assert accuracy(logits, task, task.val_mask) == pytest.approx(result.val_score[i])
        final = MODEL.apply(run(result.final_params, i), task.graph, task.x)
        assert float(task.loss(final)) == pytest.approx(result.train_loss[i], rel=1e-5)


def test_the_best_step_is_the_first_with_the_best_validation_score_and_lowest_loss(task, result):
    for i in range(3):
        final = task.scores(MODEL.apply(run(result.final_params, i), task.graph, task.x))
        scores = [*result.history.val_score[i], float(final.val)]
        losses = [*result.history.val_loss[i], float(final.val_loss)]
        best = max(range(STEPS + 1), key=lambda s: (scores[s], -losses[s]))
        assert result.best_step[i] == best
        assert result.val_score[i] == pytest.approx(max(scores))


@pytest.mark.parametrize("options", [{}, {"l2": 0.1}, {"weight_decay": 0.3}, {"l2": 0.05, "learning_rate": 0.02}])
def test_updates_are_those_of_adam_by_hand(task, result, options):
    trained = jg.train(MODEL, task, seeds=1, steps=3, **options)
    rate, decay, l2 = options.get("learning_rate", 5e-3), options.get("weight_decay", 0.0), options.get("l2", 0.0)
    nodes = np.flatnonzero(task.train_mask)
    variables = run(trained.initial_params, 0)

    def loss(params):
        logits = MODEL.apply(variables | {"params": params}, task.graph, task.x)
        surprise = -jnp.mean(jax.nn.log_softmax(logits)[nodes, task.labels[nodes]])
        return surprise + l2 / 2 * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))

    params, adam = variables["params"], optax.scale_by_adam()
    state = adam.init(params)
    gradient = jax.jit(jax.grad(loss))
    for _ in range(3):
        direction, state = adam.update(gradient(params), state)
        params = jax.tree.map(lambda p, u: p - rate * (u + decay * p), params, direction)
    assert_trees_close(run(trained.final_params["params"], 0), params, rtol=1e-4, atol=1e-5)


def test_penalties_are_not_in_the_reported_loss(task, result):
    penalised = jg.train(MODEL, task, seeds=1, steps=1, l2=100.0)
    assert penalised.history.train_loss[0, 0] == pytest.approx(float(result.history.train_loss[0, 0]), rel=1e-5)


def test_patience_stops_each_seed_by_itself(task):
    patience, steps = 3, 60
    stopped = jg.train(MODEL, task, seeds=3, steps=steps, patience=patience, learning_rate=0.05)
    lengths = np.isfinite(stopped.history.train_loss).sum(axis=1)
    assert len(set(lengths.tolist())) > 1
    assert (lengths < steps).all()
    for i, length in enumerate(lengths):
        for metric in stopped.history:
            assert np.isfinite(metric[i, :length]).all()
            assert np.isnan(metric[i, length:]).all()
        assert length - 1 - stopped.best_step[i] == patience
    assert not stopped.failed.any()
    # Frozen: as many updates as there were steps before the one that stopped it.
    i = int(np.argmin(lengths))
    short = jg.train(MODEL, task, seeds=3, steps=int(lengths[i]) - 1, learning_rate=0.05)
    assert_trees_close(run(stopped.final_params, i), run(short.final_params, i), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batching", ["map", "vmap"])
def test_a_run_that_breaks_is_reported_and_touches_no_other(task, result, batching):
    grid = {"learning_rate": [5e-3, 1e30, 1e-2]}
    good, bad, other = jg.sweep(MODEL, task, grid=grid, seeds=1, steps=STEPS, batching=batching)
    assert bad.options == {"learning_rate": 1e30}
    assert bad.result.failed.all()
    assert not good.result.failed.any()
    assert not other.result.failed.any()
    assert_trees_close(run(good.result.history, 0), run(result.history, 0), rtol=1e-4, atol=1e-5)
    # What was best before it broke is kept: the initial parameters.
    np.testing.assert_array_equal(bad.result.best_step, 0)
    assert_trees_close(bad.result.params, bad.result.initial_params)
    assert np.isfinite(bad.result.score).all()


def test_a_run_that_breaks_in_its_last_update_is_reported(task):
    last = jg.train(MODEL, task, seeds=3, steps=1, learning_rate=1e38)
    assert not np.isfinite(last.train_loss).any()
    assert last.failed.all()
    np.testing.assert_array_equal(last.best_step, 0)


@pytest.mark.parametrize(("name", "values"), [("learning_rate", [1e-3, 5e-3, 1e-2]), ("bound_c", [0.25, 0.5, 1.0])])
def test_a_sweep_is_its_trainings_one_by_one(task, name, values):
    point = jg.sweep(MODEL, task, grid={name: values}, seeds=1, steps=STEPS)[2]
    if name == "bound_c":
        alone = jg.train(MODEL.clone(bound_c=1.0), task, seeds=1, steps=STEPS)
        np.testing.assert_array_equal(point.result.params["constants"]["bound_c"], 1.0)
    else:
        alone = jg.train(MODEL, task, seeds=1, steps=STEPS, learning_rate=1e-2)
    assert_trees_close(point.result.history, alone.history, rtol=1e-4, atol=1e-5)


def test_a_grid_is_one_program_for_any_values_and_number_of_steps(task):
    model = MODEL.clone(width=4)
    before = _advance._cache_size()
    points = jg.sweep(model, task, grid={"learning_rate": [1e-3, 1e-2], "l2": [0.0, 0.1]}, seeds=1, steps=3)
    expected = [{"learning_rate": rate, "l2": l2} for rate in (1e-3, 1e-2) for l2 in (0.0, 0.1)]
    assert [point.options for point in points] == expected
    assert _advance._cache_size() == before + 1
    jg.sweep(model, task, grid={"bound_c": [1.0, 2.0, 3.0, 4.0]}, seeds=1, steps=30, weight_decay=0.1)
    assert _advance._cache_size() == before + 1


def test_dropout_trains_with_noise_and_reports_without(task):
    model = MODEL.clone(dropout=0.5, input_dropout=0.2)
    dropped = jg.train(model, task, seeds=1, steps=2)
    start = model.apply(run(dropped.initial_params, 0), task.graph, task.x)
    assert dropped.history.train_loss[0, 0] == pytest.approx(float(task.loss(start)), rel=1e-5)
    plain = jg.train(MODEL, task, seeds=1, steps=2)
    assert_trees_close(run(plain.initial_params, 0), run(dropped.initial_params, 0))
    assert not np.allclose(dropped.history.train_loss[0, 1], plain.history.train_loss[0, 1], rtol=1e-6)


def test_progress_counts_steps(task):
    seen = []
    jg.train(MODEL, task, seeds=3, steps=60, progress=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] == 60
    assert len(seen) > 1


def test_the_folder_holds_what_a_run_needs_to_be_repeated(task, tmp_path):
    trained = jg.train(MODEL, task, seeds=3, seed=4, steps=STEPS, l2=1e-3, out=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text(), parse_constant=pytest.fail)
    assert config["train"] == {"steps": STEPS, "learning_rate": 5e-3, "weight_decay": 0.0, "l2": 1e-3, "patience": 0}
    assert (config["seed"], config["seeds"]) == (4, 3)
    assert config["versions"]["jax"] == jax.__version__
    assert config["device"]["platform"] == jax.devices()[0].platform
    assert "frobenius" in config["model"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(STEPS))
    for name, values in trained.history._asdict().items():
        np.testing.assert_array_equal(np.array([line[name] for line in lines], np.float32), values.T)


def test_a_broken_run_leaves_null_on_disk(task, tmp_path):
    jg.train(MODEL, task, seeds=3, steps=STEPS, learning_rate=1e30, out=tmp_path)
    text = (tmp_path / "history.jsonl").read_text()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert lines[-1]["train_loss"] == [None] * 3


def test_a_folder_that_cannot_be_written_to_is_refused(task, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=rf"^cannot write to {tmp_path}/file/run: .*; choose another folder$"):
        jg.train(MODEL, task, seeds=1, steps=1, out=tmp_path / "file" / "run")


REFUSED = {
    "unknown option": ({"momentum": 0.9}, "option 'momentum' is not known: allowed are steps, learning_rate, weight_"),
    "steps": ({"steps": 0}, "steps=0: allowed are 1 and more"),
    "learning rate": ({"learning_rate": 0.0}, "learning_rate=0.0: allowed are finite numbers above 0"),
    "infinite rate": ({"learning_rate": np.inf}, "learning_rate=inf: allowed are finite numbers above 0"),
    "NaN rate": ({"learning_rate": np.nan}, "learning_rate=nan: allowed are finite numbers above 0"),
    "decay": ({"weight_decay": -1.0}, "weight_decay=-1.0: allowed are 0 and more"),
    "l2": ({"l2": np.nan}, "l2=nan: allowed are 0 and more"),
    "patience": ({"patience": -1}, "patience=-1: allowed are 0 and more"),
    "seeds": ({"seeds": 0}, "seeds=0: allowed are 1 and more"),
    "batching": ({"batching": "pmap"}, "batching='pmap' is not known: allowed are auto, map, vmap"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_option_out_of_range_is_refused(task, case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        jg.train(MODEL, task, **({"seeds": 1, "steps": 1} | options))


def test_an_unknown_grid_option_is_refused(task):
    sentence = r"^grid option 'depth' is not known: allowed are learning_rate, weight_decay, l2, bound_c$"
    with pytest.raises(ValueError, match=sentence):
        jg.sweep(MODEL, task, grid={"depth": [1, 2]}, seeds=1, steps=1)


@pytest.mark.parametrize(("name", "values"), [("learning_rate", [-1.0]), ("l2", [np.nan]), ("bound_c", [0.0])])
def test_a_grid_value_out_of_range_is_refused(task, name, values):
    with pytest.raises(ValueError, match=f"^{name}="):
        jg.sweep(MODEL, task, grid={name: values}, seeds=1, steps=1)


def test_a_grid_without_values_is_refused(task):
    with pytest.raises(ValueError, match=r"^grid option 'learning_rate'"):
        jg.sweep(MODEL, task, grid={"learning_rate": []}, seeds=1, steps=1)


def test_a_model_with_fewer_outputs_than_classes_is_refused(task):
    with pytest.raises(ValueError, match="3 classes"):
        jg.train(MODEL.clone(out=2), task, seeds=1, steps=1)

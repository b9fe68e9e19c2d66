"""What a training command is made of: its options, its data, and the page's numbers."""

import json
import re
from dataclasses import asdict, fields
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands.setting import ModelConfig, named_values
from jaxgnn.commands.task_setting import TaskConfig
from jaxgnn.commands.train import RunConfig, TrainConfig, Training
from jaxgnn.host import memory
from jaxgnn.layers import LAYERS
from jaxgnn.report.training import headline, table, write_training
from jaxgnn.tasks.task import Metrics
from jaxgnn.training.train import SweepPoint


@pytest.fixture
def unmeasured(monkeypatch):
    """No norms of layers are measured: there is no trained network."""
    monkeypatch.setattr(Training, "layer_norms", lambda self, point: [])


def make(tmp_path, *, model=None, runs=None, source=None):
    return Training(
        TaskConfig(dataset="karate", **(source or {})),
        ModelConfig(**({"depth": 1, "width": 4} | (model or {}))),
        TrainConfig(steps=3),
        RunConfig(**({"seeds": 2} | (runs or {}))),
        tmp_path / "out",
    )


def result_of(scores, val_scores, losses):
    """A result of made-up numbers, one a seed, with a history of 3 steps."""
    array = [np.asarray(values, np.float32) for values in (scores, val_scores, losses)]
    steps = np.stack([array[2] * factor for factor in (3, 2, 1.5)], axis=1)
    best = np.arange(len(scores), dtype=np.int32)
    history = Metrics(*(steps for _ in Metrics._fields))
    return SimpleNamespace(
        score=array[0],
        val_score=array[1],
        train_loss=array[2],
        best_step=best,
        failed=~np.isfinite(array[2]),
        history=history,
        record=None,
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), {}),
        (("c=1",), {"c": ["1"]}),
        (("c=0.25", "0.5", "l2=0", "1e-3"), {"c": ["0.25", "0.5"], "l2": ["0", "1e-3"]}),
        ((" c = 1 ", " 2 "), {"c": ["1", "2"]}),
    ],
)
def test_values_belong_to_the_name_before_them(parts, expected):
    assert named_values(parts) == expected


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (("1", "c=2"), "'1' has no name: allowed are name=value,value,..."),
        (("c=1", "c=2"), "c is given twice: once is needed, with all its values"),
    ],
)
def test_values_without_a_name_are_refused(parts, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        named_values(parts)


def test_the_options_are_those_of_the_model():
    """One option a field of DeepGNN, with its default, but for what the data set and `intervene` decide."""
    defaults = {name: getattr(jg.DeepGNN, name) for name in jg.DeepGNN.__dataclass_fields__ if name in vars(jg.DeepGNN)}
    given = {f.name: getattr(ModelConfig(), f.name) for f in fields(ModelConfig)}
    assert defaults.keys() - given.keys() == {"out", "pool", "interventions", "parent", "name"}
    assert given == {name: defaults[name] for name in given}
    made = jg.DeepGNN(**asdict(ModelConfig()) | {"ssm": ModelConfig().ssm})
    assert made == jg.DeepGNN()


@pytest.mark.parametrize("option", ["features", "rewiring", "metric", "class_weights"])
def test_an_unknown_word_is_refused(option):
    with pytest.raises(ValueError, match=rf"^{option}='x' is not known: allowed are "):
        TaskConfig(**{option: "x"})


def test_features_are_divided_by_their_sum_or_taken_as_they_are():
    row, raw = (TaskConfig(dataset="csbm", features=features).problem(None) for features in ("row", "raw"))
    np.testing.assert_allclose(np.abs(row.x).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(raw.x, jg.load_dataset("csbm").x)
    assert np.abs(raw.x).sum(axis=1).min() > 2
    assert (row.feature_rule, raw.feature_rule) == ("row", "raw")


def test_the_command_and_python_give_the_same_bits(tmp_path):
    """With Python's own default of the features, which is no other than the command's."""
    training = Training(
        TaskConfig(dataset="csbm"), ModelConfig(depth=2, width=4), TrainConfig(steps=5), RunConfig(seeds=2), tmp_path
    )
    (point,) = training.run()
    ds = jg.load_dataset("csbm")
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    model = jg.DeepGNN(depth=2, width=4, out=ds.num_classes)
    result = jg.train(model, task, seeds=2, steps=5)
    jax.tree.map(np.testing.assert_array_equal, point.result, result)
    assert result.feature_rule == "row"
    assert json.loads((tmp_path / "config.json").read_text())["features"] == "row"
    assert training.write_results([point])["config"]["data"]["features"] == "row"
    # What was trained at the task's features is evaluated there: at the data set's own it is another network.
    raw = jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw")
    other = jg.train(model, raw, seeds=2, steps=5)
    assert other.feature_rule == "raw"
    assert np.abs(other.train_loss - result.train_loss).min() > 1e-3
    for i in range(2):
        params = jax.tree.map(lambda a, i=i: np.asarray(a[i]), result.final_params)
        losses = [float(task.loss(model.apply(params, task.graph, x))) for x in (task.x, ds.x)]
        assert losses[0] == pytest.approx(float(result.train_loss[i]), rel=1e-5)
        assert abs(losses[1] - losses[0]) > 1e-3


def test_the_graph_is_rewired_before_it_is_normalised(karate):
    plain, fosr = (
        TaskConfig(dataset="karate", normalisation="row", rewiring=r, rewired=4).problem(None).graph.propagation.dense()
        for r in ("none", "fosr")
    )
    assert ((fosr != 0) & (plain == 0)).sum() == 2 * 4  # both directions
    assert ((fosr == 0) & (plain != 0)).sum() == 0
    for P in (plain, fosr):
        np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-6)
    loopless = TaskConfig(dataset="karate", loops=False).problem(None).graph.propagation.dense()
    assert not np.diag(loopless).any()
    assert np.diag(plain).all()


def test_metric_weights_and_hops_reach_the_task():
    task = TaskConfig(dataset="karate", metric="roc_auc", class_weights="balanced").problem(3)
    assert task.metric == "roc_auc"
    labels = np.asarray(task.labels)[np.asarray(task.train_mask)]
    np.testing.assert_allclose(task.class_weights * np.bincount(labels), len(labels) / 2)  # equal sums
    distances = [
        task.graph.hop(k).propagation.dense() - np.diag(np.diag(task.graph.hop(k).propagation.dense()))
        for k in range(3)
    ]
    for a in range(3):
        assert distances[a].any()
        for b in range(a):
            assert not ((distances[a] != 0) & (distances[b] != 0)).any()


def test_layer_options_make_the_layer(tmp_path):
    training = make(
        tmp_path,
        model={"layer": "gat", "bias": True, "init_weights": "he"},
        runs={"layer_options": ("heads=2", "negative_slope=1", "concat=False")},
    )
    layer = training.model.layer
    assert isinstance(layer, LAYERS["gat"])
    assert (layer.features, layer.heads, layer.negative_slope, layer.concat, layer.use_bias) == (4, 2, 1, False, True)
    kernels = [
        jax.eval_shape(m.init, jax.random.key(0), training.task.graph, training.task.x)["params"]
        for m in (training.model, training.model.clone(layer="gat"))
    ]
    assert kernels[0]["stack"]["layer"]["linear"]["kernel"].shape == (1, 4, 8)  # averaged heads
    assert kernels[1]["stack"]["layer"]["linear"]["kernel"].shape == (1, 4, 4)
    # He's bound of the entries, not Glorot's.
    W = training.model.init(jax.random.key(0), training.task.graph, training.task.x)["params"]["stack"]["layer"][
        "linear"
    ]
    assert np.sqrt(6 / (4 + 8)) < np.abs(W["kernel"]).max() <= np.sqrt(6 / 4)


def test_the_layers_own_defaults_stay_with_layer_options(tmp_path):
    model = make(tmp_path, model={"layer": "a_dgn"}, runs={"layer_options": ("gamma=0.2",)}).model
    assert (model.layer.gamma, model.activation, model.residual) == (0.2, "tanh", "scaled")


def test_a_wrong_option_is_refused_before_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgnn.data.load_dataset", None)
    with pytest.raises(ValueError, match=r"^residual='x' is not known"):
        make(tmp_path, model={"residual": "x"})
    assert list(tmp_path.iterdir()) == []


def test_pairs_that_do_not_fit_into_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 20_000)
    with pytest.raises(MemoryError, match="pairs at distance 2"):
        make(tmp_path, model={"khop": True, "depth": 3})


def test_pairs_at_a_distance_are_found_for_a_layer_that_hears_them(tmp_path):
    training = make(tmp_path, model={"layer": "drew", "depth": 3}, runs={"layer_options": ("K=3",)})
    assert training.task.graph.khops.senders.shape[0] == training.model.distances == 3
    assert make(tmp_path, model={"layer": "drew", "depth": 3}).task.graph.khops is None


def test_results_hold_a_row_a_grid_point_and_choose_by_validation(tmp_path, unmeasured):
    training = make(tmp_path)
    points = [
        SweepPoint({"bound_c": 0.5}, result_of([0.9, 0.7], [0.5, 0.6], [0.3, 0.1])),
        SweepPoint({"bound_c": 2.0}, result_of([0.4, 0.8], [0.7, 0.8], [0.2, np.nan])),
    ]
    results = training.write_results(points)
    assert results["chosen"] == 1
    size = training.model.size(training.task.graph, training.task.x)
    assert results["parameters"] == {"trainable": size.trainable, "frozen": 0}
    row = results["rows"][0]
    assert (row["score_mean"], row["score_std"]) == pytest.approx((0.8, 0.1))
    assert (row["val_mean"], row["val_std"]) == pytest.approx((0.55, 0.05))
    assert row["train_loss"] == pytest.approx(0.2)
    assert [row["failed_seeds"] for row in results["rows"]] == [0, 1]
    first, second = table(results)
    assert first == ("bound_c = 0.5", "0.8000 ± 0.1000", "0.5500 ± 0.0500", "0.2000", "0 of 2")
    assert second == ("bound_c = 2 (chosen)", "0.6000 ± 0.2000", "0.7500 ± 0.0500", "not finite", "1 of 2")
    said = headline(results)
    assert said.startswith("Test accuracy 0.6000 ± 0.2000 over 2 seeds at bound_c = 2; training loss not finite, ")
    assert said.endswith("the best constant predictor's 0.6931. 1 of them failed.")


def test_the_page_shows_scores_against_each_option_with_the_others_as_chosen(tmp_path, unmeasured):
    training = make(tmp_path)
    points = [
        SweepPoint({"l2": l2, "bound_c": c}, result_of([score, score], [score, score], [0.3, 0.1]))
        for l2, c, score in ((0.0, 0.5, 0.11), (0.0, 2.0, 0.22), (0.1, 0.5, 0.33), (0.1, 2.0, 0.44))
    ]
    results = training.write_results(points)
    page = write_training(training.out, results, [p.result.history for p in points], "jaxgnn train <karate>")
    captions = re.findall(r'<p data-view="0">(.*?)</p>', page.read_text())
    assert [re.sub(r' <span class="note">.*', "", caption) for caption in captions] == [
        "Mean test score: l2 = 0: 0.2200; l2 = 0.1: 0.4400.",
        "Mean test score: bound_c = 0.5: 0.3300; bound_c = 2: 0.4400.",
        "Final training losses: 0.3000, 0.1000.",
        "Best validation scores at steps 0, 1.",
    ]
    assert "jaxgnn train &lt;karate&gt;" in page.read_text()


def test_a_page_without_a_finite_number_is_still_written(tmp_path, unmeasured):
    training = make(tmp_path)
    nothing = result_of([0.5, 0.5], [0.5, 0.5], [np.nan, np.nan])
    results = training.write_results([SweepPoint({}, nothing)])
    page = write_training(training.out, results, [nothing.history], "jaxgnn train")
    assert "not finite" in page.read_text()
    assert page.read_text().count("<figure ") == 2


def test_what_was_recorded_is_written_and_shown(tmp_path):
    options = {"seeds": 2, "record_every": 10, "seed": 3}
    training = Training(
        TaskConfig(dataset="karate"),
        ModelConfig(depth=2, width=4),
        TrainConfig(steps=20),
        RunConfig(**options),
        tmp_path / "out",
    )
    points = training.run()
    results = training.write_results(points)
    record = jg.train(training.model, training.task, steps=20, **options).record
    with np.load(training.out / "record.npz") as written:
        np.testing.assert_array_equal(written["record/0/steps"], [0, 10, 20])
        np.testing.assert_array_equal(written["record/0/weight_grads"], record.samples.weight_grads)
        np.testing.assert_array_equal(written["record/0/features/mu"], record.samples.features.mu)
    page = write_training(training.out, results, [points[0].result.history], "jaxgnn train", points[0].result.record)
    assert "During training" in page.read_text()

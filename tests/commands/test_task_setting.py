"""Benchmarks on the command line: the options, and what commands say beside networks' scores."""

import json
import re

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands.main import main
from jaxgnn.commands.study import StudyConfig
from jaxgnn.commands.task_setting import TaskConfig, fitted, made
from jaxgnn.report.study_layers import network_name

LRIM = "side=3,num_train=6,num_val=3,num_test=3,batch_size=3"


def test_options_are_those_of_the_benchmark():
    config = TaskConfig(task="lrim", task_options=("side=3", "alpha=0.5", "temperature=None", "num_train=5"))
    found, again = made(config, None), jg.tasks.lrim(side=3, alpha=0.5, num_train=5)
    assert found.references == again.references
    rings = made(TaskConfig(task="ring_transfer", task_options=("sizes=6", "8", "num_train=10")), None)
    assert rings.task.graphs.num_nodes == 8
    row = made(TaskConfig(task="graph_transfer", task_options=("distance=3",), normalisation="row"), None)
    assert row.task.graphs.propagation.normalisation == "row"
    assert TaskConfig().benchmark(None) is None


REFUSED = {
    "task": ({"task": "lrin"}, "task='lrin' is not known, did you mean 'lrim'? allowed are "),
    "options": ({"task_options": ("alpha=2",)}, "task_options='alpha=2' without a task: allowed are those of lrim, "),
    "dataset": (
        {"task": "lrim", "dataset": "karate"},
        "dataset='karate' and task='lrim': a benchmark has data, features and a metric of its own, so one of the two "
        "is needed",
    ),
}


@pytest.mark.parametrize("kind", [TaskConfig, StudyConfig])
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(case, kind):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        kind(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("alhpa=2", "task option 'alhpa' is not known, did you mean 'alpha'? allowed for lrim are side, alpha, "),
        ("hops=2", "task option 'hops' is the network's: --normalisation and the layer say it"),
        ("side=3,4", "task option 'side' has 2 values: one is needed"),
        ("side=big", "side='big': allowed are 3 and more, whole"),
    ],
)
@pytest.mark.parametrize("command", ["train", "study"])
def test_a_wrong_option_ends_the_command_with_2(command, options, sentence, capsys, tmp_path):
    assert main([command, "--task", "lrim", "--task-options", options, "--out", str(tmp_path / "out")]) == 2
    assert f"jaxgnn: {sentence}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_task_of_whole_graphs_is_read_out_by_a_mean():
    graphs = [jg.prepare(senders=[0, 1], receivers=[1, 0], num_nodes=2)] * 3
    task = jg.tasks.many_graphs(graphs, [np.ones((2, 1))] * 3, [0, 1, 0], split=([0], [1], [2]), batch_size=1)
    model = jg.DeepGNN(depth=1, width=2, out=1)
    assert (fitted(model, task).pool, fitted(model, task).out) == ("mean", task.out)
    assert fitted(model, jg.tasks.graph_transfer(num_train=2, num_val=1, num_test=1)).pool == "none"


def test_train_shows_the_predictors_that_nobody_trains(tmp_path, capsys):
    arguments = ["train", "--task", "lrim", "--task-options", LRIM, "--depth", "1", "--width", "2"]
    arguments += ["--steps", "2", "--seeds", "1", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    made_here = jg.tasks.lrim(side=3, num_train=6, num_val=3, num_test=3, batch_size=3)
    assert results["benchmark"]["references"] == [row._asdict() for row in made_here.references]
    assert json.loads(out.splitlines()[-1])["references"] == results["benchmark"]["references"]
    assert results["metric"] == "mse"
    page = (tmp_path / "index.html").read_text()
    for text in ("constant predictor", "within 1 hop", "oracle", f"{made_here.constant.test:.4f}"):
        assert text in out
        assert text in page
    assert "GCN with 1 layer on lrim" in page
    assert made_here.facts[0] in page


def test_what_a_benchmark_measures_of_networks_is_told_for_each_run(tmp_path, capsys):
    options = "neighbours=3,num_train=6,num_val=3,num_test=3,batch_size=3"
    arguments = ["train", "--task", "recall", "--task-options", options, "--depth", "1,2", "--width", "2"]
    assert main([*arguments, "--steps", "2", "--seeds", "2", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    found = jg.tasks.associative_recall(neighbours=3, num_train=6, num_val=3, num_test=3, batch_size=3)
    for row in results["rows"]:
        values = row["measured"]["selective sensitivity"]
        assert len(values) == 2
    chosen = results["rows"][results["chosen"]]["measured"]["selective sensitivity"]
    said = f"Selective sensitivity {np.mean(chosen):.3f} ± {np.std(chosen):.3f}."
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "index.html").read_text()
    one = next(row for row in results["rows"] if row["options"]["depth"] == 1)
    params = jax.tree.map(lambda a: a[0], jg.load_run(tmp_path / one["folder"]).params)
    model = jg.DeepGNN(depth=1, width=2, out=3)
    value = found.measures["selective sensitivity"](model, params)
    assert value == pytest.approx(one["measured"]["selective sensitivity"][0])


def test_the_study_chooses_by_the_lower_error_and_shows_the_same(tmp_path, capsys):
    arguments = ["study", "--task", "lrim", "--task-options", LRIM, "--depths", "1", "--remedies", "none,frobenius"]
    arguments += ["--bound-c", "0.5,1", "--width", "2", "--steps", "2", "--seeds", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    out, results = capsys.readouterr().out, json.loads((tmp_path / "results.json").read_text())
    bounded = results["cells"][1]
    lowest = min(bounded["searched"], key=lambda point: point["val_mean"])
    assert bounded["bound_c"] == lowest["bound_c"]
    assert {cell["dataset"] for cell in results["cells"]} == {"lrim"}
    assert results["config"]["input_dropout"] == 0
    best = min(results["cells"], key=lambda cell: cell["score_mean"])
    assert f"the best is “{network_name(best['remedy'])}" in out
    page = (tmp_path / "index.html").read_text()
    for text in ("constant predictor", "within 1 hop", "oracle"):
        assert text in out
        assert text in page
    assert "test mse" in page
    assert "accuracy" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)

"""--recipe: a paper's settings where nothing else is said, what is said otherwise, and what is not taken over."""

import json
import math

import pytest

from jaxgnn.commands.main import _parse, main
from jaxgnn.commands.recipes import RECIPES, described, with_recipe
from jaxgnn.commands.setting import network
from jaxgnn.commands.train import TrainCommand


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("dataset", [None, "citeseer", "pubmed", "minesweeper", "roman-empire"])
def test_every_recipe_is_a_network_and_a_training(name, dataset):
    parsed = _parse(["train", "--recipe", name, *([] if dataset is None else ["--dataset", dataset])])
    model = network(parsed.model, parsed.runs.layer_options)
    assert model.depth == parsed.model.depth
    record = described(name, "train", parsed)
    assert record["otherwise"] == {}
    assert record["without"] == list(RECIPES[name].without)


def test_the_numbers_are_the_papers():
    kipf = _parse(["train", "--recipe", "kipf2017"])
    assert (kipf.model.layer, kipf.model.depth, kipf.model.width, kipf.model.ends) == ("gcn", 2, 16, "layer")
    assert (kipf.model.dropout, kipf.model.input_dropout, kipf.source.features) == (0.5, 0.5, "row")
    assert (kipf.optimisation.learning_rate, kipf.optimisation.l2, kipf.optimisation.steps) == (0.01, 5e-4, 200)
    gat = _parse(["train", "--recipe", "velickovic2018"])
    layer = network(gat.model, gat.runs.layer_options).layer
    assert (layer.heads, layer.attention_dropout, layer.use_bias, gat.model.activation) == (8, 0.6, True, "elu")
    assert (gat.optimisation.learning_rate, gat.optimisation.patience) == (5e-3, 100)
    gcnii = network(*(lambda c: (c.model, c.runs.layer_options))(_parse(["train", "--recipe", "chen2020"])))
    assert (gcnii.depth, gcnii.layer.alpha, gcnii.layer.theta, gcnii.dropout) == (64, 0.1, 0.5, 0.6)
    platonov = _parse(["train", "--recipe", "platonov2023", "--dataset", "minesweeper"])
    assert (platonov.source.metric, platonov.source.features, platonov.model.width) == ("roc_auc", "raw", 512)
    assert math.isclose(platonov.optimisation.learning_rate, 3e-5)


def test_the_command_line_goes_before_the_file_and_the_file_before_the_recipe(tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text('recipe = "velickovic2018"\nbias = false\nlearning_rate = 0.1\nwidth = 32')
    found = _parse(["train", "--config", str(file), "--width=24", "--dataset", "karate"])
    assert (found.model.bias, found.optimisation.learning_rate, found.model.width) == (False, 0.1, 24)
    assert (found.source.dataset, found.model.dropout) == ("karate", 0.6)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "as asked for: bias=False, width=24, learning-rate=0.1" in line
    assert "not taken over: patience with loss and score" in line
    assert _parse(["train", "--recipe", "velickovic2018", "--no-bias"]).model.bias is False
    other = _parse(["train", "--recipe", "velickovic2018", "--layer", "gcn"])
    assert (other.model.layer, other.runs.layer_options) == ("gcn", ())


def test_what_a_command_has_no_option_for_is_said(capsys):
    found = _parse(["study", "--recipe", "chen2020"])
    assert (found.config.depths, found.config.layer, found.config.input_dropout) == ((64,), "gcnii", 0.6)
    line = capsys.readouterr().err
    assert "jaxgnn study has no option for layer-options alpha=0.1,theta=0.5, dropout 0.6, patience 100" in line


def test_the_recipe_is_recorded_and_makes_no_other_run(tmp_path, capsys):
    command = ["train", "--recipe", "kipf2017", "--dataset", "karate", "--steps", "3", "--seeds", "2"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / "config.json").read_text())["notes"]["recipe"]
    assert kept["name"] == "kipf2017"
    assert kept["otherwise"] == {"steps": 3}
    assert len(kept["without"]) == 2
    assert json.loads((tmp_path / "results.json").read_text())["notes"]["recipe"] == kept
    results = (tmp_path / "results.json").read_bytes()
    assert json.loads((tmp_path / "command.json").read_text())["options"]["recipe"] == "kipf2017"
    assert main(["train", "--config", str(tmp_path / "command.json"), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "results.json").read_bytes() == results
    bare = ["--dataset", "karate", "--ends", "layer", "--width", "16", "--dropout", "0.5", "--input-dropout", "0.5"]
    bare += ["--activation", "relu", "--optimiser", "adam", "--learning-rate", "0.01", "--l2", "5e-4"]
    assert main(["train", *bare, "--steps", "3", "--seeds", "2", "--out", str(tmp_path)]) == 0
    capsys.readouterr()


def test_a_recipe_that_is_not_known(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--recipe", "kipf2016"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxgnn: recipe='kipf2016' is not known, did you mean 'kipf2017'? allowed are kipf2017, ")
    assert main(["bench", "--recipe", "kipf2017"]) == 2
    assert "jaxgnn bench takes none, train, probe, spectrum and study do" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert with_recipe(["--depth", "3"], TrainCommand, "train") == ["--depth", "3"]

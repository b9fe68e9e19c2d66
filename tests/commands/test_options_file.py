"""--config: a command's options from a file, beside those of the command line, and those that a folder keeps."""

import json

import pytest

from jaxgnn.commands.main import _parse, main


def parsed(tmp_path, text, *arguments, name="run.toml", command="train"):
    path = tmp_path / name
    path.write_text(text)
    return _parse([command, "--config", str(path), *arguments])


def test_a_file_says_what_the_command_line_does_and_the_command_line_goes_first(tmp_path):
    text = """
    dataset = "karate"
    depth = 3
    residual = "identity"
    learning_rate = 0.02
    share-weights = true
    loops = true
    [ssm]
    modulus = 0.5
    """
    found = parsed(tmp_path, text, "--depth=4", "--seeds", "2")
    line = "--dataset karate --depth 4 --residual identity --learning-rate 0.02 --share-weights --loops True"
    assert found == _parse(["train", *line.split(), "--modulus", "0.5", "--seeds", "2"])
    assert (found.model.depth, found.runs.seeds, found.model.ssm.modulus) == (4, 2, 0.5)
    several = parsed(tmp_path, 'depths = [2, 8]\nremedies = ["none", "residual"]', command="study")
    assert several.config.depths == (2, 8)
    assert several.config.remedies == ("none", "residual")


def test_a_runs_folder_keeps_its_options_and_they_run_again_to_the_same(tmp_path, capsys):
    command = ["train", "--dataset", "karate", "--depth", "2", "--width", "4", "--steps", "3", "--seeds", "2", "--json"]
    assert main([*command, "--residual", "identity", "--out", str(tmp_path / "one")]) == 0
    kept = json.loads((tmp_path / "one" / "command.json").read_text())
    assert kept["command"] == "train"
    assert kept["options"]["residual"] == "identity"
    assert not {"out", "json"} & set(kept["options"])
    assert main(["train", "--config", str(tmp_path / "one" / "command.json"), "--out", str(tmp_path / "two")]) == 0
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert one["rows"] == two["rows"]
    assert main(["study", "--config", str(tmp_path / "one" / "command.json")]) == 2
    assert "the options are those of jaxgnn train, not of jaxgnn study" in capsys.readouterr().err


REFUSED = {
    "unknown": ("deptth = 3", "'deptth' is no option of jaxgnn train, did you mean 'depth'?"),
    "no toml": ("depth 3", "the options cannot be read: it is no toml"),
    "a flag": ('share_weights = "yes"', "share-weights is 'yes': true and false are allowed"),
    "a value": ("depth = 2024-01-01", "depth is datetime.date(2024, 1, 1): a number, a text, true, false or a list"),
    "out of range": ("depth = 0", "depth=0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_refused(case, tmp_path, capsys):
    text, sentence = REFUSED[case]
    (tmp_path / "run.toml").write_text(text)
    assert main(["train", "--config", str(tmp_path / "run.toml")]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["train", "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml: the options cannot be read: No such file or directory" in capsys.readouterr().err
    assert main(["train", "--config"]) == 2
    assert "--config needs a file" in capsys.readouterr().err

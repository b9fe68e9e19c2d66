"""--help is short, true and quick; --help-all is everything; what is misspelt is answered with what may be meant."""

import importlib
import resource
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields, is_dataclass
from typing import get_type_hints

import pytest

from jaxgnn.commands.help import SHORT, short
from jaxgnn.commands.main import COMMANDS, _parse, main
from jaxgnn.commands.options_file import options_of
from jaxgnn.host.spelling import meant

_WITH_OPTIONS = [name for name in SHORT if name != "data"]


def kind(name):
    module, _, of_module = COMMANDS[name][0].partition(".")
    return getattr(importlib.import_module(f"jaxgnn.commands.{module}"), of_module)


def defaults(command):
    """Every option's default, of the groups' as well."""
    found = {}
    for one in fields(command):
        value = one.default if one.default is not MISSING else one.default_factory()
        name = one.name.rstrip("_").replace("_", "-")
        found |= defaults(value) if is_dataclass(value) else {name: getattr(command, one.name, value)}
    return found


def test_every_command_has_a_short_help():
    assert list(SHORT) == [name for name in COMMANDS if name in SHORT] == list(COMMANDS)


@pytest.mark.parametrize("name", _WITH_OPTIONS)
def test_the_short_help_is_true(name):
    _, options, examples, _ = SHORT[name]
    command = kind(name)
    known, values = dict(options_of(command)), defaults(command())
    for option, text in options.items():
        assert option.removeprefix("no-") in known, option
        if text.endswith("]"):
            value = values[option]
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            assert text.rpartition("[")[2] == f"{shown}]", option
    assert len(options) <= 14
    assert len(examples) == 3


@pytest.mark.parametrize("example", [e for name in SHORT for e in SHORT[name].examples if "--config" not in e])
def test_the_examples_are_commands(example):
    program, *arguments = shlex.split(example)
    assert program == "jaxgnn"
    assert _parse(arguments) is not None


@pytest.mark.parametrize("name", SHORT)
def test_it_fits_a_screen_and_names_the_rest(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--depth", "3", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text == short(name) + "\n"
    lines = text.splitlines()
    assert len(lines) <= 26
    assert max(map(len, lines)) <= 120
    assert f"jaxgnn {name} --help-all" in lines[-1]


def test_help_all_shows_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help-all"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{option}" in text for option, _ in options_of(kind("train")))


def test_it_takes_less_than_a_second_of_cpu():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "jaxgnn", "train", "--help"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("trian", "command 'trian' is not known, did you mean 'train'? allowed are study, diagnose, "),
        ("data lst", "data 'lst' is not known, did you mean 'list'? allowed are list, fetch"),
        ("train --depht 3", "option --depht is not known, did you mean --depth? see jaxgnn train --help-all"),
        ("train --learning_rat=3", "option --learning-rat is not known, did you mean --learning-rate? see "),
        ("train --zzzz", "option --zzzz is not known: see jaxgnn train --help-all"),
        ("probe --layer GNC", "layer='GNC' is not known, did you mean 'gcn'? allowed are gcn, mlp, "),
        ("train --dataset roman-empre", "unknown data set 'roman-empre' (did you mean 'roman_empire'?); allowed: "),
        ("train --optimiser adma", "invalid choice 'adma' for argument '--optimiser', did you mean 'adam'? Expected "),
        ("spectrum --method krilov", "invalid choice 'krilov' for argument '--method', did you mean 'krylov'? Expe"),
        ("train --norm pairnrom", "norm='pairnrom' is not known, did you mean 'pairnorm'? allowed are none, layer, "),
        ("train --grid bond_c=1", "grid option 'bond_c' is not known, did you mean 'bound_c'? allowed are learning_"),
        ("train --layer gat --layer-options head=2", "layer option 'head' is not known, did you mean 'heads'? allow"),
        ("study --remedies residul", "remedy 'residul' is not known, did you mean 'residual'? allowed are none, "),
        ("check --statements fixedpoint", "statement 'fixedpoint' is not known, did you mean 'fixed_point'? allowed"),
        ("reproduce park2024/similarty", "'park2024/similarty' is not known, did you mean 'park2024/similarity'? al"),
        ("reproduce keriven", "'keriven' is not known, did you mean 'keriven2025'? allowed are park2024, "),
        ("reproduce park2024 --preset smok", "invalid choice 'smok' for argument '--preset', did you mean 'smoke'? "),
    ],
)
def test_what_may_be_meant_is_said_in_one_sentence(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"jaxgnn: {said}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_near():
    assert meant("Roman-Empire", ["roman_empire", "cora"]) == ", did you mean 'roman_empire'?"
    assert meant(3, ["roman_empire"]) == meant("x", []) == ":"


def test_the_types_of_the_options_are_known():
    for name in _WITH_OPTIONS:
        assert get_type_hints(kind(name))


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_options_and_values(shell, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--tyro-print-completion", shell])
    assert not stop.value.code
    script = capsys.readouterr().out
    assert all(f"{name}" in script for name in COMMANDS)
    assert "--residual-scale" in script
    with pytest.raises(SystemExit):
        main(["--tyro-write-completion", shell, str(tmp_path / "_jaxgnn")])
    assert (tmp_path / "_jaxgnn").read_text().rstrip() == script.rstrip()

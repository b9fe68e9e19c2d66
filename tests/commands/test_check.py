import json

import numpy as np
import pytest

from jaxgnn.commands import check as checking
from jaxgnn.commands import main as cli
from jaxgnn.commands.check import CheckConfig
from jaxgnn.theory import STATEMENTS
from jaxgnn.theory.statement import About, Statement

FAST = ("--statements", "spectral_law", "--widths", "4", "--depths", "2", "--seeds", "2")


def test_the_command_prints_and_writes_what_it_found(tmp_path, capsys):
    assert cli.main(["check", *FAST, "--json", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    results = json.loads(printed.splitlines()[-1])
    assert results == json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["statements"]["spectral_law"]["cases"] == 2
    assert "All 1 statements hold, on 2 random cases" in printed


def test_a_statement_that_fails_is_exit_code_1(monkeypatch, capsys):
    about = About("pi is 3", "nobody")
    false = Statement(*about, "|pi - 3| <= 0", lambda: about.equal((), np.pi, 3.0, 0.1), lambda rng, shape: (), {})
    monkeypatch.setitem(STATEMENTS, "pi", false)
    assert cli.main(["check", "--statements", "pi", "--seeds", "1", "--widths", "4", "--depths", "2"]) == 1
    assert "FAILS on 1" in capsys.readouterr().out


def test_findings_are_the_same_for_any_number_of_cores():
    names = ("spectral_law", "fixed_point", "plateau")
    one, three = (
        checking.check(CheckConfig(statements=names, widths=(4,), depths=(2,), seeds=1, cores=cores))
        for cores in (1, 3)
    )
    assert list(one) == list(three) == list(names)
    assert str(one) == str(three)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"statements": ("gravity",)}, "statement 'gravity' is not known: allowed are representation_smoothing"),
        ({"graph": "moon"}, "graph='moon' is not known: allowed are random, csbm"),
        ({"widths": ()}, "widths=: allowed are"),
        ({"depths": (2, 0)}, "depths=2,0: allowed are"),
        ({"seeds": 0}, "seeds=0: allowed are 1 and more"),
    ],
)
def test_options_are_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        CheckConfig(**options)


def test_an_unwritable_folder_is_found_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["check", *FAST, "--out", str(tmp_path / "file")]) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_a_statement_that_never_speaks_is_not_said_to_hold():
    config = CheckConfig(graph="karate", widths=(200,), depths=(3,), seeds=1, statements=("linear_spectrum",))
    findings = checking.check(config)
    assert findings["linear_spectrum"].spoke == 0
    assert checking.table(findings)[0][-1] == "silent: n d = 6800: the exact spectrum is taken up to 4000"
    assert "0 of 1 statements hold; silent here: spectrum of a linear layer" in checking.headline(findings)


def test_a_data_sets_graph_is_its_largest_component():
    (shape,) = CheckConfig(graph="karate", widths=(4,), depths=(3,)).shapes()
    assert shape[:3] == (34, 4, 3)
    assert shape.graph.number_of_edges() == 78
    config = CheckConfig(graph="karate", widths=(4,), depths=(3,), seeds=2, statements=("forward_smoothing",))
    (finding,) = checking.check(config).values()
    assert finding.passed
    assert finding.spoke == 2

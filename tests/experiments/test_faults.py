"""The tool that plants faults, on a package of one function; and that every listed fault still applies."""

import ast
import json
from pathlib import Path

import pytest

import jaxgnn
from jaxgnn.experiments.bench.faults import __main__ as command
from jaxgnn.experiments.bench.faults import plant, rooms
from jaxgnn.experiments.bench.faults.fault import Fault, NotApplicableError, faults

ROOT = Path(jaxgnn.__file__).absolute().parents[1]
DOUBLE, TEST = "jaxgnn/double.py", "tests/test_double.py"
CAUGHT = Fault(DOUBLE, "2 * x", "3 * x", TEST)
SURVIVING = Fault(DOUBLE, "2 * x", "x + x", TEST)
EQUIVALENT = Fault(DOUBLE, "x: int", "x", TEST, "annotations change nothing")
ABSENT = Fault(DOUBLE, "4 * x", "3 * x", TEST)
UNTESTED = Fault(DOUBLE, "2 * x", "5 * x", "tests/test_failing.py")


@pytest.fixture
def checkout(tmp_path):
    """A package named jaxgnn with one function, and a test of it."""
    root = tmp_path / "checkout"
    files = {
        "jaxgnn/__init__.py": "",
        DOUBLE: "def double(x: int):\n    return 2 * x\n",
        TEST: "from jaxgnn.double import double\n\n\ndef test_double():\n    assert double(3) == 6\n",
        "tests/test_failing.py": "def test_failing():\n    assert False\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_faults_are_caught_survive_and_do_not_apply_and_are_kept(checkout, tmp_path, capsys):
    before = plant.digest(checkout)
    config = command.Config(root=checkout, out=tmp_path / "out", jobs=2)
    every = [CAUGHT, SURVIVING, EQUIVALENT, ABSENT, UNTESTED]
    outcomes = {outcome.fault: outcome for outcome in command.run(config, every)}
    assert [outcomes[fault].result for fault in every] == [
        plant.CAUGHT,
        plant.SURVIVED,
        plant.EQUIVALENT,
        plant.NOT_APPLICABLE,
        plant.NOT_RUN,
    ]
    assert outcomes[CAUGHT].by == f"{TEST}::test_double"
    assert outcomes[CAUGHT].line == 2
    assert "occurs 0 times" in outcomes[ABSENT].by
    assert "exits 1 without it: tests/test_failing.py::test_failing" in outcomes[UNTESTED].by
    said = "faults planted 5, caught 1, equivalent 1, SURVIVED 1, does not apply 1, no result 1"
    assert command.summary(list(outcomes.values())) == said
    assert plant.digest(checkout) == before
    printed = capsys.readouterr().out
    assert f"| {DOUBLE}:2 | `2 * x -> 3 * x` | caught | {TEST}::test_double |" in printed
    assert "| equivalent | annotations change nothing |" in printed
    # What was measured is not measured again, until the sources change.
    seconds = {
        row["new"]: row["seconds"] for row in json.loads((config.out / "results.json").read_text())["faults"].values()
    }
    kept = command.run(config, [CAUGHT, SURVIVING])
    assert [outcome.seconds for outcome in kept] == [seconds["3 * x"], seconds["x + x"]]
    (checkout / TEST).write_text((checkout / TEST).read_text().replace("== 6", "in (6, 9)"))
    assert [outcome.result for outcome in command.run(config, [CAUGHT])] == [plant.SURVIVED]


def test_a_package_that_breaks_is_no_result(checkout):
    broken = Fault(DOUBLE, "return", "return (", TEST)
    (outcome,) = plant.plant(checkout, [broken], jobs=1, limit=60.0)
    assert outcome.result == plant.NOT_RUN
    assert outcome.by.startswith("pytest exits 2 with it")


def test_a_fault_replaces_a_text_that_stands_once():
    fault = Fault("a.py", "x", "y", "tests")
    assert fault.planted("x + 1") == "y + 1"
    for text in ("1", "x + x"):
        with pytest.raises(NotApplicableError, match=f"occurs {text.count('x')} times"):
            fault.planted(text)
    with pytest.raises(NotApplicableError, match="by itself"):
        Fault("a.py", "x", "x", "tests").planted("x")
    assert faults("a.py", "tests", ("x", "y"), ("y", "z", "so")) == (fault, Fault("a.py", "y", "z", "tests", "so"))


def test_the_command_lists_and_refuses(tmp_path, capsys):
    assert command.main(["--list", "--only", "theory/plateau"]) == 0
    assert "jaxgnn/theory/plateau.py:" in capsys.readouterr().out
    for arguments, sentence in (
        (["--only", "abacus"], "only='abacus' is in none of the"),
        (["--jobs", "-1"], "jobs=-1: allowed are 0 and more"),
        (["--root", str(tmp_path)], "has no folder tests: a checkout is needed"),
    ):
        assert command.main(arguments) == 2
        assert sentence in capsys.readouterr().err


def test_every_listed_fault_applies_and_is_a_program():
    assert len(set(rooms.FAULTS)) == len(rooms.FAULTS)
    for fault in rooms.FAULTS:
        ast.parse(fault.planted((ROOT / fault.path).read_text()))
        assert (ROOT / fault.tests.split()[0].partition("::")[0]).exists(), fault

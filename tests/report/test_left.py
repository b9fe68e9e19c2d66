"""Where standard error is no terminal, a long command says once what is left, as a range."""

import time

import pytest

from jaxgnn.report.terminal import progress_bar


@pytest.fixture
def told(monkeypatch, capsys):
    """Reports (seconds, label, done) out of 100, and what is printed of them."""

    def run(*reports):
        clock = iter([seconds for seconds, *_ in reports])
        with progress_bar() as report:
            monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
            for _, label, done in reports:
                report(label, done, 100)
            monkeypatch.undo()
        return capsys.readouterr().err.splitlines()

    return run


def test_what_is_left_is_said_once_without_what_compiling_took(told):
    lines = told((0, "training", 0), (50, "training", 10), (52, "training", 20), (54, "training", 30))
    assert lines == ["  0%  training", " 20%  training: 10 s to 26 s left"]


def test_compiling_is_the_first_report_of_what_follows(told):
    lines = told((0, "compiling", 0), (50, "training", 10), (52, "training", 20))
    assert lines == ["  0%  compiling", " 10%  training", " 20%  training: 10 s to 26 s left"]


def test_minutes(told):
    lines = told((0, "training", 0), (50, "training", 10), (110, "training", 20))
    assert lines[1] == " 20%  training: 5 min to 13 min left"


def test_what_is_short_and_what_stands_still_is_not_worth_a_line(told):
    assert told((0, "a", 0), (1, "a", 10), (2, "a", 20)) == ["  0%  a"]
    assert told((0, "a", 0), (0, "b", 0), (90, "c", 50)) == ["  0%  a", "  0%  b", " 50%  c"]
    assert told((0, "a", 10), (1, "a", 20)) == [" 10%  a"]

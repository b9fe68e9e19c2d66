"""Ctrl-C and SIGTERM: what is done is kept, exit codes say what happened, and a run goes on to the same numbers."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from jaxgnn.commands import check as checking
from jaxgnn.commands.main import main
from jaxgnn.host import interrupts

TRAIN = ["train", "--dataset", "karate", "--depth", "2", "--width", "4", "--seeds", "2", "--dropout", "0.2"]
LONG = [*TRAIN, "--steps", "2000"]
SAID = "jaxgnn: stopping where nothing is lost; once more stops at once\n"


def started(arguments, wait_for, **environment):
    """A command as a process, and its first line on standard error that starts with some words."""
    command = [sys.executable, "-m", "jaxgnn", *arguments]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=os.environ | environment)
    while not re.search(wait_for, line := process.stderr.readline()):
        assert line, process.communicate()
    return process


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_a_training_that_is_terminated_goes_on_and_nobody_else_may_meanwhile(tmp_path, capsys):
    out, whole = tmp_path / "run", tmp_path / "whole"
    process = started([*LONG, "--out", str(out)], "training")
    assert main([*LONG, "--out", str(out)]) == 2
    refused = (
        rf"jaxgnn: {out} is in use by another process \(process {process.pid} on .*\): wait until it is done, or .*"
    )
    assert re.fullmatch(refused, capsys.readouterr().err.strip())
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 143, err
    assert err.startswith(SAID)
    assert f"jaxgnn: interrupted: the same command goes on from {out / 'checkpoints'}\n" in err
    steps = max(int(p.name) for p in (out / "checkpoints").iterdir())
    assert 0 < steps == len(history(out)) < 2000
    assert main([*LONG, "--out", str(out)]) == main([*LONG, "--out", str(whole)]) == 0
    assert history(out) == history(whole)
    found, right = (json.loads((folder / "results.json").read_text())["rows"] for folder in (out, whole))
    assert found == right


def test_ctrl_c_while_compiling_is_no_crash(tmp_path):
    """What is compiled is not in a cache; the interpreter once crashed at its end in half of such cases."""
    process = started([*LONG, "--out", str(tmp_path / "run")], "compiling", JAX_COMPILATION_CACHE_DIR=str(tmp_path))
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.count("jaxgnn: interrupted: ") == 1


def test_a_second_signal_ends_a_command_that_is_in_compiled_code():
    code = "import os; import numpy as np; from jaxgnn.host import interrupts\n"
    code += "with interrupts.of_command():\n"
    code += "    print('no end'); os.write(1, b'in\\n'); np.linalg.svd(np.random.rand(4000, 4000))"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True, env=buffered)
    assert process.stdout.readline() == "in\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == SAID
    time.sleep(2 * interrupts._ONE_PRESS)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (143, "no end\n", "")  # what was said before has been written


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_stops_between_its_parts(tmp_path, monkeypatch, capsys, number, code, cores):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    examined = []

    def examine(statement, shapes, **options):
        examined.append(statement)
        os.kill(os.getpid(), number)
        time.sleep(0.1)

    monkeypatch.setattr(checking, "examine", examine)
    assert main(["check", "--cores", str(cores), "--out", str(tmp_path)]) == code
    assert 1 <= len(examined) <= cores
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.splitlines()[-1].startswith("jaxgnn: interrupted: ")


def test_a_signal_when_all_is_done_still_says_so(monkeypatch, capsys):
    monkeypatch.setattr("jaxgnn.commands.data.describe", lambda: signal.raise_signal(signal.SIGINT) or [])
    assert main(["data", "list", "--json"]) == 130
    captured = capsys.readouterr()
    assert captured.out == "[]\n"
    assert captured.err.endswith("jaxgnn: interrupted: all was done\n")


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of nohup and of jobs in the background
    try:
        with interrupts.of_command() as stop, interrupts.deferred() as inner:
            signal.raise_signal(signal.SIGINT)
            assert not stop.wanted
            assert not inner.wanted
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_inner_context_gets_the_signals_back_and_stops_the_command_at_its_end():
    def training():
        with interrupts.deferred() as stop:
            signal.raise_signal(signal.SIGTERM)
            interrupts.check()  # not here: the training has not saved
            assert stop.wanted

    with interrupts.of_command() as stop:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as jax.distributed does when it starts
        with pytest.raises(KeyboardInterrupt):
            training()
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    interrupts.check()


def test_an_error_of_the_body_comes_before_the_signal():
    def failing(error):
        with interrupts.deferred():
            if isinstance(error, ValueError):
                signal.raise_signal(signal.SIGINT)
            raise error

    with pytest.raises(ValueError, match="of the body"):
        failing(ValueError("of the body"))
    with pytest.raises(KeyboardInterrupt, match="of the body"):
        failing(KeyboardInterrupt("of the body"))

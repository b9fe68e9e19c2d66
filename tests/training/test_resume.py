"""A run that was interrupted and started again is, bit for bit, the run that was not."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.training import folder as module

STEPS = 45
ENDS = [10, 20, 30, 40, 45]  # where progress is told and a checkpoint can be


def problem(**changes):
    """Everything that has a state: batch norm, power iterations, dropout, momenta, a plateau."""
    ds = csbm(num_nodes=30, num_features=4, train_per_class=4, average_degree=4.0)
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    model = jg.DeepGNN(layer="gcn", depth=2, width=4, out=3, norm="batch", bound="spectral", dropout=0.3)
    options = {"seeds": 2, "schedule": "plateau", "plateau": 3, "learning_rate": 0.02}
    return {"model": model, "task": task, "steps": STEPS} | options | changes


def train(out, progress=None, **changes):
    return jg.train(**problem(**changes), out=out, progress=progress)


def interrupted(out, at, **changes):
    """A run stopped by an exception when step `at` is done."""

    def progress(done):
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(out, progress, **changes)


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def lines(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def assert_history_is_whole(folder, result):
    """Each step once, in order, with the result's numbers."""
    found = lines(folder)
    assert [line["step"] for line in found] == list(range(result.history.train_loss.shape[1]))
    for name, values in result.history._asdict().items():
        on_disk = np.array([line[name] for line in found], np.float32)  # null is NaN
        np.testing.assert_array_equal(on_disk, values.T)


def steps_kept(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit())


@pytest.fixture
def every_chunk(monkeypatch):
    """A checkpoint after every few steps."""
    monkeypatch.setattr(module, "_SECONDS", -1.0)


@pytest.fixture(scope="module")
def whole():
    """The run that nothing interrupts, without a folder."""
    return train(None)


def test_the_run_under_test_uses_what_must_be_restored(whole):
    assert (whole.best_step > 10).any()
    assert (whole.train_loss < whole.history.train_loss[:, 0]).all()
    initial, final = (
        jax.tree.leaves((v["batch_stats"], v["power"])) for v in (whole.initial_params, whole.final_params)
    )
    assert all((a != b).any() for a, b in zip(initial, final, strict=True))


def test_a_folder_changes_no_bit(whole, tmp_path, every_chunk):
    result = train(tmp_path)
    assert_same_bits(result, whole)
    assert_history_is_whole(tmp_path, result)
    assert steps_kept(tmp_path) == ENDS[-2:]


@pytest.mark.parametrize("at", [0, 10, 30, 45])
def test_an_exception_at_any_step_is_made_up_for(whole, tmp_path, every_chunk, at):
    interrupted(tmp_path, at)
    assert max(steps_kept(tmp_path), default=0) == at
    seen = []
    result = train(tmp_path, seen.append)
    assert seen == [at, *(end for end in ENDS if end > at)]  # nothing is done twice
    assert_same_bits(result, whole)
    assert_history_is_whole(tmp_path, result)


def test_several_interruptions_are_made_up_for(whole, tmp_path, every_chunk):
    for at in (10, 20, 20, 40):
        interrupted(tmp_path, at)
    result = train(tmp_path)
    assert_same_bits(result, whole)
    assert_history_is_whole(tmp_path, result)


def test_steps_after_the_last_checkpoint_are_done_again(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", -1.0)
    interrupted(tmp_path, 10)
    monkeypatch.setattr(module, "_SECONDS", 3600.0)
    interrupted(tmp_path, 30)
    assert steps_kept(tmp_path) == [10]
    assert len(lines(tmp_path)) == 30
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 30, "train_lo')  # killed while it wrote
    seen = []
    result = train(tmp_path, seen.append)
    assert seen == [10, 20, 30, 40, 45]
    assert_same_bits(result, whole)
    assert_history_is_whole(tmp_path, result)


@pytest.fixture
def never_due(monkeypatch):
    """No checkpoint but at the end, or when a run is stopped."""
    monkeypatch.setattr(module, "_SECONDS", 3600.0)


def signalled(number, at, seen=None):
    """A progress that sends this process a signal when `at` steps are done."""

    def progress(done):
        if seen is not None:
            seen.append(done)
        if done == at:
            signal.raise_signal(number)

    return progress


@pytest.mark.parametrize("at", [0, 10, 30])
def test_ctrl_c_keeps_all_that_is_done(whole, tmp_path, never_due, at):
    before = signal.getsignal(signal.SIGINT)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, signalled(signal.SIGINT, at, seen))
    assert signal.getsignal(signal.SIGINT) is before
    kept = max(steps_kept(tmp_path), default=0)
    assert kept == seen[-1] <= at + 10
    assert len(lines(tmp_path)) == kept
    seen = []
    result = train(tmp_path, seen.append)
    assert seen[0] == kept
    assert_same_bits(result, whole)
    assert_history_is_whole(tmp_path, result)


def test_a_second_ctrl_c_does_not_wait(tmp_path, never_due):
    def progress(done):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one came back")

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, progress)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_callers_own_is_left_alone(whole, tmp_path):
    reached = []
    before = signal.signal(signal.SIGTERM, lambda *_: reached.append(1))
    try:
        assert_same_bits(train(tmp_path, signalled(signal.SIGTERM, 20)), whole)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert reached == [1]


def test_a_thread_trains_without_handlers(whole, tmp_path):
    with ThreadPoolExecutor(1) as thread:
        assert_same_bits(thread.submit(train, tmp_path).result(), whole)


def test_sigterm_saves_and_ends_the_process_as_it_would_have(whole, tmp_path):
    code = "import runpy, signal, sys, jaxgnn; "
    code += f"tests = runpy.run_path({__file__!r}); "
    code += "tests['train'](sys.argv[1], tests['signalled'](signal.SIGTERM, 20)); print('came back')"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, ""), done.stderr
    assert steps_kept(tmp_path) == [30]
    result = train(tmp_path)
    assert_same_bits(result, whole)
    assert_history_is_whole(tmp_path, result)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw.replace(b"0.", b"1.", 1),
        lambda raw: raw.split(b"\n")[0] + b"\n" + raw,
        lambda raw: raw[:50] + b"\xff\xfe" + raw[50:],
        lambda raw: raw[:50] + "\u2028".encode() + raw[50:],
        lambda raw: raw[:-1],
        lambda raw: raw + raw,
        lambda raw: b"",
        None,
    ],
    ids=["a digit", "a doubled line", "no UTF-8", "U+2028", "no last newline", "twice", "empty", "removed"],
)
def test_the_history_is_the_checkpoints_whatever_becomes_of_the_file(finished_run, damage):
    folder, result, right = finished_run
    path = folder / "history.jsonl"
    path.write_bytes(damage(right)) if damage else path.unlink()
    assert_same_bits(train(folder), result)
    assert path.read_bytes() == right


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    result = train(folder)
    assert_history_is_whole(folder, result)
    return folder, result, (folder / "history.jsonl").read_bytes()


BAD_CONFIGS = [b"null", b"5", b'"grid"', b'["grid"]', b"", b'{"grid": ', b"\xff\xfe", b'{"of": "something else"}']


@pytest.mark.parametrize("content", BAD_CONFIGS)
def test_a_config_is_written_anew_beside_whole_checkpoints(finished_run, content):
    folder, result, _ = finished_run
    right = (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(content)
    assert_same_bits(train(folder), result)
    assert (folder / "config.json").read_bytes() == right


@pytest.mark.parametrize("content", BAD_CONFIGS)
def test_a_config_of_something_else_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"config\.json is not of a run of jaxgnn; choose another folder or remove it$"
    ):
        train(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_bytes() == content


def test_two_runs_in_one_folder_are_refused_and_the_first_goes_on(whole, tmp_path):
    refused = []

    def progress(done):
        if done == 20:
            with ThreadPoolExecutor(1) as thread:
                refused.append(thread.submit(train, tmp_path).exception())

    result = train(tmp_path, progress)
    assert re.search("is in use by another thread of this process: wait until it is done", str(refused[0]))
    assert_same_bits(result, whole)
    assert_history_is_whole(tmp_path, result)


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(whole, tmp_path, every_chunk, monkeypatch):
    append = module.RunFolder.append

    def full(self, done, metrics):
        if done == 20:
            with self._history.open("a") as file:
                file.write('{"step": 20, "train')
            raise OSError(errno.ENOSPC, "No space left on device", str(self._history))
        append(self, done, metrics)

    monkeypatch.setattr(module.RunFolder, "append", full)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path)
    monkeypatch.setattr(module.RunFolder, "append", append)
    result = train(tmp_path)
    assert_same_bits(result, whole)
    assert_history_is_whole(tmp_path, result)


def test_a_seed_that_had_stopped_stays_so(tmp_path, every_chunk):
    model = jg.DeepGNN(layer="gcn", depth=1, width=4, out=3)
    changes = {"model": model, "schedule": "constant", "learning_rate": 0.05, "patience": 3, "seeds": 3}
    uninterrupted = train(None, **changes)
    stops = np.isfinite(uninterrupted.history.train_loss).sum(axis=1)
    at = int(-(-stops.min() // 10) * 10)  # one seed has stopped then, and another goes on
    assert at < stops.max()
    interrupted(tmp_path, at, **changes)
    result = train(tmp_path, **changes)
    assert_same_bits(result, uninterrupted)
    assert_history_is_whole(tmp_path, result)


def test_a_history_that_was_removed_is_written_again(whole, tmp_path, every_chunk):
    interrupted(tmp_path, 30)
    (tmp_path / "history.jsonl").unlink()
    assert_history_is_whole(tmp_path, train(tmp_path))


def test_a_finished_run_called_again_trains_nothing(whole, tmp_path, monkeypatch):
    train(tmp_path)
    before = (tmp_path / "history.jsonl").read_bytes()
    monkeypatch.setattr("jaxgnn.training.drive.advance", None)
    seen = []
    assert_same_bits(train(tmp_path, seen.append), whole)
    assert seen == [STEPS]
    assert (tmp_path / "history.jsonl").read_bytes() == before


def test_the_history_can_be_read_while_it_runs(tmp_path):
    counts = []

    def progress(done):
        found = lines(tmp_path)  # raises where a line is no JSON
        assert [line["step"] for line in found] == list(range(done))
        counts.append(done)

    train(tmp_path, progress)
    assert counts == [0, *ENDS]


@pytest.mark.parametrize("damaged", ["newest", "both"])
def test_a_damaged_checkpoint_is_said_and_made_up_for(whole, tmp_path, every_chunk, damaged):
    interrupted(tmp_path, 30)
    kept = steps_kept(tmp_path)
    assert kept == [20, 30]
    bad = kept[-1:] if damaged == "newest" else kept
    for step in bad:
        files = [p for p in (tmp_path / "checkpoints" / str(step)).rglob("*") if p.is_file()]
        largest = max(files, key=lambda p: p.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
    seen = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = train(tmp_path, seen.append)
    texts = [str(w.message) for w in said if "checkpoint" in str(w.message)]
    assert len(texts) == len(bad)
    for text, step in zip(texts, reversed(bad), strict=True):
        assert f"checkpoints/{step} is damaged" in text
    assert seen[0] == (20 if damaged == "newest" else 0)
    assert_same_bits(result, whole)
    assert_history_is_whole(tmp_path, result)


OTHER = {
    "steps": (lambda task: {"steps": 46}, ": steps is 10 there and 46 here;", True),
    "seed": (lambda task: {"seed": 1}, ": seed is 0 there and 1 here;", False),
    "a rate": (lambda task: {"learning_rate": 0.03}, ": learning_rate is 0.02 there and 0.03 here;", True),
    "a model": (
        lambda task: {"model": problem()["model"].clone(bound_c=0.5)},
        ": bound_c is 1.0 there and 0.5 here;",
        False,
    ),
    "features": (
        lambda task: {"task": jg.tasks.node_classification(*_with_other_features())},
        "; choose another folder or remove it",
        False,
    ),
}


def _with_other_features():
    ds = csbm(num_nodes=30, num_features=4, train_per_class=4, average_degree=4.0)
    x = np.array(ds.x)
    x[-1, -1] += 1e-3
    return ds._replace(x=x), jg.prepare(ds.graph)


@pytest.mark.parametrize("case", OTHER)
def test_other_options_in_the_same_folder_are_refused(tmp_path, case):
    train(tmp_path, steps=10)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    change, named, may_go_on = OTHER[case]
    sentence = f"{tmp_path}/checkpoints holds a run with other options, data, versions or device{named}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}") as error:
        train(tmp_path, **({"steps": 10} | change(problem()["task"])))
    assert str(error.value).endswith("continue_=True (--continue)") == may_go_on
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_run_that_was_killed_goes_on_to_the_same_bits(whole, tmp_path):
    """kill -9 at three random moments, which fall into steps, into the history and into checkpoints."""
    steps = 2000
    code = "import runpy, sys, jaxgnn.training.folder; jaxgnn.training.folder._SECONDS = -1.0; "
    code += f"train = runpy.run_path({__file__!r})['train']; "
    code += f"train(sys.argv[1], lambda done: print(done, flush=True), steps={steps})"
    folder = tmp_path / "run"
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    moments, starts = random.Random(), []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, env=os.environ | cache
        )
        starts.append(int(process.stdout.readline()))
        for _ in range(moments.randint(1, 6)):
            assert process.stdout.readline()
        time.sleep(moments.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert starts[0] == 0 < starts[1] < starts[2] < steps
    seen = []
    result = train(folder, seen.append, steps=steps)
    assert starts[2] < seen[0] < steps
    assert_same_bits(result, train(None, steps=steps))
    assert_history_is_whole(folder, result)

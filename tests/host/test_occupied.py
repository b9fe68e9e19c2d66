"""A folder is one process's, and what killed ones left in it is swept."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxgnn.host import occupied as module
from jaxgnn.host.occupied import occupied

HOLD = (
    "import sys; from jaxgnn.host.occupied import occupied\n"
    "with occupied(sys.argv[1]): print('in', flush=True); sys.stdin.read()"
)
LEFT = (".grid-bound_c.png.34_mqjzl", "figures/.loss.svg.abcdefgh", "cells/.depth-2-none.npz.a1b2c3d4")
NOT_OURS = (".env.template", ".bashrc", "notes.json", ".results.json.swp", "figures/.png.abcdefgh", ".lock-of-others")


@pytest.fixture
def other_process(tmp_path):
    """A process that works in the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=-1, stdout=-1, text=True)
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_refused_by_name_until_it_is_killed(tmp_path, other_process):
    sentence = (
        rf"^{tmp_path} is in use by another process \(process {other_process.pid} on .+\): wait until it is done, or"
    )
    for _ in range(2):
        with pytest.raises(ValueError, match=sentence), occupied(tmp_path):
            pass
    other_process.kill()  # the system gives its lock back
    other_process.wait()
    with occupied(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_done_gives_the_folder_back(tmp_path, other_process):
    other_process.communicate("")
    assert other_process.returncode == 0
    with occupied(tmp_path) as folder:
        assert folder == tmp_path


def test_a_thread_may_enter_its_own_folder_again_and_another_may_not(tmp_path):
    with occupied(tmp_path), ThreadPoolExecutor(1) as thread:
        with occupied(tmp_path / "x" / ".."):
            pass
        with pytest.raises(ValueError, match="is in use by another thread of this process"):
            thread.submit(lambda: occupied(tmp_path).__enter__()).result()
        assert (tmp_path / ".lock").exists()  # the inner one has not given it back
    assert not (tmp_path / ".lock").exists()


def test_only_one_of_many_threads_is_in_a_folder_at_a_time(tmp_path):
    inside, most, refused = [], [], []
    start = threading.Barrier(8)

    def work():
        start.wait()
        for _ in range(20):
            try:
                with occupied(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except ValueError:
                refused.append(1)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work) for _ in range(8)]:
            done.result()
    assert max(most) == 1
    assert len(most) + len(refused) == 160


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path):
    for name in (*LEFT, *NOT_OURS, "checkpoints/.x.json.abcdefgh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    with occupied(tmp_path):
        assert not any((tmp_path / name).exists() for name in LEFT)
    assert all((tmp_path / name).exists() for name in NOT_OURS)
    assert (tmp_path / "checkpoints/.x.json.abcdefgh").exists()


def test_nothing_is_swept_where_another_process_writes(tmp_path, other_process):
    (tmp_path / LEFT[0]).write_text("half of what it is writing")
    with pytest.raises(ValueError, match="in use"), occupied(tmp_path):
        pass
    assert (tmp_path / LEFT[0]).exists()


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def none(file):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(module, "_lock", none)
    with occupied(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    sentence = r"^cannot write to .*/file/run: .*; choose another folder$"
    with pytest.raises(ValueError, match=sentence), occupied(tmp_path / "file" / "run"):
        pass

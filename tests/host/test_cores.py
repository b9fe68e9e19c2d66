import os
import threading
import time

import pytest

from jaxgnn.host import cores
from jaxgnn.host.interrupts import Stop, deferred


def test_physical_cores_respect_affinity_and_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(cores, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    assert cores.physical_cores() == 4  # nothing is known of threads
    for number in range(4):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number % 2},{number % 2 + 2}\n")
    assert cores.physical_cores() == 2
    for quota, expected in {"max 100000": 2, "150000 100000": 1, "50000 100000": 1, "900000 100000": 2}.items():
        (tmp_path / "cpu.max").write_text(quota)
        assert cores.physical_cores() == expected


def test_cores_asked_for():
    assert cores.chosen_cores(3) == 3
    assert cores.chosen_cores(None) == cores.physical_cores() >= 1
    with pytest.raises(ValueError, match=r"cores=0: allowed are 1 and more, whole"):
        cores.chosen_cores(0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_are_in_the_order_of_the_works(count):
    works = [lambda i=i: (time.sleep(0.02 * (3 - i % 3)), i)[1] for i in range(7)]
    assert cores.side_by_side(works, count) == list(range(7))


def test_as_many_run_at_a_time():
    together = threading.Barrier(3, timeout=20)
    assert sorted(cores.side_by_side([together.wait] * 3, 3)) == [0, 1, 2]


def test_an_error_ends_what_has_not_begun():
    begun = []

    def fail():
        raise ValueError("no")

    def later(i):
        begun.append(i)
        time.sleep(0.05)

    works = [fail, *(lambda i=i: later(i) for i in range(20))]
    with pytest.raises(ValueError, match="no"):
        cores.side_by_side(works, 2)
    assert len(begun) < 20


def test_a_stop_reaches_the_threads(monkeypatch):
    """A work that looks for it, as training does, ends with KeyboardInterrupt; so does the call."""
    noted = Stop()
    monkeypatch.setattr("jaxgnn.host.interrupts.Stop", lambda: noted)

    def work():
        with deferred() as stop:
            assert stop is noted
            noted.signal = 2

    with pytest.raises(KeyboardInterrupt):
        cores.side_by_side([work] * 2, 2)

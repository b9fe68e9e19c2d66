import os
import subprocess
import sys
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


PROGRAM = """
import hashlib, sys, jax, numpy as np, jaxgnn as jg
cores, seeds = map(int, sys.argv[1:])
assert jg.use_cores(cores) == cores == len(jax.devices()) == jg.use_cores(cores)
ds = jg.load_dataset("csbm")
task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
model = jg.DeepGNN(depth=3, width=8, out=task.out, dropout=0.2)
found = jg.train(model, task, seeds=seeds, steps=12, record_every=10)
first = jax.tree.map(lambda a: a[:2], (found.params, found.history)), found.record.of_runs(slice(0, 2))
for leaf in jax.tree.leaves(first):
    print(hashlib.sha1(np.ascontiguousarray(leaf).tobytes()).hexdigest())
try:
    jg.use_cores(cores + 1)
except ValueError as error:
    print(error, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def on():
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}

    def run(cores, seeds, **more):
        command = [sys.executable, "-c", PROGRAM, str(cores), str(seeds)]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, timeout=300)

    return run


def test_runs_have_the_same_bits_on_any_number_of_cores(on):
    one, two, alone = on(1, 3), on(2, 3), on(2, 2)  # on two cores: two runs and one, and one each
    assert one.returncode == two.returncode == alone.returncode == 0, one.stderr + two.stderr + alone.stderr
    assert len(one.stdout) > 1000
    assert one.stdout == two.stdout == alone.stdout
    assert "JAX has started with 2 CPU devices, not 3: call use_cores() before the first" in two.stderr


def test_a_number_of_devices_that_flags_set_is_left_as_it_is(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_x=1 --xla_force_host_platform_device_count=5")
    assert cores.use_cores(2) == 5

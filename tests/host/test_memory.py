import os

import jax
import numpy as np
import pytest

import jaxgnn as jg
import jaxgnn.host.memory
from jaxgnn.host.memory import available_bytes, host_bytes, require_memory
from jaxgnn.training import depth_memory


class Device:
    """A device that tells of its memory what it is given."""

    def __init__(self, stats, platform="gpu"):
        self.platform, self._stats = platform, stats

    def memory_stats(self):
        return self._stats


@pytest.fixture
def on_device(monkeypatch):
    """Makes a device the one that jax computes on, as far as memory is concerned."""

    def place(stats, platform="gpu"):
        monkeypatch.setattr(jax, "local_devices", lambda backend=None: [Device(stats, platform)])
        monkeypatch.setattr(jax, "default_backend", lambda: platform)
        monkeypatch.setattr(jaxgnn.host.memory, "host_bytes", lambda: 10**6)

    return place


@pytest.mark.parametrize(
    ("stats", "platform", "expected"),
    [
        ({"bytes_limit": 5000, "bytes_in_use": 1200}, "gpu", 3800),
        ({"bytes_limit": 5000}, "tpu", 5000),
        ({"bytes_limit": 5000, "bytes_in_use": 6000}, "gpu", 0),
        ({"bytes_in_use": 1200}, "gpu", 10**6),
        (None, "gpu", 10**6),
        ({"bytes_limit": 5000}, "cpu", 10**6),
    ],
)
def test_the_memory_asked_for_is_the_devices(on_device, stats, platform, expected):
    on_device(stats, platform)
    assert available_bytes() == expected


def test_what_the_host_holds_is_measured_there(on_device):
    on_device({"bytes_limit": 5000, "bytes_in_use": 0})
    require_memory(5000, "an array", "less")
    with pytest.raises(MemoryError, match="an array needs"):
        require_memory(5001, "an array", "less")
    require_memory(10**6, "a factorisation", "less", on_host=True)
    with pytest.raises(MemoryError, match="a factorisation needs"):
        require_memory(10**6 + 1, "a factorisation", "less", on_host=True)


def test_recomputation_is_chosen_by_the_devices_memory(on_device):
    """The same network on a device with much memory, with some, and with next to none."""
    n = 500
    ring = np.arange(n)
    edges = {"senders": np.r_[ring, (ring + 1) % n], "receivers": np.r_[(ring + 1) % n, ring]}
    graph = jg.prepare(**edges, num_nodes=n)
    model = jg.DeepGNN(layer="gcn", depth=100, width=16, out=2, remat="auto")
    x = np.ones((n, 3), np.float32)
    on_device({"bytes_limit": 2**50, "bytes_in_use": 0})  # what is needed depends on the platform
    needed = {r: depth_memory.estimate(model.clone(remat=r), graph, x).total for r in ("none", "sqrt", "least")}
    chosen = []
    for free in (needed["none"] / 0.6 + 10, needed["sqrt"] / 0.6 + 10, needed["sqrt"] / 0.6 - 10):
        on_device({"bytes_limit": int(free) + 77, "bytes_in_use": 77})
        chosen.append(depth_memory.fitted(model, graph, x).remat)
    assert chosen == ["none", "sqrt", "least"]


def test_a_default_device_is_the_one_asked(monkeypatch):
    monkeypatch.setattr(jaxgnn.host.memory, "host_bytes", lambda: 10**6)
    with jax.default_device(jax.devices("cpu")[0]):
        assert available_bytes() == 10**6
    with jax.default_device("cpu"):
        assert available_bytes() == 10**6


def test_available_memory_is_no_more_than_the_machine_has():
    assert 0 < host_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_does_not_fit_is_refused_with_the_amounts_and_a_way_out(monkeypatch):
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 2**30)
    with pytest.raises(MemoryError, match=r"^a big thing needs 2\.5 GiB, 1\.0 GiB are available: use less instead$"):
        require_memory(5 * 2**29, "a big thing", "less")


def test_what_just_fits_is_allowed(monkeypatch):
    monkeypatch.setattr(jaxgnn.host.memory, "available_bytes", lambda: 1000)
    require_memory(1000, "a thing", "less")
    with pytest.raises(MemoryError):
        require_memory(1001, "a thing", "less")

import os

import pytest

import jaxgnn.memory
from jaxgnn.memory import available_bytes, require_memory


def test_available_memory_is_no_more_than_the_machine_has():
    assert 0 < available_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_does_not_fit_is_refused_with_the_amounts_and_a_way_out(monkeypatch):
    monkeypatch.setattr(jaxgnn.memory, "available_bytes", lambda: 2**30)
    with pytest.raises(MemoryError, match=r"^a big thing needs 2\.5 GiB, 1\.0 GiB are available: use less instead$"):
        require_memory(5 * 2**29, "a big thing", "less")


def test_what_just_fits_is_allowed(monkeypatch):
    monkeypatch.setattr(jaxgnn.memory, "available_bytes", lambda: 1000)
    require_memory(1000, "a thing", "less")
    with pytest.raises(MemoryError):
        require_memory(1001, "a thing", "less")

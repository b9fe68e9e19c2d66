"""What `jaxgnn plan` writes, of a plan that no compiler made: compilers are in tests/targets."""

import json
import re
from types import SimpleNamespace

import pytest

from jaxgnn.commands import plan
from jaxgnn.commands.main import main
from jaxgnn.training.planning import Collective, Plan

PARTS = {"arguments": 2**20, "temporary": 3 * 2**30, "code": 2**14}


@pytest.fixture
def compiled(monkeypatch):
    """Has `jaxgnn plan` find a program that fits, or does not, on one chip."""

    def found(fits):
        peak = 4 * 2**30 if fits else 32 * 2**30
        one = Plan(
            fits,
            peak,
            16 * 2**30,
            PARTS,
            (0.01, 0.02),
            0.005,
            1e12,
            [Collective("all-reduce", 1024, 2.0, 0)],
            (10, 5),
            "least",
            None,
        )
        monkeypatch.setattr(
            plan, "target", lambda name: SimpleNamespace(chip=SimpleNamespace(name="TPU v5e"), on_gpu=True)
        )
        monkeypatch.setattr(plan.planning, "mesh_of", lambda there, **sizes: SimpleNamespace(size=1))
        monkeypatch.setattr(plan.planning, "plan", lambda *args, **options: one)
        monkeypatch.setattr(plan.planning, "deepest", lambda model, found, planned: 128)

    return found


@pytest.mark.parametrize("fits", [True, False])
def test_the_page_says_whether_it_fits_and_what_then(compiled, tmp_path, capsys, fits):
    compiled(fits)
    command = ["plan", "--dataset", "karate", "--depth", "2", "--width", "3", "--out", str(tmp_path), "--json"]
    assert main(command) == (0 if fits else 1)
    printed = capsys.readouterr().out.splitlines()
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["peak_bytes"] == json.loads(printed[-1])["peak_bytes"]
    assert f"page: {tmp_path / 'index.html'}" in printed
    page = re.sub(
        r"<[^>]*>", " ", re.sub(r"<script.*?</script>", "", (tmp_path / "index.html").read_text(), flags=re.S)
    )
    page = re.sub(r"\s+", " ", page)
    assert ("It fits: a device needs 4 GiB" if fits else "It does not fit: a device needs 32 GiB") in page
    assert "TPU v5e has 16 GiB" in page
    assert "A step takes 10 to 20 ms." in page
    assert "Most of what a device holds is temporary." in page
    assert "about 128 layers fit" in page if fits else "--remat least --depth 128" in page
    assert "all-reduce 1 KiB 2 once a step" in page
    assert "receives 10 rows, 2 times what it needs" in page


def test_without_a_folder_nothing_is_written(compiled, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compiled(True)
    assert main(["plan", "--dataset", "karate", "--depth", "2", "--width", "3"]) == 0
    assert "page:" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []

"""Every experiment and benchmark runs at its smallest."""

import dataclasses
import json

import numpy as np
import pytest

from jaxgnn.experiments.bench import compile_time, propagation, seeds, spectrum
from jaxgnn.experiments.keriven2025 import plateau, stationary
from jaxgnn.experiments.park2024 import depth
from jaxgnn.experiments.questions import architectures, expansion, expressivity, normalisations, predictors


def test_plateau_covers_every_initialiser_bias_and_decay():
    results = plateau.run(plateau.SMOKE)
    assert len({row[:3] for row in results.rows}) == 3 * 2 * 3
    assert all(np.isfinite(row.train_loss).all() for row in results.rows)
    assert plateau.table(results).count("\n") == 3 + 18


def test_stationary_compares_gnn_and_mlp_and_goes_on_where_it_was(tmp_path):
    results = stationary.run(stationary.SMOKE, tmp_path)
    assert {cell.setting.layer for cell in results.cells} == {"gcn", "mlp"}
    assert all(cell.stages["stationary"].gradient_norm <= 1e-8 for cell in results.cells)
    page = stationary.write(results, tmp_path).read_text()
    written = json.loads((tmp_path / "results.json").read_text())
    assert {"claim", "evidence", "verdict", "cells", "around"} <= written.keys()
    assert "nan" not in written["evidence"] + written["verdict"]
    assert page.count("<figure>") == len(stationary.plot(results)) == len(list((tmp_path / "figures").glob("*.png")))
    measured = [path.stat().st_mtime_ns for path in sorted((tmp_path / "cells").iterdir())]
    again = stationary.run(stationary.SMOKE, tmp_path)
    assert measured == [path.stat().st_mtime_ns for path in sorted((tmp_path / "cells").iterdir())]
    assert [cell.setting for cell in again.cells] == [cell.setting for cell in results.cells]


def test_stationary_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="remedies='magic' is not known"):
        stationary.Config(remedies=("magic",))
    with pytest.raises(ValueError, match="graph='moon' is not known"):
        stationary.run(dataclasses.replace(stationary.SMOKE, graphs=("moon",)))


def test_depth_has_a_row_with_and_without_a_bound():
    results = depth.run(depth.SMOKE)
    assert [(row.depth, row.bound_c is None) for row in results.rows] == [(2, True), (2, False), (4, True), (4, False)]
    assert all(row.bound_c in (None, 0.1, 1.0) for row in results.rows)
    assert depth.table(results).count("\n") == 3 + 4


def test_seeds_times_every_way_of_running():
    config = seeds.Config(depth=2, width=2, seeds=2, bound_c=(0.5, 1.0), steps=2, rounds=1)
    found = seeds.run(config)
    assert all(value > 0 for value in found.values())
    assert found.keys() == {"one", "map", "vmap"}


def test_compile_time_prints_every_depth():
    assert compile_time.run(compile_time.Config(depths=(2, 4), width=4, rounds=1)).keys() == {2, 4}


def test_propagation_times_every_backend():
    table = propagation.run(propagation.Config(width=2, rounds=1))
    assert all(seconds.keys() == {"padded", "segment", "dense"} for seconds in table.values())


def test_spectra_of_every_method_agree():
    config = spectrum.Config(sizes=(32, 64), d=4, rounds=1, memory=False, methods=("jaxgnn", "jax jacfwd"))
    rows = spectrum.run(config)
    assert [(row.size, row.method) for row in rows] == [(n, m) for n in (32, 64) for m in config.methods]
    assert all(row.difference <= 1e-12 for row in rows)
    assert spectrum.table(rows).count("\n") >= 4


@pytest.mark.parametrize(
    "study",
    [architectures, expansion, expressivity, normalisations, predictors],
    ids=lambda study: study.__name__.rsplit(".", 1)[1],
)
def test_an_open_question_gets_a_page_with_a_verdict(study, tmp_path):
    page = study.write(study.run(study.SMOKE), tmp_path).read_text()
    results = json.loads((tmp_path / "results.json").read_text())
    for part in ("claim", "evidence", "verdict"):
        assert len(results[part]) > 60
        assert "nan" not in results[part].split()
    assert page.count("<figure>") == len(list((tmp_path / "figures").glob("*.png"))) > 0

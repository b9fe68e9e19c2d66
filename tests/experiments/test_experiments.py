"""Every experiment and benchmark runs at its smallest."""

import numpy as np

from jaxgnn.experiments.bench import compile_time, propagation, seeds, spectrum
from jaxgnn.experiments.keriven2025 import plateau
from jaxgnn.experiments.park2024 import depth


def test_plateau_covers_every_initialiser_bias_and_decay():
    results = plateau.run(plateau.SMOKE)
    assert len({row[:3] for row in results.rows}) == 3 * 2 * 3
    assert all(np.isfinite(row.train_loss).all() for row in results.rows)
    assert plateau.table(results).count("\n") == 3 + 18


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

"""Every experiment and benchmark runs at its smallest."""

import numpy as np

from jaxgnn.experiments.bench import compile_time, propagation
from jaxgnn.experiments.keriven2025 import plateau


def test_plateau_covers_every_initialiser_bias_and_decay():
    results = plateau.run(plateau.SMOKE)
    assert len({row[:3] for row in results.rows}) == 3 * 2 * 3
    assert all(np.isfinite(row.train_loss).all() for row in results.rows)
    assert plateau.table(results).count("\n") == 3 + 18


def test_compile_time_prints_every_depth():
    assert compile_time.run(compile_time.Config(depths=(2, 4), width=4, rounds=1)).keys() == {2, 4}


def test_propagation_times_every_backend():
    table = propagation.run(propagation.Config(width=2, rounds=1))
    assert all(seconds.keys() == {"padded", "segment", "dense"} for seconds in table.values())

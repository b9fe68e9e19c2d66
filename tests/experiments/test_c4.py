"""The bound c = 4 beside its twin without the bound: one network where the bound does not act, two where it does."""

import numpy as np
import pytest

from jaxgnn.experiments.park2024 import c4

SETTING = ("csbm", "frobenius_soft", 4, 0.1, 1e-3)


def arms(c):
    config = c4.Config("csbm", 4, c, (4,), (0.1,), (SETTING,), 11, 2)
    return config, [c4.cells(config)[f"{c4._name(*SETTING)}, {arm}"].measure() for arm in c4.ARMS]


def test_where_the_bound_never_acts_its_twin_is_the_same_network():
    config, (bound, twin) = arms(4.0)
    assert c4._most(config, float(twin["first_norm"].max()), 4, 1e-3) < 1
    np.testing.assert_array_equal(bound["score"], twin["score"])
    np.testing.assert_allclose(bound["train_loss"], twin["train_loss"], rtol=1e-6)
    np.testing.assert_allclose(bound["last_norm"], twin["last_norm"], rtol=1e-5)


def test_where_it_acts_they_differ():
    _, (bound, twin) = arms(1e-3)
    assert twin["first_norm"].min() > 1
    assert not np.allclose(bound["train_loss"], twin["train_loss"], rtol=1e-3)


@pytest.mark.parametrize("c", [4.0, 1e-3])
def test_no_weight_moves_farther_than_adam_lets_it(c):
    config, (_, twin) = arms(c)
    assert twin["last_norm"].max() <= c4._most(config, float(twin["first_norm"].max()), 4, 1e-3)

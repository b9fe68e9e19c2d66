import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.jacobian.statistics import schatten


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def diagonal(sigma):
    return jg.jacobian(lambda h: jnp.asarray(sigma, h.dtype) * h, signal(len(sigma)))


def test_exact_statistics_are_the_closed_forms():
    sigma = np.concatenate([np.linspace(3, 0.5, 20), np.zeros(5)])
    found = diagonal(sigma).statistics()
    expected = {
        "mean_square": np.mean(sigma**2),
        "variance_square": np.var(sigma**2),
        "nuclear": sigma.sum(),
        "frobenius": np.sqrt(np.sum(sigma**2)),
        "spectral": 3.0,
        "mean_log": np.mean(np.log(sigma[:20])),
        "condition": 6.0,
        "null_dim": 5,
    }
    for name, value in expected.items():
        estimate = getattr(found, name)
        assert estimate.value == pytest.approx(value, rel=1e-13)
        assert 0 <= estimate.error <= 1e-9


def test_stochastic_statistics_are_within_their_errors():
    M = signal(60, 60, seed=3)  # the probes are drawn with seed 0
    J = jg.jacobian(lambda h: M @ h, signal(60))
    exact, found = J.statistics(), J.statistics("lanczos", probes=64, steps=40)
    for name in ("mean_square", "variance_square", "nuclear", "frobenius", "mean_log"):
        estimate = getattr(found, name)
        assert abs(estimate.value - getattr(exact, name).value) <= 5 * estimate.error
        assert estimate.error > 0
    assert found.spectral.value <= exact.spectral.value * (1 + 1e-12)


def test_statistics_of_nothing():
    J = jg.jacobian(jnp.ones_like, signal(20))
    for method in ("exact", "lanczos"):
        found = J.statistics(method)
        assert found.frobenius.value == found.spectral.value == 0
        assert found.null_dim.value == 20
        assert np.isnan(found.condition.value)


def test_schatten_norms():
    sigma = np.array([3.0, 4.0, 0.0])
    assert schatten(sigma, 1) == 7
    assert schatten(sigma, 2) == pytest.approx(5, rel=1e-15)
    assert schatten(sigma, np.inf) == 4
    with pytest.raises(ValueError, match=r"^p=0.5: allowed are 1 and more, and infinity$"):
        schatten(sigma, 0.5)


def test_an_unknown_method():
    with pytest.raises(ValueError, match=r"^method='magic' is not known: allowed are exact, lanczos$"):
        diagonal(np.ones(3)).statistics("magic")

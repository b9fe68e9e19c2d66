import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgnn as jg
from jaxgnn.jacobian import dense
from jaxgnn.jacobian.dense import errors
from jaxgnn.jacobian.statistics import exact, schatten, stochastic


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
    assert schatten(1e-300 * sigma, 2) == pytest.approx(5e-300, rel=1e-14)
    assert np.isnan([schatten(np.array([np.nan, 1.0]), p) for p in (1, 2, np.inf)]).all()
    with pytest.raises(ValueError, match=r"^p=0.5: allowed are 1 and more, and infinity$"):
        schatten(sigma, 0.5)


def test_an_unknown_method():
    with pytest.raises(ValueError, match=r"^method='magic' is not known: allowed are exact, lanczos$"):
        diagonal(np.ones(3)).statistics("magic")


EPS = np.finfo(float).eps


def test_errors_of_exact_statistics_are_the_derivatives_of_each_number():
    sigma = np.concatenate([np.linspace(3, 0.5, 20), [0.3, 1e-9], np.zeros(5)])
    found, K = exact(sigma, (30, 27), EPS), 27
    e = errors(sigma, EPS)  # of each value
    assert e[0] == 3e-12 > e[-1] > 0
    tolerance = 30 * EPS * 3
    assert found.rank_tolerance == pytest.approx(tolerance, rel=1e-14)
    kept = sigma > tolerance
    assert kept.sum() == 22
    mean = np.mean(sigma**2)
    expected = {
        "mean_square": np.sum(2 * sigma * e) / K,
        "variance_square": np.sum(4 * np.abs(sigma**2 - mean) * sigma * e + 4 * (sigma * e) ** 2) / K,
        "nuclear": np.sum(e),
        "frobenius": np.sqrt(np.sum(e**2)),
        "spectral": e[0],
        "mean_log": np.mean(e[kept] / sigma[kept]),
        "condition": 3 / 1e-9 * (e[21] / 1e-9 + e[0] / 3),
        "null_dim": 0,
    }
    for name, error in expected.items():
        assert getattr(found, name).error == pytest.approx(error, rel=1e-12), name


@pytest.mark.parametrize("sign", [-1, 1])
def test_no_perturbation_within_the_errors_leaves_the_errors_and_some_nearly_do(sign):
    # All values as far off as they may be, up or down, or those above the mean up and those below down.
    sigma = np.linspace(2, 0.1, 40)
    eps = 1e-8  # errors of 1e-6, far above rounding and far below the values
    e = errors(sigma, eps)
    assert (e == 50 * eps * 2).all()
    found = exact(sigma, (40, 40), eps)
    about_mean = np.where(sigma**2 > np.mean(sigma**2), e, -e)
    ends = np.where(sigma > 1, e, -e)
    for name, by in (
        *((name, e) for name in ("mean_square", "nuclear", "spectral", "mean_log")),
        ("frobenius", np.linalg.norm(e) * sigma / np.linalg.norm(sigma)),
        ("variance_square", about_mean),
        ("condition", ends),
    ):
        difference = abs(getattr(exact(sigma + sign * by, (40, 40), eps), name).value - getattr(found, name).value)
        allowed = getattr(found, name).error
        assert 0.95 * allowed <= difference <= (1 + 1e-3) * allowed, name


@pytest.mark.parametrize(("level", "near"), [(0.4, 0), (0.6, 2), (1.4, 2), (1.6, 0)])
def test_null_dimensions_that_rounding_decides(level, near):
    tolerance = 30 * EPS * 2
    found = exact(np.array([2.0, 1.0, level * tolerance, level * tolerance, 0.0]), (30, 5), EPS)
    assert found.null_dim == (1 + 2 * (level < 1), near)


def test_a_rank_in_single_precision_is_that_of_single_precision():
    M = (signal(20, 4) @ signal(4, 20, seed=1)).astype(np.float32)
    found = jg.jacobian(lambda h: M @ h, signal(20).astype(np.float32)).statistics()
    sigma = np.linalg.svd(M.astype(np.float64), compute_uv=False)
    assert found.null_dim == (16, 0)
    assert found.condition.value == pytest.approx(sigma[0] / sigma[3], rel=1e-5)
    assert found.mean_log.value == pytest.approx(np.log(sigma[:4]).mean(), abs=1e-5)
    assert found.spectral.error == pytest.approx(50 * np.finfo(np.float32).eps * sigma[0], rel=1e-6)


@pytest.fixture(scope="module")
def sampled():
    """Quadrature rules of 80 seeds, the statistics of each, and the true ones of the matrix."""
    M = signal(50, 50, seed=3)
    M[:5] = 0
    M[0, 7] = 1e-20  # not a zero row
    J = jg.jacobian(lambda h: M @ h, signal(50))
    rules = [J.quadrature(16, 60, seed=100 + seed) for seed in range(80)]
    assert all(rule.size == 46 for rule in rules)
    sigma = np.linalg.svd(M, compute_uv=False)
    return rules, [stochastic(rule, (50, 50), EPS) for rule in rules], sigma


def true_statistics(sigma):
    kept = sigma[sigma > 1e-10]
    return {
        "mean_square": np.mean(sigma**2),
        "variance_square": np.var(sigma**2),
        "nuclear": sigma.sum(),
        "frobenius": np.linalg.norm(sigma),
        "mean_log": np.log(kept).mean(),
        "null_dim": sigma.size - kept.size,
    }


@pytest.mark.parametrize("name", ["mean_square", "variance_square", "nuclear", "frobenius"])
def test_standard_errors_are_those_of_many_seeds(sampled, name):
    _, each, sigma = sampled
    values, stated = np.array([getattr(found, name) for found in each]).T
    truth = true_statistics(sigma)[name]
    # The spread over seeds is the stated error: sqrt(2 x 80) of them tell it to 8%; the bias is below it.
    assert 0.75 <= values.std(ddof=1) / np.sqrt(np.mean(stated**2)) <= 1.3
    assert abs(values.mean() - truth) <= 4 * values.std() / np.sqrt(80) + 0.3 * values.std()
    assert 0.5 <= np.mean(np.abs(values - truth) <= stated) <= 0.85  # 0.68 of a normal distribution


@pytest.mark.parametrize("steps", [8, 20, 46])
def test_zeros_that_the_steps_do_not_resolve_are_in_the_errors(steps):
    # Ten null vectors, not isolated: the smallest node stands for them, far above the rank tolerance.
    M = signal(50, 50, seed=3)
    M[:, 40:] = M[:, :10]
    J = jg.jacobian(lambda h: M @ h, signal(50))
    sigma = np.linalg.svd(M, compute_uv=False)
    assert (sigma > 1e-9).sum() == 40
    found = J.statistics("lanczos", probes=32, steps=steps)
    assert abs(found.null_dim.value - 10) > 5
    assert abs(found.null_dim.value - 10) <= found.null_dim.error < 40
    assert abs(found.mean_log.value - np.log(sigma[:40]).mean()) <= found.mean_log.error


def with_isolated_zeros():
    U, V = (np.linalg.qr(signal(50, 50, seed=seed))[0] for seed in (1, 2))
    sigma = np.append(np.linspace(1, 0.5, 40), np.zeros(10))
    M = (U * sigma) @ V
    return jg.jacobian(lambda h: M @ h, signal(50)), sigma


def test_zeros_that_are_isolated_are_counted():
    J, sigma = with_isolated_zeros()
    found = J.statistics("lanczos", probes=64, steps=45)
    assert abs(found.null_dim.value - 10) <= 2 * found.null_dim.error < 6
    assert abs(found.mean_log.value - np.log(sigma[:40]).mean()) <= 2 * found.mean_log.error < 0.2


def test_rules_that_are_exhausted_leave_no_doubt():
    for sigma in (np.ones(30), np.repeat([2.0, 1.0], 15)):
        found = diagonal(sigma).statistics("lanczos", probes=16, steps=10)
        assert found.null_dim.value == pytest.approx(0, abs=1e-12)
        assert found.null_dim.error <= 1e-12
        assert abs(found.mean_log.value - np.log(sigma).mean()) <= 4 * found.mean_log.error + 1e-12
        assert found.mean_log.error <= 0.1


@pytest.mark.parametrize("zeros", ["of rows", "isolated"])
def test_stochastic_statistics_written_out(sampled, zeros):
    # From each probe's rule: a number and the standard error of its linearisation over probes.
    size = 46 if zeros == "of rows" else 50
    rule = sampled[0][0] if zeros == "of rows" else with_isolated_zeros()[0].quadrature(16, 36)
    assert ((rule.weights > 0) | (rule.nodes > 0)).all()  # no rule has broken down before its last step
    found = stochastic(rule, (50, 50), EPS)
    s, w = rule.nodes, rule.weights
    K, share = 50, size / 50
    tolerance = 50 * EPS * s.max()
    assert (found.rank_tolerance, rule.total, rule.size) == (pytest.approx(tolerance, rel=1e-12), K, size)
    assert (s <= tolerance).any() == (zeros == "isolated")
    se = lambda each: each.std(ddof=1) / np.sqrt(16)  # noqa: E731
    square, fourth = (share * np.sum(w * s**p, axis=1) for p in (2, 4))
    above = s > tolerance
    counted, logs = np.sum(w * above, axis=1), np.sum(w * np.log(np.where(above, s, 1)), axis=1)
    mean_log = logs.mean() / counted.mean()
    nuclear = share * K * np.sum(w * s, axis=1)
    m = square.mean()
    # The smallest node above the tolerance of each probe may stand for zeros.
    first = [min((x, j) for j, x in enumerate(nodes) if x > tolerance)[1] for nodes in s]
    lowest, weight = s[np.arange(16), first], w[np.arange(16), first]
    assert weight.max() > 1e-3
    rest, rest_logs = counted - weight, logs - weight * np.log(lowest)
    rest_mean = rest_logs.mean() / rest.mean()
    ratio_error = max(
        se(logs - mean_log * counted) / counted.mean(),
        se(rest_logs - rest_mean * rest) / rest.mean(),
    )
    expected = {
        "mean_square": (m, se(square)),
        "variance_square": (fourth.mean() - m**2, se(fourth - 2 * m * square)),
        "nuclear": (nuclear.mean(), se(nuclear)),
        "frobenius": (np.sqrt(K * m), np.sqrt(K / m) / 2 * se(square)),
        "mean_log": (mean_log, abs(mean_log - rest_mean) + ratio_error),
        "null_dim": (K - share * K * counted.mean(), share * K * (weight.mean() + max(se(counted), se(rest)))),
    }
    for name, (value, error) in expected.items():
        assert getattr(found, name) == pytest.approx((value, error), rel=1e-9), name
    assert found.spectral.value == s.max()
    assert np.isnan([found.spectral.error, *found.condition]).all()


@given(st.integers(0, 10**6), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=100, deadline=None)
def test_exact_statistics_of_clustered_spectra_are_within_their_errors(seed, dtype):
    # Values known by construction; the entries are rounded to h's precision.
    rng, m = np.random.default_rng(seed), 40
    eps = float(np.finfo(dtype).eps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_SMALL", 24)
        levels = np.array([1.0, 1.01 * dense._split(m), 0.9 * dense._split(m), 3e-4, 0.0])
        sigma = np.repeat(levels, rng.multinomial(m - 1, [0.7, 0.1, 0.1, 0.05, 0.05]) + np.eye(5, dtype=int)[0])
        U, V = (np.linalg.qr(rng.standard_normal((m, m)))[0] for _ in range(2))
        A = ((U * sigma) @ V).astype(dtype)
        found = exact(dense.singular_values(A), (m, m), eps)
        truth = exact(sigma, (m, m), eps)
    for name in ("mean_square", "variance_square", "nuclear", "frobenius", "spectral", "mean_log", "condition"):
        value, error = getattr(found, name)
        assert abs(value - getattr(truth, name).value) <= error, name
    assert found.null_dim == ((sigma == 0).sum(), 0)

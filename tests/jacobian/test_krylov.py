import numpy as np
import pytest

import jaxgnn as jg


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def with_singular_values(sigma, rows, columns, dtype=np.float64):
    """f and h whose Jacobian has these singular values, and zeros."""
    U, V = (np.linalg.qr(signal(n, n, seed=n))[0][:, : len(sigma)] for n in (rows, columns))
    M = ((U * sigma) @ V.T).astype(dtype)
    return lambda h: M @ h, signal(columns, dtype=dtype)


@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (150, 150), (100, 70), (70, 100)])
def test_the_largest_and_their_bounds(rows, columns):
    sigma = np.sort(np.random.default_rng(3).random(min(rows, columns)))[::-1]
    found = jg.jacobian(*with_singular_values(sigma, rows, columns)).extremes(k=6)
    np.testing.assert_allclose(found.values, sigma[:6], rtol=0, atol=1e-7 * sigma[0])
    assert (found.lower <= sigma[:6] + 1e-13).all()
    assert (found.upper >= sigma[:6] - 1e-13).all()
    assert (found.upper - found.lower <= 1e-7 * sigma[0]).all()


def test_of_a_layer(graphs, random_variables):
    graph = jg.prepare(**graphs.several_components())
    model = jg.DeepGNN(depth=2, width=3, residual="identity", bound="frobenius")
    x = signal(16, 3)
    J = jg.jacobian(*model.layer_fn(random_variables(model, graph, x), graph, x, layer=1, dtype=np.float64))
    sigma = J.singular_values()
    found = J.extremes(k=5)
    assert found.values[0] == pytest.approx(sigma[0], rel=1e-10)
    assert (found.lower <= sigma[:5] * (1 + 1e-13)).all()


def test_fewer_than_k_that_are_not_zero():
    found = jg.jacobian(*with_singular_values([3.0, 2.0, 0.5], 20, 20)).extremes(k=6)
    np.testing.assert_allclose(found.values, [3.0, 2.0, 0.5, 0, 0, 0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.upper, [3.0, 2.0, 0.5, 0, 0, 0], rtol=0, atol=1e-12)


def test_zero_jacobian():
    found = jg.jacobian(lambda h: 0 * h, signal(5, 3)).extremes(k=4)
    for bound in (found.values, found.lower, found.upper):
        np.testing.assert_array_equal(bound, np.zeros(4))


def test_one_copy_of_a_multiple_value_is_found_and_nothing_certified():
    # As documented of a single start vector. So no upper bound may claim to be one.
    found = jg.jacobian(lambda h: 2.0 * h, signal(5, 3)).extremes(k=3)
    np.testing.assert_allclose(found.values, [2, 0, 0], rtol=0, atol=1e-13)
    assert not found.certified.any()


def test_no_more_than_there_are():
    f, h = with_singular_values(np.arange(8.0, 0, -1), 20, 8)
    found = jg.jacobian(f, h).extremes(k=100)
    np.testing.assert_allclose(found.values, np.arange(8, 0, -1), rtol=1e-12)


def test_scale_does_not_matter():
    sigma = np.sort(np.random.default_rng(3).random(30))[::-1]
    for scale in (1e-12, 1e12):
        found = jg.jacobian(*with_singular_values(scale * sigma, 30, 30)).extremes(k=4)
        np.testing.assert_allclose(found.values, scale * sigma[:4], rtol=1e-7)


def test_single_precision():
    sigma = 2.0 ** -np.arange(30)
    found = jg.jacobian(*with_singular_values(sigma, 30, 30, np.float32)).extremes(k=3)
    np.testing.assert_allclose(found.values, sigma[:3], rtol=1e-4)


def test_no_dense_matrix_is_formed(monkeypatch):
    J = jg.jacobian(*with_singular_values([2.0, 1.0], 300, 300))
    monkeypatch.setattr("jaxgnn.memory.available_bytes", lambda: 8 * 300**2)
    np.testing.assert_allclose(J.extremes(k=2, max_steps=20).values, [2, 1], rtol=1e-12)
    with pytest.raises(MemoryError, match=r"a Krylov space of 300 steps for a 300 x 300 .* use fewer steps instead$"):
        J.extremes(k=2, max_steps=1000)


def test_few_steps_leave_wide_bounds_that_hold():
    sigma = 1 - 0.001 * np.arange(150)
    J = jg.jacobian(*with_singular_values(sigma, 150, 150))
    few, many = J.extremes(k=3, max_steps=12), J.extremes(k=3, max_steps=150)
    assert (few.lower <= sigma[:3] + 1e-13).all()
    assert (few.upper - few.lower > 1e-6).all()
    for value, upper in zip(few.values, few.upper, strict=True):  # some singular value lies in between
        assert ((sigma >= value - 1e-13) & (sigma <= upper + 1e-13)).any()
    np.testing.assert_allclose(many.values, sigma[:3], rtol=1e-7)


def test_unknown_ends_and_numbers():
    J = jg.jacobian(lambda h: h, signal(2, 2))
    with pytest.raises(ValueError, match=r"^which='middle' is not known: allowed"):
        J.extremes(which="middle")
    with pytest.raises(ValueError, match=r"^k=0: allowed are 1 and more$"):
        J.extremes(k=0)

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgnn.graphs.segment import rows, segment_mean, segment_sum, tree

SEGMENTS = jnp.array([0, 0, 2, 2, 2])


@pytest.mark.parametrize("is_sorted", [True, False])
def test_sums_and_means_of_each_segment(is_sorted):
    data = jnp.array([[1.0, 2.0], [3.0, 4.0], [1.0, 0.0], [2.0, 0.0], [6.0, 3.0]])
    total = segment_sum(data, SEGMENTS, 4, sorted=is_sorted)
    mean = segment_mean(data, SEGMENTS, 4, sorted=is_sorted)
    np.testing.assert_array_equal(total, [[4, 6], [0, 0], [9, 3], [0, 0]])
    np.testing.assert_array_equal(mean, [[2, 3], [0, 0], [3, 1], [0, 0]])


def test_an_empty_segment_of_nothing_is_zero():
    nothing = jnp.zeros((0, 3))
    np.testing.assert_array_equal(segment_mean(nothing, jnp.zeros(0, jnp.int32), 2), np.zeros((2, 3)))


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 3)])
def test_trailing_axes_are_kept(shape):
    assert segment_mean(jnp.ones(shape), SEGMENTS, 4).shape == (4, *shape[1:])


LENGTHS = ([0, 1, 5, 64, 0, 300, 2, 1, 17], [1], [0, 0, 4], [1000], [3, 0])


@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_a_tree_of_gathers_sums_the_same(lengths, is_sorted):
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(len(lengths)), lengths)
    ids = ids if is_sorted else rng.permutation(ids)
    data = rng.standard_normal((ids.size, 2, 3)) * 10.0 ** rng.integers(-3, 4, (ids.size, 1, 1))
    found = tree(jnp.asarray(data, jnp.float32), jnp.asarray(ids), len(lengths), sorted=is_sorted)
    exact, size = np.zeros((len(lengths), 2, 3)), np.zeros((len(lengths), 2, 3))
    np.add.at(exact, ids, data.astype(np.float32).astype(np.float64))
    np.add.at(size, ids, np.abs(data))
    assert (np.abs(found - exact) <= np.finfo(np.float32).eps * (1 + np.log2(max(lengths))) * size).all()
    top = tree(jnp.asarray(data, jnp.float32), jnp.asarray(ids), len(lengths), sorted=is_sorted, largest=True)
    expected = np.full((len(lengths), 2, 3), -np.inf, np.float32)
    np.maximum.at(expected, ids, data.astype(np.float32))
    np.testing.assert_array_equal(top, expected)


def test_a_tree_keeps_what_is_not_finite_in_its_segment():
    data = jnp.array([1.0, np.nan, 2.0, np.inf, 3.0, 4.0])
    found = tree(data, jnp.array([0, 1, 2, 3, 4, 4]), 6, sorted=True)
    np.testing.assert_array_equal(found, [1, np.nan, 2, np.inf, 7, 0])


def test_a_tree_scatters_nothing_and_for_a_gpu_neither_do_derivatives():
    def loss(data):
        return jnp.sum(segment_sum(rows(data, SEGMENTS, sorted=True) ** 2, SEGMENTS[::-1], 4) ** 2)

    for program in (loss, jax.grad(loss), lambda x: jax.jvp(jax.grad(loss), (x,), (x,))):
        text = jax.export.export(jax.jit(program), platforms=["cuda"])(jnp.ones((3, 2))).mlir_module()
        assert "stablehlo.scatter" not in text
        assert "stablehlo.gather" in text


@pytest.mark.parametrize("is_sorted", [True, False])
def test_sums_and_rows_are_each_others_transposes(is_sorted, x64):
    rng = np.random.default_rng(1)
    ids = np.sort(rng.integers(0, 5, 11)) if is_sorted else rng.integers(0, 5, 11)
    S = np.zeros((5, 11))
    S[ids, np.arange(11)] = 1

    def total(data):
        return segment_sum(data, ids, 5, sorted=is_sorted)

    def taken(X):
        return rows(X, ids, sorted=is_sorted)

    data, X = rng.standard_normal((11, 3)), rng.standard_normal((5, 3))
    np.testing.assert_allclose(total(data), S @ data, atol=1e-12)
    np.testing.assert_array_equal(taken(X), S.T @ X)
    for f, x, M in ((total, data, S), (taken, X, S.T)):
        out, back = jax.vjp(f, x)
        np.testing.assert_allclose(back(out)[0], M.T @ out, atol=1e-12)
        np.testing.assert_allclose(jax.jvp(f, (x,), (x,))[1], M @ x, atol=1e-12)
        batch = rng.standard_normal((4, *x.shape))
        np.testing.assert_allclose(jax.vmap(f)(batch), M @ batch, atol=1e-12)
        np.testing.assert_allclose(jax.jacfwd(f)(x), jax.jacrev(f)(x), atol=1e-12)
    batched = jax.vmap(lambda i: segment_sum(data, i, 5))(jnp.stack([ids, ids[::-1]]))
    np.testing.assert_allclose(batched[0], S @ data, atol=1e-12)

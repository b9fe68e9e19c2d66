from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.host.remat import (
    Policy,
    activation_bytes,
    choose,
    nbytes,
    near_root,
    policy_of,
    residual_bytes,
    scan_in_chunks,
)


@pytest.mark.parametrize(
    ("remat", "policy"),
    [
        (False, Policy(0)),
        ("none", Policy(0)),
        (True, Policy(1)),
        ("block", Policy(1)),
        (1, Policy(1)),
        (7, Policy(7)),
        (np.int64(7), Policy(7)),
        (1000, Policy(100)),  # no more than there are layers
        ("sqrt", Policy(10)),
        ("least", Policy(10, within=True)),
    ],
)
def test_what_the_option_means_at_100_layers(remat, policy):
    assert policy_of(remat, 100) == policy
    assert jg.DeepGNN(remat=remat).remat == remat


@pytest.mark.parametrize("remat", [0, -1, 2.0, "root", None, [1]])
def test_other_values_are_refused(remat):
    with pytest.raises(ValueError, match=r"^remat=.*: allowed are False, True, 'none', .* and whole numbers from 1$"):
        jg.DeepGNN(remat=remat)


def test_chunks_divide_the_depth_where_they_can():
    assert near_root(10_000) == 100
    assert near_root(72) in (8, 9)
    assert near_root(1) == 1
    assert near_root(13) == 4  # a prime: ceil(sqrt(13))
    assert all(k / 2 <= L**0.5 <= 2 * k for L in range(1, 200) for k in [near_root(L)])


def test_chunks_are_the_scan(x64):
    # c' = sin(c) + a, y = c a: with derivatives by the start and by every a.
    a = np.random.default_rng(0).standard_normal(6)

    def body(c, a):
        return jnp.sin(c) + a, c * a

    def outcome(scan):
        def both(c, a):
            last, every = scan(body, c, a)
            return last + jnp.sum(jnp.cos(every)), every

        return jax.value_and_grad(both, argnums=(0, 1), has_aux=True)(0.3, a)

    ways = [Policy(every, within) for every in (0, 1, 2, 4, 6) for within in (False, True)]
    ways = [partial(scan_in_chunks, depth=6, policy=policy) for policy in ways]
    expected, *found = jax.jit(lambda: [outcome(scan) for scan in (jax.lax.scan, *ways)])()
    for one in found:
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-14), one, expected)


def test_bytes_that_reverse_mode_keeps():
    x, y = (jax.ShapeDtypeStruct((5, 7), np.float32) for _ in range(2))
    assert residual_bytes(jnp.sin, x) == 4 * 35  # cos(x)
    assert residual_bytes(lambda x: 3 * x, x) == 0
    assert residual_bytes(lambda x, y: x * y, x, y) == 0  # y is an argument
    assert residual_bytes(lambda x, y: x * jnp.sin(y), x, y) == 4 * 35
    assert nbytes({"x": x, "k": jax.ShapeDtypeStruct((3,), np.float64)}) == 4 * 35 + 24


def test_every_step_or_every_kth_is_kept():
    c, a = jax.ShapeDtypeStruct((10,), np.float32), jax.ShapeDtypeStruct((36, 10), np.float32)

    def kept(policy):
        return residual_bytes(lambda c, a: scan_in_chunks(lambda c, a: (jnp.sin(c) * a, None), c, a, 36, policy), c, a)

    carry = 4 * 10
    assert kept(Policy(0)) == 36 * carry  # cos(c) for d c, sin(c) for d a: one of them from the other's argument
    for every in (1, 6):  # the carries, and not a, which is an argument in another shape
        assert kept(Policy(every)) == 36 // every * carry


def test_bytes_kept_where_the_chunks_do_not_divide_the_depth():
    # Ten layers in chunks of four: three carries, and four layers at once, or their carries and one layer.
    s, e = 7, 100
    assert activation_bytes(Policy(0), 10, s, e) == 10 * e
    assert activation_bytes(Policy(1), 10, s, e) == 10 * s + e
    assert activation_bytes(Policy(4), 10, s, e) == 3 * s + 4 * e
    assert activation_bytes(Policy(4, within=True), 10, s, e) == 3 * s + 4 * s + e


@pytest.mark.parametrize(("policy", "times"), [(Policy(0), 0), (Policy(3), 1), (Policy(3, within=True), 2)])
def test_within_a_chunk_every_step_is_computed_again_or_none(policy, times):
    def scan(c, a):
        return scan_in_chunks(lambda c, a: (jnp.sin(c) * a, None), c, a, 6, policy)[0]

    assert str(jax.make_jaxpr(scan)(1.0, np.ones(6))).count("prevent_cse=False") == times


def test_the_fastest_that_fits_is_chosen():
    # L = 100, k = 10: none keeps 100 e, sqrt 10 s + 10 e, least 20 s + e.
    s, e = 10, 50
    bytes_of = {name: activation_bytes(policy_of(name, 100), 100, s, e) for name in ("none", "sqrt", "least")}
    assert bytes_of == {"none": 100 * e, "sqrt": 10 * s + 10 * e, "least": 10 * s + 10 * s + e}
    assert choose(100, s, e, bytes_of["none"]) == "none"
    assert choose(100, s, e, bytes_of["none"] - 1) == "sqrt"
    assert choose(100, s, e, bytes_of["sqrt"] - 1) == "least"
    assert choose(100, s, e, 0) == "least"

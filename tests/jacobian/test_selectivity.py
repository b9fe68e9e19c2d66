import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.jacobian.sensitivity import sensitivity


def signal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def network(n=5, d=3, e=4, seed=0):
    """A smooth function of all nodes and its dense Jacobian [v, i, u, j]."""
    W, A = signal(d, e, seed=seed + 1), signal(n, n, seed=seed + 2)

    def f(h):
        return jnp.tanh(A.astype(h.dtype) @ h @ W.astype(h.dtype))

    return f


@pytest.mark.parametrize("norm", ["frobenius", "spectral"])
def test_it_is_the_ratio_of_the_dense_blocks(norm):
    f, h = network(), signal(5, 3)
    with jax.enable_x64(True):
        J = np.asarray(jax.jacfwd(f)(jnp.asarray(h)))[1]  # [i, u, j] of node 1
    norms = np.linalg.norm(J, "fro" if norm == "frobenius" else 2, axis=(0, 2))
    found = jg.selective_sensitivity(f, h, node=1, queried=3, others=[0, 2, 4], norm=norm)
    assert found.queried == pytest.approx(norms[3], rel=1e-12)
    assert found.others == pytest.approx(norms[[0, 2, 4]].mean(), rel=1e-12)
    assert found.ratio == pytest.approx(norms[3] / norms[[0, 2, 4]].mean(), rel=1e-12)


def test_several_points_are_one_at_a_time():
    f, h = network(), signal(4, 5, 3)
    queried, others = np.array([0, 1, 2, 0]), np.array([[2, 3], [0, 3], [0, 4], [1, 2]])
    found = jg.selective_sensitivity(f, h, node=4, queried=queried, others=others)
    for i in range(4):
        one = jg.selective_sensitivity(f, h[i], node=4, queried=int(queried[i]), others=others[i])
        np.testing.assert_allclose([part[i] for part in found], one, rtol=1e-13)
    assert found.ratio.shape == (4,)
    same = jg.selective_sensitivity(f, h, node=4, queried=0, others=[1, 2])
    assert same.ratio.shape == (4,)


def test_it_agrees_with_the_sensitivities_of_a_network(graphs, random_variables):
    graph = jg.prepare(**graphs.star(6))
    model, x = jg.DeepGNN(depth=2, width=4, out=3, activation="tanh"), signal(6, 2)
    params = random_variables(model, graph, x)

    def f(h):
        return model.apply(params, graph, h)

    blocks = sensitivity(f, x, graph, norm="frobenius").norms[:, 0]
    found = jg.selective_sensitivity(f, x, node=0, queried=2, others=[1, 3, 4, 5])
    assert found.ratio == pytest.approx(blocks[2] / blocks[[1, 3, 4, 5]].mean(), rel=1e-12)


def test_special_values():
    h = signal(4, 2)
    equal = jg.selective_sensitivity(lambda h: jnp.ones((4, 4), h.dtype) @ h, h, node=0, queried=1, others=[2, 3])
    assert equal.ratio == 1
    alone = jg.selective_sensitivity(lambda h: h, h, node=1, queried=1, others=[2, 3])
    assert alone.ratio == np.inf
    assert alone.others == 0
    nothing = jg.selective_sensitivity(lambda h: 0 * h, h, node=0, queried=1, others=[2, 3])
    assert np.isnan(nothing.ratio)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_the_scale_of_inputs_and_outputs_does_not_matter(dtype, scale):
    f, h = network(), signal(5, 3, dtype=dtype)
    plain = jg.selective_sensitivity(f, h, node=1, queried=3, others=[0, 2])
    s = np.asarray(scale, dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    moved = jg.selective_sensitivity(lambda h: f(h / s), h * s, node=1, queried=3, others=[0, 2])
    assert moved.ratio == pytest.approx(plain.ratio, rel=tolerance)
    assert moved.queried == pytest.approx(plain.queried / scale, rel=tolerance)
    larger = jg.selective_sensitivity(lambda h: f(h) * s, h, node=1, queried=3, others=[0, 2])
    assert larger.ratio == pytest.approx(plain.ratio, rel=tolerance)


REFUSED = {
    "node": ({"node": 5}, "node=5: allowed are 0 to 4"),
    "fraction": ({"node": 1.0}, "node=1.0: allowed are 0 to 4"),
    "queried": ({"queried": 7}, "queried holds 7 to 7: a graph of 5 nodes has nodes 0 to 4"),
    "name": ({"queried": "x"}, "queried='x': allowed are whole numbers of nodes"),
    "same": ({"others": [2, 3]}, "others holds no node, or the queried one: at least one node, and not that one, is "),
    "none": ({"others": []}, "others holds no node, or the queried one"),
    "one": ({"others": 1}, "others holds no node, or the queried one"),
    "shape": ({"queried": [1, 2]}, "queried has shape (2,): [1] is needed, or fewer axes in front"),
    "norm": ({"norm": "nuclear"}, "norm='nuclear' is not known: allowed are frobenius, spectral"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(case):
    options, sentence = REFUSED[case]
    measure = partial(jg.selective_sensitivity, network(), signal(5, 3))
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        measure(**{"node": 1, "queried": 3, "others": [0, 2]} | options)


def test_what_has_no_jacobian_is_refused():
    ask = {"node": 0, "queried": 1, "others": [2]}
    with pytest.raises(ValueError, match=r"^f's Jacobian at h is NaN or infinite$"):
        jg.selective_sensitivity(lambda h: h.sum(axis=0)[None] * jnp.ones((4, 1)) * jnp.nan, signal(4, 2), **ask)
    with pytest.raises(ValueError, match=r"^h has shape \(4,\): "):
        jg.selective_sensitivity(jnp.sin, signal(4), **ask)
    with pytest.raises(ValueError, match=r"^f\(h\) has shape \(2,\): "):
        jg.selective_sensitivity(lambda h: h.sum(axis=0), signal(4, 2), **ask)

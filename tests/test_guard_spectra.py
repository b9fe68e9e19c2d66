"""One table of everything that gives a number of a Jacobian: entry x content x scale x dtype against numpy's J.

f(h) = t P h W, so that J = t kron(P, W^T), written out. A public name that is not in the table fails; `pytest -s`
prints the cells and the worst error of every entry, in units of eps sigma_1.
"""

import inspect
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.jacobian import LayerJacobian, sensitivity_bound

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
# Of eps sigma_1: what products in h's precision leave; in float64 the promise is 1e-12 sigma_1.
UNITS = {"float16": 8, "bfloat16": 8, "float32": 64, "float64": 4500}
WORST: dict[str, list] = defaultdict(lambda: [0, 0.0])


class Exact(NamedTuple):
    """J in float64 divided by t, so that t itself may be anything, and what follows from it."""

    J: np.ndarray
    t: float
    blocks: int

    @property
    def sigma(self):
        return np.linalg.svd(self.J, compute_uv=False) * abs(self.t)


def moduli(values):
    return np.sort(np.abs(values))[::-1]


def block_norms(exact):
    n = exact.blocks
    return np.linalg.norm(exact.J.reshape(n, 3, n, 3), axis=(1, 3)) * abs(exact.t)


def spectral_blocks(exact):
    n = exact.blocks
    blocks = exact.J.reshape(n, 3, n, 3).transpose(2, 0, 1, 3).reshape(-1, 3, 3)
    return np.array([np.linalg.norm(block, 2) for block in blocks]).reshape(n, n) * abs(exact.t)


V = np.random.default_rng(3).standard_normal(18)


def at_most(J, which):
    found = J.extremes(max(min(3, *J.shape), 1), which=which)
    assert (found.lower <= found.values).all()
    assert (found.values <= found.upper).all()
    return found


def within_its_bounds(which):
    def ask(J, exact):
        found, sigma = at_most(J, which), exact.sigma
        if which == "smallest":
            sigma = sigma[sigma > 18 * float(J.eps) * sigma.max(initial=0)][::-1]
        sigma = sigma[: found.values.size]
        slack = 1e-12 * sigma.max(initial=0)
        assert (found.lower <= sigma + slack).all()
        assert not found.certified.any() or (sigma <= found.upper + slack)[found.certified].all()
        return found.values

    return ask


def largest_or_smallest(which):
    def answer(exact, found):
        sigma = exact.sigma
        return (sigma if which == "largest" else sigma[::-1][sigma[::-1] > 0])[: len(found)]

    return answer


def density_error(J, exact):
    """By how much the density is off beyond six of its standard errors and its bias, times the bandwidth."""
    found = J.density(4, 18)
    sigma = exact.sigma
    x, h = found.grid[:, None], found.bandwidth
    if not sigma.any():
        return np.array([found.zero_mass - 1]) * 0
    smooth = sum(np.exp(-(((x - s * sigma) / h) ** 2) / 2) for s in (1, -1)).mean(axis=1) / (h * np.sqrt(2 * np.pi))
    over = np.abs(found.density - smooth) - 6 * found.standard_error - found.bias
    return np.maximum(over, 0) * h * sigma[0] * 1e-2


class Entry(NamedTuple):
    ask: Callable[..., Any]
    answer: Callable[..., Any]


TABLE = {
    "mv": Entry(lambda J, e: J.mv(V[: J.shape[1]]), lambda e, found: e.J @ V[: e.J.shape[1]] * e.t),
    "rmv": Entry(lambda J, e: J.rmv(V[: J.shape[0]]), lambda e, found: e.J.T @ V[: e.J.shape[0]] * e.t),
    "to_scipy": Entry(
        lambda J, e: J.to_scipy() @ V[: J.shape[1]] + J.to_scipy().T @ V[: J.shape[0]],
        lambda e, found: (e.J + e.J.T) @ V[: e.J.shape[1]] * e.t,
    ),
    "dense": Entry(lambda J, e: J.dense(), lambda e, found: e.J * e.t),
    "sparse": Entry(lambda J, e: J.sparse().toarray(), lambda e, found: e.J * e.t),
    "block_norms": Entry(lambda J, e: J.block_norms().toarray(), lambda e, found: block_norms(e)),
    "singular_values": Entry(lambda J, e: J.singular_values(), lambda e, found: e.sigma),
    "eigenvalues": Entry(
        lambda J, e: moduli(J.eigenvalues()), lambda e, found: moduli(np.linalg.eigvalsh(e.J)) * abs(e.t)
    ),
    "outer_eigenvalues": Entry(
        lambda J, e: moduli(J.outer_eigenvalues(1).values) if J.shape[0] > 2 else np.zeros(0),
        lambda e, found: moduli(np.linalg.eigvalsh(e.J))[: len(found)] * abs(e.t),
    ),
    "extremes": Entry(within_its_bounds("largest"), largest_or_smallest("largest")),
    "quadrature": Entry(
        lambda J, e: np.array([J.quadrature(2, 18).nodes.max(initial=0)]),
        lambda e, found: np.array([e.sigma.max(initial=0)]),
    ),
    "density": Entry(density_error, lambda e, found: np.zeros_like(found)),
    "statistics": Entry(
        lambda J, e: np.array([J.statistics().spectral.value, J.statistics().frobenius.value / 4]),
        lambda e, found: np.array([e.sigma.max(initial=0), np.sqrt(np.sum(e.J**2)) * abs(e.t) / 4]),
    ),
}
# What gives no number of J, or is a law of numbers that are given.
OTHERS = {"shape", "dtype", "eps", "sparsity", "support", "cheap_to_factorise"}
LAWS = {"kolmogorov_smirnov", "linear_layer_law", "marchenko_pastur", "by_distance"}

S = np.random.default_rng(0).standard_normal((3, 3))
CONTENTS = {
    "random": S + S.T,
    "zero": np.zeros((3, 3)),
    "constant": np.ones((3, 3)),
    "nearly constant": 1 + 1e-3 * (S + S.T),
    "nan": np.where(np.eye(3) == 1, np.nan, S),
    "inf": np.where(np.eye(3) == 1, np.inf, S),
}


def graph_of(n):
    v = np.arange(max(n - 1, 0))
    senders, receivers = np.r_[v, v + 1], np.r_[v + 1, v]
    return jg.prepare(senders=senders, receivers=receivers, num_nodes=n, normalisation="doubly")


GRAPHS = {n: graph_of(n) for n in (0, 1, 6)}


def cases(dtype):
    half = dtype in ("float16", "bfloat16")
    for content in ["random"] if half else CONTENTS:
        for scale in (1e-35, 1.0, 1e35) if content == "random" else (1e-35, 1e35):
            yield content, scale, 6
    if not half:
        yield from (("random", 1e-35, n) for n in (0, 1))


def matrix_of(content, scale, n, dtype):
    with np.errstate(all="ignore"):
        W, t = CONTENTS[content].astype(DTYPES[dtype]), np.asarray(scale).astype(DTYPES[dtype])
        P = np.asarray(GRAPHS[n].propagation.dense()).astype(DTYPES[dtype])
        J = np.kron(P.astype(np.float64), W.astype(np.float64).T)
    return W, t, Exact(J, float(t), n)


@pytest.fixture(scope="module", autouse=True)
def summary():
    yield
    for name, (count, units) in sorted(WORST.items()):
        print(f"\njacobian.{name:28s} {count:4d} cells, worst {units:8.3g} eps sigma_1", end="")
    print(f"\nall {sum(row[0] for row in WORST.values())} cells")


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_table(dtype):
    for content, scale, n in cases(dtype):
        W, t, exact = matrix_of(content, scale, n, dtype)
        P, h = GRAPHS[n].propagation, np.ones((n, 3), DTYPES[dtype])

        def f(h, P=P, W=W, t=t):
            return P @ h @ W * t

        where = f"{dtype}, {content} at {scale:g}, {n} nodes"
        if n and not (np.isfinite(exact.t) and np.isfinite(exact.J).all()):
            for name, entry in TABLE.items():
                with pytest.raises(ValueError, match="NaN or infinite"):
                    entry.ask(jg.jacobian(f, h), exact)
                WORST[name][0] += 1
            continue
        J = jg.jacobian(f, h)
        for name, entry in TABLE.items():
            row = WORST[f"{name}, float64" if dtype == "float64" else name]
            row[0] += 1
            found = np.asarray(entry.ask(J, exact), np.float64)
            unit = float(jax.numpy.finfo(DTYPES[dtype]).eps) * exact.sigma.max(initial=0)
            with np.errstate(all="ignore"):
                error = np.max(np.abs(found - entry.answer(exact, found)), initial=0)
            units = error / unit if error else 0.0
            row[1] = max(row[1], units)
            assert units <= UNITS[dtype], (name, where, found, units)


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_whole_numbers_have_no_jacobian(dtype):
    with pytest.raises(ValueError, match=f"dtype {dtype}"):
        jg.jacobian(lambda h: 1.0 * h, np.ones((3, 2), dtype))


@pytest.mark.parametrize("scale", [1e-35, 1.0, 1e35])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sensitivity_and_exponents(dtype, scale):
    W, t, exact = matrix_of("random", scale, 6, dtype)
    P, h = GRAPHS[6].propagation, np.ones((6, 3), dtype)
    eps = float(np.finfo(dtype).eps)
    found = jg.sensitivity(lambda h: P @ h @ W * t, h, GRAPHS[6])
    np.testing.assert_allclose(found.norms, spectral_blocks(exact), rtol=0, atol=16 * eps * exact.sigma[0])
    bound = sensitivity_bound(P, np.zeros(1), np.array([scale]))
    np.testing.assert_allclose(bound.values, scale * P.dense().T, rtol=1e-14)
    Q = np.linalg.qr(S)[0].astype(dtype)
    exponents = jg.lyapunov(lambda h, _: h @ Q * t, h, np.arange(1), k=3).exponents
    np.testing.assert_allclose(exponents, np.log(scale), rtol=16 * eps, atol=16 * eps)


ELSEWHERE = {"influence", "influence_of_blocks", "mixing", "selective_sensitivity"}  # in test files of their own


def test_every_entry_is_in_the_table():
    names = {name for name in dir(LayerJacobian) if not name.startswith("_")}
    assert names - OTHERS == TABLE.keys()
    room = sys.modules["jaxgnn.jacobian"]
    functions = {name for name in dir(room) if inspect.isfunction(getattr(room, name))}
    assert functions == LAWS | {"jacobian", "lyapunov", "sensitivity", "sensitivity_bound"} | ELSEWHERE

"""One table of everything public that gives a number: entry x content x scale x dtype against longdouble.

Every cell is right to a stated number of units, is NaN where the input is not finite, or is refused by name. A public
name that is not in the table fails. `pytest -s tests/test_guard.py` prints the number of cells of every entry and the
worst error, in units of eps times what the entry's error is measured by (the value itself, where nothing else is said).
"""

import inspect
import sys
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from math import sqrt
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.tree_util import Partial

import jaxgnn as jg
from jaxgnn.analysis import backward, measures, theory_lines
from jaxgnn.analysis.backward import sizes, sizes_off
from jaxgnn.tasks import metrics
from jaxgnn.training import recorder

WIDE = np.longdouble
DTYPES = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
    "int32": np.int32,
    "int64": np.int64,
    "bool": np.bool_,
}
SCALES = (1e-35, 1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e20, 1e30, 1e35)
FLOATS = ("float16", "bfloat16", "float32", "float64")
WORST: dict[str, list] = defaultdict(lambda: [0, 0.0, 0.0])  # cells, the worst error and what is allowed, by entry


class Entry(NamedTuple):
    """How a number is asked for, what it is, and by what its error is measured.

    Attributes:
      ask: X, the graph's case -> the number.
      answer: X in longdouble, the case -> the number.
      unit: X, the case, the number -> what an error of one unit is, times eps; |number| by default.
      units: allowed.
      refuses: the error for an X that is not finite, where it is not NaN.
    """

    ask: Callable[..., Any]
    answer: Callable[..., Any]
    unit: Callable[..., Any] = lambda X, case, value: np.abs(value)
    units: float = 8
    refuses: type[Exception] | None = None


class Case(NamedTuple):
    """A ring with a tail, or fewer nodes: the graph and its adjacency, D~ included."""

    graphs: dict[str, jg.Graph]
    pairs: np.ndarray  # [e, 2], both ways, without loops
    degree: np.ndarray  # with the loop
    components: np.ndarray
    labels: np.ndarray


def case_of(n: int) -> Case:
    v = np.arange(n - 1 if n > 3 else 0)
    once = np.stack([v, v + 1], axis=1)
    once = np.concatenate([once, [(0, n - 2)]]) if n > 3 else once.reshape(0, 2)
    pairs = np.concatenate([once, once[:, ::-1]]).astype(np.int64)
    edges = {"senders": pairs[:, 1], "receivers": pairs[:, 0], "num_nodes": n}
    graphs = {name: jg.prepare(**edges, normalisation=name) for name in ("sym", "doubly", "row")}
    degree = 1 + np.bincount(pairs[:, 0], minlength=n)
    return Case(graphs, pairs, degree.astype(WIDE), np.arange(n) % 2, np.arange(n) % 3 % 2)


CASES = {n: case_of(n) for n in (0, 1, 6, 60_000)}
BASE = np.random.default_rng(0).standard_normal((6, 3))
CONTENTS = {
    "random": BASE,
    "zero": np.zeros((6, 3)),
    "constant": np.broadcast_to([1.0, -3.0, 0.5], (6, 3)),
    "nearly constant": 1 + 1e-6 * BASE,
    "a zero row": np.concatenate([[[0.0] * 3], BASE[1:]]),
    "nan": np.where(np.arange(18).reshape(6, 3) == 6, np.nan, BASE),
    "inf": np.where(np.arange(18).reshape(6, 3) == 6, np.inf, BASE),
    "one row": BASE[:1],
    "no rows": BASE[:0],
}
HUGE = {
    "huge n": np.random.default_rng(1).standard_normal((60_000, 3)),
    "huge n, nearly constant": 1 + 1e-6 * np.random.default_rng(2).standard_normal((60_000, 3)),
}


def cast(X, scale, dtype):
    """X scaled, in a dtype, as an array of JAX's where it has the dtype in this mode; None where it cannot be made."""
    with np.errstate(all="ignore"):
        wide = X.astype(WIDE) * WIDE(scale)
        if dtype in FLOATS:
            return wide.astype(np.float32 if dtype == "bfloat16" else DTYPES[dtype]).astype(DTYPES[dtype])
        if not np.isfinite(wide).all() or (dtype != "bool" and np.abs(wide).max(initial=0) > np.iinfo(dtype).max / 2):
            return None
        return wide > 0 if dtype == "bool" else np.rint(100 * wide if scale == 1 else wide).astype(DTYPES[dtype])


def given(X):
    """As a user has it: on the device where the mode has its dtype, in numpy otherwise."""
    return jnp.asarray(X) if jax.dtypes.canonicalize_dtype(X.dtype) == X.dtype else X


def check(name: str, entry: Entry, X: np.ndarray, where: str) -> None:
    case, exact = CASES[len(X)], X.astype(np.float32).astype(WIDE) if X.dtype == DTYPES["bfloat16"] else X.astype(WIDE)
    WORST[name][0] += 1
    if not np.isfinite(exact).all():
        if entry.refuses:
            with pytest.raises(entry.refuses, match="finite"):
                entry.ask(given(X), case)
        else:
            assert np.isnan(np.asarray(entry.ask(given(X), case), np.float64)).any(), where
        return
    if X.dtype.kind == "i" and np.abs(exact).max(initial=0) > 2**53:
        with pytest.raises(ValueError, match="2\\^53"):
            entry.ask(given(X), case)
        return
    expected = np.asarray(entry.answer(exact, case), WIDE)
    try:
        found = np.asarray(entry.ask(given(X), case))
    except OverflowError:
        result = np.float64 if jax.config.jax_enable_x64 else np.float32
        result = (
            X.dtype if name.startswith("metrics.") and X.dtype in (DTYPES["float16"], DTYPES["bfloat16"]) else result
        )
        with np.errstate(all="ignore"):
            unit = np.asarray(entry.unit(exact, case, expected), WIDE) * WIDE(float(jnp.finfo(result).eps))
            most, least = np.abs(expected) + entry.units * unit, np.abs(expected) - entry.units * unit
            too_small = (most > 0) & (least < WIDE(float(jnp.finfo(result).tiny)) * 2)
        assert (too_small | (most >= WIDE(float(jnp.finfo(result).max)))).any(), (where, expected)
        return
    if found.dtype.kind in "iu":
        assert found == expected, where
        return
    limits = jnp.finfo(found.dtype)
    found = found.astype(np.float64).astype(WIDE)
    unit = np.asarray(entry.unit(exact, case, expected), WIDE) * WIDE(float(limits.eps))
    with np.errstate(invalid="ignore"):
        error = np.where(found == expected, 0, np.abs(found - expected))
    subnormal = WIDE(float(limits.smallest_subnormal)) if hasattr(limits, "smallest_subnormal") else WIDE(0)
    error = np.where(error <= subnormal, 0, error)
    units = float(np.max(np.where(error == 0, 0, error / np.where(unit == 0, WIDE("1e-4000"), unit)), initial=0))
    WORST[name][1:] = max(WORST[name][1], units), entry.units
    assert units <= entry.units, (where, found, expected, units)


# ---- what the measures are, written out


def length(X, case=None):
    return np.sqrt(np.sum(X**2))


def off_mean(X, case=None):
    return length(X - X.mean(axis=0)) if len(X) else WIDE(0)


def over(a, b):
    return a / b if b else WIDE(0)


def by_component(X, case, power):
    parts = [X[case.components == c] for c in range(2)]
    return np.array([off_mean(part) / np.sqrt(WIDE(max(len(part), 1))) ** power for part in parts])


def edge_energy(X, case):
    u, v = case.pairs.T
    weights = 1 / np.maximum(case.degree[u], case.degree[v])
    return np.sum(weights * np.sum((X[u] - X[v]) ** 2, axis=1)) / 2


def sym_energy(X, case):
    u, v = case.pairs.T
    Z = X / np.sqrt(case.degree)[:, None]
    return np.sum((Z[u] - Z[v]) ** 2) / 2


def row_energy(X, case):
    u, v = case.pairs.T
    return np.sum(X**2) - np.sum(X**2 / case.degree[:, None]) - np.sum(X[u] * X[v] / case.degree[u][:, None])


def rational_mad(X, case):
    """Inner products as fractions: nothing is rounded before 1 - cos = sin^2 / (1 + cos)."""
    if len(X) > 6:  # without cancellation that longdouble feels
        u, v = case.pairs.T
        x, y = X[u], X[v]
        products = (sum(a * b for a, b in zip(p.T, q.T, strict=True)) for p, q in ((x, x), (y, y), (x, y)))
        xx, yy, xy = products
        cross = sum((x[:, i] * y[:, j] - x[:, j] * y[:, i]) ** 2 for i in range(3) for j in range(i))
        cosine = xy / np.sqrt(xx * yy)
        distance = np.where(cosine > 0, cross / (xx * yy) / (1 + np.abs(cosine)), 1 - cosine)
        return np.mean(np.bincount(u, distance.astype(np.float64)) / np.bincount(u))
    rows = [[Fraction(*map(int, a.as_integer_ratio())) for a in row] for row in X]
    means = defaultdict(list)
    for u, v in case.pairs:
        xx, yy, xy = (
            sum(a * b for a, b in zip(p, q, strict=True))
            for p, q in ((rows[u], rows[u]), (rows[v], rows[v]), (rows[u], rows[v]))
        )
        if not xx * yy:
            means[u].append(1.0)
            continue
        cosine2 = xy * xy / (xx * yy)
        means[u].append(float(1 - cosine2) / (1 + sqrt(cosine2)) if xy > 0 else 1 + sqrt(cosine2))
    return np.mean([np.mean(each) for each in means.values()]) if means else 0.0


def mad_unit(X, case, value):
    """D + sqrt(D) ||x - y|| / ||y||, at most over the edges: the rows' own sizes."""
    u, v = case.pairs.T
    if not len(u) or not X.any():
        return value
    size = np.sqrt(np.sum(X**2, axis=1))
    kept = (size[u] > 0) & (size[v] > 0)
    u, v = u[kept], v[kept]
    return value + np.sqrt(value) * np.max(np.sqrt(np.sum((X[u] - X[v]) ** 2, axis=1)) / np.minimum(size[u], size[v]))


def pair_cosine(X, case):
    size = np.sqrt(np.sum(X**2, axis=1))
    U = X / np.where(size > 0, size, 1)[:, None]
    n = len(X)
    return (np.sum(U.sum(axis=0) ** 2) - np.sum(size > 0)) / max(n * (n - 1), 1)


def singular(X):
    top = np.abs(X).max(initial=0)
    return np.linalg.svd((X / top if top else X).astype(np.float64), compute_uv=False).astype(WIDE)


def entropy_rank(X, case):
    sigma = singular(X)
    p = sigma[sigma > 0] / sigma.sum() if sigma.any() else sigma[:0]
    return np.exp(-np.sum(p * np.log(p))) if p.size else WIDE(0)


def left_by(X, v):
    return length(X - np.outer(v, over(1, v @ v) * (v @ X)))


def root_degree(case):
    return np.sqrt(case.degree)


def count_above(X, case):
    """By the dtype's eps: float32's, as the guard's integers are small and its halves are asked with a tolerance."""
    sigma = singular(X)
    return np.sum(sigma > 1e-3 * sigma.max(initial=0))


def share(X, case, value):
    return length(X)


def of_energy(X, case, value):
    return value + length(X) * np.sqrt(value) + np.finfo(np.float64).eps * length(X) ** 2


V = np.array([1.0, -2.0, 0.5, 3.0, 0.25, 1.0])


def span_of(X):
    return np.resize(V, len(X)).astype(WIDE)


MEASURES = {
    "norm": Entry(lambda X, c: measures.norm(X), length),
    "mu": Entry(lambda X, c: measures.mu(X), off_mean),
    "relative_mu": Entry(lambda X, c: measures.relative_mu(X), lambda X, c: over(off_mean(X), length(X))),
    "energy": Entry(lambda X, c: measures.energy(X), lambda X, c: off_mean(X) / np.sqrt(WIDE(max(len(X), 1)))),
    "mu_per_component": Entry(
        lambda X, c: measures.mu_per_component(X, c.components, 2), lambda X, c: by_component(X, c, 0), units=100
    ),
    "energy_per_component": Entry(
        lambda X, c: measures.energy_per_component(X, c.components, 2), lambda X, c: by_component(X, c, 1), units=100
    ),
    "dirichlet": Entry(lambda X, c: measures.dirichlet(X, c.graphs["doubly"].propagation), edge_energy),
    "dirichlet, sym": Entry(lambda X, c: measures.dirichlet(X, c.graphs["sym"].propagation), sym_energy, of_energy),
    "dirichlet, row": Entry(
        lambda X, c: measures.dirichlet(X, c.graphs["row"].propagation),
        row_energy,
        lambda X, c, value: 3 * length(X) ** 2,
    ),
    "normalised_dirichlet": Entry(
        lambda X, c: measures.normalised_dirichlet(X, c.graphs["doubly"].propagation),
        lambda X, c: over(edge_energy(X, c), length(X) ** 2),
    ),
    "mad": Entry(lambda X, c: measures.mad(X, c.graphs["sym"]), rational_mad, mad_unit, 16),
    "mean_cosine": Entry(lambda X, c: measures.mean_cosine(X), pair_cosine, lambda X, c, value: 1, 16),
    "effective_rank": Entry(lambda X, c: measures.effective_rank(X), entropy_rank, lambda X, c, value: 40 * value, 24),
    "stable_rank": Entry(
        lambda X, c: measures.stable_rank(X),
        lambda X, c: over(np.sum(singular(X) ** 2), singular(X).max(initial=0) ** 2),
        units=48,
    ),
    "numerical_rank": Entry(lambda X, c: measures.numerical_rank(X, tolerance=1e-3), count_above, refuses=ValueError),
    "off_span": Entry(
        lambda X, c: measures.off_span(X, np.resize(V, len(X))), lambda X, c: left_by(X, span_of(X)), share
    ),
    "off_degree_span": Entry(
        lambda X, c: measures.off_degree_span(X, c.graphs["sym"].propagation),
        lambda X, c: left_by(X, root_degree(c)),
        share,
    ),
}


def test_every_measure_is_in_the_table():
    assert public(measures) == {name.split(",")[0] for name in MEASURES}


# ---- metrics: predictions [n, 3] (rankings: their first column), against targets that scale with them


def cross_entropy_of(X, case):
    if not len(X):
        return WIDE(0)
    Z = X - X.max(axis=1, keepdims=True)
    own = np.take_along_axis(Z, (np.arange(len(X)) % 3)[:, None], axis=1)[:, 0]
    return np.mean(np.log(np.sum(np.exp(Z), axis=1)) - own)


def spread(X, case, value):
    return 1 + np.max(np.ptp(X, axis=1), initial=0)


def right_share(X, case):
    return np.mean(np.argmax(X, axis=1) == np.arange(len(X)) % 3) if len(X) else WIDE(0)


def auc(x, y):
    if len(x) > 6:
        order = np.argsort(x, kind="stable")  # no ties among so many normal numbers but those that rounding makes
        values, first, count = np.unique(x[order], return_index=True, return_counts=True)
        rank = (first + (count - 1) / 2)[np.searchsorted(values, x)]
        P, N = y.sum(), (1 - y).sum()
        return (rank[y == 1].sum() - P * (P - 1) / 2) / (P * N)
    difference = x[y == 1][:, None] - x[y == 0]
    return np.mean((difference > 0) + 0.5 * (difference == 0)) if difference.size else 0.5


def precision(x, y):
    order = np.argsort(x)
    at_least = len(x) - np.searchsorted(x[order], x)
    true = y.sum() - np.searchsorted(np.sort(x[y == 1]), x)
    return np.mean((true / at_least)[y == 1]) if y.any() else 0.0


def columns(metric, otherwise):
    def mean(X, case):
        y = np.stack([case.labels, 1 - case.labels, 0 * case.labels], axis=1)
        return np.mean([metric(X[:, j], y[:, j]) for j in range(2)]) if case.labels.any() else otherwise

    return mean


def rows_of(X):
    return np.ones(len(X), bool)


def against(X):
    """Targets in X's dtype and at its scale: its rows in the opposite order."""
    return given(np.asarray(X)[::-1])


def errors(X):
    return X - X[::-1]


METRICS = {
    "accuracy": Entry(lambda X, c: metrics.accuracy(X, np.arange(len(X)) % 3, rows_of(X)), right_share, units=1),
    "cross_entropy": Entry(
        lambda X, c: metrics.cross_entropy(X, np.arange(len(X)) % 3, rows_of(X)), cross_entropy_of, spread, 4
    ),
    "mse": Entry(
        lambda X, c: metrics.mse(X, against(X), rows_of(X)), lambda X, c: over(np.sum(errors(X) ** 2), WIDE(X.size))
    ),
    "mae": Entry(
        lambda X, c: metrics.mae(X, against(X), rows_of(X)), lambda X, c: over(np.sum(np.abs(errors(X))), WIDE(X.size))
    ),
    "log10_mse": Entry(
        lambda X, c: metrics.log10_mse(X, against(X), rows_of(X)),
        lambda X, c: np.log10(over(np.sum(errors(X) ** 2), WIDE(X.size))),
        lambda X, c, value: 1 + np.abs(value),
    ),
    "roc_auc": Entry(
        lambda X, c: metrics.roc_auc(X[:, 0], c.labels, rows_of(X)), lambda X, c: auc(X[:, 0], c.labels), units=2
    ),
    "average_precision": Entry(
        lambda X, c: metrics.average_precision(X[:, 0], c.labels, rows_of(X)),
        lambda X, c: precision(X[:, 0], c.labels),
    ),
    "mean_roc_auc": Entry(lambda X, c: metrics.mean_roc_auc(X, three(c), rows_of(X)), columns(auc, 0.5), units=2),
    "mean_average_precision": Entry(
        lambda X, c: metrics.mean_average_precision(X, three(c), rows_of(X)), columns(precision, 0.0)
    ),
}
# Of labels alone: whole numbers, tested in test_metrics.
NOT_OF_A_SIGNAL = {"balanced_class_weights"}


def three(case):
    return np.stack([case.labels, 1 - case.labels, 0 * case.labels], axis=1)


def public(module):
    """Names of the functions that a module defines for others."""
    functions = inspect.getmembers(module, lambda f: callable(f) and not inspect.isclass(f))
    return {name for name, f in functions if name[0] != "_" and getattr(f, "__module__", "") == module.__name__}


@pytest.fixture(scope="module", autouse=True)
def summary():
    yield
    cells, worst = (
        sum(row[0] for row in WORST.values()),
        max(((row[1], name) for name, row in WORST.items()), default=(0, "")),
    )
    for name, (count, units, allowed) in sorted(WORST.items()):
        print(f"\n{name:40s} {count:5d} cells, worst {units:8.3g} of {allowed:g} units", end="")
    print(f"\nall {cells} cells, worst {worst[0]:.3g} units ({worst[1]})")


def sweep(name, entry, dtype):
    with jax.enable_x64(dtype == "float64"):
        for content, base in (CONTENTS | (HUGE if dtype == "float32" else {})).items():
            for scale in SCALES if len(base) < 100 else (1e-35, 1.0, 1e20):
                X = cast(base, scale, dtype)
                if X is not None:
                    check(name, entry, X, f"{name}, {dtype}, {content} at {scale:g}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MEASURES)
def test_measures(name, dtype):
    sweep(f"measures.{name}", MEASURES[name], dtype)


@pytest.mark.filterwarnings("ignore:divide by zero")  # log10 of 0 in the reference
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", METRICS)
def test_metrics(name, dtype):
    sweep(f"metrics.{name}", METRICS[name], dtype)


def test_every_metric_is_in_the_table():
    assert public(metrics) == METRICS.keys() | NOT_OF_A_SIGNAL


# ---- in programs


FREE = ("relative_mu", "normalised_dirichlet", "mad", "mean_cosine", "effective_rank", "stable_rank", "numerical_rank")


@pytest.mark.parametrize("name", MEASURES)
def test_measures_in_programs(name):
    """Compiled and batched over scales: scale-free ones do not change, the others are 0 or infinite out of range."""
    entry, case = MEASURES[name], CASES[6]
    X = np.stack([cast(BASE, scale, "float32") for scale in SCALES])
    expected = np.stack([np.asarray(entry.answer(x.astype(WIDE), case), WIDE) for x in X])
    found = np.asarray(jax.jit(jax.vmap(lambda x: entry.ask(x, case)))(X)).astype(WIDE)
    limits = np.finfo(np.float32)
    held = (np.abs(expected) >= limits.tiny) & (np.abs(expected) <= limits.max)
    assert held.all() or name not in FREE
    np.testing.assert_allclose(found[held].astype(float), expected[held].astype(float), rtol=3e-5)
    assert ((found[~held] == 0) | np.isinf(found[~held])).all()
    bad = jax.jit(lambda x: entry.ask(x, case))(jnp.asarray(CONTENTS["nan"], jnp.float32))
    assert bad == -1 if name == "numerical_rank" else np.isnan(bad).any()


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "numerical_rank"])
def test_gradients_of_measures_at_every_scale(name):
    """f(t X) = t^k f(X), so that f'(t X) = t^(k-1) f'(X), k = 0, 1 or 2: at both ends of the range."""
    entry, case = MEASURES[name], CASES[6]
    degree = 0 if name in FREE else 2 if name.startswith("dirichlet") else 1
    X = jnp.asarray(BASE, jnp.float32)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(entry.ask(x, case))))
    one = np.asarray(slope(X), np.float64)
    for power in (-100, 100):
        found = np.asarray(slope(X * jnp.float32(2.0**power)), np.float64) * 2.0 ** (-power * (degree - 1))
        np.testing.assert_allclose(found, one, rtol=0, atol=2e-6 * np.abs(one).max())


# ---- sizes at every layer


def size_table(X, case):
    """norm and mu, and off span(D~^(1/2) 1), with what an error of each is measured by."""
    size, mu, off = length(X), off_mean(X), left_by(X, root_degree(case))
    return {"norm": (size, size), "mu": (mu, mu), "off": (off, size)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes(dtype):
    case = CASES[6]
    with jax.enable_x64(dtype == "float64"):
        both = jax.jit(lambda X: (sizes(X, case.graphs["sym"]), sizes_off(X, np.sqrt(case.degree.astype(float)))))
        for content, base in CONTENTS.items():
            for scale in SCALES if len(base) == 6 else ():
                X = cast(base, scale, dtype)
                found, off = both(X)
                values = {"norm": found.norm, "mu": found.mu, "off": off.mu}
                relative = np.array([found.relative_mu, off.relative_mu])
                WORST["backward.sizes"][0] += 1
                if not np.isfinite(X).all():
                    assert np.isnan([*values.values(), *relative]).all(), (content, scale)
                    continue
                assert np.isnan(relative).all() == (not X.any()), (content, scale)
                for name, (expected, unit) in size_table(X.astype(WIDE), case).items():
                    error = np.abs(WIDE(float(values[name])) - expected)
                    # A program has 0 for what is below the normal numbers.
                    if error > np.finfo(dtype).tiny:
                        units = float(error / (unit * np.finfo(dtype).eps))
                        WORST["backward.sizes"][1:] = max(WORST["backward.sizes"][1], units), 8
                        assert units <= 8, (name, content, scale, units)


def scaled_loss(scale, logits):
    return scale * jnp.sum(jnp.sin(logits))


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_probes_of_losses_at_any_scale(scale):
    """Everything that is linear in the loss is scale times what it is at 1, and nothing else changes."""
    case = CASES[6]
    model, graph = jg.DeepGNN(depth=3, width=3, out=2, activation="tanh"), case.graphs["doubly"]
    params = model.init(jax.random.key(0), graph, BASE.astype(np.float32))
    one, found = (
        jg.backward_analysis(model, params, graph, BASE.astype(np.float32), Partial(scaled_loss, np.float32(s)))
        for s in (1.0, scale)
    )
    for name in ("feature_grads", "errors", "feature_grads_off", "errors_off"):
        for part in ("norm", "mu"):
            expected = np.asarray(getattr(getattr(one, name), part)) * np.float32(scale)
            np.testing.assert_allclose(getattr(getattr(found, name), part), expected, rtol=1e-5)
        np.testing.assert_allclose(getattr(found, name).relative_mu, getattr(one, name).relative_mu, rtol=1e-5)
    for name in ("weight_grads", "error_mean", "loss"):
        np.testing.assert_allclose(getattr(found, name), getattr(one, name) * np.float32(scale), rtol=1e-5)
    for name in ("cosine", "alignment", "linear_cosine", "linear_distance"):
        np.testing.assert_allclose(getattr(found, name), getattr(one, name), rtol=1e-4, atol=1e-6)
    WORST["backward_analysis, probe"][0] += 14


def test_every_analysis_is_in_the_table():
    # `sizes` and `sizes_off` above; `numbers` is what backward_analysis has of a trace; the rest describes a network.
    # `ranks` is `effective_rank` and `stable_rank`.
    assert public(backward) == {"sizes", "sizes_off", "ranks", "backward_analysis", "numbers", "slopes"}
    assert public(theory_lines) == {"geometry", "lines"}
    assert public(sys.modules["jaxgnn.analysis.probe"]) == {"probe"}
    # `measure` is `probe`, `sizes` and `ranks`.
    assert public(recorder) == {"measure", "flat", "check_record_every", "check_record_ranks"}

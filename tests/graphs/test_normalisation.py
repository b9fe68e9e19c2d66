"""P where degrees come near the ends of float64: the exact value, or a refusal."""

import re
from fractions import Fraction

import numpy as np
import pytest

import jaxgnn as jg

EDGES = {"senders": [0, 1, 1, 2, 2, 0], "receivers": [1, 0, 2, 1, 0, 2], "num_nodes": 4}
WEIGHTS = np.array([1.0, 1.0, 3.0, 3.0, 0.5, 0.5])
LOOPS = {"senders": [0, 1, 2, 3], "receivers": [0, 1, 2, 3]}


def prepared(weights, normalisation, **options):
    return jg.prepare(**EDGES, weights=weights, normalisation=normalisation, loops=False, **options).propagation


@pytest.mark.parametrize("normalisation", ["sym", "row"])
@pytest.mark.parametrize("exponent", [-1074, -1065, -1022, -600, -40, 0, 500, 1020])
def test_P_does_not_depend_on_the_unit_of_the_weights(normalisation, exponent):
    weights = np.ldexp(np.round(2 * WEIGHTS), exponent)  # exact, in subnormal numbers too
    found = prepared(weights, normalisation).dense()
    np.testing.assert_allclose(found, prepared(WEIGHTS, normalisation).dense(), rtol=4e-16, atol=0)
    if normalisation == "row":
        np.testing.assert_allclose(found.sum(axis=1), [1, 1, 1, 0], rtol=1e-15)
    else:
        np.testing.assert_array_equal(found, found.T)


def test_degrees_that_lie_far_apart():
    # A node with a loop of its own weight has no other: degrees 2e-320 + 1e-320 to 1, in one graph.
    tiny, n = 1e-320, 4
    edges = {end: EDGES[end] + LOOPS[end] for end in ("senders", "receivers")} | {"num_nodes": n}
    weights = np.r_[np.full(6, tiny), tiny, 1.0, tiny, 1.0]
    degree = [Fraction(0)] * n
    for r, w in zip(edges["receivers"], weights, strict=True):
        degree[r] += Fraction(w)
    for normalisation in ("sym", "row"):
        P = jg.prepare(**edges, weights=weights, normalisation=normalisation).propagation.dense()
        for s, r, w in zip(edges["senders"], edges["receivers"], weights, strict=True):
            if normalisation == "row":
                assert P[r, s] == pytest.approx(float(Fraction(w) / degree[r]), rel=1e-15)
            else:
                # Squares of fractions: a root of numbers this small is none of theirs.
                square = Fraction(w) ** 2 / (degree[r] * degree[s])
                assert (
                    abs(Fraction(P[r, s]) ** 2 / square - 1) < 1e-13 if square > Fraction(1e-200) else P[r, s] < 1e-99
                )


REFUSED = {
    "a sum": (
        [1e308, 1.0, 1.0, 1e308, 1.0, 1.0],
        "row",
        "the weights of the edges to node 1 add up to more than float64 holds",
    ),
    "a raw sum": (
        [1e308, 1.0, 1.0, 1e308, 1.0, 1.0],
        "raw",
        "the weights of the edges to node 1 add up to more than float64 holds",
    ),
    "an entry": (
        [1e300, 1e-320, 1.0, 1.0, 0.0, 1.0],
        "sym",
        f"P[1, 0] is more than float64 holds: the weighted degrees of nodes 1 and 0 are {1e300 + 1} and 1e-320",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_float64_does_not_hold_is_refused(case):
    weights, normalisation, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        prepared(np.array(weights), normalisation, undirected=False)


def test_duplicates_whose_sum_float64_does_not_hold_are_refused():
    twice = {"senders": [0, 0, 1], "receivers": [1, 1, 0], "num_nodes": 2, "weights": [1e308, 1e308, 1.0]}
    with pytest.raises(ValueError, match=r"^the weights of edge 0 -> 1 add up to more than float64 holds$"):
        jg.prepare(**twice, normalisation="raw")

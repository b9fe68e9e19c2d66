import numpy as np
import pytest
import scipy.sparse as sp

from jaxgnn.graphs import rounds as schedule
from jaxgnn.graphs.rounds import rounds
from jaxgnn.graphs.swaps import refined


def drawn(parts, seed, most):
    rows = np.random.default_rng(seed).integers(0, most, (parts, parts))
    np.fill_diagonal(rows, 0)
    return rows


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("most", [2, 50, 10_000])
def test_every_row_is_sent_once_and_no_part_sends_or_receives_twice_a_round(parts, most):
    rows = drawn(parts, parts + most, most)
    sent = np.zeros_like(rows)
    for one in rounds(rows):
        active = np.flatnonzero(one.to >= 0)
        assert np.array_equal(active, np.flatnonzero(one.count))
        assert np.unique(one.to[active]).size == active.size
        assert one.length == one.count.max() > 0
        sent[active, one.to[active]] += one.count[active]
    np.testing.assert_array_equal(sent, rows)


@pytest.mark.parametrize("seed", range(5))
def test_without_a_price_for_rounds_they_are_as_long_as_the_busiest_part(seed, monkeypatch):
    """Birkhoff's bound: the largest sum of a row or a column."""
    monkeypatch.setattr(schedule, "_PRICE", 0)
    monkeypatch.setattr(schedule, "_MOST", 1000)
    rows = drawn(6, seed, 20)
    assert sum(one.length for one in rounds(rows)) == max(rows.sum(0).max(), rows.sum(1).max())


def test_unequal_long_messages_are_cut_so_that_a_device_receives_little_more_than_it_needs():
    rng = np.random.default_rng(0)
    rows = np.rint(rng.lognormal(8, 1, (16, 16))).astype(int)
    np.fill_diagonal(rows, 0)
    least = max(rows.sum(0).max(), rows.sum(1).max())
    shifts = sum(max(rows[p, (p + s) % 16] for p in range(16)) for s in range(1, 16))
    found = sum(one.length for one in rounds(rows))
    assert least <= found <= 1.2 * least < shifts


def test_nothing_to_send_takes_no_round():
    assert rounds(np.zeros((4, 4), int)) == []


def test_swaps_find_communities_and_keep_the_sizes():
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(np.arange(4), 150))
    likely = np.where(group[:, None] == group, 0.06, 0.005)
    upper = np.triu(rng.random((600, 600)) < likely, 1)
    A = sp.csr_matrix(upper | upper.T)

    def cut(part):
        rows, columns = A.nonzero()
        return int(np.sum(part[rows] != part[columns]))

    start = np.arange(600) // 150
    found = refined(A, start, 4)
    assert np.bincount(found).tolist() == [150] * 4
    assert cut(group) <= cut(found) < 0.8 * cut(start)
    np.testing.assert_array_equal(refined(A, start, 4), found)  # the same on every host


def test_parts_without_edges_stay():
    start = np.arange(6) // 2
    assert refined(sp.csr_matrix((6, 6)), start, 3).tolist() == start.tolist()

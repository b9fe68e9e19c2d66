import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgnn.jacobian.colouring import colour


def cost(found, rows_per_block, columns_per_block):
    """Products with J and with J^T."""
    return found.num_colours * columns_per_block + int(found.heavy.sum()) * rows_per_block


def check(pattern, rows_per_block=1, columns_per_block=1):
    """Two columns of a colour share no light row; no more products than columns. Returns the colouring and its cost."""
    found = colour(sp.csr_matrix(pattern), rows_per_block=rows_per_block, columns_per_block=columns_per_block)
    m, n = pattern.shape
    assert found.colours.shape == (n,)
    assert found.heavy.shape == (m,)
    same = found.colours[:, None] == found.colours
    np.fill_diagonal(same, False)
    light = np.asarray(pattern, bool)[~found.heavy]
    shared = light.T.astype(int) @ light.astype(int) > 0
    assert not (same & shared).any()
    assert set(found.colours) - {-1} == set(range(found.num_colours))
    assert not light[:, found.colours == -1].any()
    assert cost(found, rows_per_block, columns_per_block) <= n * columns_per_block
    return found, cost(found, rows_per_block, columns_per_block)


@given(
    st.integers(0, 12),
    st.integers(0, 12),
    st.floats(0, 1),
    st.integers(0, 3),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 10_000),
)
@settings(max_examples=200, deadline=None)
def test_any_pattern(m, n, filled, heavy, rows_per_block, columns_per_block, seed):
    rng = np.random.default_rng(seed)
    pattern = rng.random((m, n)) < filled
    pattern[:heavy] = True
    check(pattern.astype(np.int8), rows_per_block, columns_per_block)


def test_every_pair_of_columns_shares_a_row():
    # Two entries a row look cheap, but no two columns may have one colour: no better than every column by itself.
    n = 8
    pairs = [(u, v) for u in range(n) for v in range(u)]
    pattern = np.zeros((len(pairs) + 1, n), np.int8)
    pattern[np.arange(len(pairs))[:, None], pairs] = 1
    pattern[-1] = 1
    assert check(pattern)[1] == n
    assert check(pattern, 3, 3)[1] == 3 * n  # eight colours of three products, and not three more for the last row


@pytest.mark.parametrize(("rows_per_block", "heavy"), [(8, True), (12, False)])
def test_a_row_is_taken_by_itself_where_that_needs_fewer_products(rows_per_block, heavy):
    # A diagonal and a row of ten: ten colours, or one and the row's products.
    pattern = np.eye(40, dtype=np.int8)
    pattern[0, :10] = 1
    found, products = check(pattern, rows_per_block, 1)
    assert found.heavy.tolist() == [heavy] + [False] * 39
    assert products == (1 + rows_per_block if heavy else 10)


@pytest.mark.parametrize("n", [3, 30, 300])
def test_a_ring_needs_three_colours_where_three_divide_it(n):
    pattern = (np.eye(n) + np.roll(np.eye(n), 1, 0) + np.roll(np.eye(n), -1, 0)).astype(np.int8)
    assert 3 <= check(pattern)[1] <= (3 if n == 3 else 5)


def test_the_diagonal_needs_one_colour():
    assert check(np.eye(7, dtype=np.int8), 2, 3)[1] == 3


def test_the_centre_of_a_star_is_taken_by_itself():
    n, d = 50, 3
    star = np.eye(n, dtype=np.int8)
    star[0] = star[:, 0] = 1
    found, products = check(star, d, d)
    assert found.heavy.tolist() == [True] + [False] * (n - 1)
    assert products == 3 * d  # two colours, one row
    # A row of many more entries than columns have is not worth it.
    found, products = check(star, 100 * d, d)
    assert not found.heavy.any()
    assert products == n * d


def test_no_entries():
    for shape in ((0, 0), (0, 4), (4, 0), (3, 5)):
        found, products = check(np.zeros(shape, np.int8))
        assert not found.heavy.any()
        assert products == 0


def test_heavy_rows_do_not_keep_their_columns_apart():
    pattern = np.vstack([np.ones((2, 40)), np.eye(40)]).astype(np.int8)
    found, products = check(pattern, 2, 2)
    assert found.num_colours == 1
    assert products == 2 + 2 * 2

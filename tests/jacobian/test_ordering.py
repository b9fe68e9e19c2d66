import numpy as np
import pytest
import scipy.sparse as sp

from jaxgnn.jacobian.ordering import CHUNK, MERGED, ROOT, order


def path(n, d):
    """A path of n nodes with d rows and d columns each."""
    P = sp.diags([np.ones(n - 1), np.ones(n), np.ones(n - 1)], [-1, 0, 1])
    nodes = np.repeat(np.arange(n), d)
    return sp.csr_matrix(sp.kron(P, np.ones((d, d)))), nodes, nodes


def random_links(n, d):
    rng = np.random.default_rng(0)
    P = sp.csr_matrix((np.ones(4 * n), rng.integers(0, n, (2, 4 * n))), (n, n)) + sp.eye(n)
    nodes = np.repeat(np.arange(n), d)
    return sp.csr_matrix(sp.kron(P, np.ones((d, d)))), nodes, nodes


@pytest.mark.parametrize("case", [path(60, 3), random_links(150, 8), path(1, 2)], ids=["path", "random", "one node"])
def test_every_unknown_and_entry_has_its_front(case):
    J = case[0]
    ordering = order(*case)
    own = np.concatenate([front.own for front in ordering.fronts])
    assert sorted(own) == list(range(sum(J.shape)))
    assert sorted(np.concatenate([front.entries for front in ordering.fronts])) == list(range(J.nnz))
    rows, columns = np.repeat(np.arange(J.shape[0]), np.diff(J.indptr)), J.shape[0] + J.indices
    for index, front in enumerate(ordering.fronts):
        members = np.concatenate([front.own, front.boundary])
        assert np.isin(rows[front.entries], members).all()
        assert np.isin(columns[front.entries], members).all()
        if front.boundary.size:
            parent = ordering.fronts[front.parent]
            assert front.parent > index
            assert np.isin(front.boundary, np.concatenate([parent.own, parent.boundary])).all()
        else:
            assert front.parent == -1


def test_a_path_has_small_fronts_and_a_dense_graph_a_chain():
    assert max(front.own.size for front in order(*path(60, 3)).fronts) <= MERGED
    assert max(front.boundary.size for front in order(*path(60, 3)).fronts) <= 12
    chain = order(*random_links(150, 8)).fronts
    assert max(front.own.size for front in chain[:-1]) <= CHUNK
    assert chain[-1].own.size <= ROOT


def test_cost_grows_with_the_unknowns():
    small, large = order(*path(60, 3)), order(*path(60, 6))
    assert 2 * small.flops < large.flops
    assert small.bytes < large.bytes

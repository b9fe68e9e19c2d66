import itertools
from functools import partial

import jraph
import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.graphs.rewiring import _candidates, _neighbours, balanced_forman, fosr, sdrf

RANDOM = [
    nx.gnp_random_graph(n, p, seed=seed) for seed, (n, p) in enumerate([(9, 0.3), (9, 0.6), (16, 0.2), (14, 0.5)])
]
LOLLIPOP = nx.lollipop_graph(6, 4)


def as_tuple(senders, receivers, num_nodes, edges=None):
    return jraph.GraphsTuple(
        nodes={"x": np.arange(num_nodes)},
        edges=edges,
        senders=np.asarray(senders, np.int32),
        receivers=np.asarray(receivers, np.int32),
        globals=None,
        n_node=np.asarray([num_nodes], np.int32),
        n_edge=np.asarray([len(senders)], np.int32),
    )


def undirected(G):
    pairs = np.array(nx.convert_node_labels_to_integers(G, ordering="sorted").to_directed().edges, int).reshape(-1, 2)
    return as_tuple(*pairs.T, len(G))


def matrix(graph):
    n = int(graph.n_node[0])
    A = np.zeros((n, n), int)
    A[graph.receivers, graph.senders] = 1
    return A


def changed(before, after):
    """The undirected edges i < j that were added, and those that were removed."""
    difference = np.triu(matrix(after) - matrix(before))
    return [tuple(map(int, e)) for e in np.argwhere(difference == 1)], np.argwhere(difference == -1).tolist()


def ricci(A, i, j):
    """Definitions 1 and 4 of 2111.14522, read off the adjacency matrix node by node."""
    nodes, degree = range(len(A)), A.sum(axis=1)
    if min(degree[i], degree[j]) == 1:
        return 0.0
    triangles = sum(A[k, i] and A[k, j] for k in nodes)

    def four_cycles(i, j):
        def closes(k, w):
            distinct = len({i, j, k, w}) == 4
            return distinct and A[i, k] and A[k, w] and A[w, j] and not A[k, j] and not A[w, i]

        return [k for k in nodes if any(closes(k, w) for w in nodes)]

    Q_i, Q_j = four_cycles(i, j), four_cycles(j, i)
    largest, smallest = max(degree[i], degree[j]), min(degree[i], degree[j])
    ric = 2 / degree[i] + 2 / degree[j] - 2 + 2 * triangles / largest + triangles / smallest
    if not Q_i:
        return ric
    gamma = max([A[k] @ (A[j] - A[i] * A[j]) - 1 for k in Q_i] + [A[w] @ (A[i] - A[j] * A[i]) - 1 for w in Q_j])
    return ric + (len(Q_i) + len(Q_j)) / (gamma * largest)


def normalised_adjacency(A):
    scale = A.sum(axis=1) ** -0.5
    return scale[:, None] * A * scale


def lambda_2(A):
    return np.linalg.eigvalsh(normalised_adjacency(A))[-2]


def least_pairs(A, x):
    """All pairs without an edge that attain the minimum of x_i x_j / sqrt((1 + d_i)(1 + d_j))."""
    degree = A.sum(axis=1)
    value = {
        (i, j): x[i] * x[j] / np.sqrt((1 + degree[i]) * (1 + degree[j]))
        for i, j in itertools.combinations(range(len(A)), 2)
        if not A[i, j]
    }
    least = min(value.values())
    return [pair for pair in value if value[pair] <= least + 1e-12]


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_curvature_of_complete_graphs(n):
    result = balanced_forman(undirected(nx.complete_graph(n)))
    np.testing.assert_array_equal(result.edges, list(itertools.combinations(range(n), 2)))
    np.testing.assert_allclose(result.curvature, n / (n - 1), rtol=1e-14)


@pytest.mark.parametrize(("n", "expected"), [(3, 1.5), (4, 1.0), (5, 0.0), (6, 0.0), (11, 0.0)])
def test_curvature_of_cycles(n, expected):
    np.testing.assert_allclose(balanced_forman(undirected(nx.cycle_graph(n))).curvature, expected, atol=1e-14)


def test_curvature_of_grids():
    # Without a boundary every node has 4 neighbours, and every edge two 4-cycles on different nodes.
    torus = undirected(nx.grid_2d_graph(5, 6, periodic=True))
    np.testing.assert_allclose(balanced_forman(torus).curvature, 0, atol=1e-14)


@pytest.mark.parametrize("r", [2, 3, 5])
def test_curvature_of_trees(r):
    graph = undirected(nx.balanced_tree(r, 3))
    edges, curvature = balanced_forman(graph)
    degree = matrix(graph).sum(axis=1)
    lowest = degree[edges].min(axis=1)
    assert set(lowest) == {1, r, r + 1}
    np.testing.assert_array_equal(curvature[lowest == 1], 0)
    np.testing.assert_allclose(curvature[lowest == r + 1], 4 / (r + 1) - 2, rtol=1e-14)
    np.testing.assert_allclose(curvature[lowest == r], 2 / r + 2 / (r + 1) - 2, rtol=1e-14)


def test_curvature_of_complete_bipartite_graphs():
    # K_{3,4}: Q_i has 3 nodes with 2 cycles each, Q_j 2 with 3 each, so that gamma = 3.
    result = balanced_forman(undirected(nx.complete_bipartite_graph(3, 4)))
    np.testing.assert_allclose(result.curvature, 2 / 3 + 2 / 4 - 2 + 5 / (3 * 4), rtol=1e-14)


@pytest.mark.parametrize("G", [*RANDOM, LOLLIPOP, nx.karate_club_graph()])
def test_curvature_is_the_definition(G):
    graph = undirected(G)
    A = matrix(graph)
    edges, curvature = balanced_forman(graph)
    np.testing.assert_array_equal(edges, np.argwhere(np.triu(A)))
    np.testing.assert_allclose(curvature, [ricci(A, i, j) for i, j in edges], atol=1e-14)
    assert (curvature > -2).all()


def test_curvature_without_edges():
    for n in (0, 1, 4):
        edges, curvature = balanced_forman(as_tuple([], [], n))
        assert edges.shape == (0, 2)
        assert curvature.shape == (0,)


def test_loops_and_duplicates_do_not_count():
    graph = undirected(LOLLIPOP)
    twice = graph._replace(
        senders=np.concatenate([graph.senders, [4, 4], graph.senders]),
        receivers=np.concatenate([graph.receivers, [4, 4], graph.receivers]),
    )
    for plain, doubled in zip(balanced_forman(graph), balanced_forman(twice), strict=True):
        np.testing.assert_array_equal(plain, doubled)
    for rewire, options in ((fosr, {"edges": 3}), (sdrf, {"steps": 3, "remove_above": 0.9})):
        assert changed(graph, rewire(graph, **options)) == changed(twice, rewire(twice, **options))
        result = rewire(twice, **options)
        assert np.sum(result.senders == result.receivers) == 2


def test_fosr_widens_the_bottleneck_of_a_barbell():
    graph = undirected(nx.barbell_graph(8, 3))
    eigenvalues = [lambda_2(matrix(fosr(graph, edges=k, initial_steps=100))) for k in range(6)]
    assert (np.diff(eigenvalues) < 0).all()


@pytest.mark.parametrize("G", [LOLLIPOP, nx.karate_club_graph(), nx.path_graph(9), nx.grid_2d_graph(3, 5)])
def test_fosr_adds_the_best_pair_for_the_second_eigenvector(G):
    # Paths and grids are bipartite: with -1 in the spectrum, the largest modulus is not the second eigenvalue.
    graph = undirected(G)
    for _ in range(4):
        A = matrix(graph)
        values, vectors = np.linalg.eigh(normalised_adjacency(A))
        if values[-2] - values[-3] < 1e-6:  # the grid's fourth: any vector of a plane is the second one
            break
        x = vectors[:, -2]
        bigger = fosr(graph, edges=1, initial_steps=5000)
        (pair,), removed = changed(graph, bigger)
        assert pair in least_pairs(A, x)
        assert not removed
        graph = bigger
    assert graph.senders.size >= 2 * G.number_of_edges() + 6


@pytest.mark.parametrize("G", [g for g in RANDOM if nx.is_connected(g)] + [LOLLIPOP])
def test_fosr_adds_the_best_pair_for_every_iterate(G):
    graph = undirected(G)
    A, initial_steps, seed, count = matrix(graph), 3, 11, 6
    result = fosr(graph, edges=count, initial_steps=initial_steps, seed=seed)
    added = np.stack([result.senders, result.receivers], axis=1)[graph.senders.size :]
    np.testing.assert_array_equal(added[::2], added[1::2, ::-1])

    def step(x):
        root = np.sqrt(A.sum(axis=1))
        root = root / np.linalg.norm(root)
        x = (np.eye(len(A)) + normalised_adjacency(A)) @ (x - root * (root @ x))
        return x / np.linalg.norm(x)

    x = np.random.default_rng(seed).standard_normal(len(A))
    for _ in range(initial_steps):
        x = step(x)
    for i, j in added[::2]:
        assert (min(i, j), max(i, j)) in least_pairs(A, x)
        A[i, j] = A[j, i] = 1
        x = step(x)


def test_fosr_joins_components():
    # Between components lambda_2 = 1: its eigenvectors are constant on each, up to sqrt(d), and change sign.
    for G in (
        nx.disjoint_union(nx.complete_graph(5), nx.cycle_graph(6)),
        nx.disjoint_union(LOLLIPOP, nx.empty_graph(1)),
    ):
        result = fosr(undirected(G), edges=1, initial_steps=2000)
        assert nx.is_connected(nx.from_numpy_array(matrix(result)))
    lone = as_tuple([], [], 5)
    assert nx.is_connected(nx.from_numpy_array(matrix(fosr(lone, edges=10))))


def test_fosr_fills_the_graph_and_no_more():
    graph = undirected(nx.star_graph(4))
    np.testing.assert_array_equal(matrix(fosr(graph, edges=6)), 1 - np.eye(5))
    with pytest.raises(ValueError, match="edges=7 is too many: only 6 pairs"):
        fosr(graph, edges=7)
    np.testing.assert_array_equal(matrix(fosr(as_tuple([], [], 2), edges=1)), [[0, 1], [1, 0]])
    for full in (as_tuple([], [], 0), as_tuple([], [], 1), undirected(nx.complete_graph(4))):
        np.testing.assert_array_equal(matrix(fosr(full, edges=0)), matrix(full))
        with pytest.raises(ValueError, match="edges=1 is too many: only 0 pairs"):
            fosr(full, edges=1)


def improvements(A, i, j):
    """Ric(i, j) after adding k - l, less Ric(i, j), for all absent k - l with k in B_1(i) and l in B_1(j)."""
    B = A + np.eye(len(A), dtype=int)
    result = {}
    for k, l in itertools.product(np.flatnonzero(B[i]).tolist(), np.flatnonzero(B[j]).tolist()):
        if not B[k, l]:
            more = A.copy()
            more[k, l] = more[l, k] = 1
            result[min(k, l), max(k, l)] = ricci(more, i, j) - ricci(A, i, j)
    return result


@pytest.mark.parametrize("G", [*RANDOM, LOLLIPOP, nx.complete_bipartite_graph(3, 4)])
def test_sdrf_weighs_every_candidate(G):
    graph = undirected(G)
    for i, j in G.edges:
        expected = improvements(matrix(graph), i, j)
        found = _candidates(_neighbours(graph), i, j)
        assert found.keys() == expected.keys()
        np.testing.assert_allclose([found[pair] for pair in expected], list(expected.values()), atol=1e-14)


def test_sdrf_begins_at_the_most_negatively_curved_edge():
    # The bridge 4 - 5 between two K_5 is the one negatively curved edge.
    graph = undirected(nx.barbell_graph(5, 0))
    edges, curvature = balanced_forman(graph)
    bridge = (edges == (4, 5)).all(axis=1)
    np.testing.assert_array_equal(curvature < 0, bridge)
    for seed in range(5):
        after = sdrf(graph, steps=1, seed=seed)
        ((k, l),), removed = changed(graph, after)
        assert not removed
        assert k <= 4  # in B_1(4), and l in B_1(5)
        assert l >= 5
        edges, raised = balanced_forman(after)
        assert raised[(edges == (4, 5)).all(axis=1)] > curvature[bridge]


def test_sdrf_draws_by_softmax():
    G, temperature, draws = nx.barbell_graph(3, 0), 3.0, 4000
    graph = undirected(G)
    gains = improvements(matrix(graph), 2, 3)
    expected = np.exp(temperature * np.array(list(gains.values())))
    counts = dict.fromkeys(gains, 0)
    for seed in range(draws):
        (pair,), _ = changed(graph, sdrf(graph, steps=1, temperature=temperature, seed=seed))
        counts[pair] += 1
    # Five standard deviations of a frequency.
    np.testing.assert_allclose(
        np.array(list(counts.values())) / draws, expected / expected.sum(), atol=5 * 0.5 / draws**0.5
    )


def best_additions(A):
    """Every A + (k, l) that raises the curvature of an edge of least curvature most, of the edges that offer any."""
    offers = {(i, j): improvements(A, i, j) for i, j in np.argwhere(np.triu(A))}
    curvature = {edge: ricci(A, *edge) for edge in offers if offers[edge]}
    for gains in [offers[e] for e in curvature if curvature[e] <= min(curvature.values()) + 1e-12]:
        for k, l in [pair for pair in gains if gains[pair] >= max(gains.values()) - 1e-9]:
            more = A.copy()
            more[k, l] = more[l, k] = 1
            yield more


def largest_removals(A, remove_above):
    """Every A without an edge of largest curvature, if that is above the bound, else A."""
    curvature = {(i, j): ricci(A, i, j) for i, j in np.argwhere(np.triu(A))}
    largest = max(curvature.values())
    if remove_above is None or largest <= remove_above:
        yield A
        return
    for i, j in [e for e in curvature if curvature[e] >= largest - 1e-12]:
        less = A.copy()
        less[i, j] = less[j, i] = 0
        yield less


@pytest.mark.parametrize("remove_above", [None, 0.4, 5.0])
@pytest.mark.parametrize("G", [*RANDOM[:3], LOLLIPOP])
def test_sdrf_steps_are_those_of_the_definition(G, remove_above):
    # The first steps of a longer run are a shorter run.
    graph = undirected(G)
    A = matrix(graph)
    for steps in range(1, 6):
        after = matrix(sdrf(graph, steps=steps, remove_above=remove_above, temperature=1e9))
        possible = (less for more in best_additions(A) for less in largest_removals(more, remove_above))
        assert any((after == B).all() for B in possible)
        A = after


@pytest.mark.parametrize("n", [3, 5])
def test_sdrf_removes_above_the_bound_and_not_at_it(n):
    # The one pair without an edge is joined: K_n, all of curvature n / (n - 1), which these n have no rounding in.
    graph, curvature = undirected(nx.from_edgelist(list(nx.complete_graph(n).edges)[:-1])), n / (n - 1)
    for bound, left in ((curvature, n * (n - 1)), (np.nextafter(curvature, 0), n * (n - 1) - 2)):
        assert matrix(sdrf(graph, steps=1, remove_above=bound)).sum() == left


def test_sdrf_stops_where_nothing_can_be_added():
    for graph in (as_tuple([], [], 1), as_tuple([], [], 4), undirected(nx.complete_graph(5))):
        np.testing.assert_array_equal(matrix(sdrf(graph, steps=0)), matrix(graph))
        with pytest.raises(ValueError, match="steps=1 is too many: after 0 every component is complete"):
            sdrf(graph, steps=1)
    # A pair of nodes ties with the path at curvature 0, and offers no candidate.
    graph = undirected(nx.disjoint_union(nx.path_graph(2), nx.path_graph(4)))
    clique = nx.disjoint_union(nx.path_graph(2), nx.complete_graph(4))
    np.testing.assert_array_equal(matrix(sdrf(graph, steps=3)), nx.to_numpy_array(clique))
    with pytest.raises(ValueError, match="steps=4 is too many: after 3 every"):
        sdrf(graph, steps=4)


@pytest.mark.parametrize(("rewire", "options"), [(fosr, {"edges": 4}), (sdrf, {"steps": 4, "remove_above": 0.5})])
class TestBoth:
    def test_the_rest_of_the_graph_is_kept(self, rewire, options):
        graph = undirected(LOLLIPOP)
        copy = {name: np.copy(getattr(graph, name)) for name in ("senders", "receivers", "n_edge", "n_node")}
        result = rewire(graph, **options)
        for name, value in copy.items():
            np.testing.assert_array_equal(getattr(graph, name), value)
            assert getattr(result, name).dtype == value.dtype
        assert result.nodes is graph.nodes
        np.testing.assert_array_equal(result.n_node, graph.n_node)
        np.testing.assert_array_equal(result.n_edge, [result.senders.size])
        A = matrix(result)
        assert A.sum() == result.senders.size
        np.testing.assert_array_equal(A, A.T)
        assert not np.diag(A).any()

    def test_a_seed_gives_one_graph(self, rewire, options):
        graph = undirected(nx.karate_club_graph())
        one, same = (rewire(graph, **options, seed=3) for _ in range(2))
        np.testing.assert_array_equal(one.senders, same.senders)
        np.testing.assert_array_equal(one.receivers, same.receivers)
        others = [matrix(rewire(graph, **options, seed=seed)) for seed in range(6)]
        assert any((matrix(one) != other).any() for other in others)

    def test_refuses_graphs(self, rewire, options):
        with pytest.raises(ValueError, match="edge 1 -> 2 has no edge back"):
            rewire(as_tuple([0, 1, 1], [1, 0, 2], 3), **options)
        with pytest.raises(ValueError, match="edge features"):
            rewire(undirected(LOLLIPOP)._replace(edges=np.ones((38, 1))), **options)
        with pytest.raises(ValueError, match="edge 0 -> 3 names a node that is not there"):
            rewire(as_tuple([0, 3], [3, 0], 3), **options)
        with pytest.raises(ValueError, match="n_node holds 2"):
            rewire(as_tuple([], [], 3)._replace(n_node=np.array([1, 2])), **options)

    def test_refuses_options(self, rewire, options):
        graph = undirected(LOLLIPOP)
        for name in (next(iter(options)), "seed"):
            for value in (-1, 1.5, True):
                with pytest.raises(ValueError, match=f"{name}={value} is not allowed"):
                    rewire(graph, **{**options, name: value})


def test_refuses_options_of_one():
    graph = undirected(LOLLIPOP)
    with pytest.raises(ValueError, match="initial_steps=-1 is not allowed"):
        fosr(graph, edges=1, initial_steps=-1)
    for temperature in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"temperature={temperature} is not allowed"):
            sdrf(graph, steps=1, temperature=temperature)
    with pytest.raises(ValueError, match="remove_above=nan is not allowed"):
        sdrf(graph, steps=1, remove_above=float("nan"))
    with pytest.raises(ValueError, match="edge 1 -> 2 has no edge back"):
        balanced_forman(as_tuple([0, 1, 1], [1, 0, 2], 3))


def test_a_prepared_graph_is_not_rewired(graphs):
    for rewire in (balanced_forman, partial(fosr, edges=1), partial(sdrf, steps=1)):
        with pytest.raises(ValueError, match=r"^a jraph.GraphsTuple is rewired, before prepare\(\), not Graph$"):
            rewire(jg.prepare(**graphs.ring(5)))


def test_cora(cora):
    more = fosr(cora.graph, edges=50)
    assert more.senders.size == cora.graph.senders.size + 100
    least = balanced_forman(cora.graph).curvature.min()
    assert balanced_forman(sdrf(cora.graph, steps=20)).curvature.min() > least

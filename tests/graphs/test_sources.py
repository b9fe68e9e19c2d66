"""Graphs of other libraries, dense matrices, edges and files: each against the matrix it stands for, and back."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
from jaxgnn.data import Dataset
from jaxgnn.data.dataset import edge_parts

A = np.array([[0, 2.0, 0], [0, 0, -1.5], [0.5, 0, 1]])  # A[u, v]: u -> v, a loop at 2


def matrix(graph):
    """A[u, v] of a GraphsTuple."""
    n = int(graph.n_node[0])
    weights = edge_parts(graph.edges)[0]
    found = np.zeros((n, n))
    np.add.at(found, (graph.senders, graph.receivers), 1 if weights is None else weights)
    return found


class Torch:
    """Looks like a tensor."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.is_sparse, self.dtype = False, "torch.float32"

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.values


SOURCES = {
    "dense": lambda: A,
    "scipy": lambda: sp.csr_matrix(A),
    "coo array": lambda: sp.coo_array(A),
    "networkx": lambda: nx.from_numpy_array(A, create_using=nx.DiGraph),
    "pyg": lambda: SimpleNamespace(
        edge_index=Torch(np.stack(np.nonzero(A))), edge_weight=Torch(A[np.nonzero(A)]), num_nodes=3
    ),
    "dgl": lambda: SimpleNamespace(
        edges=lambda: tuple(map(Torch, np.nonzero(A))),
        num_nodes=lambda: 3,
        ndata={},
        edata={"w": Torch(A[np.nonzero(A)])},
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_the_same_matrix_and_comes_back(name):
    graph = jg.prepare(SOURCES[name](), normalisation="raw", undirected=False)
    np.testing.assert_array_equal(graph.propagation.dense(), A.T)  # P[receiver, sender]
    np.testing.assert_array_equal(graph.to_scipy().toarray(), A)
    back = graph.to_networkx()
    assert back.is_directed()
    np.testing.assert_array_equal(nx.to_numpy_array(back, nodelist=range(3)), A)


def test_an_undirected_networkx_graph_has_both_directions_and_comes_back():
    G = nx.karate_club_graph()
    graph = jg.prepare(G, normalisation="raw")
    np.testing.assert_array_equal(graph.to_scipy().toarray(), nx.to_numpy_array(G))
    back = graph.to_networkx()
    assert not back.is_directed()
    assert {frozenset(e) for e in back.edges} == {frozenset(e) for e in G.edges}
    assert all(back.edges[e]["weight"] == G.edges[e]["weight"] for e in G.edges)
    unweighted = jg.prepare(nx.path_graph(4)).to_networkx()
    assert nx.is_isomorphic(unweighted, nx.path_graph(4))
    assert not nx.get_edge_attributes(unweighted, "weight")


def test_names_of_nodes_attributes_and_labels_of_networkx():
    G = nx.DiGraph()
    for name, x, y in (("a", [1.0, 2.0], 0), ("c", [3.0, 4.0], 1), ("b", [5.0, 6.0], None)):
        G.add_node(name, x=x, y=y, train_mask=name == "a", size=len(name))
    G.add_edge("c", "a", weight=2.5)
    G.add_edge("a", "b")
    ds = jg.from_networkx(G)
    assert isinstance(ds, Dataset)
    np.testing.assert_array_equal(matrix(ds.graph), [[0, 0, 1], [2.5, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(ds.x, [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(ds.labels, [0, 1, -1])
    np.testing.assert_array_equal(ds.train_mask, [True, False, False])
    other = jg.from_networkx(G, x=["size", "x"], y="none")
    np.testing.assert_array_equal(other.nodes, [[1, 1, 2], [1, 3, 4], [1, 5, 6]])
    G.add_node("d")
    with pytest.raises(ValueError, match=r"^from_networkx: node 3 has no attribute 'x', which others have"):
        jg.from_networkx(G)


def test_numbers_in_another_order_have_to_be_said():
    G = nx.Graph([(2, 0), (1, 2)])
    with pytest.raises(ValueError, match=r"the nodes are the numbers 0 to 2 in another order: nodelist=sorted\(G\)"):
        jg.prepare(G)
    by_number, by_place = (jg.from_networkx(G, nodelist=order) for order in (sorted(G), list(G)))
    np.testing.assert_array_equal(matrix(by_number), [[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    np.testing.assert_array_equal(matrix(by_place), [[0, 1, 1], [1, 0, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match="nodelist holds 2 nodes, not each of the graph's 3 once"):
        jg.from_networkx(G, nodelist=[0, 1])


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray, lambda a: a.tolist()])
def test_edges_in_every_form(array, tmp_path):
    s, r = np.array([0, 1, 2, 3]), np.array([1, 2, 0, 0])
    expected = np.zeros((4, 4))
    expected[s, r] = 1
    (tmp_path / "edges.csv").write_text("# made by hand\nsource,target\n0,1\n1,2\n2,0\n3,0\n")
    forms = (
        jg.from_edges(array(np.stack([s, r]))),
        jg.from_edges(array(np.stack([s, r], axis=1))),
        jg.from_edges((np.asarray(s), np.asarray(r))),
        jg.from_edges(edge_index=array(np.stack([s, r]))),
        jg.from_edges(pairs=array(np.stack([s, r], axis=1))),
        jg.from_edges(tmp_path / "edges.csv"),
        jg.from_edges(str(tmp_path / "edges.csv")),
    )
    for graph in forms:
        np.testing.assert_array_equal(matrix(graph), expected)
        assert graph.edges is None
    np.testing.assert_array_equal(matrix(jg.from_edges(pairs=[[0, 1], [1, 0]])), [[0, 1], [1, 0]])
    both = jg.from_edges(
        pairs=[[0, 1], [2, 1]], weights=[2.0, 3.0], features=[[1.0], [4.0]], undirected=True, num_nodes=4
    )
    np.testing.assert_array_equal(matrix(both), [[0, 2, 0, 0], [2, 0, 3, 0], [0, 3, 0, 0], [0] * 4])
    weight, features = edge_parts(both.edges)
    np.testing.assert_array_equal(features[:, 0], np.where(weight == 2, 1, 4))
    prepared = jg.prepare(both)
    assert prepared.weighted
    assert prepared.edge_features.shape == (4, 1)
    assert jg.from_edges([], num_nodes=3).n_node == [3]


PAIR = SimpleNamespace(edge_index=[[0], [1]], x=np.ones((2, 1)), y=[0, 1], train_mask=np.ones((2, 3), bool))
REFUSED = {
    "two by two": (lambda: jg.from_edges([[0, 1], [1, 0]]), r"an array \[2, 2\] may be pairs or senders and receivers"),
    "nothing": (lambda: jg.from_edges(), r"one of edges, edge_index= and pairs= is needed, not none"),
    "twice": (lambda: jg.from_edges([[0, 1, 2], [1, 2, 0]], pairs=[[0, 1]]), r"needed, not edges and pairs"),
    "shape": (lambda: jg.from_edges(np.zeros((3, 4), int)), r"edges have shape \(3, 4\): \[2, e\], \[m, 2\] or"),
    "half a node": (
        lambda: jg.from_edges([[0.5, 1], [1, 2], [2, 0]]),
        r"edge 0 has sender 0.5: node numbers",
    ),
    "text": (lambda: jg.from_edges(pairs=[["a", "b"]]), r"senders have dtype <U1: node numbers must be integers"),
    "missing node": (
        lambda: jg.from_edges(pairs=[[0, 5]], num_nodes=3),
        r"edge 0 has receiver 5, a node that is",
    ),
    "negative": (lambda: jg.from_edges(pairs=[[0, -1]]), r"edge 0 has receiver -1, a node that is not there"),
    "no count": (lambda: jg.from_edges([]), r"without edges num_nodes= is needed"),
    "weights": (
        lambda: jg.from_edges(pairs=[[0, 1]], weights=[1, 2]),
        r"weights have shape \(2,\): one weight for",
    ),
    "not square": (
        lambda: jg.from_scipy(sp.csr_matrix((2, 3))),
        r"the matrix has shape \(2, 3\): a square",
    ),
    "dense not square": (
        lambda: jg.from_dense(np.zeros((2, 3))),
        r"the matrix has shape \(2, 3\): a square",
    ),
    "nan": (lambda: jg.from_dense([[np.nan, 1], [1, 0]]), r"the weight of edge 0 is nan: weights must be finite"),
    "complex": (lambda: jg.from_scipy(sp.csr_matrix([[1j, 1], [1, 0]])), r"weights have dtype complex128"),
    "not scipy": (lambda: jg.from_scipy(A), r"a scipy.sparse matrix is needed, not ndarray; jg.from_edges"),
    "not networkx": (lambda: jg.from_networkx(A), r"a networkx graph is needed, not ndarray"),
    "not pyg": (lambda: jg.from_pyg(A), r"ndarray has no edge_index"),
    "not dgl": (lambda: jg.from_dgl(A), r"a DGLGraph is needed, not ndarray"),
    "both weights": (
        lambda: jg.prepare(jg.from_dense(A), weights=np.ones(4)),
        r"edges have weights, so that",
    ),
    "no column": (lambda: jg.from_pyg(PAIR, split=3), r"split=3: train_mask has columns 0 to 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    call, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        call()


FILES = {
    "nan": ("source,target\n0,1\n1,nan\n", r"line 3 has nan: nodes are whole numbers"),
    "infinite": ("0,1\n\n1,inf\n", r"line 3 has inf: nodes are whole numbers"),
    "huge": ("# a remark\n0,1\n1,1e300\n", r"line 3 has 1e\+300: nodes are whole numbers"),
    "half": ("0,1\n1,2.5\n", r"line 2 has 2.5: nodes are whole numbers"),
    "negative": ("0,1\n1,-2\n", r"line 2 has -2: nodes are whole numbers"),
    "no weight": ("0,1,1\n1,2,nan\n", r"line 2 has nan: weights are finite"),
    "text": ("0,1\n1,x\n", r"line 2 holds 'x', where numbers are needed"),
    "one column": ("0\n1\n", r"1 columns: source and target, or source, target and weight are needed"),
    "ragged": ("0,1\n1\n", r"line 2 has 1 numbers, and the first 2"),
    "wrong names": ("name,target\n0,1\n", r"line 1 names a column 'name': source, target and weight are allowed"),
    "half a name": ("a,1\n0,1\n", r"line 1 is 'a,1': names alone or numbers alone are allowed"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_of_edges_that_are_refused(case, tmp_path):
    content, sentence = FILES[case]
    path = tmp_path / "e.csv"
    path.write_text(content)
    with pytest.raises(jg.data.DataError, match=sentence) as error:
        jg.from_edges(path)
    assert str(path) in str(error.value)
    with pytest.raises(jg.data.DataError, match="the file cannot be read: No such file"):
        jg.from_edges(tmp_path / "none.csv")


def test_pytorch_geometrics_own_data():
    torch = pytest.importorskip("torch")
    Data = pytest.importorskip("torch_geometric.data").Data
    x, y = torch.eye(3), torch.tensor([0, 1, 1])
    mask = torch.tensor([[True, False], [False, True], [False, False]])
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    data = Data(x=x, y=y, edge_index=edge_index, edge_attr=torch.ones(4, 2), train_mask=mask, val_mask=~mask)
    ds = jg.from_pyg(data, split=1)
    np.testing.assert_array_equal(ds.train_mask, [False, True, False])
    np.testing.assert_array_equal(ds.x, np.eye(3))
    assert jg.prepare(data).edge_features.shape == (4, 2)
    assert jg.from_pyg(Data(x=x, edge_index=edge_index)).nodes.shape == (3, 3)


def test_a_network_says_what_a_graph_lacks():
    graph = jg.from_networkx(nx.cycle_graph(4))
    model = jg.DeepGNN(depth=1, width=2, out=2)
    with pytest.raises(ValueError, match=r"GraphsTuple is no prepared graph: jaxgnn.prepare\(graph\) makes one"):
        model.init(jax.random.key(0), graph, np.eye(4))

"""Ways in: graphs of NetworkX, SciPy, PyTorch Geometric and DGL, dense matrices, lists of edges and files of them.

Each is read by what it offers: no other library is imported. An edge u -> v is the entry [u, v] of a matrix.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from jaxgnn.data.dataset import MASKS, Dataset, GraphsTuple, graphs_tuple
from jaxgnn.data.errors import DataError
from jaxgnn.data.own import own_dataset, own_features
from jaxgnn.data.plain import plain
from jaxgnn.data.tables import edges_of_csv
from jaxgnn.graphs.edge_list import checked_edges, checked_features, checked_weights, merged, with_reverses

_WAYS = (
    "jg.from_edges, from_scipy, from_networkx, from_pyg, from_dgl and from_dense read what other libraries hold, and "
    "GraphsTuple and Dataset are taken as they are"
)


def from_edges(
    edges: Any = None,
    *,
    edge_index: Any = None,
    pairs: Any = None,
    num_nodes: int | None = None,
    weights: Any = None,
    features: Any = None,
    undirected: bool = False,
) -> GraphsTuple:
    """A graph from its edges.

    Args:
      edges: (senders, receivers), two arrays [e]; an array [2, e] of them; an array [m, 2] of pairs; or the path of a
        CSV file with two columns, or three with weights. An array [2, 2] may be either, and is refused. Or one of:
      edge_index: [2, e] senders and receivers.
      pairs: [m, 2] sender and receiver of every edge.
      num_nodes: n; by default one more than the largest number of a node.
      weights: [e] real numbers; 1 where there are none.
      features: [e, ...] of the edges, an array or a pytree of them.
      undirected: adds the reverse of every edge, with its weight and features.

    Returns a GraphsTuple whose `edges` are {"weight": [e], "features": ...} of what there is, or None.
    Raises ValueError where an edge names a node that is not there, numbers are no whole numbers, or arrays do not fit;
    DataError for a file that is none of edges.
    """
    given = [name for name, v in (("edges", edges), ("edge_index", edge_index), ("pairs", pairs)) if v is not None]
    if len(given) != 1:
        raise ValueError(
            f"from_edges: one of edges, edge_index= and pairs= is needed, not {' and '.join(given) or 'none'}"
        )
    if isinstance(edges, str | Path):
        if weights is not None:
            raise ValueError(f"from_edges: {edges} has its weights in a third column, so that weights= is not taken")
        senders, receivers, weights = edges_of_csv(Path(edges))
    elif pairs is not None:
        senders, receivers = _columns(plain("from_edges: pairs", pairs), "pairs", 1)
    elif edge_index is not None:
        senders, receivers = _columns(plain("from_edges: edge_index", edge_index), "edge_index", 0)
    else:
        senders, receivers = _either_way(edges)
    senders, receivers = (_whole(side, name) for side, name in ((senders, "senders"), (receivers, "receivers")))
    if num_nodes is None:
        if not senders.size:
            raise ValueError("from_edges: without edges num_nodes= is needed")
        num_nodes = int(max(senders.max(), receivers.max())) + 1
    weights = None if weights is None else plain("from_edges: weights", weights)
    features = plain("from_edges: features", features) if isinstance(features, list) else features
    return _tuple(senders, receivers, num_nodes, weights, features, undirected=undirected)


def from_scipy(matrix: Any, *, undirected: bool = False) -> GraphsTuple:
    """A graph from a sparse matrix [n, n]: the entry [u, v] is the weight of the edge u -> v.

    Weights are kept unless all are 1; duplicates are added and stored zeros are no edges. Raises ValueError for another
    shape and for entries that are not finite real numbers.
    """
    if not sp.issparse(matrix):
        raise ValueError(f"from_scipy: a scipy.sparse matrix is needed, not {type(matrix).__name__}; {_WAYS}")
    _check_square("from_scipy", matrix.shape)
    found = sp.coo_array(matrix)
    found.sum_duplicates()
    kept = found.data != 0
    senders, receivers = (np.asarray(side)[kept] for side in found.coords)
    weights = None if (found.data[kept] == 1).all() else found.data[kept]
    return _tuple(senders, receivers, matrix.shape[0], weights, None, undirected=undirected)


def from_dense(matrix: Any, *, undirected: bool = False) -> GraphsTuple:
    """A graph from an array [n, n]: an entry [u, v] that is not 0 is the weight of the edge u -> v."""
    array = plain("from_dense", matrix)
    _check_square("from_dense", array.shape)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"from_dense: entries have dtype {array.dtype}: real numbers are needed")
    senders, receivers = np.nonzero(array)
    found = array[senders, receivers]
    weights = None if (found == 1).all() else found
    return _tuple(senders, receivers, len(array), weights, None, undirected=undirected)


def from_networkx(
    graph: Any,
    *,
    x: str | Sequence[str] = "x",
    y: str = "y",
    weight: str = "weight",
    masks: Sequence[str] = MASKS,
    nodelist: Sequence[Any] | None = None,
) -> GraphsTuple | Dataset:
    """A graph from NetworkX, its nodes numbered in their order there; an undirected one has both directions.

    Args:
      nodelist: the nodes in the order that they are numbered in. It has to be given where they are the numbers 0 to
        n - 1 in another order: x and y could be meant by number or by place.
      x: the node attribute that holds features (a number or a sequence), or several attributes side by side.
      y: the node attribute that holds the class.
      weight: the edge attribute that holds the weight; an edge without it has 1.
      masks: node attributes that hold True for a node of the training, validation and test set.

    Returns a Dataset where any node has a label, otherwise a GraphsTuple with the features in `nodes`.
    Raises DataError where some nodes have features and others not, or attributes are of different lengths.
    """
    if not all(hasattr(graph, name) for name in ("nodes", "edges", "is_directed")):
        raise ValueError(f"from_networkx: a networkx graph is needed, not {type(graph).__name__}; {_WAYS}")
    number = {node: i for i, node in enumerate(_ordered(graph, nodelist))}
    n = len(number)
    listed = list(graph.edges(data=True))
    senders = np.asarray([number[u] for u, _, _ in listed], np.int64)
    receivers = np.asarray([number[v] for _, v, _ in listed], np.int64)
    values = [data.get(weight) for _, _, data in listed]
    weights = None
    if any(value is not None for value in values):
        weights = plain("from_networkx: weights", [1.0 if value is None else value for value in values])
    found = _tuple(senders, receivers, n, weights, None, undirected=not graph.is_directed())
    nodes = [graph.nodes[node] for node in number]
    names = [x] if isinstance(x, str) else list(x)
    features = _attributes(nodes, names)
    labels = [data.get(y) for data in nodes]
    given = {name: [bool(data.get(mask)) for data in nodes] for name, mask in zip(MASKS, masks, strict=True)}
    if any(label is not None for label in labels):
        present = {name: np.asarray(mask, bool) for name, mask in given.items() if any(mask)}
        return own_dataset("from_networkx", found, features, labels, present, name="networkx", complete=False)
    return found if features is None else found._replace(nodes=own_features("from_networkx", features, n))


def from_pyg(data: Any, *, split: int = 0) -> GraphsTuple | Dataset:
    """A graph from PyTorch Geometric's `Data` (or anything with its attributes).

    edge_index, edge_weight, edge_attr (the edges' features), x, y, num_nodes and train_mask, val_mask, test_mask are
    read; of masks [n, k] column `split`. Returns a Dataset where there is a label for every node, otherwise a
    GraphsTuple with x in `nodes`. Raises ValueError where edge_index is missing, DataError for arrays that do not fit.
    """
    if getattr(data, "edge_index", None) is None:
        raise ValueError(f"from_pyg: {type(data).__name__} has no edge_index: {_WAYS}")
    read = _reader("from_pyg", data)
    return _from_attributes(
        "from_pyg",
        _columns(plain("from_pyg: edge_index", data.edge_index), "edge_index", 0),
        getattr(data, "num_nodes", None),
        read("edge_weight"),
        read("edge_attr"),
        read("x"),
        read("y"),
        {name: read(name) for name in MASKS},
        split,
    )


def from_dgl(graph: Any, *, split: int = 0) -> GraphsTuple | Dataset:
    """A graph from DGL: edges(), num_nodes(), and of ndata and edata what the usual names hold.

    Features are "feat" or "x", labels "label" or "y", masks train_mask, val_mask, test_mask (of [n, k] column `split`);
    weights of edges "w" or "weight", their features "feat". Otherwise as `from_pyg`.
    """
    if not all(hasattr(graph, name) for name in ("edges", "num_nodes", "ndata", "edata")):
        raise ValueError(f"from_dgl: a DGLGraph is needed, not {type(graph).__name__}; {_WAYS}")

    def first(held: Mapping[str, Any], *names: str) -> Any:
        found = next((name for name in names if name in held), None)
        return None if found is None else plain(f"from_dgl: {found}", held[found])

    nodes, edges = graph.ndata, graph.edata
    sides = tuple(plain("from_dgl: edges", side) for side in graph.edges())
    return _from_attributes(
        "from_dgl",
        (sides[0], sides[1]),
        int(graph.num_nodes()),
        first(edges, "w", "weight"),
        first(edges, "feat"),
        first(nodes, "feat", "x"),
        first(nodes, "label", "y"),
        {name: first(nodes, name) for name in MASKS},
        split,
    )


def as_source(where: str, source: Any) -> GraphsTuple | Dataset:
    """What `prepare` and `dataset` take as a GraphsTuple or Dataset. Raises ValueError that names the ways in."""
    if isinstance(source, GraphsTuple | Dataset):
        return source
    if sp.issparse(source):
        return from_scipy(source)
    if hasattr(source, "edge_index"):
        return from_pyg(source)
    if all(hasattr(source, name) for name in ("ndata", "edata", "num_nodes")):
        return from_dgl(source)
    if all(hasattr(source, name) for name in ("nodes", "edges", "is_directed")):
        return from_networkx(source)
    if isinstance(source, str | Path):
        return from_edges(source)
    if isinstance(source, np.ndarray | list | tuple) or hasattr(source, "__array__"):
        array = source if isinstance(source, tuple) else plain(where, source)
        square = not isinstance(array, tuple) and array.ndim == 2 and array.shape[0] == array.shape[1] > 2
        return from_dense(array) if square else from_edges(array)
    raise ValueError(f"{where}: a graph is needed, not {type(source).__name__}: {_WAYS}")


def _from_attributes(where: str, sides, num_nodes, weights, features, x, y, masks, split: int):
    senders, receivers = (_whole(side, name) for side, name in zip(sides, ("senders", "receivers"), strict=True))
    if num_nodes is None:
        counts = [len(a) for a in (x, y) if a is not None and a.ndim] + [
            int(side.max()) + 1 for side in sides if side.size
        ]
        if not counts:
            raise ValueError(f"{where}: neither num_nodes nor x nor an edge says how many nodes there are")
        num_nodes = max(counts)
    n = int(num_nodes)
    weights = weights[:, 0] if weights is not None and weights.ndim == 2 and weights.shape[1] == 1 else weights
    found = _tuple(senders, receivers, n, weights, features, undirected=False)
    if y is not None and y.shape in ((n,), (n, 1)) and (n > 1 or x is None or y.dtype.kind in "iu"):
        present = {name: _column(where, name, mask, split) for name, mask in masks.items() if mask is not None}
        return own_dataset(where, found, x, y, present, name=where.removeprefix("from_"), complete=False)
    return found if x is None else found._replace(nodes=own_features(where, x, n))


def _column(where: str, name: str, mask: np.ndarray, split: int) -> np.ndarray:
    if mask.ndim != 2:
        return mask
    if not 0 <= split < mask.shape[1]:
        raise ValueError(f"{where}: split={split}: {name} has columns 0 to {mask.shape[1] - 1}")
    return mask[:, split]


def _tuple(senders, receivers, num_nodes, weights, features, *, undirected: bool) -> GraphsTuple:
    if isinstance(num_nodes, bool) or not isinstance(num_nodes, int | np.integer) or num_nodes < 0:
        raise ValueError(f"num_nodes={num_nodes!r}: allowed are 0 and more, whole")
    senders, receivers = checked_edges(senders, receivers, int(num_nodes))
    weights, features = checked_weights(weights, senders.size), checked_features(features, senders.size)
    if undirected:
        both = with_reverses(merged(senders, receivers, int(num_nodes), weights, features))
        receivers, senders = np.divmod(both.key, max(int(num_nodes), 1))
        weights, features = both.weights, both.features
    parts = {"weight": weights, "features": features}
    edges = {name: part for name, part in parts.items() if part is not None}
    return graphs_tuple(senders, receivers, int(num_nodes))._replace(edges=edges or None)


def _either_way(edges: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(edges, tuple | list) and len(edges) == 2 and all(getattr(side, "ndim", 0) == 1 for side in edges):
        return plain("from_edges: senders", edges[0]), plain("from_edges: receivers", edges[1])
    array = plain("from_edges: edges", edges)
    if array.shape == (2, 2):
        raise ValueError("from_edges: an array [2, 2] may be pairs or senders and receivers: say pairs= or edge_index=")
    if array.ndim == 2 and array.shape[0] == 2:
        return array[0], array[1]
    if array.ndim == 2 and array.shape[1] == 2:
        return array[:, 0], array[:, 1]
    if not array.size:
        return np.zeros(0, int), np.zeros(0, int)
    raise ValueError(f"from_edges: edges have shape {array.shape}: [2, e], [m, 2] or (senders, receivers) are allowed")


def _columns(array: np.ndarray, name: str, axis: int) -> tuple[np.ndarray, np.ndarray]:
    if array.ndim != 2 or array.shape[axis] != 2:
        raise ValueError(f"{name} has shape {array.shape}: {'[2, e]' if axis == 0 else '[m, 2]'} is needed")
    return (array[0], array[1]) if axis == 0 else (array[:, 0], array[:, 1])


def _whole(nodes: np.ndarray, name: str) -> np.ndarray:
    """Numbers of nodes; floats that are whole, as files have them, too."""
    nodes = plain(f"from_edges: {name}", nodes)
    if nodes.dtype.kind == "f" and nodes.size:
        wrong = np.flatnonzero(~np.isfinite(nodes) | (nodes != np.floor(nodes)) | (np.abs(nodes) > 2.0**53))
        if wrong.size:
            raise ValueError(f"edge {wrong[0]} has {name[:-1]} {nodes[wrong[0]]}: node numbers must be integers")
    elif nodes.dtype.kind not in "iu" and nodes.size:
        raise ValueError(f"{name} have dtype {nodes.dtype}: node numbers must be integers")
    return nodes.astype(np.int64)


def _ordered(graph: Any, nodelist: Sequence[Any] | None) -> list[Any]:
    nodes = list(graph.nodes)
    if nodelist is None:
        whole = all(isinstance(node, int | np.integer) for node in nodes)
        if whole and nodes != sorted(nodes) and sorted(nodes) == list(range(len(nodes))):
            raise ValueError(
                f"from_networkx: the nodes are the numbers 0 to {len(nodes) - 1} in another order: nodelist=sorted(G) "
                "takes them by number, nodelist=list(G) by place"
            )
        return nodes
    chosen = list(nodelist)
    if len(chosen) != len(nodes) or set(chosen) != set(nodes):
        raise ValueError(
            f"from_networkx: nodelist holds {len(chosen)} nodes, not each of the graph's {len(nodes)} once"
        )
    return chosen


def _attributes(nodes: list[dict], names: Sequence[str]) -> np.ndarray | None:
    """[n, f] of what the nodes have by these names, or None where no node has any."""
    if not any(name in data for data in nodes for name in names):
        return None
    for i, data in enumerate(nodes):
        if missing := [name for name in names if name not in data]:
            raise DataError(f"from_networkx: node {i} has no attribute {missing[0]!r}, which others have")
    rows = [np.concatenate([np.atleast_1d(plain("from_networkx: x", data[name])) for name in names]) for data in nodes]
    if len({row.shape for row in rows}) > 1:
        raise DataError(f"from_networkx: nodes have {sorted({row.size for row in rows})} features: all need as many")
    return np.stack(rows)


def _check_square(where: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"{where}: the matrix has shape {tuple(shape)}: a square one is needed")


def _reader(where: str, data: Any) -> Callable[[str], np.ndarray | None]:
    def read(name: str) -> np.ndarray | None:
        value = getattr(data, name, None)
        return None if value is None else plain(f"{where}: {name}", value)

    return read

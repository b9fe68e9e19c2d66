"""Edges as they are given: checked, sorted, duplicates merged, and both directions of each where that is asked for.

An edge of weight 0 is no edge.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int


class EdgeList(NamedTuple):
    """Different edges in the order of (receiver, sender).

    Attributes:
      key: [e] receiver * num_nodes + sender, ascending.
      weights: [e], none of them 0; None where edges have no weights.
      features: a pytree of arrays [e, ...], or None.
      num_nodes: n.
    """

    key: Int[np.ndarray, "e"]
    weights: Float[np.ndarray, "e"] | None
    features: Any
    num_nodes: int

    def matrix(self) -> sp.csr_matrix:
        """A[receiver, sender], the weights, [n, n]."""
        n = self.num_nodes
        rows, columns = np.divmod(self.key, max(n, 1))
        values = np.ones(self.key.size) if self.weights is None else self.weights
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
        return sp.csr_matrix((values, columns, indptr), (n, n))


def checked_edges(senders: Any, receivers: Any, num_nodes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both ends as int64. Raises ValueError for what is no list of edges between nodes 0 to num_nodes - 1."""
    if isinstance(num_nodes, bool) or not isinstance(num_nodes, int | np.integer):
        raise ValueError(f"num_nodes={num_nodes!r}: a graph has a whole number of nodes")
    if num_nodes < 0:
        raise ValueError(f"num_nodes={num_nodes} is negative: a graph has 0 nodes or more")
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    if senders.ndim != 1 or senders.shape != receivers.shape:
        raise ValueError(
            f"senders {senders.shape} and receivers {receivers.shape} must be one-dimensional and equally long"
        )
    for name, nodes in (("senders", senders), ("receivers", receivers)):
        if nodes.size and not np.issubdtype(nodes.dtype, np.integer):
            raise ValueError(f"{name} have dtype {nodes.dtype}: node numbers must be integers")
        wrong = np.flatnonzero((nodes < 0) | (nodes >= num_nodes)) if nodes.size else nodes
        if wrong.size:
            edge = wrong[0]
            raise ValueError(
                f"edge {edge} has {name[:-1]} {nodes[edge]}, a node that is not there: nodes are 0 to {num_nodes - 1}"
            )
    return senders.astype(np.int64), receivers.astype(np.int64)


def checked_weights(weights: Any, num_edges: int) -> Float[np.ndarray, "e"] | None:
    """[e] float64, or None. Raises ValueError for anything but one finite real number for each edge."""
    if weights is None:
        return None
    weights = np.asarray(weights)
    if weights.dtype.kind not in "biuf" and weights.size:
        raise ValueError(f"weights have dtype {weights.dtype}: weights must be real numbers")
    weights = weights.astype(np.float64)
    if weights.shape != (num_edges,):
        raise ValueError(f"weights have shape {weights.shape}: one weight for each of {num_edges} edges is needed")
    if not np.isfinite(weights).all():
        edge = np.flatnonzero(~np.isfinite(weights))[0]
        raise ValueError(f"the weight of edge {edge} is {weights[edge]}: weights must be finite")
    return weights


def checked_features(features: Any, num_edges: int) -> Any:
    """A pytree of arrays [e, ...]. Raises ValueError for other numbers of rows and for what is no finite number."""

    def checked(feature):
        feature = np.asarray(feature)
        if feature.ndim == 0 or feature.shape[0] != num_edges:
            raise ValueError(
                f"edge features have shape {feature.shape}: one row for each of {num_edges} edges is needed"
            )
        if not (feature.dtype == bool or jnp.issubdtype(feature.dtype, jnp.number)):
            raise ValueError(f"edge features have dtype {feature.dtype}: edge features must be numbers")
        finite = np.isfinite(feature).all(axis=tuple(range(1, feature.ndim)))
        if not finite.all():
            edge = np.flatnonzero(~finite)[0]
            raise ValueError(f"a feature of edge {edge} is not finite: edge features must be finite")
        return feature

    return jax.tree.map(checked, features)


def merged(
    senders: Int[np.ndarray, "e"],
    receivers: Int[np.ndarray, "e"],
    num_nodes: int,
    weights: Float[np.ndarray, "e"] | None,
    features: Any,
) -> EdgeList:
    """Sorts checked edges, merges duplicates (their weights are added) and leaves out edges of weight 0.

    Raises ValueError where duplicates have different features, or weights whose sum is no float64.
    """
    if weights is not None and not weights.all():
        senders, receivers, weights, features = taken((senders, receivers, weights, features), weights != 0)
    key = receivers * num_nodes + senders
    if weights is None and features is None:
        if not (key[1:] > key[:-1]).all():  # data sets are in this order already
            key.sort()
            key = key[np.append(True, key[1:] != key[:-1])]  # np.unique would hash, which takes longer than to sort
        return EdgeList(key, None, None, num_nodes)
    key, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    features = jax.tree.map(
        lambda feature: _equal(
            feature, first, inverse, "duplicate edges have different features: merge them before prepare()"
        ),
        features,
    )
    edges = EdgeList(key, None, features, num_nodes)
    if weights is None:
        return edges
    total = np.bincount(inverse, weights, minlength=key.size).astype(np.float64)  # without edges: integers
    if not np.isfinite(total).all():
        receiver, sender = divmod(int(key[np.flatnonzero(~np.isfinite(total))[0]]), num_nodes)
        raise ValueError(f"the weights of edge {sender} -> {receiver} add up to more than float64 holds")
    kept = total != 0
    key, total, features = taken((key, total, features), kept)
    return EdgeList(key, total, features, num_nodes)


def with_reverses(edges: EdgeList) -> EdgeList:
    """The edges and the reverse of each, with the same weight and features.

    Raises ValueError where the two directions of an edge are both there and differ in weight or features.
    """
    n = max(edges.num_nodes, 1)
    receivers, senders = np.divmod(edges.key, n)
    key, first, inverse = np.unique(
        np.concatenate([edges.key, senders * n + receivers]), return_index=True, return_inverse=True
    )

    def both(values, what):
        sentence = f"undirected=True: an edge and its reverse have different {what}, which must be equal"
        return _equal(np.concatenate([values, values]), first, inverse, sentence)

    weights = None if edges.weights is None else both(edges.weights, "weights")
    features = jax.tree.map(lambda feature: both(feature, "features"), edges.features)
    return EdgeList(key, weights, features, edges.num_nodes)


def one_way(matrix: sp.csr_matrix) -> int:
    """Number of edges without one back, A[receiver, sender] with sorted indices."""
    reverse = matrix.T.tocsr()  # its indices are sorted as well
    if np.array_equal(matrix.indptr, reverse.indptr) and np.array_equal(matrix.indices, reverse.indices):
        return 0
    pattern, back = ((m != 0).astype(np.int8) for m in (matrix, reverse))
    return int(pattern.nnz - pattern.multiply(back).nnz)


def taken(arrays: Any, rows: np.ndarray) -> Any:
    """These rows of every array of a pytree."""
    return jax.tree.map(lambda a: a[rows], arrays)


def _equal(values: np.ndarray, first: np.ndarray, inverse: np.ndarray, sentence: str) -> np.ndarray:
    """The first value of each edge. Raises ValueError with the sentence where another one of it differs."""
    if not np.array_equal(values[first][inverse], values):
        raise ValueError(sentence)
    return values[first]

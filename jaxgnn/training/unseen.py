"""A task on a graph that is not there: the shapes that a sample of it has, grown to the number of nodes asked for."""

import math
from dataclasses import fields, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgnn.data import csbm
from jaxgnn.graphs.fold import Fold
from jaxgnn.graphs.prepare import prepare
from jaxgnn.graphs.propagation import Edges, Halo, Slots
from jaxgnn.tasks import node_classification
from jaxgnn.training import scale

_CLASSES = 40
_SAMPLE = 65_536  # nodes; smaller graphs are made as they are


def unseen_task(mesh: Mesh, *, nodes: int, degree: float, features: int = 128, normalisation: Any = "sym") -> Any:
    """Shapes of a node classification task on the mesh, for a csbm of so many nodes and directed edges a node.

    The sample's slots for the edges of a row, its share of rows with more, and of rows that other parts read, are
    taken to be those of the whole graph. Raises ValueError for numbers out of their range.
    """
    parts = mesh.shape["nodes"]
    if not 0 < degree < math.inf:
        raise ValueError(f"degree={degree}: allowed are finite numbers above 0")
    if nodes < 2 * parts or nodes >= 2**31:
        raise ValueError(f"nodes={nodes}: allowed are {2 * parts} to 2,147,483,647, two for each part and more")
    count = parts * -(-min(nodes, _SAMPLE) // parts)
    classes = min(_CLASSES, features + 1)
    sizes = {"num_nodes": count, "num_classes": classes, "num_features": features}
    sample = csbm(average_degree=degree, train_per_class=max(1, count // (20 * classes)), **sizes)
    task = node_classification(sample, prepare(sample.graph, normalisation=normalisation))
    given = scale.spread(task, mesh, shapes=True)
    wanted = parts * -(-nodes // parts)
    return given if wanted == count else _grown(given, count, wanted)


def _grown(task: Any, count: int, wanted: int) -> Any:
    ratio = wanted / count

    def by_node(leaf: Any) -> Any:
        return _with(leaf, tuple(wanted if n == count else n for n in leaf.shape))

    def by_edge(leaf: Any) -> Any:
        return _with(leaf, (*leaf.shape[:-1], math.ceil(ratio * leaf.shape[-1])))

    def by_row(leaf: Any) -> Any:
        return _with(leaf, (*leaf.shape[:-1], round(ratio * leaf.shape[-1])))

    def packed(part: Any) -> Any:
        if part is None:
            return None
        if isinstance(part, Halo):
            needed = math.ceil(ratio * part.needed)
            return replace(part, local=packed(part.local), send=tuple(map(by_edge, part.send)), needed=needed)
        if isinstance(part, Slots):
            senders, weights = map(by_row, part[:2])
            plan = part.fold and Fold(tuple(map(by_edge, part.fold.levels)), by_row(part.fold.place))
            return Slots(senders, weights, packed(part.rest), plan)
        return Edges(*map(by_edge, part))

    P = task.graph.propagation
    P = replace(P, forward=packed(P.forward), backward=packed(P.backward), degree=by_node(P.degree), num_nodes=wanted)
    edges = task.graph.graphs_tuple
    senders, receivers = by_edge(edges.senders), by_edge(edges.receivers)
    graph = replace(task.graph, propagation=P, graphs_tuple=edges._replace(senders=senders, receivers=receivers))
    rows = {f.name for f in fields(task)} - {"graph"}
    arrays = {name: getattr(task, name) for name in rows}
    return replace(task, graph=graph, **{n: by_node(a) for n, a in arrays.items() if hasattr(a, "shape") and a.shape})


def _with(leaf: Any, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    sharding = getattr(leaf, "sharding", None)
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(leaf.dtype), sharding=sharding)

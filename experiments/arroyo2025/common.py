"""What these figures share: plain and state-space networks, a part of a graph, every layer's features and energies."""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxgnn as jg
from jaxgnn.data import row_normalise
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.network.state_space import Kind, StateSpace

SETTINGS = "The settings are ours: those of the paper's figure are not known."


class Part(NamedTuple):
    """A prepared graph and its nodes' features [n, f]: what a network is drawn for."""

    graph: Graph
    x: Float[np.ndarray, "n f"]


@cache
def part(dataset: str, size: int | None = None) -> Part:
    """The largest component, features row-normalised; the `size` nodes nearest to its first one if asked for.

    Nodes are then in the order of a breadth-first search. Raises DataError where the data set's files are not here.
    """
    ds = jg.largest_component(jg.load_dataset(dataset))
    x, senders, receivers = row_normalise(ds.x), np.asarray(ds.graph.senders), np.asarray(ds.graph.receivers)
    edges = sp.csr_matrix((np.ones(senders.size), (senders, receivers)), (len(x), len(x)))
    order = np.arange(len(x)) if size is None else sp.csgraph.breadth_first_order(edges, 0)[0][:size]
    number = np.full(len(x), -1)
    number[order] = np.arange(order.size)
    inside = (number[senders] >= 0) & (number[receivers] >= 0)
    ends = number[senders[inside]], number[receivers[inside]]
    return Part(jg.prepare(senders=ends[0], receivers=ends[1], num_nodes=order.size), x[order])


def ssm(modulus: float, input_scale: float, transition: Kind = "scalar") -> dict[str, Any]:
    """Options of a GNN-SSM: eig(Lambda) of this modulus, eig(B) of about `input_scale`."""
    space = StateSpace(transition=transition, modulus=modulus, input="uniform", input_scale=input_scale)
    return {"residual": "ssm", "ssm": space}


def of_run(params: Any, run: int) -> Any:
    """The parameters of one of several networks."""
    return jax.tree.map(lambda a: a[run], params)


def with_modulus(params: Any, modulus: float) -> Any:
    """The parameters of several GNN-SSMs with another |eig(Lambda)|, which their program is not compiled anew for."""
    constants = params["constants"]
    return {**params, "constants": {**constants, "modulus": np.full_like(constants["modulus"], modulus)}}


def features(model: jg.DeepGNN, params: Any, part: Part) -> Float[np.ndarray, "runs L+1 n d"]:
    """X^(0) .. X^(L) of every network; `params` have a leading axis of runs."""
    return np.asarray(_features(model, params, part.graph, part.x))


@partial(jax.jit, static_argnums=0)
def _features(model: jg.DeepGNN, params: Any, graph: Graph, x: Any) -> Array:
    def run(params):
        return model.apply(params, graph, x, model.zero_taps(params, x), method="tapped")[1]

    return jax.lax.map(run, params)


def dirichlet(X: Float[np.ndarray, "... n d"], graph: Graph) -> Float[np.ndarray, "..."]:
    """tr X^T (I - P) X in float64, which holds the energies of features of any size in float32."""
    P = graph.propagation.sparse()
    flat = np.asarray(X, np.float64).reshape(-1, *X.shape[-2:])
    return np.array([np.sum(Y * (Y - P @ Y)) for Y in flat]).reshape(X.shape[:-2])


def panels(columns: int, rows: int = 1, size: tuple[float, float] = (3.2, 3.0)) -> tuple[Figure, list[Axes]]:
    """A figure of several axes, row by row."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for one in axes:
        one.grid(color="0.9", linewidth=0.7)
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)

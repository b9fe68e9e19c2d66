"""The DeepGNN that a network of other layers is, where each of them is P X W, or each X W."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.network.foreign import Network as Row
from jaxgnn.network.model import DeepGNN

_EXACT = 1e-9  # relative, of a layer's output in float64


def equivalent(
    row: Row, params: Any, graph: Graph, P: Float[np.ndarray, "n n"], x: Float[Array, "n f"], loss_fn: Callable
) -> tuple[DeepGNN, dict[str, Any], Float[np.ndarray, "n d"], Partial]:
    """Model, parameters, X^(0) and loss of it: encoder and readout are I, and the readout that was is in the loss.

    Taken in float64. Each W^(l) is the least-squares solution from random signals, and must give the layer's output at
    other signals and at X^(l). Raises ValueError for a layer that is neither P X W nor X W, and for interventions.
    """
    params = row.own() if params is None else params
    params = jax.tree.map(lambda a: np.asarray(a, np.float64) if np.issubdtype(a.dtype, np.floating) else a, params)
    taps = row.zero_taps_on(params, graph, x)
    _, X = row.apply(params, graph, x, taps, method="tapped")
    X = np.asarray(X)
    L, n, d = row.blocks, *X.shape[1:]
    signals = np.random.default_rng(0).standard_normal((-(-d // n) + 2, n, d))
    matrices, kernels = {"gcn": P, "mlp": np.eye(n)}, []
    for l, part in enumerate(row.layers):
        own = {collection: tree[f"layer_{l}"] for collection, tree in params.items() if f"layer_{l}" in tree}
        given = np.concatenate([signals, X[l : l + 1]])
        found = np.stack([np.asarray(part.apply(own, graph, jnp.asarray(s), False, None)[0]) for s in given])
        solved = {kind: _weights(M @ given, found) for kind, M in matrices.items()}
        matrices = {kind: M for kind, M in matrices.items() if solved[kind][1] <= _EXACT}
        if not matrices:
            off, name = min(error for _, error in solved.values()), part.name.partition("(")[0]
            raise ValueError(f"layer {l}, {name}, is not P X W, nor X W as the layers before: it is off by {off:.2g}")
        kernels.append({kind: W for kind, (W, _) in solved.items()})
    kind = next(iter(matrices))
    W = np.stack([of_layer[kind] for of_layer in kernels])
    model = DeepGNN(layer=kind, depth=L, width=d, out=d, activation=row.activation, residual="none", norm="none")
    ends = {"kernel": np.eye(d), "bias": np.zeros(d)}
    stack = {"layer": {"linear": {"kernel": W}}}
    numbers = {name: np.float64(value or 0) for name, value in model.numbers().items()}
    made = {"params": {"encoder": ends, "readout": ends, "stack": stack}, "constants": numbers}
    own = {collection: tree["readout"] for collection, tree in params.items() if "readout" in tree}
    return model, made, X[0], Partial(_Read(row.readout, loss_fn), own, graph)


def _weights(sent: Float[np.ndarray, "s n d"], found: Float[np.ndarray, "s n d"]) -> tuple[np.ndarray, float]:
    """W with sent W = found for all signals but the last two, and the largest relative error of any."""
    d = sent.shape[-1]
    W = np.linalg.lstsq(sent[:-2].reshape(-1, d), found[:-2].reshape(-1, d), rcond=None)[0]
    error = np.linalg.norm(found - sent @ W, axis=(1, 2)) / np.maximum(np.linalg.norm(found, axis=(1, 2)), 1e-300)
    return W, float(error.max())


class _Read:
    """(variables, graph, X^(L)) -> the loss of what the readout makes of it."""

    def __init__(self, readout: Any, loss_fn: Callable):
        self._readout, self._loss_fn = readout, loss_fn

    def __call__(self, own, graph, X):
        return self._loss_fn(X if self._readout is None else self._readout.apply(own, graph, X, False, None)[0])

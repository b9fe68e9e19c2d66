"""Range of every layer's features: which nodes' X^(l) the outputs of a tapped network depend on, for all l at once."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import Features, SparseFeatures
from jaxgnn.host.arrays import Array, unshared
from jaxgnn.host.options import check_whole
from jaxgnn.host.precision import nan_is_a_value
from jaxgnn.host.program import of_model
from jaxgnn.jacobian.block_rows import BlockRows, distances_to, in_edges
from jaxgnn.jacobian.influence import Influence, influence_of_rows
from jaxgnn.jacobian.sensitivity import chosen_nodes
from jaxgnn.network.adapters import as_network, taps_of

_ENTRIES = 2**24  # of layers, nodes v and nodes u in one program's result
_HEADROOM = 28  # binary digits that sums of derivatives may need above the largest derivative of a random one


def layer_influence(
    model: Any,
    params: Any,
    graph: Graph,
    x: Features,
    *,
    nodes: int | Int[Array, "s"] | None = None,
    seed: int = 0,
) -> tuple[Influence, ...]:
    """The influence of X^(l) on the logits, for l = 0 .. L, entrywise: as `jaxgnn.influence` of the network above l.

    One backward pass a node and an output gives all layers. In the precision of params and x: what lies so far below
    the largest that this precision does not hold both is 0.

    Args:
      model, params, graph, x: as for `jaxgnn.probe`; params None for the present weights.
      nodes, seed: as for `jaxgnn.influence`.

    Raises ValueError for nodes that are not there, logits that are not one row a node, or derivatives that are NaN or
      infinite.
    """
    check_whole("seed", seed, least=0)
    model = as_network(model, graph, x)
    params = model.own() if params is None else params
    x = x if isinstance(x, SparseFeatures) else jnp.asarray(unshared(x))
    n = graph.num_nodes
    real = np.arange(n) if graph.node_mask is None else np.flatnonzero(graph.node_mask)
    chosen = chosen_nodes("nodes", nodes, n, seed, real)
    shape = _logits.eval_shape(model, params, graph, x).shape
    if len(shape) != 2 or shape[0] != n:
        raise ValueError(f"logits have shape {shape}: a range is of one row for each of {n} nodes")
    with nan_is_a_value():
        scale, twos = _scale(np.asarray(_largest(model, params, graph, x)))
        at_once = max(1, _ENTRIES // (n * scale.size))
        parts = [chosen[start : start + at_once] for start in range(0, chosen.size, at_once)]
        found = [np.asarray(_norms(model, params, graph, x, part, scale[0]), np.float64) for part in parts]
    norms = np.concatenate(found) if found else np.zeros((0, scale.size, n))  # [s, L+1, n]
    if not np.isfinite(norms).all():
        raise ValueError("derivatives of the logits are NaN or infinite")
    edges = in_edges(graph)
    distances = distances_to(chosen, edges)
    rows = (BlockRows(chosen, distances, norms[:, l], twos) for l in range(scale.size))
    return tuple(influence_of_rows(row, real.size) for row in rows)


def _scale(largest: np.ndarray) -> tuple[np.ndarray, int]:
    """A power of two [L+1] that takes the largest derivative near the top of the range of numbers, and its exponent.

    Those of a network that vanishes or explodes differ from layer to layer by most of that range.
    """
    known = largest[(largest > 0) & np.isfinite(largest)]
    room = int(jnp.finfo(largest.dtype).maxexp) - _HEADROOM
    twos = room - int(np.frexp(known.max(initial=0.0))[1]) if known.size else 0
    twos = min(twos, room)
    return np.full(largest.shape, np.ldexp(1.0, twos), largest.dtype), twos


@partial(jax.jit, static_argnums=0)
def _logits(model, params, graph, x):
    return model.apply(params, graph, x, taps_of(model, params, graph, x), method="tapped")[0]


def _backward(model, params, graph, x):
    """Logits, and from a cotangent of them d / d X^(l) for all l, [L+1, n, d]."""
    taps = taps_of(model, params, graph, x)
    logits, backward = jax.vjp(lambda taps: model.apply(params, graph, x, taps, method="tapped")[0], taps)

    def gradients(u):
        (found,) = backward(u)
        return jnp.concatenate([found.encoder[None], found.blocks.features])

    return logits, gradients


@of_model
def _largest(model, params, graph, x):
    """[L+1] the largest entry of d / d X^(l) for a random cotangent."""
    logits, gradients = _backward(model, params, graph, x)
    u = jax.random.normal(jax.random.key(0), logits.shape, logits.dtype)
    return jnp.max(jnp.abs(gradients(u)), axis=(1, 2), initial=0)


@of_model
def _norms(model, params, graph, x, nodes, scale):
    """[s, L+1, n] sum over outputs c and features i of |d logits_vc / d X^(l)_ui|, times the scale."""
    logits, gradients = _backward(model, params, graph, x)

    def of_node(v):
        def of_output(c, total):
            u = jnp.zeros_like(logits).at[v, c].set(scale.astype(logits.dtype))
            return total + jnp.sum(jnp.abs(gradients(u)), axis=2)

        shape = jax.eval_shape(gradients, logits).shape[:2]
        return jax.lax.fori_loop(0, logits.shape[1], of_output, jnp.zeros(shape, logits.dtype))

    return jax.lax.map(of_node, nodes)

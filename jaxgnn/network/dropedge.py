"""DropEdge: edges left out at random in training, the propagation matrix normalised anew."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.propagation import Edges, Halo, Packed, Propagation, Slots
from jaxgnn.graphs.segment import segment_sum
from jaxgnn.host.arrays import Array


def drop_edges(graph: Graph, rate: float | Float[Array, ""], key: Array) -> Graph:
    """The graph without each of its edges with probability `rate`; nodes and loops stay.

    u -> v and v -> u are dropped together, so that a symmetric P stays symmetric. P is normalised anew over what is
    left ("doubly": what is dropped goes to the diagonal, so that rows and columns still sum to 1). The degrees that are
    left come from P, so "sym" without loops takes no senders without in-edges: their entries are 0 in P. Rows of P are
    NaN where a degree is out of the range that they can be had in: in float32 below 4e-29 or above 2e28.
    Source: Rong et al. 2020 (DropEdge), section 4.1.
    """

    def keep(senders, receivers):
        return _kept(key, rate, senders, receivers)

    mask = keep(graph.senders, graph.receivers)
    if graph.edge_mask is not None:
        mask = mask & (jnp.asarray(graph.edge_mask) > 0)
    return replace(graph, edge_mask=mask.astype(jnp.float32), propagation=_masked(graph.propagation, keep))


def _kept(key: Array, rate, senders: Int[Array, "..."], receivers: Int[Array, "..."]) -> Bool[Array, "..."]:
    """Whether an edge stays: a hash of its two ends, so that every packing of P drops the same edges."""
    low, high = jnp.minimum(senders, receivers), jnp.maximum(senders, receivers)

    def draw(u, v):
        return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, u), v))

    uniform = jax.vmap(draw)(low.ravel(), high.ravel()).reshape(low.shape)
    return (uniform >= rate) | (senders == receivers)


def _masked(P: Propagation, keep) -> Propagation:
    if isinstance(P.forward, Halo):
        raise ValueError("dropedge: a P in parts on several devices keeps all its edges, nodes=1 does not")
    n = P.num_nodes
    # A~ = D~ P or D~^(1/2) P D~^(1/2), masked; then the degrees that are left, and P from them as before.
    forward = _weights(P.forward, n, lambda s, r, w: w * keep(s, r))
    backward = None if P.backward is None else _weights(P.backward, n, lambda s, r, w: w * keep(s, r))
    degree = jnp.asarray(P.degree)
    if P.normalisation.startswith("raw"):
        return replace(P, forward=forward, backward=backward)
    if P.normalisation.startswith("doubly"):
        missing = 1 - _row_sums(forward, n)
        forward = _weights(forward, n, lambda s, r, w: w + jnp.where((s == r) & (w != 0), missing[r], 0))
        return replace(P, forward=forward)
    power = 0.5 if P.normalisation.startswith("sym") else 1.0
    scale = degree**power
    column = scale if power == 0.5 else jnp.ones_like(scale)
    left = _row_sums(_weights(forward, n, lambda s, r, w: w * scale[r] * column[s]), n)
    factor = jnp.where(left > 0, (degree / jnp.where(left > 0, left, 1)) ** power, 0)
    least = jnp.finfo(degree.dtype).tiny ** 0.75  # a product of degree and P below it would lose what is left
    in_range = (degree > least) & (degree < 1 / least)
    factor = jnp.where(in_range | (_row_sums(forward, n) == 0), factor, jnp.nan)
    other = factor if power == 0.5 else jnp.ones_like(factor)
    if backward is None and P.normalisation.startswith("row"):  # symmetric only because all degrees were equal
        backward = forward
    forward = _weights(forward, n, lambda s, r, w: w * factor[r] * other[s])
    if backward is not None:  # P^T: its receivers are P's senders
        backward = _weights(backward, n, lambda s, r, w: w * factor[s] * other[r])
    return replace(P, forward=forward, backward=backward)


def _weights(packed: Packed, n: int, change) -> Packed:
    """The same packing with weights change(senders, receivers, weights)."""
    if isinstance(packed, Edges):
        return packed._replace(weights=change(packed.senders, packed.receivers, jnp.asarray(packed.weights)))
    rows = jnp.arange(n, dtype=jnp.int32)[None]
    if isinstance(packed, Slots):
        receivers = jnp.broadcast_to(rows, packed.senders.shape)
        weights = change(packed.senders, receivers, jnp.asarray(packed.weights))
        return packed._replace(weights=weights, rest=_weights(packed.rest, n, change))
    pairs = jnp.broadcast_to(rows, (n, n))
    return change(pairs, pairs.T, jnp.asarray(packed))


def _row_sums(packed: Packed, n: int) -> Float[Array, "n"]:
    if isinstance(packed, Edges):
        return segment_sum(packed.weights, packed.receivers, n, sorted=True)
    if isinstance(packed, Slots):
        return packed.weights.sum(axis=0) + _row_sums(packed.rest, n)
    return packed.sum(axis=1)

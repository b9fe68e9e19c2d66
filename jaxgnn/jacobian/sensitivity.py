"""Over-squashing: how much node v's features depend on node u's, exactly and as the graph and the weights bound it."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.tree_util import Partial
from jaxtyping import Float, Int

from jaxgnn.data import saved
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.propagation import Propagation
from jaxgnn.host.arrays import Array, summary
from jaxgnn.host.memory import require_memory
from jaxgnn.host.options import check_known, check_whole
from jaxgnn.host.precision import exact_products, precision
from jaxgnn.host.program import frozen, kept
from jaxgnn.jacobian import linear
from jaxgnn.layers.parts import evaluated

Norm = Literal["spectral", "frobenius"]


class Sensitivity(NamedTuple):
    """Norms of the blocks d f(h)_v / d h_u.

    Attributes:
      sources: [s] the nodes u.
      distances: [s, n] edges on the shortest path u -> v; -1 where there is none.
      norms: [s, n] float64 norms of the blocks; 0 exactly where v does not depend on u.
    """

    sources: Int[np.ndarray, "s"]
    distances: Int[np.ndarray, "s n"]
    norms: Float[np.ndarray, "s n"]

    save = saved.save

    def __repr__(self) -> str:
        return summary(self)


class ByDistance(NamedTuple):
    """Sensitivities of all pairs at one distance; pairs without a path are left out.

    Attributes:
      distances: [m] 0, 1, .., those that occur.
      mean: [m] of the norms.
      maximum: [m] of the norms.
      count: [m] number of pairs.
    """

    distances: Int[np.ndarray, "m"]
    mean: Float[np.ndarray, "m"]
    maximum: Float[np.ndarray, "m"]
    count: Int[np.ndarray, "m"]


class SensitivityBound(NamedTuple):
    """[prod_l (alpha_l I + s_l |P|)]_vu.

    Attributes:
      sources: [s] the nodes u.
      values: [s, n] of u and v; 0 or inf where they leave the range of numbers.
      log10: [s, n] their logarithms, -inf where v is not reached.
    """

    sources: Int[np.ndarray, "s"]
    values: Float[np.ndarray, "s n"]
    log10: Float[np.ndarray, "s n"]


def sensitivity(
    f: Callable[[Float[Array, "n d"]], Float[Array, "n e"]],
    h: Float[Array, "n d"],
    graph: Graph,
    *,
    sources: int | Int[Array, "s"] | None = None,
    norm: Norm = "spectral",
    seed: int = 0,
) -> Sensitivity:
    """||d f(h)_v / d h_u|| for source nodes u and all nodes v, by d products a source, in h's precision.

    Args:
      f: a plain function of all nodes' features; `model.segment_fn` gives one of several layers. Or an NNX or Equinox
        module, in evaluation mode, of h or of (graph, h).
      h: where it is taken.
      graph: whose edges the distances follow, from sender to receiver.
      sources: nodes u; all but padding when absent; an integer for that many, drawn with `seed` without repetition.
      norm: "spectral" or "frobenius".

    Raises:
      ValueError: another norm, shapes that do not fit the graph, a source that is not there, a Jacobian that is
        NaN or infinite.
      MemoryError: the blocks of one source do not fit.
    """
    h, n, f = np.asarray(h), graph.num_nodes, evaluated(f, graph)
    check_known("norm", norm, get_args(Norm))
    check_whole("seed", seed, least=0)
    if h.ndim != 2 or h.shape[0] != n or not jnp.issubdtype(h.dtype, jnp.floating):
        raise ValueError(f"h is {h.dtype} {h.shape}: allowed are floating-point features [{n}, d] of the graph's nodes")
    nodes = chosen_nodes(
        "sources", sources, n, seed, np.arange(n) if graph.node_mask is None else np.flatnonzero(graph.node_mask)
    )
    with precision(h.dtype):
        shape = jax.eval_shape(lambda h: f(h), h).shape
        if len(shape) != 2 or shape[0] != n:
            raise ValueError(f"f(h) has shape {shape}: allowed are features [{n}, e] of the graph's nodes")
        require_memory(5 * h.shape[1] * n * shape[1] * h.dtype.itemsize, "the blocks of one source", "fewer features")
        empty = nodes.size == 0 or 0 in shape or 0 in h.shape
        norms = np.zeros((nodes.size, n)) if empty else _scaled_norms(frozen(f, h), h, nodes, norm)
    if not np.isfinite(norms).all():
        raise ValueError("f's Jacobian at h is NaN or infinite")
    return Sensitivity(nodes, _distances(graph, nodes), norms)


def by_distance(measured: Sensitivity) -> ByDistance:
    """Mean, maximum and number of the norms at each distance between u and v."""
    reached = measured.distances >= 0
    distances, where, count = np.unique(measured.distances[reached], return_inverse=True, return_counts=True)
    norms, maximum = measured.norms[reached], np.zeros(distances.size)
    np.maximum.at(maximum, where, norms)
    return ByDistance(distances, np.bincount(where, norms, distances.size) / count, maximum, count)


def sensitivity_bound(
    P: Propagation | sp.sparray | sp.spmatrix | Float[Array, "n n"],
    alphas: Float[Array, "L"],
    scales: Float[Array, "L"],
    *,
    sources: Int[Array, "s"] | None = None,
) -> SensitivityBound:
    """[prod_l (alpha_l I + s_l |P|)]_vu >= ||d X_v^(L) / d X_u^(0)||_2, for source nodes u (all when absent).

    With `model.dynamics` for alphas and scales, it holds wherever it is taken. P of a network without a graph is I.
    Unit vectors are propagated in float64, scaled to their largest entry: one that falls 308 digits below is 0.
    Raises ValueError for another number of scales than of alphas, negative ones, or a source that is not there.
    Source: after Arroyo et al. 2025, theorem 5.1, by induction over ||J_l||_vu <= alpha_l [v = u] + s_l |P_vu|.
    """
    A = abs(sp.csr_array(P.sparse() if isinstance(P, Propagation) else P, dtype=np.float64))
    if not np.isfinite(A.data).all():
        raise ValueError("P has entries that are NaN or infinite")
    alphas, scales = np.asarray(alphas, np.float64), np.asarray(scales, np.float64)
    if alphas.ndim != 1 or alphas.shape != scales.shape:
        raise ValueError(f"alphas {alphas.shape} and scales {scales.shape}: allowed are one of each a layer, [L]")
    for name, numbers in (("alphas", alphas), ("scales", scales)):
        if not ((numbers >= 0) & np.isfinite(numbers)).all():
            raise ValueError(f"{name}={numbers}: allowed are finite numbers of 0 and more")
    n = A.shape[0]
    nodes = chosen_nodes("sources", sources, n, 0, np.arange(n))
    Y = np.zeros((n, nodes.size))
    Y[nodes, np.arange(nodes.size)] = 1.0
    exponents = np.zeros(nodes.size, np.int64)
    for alpha, scale in zip(alphas, scales, strict=True):
        Y = alpha * Y + scale * (A @ Y)
        _, twos = np.frexp(np.max(Y, axis=0, initial=0.0))  # scaled by powers of two, nothing is rounded
        Y, exponents = np.ldexp(Y, -twos[None]), exponents + twos
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        log10 = np.log10(Y) + np.log10(2.0) * exponents[None]
        values = np.ldexp(Y, np.clip(exponents, -10_000, 10_000)[None].astype(np.int32))
    return SensitivityBound(nodes, values.T, log10.T)


def _scaled_norms(f: Partial, h: np.ndarray, nodes: np.ndarray, norm: Norm) -> np.ndarray:
    """Of J scaled to about 1 and back: what is 1e-35 loses entries in float32."""
    h = h.astype(kept(h.dtype))
    twos = linear.order_of_magnitude(f, h)
    return linear.rescaled(np.asarray(_norms(linear.scaled(f, twos, h.dtype), h, nodes, norm), np.float64), -twos)


@partial(jax.jit, static_argnames="norm")
@exact_products()
def _norms(f, h, sources, norm: str):
    n, d = h.shape
    _, push = jax.linearize(f, h)

    def of_source(u):
        columns = jnp.zeros((d, n, d), h.dtype).at[jnp.arange(d), u, jnp.arange(d)].set(1)
        blocks = jnp.transpose(jax.vmap(push)(columns), (1, 2, 0))  # [n, e, d] = d f(h)_v / d h_u
        if norm == "spectral":
            return jnp.linalg.svd(blocks, compute_uv=False)[:, 0]
        largest = jnp.max(jnp.abs(blocks), axis=(1, 2))  # squares leave the range of numbers before the entries do
        scaled = blocks / jnp.where(largest > 0, largest, 1)[:, None, None]
        return largest * jnp.sqrt(jnp.sum(scaled**2, axis=(1, 2)))

    return jax.lax.map(of_source, sources)


def chosen_nodes(option: str, chosen: Any, n: int, seed: int, real: np.ndarray) -> Int[np.ndarray, "s"]:
    """Node numbers: all of `real`, so many of them drawn without repetition, or those that are listed.

    Raises ValueError, naming the option, for what is none of these and for nodes that are not there.
    """
    if chosen is None:
        return real.astype(np.int32)
    nodes = np.asarray(chosen)
    if not np.issubdtype(nodes.dtype, np.integer) or nodes.ndim > 1:
        raise ValueError(f"{option}={chosen!r}: allowed are node numbers [s] or how many of them")
    if nodes.ndim == 0:
        if not 0 <= nodes <= real.size:
            raise ValueError(f"{option}={int(nodes)}: a graph of {real.size} nodes has 0 to {real.size} of them")
        nodes = np.sort(np.random.default_rng(seed).choice(real, int(nodes), replace=False))
    if nodes.size and not (nodes.min() >= 0 and nodes.max() < n):
        raise ValueError(f"{option} {nodes.min()} to {nodes.max()}: a graph of {n} nodes has nodes 0 to {n - 1}")
    return nodes.astype(np.int32)


def _distances(graph: Graph, sources: np.ndarray) -> np.ndarray:
    """Edges on the shortest path from each source to each node, -1 without one."""
    n, senders, receivers = graph.num_nodes, np.asarray(graph.senders), np.asarray(graph.receivers)
    if graph.edge_mask is not None:
        kept = np.asarray(graph.edge_mask) > 0
        senders, receivers = senders[kept], receivers[kept]
    edges = sp.csr_matrix((np.ones(senders.size), (senders, receivers)), (n, n))
    if not sources.size:
        return np.zeros((0, n), np.int32)
    lengths = sp.csgraph.dijkstra(edges, unweighted=True, indices=sources)
    return np.where(np.isfinite(lengths), lengths, -1).astype(np.int32)

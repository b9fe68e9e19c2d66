"""Range: how far away the nodes are that an output depends on, exactly or from a sample of the outputs."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.tree_util import Partial
from jaxtyping import Float, Int
from scipy.special import stdtrit

from jaxgnn.data import saved
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known, check_whole
from jaxgnn.host.precision import precision
from jaxgnn.jacobian import block_rows
from jaxgnn.jacobian.block_rows import BlockNorm, BlockRows
from jaxgnn.jacobian.operator import LayerJacobian
from jaxgnn.jacobian.sensitivity import chosen_nodes
from jaxgnn.layers.parts import evaluated


class Influence(NamedTuple):
    """How much nodes depend on those at each distance: T_h(v) = sum over u, d(u, v) = h, of ||d f(h)_v / d h_u||.

    `range` is the mean over v of rho_v = sum_h h T_h(v) / sum_h T_h(v). Nodes without any influence have none: rho_v
    is NaN, and the mean is over the others; `without` counts them. Nodes u from which no path leads to v are at no
    distance, so not in rho_v: `unreached` has what v depends on them, 0 exactly where f passes messages along edges.

    Attributes:
      nodes: [s] the nodes v.
      by_node: [s, H+1] T_h(v), H the largest distance at which there is any influence.
      unreached: [s] the same sum over nodes u from which no path leads to v.
      population: nodes that v was drawn from, N; all were taken where s = N.
    """

    nodes: Int[np.ndarray, "s"]
    by_node: Float[np.ndarray, "s H+1"]
    unreached: Float[np.ndarray, "s"]
    population: int

    save = saved.save

    def __repr__(self) -> str:
        return _shown(self, f"{self.without} without influence")

    @property
    def total(self) -> Float[np.ndarray, "H+1"]:
        """Mean of T_h(v) over the nodes v."""
        return self.by_node.mean(axis=0) if self.nodes.size else np.full(self.by_node.shape[1], np.nan)

    @property
    def total_standard_error(self) -> Float[np.ndarray, "H+1"]:
        """Of `total`, from drawing nodes without replacement; 0 where all were taken."""
        return _standard_error(self.by_node, self.nodes.size, self.population)

    @property
    def ranges(self) -> Float[np.ndarray, "s"]:
        """rho_v of each node; NaN for a node without influence."""
        return _mean_distance(self.by_node)

    @property
    def range(self) -> float:
        """Mean of rho_v over the nodes that have any influence; NaN where none has."""
        known = _known(self.ranges)
        return float(known.mean()) if known.size else np.nan

    @property
    def standard_error(self) -> float:
        """Of `range`: sqrt((1 - s/N) var / m) over the m nodes that have any; 0 where s = N, NaN where m is 1."""
        return float(_standard_error(_known(self.ranges), self.nodes.size, self.population))

    @property
    def interval(self) -> tuple[float, float]:
        """95% of `range`, by Student's t; one point where all nodes were taken."""
        return _interval(self.range, self.standard_error, self.nodes.size - self.without)

    @property
    def without(self) -> int:
        """Nodes v that depend on no node at any distance."""
        return int(np.isnan(self.ranges).sum())

    @property
    def unreached_share(self) -> float:
        """Of all influence on these nodes, the share of nodes from which no path leads to them; NaN without any."""
        return _share(self.unreached, self.by_node)


class Mixing(NamedTuple):
    """How far apart the nodes are that f of a whole graph mixes: ||d^2 f / d h_u d h_v||, summed over f's entries.

    `range` is sum_uv d(u, v) ||..|| / sum_uv ||..||, over pairs that a path joins, edges taken either way.

    Attributes:
      nodes: [s] the nodes u.
      by_node: [s, H+1] the norms' sums over v at distance h of u.
      unreached: [s] the same sum over nodes v that no path joins to u.
      population: nodes that u was drawn from, N.
    """

    nodes: Int[np.ndarray, "s"]
    by_node: Float[np.ndarray, "s H+1"]
    unreached: Float[np.ndarray, "s"]
    population: int

    save = saved.save

    def __repr__(self) -> str:
        return _shown(self, "of the whole graph")

    @property
    def total(self) -> Float[np.ndarray, "H+1"]:
        """Mean of `by_node` over the nodes."""
        return self.by_node.mean(axis=0) if self.nodes.size else np.full(self.by_node.shape[1], np.nan)

    @property
    def range(self) -> float:
        """The mean distance of the pairs that are mixed; NaN where none is: f is affine, or piecewise."""
        return float(_mean_distance(self.by_node.sum(axis=0, keepdims=True))[0])

    @property
    def standard_error(self) -> float:
        """Of `range`, a ratio of two means, by its linearisation; 0 where all nodes were taken."""
        scaled = self.by_node / (self.by_node.max(initial=0.0) or 1.0)
        weight = scaled.sum(axis=1)
        if not weight.any():
            return np.nan
        residual = (scaled @ np.arange(scaled.shape[1]) - self.range * weight) / weight.mean()
        return float(_standard_error(residual, self.nodes.size, self.population))

    @property
    def interval(self) -> tuple[float, float]:
        """95% of `range`, by Student's t; one point where all nodes were taken."""
        return _interval(self.range, self.standard_error, self.nodes.size)

    @property
    def unreached_share(self) -> float:
        """The share of pairs that no path joins in all mixing; NaN without any."""
        return _share(self.unreached, self.by_node)


def influence(
    f: Callable[[Float[Array, "n d"]], Float[Array, "n e"]],
    h: Float[Array, "n d"],
    graph: Graph,
    *,
    nodes: int | Int[Array, "s"] | None = None,
    norm: BlockNorm = "entrywise",
    seed: int = 0,
) -> Influence:
    """What f(h) at nodes v depends on, by distance, and its range, in h's precision.

    e products with J^T a node v; nodes that share no node u share them, as all nodes of a layer of few hops do.

    Args:
      f: a plain function of all nodes' features: a block (`model.layer_fn`), several (`model.segment_fn`), or the
        network, lambda x: model.apply(params, graph, x). Or an NNX or Equinox module, in evaluation mode.
      h: where it is taken.
      graph: whose edges the distances follow, from sender to receiver.
      nodes: nodes v; all but padding when absent; an integer for that many, drawn with `seed` without repetition.
        Of nodes that are listed, the standard errors are those of a random draw.
      norm: "entrywise", the sum of absolute entries; "frobenius"; "spectral".

    Raises:
      ValueError: another norm, shapes that do not fit the graph, a node that is not there, f that is not pure or
        differentiable, a Jacobian that is NaN or infinite.
      MemoryError: the blocks of one node do not fit.
    Source: Bamberger et al. 2025 (arXiv 2506.05971), the range of a node task, u and v exchanged; Liang et al. 2025
      (arXiv 2503.09008), T_h and R, its mean, with the entrywise norm.
    """
    h, nodes_, population = _checked(h, graph, nodes, norm, seed)
    J = LayerJacobian(f, h, graph)
    n = graph.num_nodes
    if len(J._out) != 2 or J._out[0] != n:
        raise ValueError(f"f(h) has shape {J._out}: allowed are features [{n}, e] of the graph's nodes")
    edges = block_rows.in_edges(graph)
    if 0 in J.shape or not nodes_.size:
        return Influence(nodes_, *_nothing(nodes_), population)
    return Influence(nodes_, *_by_distance(block_rows.block_rows(J, edges, nodes_, norm)), population)


def influence_of_rows(rows: BlockRows, population: int) -> Influence:
    """From nodes' norms and distances; the nodes were drawn from `population`."""
    if not rows.nodes.size:
        return Influence(rows.nodes, *_nothing(rows.nodes), population)
    return Influence(rows.nodes, *_by_distance([rows]), population)


def influence_of_blocks(norms: sp.csr_matrix, graph: Graph) -> Influence:
    """What `influence` gives of all nodes, from the norms of all blocks, of `jaxgnn.jacobian`'s `block_norms`.

    Raises ValueError for another number of blocks than pairs of nodes.
    """
    n = graph.num_nodes
    if norms.shape != (n, n):
        raise ValueError(f"norms have shape {norms.shape}: allowed is one for each pair of nodes, {(n, n)}")
    nodes = np.arange(n) if graph.node_mask is None else np.flatnonzero(graph.node_mask)
    if not nodes.size:
        return Influence(nodes, *_nothing(nodes), 0)
    edges = block_rows.in_edges(graph)
    return Influence(nodes, *_by_distance(block_rows.sparse_rows(norms, edges, nodes)), nodes.size)


def mixing(
    f: Callable[[Float[Array, "n d"]], Float[Array, "..."]],
    h: Float[Array, "n d"],
    graph: Graph,
    *,
    nodes: int | Int[Array, "s"] | None = None,
    norm: BlockNorm = "entrywise",
    seed: int = 0,
) -> Mixing:
    """Which nodes f of a whole graph mixes, by distance, from its second derivatives, in h's precision.

    d products with the Hessian a node u and an entry of f(h).

    Args:
      f: a plain function from all nodes' features to a number, or to an array of them.
      h, graph, nodes, norm, seed: as for `influence`; distances follow edges either way.

    Raises: as `influence`.
    Source: Bamberger et al. 2025 (arXiv 2506.05971), the range of a graph task.
    """
    h, nodes_, population = _checked(h, graph, nodes, norm, seed)
    f = evaluated(f, graph)
    with precision(h.dtype):
        shape = jax.eval_shape(lambda h: jnp.asarray(f(h)), h).shape
    edges = block_rows.in_edges(graph, either_way=True)
    by_node, unreached = _nothing(nodes_)
    for entry in range(int(np.prod(shape))):
        gradient = Partial(partial(_gradient, f), np.int32(entry))
        J = LayerJacobian(gradient, h, graph)
        if 0 in J.shape or not nodes_.size:
            continue
        more, beyond = _by_distance(block_rows.block_rows(J, edges, nodes_, norm))
        longer = max(by_node.shape[1], more.shape[1])
        by_node = sum(np.pad(a, ((0, 0), (0, longer - a.shape[1]))) for a in (by_node, more))
        unreached = unreached + beyond
    return Mixing(nodes_, by_node, unreached, population)


def _gradient(f, entry, h):
    return jax.grad(lambda h: jnp.ravel(jnp.asarray(f(h)))[entry])(h)


def _checked(h: Any, graph: Graph, nodes: Any, norm: str, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """h on the host, the nodes, and how many they are taken from."""
    h, n = np.asarray(h), graph.num_nodes
    check_known("norm", norm, get_args(BlockNorm))
    check_whole("seed", seed, least=0)
    if h.ndim != 2 or h.shape[0] != n or not jnp.issubdtype(h.dtype, jnp.floating):
        raise ValueError(f"h is {h.dtype} {h.shape}: allowed are floating-point features [{n}, d] of the graph's nodes")
    real = np.arange(n) if graph.node_mask is None else np.flatnonzero(graph.node_mask)
    found = chosen_nodes("nodes", nodes, n, seed, real)
    if np.unique(found).size != found.size:
        raise ValueError("nodes: one of them is there twice: allowed are nodes that differ")
    return h, found, real.size


def _nothing(nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((nodes.size, 1)), np.zeros(nodes.size)


def _by_distance(rows: Iterable[BlockRows]) -> tuple[np.ndarray, np.ndarray]:
    """[s, H+1] sums of the blocks' norms by distance, and [s] those at none."""
    parts, unreached = [], []
    for _, distances, norms, twos in rows:
        s = len(norms)
        # Distances up to the last at which there is any influence, and -1 moved to 0.
        last = int(distances[norms > 0].max(initial=0))
        column = np.where(distances > last, -1, distances) + 1
        flat = (column + np.arange(s)[:, None] * (last + 2)).ravel()
        sums = np.bincount(flat, norms.ravel(), s * (last + 2)).reshape(s, last + 2)
        sums = block_rows.unscaled(sums, twos)
        unreached.append(sums[:, 0])
        parts.append(sums[:, 1:])
    longest = max(part.shape[1] for part in parts)
    by_node = np.concatenate([np.pad(p, ((0, 0), (0, longest - p.shape[1]))) for p in parts])
    return by_node, np.concatenate(unreached)


def _mean_distance(by_node: np.ndarray) -> np.ndarray:
    """sum_h h T_h / sum_h T_h by row, NaN where all are 0."""
    largest = by_node.max(axis=1, initial=0.0, keepdims=True)
    T = by_node / np.where(largest > 0, largest, 1.0)
    total = T.sum(axis=1)
    return np.where(total > 0, T @ np.arange(T.shape[1]) / np.where(total > 0, total, 1.0), np.nan)


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _standard_error(values: np.ndarray, drawn: int, population: int) -> np.ndarray:
    """sqrt((1 - s/N) var / m) of the mean over the first axis, of m values."""
    if drawn == population:
        return np.zeros(values.shape[1:]) if values.shape[0] else np.full(values.shape[1:], np.nan)
    if values.shape[0] < 2:
        return np.full(values.shape[1:], np.nan)
    largest = np.abs(values).max(axis=0, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)  # squares leave the range of numbers
    spread = np.std(values / scale[None], axis=0, ddof=1) * scale
    return np.sqrt((1 - drawn / population) / values.shape[0]) * spread


def _interval(value: float, error: float, count: int) -> tuple[float, float]:
    if error == 0:
        return value, value
    half = float(stdtrit(count - 1, 0.975)) * error if count > 1 else np.nan
    return value - half, value + half


def _share(unreached: np.ndarray, by_node: np.ndarray) -> float:
    scale = max(unreached.max(initial=0.0), by_node.max(initial=0.0))
    if scale == 0:
        return np.nan
    beyond, within = (unreached / scale).sum(), (by_node / scale).sum()
    return float(beyond / (beyond + within))


def _shown(found: Influence | Mixing, said: str) -> str:
    name = type(found).__name__
    if not isinstance(found.by_node, np.ndarray):
        return f"{name}({', '.join(f'{k}={v}' for k, v in found._asdict().items())})"
    low, high = found.interval
    share = f", {found.unreached_share:.1%} from nodes without a path" if found.unreached.any() else ""
    known = "" if low == high else f" ({low:.3g} to {high:.3g}, 95%)"
    return f"{name}(range {found.range:.4g}{known}, {found.nodes.size} of {found.population} nodes, {said}{share})"

"""Selective sensitivity: how much more a node's output depends on the node that counts than on others like it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known, is_whole, shown
from jaxgnn.host.precision import precision
from jaxgnn.host.program import frozen, kept
from jaxgnn.jacobian import linear
from jaxgnn.jacobian.sensitivity import Norm


class SelectiveSensitivity(NamedTuple):
    """||dy/dx_m|| / mean over n of ||dy/dx_n||, of one point or of several in a leading axis.

    Attributes:
      ratio: queried / others; 1 where y depends on all alike, inf where on the queried node alone, NaN where on none.
      queried: norm of dy/dx_m.
      others: mean of the norms of dy/dx_n.
    """

    ratio: Float[np.ndarray, "..."]
    queried: Float[np.ndarray, "..."]
    others: Float[np.ndarray, "..."]


def selective_sensitivity(
    f: Callable[[Float[Array, "n d"]], Float[Array, "n e"]],
    h: Float[Array, "... n d"],
    *,
    node: int,
    queried: int | Int[Array, "..."],
    others: Int[Array, "... s"],
    norm: Norm = "frobenius",
) -> SelectiveSensitivity:
    """How much more y = f(h)_node depends on the features of the queried node m than on those of others, exactly.

    By e products with the transposed Jacobian, in h's precision; norms are of the blocks [e, d].

    Args:
      f: a plain function of all nodes' features.
      h: [n, d] where it is taken, or [g, n, d] for several points.
      node: whose output y is.
      queried: m, of each point if there are several.
      others: [s] nodes n, none of them m; [g, s] of each point.
      norm: "frobenius" or "spectral".

    Raises:
      ValueError: another norm, shapes that do not fit, a node that is not there, m among the others or no others, a
        Jacobian that is NaN or infinite.

    Source: Blayney et al. 2025 (arXiv 2510.08450).
    """
    check_known("norm", norm, ("frobenius", "spectral"))
    points = linear.point(h)
    if points.ndim not in (2, 3):
        raise ValueError(f"h has shape {points.shape}: [n, d], or [g, n, d] for several points, is needed")
    several = points.ndim == 3
    points = points if several else points[None]
    g, n, _ = points.shape
    if not is_whole(node) or not 0 <= node < n:
        raise ValueError(f"node={shown(node)}: allowed are 0 to {n - 1}")
    m, rest = _nodes("queried", queried, (g,), n), _nodes("others", others, (g, *np.shape(others)[-1:]), n)
    if rest.ndim != 2 or not rest.shape[1] or (rest == m[:, None]).any():
        raise ValueError("others holds no node, or the queried one: at least one node, and not that one, is needed")
    if not g:
        return SelectiveSensitivity(*np.zeros((3, 0)))
    with precision(points.dtype):
        stored = points.astype(kept(points.dtype))
        frozen_f = frozen(f, points[0])
        shape = jax.eval_shape(frozen_f, stored[0]).shape
        if len(shape) != 2 or shape[0] != n:
            raise ValueError(f"f(h) has shape {shape}: allowed are features [{n}, e] of the {n} nodes")
        units = np.zeros((shape[1], *shape), stored.dtype)
        units[np.arange(shape[1]), node, np.arange(shape[1])] = 1
        norms = np.stack([_norms(frozen_f, one, units, norm) for one in stored])
    if not np.isfinite(norms).all():
        raise ValueError("f's Jacobian at h is NaN or infinite")
    own, mean = norms[np.arange(g), m], np.take_along_axis(norms, rest, axis=1).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = SelectiveSensitivity(own / mean, own, mean)
    return found if several else SelectiveSensitivity(*(values[0] for values in found))


def _norms(f, h: np.ndarray, units: np.ndarray, norm: str) -> Float[np.ndarray, "n"]:
    """||dy/dh_u|| of every node u, the Jacobian scaled to about 1 and back."""
    twos = linear.order_of_magnitude(f, h)
    rows = np.asarray(linear.vjps(linear.scaled(f, twos, h.dtype), h, jnp.asarray(units)), np.float64)  # [e, n, d]
    blocks = np.moveaxis(rows, 1, 0)
    largest = np.abs(blocks).max(axis=(1, 2), initial=0.0)
    unit = blocks / np.where(largest > 0, largest, 1)[:, None, None]
    value = np.linalg.norm(unit, axis=(1, 2)) if norm == "frobenius" else np.linalg.norm(unit, 2, axis=(1, 2))
    return linear.rescaled(largest * value, -twos)


def _nodes(name: str, values, shape: tuple[int, ...], n: int) -> Int[np.ndarray, "..."]:
    nodes = np.asarray(values)
    if nodes.size and not np.issubdtype(nodes.dtype, np.integer):
        raise ValueError(f"{name}={shown(values)}: allowed are whole numbers of nodes")
    try:
        nodes = np.broadcast_to(nodes, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {nodes.shape}: {list(shape)} is needed, or fewer axes in front") from None
    if nodes.size and not (nodes.min() >= 0 and nodes.max() < n):
        raise ValueError(f"{name} holds {nodes.min()} to {nodes.max()}: a graph of {n} nodes has nodes 0 to {n - 1}")
    return nodes.astype(np.int64)

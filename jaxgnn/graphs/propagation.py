"""The propagation matrix P as a linear operator: `P @ X`, `P.T @ X`, `P.dense()`.

P is a constant, so `propagate` is a JAX primitive of its own, linear in X: its transpose is P^T in the same
packed form (nothing scatters on the way back), and its batching rule folds a batch into the feature axis.
Three backends compute the same sum over in-neighbours: `segment`, `padded` and `dense`. `Halo` is `padded` for nodes
in parts, one a device of a mesh: `jaxgnn.graphs.partition` packs it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int

from jaxgnn.graphs.fold import Fold, fold, folded
from jaxgnn.graphs.segment import GPUS, segment_sum
from jaxgnn.host.arrays import Array, unshared
from jaxgnn.host.memory import require_memory

Backend = Literal["auto", "segment", "padded", "dense"]

# An edge beyond a row's K slots goes through segment_sum and is counted as this many padded slots, a rule of thumb.
# Graphs of up to so many nodes are multiplied densely: on a CPU dense is about the fastest up to 64 nodes, even with
# padded at 128, slower from 256 on
# (`python -m jaxgnn.experiments.bench.propagation --nodes 32 64 128 256 512`); no other device has been measured.
_SEGMENT_COST = 4
_DENSE_NODES = 64


class Edges(NamedTuple):
    """Rows of P as a list of edges sorted by receiver."""

    senders: Int[Array, "e"]
    receivers: Int[Array, "e"]
    weights: Float[Array, "e"]


class Slots(NamedTuple):
    """The first K edges of each row, slot-major, so that slot k of all rows is one gather. Weight 0 is padding.

    `fold` sums what the rest adds to each row where a program does not scatter; None where there is no rest.
    """

    senders: Int[Array, "k n"]
    weights: Float[Array, "k n"]
    rest: Edges
    fold: Fold | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Halo:
    """Rows of P in equal parts, the nodes p m .. (p+1) m - 1 in part p, which also reads rows of others: its halo.

    Attributes:
      local: every part's m rows, [parts, ...]: senders 0 .. m - 1 are its own nodes, then come the rows it receives.
      send: for every round, [parts, s] nodes of a part (0 .. m - 1) whose rows it sends; rows come in their order.
      to: for every round, the part that each one sends to, -1 where it sends nothing.
      needed: rows of others that the part which reads most of them reads.
      mesh: the devices, one part for each along the axis "nodes"; None for all parts on one.
    """

    local: Slots
    send: tuple[Int[Array, "parts s"], ...]
    to: tuple[tuple[int, ...], ...] = field(metadata={"static": True})
    needed: int = field(metadata={"static": True})
    mesh: Mesh | None = field(default=None, metadata={"static": True})

    @property
    def received(self) -> int:
        """Rows that every part receives, or has room for: the rounds' lengths."""
        return sum(nodes.shape[-1] for nodes in self.send)

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, columns and weights of P."""
        senders, weights, rest = jax.tree.map(np.asarray, self.local[:3])
        parts, _, m = senders.shape
        part = np.arange(parts)[:, None]
        nodes = [part * m + np.arange(m)]
        for to, send in zip(self.to, self.send, strict=True):
            received = np.zeros_like(send)  # what no part sends, none reads
            for sender, receiver in _pairs(to):
                received[receiver] = sender * m + np.asarray(send)[sender]
            nodes.append(received)
        nodes = np.concatenate(nodes, axis=1)
        p, slot, row = np.nonzero(weights)
        q, edge = np.nonzero(rest.weights)
        rows = np.concatenate([p * m + row, q * m + rest.receivers[q, edge]])
        columns = np.concatenate([nodes[p, senders[p, slot, row]], nodes[q, rest.senders[q, edge]]])
        return rows, columns, np.concatenate([weights[p, slot, row], rest.weights[q, edge]])


def _pairs(to: tuple[int, ...], *, everyone: bool = False) -> list[tuple[int, int]]:
    """(sender, receiver) of a round; with `everyone` those that send nothing have one too."""
    pairs = [(sender, receiver) for sender, receiver in enumerate(to) if receiver >= 0]
    idle = [p for p in range(len(to)) if to[p] < 0], [p for p in range(len(to)) if p not in to]
    return [*pairs, *zip(*idle, strict=True)] if everyone else pairs


Packed = Edges | Slots | Halo | jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Propagation:
    """P as a linear operator on [n, d] signals: `P @ X` is P X, `P.T @ X` its transpose.

    A pytree: pass it through `jax.jit` like an array. Weights stay in float64 on the host and are cast to
    X's dtype at use. P[receiver, sender]. P is a constant: differentiating with respect to it raises TypeError.

    Attributes:
      forward: P, packed for the backend.
      backward: P^T, packed; None where P is symmetric.
      degree: [n] float64 row sums of the matrix that was normalised (added loops included): D~.
      num_nodes: n.
      normalisation: how the weights were made, for example "sym".
    """

    forward: Packed
    backward: Packed | None
    degree: Float[np.ndarray, "n"]
    num_nodes: int = field(metadata={"static": True})
    normalisation: str = field(metadata={"static": True})

    def __repr__(self) -> str:
        kind = "symmetric" if self.backward is None else "not symmetric"
        return f"Propagation({self.num_nodes} x {self.num_nodes}, {self.normalisation}, {kind})"

    @property
    def shape(self) -> tuple[int, int]:
        return (self.num_nodes, self.num_nodes)

    @property
    def T(self) -> "Propagation":
        """P^T, packed the same way."""
        if self.backward is None:
            return self
        return replace(self, forward=self.backward, backward=self.forward)

    def __matmul__(self, X: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """P X, [n, ...] -> [n, ...] in X's dtype. Raises ValueError when X has not n rows."""
        X = jnp.asarray(X)
        if X.ndim == 0 or X.shape[0] != self.num_nodes:
            raise ValueError(f"P @ X: X has shape {X.shape}, but P has {self.num_nodes} nodes: rows must agree")
        if not jnp.issubdtype(X.dtype, jnp.inexact):
            X = X.astype(jnp.result_type(float))
        flat = X.reshape(self.num_nodes, math.prod(X.shape[1:]))
        return multiply(flat, self.forward, self.backward, self.shape).reshape(X.shape)

    def sparse(self) -> sp.csr_matrix:
        """P as a float64 scipy CSR matrix."""
        if isinstance(self.forward, Slots):
            kept = np.asarray(self.forward.weights) != 0
            slots, rows = np.nonzero(kept)
            senders, weights = (np.asarray(a)[slots, rows] for a in self.forward[:2])
            rest = self.forward.rest
            pairs = ((senders, rest.senders), (rows, rest.receivers), (weights, rest.weights))
            senders, rows, weights = (np.concatenate(pair) for pair in pairs)
        elif isinstance(self.forward, Halo):
            rows, senders, weights = self.forward.entries()
        elif isinstance(self.forward, Edges):
            senders, rows, weights = self.forward
        else:
            return sp.csr_matrix(np.asarray(self.forward, np.float64))
        return sp.csr_matrix((np.asarray(weights, np.float64), (rows, senders)), self.shape)

    def norm(self) -> float:
        """||P||_2, its largest singular value; above 800 nodes by Lanczos, to about 1e-8."""
        return operator_norm(self.sparse())

    def dense(self) -> Float[np.ndarray, "n n"]:
        """P as a dense float64 array. Raises MemoryError, saying how much it needs, where it does not fit."""
        require_memory(
            8 * self.num_nodes**2, f"a dense {self.num_nodes} x {self.num_nodes} P", "P @ X or P.sparse()", on_host=True
        )
        return self.sparse().toarray()


def operator_norm(matrix: sp.csr_matrix) -> float:
    """||A||_2 of a scipy matrix: LAPACK up to 800 rows, Lanczos to about 1e-8 above."""
    if not matrix.nnz:
        return 0.0
    if max(matrix.shape) <= 800:
        return float(np.linalg.norm(matrix.toarray(), 2))
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    return float(sp.linalg.svds(matrix, k=1, v0=start, return_singular_vectors=False, tol=1e-8)[0])


def make_propagation(
    matrix: sp.csr_matrix, degree: Float[np.ndarray, "n"], *, normalisation: str, backend: Backend = "auto"
) -> Propagation:
    """Packs a square scipy matrix P[receiver, sender] for a backend, its transpose as well unless symmetric.

    Raises ValueError for an unknown backend, MemoryError where a dense P does not fit.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend={backend!r} is not known: allowed are {', '.join(get_args(Backend))}")
    n = matrix.shape[0]
    if backend == "auto":
        backend = "dense" if n <= _DENSE_NODES else "padded"
    if backend == "dense":
        require_memory(16 * n**2, f"the dense backend for {n} nodes", 'backend="padded" or "segment"')
    matrix = sp.csr_matrix(matrix, dtype=np.float64)
    transposed = matrix.T.tocsr()
    for m in (matrix, transposed):
        m.sort_indices()
    symmetric = (matrix != transposed).nnz == 0
    return Propagation(
        forward=pack(matrix, backend),
        backward=None if symmetric else pack(transposed, backend),
        degree=degree,
        num_nodes=n,
        normalisation=normalisation,
    )


def pack(matrix: sp.csr_matrix, backend: str) -> Packed:
    """Packs a float64 scipy matrix [n, m] with sorted indices for a backend that is not "auto"."""
    n, columns = matrix.shape  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
    if backend == "dense":
        return matrix.toarray()
    degree = np.diff(matrix.indptr)
    nodes = np.arange(n, dtype=np.int32)
    if backend == "segment":
        return Edges(matrix.indices.astype(np.int32), np.repeat(nodes, degree), matrix.data)
    num_slots = best_slots(degree)
    # Padding reads its own row, or the last one where there are fewer, with weight 0.
    senders = np.tile(np.minimum(nodes, max(columns - 1, 0)), (num_slots, 1))
    weights = np.zeros((num_slots, n))
    for k in range(num_slots):
        rows = np.flatnonzero(degree > k)
        edges = matrix.indptr[rows] + k
        senders[k, rows], weights[k, rows] = matrix.indices[edges], matrix.data[edges]
    beyond = np.maximum(degree - num_slots, 0)
    edges = np.repeat(matrix.indptr[1:] - np.cumsum(beyond), beyond)
    edges += np.arange(edges.size, dtype=edges.dtype)
    rest = Edges(matrix.indices[edges].astype(np.int32), np.repeat(nodes, beyond), matrix.data[edges])
    plan = None
    if edges.size:
        levels, place = fold(beyond[None], edges.size)
        plan = Fold(tuple(level[0] for level in levels), place[0])
    return Slots(senders, weights, rest, plan)


def best_slots(degree: np.ndarray) -> int:
    """K that minimises n K + c R, R = sum_v max(deg_v - K, 0): one more slot pays while over n / c rows still need it.

    Whatever the degrees, over 1 / c of the slots hold an edge: n K <= c (E - R) for E edges, hence n K + R <= c E,
    with n K < c (E - R) unless K = 0. Proof: slot k < K is there because more than n / c rows have more than k edges;
    summed over k, n K / c < sum_v min(deg_v, K) = E - R. No smaller factor does: with d edges in each of m rows
    and none in the others, n / m just below c, K = d and n K / E = n / m.
    """
    if not degree.size:
        return 0
    rows_longer = degree.size - np.cumsum(np.bincount(degree))  # [k] = number of rows with more than k edges
    return int(np.sum(rows_longer * _SEGMENT_COST > degree.size))


def _apply(packed: Packed, X: Float[Array, "n d"], num_rows: int, *, gathers: bool = False) -> Float[Array, "rows d"]:
    # (P X)_v = sum_u P_vu X_u
    if isinstance(packed, Edges):
        return segment_sum(_messages(packed, X), packed.receivers, num_rows, sorted=True)
    if isinstance(packed, Slots):
        weights = packed.weights.astype(X.dtype)
        out = jnp.zeros((num_rows, X.shape[1]), X.dtype)
        for k in range(packed.senders.shape[0]):
            out = out + weights[k][:, None] * X.at[packed.senders[k]].get(mode="promise_in_bounds")
        if gathers and packed.fold is not None:
            return out + folded(_messages(packed.rest, X), packed.fold)
        return out + _apply(packed.rest, X, num_rows) if packed.rest.senders.shape[0] else out
    if isinstance(packed, Halo):
        return exchange_and_apply(packed, X, partial(_apply, gathers=gathers))
    return jnp.matmul(packed.astype(X.dtype), X, precision="highest")


def _messages(edges: Edges, X: Float[Array, "n d"]) -> Float[Array, "e d"]:
    return edges.weights.astype(X.dtype)[:, None] * X.at[edges.senders].get(mode="promise_in_bounds")


def exchange_and_apply(halo: Halo, X: Float[Array, "n d"], apply: Callable[..., Array]) -> Float[Array, "n e"]:
    """apply(local, rows, m) -> [m, e] in every part, `rows` its own m rows of X and then those of its halo."""
    parts, _, m = halo.local.senders.shape

    def part(local, send, X):
        rows = [X]  # its own, then those of one round of messages after another
        for to, nodes in zip(halo.to, send, strict=True):
            pairs = _pairs(to, everyone=halo.mesh is None)  # `jax.vmap` has permutations only
            rows.append(jax.lax.ppermute(X.at[nodes].get(mode="promise_in_bounds"), "nodes", pairs))
        return apply(local, jnp.concatenate(rows), m)

    if halo.mesh is None:
        blocks = X.reshape(parts, m, X.shape[1])
        found = jax.vmap(part, axis_name="nodes")(halo.local, halo.send, blocks)
        return found.reshape(X.shape[0], found.shape[-1])

    def device(local, send, X):
        local, send = jax.tree.map(lambda a: a[0], (local, send))
        return part(local, send, X)

    # Inside a shard_map over "seeds" the mesh is the one around; "nodes" is an axis that XLA still partitions there.
    around = "nodes" in jax.sharding.get_abstract_mesh().axis_names
    by_nodes = PartitionSpec("nodes")
    return jax.shard_map(
        device,
        mesh=None if around else halo.mesh,
        in_specs=by_nodes,
        out_specs=by_nodes,
        axis_names={"nodes"},
        check_vma=False,  # the primitive has rules of its own for derivatives
    )(halo.local, halo.send, X)


_propagate_p = Primitive("propagate")


def multiply(
    X: Float[Array, "m d"], forward: Packed, backward: Packed | None, shape: tuple[int, int]
) -> Float[Array, "n d"]:
    """A X for a constant A [n, m], packed as `forward`; `backward` is A^T, None where A is symmetric."""
    leaves, tree = jax.tree.flatten(unshared((forward, backward)))
    return _propagate_p.bind(X, *leaves, tree=tree, shape=shape, transpose=False)


def _propagate(X, *leaves, tree, shape, transpose, gathers=False):
    forward, backward = jax.tree.unflatten(tree, leaves)
    return _apply(backward if transpose and backward is not None else forward, X, shape[transpose], gathers=gathers)


def _jvp(primals, tangents, **params):
    X, *leaves = primals
    dX, *dleaves = tangents
    if not all(isinstance(t, ad.Zero) for t in dleaves):
        raise TypeError("P is a constant: a Propagation's weights cannot be differentiated")
    out = _propagate_p.bind(X, *leaves, **params)
    if isinstance(dX, ad.Zero):
        return out, ad.Zero.from_primal_value(out)
    return out, _propagate_p.bind(dX, *leaves, **params)


def _transpose(cotangent, X, *leaves, transpose, **params):
    constant = (None,) * len(leaves)
    if isinstance(cotangent, ad.Zero):
        return ad.Zero(X.aval), *constant
    return _propagate_p.bind(cotangent, *leaves, transpose=not transpose, **params), *constant


def _batch(args, axes, **params):
    X, *leaves = args
    if any(axis is not None for axis in axes[1:]):  # a batch of graphs has no common P to fold over
        return jax.vmap(partial(_propagate, **params), axes)(X, *leaves), 0
    X = jnp.moveaxis(X, axes[0], 1)  # [n, batch, d] keeps a following X W one contiguous product
    out = _propagate_p.bind(X.reshape(X.shape[0], X.shape[1] * X.shape[2]), *leaves, **params)
    return out.reshape(out.shape[0], *X.shape[1:]), 1


def _abstract(X, *leaves, tree, shape, transpose):
    return jax.core.ShapedArray((shape[transpose], X.shape[1]), X.dtype)


_propagate_p.def_impl(jax.jit(_propagate_p.bind, static_argnames=("tree", "shape", "transpose")))
_propagate_p.def_abstract_eval(_abstract)
ad.primitive_jvps[_propagate_p] = _jvp
ad.primitive_transposes[_propagate_p] = _transpose
batching.primitive_batchers[_propagate_p] = _batch
mlir.register_lowering(_propagate_p, mlir.lower_fun(_propagate, multiple_results=False))
for _gpu in GPUS:
    _by_gathers = mlir.lower_fun(partial(_propagate, gathers=True), multiple_results=False)
    mlir.register_lowering(_propagate_p, _by_gathers, platform=_gpu)

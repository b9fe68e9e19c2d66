"""The exact Jacobian as a sparse matrix, from (colours x features) products instead of (nodes x features).

Block (v, u) holds d f(h)_v / d h_u, v and u counting along the first axes. The pattern of blocks that are not zero is
taken from the graph, or detected by one product a node; either way the result is checked by random products.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.memory import require_memory
from jaxgnn.jacobian.colouring import Colouring, colour
from jaxgnn.jacobian.linear import generator

_PROBES = 2  # random vectors that check a sparse Jacobian


class Products(NamedTuple):
    """A Jacobian through its products alone.

    Attributes:
      mm: [b, *inputs] -> [b, *outputs], J v for every v.
      rmm: [b, *outputs] -> [b, *inputs], J^T u for every u.
      inputs: shape of h.
      outputs: shape of f(h).
      dtype: of all of them.
      batch: the number of vectors that mm and rmm take best.
    """

    mm: Callable[[np.ndarray], np.ndarray]
    rmm: Callable[[np.ndarray], np.ndarray]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dtype: np.dtype
    batch: int

    @property
    def blocks(self) -> tuple[int, int]:
        """Block rows and block columns: lengths of the first axes."""
        return (self.outputs or (1,))[0], (self.inputs or (1,))[0]

    @property
    def block_shape(self) -> tuple[int, int]:
        """(d', d) of one block."""
        return int(np.prod(self.outputs[1:])), int(np.prod(self.inputs[1:]))


def restricted(products: Products, rows: np.ndarray, columns: np.ndarray) -> Products:
    """Products with the rows and columns of J that are numbered, on flat vectors."""
    N, M = int(np.prod(products.inputs)), int(np.prod(products.outputs))

    def through(product: Callable, V: np.ndarray, given: np.ndarray, size: int, shape: tuple, wanted: np.ndarray):
        filled = np.zeros((len(V), size), products.dtype)
        filled[:, given] = V
        return product(filled.reshape(-1, *shape)).reshape(len(V), -1)[:, wanted]

    return products._replace(
        mm=lambda V: through(products.mm, V, columns, N, products.inputs, rows),
        rmm=lambda U: through(products.rmm, U, rows, M, products.outputs, columns),
        inputs=(columns.size,),
        outputs=(rows.size,),
    )


def graph_pattern(products: Products, graph: Graph) -> sp.csr_matrix | None:
    """Pairs (v, u) with u at most K edges before v, K the largest distance that random single nodes reach.

    None where nodes are reached that no path leads to, or f does not keep the nodes.
    """
    if products.blocks != (graph.num_nodes, graph.num_nodes) or not graph.num_nodes:
        return None
    n = graph.num_nodes
    edges = sp.csr_matrix((np.ones(graph.num_edges, np.int8), (graph.receivers, graph.senders)), (n, n))
    step = ((edges + abs(graph.propagation.sparse()) + sp.eye_array(n)) != 0).astype(np.int8).tocsr()
    rng = generator(0)
    busiest = np.argsort(-np.diff(step.tocsc().indptr), kind="stable")[: products.batch // 2]
    sources = np.unique(np.concatenate([busiest, rng.choice(n, min(n, products.batch - busiest.size), replace=False)]))
    reached = _reached(products, sources, rng)
    hops = 0
    distance = sp.csgraph.shortest_path(step.T, unweighted=True, indices=sources)[reached.T]
    if distance.size:
        if not np.isfinite(distance).all():
            return None
        hops = int(distance.max())
    pattern = sp.eye_array(n, dtype=np.int8, format="csr")
    for _ in range(hops):
        pattern = ((step.astype(np.int32) @ pattern.astype(np.int32)) != 0).astype(np.int8)
    return sp.csr_matrix(pattern)


def detected_pattern(products: Products) -> sp.csr_matrix:
    """Pairs (v, u) for which a random tangent at u alone gives something other than 0 at v: one product a node."""
    m, n = products.blocks
    rng = generator(0)
    found = []
    for start in range(0, n, products.batch):
        sources = np.arange(start, min(start + products.batch, n))
        rows, columns = np.nonzero(_reached(products, sources, rng))
        found.append(np.stack([rows, columns + start]))
    rows, columns = np.concatenate(found, axis=1) if found else np.zeros((2, 0), np.int64)
    return sp.csr_matrix((np.ones(rows.size, np.int8), (rows, columns)), (m, n))


def from_pattern(products: Products, pattern: sp.csr_matrix) -> sp.csr_matrix:
    """The Jacobian with the blocks of a pattern, which must cover every block that is not zero: not checked here.

    Raises MemoryError where its entries do not fit.
    """
    (m, n), (rows_per_block, columns_per_block) = products.blocks, products.block_shape
    pattern.sort_indices()
    entries = pattern.nnz * rows_per_block * columns_per_block
    # Values and indices as blocks, and again as single entries.
    needed = 2 * entries * (products.dtype.itemsize + 8)
    require_memory(needed, f"a sparse Jacobian of {entries} entries", "mv and rmv", on_host=True)
    colouring = colour(pattern, rows_per_block=rows_per_block, columns_per_block=columns_per_block)
    blocks = np.zeros((pattern.nnz, rows_per_block, columns_per_block), products.dtype)
    _fill_columns(products, pattern, colouring, blocks)
    _fill_rows(products, pattern, colouring, blocks)
    shape = (m * rows_per_block, n * columns_per_block)
    matrix = sp.csr_matrix(sp.bsr_matrix((blocks, pattern.indices, pattern.indptr), shape))
    matrix.eliminate_zeros()
    return matrix


def relative_error(products: Products, matrix: sp.csr_matrix) -> float:
    """Largest relative difference of products with the matrix and with the Jacobian, over random vectors."""
    V = generator(1).standard_normal((_PROBES, *products.inputs)).astype(products.dtype)
    expected = np.asarray(products.mm(V), np.float64).reshape(_PROBES, -1)
    difference = np.linalg.norm((matrix @ V.reshape(_PROBES, -1).T.astype(np.float64)).T - expected, axis=1)
    scale = np.linalg.norm(expected, axis=1)
    return float(np.max(difference / np.where(scale > 0, scale, 1.0), initial=0.0))


def _fill_columns(products: Products, pattern: sp.csr_matrix, colouring: Colouring, blocks: np.ndarray) -> None:
    """Entries of the rows that are not heavy: product (c, i) has J[(v, :), (u, i)] in row v, u of colour c."""
    d = products.block_shape[1]
    receivers = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    wanted = np.flatnonzero(~colouring.heavy[receivers])
    colours = colouring.colours[pattern.indices[wanted]]
    order = np.argsort(colours, kind="stable")
    wanted, colours = wanted[order], colours[order]
    pairs = [(c, i) for c in range(colours.max(initial=-1) + 1) for i in range(d)]
    for start in range(0, len(pairs), products.batch):
        chunk = pairs[start : start + products.batch]
        V = np.zeros((products.batch, pattern.shape[1], d), products.dtype)
        for k, (c, i) in enumerate(chunk):
            V[k, colouring.colours == c, i] = 1
        out = products.mm(V.reshape(-1, *products.inputs)).reshape(products.batch, pattern.shape[0], -1)
        for k, (c, i) in enumerate(chunk):
            low, high = np.searchsorted(colours, (c, c + 1))
            blocks[wanted[low:high], :, i] = out[k, receivers[wanted[low:high]]]


def _fill_rows(products: Products, pattern: sp.csr_matrix, colouring: Colouring, blocks: np.ndarray) -> None:
    """Blocks of heavy rows v, one product with J^T for each of their rows."""
    d = products.block_shape[0]
    pairs = [(v, j) for v in np.flatnonzero(colouring.heavy) for j in range(d)]
    for start in range(0, len(pairs), products.batch):
        chunk = pairs[start : start + products.batch]
        U = np.zeros((products.batch, pattern.shape[0], d), products.dtype)
        for k, (v, j) in enumerate(chunk):
            U[k, v, j] = 1
        out = products.rmm(U.reshape(-1, *products.outputs)).reshape(products.batch, pattern.shape[1], -1)
        for k, (v, j) in enumerate(chunk):
            low, high = pattern.indptr[v], pattern.indptr[v + 1]
            blocks[low:high, j] = out[k, pattern.indices[low:high]]


def _reached(products: Products, sources: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "m s"]:
    """[m, sources] whether a random tangent at each source alone reaches block row v."""
    n, d = products.blocks[1], products.block_shape[1]
    V = np.zeros((products.batch, n, d), products.dtype)
    V[np.arange(sources.size), sources] = rng.standard_normal((sources.size, d))
    out = products.mm(V.reshape(-1, *products.inputs)).reshape(products.batch, products.blocks[0], -1)
    return (out[: sources.size] != 0).any(axis=2).T

"""The Jacobian of a plain function h -> h' as one linear operator with several representations."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.tree_util import Partial
from jaxtyping import Bool, Complex, Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.memory import require_memory
from jaxgnn.host.options import check_flag, check_known, check_whole
from jaxgnn.host.precision import precision
from jaxgnn.host.program import kept
from jaxgnn.jacobian import dense, density, extremes, kronecker, krylov, linear, purity, sparse, statistics
from jaxgnn.jacobian.density import Density, Quadrature, Sampled
from jaxgnn.jacobian.exported import ScipyOperator
from jaxgnn.jacobian.extremes import Extremes
from jaxgnn.jacobian.inertia import ShiftedFactor
from jaxgnn.jacobian.ordering import Ordering, order
from jaxgnn.jacobian.rounding import coarsest_eps
from jaxgnn.jacobian.sparse import Products
from jaxgnn.jacobian.statistics import Statistics
from jaxgnn.layers.parts import evaluated

_EXACT_BELOW = 2048  # rows and columns up to which `extremes(which="smallest")` takes all singular values
_SMALL_BLOCK = 512  # rows or columns of an independent block up to which `extremes` takes all its singular values
_CHEAP_FLOPS = 1e12  # of a factorisation that is done without being asked for: some seconds, a minute at tiny shifts


class Sparsity(NamedTuple):
    """How a sparse Jacobian was found.

    Attributes:
      pattern: "graph" or "detected".
      blocks: [m, n] pairs of nodes whose block may not be 0.
      relative_error: of random products with it against products with the Jacobian.
    """

    pattern: str
    blocks: sp.csr_matrix
    relative_error: float


class Eigenvalues(NamedTuple):
    """The outer eigenvalues, by falling modulus, and ||J x - lambda x|| of their unit vectors."""

    values: Complex[np.ndarray, "k"]
    residuals: Float[np.ndarray, "k"]


class LayerJacobian:
    """J = d vec(f(h)) / d vec(h), row-major: vec(X)[v d + i] = X[v, i]. Made by `jacobian`.

    A value: f is traced once, when J is made, and what it closed over is copied, so that J never changes. Products and
    entries are computed in h's precision, `dtype` (float64 stays float64 whatever JAX's global setting is; half
    precision is kept in float32), decompositions in float64 by LAPACK on the host.

    `eps` is that of the least precise floating-point number between h and J v: h's own, or that of a narrower one
    inside f or of f(h). Every bound and every check of J counts with it.
    """

    def __init__(
        self,
        f: Callable[[Array], Array],
        h: Float[Array, "..."],
        graph: Graph | None = None,
        factors: kronecker.Factors | tuple | None = None,
    ):
        h, f = linear.point(h), evaluated(f, graph)
        self.dtype = kept(h.dtype)
        self._h = h.astype(self.dtype, copy=True)
        with precision(self.dtype):
            self._x64 = jnp.result_type(float) == np.float64  # f's program is in this mode
            self._f = purity.frozen(f if isinstance(f, Partial) else Partial(f), h)
            value = np.asarray(linear.value(self._f, self._h))
        self._out = value.shape
        self.shape: tuple[int, int] = (value.size, h.size)
        self.eps = max(float(jnp.finfo(h.dtype).eps), coarsest_eps(self._f.func.derivative.jaxpr))
        if not np.isfinite(value).all():
            raise ValueError("f(h) is NaN or infinite: the Jacobian is not defined there")
        self._graph = graph
        self._factors = None if factors is None else kronecker.as_arrays(factors)
        if self._factors is not None:
            self._verify_factors(self._factors)

    def __repr__(self) -> str:
        narrow = f", computed to {self.eps:.1e}" if self.eps > np.finfo(self.dtype).eps else ""
        return f"LayerJacobian({self.shape[0]} x {self.shape[1]}, {self.dtype}{narrow})"

    def mv(self, v: Float[Array, "..."]) -> Float[Array, "..."]:
        """J v by one jvp: flat [N] -> [M], or in h's shape -> in f(h)'s shape."""
        with self._precision():
            out = linear.jvp(linear.scaled(self._f, 0, self.dtype), self._h, self._as(v, self._h.shape))
        return out.ravel() if np.ndim(v) == 1 else out

    def rmv(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """J^T u by one vjp: flat [M] -> [N], or in f(h)'s shape -> in h's shape."""
        with self._precision():
            out = linear.vjp(linear.scaled(self._f, 0, self.dtype), self._h, self._as(u, self._out))
        return out.ravel() if np.ndim(u) == 1 else out

    def to_scipy(self) -> sp.linalg.LinearOperator:
        """J as a scipy.sparse.linalg.LinearOperator, for scipy's svds, eigs, lsmr and the like.

        Products in h's precision, of vectors of any magnitude, real or complex; their results are float64. Raises
        ValueError for a vector that is NaN or infinite.
        """
        return ScipyOperator(self._products, self.shape, self._twos)

    def dense(self) -> Float[np.ndarray, "M N"]:
        """J as an array, by jitted jacfwd. Raises MemoryError, saying how much it needs, where it does not fit."""
        return self._unscaled(self._dense)

    @cached_property
    def _scaled(self) -> Partial:
        """f with 2^twos J for its Jacobian, of about 1: what is computed from J is computed from that, and exact."""
        return linear.scaled(self._f, self._twos, self.dtype)

    @cached_property
    def _twos(self) -> int:
        with self._precision():
            return linear.order_of_magnitude(self._f, self._h)

    def _unscaled(self, entries: np.ndarray) -> np.ndarray:
        if self._twos == 0:
            return entries
        entries = linear.rescaled(entries, -self._twos)
        if np.isinf(entries).any():
            raise ValueError(f"J has entries beyond the range of {self.dtype}: singular_values() has no such limit")
        return entries

    @cached_property
    def _dense(self) -> np.ndarray:
        rows, columns = self.shape
        # J itself, the tangents it is stacked from, one intermediate of their size, and LAPACK's copy.
        needed = 4 * rows * columns * self.dtype.itemsize
        require_memory(needed, f"a dense {rows} x {columns} Jacobian", "sparse(), extremes(), mv or rmv")
        with self._precision():
            return _finite(np.asarray(dense.jacfwd_flat(self._scaled, self._h, self.shape)))

    def sparse(self) -> sp.csr_matrix:
        """J as a scipy CSR matrix with every entry that is not 0, computed once, in h's precision.

        Products with J and J^T for the colours of the pattern of blocks, times d, take the place of one for every
        column. The pattern is that of the graph given to `jacobian`, up to the distance that single nodes reach, or
        detected by one product a node; random products check the result. `sparsity` tells which.
        Raises MemoryError where the entries do not fit, ValueError where no pattern reproduces the products.
        """
        return self._unscaled_sparse

    @cached_property
    def _unscaled_sparse(self) -> sp.csr_matrix:
        matrix = self._sparse[0]
        if self._twos:
            matrix = sp.csr_matrix((self._unscaled(matrix.data), matrix.indices, matrix.indptr), matrix.shape)
            matrix.eliminate_zeros()
        return matrix

    def block_norms(self, norm: str = "frobenius") -> sp.csr_matrix:
        """Norms of d f(h)_v / d h_u for all v and u, counted along the first axes, as a sparse matrix [m, n].

        norm: "frobenius", or "entrywise", the sum of absolute entries. Raises ValueError for another.
        """
        check_known("norm", norm, ("frobenius", "entrywise"))
        entries, (rows, columns) = self._sparse[0].tocoo(), self._products.block_shape
        position = (entries.row // max(rows, 1), entries.col // max(columns, 1))
        power = 2 if norm == "frobenius" else 1
        terms = np.abs(entries.data.astype(np.float64)) ** power
        norms = sp.csr_matrix(sp.coo_matrix((terms, position), shape=self._products.blocks))
        norms = norms.sqrt() if norm == "frobenius" else norms
        norms.data = linear.rescaled(norms.data, -self._twos)
        return norms

    @property
    def sparsity(self) -> Sparsity:
        """How `sparse()` was found."""
        return self._sparse[1]

    @cached_property
    def _sparse(self) -> tuple[sp.csr_matrix, Sparsity]:
        if min(self.shape) == 0:
            empty = sp.csr_matrix(self.shape, dtype=self.dtype)
            return empty, Sparsity("detected", sp.csr_matrix(self._products.blocks), 0.0)
        products, allowed = self._products, self._agreement
        tried = {"graph": partial(sparse.graph_pattern, products, self._graph)} if self._graph is not None else {}
        error = np.nan
        for name, find in (tried | {"detected": partial(sparse.detected_pattern, products)}).items():
            if (pattern := find()) is None:
                continue
            matrix = sparse.from_pattern(products, pattern)
            error = sparse.relative_error(products, matrix)
            if error <= allowed:
                return matrix, Sparsity(name, pattern, error)
        raise ValueError(f"no pattern of blocks reproduces J: on random vectors the sparse Jacobian is {error:.1e} off")

    @cached_property
    def support(self) -> tuple[Bool[np.ndarray, "M"], Bool[np.ndarray, "N"]]:
        """Which rows and which columns of J are not zero: those that a random product with J, or J^T, is not 0 in."""
        rng = linear.generator(2)
        v, u = (rng.standard_normal(shape).astype(self.dtype) for shape in (self._h.shape, self._out))
        with self._precision():
            rows, columns = linear.jvp(self._scaled, self._h, v), linear.vjp(self._scaled, self._h, u)
        return tuple(_finite(np.ravel(product)) != 0 for product in (rows, columns))

    def singular_values(self, method: str = "exact") -> Float[np.ndarray, "K"]:
        """All min(M, N) singular values, descending, float64.

        method: "exact" (LAPACK, after splitting off zero rows and columns and independent blocks), accurate to 1e-12
        sigma_1 and what h's precision makes of the entries; "kronecker" (closed form from the factors given to
        `jacobian`).
        Raises ValueError for another method or without factors, MemoryError where a block does not fit.
        """
        return self._spectrum(method, dense.singular_values, kronecker.singular_values)

    def eigenvalues(self, method: str = "exact") -> Complex[np.ndarray, "N"]:
        """All eigenvalues by falling modulus, complex128; methods and errors as for `singular_values`.

        Raises ValueError when J is not square.
        """
        return self._spectrum(method, dense.eigenvalues, kronecker.eigenvalues)

    def outer_eigenvalues(self, k: int = 20) -> Eigenvalues:
        """The k eigenvalues of largest modulus from products alone, by ARPACK's restarted Arnoldi iteration.

        Raises ValueError when J is not square or k is not from 1 to N - 2.
        """
        if self.shape[0] != self.shape[1]:
            raise ValueError(f"a Jacobian of shape {self.shape} has no eigenvalues: it must be square")
        check_whole("k", k)
        if not 1 <= k <= self.shape[0] - 2:
            most = (
                f"1 to {self.shape[0] - 2}"
                if self.shape[0] > 2
                else "none for a Jacobian this small: use eigenvalues()"
            )
            raise ValueError(f"k={k}: allowed are {most}")
        if not self.support[0].any():
            return Eigenvalues(np.zeros(k, np.complex128), np.zeros(k))

        def times(v):
            with self._precision():
                image = linear.jvp(self._scaled, self._h, self._as(v.ravel(), self._h.shape))
            return _finite(np.ravel(image).astype(np.float64))

        product = sp.linalg.LinearOperator(self.shape, times, dtype=np.float64)
        start = linear.generator(0).standard_normal(self.shape[1])
        tolerance = 0.0 if self.eps < 1e-8 else min(1e3 * self.eps, 1e-2)
        found = sp.linalg.eigs(product, k, v0=start, tol=tolerance, ncv=min(self.shape[0], max(3 * k, 40)))
        values, X = found
        images = np.stack([product @ x.real + 1j * (product @ x.imag) for x in X.T], axis=1)
        residuals = np.linalg.norm(images - X * values, axis=0)
        by_modulus = np.argsort(-np.abs(values), kind="stable")
        return Eigenvalues(*(linear.rescaled(x[by_modulus], -self._twos) for x in (values, residuals)))

    def extremes(
        self, k: int = 20, *, which: str = "largest", max_products: int = 4000, certify: bool | None = None
    ) -> Extremes:
        """The k largest singular values, or the k smallest that are not zero, with bounds.

        "largest" needs products alone, at most about `max_products` (block Lanczos). "smallest" factorises the sparse
        Jacobian, or up to 2,048 rows and columns takes all singular values; not zero are those above
        max(M, N) eps sigma_1. `certify` asks for the inertia count, a sparse factorisation, that proves the bounds that
        are not proved by themselves; by default it is done where a graph was given and it is cheap. False does without
        the sparse Jacobian, whose small independent blocks are otherwise taken exactly.
        Raises ValueError for k < 1 or another `which`, MemoryError where the vectors or the factors do not fit.
        """
        check_known("which", which, ("largest", "smallest"))
        check_whole("k", k, least=1)
        check_whole("max_products", max_products, least=0)
        if certify is not None:
            check_flag("certify", certify)
        found = self._smallest(k, max_products) if which == "smallest" else self._largest(k, max_products, certify)
        return extremes.rescaled(found, -self._twos)

    def _largest(self, k: int, max_products: int, certify: bool | None) -> Extremes:
        """Of the scaled J, as everything below."""
        tolerance = 1e-8 if self.eps < 1e-8 else self._agreement
        options = {"eps": self.eps, "max_products": max_products, "tolerance": tolerance}
        if certify or (certify is None and self._graph is not None):
            factorise = self._factorise if certify or self.cheap_to_factorise() else None
            return extremes.largest(*self._parts(), k, factorise=factorise, **options)
        return extremes.largest([self._products], np.zeros(0), k, factorise=None, **options)

    def cheap_to_factorise(self) -> bool:
        """Whether a graph was given and the factorisations behind certified bounds take some seconds each."""
        return self._graph is not None and self._restricted[1].flops <= _CHEAP_FLOPS

    def density(
        self,
        probes: int = 16,
        steps: int = 64,
        *,
        method: str = "lanczos",
        bandwidth: float | None = None,
        grid: Float[np.ndarray, "g"] | None = None,
        seed: int = 0,
    ) -> Density:
        """The density of all singular values, smoothed, from steps products with J^T J for each of so many probes.

        method: "lanczos" (stochastic Lanczos quadrature) or "chebyshev" (kernel polynomial method), a check on it.
        Raises ValueError for another method, or fewer than 2 probes or steps; MemoryError where the vectors do not fit.
        """
        check_known("method", method, ("lanczos", "chebyshev"))
        density.require_bandwidth(bandwidth)
        twos = self._twos
        bandwidth = None if bandwidth is None else float(linear.rescaled(np.float64(bandwidth), twos))
        at = None if grid is None else linear.rescaled(np.asarray(grid, np.float64), twos)
        found = density.rescaled(self._density(method, probes, steps, seed, bandwidth, at), -twos)
        return found if grid is None else found._replace(grid=np.asarray(grid, np.float64))

    def _density(self, method: str, probes: int, steps: int, seed: int, bandwidth: float | None, grid: Any) -> Density:
        if method == "lanczos" or min(self.shape) == 0:
            return density.smoothed(self._quadrature(probes, steps, seed), bandwidth=bandwidth, grid=grid)
        sampled = self._sampled(probes, steps, seed)
        with self._precision():
            ritz = krylov.largest_ritz(self._products, 1, tolerance=1e-2, max_products=400)
            top = density.MARGIN * (float(ritz.values[0]) or 1.0)
            moments = density.chebyshev_moments(
                self._scaled, self._h, sampled.start, np.asarray(top, self.dtype), steps, sampled.transposed
            )
        return density.from_moments(
            np.asarray(moments, np.float64), top, size=sampled.size, total=sampled.total, bandwidth=bandwidth, grid=grid
        )

    def quadrature(self, probes: int = 16, steps: int = 64, *, seed: int = 0) -> Quadrature:
        """Gauss rules for the distribution of singular values: `.mean(f)` estimates (1/K') sum_i f(sigma_i)."""
        rule = self._quadrature(probes, steps, seed)
        return rule._replace(nodes=linear.rescaled(rule.nodes, -self._twos))

    def _quadrature(self, probes: int, steps: int, seed: int) -> Quadrature:
        sampled = self._sampled(probes, steps, seed)
        with self._precision():
            return density.quadrature(self._scaled, self._h, sampled, steps=steps)

    def statistics(self, method: str = "exact", *, probes: int = 16, steps: int = 64) -> Statistics:
        """Schatten norms, log-determinant, condition number and dynamical isometry, each with its error.

        method: "exact" from all singular values, "lanczos" from `quadrature`. Raises ValueError for another.
        """
        check_known("method", method, ("exact", "lanczos"))
        if method == "exact":
            return statistics.exact(self.singular_values(), self.shape, self.eps)
        rule = self.quadrature(probes, steps)
        return statistics.stochastic(rule, self.shape, self.eps)

    @property
    def _agreement(self) -> float:
        """By how much products may differ, relatively, that are equal in exact arithmetic."""
        return min(1e3 * self.eps, max(10 * self.eps, 1e-2))

    def _precision(self) -> AbstractContextManager:
        return jax.enable_x64(self._x64)

    @cached_property
    def _products(self) -> Products:
        """mm and rmm for any number of vectors, in batches of one length, so that one program each is compiled.

        A vector alone has a program of its own."""
        batch = linear.batch_size(self.shape, self.dtype.itemsize)

        def many(product: Callable, V: np.ndarray) -> np.ndarray:
            with self._precision():
                found = []
                for start in range(0, len(V), batch):
                    part = V[start : start + batch]
                    size = 1 if len(V) == 1 else batch
                    filled = np.zeros((size, *V.shape[1:]), self.dtype)
                    filled[: len(part)] = part
                    found.append(_finite(np.asarray(product(self._scaled, self._h, filled))[: len(part)]))
            return np.concatenate(found)

        mm, rmm = partial(many, linear.jvps), partial(many, linear.vjps)
        return Products(mm, rmm, self._h.shape, self._out, self.dtype, batch)

    def _spectrum(self, method: str, exact: Callable, closed_form: Callable) -> np.ndarray:
        check_known("method", method, ("exact", "kronecker"))
        if method == "exact":
            return linear.rescaled(exact(self._entries()), -self._twos)
        if self._factors is None:
            raise ValueError('method="kronecker" needs factors: jacobian(f, h, factors=(P, W))')
        return closed_form(self._factors)

    def _entries(self) -> np.ndarray | sp.csr_matrix:
        """All entries of the scaled J, the cheaper way: sparse where blocks can be told apart, dense where at hand."""
        if "_dense" in self.__dict__ or min(self._out[:1] + self._h.shape[:1], default=0) < 16:
            return self._dense
        return self._sparse[0]

    def _smallest(self, k: int, max_products: int) -> Extremes:
        if max(self.shape) <= _EXACT_BELOW:
            values = dense.singular_values(self._entries())
            return extremes.from_all(values, k, self.shape, self.eps)
        J, (rows, columns) = self._sparse[0], self.support
        top = self._largest(1, max_products, certify=False)
        rank_tolerance = max(self.shape) * self.eps * float(top.values[0])
        found = extremes.smallest(
            self._restricted[0],
            k,
            rank_tolerance=rank_tolerance,
            top=float(top.upper[0]),
            factorise=self._factorise,
            eps=self.eps,
        )
        zero = min(J.shape) - min(int(rows.sum()), int(columns.sum()))
        slack = dense.ROUNDING * self.eps * float(top.values[0])  # entries are known to as much
        return found._replace(
            lower=found.lower - slack,
            upper=found.upper + slack,
            null_dim=found.null_dim + zero,
            products=top.products,
        )

    @cached_property
    def _restricted(self) -> tuple[sp.csr_matrix, Ordering]:
        """The sparse Jacobian in float64 without its zero rows and columns, and how to factorise it."""
        J = sp.csr_matrix(self._sparse[0], dtype=np.float64)
        (m, n), (d_out, d_in) = self._products.blocks, self._products.block_shape
        rows, columns = np.diff(J.indptr) > 0, np.diff(J.tocsc().indptr) > 0
        J = J[rows][:, columns].tocsr()
        J.sort_indices()
        return J, order(J, np.repeat(np.arange(m), d_out)[rows], np.repeat(np.arange(n), d_in)[columns])

    def _parts(self) -> tuple[list[Products], Float[np.ndarray, "j"]]:
        """Products with the large independent blocks of J, and all singular values of the small ones.

        A graph has many components that are alike: their equal values, which Lanczos finds one by one, are in these.
        """
        J, parts, known, rest = self._sparse[0], [], [], min(self.shape)
        for rows, columns in dense.bipartite_blocks(J):
            rest -= min(rows.size, columns.size)
            if min(rows.size, columns.size) <= _SMALL_BLOCK:
                known.append(np.linalg.svd(J[rows][:, columns].toarray().astype(np.float64), compute_uv=False))
            else:
                parts.append(sparse.restricted(self._products, rows, columns))
        return parts, np.concatenate([*known, np.zeros(rest)])  # beyond all blocks there are zeros

    def _factorise(self, shift: float) -> ShiftedFactor:
        return ShiftedFactor(self._restricted[0], shift, self._restricted[1])

    def _sampled(self, probes: int, steps: int, seed: int) -> Sampled:
        for name, value, least in (("probes", probes, 2), ("steps", steps, 2)):
            check_whole(name, value)
            if value < least:
                raise ValueError(f"{name}={value}: allowed are {least} and more")
        check_whole("seed", seed, least=0)
        return density.sample(*self.support, probes, self.dtype, seed)

    def _verify_factors(self, factors: kronecker.Arrays) -> None:
        # J vec(V) = vec(V Lambda^T + P V M^T) on random V, up to the rounding of h's precision.
        if factors.shape != self.shape:
            shapes = f"{factors.P.shape} and {factors.M.shape[::-1]}"
            raise ValueError(f"factors of shapes {shapes} do not make a Jacobian of shape {self.shape}")
        probes = linear.generator(0).standard_normal((3, factors.P.shape[1], factors.M.shape[1]))
        for V in probes.astype(self.dtype):
            expected = factors.apply(V.astype(np.float64))
            with self._precision():
                found = np.asarray(linear.jvp(self._scaled, self._h, self._as(V.ravel(), self._h.shape)), np.float64)
            expected = linear.rescaled(expected.ravel(), self._twos)
            relative = np.linalg.norm(found.ravel() - expected) / (np.linalg.norm(expected) or 1.0)
            if not relative <= self._agreement:
                raise ValueError(
                    f"factors (P, W) do not reproduce the Jacobian: on a random signal P V W is {relative:.1e} off"
                )

    def _as(self, v: Any, shape: tuple[int, ...]) -> np.ndarray:
        v = np.asarray(v, self.dtype)
        if v.shape not in (shape, (int(np.prod(shape)),)):
            raise ValueError(f"a vector of shape {v.shape}: allowed are {shape} and its flat form")
        return v.reshape(shape)


def _finite(entries: np.ndarray) -> np.ndarray:
    if not np.isfinite(entries).all():
        raise ValueError("the Jacobian is NaN or infinite at h: f is not differentiable there")
    return entries


def jacobian(
    f: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    h: Float[Array, "..."],
    graph: Graph | None = None,
    factors: kronecker.Factors | tuple | None = None,
) -> LayerJacobian:
    """The Jacobian of any differentiable f at h as a linear operator of shape (f(h).size, h.size).

    Args:
      f: a plain function; `model.layer_fn` gives one that shares its compiled code with the other layers. Or an NNX or
        Equinox module, in evaluation mode, of h or of (graph, h).
      h: the point, usually [n, d]. In float64 everything is computed in float64.
      graph: where f mixes nodes along the edges of a graph, that graph: the sparse Jacobian is found with fewer
        products then, and `extremes` certifies its bounds.
      factors: (P, W) of a linear layer P X W, or `kronecker.Factors` with Lambda and B, for the method "kronecker";
        verified by random probes.

    Raises:
      ValueError: h is not floating point, f(h) is NaN or infinite, f is not a pure differentiable function that
        returns one array, or the factors do not reproduce J.
    """
    return LayerJacobian(f, h, graph, factors)

"""The Jacobian of a plain function h -> h' as one linear operator with several representations."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Complex, Float

from jaxgnn.arrays import Array
from jaxgnn.jacobian import dense, kronecker, krylov
from jaxgnn.memory import require_memory
from jaxgnn.precision import precision


class LayerJacobian:
    """J = d vec(f(h)) / d vec(h), row-major: vec(X)[v d + i] = X[v, i]. Made by `jacobian`.

    Products and entries are computed in h's precision (float64 stays float64 whatever JAX's global setting is),
    decompositions in float64 by LAPACK on the host.
    """

    def __init__(self, f: Callable[[Array], Array], h: Float[Array, "..."], factors: kronecker.Factors | None):
        h = np.asarray(h)
        if not np.issubdtype(h.dtype, np.floating):
            raise ValueError(f"h has dtype {h.dtype}: a Jacobian is taken at an array of floating-point numbers")
        self._f = f if isinstance(f, Partial) else Partial(f)
        self._h = h
        self.dtype = h.dtype
        with precision(self.dtype):
            value = np.asarray(_value(self._f, h))
        self._out = value.shape
        self.shape: tuple[int, int] = (value.size, h.size)
        if not np.isfinite(value).all():
            raise ValueError("f(h) is NaN or infinite: the Jacobian is not defined there")
        self._factors = factors
        if factors is not None:
            self._verify_factors(factors)

    def mv(self, v: Float[Array, "..."]) -> Float[Array, "..."]:
        """J v by one jvp: flat [N] -> [M], or in h's shape -> in f(h)'s shape."""
        with precision(self.dtype):
            out = _jvp(self._f, self._h, self._as(v, self._h.shape))
        return out.ravel() if np.ndim(v) == 1 else out

    def rmv(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """J^T u by one vjp: flat [M] -> [N], or in f(h)'s shape -> in h's shape."""
        with precision(self.dtype):
            out = _vjp(self._f, self._h, self._as(u, self._out))
        return out.ravel() if np.ndim(u) == 1 else out

    def dense(self) -> Float[np.ndarray, "M N"]:
        """J as an array, by jitted jacfwd. Raises MemoryError, saying how much it needs, where it does not fit."""
        return self._dense

    @cached_property
    def _dense(self) -> np.ndarray:
        rows, columns = self.shape
        # J itself, the tangents it is stacked from, one intermediate of their size, and LAPACK's copy.
        needed = 4 * rows * columns * self.dtype.itemsize
        require_memory(needed, f"a dense {rows} x {columns} Jacobian", "extremes(), or mv and rmv,")
        with precision(self.dtype):
            return np.asarray(dense.jacfwd_flat(self._f, self._h, self.shape))

    def singular_values(self, method: str = "exact") -> Float[np.ndarray, "K"]:
        """All min(M, N) singular values, descending, float64.

        method: "exact" (dense, LAPACK, after splitting off zero rows and columns and independent blocks), accurate
        to about max(M, N) eps sigma_1; "kronecker" (closed form from the factors given to `jacobian`).
        Raises ValueError for another method or without factors, MemoryError where the dense J does not fit.
        """
        return self._spectrum(method, dense.singular_values, kronecker.singular_values)

    def eigenvalues(self, method: str = "exact") -> Complex[np.ndarray, "N"]:
        """All eigenvalues by falling modulus, complex128; methods and errors as for `singular_values`.

        Raises ValueError when J is not square.
        """
        return self._spectrum(method, dense.eigenvalues, kronecker.eigenvalues)

    def extremes(self, k: int = 20, *, which: str = "largest", max_steps: int = 320) -> krylov.Extremes:
        """The k largest singular values from products alone, with bounds; J is never formed.

        At most `max_steps` Lanczos steps, begun anew when they are doubled: time grows with steps^2 n d, memory with
        steps n d.
        Raises ValueError for k < 1 or another `which`, MemoryError where the steps' vectors do not fit.
        """
        if which != "largest":
            raise ValueError(f"which={which!r} is not known: allowed is largest")
        if k < 1:
            raise ValueError(f"k={k}: allowed are 1 and more")
        with precision(self.dtype):
            return krylov.largest(self._f, self._h, self.shape, k=k, max_steps=max_steps)

    def _spectrum(self, method: str, exact: Callable, closed_form: Callable) -> np.ndarray:
        if method == "exact":
            return exact(self.dense())
        if method == "kronecker":
            if self._factors is None:
                raise ValueError('method="kronecker" needs factors: jacobian(f, h, factors=(P, W))')
            return closed_form(self._factors)
        raise ValueError(f"method={method!r} is not known: allowed are exact, kronecker")

    def _verify_factors(self, factors: kronecker.Factors) -> None:
        # J vec(V) = vec(P V W) on random V, up to the rounding of h's precision.
        P, W = kronecker.as_arrays(factors)
        if (P.shape[0] * W.shape[1], P.shape[1] * W.shape[0]) != self.shape:
            raise ValueError(f"factors of shapes {P.shape} and {W.shape} do not make a Jacobian of shape {self.shape}")
        for V in np.random.default_rng(0).standard_normal((3, P.shape[1], W.shape[0])).astype(self.dtype):
            expected = P @ V.astype(np.float64) @ W
            difference = np.linalg.norm(np.asarray(self.mv(V.ravel()), np.float64) - expected.ravel())
            relative = difference / (np.linalg.norm(expected) or 1.0)
            if not relative <= 1e3 * float(np.finfo(self.dtype).eps):
                raise ValueError(
                    f"factors (P, W) do not reproduce the Jacobian: on a random signal P V W is {relative:.1e} off"
                )

    def _as(self, v: Any, shape: tuple[int, ...]) -> np.ndarray:
        v = np.asarray(v, self.dtype)
        if v.shape not in (shape, (int(np.prod(shape)),)):
            raise ValueError(f"a vector of shape {v.shape}: allowed are {shape} and its flat form")
        return v.reshape(shape)


def jacobian(
    f: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    h: Float[Array, "..."],
    *,
    factors: kronecker.Factors | None = None,
) -> LayerJacobian:
    """The Jacobian of any differentiable f at h as a linear operator of shape (f(h).size, h.size).

    Args:
      f: a plain function; `model.layer_fn` gives one that shares its compiled code with the other layers.
      h: the point, usually [n, d]. In float64 everything is computed in float64.
      factors: (P, W) of a linear layer P X W, for the method "kronecker"; verified by random probes.

    Raises:
      ValueError: h is not floating point, f(h) is NaN or infinite, or the factors do not reproduce J.
    """
    return LayerJacobian(f, h, factors)


@jax.jit
def _value(f, h):
    return jnp.asarray(f(h))


@jax.jit
def _jvp(f, h, v):
    return jax.jvp(f, (h,), (v,))[1]


@jax.jit
def _vjp(f, h, u):
    return jax.vjp(f, h)[1](u)[0]

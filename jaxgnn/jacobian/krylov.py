"""Extreme singular values from products alone, by matfree's Golub-Kahan-Lanczos bidiagonalisation."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from matfree import decomp

from jaxgnn.memory import require_memory


class Extremes(NamedTuple):
    """Singular values with bounds.

    Attributes:
      values: [k], descending: Ritz values.
      lower: [k], lower[i] <= sigma_i, by interlacing (up to rounding).
      upper: [k], the Ritz value plus the norm of its residual: some singular value lies between values[i] and
        upper[i]. It bounds sigma_i unless the single-vector iteration missed one above it.
      certified: [k], whether upper[i] >= sigma_i is proved.
    """

    values: Float[np.ndarray, "k"]
    lower: Float[np.ndarray, "k"]
    upper: Float[np.ndarray, "k"]
    certified: Bool[np.ndarray, "k"]


def largest(f, h, shape: tuple[int, int], *, k: int, max_steps: int, tolerance: float = 1e-8) -> Extremes:
    """The k largest singular values of f's Jacobian at h, with full re-orthogonalisation.

    Steps are doubled, from 4 k, until every residual is below `tolerance` sigma_1 (at least 1e4 eps of h's
    precision), the Krylov space is exhausted, or `max_steps` is reached; what is left is in the upper bounds.
    A single start vector finds one copy of a multiple singular value only.
    """
    size = min(shape)
    k = min(k, size)
    if k == 0:
        return Extremes(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))
    tolerance = max(tolerance, 1e4 * float(np.finfo(h.dtype).eps))
    start = np.random.default_rng(0).standard_normal(shape[1]).astype(h.dtype)
    max_steps = min(max(max_steps, k), size)
    needed = 2 * max_steps * sum(shape) * h.dtype.itemsize
    require_memory(needed, f"a Krylov space of {max_steps} steps for a {shape[0]} x {shape[1]} Jacobian", "fewer steps")
    steps = min(4 * k, max_steps)
    while True:
        values, residuals, exhausted = _ritz(*map(np.asarray, _bidiagonalise(f, h, start, steps)))
        converged = values.size >= k and bool((residuals[:k] <= tolerance * values[0]).all())
        if converged or exhausted or steps == max_steps:
            break
        steps = min(2 * steps, max_steps)
    values, residuals = (np.concatenate([a, np.zeros(k)])[:k] for a in (values, residuals))
    return Extremes(values, values.copy(), values + residuals, np.zeros(k, bool))


@partial(jax.jit, static_argnums=3)
def _bidiagonalise(f, h, start, steps: int):
    def Av(v):
        return jnp.ravel(jax.jvp(f, (h,), (v.reshape(h.shape),))[1])

    result = decomp.bidiag(steps, materialize=False, reortho="full")(Av, start)
    alphas, betas = result.J_small
    return alphas, betas, jnp.linalg.norm(result.residual)


def _ritz(alphas: np.ndarray, betas: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Singular values of the bidiagonal matrix and their residuals |beta_k e_k^T u|, up to the first breakdown."""
    alphas, betas = alphas.astype(np.float64), np.append(betas, last).astype(np.float64)
    scale = np.nanmax(np.concatenate([alphas, betas, [0.0]]))
    eps = 100 * np.finfo(np.float32 if last.dtype == np.float32 else np.float64).eps
    broken = ~(np.minimum(alphas, betas) > eps * scale)  # also where a division by zero left NaN
    steps = int(np.argmax(broken)) + 1 if broken.any() else alphas.size
    if broken.any():
        if not betas[steps - 1] > eps * scale:
            betas[steps - 1] = 0.0
        if not alphas[steps - 1] > eps * scale:
            alphas[steps - 1] = 0.0
    B = np.diag(alphas[:steps]) + np.diag(betas[: steps - 1], 1)
    U, values, _ = np.linalg.svd(B)
    residuals = np.abs(betas[steps - 1] * U[-1])
    return values, np.where(np.isfinite(residuals), residuals, 0.0), bool(broken.any())

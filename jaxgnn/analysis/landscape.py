"""The loss around a point in the space of all layers' weights: a slice through it, and its Hessian's extremes."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float
from matfree import decomp

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array, unshared
from jaxgnn.host.magnitude import host_norm, norm
from jaxgnn.host.options import check_number, check_seed, check_whole
from jaxgnn.host.program import call

Loss = Callable[[Array], Array]


class Landscape(NamedTuple):
    """loss[i, j] at W + axis[i] D_1 + axis[j] D_2, W all layers' matrices; axis [p], loss [p, p]."""

    axis: Float[np.ndarray, "p"]
    loss: Float[np.ndarray, "p p"]


class HessianExtremes(NamedTuple):
    """The extreme Ritz values of the Hessian in all layers' weights; an eigenvalue lies within each one's error.

    Attributes:
      lowest, highest: at most and at least the smallest and the largest eigenvalue, respectively, seen from inside.
      lowest_error, highest_error: residual norms of the Ritz pairs, and what rounding adds.
      dimension: number of weights.
    """

    lowest: float
    highest: float
    lowest_error: float
    highest_error: float
    dimension: int


def landscape(
    model: Any,
    params: Any,
    graph: Graph,
    x: Float[np.ndarray, "n f"],
    loss_fn: Loss,
    *,
    radius: float = 1.0,
    points: int = 21,
    seed: int = 0,
) -> Landscape:
    """The loss over [-radius, radius]^2 along two random directions in all layers' matrices.

    Every column of a direction has the norm of that column of W (one column is one filter), so that 1 changes each
    filter by as much as it is. Encoder and readout stay. Source: Li et al. 2018, section 4.

    Raises ValueError for a radius or a number of points that spans nothing.
    """
    check_number("radius", radius, lambda v: 0 < v < np.inf, "finite numbers above 0")
    check_whole("points", points, least=2)
    check_seed("seed", seed)
    keys = jax.random.split(jax.random.key(seed))
    first, second = (_direction(layer_weights(params), key) for key in keys)
    axis = np.linspace(-radius, radius, points)
    run = partial(_slice, model, loss_fn=loss_fn)
    loss = call(run, *unshared((params, graph)), jnp.asarray(unshared(x)), first, second, axis)
    return Landscape(axis, np.asarray(loss))


def hessian_extremes(
    model: Any,
    params: Any,
    graph: Graph,
    x: Float[np.ndarray, "n f"],
    loss_fn: Loss,
    *,
    steps: int = 48,
    seed: int = 0,
) -> HessianExtremes:
    """The smallest and the largest eigenvalue of the loss's Hessian with respect to all layers' parameters.

    By `steps` steps of Lanczos with full reorthogonalisation (matfree) on Hessian-vector products, from one random
    vector, in the precision of the parameters. The step count is cut to the number of parameters.
    Raises ValueError for fewer than 2 steps, and where the Hessian is not finite.
    """
    check_whole("steps", steps, least=2)
    check_seed("seed", seed)
    size = sum(np.size(W) for W in jax.tree.leaves(layer_weights(params)))
    steps = min(steps, size)
    run = partial(_lanczos, model, loss_fn=loss_fn, steps=steps)
    T, residual = call(run, *unshared((params, graph)), jnp.asarray(unshared(x)), jax.random.key(seed))
    if not (np.isfinite(T).all() and np.isfinite(residual).all()):
        raise ValueError("the Hessian is NaN or infinite at these weights")
    values, vectors = np.linalg.eigh(np.asarray(T))
    # H Q = Q T + r e_last^T: the residual of a Ritz pair (theta, Q y) is ||r|| |y_last|.
    rounding = steps * np.finfo(values.dtype).eps * np.abs(values).max()
    errors = host_norm(residual) * np.abs(vectors[-1]) + rounding
    return HessianExtremes(float(values[0]), float(values[-1]), float(errors[0]), float(errors[-1]), size)


def layer_weights(params: Any) -> Any:
    """All layers' parameters of a DeepGNN's variables, each with a leading axis L."""
    return params["params"]["stack"]["layer"]


def with_layer_weights(params: Any, weights: Any) -> Any:
    """The variables with other layers."""
    stack = params["params"]["stack"] | {"layer": weights}
    return params | {"params": params["params"] | {"stack": stack}}


def _direction(weights: Any, key: Array) -> Any:
    """A random direction whose every column is as long as the weights' own column; none in vectors (biases)."""
    leaves, tree = jax.tree.flatten(weights)

    def draw(W, key):
        if W.ndim < 3:
            return jnp.zeros_like(W)
        D = jax.random.normal(key, W.shape, jnp.asarray(W).dtype)
        length = jax.vmap(jax.vmap(norm, in_axes=-1))  # of every column of every layer
        return D * (length(W) / length(D))[:, None]

    return tree.unflatten([draw(W, k) for W, k in zip(leaves, jax.random.split(key, len(leaves)), strict=True)])


def _slice(model, params, graph, x, first, second, axis, *, loss_fn):
    weights = layer_weights(params)

    def at(point):
        moved = jax.tree.map(lambda W, D, E: W + point[0] * D + point[1] * E, weights, first, second)
        return loss_fn(model.apply(with_layer_weights(params, moved), graph, x))

    i, j = jnp.meshgrid(axis, axis, indexing="ij")
    return jax.lax.map(at, jnp.stack([i.ravel(), j.ravel()], axis=1)).reshape(i.shape)


def _lanczos(model, params, graph, x, key, *, loss_fn, steps):
    flat, unravel = ravel_pytree(layer_weights(params))

    def loss(flat):
        return loss_fn(model.apply(with_layer_weights(params, unravel(flat)), graph, x))

    def product(v):  # H v, forward over reverse
        return jax.jvp(jax.grad(loss), (flat,), (v,))[1]

    start = jax.random.normal(key, flat.shape, flat.dtype)
    result = decomp.tridiag_sym(steps, custom_vjp=False)(product, start)
    return result.J_small, result.residual

"""Backward errors at every layer of a tapped network: how large, how smooth and how nearly linear they are.

B^(l) = rho'(H^(l)) * G^(l+1), G^(l) = P^T B^(l) W^(l)^T: the backward pass is a linear recursion through P where
rho' is the same on every node, and smooths the errors then as the forward pass smooths the features (Keriven 2025).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgnn.analysis.measures import effective_rank, stable_rank
from jaxgnn.analysis.probe import Tapped, Trace, probe
from jaxgnn.analysis.theory_lines import Geometry, geometry
from jaxgnn.data import saved
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array, summary
from jaxgnn.host.magnitude import centred_top, norm, norm_ratio, ratio, scaled, times_power, unit
from jaxgnn.host.precision import exact_products, nan_is_a_value
from jaxgnn.host.program import of_model
from jaxgnn.network.adapters import as_network, taps_of
from jaxgnn.network.norms import centred, row_mean


class Sizes(NamedTuple):
    """How large and how smooth signals are, each [...]: of one signal, or of one a layer.

    Attributes:
      norm: ||X||_F.
      mu: the distance to the nearest smooth signal: to equal rows, mu(X) = sqrt(n) E(X), or to a span.
      relative_mu: mu / norm, in [0, 1], blind to scale: near 0 the signal is smooth, however small. NaN for X = 0.
    """

    norm: Float[Array, "..."]
    mu: Float[Array, "..."]
    relative_mu: Float[Array, "..."]


class Ranks(NamedTuple):
    """How many dimensions signals fill, each [...], whatever their size; 0 for X = 0, NaN for X that is not finite.

    Attributes:
      effective: exp of the entropy of sigma_i / sum_j sigma_j, `jaxgnn.measures.effective_rank`.
      stable: ||X||_F^2 / ||X||_2^2, `jaxgnn.measures.stable_rank`.
    """

    effective: Float[Array, "..."]
    stable: Float[Array, "..."]


class Backward(NamedTuple):
    """One forward and backward pass in numbers; errors at layers l = 0 .. L-1, features and their gradients 0 .. L.

    Attributes:
      features, feature_grads, errors: of X^(l), G^(l) and B^(l).
      features_off, feature_grads_off, errors_off: the same on one component, mu as the distance to span(v).
      error_mean: ||1 b^T||_F, b = 1^T B^(l) / n, the part of the error along the mean; `errors.mu` is the part off it.
      cosine: <B^(l), B^(l+1)> / (||B^(l)|| ||B^(l+1)||), [L-1]. It changes when the hidden features are rotated.
      alignment: the same of B^(l) B^(l)^T and B^(l+1) B^(l+1)^T, in [0, 1], [L-1]. It does not change: it compares
        which nodes' errors are alike.
      linear_cosine: cosine of B^(l) and (1 dbar^T) * G^(l+1), what it would be if rho' were dbar_i, its mean over the
        nodes, at every node. Rotations by W are in both.
      linear_distance: ||B^(l) - (1 dbar^T) * G^(l+1)||_F / ||B^(l)||_F; 0 for rho = id.
      weight_grads: ||d loss / d W^(l)||_F.
      loss: a scalar.
      feature_ranks, feature_grad_ranks, error_ranks: of X^(l), G^(l) and B^(l), of all nodes.

    What is of an error that is 0 is NaN, and so are the linear ones where B^(l) is no entrywise multiple of G^(l+1)
    (a norm, a gate, an SSM that mixes features).
    """

    features: Sizes
    feature_grads: Sizes
    errors: Sizes
    features_off: Sizes
    feature_grads_off: Sizes
    errors_off: Sizes
    error_mean: Float[Array, "L"]
    cosine: Float[Array, "L-1"]
    alignment: Float[Array, "L-1"]
    linear_cosine: Float[Array, "L"]
    linear_distance: Float[Array, "L"]
    weight_grads: Float[Array, "L"]
    loss: Float[Array, ""]
    feature_ranks: Ranks
    feature_grad_ranks: Ranks
    error_ranks: Ranks

    save = saved.save

    def __repr__(self) -> str:
        return summary(self)


def sizes(X: Float[Array, "n d"], graph: Graph) -> Sizes:
    """||X||_F and mu(X), graph by graph where there are several, padding left out; exact at any scale.

    Each is 0 or infinite where its dtype does not hold it; relative_mu always is. NaN for X that is not finite.
    """
    X = _without_padding(X, graph)
    return _sizes(X, lambda Y: _without_padding(centred(graph, Y), graph))


def sizes_off(X: Float[Array, "n d"], v: Float[Array, "n"]) -> Sizes:
    """||X||_F and ||X - v v^T X / (v^T v)||_F over the nodes where v is not 0, to 8 eps ||X||_F; exact for v = 1."""
    v = jnp.asarray(v, X.dtype)[:, None]
    unit_v, pivot = unit(v), jnp.argmax(jnp.abs(v))

    def off(Y):
        # The distance of Y - v c is that of Y, for any c: differences are exact where v is constant.
        D = jnp.where(v != 0, Y - v * ratio(Y[pivot], v[pivot])[None], 0)
        return D - unit_v * jnp.sum(unit_v * D, axis=0, keepdims=True)

    return _sizes(jnp.where(v != 0, X, 0), off)


def ranks(X: Float[Array, "n d"], graph: Graph) -> Ranks:
    """The effective and the stable rank of X without padding, at any scale."""
    X = _without_padding(X, graph)
    return Ranks(effective_rank(X), stable_rank(X))


@of_model
def slopes(model: Tapped, params: Any, graph: Graph, x: Float[Array, "n f"]) -> Float[Array, "L n d"]:
    """d X^(l+1)_vi / d H^(l)_vi, [L, n, d]: rho'(H^(l)) (times the residual rule's factor) in a network without norms.

    For any network with taps: cotangents without a pattern, cos(0), cos(1), ..., at every layer's features give total
    ones T^(l+1) that are nowhere 0, and the pre-activations' taps then get slope * T^(l+1), in one backward pass.
    """
    taps = taps_of(model, params, graph, x)
    X, backward = jax.vjp(lambda taps: model.apply(params, graph, x, taps, method="tapped")[1], taps)
    (found,) = backward(jnp.cos(jnp.arange(X.size, dtype=X.dtype)).reshape(X.shape))
    T = found.blocks.features
    return jnp.where(T != 0, found.blocks.pre_activation / jnp.where(T != 0, T, 1), 0)


def backward_analysis(
    model: Any,
    params: Any,
    graph: Graph,
    x: Float[Array, "n f"],
    loss_fn: Callable[[Array], Array],
    shape: "Geometry | None" = None,
) -> Backward:
    """All numbers of a `Backward`, in the precision of `params` and `x`.

    Args:
      model, params, graph, x, loss_fn: as for `jaxgnn.probe`.
      shape: what features, gradients and errors collapse to; by default `geometry(graph)`.

    Source: Keriven 2025 (B^(l)), Park & Kim 2024 (G^(l)).
    """
    model = as_network(model, graph, x)
    params = model.own() if params is None else params
    shape = geometry(graph) if shape is None else shape
    trace = probe(model, params, graph, x, loss_fn)
    slope = slopes(model, params, graph, jnp.asarray(x))
    with nan_is_a_value():
        return numbers(trace, slope, graph, shape.forward, shape.backward)


@jax.jit
@exact_products()
def numbers(
    trace: Trace,
    slope: Float[Array, "L n d"],
    graph: Graph,
    forward_span: Float[Array, "n"],
    backward_span: Float[Array, "n"],
) -> Backward:
    """A trace in numbers, with the `slopes` that belong to it: compiled once for all networks of one shape."""
    of_graph = jax.vmap(partial(sizes, graph=graph))
    of_ranks = jax.vmap(partial(ranks, graph=graph))
    off = jax.vmap(sizes_off, (0, None))
    mean = jax.vmap(lambda Y: jnp.zeros_like(Y) + row_mean(graph, Y))
    B, G = trace.errors, trace.feature_grads[1:]
    entrywise = jax.vmap(_distance)(B, slope * G) < jnp.sqrt(jnp.finfo(B.dtype).eps)
    prediction = mean(slope) * G
    return Backward(
        features=of_graph(trace.features),
        feature_grads=of_graph(trace.feature_grads),
        errors=of_graph(B),
        features_off=off(trace.features, forward_span),
        feature_grads_off=off(trace.feature_grads, backward_span),
        errors_off=off(B, backward_span),
        error_mean=jax.vmap(lambda Y: norm(_without_padding(Y, graph)))(mean(B)),
        cosine=jax.vmap(_cosine)(B[:-1], B[1:]),
        alignment=jax.vmap(_alignment)(B[:-1], B[1:]),
        linear_cosine=jnp.where(entrywise, jax.vmap(_cosine)(B, prediction), jnp.nan),
        linear_distance=jnp.where(entrywise, jax.vmap(_distance)(B, prediction), jnp.nan),
        weight_grads=trace.weight_grads,
        loss=trace.loss,
        feature_ranks=of_ranks(trace.features),
        feature_grad_ranks=of_ranks(trace.feature_grads),
        error_ranks=of_ranks(B),
    )


def _without_padding(X: Float[Array, "n d"], graph: Graph) -> Float[Array, "n d"]:
    return X if graph.node_mask is None else jnp.where(jnp.asarray(graph.node_mask)[:, None] > 0, X, 0)


def _sizes(X: Array, off: Callable[[Array], Array]) -> Sizes:
    top = centred_top(X.dtype)
    Y, e = scaled(X, top)
    D, below = scaled(off(Y))
    size, distance = norm(times_power(Y, -top)), norm(D)
    relative = times_power(ratio(distance, size, jnp.nan), below - top)
    return Sizes(times_power(size, e + top), times_power(distance, e + below), relative)


def _cosine(A: Array, B: Array) -> Array:
    A, B = _unit(A), _unit(B)
    return jnp.sum(A * B) / (norm(A) * norm(B))


def _alignment(A: Array, B: Array) -> Array:
    # <A A^T, B B^T> = ||A^T B||_F^2
    A, B = _unit(A), _unit(B)
    gram = partial(jnp.matmul, precision="highest")
    return jnp.sum(gram(A.T, B) ** 2) / (norm(gram(A.T, A)) * norm(gram(B.T, B)))


def _unit(X: Array) -> Array:
    """X / ||X||_F; NaN for X = 0, which has no direction."""
    Y, _ = scaled(X)
    return ratio(Y, norm(Y), jnp.nan)


def _distance(B: Array, prediction: Array) -> Array:
    return norm_ratio(B - prediction, B, jnp.nan)

"""Signals forward and errors backward, at every layer, from one forward and one backward pass."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Float

from jaxgnn.data import saved
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import Features, SparseFeatures
from jaxgnn.host.arrays import Array, summary, unshared
from jaxgnn.host.magnitude import norm
from jaxgnn.host.precision import exact_products
from jaxgnn.host.program import frozen, is_value, of_model
from jaxgnn.network.adapters import as_network, taps_of


class Trace(NamedTuple):
    """What one forward and one backward pass leave at every layer, l = 0 .. L-1 (features 0 .. L).

    Attributes:
      features: X^(l), [L+1, n, d].
      feature_grads: G^(l) = d loss / d X^(l), total derivatives, [L+1, n, d].
      errors: B^(l) = d loss / d H^(l), the backward errors, [L, n, d].
      weight_grads: ||d loss / d W^(l)||_F of the matrices that are propagated with (after the bound), [L].
      loss: the loss, a scalar.
    """

    features: Float[Array, "L+1 n d"]
    feature_grads: Float[Array, "L+1 n d"]
    errors: Float[Array, "L n d"]
    weight_grads: Float[Array, "L"]
    loss: Float[Array, ""]

    save = saved.save

    def __repr__(self) -> str:
        return summary(self)


class Tapped(Protocol):
    """What a model needs to be probed; DeepGNN has it, and so may any Linen module.

    `apply(params, graph, x, taps, method="tapped")` returns (logits, X^(0) .. X^(L) stacked) with a perturbation
    added at every tap, and `zero_taps(params, x)` the perturbations that change nothing: a pytree with the fields
    `encoder` [n, d] (added to X^(0)) and `blocks`: `features` [L, n, d] (added to X^(l+1)), `pre_activation`
    [L, n, d] (added to H^(l)) and `weights` (leading axis L, added to each layer's effective weights).
    """

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any: ...
    def zero_taps(self, params: Any, x: Features) -> Any: ...


def probe(model: Any, params: Any, graph: Graph, x: Features, loss_fn: Callable[[Array], Array]) -> Trace:
    """Features, feature gradients, backward errors and weight-gradient norms of every layer.

    Args:
      model: a DeepGNN; layers of any library in a row, as `jaxgnn.sequential` makes them; or any object as `Tapped`
        describes. Linen modules of this package and of Flax are compiled once for all that are equal; what contains
        code of anyone else is traced at every call.
      params: what `model.init` returned; None for the present weights of NNX and Equinox modules.
      x: [n, f] input features.
      loss_fn: logits [n, out] -> scalar. Traced at every call, with what it closes over as that is then, and
        compiled once for all losses that differ in nothing but arrays.

    Source: Park & Kim 2024 (G^(l)) and Keriven 2025 (B^(l)); the perturbation of every pre-activation gives
    B^(l) as its gradient.
    """
    model = as_network(model, graph, x)
    params = model.own() if params is None else params
    x = x if isinstance(x, SparseFeatures) else jnp.asarray(unshared(x))
    if not any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((params, graph, x))):
        loss_fn = frozen(loss_fn, _logits.eval_shape(model, params, graph, x)) if is_value(model) else loss_fn
    return _probe(model, params, graph, x, loss_fn if isinstance(loss_fn, Partial) else Partial(loss_fn))


@partial(jax.jit, static_argnums=0)
@exact_products()
def _logits(model, params, graph, x):
    return model.apply(params, graph, x, taps_of(model, params, graph, x), method="tapped")[0]


@of_model
def _probe(model, params, graph, x, loss_fn) -> Trace:
    def loss(taps):
        logits, features = model.apply(params, graph, x, taps, method="tapped")
        return loss_fn(logits), features

    taps = taps_of(model, params, graph, x)
    value, backward, features = jax.vjp(loss, taps, has_aux=True)
    (gradients,) = backward(jnp.ones_like(value))
    matrices = [g.reshape(g.shape[0], -1) for g in jax.tree.leaves(gradients.blocks.weights) if g.ndim > 2]
    nothing = jnp.zeros((features.shape[0] - 1, 0), features.dtype)
    return Trace(
        features=features,
        feature_grads=jnp.concatenate([gradients.encoder[None], gradients.blocks.features]),
        errors=gradients.blocks.pre_activation,
        weight_grads=jax.vmap(norm)(jnp.concatenate([nothing, *matrices], axis=1)),
        loss=value,
    )

"""Interventions: a network whose signals are replaced, projected or scaled at chosen layers, forward or backward.

What comes after, in the direction of the signal, runs on with what the edit gives. Sites are

    ("features", l)         X^(l), 0 .. L, as the layers after it and the readout see it; l alone means this
    ("pre_activations", l)  H^(l), 0 .. L-1, before the norm and the activation
    ("weights", l)          every matrix that layer l propagates with, after the bound
    ("feature_grads", l)    G^(l) = d loss / d X^(l) on the way back
    ("errors", l)           B^(l) = d loss / d H^(l) on the way back

and l may be "all". An edit on the way back leaves what is forward as it is, derivatives by jvp too. The plain
functions of layers (`layer_fn` and the like) are without edits on the way back: their Jacobians are those of what is
forward.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Float, Int

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.network.edits import Edit

Site = Literal["features", "pre_activations", "weights", "feature_grads", "errors"]
_BACKWARD = ("feature_grads", "errors")


class Intervention(NamedTuple):
    """An edit at one site of one layer."""

    site: Site
    layer: int
    edit: Edit


def intervene(model: Any, edits: Mapping[Any, Edit]) -> Any:
    """The same network with interventions, for `probe`, `train`, `layer_fn` and all else that takes one.

    Args:
      model: a DeepGNN or `jaxgnn.sequential`; what it has of interventions is kept, and replaced at the same site.
      edits: `jaxgnn.edits` by layer l, or by (site, l), l a number or "all"; see the module's docstring.

    Raises ValueError for a site or layer that is not there, for what is no edit, and for a network of which no layers
    are known.

    Source: after Keriven 2025, section 4 (is it the mean of the error that training stops at?), and activation
    patching in language models (Vig et al. 2020).
    """
    if not getattr(model, "exposed", hasattr(model, "interventions")):
        raise ValueError(f"intervene: a DeepGNN or jaxgnn.sequential is needed, not {type(model).__name__}")
    found = {(one.site, one.layer): one for one in model.interventions}
    for key, edit in edits.items():
        site, layer = key if isinstance(key, tuple) and len(key) == 2 else ("features", key)
        if site not in get_args(Site):
            raise ValueError(f"intervene: the site {site!r} is not known: allowed are {', '.join(get_args(Site))}")
        if not isinstance(edit, Edit):
            raise ValueError(f"intervene: {edit!r} is no edit: jaxgnn.edits has them, and function(f) makes one")
        if edit.forward_only and site in _BACKWARD:
            raise ValueError(f"intervene: {edit} changes nothing on the way back: scale(0) lets nothing through")
        last = model.blocks if site in ("features", "feature_grads") else model.blocks - 1
        whole = isinstance(layer, int | np.integer) and not isinstance(layer, bool)
        layers = range(last + 1) if layer == "all" else [int(layer)] if whole else []
        if not layers or not 0 <= layers[0] <= last:
            raise ValueError(f"intervene: layer {layer!r} of {site}: allowed are 0 to {last} and 'all'")
        for l in layers:
            found[site, l] = Intervention(site, l, edit)
    return model.clone(interventions=tuple(found[key] for key in sorted(found)))


def forward_alone(model: Any) -> Any:
    """The network without its edits on the way back."""
    kept = tuple(one for one in getattr(model, "interventions", ()) if one.site not in _BACKWARD)
    return model if kept == getattr(model, "interventions", ()) else model.clone(interventions=kept)


def edited(
    interventions: tuple[Intervention, ...],
    site: Site,
    graph: Graph,
    X: Float[Array, "n d"],
    layer: Int[Array, ""] | int,
) -> Float[Array, "n d"]:
    """X after the interventions at this site of this layer, which a scan may count; X itself where there are none."""
    own = [one for one in interventions if one.site == site]
    if not own:
        return X
    kinds = list({id(one.edit): one.edit for one in own}.values())
    number = {id(edit): i + 1 for i, edit in enumerate(kinds)}
    table = np.zeros(max(one.layer for one in own) + 2, np.int32)  # the last entry is of all layers above
    for one in own:
        table[one.layer] = number[id(one.edit)]
    which = jnp.asarray(table)[jnp.minimum(layer, table.size - 1)]
    branches = [lambda X: X, *(lambda X, edit=edit: edit(graph, X) for edit in kinds)]
    if site not in _BACKWARD:
        return jax.lax.switch(which, branches, X)
    leaves, tree = jax.tree.flatten(graph)

    def on_the_way_back(cotangent, which, *leaves):
        graph = jax.tree.unflatten(tree, leaves)
        changes = [lambda X: X, *(lambda X, edit=edit: edit(graph, X) for edit in kinds)]
        return jax.lax.switch(which, changes, cotangent)

    return _edited_p.bind(X, which, *map(jnp.asarray, leaves), edit=on_the_way_back)


# X itself, whose cotangent is edit(cotangent): linear, so that jvp, vmap and scan go through it.
_edited_p = Primitive("edited_on_the_way_back")


def _jvp(primals, tangents, *, edit):
    X, *rest = primals
    out = _edited_p.bind(X, *rest, edit=edit)
    if isinstance(tangents[0], ad.Zero):
        return out, ad.Zero.from_primal_value(out)
    return out, _edited_p.bind(tangents[0], *rest, edit=edit)


def _transpose(cotangent, X, *rest, edit):
    constant = (None,) * len(rest)
    if isinstance(cotangent, ad.Zero):
        return ad.Zero(X.aval), *constant
    return edit(cotangent, *rest), *constant


def _batch(args, axes, *, edit):
    axis = axes[0]
    if axis is None:  # what is constant over the batch is edited for each all the same
        size = next(a.shape[i] for a, i in zip(args, axes, strict=True) if i is not None)
        args = (jnp.broadcast_to(args[0][None], (size, *args[0].shape)), *args[1:])
        axis = 0
    return _edited_p.bind(*args, edit=jax.vmap(edit, (axis, *axes[1:]), axis)), axis


_edited_p.def_impl(lambda X, *rest, edit: X)
_edited_p.def_abstract_eval(lambda X, *rest, edit: X)
ad.primitive_jvps[_edited_p] = _jvp
ad.primitive_transposes[_edited_p] = _transpose
batching.primitive_batchers[_edited_p] = _batch
mlir.register_lowering(_edited_p, lambda ctx, X, *rest, edit: [X])

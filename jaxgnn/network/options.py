"""The options of a DeepGNN: what is left open is filled in from the layer and the rules, all is checked."""

import inspect
from typing import Any

import flax.linen as nn
import numpy as np

from jaxgnn.host.options import check_flag, check_known, check_number, check_whole, shown
from jaxgnn.host.precision import HALF
from jaxgnn.host.remat import check_remat
from jaxgnn.layers import LAYERS
from jaxgnn.network import state_space
from jaxgnn.network.bounds import BOUNDS
from jaxgnn.network.interventions import Intervention
from jaxgnn.network.norms import NORMS
from jaxgnn.network.residuals import RESIDUALS, Residual
from jaxgnn.network.stack import (
    ACTIVATIONS,
    INITIALISERS,
    PLACEMENTS,
    Recipe,
    residual_rule,
)

JUMPING = ("last", "sum", "max", "concat")
ENDS = ("linear", "layer")
POOLING = ("none", "sum", "mean", "max")


def complete(model: Any) -> None:
    """Fills in what a DeepGNN under construction leaves open, and checks it. Raises ValueError by the option's name."""
    if isinstance(model.layer, str):
        check_known("layer", model.layer, LAYERS)
    elif not (
        isinstance(model.layer, nn.Module) or (isinstance(model.layer, type) and issubclass(model.layer, nn.Module))
    ):
        raise ValueError(
            f"layer={model.layer!r} is no layer: allowed are {', '.join(LAYERS)}, a Linen class or instance"
        )
    given = model.interventions
    if not isinstance(given, tuple) or not all(isinstance(one, Intervention) for one in given):
        raise ValueError(f"interventions={shown(given)}: allowed is what jaxgnn.intervene makes")
    left = tuple(name for name in ("activation", "residual", "residual_scale") if getattr(model, name) is None)
    object.__setattr__(model, "_left", left)
    for name, kind in RESIDUALS.items():  # a rule without options of its own is what its name says
        if type(model.residual) is kind and not Recipe.of(model.residual).options:
            object.__setattr__(model, "residual", name)
    defaults = {"activation": "relu", "residual": "none"} | model._layer_defaults()
    for option, value in defaults.items():
        if option in left:
            object.__setattr__(model, option, value)
    known = {"activation": ACTIVATIONS, "bound": BOUNDS, "init_weights": INITIALISERS}
    known |= {"jumping": JUMPING, "ends": ENDS, "pool": POOLING, "compute_dtype": ("float32", *HALF)}
    known["norm_placement"] = PLACEMENTS
    if not isinstance(model.residual, Residual):
        known["residual"] = RESIDUALS
    if not isinstance(model.norm, nn.Module):
        known["norm"] = NORMS
    for option, allowed in known.items():
        check_known(option, getattr(model, option), allowed)
    for option in ("depth", "width", "out"):
        check_whole(option, getattr(model, option), least=2 if option == "depth" and model.ends == "layer" else 1)
    if model.residual_scale is None:
        object.__setattr__(model, "residual_scale", residual_rule(model.residual).default_scale(model.blocks))
    for option in ("khop", "share_weights", "bias"):
        check_flag(option, getattr(model, option))
    check_number("bound_c", model.bound_c, lambda v: 0 < v < np.inf, "finite numbers above 0")
    if not isinstance(model.ssm, state_space.StateSpace):
        raise ValueError(f"ssm={model.ssm!r}: allowed is a StateSpace")
    if model.bias and not isinstance(model.layer, nn.Module):
        kind, options = model._layer_options()
        if "use_bias" not in options:
            raise ValueError(f"bias=True: the layer {kind.__name__} has no bias (no option use_bias)")
    finite = "finite numbers of 0 and more"
    check_number("residual_scale", model.residual_scale, lambda v: 0 <= v < np.inf, finite)
    for option in ("dropout", "input_dropout", "dropedge"):
        check_number(option, getattr(model, option), lambda v: 0 <= v < 1, "0 and more, below 1")
    if model.dropedge and not model.khop and (far := model.distances):
        raise ValueError(f"dropedge={model.dropedge}: allowed is 0 for a layer of pairs at distances up to {far}")
    check_remat(model.remat)
    if model.jumping == "concat" and not model.blocks:
        raise ValueError('jumping="concat" needs a block: with ends="layer" a depth of 3 and more')
    if model.ends == "layer":
        kind, options = model._layer_options()
        parameters = inspect.signature(kind.__call__).parameters
        square = getattr(kind, "square", False)
        if square or "features" not in options or {"x0", "index"} & set(parameters):
            raise ValueError(
                f'ends="layer" needs a layer that maps any number of features to `features`, without x0 and index: '
                f"{kind.__name__} does not"
            )
        if model.pool != "none":
            raise ValueError(f'ends="layer" reads nodes out: pool={model.pool!r} goes with ends="linear"')

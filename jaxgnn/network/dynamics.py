"""How far the blocks of a network can stretch a signal: what they keep of X, and Lipschitz constants of the rest."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_whole
from jaxgnn.host.precision import exact_products, precision
from jaxgnn.layers import LAYERS
from jaxgnn.network.bounds import bound_params
from jaxgnn.network.layer_function import split
from jaxgnn.network.state_space import Matrices

ACTIVATION_LIPSCHITZ = {"gelu": 1.13}  # its slope's maximum is 1.1289; all others' are at most 1
_LAYERS = ("gcn", "mlp")
_RESIDUALS = ("none", "identity", "scaled", "depth_scaled", "initial", "ssm")


class Dynamics(NamedTuple):
    """Block l maps a change of node u's features to one of node v's of at most [alpha_l I + s_l |P|]_vu times its size.

    Attributes:
      alphas: [L] float64, alpha_l: what is kept of X^(l).
      scales: [L] float64, s_l: of the layer's weights, activation and residual rule, without P.
    """

    alphas: Float[np.ndarray, "L"]
    scales: Float[np.ndarray, "L"]


def dynamics(model: Any, params: Any) -> Dynamics:
    """What `DeepGNN.dynamics` returns."""
    kind, _ = model._layer_options()
    if kind not in [LAYERS[name] for name in _LAYERS]:
        raise ValueError(f"layer={kind.__name__}: allowed are the layers H = P X W and H = X W, {', '.join(_LAYERS)}")
    if model.residual not in _RESIDUALS:
        raise ValueError(f"residual={model.residual!r}: allowed are {', '.join(_RESIDUALS)}")
    if model.norm != "none":
        raise ValueError(f"norm={model.norm!r}: allowed is none, which alone has a slope known beforehand")
    if model.khop:
        raise ValueError("khop=True: allowed is False, one P for all blocks")
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    with precision(np.float64):
        kernels = np.asarray(effective_kernels(model, params))
    norms = ACTIVATION_LIPSCHITZ.get(model.activation, 1.0) * np.linalg.norm(kernels, 2, axis=(1, 2))
    s, modulus = (float(params["constants"][name]) for name in ("residual_scale", "modulus"))
    keep, scale = {
        "none": (0.0, 1.0),
        "identity": (1.0, 1.0),
        "scaled": (1.0, s),
        "depth_scaled": (1.0, s),
        "initial": (0.0, abs(1 - s)),
    }.get(model.residual) or _ssm_norms(Matrices(**_ssm(model, params)), modulus)
    return Dynamics(np.full(len(norms), keep), scale * norms)


def lipschitz(model: Any, graph: Graph, layer: int) -> float | None:
    """What `DeepGNN.lipschitz` returns."""
    check_whole("layer", layer)
    if not 0 <= layer < model.blocks:
        raise ValueError(f"layer={layer}: a network of {model.blocks} blocks has layers 0 to {model.blocks - 1}")
    kind, options = model._layer_options()
    module = kind(**options, parent=None)
    if model.bound == "none" or model.norm != "none" or not hasattr(module, "lipschitz"):
        return None
    bound = ACTIVATION_LIPSCHITZ.get(str(model.activation), 1.0) * module.lipschitz(
        graph.hop(layer) if model.khop else graph, model.bound_c, layer
    )
    s = float(model.residual_scale or 0)
    rules = {"none": bound, "identity": 1 + bound, "scaled": 1 + s * bound, "initial": abs(1 - s) * bound}
    rules["depth_scaled"] = rules["scaled"]
    if not model.ssm.trainable and "uniform" not in (model.ssm.transition, model.ssm.input):  # the others are normal
        rules["ssm"] = model.ssm.modulus + model.ssm.input_scale * bound
    return rules.get(model.residual) if isinstance(model.residual, str) else None


def effective_kernels(model: Any, params: Any) -> Float[Array, "L d d"]:
    """W^(l) as they propagate, after the bound."""
    if model.bound != "none":
        return _bounded_kernels(model, params)
    kernel = params["params"]["stack"]["layer"]["linear"]["kernel"]
    return np.broadcast_to(np.asarray(kernel), (model.blocks, *kernel.shape[-2:]))


@partial(jax.jit, static_argnums=0)
@exact_products()
def _bounded_kernels(model: Any, params: Any) -> Float[jax.Array, "L d d"]:
    common, own = split(model, params)

    def effective(layer):
        own, _ = layer
        variables = common | own
        power = variables["power"]["u"] if model.bound == "spectral" else None
        weights = {"params": variables["params"]["layer"]}
        bounded = bound_params(weights, model.bound, params["constants"]["bound_c"], power)
        return bounded["params"]["linear"]["kernel"]

    return jax.lax.map(effective, (own, np.arange(model.blocks)))


def _ssm(model: Any, params: Any) -> dict[str, Any]:
    return params["params" if model.ssm.trainable else "constants"]["ssm"]


def _ssm_norms(matrices: Matrices, modulus: float) -> tuple[float, float]:
    """||Lambda||_2 and ||B||_2 of numbers, diagonals or matrices."""
    kept, added = (float(np.linalg.norm(M, 2) if M.ndim == 2 else np.abs(M).max()) for M in matrices)
    return abs(modulus) * kept, added

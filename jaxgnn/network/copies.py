"""A copy of every matrix for each device that holds nodes: gradients are summed over devices once, after the layers.

dW^(l) = sum_p X_p^T G_p over the parts p of the nodes. Were W^(l) one array for all parts, each layer's sum would be
made where the layer is gone back through, an exchange a layer. With a copy W_p^(l) for each part, dW_p^(l) = X_p^T G_p
stays on its device, and the sum over p is that of making the copies, [L, parts, d, e] -> [L, d, e], outside the loop.
That holds for `nn.Dense` modules on rows of nodes; other parameters (A-DGN's W - W^T, biases) are summed a layer.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.traverse_util import flatten_dict
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.propagation import Halo
from jaxgnn.host.arrays import Array

Path = tuple[str, ...]


def copied(params: Any, graph: Graph, *, layers: int) -> dict[str, Float[Array, "..."]] | None:
    """Matrices of `nn.Dense` modules by their paths, [L, d, e] -> [L, parts, d, e]; None on one device.

    layers: 1 where the arrays have a leading axis L, 0 where all layers share them.
    """
    P = graph.propagation.forward
    if not isinstance(P, Halo) or P.mesh is None:
        return None
    parts = P.local.senders.shape[0]
    around = jax.sharding.get_abstract_mesh()
    mesh = around if "nodes" in around.axis_names else P.mesh
    stands = NamedSharding(mesh, PartitionSpec(*[None] * layers, "nodes"))

    def copy(W: Array) -> Array:
        W = jnp.broadcast_to(jnp.expand_dims(W, layers), (*W.shape[:layers], parts, *W.shape[layers:]))
        return jax.lax.with_sharding_constraint(W, stands)

    matrices = {path: W for path, W in flatten_dict(params).items() if path[-1] == "kernel" and W.ndim == 2 + layers}
    return {"/".join(path): copy(W) for path, W in matrices.items()}


def products_by_part(
    block: nn.Module, copies: dict[str, Float[Array, "parts d e"]] | None, effective: Callable[[Path, Array], Array]
) -> AbstractContextManager:
    """A context in which every `nn.Dense` inside a block multiplies each part of the rows by that part's copy.

    effective: gives of a path and a matrix the one to multiply by: the bounded one.
    """
    if not copies:
        return nullcontext()

    def intercepted(proceed, args, kwargs, context):
        module = context.module
        if type(module) is not nn.Dense or context.method_name != "__call__" or len(args) != 1 or kwargs:
            return proceed(*args, **kwargs)
        path = (*module.path[len(block.path) :], "kernel")
        W, (X,) = copies.get("/".join(path)), args
        own = module.dot_general is not None or module.dot_general_cls is not None
        if W is None or own or X.ndim != 2 or X.shape[0] % W.shape[0]:
            return proceed(*args, **kwargs)
        b = module.get_variable("params", "bias") if module.use_bias else None
        X, W, b = promote_dtype(X, jax.vmap(lambda W: effective(path, W))(W), b, dtype=module.dtype)
        H = _product(X, W, module.precision)
        return H if b is None else H + b[None]

    return nn.intercept_methods(intercepted)


def _product(X: Float[Array, "n d"], W: Float[Array, "parts d e"], precision: Any) -> Float[Array, "n e"]:
    # H_p = X_p W_p
    X = X.reshape(W.shape[0], -1, X.shape[1])
    H = jax.lax.dot_general(X, W, (((2,), (1,)), ((0,), (0,))), precision=precision)
    return H.reshape(-1, W.shape[2])

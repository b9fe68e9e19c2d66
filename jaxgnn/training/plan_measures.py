"""The programs of a probe and of a spectrum's products, lowered with shapes alone, for `jaxgnn.training.planning`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import Partial

from jaxgnn.analysis.probe import probe
from jaxgnn.host.precision import precision
from jaxgnn.jacobian import linear
from jaxgnn.network.layer_function import _BlockFunction, of_layer, shared_of
from jaxgnn.network.model import DeepGNN
from jaxgnn.network.stack import residual_rule


def lowered_probe(model: DeepGNN, task: Any, mesh: Mesh) -> Any:
    """What `jaxgnn.probe` runs: features, feature gradients, backward errors, weight gradients of the task's loss."""

    def measured(params, task):
        return probe(model, params, task.graph, task.x, task.loss)

    params = jax.eval_shape(model.init, jax.random.key(0), task.graph, task.x)
    return jax.jit(measured).lower(*_on(mesh, (params, task)))


def lowered_products(model: DeepGNN, task: Any, mesh: Mesh, dtype: Any = np.float64) -> Any:
    """One J v and one J^T u of a layer's Jacobian, of which `jaxgnn spectrum` takes one a vector."""
    with precision(dtype):

        def arguments(params, graph, x):
            x0 = model.apply(params, graph, x, method="encode")
            return (
                of_layer(model, params, 0),
                shared_of(model, params, graph, x0),
                residual_rule(model.residual).start(x0),
            )

        def products(own, shared, state, h, v, u):
            f = Partial(_BlockFunction(model.block(), np.dtype(dtype)), own, shared, state, jnp.int32(0))
            return linear.jvp(f, h, v), linear.vjp(f, h, u)

        given = (jax.eval_shape(model.init, jax.random.key(0), task.graph, task.x), task.graph, task.x)
        params, graph, x = jax.tree.map(lambda a: _wide(a, dtype), given)
        own, shared, state = jax.eval_shape(arguments, params, graph, x)
        return jax.jit(products).lower(*_on(mesh, (own, shared, state, *[shared.x0] * 3)))


def _wide(array: Any, dtype: Any) -> jax.ShapeDtypeStruct:
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    return jax.ShapeDtypeStruct(array.shape, dtype if floating else jax.dtypes.canonicalize_dtype(array.dtype))


def _on(mesh: Mesh, tree: Any) -> Any:
    """Shapes of a tree's arrays, all on every device of the mesh."""
    stands = NamedSharding(mesh, PartitionSpec())

    def shape(array: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype), sharding=stands)

    return jax.tree.map(shape, tree)

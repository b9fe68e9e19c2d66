"""Whether a task of one's own is one: what `jaxgnn.train` asks of it, found before anything is compiled."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgnn.graphs.graph import Graph
from jaxgnn.tasks.task import Metrics

_PARTS = ("graph", "x", "maximise", "full_batch", "batch", "evaluate")


def check_parts(task: Any) -> None:
    """Raises ValueError for what is no pytree with the attributes of `jaxgnn.tasks.Task`."""
    kind = _kind(task)
    for name in _PARTS:
        if not hasattr(task, name):
            raise ValueError(f"{kind} is no task: it has no {name}; jaxgnn.tasks.Task says what one has")
    if not isinstance(task.graph, Graph):
        raise ValueError(f"{kind}.graph is a {type(task.graph).__name__}: jaxgnn.prepare(graph) makes what is needed")
    for name in ("maximise", "full_batch"):
        if not isinstance(getattr(task, name), bool):
            raise ValueError(f"{kind}.{name} is {getattr(task, name)!r}: True or False is needed")
    if any(leaf is task for leaf in jax.tree.leaves(task)):
        raise ValueError(f"{kind} is no pytree: jax.tree_util.register_dataclass makes one of a frozen dataclass")


def check_shapes(model: Any, task: Any) -> None:
    """Raises ValueError where a batch's loss or the evaluation does not take the network's logits, or gives something
    else than numbers: both are traced for their shapes, and nothing is computed."""
    kind = _kind(task)
    if kind.partition(".")[0] == "jaxgnn":
        return  # it was checked when it was made
    key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    variables = jax.eval_shape(lambda key: model.init(key, task.graph, task.x), key)

    def loss(variables, key, step):
        batch = task.batch(key, step)
        return batch.loss(model.apply(variables, batch.graph, batch.x))

    found = _traced(f"{kind}: the loss of a batch", loss, variables, key, step)
    if not hasattr(found, "shape") or found.shape != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"{kind}: the loss of a batch is {_said(found)}: one floating-point number is needed")
    metrics = _traced(f"{kind}.evaluate", lambda v: task.evaluate(lambda graph, x: model.apply(v, graph, x)), variables)
    if not isinstance(metrics, Metrics):
        raise ValueError(f"{kind}.evaluate gives a {type(metrics).__name__}: jaxgnn.tasks.Metrics is needed")
    for name, value in metrics._asdict().items():
        if getattr(value, "shape", None) != ():
            raise ValueError(f"{kind}.evaluate: {name} is {_said(value)}: one number is needed")


def _kind(task: Any) -> str:
    return f"{type(task).__module__}.{type(task).__qualname__}"


def _traced(what: str, f: Any, *args: Any) -> Any:
    try:
        return jax.eval_shape(f, *args)
    except Exception as error:
        raise ValueError(f"{what} cannot be taken: {str(error).splitlines()[0]}") from error


def _said(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if hasattr(value, "shape") else f"a {type(value).__name__}"

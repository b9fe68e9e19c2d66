"""What a task is to `jaxgnn.train`: batches with a loss, and an evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jaxtyping import Float

from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array


class Metrics(NamedTuple):
    """Of one set of parameters in evaluation mode; in a history each is [seeds, steps], NaN once a run stopped."""

    train_loss: Float[Array, "..."]
    train_score: Float[Array, "..."]
    val_score: Float[Array, "..."]
    test_score: Float[Array, "..."]
    val_loss: Float[Array, "..."]


class Batch(Protocol):
    """What one update is taken on."""

    @property
    def graph(self) -> Graph: ...
    @property
    def x(self) -> Any: ...
    def loss(self, logits: Array) -> Array: ...


class Task(Protocol):
    """A pytree with a batch for every step and an evaluation; graph and x are an example of a batch's.

    Attributes:
      maximise: whether a higher score is better.
      full_batch: whether `batch` is the same at every step, and `evaluate` applies the model to that alone.
    """

    @property
    def graph(self) -> Graph: ...
    @property
    def x(self) -> Any: ...
    @property
    def maximise(self) -> bool: ...
    @property
    def full_batch(self) -> bool: ...
    def batch(self, key: Array, step: Array) -> Batch:
        """The batch of update number `step`; `key` is the run's, so that every epoch has an order of its own."""
        ...

    def evaluate(self, apply: Callable[[Graph, Any], Array]) -> Metrics:
        """Losses and scores of apply(graph, x) -> logits on all splits."""
        ...

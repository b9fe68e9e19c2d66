"""What training does to features, gradients and backward errors: every layer of every run, every so many steps."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Int

from jaxgnn.analysis.backward import Ranks, Sizes, ranks, sizes
from jaxgnn.analysis.probe import probe
from jaxgnn.data import saved
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_flag
from jaxgnn.host.precision import exact_products
from jaxgnn.network.model import DeepGNN
from jaxgnn.tasks.task import Batch, Task
from jaxgnn.training.run import TrainState

RANKS = ("feature_ranks", "feature_grad_ranks", "error_ranks")


class Sample(NamedTuple):
    """One run at one step, float32.

    Attributes:
      features, feature_grads: of X^(l) and G^(l), each [L+1].
      errors: of B^(l), each [L].
      weight_grads: ||d loss / d W^(l)||_F, [L].
      loss: without penalties, in evaluation mode.
      feature_ranks, feature_grad_ranks, error_ranks: of the same; None where they were not asked for.
    """

    features: Sizes
    feature_grads: Sizes
    errors: Sizes
    weight_grads: Float[Array, "L"]
    loss: Float[Array, ""]
    feature_ranks: Ranks | None = None
    feature_grad_ranks: Ranks | None = None
    error_ranks: Ranks | None = None


class Record(NamedTuple):
    """Samples of all runs, with leading axes [seeds, samples]; NaN once a run stopped.

    Attributes:
      steps: [samples] updates done before each sample: 0, record_every, 2 record_every, ...
      samples: as a `Sample`, of the parameters at that step. A task of many graphs is sampled on one batch, always the
        same.
    """

    steps: Int[np.ndarray, "samples"]
    samples: Sample

    save = saved.save

    def of_runs(self, runs: slice) -> "Record":
        """The record of some of the runs."""
        return self._replace(samples=jax.tree.map(lambda a: a[runs], self.samples))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """name/steps, and the samples by path, as name/feature_grads/norm."""
        return {f"{name}/steps": np.asarray(self.steps)} | flat(name, self.samples)


def flat(name: str, tree: Any) -> dict[str, np.ndarray]:
    """A tree of named tuples as arrays by path: name/field/field; what is None is left out."""
    if tree is None:
        return {}
    if not hasattr(tree, "_asdict"):
        return {name: np.asarray(tree)}
    found: dict[str, np.ndarray] = {}
    for field, value in tree._asdict().items():
        found |= flat(f"{name}/{field}" if name else field, value)
    return found


def check_record_every(record_every: int | None, chunk: int) -> None:
    """Raises ValueError unless it is None or a positive multiple of `chunk`, the steps in one compiled loop."""
    if record_every is None:
        return
    if not isinstance(record_every, int | np.integer) or record_every < 1 or record_every % chunk:
        raise ValueError(f"record_every={record_every!r}: allowed are multiples of {chunk}: {chunk}, {2 * chunk}, ...")


def check_record_ranks(record_ranks: bool, record_every: int | None) -> None:
    """Raises ValueError unless it is True or False, and False where nothing is recorded."""
    check_flag("record_ranks", record_ranks)
    if record_ranks and record_every is None:
        raise ValueError("record_ranks=True: nothing is recorded without record_every, a multiple of 10")


def measure(model: DeepGNN, task: Task, params: Any, variables: Any, *, with_ranks: bool = False) -> Sample:
    """A sample of one set of parameters: one forward and one backward pass, and every layer's singular values."""
    batch = task.batch(jax.random.key(0), jnp.int32(0))
    trace = probe(model, {"params": params, **variables}, batch.graph, batch.x, Partial(_loss, batch))
    of_graph = jax.vmap(partial(sizes, graph=batch.graph))
    signals = trace.features, trace.feature_grads, trace.errors
    features, gradients, errors = map(of_graph, signals)
    sample = Sample(features, gradients, errors, trace.weight_grads, trace.loss)
    if with_ranks:
        found = map(jax.vmap(partial(ranks, graph=batch.graph)), signals)
        sample = sample._replace(**dict(zip(RANKS, found, strict=True)))
    return jax.tree.map(lambda a: a.astype(jnp.float32), sample)


class Recorder:
    """Takes samples of all runs while they train.

    Attributes:
      samples: what is recorded so far, numpy arrays [runs, samples, ...], NaN where it is not: part of a checkpoint.
    """

    def __init__(
        self,
        model: DeepGNN,
        task: Task,
        *,
        every: int,
        total: int,
        states: TrainState,
        one_by_one: bool,
        with_ranks: bool = False,
    ):
        self._task, self._every, self._count = task, every, total // every + 1
        self._sample = partial(_sample, model, one_by_one, with_ranks)
        shapes = jax.eval_shape(self._sample, task, states.params, states.variables)
        self.samples: Sample = jax.tree.map(
            lambda a: np.full((a.shape[0], self._count, *a.shape[1:]), np.nan, np.float32), shapes
        )

    def take(self, done: int, states: TrainState) -> None:
        """A sample after `done` steps, if it is time for one."""
        if done % self._every:
            return
        sample = self._sample(self._task, states.params, states.variables)
        going = np.asarray(states.step) == done  # a run that stopped counts no further

        def put(whole, part):
            shown = going.reshape(-1, *[1] * (part.ndim - 1))
            whole[:, done // self._every] = np.where(shown, np.asarray(part), np.float32(np.nan))

        jax.tree.map(put, self.samples, sample)

    def record(self, done: int) -> Record:
        """All samples up to step `done`."""
        count = done // self._every + 1
        return Record(self._every * np.arange(count), jax.tree.map(lambda a: a[:, :count], self.samples))


@partial(jax.jit, static_argnums=(0, 1, 2))
@exact_products()
def _sample(model: DeepGNN, one_by_one: bool, with_ranks: bool, task: Task, params: Any, variables: Any) -> Sample:
    def one(run):
        return measure(model, task, *run, with_ranks=with_ranks)

    return jax.lax.map(one, (params, variables)) if one_by_one else jax.vmap(one)((params, variables))


def _loss(batch: Batch, logits: Array) -> Array:
    return batch.loss(logits)

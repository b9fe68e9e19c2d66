"""What to train on, where that may be a benchmark made from nothing in place of a data set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np

from jaxgnn.commands.setting import DataConfig, literal, named_values
from jaxgnn.host.options import check_known, check_texts
from jaxgnn.network.model import DeepGNN
from jaxgnn.tasks import BENCHMARKS, Benchmark, ManyGraphs, benchmark
from jaxgnn.training.result import SweepPoint, with_numbers

# Options of a benchmark that are several numbers.
_LISTS = ("sizes", "evaluation_sizes", "communities", "bridges")
_OF_DATASET = ("dataset", "split", "loops", "features", "rewiring", "rewired", "metric", "class_weights")


@dataclass(frozen=True)
class TaskConfig(DataConfig):
    """What to train on.

    Attributes:
      task: a benchmark in place of a data set, made from nothing, with its constant predictor and its oracle: lrim,
        bottlenecks, recall, roads, graph_properties, ring_transfer or graph_transfer.
      task_options: its options, name=value,...: alpha=2,side=16 of lrim, for example.
    """

    task: str | None = None
    task_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_task(self)

    def benchmark(self, hops: int | None) -> Benchmark | None:
        """The benchmark that is asked for, or None."""
        return None if self.task is None else made(self, hops)

    @property
    def subject(self) -> str:
        """What is trained on, in titles and names."""
        return subject(self)


def check_task(config: Any) -> None:
    """Raises ValueError unless the task and its options, and what is said of data sets beside them, are allowed."""
    check_texts("task_options", config.task_options)
    if config.task is None:
        if config.task_options:
            said = ",".join(config.task_options)
            raise ValueError(f"task_options={said!r} without a task: allowed are those of {', '.join(BENCHMARKS)}")
        return
    check_known("task", config.task, BENCHMARKS)
    defaults = {one.name: one.default for one in fields(config)}
    for option in _OF_DATASET:
        if option in defaults and getattr(config, option) != defaults[option]:
            raise ValueError(
                f"{option}={getattr(config, option)!r} and task={config.task!r}: a benchmark has data, features and a "
                "metric of its own, so one of the two is needed"
            )


def made(config: Any, hops: int | None) -> Benchmark:
    """The benchmark of a config with `task`, `task_options` and `normalisation`."""
    options = {name: _value(name, texts) for name, texts in named_values(config.task_options).items()}
    for option in ("normalisation", "hops"):
        if option in options:
            raise ValueError(f"task option {option!r} is the network's: --normalisation and the layer say it")
    return benchmark(config.task, normalisation=config.normalisation, hops=hops, **options)


def subject(config: Any) -> str:
    """The task's name, or the data set's."""
    return config.task or config.dataset


def fitted(model: DeepGNN, task: Any) -> DeepGNN:
    """The network with the outputs that a task needs: the mean over nodes where it is of whole graphs."""
    pooled = {"pool": "mean"} if isinstance(task, ManyGraphs) and task.level == "graph" else {}
    return model.clone(out=task.out, **pooled)


def recorded(found: Benchmark, options: tuple[str, ...]) -> Mapping[str, Any]:
    """What results.json holds of a benchmark."""
    return {
        "name": found.name,
        "options": list(options),
        "metric": found.task.metric,
        "references": [row._asdict() for row in found.references],
        "facts": list(found.facts),
    }


def measured(found: Benchmark | None, model: DeepGNN, point: SweepPoint) -> dict[str, Any]:
    """{"measured": {name: [one of each run]}} of trained networks, None for one that failed; {} without measures."""
    if found is None or not found.measures:
        return {}
    model, params = with_numbers(model, point.options), point.result.params
    of_runs = [jax.tree.map(lambda a, i=i: np.asarray(a[i]), params) for i in range(len(point.result.score))]
    return {"measured": {name: [_taken(f, model, p) for p in of_runs] for name, f in found.measures.items()}}


def _taken(measure: Callable[[Any, Any], float], model: DeepGNN, params: Any) -> float | None:
    try:
        return measure(model, params)
    except ValueError:  # a network whose features overflow has no Jacobian
        return None


def _value(name: str, texts: list[str]) -> Any:
    what = f"task option {name!r}"
    return [literal(what, [text]) for text in texts] if name in _LISTS else literal(what, texts)

"""Where else a training's numbers go while it runs: a function of one's own, or Weights & Biases or MLflow."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxgnn.host.options import shown
from jaxgnn.tasks.task import Metrics

Log = Callable[[int, Mapping[str, np.ndarray]], None]
Logger = Literal["none", "tensorboard", "wandb", "mlflow"]
_MODULES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


def check_log(log: Any) -> None:
    """Raises ValueError unless `log` is None or can be called."""
    if log is not None and not callable(log):
        raise ValueError(f"log={shown(log)}: a function of (step, metrics by name) is needed")


def log_steps(log: Log, start: int, metrics: Metrics, shape: tuple[int, ...]) -> None:
    """Calls `log` for every step of metrics [runs, steps], the first of which is `start`, with arrays of `shape`."""
    for i in range(metrics.train_loss.shape[1]):
        log(start + i, {name: values[:, i].reshape(shape).copy() for name, values in metrics._asdict().items()})


def module_of(logger: str) -> Any:
    """The library of a logger. Raises ValueError, naming the extra, where it is not installed."""
    name = _MODULES[logger]
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(f"log={logger!r} needs {name}: python -m pip install 'jaxgnn[{logger}]'") from None


@contextmanager
def opened(logger: str, *, folder: Path, options: Mapping[str, Any]) -> Iterator[Log | None]:
    """A `log` that writes to a run of Weights & Biases or MLflow, named after the folder, until the context ends.

    Metrics are called METRIC/run_NUMBER, as TensorBoard's; what is not finite is left out. Where the run goes is said
    by the library's own environment variables. None for "none" and for "tensorboard", which `jg.train` writes itself.
    """
    if logger in ("none", "tensorboard"):
        yield None
        return
    library, plain = module_of(logger), {name: _plain(value) for name, value in options.items()}
    if logger == "wandb":
        run = library.init(project="jaxgnn", name=folder.name, dir=str(folder), config=plain)
        write, end = run.log, run.finish
    else:
        library.start_run(run_name=folder.name)
        library.log_params(plain)
        write, end = library.log_metrics, library.end_run

    def log(step: int, metrics: Mapping[str, np.ndarray]) -> None:
        runs = {f"{name}/run_{i}": float(v) for name, values in metrics.items() for i, v in enumerate(values.ravel())}
        if finite := {name: value for name, value in runs.items() if np.isfinite(value)}:
            write(finite, step=step)

    try:
        yield log
    finally:
        end()


def _plain(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value

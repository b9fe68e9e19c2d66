"""Results read back from the files that `.save(path)` and the folders that training wrote."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgnn.analysis.backward import Backward, Ranks, Sizes
from jaxgnn.analysis.probe import Trace
from jaxgnn.data import saved
from jaxgnn.data.errors import DataError
from jaxgnn.host.storage import environment
from jaxgnn.jacobian import Density, Extremes, Influence, Lyapunov, Mixing, Sensitivity, Statistics
from jaxgnn.jacobian.density import Estimate
from jaxgnn.network.described import differences, foreign, made
from jaxgnn.tasks.task import Metrics
from jaxgnn.training.legs import total_steps
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.recorder import Record, Sample
from jaxgnn.training.result import FeatureRule, Origin, TrainResult

KINDS = (
    *(TrainResult, Record, Trace, Backward, Extremes, Density, Lyapunov, Sensitivity, Influence, Mixing, Statistics),
)
_PARTS = (Metrics, Sample, Sizes, Ranks, Estimate)
_RECORDS = {kind.__name__: kind for kind in (*KINDS, *_PARTS)}
_VALUES = "values"


def save(path: Path | str, value: Any) -> None:
    """Writes a result, an array of numbers, or a dict or list of such to exactly `path`; `load` gives it back.

    Raises ValueError for anything else, OSError where the file cannot be written.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path is a {type(path).__name__}: save(path, value) takes the path first")
    if isinstance(value, TrainResult):
        return value.save(path)
    kind = type(value).__name__ if isinstance(value, KINDS) else _VALUES
    return saved.write(path, kind, value, {"versions": environment()["versions"]})


def load(path: Path | str, *, model: Any = None) -> Any:
    """What `.save(path)` or `save` wrote: a result, or arrays, those on the host. No code is run.

    model: the network of a TrainResult, where its layer, norm or residual rule is a class of one's own: a file holds
      no code. Given for other results as well, it must be the network that was saved.

    Raises DataError (a ValueError), in one sentence, where there is no such file, it was cut short or changed, is of
    another format or kind, or its network needs `model` or is another one.
    """
    found = saved.read(path)
    if found.kind != _VALUES and found.kind not in {kind.__name__ for kind in KINDS}:
        raise DataError(
            f"{path} holds a {found.kind!r}: allowed are {', '.join(kind.__name__ for kind in KINDS)} and arrays"
        )
    try:
        value = saved.decoded(found.content, found.arrays, _RECORDS)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} holds a {found.kind} that this version does not know: {error}") from error
    if not isinstance(value, TrainResult):
        if model is not None:
            raise DataError(f"{path} holds a {found.kind}: model= is for a TrainResult")
        return value
    rule = value.feature_rule
    value = value._replace(feature_rule=None if rule is None else FeatureRule(rule))
    about = found.about.get("origin")
    return value if about is None else value._replace(origin=_origin(path, about, model))


def load_run(folder: Path | str, *, model: Any = None, **options: float) -> TrainResult:
    """What `jaxgnn train` or `jaxgnn.train(..., out=folder)` left in its folder, as the result that it gave.

    Args:
      model: as for `load`.
      options: of a grid, those that choose the point, bound_c=0.5 for example.

    Raises DataError where the folder holds no finished run, ValueError where the options choose no point or several.
    """
    folder = saved.checked_path(folder)
    try:
        config = json.loads((folder / "config.json").read_bytes())
        grid = {name: list(values) for name, values in config["grid"].items()}
        total = total_steps(config.get("legs", []), config["train"]["steps"])
    except OSError as error:
        raise DataError(f"{folder} holds no run of jaxgnn: config.json: {error.strerror or error}") from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{folder / 'config.json'} is not of a run of jaxgnn ({type(error).__name__})") from None
    files = sorted((folder / "results").glob("*.npz"), key=lambda path: path.name.rjust(20))
    about = [saved.read(path).about["origin"] for path in files]
    if not files or about[0]["train"]["steps"] != total:
        raise DataError(
            f"{folder} holds a run of {total} steps that is not finished, or of a version that kept no results: the "
            "same call of jaxgnn.train, or the same command, finishes it"
        )
    points = [origin["point"] for origin in about]
    for name in options:
        if name not in grid:
            raise ValueError(f"option {name!r} is not in the run's grid: allowed are {', '.join(grid) or 'none'}")
    chosen = [i for i, point in enumerate(points) if all(point.get(name) == v for name, v in options.items())]
    if len(chosen) != 1:
        shown = "; ".join(", ".join(f"{name}={value:g}" for name, value in point.items()) for point in points)
        raise ValueError(f"{folder} holds {len(points)} grid points, and {len(chosen)} are meant: allowed are {shown}")
    return load(files[chosen[0]], model=model)


def _origin(path: Path | str, about: Mapping[str, Any], model: Any) -> Origin:
    names = foreign(about["model"])
    if model is None and names:
        raise DataError(
            f"{path} holds a network with {' and '.join(dict.fromkeys(names))} of one's own, and files hold no code: "
            "load(path, model=...) takes the network"
        )
    if model is not None and (other := differences(about["model"], model)):
        raise DataError(f"{path} holds another network than model=: that has {'; '.join(other)}")
    try:
        model = made(about["model"]) if model is None else model
        config = TrainConfig(**about["train"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} has options that this version does not know: {error}") from error
    return Origin(model, config, about["maximise"], about["seed"], about["point"], about["versions"])

"""Runs that start from parameters that are given."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgnn.data import saved
from jaxgnn.network.model import NUMBERS
from jaxgnn.training import scale
from jaxgnn.training.result import TrainResult
from jaxgnn.training.run import TrainState

_PARAMS = "['params']"


def number_of_seeds(seeds: int | None, init: Any) -> int:
    """What `seeds` is by default: as many as a result that is started from has, or 10."""
    if seeds is None:
        return init.score.size if isinstance(init, TrainResult) and np.ndim(init.score) else 10
    return seeds


def fingerprint(init: Any) -> str:
    """SHA-256 of the parameters that runs start from."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(_variables(init)):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def of_results(folder: Path, name: str) -> list[Any]:
    """A field of parameters, "final_params" or "initial_params", of every result that a run left in its folder."""
    found = []
    for path in sorted((folder / "results").glob("*.npz"), key=lambda path: int(path.stem)):
        file = saved.read(path)
        found.append(saved.decoded(file.content["fields"][name], file.arrays, {}))
    return found


def is_result_of(folder: Path, config: Mapping[str, Any], init: Any) -> bool:
    """Whether `init` is the result of the run in a folder, or that which its last leg goes on from."""
    ends = [fingerprint(params) for params in of_results(folder, "final_params")]
    before = [leg.get("result") for leg in config.get("legs", [])[-1:]]
    return len(ends) == 1 and fingerprint(init) in (*ends, *before)


def started_from(init: Any, states: TrainState, seeds: int, place: scale.Runs) -> TrainState:
    """The states before the first step, [runs, ...], at the parameters of `init`, one run's or one for each seed.

    Running means, frozen matrices and other variables are taken where `init` has them; numeric options are not.
    Raises ValueError where the parameters are of another network or number of seeds, or not finite.
    """
    own = {"params": states.params} | states.variables
    given = _by_path(_variables(init))
    paths = _by_path(own)
    for path in given:
        if path.startswith(_PARAMS) and path not in paths:
            raise ValueError(f"init has {path}, which this network has not: allowed are parameters of a network alike")
    numbers = {f"['constants']['{name}']" for name in NUMBERS}
    taken = {}
    for path, leaf in sorted(paths.items(), key=lambda item: not item[0].startswith(_PARAMS)):
        if path in given and path not in numbers:
            taken[path] = _of_seeds(path, given[path], leaf.shape[1:], seeds)
        elif path.startswith(_PARAMS):
            raise ValueError(f"init has no {path}, which this network has: allowed are parameters of a network alike")

    def start() -> dict[str, Any]:
        def leaf(path: Any, own: Any) -> Any:
            if (value := taken.get(jax.tree_util.keystr(path))) is None:
                return jnp.copy(own)
            return jnp.asarray(place.put(np.concatenate([value] * (place.count // seeds)).astype(own.dtype)))

        return jax.tree_util.tree_map_with_path(leaf, own)

    # Twice, as the steps are given the memory of both.
    variables, best = start(), start()
    params, best_params = variables.pop("params"), best.pop("params")
    return states._replace(
        params=params, variables=variables, best=states.best._replace(params=best_params, variables=best)
    )


def _variables(init: Any) -> dict[str, Any]:
    variables = init.final_params if isinstance(init, TrainResult) else init
    if not isinstance(variables, Mapping) or "params" not in variables:
        kind = type(variables).__name__
        raise ValueError(f"init is a {kind}: allowed are a TrainResult, and params as model.init and results have them")
    return dict(variables)


def _by_path(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _of_seeds(path: str, leaf: Any, shape: tuple[int, ...], seeds: int) -> np.ndarray:
    """A leaf of `init` as [seeds, *shape]."""
    array = np.asarray(leaf)
    if array.shape == shape:
        array = np.broadcast_to(array, (seeds, *shape))
    elif array.shape != (seeds, *shape):
        raise ValueError(
            f"init has {path} of shape {array.shape}: allowed are {shape} and, of {seeds} seeds, {(seeds, *shape)}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        wrong = [i for i, of_seed in enumerate(array) if not np.isfinite(of_seed).all()]
        raise ValueError(f"init has {path} that is not finite in seed {wrong[0]}: a failed run cannot be started from")
    return array

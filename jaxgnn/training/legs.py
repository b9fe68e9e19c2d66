"""Legs: a run in a folder that goes on with more steps, another learning rate or other numbers."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgnn.host.storage import without_counts

# What a leg may have otherwise than the one before it: no other option leaves the optimiser's state what it is.
NUMBERS = ("steps", "learning_rate", "weight_decay", "l2", "patience", "evaluate_every")
WITH_STEPS = ("cosine", "warmup_cosine")  # schedules over all steps


class Difference(NamedTuple):
    """An option and its two values."""

    name: str
    there: Any
    here: Any

    def __str__(self) -> str:
        return f"{self.name} is {_shown(self.there)} there and {_shown(self.here)} here"


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[Difference]:
    """The options in which two runs' configurations differ; where they stand in several levels, the inner ones."""
    found = []
    for name in dict.fromkeys([*there, *here]):
        if name in ("legs", "count", "cores"):
            continue
        a, b = there.get(name), here.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b)
        elif name == "model" and isinstance(a, str) and isinstance(b, str):
            found += _lines(a, b)
        elif json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True):
            found.append(Difference(name, a, b))
    return found


def total_steps(legs: list[dict[str, Any]], asked: int) -> int:
    """Steps of the run in all: as many as asked for, or so many more where that many were done before the last leg."""
    done = legs[-1]["done"] if legs else 0
    return asked if asked > done else done + asked


def fingerprint(config: Mapping[str, Any], task: Any) -> str:
    """SHA-256 of what makes a run another one: how many devices and cores there are does not."""
    digest = hashlib.sha256(json.dumps(without_counts(config), sort_keys=True).encode())
    digest.update(str(jax.tree.structure(task)).encode())  # the metric, the loss and whatever else is no array
    for array in map(np.asarray, jax.tree.leaves(task)):
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def filled(tree: Any, like: Any) -> Any:
    """A shorter run's history and samples, [runs, steps, ...], as long as those of `like`: NaN from there on."""

    def fill(leaf: Any, wanted: Any) -> Any:
        if not isinstance(wanted, np.ndarray) or leaf.shape == wanted.shape:
            return leaf
        longer = np.full(wanted.shape, np.nan, wanted.dtype)
        longer[:, : leaf.shape[1]] = leaf
        return longer

    return jax.tree.map(fill, tree, like)


def shortened(like: Any, steps: int, every: int | None) -> Any:
    """(states, history[, samples]) as a run of so many steps has them."""
    states, history, *samples = like
    history = jax.tree.map(lambda a: np.empty((len(a), steps), a.dtype), history)
    count = 0 if every is None else steps // every + 1
    return states, history, *jax.tree.map(lambda a: np.empty((len(a), count, *a.shape[2:]), a.dtype), samples)


def _lines(there: str, here: str) -> list[Difference]:
    """Lines of two networks' descriptions, "name = value", that are not the same."""
    changed = [line for line in difflib.ndiff(there.splitlines(), here.splitlines()) if line[:2] in ("- ", "+ ")]
    sides: dict[str, dict[str, str]] = {"- ": {}, "+ ": {}}
    for line in changed:
        name, _, value = line[2:].strip().partition(" = ")
        sides[line[:2]][name] = value
    return [Difference(n, sides["- "].get(n), sides["+ "].get(n)) for n in dict.fromkeys([*sides["- "], *sides["+ "]])]


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."

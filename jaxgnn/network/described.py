"""A network's options as plain values that a file can hold, and the network made from them again."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from jaxgnn.layers import LAYERS
from jaxgnn.network.model import DeepGNN
from jaxgnn.network.norms import NORMS
from jaxgnn.network.residuals import RESIDUALS
from jaxgnn.network.stack import INITIALISERS
from jaxgnn.network.state_space import StateSpace

_KINDS = {
    kind.__name__: kind
    for table in (LAYERS, RESIDUALS, {name: kind for name, kind in NORMS.items() if kind is not None})
    for kind in table.values()
}
_OWN = "class of one's own"


def described(model: Any) -> dict[str, Any]:
    """The options of a DeepGNN by name, and which were left to the layer; of any other network its class alone.

    Classes and functions that are not this package's are named, and nothing more: `foreign` finds them.
    """
    if not isinstance(model, DeepGNN) or model.interventions:  # edits may be of any code
        return _own(type(model))
    options = {f.name: _plain(getattr(model, f.name)) for f in dataclasses.fields(model) if _is_option(f)}
    return {"options": options, "left": list(getattr(model, "_left", ()))}


def foreign(description: Any) -> list[str]:
    """Names of the classes and functions in a description that are not this package's."""
    if isinstance(description, Mapping):
        if _OWN in description:
            return [description[_OWN]]
        return [name for part in description.values() for name in foreign(part)]
    return []


def made(description: Mapping[str, Any]) -> DeepGNN:
    """The network of a description without anything foreign. Raises ValueError where an option is not known."""
    known = {f.name for f in dataclasses.fields(DeepGNN) if _is_option(f)}
    for name in description["options"]:
        if name not in known:
            raise ValueError(f"option {name!r} of the network is not known: allowed are {', '.join(sorted(known))}")
    options = {name: _value(part) for name, part in description["options"].items()}
    return DeepGNN(**options | dict.fromkeys(description["left"]))


def differences(description: Any, model: Any) -> list[str]:
    """What a network has otherwise than its description says, what is foreign in that left out: "depth=3, not 2"."""
    if _OWN in description:
        return []
    other = described(model)
    if "options" not in other:
        return [f"a {type(model).__name__}, not a DeepGNN"]
    pairs = ((name, part, other["options"].get(name)) for name, part in description["options"].items())
    return [f"{name}={_shown(found)}, not {_shown(part)}" for name, part, found in pairs if not _agrees(part, found)]


def _shown(part: Any) -> str:
    return str(next(iter(part.values()))) if isinstance(part, Mapping) else repr(part)


def _agrees(description: Any, other: Any) -> bool:
    if isinstance(description, Mapping):
        if _OWN in description:
            return True
        same = isinstance(other, Mapping) and description.keys() == other.keys()
        return same and all(_agrees(part, other[name]) for name, part in description.items())
    return description == other


def _is_option(field: Any) -> bool:
    return field.init and field.name not in ("parent", "name", "interventions")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, StateSpace):
        return {"state space": dataclasses.asdict(value)}
    if isinstance(value, type):
        return {"class": value.__name__} if _KINDS.get(value.__name__) is value else _own(value)
    if isinstance(value, nn.Module):
        kind = type(value)
        if _KINDS.get(kind.__name__) is not kind:
            return _own(kind)
        set_here = [f for f in dataclasses.fields(value) if _is_option(f) and getattr(value, f.name) is not f.default]
        return {"instance": kind.__name__, "options": {f.name: _plain(getattr(value, f.name)) for f in set_here}}
    names = [name for name, function in INITIALISERS.items() if function is value]
    return {"initialiser": names[0]} if names else _own(value)


def _own(value: Any) -> dict[str, str]:
    return {_OWN: getattr(value, "__qualname__", type(value).__qualname__)}


def _value(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    if "state space" in part:
        return StateSpace(**part["state space"])
    if "class" in part:
        return _KINDS[part["class"]]
    if "initialiser" in part:
        return INITIALISERS[part["initialiser"]]
    return _KINDS[part["instance"]](**{name: _value(value) for name, value in part["options"].items()}, parent=None)

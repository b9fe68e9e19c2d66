"""Several layers, depths or widths in one `jaxgnn train`: a program and a folder for each, one table and page of all.

`--depth 2,8` stands for `--grid depth=2,8`: what changes the network's shape is a program of its own, the numeric
options of the grid are values of each.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from jaxgnn.commands.options_file import argument_of
from jaxgnn.commands.setting import named_values, network
from jaxgnn.host.options import check_known
from jaxgnn.host.spelling import meant
from jaxgnn.layers import LAYERS

SHAPES = ("layer", "depth", "width")

_OF_ONE = ("rows", "chosen", "layer_norms", "parameters")  # of results.json: what every network has of its own


class Combination(NamedTuple):
    """One of the networks: its options by name, empty where there is but one network, and all that makes it."""

    options: Mapping[str, Any]
    model: Any
    runs: Any

    @property
    def name(self) -> str:
        """Of its folder."""
        return "-".join(f"{option}-{value}" for option, value in self.options.items())


def in_grid(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--depth 2,8` as `--depth 2 --grid depth=2,8`, and so for layer and width.

    Raises ValueError where one value is asked for that is not among the grid's.
    """
    found = list(arguments)
    grid = named_values(tuple((argument_of(found, "grid") or "").split(","))) if argument_of(found, "grid") else {}
    for shape in SHAPES:
        asked = argument_of(found, shape)
        if asked is not None and "," in asked:
            grid[shape] = [text.strip() for text in asked.split(",")]
        elif shape in grid and asked not in (None, *grid[shape]):
            said = ", ".join(grid[shape])
            raise ValueError(f"{shape}={asked} is not among the grid's {said}: one of the two is needed")
        if shape in grid:
            found = [*_without(found, shape), f"--{shape}", grid[shape][0]]
    if not set(grid) & set(SHAPES):
        return list(arguments)
    return [*_without(found, "grid"), "--grid", ",".join(_parts(grid))]


def shapes(grid: Iterable[str]) -> dict[str, list[Any]]:
    """The layers, depths and widths of a grid. Raises ValueError for a value that is none, or there twice."""
    found = {}
    for name, texts in named_values(tuple(grid)).items():
        if name in SHAPES:
            found[name] = [_value(name, text) for text in texts]
            if len(set(found[name])) != len(found[name]):
                raise ValueError(f"{name}={','.join(texts)}: each once is needed")
    return found


def combinations(model: Any, runs: Any) -> list[Combination]:
    """Every network that the options and the grid ask for, in order; all are made once to be checked."""
    asked = shapes(runs.grid)
    if not asked:
        return [Combination({}, model, runs)]
    numeric = _parts({name: texts for name, texts in named_values(runs.grid).items() if name not in SHAPES})
    found = []
    for values in itertools.product(*asked.values()):
        options = dict(zip(asked, values, strict=True))
        made = replace(model, **options)
        own = _layer_options(runs.layer_options, made.layer, asked.get("layer", [made.layer]))
        found.append(Combination(options, made, replace(runs, grid=tuple(numeric), layer_options=own)))
        _ = network(found[-1].model, own)
    return found


def joined(results: Sequence[Mapping[str, Any]], found: Sequence[Combination], chosen: Callable) -> dict[str, Any]:
    """One results.json of those of every combination: all rows, with the options and the folder of their network."""
    rows = [
        {**row, "options": {**one.options, **row["options"]}, "folder": one.name}
        for one, result in zip(found, results, strict=True)
        for row in result["rows"]
    ]
    shared = {name: value for name, value in results[0].items() if name not in _OF_ONE}
    return {**shared, "shapes": _shapes(found), "rows": rows, "chosen": chosen(rows, shared["maximise"])}


def folder_label(model: Any, runs: Any) -> str:
    """LAYER-DEPTH of a folder's name, several joined by +."""
    asked = shapes(runs.grid)
    texts = ["+".join(map(str, asked.get(name, [getattr(model, name)]))) for name in ("layer", "depth")]
    return "-".join(texts)


def runs_there(folder: Path, found: Sequence[Combination]) -> list[Combination]:
    """Those combinations that have a run in the folder."""
    return [one for one in found if (folder / one.name / "config.json").exists()]


def _shapes(found: Sequence[Combination]) -> dict[str, list[Any]]:
    return {name: list(dict.fromkeys(one.options[name] for one in found)) for name in found[0].options}


def _layer_options(asked: tuple[str, ...], layer: str, layers: Sequence[str]) -> tuple[str, ...]:
    """Those of the options that this layer has. Raises ValueError for one that none of the layers has."""
    known = {name: [f.name for f in fields(LAYERS[name]) if f.init] for name in layers}
    own = []
    for name, values in named_values(asked).items():
        if not any(name in options for options in known.values()):
            near = meant(name, itertools.chain(*known.values()))
            raise ValueError(f"layer option {name!r} is not known{near} none of {', '.join(layers)} has it")
        if name in known[layer]:
            own += _parts({name: values})
    return tuple(own)


def _parts(named: Mapping[str, Sequence[str]]) -> list[str]:
    """Values by name as the command line's list of texts."""
    return [part for name, texts in named.items() for part in (f"{name}={texts[0]}", *texts[1:])]


def _value(name: str, text: str) -> Any:
    if name == "layer":
        check_known(name, text, LAYERS)
        return text
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}={text!r}: allowed are whole numbers") from None


def _without(arguments: Sequence[str], option: str) -> list[str]:
    found, skip = [], False
    for argument in arguments:
        if not skip and argument != f"--{option}" and not argument.startswith(f"--{option}="):
            found.append(argument)
        skip = argument == f"--{option}"
    return found

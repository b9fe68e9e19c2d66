"""A command's options in a file: `--config FILE` reads them, and a command that has a folder leaves them in it.

TOML or JSON by the file's ending: a key for every option, as on the command line without its dashes; tables may group
them, whatever their names. What the command line says as well goes before the file.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from jaxgnn.host.storage import write_json

NAME = "command.json"
_ELSEWHERE = ("out", "json", "fresh", "continue", "cores")


def with_file(arguments: Sequence[str], kind: type, command: str) -> list[str]:
    """The arguments of a command with those of the file that --config names in front. Raises ValueError."""
    given, path = _without(list(arguments), "--config")
    if path is None:
        return given
    said = {argument.split("=")[0].lstrip("-").replace("_", "-") for argument in given if argument.startswith("--")}
    known = dict(_options(kind))
    found: list[str] = []
    for name, value in _read(Path(path), command).items():
        option = name.replace("_", "-")
        if option not in known:
            near = difflib.get_close_matches(option, known, 1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise ValueError(f"{path}: {name!r} is no option of jaxgnn {command}{hint}")
        if option not in said and value is not None:
            found += _as_arguments(path, option, value, flag=known[option] is bool)
    return [*found, *given]


def save(folder: Path, name: str, command: Any) -> None:
    """Writes the options of a command into its folder, for --config; not where it writes and how it prints."""
    values = {option: value for option, value in _values(command) if option not in _ELSEWHERE}
    write_json(folder / NAME, {"command": name, "options": values})


def _options(kind: type) -> Iterator[tuple[str, Any]]:
    """Names of a command's options, as on the command line, and their types; those of its groups have no prefix."""
    hints = get_type_hints(kind)
    for one in fields(kind):
        inner = next((t for t in (hints[one.name], *get_args(hints[one.name])) if is_dataclass(t)), None)
        if inner is None:
            yield one.name.rstrip("_").replace("_", "-"), hints[one.name]
        else:
            yield from _options(inner)


def _values(command: Any) -> Iterator[tuple[str, Any]]:
    for one in fields(command):
        value = getattr(command, one.name)
        if is_dataclass(value):
            yield from _values(value)
        elif value is not None:
            value = list(value) if isinstance(value, tuple) else value
            yield one.name.rstrip("_").replace("_", "-"), str(value) if isinstance(value, Path) else value


def _as_arguments(path: Any, option: str, value: Any, *, flag: bool) -> list[str]:
    if flag:
        if not isinstance(value, bool):
            raise ValueError(f"{path}: {option} is {value!r}: true and false are allowed")
        return [f"--{option}"] if value else []
    if value == []:
        return []
    if isinstance(value, list):
        value = ",".join(map(str, value))
    if not isinstance(value, str | int | float):
        raise ValueError(f"{path}: {option} is {value!r}: a number, a text, true, false or a list of them is allowed")
    return [f"--{option}", str(value)]


def _read(path: Path, command: str) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is no {path.suffix[1:] or 'JSON'}: {error}"
        raise ValueError(f"{path}: the options cannot be read: {reason}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a table of options is needed")
    if isinstance(found.get("options"), dict):
        if found.get("command", command) != command:
            raise ValueError(f"{path}: the options are those of jaxgnn {found['command']}, not of jaxgnn {command}")
        found = found["options"]
    return dict(_flat(found))


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield name, value


def _without(arguments: list[str], option: str) -> tuple[list[str], str | None]:
    """The arguments without an option that takes a value, and the value. Raises ValueError where there is none."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return arguments[:i] + arguments[i + 1 :], argument.partition("=")[2]
        if argument == option:
            if i + 1 == len(arguments):
                raise ValueError(f"{option} needs a file")
            return arguments[:i] + arguments[i + 2 :], arguments[i + 1]
    return arguments, None

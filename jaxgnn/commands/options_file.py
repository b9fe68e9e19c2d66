"""A command's options in a file: `--config FILE` reads them, and a command that has a folder leaves them in it.

TOML or JSON by the file's ending: a key for every option, as on the command line without its dashes; tables may group
them, whatever their names. What the command line says as well goes before the file.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from jaxgnn.host.spelling import meant
from jaxgnn.host.storage import write_json

NAME = "command.json"
_ELSEWHERE = ("out", "json", "fresh", "continue", "cores")


def with_file(arguments: Sequence[str], kind: type, command: str) -> list[str]:
    """The arguments of a command with those of the file that --config names in front. Raises ValueError."""
    given, path = _without(list(arguments), "--config")
    if path is None:
        return given
    known = dict(options_of(kind))
    said_already = said(given, known)
    found: list[str] = []
    for name, value in _read(Path(path), command).items():
        option = name.replace("_", "-")
        if option not in known:
            raise ValueError(f"{path}: {name!r} is no option of jaxgnn {command}{meant(option, known).rstrip(':')}")
        if option not in said_already and value is not None:
            found += as_arguments(path, option, value, flag=known[option] is bool)
    return [*found, *given]


def save(folder: Path, name: str, command: Any) -> None:
    """Writes the options of a command into its folder, for --config; not where it writes and how it prints."""
    values = {option: value for option, value in values_of(command) if option not in _ELSEWHERE}
    write_json(folder / NAME, {"command": name, "options": values})


def said(arguments: Sequence[str], known: Mapping[str, Any]) -> set[str]:
    """The options that the arguments name, --no-FLAG for FLAG."""
    names = {argument.split("=")[0][2:].replace("_", "-") for argument in arguments if argument.startswith("--")}
    return names | {name[3:] for name in names if name.startswith("no-") and known.get(name[3:]) is bool}


def argument_of(arguments: Sequence[str], option: str) -> str | None:
    """The last value of an option, in either of its two forms."""
    value = None
    for argument, following in zip(arguments, [*arguments, None][1:], strict=True):
        if argument == f"--{option}":
            value = following
        elif argument.startswith(f"--{option}="):
            value = argument.partition("=")[2]
    return value


def without_negations(arguments: Sequence[str], kind: type) -> list[str]:
    """The arguments without --no-FLAG of flags that are off unless asked for; with --FLAG itself, neither."""
    off = {f"--no-{name}": f"--{name}" for name in _flags(kind)}
    plain = [argument.replace("_", "-") if argument.startswith("--") else argument for argument in arguments]
    drop = {word for argument in plain if argument in off for word in (argument, off[argument])}
    return [argument for argument, word in zip(arguments, plain, strict=True) if word not in drop]


def _flags(kind: type) -> Iterator[str]:
    hints = get_type_hints(kind)
    for one in fields(kind):
        inner = _inner(hints[one.name])
        if inner is not None:
            yield from _flags(inner)
        elif hints[one.name] is bool and one.default is False:
            yield one.name.rstrip("_").replace("_", "-")


def _inner(hint: Any) -> type | None:
    return next((t for t in (hint, *get_args(hint)) if is_dataclass(t)), None)  # pyright: ignore[reportReturnType]


def options_of(kind: type) -> Iterator[tuple[str, Any]]:
    """Names of a command's options, as on the command line, and their types; those of its groups have no prefix."""
    hints = get_type_hints(kind)
    for one in fields(kind):
        inner = _inner(hints[one.name])
        if inner is None:
            yield one.name.rstrip("_").replace("_", "-"), hints[one.name]
        else:
            yield from options_of(inner)


def values_of(command: Any) -> Iterator[tuple[str, Any]]:
    """Names of a command's options and their values, those that are None left out."""
    for one in fields(command):
        value = getattr(command, one.name)
        if is_dataclass(value):
            yield from values_of(value)
        elif value is not None:
            value = list(value) if isinstance(value, tuple) else value
            yield one.name.rstrip("_").replace("_", "-"), str(value) if isinstance(value, Path) else value


def as_arguments(path: Any, option: str, value: Any, *, flag: bool) -> list[str]:
    """An option as the command line says it. Raises ValueError, naming `path`, for what it cannot say."""
    if flag:
        if not isinstance(value, bool):
            raise ValueError(f"{path}: {option} is {value!r}: true and false are allowed")
        return [f"--{option}" if value else f"--no-{option}"]
    if value == []:
        return []
    if isinstance(value, list | tuple):
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

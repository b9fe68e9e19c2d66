"""With what a page was made: its last lines."""

from collections.abc import Mapping
from typing import Any


def footer(command: str, where: Mapping[str, Any], more: str = "") -> list[str]:
    """The command; versions, device and commit, as `jaxgnn.host.storage.environment` has them."""
    return [f"Made by: {command}", f"{versions(where)}; {where['device']['kind']}{more}{commit(where)}"]


def versions(where: Mapping[str, Any], packages: tuple[str, ...] = ()) -> str:
    """jaxgnn 0.1, jax 0.10, and so on; all packages that are known by default."""
    found = where["versions"]
    return ", ".join(f"{name} {found[name]}" for name in packages or found if found.get(name))


def commit(where: Mapping[str, Any]) -> str:
    """The commit of a checkout; an installed package has none, its version says what it is."""
    return f"; commit {where['commit']}" if where.get("commit") else ""

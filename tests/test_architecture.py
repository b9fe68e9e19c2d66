"""The rooms of the package, from the ground up: what a room holds imports rooms below it and nothing above.

`pytest -s tests/test_architecture.py -k levels` prints how many levels and arrows there are between rooms.
"""

import ast
from pathlib import Path

import pytest

import jaxgnn

PACKAGE = Path(jaxgnn.__file__).parent
ROOMS = (
    "host",
    "data",
    "graphs",
    "layers",
    "jacobian",
    "tasks",
    "network",
    "report",
    "analysis",
    "training",
    "theory",
    "diagnosis",
    "evidence",
    "commands",
)
FILES = sorted(p for p in PACKAGE.rglob("*.py") if "experiments" not in p.relative_to(PACKAGE).parts)
INSIDE = [p for p in FILES if p.parent != PACKAGE]


def room(path):
    """The folder right below jaxgnn that a file lies in."""
    return path.relative_to(PACKAGE).parts[0]


def imported(path):
    """Full names of all that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level] if node.level else ()
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_part(name, package):
    return name == package or name.startswith(package + ".")


def rooms_below(path):
    """Rooms that a file imports from, its own left out."""
    own = [name.split(".")[1] for name in imported(path) if is_part(name, "jaxgnn") and name != "jaxgnn"]
    return set(own) - {room(path)}


def modules_imported(path):
    """Other modules of the package that a file imports, by full name."""
    known = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for p in INSIDE}
    for name in imported(path):
        while name and name not in known:
            name = name.rpartition(".")[0]
        if name:
            yield name


def test_every_file_lies_in_a_room():
    assert {room(path) for path in INSIDE} == set(ROOMS)
    assert {path.name for path in FILES if path.parent == PACKAGE} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("path", INSIDE, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    allowed = set(ROOMS[: ROOMS.index(room(path))])
    if room(path) == ROOMS[-1]:  # commands alone may run experiments, and ask for the package's version
        allowed |= {"experiments", "__version__"}
    assert rooms_below(path) <= allowed


def test_no_room_imports_in_a_circle():
    """Within a room too."""
    arrows = {}
    for path in INSIDE:
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        arrows[name] = set(modules_imported(path)) - {name}
    while leaves := [name for name, below in arrows.items() if not below & arrows.keys()]:
        for name in leaves:
            del arrows[name]
    assert not arrows, f"these import each other: {sorted(arrows)}"


def test_the_levels_between_rooms():
    """A room's level is one above the highest that it imports."""
    arrows = {name: set().union(*(rooms_below(p) for p in INSIDE if room(p) == name)) & set(ROOMS) for name in ROOMS}
    levels = {}
    for name in ROOMS:
        levels[name] = 1 + max((levels[below] for below in arrows[name]), default=0)
    print(f"\n{len(ROOMS)} rooms, {max(levels.values())} levels, {sum(map(len, arrows.values()))} arrows")
    for name in ROOMS:
        print(f"{levels[name]:2} {name}: {', '.join(sorted(arrows[name], key=ROOMS.index)) or '-'}")
    assert max(levels.values()) <= 10


def test_jraph_stays_behind_the_graph():
    allowed = {PACKAGE / "graphs" / f"{name}.py" for name in ("segment", "graph", "prepare", "connectivity")} | {
        PACKAGE / "data" / "dataset.py"
    }
    assert {path for path in FILES if any(is_part(name, "jraph") for name in imported(path))} <= allowed


def test_nothing_experimental_is_imported():
    # Compilers without their devices, and the cache of what they compiled, are nowhere else.
    only = {PACKAGE / "host" / "targets.py", PACKAGE / "host" / "kept_programs.py"}
    assert not [p for p in FILES if p not in only and any(is_part(name, "jax.experimental") for name in imported(p))]

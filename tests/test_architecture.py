import ast
from pathlib import Path

import pytest

import jaxgnn

PACKAGE = Path(jaxgnn.__file__).parent
# Lower ones may import higher ones, never the reverse.
ORDER = (
    "arrays",
    "options",
    "structure",
    "program",
    "memory",
    "precision",
    "magnitude",
    "evaluate",
    "storage",
    "occupied",
    "interrupts",
    "checkpoint",
    "segment",
    "remat",
    "propagation",
    "dirichlet_form",
    "sparse_features",
    "edge_list",
    "normalisation",
    "graph",
    "partition",
    "dropedge",
    "data",
    "rewiring",
    "layers",
    "bounds",
    "norms",
    "state_space",
    "residuals",
    "stack",
    "layer_function",
    "dynamics",
    "model",
    "measures",
    "probe",
    "readout",
    "stationary",
    "landscape",
    "backward",
    "jacobian",
    "theory",
    "metrics",
    "tasks",
    "optimisers",
    "run",
    "depth_memory",
    "recorder",
    "scale",
    "train",
    "report",
    "study",
    "training",
    "spectrum",
    "probing",
    "checking",
    "reproduction",
    "cli",
)
FILES = sorted(p for p in PACKAGE.rglob("*.py") if "experiments" not in p.relative_to(PACKAGE).parts)


def unit(path):
    """The module or sub-package right below jaxgnn that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


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


def test_every_module_has_its_place_in_the_order():
    assert {unit(path) for path in FILES} - {"__init__", "__main__", "experiments"} <= set(ORDER)


@pytest.mark.parametrize("path", [p for p in FILES if unit(p) in ORDER], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_upwards(path):
    for name in imported(path):
        # The package itself imports everything: that is for the last of the order alone.
        if is_part(name, "jaxgnn") and unit(path) != ORDER[-1]:
            part = name.partition(".")[2].partition(".")[0]
            assert part in ORDER, f"imports {name}"
            assert ORDER.index(part) <= ORDER.index(unit(path)), f"imports {name}"


def test_jraph_stays_behind_the_graph():
    allowed = {PACKAGE / "segment.py", PACKAGE / "graph.py", PACKAGE / "data" / "dataset.py"}
    assert {path for path in FILES if any(is_part(name, "jraph") for name in imported(path))} <= allowed


def test_nothing_experimental_is_imported():
    assert not [p for p in FILES if any(is_part(name, "jax.experimental") for name in imported(p))]

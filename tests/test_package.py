"""The package from outside: what `import jaxgnn` gives, and what it costs."""

import pkgutil
import subprocess
import sys
import types

import jax
import pytest

import jaxgnn as jg

# Every name that users are promised, and what it is.
PROMISED = {
    "functions": [
        "prepare",
        "load_dataset",
        "largest_component",
        "components",
        "fosr",
        "sdrf",
        "balanced_forman",
        "diagnose",
        "search",
        "compare",
        "probe",
        "backward_analysis",
        "jacobian",
        "lyapunov",
        "selective_sensitivity",
        "sensitivity",
        "influence",
        "mixing",
        "train",
        "sweep",
        "make_train",
        "use_cores",
        "dataset",
        "intervene",
        "sequential",
        "adapt",
        "save_dataset",
        "from_dense",
        "from_dgl",
        "from_edges",
        "from_networkx",
        "from_pyg",
        "from_scipy",
        "save",
        "load",
        "load_run",
    ],
    "types": [
        "DeepGNN",
        "StateSpace",
        "TrainConfig",
        "Graph",
        "Propagation",
        "Dataset",
        "TrainResult",
        "SweepPoint",
        "Trace",
        "Diagnosis",
        "LayerJacobian",
        "Extremes",
        "Density",
    ],
    "modules": ["layers", "tasks", "theory", "measures", "edits", "plot", "scale", "depth_memory"],
}
IS = {
    "functions": lambda found: callable(found) and not isinstance(found, type),
    "types": lambda found: isinstance(found, type),
    "modules": lambda found: isinstance(found, types.ModuleType),
}


def in_a_fresh_process(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("kind", PROMISED)
def test_what_is_promised_is_there(kind):
    for name in PROMISED[kind]:
        assert name in dir(jg)
        assert IS[kind](getattr(jg, name)), name


def test_nothing_else_is_public():
    assert {name for name in jg.__all__ if not name.startswith("_")} == set().union(*PROMISED.values())


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = jg.no_such_name


def test_every_submodule_imports_and_names_stay_what_they_are():
    code = "import importlib, pkgutil, jaxgnn.jacobian.dense, jaxgnn\n"
    code += "assert callable(jaxgnn.jacobian)\n"
    code += "names = [m.name for m in pkgutil.walk_packages(jaxgnn.__path__, 'jaxgnn.')]\n"
    code += "names = [n for n in names if not n.startswith('jaxgnn.experiments')]\n"
    code += "for name in names: importlib.import_module(name)\n"
    names = PROMISED["functions"] + PROMISED["types"]
    code += f"print(len(names), *[n for n in {names} if not callable(getattr(jaxgnn, n))])"
    (count,) = in_a_fresh_process(code)
    assert int(count) == sum(not m.name.startswith("jaxgnn.experiments") for m in walked())


def walked():
    return pkgutil.walk_packages(jg.__path__, "jaxgnn.")


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_the_light_ways_out_import_nothing_heavy(argument):
    code = "import sys; from jaxgnn.commands.main import main\n"
    code += f"try: main([{argument!r}])\nexcept SystemExit: pass\n"
    code += "print('heavy:', *(sys.modules.keys() & {'jax', 'numpy', 'scipy', 'matplotlib', 'tyro', 'rich'}))"
    assert in_a_fresh_process(code)[-1] == "heavy:"


def test_what_is_printed_is_sizes_not_arrays():
    dataset = jg.load_dataset("karate")
    graph = jg.prepare(dataset.graph)
    task = jg.tasks.node_classification(dataset, graph)
    model = jg.DeepGNN(depth=1, width=4, out=2)
    result = jg.train(model, task, seeds=2, steps=2)
    first = jax.tree.map(lambda a: a[0], result.params)
    trace = jg.probe(model, first, graph, task.x, task.loss)
    assert repr(dataset).startswith("Dataset(karate: 34 nodes, 156 directed edges, 34 features, 2 classes; ")
    assert repr(graph) == "Graph(34 nodes, 156 directed edges, Propagation(34 x 34, sym, symmetric))"
    assert repr(result).startswith("TrainResult(2 seeds: test score ")
    assert "features=float32[2, 34, 4]" in repr(trace)
    assert repr(jg.jacobian(*model.layer_fn(first, graph, task.x, layer=0))) == "LayerJacobian(136 x 136, float32)"
    for value in (dataset, graph, result, trace):
        assert len(repr(value)) < 200
    for value in (graph, result, trace):
        assert repr(jax.tree.map(jax.numpy.shape, value))  # where there are no arrays

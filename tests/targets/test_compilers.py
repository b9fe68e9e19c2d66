"""What TPUs and GPUs would run, compiled by their own compilers: python -m pip install 'jaxgnn[plan-tpu,plan-gpu]'."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.host import hlo
from jaxgnn.host.targets import target
from jaxgnn.training import planning
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.unseen import unseen_task

CONFIG = TrainConfig(steps=20)
TPU = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs jaxgnn[plan-tpu]")
GPU = pytest.mark.skipif(importlib.util.find_spec("jax_cuda12_plugin") is None, reason="needs jaxgnn[plan-gpu]")
pytestmark = pytest.mark.filterwarnings("default")
HERE = [
    pytest.param("v5e:2x2", marks=TPU),
    pytest.param("h100:1x1x4", marks=GPU),
]


@pytest.fixture(scope="module")
def task():
    dataset = jg.load_dataset("csbm", num_nodes=800, num_features=32)
    return jg.tasks.node_classification(dataset, jg.prepare(dataset.graph))


def planned(task, topology, *, seeds=1, nodes=1, count=1, depth=6, **options):
    there = target(topology)
    mesh = planning.mesh_of(there, seeds=seeds, nodes=nodes)
    model = jg.DeepGNN(depth=depth, width=64, out=task.out, residual="identity", **options)
    return planning.plan(model, task, CONFIG, there, mesh, count=count)


def instructions(plan):
    return list(hlo.runs(hlo.parse(plan.compiled.as_text())))


@pytest.mark.parametrize("topology", HERE)
def test_training_over_nodes_is_a_program_of_that_chip(topology, task):
    found = planned(task, topology, nodes=4)
    assert found.fits
    assert found.available > 15 * 2**30
    assert 0 < found.peak < 2**30
    low, high = found.seconds
    assert 0 < found.floor <= low < high < 1
    text = found.compiled.as_text()
    assert "f64[" not in text
    assert not any(word in text for word in ("xla_python_cpu_callback", "xla_ffi_python", "infeed", "outfeed"))
    assert "[<=" not in text  # no dynamic shape
    exchanges = {c.kind for c in found.collectives}
    assert "collective-permute" in exchanges
    # Rows are exchanged, X is not gathered.
    assert not any(c.kind == "all-gather" and c.bytes >= 4 * 800 * 64 for c in found.collectives)


@pytest.mark.parametrize("topology", HERE)
@pytest.mark.parametrize("remat", ["none", "sqrt"])
def test_gradients_of_weights_are_summed_after_the_loops(topology, remat, task):
    found = planned(task, topology, nodes=4, bound="frobenius", remat=remat)
    summed = [r for r in instructions(found) if r.instruction.opcode.startswith("all-reduce")]
    matrices = [r for r in summed if hlo.nbytes(r.instruction.result) >= 4 * 64 * 64]
    assert matrices
    assert max(r.times for r in matrices) == planning.STEPS_AT_ONCE


@pytest.mark.parametrize("topology", HERE)
def test_flops_of_a_device_are_those_of_its_products(topology, task):
    n, f, d, L, out = 800, 32, 64, 6, task.out
    forward = 2 * n * (f * d + L * d * d + d * out)
    # Backward: both factors of each product, but x's own gradient is not asked for.
    wanted = 3 * forward - 2 * n * f * d
    assert planned(task, topology).flops == pytest.approx(wanted, rel=0.02)


@GPU
def test_sums_on_a_gpu_have_one_order(task):
    opcodes = {r.instruction.opcode for r in instructions(planned(task, "h100:1x1x1"))}
    assert "gather" in opcodes
    assert not opcodes & {"scatter", "sort"}  # deterministic scatters are made of sorts


@TPU
def test_more_layers_than_fit_are_told_with_what_there_is(task):
    found = planned(task, "v5e:1x1", depth=2_000_000)
    assert not found.fits
    assert found.peak > found.available == int(15.75 * 2**30)
    there = target("v5e:1x1")
    mesh = planning.mesh_of(there)
    model = jg.DeepGNN(depth=64, width=64, out=task.out, remat="sqrt")

    def planned_alone(model):
        return planning.plan(model, task, CONFIG, there, mesh)

    depth = planning.deepest(model, planned_alone(model), planned_alone)
    assert planning.plan(model.clone(depth=depth), task, CONFIG, there, mesh).fits
    assert not planning.plan(model.clone(depth=2 * depth), task, CONFIG, there, mesh).fits


@pytest.mark.parametrize("topology", ["v5e:1x1", "h100:1x1x1"])
@pytest.mark.parametrize(("what", "dtype"), [("probe", "float32"), ("spectrum", "float64"), ("spectrum", "float32")])
def test_probes_and_products_are_planned(topology, what, dtype, task):
    pytest.importorskip("libtpu" if topology.startswith("v") else "jax_cuda12_plugin")
    there = target(topology)
    mesh = planning.mesh_of(there)
    sizes = []
    for depth in (4, 40):
        model = jg.DeepGNN(depth=depth, width=64, out=task.out, residual="initial", bound="frobenius")
        if topology.startswith("v") and dtype == "float64":
            with pytest.raises(ValueError, match="the compiler of v5e:1x1 refuses the program: INVALID_ARGUMENT"):
                planning.plan(model, task, CONFIG, there, mesh, what=what, dtype=dtype)
            return
        found = planning.plan(model, task, CONFIG, there, mesh, what=what, dtype=dtype)
        low, high = found.seconds
        assert found.fits
        assert 0 < low < high
        assert found.flops > 0
        assert ("f64[" in found.compiled.as_text()) == (dtype == "float64")
        sizes.append(found.peak)
    n, d = 800, 64
    # A probe returns features, their gradients and backward errors of every layer; a product knows one layer.
    assert sizes[1] - sizes[0] >= (36 * 3 * 4 * n * d if what == "probe" else 0)
    assert what == "probe" or sizes[0] == sizes[1]
    two = planning.mesh_of(target(topology.replace("1x1x1", "1x1x2").replace("e:1x1", "e:2x2")), nodes=2)
    with pytest.raises(ValueError, match=f"a {what} is computed by one device: the mesh has 2"):
        planning.plan(model, task, CONFIG, there, two, what=what)


@TPU
def test_auto_keeps_what_fits(task):
    assert planned(task, "v5e:1x1", remat="auto").remat == "none"
    deep = planned(task, "v5e:1x1", depth=40_000, remat="auto")
    assert deep.remat in ("sqrt", "least")
    assert deep.fits


@pytest.mark.parametrize("topology", HERE)
def test_a_graph_that_is_not_there_has_the_shapes_of_one_that_is(topology):
    """Grown from a sample, against the graph itself."""
    there = target(topology)
    mesh = planning.mesh_of(there, nodes=4)
    model = jg.DeepGNN(depth=3, width=16, out=17, residual="identity")
    nodes = 200_000
    made = jg.load_dataset("csbm", num_nodes=nodes, average_degree=8.0, num_classes=17, num_features=16)
    real = jg.tasks.node_classification(made, jg.prepare(made.graph))
    found = [
        planning.plan(model, task, CONFIG, there, mesh)
        for task in (unseen_task(mesh, nodes=nodes, degree=8.0, features=16), real)
    ]
    np.testing.assert_allclose(found[0].peak, found[1].peak, rtol=0.1)
    sent = [sum(c.bytes * c.times for c in plan.collectives) for plan in found]
    np.testing.assert_allclose(sent[0], sent[1], rtol=0.1)


@TPU
def test_the_command_says_it_and_exits_accordingly(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "jaxgnn", "plan", "--topology", "v5e:2x2", "--no-largest", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    fits = run("--mesh", "seeds=2,nodes=2", "--depth", "4", "--json", "--save", "kept", "--out", "page")
    assert fits.returncode == 0, fits.stderr
    said = json.loads(fits.stdout.splitlines()[-1])
    assert said["fits"] is True
    assert 0 < said["peak_bytes"] < said["available_bytes"]
    low, high = said["step_seconds"]
    assert 0 < low < high
    assert said["rows_received"] >= said["rows_needed"] > 0
    assert {c["kind"] for c in said["collectives"]} >= {"collective-permute", "all-reduce"}
    wrong = run("--mesh", "seeds=8")
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[-1] == ("jaxgnn: a mesh of seeds=8, nodes=1 asks for 8 devices, but v5e:2x2 has 4")
    deep = run("--depth", "2000000")
    assert deep.returncode == 1
    assert "it does not fit: a device needs " in deep.stderr.splitlines()[-1]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["kept", "page"]
    assert "It fits: " in (tmp_path / "page" / "index.html").read_text()
    assert sum(file.name.startswith("jit_advance") for file in tmp_path.rglob("*-cache")) == 1

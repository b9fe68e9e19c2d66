import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands.main import main
from jaxgnn.training import drive
from jaxgnn.training.scale import Runs, parse_mesh, spread, start_process
from jaxgnn.training.train import default_hyper

EIGHT = Path(__file__).parent / "eight_devices.py"
NETWORK = ["--dataset", "karate", "--depth", "2", "--width", "4", "--residual", "identity", "--bound", "frobenius"]
TRAIN = ["train", *NETWORK, "--seeds", "2", "--steps", "30"]
# `jaxgnn` with a checkpoint every ten steps; the process whose number comes first is killed after that of step 20.
KILLED = """
import os, signal, sys, jaxgnn.commands.main
from jaxgnn.training import folder as folders
victim, arguments = sys.argv[1], sys.argv[2:]
folders._SECONDS = -1.0
number = arguments[arguments.index("--process") + 1]
folder = folders.RunFolder if number == "0" else folders.NoFolder
save = folder.save
def and_die(self, step, tree, *, at_once):
    save(self, step, tree, at_once=at_once)
    if step == 20 and number == victim:
        os.kill(os.getpid(), signal.SIGKILL)
folder.save = and_die
sys.exit(jaxgnn.commands.main.main(arguments))
"""


def environment(**more):
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | more


def test_on_eight_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EIGHT)]
    done = subprocess.run(command, env=environment(**flags), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert " passed" in done.stdout


def run_two(out, mesh, *, victim="none", seconds=300):
    """Exit codes and standard errors of two processes of one run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = []
    for number in range(2):
        several = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", str(number)]
        command = [sys.executable, "-c", KILLED, victim, *TRAIN, "--out", str(out), "--mesh", mesh, *several]
        env = environment(XLA_FLAGS="", OPENBLAS_NUM_THREADS="1")
        both.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    try:
        errors = [process.communicate(timeout=seconds)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    return [process.returncode for process in both], errors


def history(out):
    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return {name: np.asarray([line[name] for line in lines], float) for name in lines[0]}


def assert_same_history(out, expected):
    found, expected = history(out), history(expected)
    assert found["step"].tolist() == list(range(30))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)


def test_two_processes(tmp_path):
    assert main([*TRAIN, "--out", str(tmp_path / "one")]) == 0
    codes, errors = run_two(tmp_path / "nodes", "seeds=1,nodes=2")
    assert codes == [0, 0], errors
    for process, error in enumerate(errors):
        assert f"jaxgnn: process {process} waits for process {1 - process} at 127.0.0.1:" in error
    assert "jaxgnn: process 1 waits for process 0, which writes the page\n" in errors[1]
    assert_same_history(tmp_path / "nodes", tmp_path / "one")

    codes, errors = run_two(tmp_path / "killed", "seeds=2,nodes=1", victim="1")
    assert codes == [3, -9], errors
    kept = f"the same command goes on from {tmp_path / 'killed' / 'checkpoints'}, started in all processes"
    assert errors[0].splitlines()[-1] == f"jaxgnn: another process of the run was lost; {kept}"
    assert len((tmp_path / "killed" / "history.jsonl").read_text().splitlines()) < 30
    codes, errors = run_two(tmp_path / "killed", "seeds=2,nodes=1")
    assert codes == [0, 0], errors
    assert_same_history(tmp_path / "killed", tmp_path / "one")
    scores = [json.loads((tmp_path / run / "results.json").read_text())["rows"] for run in ("killed", "one")]
    assert scores[0][0]["scores"] == scores[1][0]["scores"]


def test_one_device_is_a_mesh(karate):
    graph = jg.prepare(karate.graph)
    task = jg.tasks.node_classification(karate, graph)
    placed = spread(task, jg.scale.mesh())
    for a, b in zip(jax.tree.leaves(placed), jax.tree.leaves(task), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b, a.dtype))


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize(("runs", "shape"), [(1, (5, 3)), (2, (2, 5, 3))])
def test_a_devices_only_run_has_no_axis_of_runs(runs, shape, one_by_one):
    X = np.ones((runs, 5, 3), np.float32)
    place = Runs(None, runs)
    each = partial(place.each, lambda W, X: X @ W, one_by_one=one_by_one)
    traced = jax.make_jaxpr(lambda W, X: each(W, (X,)))(X[0].T @ X[0], X)
    products = [e.outvars[0].aval.shape for e in traced.eqns if e.primitive.name == "dot_general"]
    assert products == ([] if one_by_one else [shape])  # one by one: in a loop, as among others


def test_mesh_texts():
    assert parse_mesh("seeds=4,nodes=2") == {"seeds": 4, "nodes": 2}
    assert parse_mesh("nodes=2") == {"seeds": 1, "nodes": 2}
    with pytest.raises(ValueError, match=r"^mesh=5 is not understood: allowed are seeds=S,nodes=N"):
        parse_mesh(5)


@pytest.mark.parametrize("text", ["", "4,2", "seeds=0", "seeds=two", "seeds=2,seeds=2", "rows=2", "seeds=2;nodes=2"])
def test_wrong_mesh_texts(text, capsys):
    assert main([*TRAIN, "--mesh", text]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"jaxgnn: mesh='{text}' is not understood: allowed are seeds=S,nodes=N")


def test_too_few_devices(capsys):
    wanted = jax.device_count() + 1
    assert main([*TRAIN, "--mesh", f"seeds={wanted}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"seeds={wanted}, nodes=1 asks for {wanted} devices, but there" in line


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--processes", "2"], "processes=2, process=0: they need a coordinator"),
        (["--coordinator", "127.0.0.1:1"], "several processes need a mesh"),
        (["--mesh", "seeds=2", "--coordinator", "nowhere"], "coordinator='nowhere' is not understood"),
    ],
)
def test_wrong_processes(options, sentence, capsys):
    assert main([*TRAIN, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


def test_numbers_out_of_range():
    with pytest.raises(ValueError, match="nodes=0: allowed are 1 and more"):
        jg.scale.mesh(nodes=0)
    with pytest.raises(ValueError, match="process=2 of processes=2: allowed are 0 to processes - 1"):
        start_process("127.0.0.1:1", 2, 2)
    with pytest.raises(ValueError, match="heartbeat=0"):
        start_process("127.0.0.1:1", 2, 1, heartbeat=0)


def test_runs_side_by_side_share_the_graph():
    """A `cond` on what one run does would give every run a copy of P and of the features."""
    ds = jg.load_dataset("csbm")
    graph = jg.prepare(ds.graph, backend="padded")
    task = jg.tasks.node_classification(ds, graph)
    model = jg.DeepGNN(depth=2, width=4, out=task.out)
    config = jg.TrainConfig(steps=10, evaluate_every=2)
    runs, (slots, n) = 3, graph.propagation.forward.senders.shape
    hypers = jax.tree.map(lambda a: jnp.stack([a] * runs), default_hyper(model, config))
    keys = jax.random.split(jax.random.key(0), runs)
    states = drive.start(model, config.without_numbers(), task, keys, hypers, False, None)
    text = drive.advance.lower(model, config.without_numbers(), task, 10, hypers, states, False, None).as_text()
    assert f"tensor<{slots}x{n}x" in text
    assert f"tensor<{runs}x{slots}x{n}x" not in text
    assert f"tensor<{runs}x{n}x{ds.x.shape[1]}x" not in text

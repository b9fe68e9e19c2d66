"""What needs eight devices: `test_scale` runs this file in a process that simulates them."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxgnn as jg
from jaxgnn.graphs.partition import partitioned
from jaxgnn.host import hlo
from jaxgnn.training import drive, folder
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.scale import Runs, spread
from jaxgnn.training.train import default_hyper

SHAPES = ((2, 2), (4, 2), (8, 1), (1, 8))
GRID = {"learning_rate": [0.05, 1e30]}  # the second fails at once: runs that stopped beside runs that go on
HOW = {"grid": GRID, "seeds": 3, "steps": 30, "optimiser": "sgd"}  # Adam divides what is but rounding by its size


@pytest.fixture(scope="module")
def task():
    data = jg.load_dataset("csbm")
    keep = np.arange(198)  # a number that eight parts do not divide
    inside = (data.graph.senders < 198) & (data.graph.receivers < 198)
    graph = jg.prepare(senders=data.graph.senders[inside], receivers=data.graph.receivers[inside], num_nodes=198)
    arrays = {name: getattr(data, name)[keep] for name in ("x", "labels", "train_mask", "val_mask", "test_mask")}
    return jg.tasks.node_classification(data._replace(**arrays), graph)


@pytest.fixture(scope="module")
def model(task):
    return jg.DeepGNN(depth=3, width=8, out=task.out, residual="identity", bound="frobenius", bound_c=0.5)


@pytest.fixture(scope="module")
def alone(model, task):
    return jg.sweep(model, task, **HOW)


def assert_same_numbers(points, expected):
    for point, other in zip(points, expected, strict=True):
        np.testing.assert_array_equal(point.result.failed, other.result.failed)
        for a, b in zip(point.result.history, other.result.history, strict=True):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    result, other = points[0].result, expected[0].result
    assert not other.failed.any()
    assert expected[1].result.failed.all()
    for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.max(np.abs(a - b)) <= 1e-5 * np.max(np.abs(b))


@pytest.mark.parametrize(("seeds", "nodes"), SHAPES)
def test_training_gives_the_same_numbers(seeds, nodes, model, task, alone):
    assert_same_numbers(jg.sweep(model, task, mesh=jg.scale.mesh(seeds=seeds, nodes=nodes), **HOW), alone)


def test_a_run_goes_on_across_meshes(model, task, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_SECONDS", -1.0)  # a checkpoint every ten steps

    def stop_at(last):
        def stop(done):
            if done == last:
                raise KeyboardInterrupt

        return stop

    for mesh, last in ((jg.scale.mesh(seeds=4, nodes=2), 10), (jg.scale.mesh(seeds=2), 20)):
        with contextlib.suppress(KeyboardInterrupt):
            jg.sweep(model, task, mesh=mesh, out=tmp_path, progress=stop_at(last), **HOW)
    assert (tmp_path / "checkpoints" / "20").exists()
    starts = []
    points = jg.sweep(model, task, out=tmp_path, progress=starts.append, **HOW)
    assert starts == [20, 30]
    assert_same_numbers(points, alone)


OPTIONS = [
    {},
    {"bound": "frobenius", "remat": "sqrt", "depth": 5},
    {"bound": "spectral", "remat": "least", "bias": True},
    {"share_weights": True, "remat": "block"},
    {"residual": "gated", "norm": "dgn"},
    {"layer": "gcnii", "init_weights": "orthogonal"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_of_weights_are_summed_after_the_loops(options, task):
    """Until then each device has those of its own nodes: no sum of a matrix's shape is made layer by layer."""
    net = jg.DeepGNN(**{"depth": 6, "width": 24, "out": task.out, "residual": "identity"} | options)
    mesh = jg.scale.mesh(seeds=2, nodes=4)
    config, place, placed = TrainConfig(steps=20).without_numbers(), Runs(mesh, 2), spread(task, mesh)
    keys = place.put(jax.random.split(jax.random.key(0), 2))
    hypers = place.put(jax.tree.map(lambda a: jnp.stack([a, a]), default_hyper(net, config)))
    states = drive.start(net, config, placed, keys, hypers, False, mesh)
    program = hlo.parse(drive.advance.lower(net, config, placed, 20, hypers, states, False, mesh).compile().as_text())
    summed = [r for r in hlo.runs(program) if r.instruction.opcode.startswith("all-reduce")]
    matrices = [r for r in summed for _, shape in hlo.shapes(r.instruction.result) if shape[-2:] == (24, 24)]
    assert matrices
    assert max(r.times for r in matrices) == 10  # once in each of ten steps


@pytest.mark.parametrize("options", OPTIONS[1:])
def test_gradients_summed_after_the_loops_are_those_of_one_device(options, task, random_variables, x64):
    # Without rows that fill up: no norm counts them.
    asked = jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, task)
    net = jg.DeepGNN(**{"depth": 3, "width": 8, "out": task.out, "residual": "identity"} | options)
    variables = random_variables(net, asked.graph, asked.x)
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    @jax.jit
    def loss_and_gradient(params, task):
        def loss(params):
            return task.loss(net.apply({"params": params, **rest}, task.graph, task.x))

        return jax.value_and_grad(loss)(params)

    expected = loss_and_gradient(variables["params"], asked)
    found = loss_and_gradient(variables["params"], spread(asked, jg.scale.mesh(nodes=4)))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.max(np.abs(np.asarray(a) - b)) <= 1e-12 * max(np.max(np.abs(b)), 1)


@pytest.mark.parametrize(
    ("layer", "normalisation", "norm"),
    [("gcn", "row", "pairnorm"), ("gat", "sym", "none"), ("gin", "sym", "batch"), ("sage", "sym", "none")],
)
def test_loss_and_gradient_of_a_layer(layer, normalisation, norm, task, random_variables, x64):
    inputs = {"senders": task.graph.senders, "receivers": task.graph.receivers, "num_nodes": 198}
    asked = jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, task)
    asked = asked.__class__(**vars(asked) | {"graph": jg.prepare(**inputs, normalisation=normalisation)})
    net = jg.DeepGNN(layer=layer, norm=norm, depth=2, width=8, out=task.out, residual="identity", activation="tanh")
    variables = random_variables(net, asked.graph, asked.x)

    @jax.jit
    def loss_and_gradient(params, task):
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        changing = ["batch_stats"]

        def loss(params):
            logits, _ = net.apply({"params": params, **rest}, task.graph, task.x, train=True, mutable=changing)
            return task.loss(logits)

        return jax.value_and_grad(loss)(params)

    expected = loss_and_gradient(variables["params"], asked)
    found = loss_and_gradient(variables["params"], spread(asked, jg.scale.mesh(nodes=4)))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.max(np.abs(np.asarray(a) - b)) <= 1e-12 * max(np.max(np.abs(b)), 1)


@pytest.mark.parametrize(("seeds", "nodes"), [(2, 4), (1, 8)])
def test_P_X_exchanges_rows_and_gathers_none(seeds, nodes, task, x64):
    mesh = jg.scale.mesh(seeds=seeds, nodes=nodes)
    inputs = {"senders": task.graph.senders, "receivers": task.graph.receivers, "num_nodes": 198}
    graph = partitioned(jg.prepare(**inputs, normalisation="row"), nodes, mesh).graph
    P, dense = graph.propagation, graph.propagation.dense()
    rng = np.random.default_rng(0)
    X, G = rng.standard_normal((2, 4, dense.shape[0], 3))
    stands = NamedSharding(mesh, PartitionSpec("seeds", "nodes"))

    def one(P, X, G):
        def twice(X):
            return jax.lax.scan(lambda X, _: (P @ X, None), X, length=2)[0]

        return twice(X), jax.grad(lambda X: jnp.vdot(G, twice(X)))(X)

    @jax.jit
    def all_runs(P, X, G):
        return Runs(mesh, 4).each(one, P, (X, G), one_by_one=False)

    placed = (P, jax.device_put(X, stands), jax.device_put(G, stands))
    program = all_runs.lower(*placed).compile()
    forward, backward = program(*placed)
    np.testing.assert_allclose(forward, dense @ dense @ X, atol=1e-12)
    np.testing.assert_allclose(backward, dense.T @ dense.T @ G, atol=1e-12)
    kinds = set(re.findall(r"\b(all-[a-z]+|collective-permute|reduce-scatter)(?:-start)?\(", program.as_text()))
    assert kinds == {"collective-permute"}
    assert forward.sharding.is_equivalent_to(stands, 3)


def test_what_a_mesh_cannot_do(model, task):
    with pytest.raises(ValueError, match=r"seeds=4, nodes=4 asks for 16 devices, but there are 8 \(cpu\)"):
        jg.scale.mesh(seeds=4, nodes=4)
    mesh = jg.scale.mesh(nodes=2)
    with pytest.raises(ValueError, match=r"dropedge=0.5 does not go with nodes=2"):
        jg.train(model.clone(dropedge=0.5), task, mesh=mesh)
    with pytest.raises(ValueError, match="nodes=2 is for tasks on the nodes of one graph, not for ManyGraphs"):
        jg.train(model, jg.tasks.ring_transfer(n=6, num_train=8, num_val=4, num_test=4), mesh=mesh)
    with pytest.raises(ValueError, match="the mesh has the axes"):
        jg.train(model, task, mesh=jax.sharding.Mesh(np.asarray(jax.devices()), ("devices",)))

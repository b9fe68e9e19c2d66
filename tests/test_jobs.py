"""Ten jobs of a new user, each in at most six lines of their own: the lines of a function's body below `import`s."""

import inspect
from types import SimpleNamespace

import jax
import matplotlib.axes
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg

KARATE = nx.karate_club_graph()
CLUBS = [KARATE.nodes[v]["club"] for v in KARATE]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: a CSV of edges, numpy's features and labels."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edges.csv").write_text("source,target\n" + "".join(f"{u},{v}\n" for u, v in KARATE.edges))
    np.save("x.npy", np.eye(34, dtype=np.float32))
    np.save("y.npy", np.array([club == "Officer" for club in CLUBS], int))
    return tmp_path


@pytest.fixture
def task():
    ds = jg.load_dataset("karate")
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


def csv_and_numpy():
    graph = jg.from_edges("edges.csv", undirected=True)
    ds = jg.dataset(graph, np.load("x.npy"), np.load("y.npy"), split="stratified", seed=0)
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    return jg.train(jg.DeepGNN(depth=4, width=8, out=task.out), task, seeds=3, steps=50)


def networkx():
    ds = jg.dataset(KARATE, None, CLUBS, split="stratified")
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    return jg.train(jg.DeepGNN(depth=4, width=8, out=task.out), task, seeds=3, steps=50)


def scipy():
    A = sp.csr_array(nx.to_scipy_sparse_array(KARATE, weight=None, dtype=np.float32))
    ds = jg.dataset(A, None, CLUBS, split="random", seed=1)
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    return jg.train(jg.DeepGNN(depth=4, width=8, out=task.out), task, seeds=3, steps=50)


def pyg_like(data):
    ds = jg.from_pyg(data)
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    return jg.train(jg.DeepGNN(depth=4, width=8, out=task.out), task, seeds=3, steps=50)


def energy_by_layer(task):
    model = jg.DeepGNN(depth=16, width=8, out=task.out)
    params = model.init(jax.random.key(0), task.graph, task.x)
    trace = jg.probe(model, params, task.graph, task.x, task.loss)
    return jg.plot.energy(trace)


def jacobian_before_and_after(task):
    model = jg.DeepGNN(depth=4, width=8, out=task.out)
    result = jg.train(model, task, seeds=1, steps=50).seed(0)
    layers = [model.layer_fn(p, task.graph, task.x, layer=2) for p in (result.initial_params, result.params)]
    before, after = (jg.jacobian(f, h).singular_values() for f, h in layers)
    return jg.plot.spectrum({"before": before, "after": after})


def graph_classification():
    graphs = [nx.cycle_graph(n) for n in range(5, 25)] + [nx.star_graph(n) for n in range(5, 25)]
    task = jg.tasks.graph_classification(graphs, [0] * 20 + [1] * 20)
    model = jg.DeepGNN(layer="gin", depth=3, width=8, out=task.out, pool="mean")
    return jg.train(model, task, seeds=2, steps=60, learning_rate=1e-2)


def link_prediction():
    graph = jg.from_networkx(KARATE)._replace(edges=None)  # without its weights
    task = jg.tasks.link_prediction(graph, metric="roc_auc", seed=0)
    return jg.train(jg.DeepGNN(depth=2, width=16, out=task.out), task, seeds=3, steps=60)


def continue_with_a_lower_rate(task):
    model = jg.DeepGNN(depth=4, width=8, out=task.out)
    jg.train(model, task, seeds=2, steps=40, learning_rate=1e-2, out="run")
    return jg.train(model, task, seeds=2, steps=80, learning_rate=1e-3, out="run", continue_=True)


def save_here_load_elsewhere(task):
    result = jg.train(jg.DeepGNN(depth=4, width=8, out=task.out), task, seeds=2, steps=20)
    result.save("mine.result")
    again = jg.load("mine.result")
    return result, again, again.predict(task.graph, task.x)


TRAINED = {"csv_and_numpy": csv_and_numpy, "networkx": networkx, "scipy": scipy}


@pytest.mark.parametrize("name", TRAINED)
def test_ones_own_graph(name, folder):
    result = TRAINED[name]()
    assert result.score.mean() > 0.6
    assert (result.train_loss < result.history.train_loss[:, 0]).all()


def test_an_object_of_pytorch_geometrics_shape():
    edges = np.array([*KARATE.edges, *((v, u) for u, v in KARATE.edges)]).T
    mask = np.arange(34) % 3
    data = SimpleNamespace(
        edge_index=edges,
        x=np.eye(34, dtype=np.float32),
        y=np.array([club == "Officer" for club in CLUBS], int),
        edge_attr=None,
        num_nodes=34,
        train_mask=mask == 0,
        val_mask=mask == 1,
        test_mask=mask == 2,
    )
    assert pyg_like(data).score.mean() > 0.6


def test_plots(task):
    for job in (energy_by_layer, jacobian_before_and_after):
        axes = job(task)
        assert isinstance(axes, matplotlib.axes.Axes)
        assert axes.lines or axes.collections


def test_other_tasks():
    assert graph_classification().train_loss.max() < 0.6
    assert link_prediction().score.mean() > 0.6


def test_going_on(task, folder):
    result = continue_with_a_lower_rate(task)
    assert result.history.train_loss.shape == (2, 80)
    result, again, logits = save_here_load_elsewhere(task)
    np.testing.assert_array_equal(result.score, again.score)
    np.testing.assert_array_equal(result.predict(task.graph, task.x), logits)


JOBS = (
    csv_and_numpy,
    networkx,
    scipy,
    pyg_like,
    energy_by_layer,
    jacobian_before_and_after,
    graph_classification,
    link_prediction,
    continue_with_a_lower_rate,
    save_here_load_elsewhere,
)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_every_job_has_at_most_six_lines(job):
    body = inspect.getsource(job).splitlines()[1:]
    assert len(body) <= 6

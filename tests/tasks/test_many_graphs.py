import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
from jaxgnn.data.dataset import graphs_tuple

COLUMNS = 3  # of the features


def tuple_of(edges):
    """With edge features that follow from the ends, so that duplicates have equal ones."""
    s, r = edges["senders"], edges["receivers"]
    return graphs_tuple(s, r, edges["num_nodes"])._replace(
        edges=np.stack([np.sin(3.0 * s + r), np.cos(s - 2.0 * r)], axis=1)
    )


@pytest.fixture
def several(graphs):
    """Edge arrays: graphs of different sizes, one node, no edges, directed with loops and nodes without in-edges."""
    sizes = [graphs.directed(6, 9), graphs.edgeless(1), graphs.path(4), graphs.edgeless(3), graphs.star(5)]
    return [*sizes, graphs.ring(3), graphs.directed(5, 6, seed=1)]


def features_of(edges):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((e["num_nodes"], COLUMNS)) for e in edges]


def targets_of(edges, level, loss):
    rng = np.random.default_rng(1)
    rows = [() if level == "graph" else (e["num_nodes"],) for e in edges]
    if loss == "cross_entropy":
        return [rng.integers(0, 2, row, dtype=np.int32) for row in rows]
    targets = [rng.standard_normal((*row, 2)) for row in rows]
    return [(t > 0).astype(np.float64) for t in targets] if loss == "bce" else targets


def make(edges, *, level="graph", loss="mse", metric=None, batch_size=2, split=((0, 1, 2, 3), (5,), (4, 6)), **options):
    metric = metric or ("mse" if loss in ("mse", "mae") else "accuracy")
    graphs = options.pop("graphs", None) or [tuple_of(e) for e in edges]
    return jg.tasks.many_graphs(
        graphs,
        options.pop("xs", features_of(edges)),
        options.pop("targets", targets_of(edges, level, loss)),
        **{
            "split": split,
            "batch_size": batch_size,
            "level": level,
            "loss": loss,
            "metric": metric,
            "undirected": False,
        }
        | options,
    )


def of_nodes(graph, x):
    return jnp.tanh(x[:, :2] + 0.5 * (graph.propagation @ x)[:, 1:])


def of_graphs(graph, x):
    """Two numbers of every graph: a network in one line."""
    mask = jnp.ones(x.shape[0]) if graph.node_mask is None else graph.node_mask
    return jax.ops.segment_sum(
        of_nodes(graph, x) * mask[:, None], graph.graph_of_nodes, graph.graphs_tuple.n_node.shape[0]
    )


APPLY = {"graph": of_graphs, "node": of_nodes}


def in_numpy(edges, x, level):
    """The same of one graph alone."""
    X = np.tanh(x[:, :2] + 0.5 * (jg.prepare(**edges).propagation.dense() @ x)[:, 1:])
    return X.sum(axis=0, keepdims=True) if level == "graph" else X


@jax.jit
def batch_of(task, key, step):
    return task.batch(key, step)


@partial(jax.jit, static_argnums=1)
def evaluated(task, apply):
    return task.evaluate(apply)


@jax.jit
def batch_loss(batch, logits):
    return batch.loss(logits)


MODELS = {
    "gcn, mean": {"layer": "gcn", "pool": "mean"},
    "gin, sum": {"layer": "gin", "pool": "sum", "bias": True},
    "gat, max": {"layer": "gat", "pool": "max", "bias": True},
    "sage, pairnorm": {"layer": "sage", "norm": "pairnorm", "pool": "mean"},
    "gcn, batch norm": {"layer": "gcn", "norm": "batch", "pool": "sum", "residual": "identity"},
    "gcn, mean subtraction": {"layer": "gcn", "norm": "mean_subtraction", "pool": "max", "bias": True},
    "edge features, nodes": {"layer": "gated_gcn", "bias": True},
    "gradient gating, max of all layers": {"layer": "g2", "jumping": "max", "pool": "mean"},
    "k-hop, nodes": {"layer": "gcn", "khop": True, "norm": "pairnorm"},
}


@pytest.mark.filterwarnings("ignore:.* takes no edge features")
@pytest.mark.parametrize("name", MODELS)
def test_a_network_sees_in_a_batch_what_it_sees_in_each_graph_alone(name, several, random_variables, x64):
    options = MODELS[name]
    alone = [
        jg.prepare(**e, hops=2) if options.get("khop") else jg.prepare(tuple_of(e), undirected=False) for e in several
    ]
    task = make(several, graphs=alone, level="graph" if "pool" in options else "node", batch_size=5)
    model = jg.DeepGNN(depth=2, width=4, out=2, activation="tanh", **options)
    xs, (graph, x) = [jnp.asarray(x) for x in features_of(several)][:4], (task.graph, task.x)
    variables = random_variables(model, graph, x)
    variables = {k: jax.tree.map(lambda a: a + 0.3, t) if k == "batch_stats" else t for k, t in variables.items()}
    rest = {k: t for k, t in variables.items() if k != "params"}
    counted = np.asarray(graph.node_mask) > 0
    assert counted.sum() == sum(len(x) for x in xs)  # the fifth graph does not count

    def weighted(logits):
        return jnp.sum(jnp.sin(logits) * jnp.arange(1.0, logits.size + 1).reshape(logits.shape)), logits

    @jax.jit
    @jax.value_and_grad
    def in_batch(arguments):
        logits = model.apply({"params": arguments[0], **rest}, graph, arguments[1])
        return weighted(logits[:4] if "pool" in options else logits[counted])[0]

    @jax.jit
    @jax.value_and_grad
    def one_by_one(arguments):
        params, xs = arguments
        logits = [model.apply({"params": params, **rest}, g, x) for g, x in zip(alone, xs, strict=False)]
        return weighted(jnp.concatenate(logits))[0]

    value, (in_params, in_x) = in_batch((variables["params"], x))
    expected, (expected_params, expected_x) = one_by_one((variables["params"], xs))
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), in_params, expected_params)
    np.testing.assert_allclose(in_x[counted], jnp.concatenate(expected_x), rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(in_x[~counted], 0)


@pytest.mark.parametrize("normalisation", ["sym", "row", "raw"])
def test_propagation_of_a_batch_has_each_graphs_own_in_its_diagonal(several, normalisation):
    task = make(several, normalisation=normalisation, batch_size=4)
    alone = [jg.prepare(tuple_of(e), normalisation=normalisation, undirected=False).propagation for e in several[:4]]
    counted = np.asarray(task.graph.node_mask) > 0
    for P, blocks in ((task.graph.propagation, alone), (task.graph.propagation.T, [P.T for P in alone])):
        expected = sp.block_diag([block.sparse() for block in blocks]).toarray()
        np.testing.assert_allclose(P.dense()[counted][:, counted], expected, rtol=1e-6)
        assert np.count_nonzero(P.dense()) == np.count_nonzero(expected)
    assert task.graph.propagation.backward is not None  # some are directed
    assert (np.diff(task.graph.receivers) >= 0).all()
    assert (np.diff(task.graph.propagation.forward.receivers) >= 0).all()
    assert (np.diff(task.graph.propagation.backward.receivers) >= 0).all()


def test_symmetric_graphs_need_no_transpose(graphs):
    edges = [graphs.path(4), graphs.edgeless(1), graphs.ring(5)]
    assert make(edges, split=((0,), (1,), (2,))).graph.propagation.backward is None


@pytest.mark.filterwarnings("ignore:.* takes no edge features")
def test_batch_statistics_are_those_of_the_real_nodes(several, random_variables, x64):
    task = make(several, batch_size=6)
    model = jg.DeepGNN(depth=2, width=4, out=2, norm="batch", pool="sum")
    variables = random_variables(model, task.graph, task.x)
    offsets = np.cumsum([0] + [e["num_nodes"] for e in several[:4]])
    ends = {
        end: np.concatenate([e[end] + o for e, o in zip(several[:4], offsets[:-1], strict=True)])
        for end in ("senders", "receivers")
    }
    union, x = (
        jg.prepare(**ends, num_nodes=int(offsets[-1]), undirected=False),
        np.concatenate(features_of(several)[:4]),
    )

    def statistics(graph, x):
        return model.apply(variables, graph, x, train=True, mutable=["batch_stats"])[1]

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
        statistics(task.graph, task.x),
        statistics(union, x),
    )


def test_one_program_serves_every_step(several):
    task = make(several)
    traces = []

    @jax.jit
    def gradient(task, key, step, scale):
        traces.append(step)
        batch = task.batch(key, step)
        return jax.grad(lambda s: batch.loss(of_graphs(batch.graph, s * batch.x)))(scale)

    values = [float(gradient(task, jax.random.key(0), step, 1.0)) for step in range(7)]
    assert len(traces) == 1
    assert np.isfinite(values).all()
    assert len(set(np.round(values, 4))) > 2


def visited(task, key, step):
    """Numbers of the graphs that count in a batch, given as the first feature."""
    batch = batch_of(task, key, step)
    graph = np.asarray(batch.graph.graph_of_nodes)
    counted = np.asarray(batch.graph.node_mask) > 0
    assert set(graph[counted]) == set(np.flatnonzero(batch.mask))
    return [int(batch.x[counted & (graph == i)][0, 0]) for i in np.flatnonzero(batch.mask)]


@pytest.mark.parametrize("batch_size", [2, 5, 8])
def test_an_epoch_visits_every_training_graph_once_in_an_order_of_its_own(graphs, batch_size):
    edges = [graphs.path(1 + i % 3) for i in range(9)]
    xs = [np.full((e["num_nodes"], 2), i, np.float32) for i, e in enumerate(edges)]
    task = make(edges, xs=xs, split=((0, 2, 3, 4, 5, 7, 8), (1,), (6,)), batch_size=batch_size)
    assert task.batches_per_epoch == -(-7 // batch_size)
    orders = []
    for epoch in range(3):
        steps = range(epoch * task.batches_per_epoch, (epoch + 1) * task.batches_per_epoch)
        orders.append([graph for step in steps for graph in visited(task, jax.random.key(3), step)])
    assert [sorted(order) for order in orders] == [[0, 2, 3, 4, 5, 7, 8]] * 3
    assert orders[0] != orders[1] != orders[2]
    # The order does not depend on how it is cut into batches.
    whole = make(edges, xs=xs, split=((0, 2, 3, 4, 5, 7, 8), (1,), (6,)), batch_size=7)
    assert [visited(whole, jax.random.key(3), epoch) for epoch in range(3)] == orders


@pytest.mark.parametrize("level", ["graph", "node"])
@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "mse", "mae"])
def test_loss_of_a_batch_is_the_mean_over_what_is_real(several, level, loss):
    task, apply = make(several, level=level, loss=loss, batch_size=5), APPLY[level]
    alone = [in_numpy(e, x, level) for e, x in zip(several, features_of(several), strict=True)]
    logits = np.concatenate(alone[:4])
    targets = targets_of(several, level, loss)[:4]
    targets = np.stack(targets) if level == "graph" else np.concatenate(targets)
    p = 1 / (1 + np.exp(-logits))
    expected = {
        "cross_entropy": lambda: (
            -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[np.arange(len(logits)), targets]
        ),
        "bce": lambda: -np.log(np.where(targets == 1, p, 1 - p)),
        "mse": lambda: (logits - targets) ** 2,
        "mae": lambda: np.abs(logits - targets),
    }[loss]()
    batch = batch_of(task, jax.random.key(0), 0)
    assert float(batch_loss(batch, jax.jit(apply)(batch.graph, batch.x))) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(evaluated(task, apply).train_loss) == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("level", ["graph", "node"])
@pytest.mark.parametrize(
    ("loss", "metric"),
    [
        ("cross_entropy", "accuracy"),
        ("cross_entropy", "roc_auc"),
        ("bce", "average_precision"),
        ("bce", "accuracy"),
        ("mae", "log10_mse"),
    ],
)
def test_evaluation_scores_each_split_as_a_whole(graphs, level, loss, metric):
    edges = [graphs.path(1 + i % 4) for i in range(12)]
    xs = features_of(edges)
    targets = [t * 0 + i % 2 if loss != "mae" else t for i, t in enumerate(targets_of(edges, level, loss))]
    split = ((11, 2, 5, 4, 3), (0, 1, 6, 7), (8, 10, 9))
    task = partial(make, edges, level=level, loss=loss, metric=metric, targets=targets, split=split)
    results = [evaluated(task(batch_size=B), APPLY[level]) for B in (5, 20)]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-5)
    for part, value in zip(split, results[0][1:4], strict=True):
        logits = np.concatenate([in_numpy(edges[i], xs[i], level) for i in part])
        rows = np.concatenate(
            [np.atleast_1d(targets[i]) if loss == "cross_entropy" else np.atleast_2d(targets[i]) for i in part]
        )
        assert float(value) == pytest.approx(score(metric, logits, rows), rel=1e-4)


def score(metric, logits, targets):
    if metric == "log10_mse":
        return np.log10(np.mean((logits - targets) ** 2))
    if metric == "accuracy":
        return np.mean(logits.argmax(axis=1) == targets if targets.ndim == 1 else (logits > 0) == (targets == 1))
    columns = zip(logits.T, targets.T, strict=True) if targets.ndim == 2 else [(logits[:, 1] - logits[:, 0], targets)]
    if metric == "roc_auc":
        return np.mean([np.mean(s[t == 1][:, None] > s[t == 0]) for s, t in columns])
    return np.mean([np.mean([np.mean(t[s >= at]) for at in s[t == 1]]) for s, t in columns])


def test_runs_side_by_side_have_batches_of_their_own(several):
    task = make(several)
    keys = jax.random.split(jax.random.key(0), 3)

    def gradient(task, key, step, scale):
        batch = task.batch(key, step)
        return jax.grad(lambda s: batch.loss(of_graphs(batch.graph, s * batch.x)))(scale)

    together = jax.jit(jax.vmap(gradient, (None, 0, None, 0)))(task, keys, 1, jnp.arange(1.0, 4))
    alone = [jax.jit(gradient)(task, key, 1, 1.0 + i) for i, key in enumerate(keys)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)

    @jax.jit
    def scores(task, scale):
        return task.evaluate(lambda graph, x: of_graphs(graph, scale * x))

    together = jax.vmap(scores, (None, 0))(task, jnp.arange(1.0, 4))
    np.testing.assert_allclose(np.stack(together)[:, 1], scores(task, 2.0), rtol=1e-5)


@pytest.mark.parametrize("level", ["graph", "node"])
@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "mse", "mae"])
def test_no_constant_predictor_does_better_than_the_best(graphs, level, loss):
    edges = [graphs.path(1 + i % 4) for i in range(12)]
    task = make(edges, level=level, loss=loss, batch_size=16, split=(range(9), (9,), (10, 11)))
    targets = targets_of(edges, level, loss)[:9]
    targets = np.stack(targets) if level == "graph" else np.concatenate(targets)
    frequency = targets.mean(axis=0)
    best = {
        "cross_entropy": lambda: np.log([1 - frequency, frequency]),
        "bce": lambda: np.log(frequency) - np.log(1 - frequency),
        "mse": lambda: frequency,
        "mae": lambda: np.median(targets, axis=0),
    }[loss]()
    batch = batch_of(task, jax.random.key(0), 0)

    def value(constant):
        return float(batch_loss(batch, np.tile(np.float32(constant), (batch.mask.shape[0], 1))))

    assert task.constant_loss() == pytest.approx(value(best), rel=1e-5)
    for seed in range(5):
        other = best + 0.1 * np.random.default_rng(seed).standard_normal(2)
        assert value(other) >= task.constant_loss() - 1e-6


@pytest.mark.filterwarnings("ignore:.* takes no edge features")
def test_is_trained_by_gradient_descent_over_its_batches(several):
    task = make(several, loss="mse", batch_size=2)
    model = jg.DeepGNN(depth=1, width=4, out=task.out, pool="mean")

    @jax.jit
    def step(params, number):
        batch = task.batch(jax.random.key(0), number)
        gradient = jax.grad(lambda p: batch.loss(model.apply(p, batch.graph, batch.x)))(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)

    params = jax.jit(model.init)(jax.random.key(0), task.graph, task.x)
    score = jax.jit(lambda task, params: task.evaluate(lambda *arguments: model.apply(params, *arguments)))
    before = score(task, params)
    for number in range(30):
        params = step(params, number)
    after = score(task, params)
    assert after.train_loss < 0.5 * before.train_loss
    assert not task.maximise
    assert not task.full_batch


def test_graphs_may_come_prepared_or_not(several):
    tuples, prepared = (
        make(several, graphs=[made(e) for e in several])
        for made in (tuple_of, lambda e: jg.prepare(tuple_of(e), undirected=False))
    )
    jax.tree.map(np.testing.assert_array_equal, tuples, prepared)


@pytest.mark.parametrize("level", ["graph", "node"])
def test_a_model_with_the_wrong_pool_is_refused(several, level):
    task = make(several, level=level)
    rows, needed = (2, (12, 2)) if level == "node" else (12, (2, 2))
    hint = (
        "level='node' needs a model with pool='none'" if level == "node" else "level='graph' needs a model with a pool"
    )
    sentence = f"logits have shape {(rows, 2)}, but this task needs {needed}: {hint}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        task.batch(jax.random.key(0), 0).loss(np.zeros((rows, 2)))
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        task.evaluate(lambda graph, x: jnp.zeros((rows, 2)))


def with_nan(edges):
    xs = features_of(edges)
    xs[2][3, 1] = np.nan
    return xs


REFUSED = {
    "NaN": (
        lambda edges: {"xs": with_nan(edges)},
        "feature 1 of node 3 of graph 2 is nan: features must be finite numbers",
    ),
    "columns": (
        lambda edges: {"xs": [x[:, : 2 + (i != 4)] for i, x in enumerate(features_of(edges))]},
        "x of graph 4 has shape (5, 2): 5 nodes and 3 columns are needed",
    ),
    "rows": (
        lambda edges: {"xs": [x[: 1 + i] for i, x in enumerate(features_of(edges))]},
        "x of graph 0 has shape (1, 3): 6 nodes and 3 columns are needed",
    ),
    "number of features": (
        lambda edges: {"xs": features_of(edges)[:3]},
        "xs has length 3 for 7 graphs: one for each is needed",
    ),
    "number of targets": (
        lambda edges: {"targets": np.zeros((8, 2))},
        "targets has length 8 for 7 graphs: one for each is needed",
    ),
    "shape of targets": (
        lambda edges: {"targets": [np.zeros(2)] * 6 + [np.zeros(3)]},
        "the target of graph 6 has shape (3,): loss='mse' and level='graph' need (2,) here",
    ),
    "length of targets of nodes": (
        lambda edges: {"targets": [np.zeros((3, 2))] * 7, "level": "node"},
        "the target of graph 0 has shape (3, 2): loss='mse' and level='node' need (6, 2) here",
    ),
    "infinite target": (
        lambda edges: {"targets": np.where(np.eye(7, 2) == 1, np.inf, 0)},
        "target 0 of graph 0 is inf: targets must be finite numbers",
    ),
    "classes that are no integers": (
        lambda edges: {"targets": np.arange(7) / 2, "loss": "cross_entropy"},
        "target 0.5 of graph 1 is out of range: classes are 0 and more, whole",
    ),
    "negative class": (
        lambda edges: {"targets": np.arange(7) - 1, "loss": "cross_entropy"},
        "target -1 of graph 0 is out of range: classes are 0 and more, whole",
    ),
    "neither 0 nor 1": (
        lambda edges: {"targets": np.full((7, 1), 2), "loss": "bce"},
        "target 0 of graph 0 is 2.0: loss='bce' needs 0 and 1",
    ),
    "three classes ranked": (
        lambda edges: {"targets": np.arange(7) % 3, "loss": "cross_entropy", "metric": "roc_auc"},
        "metric='roc_auc' is for two classes, but there are 3: accuracy is for any",
    ),
    "one class ranked": (
        lambda edges: {"targets": np.arange(7) % 2, "loss": "cross_entropy", "metric": "roc_auc"},
        "the val split has one class only: metric='roc_auc' needs both",
    ),
    "empty split": (
        lambda edges: {"split": ((0, 1), (), (2,))},
        "the val split is empty: each split needs a graph",
    ),
    "overlap": (
        lambda edges: {"split": ((0, 1), (2,), (3, 1))},
        "graph 1 is in the train split and again in the test split",
    ),
    "twice": (
        lambda edges: {"split": ((0, 0), (2,), (3, 1))},
        "graph 0 is in the train split and again in the train split",
    ),
    "out of range": (
        lambda edges: {"split": ((0, 1), (2,), (7,))},
        "the test split has graph 7: graphs are 0 to 6",
    ),
    "mask for a split": (
        lambda edges: {"split": (np.ones(7, bool), (2,), (6,))},
        "the train split is bool (7,): a list of graphs' numbers is needed",
    ),
    "two splits": (
        lambda edges: {"split": ((0, 1), (2,))},
        "split has 2 parts: training, validation and test graphs are needed",
    ),
    "batch size": (lambda edges: {"batch_size": 0}, "batch_size=0: allowed are 1 and more, whole"),
    "level": (lambda edges: {"level": "edge"}, "level='edge' is not known: allowed are graph, node"),
    "loss": (
        lambda edges: {"loss": "huber", "targets": np.zeros((7, 2))},
        "loss='huber' is not known: allowed are cross_entropy, bce, mse, mae",
    ),
    "metric": (
        lambda edges: {"metric": "accuracy"},
        "metric='accuracy' does not go with loss='mse': allowed are mse, mae, log10_mse",
    ),
    "normalisation": (
        lambda edges: {"normalisation": "columns"},
        "graph 0: normalisation='columns' is not known: allowed are sym, row, doubly, raw",
    ),
    "normalisations": (
        lambda edges: {
            "graphs": [jg.prepare(**e, normalisation="row" if i == 3 else "sym") for i, e in enumerate(edges)]
        },
        "graph 3 has a normalisation row, but graph 0 has sym: all must agree",
    ),
    "edge features": (
        lambda edges: {"graphs": [tuple_of(e)._replace(**({"edges": None} if i else {})) for i, e in enumerate(edges)]},
        "graph 1 has edge features None, but graph 0 has [e, 2]: all must agree",
    ),
    "hops": (
        lambda edges: {"graphs": [jg.prepare(**e, hops=2 if i < 2 else 3) for i, e in enumerate(edges)]},
        "graph 2 has hops 3, but graph 0 has 2: all must agree",
    ),
    "several graphs in one": (
        lambda edges: {"graphs": [tuple_of(e)._replace(n_node=np.int32([1, e["num_nodes"] - 1])) for e in edges]},
        "graph 0 is a batch of 2 graphs: each graph is given by itself",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(several, case):
    change, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make(several, **change(several))


def test_of_many_graphs_each_kind_of_warning_is_given_once():
    one_way = [graphs_tuple(np.arange(n), np.arange(1, n + 1), n + 1) for n in (2, 3, 4)]
    graphs = [one_way[0], *(graph._replace(nodes=np.ones(1)) for graph in one_way[1:])]
    options = {"split": ([0], [1], [2]), "batch_size": 1}
    arguments = [np.ones((n, 2)) for n in (3, 4, 5)], np.array([0, 1, 0])
    with pytest.warns(UserWarning, match="prepare") as caught:
        jg.tasks.many_graphs(graphs, *arguments, **options)
    assert [str(w.message)[:35] for w in caught] == [
        "graph 0: prepare: 2 of 2 edges have",
        "graph 1: prepare: nodes of the Grap",
    ]
    assert {w.filename for w in caught} == {__file__}
    task = jg.tasks.many_graphs(one_way, *arguments, undirected=True, **options)
    assert task.graphs.edge_mask.sum(axis=1).tolist() == [4, 6, 8]

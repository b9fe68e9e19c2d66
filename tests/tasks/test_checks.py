"""Masks, labels and targets in every form that can be meant safely, and what is refused by name."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import DATASETS, csbm
from jaxgnn.data.errors import DataError

N = 30
MASKS = ("train_mask", "val_mask", "test_mask")


@pytest.fixture(scope="module")
def two():
    """A csbm with two classes, one of them rare, and 6 nodes in no mask."""
    ds = csbm(num_nodes=N, num_features=4, train_per_class=4, average_degree=4.0)
    v = np.arange(N)
    masks = {"train_mask": v < 12, "val_mask": (v >= 12) & (v < 18), "test_mask": (v >= 18) & (v < 24)}
    return ds._replace(labels=(v % 3 == 0).astype(np.int32), num_classes=2, **masks)


@pytest.fixture(scope="module")
def graph(two):
    return jg.prepare(two.graph)


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(0).standard_normal((N, 2)).astype(np.float32)


MASK_FORMS = {
    "int64": lambda m: m.astype(np.int64),
    "uint8": lambda m: m.astype(np.uint8),
    "float": lambda m: m.astype(np.float32),
    "a column": lambda m: m[:, None],
    "a column of int32": lambda m: m.astype(np.int32)[:, None],
    "a list": lambda m: m.tolist(),
    "a list of 0 and 1": lambda m: m.astype(int).tolist(),
    "a JAX array": lambda m: jnp.asarray(m.astype(np.int32)),
}


@pytest.mark.parametrize("form", MASK_FORMS)
@pytest.mark.parametrize("metric", ["accuracy", "roc_auc"])
def test_a_mask_selects_whatever_it_is_made_of(two, graph, logits, metric, form):
    given = two._replace(**{name: MASK_FORMS[form](getattr(two, name)) for name in MASKS})
    task = jg.tasks.node_classification(given, graph, metric=metric, class_weights="balanced")
    expected = jg.tasks.node_classification(two, graph, metric=metric, class_weights="balanced")
    jax.tree.map(np.testing.assert_array_equal, task, expected)
    assert task.constant_loss() == expected.constant_loss() == pytest.approx(np.log(2), rel=1e-7)
    assert task.scores(logits) == expected.scores(logits)
    regression = jg.tasks.node_regression(graph, two.x, two.x[:, :2], **{n: getattr(given, n) for n in MASKS})
    np.testing.assert_array_equal(regression.train_mask, two.train_mask)
    spread = two.x[:12, :2].astype(np.float64)
    assert regression.constant_loss() == pytest.approx(np.mean((spread - spread.mean(axis=0)) ** 2), rel=1e-6)


def test_integers_select_in_a_task_of_fields_of_ones_own(two, graph):
    """`dataclasses.replace` runs no check: 0 and 1 are still not node 0 and node 1."""
    task = jg.tasks.node_classification(two, graph)
    replaced = jax.tree.map(lambda a: a.astype(np.int32) if a.dtype == bool else a, task)
    assert replaced.train_mask.dtype == np.int32
    assert replaced.constant_loss() == task.constant_loss() > 0.6


REFUSED_MASKS = {
    "indices": (np.arange(5), "train_mask has shape (5,), but the graph has 30 nodes: rows must agree; "),
    "indices of all nodes": (np.arange(N), "train_mask is 2 at node 2: a mask holds 0 and 1; nodes i are the mask "),
    "several splits": (
        np.ones((N, 10), bool),
        "train_mask has shape (30, 10), a split in each column: choose one of them, train_mask[:, 0]",
    ),
    "too short": (np.ones(N - 1, bool), "train_mask has shape (29,), but the graph has 30 nodes: rows must agree"),
    "one number": (True, "train_mask has shape (), but the graph has 30 nodes: rows must agree"),
    "nothing": (None, "train_mask has shape (), but the graph has 30 nodes: rows must agree"),
    "halves": (np.full(N, 0.5), "train_mask is 0.5 at node 0: a mask holds 0 and 1"),
    "NaN": (np.full(N, np.nan), "train_mask is nan at node 0: a mask holds 0 and 1"),
    "texts": (np.full(N, "yes"), "train_mask has dtype <U3: a mask holds True and False, or 1 and 0"),
    "-1": (-np.ones(N, int), "train_mask is -1 at node 0: a mask holds 0 and 1; nodes i are the mask "),
}


@pytest.mark.parametrize("case", REFUSED_MASKS)
def test_what_is_no_mask_is_refused_by_name(two, graph, case):
    mask, sentence = REFUSED_MASKS[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        jg.tasks.node_classification(two._replace(train_mask=mask), graph)
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        jg.tasks.node_regression(graph, two.x, two.x, train_mask=mask, val_mask=two.val_mask, test_mask=two.test_mask)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 2), (1, 2)])
def test_splits_that_share_nodes_are_refused(two, graph, first, second):
    first, second = MASKS[first], MASKS[second]
    shared = np.flatnonzero(getattr(two, second))[:3]
    masks = {name: getattr(two, name) for name in MASKS}
    masks[first] = masks[first] | np.isin(np.arange(N), shared)
    sentence = f"^{first} and {second} overlap in 3 nodes: a node is in one split at most$"
    with pytest.raises(ValueError, match=sentence):
        jg.tasks.node_classification(two._replace(**masks), graph)
    with pytest.raises(ValueError, match=sentence):
        jg.tasks.node_regression(graph, two.x, two.x, **masks)


def test_padding_is_in_no_split(two):
    edges = {"senders": two.graph.senders, "receivers": two.graph.receivers}
    graph = jg.prepare(**edges, num_nodes=N)
    padded = jg.Graph(**{**vars(graph), "node_mask": (np.arange(N) != 13).astype(np.float32)})
    with pytest.raises(ValueError, match=r"^val_mask has node 13, which is padding: it is in no split$"):
        jg.tasks.node_classification(two, padded)


@pytest.mark.filterwarnings("ignore:no SHA-256 is known")
@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_splits_that_do_not_overlap(name):
    try:
        ds = jg.load_dataset(name)
    except DataError:
        pytest.skip("its files are not here")
    counts = sum(getattr(ds, mask).astype(int) for mask in MASKS)
    assert counts.max() == 1
    assert jg.largest_component(ds).train_mask.dtype == bool


LABEL_FORMS = {
    "a column": lambda y: y[:, None],
    "floats": lambda y: y.astype(np.float64),
    "booleans": lambda y: y == 1,
    "uint8": lambda y: y.astype(np.uint8),
    "int64": lambda y: y.astype(np.int64),
    "one-hot": lambda y: np.eye(2)[y],
    "one-hot booleans": lambda y: np.eye(2, dtype=bool)[y],
    "a list": lambda y: y.tolist(),
    "a column of floats": lambda y: y.astype(np.float32)[:, None],
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_labels_are_classes_whatever_they_are_made_of(two, graph, form):
    task = jg.tasks.node_classification(two._replace(labels=LABEL_FORMS[form](two.labels)), graph)
    assert task.labels.dtype == np.int32
    np.testing.assert_array_equal(task.labels, two.labels)


@pytest.mark.parametrize("nothing", [-1, 7, np.nan, np.inf, 0.5])
def test_labels_outside_all_masks_may_be_anything(two, graph, logits, nothing):
    rest = ~(two.train_mask | two.val_mask | two.test_mask)
    labels = np.where(rest, nothing, two.labels)
    task = jg.tasks.node_classification(two._replace(labels=labels), graph, metric="roc_auc")
    expected = jg.tasks.node_classification(two, graph, metric="roc_auc")
    np.testing.assert_array_equal(task.labels, np.where(rest, -1, two.labels))

    def values(task):
        return jax.value_and_grad(task.loss)(logits), task.scores(logits), task.constant_loss()

    jax.tree.map(np.testing.assert_array_equal, values(task), values(expected))
    one_hot = np.where(rest[:, None], 0, np.eye(2)[two.labels])  # no class in these rows
    again = jg.tasks.node_classification(two._replace(labels=one_hot), graph, metric="roc_auc")
    np.testing.assert_array_equal(again.labels, task.labels)


def at(node, value, labels):
    labels = np.array(labels, np.result_type(np.asarray(value), np.asarray(labels)))
    labels[node] = value
    return labels


REFUSED_LABELS = {
    "-1": (lambda y: at(3, -1, y), "label -1 of node 3 is out of range: classes are 0 to 1"),
    "NaN": (lambda y: at(20, np.nan, y), "label nan of node 20 is out of range: classes are 0 to 1"),
    "a half": (lambda y: at(3, 0.5, y), "label 0.5 of node 3 is out of range: classes are 0 to 1"),
    "texts": (
        lambda y: np.where(y == 1, "dog", "cat"),
        "labels are texts, dog for example: numbers are needed, which np.unique(labels, return_inverse=True)[1] makes",
    ),
    "texts as objects": (lambda y: np.where(y == 1, "dog", None), "labels are texts, dog for example: "),
    "nothing": (lambda y: None, "labels has the type NoneType: an array of real numbers is needed"),
    "complex": (lambda y: y * 1j, "labels has the type complex128: an array of real numbers is needed"),
    "three columns": (
        lambda y: np.eye(3)[y],
        "labels has shape (30, 3): classes (30,), or one-hot rows (30, 2) are needed",
    ),
    "two classes at once": (lambda y: np.ones((N, 2)), "labels of node 0 are [1.0, 1.0]: not one-hot, one class is "),
    "no class": (lambda y: np.zeros((N, 2)), "labels of node 0 are [0.0, 0.0]: not one-hot, one class is needed"),
    "probabilities": (lambda y: np.full((N, 2), 0.5), "labels of node 0 are [0.5, 0.5]: not one-hot, one class is "),
}


@pytest.mark.parametrize("case", REFUSED_LABELS)
def test_what_is_no_class_is_refused_by_name(two, graph, case):
    change, sentence = REFUSED_LABELS[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        jg.tasks.node_classification(two._replace(labels=change(two.labels)), graph)


REFUSED_INPUTS = {
    "texts": (np.full((N, 2), "a"), "x are texts, a for example: numbers are needed"),
    "nothing": (None, "x has the type NoneType: an array of real numbers is needed"),
    "one axis": (np.ones(N), "x has shape (30,): 2 axes are needed"),
    "NaN in one axis": (np.full(N, np.nan), "x has shape (30,): 2 axes are needed"),
}


@pytest.mark.parametrize("case", REFUSED_INPUTS)
def test_what_are_no_features_is_refused_by_name(two, graph, case):
    x, sentence = REFUSED_INPUTS[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.tasks.node_classification(two._replace(x=x), graph)


def test_a_graph_that_is_not_prepared_is_refused(two):
    with pytest.raises(ValueError, match=r"^graph is a GraphsTuple: what jaxgnn.prepare returns is needed$"):
        jg.tasks.node_classification(two, two.graph)


# Targets of several columns that are not all known


def with_gaps(shape, seed=0, share=0.4):
    """Random targets 0 and 1, some of them NaN; the last column has no more than one class, the first no gap."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, shape).astype(np.float64)
    targets[rng.random(shape) < share] = np.nan
    targets[..., 0] = rng.integers(0, 2, shape[:-1])
    targets[..., -1] = np.where(np.isnan(targets[..., -1]), np.nan, 1)
    return targets


def by_hand(loss, logits, targets):
    """The mean over the entries that are known, one after another."""
    z, y = np.asarray(logits, np.float64), targets
    each = {
        "bce": lambda z, y: np.log1p(np.exp(z)) - y * z,
        "mse": lambda z, y: (z - y) ** 2,
        "mae": lambda z, y: abs(z - y),
    }[loss]
    pairs = [(z[i, j], y[i, j]) for i, j in np.ndindex(*y.shape) if not np.isnan(y[i, j])]
    return np.mean([each(*pair) for pair in pairs])


def score_by_hand(metric, logits, targets):
    """Columns one after another, over their known entries, then their mean."""
    found = []
    for s, t in zip(logits.T, targets.T, strict=True):
        s, t = s[~np.isnan(t)], t[~np.isnan(t)]
        if metric == "accuracy":
            found += [np.mean((s > 0) == (t == 1))] if t.size else []
        elif 0 < t.sum() < t.size:
            area = np.mean(s[t == 1][:, None] > s[t == 0])
            precision = np.mean([np.mean(t[s >= least]) for least in s[t == 1]])
            found.append(area if metric == "roc_auc" else precision)
    return np.mean(found)


@pytest.fixture(scope="module")
def gaps():
    """Targets [20, 4] of nodes in two splits, and predictions."""
    targets = with_gaps((20, 4))
    targets[10:15, 2] = np.nan  # of a column the validation split knows nothing
    assert 0 < np.isnan(targets[:, 1:3]).sum() < 40
    return targets, np.random.default_rng(1).standard_normal((20, 4)).astype(np.float32)


def regression(targets, graphs, **options):
    v = np.arange(20)
    masks = {"train_mask": v < 10, "val_mask": (v >= 10) & (v < 15), "test_mask": v >= 15}
    x = np.ones((20, 3), np.float32)
    return jg.tasks.node_regression(jg.prepare(**graphs.ring(20)), x, targets, **masks, **options)


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_unknown_targets_of_nodes_are_left_out(graphs, gaps, loss):
    targets, prediction = gaps
    task = regression(targets, graphs, loss=loss, metric=loss)
    splits = slice(0, 10), slice(10, 15), slice(15, 20)
    expected = [by_hand(loss, prediction[part], targets[part]) for part in splits]
    metrics = task.evaluate(lambda graph, x: prediction)
    np.testing.assert_allclose(metrics, [expected[0], *expected, expected[1]], rtol=1e-6)
    gradient = jax.grad(task.loss)(prediction)
    counted = ~np.isnan(targets) & (np.arange(20) < 10)[:, None]
    np.testing.assert_array_equal(gradient != 0, counted)
    broken = np.where(np.isnan(targets), np.nan, prediction)  # nothing reads these
    assert task.loss(broken) == task.loss(prediction)
    np.testing.assert_array_equal(jax.grad(task.loss)(broken), gradient)
    # Each column's own best constant over what is known of it.
    middle = np.nanmean if loss == "mse" else np.nanmedian
    best = np.tile(middle(targets[:10], axis=0), (20, 1))
    assert task.constant_loss() == pytest.approx(by_hand(loss, best[:10], targets[:10]), rel=1e-14)


@pytest.mark.parametrize(
    ("level", "metric"), [("graph", "accuracy"), ("node", "roc_auc"), ("graph", "average_precision")]
)
def test_unknown_labels_of_graphs_are_left_out(graphs, gaps, level, metric):
    """Binary cross-entropy as of OGB's molecules: many tasks, of which a graph has some labels."""
    targets, logits = gaps
    graph, nodes = jg.prepare(**graphs.ring(3)), 3 if level == "node" else 1
    given = [np.repeat(row[None], 3, axis=0) for row in targets] if level == "node" else targets
    split = tuple(np.split(np.arange(20), [10, 15]))
    options = {"split": split, "batch_size": 7, "level": level, "loss": "bce", "metric": metric}
    task = jg.tasks.many_graphs([graph] * 20, [np.repeat(row[None], 3, axis=0) for row in logits], given, **options)

    def apply(graph, x):  # the features are the predictions
        return x if level == "node" else x[::3]

    metrics = jax.jit(lambda task: task.evaluate(apply))(task)
    found = [by_hand("bce", logits[part], targets[part]) for part in split]
    np.testing.assert_allclose([metrics.train_loss, metrics.val_loss], found[:2], rtol=1e-5)
    found = [score_by_hand(metric, *(np.repeat(a[part], nodes, axis=0) for a in (logits, targets))) for part in split]
    np.testing.assert_allclose(metrics[1:4], found, rtol=1e-6)

    batch = task.batch(jax.random.key(0), 1)  # the second of an epoch: 3 graphs, and 4 that fill it up
    assert batch.mask.shape == (7 * nodes, 4)
    assert not np.asarray(batch.mask)[3 * nodes :].any()
    gradient = jax.grad(batch.loss)(jnp.ones((7 * nodes, 4)))
    np.testing.assert_array_equal(gradient != 0, batch.mask)

    frequency = np.clip(np.nanmean(targets[:10], axis=0), 1e-12, 1 - 1e-12)
    best = np.tile(np.log(frequency / (1 - frequency)), (10, 1))
    assert task.constant_loss() == pytest.approx(by_hand("bce", best, targets[:10]), rel=1e-6)


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_unknown_numbers_of_graphs_are_left_out(graphs, loss):
    rng = np.random.default_rng(3)
    targets, prediction = rng.standard_normal((2, 12, 3))
    targets[rng.random(targets.shape) < 0.3] = np.nan
    xs = [np.repeat(row[None], 3, axis=0).astype(np.float32) for row in prediction]
    split = tuple(np.split(np.arange(12), [6, 9]))
    options = {"split": split, "batch_size": 4, "loss": loss, "metric": loss}
    task = jg.tasks.many_graphs([jg.prepare(**graphs.ring(3))] * 12, xs, targets, **options)
    metrics = task.evaluate(lambda graph, x: x[::3])
    found = [by_hand(loss, prediction[part], targets[part]) for part in split]
    np.testing.assert_allclose(metrics, [found[0], *found, found[1]], rtol=1e-5)
    middle = np.nanmean if loss == "mse" else np.nanmedian
    best = np.tile(middle(targets[:6], axis=0), (6, 1))
    assert task.constant_loss() == pytest.approx(by_hand(loss, best, targets[:6]), rel=1e-13)


def test_what_is_known_everywhere_is_as_without_a_mask_of_entries(graphs, gaps):
    """NaN where nothing reads it leaves the program, and every number, as it is."""
    known = np.nan_to_num(gaps[0])
    full, outside = (regression(t, graphs) for t in (known, known.copy()))
    assert full.present is None
    np.testing.assert_array_equal(full.targets, outside.targets)
    v = np.arange(20)
    masks = {"train_mask": v < 10, "val_mask": v == 10, "test_mask": v == 11}
    unread = np.where((v > 11)[:, None], np.nan, known)
    task = jg.tasks.node_regression(full.graph, full.x, unread, **masks)
    assert task.present is None
    np.testing.assert_array_equal(task.targets, np.where((v > 11)[:, None], 0, known))


REFUSED_TARGETS = {
    "one column": (lambda t: at((12, 0), np.nan, t[:, :1]), "target 0 of node 12 is nan: targets must be finite"),
    "infinite": (lambda t: at((3, 1), -np.inf, t), "target 1 of node 3 is -inf: targets must be finite numbers"),
    "nothing known": (
        lambda t: np.where(np.arange(20)[:, None] < 15, t, np.nan),
        "test_mask has no target that is known: all are NaN",
    ),
    "texts": (lambda t: np.full((20, 2), "a"), "targets are texts, a for example: numbers are needed"),
}


@pytest.mark.parametrize("case", REFUSED_TARGETS)
def test_targets_that_are_no_numbers_are_refused_by_name(graphs, gaps, case):
    change, sentence = REFUSED_TARGETS[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        regression(change(gaps[0]), graphs)


# Many graphs


@pytest.fixture
def many(graphs):
    """Six paths of 2 to 4 nodes, split 3, 1, 1, one of them in no split; `change` of what is given to the task."""

    def make(**change):
        edges = [graphs.path(2 + i % 3) for i in range(6)]
        sizes = [e["num_nodes"] for e in edges]
        given = {
            "graphs": [jg.prepare(**e) for e in edges],
            "xs": [np.ones((n, 2), np.float32) for n in sizes],
            "targets": [np.arange(n) % 2 for n in sizes],
            "split": ((0, 1, 2), (3,), (4,)),
            "batch_size": 2,
            "level": "node",
        }
        return jg.tasks.many_graphs(**given | change)

    return make


def test_classes_of_graphs_and_nodes_in_other_forms(many):
    expected = many()
    sizes = [2 + i % 3 for i in range(6)]
    forms = {
        "a column": [(np.arange(n) % 2)[:, None] for n in sizes],
        "floats": [(np.arange(n) % 2).astype(float) for n in sizes],
        "one-hot": [np.eye(2)[np.arange(n) % 2] for n in sizes],
    }
    for targets in forms.values():
        jax.tree.map(np.testing.assert_array_equal, many(targets=targets), expected)
    unread = [*forms["floats"][:5], np.full(sizes[5], np.nan)]  # the last graph is in no split
    task = many(targets=unread)
    assert task.out == 2
    np.testing.assert_array_equal(task.targets[:5], expected.targets[:5])
    counts = [(np.arange(n) > 0).astype(int)[:, None] for n in sizes]
    first = [np.where(np.arange(n) == 0, -1, np.arange(n) % 2) for n in sizes]
    task = many(targets=first, counts=counts)
    np.testing.assert_array_equal(task.counted[:, :2], [[False, True]] * 6)
    of_graphs = [many(targets=t, level="graph") for t in (np.arange(6) % 2, (np.arange(6) % 2)[:, None])]
    jax.tree.map(np.testing.assert_array_equal, *of_graphs)


REFUSED_MANY = {
    "class in a split": (
        {"targets": [np.full(2 + i % 3, 1 - 2 * (i == 1)) for i in range(6)]},
        "target -1 of node 0 of graph 1 is out of range: classes are 0 and more, whole",
    ),
    "counts": (
        {"counts": [np.arange(2 + i % 3) for i in range(6)]},
        "counts of graph 1 is 2 at node 2: a mask holds 0 and 1; nodes i are the mask np.isin(np.arange(3), i)",
    ),
    "counts of another size": (
        {"counts": [np.ones(2, bool)] * 6},
        "counts of graph 1 has shape (2,), but the graph has 3 nodes: rows must agree",
    ),
    "no split": ({"split": None}, "split=None: training, validation and test graphs are needed"),
    "split by name": ({"split": "abc"}, "split='abc': training, validation and test graphs are needed"),
    "batch size": ({"batch_size": "2"}, "batch_size='2': allowed are 1 and more, whole"),
    "no metric": ({"metric": None}, "metric=None does not go with loss='cross_entropy': allowed are accuracy, roc_auc"),
    "no loss": ({"loss": None}, "loss=None is not known: allowed are cross_entropy, bce, mse, mae"),
    "no features": ({"xs": None}, "xs=None: a list with one for each graph is needed"),
    "texts": ({"targets": [["a"] * (2 + i % 3) for i in range(6)]}, "the targets of graph 0 are texts, a for example"),
}


@pytest.mark.parametrize("case", REFUSED_MANY)
def test_many_graphs_refuse_by_name(many, case):
    change, sentence = REFUSED_MANY[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        many(**change)

"""Graph classification from lists of graphs: the same task as many_graphs with the split written out; refusals."""

import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg

GRAPHS = [nx.cycle_graph(n) for n in range(4, 14)] + [nx.star_graph(n) for n in range(4, 14)]
Y = np.repeat([0, 1], 10)


def test_it_is_many_graphs_with_every_class_shared_out():
    task = jg.tasks.graph_classification(GRAPHS, Y, seed=3)
    parts = [np.asarray(p) for p in (task.train, task.val, task.test)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(20))
    for part, share in zip(parts, (6, 2, 2), strict=True):
        assert np.bincount(Y[part]).tolist() == [share, share]
    sizes = [g.number_of_nodes() for g in GRAPHS]
    other = jg.tasks.many_graphs(GRAPHS, [np.ones((n, 1)) for n in sizes], Y, split=tuple(parts), batch_size=12)
    np.testing.assert_array_equal(task.features, other.features)
    np.testing.assert_array_equal(task.targets, other.targets)
    assert task.batch_size == 12 == len(parts[0])
    again = jg.tasks.graph_classification(GRAPHS, Y, seed=4)
    assert not np.array_equal(task.train, again.train)


def test_features_are_the_graphs_own_or_given():
    graphs = [jg.from_networkx(g)._replace(nodes=np.full((g.number_of_nodes(), 2), i)) for i, g in enumerate(GRAPHS)]
    task = jg.tasks.graph_classification(graphs, Y)
    assert np.asarray(task.features)[7, 0].tolist() == [7, 7]
    given = [np.full((g.number_of_nodes(), 3), 5.0) for g in GRAPHS]
    assert np.asarray(jg.tasks.graph_classification(graphs, Y, given).features).max() == 5


def test_a_split_of_ones_own():
    split = (range(0, 20, 2), [1, 3], [5, 7])
    assert np.asarray(jg.tasks.graph_classification(GRAPHS, Y, split=split).val).tolist() == [1, 3]


REFUSED = {
    "no list": (lambda: jg.tasks.graph_classification(3, Y), "graphs=3: a list of graphs is needed"),
    "empty": (lambda: jg.tasks.graph_classification([], []), "a list of graphs is needed"),
    "labels": (lambda: jg.tasks.graph_classification(GRAPHS, Y[:5]), r"y is int64 of shape \(5,\): 20 classes"),
    "negative": (lambda: jg.tasks.graph_classification(GRAPHS, Y - 1), "20 classes from 0 are needed"),
    "real": (lambda: jg.tasks.graph_classification(GRAPHS, Y / 2), "y is float64 of shape"),
    "split": (lambda: jg.tasks.graph_classification(GRAPHS, Y, split="thirds"), "split='thirds' is not known"),
    "class": (lambda: jg.tasks.graph_classification(GRAPHS, [0] * 18 + [1] * 2), "of class 1 there are 2"),
    "features": (
        lambda: jg.tasks.graph_classification(
            [jg.from_networkx(GRAPHS[0])._replace(nodes=np.ones((4, 1))), *GRAPHS[1:]], Y
        ),
        "graph 1 has no features and others have",
    ),
    "option": (lambda: jg.tasks.graph_classification(GRAPHS, Y, metric="hits"), "metric='hits'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    call, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        call()

"""How far labels depend on features, and what of that arrives: rings, where both are known."""

import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.diagnosis.reach import label_reach, passed_through


def ring(n):
    at = np.arange(n)
    return jg.from_edges(pairs=np.stack([at, (at + 1) % n], axis=1), undirected=True)


def task_of_distance(distance, n=300):
    """Labels are the signs of what lies at one distance exactly."""
    rng, at = np.random.default_rng(distance), np.arange(n)
    x = rng.standard_normal((n, 2)).astype(np.float32)
    y = (x[(at + distance) % n, 0] + x[(at - distance) % n, 0] > 0).astype(int)
    ds = jg.dataset(ring(n), x, y, fractions=(0.6, 0.3, 0.1))
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw")


@pytest.mark.parametrize("distance", [0, 1, 3, 7])
def test_the_reach_is_the_distance_that_labels_were_made_from(distance):
    assert label_reach(task_of_distance(distance)).distance == distance


def test_what_lies_beyond_the_field_is_gained():
    reach = label_reach(task_of_distance(4), field=3)
    gain, low, _ = reach.gain_beyond(3)
    assert gain > 0.2
    assert low > 0.1
    assert max(map(abs, reach.gain_beyond(16))) == 0
    assert reach.gain_beyond(4)[1] <= 0


def test_labels_that_depend_on_nothing_have_no_reach():
    rng, n = np.random.default_rng(0), 300
    ds = jg.dataset(ring(n), rng.standard_normal((n, 3)), rng.integers(0, 2, n), fractions=(0.6, 0.3, 0.1))
    assert label_reach(jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw")).distance == 0


def test_tasks_without_one_label_a_node_have_none():
    assert label_reach(jg.tasks.ring_transfer(sizes=[6], num_train=5, num_val=5, num_test=5)) is None
    small = csbm(num_nodes=20, num_classes=2, num_features=4, train_per_class=4)
    assert label_reach(jg.tasks.node_classification(small, jg.prepare(small.graph))) is None


@pytest.mark.parametrize("distance", [1, 2, 5])
def test_on_a_ring_2_of_3_to_the_r_walks_come_from_distance_r(distance):
    graph = jg.prepare(ring(30))
    assert passed_through(graph, np.arange(30), distance) == pytest.approx(2 / 3**distance, rel=1e-12)


def test_on_a_complete_graph_all_but_the_own_share_arrives():
    senders, receivers = np.nonzero(1 - np.eye(9))
    graph = jg.prepare(senders=senders, receivers=receivers, num_nodes=9)
    assert passed_through(graph, np.arange(9), 1) == pytest.approx(8 / 9, rel=1e-12)
    assert np.isnan(passed_through(graph, np.arange(9), 2))

"""All benchmarks by name: what each has to have."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.tasks.benchmark import doubling

FEW = {"num_train": 8, "num_val": 3, "num_test": 4, "batch_size": 4}
SMALL = {
    "lrim": {"side": 3, **FEW},
    "bottlenecks": {"size": 5, "communities": [2], "bridges": [2], **FEW},
    "recall": {"neighbours": 3, **FEW},
    "roads": {"num_nodes": 40, "radius": 3, "num_classes": 3},
    "graph_properties": {"sizes": [5, 7], **FEW},
    "ring_transfer": {"n": 6, "num_classes": 3, **FEW},
    "graph_transfer": {"kind": "ring", "distance": 3, **FEW},
}


@pytest.fixture(scope="module")
def found():
    return {name: jg.tasks.benchmark(name, **options) for name, options in SMALL.items()}


def test_every_benchmark_is_tested_here():
    assert list(SMALL) == list(jg.tasks.BENCHMARKS)


@pytest.mark.parametrize("name", SMALL)
def test_no_prediction_beats_the_oracle_and_the_constant_is_first(found, name):
    made = found[name]
    assert made.name == name
    assert made.references[0] == made.constant
    assert made.references[-1] == made.oracle
    best = 1.0 if made.task.maximise else 0.0
    assert made.oracle[1:] == (best, best, best)
    for row in made.references:
        for score in row[1:]:
            assert (score <= best) if made.task.maximise else (score >= best)
    assert all(fact.endswith(".") for fact in made.facts)


@pytest.mark.parametrize("name", SMALL)
def test_the_constant_predictor_scores_what_its_loss_says(found, name):
    task = found[name].task
    if task.maximise:
        full = name == "roads"
        labels = np.asarray(task.labels)[task.train_mask] if full else task.training_targets()
        assert found[name].constant.train == pytest.approx(np.bincount(labels).max() / labels.size)
    else:
        y = task.training_targets().astype(np.float64)
        assert found[name].constant.train == pytest.approx(y.var(), rel=1e-5)
        assert task.constant_loss() == pytest.approx(y.var(), rel=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_the_example_is_a_graph_of_the_task_that_networks_take(found, name):
    example = found[name].example
    pool = "mean" if found[name].task.out == 1 and getattr(found[name].task, "level", "") == "graph" else "none"
    model = jg.DeepGNN(depth=1, width=2, out=found[name].task.out, pool=pool)
    params = model.init(jax.random.key(0), example.graph, example.x)
    loss, grads = jax.value_and_grad(lambda p: example.loss(model.apply(p, example.graph, example.x)))(params)
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert example.graph.node_mask is None
    assert any(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_is_a_benchmark_and_networks_options_are_passed_on(found, name):
    again = jg.tasks.benchmark(name, **SMALL[name])
    jax.tree.map(np.testing.assert_array_equal, again.task, found[name].task)
    assert again.references == found[name].references
    assert again.facts == found[name].facts
    other = jg.tasks.benchmark(name, **SMALL[name], normalisation="row", hops=2)
    for graph in (other.task.graph, other.example.graph):
        assert graph.propagation.normalisation == "row"
        assert graph.khops is not None


def test_the_ring_tells_nothing_below_half_of_it(found):
    rings = found["ring_transfer"]
    assert list(rings.within) == [2]
    assert rings.within[2][1:] == rings.constant[1:]
    assert rings.example.graph.num_nodes == 6
    sizes = jg.tasks.benchmark("ring_transfer", sizes=[4, 7], num_classes=2, **FEW)
    assert not sizes.within
    assert sizes.example.graph.num_nodes == int(np.asarray(sizes.task.graphs.node_mask)[0].sum())


def test_copying_is_said_to_score_what_it_does(found):
    made = found["graph_transfer"]
    copied = made.task.evaluate(lambda graph, x: x).test_score
    said = float(re.search(r"= ([\d.]+)\.", made.facts[1])[1])
    assert said == pytest.approx(float(copied), rel=1e-3)
    perfect = made.task.evaluate(lambda graph, x: jnp.where(x == 1, 0, jnp.where(x == 0, 1, x)))
    assert perfect.test_score == 0


def test_numbers_of_hops_double():
    assert [doubling(n) for n in (0, 1, 2, 8, 9)] == [[], [], [1], [1, 2, 4], [1, 2, 4, 8]]


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("lrm", {}, "task='lrm' is not known, did you mean 'lrim'? allowed are lrim, bottlenecks, "),
        (3, {}, "task=3 is not known: allowed are lrim, "),
        ("recall", {"neighbors": 3}, "task option 'neighbors' is not known, did you mean 'neighbours'? allowed for "),
        ("roads", {"hop": 3}, "task option 'hop' is not known: allowed for roads are num_nodes, kind, removed, "),
    ],
)
def test_names_that_are_not_known_are_refused_with_what_may_be_meant(name, options, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        jg.tasks.benchmark(name, **options)

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.host.remat import nbytes
from jaxgnn.training import depth_memory, run
from jaxgnn.training.depth_memory import estimate, fitted, require
from jaxgnn.training.optimisers import Hyper, TrainConfig

DS = csbm(num_nodes=300, train_per_class=5, seed=0)
GRAPH = jg.prepare(DS.graph)
LEAST, MOST = 0.8, 2.0  # of XLA's own count that an estimate may be: rather too much than too little


def model_of(depth, remat, **options):
    options = {"residual": "identity", "bound": "frobenius"} | options
    return jg.DeepGNN(depth=depth, width=16, out=DS.num_classes, remat=remat, **options)


def compiled(model, config):
    """XLA's count of bytes of two training steps, and the state that they take."""
    task = jg.tasks.node_classification(DS, GRAPH)
    hyper = Hyper(*(np.float32(0.1) for _ in Hyper._fields))
    state = jax.eval_shape(lambda key: run.start(model, config, task, key, hyper), jax.random.key(0))

    def steps(task, state):
        return run.steps(model, config, task, 10, hyper, state, length=2)

    return jax.jit(steps, donate_argnums=1).lower(task, state).compile().memory_analysis(), state


@pytest.mark.parametrize(
    ("depth", "remat", "options"),
    [
        (40, "none", {}),
        (144, "block", {"compute_dtype": "float16"}),
        (144, "sqrt", {}),
        (37, "least", {"residual": "graphcon"}),  # a remainder, and a state beside X
    ],
)
def test_an_estimate_is_what_xla_counts(depth, remat, options):
    model, config = model_of(depth, remat, **options), TrainConfig()
    needed = estimate(model, GRAPH, DS.x, config)
    counted, state = compiled(model, config)
    assert LEAST <= needed.temporary / counted.temp_size_in_bytes <= MOST
    assert LEAST <= (needed.state + needed.data) / counted.argument_size_in_bytes <= MOST
    assert needed.optimiser == nbytes(state.optimiser)
    assert needed.parameters == nbytes((state.params, state.variables)) == needed.best


def test_shapes_are_enough_and_the_state_grows_with_the_seeds():
    x = jax.ShapeDtypeStruct(DS.x.shape, np.float32)
    one, three, together = (
        estimate(model_of(4, "none"), GRAPH, x, seeds=seeds, side_by_side=beside)
        for seeds, beside in ((1, False), (3, False), (3, True))
    )
    assert one == estimate(model_of(4, "none"), GRAPH, DS.x.astype(np.float32))
    assert (three.state, three.initial) == (3 * one.state, 3 * one.initial)
    assert three.temporary == one.temporary
    assert together.temporary == 3 * one.temporary


def test_memory_by_policy_grows_as_it_should():
    # Without recomputation by the layer; with k = sqrt(L) four times the depth keeps about twice as much.
    def activations(remat, depth):
        needed = estimate(model_of(depth, remat, share_weights=True), GRAPH, DS.x)
        return needed.kept + needed.recomputed

    none, block, sqrt = (
        [activations(remat, depth) for depth in (100, 400, 1600)] for remat in ("none", "block", "sqrt")
    )
    for linear in (none, block):
        np.testing.assert_allclose(np.diff(linear)[1] / np.diff(linear)[0], 4, rtol=1e-6)
    np.testing.assert_allclose(np.diff(sqrt)[1] / np.diff(sqrt)[0], 2, rtol=0.01)
    assert none[0] > block[0] > sqrt[0]
    X = len(DS.labels) * 16 * 4
    assert (block[2] - block[1]) == 1200 * X  # X^(l) of every layer


def test_each_part_is_what_it_says():
    def part(depth, remat):
        return estimate(model_of(depth, remat), GRAPH, DS.x)

    none, block, sqrt, least = (part(100, remat) for remat in ("none", "block", "sqrt", "least"))
    per_layer = part(101, "none").kept - none.kept  # all that a layer's derivative reads
    carried = part(101, "block").kept - block.kept  # X^(l) and what belongs to it
    assert none.recomputed == 0
    assert block.recomputed == per_layer
    assert sqrt.recomputed == 10 * per_layer
    assert least.recomputed == 10 * carried + per_layer
    params = nbytes(jax.eval_shape(model_of(100, "none").init, jax.random.key(0), GRAPH, DS.x)["params"])
    assert [e.gradients / params for e in (none, block)] == pytest.approx([1.25, 1.25], abs=1e-3)
    assert all(e.gradients >= 1.24 * params for e in (sqrt, least, part(100, 7)))
    assert none.best == none.initial == none.parameters
    assert none.optimiser == pytest.approx(2 * params, rel=1e-3)  # Adam's two moments and a count
    assert none.workspace == 4 * 300 * 16 * 3.5


def test_tpus_fill_up_rows_and_gpus_hold_fewer_copies():
    """Width 16 takes the room of 128 where rows have 128 lanes; width 128 what it takes elsewhere, and the state."""

    def temporary(width, platform, remat="none"):
        model = jg.DeepGNN(depth=64, width=width, out=DS.num_classes, remat=remat, residual="identity")
        found = estimate(model, GRAPH, DS.x, platform=platform)
        return found.kept + found.recomputed

    assert temporary(16, "tpu") == pytest.approx(temporary(128, "tpu"), rel=0.05)
    assert temporary(128, "tpu") == pytest.approx(temporary(128, "cpu"), rel=0.05)
    assert temporary(16, "cpu") < temporary(16, "tpu") / 5
    deep = model_of(400, "sqrt").clone(width=64)
    copies = {p: estimate(deep, GRAPH, DS.x, platform=p).gradients for p in ("cpu", "gpu", "tpu")}
    assert copies["gpu"] < copies["cpu"] < copies["tpu"]


def test_auto_is_the_fastest_that_fits():
    auto = model_of(64, "auto")
    total = {remat: estimate(auto.clone(remat=remat), GRAPH, DS.x).total for remat in ("none", "sqrt", "least")}
    assert total["none"] > total["sqrt"] >= total["least"]
    for budget, remat in ((total["none"], "none"), (total["none"] - 1, "sqrt"), (total["sqrt"] - 1, "least")):
        assert fitted(auto, GRAPH, DS.x, budget=budget) == auto.clone(remat=remat)
    assert fitted(auto.clone(remat=3), GRAPH, DS.x, budget=0).remat == 3


def test_what_does_not_fit_is_refused_in_a_sentence(monkeypatch):
    model = model_of(64, "none")
    needed = estimate(model, GRAPH, DS.x)
    require(needed, model)
    monkeypatch.setattr("jaxgnn.host.memory.available_bytes", lambda: needed.total - 1)
    sentence = r'^training 64 layers of width 16 needs 0\.0 GiB, 0\.0 GiB are available: use remat="least" instead$'
    with pytest.raises(MemoryError, match=sentence):
        require(needed, model)
    with pytest.raises(MemoryError, match="less depth or width"):
        require(needed, model.clone(remat="least"))
    assert depth_memory.MemoryEstimate(*range(9)).total == 36

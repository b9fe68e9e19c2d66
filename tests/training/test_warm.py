import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm

MODEL = jg.DeepGNN(depth=2, width=6, out=3, norm="batch", residual="ssm", bound="spectral")
ONCE = {"optimiser": "sgd", "momentum": 0.0, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def task():
    ds = csbm(num_nodes=45, num_features=4, train_per_class=5, average_degree=4.0)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


@pytest.fixture(scope="module")
def first(task):
    return jg.train(MODEL, task, seeds=3, steps=10, **ONCE)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6), a, b)


def test_plain_descent_goes_on_where_it_stopped(task, first):
    """Without momentum, schedule or dropout, 10 steps from a result are steps 10 to 19 of one run."""
    whole = jg.train(MODEL, task, seeds=3, steps=20, **ONCE)
    second = jg.train(MODEL, task, steps=10, init=first, **ONCE)
    assert second.score.shape == (3,)
    jax.tree.map(np.testing.assert_array_equal, second.initial_params, first.final_params)
    close(second.history.train_loss, whole.history.train_loss[:, 10:])
    close(second.final_params, whole.final_params)


def test_one_run_is_where_all_start(task, first):
    one = first.best()
    for init in (one, one.final_params):
        found = jg.train(MODEL, task, seeds=2, steps=3, init=init, **ONCE)
        for i in range(2):
            jax.tree.map(np.testing.assert_array_equal, found.seed(i).initial_params, one.final_params)
    best = jg.train(MODEL, task, seeds=3, steps=1, init=first.params, **ONCE)
    close(best.history.val_score[:, 0], first.val_score)


def test_a_grid_starts_every_point_there(task, first):
    points = jg.sweep(MODEL, task, grid={"learning_rate": [0.01, 0.02], "bound_c": [0.5]}, init=first, steps=2)
    for point in points:
        jax.tree.map(np.testing.assert_array_equal, point.result.initial_params["params"], first.final_params["params"])
        assert (np.asarray(point.result.initial_params["constants"]["bound_c"]) == 0.5).all()


def test_weights_go_to_a_network_with_other_numbers(task, first):
    """The frozen matrices of the state space are the run's; what the rest lacks it starts with itself."""
    found = jg.train(MODEL.clone(norm="none"), task, seeds=3, steps=1, init=_without(first.final_params, "norm"))
    close(found.initial_params["constants"]["ssm"], first.final_params["constants"]["ssm"])
    alone = jg.train(MODEL, task, seeds=3, steps=1, init={"params": first.params["params"]})
    close(alone.initial_params["params"], first.params["params"])


def _without(variables, name):
    stack = {k: v for k, v in variables["params"]["stack"].items() if k != name}
    return variables | {"params": variables["params"] | {"stack": stack}}


def test_a_run_in_a_folder_is_of_its_start(task, first, tmp_path):
    found = jg.train(MODEL, task, init=first, steps=2, out=tmp_path, **ONCE)
    again = jg.train(MODEL, task, init=first, steps=2, out=tmp_path, **ONCE)
    jax.tree.map(np.testing.assert_array_equal, found, again)
    with pytest.raises(ValueError, match="choose another folder"):
        jg.train(MODEL, task, seeds=3, steps=2, out=tmp_path, **ONCE)


def test_another_network_is_refused(task, first):
    with pytest.raises(
        ValueError, match=r"init has \['params'\].*of shape \(3, 2, 6, 6\): allowed are \(3, 6, 6\) and"
    ):
        jg.train(MODEL.clone(depth=3), task, init=first, steps=1)
    with pytest.raises(ValueError, match=r"of 2 seeds, \(2, "):
        jg.train(MODEL, task, init=first, seeds=2, steps=1)
    with pytest.raises(ValueError, match=r"init has \['params'\]\['stack'\]\['norm'\].*which this network has not"):
        jg.train(MODEL.clone(norm="none"), task, init=first, steps=1)
    with pytest.raises(ValueError, match=r"init has no \['params'\]\['stack'\]\['norm'\]"):
        jg.train(MODEL, task, init=_without(first.final_params, "norm"), seeds=3, steps=1)
    with pytest.raises(ValueError, match="init is a list: allowed are a TrainResult, and params"):
        jg.train(MODEL, task, init=[1], steps=1)
    broken = jax.tree.map(
        lambda a: np.where(np.arange(3).reshape(3, *[1] * (a.ndim - 1)) == 1, np.nan, a), first.params
    )
    with pytest.raises(ValueError, match="not finite in seed 1"):
        jg.train(MODEL, task, init=broken, seeds=3, steps=1)

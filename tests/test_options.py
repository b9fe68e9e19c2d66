"""Every option refuses what is no value of its kind by name: ValueError, whatever is given."""

import re
from dataclasses import fields

import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn import options
from jaxgnn.data import csbm

WRONG = {
    "None": None,
    "text": "3 of them",
    "NaN": float("nan"),
    "a list": [1, 2],
    "an array": np.ones(2),
    "complex": 1j,
    "object": object(),
    "a function": len,
    "bytes": b"3",
}
NONE_ALLOWED = {"activation", "residual", "residual_scale"}
MADE = {
    "DeepGNN": (jg.DeepGNN, [n for n in jg.DeepGNN.__dataclass_fields__ if n not in ("parent", "name")]),
    "TrainConfig": (jg.TrainConfig, [f.name for f in fields(jg.TrainConfig)]),
    "StateSpace": (jg.StateSpace, [f.name for f in fields(jg.StateSpace)]),
}
CASES = [(kind, option) for kind, (_, names) in MADE.items() for option in names]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("kind", "option"), CASES, ids=lambda value: value)
def test_an_option_refuses_what_is_no_value_of_it(kind, option, wrong):
    if WRONG[wrong] is None and option in NONE_ALLOWED:
        pytest.skip("None leaves it to the layer or the rule")
    with pytest.raises(ValueError, match=f"^{option}="):
        MADE[kind][0](**{option: WRONG[wrong]})


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("DeepGNN", {"depth": 2.5}),
        ("DeepGNN", {"width": True}),
        ("DeepGNN", {"bound_c": 0}),
        ("DeepGNN", {"bound_c": np.inf}),
        ("DeepGNN", {"bound_c": True}),
        ("DeepGNN", {"dropout": 1}),
        ("DeepGNN", {"bias": 1}),
        ("TrainConfig", {"steps": 2.5}),
        ("TrainConfig", {"steps": "10"}),
        ("TrainConfig", {"steps": False}),
        ("TrainConfig", {"patience": 2.5}),
        ("TrainConfig", {"momentum": 1.0}),
        ("TrainConfig", {"learning_rate": 0}),
        ("StateSpace", {"spread": 1.5}),
        ("StateSpace", {"trainable": "yes"}),
    ],
)
def test_what_is_out_of_its_range_is_refused_by_name(kind, given):
    ((option, value),) = given.items()
    with pytest.raises(ValueError, match=f"^{re.escape(f'{option}={value!r}: allowed')}"):
        MADE[kind][0](**given)


def test_numbers_of_other_libraries_are_numbers():
    config = jg.TrainConfig(steps=np.int64(3), learning_rate=np.float32(0.25), l2=np.array(0.5), clip=1)
    assert config.learning_rate == 0.25
    assert jg.DeepGNN(depth=np.int32(3), bound_c=np.float64(0.5)).bound_c == 0.5
    assert options.is_number(jnp.float32(2))
    assert not options.is_number(np.ones(1))


@pytest.fixture(scope="module")
def task():
    ds = csbm(num_nodes=30, num_features=4, train_per_class=4, average_degree=4.0)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


RUNS = {
    "seeds": ("seeds", {"seeds": None}, "seeds=None: allowed are 1 and more, whole"),
    "seeds by name": ("seeds", {"seeds": "3"}, "seeds='3': allowed are 1 and more, whole"),
    "half a seed": ("seeds", {"seeds": 1.5}, "seeds=1.5: allowed are 1 and more, whole"),
    "seed by name": ("seed", {"seed": "x"}, "seed='x': allowed are whole numbers from 0 to 4294967295"),
    "no seed": ("seed", {"seed": None}, "seed=None: allowed are whole numbers from 0 to 4294967295"),
    "another seed's key": ("seed", {"seed": 2**32}, "seed=4294967296: allowed are whole numbers from 0 to 4294967295"),
    "negative": ("seed", {"seed": -1}, "seed=-1: allowed are whole numbers from 0 to 4294967295"),
    "steps": ("steps", {"steps": 2.5}, "steps=2.5: allowed are 1 and more, whole"),
    "no steps": ("steps", {"steps": None}, "steps=None: allowed are 1 and more, whole"),
    "batching": ("batching", {"batching": None}, "batching=None is not known: allowed are auto, map, vmap"),
    "record": ("record_every", {"record_every": "10"}, "record_every='10': allowed are multiples of 10: 10, 20, ..."),
    "tensorboard": ("tensorboard", {"tensorboard": "no"}, "tensorboard='no': allowed are True and False"),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_training_refuses_by_name(task, case):
    _, given, sentence = RUNS[case]
    model = jg.DeepGNN(out=3, bound="frobenius")
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.train(model, task, **given)
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.sweep(model, task, grid={"bound_c": [0.5]}, **given)


GRIDS = {
    "text": ({"bound_c": ["a"]}, "bound_c='a': allowed are finite numbers above 0"),
    "None": ({"bound_c": [0.5, None]}, "bound_c=None: allowed are finite numbers above 0"),
    "one number": ({"bound_c": 0.5}, "grid option 'bound_c' has the values 0.5: a list of numbers is needed"),
    "one text": ({"l2": "0.5"}, "grid option 'l2' has the values '0.5': a list of numbers is needed"),
    "no grid": (None, "grid=None: values by name are needed, for example {'bound_c': [0.5, 1.0]}"),
    "a list": ([0.5], "grid=[0.5]: values by name are needed, for example {'bound_c': [0.5, 1.0]}"),
}


@pytest.mark.parametrize("case", GRIDS)
def test_a_grid_refuses_by_name(task, case):
    grid, sentence = GRIDS[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.sweep(jg.DeepGNN(out=3, bound="frobenius"), task, grid=grid, seeds=1)


@pytest.mark.parametrize("wrong", [value for value in WRONG if value != "None"])
def test_a_task_refuses_by_name(task, wrong):
    ds = csbm(num_nodes=30, num_features=4, train_per_class=4, average_degree=4.0)
    for option in ("features", "metric", "sparse_features"):
        with pytest.raises(ValueError, match=f"^{option}="):
            jg.tasks.node_classification(ds, task.graph, **{option: WRONG[wrong]})
    with pytest.raises(ValueError, match=r"^class_weights"):
        jg.tasks.node_classification(ds, task.graph, class_weights=WRONG[wrong])
    with pytest.raises(ValueError, match=r"^num_classes="):
        jg.tasks.node_classification(ds._replace(num_classes=WRONG[wrong]), task.graph)
    masks = {name: getattr(ds, name) for name in ("train_mask", "val_mask", "test_mask")}
    for option in ("loss", "metric"):
        with pytest.raises(ValueError, match=f"^{option}="):
            jg.tasks.node_regression(task.graph, ds.x, ds.x, **masks, **{option: WRONG[wrong]})
    for make, names in (
        (jg.tasks.graph_transfer, ("kind", "distance", "num_train", "batch_size", "seed")),
        (jg.tasks.ring_transfer, ("kind", "n", "sizes", "num_classes", "num_val", "batch_size", "seed")),
        (jg.tasks.graph_properties, ("target", "disconnected", "sizes", "num_test", "batch_size", "seed", "metric")),
    ):
        small = {"num_train": 5, "num_val": 1, "num_test": 1}
        for option in names:
            if option == "sizes" and wrong == "a list":
                continue  # refused for its numbers
            with pytest.raises(ValueError, match=f"^{option}="):
                make(**small | {option: WRONG[wrong]})

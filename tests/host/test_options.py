"""Every option refuses what is no value of its kind by name: ValueError, whatever is given."""

import re
from dataclasses import fields
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.analysis.landscape import hessian_extremes, landscape
from jaxgnn.commands.check import CheckConfig
from jaxgnn.commands.probe import ProbeConfig
from jaxgnn.commands.spectrum import SpectrumConfig
from jaxgnn.commands.study import StudyConfig
from jaxgnn.commands.task_setting import TaskConfig
from jaxgnn.commands.train import RunConfig
from jaxgnn.data import csbm, power_law
from jaxgnn.data.planted import Planted
from jaxgnn.data.random_graphs import random_graphs
from jaxgnn.host import options
from jaxgnn.jacobian.random_matrix import kolmogorov_smirnov, linear_layer_law
from jaxgnn.jacobian.statistics import schatten
from jaxgnn.layers import LAYERS
from jaxgnn.network import norms, residuals
from jaxgnn.training.scale import start_process

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
    "seeds": ("seeds", {"seeds": 0}, "seeds=0: allowed are 1 and more, whole"),
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


def named(kind):
    """The options of a class, without what Linen adds."""
    return [f.name for f in fields(kind) if f.init and f.name not in ("parent", "name")]


CONFIGS = {
    kind.__name__: kind for kind in (StudyConfig, SpectrumConfig, ProbeConfig, RunConfig, TaskConfig, CheckConfig)
}
RULES = {
    kind.__name__: kind
    for kind in (
        residuals.GraphCON,
        residuals.GradientGating,
        residuals.Delayed,
        norms.GroupNorm,
        norms.PairNorm,
        norms.DiffGroupNorm,
    )
}
LANDSCAPE = {"landscape": landscape, "hessian_extremes": hessian_extremes}
ELSEWHERE = {"dataset", "split", "normalisation", "layer", "loops"}  # refused by load_dataset, prepare and DeepGNN
TAKEN = {name: named(kind) for name, kind in (LAYERS | RULES).items()}
TAKEN |= {name: [n for n in named(kind) if n not in ELSEWHERE] for name, kind in CONFIGS.items()}
TAKEN |= {
    "fosr": ["edges", "initial_steps", "seed"],
    "sdrf": ["steps", "temperature", "remove_above", "seed"],
    "csbm": named(Planted),
    "power_law": [*named(Planted), "exponent", "max_degree"],
    "random_graphs": ["sizes", "disconnected"],
    "mesh": ["seeds", "nodes"],
    "start_process": ["coordinator", "processes", "process", "heartbeat"],
    "lyapunov": ["k", "seed"],
    "sensitivity": ["sources", "norm", "seed"],
    "influence": ["nodes", "norm", "seed"],
    "mixing": ["nodes", "norm", "seed"],
    "extremes": ["k", "which", "max_products", "certify"],
    "outer_eigenvalues": ["k"],
    "singular_values": ["method"],
    "density": ["probes", "steps", "method", "bandwidth", "seed"],
    "quadrature": ["probes", "steps", "seed"],
    "statistics": ["probes", "steps", "method"],
    "schatten": ["p"],
    "numerical_rank": ["tolerance"],
    "mu_per_component": ["num_components"],
    "landscape": ["radius", "points", "seed"],
    "hessian_extremes": ["steps", "seed"],
    "layer_fn": ["layer"],
    "lipschitz": ["layer"],
    "segment_fn": ["start", "stop"],
    "linear_layer_law": ["shape", "variance", "size"],
    "kolmogorov_smirnov": ["tolerance"],
    "moment_square": ["order"],
}
UNSET = {
    "task",
    "input_dropout",
    "hidden",
    "nu",
    "attention_dim",
    "remove_above",
    "max_degree",
    "width",
    "sources",
    "certify",
    "bandwidth",
}
UNSET |= {"tolerance", "stop", "size", "cores"}
LISTS = {"shape", "sizes", "depths", "bound_c", "at", "widths", "sources"}  # a list of numbers is one of them
NODES = {("nodes", "influence"), ("nodes", "mixing")}
FLAGS = {"use_bias", "concat", "share_weights", "learn_eps", "bias", "trained", "tensorboard", "certify"}
FLAGS |= {"residual", "project", "record_ranks"}
REAL = {"eps", "beta", "negative_slope", "scale", "strength", "remove_above"}
ABOVE_0 = {"theta", "temperature", "p", "signal", "average_degree", "exponent", "max_degree", "bandwidth", "tolerance"}
ABOVE_0 |= {"lambda_max", "radius", "variance", "step", "damping", "learning_rate", "l2", "weight_decay"}
IN_A_SENTENCE = {"stop": "(start=0, )?stop", "remedies": "remed(y|ies)", "statements": "statements?"}


def made_with(layer, **given):
    """What a layer says when it is made; its annotations, which are checked in tests, would speak first."""
    module = layer(features=4)
    for option, value in given.items():
        object.__setattr__(module, option, value)
    module.__post_init__()


@pytest.fixture(scope="module")
def makers():
    """What takes options, with right values for the others."""
    h, ring = np.ones((5, 2)), np.arange(5)
    graph = jg.prepare(senders=np.r_[ring, (ring + 1) % 5], receivers=np.r_[(ring + 1) % 5, ring], num_nodes=5)
    J, raw = jg.jacobian(jnp.sin, h), csbm(num_nodes=30, num_features=4, train_per_class=4, average_degree=4.0).graph
    _ = J.support  # it needs products, and what they say is not asked for here
    made = {name: partial(made_with, kind) for name, kind in LAYERS.items()} | RULES | CONFIGS
    made |= {"fosr": partial(jg.fosr, raw, edges=1), "sdrf": partial(jg.sdrf, raw, steps=1)}
    made |= {"csbm": csbm, "power_law": power_law, "mesh": jg.scale.mesh}
    made["random_graphs"] = partial(random_graphs, np.random.default_rng(0), sizes=[5], disconnected="within")
    made["start_process"] = partial(start_process, coordinator="127.0.0.1:1", processes=2, process=1)
    made["lyapunov"] = partial(jg.lyapunov, lambda h, _: h, h, np.arange(2))
    made["sensitivity"] = partial(jg.sensitivity, jnp.sin, h, graph, sources=2)
    made |= {name: partial(getattr(jg, name), jnp.sin, h, graph, nodes=2) for name in ("influence", "mixing")}
    made["statistics"] = partial(J.statistics, method="lanczos")
    made |= {name: getattr(J, name) for name in TAKEN if name not in made and hasattr(J, name)}
    model, law = jg.DeepGNN(), linear_layer_law(np.eye(2), shape=(2, 2), variance=1.0)
    made |= {name: partial(f, model, {}, graph, h, None) for name, f in LANDSCAPE.items()}
    made |= {name: partial(getattr(model, name), {}, graph, h) for name in ("layer_fn", "segment_fn")}
    made["linear_layer_law"] = partial(linear_layer_law, np.eye(2), **{"shape": (2, 2), "variance": 1.0})
    made |= {"lipschitz": partial(model.lipschitz, graph), "moment_square": law.moment_square}
    made["kolmogorov_smirnov"] = partial(kolmogorov_smirnov, np.ones(2), law)
    made["mu_per_component"] = partial(jg.measures.mu_per_component, h, np.zeros(5, int))
    return made | {"schatten": partial(schatten, np.ones(2)), "numerical_rank": partial(jg.measures.numerical_rank, h)}


def is_right(kind, option, value):
    """Whether a value of the table is one of the option's all the same."""
    if value is None:
        return option in UNSET or (option, kind) in NODES
    if value is True:
        return option in FLAGS
    if isinstance(value, list | np.ndarray):
        return option in LISTS or (option, kind) in NODES
    if value is len:
        return option == "kernel_init"
    if value in (-1, 2.5) and (option in REAL or (option, kind) in (("alpha", "GraphCON"), ("gamma", kind))):
        return True
    return value == 2.5 and option in ABOVE_0


@pytest.mark.parametrize(("kind", "option"), [(kind, name) for kind, names in TAKEN.items() for name in names])
def test_what_is_no_value_of_an_option_is_refused_by_name(makers, kind, option):
    for value in (*WRONG.values(), True, 2.5, -1):
        if not is_right(kind, option, value):
            with pytest.raises(ValueError, match=rf"^{IN_A_SENTENCE.get(option, option)}\b"):
                makers[kind](**{option: value})


@pytest.mark.parametrize(
    ("kind", "option", "values"),
    [
        (StudyConfig, "depths", [2, "8"]),
        (StudyConfig, "depths", [2, None]),
        (StudyConfig, "bound_c", [0.5, "1"]),
        (StudyConfig, "bound_c", [np.nan]),
        (StudyConfig, "remedies", ["none", None]),
        (SpectrumConfig, "at", [0, 1.5]),
        (SpectrumConfig, "layer_options", ["heads=2", 8]),
        (ProbeConfig, "when", ["init", None]),
        (RunConfig, "grid", [None]),
        (CheckConfig, "widths", [4, "16"]),
        (CheckConfig, "statements", [["mean_error"]]),
    ],
)
def test_a_list_refuses_what_is_no_value_in_it(kind, option, values):
    with pytest.raises(ValueError, match=rf"^{IN_A_SENTENCE.get(option, option)}\b"):
        kind(**{option: values})

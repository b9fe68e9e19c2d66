"""Optimisers and schedules against updates written out in numpy, and what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgnn.training.optimisers import Hyper, TrainConfig, make_optimiser

RATE, DECAY, STEPS = 0.1, 0.3, 6
# The training losses that "plateau" looks at; with patience 2 the fourth and the sixth update are the late ones.
LOSSES = (3.0, 2.0, 2.5, 2.0, 2.0, 2.1)
# Factors of the learning rate at each update, by schedule and its options.
SCHEDULES = {
    "constant": ({}, [1, 1, 1, 1, 1, 1]),
    # (1 + cos(pi t / 6)) / 2
    "cosine": ({"steps": 6}, [1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873]),
    "warmup": ({"warmup": 4}, [0.25, 0.5, 0.75, 1, 1, 1]),
    # (1 + cos(pi (t - 2) / 4)) / 2 from the third update on
    "warmup_cosine": ({"warmup": 2, "steps": 6}, [0.5, 1, 1, 0.8535534, 0.5, 0.1464466]),
    "plateau": ({"plateau": 2}, [1, 1, 1, 0.5, 0.5, 0.25]),
}


def hyper(**numbers):
    values = {
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "l2": 0.0,
        "bound_c": 1.0,
        "residual_scale": 1.0,
        "modulus": 1,
    }
    return Hyper(**{name: jnp.float32(value) for name, value in (values | numbers).items()})


def gradients():
    """Six gradients of w [3, 2] and b [2], of norms from about 0.1 to about 10."""
    rng = np.random.default_rng(0)
    return [{"w": scale * rng.standard_normal((3, 2)), "b": scale * rng.standard_normal(2)} for scale in (4, 0.05) * 3]


def trajectory(config, numbers):
    """Parameters after each update by the library, each [8]."""

    @jax.jit
    def update(gradient, state, params, value):
        updates, state = make_optimiser(config, numbers).update(gradient, state, params, value=value)
        return jax.tree.map(jnp.add, params, updates), state

    params = {"w": jnp.full((3, 2), 0.5), "b": jnp.asarray([-1.0, 2.0])}
    state, found = make_optimiser(config, numbers).init(params), []
    for gradient, loss in zip(gradients(), LOSSES, strict=True):
        params, state = update(jax.tree.map(jnp.float32, gradient), state, params, jnp.float32(loss))
        found.append(np.concatenate([params["b"], params["w"].ravel()]))
    return np.stack(found)


def by_hand(optimiser, factors, *, rate=RATE, decay=0.0, momentum=0.9, clip=np.inf):
    """The same in numpy, in float64."""
    p = np.concatenate([[-1.0, 2.0], np.full(6, 0.5)])
    m, v, found = np.zeros(8), np.zeros(8), []
    for t, (gradient, factor) in enumerate(zip(gradients(), factors, strict=True), start=1):
        g = np.concatenate([gradient["b"], gradient["w"].ravel()])
        norm = np.sqrt(np.sum(g * g))
        g = g * clip / norm if norm > clip else g
        if optimiser == "sgd":
            m = momentum * m + g
            u = m
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            u = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        p = p - rate * factor * (u + decay * p)
        found.append(p)
    return np.stack(found)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_the_learning_rate_follows_its_schedule(optimiser, schedule):
    options, factors = SCHEDULES[schedule]
    config = TrainConfig(optimiser=optimiser, schedule=schedule, **options)
    np.testing.assert_allclose(trajectory(config, hyper()), by_hand(optimiser, factors), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "warmup"])
def test_adamw_decays_by_the_scheduled_rate_apart_from_the_gradient(schedule):
    options, factors = SCHEDULES[schedule]
    config = TrainConfig(optimiser="adamw", schedule=schedule, **options)
    found = trajectory(config, hyper(weight_decay=DECAY))
    np.testing.assert_allclose(found, by_hand("adamw", factors, decay=DECAY), rtol=1e-5, atol=1e-5)
    assert np.abs(found - by_hand("adam", factors)).max() > 0.01


def test_adamw_without_decay_is_adam():
    configs = (TrainConfig(optimiser=name) for name in ("adamw", "adam"))
    np.testing.assert_array_equal(*(trajectory(config, hyper()) for config in configs))


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_sgd_has_its_momentum(momentum):
    config = TrainConfig(optimiser="sgd", momentum=momentum)
    expected = by_hand("sgd", [1] * STEPS, momentum=momentum)
    np.testing.assert_allclose(trajectory(config, hyper()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_only_gradients_of_a_larger_norm_are_clipped_to_it(optimiser):
    config = TrainConfig(optimiser=optimiser, clip=0.5)
    norms = [np.sqrt(sum(np.sum(g**2) for g in gradient.values())) for gradient in gradients()]
    assert {bool(norm > 0.5) for norm in norms} == {True, False}
    expected = by_hand(optimiser, [1] * STEPS, clip=0.5)
    np.testing.assert_allclose(trajectory(config, hyper()), expected, rtol=1e-5, atol=1e-5)


def test_the_numbers_are_arguments_of_the_compiled_program():
    """What the config says of them is not used: one program serves all."""
    config = TrainConfig(learning_rate=123.0, weight_decay=45.0)
    found = trajectory(config, hyper(learning_rate=0.02, weight_decay=DECAY))
    expected = by_hand("adamw", [1] * STEPS, rate=0.02, decay=DECAY)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


REFUSED = {
    "optimiser": ({"optimiser": "lion"}, "optimiser='lion' is not known: allowed are adamw, adam, sgd"),
    "schedule": (
        {"schedule": "linear"},
        "schedule='linear' is not known: allowed are constant, cosine, warmup, warmup_cosine, plateau",
    ),
    "steps": ({"steps": 0}, "steps=0: allowed are 1 and more"),
    "warmup": ({"warmup": 0}, "warmup=0: allowed are 1 and more"),
    "plateau": ({"plateau": 0}, "plateau=0: allowed are 1 and more"),
    "evaluate_every": ({"evaluate_every": 0}, "evaluate_every=0: allowed are 1 and more"),
    "learning_rate": ({"learning_rate": np.nan}, "learning_rate=nan: allowed are finite numbers above 0"),
    "clip": ({"clip": -1.0}, "clip=-1.0: allowed are 0 and more"),
    "infinite clip": ({"clip": np.inf}, "clip=inf: allowed are 0 and more"),
    "momentum": ({"momentum": 1.0}, "momentum=1.0: allowed are 0 and more, below 1"),
    "negative momentum": ({"momentum": -0.1}, "momentum=-0.1: allowed are 0 and more, below 1"),
    "decay of adam": ({"optimiser": "adam", "weight_decay": 0.1}, "weight_decay=0.1 with optimiser='adam': decoupled "),
    "decay of sgd": ({"optimiser": "sgd", "weight_decay": 0.1}, "weight_decay=0.1 with optimiser='sgd': decoupled "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_option_out_of_range_is_refused_in_one_sentence(case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match="^" + re.escape(sentence)) as refused:
        TrainConfig(**options)
    assert "\n" not in str(refused.value)

import itertools
import re
from functools import partial

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.tasks import ising

make = partial(jg.tasks.lrim, side=4, num_train=12, num_val=5, num_test=7, batch_size=4)


def energy(spins, alpha, coupling=1.0):
    """E = - sum_(i<j) J s_i s_j r^(-alpha), pair by pair."""
    side = len(spins)
    places, total = list(itertools.product(range(side), repeat=2)), 0.0
    for (a, b), (c, d) in itertools.combinations(places, 2):
        across, down = (min(abs(u - v), side - abs(u - v)) for u, v in ((a, c), (b, d)))
        total -= coupling * spins[a, b] * spins[c, d] * np.hypot(across, down) ** -alpha
    return total


@pytest.mark.parametrize(("side", "alpha"), [(3, 0.0), (4, 1.0), (5, 3.0)])
def test_targets_are_the_energies_before_and_after_a_flip(side, alpha):
    made = make(side=side, alpha=alpha, coupling=-0.7)
    for number in (0, 20):
        spins = np.asarray(made.task.features)[number, :, 0].reshape(side, side).astype(float)
        before = energy(spins, alpha, -0.7)
        for node in range(side**2):
            flipped = spins.copy().reshape(-1)
            flipped[node] *= -1
            expected = energy(flipped.reshape(side, side), alpha, -0.7) - before
            assert np.asarray(made.task.targets)[number, node, 0] == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("side", [3, 4, 5])
def test_hops_are_those_of_the_graph_that_messages_take(side):
    graph = make(side=side).example.graph.to_networkx().to_undirected()
    assert graph.number_of_edges() == 2 * side**2
    found = nx.single_source_shortest_path_length(nx.Graph(graph), 0)
    np.testing.assert_array_equal(ising.lattice_hops(side).ravel(), [found[v] for v in range(side**2)])


def test_the_lattice_moved_turned_and_with_all_spins_flipped():
    rng = np.random.default_rng(0)
    spins, kernel = ising.random_spins(rng, 3, 6), ising.couplings(6, 1.5)
    found = ising.energy_differences(spins, kernel)
    for move in (
        lambda s: np.roll(s, (2, -1), axis=(1, 2)),
        lambda s: np.rot90(s, axes=(1, 2)),
        lambda s: s[:, ::-1],
    ):
        np.testing.assert_allclose(ising.energy_differences(move(spins), kernel), move(found), atol=1e-12)
    np.testing.assert_allclose(ising.energy_differences(-spins, kernel), found, atol=1e-12)


def test_what_k_hops_leave_is_exact_over_all_lattices():
    """All 2^9 lattices of 9 spins: the conditional mean by enumeration, its error, and the truncated sum."""
    side, alpha = 3, 1.3
    spins = np.array(list(itertools.product((-1.0, 1.0), repeat=9))).reshape(-1, side, side)
    kernel, near = ising.couplings(side, alpha), ising.lattice_hops(side) <= 1
    y = ising.energy_differences(spins, kernel)[:, 0, 0]
    inside = spins[:, near]
    mean = np.array([y[(inside == row).all(axis=1)].mean() for row in inside])
    np.testing.assert_allclose(ising.energy_differences(spins, np.where(near, kernel, 0))[:, 0, 0], mean, atol=1e-12)
    assert np.mean((y - mean) ** 2) / y.var() == pytest.approx(ising.left_by(side, alpha, 1), rel=1e-12)
    assert ising.left_by(side, alpha, 0) == 1
    assert ising.left_by(side, alpha, 2) == 0


def test_references_are_in_order_and_the_oracle_is_exact():
    made = make(side=8, num_train=40)
    scores = np.array([row[1:] for row in made.references])
    assert [row.name for row in made.references] == [
        "constant predictor",
        *(f"within {k} hop{'s' if k > 1 else ''}" for k in (1, 2, 4)),
        "oracle",
    ]
    assert (np.diff(scores, axis=0) < 0).all()
    np.testing.assert_array_equal(scores[-1], 0)
    y = np.asarray(made.task.targets, np.float64)[..., 0]
    parts = (made.task.train, made.task.val, made.task.test)
    expected = [np.mean((y[part] - y[made.task.train].mean()) ** 2) for part in parts]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)
    assert scores[0, 0] == pytest.approx(y[made.task.train].var(), rel=1e-5)
    assert made.task.constant_loss() == pytest.approx(scores[0, 0], rel=1e-5)


def test_references_are_what_a_task_says_of_such_a_network():
    made = make()
    kernel = np.where(ising.lattice_hops(4) <= 2, ising.couplings(4, 1.0), 0)

    def two_hops(graph, x):
        spins = np.asarray(x).reshape(-1, 4, 4)
        return jnp.asarray(ising.energy_differences(spins, kernel).reshape(-1, 1), jnp.float32)

    with jax.disable_jit():
        found = made.task.evaluate(two_hops)
    np.testing.assert_allclose(found[1:4], made.within[2][1:], rtol=1e-4)


def test_metropolis_samples_the_boltzmann_distribution():
    side, temperature, count = 3, 6.0, 4000
    J = ising.couplings(side, 1.0)
    all_spins = np.array(list(itertools.product((-1.0, 1.0), repeat=9))).reshape(-1, side, side)

    def energies(spins):
        return -ising.energy_differences(spins, J).sum(axis=(1, 2)) / 4  # every pair is in two differences, twice each

    assert energies(all_spins[:1])[0] == pytest.approx(energy(all_spins[0], 1.0))
    weights = np.exp(-energies(all_spins) / temperature)
    expected = (weights * energies(all_spins)).sum() / weights.sum()
    found = energies(ising.metropolis(np.random.default_rng(0), count, J, temperature, 20))
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(count)
    assert expected < -3 * found.std() / np.sqrt(count)  # independent spins have 0


def test_at_a_temperature_the_near_spins_tell_more_than_the_truncated_sum():
    made = make(side=6, temperature=12.0, sweeps=20, num_train=60)
    scores = [row.train for row in made.references]
    assert scores == sorted(scores, reverse=True)
    x, y = (np.asarray(a, np.float64)[:60] for a in (made.task.features, made.task.targets))
    near = np.where(ising.lattice_hops(6) <= 1, ising.couplings(6, 1.0), 0)
    truncated = ising.energy_differences(x[..., 0].reshape(-1, 6, 6), near).reshape(y.shape)
    assert made.within[1].train < np.mean((y - truncated) ** 2)
    assert "others may be better" in made.facts[1]


def test_a_seed_is_a_task_and_splits_are_lattices_of_their_own():
    first, again, other = make(), make(), make(seed=1)
    jax.tree.map(np.testing.assert_array_equal, first.task, again.task)
    assert first.references == again.references
    assert (np.asarray(first.task.features) != np.asarray(other.task.features)).any()
    assert [len(part) for part in (first.task.train, first.task.val, first.task.test)] == [12, 5, 7]
    numbers = np.concatenate([first.task.train, first.task.val, first.task.test])
    assert sorted(numbers) == list(range(24))
    assert len(np.unique(np.asarray(first.task.features).reshape(24, -1), axis=0)) == 24


@pytest.mark.parametrize("coupling", [1e-18, 1e18])
def test_the_unit_of_the_energy_scales_every_score(coupling):
    plain, scaled = make(), make(coupling=coupling)
    for one, other in zip(plain.references, scaled.references, strict=True):
        np.testing.assert_allclose(other[1:], np.array(one[1:]) * coupling**2, rtol=1e-5)


def test_is_trained_and_positions_are_there_if_asked_for():
    made = make(positions=True)
    assert made.task.x.shape == (4 * 16, 5)
    x = np.asarray(made.example.x)
    assert len(np.unique(x[:, 1:].round(5), axis=0)) == 16
    result = jg.train(jg.DeepGNN(depth=2, width=8, out=made.task.out), made.task, seeds=1, steps=20, evaluate_every=10)
    assert result.train_loss[0] < result.history.train_loss[0, 0]
    assert made.example.loss(np.asarray(made.example.targets)) == 0


REFUSED = {
    "side": ({"side": 2}, "side=2: allowed are 3 and more, whole"),
    "alpha": ({"alpha": -1}, "alpha=-1: allowed are numbers from 0, below 100"),
    "nan": ({"alpha": float("nan")}, "alpha=nan: allowed are numbers from 0, below 100"),
    "coupling": ({"coupling": 0.0}, "coupling=0.0: allowed are finite numbers but 0"),
    "temperature": ({"temperature": 0}, "temperature=0: allowed are finite numbers above 0, and None"),
    "sweeps": ({"sweeps": 0}, "sweeps=0: allowed are 1 and more, whole"),
    "positions": ({"positions": 1}, "positions=1: allowed are True and False"),
    "train": ({"num_train": 0}, "num_train=0: allowed are 1 and more, whole"),
    "seed": ({"seed": -1}, "seed=-1: allowed are 0 and more, whole"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_out_of_range_are_refused_in_one_sentence(case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make(**options)


def test_predictions_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"^predictions has shape \(24, 16\): \[24, 16, 1\] is needed$"):
        make().task.metrics(np.zeros((24, 16)))

"""Every experiment and benchmark runs at its smallest."""

import dataclasses

import numpy as np
import pytest

from jaxgnn.experiments.bench import compile_time, half_precision, propagation, recorder, seeds, spectrum
from jaxgnn.experiments.bench import depth as bench_depth
from jaxgnn.experiments.keriven2025 import (
    energy,
    middle_layers,
    networks,
    output_error,
    plateau,
    stationary,
    stationary_claim,
    stationary_plan,
    training_curves,
)
from jaxgnn.experiments.keriven2025.stationary_cells import STAGES, measure


def test_plateau_has_a_cell_for_every_initialiser_bias_and_decay():
    assert len(plateau.cells(plateau.Config(datasets=("csbm",)))) == 3 * 2 * 3


def plateau_at(config, relative):
    """A finding from made-up runs: losses of so much of a constant predictor's 2 nats, by name."""
    found = {name: np.full(2, 2.0 * relative(name)) for name in plateau.cells(config)}
    constant = np.array(2.0)
    return plateau.show(config, {n: {"loss": v, "score": v / 4, "constant": constant} for n, v in found.items()})


def test_plateau_judges_by_the_numbers():
    config = plateau.Config(datasets=("csbm",))
    assert plateau_at(config, lambda name: 1.0).verdict == "reproduced"
    assert plateau_at(config, lambda name: 0.5).verdict == "not reproduced"
    assert plateau_at(config, lambda name: np.nan).verdict == "not reproduced"
    some = plateau_at(config, lambda name: 1.0 if "no bias" in name else 0.7)
    assert some.verdict == "partly"
    assert "9 of 18" in some.reason
    assert len(some.values) == 18


def test_stationary_measures_gnn_and_mlp_and_every_name_once():
    config = stationary.Config()
    names = stationary.cells(config)
    measured, around = stationary_plan.settings(config), stationary_plan.slices(config)
    assert len(names) == len(measured) + len(around) == len({*measured, *((s, "around") for s in around)})
    assert {setting.layer for setting in measured} == {"gcn", "mlp"}


def test_stationary_trains_the_readout_until_its_gradient_is_small():
    config = stationary.REPRODUCTION.presets["smoke"]
    found = measure(stationary_plan.settings(config)[0], config)
    assert found["stationary/gradient_norm"] <= 1e-8
    assert found["stationary/loss"] <= found["initial/loss"]
    # ||A^T B|| <= ||A|| ||B||.
    assert (found["adam/ratio"] <= 1 + 1e-12).all()


def test_stationary_judges_by_the_numbers():
    config = dataclasses.replace(stationary.REPRODUCTION.presets["smoke"], sweep_graphs=(), remedy_graphs=())

    def made(graph_loss, blind):
        names = stationary_plan.settings(config)
        cells = {}
        for setting in names:
            loss, ratio = (graph_loss, 1e-6) if setting.layer == "gcn" else (0.5, blind)
            stages = {"loss": loss, "output_ratio": np.full(3, ratio), "ratio": np.full(3, ratio), "readout_norm": 1.0}
            stages |= {"gradient": np.full(3, ratio)}
            cells[setting] = {f"{stage}/{n}": np.array(v) for stage in STAGES for n, v in stages.items()}
            cells[setting] |= {"constant_loss": np.float64(1.0), "eigenvalue": np.float64(0.5)}
        return stationary_claim.judged(stationary_plan.Results(config, cells, {}))[0]

    assert made(0.99, 1e-2) == "reproduced"
    assert made(0.90, 1e-2) == "not reproduced"  # the loss is not high
    assert made(0.99, 1e-6) == "not reproduced"  # nor is the MLP farther from stationary


def test_stationary_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="remedies='magic' is not known"):
        stationary.Config(remedies=("magic",))
    with pytest.raises(ValueError, match="graph='moon' is not known"):
        networks.dataset("moon")


def test_energies_lie_under_lines_that_are_products_of_lambda_and_s():
    config = energy.Config(graphs=("karate",), activations=("identity", "relu"), depth=3, width=4, seeds=1)
    results = {name: {k: np.asarray(v) for k, v in make().items()} for name, make in energy.cells(config).items()}
    for name, found in results.items():
        lines = energy.Energy(found)
        steps = found["eigenvalue"][0] * found["scales"][0]
        forward, backward = lines.line[0] / lines.forward[0, 0], lines.backward_line[0] / lines.backward[0, -1]
        np.testing.assert_allclose(forward, [np.prod(steps[:k]) for k in range(4)], rtol=1e-12)
        np.testing.assert_allclose(backward, [np.prod(steps[k + 1 :]) for k in range(3)], rtol=1e-12)
        assert lines.forward_share <= 1 + 1e-6
        assert name.endswith("relu") or lines.backward_share <= 1 + 1e-6
    # Features that grow are above the line, errors without a mean are not smooth.
    growth = 10.0 ** np.arange(4)
    rough = {n: f | {"feature_mu": f["feature_mu"] * growth, "error_mu": f["error_norm"]} for n, f in results.items()}
    assert energy.show(config, rough).verdict == "not reproduced"


def test_the_error_is_the_sum_of_what_its_mean_and_the_rest_give():
    # B is linear in E: with a mean that is 0 nothing changes without it.
    config = output_error.Config(graphs=("karate",), activations=("relu",), depth=2, width=4, seeds=1, steps=(0,))
    found = next(iter(output_error.cells(config).values()))()
    assert (found["mean"] <= found["error"]).all()
    stationary_point = {name: value[0, -1] for name, value in found.items() if np.ndim(value) == 2}
    assert stationary_point["mean"] <= 1e-8
    np.testing.assert_allclose(stationary_point["without"], stationary_point["first"], rtol=1e-4)


def test_a_linear_network_is_its_own_linear_recursion():
    config = middle_layers.Config(graphs=("karate",), smooth=("identity",), kinked=(), depths=(3,), width=4, seeds=1)
    for make in middle_layers.cells(config).values():
        np.testing.assert_allclose(make()["distance"], np.zeros((1, 3)), atol=1e-12)


def test_middle_layers_judge_by_the_numbers():
    config = middle_layers.Config(graphs=("csbm",), smooth=("tanh",), kinked=("relu",), depths=(3, 9), seeds=1)

    def verdict(graph, blind):
        found = {name: graph if ", gcn, " in name else blind for name in middle_layers.cells(config)}
        depths = {name: int(name.split(", ")[-1].split()[0]) for name in found}
        arrays = {n: {"distance": np.full((1, depths[n]), v), "eigenvalue": np.full(1, 0.5)} for n, v in found.items()}
        return middle_layers.show(config, arrays).verdict

    assert verdict(0.01, 0.3) == "reproduced"
    assert verdict(0.2, 0.9) == "not reproduced"  # not nearly linear
    assert verdict(0.01, 0.01) == "not reproduced"  # and so is the MLP


@pytest.mark.parametrize(
    ("graph", "blind", "relative", "verdict"),
    [
        (1.0, 0.1, 0.01, "reproduced"),
        (1.0, 0.1, 1.0, "partly"),  # gradients are not small
        (0.3, 0.1, 0.01, "not reproduced"),  # the GNN trains
        (1.0, 1.0, 0.01, "not reproduced"),  # the MLP does not either
    ],
)
def test_training_curves_judge_by_the_numbers(graph, blind, relative, verdict):
    config = training_curves.Config(graphs=("csbm",), kinds=("relu",), depths=(2,), seeds=2)
    results = {}
    for name in training_curves.cells(config):
        loss, ratio = (graph, relative) if ", gcn, " in name else (blind, 1.0)
        gradient = {"gradient": np.ones((2, 3)), "relative": np.full((2, 3), ratio), "steps": np.arange(3)}
        results[name] = gradient | {"loss": np.full((2, 4), loss), "constant": np.array(1.0), "gap": np.array(0.5)}
        results[name] |= {"score": np.ones(2)}
    assert training_curves.show(config, results).verdict == verdict


def test_seeds_times_every_way_of_running():
    config = seeds.Config(depth=2, width=2, seeds=2, bound_c=(0.5, 1.0), steps=2, rounds=1)
    found = seeds.run(config)
    assert all(value > 0 for value in found.values())
    assert found.keys() == {"one", "map", "vmap"}


def test_recorder_times_training_with_and_without_it():
    found = recorder.run(recorder.Config(depth=1, width=2, steps=10, record_every=10, rounds=1))
    assert found.keys() == {"without", "with"}
    assert all(value > 0 for value in found.values())


def test_compile_time_prints_every_depth():
    assert compile_time.run(compile_time.Config(depths=(2, 4), width=4, rounds=1)).keys() == {2, 4}


def test_propagation_times_every_backend():
    table = propagation.run(propagation.Config(width=2, rounds=1))
    assert all(seconds.keys() == {"padded", "segment", "dense"} for seconds in table.values())


def test_spectra_of_every_method_agree():
    config = spectrum.Config(sizes=(32, 64), d=4, rounds=1, memory=False, methods=("jaxgnn", "jax jacfwd"))
    rows = spectrum.run(config)
    assert [(row.size, row.method) for row in rows] == [(n, m) for n in (32, 64) for m in config.methods]
    assert all(row.difference <= 1e-12 for row in rows)
    assert spectrum.table(rows).count("\n") >= 4


def test_depth_prints_the_estimate_beside_what_is_measured(monkeypatch):
    config = bench_depth.Config(dataset="karate", depths=(9,), width=4, policies=("sqrt",), rounds=1)
    (row,) = bench_depth.run(config)
    assert row.every == 3
    assert all(value > 0 for value in (row.measured.counted, row.measured.compilation, row.measured.seconds))
    assert row.measured.added >= 0

    def refuse(*_):
        raise MemoryError("too much")

    monkeypatch.setattr(bench_depth, "require", refuse)
    (skipped,) = bench_depth.run(config)
    assert skipped.skipped == "too much"
    assert np.isnan(skipped.measured.counted)
    lines = bench_depth.table([row, skipped]).splitlines()
    assert len({line.count("|") for line in lines}) == 1


def test_half_precision_moves_the_spectrum_of_a_smooth_network_by_its_roundoff():
    config = half_precision.Config(dataset="karate", activations=("tanh",), depth=2, width=2, layers=(-1,), steps=2)
    rows, trainings = half_precision.run(dataclasses.replace(config, dtypes=("bfloat16",)))
    assert [(row.dtype, row.layer, row.unit) for row in rows] == [("bfloat16", 1, 2.0**-8)]
    assert all(0 < row.rms <= row.largest <= 30 * row.unit for row in rows)
    assert [t.dtype for t in trainings] == ["float32", "bfloat16"]
    assert half_precision.table(rows, trainings).count("\n") == 3 + 1 + 4 - 1  # two tables and a line between

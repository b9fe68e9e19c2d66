import json

import numpy as np
import pytest
import scipy.sparse as sp

import jaxgnn as jg
from jaxgnn.commands.main import main
from jaxgnn.commands.setting import DataConfig, ModelConfig
from jaxgnn.commands.spectrum import Spectrum, SpectrumConfig, choose
from jaxgnn.host.storage import Cell, kept_cell
from jaxgnn.jacobian import linear_layer_law
from jaxgnn.report.spectrum import range_line
from jaxgnn.training.optimisers import TrainConfig

SMALL = {"probes": 4, "lanczos_steps": 16, "sources": 4, "exponents": 3}


def spectrum(tmp_path, model=None, steps=5, **config):
    options = {"layer": "gcn", "depth": 4, "width": 3} | (model or {})
    source, what = DataConfig(dataset="karate"), SpectrumConfig(**SMALL | config)
    return Spectrum(source, ModelConfig(**options), TrainConfig(steps=steps), what, tmp_path)


def jacobian_of(measured, params, layer):
    model, task = measured.model, measured.task
    return jg.jacobian(*model.layer_fn(params, task.graph, task.x, layer=layer, dtype=np.float64)).dense()


@pytest.mark.parametrize("layer", ["gcn", "gat", "mlp"])
def test_exact_spectra_are_those_of_the_dense_jacobians(tmp_path, layer):
    measured = spectrum(tmp_path, {"layer": layer})
    results, params = measured.run(), measured.parameters()
    assert [record["layer"] for record in results["layers"]] == [0, 2, 3]
    for record in results["layers"]:
        J = jacobian_of(measured, params, record["layer"])
        sigma = np.linalg.svd(J, compute_uv=False)
        np.testing.assert_allclose(measured.arrays[f"{record['layer']}/singular_values"], sigma, atol=1e-10 * sigma[0])
        np.testing.assert_allclose(record["statistics"]["mean_square"]["value"], np.mean(sigma**2), rtol=1e-9)
        radius = np.abs(np.linalg.eigvals(J)).max()
        np.testing.assert_allclose(record["spectral_radius"], radius, rtol=1e-6, atol=1e-9)
        assert record["method"] == "exact"
        assert record["precision"] == "float64"


def test_both_ends_from_products_are_within_their_bounds(tmp_path):
    measured = spectrum(tmp_path, method="krylov", at=(1,), top=5, factorise="yes")
    (record,) = measured.run()["layers"]
    sigma = np.linalg.svd(jacobian_of(measured, measured.parameters(), 1), compute_uv=False)
    found = {n: measured.arrays[f"1/largest/{n}"] for n in ("lower", "upper")}
    assert (found["lower"] <= sigma[:5]).all()
    assert (sigma[:5] <= found["upper"]).all()
    kept = sigma[sigma > sigma.size * np.finfo(float).eps * sigma[0]][::-1][:5]
    assert (measured.arrays["1/smallest/lower"] <= kept + 1e-15).all()
    assert (kept <= measured.arrays["1/smallest/upper"] + 1e-15).all()
    assert "certified" in record["accuracy"]


def test_depth_is_the_product_of_the_layers(tmp_path):
    measured = spectrum(tmp_path)
    depth, params = measured.run()["depth"], measured.parameters()
    product = np.eye(34 * 3)
    for layer in range(4):
        product = jacobian_of(measured, params, layer) @ product
    np.testing.assert_allclose(depth["end_to_end_norm"], np.linalg.norm(product, 2), rtol=1e-6)
    assert len(depth["lyapunov"]) == 3
    high, bound = measured.arrays["depth/sensitivity/mean"], measured.arrays["depth/sensitivity/bound"]
    assert (high <= bound * (1 + 1e-12)).all()


def test_ranges_are_those_of_the_dense_jacobians(tmp_path):
    measured = spectrum(tmp_path, range_nodes=5)
    results, params = measured.run(), measured.parameters()
    graph = measured.task.graph
    distance = sp.csgraph.shortest_path(sp.csr_array((np.ones(156), (graph.receivers, graph.senders)), (34, 34)))
    for record in results["layers"]:
        norms = np.abs(jacobian_of(measured, params, record["layer"])).reshape(34, 3, 34, 3).sum(axis=(1, 3))
        known = norms.sum(axis=1) > 0
        rho = (norms * distance).sum(axis=1)[known] / norms.sum(axis=1)[known]
        assert record["range"]["range"] == pytest.approx(rho.mean(), rel=1e-12)
        assert record["range"]["without_influence"] == 34 - known.sum()
        assert record["range"]["interval"] == [record["range"]["range"]] * 2  # of all nodes
    ends = results["depth"]["range"]
    assert (ends["nodes"], ends["population"]) == (5, 34)
    low, high = ends["interval"]
    assert low < ends["range"] < high
    assert 1 < measured.arrays["depth/influence/total"].size <= 5
    assert f"{results['layers'][1]['range']['range']:.3g} at layer 2" in range_line(results)
    assert "5 of 34 nodes" in range_line(results)


def test_the_law_beside_a_plain_layer_has_the_mean_square_of_its_weights(tmp_path):
    measured = spectrum(tmp_path, {"activation": "identity"}, at=(0,))
    (record,) = measured.run()["layers"]
    # ||J||_F^2 = ||P||_F^2 ||W||_F^2, and the law's mean square is ||P||_F^2 d e E w^2 / (n d).
    np.testing.assert_allclose(record["law"]["mean_square"], record["statistics"]["mean_square"]["value"], rtol=1e-9)
    assert 0 < record["law"]["distance"] < 1
    assert linear_layer_law(np.eye(2), shape=(3, 3), variance=1 / 3).mean_square == pytest.approx(1)


def test_block_norms_are_those_of_the_dense_jacobian(tmp_path):
    measured = spectrum(tmp_path)
    f, h = measured.model.layer_fn(measured.parameters(), measured.task.graph, measured.task.x, layer=1)
    J = jg.jacobian(f, h, measured.task.graph)
    blocks = J.dense().reshape(34, 3, 34, 3)
    np.testing.assert_allclose(J.block_norms().toarray(), np.sqrt(np.sum(blocks**2, axis=(1, 3))), rtol=1e-6)


def test_auto_goes_by_size_and_says_so():
    J = jg.jacobian(lambda h: h**2, np.ones((8, 3)))
    assert choose(J, SpectrumConfig())[:2] == ("exact", "n d = 24 is at most 6,000 (--exact-below)")
    assert choose(J, SpectrumConfig(exact_below=23))[:2] == ("krylov", "n d = 24 is above 23 (--exact-below)")
    assert choose(J, SpectrumConfig(method="krylov"))[:2] == ("krylov", "as asked for")
    for config in (SpectrumConfig(), SpectrumConfig(method="krylov")):
        assert "GiB" in choose(J, config).cost


def test_trained_networks_are_trained(tmp_path):
    (initial,) = spectrum(tmp_path / "a", at=(1,), exponents=0).run()["layers"]
    results = spectrum(tmp_path / "b", at=(1,), exponents=0, trained=True).run()
    assert results["depth"] is None
    assert results["layers"][0]["statistics"]["mean_square"] != initial["statistics"]["mean_square"]


def test_features_that_overflow_are_reported(tmp_path):
    model = {"residual": "scaled", "residual_scale": 1e8, "depth": 60}
    measured = spectrum(tmp_path, model, at=(0, 59))
    first, last = measured.run()["layers"]
    assert "error" not in first
    assert last["error"].startswith("f(h) is NaN or infinite")


def test_the_same_call_gives_the_same_numbers(tmp_path):
    numbers = []
    for name in ("a", "b"):
        measured = spectrum(tmp_path / name, at=(1,))
        measured.run()
        numbers.append(dict(np.load(tmp_path / name / "spectrum.npz")))
    assert numbers[0].keys() == numbers[1].keys()
    for name, values in numbers[0].items():
        np.testing.assert_array_equal(values, numbers[1][name], err_msg=name)


def without_times(results):
    """results.json without what differs from one measurement to the next."""
    layers = [
        {k: v for k, v in r.items() if k not in ("seconds", "seconds_of", "peak_memory", "cost")}
        for r in results["layers"]
    ]
    return {k: v for k, v in results.items() if k != "commit"} | {"layers": layers}


def test_each_layer_and_the_training_are_kept_when_a_command_is_stopped(tmp_path, monkeypatch):
    whole = spectrum(tmp_path / "whole", trained=True, steps=20)
    right = whole.run()
    measure, trained, measured = Spectrum._layer, [], []

    def layer(self, params, number, say):
        measured.append(number)
        return measure(self, params, number, say)

    def train(*args, **options):
        return jg.train(*args, **options, progress=trained.append)

    monkeypatch.setattr(Spectrum, "_layer", layer)
    monkeypatch.setattr("jaxgnn.commands.spectrum.train", train)

    def until_the_last(line):
        if line.startswith("layer 3: exact"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spectrum(tmp_path / "run", trained=True, steps=20).run(until_the_last)
    assert (measured, trained) == ([0, 2, 3], [0, 10, 20])
    measured.clear(), trained.clear()
    said = []
    again = spectrum(tmp_path / "run", trained=True, steps=20)
    found = again.run(said.append)
    assert (measured, trained) == ([3], [20])  # it was trained
    assert said[:2] == ["layer 0: kept from before", "layer 2: kept from before"]
    assert without_times(found) == without_times(right)
    assert again.arrays.keys() == whole.arrays.keys()
    for name, values in whole.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values, err_msg=name)
    # Other layers of the same network are measured beside those that are kept, and other options anew.
    measured.clear()
    spectrum(tmp_path / "run", trained=True, steps=20, at=(1, 2)).run()
    assert measured == [1]
    spectrum(tmp_path / "run", trained=True, steps=20, at=(2,), probes=5).run()
    assert measured == [1, 2]


@pytest.mark.parametrize("damage", [lambda raw: raw[:50], lambda raw: b"null", lambda raw: b"\xff" + raw])
@pytest.mark.parametrize("ending", ["json", "npz"])
def test_a_damaged_cell_is_measured_again(tmp_path, ending, damage):
    first = spectrum(tmp_path, at=(1,), exponents=0)
    right = first.run()
    (path,) = (tmp_path / "cells").glob(f"*.{ending}")
    path.write_bytes(damage(path.read_bytes()))
    again = spectrum(tmp_path, at=(1,), exponents=0)
    assert without_times(again.run()) == without_times(right)
    np.testing.assert_array_equal(again.arrays["1/singular_values"], first.arrays["1/singular_values"])


def test_numbers_that_are_not_finite_are_kept_as_they_are(tmp_path):
    cell = Cell(
        {"a": [np.inf, -np.inf, float("nan")], "b": {"c": None, "shape": (2, 3)}}, {"x": np.array([np.nan, 1j])}
    )
    first = kept_cell(tmp_path / "cell", "0123456789abcdef", lambda: cell)
    again = kept_cell(tmp_path / "cell", "0123456789abcdef", lambda: pytest.fail("it is kept"))
    for found in (first, again):
        np.testing.assert_array_equal(found.summary["a"], cell.summary["a"])
        assert found.summary["b"] == {"c": None, "shape": [2, 3]}
        np.testing.assert_array_equal(found.arrays["x"], cell.arrays["x"])


def test_the_command_writes_a_page(tmp_path, capsys):
    command = "spectrum --dataset karate --layer gcn --depth 3 --width 2 --at 0,2 --method auto --probes 4 --json"
    assert main([*command.split(), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    summary = json.loads(shown.out.splitlines()[-1])
    page = (tmp_path / "out" / "index.html").read_text()
    for text in ("Singular values", "Density", "Modulus", "complex plane", "by block", "Lyapunov", "Sensitivity"):
        assert text in page
    assert json.loads((tmp_path / "out" / "results.json").read_text())["layers"][1]["layer"] == 2
    assert summary["page"].endswith("index.html")
    assert shown.err.startswith("layer 0: exact, n d = 68 is at most 6,000")
    names = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {f"layer-{k}-{n}.png" for k in (0, 2) for n in ("density", "modulus", "plane", "blocks")} <= names


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--at", "0,9"], "at=9: a network of 2 blocks has layers 0 to 1"),
        (["--method", "magic"], "magic"),
        (["--probes", "1"], "probes=1: allowed are 2 and more"),
        (["--layer", "nothing"], "layer='nothing' is not known: allowed are gcn"),
        (["--ends", "layer"], "leaves no block between the ends"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(tmp_path, capsys, options, sentence):
    assert main(["spectrum", "--dataset", "karate", *options, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()

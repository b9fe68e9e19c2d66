"""What `jaxgnn probe` measures, writes and says."""

import json
import re

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.analysis.theory_lines import Line, Lines
from jaxgnn.analysis.verdict import verdict
from jaxgnn.commands.main import main
from jaxgnn.commands.probe import ProbeConfig, Probing, _theory
from jaxgnn.commands.setting import DataConfig, ModelConfig
from jaxgnn.data import csbm
from jaxgnn.host import memory
from jaxgnn.report.panels import Curve, curves
from jaxgnn.report.probing import headline, table, write_probing
from jaxgnn.report.static import drawn_alone
from jaxgnn.training.optimisers import TrainConfig


def probing(out, *, model=None, source=None, steps=10, **config):
    options = {"depth": 3, "width": 3} | (model or {})
    source = DataConfig(**{"dataset": "karate"} | (source or {}))
    return Probing(source, ModelConfig(**options), TrainConfig(steps=steps), ProbeConfig(**config), out)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A GCN and an MLP, before and after training, on a graph of one component."""
    measured = probing(tmp_path_factory.mktemp("both"), model={"activation": "tanh"}, seeds=2, record_ranks=True)
    return measured, measured.run()


def figures(out):
    return sorted((out / "figures").glob("*.png"))


def test_the_numbers_are_those_of_the_trained_networks(both):
    measured, results = both
    task = measured.task
    for name, model in measured.models.items():
        trained = jg.train(model, task, seeds=2, steps=10)
        for state, params in (("init", trained.initial_params), ("trained", trained.final_params)):
            with jax.enable_x64(True):
                of_first = jax.tree.map(lambda a: jnp.asarray(a[0], jnp.float64), params)
                trace = jg.probe(model, of_first, task.graph, np.asarray(task.x, np.float64), task.loss)
                mu = np.asarray(jax.vmap(jg.measures.mu)(trace.feature_grads))
                off = jax.vmap(lambda X: jg.measures.off_degree_span(X, task.graph.propagation))(trace.features)
            numbers = {key: measured.arrays[f"{state}/{name}/{key}"][0] for key in ("loss", "weight_grads")}
            np.testing.assert_allclose(numbers["loss"], trace.loss, rtol=1e-12)
            np.testing.assert_allclose(numbers["weight_grads"], trace.weight_grads, rtol=1e-10)
            np.testing.assert_allclose(measured.arrays[f"{state}/{name}/feature_grads/mu"][0], mu, rtol=1e-10)
            np.testing.assert_allclose(measured.arrays[f"{state}/{name}/features_off/mu"][0], off, rtol=1e-10)
            rank = [float(jg.measures.effective_rank(np.asarray(X))) for X in trace.features]
            np.testing.assert_allclose(measured.arrays[f"{state}/{name}/feature_ranks/effective"][0], rank, rtol=1e-6)
            energy = measured.arrays[f"{state}/{name}/feature_grads/energy"][0]
            np.testing.assert_allclose(energy, mu / np.sqrt(34), rtol=1e-10)
            assert energy.dtype == np.float64
            summary = results["states"][state][name]["layers"]["feature_grads/mu"]
            both_seeds = measured.arrays[f"{state}/{name}/feature_grads/mu"]
            np.testing.assert_allclose(summary["median"], both_seeds.mean(axis=0))  # of two
            np.testing.assert_array_equal(summary["high"], both_seeds.max(axis=0))
        assert results["training"][name]["train_losses"] == trained.train_loss.tolist()
        np.testing.assert_array_equal(measured.arrays[f"record/{name}/steps"], [0, 10])


def test_ranges_are_those_of_the_networks(both):
    measured, results = both
    task = measured.task
    trained = jg.train(measured.models["gcn"], task, seeds=2, steps=10)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: np.asarray(a[1], np.float64), trained.initial_params)
        x, readout = np.asarray(task.x, np.float64), params["params"]["readout"]["kernel"]
        f, h = measured.models["gcn"].segment_fn(params, task.graph, x)
        expected = jg.influence(lambda h: f(h) @ readout, h, task.graph, nodes=16)
    found = results["states"]["init"]["gcn"]["range"]
    assert found["ranges"][1] == pytest.approx(expected.range, rel=1e-9)
    assert found["standard_errors"][1] == pytest.approx(expected.standard_error, rel=1e-9)
    np.testing.assert_allclose(measured.arrays["init/gcn/influence/total"][1], expected.total, rtol=1e-9)
    assert measured.arrays["init/gcn/range/range"].shape == (2, 4)
    assert (measured.arrays["init/gcn/range/range"][:, 3] == 0).all()  # the readout
    assert results["states"]["init"]["mlp"]["range"]["ranges"] == [0, 0]


def test_before_training_needs_no_training_and_gives_the_same(both, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgnn.commands.probe.train", None)
    alone = probing(tmp_path, model={"activation": "tanh"}, seeds=2, when=("init",), control="none")
    results = alone.run()
    assert list(results["states"]) == ["init"]
    assert list(results["states"]["init"]) == ["gcn"]
    assert results["training"] == {}
    for name, values in alone.arrays.items():
        np.testing.assert_allclose(values, both[0].arrays[name], rtol=1e-5, err_msg=name)  # float32 weights


def test_the_line_is_a_bound_where_it_says_so(both):
    measured, results = both
    # rho = tanh: under "sym" it takes the features off the span, so neither line is a bound.
    lines = results["states"]["trained"]["gcn"]["lines"]
    assert not lines["forward"]["holds"]
    assert "tanh takes features off the span" in lines["forward"]["why"]
    assert "ρ = id" in lines["backward"]["why"]
    assert results["graph"]["eigenvalue"] == pytest.approx(
        np.sort(np.abs(np.linalg.eigvalsh(measured.task.graph.propagation.dense())))[-2], abs=1e-6
    )


def test_several_components_are_said_and_measured_on_the_largest(tmp_path, monkeypatch):
    ds = csbm(num_nodes=60, num_features=4, average_degree=1.5, train_per_class=5)
    monkeypatch.setattr("jaxgnn.commands.setting.data.load_dataset", lambda name, split: ds)
    options = {"activation": "identity", "residual": "identity"}
    measured = probing(tmp_path, model=options, when=("init",), seeds=2, control="none")
    results = measured.run()
    labels = jg.components(measured.task.graph)
    assert results["graph"]["components"] == labels.max() + 1 > 1
    assert results["graph"]["largest_component"] == np.bincount(labels).max() < 60
    assert results["graph"]["eigenvalue"] < 1 - 1e-3
    for way, signal in (("forward", "features_off"), ("backward", "feature_grads_off")):
        line = results["states"]["init"]["gcn"]["lines"][way]
        assert line["holds"]
        assert line["worst_ratio"] <= 1 + 1e-9
        inside = measured.arrays[f"init/gcn/{signal}/mu"]
        assert (inside <= measured.arrays[f"init/gcn/{way}_line"] * (1 + 1e-9)).all()
        assert (inside < measured.arrays[f"init/gcn/{signal.removesuffix('_off')}/norm"]).all()
    page = write_probing(measured.out, results, measured.arrays, "jaxgnn probe").read_text()
    assert f"There are {results['graph']['components']} components" in page
    assert "a bound: the largest measured value is" in page


def test_a_layer_without_a_line_says_so_and_is_measured_against_equal_rows(tmp_path):
    measured = probing(tmp_path, model={"layer": "gat"}, when=("init",), seeds=1, control="none")
    results = measured.run()
    assert results["graph"]["spans"] == ("span(1)", "span(1)")
    assert "there is no line for layer=GAT" in results["states"]["init"]["gat"]["lines"]["forward"]["why"]
    arrays = measured.arrays
    np.testing.assert_allclose(arrays["init/gat/features_off/mu"], arrays["init/gat/features/mu"], rtol=1e-12)
    page = write_probing(measured.out, results, arrays, "jaxgnn probe").read_text()
    assert "there is no line for layer=GAT" in page
    assert "does not propagate with P alone" in page


def test_features_that_overflow_are_shown_as_such(tmp_path):
    model = {"residual": "scaled", "residual_scale": 1e38}
    measured = probing(tmp_path, model=model, when=("init",), seeds=2, control="none", precision="float32")
    results = measured.run()
    write_probing(measured.out, results, measured.arrays, "jaxgnn probe")
    assert "not finite" in table(results)[0]
    assert "0 or not finite" in results["headline"]
    assert json.loads((tmp_path / "results.json").read_text())["states"]["init"]["gcn"]["verdict"]["ratio"] is None


@pytest.mark.parametrize(
    ("norm", "relative", "words"),
    [
        ([1e-5, 1.0, 1.0], [0.9, 0.5, 1.0], "vanishing, not smoothing"),
        ([1e-5, 1.0, 1.0], [0.3, 0.01, 1.0], "vanishing and smoothing"),
        ([0.1, 1.0, 1.0], [0.01, 0.5, 1.0], "smoothing, not vanishing"),
        ([0.1, 1.0, 1.0], [0.02, 0.01, 0.05], "smooth throughout, not vanishing"),
        ([0.1, 1.0, 1.0], [0.5, 0.5, 1.0], "neither vanishing nor smoothing"),
        ([1e5, 1.0, 1.0], [0.5, 0.5, 1.0], "exploding, not smoothing"),
        ([0.0, 0.0, 0.0], [np.nan] * 3, "no gradient to speak of: it is 0 or not finite"),
    ],
)
def test_vanishing_and_smoothing_are_told_apart(norm, relative, words):
    numbers = {"feature_grads/norm": np.array([norm]), "feature_grads_off/relative_mu": np.array([relative])}
    found = verdict(numbers)
    assert found["words"] == words
    said = headline({"graph": {"spans": ("a", "span(1)")}, "states": {"trained": {"gcn": {"verdict": found}}}})
    assert said.startswith("After training, at layer 0: GCN's gradient has ")
    assert said.endswith(f"{words}.")


def test_what_is_not_finite_is_neither_smooth_nor_below_a_line():
    relative = np.full((1, 3), np.nan)
    numbers = {"feature_grads/norm": np.array([[1e-5, 1.0, 1.0]]), "feature_grads_off/relative_mu": relative}
    assert verdict(numbers)["words"] == "no gradient to speak of: it is 0 or not finite"
    line = Lines(Line(np.ones(3), ()), Line(np.ones(3), ()))
    measured = {name: np.array([[1.0, np.nan, 0.5]]) for name in ("features_off/mu", "feature_grads_off/mu")}
    assert np.isnan(_theory([line], measured)["forward"]["worst_ratio"])


def test_curves_leave_out_what_has_no_place_and_say_so():
    # Of three seeds: infinite or not a number is left out; 0 counts in the median, and is then left out on a log scale.
    x, nan, inf = np.arange(4), np.nan, np.inf
    values = np.array([[0.0, 1.0, inf, nan], [0.0, 3.0, 4.0, nan], [2.0, 8.0, nan, nan]])
    figure = drawn_alone(curves({"a": Curve(x, values, 0)}, xlabel="x", ylabel="y", log=True))
    (line,) = figure.axes[0].get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(line.get_ydata(), [nan, 3, 4])
    for values, text in ((np.zeros((1, 4)), "every value is 0"), (np.full((1, 4), np.nan), "there is no value")):
        empty = drawn_alone(curves({"a": Curve(x, values, 0)}, xlabel="x", ylabel="y", log=True))
        assert empty.axes[0].texts[0].get_text() == text


def test_the_command_writes_a_page(tmp_path, capsys):
    command = (
        "probe --dataset karate --depth 3 --width 3 --when init --seeds 1 --control none --json --normalisation doubly"
    )
    assert main([*command.split(), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    summary = json.loads(shown.out.splitlines()[-1])
    page = (tmp_path / "out" / "index.html").read_text()
    for text in ("Vanishing", "Smoothing", "linear recursion", "along its mean", "float64", "one seed"):
        assert text in page
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["headline"] in shown.out
    assert set(results["states"]["init"]) == {"gcn"}
    assert {"config", "graph", "training", "constant_loss", "versions"} <= set(results)
    assert len(results["states"]["init"]["gcn"]["layers"]["errors/mu"]["median"]) == 3
    assert summary["page"].endswith("index.html")
    ranks = results["states"]["init"]["gcn"]["layers"]["feature_ranks/effective"]["median"]
    assert summary["ranks"]["init"]["gcn"]["feature_ranks/effective"] == ranks
    assert summary["range"]["init"]["gcn"] == results["states"]["init"]["gcn"]["range"]
    (reach,) = summary["range"]["init"]["gcn"]["ranges"]
    assert f"Range of the network, in edges: gcn, init: {reach:.3g}, ± " in shown.out
    assert "from 16 of 34 nodes" in shown.out
    assert f"Effective ranks: gcn, init: X {ranks[0]:.3g} at layer 0, {ranks[-1]:.3g} at 3; G" in shown.out
    assert len(figures(tmp_path / "out")) == 3 + 4 + 6 + 6 + 2


def test_the_page_of_a_trained_network_has_both_states_and_the_way_between(both):
    measured, results = both
    page = write_probing(measured.out, results, measured.arrays, "jaxgnn probe <x>").read_text()
    page = re.sub(r"<[^>]*>", "", page)  # symbols are links
    for text in (
        "Before training: ",
        "After training: ",
        "During training",
        "Ranks",
        "Influence against distance",
        "Stable rank of G⁽ˡ⁾",
        "Made by: jaxgnn probe &lt;x&gt;",
    ):
        assert text in page
    drawn = figures(measured.out)
    assert len(drawn) == 6 + 4 + 6 + 6 + 2 + 5 + 6  # "sym": off the span as well
    for figure in drawn:
        assert figure.with_suffix(".svg").exists()
        assert np.unique(matplotlib.image.imread(figure)).size > 10, f"{figure.name} is blank"


def test_the_control_has_all_options_of_the_layer_but_the_graph(tmp_path):
    models = probing(tmp_path, model={"layer": "a_dgn", "norm": "layer"}).models
    assert models["a_dgn"].residual != jg.DeepGNN().residual  # the layer's own
    for option in ("activation", "residual", "residual_scale", "norm", "depth", "width", "out"):
        assert getattr(models["mlp"], option) == getattr(models["a_dgn"], option)


def test_too_little_memory_is_said_before_a_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 20_000)  # enough for P
    with pytest.raises(MemoryError, match="probing 3 layers of width 3 needs"):
        probing(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_layer_is_probed_and_has_no_pairs_of_layers(tmp_path, capsys):
    arguments = ["probe", "--dataset", "karate", "--depth", "1", "--width", "3", "--seeds", "2", "--steps", "10"]
    assert main([*arguments, "--when", "init", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    numbers = results["states"]["init"]["gcn"]["layers"]
    assert numbers["cosine"] == numbers["alignment"] == {"median": [], "low": [], "high": []}
    assert len(numbers["errors/norm"]["median"]) == 1
    assert len(numbers["features/norm"]["median"]) == 2
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "Of BBᵀ: there is none, in one layer." in page
    assert len(figures(tmp_path)) == page.count("<figcaption ")

"""The study: what it writes, what it keeps, what it goes on from."""

import json
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands import study as module
from jaxgnn.commands.study import Study, StudyConfig
from jaxgnn.commands.study_cell import STATES
from jaxgnn.report.depth_study import write_study

CONFIG = StudyConfig(
    dataset="karate",
    depths=(1, 3),
    remedies=("none", "residual+frobenius"),
    bound_c=(0.5, 2.0),
    seeds=2,
    steps=4,
    width=4,
)
TIMES = ("seconds",)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = Study(CONFIG, tmp_path_factory.mktemp("study"))
    study.run()
    return study


def comparable(study):
    cells = [{k: v for k, v in cell.items() if k not in TIMES} for cell in study.results()["cells"]]
    return json.dumps(cells), {key: cell.arrays for key, cell in study.cells.items()}


def assert_same(a, b):
    (cells_a, arrays_a), (cells_b, arrays_b) = comparable(a), comparable(b)
    assert cells_a == cells_b
    assert arrays_a.keys() == arrays_b.keys()
    for key, arrays in arrays_a.items():
        for name, values in arrays.items():
            np.testing.assert_array_equal(values, arrays_b[key][name], err_msg=f"{key} {name}")


def test_results_hold_a_row_for_each_depth_and_remedy(study):
    results = study.write_results()
    assert json.loads((study.out / "results.json").read_text()) == json.loads(json.dumps(results))
    assert [(cell["depth"], cell["remedy"]) for cell in results["cells"]] == study.keys
    for cell in results["cells"]:
        assert cell["dataset"] == "karate"
        assert cell["layer"] == "gcn"
        assert len(cell["scores"]) == CONFIG.seeds
        assert cell["score_mean"] == pytest.approx(np.mean(cell["scores"]))
        assert cell["score_std"] == pytest.approx(np.std(cell["scores"]))
        assert cell["constant_loss"] == pytest.approx(np.log(2))  # one training node of each class
        assert cell["bound_c"] in ((None,) if cell["remedy"] == "none" else CONFIG.bound_c)
    assert results["config"]["seed"] == 0
    assert results["versions"]["jax"] == jax.__version__
    assert results["device"]["platform"] == "cpu"
    assert "commit" in results


def test_c_is_chosen_by_validation(study):
    cell = study.cells[3, "residual+frobenius"].summary
    best = max(cell["searched"], key=lambda point: point["val_mean"])
    assert cell["bound_c"] == best["bound_c"]
    assert np.mean(cell["val_scores"]) == pytest.approx(best["val_mean"])


def test_arrays_are_what_probe_and_jacobian_measure(study):
    """The cell's numbers at initialisation, from the library's own calls on the same seed."""
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    task = jg.tasks.node_classification(ds, graph)
    model = CONFIG.model(3, "none", 4, 2)
    result = jg.train(model, task, seeds=2, **{"steps": 4, "learning_rate": CONFIG.learning_rate, "l2": CONFIG.l2})
    arrays = study.cells[3, "none"].arrays
    for state in STATES:
        every = result.initial_params if state == "initial" else result.final_params
        params = jax.tree.map(lambda a: a[0], every)
        trace = jg.probe(model, params, graph, task.x, task.loss)
        G = np.asarray(trace.feature_grads, np.float64)
        mu = np.linalg.norm(G - G.mean(axis=1, keepdims=True), axis=(1, 2))
        np.testing.assert_allclose(arrays[f"{state}/feature_grads/mu"][0], mu, rtol=1e-4)
        X = np.asarray(trace.features, np.float64)
        P = graph.propagation.dense()
        dirichlet = np.einsum("lnd,nm,lmd->l", X, np.eye(34) - P, X)
        np.testing.assert_allclose(arrays[f"{state}/features/dirichlet"][0], dirichlet, rtol=1e-3)
        for layer in (0, 1, 2):
            J = jg.jacobian(*model.layer_fn(params, graph, task.x, layer=layer, dtype=jnp.float64))
            sigma = np.linalg.svd(J.dense(), compute_uv=False)
            np.testing.assert_allclose(arrays[f"{state}/singular_values/{layer}"], sigma, atol=1e-10 * sigma[0])


def test_above_exact_below_the_largest_are_taken_and_labelled(study, tmp_path):
    few = Study(StudyConfig(**{**vars(CONFIG), "exact_below": 100, "depths": (1,), "remedies": ("none",)}), tmp_path)
    few.run()
    cell = few.cells[1, "none"]
    assert "20 largest" in cell.summary["spectrum"]
    values = cell.arrays["trained/singular_values/0"]
    np.testing.assert_allclose(values, study.cells[1, "none"].arrays["trained/singular_values/0"][:20], rtol=1e-6)
    assert (cell.arrays["trained/singular_values/0/lower"] <= values).all()
    assert (cell.arrays["trained/singular_values/0/upper"] >= values).all()


def test_a_second_run_computes_nothing(study, monkeypatch):
    monkeypatch.setattr(module, "sweep", None)
    again = Study(CONFIG, study.out)
    again.run()
    assert_same(study, again)


def test_an_interrupted_study_goes_on_to_the_same_result(study, tmp_path):
    def interrupt(label, done, total):
        if label == "depth 3, none":
            raise KeyboardInterrupt

    one_at_a_time = StudyConfig(**{**vars(CONFIG), "cores": 1})
    first = Study(one_at_a_time, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.run(interrupt)
    assert list(first.cells) == [(3, "residual+frobenius")]  # the longest is the first
    second = Study(one_at_a_time, tmp_path)
    second.run()
    assert_same(study, second)


def test_an_interrupted_study_of_several_cells_at_a_time_keeps_what_is_done(study, tmp_path):
    def interrupt(label, done, total):
        if label == "depth 1, residual+frobenius":
            raise KeyboardInterrupt

    config = StudyConfig(**{**vars(CONFIG), "cores": 3})
    first = Study(config, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.run(interrupt)
    assert {(3, "residual+frobenius"), (3, "none")} <= first.cells.keys() < set(first.keys)
    second = Study(config, tmp_path)
    second.run()
    assert_same(study, second)


def test_a_damaged_cell_is_run_again(study, tmp_path):
    one = StudyConfig(**{**vars(CONFIG), "depths": (1,), "remedies": ("none",)})
    Study(one, tmp_path).run()
    for pattern in ("*.npz", "*.json"):
        (file,) = (tmp_path / "cells").glob(pattern)
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        again = Study(one, tmp_path)
        again.run()
        np.testing.assert_array_equal(
            again.cells[1, "none"].arrays["trained/features/mu"], study.cells[1, "none"].arrays["trained/features/mu"]
        )


def test_other_options_in_the_same_folder_overwrite_nothing(study):
    before = {file.name: file.read_bytes() for file in (study.out / "cells").iterdir()}
    other = Study(StudyConfig(**{**vars(CONFIG), "seed": 1, "depths": (1,), "remedies": ("none",)}), study.out)
    other.run()
    after = {file.name: file.read_bytes() for file in (study.out / "cells").iterdir()}
    assert before.items() < after.items()


def test_a_diverging_network_is_reported_and_the_page_is_written(tmp_path):
    config = StudyConfig(
        dataset="karate", depths=(40,), remedies=("residual",), seeds=1, steps=3, width=4, learning_rate=1e20
    )
    study = Study(config, tmp_path)
    study.run()
    results = study.write_results()
    assert results["cells"][0]["failed_seeds"] == 1
    assert json.loads((tmp_path / "results.json").read_text())["cells"][0]["train_loss"] is None
    page = write_study(tmp_path, results, {key: cell.arrays for key, cell in study.cells.items()}, "jaxgnn study")
    assert "not finite" in page.read_text()


def test_the_page_is_self_contained_and_says_what_each_figure_shows(study):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays = {key: cell.arrays for key, cell in study.cells.items()}
        page = write_study(study.out, study.write_results(), arrays, "jaxgnn study --dataset <karate>")
    text = re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []
    assert not re.search(r"<link|@import|url\(", text)
    assert 'name="viewport"' in text
    assert "--dataset &lt;karate&gt;" in text
    figures = re.findall(r"<figure .*?</figure>", text, flags=re.DOTALL)
    assert len(figures) == 2 + 6 + 3  # accuracy, loss; six measures; the first, the middle and the last layer
    captions = [re.sub(r"<[^>]*>", "", c) for c in re.findall(r'<p data-view="\d+">(.*?)</p>', text)]
    # The measures at each depth; spectra of layers 0 and 0, 1, 2, before and after training together.
    assert len(captions) == 2 + 2 * 6 + (1 + 3)
    assert all(caption.endswith(".") for caption in captions)
    names = {file.stem for file in (study.out / "figures").glob("*.png")}
    for kind in ("svg", "json"):
        assert names == {file.stem for file in (study.out / "figures").glob(f"*.{kind}")}
    assert len(names) == len(captions)


def test_real_cora(cora, tmp_path):
    config = StudyConfig(dataset="cora", depths=(2,), remedies=("none",), seeds=1, steps=60)
    study = Study(config, tmp_path)
    study.run()
    cell = study.cells[2, "none"].summary
    assert cell["constant_loss"] == pytest.approx(np.log(7))
    assert cell["score_mean"] > 0.7
    assert cora.x.shape == (2708, 1433)
    assert "78 connected components" in study.facts()[1]

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.data import DataError, csbm, row_normalise
from jaxgnn.data import saved as files
from jaxgnn.network.described import described, made

MODEL = jg.DeepGNN(layer="gcn", depth=2, width=6, out=3, residual="identity", bound="frobenius", bound_c=0.5)


@pytest.fixture(scope="module")
def ds():
    return csbm(num_nodes=45, num_features=4, train_per_class=5, average_degree=4.0)


@pytest.fixture(scope="module")
def task(ds):
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


@pytest.fixture(scope="module")
def result(task):
    return jg.train(MODEL, task, seeds=3, steps=10, learning_rate=0.02, record_every=10)


@pytest.fixture(scope="module")
def file(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "result"
    result.save(path)
    return path


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


class Own(nn.Module):
    """A layer of one's own."""

    features: int = 6

    @nn.compact
    def __call__(self, graph, X):
        return nn.Dense(self.features)(graph.propagation @ X)


def test_a_seed_is_the_run_without_its_axis(result, task):
    one = result.seed(1)
    assert one.score.shape == one.best_step.shape == ()
    assert one.score == result.score[1]
    assert one.history.train_loss.shape == (10,)
    assert_same(one.params, jax.tree.map(lambda a: a[1], result.params))
    assert_same(one.params, result.params_of(1))
    np.testing.assert_array_equal(one.record.steps, result.record.steps)
    np.testing.assert_array_equal(one.record.samples.loss, result.record.samples.loss[1])
    assert repr(one).startswith("TrainResult(one run: test score ")
    logits = MODEL.apply(one.params, task.graph, task.x)
    assert task.scores(logits).test == pytest.approx(float(one.score))


@pytest.mark.parametrize("i", [-1, 3, 1.0, "0", None])
def test_a_seed_that_is_not_there(result, i):
    with pytest.raises(ValueError, match="allowed are 0 to 2"):
        result.seed(i)
    with pytest.raises(ValueError, match="allowed are 0 to 2"):
        result.params_of(i)
    with pytest.raises(ValueError, match="of one run"):
        result.seed(0).seed(0)


def test_the_best_run_is_chosen_by_validation(result):
    scores = np.array([0.4, np.nan, 0.9], np.float32)
    given = result._replace(val_score=scores)
    assert_same(given.best(), given.seed(2))
    lower = given._replace(origin=with_origin(given, maximise=False))
    assert_same(lower.best(), lower.seed(0))
    assert_same(given.seed(1).best(), given.seed(1))
    with pytest.raises(ValueError, match="no run has a validation score"):
        result._replace(val_score=np.full(3, np.nan, np.float32)).best()


def with_origin(result, **changes):
    return replace(result.origin, **changes)


@pytest.mark.parametrize("rule", ["row", "raw"])
def test_predictions_take_x_as_stored(ds, rule):
    graph = jg.prepare(ds.graph)
    task = jg.tasks.node_classification(ds, graph, features=rule)
    result = jg.train(MODEL, task, seeds=2, steps=3)
    x = row_normalise(ds.x) if rule == "row" else ds.x
    expected = [MODEL.apply(result.params_of(i), graph, x) for i in range(2)]
    found = result.predict(graph, ds.x)
    assert found.shape == (2, 45, 3)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.seed(1).predict(graph, ds.x), expected[1], rtol=1e-5, atol=1e-6)
    correct = np.argmax(np.asarray(found), axis=2) == ds.labels
    np.testing.assert_allclose(correct[:, ds.test_mask].mean(axis=1), result.score, rtol=1e-6)


def test_what_cannot_be_predicted_is_refused(result, task, ds):
    with pytest.raises(ValueError, match=r"jaxgnn\.prepare"):
        result.predict(ds.graph, ds.x)
    with pytest.raises(ValueError, match="trained on 4 features"):
        result.predict(task.graph, ds.x[:, :3])
    with pytest.raises(ValueError, match="rows must agree"):
        result.predict(task.graph, ds.x[:5])
    with pytest.raises(ValueError, match="origin is None"):
        result._replace(origin=None).predict(task.graph, ds.x)


def test_what_is_saved_is_what_comes_back(result, file, task, ds):
    assert file.name == "result"
    assert [path.name for path in file.parent.iterdir()] == ["result"]
    again = jg.load(file)
    assert_same(again, result)
    assert again.origin.config == result.origin.config
    assert again.origin.model == MODEL
    assert again.origin.versions["jaxgnn"] == jg.__version__
    np.testing.assert_array_equal(again.predict(task.graph, ds.x), result.predict(task.graph, ds.x))
    again.save(file.parent / "again")
    assert (file.parent / "again").read_bytes() == file.read_bytes()
    assert_same(jg.load(str(file)).seed(0), result.seed(0))


def test_numpy_reads_the_arrays_and_nothing_is_pickled(result, file):
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    assert names[0] == "jaxgnn.json"
    assert all(name.endswith(".npy") for name in names[1:])
    with np.load(file, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["score"], result.score)
        kernel = arrays["params/params/encoder/kernel"]
    np.testing.assert_array_equal(kernel, result.params["params"]["encoder"]["kernel"])


def test_any_changed_byte_is_noticed(file, tmp_path):
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    places = [0, 3, 31, len(data) - 1, len(data) - 65, len(data) - 80, *rng.integers(0, len(data), 40)]
    for place in places:
        broken = bytearray(data)
        broken[place] ^= 1 << rng.integers(8)
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(DataError) as error:
            jg.load(tmp_path / "broken")
        assert str(tmp_path / "broken") in str(error.value)


@pytest.mark.parametrize("part", [0, 3, 100, 0.5, 0.99, -1])
def test_a_file_cut_short(file, tmp_path, part):
    data = file.read_bytes()
    (tmp_path / "short").write_bytes(data[: int(part * len(data)) if isinstance(part, float) else part])
    with pytest.raises(DataError, match=r"cut short or changed|is not a file of results"):
        jg.load(tmp_path / "short")


def rewritten(path, **changes):
    """The file with another header, whole."""
    found = files.read(path)
    original, files.FORMAT = files.FORMAT, changes.pop("format", files.FORMAT)
    try:
        value = files.decoded(found.content, found.arrays, {"Extremes": jg.Extremes})
        files.write(path, changes.pop("kind", found.kind), value, found.about)
    finally:
        files.FORMAT = original


def extremes():
    return jg.Extremes(np.array([2.0, 1.0]), np.array([1.9, 0.9]), np.array([2.1, np.inf]), np.array([True, False]))


def test_other_versions_and_kinds_are_refused(tmp_path):
    path = tmp_path / "file"
    extremes().save(path)
    rewritten(path, format=7)
    with pytest.raises(DataError, match=r"file has format 7 \(of jaxgnn .*\), and this version reads 1$"):
        jg.load(path)
    extremes().save(path)
    rewritten(path, kind="Oracle")
    with pytest.raises(DataError, match="holds a 'Oracle': allowed are TrainResult, "):
        jg.load(path)
    extremes().save(path)
    with pytest.raises(DataError, match=r"model= is for a TrainResult"):
        jg.load(path, model=MODEL)
    with pytest.raises(DataError, match=r"cannot read .*nothing: No such file"):
        jg.load(tmp_path / "nothing")
    with pytest.raises(DataError, match="cannot read"):
        jg.load(tmp_path)
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(DataError, match="is not a file of results"):
        jg.load(tmp_path / "other.npz")


def test_a_layer_of_ones_own_needs_the_model(task, tmp_path):
    model = jg.DeepGNN(layer=Own(), depth=2, width=6, out=3)
    result = jg.train(model, task, seeds=1, steps=2)
    result.save(tmp_path / "own")
    with pytest.raises(DataError, match=r"Own of one's own.*load\(path, model=\.\.\.\)"):
        jg.load(tmp_path / "own")
    assert_same(jg.load(tmp_path / "own", model=model), result)
    with pytest.raises(DataError, match=r"depth=3, not 2$"):
        jg.load(tmp_path / "own", model=model.clone(depth=3))
    with pytest.raises(DataError, match="a dict, not a DeepGNN"):
        jg.load(tmp_path / "own", model={})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layer": "a_dgn"},
        {"layer": jg.layers.GAT(features=8, heads=2, attention_dropout=0.5), "width": 8},
        {"layer": jg.layers.SAGE, "bias": True, "norm": "batch"},
        {"residual": "ssm", "ssm": jg.StateSpace(transition="rotation", modulus=0.9)},
        {"residual": "scaled", "residual_scale": np.float32(0.25), "remat": "sqrt"},
    ],
)
def test_a_network_comes_back_from_its_description(options):
    model = jg.DeepGNN(**options)
    again = made(json.loads(json.dumps(described(model))))
    assert again == model
    assert again.clone(layer="gcn") == model.clone(layer="gcn")  # what was left to the layer still is


def test_rows_for_tables(result):
    rows = result.to_records()
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert rows[1]["score"] == result.score[1]
    assert json.loads(json.dumps(rows)) == rows
    steps = result.to_records(per="step")
    assert len(steps) == 30
    assert steps[13]["step"] == 3
    assert steps[13]["train_loss"] == result.history.train_loss[1, 3]
    assert "seed" not in result.seed(0).to_records()[0]
    with pytest.raises(ValueError, match="per='layer' is not known"):
        result.to_records(per="layer")


def test_steps_that_were_not_evaluated_have_no_row(task):
    result = jg.train(MODEL, task, seeds=1, steps=7, evaluate_every=3)
    assert [row["step"] for row in result.to_records(per="step")] == [0, 3, 6]


def test_pandas_is_asked_for(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match=r"needs pandas: python -m pip install 'jaxgnn\[pandas\]'"):
        result.to_pandas()
    alike = SimpleNamespace(DataFrame=SimpleNamespace(from_records=lambda rows: ("frame", rows)))
    monkeypatch.setitem(sys.modules, "pandas", alike)
    assert result.to_pandas(per="step") == ("frame", result.to_records(per="step"))


def test_pandas_itself(result):
    pd = pytest.importorskip("pandas")
    frame = result.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    np.testing.assert_array_equal(frame["score"], result.score.astype(float))


def test_another_process_opens_it(file, result):
    code = f"import jaxgnn as jg; print(jg.load({str(file)!r}).best())"
    shown = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == repr(result.best())


def measured(task):
    params = MODEL.init(jax.random.key(0), task.graph, task.x)
    J = jg.jacobian(*MODEL.layer_fn(params, task.graph, task.x, layer=1), task.graph)
    yield jg.probe(MODEL, params, task.graph, task.x, task.loss)
    yield jg.backward_analysis(MODEL, params, task.graph, task.x, task.loss)
    yield from (J.extremes(3), J.extremes(3, which="smallest"), J.density(probes=2, steps=8), J.statistics())
    yield jg.lyapunov(*MODEL.scan_fn(params, task.graph, task.x), k=2)
    yield jg.sensitivity(*MODEL.layer_fn(params, task.graph, task.x, layer=1), task.graph, sources=[0, 5])
    yield jg.influence(*MODEL.layer_fn(params, task.graph, task.x, layer=1), task.graph, nodes=3)
    yield jg.mixing(lambda x: jax.numpy.sin(x)[:2, 0], task.x, task.graph, nodes=1)


def test_measurements_come_back(task, tmp_path, result):
    for value in (*measured(task), result.record):
        value.save(tmp_path / "file")
        again = jg.load(tmp_path / "file")
        assert type(again) is type(value)
        assert_same(again, value)


def test_arrays_come_back(tmp_path):
    values = {"sigma": np.arange(3.0), "half": jax.numpy.arange(3, dtype="bfloat16"), "n": 4, "none": None, "e": np.inf}
    jg.save(tmp_path / "file", values)
    again = jg.load(tmp_path / "file")
    assert again.keys() == values.keys()
    assert again["half"].dtype == values["half"].dtype
    assert (again["n"], again["none"], again["e"]) == (4, None, np.inf)
    np.testing.assert_array_equal(again["sigma"], values["sigma"])
    np.testing.assert_array_equal(np.float32(again["half"]), [0, 1, 2])
    jg.save(tmp_path / "file", np.ones((0, 3), np.float32))
    assert jg.load(tmp_path / "file").shape == (0, 3)
    for value in (object(), np.array([{}]), {"f": print}, {1: np.ones(2)}):
        with pytest.raises(ValueError, match="files"):
            jg.save(tmp_path / "refused", value)
    for call in (jg.load, jg.load_run, extremes().save):
        with pytest.raises(ValueError, match="path is a int: a text or"):
            call(5)
    with pytest.raises(ValueError, match="takes the path first"):
        jg.save(np.ones(3), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_a_folder_that_cannot_be_written_to(result, tmp_path):
    with pytest.raises(OSError, match="No such file"):
        result.save(tmp_path / "nowhere" / "file")


def test_a_run_comes_back_from_its_folder(task, result, tmp_path):
    options = {"seeds": 3, "steps": 10, "learning_rate": 0.02, "record_every": 10}
    jg.train(MODEL, task, out=tmp_path / "run", **options)
    found = jg.load_run(tmp_path / "run")
    assert_same(found, result)
    with pytest.raises(ValueError, match="option 'bound_c' is not in the run's grid: allowed are none"):
        jg.load_run(tmp_path / "run", bound_c=0.5)


def test_a_grid_point_is_chosen_by_its_options(task, tmp_path):
    points = jg.sweep(MODEL, task, grid={"bound_c": [0.5, 1.0]}, seeds=1, steps=2, out=tmp_path / "run")
    found = jg.load_run(tmp_path / "run", bound_c=1.0)
    assert_same(found, points[1].result)
    assert found.origin.model == MODEL.clone(bound_c=1.0)
    with pytest.raises(ValueError, match=r"2 grid points, and 2 are meant: allowed are bound_c=0.5; bound_c=1"):
        jg.load_run(tmp_path / "run")
    with pytest.raises(ValueError, match="0 are meant"):
        jg.load_run(tmp_path / "run", bound_c=3.0)


def test_a_folder_without_a_finished_run(tmp_path):
    with pytest.raises(DataError, match=r"holds no run of jaxgnn: config\.json: No such file"):
        jg.load_run(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(DataError, match="is not of a run of jaxgnn"):
        jg.load_run(tmp_path)
    (tmp_path / "config.json").write_text('{"grid": {}, "train": {"steps": 20}}')
    with pytest.raises(DataError, match="a run of 20 steps that is not finished"):
        jg.load_run(Path(tmp_path))

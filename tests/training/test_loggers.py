"""`log=`: every step's metrics once, in order, from the host; and the adapters to Weights & Biases and MLflow."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands.main import main
from jaxgnn.training.loggers import opened

MODEL = jg.DeepGNN(depth=1, width=3, out=2)
STEPS = 23


@pytest.fixture(scope="module")
def task():
    ds = jg.load_dataset("karate")
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


class Told(list):
    """A log that keeps what it is told."""

    def __call__(self, step, metrics):
        assert all(isinstance(values, np.ndarray) for values in metrics.values())
        self.append((step, metrics))

    def history(self, name):
        return np.stack([metrics[name] for _, metrics in self], axis=-1)


def test_every_step_is_told_once_with_the_seeds(task):
    told = Told()
    result = jg.train(MODEL, task, seeds=3, steps=STEPS, log=told)
    assert [step for step, _ in told] == list(range(STEPS))
    for name, values in result.history._asdict().items():
        np.testing.assert_array_equal(told.history(name), values)
    assert told[0][1]["train_loss"].shape == (3,)


def test_a_sweep_tells_points_and_seeds_and_nothing_changes(task):
    told = Told()
    with_log = jg.sweep(MODEL, task, grid={"l2": [0.0, 0.1]}, seeds=3, steps=STEPS, log=told)
    without = jg.sweep(MODEL, task, grid={"l2": [0.0, 0.1]}, seeds=3, steps=STEPS)
    for i, (one, other) in enumerate(zip(with_log, without, strict=True)):
        np.testing.assert_array_equal(one.result.score, other.result.score)
        np.testing.assert_array_equal(told.history("val_loss")[i], one.result.history.val_loss)


def test_what_was_not_evaluated_is_nan_and_is_told(task):
    told = Told()
    jg.train(MODEL, task, seeds=2, steps=6, evaluate_every=3, log=told)
    evaluated = np.isfinite(told.history("val_score")).all(axis=0)
    assert evaluated.tolist() == [True, False, False, True, False, False]


def test_a_run_that_goes_on_tells_what_is_new(task, tmp_path):
    first, second = Told(), Told()

    def stops(step, metrics):
        first(step, metrics)
        if step == 9:
            raise RuntimeError("the log's own")

    with pytest.raises(RuntimeError, match="the log's own"):
        jg.train(MODEL, task, seeds=2, steps=STEPS, out=tmp_path, log=stops)
    result = jg.train(MODEL, task, seeds=2, steps=STEPS, out=tmp_path, log=second)
    assert [step for step, _ in first] == list(range(10))
    assert [step for step, _ in second][-13:] == list(range(10, STEPS))
    plain = jg.train(MODEL, task, seeds=2, steps=STEPS)
    np.testing.assert_array_equal(result.history.train_loss, plain.history.train_loss)


@pytest.mark.parametrize("log", ["wandb", 3, True])
def test_what_is_no_function_is_refused(task, log):
    with pytest.raises(ValueError, match=r"^log=.*: a function of \(step, metrics by name\) is needed$"):
        jg.train(MODEL, task, seeds=1, steps=1, log=log)


class Wandb(SimpleNamespace):
    """What the adapter uses of wandb."""

    def __init__(self):
        super().__init__(started=[], logged={}, finished=0)

    def init(self, **options):
        self.started.append(options)
        return self

    def log(self, metrics, step):
        self.logged[step] = metrics

    def finish(self):
        self.finished += 1


class MLflow(SimpleNamespace):
    """What the adapter uses of mlflow."""

    def __init__(self):
        super().__init__(names=[], params={}, logged={}, ended=0)

    def start_run(self, run_name):
        self.names.append(run_name)

    def log_params(self, params):
        self.params |= params

    def log_metrics(self, metrics, step):
        self.logged[step] = metrics

    def end_run(self):
        self.ended += 1


COMMAND = ["train", "--dataset", "karate", "--depth", "1", "--width", "3", "--steps", "12", "--seeds", "2"]


def history_of(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return {line.pop("step"): line for line in lines}


def assert_the_history_is_logged(folder, logged):
    there = history_of(folder)
    assert list(logged) == list(there) == list(range(12))
    for step, metrics in logged.items():
        told = {f"{name}/run_{i}": v for name, values in there[step].items() for i, v in enumerate(values)}
        assert metrics == told


def test_weights_and_biases_gets_the_history(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", wandb := Wandb())
    assert main([*COMMAND, "--log", "wandb", "--out", str(tmp_path / "run")]) == 0
    (options,) = wandb.started
    assert (options["project"], options["name"], options["dir"]) == ("jaxgnn", "run", str(tmp_path / "run"))
    assert (options["config"]["dataset"], options["config"]["depth"], options["config"]["grid"]) == ("karate", 1, "")
    assert_the_history_is_logged(tmp_path / "run", wandb.logged)
    assert wandb.finished == 1
    capsys.readouterr()


def test_mlflow_gets_the_history(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", mlflow := MLflow())
    assert main([*COMMAND, "--log", "mlflow", "--out", str(tmp_path / "run")]) == 0
    assert (mlflow.names, mlflow.params["learning-rate"], mlflow.ended) == (["run"], 5e-3, 1)
    assert_the_history_is_logged(tmp_path / "run", mlflow.logged)
    capsys.readouterr()


def test_tensorboard_is_the_flag(tmp_path, monkeypatch, capsys):
    written = {}

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == str(tmp_path / "run" / "tensorboard")

        def add_scalar(self, name, value, step):
            written[name, step] = float(value)

        def flush(self):
            pass

    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=SummaryWriter))
    assert main([*COMMAND, "--log", "tensorboard", "--out", str(tmp_path / "run")]) == 0
    assert written["train_loss/run_1", 11] == pytest.approx(history_of(tmp_path / "run")[11]["train_loss"][1])
    capsys.readouterr()


def test_the_end_is_told_and_what_is_not_finite_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", wandb := Wandb())

    def interrupted():
        with opened("wandb", folder=tmp_path, options={"at": (1, 2)}) as log:
            log(0, {"a": np.array([1.0, np.nan]), "b": np.array([np.inf, -1.0])})
            log(1, {"a": np.array([np.nan])})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert wandb.logged == {0: {"a/run_0": 1.0, "b/run_1": -1.0}}
    assert wandb.started[0]["config"] == {"at": "1,2"}
    assert wandb.finished == 1
    with opened("none", folder=tmp_path, options={}) as log:
        assert log is None


@pytest.mark.parametrize(("logger", "module"), [("wandb", "wandb"), ("mlflow", "mlflow"), ("tensorboard", None)])
def test_a_library_that_is_not_there_is_named(logger, module, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module or "tensorboardX", None)
    assert main([*COMMAND, "--log", logger]) == 2
    error = capsys.readouterr().err
    assert f"log='{logger}' needs {module or 'tensorboardX'}: python -m pip install 'jaxgnn[{logger}]'" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert main([*COMMAND, "--log", "wanb"]) == 2
    assert "invalid choice 'wanb' for argument '--log', did you mean 'wandb'?" in capsys.readouterr().err

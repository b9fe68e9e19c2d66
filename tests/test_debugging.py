"""JAX's switches that stop at NaN and infinity: a healthy run has them where there is no number, and goes on."""

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands.probe import ProbeConfig, Probing
from jaxgnn.commands.setting import ModelConfig
from jaxgnn.commands.spectrum import Spectrum, SpectrumConfig
from jaxgnn.commands.study import Study, StudyConfig
from jaxgnn.commands.task_setting import TaskConfig
from jaxgnn.training.optimisers import TrainConfig

KARATE, STEPS = TaskConfig(dataset="karate"), TrainConfig(steps=10, evaluate_every=4)
MODEL = ModelConfig(depth=2, width=2)


@pytest.fixture
def stopping():
    """jax_debug_nans and jax_debug_infs."""
    with jax.debug_nans(True), jax.debug_infs(True):
        yield


def task():
    ds = jg.load_dataset("karate")
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


def train(**options):
    return jg.train(jg.DeepGNN(layer="gcn", depth=2, width=2, out=2), task(), seeds=2, steps=20, **options)


def test_training_is_the_same(stopping):
    """Steps that are not evaluated, and those after a run has stopped, have no metrics: NaN."""
    options = {"evaluate_every": 4, "patience": 4, "record_every": 10}
    found = train(**options)
    assert np.isnan(found.history.train_loss).any()
    with jax.debug_nans(False), jax.debug_infs(False):
        expected = train(**options)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_run_that_fails_is_found(stopping):
    with pytest.raises(
        FloatingPointError, match=r"^run 0: a loss or a gradient is not finite within the first \d0 steps$"
    ):
        train(learning_rate=1e30)
    assert jax.config.jax_debug_nans  # as it was


def test_a_probe_a_spectrum_and_a_study_are_measured(stopping, tmp_path):
    """The cosines of an error that is 0, the exponent of a direction that dies out."""
    Probing(KARATE, MODEL, STEPS, ProbeConfig(seeds=1), tmp_path / "probe").run()
    config = SpectrumConfig(trained=True, probes=2, lanczos_steps=4, at=(0,))
    Spectrum(KARATE, MODEL, STEPS, config, tmp_path / "spectrum").run()
    study = Study(StudyConfig(dataset="karate", depths=(2,), remedies=("none",), seeds=1, steps=2, width=2), tmp_path)
    study.run()
    assert study.results()["cells"]

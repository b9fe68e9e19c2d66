"""The README's Python examples run as they stand."""

import re
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def block():
    """Runs the example that holds some text and returns its names."""

    def run(text):
        (code,) = (block for block in BLOCKS if text in block)
        names = {}
        exec(compile(code, "README.md", "exec"), names)
        return names

    return run


def test_a_graph_of_your_own(block):
    names = block("karate_club_graph")
    assert names["ds"].num_classes == 2
    assert names["result"].score.shape == (3,)


def test_the_tour(block):
    names = block("measures.mu")
    assert names["logits"].shape == (34, 2)
    assert names["mu_G"].shape == (65,)
    assert names["sigma"].shape == (34 * 16,)
    np.testing.assert_allclose(names["top"].values, names["sigma"][:20], rtol=1e-6)
    assert names["result"].score.shape == (10,)


def test_results_are_kept_continued_and_drawn(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = block("jg.load(")
    assert [path.name for path in tmp_path.iterdir()] == ["later.result"]
    assert names["logits"].shape == (3, 34, 2)
    assert len(names["rows"]) == 60
    assert names["ax"].get_ylabel() == "score"
    plt.close("all")


def test_a_layer_of_your_own(block, karate):
    names = block("MeanMinusSelf")
    graph = names["jg"].prepare(karate.graph)
    params = names["model"].init(jax.random.key(0), graph, karate.x)
    assert np.isfinite(names["model"].apply(params, graph, karate.x)).all()


def test_networks_of_other_libraries(block):
    pytest.importorskip("equinox")
    names = block("import equinox")
    assert names["errors"].shape == (4, 34, 8)
    assert names["sigma"].shape == (34 * 8,)


def test_an_intervention(block):
    reaching = block("edits.off_mean()")["reaching"]
    assert reaching["off the mean"] < 0.1 * reaching["all of it"]
    assert reaching["the mean"] == pytest.approx(reaching["all of it"], rel=0.1)


def test_nothing_else_is_left_untested():
    assert len(BLOCKS) == 6

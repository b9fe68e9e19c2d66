"""The README's Python examples run as they stand."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def block():
    """Runs one of the examples and returns its names."""

    def run(number):
        names = {}
        exec(compile(BLOCKS[number], "README.md", "exec"), names)
        return names

    return run


def test_the_tour(block):
    names = block(0)
    assert names["logits"].shape == (34, 2)
    assert names["mu_G"].shape == (65,)
    assert names["sigma"].shape == (34 * 16,)
    np.testing.assert_allclose(names["top"].values, names["sigma"][:20], rtol=1e-6)
    assert names["result"].score.shape == (10,)


def test_a_layer_of_your_own(block, karate):
    names = block(1)
    graph = names["jg"].prepare(karate.graph)
    params = names["model"].init(jax.random.key(0), graph, karate.x)
    assert np.isfinite(names["model"].apply(params, graph, karate.x)).all()


def test_nothing_else_is_left_untested():
    assert len(BLOCKS) == 2

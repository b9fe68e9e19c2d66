"""What a layer's spectrum is said to take: a range, with compiling in the first layer's, by what layers before took."""

import jax
import jax.numpy as jnp
import pytest

import jaxgnn as jg
from jaxgnn.commands import spectrum_cost
from jaxgnn.commands.spectrum_cost import Work, said, seconds, work_of
from jaxgnn.commands.spectrum_plan import SpectrumConfig

CONFIG = SpectrumConfig()


@pytest.fixture(scope="module")
def J():
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    model = jg.DeepGNN(depth=2, width=6, out=2)
    params = model.init(jax.random.key(0), graph, ds.x)
    return jg.jacobian(*model.layer_fn(params, graph, ds.x, layer=0, dtype=jnp.float64), graph)


@pytest.fixture
def steady(monkeypatch):
    """A machine of the speed that the constants are of, that does nothing else."""
    monkeypatch.setattr(spectrum_cost, "_probe", lambda: spectrum_cost._PROBE)
    monkeypatch.setattr(spectrum_cost, "_busy", lambda: 1.0)


def test_the_first_layer_includes_compiling_and_the_machine(J, steady, monkeypatch):
    low, high = seconds(J, "exact", CONFIG, [])
    assert high / low == pytest.approx(4)
    assert low < 2.5 < high
    monkeypatch.setattr(spectrum_cost, "_busy", lambda: 3.0)
    busy = seconds(J, "exact", CONFIG, [])
    assert busy[1] / busy[0] == pytest.approx(12, rel=0.2)
    monkeypatch.setattr(spectrum_cost, "_probe", lambda: 2 * spectrum_cost._PROBE)
    assert seconds(J, "exact", CONFIG, [])[0] == pytest.approx(2 * busy[0], rel=0.2)


def test_later_layers_take_what_the_last_one_did_times_what_they_have_grown_by(J, steady):
    work = work_of(J, "exact", CONFIG)
    parts = {"singular values": 8.0, "eigenvalues": 2.0, "density": 0.5}
    smaller = Work(work.values / 4, work.eigenvalues / 2, work.others)
    first = {"method": "exact", "seconds": 14.0, "seconds_of": parts, "work": smaller}
    low, high = seconds(J, "exact", CONFIG, [first])
    middle = 4 * 8.0 + 2 * 2.0 + (4.0 - 2.5)  # without what compiling took
    assert low * 1.7 == pytest.approx(middle, rel=0.15)
    assert high / low == pytest.approx(1.7**2)
    again = seconds(J, "exact", CONFIG, [first, first | {"work": work}])
    assert again[0] * 1.7 == pytest.approx(14.0, rel=0.15)
    assert seconds(J, "krylov", CONFIG, [first])[1] < 20  # none of its method is known


def test_work_grows_with_the_rows(J):
    small, large = work_of(J, "exact", CONFIG), work_of(J, "exact", CONFIG, slow=2.0)
    assert large.values == 2 * small.values
    assert work_of(J, "krylov", CONFIG).values == 0.0
    assert said(0.26, 12.4) == "0.3 to 12 s"

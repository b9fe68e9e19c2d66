import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.analysis import describe
from jaxgnn.jacobian import by_distance, marchenko_pastur, sensitivity_bound

MODEL = jg.DeepGNN(depth=6, width=5, out=2)


@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def task():
    ds = jg.load_dataset("karate")
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


@pytest.fixture(scope="module")
def result(task):
    return jg.train(MODEL, task, seeds=2, steps=10)


@pytest.fixture(scope="module")
def traces(task, result):
    ends = {"before": result.seed(0).initial_params, "after": result.params_of(0)}
    return {name: jg.probe(MODEL, params, task.graph, task.x, task.loss) for name, params in ends.items()}


@pytest.fixture(scope="module")
def jacobians(task, result):
    ends = (result.seed(0).initial_params, result.params_of(0))
    return [jg.jacobian(*MODEL.layer_fn(params, task.graph, task.x, layer=1), task.graph) for params in ends]


def y_of(ax, i=0):
    return np.asarray(ax.lines[i].get_ydata(), float)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_energy_is_the_measure_of_every_layer(traces, task):
    trace = traces["after"]
    ax = jg.plot.energy(trace)
    np.testing.assert_allclose(y_of(ax), [jg.measures.energy(X) for X in trace.features], rtol=1e-5)
    assert ax.get_yscale() == "log"
    assert "E(X⁽ˡ⁾)" in ax.get_ylabel()
    ax = jg.plot.energy(traces, graph=task.graph, signal="errors")
    P = task.graph.propagation
    for i, found in enumerate(traces.values()):
        np.testing.assert_allclose(y_of(ax, i), [jg.measures.dirichlet(B, P) for B in found.errors], rtol=1e-5)
    assert legend(ax) == ["before", "after"]


def test_energy_in_float64(task):
    X = np.random.default_rng(0).standard_normal((4, 34, 3)) * 10.0 ** -np.array([0, 60, 120, 140])[:, None, None]
    expected = [np.sqrt(np.mean(np.sum((Y - Y.mean(axis=0)) ** 2, axis=1))) for Y in X]
    np.testing.assert_allclose(describe.energy(X).series[0].y, expected, rtol=1e-12)


def test_similarity_is_blind_to_scale(traces, task, result):
    trace = traces["after"]
    ax = jg.plot.similarity(trace)
    for i, signals in enumerate((trace.features, trace.feature_grads, trace.errors)):
        np.testing.assert_allclose(y_of(ax, i), [jg.measures.relative_mu(X) for X in signals], rtol=1e-5)
    found = jg.backward_analysis(MODEL, result.params_of(0), task.graph, task.x, task.loss)
    np.testing.assert_allclose(y_of(jg.plot.similarity(found)), found.features.relative_mu)
    assert len(jg.plot.similarity(traces).lines) == 6


def test_spectra(jacobians):
    J = jacobians[0]
    sigma = J.singular_values()
    ax = jg.plot.spectrum(J)
    shown = np.where(sigma > 0, sigma, np.nan)
    np.testing.assert_array_equal(y_of(ax), shown)
    assert legend(ax) == [f"σᵢ ({np.sum(sigma == 0)} of {sigma.size} are 0)", "1: norm preserved"]
    np.testing.assert_array_equal(y_of(jg.plot.spectrum(sigma[::-1])), shown)
    extremes = J.extremes(4)
    ax = jg.plot.spectrum(J, k=4)
    np.testing.assert_allclose(y_of(ax), extremes.values, rtol=1e-6)
    assert ax.containers
    smallest = J.extremes(3, which="smallest")
    ax = jg.plot.spectrum(smallest)
    np.testing.assert_array_equal(y_of(ax), smallest.values)
    assert ax.get_xlabel() == "rank i, smallest above 0 first"
    with pytest.raises(ValueError, match="their ranks are not the same"):
        jg.plot.compare([smallest, extremes])
    assert len(jg.plot.compare(jacobians, labels=["before", "after"]).lines) == 3


def test_densities_exponents_sensitivities(jacobians, task, result):
    found = jacobians[0].density(probes=4, steps=12)
    law = marchenko_pastur(shape=(5, 5), variance=0.2)
    ax = jg.plot.density(found, laws={"law": law})
    np.testing.assert_allclose(y_of(ax, 1), law.density(found.grid))
    np.testing.assert_allclose(y_of(ax), found.density)
    exponents = jg.lyapunov(*MODEL.scan_fn(result.params_of(0), task.graph, task.x), k=3)
    np.testing.assert_allclose(y_of(jg.plot.lyapunov(exponents)), exponents.exponents)
    np.testing.assert_allclose(y_of(jg.plot.lyapunov(exponents.exponents)), exponents.exponents)
    f, h = MODEL.segment_fn(result.params_of(0), task.graph, task.x)
    reached = jg.sensitivity(f, h, task.graph, sources=[0, 5])
    params = {"params": result.params_of(0)["params"], "constants": result.params_of(0)["constants"]}
    bound = sensitivity_bound(task.graph.propagation, *MODEL.dynamics(params)[:2], sources=np.array([0, 5]))
    ax = jg.plot.sensitivity(reached, bound=bound)
    grouped = by_distance(reached)
    np.testing.assert_allclose(y_of(ax), np.where(grouped.mean > 0, grouped.mean, np.nan))
    assert (y_of(ax, 1) >= grouped.maximum * (1 - 1e-6)).all()
    np.testing.assert_array_equal(y_of(jg.plot.sensitivity(grouped)), y_of(ax))


def test_training_curves(result):
    ax = jg.plot.training(result)
    np.testing.assert_allclose(y_of(ax), np.median(result.history.train_loss, axis=0))
    assert (ax.get_yscale(), legend(ax)) == ("log", ["training", "validation"])
    ax = jg.plot.training({"all": result, "best": result.best()}, quantity="score")
    assert ax.get_yscale() == "linear"
    assert legend(ax)[3:] == ["best: training", "best: validation", "best: test"]


@pytest.mark.parametrize("name", ["energy", "similarity", "spectrum", "density", "lyapunov", "sensitivity", "training"])
def test_axes_in_and_out_and_the_same_description(name, traces, jacobians, task, result):
    of = {"energy": traces["after"], "similarity": traces, "spectrum": jacobians[0], "training": result}
    of["density"] = jacobians[0].density(probes=2, steps=8)
    of["lyapunov"] = np.array([0.5, -np.inf])
    of["sensitivity"] = jg.sensitivity(*MODEL.layer_fn(result.params_of(0), task.graph, task.x, layer=1), task.graph)
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert getattr(jg.plot, name)(of[name], ax) is ax
    panel = getattr(jg.plot.describe, name)(of[name])
    assert [ax.get_xlabel(), ax.get_ylabel()] == [panel.x.label, panel.y.label]
    assert len(ax.lines) == len(panel.series) + len(panel.references) + bool(ax.containers)
    assert not plt.get_fignums()
    again = jg.plot.compare({"a": of[name], "b": of[name]} if name != "similarity" else traces)
    assert legend(again)
    with pytest.raises(ValueError, match=r"needed|nothing to draw"):
        getattr(jg.plot, name)(object())
    with pytest.raises(ValueError, match="nothing to draw"):
        getattr(jg.plot, name)({})


def test_what_cannot_be_compared_is_refused(traces, jacobians, result):
    with pytest.raises(ValueError, match="LayerJacobian, Trace in one figure: what is compared is of one kind"):
        jg.plot.compare([traces["after"], jacobians[0]])
    with pytest.raises(ValueError, match="a list with something in it"):
        jg.plot.compare([])
    with pytest.raises(ValueError, match="2 different ones are needed"):
        jg.plot.compare(jacobians, labels=["a"])
    with pytest.raises(ValueError, match="signal='logits' is not known"):
        jg.plot.energy(traces, signal="logits")
    with pytest.raises(ValueError, match="quantity='accuracy' is not known"):
        jg.plot.training(result, quantity="accuracy")
    with pytest.raises(ValueError, match=r"an array of shape \(3,\): a Trace or signals"):
        jg.plot.energy(np.ones(3))
    with pytest.raises(ValueError, match=r"jaxgnn\.prepare"):
        jg.plot.energy(traces, graph=np.eye(34))


def test_a_network_whose_features_die_out_is_drawn_with_gaps(task):
    X = jax.random.normal(jax.random.key(0), (5, 34, 3)) * np.array([1, 1e-20, 1e-40, 0, 0], np.float32)[:, None, None]
    ax = jg.plot.energy(X)
    assert "are 0" in legend(ax)[0]
    assert np.isnan(y_of(ax)[-2:]).all()

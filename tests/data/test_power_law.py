import inspect

import numpy as np
import pytest
from scipy.integrate import quad

from jaxgnn.data import csbm, load_dataset, power_law
from jaxgnn.data.power_law import draw_pairs, pareto


def degrees(ds):
    return np.bincount(ds.graph.receivers, minlength=len(ds.labels))


@pytest.mark.parametrize("exponent", [2.001, 2.1, 2.5, 3.0, 6.0, 100.0])
@pytest.mark.parametrize(("mean", "largest"), [(6.0, 199.0), (14.0, 1e5), (150.0, 199.0)])
def test_weights_have_the_pareto_law_with_the_mean_and_the_end_that_are_asked_for(exponent, mean, largest):
    least, most = pareto(np.array([0.0, np.nextafter(1.0, 0.0)]), exponent, mean, largest)
    assert least < mean < most <= largest * (1 + 1e-9)
    # The density (w / w_min)^(-exponent) by quadrature, in log w.
    low, high = np.log([least, largest])

    def moment(p, stop):
        return quad(lambda t: np.exp(p * (t - low) + (1 - exponent) * (t - low)), low, stop, limit=200)[0]

    assert least * moment(1, high) / moment(0, high) == pytest.approx(mean, rel=1e-6)
    for u in (0.1, 0.5, 0.99):
        (w,) = pareto(np.array([u]), exponent, mean, largest)
        assert moment(0, np.log(w)) / moment(0, high) == pytest.approx(u, abs=1e-6)


@pytest.mark.parametrize("homophily", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("num_classes", [2, 7])
def test_it_is_a_simple_graph_with_the_number_of_edges_and_the_homophily_that_are_asked_for(num_classes, homophily):
    n, degree = 20_000, 7.0
    ds = power_law(num_nodes=n, num_classes=num_classes, average_degree=degree, homophily=homophily, exponent=2.2)
    s, r = (np.asarray(a, np.int64) for a in (ds.graph.senders, ds.graph.receivers))
    assert len(s) == n * degree
    assert (s != r).all()
    keys = r * n + s
    assert (np.diff(keys) > 0).all()  # in order, each once
    np.testing.assert_array_equal(np.sort(s * n + r), keys)  # and each with the one back
    same = (ds.labels[s] == ds.labels[r]).mean()
    assert abs(same - homophily) <= 5 * np.sqrt(homophily * (1 - homophily) / (len(s) / 2))


@pytest.mark.parametrize("exponent", [2.3, 3.0])
def test_the_tail_of_the_degrees_has_the_exponent(exponent):
    ds = power_law(num_nodes=200_000, average_degree=8.0, exponent=exponent, num_features=2)
    # Degrees k of a Poisson law about w fall like w^(-exponent). Hill's estimate, between 10 and 30 times the least w:
    # log(k + 1/2 over the least) is exponential of rate exponent - 1 there, cut off at the other end.
    low = 10 * pareto(np.zeros(1), exponent, 8.0, 199_999.0)[0]
    k = degrees(ds)
    k = k[(k > low) & (k <= 30 * low)]
    start, span = np.log(np.floor(low) + 0.5), np.log((np.floor(30 * low) + 0.5) / (np.floor(low) + 0.5))
    mean = np.mean(np.log(k) - start) / span
    # Mean of the exponential of rate a on [0, 1]: 1 / a - 1 / (e^a - 1), solved by a table.
    rates = np.linspace(0.1, 20, 20_000)
    rate = rates[np.argmin(np.abs(1 / rates - 1 / np.expm1(rates) - mean))] / span
    assert rate == pytest.approx(exponent - 1, abs=5 * (exponent - 1) / np.sqrt(k.size) + 0.1)


def test_edges_are_drawn_in_proportion_to_the_weights():
    n, draws = 12, 200_000
    rng = np.random.default_rng(0)
    labels, weights = np.repeat([0, 1, 2], [3, 5, 4]), pareto(rng.random(n), 2.1, 3.0, 11.0)
    for within in (True, False):
        expected = np.zeros((n, n))
        for u in range(n):
            others = (labels == labels[u]) == within
            expected[u] += weights[u] / weights.sum() * np.where(others, weights, 0) / weights[others].sum()
        expected = np.triu(expected + expected.T, 1)  # loops are left out
        keys = draw_pairs(rng, labels, weights, draws, within=within)
        counts = np.bincount(keys, minlength=n * n).reshape(n, n)
        assert (np.abs(counts - draws * expected) <= 5 * np.sqrt(draws * expected)).all()


def test_hubs_are_as_heavy_as_allowed():
    free = power_law(num_nodes=20_000, average_degree=10.0, exponent=2.1)
    cut = power_law(num_nodes=20_000, average_degree=10.0, exponent=2.1, max_degree=50.0)
    assert degrees(free).max() > 2000
    # Poisson about weights of at most 50, in proportion: the weights' own mean is within a few per cent of 10.
    assert 50 < degrees(cut).max() < 50 * 1.1 + 6 * np.sqrt(50)


def test_the_seed_decides():
    one, same, other = power_law(seed=3), power_law(seed=3), power_law(seed=4)
    for name in ("x", "labels", "train_mask", "val_mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    np.testing.assert_array_equal(one.graph.senders, same.graph.senders)
    assert not np.array_equal(one.graph.senders, other.graph.senders)


def test_default_split_and_features_are_the_csbms():
    ds, sbm = power_law(), csbm()
    assert ds.name == "power_law"
    assert ds.x.shape == sbm.x.shape
    assert (ds.x.dtype, ds.labels.dtype) == (np.float32, np.int32)
    for name in ("train_mask", "val_mask", "test_mask"):
        assert getattr(ds, name).sum() == getattr(sbm, name).sum()
    assert (ds.train_mask.astype(int) + ds.val_mask + ds.test_mask == 1).all()
    assert np.bincount(ds.labels[ds.train_mask]).tolist() == [20, 20, 20]
    assert load_dataset("power-law", num_nodes=300, seed=5).x.shape[0] == 300


def test_full_density_gives_every_pair_of_a_kind():
    options = {"num_nodes": 20, "num_classes": 4, "train_per_class": 1, "exponent": 6.0}
    ds = power_law(average_degree=4.0, homophily=1.0, **options)
    assert (ds.labels[ds.graph.senders] == ds.labels[ds.graph.receivers]).all()
    assert degrees(ds).tolist() == [4] * 20


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("num_classes", 1, "2 to num_nodes = 200"),
        ("average_degree", 0, "above 0 and below num_nodes - 1 = 199"),
        ("average_degree", 199, "above 0 and below num_nodes - 1 = 199"),
        ("average_degree", float("nan"), "at least 0"),
        ("exponent", 2, "a finite number above 2"),
        ("exponent", float("inf"), "a finite number above 2"),
        ("max_degree", 6.0, "above average_degree = 6.0 and at most num_nodes - 1 = 199"),
        ("max_degree", 200, "above average_degree = 6.0 and at most num_nodes - 1 = 199"),
        ("homophily", 1.5, "0 to 1"),
        ("train_per_class", 67, "1 to 66"),
    ],
)
def test_options_are_checked(option, value, allowed):
    with pytest.raises(ValueError, match=f"^{option}={value!r} is not allowed: it must be .*{allowed}"):
        power_law(**{option: value})


def test_more_edges_than_pairs_or_than_hubs_leave():
    with pytest.raises(ValueError, match=r"^average_degree=100 with homophily=1\.0 .* only 6567 pairs exist"):
        power_law(average_degree=100, homophily=1.0)
    with pytest.raises(
        ValueError, match=r"^average_degree=65 is not allowed: the hubs are so heavy .* different edges"
    ):
        power_law(average_degree=65, homophily=1.0, exponent=2.01)


def test_options_are_keyword_only():
    kinds = {parameter.kind for parameter in inspect.signature(power_law).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}

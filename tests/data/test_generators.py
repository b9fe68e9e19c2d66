import inspect

import numpy as np
import pytest

from jaxgnn.data import csbm, karate


def dense(ds):
    adjacency = np.zeros((len(ds.labels),) * 2)
    np.add.at(adjacency, (ds.graph.receivers, ds.graph.senders), 1)
    return adjacency


def equal_ends(ds):
    return ds.labels[ds.graph.senders] == ds.labels[ds.graph.receivers]


def test_karate_is_zacharys_graph():
    ds = karate()
    adjacency = dense(ds)
    assert adjacency.shape == (34, 34)
    assert adjacency.sum() == 2 * 78
    assert adjacency.max() == 1
    np.testing.assert_array_equal(adjacency, adjacency.T)
    assert (adjacency[0].sum(), adjacency[33].sum()) == (16, 17)
    np.testing.assert_array_equal(ds.x, np.eye(34))
    assert np.bincount(ds.labels).tolist() == [17, 17]
    assert np.flatnonzero(ds.train_mask).tolist() == [0, 33]
    assert ds.labels[[0, 33]].tolist() == [0, 1]
    assert (ds.val_mask.sum(), ds.test_mask.sum()) == (16, 16)
    assert (ds.train_mask.astype(int) + ds.val_mask + ds.test_mask == 1).all()


def test_default_csbm_is_a_simple_graph_with_a_split():
    ds = csbm()
    adjacency = dense(ds)
    assert ds.x.shape == (200, 16)
    assert ds.x.dtype == np.float32
    assert adjacency.max() == 1
    assert np.trace(adjacency) == 0
    np.testing.assert_array_equal(adjacency, adjacency.T)
    assert sorted(np.bincount(ds.labels)) == [66, 67, 67]
    assert np.bincount(ds.labels[ds.train_mask]).tolist() == [20, 20, 20]
    assert (ds.val_mask.sum(), ds.test_mask.sum()) == (60, 80)
    assert (ds.train_mask.astype(int) + ds.val_mask + ds.test_mask == 1).all()


def test_the_seed_decides():
    for first, second in zip(csbm(seed=3), csbm(seed=3), strict=True):
        if isinstance(first, np.ndarray):
            np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(csbm(seed=3).graph.senders, csbm(seed=3).graph.senders)
    assert not np.array_equal(csbm(seed=3).x, csbm(seed=4).x)


@pytest.mark.parametrize("homophily", [0.0, 0.1, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("num_classes", [2, 7])
def test_degree_and_homophily_are_as_asked(num_classes, homophily):
    n, degree = 20_000, 10.0
    ds = csbm(num_nodes=n, num_classes=num_classes, average_degree=degree, homophily=homophily)
    num_edges = len(ds.graph.senders) / 2
    # The number of edges is a sum of binomials of mean n d / 2, and less spread than a Poisson number of that mean.
    assert abs(num_edges - n * degree / 2) < 5 * np.sqrt(n * degree / 2)
    # An edge joins equal classes with probability h: binomial, standard deviation sqrt(h (1 - h) / m).
    assert abs(equal_ends(ds).mean() - homophily) <= 5 * np.sqrt(homophily * (1 - homophily) / num_edges)
    # Degrees of a sparse random graph are Poisson: variance equals mean, with relative error about sqrt(2 / n).
    degrees = np.bincount(ds.graph.receivers, minlength=n)
    assert abs(degrees.var() / degrees.mean() - 1) < 6 * np.sqrt(2 / n)


def test_full_density_gives_every_pair_once():
    # With homophily 1 and degree m - 1 the classes are cliques of m nodes; with homophily 0, all other pairs.
    options = {"num_nodes": 60, "num_classes": 4, "train_per_class": 5}
    cliques = csbm(average_degree=14, homophily=1.0, **options)
    same = cliques.labels[:, None] == cliques.labels
    np.testing.assert_array_equal(dense(cliques), same & ~np.eye(60, dtype=bool))
    others = csbm(average_degree=45, homophily=0.0, **options)
    np.testing.assert_array_equal(dense(others), others.labels[:, None] != others.labels)


def test_every_pair_of_a_kind_is_equally_likely():
    counts = np.zeros((9, 9))
    runs = 1500
    for seed in range(runs):
        ds = csbm(num_nodes=9, num_classes=3, average_degree=3, homophily=0.5, train_per_class=1, seed=seed)
        by_class = np.argsort(ds.labels, kind="stable")
        counts += dense(ds)[np.ix_(by_class, by_class)]
    same = np.repeat(np.arange(3), 3)[:, None] == np.repeat(np.arange(3), 3)
    # Of 13.5 expected edges half are spread over 9 pairs of equal classes, half over 27 others.
    p = np.where(same, 6.75 / 9, 6.75 / 27) * ~np.eye(9, dtype=bool)
    assert (np.abs(counts / runs - p) <= 5 * np.sqrt(p * (1 - p) / runs)).all()


def test_large_graphs():
    ds = csbm(num_nodes=170_000, num_classes=2, num_features=1, average_degree=14.0)
    assert abs(len(ds.graph.senders) / 2 - 1_190_000) < 5 * np.sqrt(1_190_000)
    assert (ds.graph.senders != ds.graph.receivers).all()


def test_class_means_are_a_simplex_of_the_asked_radius():
    n, k, f, signal = 40_000, 4, 8, 3.0
    ds = csbm(num_nodes=n, num_classes=k, num_features=f, signal=signal, average_degree=1.0)
    means = np.stack([ds.x[ds.labels == c].mean(axis=0) for c in range(k)])
    gram = signal**2 * (np.eye(k) - 1 / k) * k / (k - 1)
    # A mean over n / k nodes has error signal / sqrt(n / k) in its inner products.
    np.testing.assert_allclose(means @ means.T, gram, atol=6 * signal * np.sqrt(k / n))
    noise = ds.x - means[ds.labels]
    np.testing.assert_allclose(np.cov(noise.T), np.eye(f), atol=6 * np.sqrt(2 / n))


def test_two_classes_are_opposite_and_one_feature_is_enough():
    ds = csbm(num_nodes=20_000, num_classes=2, num_features=1, signal=2.0)
    means = [ds.x[ds.labels == c].mean() for c in range(2)]
    np.testing.assert_allclose(np.sort(means), [-2, 2], atol=0.06)


def linear_accuracy(x, ds):
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    train = x[ds.train_mask]
    target = np.eye(ds.num_classes)[ds.labels[ds.train_mask]]
    weights = np.linalg.solve(train.T @ train + np.eye(x.shape[1]), train.T @ target)
    return ((x @ weights).argmax(axis=1) == ds.labels)[ds.test_mask].mean()


def test_the_default_graph_tells_what_features_alone_do_not():
    alone, propagated = [], []
    for seed in range(10):
        ds = csbm(seed=seed)
        P = dense(ds) + np.eye(200)
        P /= P.sum(axis=1, keepdims=True)
        alone.append(linear_accuracy(ds.x, ds))
        propagated.append(linear_accuracy(P @ P @ ds.x, ds))
    assert 0.55 < np.mean(alone) < 0.75
    assert np.mean(propagated) > 0.85


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("num_nodes", 10.5, "an integer"),
        ("num_classes", 1, "2 to num_nodes = 200"),
        ("num_classes", 201, "2 to num_nodes = 200"),
        ("num_features", 1, "at least num_classes - 1"),
        ("average_degree", -1.0, "at least 0"),
        ("average_degree", float("nan"), "at least 0"),
        ("homophily", 1.5, "0 to 1"),
        ("signal", float("inf"), "a finite number"),
        ("train_per_class", 67, "1 to 66"),
        ("train_per_class", 0, "1 to 66"),
        ("val_fraction", 0.9, "worth 1 to 139 of 200 nodes"),
        ("val_fraction", 1.0, "between 0 and 1"),
        ("seed", -1, "at least 0"),
    ],
)
def test_options_are_checked(option, value, allowed):
    with pytest.raises(ValueError, match=f"{option}={value!r}.*{allowed}"):
        csbm(**{option: value})


def test_more_edges_than_pairs():
    with pytest.raises(ValueError, match=r"average_degree=100 with homophily=0\.8 .* only 6567 pairs exist"):
        csbm(average_degree=100)


def test_options_are_keyword_only():
    kinds = {parameter.kind for parameter in inspect.signature(csbm).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}

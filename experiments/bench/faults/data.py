"""Faults of generators and transforms."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/data/generators.py",
        "tests/data/test_generators.py -k 'degree or pair or default'",
        (
            "expected = len(labels) * planted.average_degree / 2",
            "expected = len(labels) * planted.average_degree / 1.8",
        ),
        ("starts[b] + t % sizes[b]]", "starts[b] + t % sizes[a]]"),
        (
            "i += i * (i + 1) // 2 <= t",
            "i += i * (i + 1) // 2 < t",
            "they differ where 8 t + 1 is a square, whose root is exact for every t below 2^50",
        ),
    ),
    *faults(
        "jaxgnn/data/planted.py",
        "tests/data/test_generators.py -k 'means or opposite or default or seed'",
        ("x = self.signal * means[labels]", "x = 1.1 * self.signal * means[labels]"),
        ("corners /= np.linalg.norm(corners, axis=1, keepdims=True)", "corners /= 1"),
        ("rank < train_per_class]", "rank <= train_per_class]"),
        (
            "np.linalg.qr(rng.standard_normal((num_features, num_classes - 1)))[0]",
            "rng.standard_normal((num_features, num_classes - 1)) / num_features**0.5",
        ),
    ),
    *faults(
        "jaxgnn/data/power_law.py",
        "tests/data/test_power_law.py",
        ("largest * np.exp(log_r) * tail / (tail - 1) * above", "largest * np.exp(log_r) * above"),
        ("(1 - u + u * r**tail) ** (-1 / tail)", "(1 - u) ** (-1 / tail)"),
        ("np.where(points >= low, high - low, 0.0)", "np.where(points >= high, high - low, 0.0)"),
        ("ends = np.cumsum(weights)  #", "ends = np.cumsum(weights**0.9)  #"),
    ),
    *faults(
        "jaxgnn/data/random_graphs.py",
        "tests/tasks/test_graph_properties.py -k 'edges_go or mixture or redrawn'",
        ("stay, come = keep, (1 - keep) * e / max(r, 1)", "stay, come = keep, (1 - keep) * r / max(e, 1)"),
        ("u = rng.random((2, edge.size)).sum(axis=0) / 2", "u = rng.random(edge.size)"),
        ("keep + (1 - keep) * (e - r) / e, 1 - keep", "keep, 1 - keep"),
        ('"caterpillar": 0.1', '"caterpillar": 0.05'),
    ),
    *faults(
        "jaxgnn/data/transforms.py",
        "tests/data/test_transforms.py -k 'not published'",
        ("norm = np.abs(x).sum(axis=1, keepdims=True)", "norm = x.sum(axis=1, keepdims=True)"),
        ("np.bincount(component).argmax()", "np.bincount(component).size - 1 - np.bincount(component)[::-1].argmax()"),
    ),
)

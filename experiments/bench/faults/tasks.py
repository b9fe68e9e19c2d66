"""Faults of tasks, objectives and metrics."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/tasks/padding.py",
        "tests/tasks/test_many_graphs.py -k 'alone or propagation or statistics'",
        ("offsets = n * jnp.arange(B", "offsets = (n - 1) * jnp.arange(B"),
        ("forward = [_entries(graph.propagation) for", "forward = [_entries(graph.propagation.T) for"),
    ),
    *faults(
        "jaxgnn/tasks/ring_transfer.py",
        "tests/tasks/test_ring_transfer.py -k 'not trained and not network'",
        ("x[0], x[n // 2] = 0,", "x[0], x[n // 2 - 1] = 0,"),
        ("rng.permutation(sizes)[i // classes % sizes]", "rng.permutation(sizes)[i % sizes]"),
    ),
    *faults(
        "jaxgnn/tasks/graph_transfer.py",
        "tests/tasks/test_graph_transfer.py -k 'not trained and not seeds_side'",
        ("n = distance + 1 if kind", "n = distance if kind"),
        ("(i, n + 1 - i) for i in range(2, n // 2)", "(i, n + 1 - i) for i in range(3, n // 2)"),
    ),
    *faults(
        "jaxgnn/tasks/graph_properties.py",
        "tests/tasks/test_graph_properties.py -k 'not trained'",
        ("(A.sum(axis=1) * r - A @ r)", "(A.sum(axis=1) * r + A @ r)"),
        ("mse / maximum**2 for", "mse / maximum for"),
        ("max(float(y.max()) for y in targets[0])", "max(float(y.max()) for y in targets[1])"),
        ("mean = float(targets[0].mean())", "mean = float(np.median(targets[0]))"),
    ),
)

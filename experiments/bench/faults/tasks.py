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
        "jaxgnn/tasks/checks.py",
        "tests/tasks/test_checks.py -k 'not data_set'",
        ("return mask.astype(bool)", "return mask"),
        ("if shared := int(np.sum(checked[name] & checked[other])):", "if shared := 0:"),
        ("known = (labels >= 0) & (labels <= most)", "known = (labels >= 0)"),
        ("np.where(known, labels, -1)", "np.where(known, labels, 0)"),
        ("& ((rows == 1).sum(axis=1) == 1)", ""),
        ("present = None if known[needed].all() else known", "present = None"),
        ("present = None if known[needed].all() else known", "present = known"),
    ),
    *faults(
        "jaxgnn/tasks/objectives.py",
        "tests/tasks/test_checks.py -k unknown",
        ("inside, columns = (mask, 1) if", "inside, columns = (mask, values.shape[1]) if"),
        ("jnp.maximum(jnp.sum(count > 0), 1)", "jnp.maximum(count.size, 1)"),
        ("constant_loss(loss, y) * count for", "constant_loss(loss, y) * len(targets) for"),
        ("[:, None] & jnp.asarray(present)", "[:, None] | jnp.asarray(present)"),
    ),
    *faults(
        "jaxgnn/tasks/metrics.py",
        "tests/tasks/test_checks.py -k unknown",
        ("inside = mask[:, None] if mask.ndim == 1 else mask", "inside = jnp.ones_like(scores, bool)"),
    ),
    *faults(
        "jaxgnn/tasks/node_classification.py",
        "tests/tasks/test_node_classification.py -k 'feature or constant'",
        ('features: FeatureRule = "row"', 'features: FeatureRule = "raw"'),
        ("train = np.asarray(self.train_mask, bool)", "train = ..."),
    ),
    *faults(
        "jaxgnn/commands/setting.py",
        "tests/commands/test_train.py -k 'features or bits'",
        ('"features": self.features, ', ""),
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
    *faults(
        "jaxgnn/tasks/link_prediction.py",
        "tests/tasks/test_link_prediction.py",
        ("messages, asked = edges[: counts[0]], edges[counts[0] :]", "messages, asked = edges, edges[counts[0] :]"),
        ("keys = keys[~np.isin(keys, there)]", "keys = keys"),
        ("rank = 1 + above + level / 2", "rank = 1 + above + level"),
        ("(scores > threshold)", "(scores >= threshold)"),
        ("threshold = ordered[-K]", "threshold = ordered[-K - 1]"),
        ("np.repeat(split, negatives)", "np.zeros(negatives * len(split), int)"),
    ),
)

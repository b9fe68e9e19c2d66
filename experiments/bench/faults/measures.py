"""Faults of measures, of the sizes that they are made of, and of metrics."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/analysis/measures.py",
        "tests/analysis/test_measures.py "
        "-k 'sums or mean_over or known or alone or leaves or parallel or trace or rank'",
        ("magnitude.norm(_centred(Y)) / root", "magnitude.norm(_centred(Y)) / root**2"),
        ("return norm_ratio(_centred(Y), Y)", "return norm_ratio(_centred(Y), _centred(Y) + 1e-3 * Y)"),
        ("kept = jnp.asarray(senders) != jnp.asarray(receivers)", "kept = jnp.asarray(senders) >= 0"),
        (
            "jnp.where(cosine > 0, sine2 / (1 + jnp.maximum(cosine, 0)), 1 - cosine)",
            "sine2 / (1 + jnp.maximum(cosine, 0))",
        ),
        ("float(max(n * (n - 1), 1))", "float(max(n * n, 1))"),
        ("p = ratio(sigma, total)", "p = ratio(sigma**2, jnp.sum(sigma**2))"),
        ("jnp.max(sigma, initial=0.0) ** 2)", "jnp.max(sigma, initial=0.0) * sigma[0])"),
        ("max(X.shape) * eps if tolerance", "min(X.shape) * eps if tolerance"),
        ("found / jnp.sqrt(jnp.maximum(nodes_each, 1))", "found / jnp.sqrt(nodes_each + 1)"),
        ("keepdims=True), jnp.sum(v**2))", "keepdims=True), jnp.sum(jnp.abs(v)))"),
    ),
    *faults(
        "jaxgnn/graphs/dirichlet_form.py",
        "tests/analysis/test_measures.py -k dirichlet",
        ("return edges / 2 + jnp.sum(", "return edges + jnp.sum("),
        ("t = 1 - (sums[0] + sums[1]) / 2", "t = 1 - sums[0]"),
        ("w = xp.sqrt(xp.where(degree > 0, degree, 1))", "w = xp.where(degree > 0, degree, 1)"),
    ),
    *faults(
        "jaxgnn/host/magnitude.py",
        "tests/analysis/test_measures.py tests/network/test_bounds.py tests/analysis/test_backward.py "
        "tests/host/test_magnitude.py -k 'of_mu or squares_leave or as_far or norm'",
        ("return number, Number(slope,", "return number, Number(2 * slope,"),
        ("times_power(ratio(norm(A), size), a - b))", "ratio(norm(A), size))"),
        (
            "e = exponents(jax.lax.stop_gradient(X)) - top",
            "e = jnp.clip(exponents(jax.lax.stop_gradient(X)) - top, -60, 60)",
        ),
    ),
    *faults(
        "jaxgnn/tasks/metrics.py",
        "tests/tasks/test_metrics.py -k 'definition or class_only or balanced or ends or many'",
        ('jnp.searchsorted(ordered, scores, side="right"), N)', 'jnp.searchsorted(ordered, scores, side="left"), N)'),
        ("count > 0, jnp.sum(count) / (num_classes *", "count > 0, jnp.sum(count) / (2 * num_classes *"),
        ("return jnp.maximum(1, jnp.sum(mask) * prediction.shape[1])", "return jnp.maximum(1, jnp.sum(mask))"),
        (
            "both = jnp.any(inside & (labels == 1), axis=0) & jnp.any(inside & (labels == 0), axis=0)",
            "both = jnp.any(inside & (labels == 1), axis=0)",
        ),
        ("metric=_auc, otherwise=0.5", "metric=_auc, otherwise=0.0"),
        ("correct / jnp.maximum(1, jnp.sum(mask))", "correct / mask.shape[0]"),
    ),
)

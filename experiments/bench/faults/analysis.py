"""Faults of measures, probes, backward errors, stationarity and landscape."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/analysis/landscape.py",
        "tests/analysis/test_landscape.py",
        ("jax.vmap(jax.vmap(norm, in_axes=-1))", "jax.vmap(lambda W: jax.vmap(norm, in_axes=-1)(W) * 0 + norm(W))"),
        ("* np.abs(vectors[-1]) + rounding", "* np.abs(vectors[0]) + rounding"),
        ("* np.abs(vectors[-1]) + rounding", "* np.abs(vectors[-1])"),
        ('indexing="ij"', 'indexing="xy"'),
        ("float(errors[0]), float(errors[-1])", "float(errors[-1]), float(errors[0])"),
    ),
    *faults(
        "jaxgnn/analysis/stationary.py",
        "tests/analysis/test_stationary.py -k 'says or chance or products or preserving'",
        ("/ (v.size - 1))", "/ v.size)"),
        ("gain = np.sqrt(2.0)", "gain = 2.0"),
        ("_frobenius(A) * _frobenius(B)[-1]", "_frobenius(A) * _frobenius(B)[0]"),
        ("np.sqrt(np.mean(x0**2))", "np.sqrt(np.sum(x0**2) / len(x0))"),
        ("P[k % len(P)] @", "P[min(k, len(P) - 1)] @"),
        ("off = _frobenius(S.transpose(0, 2, 1) @ T)", "off = _frobenius(S) * _frobenius(T)"),
    ),
    *faults(
        "jaxgnn/analysis/readout.py",
        "tests/analysis/test_readout.py -k 'measured or tie or path'",
        ("(correct > others).all()", "(correct >= others).all()"),
        ("np.hypot(host_norm(Z), np.sqrt(rows.size) * train_bias)", "host_norm(Z)"),
        ("host_norm(E.sum(axis=0)) * train_bias))", "host_norm(E.sum(axis=0))))"),
        ("found[-1].gradient_norm <= tolerance", "found[-1].gradient_norm <= 10 * tolerance"),
        ("fit.newton(fit.first(0.0), 0.0, 0.1 * tolerance)", "fit.newton(fit.first(0.0), 0.0, 100 * tolerance)"),
        ("float(norm / scale / error)", "float(norm / scale / error / rows.size)"),
    ),
    *faults(
        "jaxgnn/analysis/probe.py",
        "tests/analysis/test_probe.py -k 'written or without_a_bound or bias'",
        (
            "jnp.concatenate([gradients.encoder[None], gradients.blocks.features])",
            "jnp.concatenate([gradients.blocks.features, gradients.encoder[None]])",
        ),
        ("if g.ndim > 2", "if g.ndim > 1"),
    ),
    *faults(
        "jaxgnn/analysis/theory_lines.py",
        "tests/analysis/test_backward.py -k 'line or spans or written or multiple'",
        ("step = alphas + eigenvalue * scales", "step = alphas + 1.1 * eigenvalue * scales"),
        ("np.cumprod(step[::-1])[::-1]", "np.cumprod(step)[::-1]"),
        ('"row": (0.0, 1.0)}', '"row": (1.0, 0.0)}'),
        ("inside = labels == np.argmax(counts)", "inside = labels == 0"),
        (
            '_HOMOGENEOUS = ("identity", "relu", "leaky_relu")',
            '_HOMOGENEOUS = ("identity", "relu", "leaky_relu", "tanh")',
        ),
    ),
    *faults(
        "jaxgnn/analysis/backward.py",
        "tests/analysis/test_backward.py -k 'line or spans or written or multiple'",
        ("jnp.sqrt(jnp.finfo(B.dtype).eps)", "1.0"),
        ("prediction = mean(slope) * G", "prediction = mean(slope * G)"),
    ),
)

"""Faults of layers."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults


def _of(layer: str, name: str, *changes: tuple[str, ...]) -> tuple[Fault, ...]:
    return faults(
        f"jaxgnn/layers/{layer}.py", f"tests/layers/test_layers.py -k '(equation or lipschitz) and {name}'", *changes
    )


FAULTS: tuple[Fault, ...] = (
    *_of(
        "cheb",
        "cheb",
        ("(by - 1) * T - by * (P @ T)", "(by - 1) * T + by * (P @ T)"),
        ("2 * shifted(T) - before", "-2 * (P @ T) + before"),
        ("2 * norm * bounds[-1] + bounds[-2]", "2 * norm * bounds[-1] - bounds[-2]"),
        ("math.cosh(k * math.acosh(max(norm, 1.0)))", "2 * math.cosh(k * math.acosh(max(norm, 1.0)))"),
    ),
    *_of(
        "appnp",
        "appnp",
        ("+ self.alpha * X", "+ self.alpha * Z"),
        ("rate**self.K + self.alpha", "self.alpha"),
    ),
    *_of(
        "gcnii",
        "gcnii",
        ("jnp.asarray(index, X.dtype) + 1", "jnp.asarray(index, X.dtype) + 2"),
    ),
    *_of("a_dgn", "a_dgn", ("X @ (W.T - W)", "X @ (W - W.T)"), ("math.hypot(2 * c, self.gamma)", "2 * c")),
    *_of("gin", "gin", ("own = (1 + self.eps) * X", "own = X"), ("(own + graph.aggregate(", "(own - graph.aggregate(")),
    *_of(
        "sage",
        "sage",
        ("return c * (through * operator_norm(A) + 1)", "return c * operator_norm(A)"),
        ("graph.at_senders(Z), self.aggregation", "graph.at_senders(X), self.aggregation"),
        ("through = c if self.project else 1.0", "through = 1.0"),
        ("math.sqrt(np.max(A.sum(axis=0), initial=0.0))", "math.sqrt(np.max(A.sum(axis=1), initial=0.0))"),
    ),
    *_of(
        "gat",
        "gat",
        ("graph.at_senders(s) + graph.at_receivers(r)", "graph.at_senders(r) + graph.at_receivers(s)"),
    ),
    *_of(
        "gatv2",
        "gatv2",
        ("drop(on_self), S)", "drop(on_self), R)"),
    ),
    *_of(
        "attention",
        "gat",
        ("counts = jnp.asarray(graph.senders != graph.receivers)", "counts = jnp.asarray(graph.senders >= 0)"),
        ("others = jnp.asarray(graph.senders != graph.receivers, E.dtype)", "others = jnp.ones(E.shape[0], E.dtype)"),
    ),
    *_of(
        "gated_gcn",
        "gated_gcn",
        ("graph.at_receivers(key) + graph.at_senders(query)", "graph.at_senders(key) + graph.at_receivers(query)"),
        ('linear("key_edge")(E) + linear("query_edge")(E)', 'linear("key_edge")(E) + 0 * linear("query_edge")(E)'),
    ),
    *_of(
        "grand",
        "grand",
        ("query / math.sqrt(shape[-1])", "query / math.sqrt(columns)"),
        ("X[:, None])[:, 0] - X", "X[:, None])[:, 0]"),
    ),
    *_of("sgc", "sgc", ("graph.propagation.norm() ** self.K * c", "graph.propagation.norm() * c")),
    *faults(
        "jaxgnn/layers/mp_ssm.py",
        "tests/layers/test_mp_ssm.py tests/layers/test_layers.py -k '(jacobian or equation or lipschitz or starts)'",
        ("graph.propagation @ (Z @ W) + U, U)", "graph.propagation @ (Z @ W) + Z, U)"),
        ("fori_loop(1, self.K", "fori_loop(0, self.K"),
        ("W(X) + B(x0)", "W(X) + B(X)"),
        ("return c * sum((graph.propagation.norm() * c) ** k", "return sum((graph.propagation.norm() * c) ** k"),
        ("return self.K - 1", "return self.K"),
    ),
    *faults(
        "jaxgnn/layers/unitary.py",
        "tests/layers/test_unitary.py -k 'singular or exponential or attained or once'",
        ("P @ (Z @ ((W - W.T) / 2))", "P @ (Z @ ((W + W.T) / 2))"),
        ("(P @ (Z @ W) - P.T @ (Z @ W.T)) / 2", "P @ (Z @ (W - W.T)) / 2"),
        ("Z = skew(Z) / k", "Z = skew(Z) / (k + 1)"),
        ("fori_loop(1, self.K + 1, term", "fori_loop(1, self.K, term"),
        ("math.lgamma(self.K + 2)", "math.lgamma(self.K + 3)"),
    ),
    *faults(
        "jaxgnn/layers/swan.py",
        "tests/layers/test_swan.py -k 'antisymmetric or space or attained'",
        ("- back[:, :d]", "+ back[:, :d]"),
        ("out[:, d:] / root - root * back[:, d:]", "out[:, d:] / root - back[:, d:] / root"),
        ("Y = X @ (U + U.T)", "Y = X @ (U - U.T)"),
        ("jnp.sqrt(jnp.where(degree > 0, degree, 1))", "jnp.where(degree > 0, degree, 1)"),
        ("X @ (W.T - W) - self.gamma * X", "X @ (W.T - W) + self.gamma * X"),
        ("+ abs(self.beta) * space), self.gamma)", "+ self.beta * space), self.gamma)"),
    ),
    *faults(
        "jaxgnn/layers/ph_dgn.py",
        "tests/layers/test_ph_dgn.py -k 'symplectic or damping or energy'",
        ('self._gradient("q", graph, q)', 'self._gradient("q", graph, X[:, : self.features // 2])'),
        ("graph.propagation.T @ (F @ V.T)", "graph.propagation @ (F @ V.T)"),
        ("return F @ W.T + ", "return F @ W + "),
        ("D = nn.relu(self.param(", "D = abs(self.param("),
        ("p = p - self.step * self._gradient", "p = p + self.step * self._gradient"),
    ),
    *faults(
        "jaxgnn/layers/drew.py",
        "tests/layers/test_drew.py -k 'formula or reach or gradient or bound'",
        ("jnp.where(k <= index, 1, 0)", "jnp.where(k <= index + 1, 1, 0)"),
        ("max(k - self.nu, 0) for k in range(1,", "max(k - self.nu + 1, 0) for k in range(1,"),
        ("graph.hop(k).propagation", "graph.propagation"),
        ("[X, *earlier]", "[X, *earlier[::-1]]"),
        ("min(self.K, index + 1, self.nu)", "min(self.K, index + 1, self.nu + 1)"),
    ),
    *faults(
        "jaxgnn/network/residuals.py",
        "tests/layers/test_drew.py -k 'formula or earlier'",
        ("state.earlier[:-1]])", "state.earlier[1:]])"),
        ("jnp.concatenate([X[None]", "jnp.concatenate([(X + R)[None]"),
    ),
)

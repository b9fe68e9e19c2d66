"""Faults of the theorems: a side off by a factor, an exponent by one, another lambda, a rounding term too wide."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults


def _of(statement: str, *changes: tuple[str, ...]) -> tuple[Fault, ...]:
    return faults(f"jaxgnn/theory/{statement}.py", f"tests/theory/test_sides.py -k {statement}", *changes)


FAULTS: tuple[Fault, ...] = (
    *_of(
        "representation_smoothing",
        ("rhs = lam ** np.arange(len(X))", "rhs = 1.1 * lam ** np.arange(len(X))"),
        ("lam ** np.arange(len(X))", "lam ** np.maximum(np.arange(len(X)) - 1, 0)"),
    ),
    *_of(
        "gradient_smoothing",
        ("rhs = lam ** np.arange", "rhs = 1.1 * lam ** np.arange"),
        ("chain_ends(network.weights), 2, axis", 'chain_ends(network.weights), "fro", axis'),
    ),
    *_of(
        "residual_expansion",
        ("sigma[..., -1].min(axis=0) * G[-1]", "0.9 * sigma[..., -1].min(axis=0) * G[-1]"),
        ("suffixes(1 + lam * network.norms)", "suffixes(1 + 1.1 * lam * network.norms)"),
    ),
    *_of(
        "expected_expansion",
        ("(1 + values**2 * sigma**2)", "(1 + values**2 * sigma**2 * 1.1)"),
        ("ddof=1", "ddof=0"),
    ),
    *_of(
        "bounded_expansion",
        ("np.full(depth, c), np.full", "np.full(depth, 1.1 * c), np.full"),
        ("keep + lam * c", "keep + 1.1 * lam * c"),
        ('float(network.model.residual == "identity")', "1.0"),
    ),
    *_of(
        "norm_decomposition",
        ("measured = mus**2", "measured = (1 + 1e-9) * mus**2"),
        ("squares, 1e-12 * squares", "squares, 1e-6 * squares"),
    ),
    *_of(
        "linear_spectrum",
        ("stated, 1e-11 * stated[0]", "stated, 1e-6 * stated[0]"),
        ("network.weights[-1])", "network.weights[0])"),
    ),
    *_of(
        "spectral_law",
        ("variance=sigma**2 / d", "variance=1.05 * sigma**2 / d"),
    ),
    *_of(
        "state_space_spectrum",
        ("bound = np.linalg.norm(Lambda, 2) +", "bound = 1.1 * np.linalg.norm(Lambda, 2) +"),
        ("1e-11 * bound", "1e-6 * bound"),
    ),
    *_of(
        "state_space_smoothing",
        ("sigma[..., -1].min(axis=0) * X[0]", "0.9 * sigma[..., -1].min(axis=0) * X[0]"),
        ("+ lam * np.linalg.norm(B, 2)", "+ 1.1 * lam * np.linalg.norm(B, 2)"),
        ("factors = Lambda.T +", "factors = Lambda +"),
    ),
    *_of(
        "fixed_point",
        ("powers[1:] * np.linalg.norm(X[0] - Y[0])", "powers[:-1] * np.linalg.norm(X[0] - Y[0])"),
        ("powers / (1 - q) * step", "powers / (1 - q) * step * 1.1"),
    ),
    *_of(
        "dirichlet_decay",
        ("float(1 - values[0])", "float(1.1 * (1 - values[0]))"),
        ("lam ** (2 * np.arange(len(X)))", "lam ** np.arange(len(X))"),
        ("sharp, 3 * rounding * growth", "sharp, 1e6 * rounding * growth"),
    ),
    *_of(
        "over_squashing",
        ("[(measured, bound)]", "[(measured, 1.1 * bound)]"),
        ("rounding = 1e-13", "rounding = 1e-6"),
    ),
    *_of(
        "forward_smoothing",
        ("rhs = products(", "rhs = 1.1 * products("),
        ("mu(X) / np.sqrt(X.shape[-2])", "mu(X) / np.sqrt(X.shape[-1])"),
    ),
    *_of(
        "backward_smoothing",
        ("rhs = lam ** np.arange(len(B))[::-1]", "rhs = 1.1 * lam ** np.arange(len(B))[::-1]"),
        ("assumptions, energy(B)[:-1]", "assumptions, 0.9 * energy(B)[:-1]"),
    ),
    *_of(
        "mean_error",
        ("network.backward_rounding[1:, None]", "1e5 * network.backward_rounding[1:, None]"),
        ("chain_ends(network.weights)[1:])", "chain_ends(network.weights)[:-1])"),
    ),
    *_of(
        "near_linearity",
        ("sharp = r * np.abs(H - h).max", "sharp = 1.1 * r * np.abs(H - h).max"),
        ("allowed = (r * mu(H)", "allowed = (1.1 * r * mu(H)"),
    ),
    *faults(
        "jaxgnn/theory/network.py",
        "tests/theory/test_sides.py",
        ('"tanh": 4 / 27**0.5', '"tanh": 1.0'),
        ("_EPS = 1e-13", "_EPS = 1e-7"),
    ),
    *faults(
        "jaxgnn/theory/network.py",
        "tests/theory/test_statements.py -k 'refuses'",
        ("require(lam < 1 - 1e-9, f", "require(lam < 2, f"),
    ),
    *faults(
        "jaxgnn/theory/relu_linearity.py",
        "tests/theory/test_sides.py -k 'relu_linearity or settled'",
        ("+ network.forward_rounding[1:])[:, None]", ")[:, None] * 0.9"),
        ("1e-14 * np.abs", "1e-8 * np.abs"),
    ),
    *_of(
        "stationarity",
        ("[norm(X[-1] - f, 2) * mu(E) +", "[norm(X[-1] - f) * mu(E) +"),
        ("+ mu(PX) * mu(B), rounding)", "+ 1.1 * mu(PX) * mu(B), rounding)"),
        ("lam ** len(gradients)", "lam ** (len(gradients) - 1)"),
    ),
    *_of(
        "plateau",
        ("better = mu(D) * norm(X[-1] - f, 2) * norm(R)", "better = 1.1 * mu(D) * norm(X[-1] - f, 2) * norm(R)"),
        ("free = b - z_c - (b - z_c).mean()", "free = b - z_c"),
    ),
    *_of(
        "mlp_counterexample",
        ("measured, stated, 1e-9)", "measured, stated, 1e-3)"),
    ),
    *_of(
        "degree_collapse",
        ("(products(lam * network.norms)", "(1.1 * products(lam * network.norms)"),
        ("(suffixes(lam * network.norms)", "(1.1 * suffixes(lam * network.norms)"),
        ("v = np.sqrt(network.matrix.degree)", "v = np.sqrt(network.matrix.degree - 1)"),
    ),
    *_of(
        "row_collapse",
        ("(products(lam * network.norms)", "(1.1 * products(lam * network.norms)"),
        ("(suffixes(lam * network.norms)", "(1.1 * suffixes(lam * network.norms)"),
        ("X = np.linalg.norm(root[:, None] *", "X = np.linalg.norm("),
    ),
    *faults(
        "jaxgnn/theory/statement.py",
        "tests/theory/test_statements.py -k 'room or rounding or false or nilpotent'",
        ("1 - lhs[above] / rhs[above]", "1 - lhs[above] / rhs[above] / 2"),
        ("holds = bool((lhs <= rhs + rounding).all())", "holds = bool((lhs <= rhs + 2 * rounding).all())"),
        ("above = rhs > 100 * rounding", "above = rhs > rounding"),
    ),
    *faults(
        "jaxgnn/theory/examine.py",
        "tests/theory/test_statements.py",
        ("if not all(_caught", "if not any(_caught"),
        ("np.median(spoken)", "np.mean(spoken)"),
        ("not self.failures and not self.missed", "not self.missed"),
    ),
    *faults(
        "jaxgnn/theory/draws.py",
        "tests/theory",
        ("np.concatenate([X[:1], X[:-1]])", "np.concatenate([X[:1], X[1:]])"),
        ("rng.uniform(*scales, depth)", "rng.uniform(scales[0], 2 * scales[1], depth)"),
    ),
    *faults(
        "jaxgnn/theory/draws.py",
        "tests/theory/test_statements.py -k 'nilpotent'",
        ("W = np.triu(W, 1)", "W = np.triu(W)"),
    ),
)

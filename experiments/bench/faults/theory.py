"""Faults of the theorems."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

_TESTS = "tests/theory"

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/theory/plateau.py",
        f"{_TESTS} -k plateau",
        ("better = mu(D) * norm(X[-1] - f, 2) * norm(R)", "better = 1.1 * mu(D) * norm(X[-1] - f, 2) * norm(R)"),
    ),
)

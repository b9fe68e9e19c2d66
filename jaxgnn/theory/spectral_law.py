"""The law of a random linear layer's singular values (Arroyo et al. 2025, Theorem 3.2), as a distribution test.

For W [d, d] of independent entries N(0, sigma^2 / d) and d to infinity, the squared singular values of P (x) W^T
follow the Marchenko-Pastur law scaled by each lambda_i^2 (sigma_i(P)^2 of a P that is not normal): mean lambda_i^2
sigma^2, variance lambda_i^4 sigma^4, upper edge 4 sigma^2 lambda_i^2; all n together follow the mixture. The check
is

    sup_x |F_d(x) - F(x)| <= 1 / sqrt(d)

at widths 32, 64, 128, 256, F_d the measured distribution function (Kolmogorov-Smirnov). The rate 1 / sqrt(d) is
known for the law (Goetze & Tikhomirov 2004), the constant 1 is ours: measured distances fall like log(d) / d, well
below.
"""

import numpy as np
from jaxtyping import Float

from jaxgnn.jacobian.random_matrix import kolmogorov_smirnov, linear_layer_law
from jaxgnn.theory.draws import CONNECTED, prepared, random_graph
from jaxgnn.theory.network import Matrix
from jaxgnn.theory.statement import About, Check, Statement, require

ABOUT = About("law of a random layer's spectrum", "Arroyo et al. 2025, Theorem 3.2; singular values of P, derived")
WIDTHS = (32, 64, 128, 256)


def check(P: Float[np.ndarray, "n n"], weights: list[Float[np.ndarray, "d d"]], sigma: float) -> Check:
    """The distance at the width of each of the weights, drawn with variance sigma^2 / d."""
    sides, lambdas = [], np.linalg.svd(P, compute_uv=False)
    for W in weights:
        require(W.shape[0] == W.shape[1] >= 16, f"W is {W.shape}: a law for d to infinity needs square W, d >= 16")
        d = len(W)
        measured = np.multiply.outer(lambdas, np.linalg.svd(W, compute_uv=False))
        law = linear_layer_law(lambdas, shape=(d, d), variance=sigma**2 / d)
        sides.append((kolmogorov_smirnov(measured, law), d**-0.5))
    lhs, rhs = np.array(sides).T
    return ABOUT.at_most(
        (f"W Gaussian, sigma = {sigma:.3g}, d = {', '.join(str(len(W)) for W in weights)}",), lhs, rhs, 0
    )


def _draw(rng, shape, factor=1.0, graphs=CONNECTED):
    P = Matrix.of(prepared(random_graph(rng, shape, graphs), "row")).P
    sigma = rng.uniform(0.3, 2.0)
    weights = [factor * sigma * rng.standard_normal((d, d)) / d**0.5 for d in WIDTHS]
    return P, weights, sigma


def _low_rank(rng, shape):
    P, weights, sigma = _draw(rng, shape, graphs=("ring",))
    return P, [W[:, : len(W) // 2] @ rng.standard_normal((len(W) // 2, len(W))) / len(W) ** 0.5 for W in weights], sigma


STATEMENT = Statement(
    *ABOUT,
    "sup_x |F_d(x) - F(x)| <= d^(-1/2) at d = 32, 64, 128, 256",
    check,
    _draw,
    {
        "variance twice as large as said": lambda rng, shape: _draw(rng, shape, 2**0.5, ("ring",)),
        "entries that depend on each other": _low_rank,
        "W of width 8": lambda rng, shape: (np.eye(4), [rng.standard_normal((8, 8))], 1.0),
    },
)

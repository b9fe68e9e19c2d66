"""The spectrum of a linear layer's Jacobian (Arroyo et al. 2025, Lemma 3.1).

For X' = P X W the row-major Jacobian is P (x) W^T, with singular values

    sigma_i(P) sigma_j(W) over all i, j;   for normal P, sigma_i(P) = |lambda_i|.

The lemma states squares lambda_i^2 mu_j, mu_j the eigenvalues of W W^T, which needs normal P: a row-stochastic P of
a star of 51 nodes has ||P||_2 = 3.57 and eigenvalues of at most 1. Measured by the Jacobian engine's exact spectrum.
"""

from dataclasses import replace

import numpy as np

from jaxgnn.jacobian import jacobian
from jaxgnn.theory.draws import altered, halved, networks
from jaxgnn.theory.network import Matrix, Network
from jaxgnn.theory.statement import About, Check, Statement, require

ABOUT = About(
    "spectrum of a linear layer", "Arroyo et al. 2025, Lemma 3.1; singular values of P where it is not normal"
)

LARGEST = 4000  # n d, for the exact spectrum to take seconds


def check(network: Network) -> Check:
    """Of the last layer, all n d singular values."""
    network.plain(activations=("identity",))
    f, h = network.model.layer_fn(
        network.params, network.graph, network.x, layer=network.model.depth - 1, dtype=np.float64
    )
    require(h.size <= LARGEST, f"n d = {h.size}: the exact spectrum is taken up to {LARGEST}")
    measured = jacobian(f, h).singular_values(method="exact")
    sigma = (np.linalg.svd(M, compute_uv=False) for M in (network.P, network.weights[-1]))
    stated = np.sort(np.multiply.outer(*sigma).ravel())[::-1]
    return ABOUT.equal(("linear",), measured, stated, 1e-11 * stated[0])


_ROW = networks(normalisation="row", graphs=("star", "path", "tree"))


def _normal(network):
    """P's eigenvalues, as if it were normal."""
    values = np.sort(np.linalg.eigvals(network.P).real)
    return replace(network, matrix=Matrix(np.diag(values), network.matrix.degree))


STATEMENT = Statement(
    *ABOUT,
    "sigma(P (x) W^T) = { sigma_i(P) sigma_j(W) }",
    check,
    networks(normalisation="row"),
    {
        "eigenvalues of a P that is not normal": altered(_ROW, _normal),
        "weights twice as large as said": altered(_ROW, halved),
    },
)

"""Forward smoothing of a GNN with a 1-Lipschitz activation (Keriven 2025).

For X^(k+1) = rho(P X^(k) W^(k)), P symmetric with P 1 = 1 and other eigenvalues at most lambda < 1 in modulus, s_j =
||W^(j)||_2 and E(X) = sqrt(1/(2 n^2) sum_ij ||X_i - X_j||^2) = mu(X) / sqrt(n):

    E(X^(k)) <= lambda^k s_0 .. s_(k-1) E(X^(0)).

Proof. Pairwise distances do not grow under rho, nor by more than s under W; P contracts what is off the constants.
The paper has s^k with s = max s_j.
"""

import numpy as np

from jaxgnn.theory.draws import altered, delayed, halved, networks, tight
from jaxgnn.theory.network import LIPSCHITZ, Network, mu, products
from jaxgnn.theory.statement import About, Check, Statement

ABOUT = About("forward smoothing", "Keriven 2025; a factor of each layer in place of the largest")


def energy(X):
    """E(X) = mu(X) / sqrt(n)."""
    return mu(X) / np.sqrt(X.shape[-2])


def check(network: Network) -> Check:
    """Of every layer k = 1 .. L."""
    network.plain(activations=LIPSCHITZ)
    lam, _ = network.matrix.doubly
    X = network.trace.features
    # E(X^(k)) <= prod_(j<k) (lambda s_j) E(X^(0))
    rhs = products(lam * network.norms) * energy(X[0])
    assumptions = (f"rho = {network.model.activation}, 1-Lipschitz", "P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    return ABOUT.at_most(assumptions, energy(X)[1:], rhs[1:], network.forward_rounding[1:])


_TIGHT = tight()

STATEMENT = Statement(
    *ABOUT,
    "E(X^(k)) <= lambda^k s_0 .. s_(k-1) E(X^(0))",
    check,
    networks(activations=("identity", "relu", "tanh")),
    {
        "exponent too large by one": altered(_TIGHT, delayed),
        "weights twice as large as said": altered(_TIGHT, halved),
        "rho not 1-Lipschitz": networks(activations=("gelu",)),
        "several components": networks(graphs=("two parts",)),
    },
)

"""Representation smoothing of the linear GCN (Park & Kim 2024).

For X^(l+1) = P X^(l) W^(l), P symmetric with P 1 = 1 and other eigenvalues at most lambda < 1 in modulus:

    mu(X^(l)) <= lambda^l ||W^(0) .. W^(l-1)||_2 mu(X^(0))  <=  (lambda s)^l mu(X^(0)),   s = max ||W||_2.

Proof. Q = I - 1 1^T / n commutes with P, so Q X^(l) = (P Q)^l (Q X^(0)) W^(0) .. W^(l-1), and ||P Q||_2 = lambda.
The paper has s^l; the norm of the product is never larger, and attained where X^(0) lies along the slowest
eigenvector.
"""

import numpy as np

from jaxgnn.theory.draws import altered, delayed, halved, networks, tight
from jaxgnn.theory.network import Network, chains, mu
from jaxgnn.theory.statement import About, Check, Statement

ABOUT = About("representation smoothing, linear GCN", "Park & Kim 2024; norm of the product in place of s^l, derived")


def check(network: Network) -> Check:
    """Of every layer l = 1 .. L."""
    network.plain(activations=("identity",))
    lam, _ = network.matrix.doubly
    X = network.trace.features
    # mu(X^(l)) <= lambda^l ||W^(0) .. W^(l-1)||_2 mu(X^(0))
    rhs = lam ** np.arange(len(X)) * np.linalg.norm(chains(network.weights), 2, axis=(1, 2)) * mu(X[0])
    assumptions = ("linear", "P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    return ABOUT.at_most(assumptions, mu(X)[1:], rhs[1:], network.forward_rounding[1:])


_TIGHT = tight()

STATEMENT = Statement(
    *ABOUT,
    "mu(X^(l)) <= lambda^l ||W^(0) .. W^(l-1)||_2 mu(X^(0))",
    check,
    networks(),
    {
        "exponent too large by one": altered(_TIGHT, delayed),
        "weights twice as large as said": altered(_TIGHT, halved),
        "P not symmetric": networks(normalisation="row", graphs=("star", "path")),
        "several components": networks(graphs=("two parts",)),
        "tanh": networks(activations=("tanh",)),
    },
)

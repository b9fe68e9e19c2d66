"""Gradient smoothing of the linear GCN: gradients oversmooth towards the input (Park & Kim 2024).

For X^(l+1) = P X^(l) W^(l), P symmetric with P 1 = 1 and other eigenvalues at most lambda < 1 in modulus:

    mu(G^(l)) <= lambda^(L-l) ||W^(l) .. W^(L-1)||_2 mu(G^(L))  <=  (lambda s)^(L-l) mu(G^(L)).

Proof. G^(l) = P^T G^(l+1) W^(l)^T, and Q = I - 1 1^T / n commutes with P. For rho other than id it fails: masks
differ from node to node, so a constant gradient does not stay constant.
"""

import numpy as np

from jaxgnn.theory.draws import advanced, altered, halved, networks, tight
from jaxgnn.theory.network import Network, chain_ends, mu
from jaxgnn.theory.statement import About, Check, Statement

ABOUT = About("gradient smoothing, linear GCN", "Park & Kim 2024; norm of the product in place of s^(L-l), derived")


def check(network: Network) -> Check:
    """Of every layer l = 0 .. L-1."""
    network.plain(activations=("identity",))
    lam, _ = network.matrix.doubly
    G = network.trace.feature_grads
    # mu(G^(l)) <= lambda^(L-l) ||W^(l) .. W^(L-1)||_2 mu(G^(L))
    rhs = lam ** np.arange(len(G))[::-1] * np.linalg.norm(chain_ends(network.weights), 2, axis=(1, 2)) * mu(G[-1])
    assumptions = ("linear", "P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    return ABOUT.at_most(assumptions, mu(G)[:-1], rhs[:-1], network.backward_rounding[:-1])


_TIGHT = tight()

STATEMENT = Statement(
    *ABOUT,
    "mu(G^(l)) <= lambda^(L-l) ||W^(l) .. W^(L-1)||_2 mu(G^(L))",
    check,
    networks(),
    {
        "exponent too large by one": altered(_TIGHT, advanced),
        "weights twice as large as said": altered(_TIGHT, halved),
        "P not symmetric": networks(normalisation="row", graphs=("star", "path")),
        "several components": networks(graphs=("two parts",)),
        "ReLU": networks(activations=("relu",)),
    },
)

"""The mean backward error of the linear GNN follows a recursion without the graph (Keriven 2025).

For H^(k) = P X^(k) W^(k), rho = id, b_k = 1^T B^(k) / n, and P 1 = 1 (P need not be symmetric: row-stochastic will
do):

    b_k = b_(L-1) W^(L-1)^T .. W^(k+1)^T.

Proof. 1^T P^T = (P 1)^T = 1^T. With backward smoothing, the mean is what all errors come to be: the average output
error decides what the layers near the input are told.
"""

import numpy as np

from jaxgnn.theory.draws import networks, said
from jaxgnn.theory.network import Network, chain_ends
from jaxgnn.theory.statement import About, Check, Statement, require

ABOUT = About("mean-error recursion", "Keriven 2025; row-stochastic P suffices, derived")


def check(network: Network) -> Check:
    """Of every layer and feature."""
    network.plain(activations=("identity",))
    error = float(np.abs(network.P.sum(axis=1) - 1).max())
    require(error < 1e-9, f"P 1 differs from 1 by {error:.2g}: P must be row-stochastic")
    b = network.trace.errors.mean(axis=1)
    # b_k = b_(L-1) W^(L-1)^T .. W^(k+1)^T
    stated = np.einsum("i,kji->kj", b[-1], chain_ends(network.weights)[1:])
    return ABOUT.equal(("linear", "P 1 = 1"), b, stated, network.backward_rounding[1:, None])


_LINEAR = networks(normalisation="row")

STATEMENT = Statement(
    *ABOUT,
    "mean B^(k) = mean B^(L-1) W^(L-1)^T .. W^(k+1)^T",
    check,
    _LINEAR,
    {
        "leaky ReLU, said to be linear": said(
            networks(activations=("leaky_relu",), weights=("gaussian",)), activation="identity"
        ),
        "P 1 is not 1": networks(normalisation="sym", graphs=("star", "path")),
    },
)

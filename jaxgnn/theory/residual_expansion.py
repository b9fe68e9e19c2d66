"""Gradient expansion of the linear residual GCN (Park & Kim 2024), from above and below.

For X^(l+1) = X^(l) + P X^(l) W^(l), P symmetric with P 1 = 1 and other eigenvalues p_2 .. p_n, |p_i| <= lambda < 1:

    min_i sigma_min(M_i) mu(G^(L)) <= mu(G^(l)) <= max_i ||M_i||_2 mu(G^(L)) <= prod_(j>=l) (1 + lambda s_j) mu(G^(L)),
    M_i = (I + p_i W^(l)) .. (I + p_i W^(L-1)),  i = 2 .. n.

Proof. In P's eigenbasis row i of the gradient is g_i^(l) = g_i^(l+1) (I + p_i W^(l))^T, so g_i^(l) = g_i^(L) M_i^T,
and mu^2 is the sum of ||g_i||^2 over i >= 2. The last step is ||I + p_i W|| <= 1 + lambda s. The paper states the
last bound; the others are exact constants of this P and these weights, and the lower one proves expansion where it
grows.
"""

import numpy as np

from jaxgnn.theory.draws import altered, halved, networks, said
from jaxgnn.theory.network import Network, chain_ends, mu, suffixes
from jaxgnn.theory.statement import About, Check, Statement

ABOUT = About("gradient expansion, linear residual GCN", "Park & Kim 2024; two-sided with exact constants, derived")


def check(network: Network) -> Check:
    """Lower, sharp and the paper's bound of every layer l = 0 .. L-1."""
    network.plain(activations=("identity",), residuals=("identity",))
    lam, values = network.matrix.doubly
    G = mu(network.trace.feature_grads)
    factors = np.eye(network.weights.shape[-1]) + values[:, None, None, None] * network.weights
    sigma = np.linalg.svd(chain_ends(factors), compute_uv=False)  # [n - 1, L + 1, d]
    lower, sharp = sigma[..., -1].min(axis=0) * G[-1], sigma[..., 0].max(axis=0) * G[-1]
    paper = suffixes(1 + lam * network.norms) * G[-1]
    lhs = np.concatenate([a[:-1] for a in (lower, G, sharp)])
    rhs = np.concatenate([a[:-1] for a in (G, sharp, paper)])
    assumptions = ("linear", "identity residual", "P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    return ABOUT.at_most(assumptions, lhs, rhs, np.tile(network.backward_rounding[:-1], 3))


STATEMENT = Statement(
    *ABOUT,
    "min_i sigma_min(M_i) <= mu(G^(l)) / mu(G^(L)) <= max_i ||M_i||_2 <= prod (1 + lambda s_j)",
    check,
    networks(residual="identity"),
    {
        "weights twice as large as said": altered(
            networks(signals="slowest", residual="identity", graphs=("path",), weights=("identity",)), halved
        ),
        "no residual": said(networks(scales=(0.1, 0.2)), residual="identity"),
        "several components": networks(residual="identity", graphs=("two parts",)),
        "ReLU": networks(residual="identity", activations=("relu",)),
    },
)

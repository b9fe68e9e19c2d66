"""What a state space does to smoothing: GNN-SSM and residual networks, with exact constants (after Arroyo et al. 2025).

For X^(k+1)^T = Lambda X^(k)^T + B (P X^(k) W^(k))^T, P symmetric with P 1 = 1 and other eigenvalues p_2 .. p_n,
|p_i| <= lambda < 1:

    min_i sigma_min(M_i) mu(X^(0)) <= mu(X^(k)) <= max_i ||M_i||_2 mu(X^(0))
                                                <= prod_(j<k) (||Lambda|| + lambda ||B|| s_j) mu(X^(0)),
    M_i = A_i^(k-1) .. A_i^(0),   A_i^(j) = Lambda + p_i B W^(j)^T,   i = 2 .. n.

Proof. In P's eigenbasis row i of X^(k+1), as a column, is A_i^(k) times that of X^(k). A residual network has Lambda
= B = I, a plain one Lambda = 0. So features keep apart when ||Lambda|| is about 1 and B small: the lower bound says
from which on they provably do not smooth. Derived.
"""

import numpy as np

from jaxgnn.theory.draws import altered, halved, networks
from jaxgnn.theory.network import Network, chains, mu, products
from jaxgnn.theory.statement import About, Check, Statement, require

ABOUT = About("smoothing with a state space", "after Arroyo et al. 2025, proposition 3.3; two-sided, derived")


def transition(network: Network):
    """Lambda and B, [d, d]; I and I of a residual network."""
    d = network.weights.shape[-1]
    if network.model.residual == "identity":
        return np.eye(d), np.eye(d)
    require(not network.model.ssm.trainable, "Lambda and B are trainable: they must be frozen")
    constants = network.params["constants"]
    Lambda, B = (_matrix(np.asarray(constants["ssm"][name]), d) for name in ("transition", "input"))
    return float(constants["modulus"]) * Lambda, B


def _matrix(M, d):
    return M if M.ndim == 2 else np.diag(np.broadcast_to(M, (d,)))


def check(network: Network) -> Check:
    """Lower, sharp and product bound of every layer k = 1 .. L."""
    network.plain(activations=("identity",), residuals=("ssm", "identity"))
    lam, values = network.matrix.doubly
    Lambda, B = transition(network)
    X = mu(network.trace.features)
    # A_i^(j)^T = Lambda^T + p_i W^(j) B^T: chains of them are M_i^T
    factors = Lambda.T + values[:, None, None, None] * (network.weights @ B.T)
    sigma = np.linalg.svd(chains(factors), compute_uv=False)  # [n - 1, L + 1, d]
    lower, sharp = sigma[..., -1].min(axis=0) * X[0], sigma[..., 0].max(axis=0) * X[0]
    norms = np.linalg.norm(Lambda, 2) + lam * np.linalg.norm(B, 2) * network.norms
    lhs = np.concatenate([a[1:] for a in (lower, X, sharp)])
    rhs = np.concatenate([a[1:] for a in (X, sharp, products(norms) * X[0])])
    said = ("linear", f"residual {network.model.residual}", "P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    return ABOUT.at_most(said, lhs, rhs, np.tile(network.forward_rounding[1:], 3))


STATEMENT = Statement(
    *ABOUT,
    "min_i sigma_min(M_i) <= mu(X^(k)) / mu(X^(0)) <= max_i ||M_i|| <= prod (||Lambda|| + lambda ||B|| s_j)",
    check,
    networks(residual="ssm"),
    {
        "weights sixteen times as large as said": altered(
            networks(signals="slowest", residual="identity", graphs=("path",), weights=("identity",)),
            lambda n: halved(halved(halved(halved(n)))),
        ),
        "tanh": networks(residual="ssm", activations=("tanh",)),
        "several components": networks(residual="ssm", graphs=("two parts",)),
    },
)

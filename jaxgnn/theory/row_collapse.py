"""With a row-stochastic P features and gradients collapse to different spans: right and left eigenvectors.

For P = D~^(-1) A~, A~ symmetric and connected, pi = D~ 1 / sum(D~) (pi^T P = pi^T), other eigenvalues at most lambda
< 1 in modulus, Q = I - 1 pi^T, 1-Lipschitz rho, and the norms ||Y||_D = ||D~^(1/2) Y||_F, ||Y||_(1/D) = ||D~^(-1/2)
Y||_F:

    ||Q X^(l)||_D <= lambda^l s_0 .. s_(l-1) ||Q X^(0)||_D                 features go to 1 (pi^T X);
    rho = id:  ||Q^T G^(l)||_(1/D) <= lambda^(L-l) s_l .. s_(L-1) ||Q^T G^(L)||_(1/D)     gradients to pi (1^T G).

Proof. D~^(1/2) P D~^(-1/2) is symmetric, with eigenvector D~^(1/2) 1. ||Q x||_D = min_c ||x - c 1||_D, and rho maps
constants to constants. So at smoothed layers a node is told of the loss in proportion to its degree. Derived.
"""

import numpy as np

from jaxgnn.theory.draws import advanced, altered, delayed, networks, tight
from jaxgnn.theory.network import LIPSCHITZ, Matrix, Network, products, suffixes
from jaxgnn.theory.statement import About, Check, Statement, require

ABOUT = About("collapse of a row-stochastic P", "derived, for reversible P = D~^(-1) A~")


def check(network: Network) -> Check:
    """Of every layer; of the gradients where rho = id."""
    network.plain(activations=LIPSCHITZ)
    degree = network.matrix.degree
    error = float(np.abs(network.P.sum(axis=1) - 1).max())
    require(error < 1e-9, f"P 1 differs from 1 by {error:.2g}: P must be row-stochastic")
    root = np.sqrt(degree)
    lam, _ = Matrix(root[:, None] * network.P / root, degree).degrees
    pi = degree / degree.sum()
    X, G = network.trace.features, network.trace.feature_grads
    X = np.linalg.norm(root[:, None] * (X - (pi @ X)[:, None]), axis=(1, 2))
    G = np.linalg.norm((G - pi[:, None] * G.sum(axis=1, keepdims=True)) / root[:, None], axis=(1, 2))
    spread = root.max() / root.min()
    # ||Q X^(l)||_D <= prod_(j<l) (lambda s_j) ||Q X^(0)||_D
    rounding = network.forward_rounding * root.max() * spread
    sides = [(X[1:], (products(lam * network.norms) * X[0])[1:], rounding[1:])]
    if network.model.activation == "identity":
        rounding = network.backward_rounding / root.min() * spread
        sides.append((G[:-1], (suffixes(lam * network.norms) * G[-1])[:-1], rounding[:-1]))
    said = ("P = D~^(-1) A~, A~ symmetric", f"lambda = {lam:.4g}")
    return ABOUT.at_most(said, *(np.concatenate(side) for side in zip(*sides, strict=True)))


_TIGHT = tight(normalisation="row")

STATEMENT = Statement(
    *ABOUT,
    "||Q X^(l)||_D <= (lambda s)^l ||Q X^(0)||_D, ||Q^T G^(l)||_(1/D) <= (lambda s)^(L-l) ||Q^T G^(L)||_(1/D)",
    check,
    networks(activations=("identity", "relu", "tanh"), normalisation="row"),
    {
        "exponent too large by one, forward": altered(_TIGHT, delayed),
        "exponent too large by one, backward": altered(_TIGHT, advanced),
        "P D~^(1/2) symmetric in place of D~^(1/2) P D~^(-1/2)": networks(normalisation="sym", graphs=("star", "path")),
        "several components": networks(normalisation="row", graphs=("two parts",)),
    },
)

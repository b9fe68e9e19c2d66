"""With the symmetric normalisation features collapse to span(D~^(1/2) 1), not to the constants.

For P = D~^(-1/2) A~ D~^(-1/2), connected, u = D~^(1/2) 1 / ||D~^(1/2) 1|| (P u = u), other eigenvalues at most
lambda < 1 in modulus, Q = I - u u^T, and rho = id, ReLU or leaky ReLU:

    ||Q X^(l)||_F <= lambda^l s_0 .. s_(l-1) ||Q X^(0)||_F;
    rho = id:  ||Q G^(l)||_F <= lambda^(L-l) s_l .. s_(L-1) ||Q G^(L)||_F.

Proof. ||Q x|| = min_c ||x - c u||, and rho(c u) = rho(c) u as u >= 0 and rho is positively homogeneous: so ||Q
rho(x)|| <= ||rho(x) - rho(c u)|| <= ||x - c u||. tanh is not homogeneous and leaves the span. mu need not vanish: it
is that of the degrees.
"""

import numpy as np

from jaxgnn.theory.draws import altered, delayed, halved, networks, said, tight
from jaxgnn.theory.network import Network, off, products, suffixes
from jaxgnn.theory.statement import About, Check, Statement

ABOUT = About("collapse to D~^(1/2) 1", "Oono & Suzuki 2020 for one component; backward part derived")


def check(network: Network) -> Check:
    """Of every layer; of the gradients where rho = id."""
    network.plain(activations=("identity", "relu", "leaky_relu"))
    lam, _ = network.matrix.degrees
    v = np.sqrt(network.matrix.degree)
    X, G = off(network.trace.features, v), off(network.trace.feature_grads, v)
    # ||Q X^(l)|| <= prod_(j<l) (lambda s_j) ||Q X^(0)||
    sides = [(X[1:], (products(lam * network.norms) * X[0])[1:], network.forward_rounding[1:])]
    if network.model.activation == "identity":
        sides.append((G[:-1], (suffixes(lam * network.norms) * G[-1])[:-1], network.backward_rounding[:-1]))
    said = ("P symmetric, P D~^(1/2) 1 = D~^(1/2) 1", f"lambda = {lam:.4g}")
    return ABOUT.at_most(said, *(np.concatenate(side) for side in zip(*sides, strict=True)))


_TIGHT = tight(normalisation="sym")
_LEAVING = networks(activations=("tanh",), normalisation="sym", graphs=("star",), signals="constant")

STATEMENT = Statement(
    *ABOUT,
    "||Q X^(l)|| <= lambda^l s_0 .. s_(l-1) ||Q X^(0)||, Q off D~^(1/2) 1",
    check,
    networks(activations=("identity", "relu", "leaky_relu"), normalisation="sym"),
    {
        "exponent too large by one": altered(_TIGHT, delayed),
        "weights twice as large as said": altered(_TIGHT, halved),
        "tanh": networks(activations=("tanh",), normalisation="sym"),
        "tanh, said to be ReLU, from within the span": said(_LEAVING, activation="relu"),
        "several components": networks(normalisation="sym", graphs=("two parts",)),
    },
)

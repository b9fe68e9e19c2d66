"""What a bound on the weights does to expansion (Park & Kim 2024, Lipschitz normalisation).

With ||W^(l)||_2 <= c, and X^(l+1) = X^(l) + rho(P X^(l) W^(l)), rho 1-Lipschitz:

    ||G^(l)||_F <= (1 + ||P||_2 c)^(L-l) ||G^(L)||_F;     rho = id, P symmetric, P 1 = 1:
    mu(G^(l)) <= (1 + lambda c)^(L-l) mu(G^(L)).

Proof. G^(l) = G^(l+1) + P^T (rho'(H) * G^(l+1)) W^T, |rho'| <= 1. So depth L needs c of order 1/L for gradients that
stay in bounds whatever the weights: c = 4 at 512 layers is beyond what this guarantees. Without the residual drop
the 1.
"""

from typing import Any

import numpy as np

from jaxgnn.network.bounds import BOUNDS
from jaxgnn.theory.draws import networks, said
from jaxgnn.theory.network import LIPSCHITZ, Network, mu, suffixes
from jaxgnn.theory.statement import About, Check, Statement, require

ABOUT = About("expansion under a bound c", "Park & Kim 2024, Lipschitz normalisation; derived")


def check(network: Network) -> Check:
    """That the weights keep the bound, and the gradients of every layer l = 0 .. L-1 what follows from it."""
    network.plain(activations=LIPSCHITZ, residuals=("none", "identity"))
    bound, activation = network.model.bound, network.model.activation
    allowed = [name for name in BOUNDS if name not in ("none", "spectral")]
    require(bound in allowed, f"the bound is {bound}: it must be one that certainly holds, {', '.join(allowed)}")
    c = float(network.params["constants"]["bound_c"])
    keep, depth = float(network.model.residual == "identity"), network.model.depth
    G, rounding = network.trace.feature_grads, network.backward_rounding
    norms = np.linalg.norm(G, axis=(1, 2))
    # ||G^(l)||_F <= (1 + ||P|| c)^(L-l) ||G^(L)||_F
    sides = [
        (network.norms, np.full(depth, c), np.full(depth, 1e-12 * max(c, 1.0))),
        (norms[:-1], (suffixes(np.full(depth, keep + network.matrix.norm * c)) * norms[-1])[:-1], rounding[:-1]),
    ]
    said = f"||W||_2 <= c = {c:.3g}"
    if activation == "identity":
        lam, _ = network.matrix.doubly
        # mu(G^(l)) <= (1 + lambda c)^(L-l) mu(G^(L))
        sides.append((mu(G)[:-1], (suffixes(np.full(depth, keep + lam * c)) * mu(G)[-1])[:-1], rounding[:-1]))
        said += f", linear, P symmetric, P 1 = 1, lambda = {lam:.4g}"
    return ABOUT.at_most((said,), *(np.concatenate(side) for side in zip(*sides, strict=True)))


_BOUNDED: dict[str, Any] = {"residual": "identity", "bound": "frobenius"}

STATEMENT = Statement(
    *ABOUT,
    "||W||_2 <= c, ||G^(l)|| <= (1 + ||P|| c)^(L-l) ||G^(L)||; linear: mu by (1 + lambda c)^(L-l)",
    check,
    networks(activations=("identity", "relu"), **_BOUNDED),
    {
        "weights beyond the bound": said(networks(residual="identity", scales=(5.0, 6.0)), bound="frobenius"),
        "no bound": networks(residual="identity"),
        "several components": networks(**_BOUNDED, graphs=("two parts",)),
    },
)

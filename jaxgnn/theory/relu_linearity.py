"""With ReLU the backward pass becomes exactly linear, feature by feature, where features are smoothed.

For X^(k+1) = relu(P X^(k) W^(k)), P symmetric with P 1 = 1 and |p_i| <= lambda < 1, h = 1^T H^(k) / n:

    |h_i| > prod_(j<=k) (lambda s_j) mu(X^(0))   implies   B^(k)_vi = 1[h_i > 0] G^(k+1)_vi at all nodes v,

no error at all. Proof. |H_vi - h_i| <= mu(H^(k)) <= prod_(j<=k) (lambda s_j) mu(X^(0)), so all of column i has h_i's
sign, and relu' is the same at all nodes. |rho''| has no bound here, so that the statement for smooth rho is silent.
Of leaky ReLU the same holds with its two slopes.
"""

from dataclasses import replace

import numpy as np

from jaxgnn.theory.draws import altered, networks
from jaxgnn.theory.near_linearity import slope
from jaxgnn.theory.network import Network, mu, products
from jaxgnn.theory.statement import About, Check, Statement

ABOUT = About("linearity of the backward pass, ReLU", "after Keriven 2025, for (leaky) ReLU: derived")


def check(network: Network) -> Check:
    """Every entry of B^(k) in the features that the statement speaks about, at every layer."""
    network.plain(activations=("relu", "leaky_relu"))
    lam, _ = network.matrix.doubly
    B, G = network.trace.errors, network.trace.feature_grads[1:]
    h = network.pre_activations.mean(axis=1)
    reach = products(lam * network.norms)[1:] * mu(network.trace.features[0])
    settled = np.abs(h) > (reach + network.forward_rounding[1:])[:, None]
    stated = slope(str(network.model.activation), h)[:, None] * G
    said = f"{settled.mean():.0%} of the features are smoothed enough"
    assumptions = (said, "P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    # Nothing is added: the factor is 0, 1 or leaky ReLU's slope, rounded once.
    layers, features = np.nonzero(settled)
    entries = (layers, slice(None), features)
    return ABOUT.equal(assumptions, B[entries], stated[entries], 1e-14 * np.abs(stated[entries]) + 1e-300)


def _unmasked(network):
    trace = network.trace
    return replace(network, trace=trace._replace(errors=trace.feature_grads[1:]))


_SMOOTH = {"signals": "smooth", "weights": ("gaussian", "orthogonal")}  # so that features settle

STATEMENT = Statement(
    *ABOUT,
    "|h_i| > (lambda s)^(k+1) mu(X^(0)) => B^(k)_vi = 1[h_i > 0] G^(k+1)_vi for all v",
    check,
    networks(activations=("relu", "leaky_relu"), **_SMOOTH),
    {
        "errors without rho'": altered(networks(activations=("leaky_relu",), **_SMOOTH), _unmasked),
        "tanh": networks(activations=("tanh",)),
        "several components": networks(activations=("relu",), graphs=("two parts",)),
    },
)

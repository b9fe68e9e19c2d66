"""Where features are smoothed, the backward pass is nearly linear even for nonlinear rho (Keriven 2025).

For X^(k+1) = rho(H^(k)), H^(k) = P X^(k) W^(k), B^(k) = rho'(H^(k)) * G^(k+1), h = 1^T H^(k) / n, and |rho''| <= r:

    ||B^(k) - 1 rho'(h)^T * G^(k+1)||_F <= r max |H^(k) - 1 h^T| ||G^(k+1)||_F
                                        <= r prod_(j<=k) (lambda s_j) mu(X^(0)) ||G^(k+1)||_F,

the second for symmetric P with P 1 = 1 and |p_i| <= lambda < 1. And the mean b_k of B^(k) follows its linear
recursion

    ||b_k - rho'(h) * (b_(k+1) W^(k+1)^T)|| <= r mu(H^(k)) ||G^(k+1)||_F / n.

Proof. |rho'(H_vi) - rho'(h_i)| <= r |H_vi - h_i|, whose maximum is at most mu(H^(k)), which forward smoothing
bounds. Deviations times gradients, summed over nodes, are at most the product of their norms; the mean of G^(k+1) =
P^T B^(k+1) W^T is b_(k+1) W^T. So layer k is linear up to a relative error that decays as (lambda s)^(k+1): at the
middle layers already, where B itself has yet to smooth. Ours, in place of the paper's asymptotic statement.
"""

from dataclasses import replace

import jax
import numpy as np

from jaxgnn.host.precision import precision
from jaxgnn.network.stack import ACTIVATIONS
from jaxgnn.theory.draws import altered, networks, said
from jaxgnn.theory.network import SLOPE_LIPSCHITZ, Network, mu, products
from jaxgnn.theory.statement import About, Check, Statement

ABOUT = About("near-linearity of the backward pass", "Keriven 2025, middle layers; rate and constants derived")


def slope(activation: str, H):
    """rho'(H)."""
    with precision(np.float64):
        return np.asarray(_slope(activation, np.asarray(H)))


def _slope(activation, H):
    return jax.jvp(ACTIVATIONS[activation], (H,), (np.ones_like(H),))[1]


def check(network: Network) -> Check:
    """The distance to the linear recursion, its rate, and the mean's, at every layer."""
    network.plain(activations=tuple(SLOPE_LIPSCHITZ))
    lam, _ = network.matrix.doubly
    r = SLOPE_LIPSCHITZ[str(network.model.activation)]
    H, B, G = network.pre_activations, network.trace.errors, network.trace.feature_grads[1:]
    h = H.mean(axis=1, keepdims=True)
    size, slopes = np.linalg.norm(G, axis=(1, 2)), slope(str(network.model.activation), h)
    # ||B - 1 rho'(h)^T * G||_F <= r max |H - 1 h^T| ||G||_F <= r prod (lambda s_j) mu(X^(0)) ||G||_F
    distance = np.linalg.norm(B - slopes * G, axis=(1, 2))
    sharp = r * np.abs(H - h).max(axis=(1, 2)) * size
    rate = r * products(lam * network.norms)[1:] * mu(network.trace.features[0]) * size
    # ||b_k - rho'(h) * (b_(k+1) W^T)|| <= r mu(H) ||G||_F / n, where G^(k+1) has mean b_(k+1) W^T below the last layer
    means = np.einsum("ki,kji->kj", B[1:].mean(axis=1), network.weights[1:])
    recursion = np.linalg.norm(B[:-1].mean(axis=1) - slopes[:-1, 0] * means, axis=1)
    allowed = (r * mu(H) * size)[:-1] / H.shape[1]
    backward = network.backward_rounding[1:]
    spread = r * network.forward_rounding[1:] * size  # of H, before it is multiplied by G
    rounding = [backward + spread] * 2 + [(backward + spread)[:-1]]
    assumptions = (f"|rho''| <= {r:.3g}", "P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    sides = [(distance, sharp), (sharp, rate), (recursion, allowed)]
    lhs, rhs = (np.concatenate(side) for side in zip(*sides, strict=True))
    return ABOUT.at_most(assumptions, lhs, rhs, np.concatenate(rounding))


def _unmasked(network):
    """Errors without rho': G^(k+1) in place of rho'(H) * G^(k+1)."""
    trace = network.trace
    return replace(network, trace=trace._replace(errors=trace.feature_grads[1:]))


STATEMENT = Statement(
    *ABOUT,
    "||B^(k) - rho'(h) * G^(k+1)|| <= r max|H - h| ||G|| <= r (lambda s)^(k+1) mu(X^(0)) ||G||",
    check,
    networks(activations=("tanh", "elu")),
    {
        "errors without rho'": altered(
            networks(activations=("tanh",), signals="constant", weights=("orthogonal",)), _unmasked
        ),
        "ReLU, said to be tanh": said(
            networks(activations=("relu",), signals="constant", weights=("orthogonal",)), activation="tanh"
        ),
        "several components": networks(activations=("tanh",), graphs=("two parts",)),
    },
)

"""Decay of the Dirichlet energy (Arroyo et al. 2025, Propositions 4.3 and 4.4).

For X^(k+1) = rho(P X^(k) W^(k)) with rho(0) = 0, rho 1-Lipschitz, P symmetric, Lap = I - P:

    ||X^(K)||_F <= prod_k (||P||_2 s_k) ||X^(0)||_F,
    tr(X^(K)^T Lap X^(K)) <= lambda_max(Lap) prod_k (||P||_2 s_k)^2 ||X^(0)||_F^2;

and for rho = id, with lambda the largest modulus of an eigenvalue of P other than 1,

    tr(X^(K)^T Lap X^(K)) <= lambda^(2K) ||W^(0) .. W^(K-1)||_2^2 tr(X^(0)^T Lap X^(0)).

Proof of the last (derived): in P's eigenbasis the energy is sum_i (1 - p_i) ||x_i||^2, where p_i = 1 contributes
nothing and ||x_i^(K)|| <= |p_i|^K ||W^(0) .. W^(K-1)|| ||x_i^(0)||. Decay of the energy says nothing when the norm
decays as well.
"""

import jax
import numpy as np

from jaxgnn.analysis import measures
from jaxgnn.host.precision import exact_products, precision
from jaxgnn.theory.draws import altered, delayed, halved, networks, said, tight
from jaxgnn.theory.network import LIPSCHITZ, Network, chains
from jaxgnn.theory.statement import About, Check, Statement, require

ABOUT = About(
    "decay of the Dirichlet energy", "Arroyo et al. 2025, Propositions 4.3 and 4.4; sharp linear form derived"
)


def check(network: Network) -> Check:
    """Norm and energy of every layer, by `jaxgnn.analysis.measures.dirichlet`."""
    network.plain(activations=LIPSCHITZ)
    require(network.matrix.symmetric, "P is not symmetric: its Dirichlet energy is no sum of squares")
    values = network.matrix.eigen[0]
    X = network.trace.features
    with precision(np.float64):
        energies = np.asarray(_dirichlet(X, network.P))
    sizes, growth = np.linalg.norm(X, axis=(1, 2)), network.forward_rounding / network.forward_rounding[0]
    rounding, largest = network.forward_rounding, float(1 - values[0])
    # ||X^(K)|| <= prod (||P|| s) ||X^(0)||;  tr X^T Lap X <= lambda_max prod (||P|| s)^2 ||X^(0)||^2
    sides = [
        (sizes, growth * sizes[0], rounding),
        (energies, largest * (growth * sizes[0]) ** 2, 3 * rounding * growth * sizes[0]),
    ]
    if network.model.activation == "identity":
        inner = np.abs(values[values < 1 - 1e-9])
        lam = float(inner.max(initial=0.0))
        chain = np.linalg.norm(chains(network.weights), 2, axis=(1, 2))
        # tr X^T Lap X <= lambda^(2K) ||W^(0) .. W^(K-1)||^2 tr X^(0)^T Lap X^(0)
        sharp = lam ** (2 * np.arange(len(X))) * chain**2 * energies[0]
        sides.append((energies, sharp, 3 * rounding * growth * sizes[0]))
    assumptions = (f"rho = {network.model.activation}", "P symmetric", f"lambda_max(Lap) = {largest:.4g}")
    return ABOUT.at_most(assumptions, *(np.concatenate([a[1:] for a in side]) for side in zip(*sides, strict=True)))


@jax.jit
@exact_products()
def _dirichlet(X, P):
    return jax.vmap(measures.dirichlet, (0, None))(X, P)


_TIGHT = tight(normalisation="sym")

STATEMENT = Statement(
    *ABOUT,
    "tr X^(K)^T Lap X^(K) <= lambda^(2K) ||W^(0) .. W^(K-1)||^2 tr X^(0)^T Lap X^(0)",
    check,
    networks(activations=("identity", "relu", "tanh"), normalisation="sym"),
    {
        "exponent too large by one": altered(_TIGHT, delayed),
        "weights twice as large as said": altered(_TIGHT, halved),
        "P not symmetric": networks(normalisation="row", graphs=("star", "path")),
        "residual, said to be plain": said(
            networks(normalisation="sym", residual="identity", weights=("identity",)), residual="none"
        ),
    },
)

"""Backward smoothing of the linear GNN (Keriven 2025).

For H^(k) = P X^(k) W^(k), rho = id, P symmetric with P 1 = 1 and other eigenvalues at most lambda < 1 in modulus:

    E(B^(k)) <= lambda^(L-1-k) ||W^(k+1) .. W^(L-1)||_2 E(B^(L-1))  <=  (lambda s)^(L-1-k) E(B^(L-1)).

Proof. B^(k) = P^T B^(k+1) W^(k+1)^T; the rest as for the gradients: errors smooth from the output to the input.
"""

import numpy as np

from jaxgnn.theory.draws import advanced, altered, halved, networks, tight
from jaxgnn.theory.forward_smoothing import energy
from jaxgnn.theory.network import Network, chain_ends
from jaxgnn.theory.statement import About, Check, Shape, Statement

ABOUT = About("backward smoothing, linear", "Keriven 2025; norm of the product in place of s^(L-1-k), derived")


def check(network: Network) -> Check:
    """Of every layer k = 0 .. L-2; for one layer there is nothing to say but that E(B) = E(B)."""
    network.plain(activations=("identity",))
    lam, _ = network.matrix.doubly
    B = network.trace.errors
    # E(B^(k)) <= lambda^(L-1-k) ||W^(k+1) .. W^(L-1)||_2 E(B^(L-1))
    chain = np.linalg.norm(chain_ends(network.weights)[1:], 2, axis=(1, 2))
    rhs = lam ** np.arange(len(B))[::-1] * chain * energy(B[-1])
    assumptions = ("linear", "P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    return ABOUT.at_most(assumptions, energy(B)[:-1], rhs[:-1], network.backward_rounding[1:-1])


_TIGHT = tight()


def _deep(draw):
    """At least two layers: one has no recursion."""
    return lambda rng, shape: draw(rng, Shape(shape.nodes, shape.width, max(shape.depth, 2)))


STATEMENT = Statement(
    *ABOUT,
    "E(B^(k)) <= lambda^(L-1-k) ||W^(k+1) .. W^(L-1)||_2 E(B^(L-1))",
    check,
    networks(),
    {
        "exponent too large by one": altered(_deep(_TIGHT), advanced),
        "weights twice as large as said": altered(_deep(_TIGHT), halved),
        "ReLU": networks(activations=("relu",)),
        "several components": networks(graphs=("two parts",)),
    },
)

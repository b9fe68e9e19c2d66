"""Sensitivity of a node's features to another's input: over-squashing (Arroyo et al. 2025, Theorem 5.1).

For blocks X' = alpha X + rho(P X W) (alpha 0 plain, 1 residual; GNN-SSM alpha = ||Lambda||, s = ||B|| ||W||), rho
1-Lipschitz:

    ||d X_v^(k) / d X_u^(0)||_2 <= [prod_l (alpha_l I + s_l |P|)]_vu;
    rho = id, alpha = 0:  ||d X_v^(k) / d X_u^(0)||_2 = |(P^k)_vu| ||W^(0) .. W^(k-1)||_2.

Proof. By induction over ||J_l||_vu <= alpha_l [v = u] + s_l |P_vu|; the second is the block of P^k (x) (W^(0) ..
)^T. The paper's constants are not known to us: these are derived. Measured by the sensitivity engine.
"""

from dataclasses import replace

import networkx as nx
import numpy as np

from jaxgnn.jacobian import sensitivity, sensitivity_bound
from jaxgnn.theory.draws import altered, halved, networks, prepared
from jaxgnn.theory.network import LIPSCHITZ, Matrix, Network, chains
from jaxgnn.theory.statement import About, Check, Statement

ABOUT = About("sensitivity through depth", "Arroyo et al. 2025, Theorem 5.1, with constants derived")

_SOURCES = 64


def check(network: Network) -> Check:
    """Of all nodes v and up to 64 nodes u, from the input to the last layer."""
    network.plain(activations=LIPSCHITZ, residuals=("none", "identity", "ssm"))
    model = network.model
    f, h = model.segment_fn(network.params, network.graph, network.x, dtype=np.float64)
    sources = np.linspace(0, len(h) - 1, min(len(h), _SOURCES)).astype(int)
    measured = sensitivity(f, h, network.graph, sources=sources).norms
    keep = model.dynamics(network.params).alphas
    scales = model.dynamics(network.params).scales if model.residual == "ssm" else network.norms
    # ||d X_v / d X_u|| <= [prod_l (alpha_l I + s_l |P|)]_vu
    bound = sensitivity_bound(network.P, keep, scales, sources=sources).values
    rounding = 1e-13 * network.lipschitz.prod()
    sides = [(measured, bound)]
    if model.activation == "identity" and model.residual == "none":
        power = np.abs(np.linalg.matrix_power(network.P, model.depth))[:, sources].T  # [u, v]
        stated = power * np.linalg.norm(chains(network.weights)[-1], 2)
        sides += [(measured, stated), (stated, measured)]
    lhs, rhs = (np.concatenate([np.ravel(a) for a in side]) for side in zip(*sides, strict=True))
    return ABOUT.at_most((f"rho = {model.activation}", f"residual {model.residual}"), lhs, rhs, rounding)


def _of_a_star(network):
    return replace(network, matrix=Matrix.of(prepared(nx.star_graph(len(network.P) - 1), "sym")))


_PLAIN = networks(normalisation="sym", weights=("orthogonal",))

STATEMENT = Statement(
    *ABOUT,
    "||d X_v^(k) / d X_u^(0)|| <= [prod_l (alpha_l I + s_l |P|)]_vu",
    check,
    networks(activations=("identity", "relu"), normalisation="sym"),
    {
        "weights twice as large as said": altered(_PLAIN, halved),
        "P of another graph": altered(
            networks(normalisation="sym", graphs=("path",), weights=("orthogonal",)), _of_a_star
        ),
    },
)

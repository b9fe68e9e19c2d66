"""The spectrum of a GNN-SSM layer's Jacobian (Arroyo et al. 2025, Proposition 3.3).

For X'^T = Lambda X^T + B F(X)^T, row-major: J = I (x) Lambda + (I (x) B) Jac F, so that

    ||J||_2 <= ||Lambda||_2 + ||B||_2 ||P||_2 ||W||_2            F = rho(P X W), rho 1-Lipschitz;
    sigma(J) = union over i of sigma(Lambda + p_i B W^T)         rho = id, P symmetric with eigenvalues p_i.

For the union nothing has to commute: J is block diagonal in P's eigenbasis. Measured by the Jacobian engine.
"""

import numpy as np

from jaxgnn.jacobian import jacobian
from jaxgnn.theory.draws import altered, halved, networks
from jaxgnn.theory.linear_spectrum import LARGEST
from jaxgnn.theory.network import Network
from jaxgnn.theory.state_space_smoothing import transition
from jaxgnn.theory.statement import About, Check, Statement, require

ABOUT = About("spectrum of a GNN-SSM layer", "Arroyo et al. 2025, Proposition 3.3; union over P's spectrum derived")


def check(network: Network) -> Check:
    """Of the last layer: the norm, and all n d singular values where rho = id and P is symmetric."""
    network.plain(activations=("identity", "relu", "tanh"), residuals=("ssm", "identity"))
    Lambda, B = transition(network)
    f, h = network.model.layer_fn(
        network.params, network.graph, network.x, layer=network.model.depth - 1, dtype=np.float64
    )
    require(h.size <= LARGEST, f"n d = {h.size}: the exact spectrum is taken up to {LARGEST}")
    measured = jacobian(f, h).singular_values(method="exact")
    W = network.weights[-1]
    bound = np.linalg.norm(Lambda, 2) + np.linalg.norm(B, 2) * network.matrix.norm * np.linalg.norm(W, 2)
    lhs, rhs = [measured[0]], [bound]
    if network.model.activation == "identity" and network.matrix.symmetric:
        blocks = Lambda + network.matrix.eigen[0][:, None, None] * (B @ W.T)
        stated = np.sort(np.linalg.svd(blocks, compute_uv=False).ravel())[::-1]
        lhs, rhs = np.concatenate([lhs, measured, stated]), np.concatenate([rhs, stated, measured])
    return ABOUT.at_most((f"rho = {network.model.activation}",), lhs, rhs, 1e-11 * bound)


STATEMENT = Statement(
    *ABOUT,
    "||J|| <= ||Lambda|| + ||B|| ||P|| ||W||;  sigma(J) = union_i sigma(Lambda + p_i B W^T)",
    check,
    networks(residual="ssm", activations=("identity", "tanh")),
    {
        "weights twice as large as said": altered(networks(residual="ssm", weights=("gaussian",)), halved),
        "no state space": networks(),
    },
)

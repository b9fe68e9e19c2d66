"""Once the readout is trained, every layer of a GNN is near-stationary (Keriven 2025), with what it needs.

For any network of layers H^(k) = P X^(k) W^(k) and logits X^(L) R + 1 b^T, with E the output error d loss / d
logits, e = 1^T E / n, X^(L) = 1 f^T + S, P X^(k) = 1 g_k^T + S_k (1^T S = 1^T S_k = 0), b_k = 1^T B^(k) / n:

    n ||f|| ||e|| <= ||S||_2 mu(E) + ||d loss / d R||_F,     n ||e|| = ||d loss / d b||,                            (1)
    ||d loss / d W^(k)||_F <= n ||g_k|| ||b_k|| + mu(P X^(k)) mu(B^(k)).                                           (2)

With rho = id, P symmetric, P 1 = 1, |p_i| <= lambda < 1, and gamma the mean of X^(0), at every layer k:

    ||d loss / d W^(k)||_F <= prod_(j != k) s_j (n ||gamma|| ||e|| ||R||_2 + lambda^L mu(X^(0)) mu(E) ||R||_2).      (3)

For rho = id, any P and any R, an identity that has no graph in it:

    (W^(k) .. W^(L-1))^T d loss / d W^(k) = (d loss / d R) R^T (W^(k+1) .. W^(L-1))^T.                              (4)

Proof. (1) d loss / d R = X^(L)^T E = n f e^T + S^T (E - 1 e^T). (2) d loss / d W^(k) = (P X^(k))^T B^(k) = n g_k
b_k^T + S_k^T (B^(k) - 1 b_k^T). (3) forward smoothing k + 1 times and backward smoothing L - 1 - k times: lambda^L
at every layer. (4) d loss / d R = (W^(0) .. W^(L-1))^T M, d loss / d W^(k) = (W^(0) .. W^(k-1))^T M R^T (W^(k+1)
..)^T, M = X^(0)^T (P^T)^L E.

So (4) says that a linear network with invertible weights is stationary everywhere once its readout is, MLP or GNN:
what is special to graphs needs rho. With a bias in the readout e = 0 at stationarity, for every network. What (3)
needs and the literature leaves unsaid is a bounded ||R||: solved exactly where X^(L) is nearly constant it can be as
large as 1 / ||S||.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxgnn.host.precision import exact_products, precision
from jaxgnn.theory.draws import altered, halved, networks
from jaxgnn.theory.network import LIPSCHITZ, Network, chain_ends, mu, observe
from jaxgnn.theory.statement import About, Check, Draw, Statement

ABOUT = About("stationarity after the readout", "Keriven 2025; constants, and the part of ||R||, derived")


def output_error(network: Network):
    """E = d loss / d logits, R and b."""
    R, b = (np.asarray(network.params["params"]["readout"][name]) for name in ("kernel", "bias"))
    with precision(np.float64):
        E = np.asarray(error_at(network.loss_fn, jnp.asarray(network.trace.features[-1] @ R + b)))
    return E, R, b


@jax.jit
@exact_products()
def error_at(loss_fn, logits):
    """d loss / d logits."""
    return jax.grad(loss_fn)(logits)


def check(network: Network) -> Check:
    """(1), (2) of every layer; (4) where the network is linear, and (3) where P is symmetric with P 1 = 1 as well."""
    network.plain(activations=LIPSCHITZ)
    E, R, _ = output_error(network)
    X, B, n = network.trace.features, network.trace.errors, len(E)
    e, f, PX = E.mean(axis=0), X[-1].mean(axis=0), network.P @ X[:-1]
    g, b = PX.mean(axis=1), B.mean(axis=1)
    norm = np.linalg.norm
    back, forward = network.backward_rounding, network.forward_rounding
    rounding = forward[:-1] * norm(B, axis=(1, 2)) + back[1:] * norm(PX, axis=(1, 2))
    gradients = network.trace.weight_grads
    # (1) n ||f|| ||e|| <= ||S||_2 mu(E) + ||d loss / d R||
    sides = [
        (
            [n * norm(f) * norm(e)],
            [norm(X[-1] - f, 2) * mu(E) + norm(X[-1].T @ E)],
            [1e-13 * n * norm(f) * norm(E) + 1e-300],
        ),
        # (2) ||d loss / d W|| <= n ||g|| ||b|| + mu(P X) mu(B)
        (gradients, n * norm(g, axis=1) * norm(b, axis=1) + mu(PX) * mu(B), rounding),
    ]
    said: tuple[str, ...] = ("X^(L) R + b read out",)
    if network.model.activation == "identity":
        ends = chain_ends(network.weights)
        sizes = norm(ends, 2, axis=(1, 2))
        # (4) (W^(k) .. W^(L-1))^T d loss / d W^(k) = (d loss / d R) R^T (W^(k+1) .. W^(L-1))^T
        left, right = ends[:-1].swapaxes(1, 2) @ (PX.swapaxes(1, 2) @ B), ends[1:] @ R @ E.T @ X[-1]
        gap = norm(left - right.swapaxes(1, 2), axis=(1, 2))
        allowed = sizes[:-1] * rounding + forward[-1] * norm(E) * norm(R) * sizes[1:]
        sides.append((gap, np.zeros_like(gap), allowed))
        said += ("linear",)
    if network.model.activation == "identity" and network.matrix.symmetric:
        lam, _ = network.matrix.doubly
        others = np.array([np.delete(network.norms, k).prod() for k in range(len(gradients))])
        # (3) ||d loss / d W|| <= prod_(j != k) s_j (n ||gamma|| ||e|| + lambda^L mu(X^(0)) mu(E)) ||R||
        mean, off = n * norm(X[0].mean(axis=0)) * norm(e), lam ** len(gradients) * mu(X[0]) * mu(E)
        sides.append((gradients, others * (mean + off) * norm(R, 2), rounding))
        said += ("P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    return ABOUT.at_most(said, *(np.concatenate(side) for side in zip(*sides, strict=True)))


def mean_squared(Y, logits):
    """||logits - Y||^2 / (2 n)."""
    return ((logits - Y) ** 2).sum() / (2 * Y.shape[0])


def read_out(draw: Draw) -> Draw:
    """Draws what `draw` does, with random labels and the readout that minimises their mean squared error."""

    def with_readout(rng, shape):
        (network,) = draw(rng, shape)
        X = network.trace.features[-1]
        Y = rng.standard_normal(X.shape)
        columns = np.concatenate([X, np.ones((len(X), 1))], axis=1)
        solution = np.linalg.lstsq(columns, Y, rcond=1e-6)[0]
        params = network.params["params"] | {"readout": {"kernel": solution[:-1], "bias": solution[-1]}}
        return (
            observe(
                network.model,
                network.params | {"params": params},
                network.graph,
                network.x,
                Partial(mean_squared, Y),
                matrix=network.matrix,
            ),
        )

    return with_readout


def _larger(network):
    return replace(network, trace=network.trace._replace(weight_grads=1e9 * network.trace.weight_grads))


STATEMENT = Statement(
    *ABOUT,
    "||dloss/dW^(k)|| <= prod s_j (n ||gamma|| ||e|| + lambda^L mu(X^(0)) mu(E)) ||R||",
    check,
    read_out(networks(activations=("identity", "relu", "tanh"))),
    {
        "weights twice as large as said": altered(networks(weights=("gaussian",)), halved),
        "gradients far larger than said": altered(
            read_out(networks(activations=("tanh",), weights=("gaussian",))), _larger
        ),
        "several components": read_out(networks(graphs=("two parts",))),
        "rho not 1-Lipschitz": read_out(networks(activations=("gelu",))),
    },
)

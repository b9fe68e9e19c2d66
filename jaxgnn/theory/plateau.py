"""After the readout is trained the loss is the best constant predictor's, up to what smoothing left (Keriven 2025).

For a convex loss of logits Z = X^(L) R + 1 b^T, X^(L) = 1 f^T + S, E = d loss / d Z, and D the error at Z's mean, 1
z^T with z = R^T f + b; loss_c the best constant predictor's loss, 1 z_c^T its logits:

    loss_c - loss <= mu(D) ||S||_2 ||R||_F <= mu(D) (lambda s)^L mu(X^(0)) ||R||_F,
    loss - loss_c <= ||R||_F ||d loss / d R||_F + ||b - z_c|| ||d loss / d b||.

Proof. Convexity: loss(Z) >= loss(1 z^T) + <D, S R> >= loss_c - mu(D) ||S R||_F, as S R has columns of mean 0; and
loss_c >= loss(Z) + <E, 1 z_c^T - Z>, <E, Z> = <d loss / d R, R> + <d loss / d b, b>. So a stationary readout does no
worse than the constant, and better only as far as ||R|| undoes the smoothing of S: the plateau is one of readouts of
bounded size. For cross-entropy loss_c is the entropy of the class frequencies, ln 7 for Cora's balanced training
labels.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.tree_util import Partial

from jaxgnn.host.precision import precision
from jaxgnn.theory.draws import altered, halved, networks
from jaxgnn.theory.network import LIPSCHITZ, Network, mu, observe, products
from jaxgnn.theory.statement import About, Check, Draw, Statement
from jaxgnn.theory.stationarity import error_at, output_error

ABOUT = About("plateau at the constant predictor", "Keriven 2025; two-sided by convexity, derived")


def check(network: Network, targets) -> Check:
    """Both sides, for the cross-entropy with targets [n, C], rows of probabilities."""
    E, R, b = output_error(network)
    frequency = targets.mean(axis=0)
    z_c = np.log(frequency)
    loss, loss_c = float(network.trace.loss), -float(frequency @ z_c)
    X, norm = network.trace.features, np.linalg.norm
    f = X[-1].mean(axis=0)
    with precision(np.float64):
        constant = jnp.asarray(np.tile(f @ R + b, (len(E), 1)))
        D = np.asarray(error_at(network.loss_fn, constant))
    # loss_c - loss <= mu(D) ||S||_2 ||R||_F
    better = mu(D) * norm(X[-1] - f, 2) * norm(R)
    sides: list[tuple[Any, Any]] = [(loss_c - loss, better)]
    # loss - loss_c <= ||R||_F ||d loss / d R||_F + ||b - z_c|| ||d loss / d b||
    # (logits may be shifted: z_c is determined up to a number for all classes)
    free = b - z_c - (b - z_c).mean()
    sides.append((loss - loss_c, norm(R) * norm(X[-1].T @ E) + norm(free) * norm(E.sum(axis=0))))
    said: tuple[str, ...] = ("cross-entropy", f"||R|| = {norm(R):.3g}")
    if network.model.norm == "none" and network.model.residual == "none" and network.matrix.symmetric:
        network.plain(activations=LIPSCHITZ)
        lam, _ = network.matrix.doubly
        smoothed = products(lam * network.norms)[-1] * mu(X[0])
        sides.append((better, mu(D) * (smoothed + network.forward_rounding[-1]) * norm(R)))
        said += ("P symmetric, P 1 = 1", f"lambda = {lam:.4g}")
    lhs, rhs = np.array(sides).T
    return ABOUT.at_most(said, lhs, rhs, 1e-12 * (loss_c + abs(loss)) + 1e-12 * rhs)


def cross_entropy(targets, logits):
    """Mean over nodes of -sum_c t_c log softmax(logits)_c."""
    return -(targets * jax.nn.log_softmax(logits, axis=1)).sum() / targets.shape[0]


def trained(draw: Draw, steps: int = 30) -> Draw:
    """Draws what `draw` does, with random classes and a readout trained for some steps of L-BFGS."""

    def with_readout(rng, shape):
        (network,) = draw(rng, shape)
        X = network.trace.features[-1]
        n, d = X.shape
        targets = np.eye(d)[np.concatenate([np.arange(d), rng.integers(d, size=max(n - d, 0))])[:n]]
        targets = 0.95 * targets + 0.05 / d  # no class is left out, and no readout separates them at infinity

        def value_and_gradient(flat):
            R, b = flat[: d * d].reshape(d, d), flat[d * d :]
            Z = X @ R + b
            Z = Z - Z.max(axis=1, keepdims=True)
            logs = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
            E = (np.exp(logs) - targets) / n
            return -(targets * logs).sum() / n, np.concatenate([(X.T @ E).ravel(), E.sum(axis=0)])

        flat = scipy.optimize.minimize(
            value_and_gradient, np.zeros(d * d + d), jac=True, method="L-BFGS-B", options={"maxiter": steps}
        ).x
        readout = {"kernel": flat[: d * d].reshape(d, d), "bias": flat[d * d :]}
        params = network.params | {"params": network.params["params"] | {"readout": readout}}
        loss_fn = Partial(cross_entropy, targets)
        observed = observe(network.model, params, network.graph, network.x, loss_fn, matrix=network.matrix)
        return observed, targets

    return with_readout


def _worse(network: Network) -> Network:
    """A loss above the constant's, at a point said to be stationary."""
    return replace(network, trace=network.trace._replace(loss=network.trace.loss + 1e4))


STATEMENT = Statement(
    *ABOUT,
    "-||R|| ||dloss/dR|| - .. <= loss_c - loss <= mu(D) (lambda s)^L mu(X^(0)) ||R||",
    check,
    trained(networks(activations=("identity", "relu", "tanh"))),
    {
        "a loss far above the constant's": altered(trained(networks()), _worse),
        "weights sixteen times as large as said": altered(
            trained(networks(graphs=("path",), weights=("orthogonal",))), lambda n: halved(halved(halved(halved(n))))
        ),
        "several components": trained(networks(graphs=("two parts",))),
    },
)

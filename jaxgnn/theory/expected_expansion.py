"""How fast gradients of a random residual GCN expand, exactly (the rate is ours; the expansion Park & Kim 2024's).

For X^(l+1) = X^(l) + P X^(l) W^(l), P symmetric with P 1 = 1 and other eigenvalues p_2 .. p_n, W^(l) of independent
entries of mean 0 and variance sigma^2 / d, and g_i the part of G^(L) along P's i-th eigenvector:

    E mu(G^(l))^2 = sum_(i>=2) (1 + p_i^2 sigma^2)^(L-l) ||g_i||^2.

Proof. Row i of the gradient is multiplied by I + p_i W^T, and E ||g (I + p W^T)||^2 = ||g||^2 (1 + p^2 sigma^2), as
W has mean 0 and its columns' expected squares sum to sigma^2 for each entry of g; the layers are independent. So on
average gradients always expand, fastest along the smoothest signals, at a rate that the graph enters by P's spectrum
alone.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgnn.analysis.probe import probe
from jaxgnn.host.precision import exact_products, precision
from jaxgnn.theory.draws import networks
from jaxgnn.theory.network import Network
from jaxgnn.theory.statement import About, Check, Shape, Statement

ABOUT = About("expected expansion, random residual GCN", "derived; the expansion is Park & Kim 2024's")
DRAWS = 512
_DEPTH = 3  # the squares' tails grow with depth, and the mean of 512 would not be normal
_ERRORS = 6  # standard errors


def check(network: Network, weights, sigma: float) -> Check:
    """The mean over draws [m, L, d, d] against the sum, at every layer, within six standard errors."""
    network.plain(activations=("identity",), residuals=("identity",))
    lam, _ = network.matrix.doubly
    with precision(np.float64):
        squares = np.asarray(
            _squares(network.model, network.params, network.graph, network.x, network.loss_fn, jnp.asarray(weights))
        )
    values, vectors = network.matrix.eigen
    G = network.trace.feature_grads[-1]
    parts = ((vectors.T @ (G - G.mean(axis=0))) ** 2).sum(axis=1)
    layers = np.arange(squares.shape[1] - 1)
    # sum_(i>=2) (1 + p_i^2 sigma^2)^(L-l) ||g_i||^2
    stated = ((1 + values**2 * sigma**2) ** (len(layers) - layers)[:, None] * parts).sum(axis=1)
    error = np.abs(squares.mean(axis=0)[:-1] - stated)
    allowed = _ERRORS * squares.std(axis=0, ddof=1)[:-1] / len(squares) ** 0.5
    said = (f"W of mean 0 and variance {sigma:.3g}^2 / d, {len(squares)} draws", f"lambda = {lam:.4g}")
    return ABOUT.at_most(said, error, allowed, 1e-12 * stated)


@partial(jax.jit, static_argnums=0)
@exact_products()
def _squares(model, params, graph, x, loss_fn, weights):
    """mu(G^(l))^2 of every draw and layer."""

    def one(kernel):
        own = params["params"] | {"stack": {"layer": {"linear": {"kernel": kernel}}}}
        G = probe(model, params | {"params": own}, graph, x, loss_fn).feature_grads
        return jnp.sum((G - G.mean(axis=1, keepdims=True)) ** 2, axis=(1, 2))

    return jax.vmap(one)(weights)


def _draw(rng, shape: Shape, factor: float = 1.0, **options):
    depth = min(shape.depth, _DEPTH)
    (network,) = networks(residual="identity", **options)(rng, Shape(shape.nodes, shape.width, depth))
    sigma = rng.uniform(0.2, 1.0)
    d = shape.width
    return network, factor * sigma / d**0.5 * rng.standard_normal((DRAWS, depth, d, d)), sigma


def _shifted(rng, shape):
    network, weights, sigma = _draw(rng, shape, graphs=("path",))
    return network, weights + np.eye(weights.shape[-1]) / 2, sigma


STATEMENT = Statement(
    *ABOUT,
    "E mu(G^(l))^2 = sum_i (1 + p_i^2 sigma^2)^(L-l) ||g_i||^2",
    check,
    _draw,
    {
        "variance nine times as large as said": lambda rng, shape: _draw(rng, shape, 3.0, graphs=("path",)),
        "weights of a mean that is not 0": _shifted,
        "no residual": lambda rng, shape: (*networks()(rng, shape), np.zeros((2, 1, 1, 1)), 1.0),
    },
)

"""||X||_F^2 = mu(X)^2 + ||1 gamma_X||_F^2, gamma_X = 1^T X / n (Park & Kim 2024): smoothing apart from vanishing.

Pythagoras: X - 1 gamma_X has columns of mean 0, which 1 is orthogonal to. It holds for X^(l), G^(l) and B^(l) of any
network: a signal is smooth when mu^2 is a small part of the square, and has vanished when the whole is small.
"""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from jaxgnn.analysis import measures
from jaxgnn.host.precision import exact_products, precision
from jaxgnn.theory.draws import networks
from jaxgnn.theory.network import Network
from jaxgnn.theory.statement import About, Check, Statement

ABOUT = About("decomposition of the norm", "Park & Kim 2024")


def check(network: Network, similarity: Callable = measures.mu) -> Check:
    """Of the features, gradients and errors of every layer, with `jaxgnn.analysis.measures.mu`."""
    trace = network.trace
    signals = np.concatenate([trace.features, trace.feature_grads, trace.errors])
    with precision(np.float64):
        mus = np.asarray(_mapped(similarity, signals))
    squares = (signals**2).sum(axis=(1, 2))
    gammas = signals.mean(axis=1)
    # mu(X)^2 + n ||gamma_X||^2 = ||X||_F^2
    measured = mus**2 + signals.shape[1] * (gammas**2).sum(axis=1)
    return ABOUT.equal(("any network",), measured, squares, 1e-12 * squares)


@partial(jax.jit, static_argnums=0)
@exact_products()
def _mapped(similarity, signals):
    return jax.vmap(similarity)(signals)


def _twice(X):
    return 2 * measures.mu(X)


_ANY = networks(activations=("identity", "relu", "tanh"), normalisation="sym")

STATEMENT = Statement(
    *ABOUT,
    "mu(X)^2 + n ||gamma_X||^2 = ||X||_F^2",
    check,
    _ANY,
    {"mu twice as large": lambda rng, shape: (*_ANY(rng, shape), _twice)},
)

"""Layers that contract lead to one fixed point, whatever the input (Arroyo et al. 2025, Lemma 4.2).

For X^(k+1) = f(X^(k)) with shared weights, f = rho(P X W), rho 1-Lipschitz, q = ||P||_2 ||W||_2 < 1, and two inputs
X, Y:

    ||X^(k) - Y^(k)||_F <= q^k ||X^(0) - Y^(0)||_F,    ||X^(k+1) - X^(k)||_F <= q^k ||X^(1) - X^(0)||_F,
    ||X^(L) - X^(k)||_F <= q^k / (1 - q) ||X^(1) - X^(0)||_F.

Proof. Banach. So a deep contracting network forgets its input: its features are those of the fixed point. Measured
by iterating the weight-shared network itself.
"""

from dataclasses import replace

import numpy as np

from jaxgnn.theory.draws import altered, delayed, networks, run
from jaxgnn.theory.network import LIPSCHITZ, Network
from jaxgnn.theory.statement import About, Check, Statement, require

ABOUT = About("contraction to a fixed point", "Arroyo et al. 2025, Lemma 4.2")


def check(network: Network, other: Network) -> Check:
    """Distance of two trajectories, steps, and distance to the last features, at every layer."""
    network.plain(activations=LIPSCHITZ)
    same = np.ptp(network.weights, axis=0).max(initial=0) + np.abs(network.weights - other.weights).max(initial=0)
    require(same == 0, "the layers' weights differ: a fixed point is one of a shared map")
    q = float(network.matrix.norm * network.norms[0])
    require(q < 1, f"q = ||P|| ||W|| = {q:.4g}: the layer is no contraction")
    X, Y = network.trace.features, other.trace.features
    norm = lambda Z: np.linalg.norm(Z, axis=(1, 2))  # noqa: E731
    powers = q ** np.arange(len(X))
    step = np.linalg.norm(X[1] - X[0])
    sides = (
        # ||X^(k) - Y^(k)|| <= q^k ||X^(0) - Y^(0)||
        (norm(X - Y)[1:], powers[1:] * np.linalg.norm(X[0] - Y[0])),
        # ||X^(k+1) - X^(k)|| <= q^k ||X^(1) - X^(0)||
        (norm(X[1:] - X[:-1])[1:], powers[1:-1] * step),
        # ||X^(L) - X^(k)|| <= q^k / (1 - q) ||X^(1) - X^(0)||
        (norm(X[-1:] - X), powers / (1 - q) * step),
    )
    lhs, rhs = (np.concatenate(side) for side in zip(*sides, strict=True))
    rounding = 1e-13 * (np.linalg.norm(X[0]) + np.linalg.norm(Y[0]))
    return ABOUT.at_most((f"shared weights, rho = {network.model.activation}", f"q = {q:.4g}"), lhs, rhs, rounding)


def pairs(**options):
    """Two runs of one network with shared weights, from two inputs."""
    draw = networks(share_weights=True, normalisation="sym", **options)

    def two(rng, shape):
        (network,) = draw(rng, shape)
        X = network.x + rng.standard_normal(network.x.shape)
        kernel = network.weights[:1]
        other = run(network.model, network.graph, network.matrix, kernel, X, X, rng)
        return network, other

    return two


def _drifting(network):
    """Weights that grow from layer to layer by a millionth."""
    growth = 1 + 1e-6 * np.arange(len(network.weights))
    return replace(network, weights=network.weights * growth[:, None, None])


def _from_constants(rng, shape):
    """Along P's first eigenvector, which W alone shrinks: the steps are as long as they may be."""
    network, _ = pairs(scales=(0.5, 0.9), weights=("orthogonal",))(rng, shape)
    signals = [np.outer(np.sqrt(network.matrix.degree), rng.standard_normal(shape.width)) for _ in range(2)]
    arguments = (network.model, network.graph, network.matrix, network.weights[:1])
    return tuple(run(*arguments, X, X, rng) for X in signals)


STATEMENT = Statement(
    *ABOUT,
    "||X^(k) - Y^(k)|| <= q^k ||X^(0) - Y^(0)||, q = ||P|| ||W|| < 1",
    check,
    pairs(activations=("identity", "relu", "tanh"), scales=(0.2, 0.95)),
    {
        "exponent too large by one": altered(_from_constants, delayed),
        "no contraction": pairs(scales=(1.1, 1.5)),
        "weights that are not shared": altered(pairs(scales=(0.5, 0.9)), _drifting),
    },
)

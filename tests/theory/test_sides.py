"""Both sides of every statement, written out a second time: from P, the weights, the signals and nothing else."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.theory import (
    STATEMENTS,
    Shape,
    draws,
    expected_expansion,
    fixed_point,
    mlp_counterexample,
    plateau,
    spectral_law,
    stationarity,
)

SHAPE = Shape(10, 3, 5)
RHO = {
    "identity": (lambda H: H, lambda H: np.ones_like(H)),
    "relu": (lambda H: np.maximum(H, 0), lambda H: (H > 0) * 1.0),
    "leaky_relu": (lambda H: np.where(H > 0, H, H / 100), lambda H: np.where(H > 0, 1.0, 0.01)),
    "tanh": (np.tanh, lambda H: 1 / np.cosh(H) ** 2),
    "elu": (lambda H: np.where(H > 0, H, np.exp(np.minimum(H, 0)) - 1), lambda H: np.exp(np.minimum(H, 0))),
}
SECOND_DERIVATIVE = {"identity": 0.0, "tanh": 4 / (3 * np.sqrt(3)), "elu": 1.0}


def op(M):
    """||M||_2."""
    return np.sqrt(np.linalg.eigvalsh(M.T @ M)[-1])


def size(M):
    return np.sqrt(np.sum(np.square(M)))


def mu(X):
    """mu(X)^2 is the sum of squared distances of all pairs of rows, each pair once, over n."""
    return np.sqrt(np.sum((X[:, None] - X[None]) ** 2) / (2 * len(X)))


def chain(matrices, start, stop):
    """W^(start) .. W^(stop-1)."""
    product = np.eye(matrices.shape[-1])
    for layer in range(start, stop):
        product = product @ matrices[layer]
    return product


def written(network):
    """The network run forward and back in numpy, with the numbers that statements are made of."""
    rho, slope = RHO[network.model.activation]
    P, W, L, R = network.P, network.weights, network.model.depth, network.params["params"]["readout"]["kernel"]
    keep, Lambda, B = 0.0, np.zeros_like(W[0]), np.eye(W.shape[-1])
    if network.model.residual == "identity":
        keep, Lambda = 1.0, np.eye(W.shape[-1])
    if network.model.residual == "ssm":
        Lambda, B = (np.asarray(network.params["constants"]["ssm"][name]) for name in ("transition", "input"))
        keep = None
    X, H = [np.asarray(network.x)], []
    for kernel in W:
        H.append(P @ X[-1] @ kernel)
        X.append(X[-1] @ Lambda.T + rho(H[-1]) @ B.T)
    logits = X[-1] @ R + network.params["params"]["readout"]["bias"]
    E = np.asarray(jax.grad(network.loss_fn)(logits))
    G, errors = [E @ R.T], []
    for h, kernel in zip(H[::-1], W[::-1], strict=True):
        errors.append(slope(h) * (G[-1] @ B))
        G.append(G[-1] @ Lambda + P.T @ errors[-1] @ kernel.T)
    s, p = np.array([op(kernel) for kernel in W]), np.linalg.svd(P, compute_uv=False)[0]
    lipschitz = (keep if keep is not None else op(Lambda)) + op(B) * s * p
    return SimpleNamespace(
        n=len(P), d=W.shape[-1], L=L, P=P, W=W, s=s, norm=p, X=X, H=H, G=G[::-1], B=errors[::-1], E=E, R=R,
        Lambda=Lambda, input=B, slope=slope, lipschitz=lipschitz, logits=logits, network=network,
    )  # fmt: skip


def others(P):
    """All eigenvalues but the 1, of symmetric P."""
    values = np.linalg.eigvalsh(P)
    assert abs(values[-1] - 1) < 1e-12
    return values[:-1]


def lam(P):
    """lambda of symmetric P, which is neither 0 nor 1 here."""
    found = np.max(np.abs(others(P)))
    assert 0.05 < found < 0.999
    return found


def representation_smoothing(net):
    w = written(net)
    layers = range(1, w.L + 1)
    return [mu(w.X[l]) for l in layers], [lam(w.P) ** l * op(chain(w.W, 0, l)) * mu(w.X[0]) for l in layers]


def forward_smoothing(net):
    w = written(net)
    root = np.sqrt(w.n)
    rhs = [lam(w.P) ** l * np.prod(w.s[:l]) * mu(w.X[0]) / root for l in range(1, w.L + 1)]
    return [mu(X) / root for X in w.X[1:]], rhs


def gradient_smoothing(net):
    w = written(net)
    rhs = [lam(w.P) ** (w.L - l) * op(chain(w.W, l, w.L)) * mu(w.G[w.L]) for l in range(w.L)]
    return [mu(w.G[l]) for l in range(w.L)], rhs


def backward_smoothing(net):
    w = written(net)
    root, last = np.sqrt(w.n), w.L - 1
    rhs = [lam(w.P) ** (last - k) * op(chain(w.W, k + 1, w.L)) * mu(w.B[last]) / root for k in range(last)]
    return [mu(w.B[k]) / root for k in range(last)], rhs


def residual_expansion(net):
    w = written(net)
    I, G, top = np.eye(w.d), [mu(G) for G in w.G], mu(w.G[-1])
    lower, sharp, paper = [], [], []
    for l in range(w.L):
        chains = [chain(np.stack([I + p * W for W in w.W]), l, w.L) for p in others(w.P)]
        lower.append(min(np.linalg.svd(M)[1][-1] for M in chains) * top)
        sharp.append(max(np.linalg.svd(M)[1][0] for M in chains) * top)
        paper.append(np.prod(1 + lam(w.P) * w.s[l:]) * top)
    return lower + G[:-1] + sharp, G[:-1] + sharp + paper


def state_space_smoothing(net):
    w = written(net)
    X, start = [mu(X) for X in w.X], mu(w.X[0])
    lower, sharp, product = [], [], []
    for k in range(1, w.L + 1):
        chains = []
        for p in others(w.P):
            M = np.eye(w.d)
            for W in w.W[:k]:
                M = (w.Lambda + p * w.input @ W.T) @ M
            chains.append(np.linalg.svd(M)[1])
        lower.append(min(sigma[-1] for sigma in chains) * start)
        sharp.append(max(sigma[0] for sigma in chains) * start)
        product.append(np.prod(op(w.Lambda) + lam(w.P) * op(w.input) * w.s[:k]) * start)
    return lower + X[1:] + sharp, X[1:] + sharp + product


def expected(net, weights, sigma):
    """E G G^T by its recursion S + sigma^2 P S P, and the draws one after another."""
    w = written(net)
    Q = np.eye(w.n) - 1 / w.n
    S = w.G[-1] @ w.G[-1].T
    stated = []
    for _ in range(w.L):
        S = S + sigma**2 * w.P @ S @ w.P
        stated.append(np.trace(Q @ S))
    squares = []
    for draw in weights:
        G, of_draw = w.G[-1], []
        for W in draw[::-1]:
            G = G + w.P @ G @ W.T
            of_draw.append(mu(G) ** 2)
        squares.append(of_draw)
    squares = np.array(squares)
    deviation = np.sqrt(np.sum((squares - squares.mean(axis=0)) ** 2, axis=0) / (len(squares) - 1))
    error = np.abs(squares.mean(axis=0) - stated)
    return error[::-1], 6 * deviation[::-1] / np.sqrt(len(squares))


def bounded_expansion(net):
    w = written(net)
    c = float(net.params["constants"]["bound_c"])
    keep = 1.0 if net.model.residual == "identity" else 0.0
    lhs = [*w.s, *(size(G) for G in w.G[:-1])]
    rhs = [c] * w.L + [(keep + w.norm * c) ** (w.L - l) * size(w.G[-1]) for l in range(w.L)]
    if net.model.activation == "identity":
        lhs += [mu(G) for G in w.G[:-1]]
        rhs += [(keep + lam(w.P) * c) ** (w.L - l) * mu(w.G[-1]) for l in range(w.L)]
    return lhs, rhs


def norm_decomposition(net):
    w = written(net)
    squares = np.array([size(Y) ** 2 for Y in [*w.X, *w.G, *w.B]])
    return np.zeros(len(squares)), 1e-12 * squares


def linear_spectrum(net):
    w = written(net)
    return np.zeros(w.n * w.d), np.full(w.n * w.d, 1e-11 * w.norm * w.s[-1])


def state_space_spectrum(net):
    w = written(net)
    slope = np.diag(w.slope(w.H[-1]).ravel())
    inner = slope @ np.kron(w.P, w.W[-1].T)
    measured = np.linalg.svd(np.kron(np.eye(w.n), w.Lambda) + np.kron(np.eye(w.n), w.input) @ inner)[1]
    bound = op(w.Lambda) + op(w.input) * w.norm * w.s[-1]
    if net.model.activation != "identity":
        return measured[:1], [bound]
    blocks = [w.Lambda + p * w.input @ w.W[-1].T for p in np.linalg.eigvalsh(w.P)]
    stated = np.sort(np.concatenate([np.linalg.svd(block)[1] for block in blocks]))[::-1]
    return [measured[0], *measured, *stated], [bound, *stated, *measured]


def law(P, weights, sigma):
    """Of square W: singular values have the quarter circle's distribution, mixed over those of P."""
    lambdas = np.sqrt(np.maximum(np.linalg.eigvalsh(P.T @ P), 0))
    distances = []
    for W in weights:
        values = np.sort(np.outer(lambdas, np.linalg.svd(W)[1]).ravel())
        u = np.clip(values[:, None] / (2 * sigma * lambdas), 0, 1)
        F = np.mean(2 / np.pi * (u * np.sqrt(1 - u**2) + np.arcsin(u)), axis=1)
        steps = np.arange(len(values) + 1) / len(values)
        distances.append(max(np.max(steps[1:] - F), np.max(F - steps[:-1])))
    return distances, [1 / np.sqrt(len(W)) for W in weights]


def to_a_point(net, other):
    w, o = written(net), written(other)
    q = w.norm * w.s[0]
    step = size(w.X[1] - w.X[0])
    lhs = [size(w.X[k] - o.X[k]) for k in range(1, w.L + 1)]
    rhs = [q**k * size(w.X[0] - o.X[0]) for k in range(1, w.L + 1)]
    lhs += [size(w.X[k + 1] - w.X[k]) for k in range(1, w.L)]
    rhs += [q**k * step for k in range(1, w.L)]
    lhs += [size(w.X[w.L] - w.X[k]) for k in range(w.L + 1)]
    rhs += [q**k / (1 - q) * step for k in range(w.L + 1)]
    return lhs, rhs


def dirichlet_decay(net):
    w = written(net)
    values = np.linalg.eigvalsh(w.P)
    energies = [np.trace(X.T @ X) - np.trace(X.T @ w.P @ X) for X in w.X]
    layers = range(1, w.L + 1)
    growth = [np.prod(w.norm * w.s[:k]) for k in range(w.L + 1)]
    lhs = [size(w.X[k]) for k in layers] + energies[1:]
    rhs = [growth[k] * size(w.X[0]) for k in layers]
    rhs += [(1 - values[0]) * growth[k] ** 2 * size(w.X[0]) ** 2 for k in layers]
    if net.model.activation == "identity":
        lhs += energies[1:]
        rhs += [lam(w.P) ** (2 * k) * op(chain(w.W, 0, k)) ** 2 * energies[0] for k in layers]
    return lhs, rhs


def over_squashing(net):
    w = written(net)
    J, bound = np.eye(w.n * w.d), np.eye(w.n)
    keep = 1.0 if net.model.residual == "identity" else 0.0
    for H, W, s in zip(w.H, w.W, w.s, strict=True):
        J = (keep * np.eye(w.n * w.d) + np.diag(w.slope(H).ravel()) @ np.kron(w.P, W.T)) @ J
        bound = (keep * np.eye(w.n) + s * np.abs(w.P)) @ bound
    blocks = J.reshape(w.n, w.d, w.n, w.d).transpose(0, 2, 1, 3)
    measured = np.array([[op(blocks[v, u]) for v in range(w.n)] for u in range(w.n)]).ravel()
    lhs, rhs = [measured], [bound.T.ravel()]
    if net.model.activation == "identity" and not keep:
        stated = (np.abs(chain(np.stack([w.P] * w.L), 0, w.L)) * op(chain(w.W, 0, w.L))).T.ravel()
        lhs, rhs = [measured, measured, stated], [bound.T.ravel(), stated, measured]
    return np.concatenate(lhs), np.concatenate(rhs)


def mean_error(net):
    w = written(net)
    rounding = [1e-13 * np.prod(w.lipschitz[k + 1 :]) * size(w.G[-1]) for k in range(w.L)]
    return np.zeros(w.L * w.d), np.repeat(rounding, w.d)


def near_linearity(net):
    w = written(net)
    r = SECOND_DERIVATIVE[net.model.activation]
    sharp, rate, distance, recursion, allowed = [], [], [], [], []
    for k in range(w.L):
        h = w.H[k].mean(axis=0)
        G = size(w.G[k + 1])
        distance.append(size(w.B[k] - w.slope(h) * w.G[k + 1]))
        sharp.append(r * np.max(np.abs(w.H[k] - h)) * G)
        rate.append(r * np.prod(lam(w.P) * w.s[: k + 1]) * mu(w.X[0]) * G)
        if k + 1 < w.L:
            b, after = w.B[k].mean(axis=0), w.B[k + 1].mean(axis=0)
            recursion.append(size(b - w.slope(h) * (w.W[k + 1] @ after)))
            allowed.append(r * mu(w.H[k]) * G / w.n)
    return distance + sharp + recursion, sharp + rate + allowed


def relu_linearity(net):
    """The error is 0; what may be wrong is which entries the statement speaks about, and their size."""
    w = written(net)
    allowed = []
    for k in range(w.L):
        h = w.H[k].mean(axis=0)
        reach = np.prod(lam(w.P) * w.s[: k + 1]) * mu(w.X[0])
        settled = np.abs(h) > reach
        assert np.all(np.abs(np.abs(h) - reach) > 1e-9 * reach)
        allowed += list((1e-14 * np.abs(w.slope(h) * w.G[k + 1]) + 1e-300).T[settled])
    assert len(allowed) > 0
    return np.zeros(len(allowed) * w.n), np.concatenate(allowed)


def stationary(net):
    w = written(net)
    f, e = w.X[-1].mean(axis=0), w.E.mean(axis=0)
    lhs = [w.n * size(f) * size(e)]
    rhs = [op(w.X[-1] - f) * mu(w.E) + size(w.X[-1].T @ w.E)]
    grads = [(w.P @ X).T @ B for X, B in zip(w.X[:-1], w.B, strict=True)]
    lhs += [size(grad) for grad in grads]
    for k in range(w.L):
        PX = w.P @ w.X[k]
        rhs.append(w.n * size(PX.mean(axis=0)) * size(w.B[k].mean(axis=0)) + mu(PX) * mu(w.B[k]))
    if net.model.activation == "identity":
        lhs, rhs = lhs + [0.0] * w.L, rhs + [0.0] * w.L
        smoothed = lam(w.P) ** w.L * mu(w.X[0]) * mu(w.E)
        for k in range(w.L):
            lhs.append(size(grads[k]))
            rhs.append(
                np.prod(w.s[np.arange(w.L) != k]) * op(w.R) * (w.n * size(w.X[0].mean(axis=0)) * size(e) + smoothed)
            )
    return lhs, rhs


def at_the_constant(net, targets):
    w = written(net)
    b = net.params["params"]["readout"]["bias"]
    frequency = targets.sum(axis=0) / w.n
    best = -np.sum(frequency * np.log(frequency))

    def softmax(Z):
        return np.exp(Z) / np.sum(np.exp(Z), axis=-1, keepdims=True)

    loss = -np.sum(targets * np.log(softmax(w.logits))) / w.n
    f = w.X[-1].mean(axis=0)
    D = (softmax(f @ w.R + b) - targets) / w.n
    free = b - np.log(frequency)
    free = free - free.mean()
    better = mu(D) * op(w.X[-1] - f) * size(w.R)
    lhs = [best - loss, loss - best, better]
    rhs = [better, size(w.R) * size(w.X[-1].T @ w.E) + size(free) * size(w.E.sum(axis=0))]
    rounding = 1e-13 * np.prod(w.lipschitz) * size(w.X[0])
    return lhs, [*rhs, mu(D) * (np.prod(lam(w.P) * w.s) * mu(w.X[0]) + rounding) * size(w.R)]


def mlp(net):
    return np.zeros(net.model.depth - 1), np.full(net.model.depth - 1, 1e-9)


def off(X, v):
    return size(X - np.outer(v, v @ X) / (v @ v))


def degree_collapse(net):
    w = written(net)
    v = np.sqrt(net.matrix.degree)
    lhs = [off(X, v) for X in w.X[1:]]
    rhs = [np.prod(lam(w.P) * w.s[:l]) * off(w.X[0], v) for l in range(1, w.L + 1)]
    if net.model.activation == "identity":
        lhs += [off(G, v) for G in w.G[:-1]]
        rhs += [np.prod(lam(w.P) * w.s[l:]) * off(w.G[-1], v) for l in range(w.L)]
    return lhs, rhs


def row_collapse(net):
    w = written(net)
    degree = net.matrix.degree
    values = np.sort(np.abs(np.linalg.eigvals(w.P)))
    contraction, pi = values[-2], degree / np.sum(degree)

    def forward(X):
        return np.sqrt(np.sum(degree[:, None] * (X - pi @ X) ** 2))

    def backward(G):
        return np.sqrt(np.sum((G - np.outer(pi, G.sum(axis=0))) ** 2 / degree[:, None]))

    lhs = [forward(X) for X in w.X[1:]]
    rhs = [np.prod(contraction * w.s[:l]) * forward(w.X[0]) for l in range(1, w.L + 1)]
    if net.model.activation == "identity":
        lhs += [backward(G) for G in w.G[:-1]]
        rhs += [np.prod(contraction * w.s[l:]) * backward(w.G[-1]) for l in range(w.L)]
    return lhs, rhs


PLAIN = {"graphs": ("star", "path", "tree"), "weights": ("gaussian",)}


def drawn(*activations, **options):
    """One draw for each of the activations."""
    return [draws.networks(activations=(name,), **PLAIN | options) for name in activations]


# The sides, and what to draw: every activation that a statement tells apart.
CASES = {
    "representation_smoothing": (representation_smoothing, drawn("identity")),
    "gradient_smoothing": (gradient_smoothing, drawn("identity")),
    "residual_expansion": (residual_expansion, drawn("identity", residual="identity")),
    "expected_expansion": (expected, [lambda rng, shape: expected_expansion._draw(rng, shape, **PLAIN)]),
    "bounded_expansion": (
        bounded_expansion,
        drawn("identity", "relu", residual="identity", bound="frobenius", bound_c=0.7)
        + drawn("identity", bound="orthogonal", bound_c=1.2),
    ),
    "norm_decomposition": (norm_decomposition, drawn("relu", normalisation="sym")),
    "linear_spectrum": (linear_spectrum, drawn("identity", normalisation="row")),
    "spectral_law": (law, [lambda rng, shape: spectral_law._draw(rng, shape, graphs=("path",))]),
    "state_space_spectrum": (
        state_space_spectrum,
        drawn("identity", "tanh", residual="ssm") + drawn("identity", residual="identity"),
    ),
    "state_space_smoothing": (
        state_space_smoothing,
        drawn("identity", residual="ssm") + drawn("identity", residual="identity"),
    ),
    "fixed_point": (
        to_a_point,
        [fixed_point.pairs(activations=(name,), scales=(0.5, 0.9), **PLAIN) for name in ("identity", "tanh")],
    ),
    "dirichlet_decay": (dirichlet_decay, drawn("identity", "relu", normalisation="sym")),
    "over_squashing": (
        over_squashing,
        drawn("identity", "relu", normalisation="sym") + drawn("relu", residual="identity"),
    ),
    "forward_smoothing": (forward_smoothing, drawn("identity", "relu", "tanh")),
    "backward_smoothing": (backward_smoothing, drawn("identity")),
    "mean_error": (mean_error, drawn("identity", normalisation="row")),
    "near_linearity": (near_linearity, drawn("tanh", "elu")),
    "relu_linearity": (relu_linearity, drawn("relu", "leaky_relu", signals="smooth")),
    "stationarity": (stationary, drawn("identity", "tanh")),
    "plateau": (at_the_constant, [plateau.trained(draw, steps=3) for draw in drawn("identity", "relu")]),
    "mlp_counterexample": (mlp, [stationarity.read_out(mlp_counterexample._mlp)]),
    "degree_collapse": (degree_collapse, drawn("identity", "relu", normalisation="sym")),
    "row_collapse": (row_collapse, drawn("identity", "relu", normalisation="row")),
}


def test_every_statement_is_written_out():
    assert set(CASES) == set(STATEMENTS)


@pytest.mark.parametrize("name", CASES)
def test_both_sides_are_those_that_the_statement_says(name, x64):
    sides, families = CASES[name]
    for seed, draw in enumerate(families):
        arguments = draw(np.random.default_rng(seed), SHAPE)
        check = STATEMENTS[name].check(*arguments)
        lhs, rhs = (np.asarray(side, np.float64) for side in sides(*arguments))
        assert check.holds
        assert check.lhs.shape == lhs.shape
        # A left side that is 0 is the error of an equation.
        told = lhs != 0
        np.testing.assert_allclose(check.lhs[told], lhs[told], rtol=1e-7, atol=1e-12 * np.max(np.abs(lhs), initial=0))
        np.testing.assert_allclose(check.rhs, rhs, rtol=1e-7, atol=1e-12 * np.max(np.abs(rhs)))


def test_a_feature_counts_as_settled_from_its_reach_on(x64):
    draw, ratios = draws.networks(activations=("relu",), **PLAIN | {"graphs": ("small world",)}), []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        (network,) = draw(rng, SHAPE)
        # About as much along the constants as off them.
        X = rng.standard_normal((10, 3)) + 3 * rng.standard_normal(3)
        network = draws.run(network.model, network.graph, network.matrix, network.weights, X, X, rng)
        w = written(network)
        found = len(STATEMENTS["relu_linearity"].check(network).lhs)
        contraction = np.max(np.abs(others(w.P)))
        reach = np.array([np.prod(contraction * w.s[: k + 1]) * mu(w.X[0]) for k in range(w.L)])
        ratio = np.abs(np.mean(w.H, axis=1)) / np.maximum(reach, 1e-300)[:, None]
        if np.all(reach > 1e-8):
            assert found == w.n * np.sum(ratio > 1)
            ratios += ratio.ravel().tolist()
    assert np.any((np.array(ratios) > 0.9) & (np.array(ratios) < 1))
    assert np.any((np.array(ratios) > 1) & (np.array(ratios) < 1.1))


def larger(what):
    """Weights larger by 1e-9, or signals of every layer but the one they start from."""
    inner = {"features": slice(1, None), "feature_grads": slice(-1), "errors": slice(-1), "weight_grads": slice(None)}

    def change(network):
        if what == "weights":
            return replace(network, weights=(1 + 1e-9) * network.weights)
        signals = np.array(getattr(network.trace, what))
        signals[inner[what]] *= 1 + (1e-6 if what == "weight_grads" else 1e-9)  # the ratio is said to 1e-9, absolute
        return replace(network, trace=network.trace._replace(**{what: signals}))

    return change


def similarity(X):
    return (1 + 1e-9) * jg.measures.mu(X)


SLOWEST = {"signals": "slowest", "graphs": ("path",), "weights": ("identity",)}
CONSTANT = {"signals": "constant", "weights": ("orthogonal",)}

# Draws on which the sides are equal, and what is changed by a billionth so that they are not.
ATTAINED = {
    "representation_smoothing": (draws.tight(), "features"),
    "forward_smoothing": (draws.tight(), "features"),
    "dirichlet_decay": (draws.tight(normalisation="sym"), "features"),
    "degree_collapse": (draws.tight(normalisation="sym"), "features"),
    "row_collapse": (draws.tight(normalisation="row"), "features"),
    "degree_collapse, backward": (draws.tight(normalisation="sym"), "feature_grads"),
    "row_collapse, backward": (draws.tight(normalisation="row"), "feature_grads"),
    "gradient_smoothing": (draws.tight(), "feature_grads"),
    "backward_smoothing": (draws.tight(), "errors"),
    "residual_expansion": (draws.networks(residual="identity", **SLOWEST), "feature_grads"),
    "state_space_smoothing": (draws.networks(residual="identity", **SLOWEST), "features"),
    "bounded_expansion": (
        draws.networks(residual="identity", bound="frobenius", **PLAIN | {"weights": ("rank one",)}),
        "weights",
    ),
    "linear_spectrum": (draws.networks(normalisation="row", **PLAIN), "weights"),
    "state_space_spectrum": (draws.networks(residual="ssm", **PLAIN), "weights"),
    "over_squashing": (draws.networks(normalisation="sym", **PLAIN), "weights"),
    "fixed_point": (fixed_point._from_constants, "features"),
    "mean_error": (draws.networks(normalisation="row", scales=(1.0, 1.0), **PLAIN), "errors"),
    "near_linearity": (draws.networks(activations=("tanh",), **CONSTANT), "errors"),
    "relu_linearity": (draws.networks(activations=("leaky_relu",), **CONSTANT), "errors"),
    "mlp_counterexample": (stationarity.read_out(mlp_counterexample._mlp), "weight_grads"),
}


@pytest.mark.parametrize("name", ATTAINED)
def test_a_side_off_by_a_billionth_does_not_hold(name, x64):
    draw, what = ATTAINED[name]
    statement = STATEMENTS[name.partition(",")[0]]
    assert statement.check(*draw(np.random.default_rng(0), SHAPE)).holds
    assert not statement.check(*draws.altered(draw, larger(what))(np.random.default_rng(0), SHAPE)).holds


def test_a_norm_off_by_a_billionth_does_not_decompose(x64):
    (network,) = draws.networks(normalisation="sym", **PLAIN)(np.random.default_rng(0), SHAPE)
    assert not STATEMENTS["norm_decomposition"].check(network, similarity).holds

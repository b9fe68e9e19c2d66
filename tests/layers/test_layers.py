"""What every layer of the table does: its equation, its hops, its derivatives, its bounds."""

import dataclasses
import inspect
import math
import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.graphs.graph import warn_once
from jaxgnn.layers import LAYERS, SAGE


class Case(NamedTuple):
    """A layer with its options, the graph prepared for it, and whether it reads the edges themselves (not P)."""

    layer: str
    options: dict[str, Any] = {}
    prepare: dict[str, Any] = {}
    reads_edges: bool = False
    edge_features: bool = False


CASES = {
    "gcn": Case("gcn"),
    "gcn with bias": Case("gcn", {"use_bias": True}, {"normalisation": "row"}),
    "mlp": Case("mlp", {"use_bias": True}),
    "gat": Case("gat", {"heads": 2, "use_bias": True}, reads_edges=True),
    "gat, mean of heads": Case("gat", {"heads": 3, "concat": False, "negative_slope": 0.1}, reads_edges=True),
    "gatv2": Case("gatv2", {"heads": 2}, reads_edges=True),
    "gatv2, mean of heads": Case(
        "gatv2", {"heads": 2, "concat": False, "share_weights": True, "use_bias": True}, reads_edges=True
    ),
    "gat, edge features": Case("gat", {"heads": 2}, reads_edges=True, edge_features=True),
    "gatv2, edge features": Case("gatv2", {"heads": 2, "use_bias": True}, reads_edges=True, edge_features=True),
    "gat, residual": Case("gat", {"heads": 2, "residual": True, "use_bias": True}, reads_edges=True),
    "gatv2, residual": Case("gatv2", {"heads": 3, "concat": False, "residual": True}, reads_edges=True),
    "sage projected": Case("sage", {"project": True, "aggregation": "max"}, reads_edges=True),
    "cheb, lambda_max": Case("cheb", {"K": 3, "lambda_max": 1.6}),
    "gin": Case("gin", {"hidden": 12, "eps": 0.3, "use_bias": True}, reads_edges=True),
    "gin, eps learned": Case("gin", {"eps": 0.3, "learn_eps": True}, reads_edges=True),
    "sage mean": Case("sage", {"use_bias": True}, reads_edges=True),
    "sage max": Case("sage", {"aggregation": "max"}, reads_edges=True),
    "sage sum": Case("sage", {"aggregation": "sum"}, reads_edges=True),
    "gated_gcn": Case("gated_gcn", {"use_bias": True}, reads_edges=True),
    "gated_gcn, edge features": Case("gated_gcn", reads_edges=True, edge_features=True),
    "gcnii": Case("gcnii", {"alpha": 0.2}),
    "sgc": Case("sgc", {"use_bias": True}),
    "appnp": Case("appnp", {"K": 3, "alpha": 0.2}),
    "cheb": Case("cheb", {"use_bias": True}, {"loops": False}),
    "cheb, 4 terms": Case("cheb", {"K": 4}),
    "a_dgn": Case("a_dgn", {"use_bias": True}),
    "grand": Case("grand", {"heads": 2, "attention_dim": 6}, reads_edges=True),
    "graphcon": Case("graphcon"),
    "g2": Case("g2"),
    "mp_ssm": Case("mp_ssm", {"K": 3, "use_bias": True}),
    "unitary": Case("unitary", {"K": 3, "use_bias": True}),
    "swan": Case("swan", {"use_bias": True, "gamma": 0.3, "beta": 0.7}),
    "ph_dgn": Case("ph_dgn", {"use_bias": True, "step": 0.4}),
    "ph_dgn, damped": Case("ph_dgn", {"step": 0.4, "damping": 0.6}),
    "drew": Case("drew", {"use_bias": True}),
    "mp_ssm_step": Case("mp_ssm_step", {"use_bias": True}, {"normalisation": "row"}),
}
SQUARE = ("gcnii", "appnp", "a_dgn", "grand", "mp_ssm_step", "unitary", "swan", "ph_dgn", "drew")
BOTH_WAYS = {"unitary": 3, "swan": 1, "ph_dgn": 2}  # edges along or against which they reach, of one direction
BOUNDED = tuple(name for name, case in CASES.items() if hasattr(LAYERS[case.layer], "lipschitz"))
D = 6  # enough columns that every neighbour is some column's maximum


NOT_ATTAINED = {"sage max", "sage projected", "a_dgn", "cheb", "cheb, 4 terms", "cheb, lambda_max", "unitary", "swan"}


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def build(case, features=D):
    return LAYERS[case.layer](features=features, **case.options)


def prepared(case, edges, seed=5, **options):
    """The graph as a case needs it; features of edges belong to pairs of nodes."""
    graph = jg.prepare(**edges, **case.prepare, **options)
    return with_features(graph, signal(graph.num_nodes, graph.num_nodes, 3, seed=seed)) if case.edge_features else graph


def with_features(graph, table):
    features = table[graph.receivers, graph.senders]
    return dataclasses.replace(graph, graphs_tuple=graph.graphs_tuple._replace(edges=features))


def extras(module, X):
    """x0 and index where the layer takes them."""
    available = {"x0": signal(*X.shape, seed=3).astype(X.dtype), "index": np.int32(1)}
    return {k: v for k, v in available.items() if k in inspect.signature(module.__call__).parameters}


@partial(jax.jit, static_argnums=0)
def compiled(module, params, graph, X):
    return run(module, params, graph, X)


@partial(jax.jit, static_argnums=0)
def jacobian(module, params, graph, X):
    return jax.jacfwd(lambda X: run(module, params, graph, X))(X)


def run(module, params, graph, X):
    return module.apply(params, graph, X, **extras(module, X))


def random_params(module, graph, X, seed=1):
    """Every parameter normal, biases and attention vectors too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), graph, X, **extras(module, X)))
    return jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape) / np.sqrt(D), X.dtype), shapes)


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture
def setting(case, graphs, x64):
    """Module, parameters, graph and X of a case, in float64, on a directed graph with loops and lone nodes."""
    graph, X = prepared(case, graphs.directed()), jnp.asarray(signal(12, D))
    module = build(case)
    return module, random_params(module, graph, X), graph, X


def relu(Z):
    return np.maximum(Z, 0)


def leaky(Z, slope):
    return np.where(Z > 0, Z, slope * Z)


def softmax(scores, A):
    """[n, n, heads] of receiver, sender, head: over the in-neighbours and the node itself."""
    reached = ((A > 0) | np.eye(len(A), dtype=bool))[..., None]
    weights = np.where(reached, np.exp(scores), 0)
    return weights / weights.sum(1, keepdims=True)


def with_own(A, E):
    """Edge features of all pairs, each node's own replaced by the mean over its other in-neighbours."""
    others = A * (1 - np.eye(len(A)))
    own = np.einsum("vu,vuk->vk", others, E) / np.maximum(others.sum(1), 1)[:, None]
    return np.where(np.eye(len(A), dtype=bool)[..., None], own[:, None], E)


def attend(a, Z, concat):
    H = np.einsum("vuh,uhd->vhd", a, Z)
    return H.reshape(len(Z), -1) if concat else H.mean(1)


def gat(m, p, P, A, E, X, x0):
    Z = (X @ p["linear"]["kernel"]).reshape(len(X), m.heads, -1)
    s, r = (Z * p["attention_sender"]).sum(-1), (Z * p["attention_receiver"]).sum(-1)
    e = 0
    if E is not None:
        F = (with_own(A, E) @ p["edge"]["kernel"]).reshape(*A.shape, m.heads, -1)
        e = (F * p["attention_edge"]).sum(-1)
    H = attend(softmax(leaky(s[None] + r[:, None] + e, m.negative_slope), A), Z, m.concat) + p.get("bias", 0)
    return H + X @ p["residual"]["kernel"] if m.residual else H


def gatv2(m, p, P, A, E, X, x0):
    S, R = (
        (X @ p[end]["kernel"] + p[end].get("bias", 0)).reshape(len(X), m.heads, -1)
        for end in ("sender", "sender" if m.share_weights else "receiver")
    )
    F = 0 if E is None else (with_own(A, E) @ p["edge"]["kernel"]).reshape(*A.shape, m.heads, -1)
    scores = (leaky(S[None] + R[:, None] + F, m.negative_slope) * p["attention"]).sum(-1)
    H = attend(softmax(scores, A), S, m.concat) + p.get("bias", 0)
    return H + X @ p["residual"]["kernel"] if m.residual else H


def gin(m, p, P, A, E, X, x0):
    eps = p["eps"] if m.learn_eps else m.eps
    Z = ((1 + eps) * X + A @ X) @ p["first"]["kernel"] + p["first"].get("bias", 0)
    return relu(Z) @ p["second"]["kernel"] + p["second"].get("bias", 0)


def sage(m, p, P, A, E, X, x0):
    rows = {"mean": lambda a: a.mean(0), "max": lambda a: a.max(0), "sum": lambda a: a.sum(0)}[m.aggregation]
    Z = relu(X @ p["project"]["kernel"] + p["project"]["bias"]) if m.project else X
    M = np.stack([rows(Z[row > 0]) if row.any() else np.zeros(X.shape[1]) for row in A])
    return M @ p["neighbours"]["kernel"] + X @ p["self"]["kernel"] + p.get("bias", 0)


def gated_gcn(m, p, P, A, E, X, x0):
    def linear(name):
        Z = X @ p[name]["kernel"] + p[name].get("bias", 0)
        return Z, E @ p[f"{name}_edge"]["kernel"] if E is not None else np.zeros((1, 1, 1))

    (k, ke), (q, qe), (v, ve) = (linear(name) for name in ("key", "query", "value"))
    gate = 1 / (1 + np.exp(-(k[:, None] + ke + q[None] + qe)))
    return np.einsum("vu,vud->vd", A, gate * (v[None] + ve)) + X @ p["skip"]["kernel"] + p.get("bias", 0)


def gcnii(m, p, P, A, E, X, x0):
    beta = np.log(m.theta / 2 + 1)  # index 1 is the second layer
    S = (1 - m.alpha) * P @ X + m.alpha * x0
    return S @ ((1 - beta) * np.eye(D) + beta * p["linear"]["kernel"])


def appnp(m, p, P, A, E, X, x0):
    powers = [(1 - m.alpha) ** k * np.linalg.matrix_power(P, k) for k in range(m.K + 1)]
    return (powers[-1] + m.alpha * sum(powers[:-1])) @ X


def cheb(m, p, P, A, E, X, x0):
    # numpy's Chebyshev polynomials in powers of the matrix
    total = p.get("bias", 0)
    for k in range(m.K):
        powers = np.polynomial.chebyshev.cheb2poly([0] * k + [1])
        L = 2 / m.lambda_max * (np.eye(len(P)) - P) - np.eye(len(P))
        T = sum(a * np.linalg.matrix_power(L, i) for i, a in enumerate(powers))
        total = total + T @ X @ p[f"linear_{k}"]["kernel"]
    return total


def a_dgn(m, p, P, A, E, X, x0):
    W = p["kernel"]
    return X @ (W - W.T - m.gamma * np.eye(D)).T + P @ X @ p["neighbours"]["kernel"] + p.get("bias", 0)


def grand(m, p, P, A, E, X, x0):
    k, q = ((X @ p[name]["kernel"]).reshape(len(X), m.heads, -1) for name in ("key", "query"))
    a = softmax(np.einsum("vhd,uhd->vuh", k, q) / np.sqrt(k.shape[-1]), A).mean(-1)
    return (a - np.eye(len(a))) @ X


def convolution(m, p, P, A, E, X, x0):
    return P @ X @ p["linear"]["kernel"] + p.get("bias", 0)


def mp_ssm(m, p, P, A, E, X, x0):
    B, W = p["input"]["kernel"], p["kernel"]
    powers = [(np.linalg.matrix_power(P, k), np.linalg.matrix_power(W, k)) for k in range(m.K)]
    return sum(Pk @ X @ B @ Wk for Pk, Wk in powers) + p.get("bias", 0)


def unitary(m, p, P, A, E, X, x0):
    W = p["kernel"]
    skew = (np.kron(P, W.T) - np.kron(P.T, W)) / 2  # of row-major vec(X)
    terms = [np.linalg.matrix_power(skew, k) @ X.ravel() / math.factorial(k) for k in range(m.K + 1)]
    return sum(terms).reshape(X.shape) + p.get("bias", 0)


def swan(m, p, P, A, E, X, x0):
    W, V, U = (p[name]["kernel"] for name in ("own", "neighbours", "antisymmetric"))
    degree = (A + np.diag(A.diagonal() == 0)).sum(1)  # a loop is added where there is none; P = D^-1/2 A D^-1/2
    N = P * np.sqrt(degree[None] / degree[:, None])
    local = X @ (W - W.T - m.gamma * np.eye(D)).T + P @ X @ V - P.T @ X @ V.T
    return local + m.beta * (N - N.T) @ X @ (U + U.T) + p["bias"]


def ph_dgn(m, p, P, A, E, X, x0):
    def gradient(x, name):
        W, V = p[f"{name}_own"]["kernel"], p[f"{name}_neighbours"]["kernel"]
        F = np.tanh(x @ W + P @ x @ V + p.get(f"{name}_bias", 0))
        return F @ W.T + P.T @ F @ V.T

    momentum, position = X[:, : D // 2], X[:, D // 2 :]
    velocity = gradient(momentum, "p")
    position = position + m.step * velocity
    lost = m.damping * relu(p["damping"]) * velocity if m.damping else 0
    return np.hstack([momentum - m.step * (gradient(position, "q") + lost), position])


FORMULAS = {
    "gcn": convolution,
    "mlp": lambda m, p, P, A, E, X, x0: X @ p["linear"]["kernel"] + p.get("bias", 0),
    "gat": gat,
    "gatv2": gatv2,
    "gin": gin,
    "sage": sage,
    "gated_gcn": gated_gcn,
    "gcnii": gcnii,
    "sgc": lambda m, p, P, A, E, X, x0: P @ P @ X @ p["linear"]["kernel"] + p.get("bias", 0),
    "appnp": appnp,
    "cheb": cheb,
    "a_dgn": a_dgn,
    "grand": grand,
    "graphcon": convolution,
    "g2": convolution,
    "mp_ssm": mp_ssm,
    "unitary": unitary,
    "swan": swan,
    "ph_dgn": ph_dgn,
    "drew": lambda m, p, P, A, E, X, x0: P @ X @ p["distance_1"]["kernel"] + p["bias"],  # others: test_drew.py
    "mp_ssm_step": lambda m, p, P, A, E, X, x0: P @ X @ p["linear"]["kernel"] + x0 @ p["input"]["kernel"] + p["bias"],
}


def test_every_layer_of_the_table_is_under_test():
    assert {case.layer for case in CASES.values()} == set(LAYERS) == set(FORMULAS)


@pytest.mark.parametrize("features", [4, D, 8])  # narrower than, as wide as and wider than X
def test_is_its_equation(case, graphs, x64, features):
    if case.layer in SQUARE and features != D:
        pytest.skip("keeps the columns of X")
    if features % case.options.get("heads", 1) and case.options.get("concat", True):
        pytest.skip("heads divide the columns")
    graph, X = prepared(case, graphs.directed()), jnp.asarray(signal(12, D))
    module = build(case, features)
    params = random_params(module, graph, X)
    A = np.zeros((12, 12))
    A[graph.receivers, graph.senders] = 1
    E = signal(12, 12, 3, seed=5) if case.edge_features else None
    p = jax.tree.map(np.asarray, params.get("params", {}))
    x0 = signal(12, D, seed=3)
    expected = FORMULAS[case.layer](module, p, graph.propagation.dense(), A, E, np.asarray(X), x0)
    H = run(module, params, graph, X)
    assert H.shape == (12, features)
    np.testing.assert_allclose(H, expected, rtol=0, atol=1e-12)


def test_gin_normalises_what_its_hidden_layer_gets(graphs, x64):
    graph, X = jg.prepare(**graphs.directed()), jnp.asarray(signal(12, D))
    module = LAYERS["gin"](features=4, norm="batch")
    plain = LAYERS["gin"](features=4)
    variables = module.init(jax.random.key(0), graph, X)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    A = np.zeros((12, 12))
    A[graph.receivers, graph.senders] = 1
    Z = (X + A @ X) @ p["first"]["kernel"]
    trained, changed = module.apply({**variables, "params": p}, graph, X, train=True, mutable=["batch_stats"])
    normed = (Z - Z.mean(0, keepdims=True)) / np.sqrt(Z.var(0, keepdims=True) + 1e-5)
    np.testing.assert_allclose(trained, relu(normed) @ p["second"]["kernel"], atol=1e-10)
    stats = changed["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], 0.1 * Z.mean(0), atol=1e-6)
    H = module.apply({"params": p, "batch_stats": {"norm": stats}}, graph, X)
    expected = relu((Z - stats["mean"][None]) / np.sqrt(stats["var"] + 1e-5)[None]) @ p["second"]["kernel"]
    np.testing.assert_allclose(H, expected, atol=1e-6)
    assert module.changes_in_training
    assert not plain.changes_in_training
    assert jg.DeepGNN(layer="gin").same_in_training()
    assert not jg.DeepGNN(layer=module, width=4).same_in_training()


def test_the_control_has_the_parameters_of_the_convolution(graphs):
    graph = jg.prepare(**graphs.directed())
    X = signal(12, 4).astype(np.float32)
    trees = [LAYERS[name](features=3, use_bias=True).init(jax.random.key(7), graph, X) for name in ("gcn", "mlp")]
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    jax.tree.map(np.testing.assert_array_equal, *trees)


def test_only_matrices_have_two_dimensions(setting):
    # Bounds of weights act on what has two dimensions.
    _, params, _, _ = setting
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        assert (leaf.ndim == 2) == (path[-1].key == "kernel")


def reached(module, params, graph, X):
    """[n, n] whether v's output depends on u's features, by derivatives that are exactly 0 where it does not."""
    return np.any(np.asarray(jacobian(module, params, graph, X)) != 0, axis=(1, 3))


@pytest.mark.parametrize("directed", [False, True])
def test_hears_exactly_its_hops(case, graphs, x64, directed):
    n, columns = 8, 12  # so many columns that every neighbour is the largest in one of them
    v = np.arange(n)
    # A directed path that ends where it starts: without incoming edges some layers have derivatives of 0.
    edges = (
        {"senders": v, "receivers": (v + 1) % n, "num_nodes": n, "undirected": False} if directed else graphs.path(n)
    )
    graph, X = prepared(case, edges), jnp.asarray(signal(n, columns))
    module = build(case, columns)
    behind = np.subtract.outer(v, v)  # receiver - sender
    distance = behind % n if directed else np.abs(behind)
    hops = module.hops
    if directed and case.layer in BOTH_WAYS:
        distance, hops = np.minimum(distance, distance.T), BOTH_WAYS[case.layer]
    H = reached(module, random_params(module, graph, X), graph, X)
    np.testing.assert_array_equal(H, distance <= hops)


def test_relabelling_the_nodes_permutes_the_output(case, graphs, setting):
    module, params, graph, X = setting
    new = np.random.default_rng(1).permutation(12)
    old = np.argsort(new)
    edges = graphs.directed()
    renamed = edges | {end: new[edges[end]] for end in ("senders", "receivers")}
    moved = jg.prepare(**renamed, **case.prepare)
    if case.edge_features:
        moved = with_features(moved, signal(12, 12, 3, seed=5)[np.ix_(old, old)])
    kw = {k: a[old] if k == "x0" else a for k, a in extras(module, X).items()}
    H = module.apply(params, moved, X[old], **kw)
    np.testing.assert_allclose(H[new], run(module, params, graph, X), rtol=0, atol=1e-12)


def test_derivatives_and_transformations_agree(setting):
    module, params, graph, X = setting

    @jax.jit  # one program, as compiling is what takes time
    def transformed(params, graph, X):
        def f(X):
            return run(module, params, graph, X)

        return f(X), jax.vmap(f)(jnp.stack([X, 2 * X])), jax.jacfwd(f)(X), jax.jacrev(f)(X)

    H, both, forward, reverse = transformed(params, graph, X)
    one_by_one = np.stack([run(module, params, graph, X), run(module, params, graph, 2 * X)])
    np.testing.assert_allclose(H, one_by_one[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(both, one_by_one, rtol=0, atol=1e-12)
    np.testing.assert_allclose(forward, reverse, rtol=0, atol=1e-12)


def test_gradients_are_finite_and_recomputed_alike(setting):
    module, params, graph, X = setting
    G = signal(12, D, seed=9)

    def loss(params, X):
        return jnp.sum(G * run(module, params, graph, X))

    both = jax.jit(lambda *a: [jax.grad(f, argnums=(0, 1))(*a) for f in (loss, jax.checkpoint(loss))])
    grads, again = both(params, X)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert all(np.any(g) for g in jax.tree.leaves(grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), grads, again)


def test_float32_is_close_to_float64(setting):
    module, params, graph, X = setting
    single = jax.tree.map(lambda a: a.astype(np.float32), params)
    with jax.default_matmul_precision("highest"):  # by default a GPU rounds factors to TF32, a TPU to bfloat16
        H = compiled(module, single, graph, X.astype(np.float32))
    assert H.dtype == np.float32
    np.testing.assert_allclose(H, run(module, params, graph, X), rtol=0, atol=2e-5)


def test_parameters_drawn_for_float32_keep_it(setting):
    # In float64 mode as well: constants of the graph do not widen what is computed.
    module, _, graph, X = setting
    X = X.astype(np.float32)
    H, params = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), graph, X, **extras(module, X)))
    assert {a.dtype for a in jax.tree.leaves((H, params))} == {np.dtype(np.float32)}


def test_backends_agree(case, graphs, setting):
    module, params, graph, X = setting
    for backend in ("padded", "segment", "dense"):
        other = prepared(case, graphs.directed(), backend=backend)
        np.testing.assert_allclose(run(module, params, other, X), run(module, params, graph, X), rtol=0, atol=1e-12)


@partial(jax.jit, static_argnums=0)
def value_and_pullback(module, params, graph, X):
    H, pullback = jax.vjp(lambda p, X: run(module, p, graph, X), params, X)
    return H, pullback(jnp.ones_like(H))


@pytest.mark.parametrize("n", [4, 1, 0])
def test_graphs_without_edges(case, graphs, n):
    graph, X = prepared(case, graphs.edgeless(n)), jnp.asarray(signal(n, D), np.float32)
    module = build(case)
    params = random_params(module, graph, X)
    H, grads = value_and_pullback(module, params, graph, X)
    assert H.shape == (n, D)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((H, grads)))


def test_extreme_scores_give_no_nan():
    graph = jg.prepare(senders=np.array([0, 1, 1]), receivers=np.array([1, 0, 1]), num_nodes=4)
    X = jnp.asarray(1e4 * signal(4, D), np.float32)
    for name in ("gat", "gatv2", "grand"):
        module = LAYERS[name](features=D)
        params = random_params(module, graph, X)
        assert all(np.isfinite(a).all() for a in jax.tree.leaves(value_and_pullback(module, params, graph, X)))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.reads_edges])
def test_masked_edges_have_no_influence(graphs, x64, name):
    case, X = CASES[name], jnp.asarray(signal(12, D))
    whole, module = prepared(case, graphs.directed()), build(CASES[name])
    kept = np.random.default_rng(2).random(whole.num_edges) < 0.6
    kept[np.flatnonzero(whole.receivers == whole.receivers[-1])] = False  # a node that loses all its edges
    rest = {"senders": whole.senders[kept], "receivers": whole.receivers[kept], "num_nodes": 12, "undirected": False}
    params = random_params(module, whole, X)
    masked = dataclasses.replace(whole, edge_mask=kept.astype(np.float64))
    less = prepared(case, rest)
    np.testing.assert_allclose(
        compiled(module, params, masked, X), compiled(module, params, less, X), rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(reached(module, params, masked, X), reached(module, params, less, X))
    if name in BOUNDED:
        assert module.lipschitz(masked, 0.7) == pytest.approx(module.lipschitz(less, 0.7), abs=1e-12)


def jacobian_norm(module, params, graph, X):
    return np.linalg.norm(np.asarray(jacobian(module, params, graph, X)).reshape(X.size, X.size), 2)


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("directed", [False, True])
def test_lipschitz_bounds_the_jacobian(graphs, x64, name, directed):
    case, module = CASES[name], build(CASES[name])
    graph = prepared(case, graphs.directed() if directed else graphs.star(12))
    X = jnp.asarray(signal(12, D))
    drawn = random_params(module, graph, X)
    for c in (0.5, 2.0):
        params = jax.tree.map(lambda W, c=c: c * W / np.linalg.norm(W, 2) if W.ndim == 2 else W, drawn)
        assert 0 < jacobian_norm(module, params, graph, X) <= module.lipschitz(graph, c, index=1) * (1 + 1e-12)


@pytest.mark.parametrize("name", sorted({*BOUNDED} - NOT_ATTAINED))
def test_lipschitz_is_attained(graphs, x64, name):
    # By W = c I on a ring, whose P and A have the constant vector as their top singular vector.
    case, module, c = CASES[name], build(CASES[name]), 1.5
    graph, X = prepared(case, graphs.ring(7)), jnp.asarray(signal(7, D))
    params = jax.tree.map(lambda W: c * jnp.eye(D) if W.ndim == 2 else W, random_params(module, graph, X))
    assert jacobian_norm(module, params, graph, X) == pytest.approx(module.lipschitz(graph, c, index=1), rel=1e-12)


def test_lipschitz_of_projected_neighbours_is_attained(graphs, x64):
    # By positive features, which pass the ReLU, and the constant vector on a ring.
    module, graph, X = SAGE(D, project=True), jg.prepare(**graphs.ring(7)), 1 + jnp.asarray(signal(7, D)) ** 2
    for c in (0.5, 1.5):
        params = jax.tree.map(lambda W, c=c: c * jnp.eye(D) if W.ndim == 2 else 0 * W, random_params(module, graph, X))
        assert jacobian_norm(module, params, graph, X) == pytest.approx(module.lipschitz(graph, c), rel=1e-12)


def test_lipschitz_of_chebyshev_terms():
    # T_k(-P) of a ring has norm 1; of a matrix that is not symmetric it may have more, by the recursion's bound.
    layer = LAYERS["cheb"](features=D, K=4)
    v = np.arange(5)
    edges = {"senders": v, "receivers": (v + 1) % 5, "num_nodes": 5, "undirected": False}
    both = {"senders": np.r_[v, (v + 1) % 5], "receivers": np.r_[(v + 1) % 5, v], "num_nodes": 5}
    assert layer.lipschitz(jg.prepare(**both, loops=False), 2.0) == pytest.approx(8, rel=1e-6)
    assert layer.lipschitz(jg.prepare(**edges, loops=False), 1.0) == pytest.approx(1 + 1 + 3 + 7)


def test_lipschitz_of_sage_counts_receivers(graphs):
    # All leaves of a star receive from its centre, which receives from the largest of them.
    layer = SAGE(D, aggregation="max")
    assert layer.lipschitz(jg.prepare(**graphs.star(10)), 1.0) == pytest.approx(3 + 1)
    centre, leaves = np.zeros(9, int), np.arange(1, 10)
    outwards = jg.prepare(senders=centre, receivers=leaves, num_nodes=10, undirected=False)
    inwards = jg.prepare(senders=leaves, receivers=centre, num_nodes=10, undirected=False)
    assert (layer.lipschitz(outwards, 1.0), layer.lipschitz(inwards, 1.0)) == pytest.approx((3 + 1, 1 + 1))


def test_lipschitz_of_a_dgn_is_attained(graphs, x64):
    # W = c J with J antisymmetric and orthogonal, V = c times the orthogonal factor of W^T - W - gamma I: the norms of
    # both terms add up on the constant vector of a ring.
    c, layer = 1.5, LAYERS["a_dgn"](features=D, gamma=0.7)
    graph, X = jg.prepare(**graphs.ring(7)), jnp.asarray(signal(7, D))
    J = np.kron(np.eye(D // 2), [[0.0, 1.0], [-1.0, 0.0]])
    own = -2 * c * J - 0.7 * np.eye(D)
    values = {"kernel": c * J, "neighbours": {"kernel": c * own / np.hypot(2 * c, 0.7)}}
    params = random_params(layer, graph, X)
    params = {"params": {name: values.get(name, np.zeros(D)) for name in params["params"]}}
    assert jacobian_norm(layer, params, graph, X) == pytest.approx(layer.lipschitz(graph, c), rel=1e-12)


def test_attention_dropout_acts_in_training_only(graphs):
    graph, X = jg.prepare(**graphs.ring(7)), jnp.asarray(signal(7, D), np.float32)
    for name in ("gat", "gatv2"):
        module, plain = (LAYERS[name](features=D, attention_dropout=rate) for rate in (0.5, 0.0))
        params = random_params(module, graph, X)
        expected = plain.apply(params, graph, X)
        np.testing.assert_array_equal(module.apply(params, graph, X), expected)
        keys = jax.random.split(jax.random.key(0), 1000)
        H = jax.jit(jax.vmap(lambda k, m=module, p=params: m.apply(p, graph, X, train=True, rngs={"dropout": k})))(keys)
        assert np.abs(H[0] - expected).max() > 0.1
        np.testing.assert_allclose(H.mean(0), expected, rtol=0, atol=0.15)


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        ("gat", {"heads": 4}, "heads=4 does not divide features=6"),
        ("gat", {"heads": 0}, "heads=0: allowed are 1 and more"),
        ("gat", {"attention_dropout": 1.0}, "attention_dropout=1.0: allowed are 0 and more, below 1"),
        ("gatv2", {"heads": 4}, "heads=4 does not divide features=6"),
        ("gin", {"hidden": 0}, "hidden=0: allowed are None and 1 and more"),
        (
            "sage",
            {"aggregation": "median"},
            "aggregation='median' is not known, did you mean 'mean'",
        ),
        ("gcnii", {"alpha": 1.5}, "alpha=1.5: allowed are 0 to 1"),
        ("gcnii", {"theta": 0.0}, "theta=0.0: allowed are numbers above 0"),
        ("sgc", {"K": 0}, "K=0: allowed are 1 and more"),
        ("appnp", {"K": 0}, "K=0: allowed are 1 and more"),
        ("appnp", {"alpha": -0.1}, "alpha=-0.1: allowed are 0 to 1"),
        ("cheb", {"K": 0}, "K=0: allowed are 1 and more"),
        ("ph_dgn", {"features": 5}, "features=5: PH-DGN needs an even number"),
        ("ph_dgn", {"step": 0.0}, "step=0.0: allowed are numbers above 0"),
        ("ph_dgn", {"damping": -0.1}, "damping=-0.1: allowed are finite numbers of 0 and more"),
        ("grand", {"heads": 4}, "heads=4: allowed are 1 and more that divide attention_dim=6"),
    ],
)
def test_options_out_of_range(layer, options, message):
    with pytest.raises(ValueError, match=message):
        LAYERS[layer](**{"features": 6} | options)


@pytest.mark.parametrize("layer", SQUARE)
def test_square_layers_keep_the_columns(graphs, layer):
    graph, X, module = jg.prepare(**graphs.ring(7)), signal(7, 4).astype(np.float32), LAYERS[layer](features=2)
    with pytest.raises(ValueError, match="needs as many as X has columns, 4"):
        module.init(jax.random.key(0), graph, X, **extras(module, X))


def warned(run):
    """What a function returns, and what it warns of."""
    warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = run()
    return np.asarray(result), sorted({str(w.message) for w in caught})


def test_weights_are_used_or_the_layer_says_that_they_are_not(case, graphs, x64):
    edges, X, module = graphs.directed(), jnp.asarray(signal(12, D)), build(case)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(edges["senders"]))
    plain, weighted = prepared(case, edges), prepared(case, edges, weights=weights)
    params = random_params(module, plain, X)
    expected, nothing = warned(lambda: run(module, params, plain, X))
    found, said = warned(lambda: run(module, params, weighted, X))
    assert not nothing
    sentence = f"{type(module).__name__} counts every edge once: the graph's edge weights are not used"
    assert said == ([sentence] if case.reads_edges else [])
    assert np.array_equal(found, expected) == (case.reads_edges or case.layer == "mlp")


def test_edge_features_are_used_or_the_layer_says_that_they_are_not(case, graphs, x64):
    edges, X, module = graphs.directed(), jnp.asarray(signal(12, D)), build(case)
    one, other = (with_features(jg.prepare(**edges), signal(12, 12, 3, seed=seed)) for seed in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        params = random_params(module, one, X)
    (first, said), (second, again) = (warned(lambda g=g: run(module, params, g, X)) for g in (one, other))
    used = case.layer in ("gat", "gatv2", "gated_gcn")
    sentence = f"{type(module).__name__} takes no edge features: those of the graph are not used"
    assert said == again == ([] if used or case.layer == "mlp" else [sentence])
    assert np.array_equal(first, second) != used


def test_an_edge_of_weight_0_is_no_edge_to_any_layer(case, graphs, x64):
    merged, X, module = jg.prepare(**graphs.directed()), jnp.asarray(signal(12, D)), build(case)
    kept = np.random.default_rng(1).random(merged.num_edges) < 0.6
    edges = {"senders": merged.senders, "receivers": merged.receivers, "num_nodes": 12, "undirected": False}
    rest = edges | {end: edges[end][kept] for end in ("senders", "receivers")}
    zeros, without = prepared(case, edges, weights=kept.astype(float)), prepared(case, rest)
    params = random_params(module, without, X)
    np.testing.assert_array_equal(run(module, params, zeros, X), run(module, params, without, X))


@pytest.mark.parametrize("layer", ["gat", "gatv2", "gated_gcn"])
def test_several_arrays_of_edge_features_are_refused(graphs, layer):
    graph, X = jg.prepare(**graphs.ring(5)), jnp.ones((5, D))
    graph = dataclasses.replace(graph, graphs_tuple=graph.graphs_tuple._replace(edges=[np.ones(10), np.ones((10, 2))]))
    with pytest.raises(ValueError, match=r"^the edge features are 2 arrays: put them side by side in one \[e, k\]"):
        LAYERS[layer](features=D).init(jax.random.key(0), graph, X)


def test_flat_edge_features_are_one_column(graphs):
    graph, X = jg.prepare(**graphs.ring(5)), jnp.asarray(signal(5, D), np.float32)
    features = signal(10, 1).astype(np.float32)
    flat, column = (
        dataclasses.replace(graph, graphs_tuple=graph.graphs_tuple._replace(edges=E))
        for E in (features[:, 0], features)
    )
    params = random_params(LAYERS["gatv2"](features=D), column, X)
    np.testing.assert_array_equal(*(LAYERS["gatv2"](features=D).apply(params, g, X) for g in (flat, column)))


def test_what_is_not_used_is_said_once_by_a_network_however_often_it_runs(graphs):
    weights = np.tile(np.arange(1.0, 6), 2)
    graph = with_features(jg.prepare(**graphs.ring(5), weights=weights), signal(5, 5, 3))
    x = signal(5, 2).astype(np.float32)
    model = jg.DeepGNN(layer="sage", depth=3, width=2, residual="gradient_gating", ends="layer")
    warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            params = model.init(jax.random.key(0), graph, x)
            jax.jit(model.apply)(params, graph, x)
            model.apply(params, graph, x)
    said = [str(w.message) for w in caught]
    assert sorted(said) == [
        "SAGE counts every edge once: the graph's edge weights are not used",
        "SAGE takes no edge features: those of the graph are not used",
        'residual="gradient_gating" counts every edge once: the graph\'s edge weights are not used',
    ]


def test_weights_that_a_batch_of_graphs_has_are_not_forgotten(graphs):
    ring = graphs.ring(5)
    warn_once.cache_clear()
    pair = [jg.prepare(**ring), jg.prepare(**ring, weights=np.tile(np.arange(1.0, 6), 2))]
    options = {"split": ([0], [1], [2]), "batch_size": 2}
    task = jg.tasks.many_graphs([*pair, pair[0]], [np.ones((5, 2))] * 3, np.array([0, 1, 0]), **options)
    assert task.graph.weighted
    model = jg.DeepGNN(layer="gin", depth=1, width=2, out=2, pool="mean")
    with pytest.warns(UserWarning, match="^GIN counts every edge once: the graph's edge weights are not used$"):
        jax.eval_shape(model.init, jax.random.key(0), task.graph, task.x)

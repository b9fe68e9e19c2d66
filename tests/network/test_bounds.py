from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxgnn as jg
from jaxgnn.layers import LAYERS
from jaxgnn.network.bounds import (
    BOUNDS,
    bound_params,
    cayley,
    column,
    frobenius,
    frobenius_soft,
    orthogonal,
    power_iteration,
    row,
    spectral,
    start_power,
)


def matrix(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


@pytest.mark.parametrize("c", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e12])
def test_norm_is_exactly_c(c, scale):
    W = frobenius(matrix(4, 3) * scale, jnp.float32(c))
    np.testing.assert_allclose(np.linalg.norm(W), c, rtol=1e-6)
    assert np.linalg.norm(W, 2) <= c


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_norm_is_c_where_the_squares_leave_the_range_of_numbers(scale):
    W = frobenius(matrix(4, 3) * scale, jnp.float32(0.5))
    np.testing.assert_allclose(np.linalg.norm(W), 0.5, rtol=1e-6)


def test_direction_is_kept(x64):
    W = matrix(4, 3, dtype=np.float64)
    bounded = frobenius(W, jnp.float64(0.5))
    np.testing.assert_allclose(bounded * jnp.linalg.norm(W), 0.5 * W, rtol=1e-14)


def test_soft_form_changes_nothing_inside_the_ball_and_projects_outside():
    W = matrix(4, 3)
    norm = float(jnp.linalg.norm(W))
    np.testing.assert_array_equal(frobenius_soft(W, jnp.float32(1.01 * norm)), W)
    outside = frobenius_soft(W, jnp.float32(norm / 3))
    np.testing.assert_allclose(outside, W / 3, rtol=1e-6)


@pytest.mark.parametrize("bound", [frobenius, frobenius_soft])
def test_differentiated_through(bound, x64):
    W, c = matrix(4, 3, dtype=np.float64), jnp.float64(0.75)
    assert np.linalg.norm(W) > c  # the soft form is at work
    check_grads(bound, (W, c), order=1, modes=["fwd", "rev"], atol=1e-6, rtol=1e-6)


def test_gradient_of_the_hard_form_has_no_radial_part(x64):
    W = matrix(4, 3, dtype=np.float64)
    gradient = jax.grad(lambda W: jnp.sum(jnp.sin(frobenius(W, jnp.float64(2.0)))))(W)
    assert abs(float(jnp.sum(gradient * W))) <= 1e-14


@pytest.mark.parametrize("bound", [frobenius, frobenius_soft])
def test_zero_stays_zero_with_a_finite_gradient(bound):
    W = jnp.zeros((4, 3))
    np.testing.assert_array_equal(bound(W, jnp.float32(2.0)), W)
    gradient = jax.grad(lambda W: jnp.sum(jnp.cos(bound(W, jnp.float32(2.0))) + bound(W, jnp.float32(2.0))))(W)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("bound", ["none", "frobenius", "frobenius_soft"])
def test_matrices_are_bounded_and_vectors_left(bound):
    params = {"linear": {"kernel": matrix(4, 3)}, "deep": {"er": {"kernel": matrix(2, 2)}}, "bias": 9 * jnp.ones(3)}
    bounded = bound_params(params, bound, jnp.float32(0.5))
    np.testing.assert_array_equal(bounded["bias"], params["bias"])
    for name, W in (("linear", bounded["linear"]["kernel"]), ("deep", bounded["deep"]["er"]["kernel"])):
        before = params[name]["kernel"] if name == "linear" else params[name]["er"]["kernel"]
        expected = np.linalg.norm(before) if bound == "none" else 0.5
        np.testing.assert_allclose(np.linalg.norm(W), expected, rtol=1e-6)


def test_c_takes_the_precision_of_the_weights(x64):
    bounded = bound_params({"W": matrix(2, 2)}, "frobenius", jnp.float64(0.5))
    assert bounded["W"].dtype == np.float32


# Programs that run once: compiling takes the time.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
HARD = tuple(name for name in BOUNDS if name != "none")
SHAPES = ((6, 6), (7, 3), (3, 7))


def applied(bound, W, c):
    """A bound's W; the power iteration of "spectral" run to convergence."""
    if bound == "spectral":
        return spectral(W, c, power_iteration(W, start_power({"W": W})["['W']"], steps=2000))
    return BOUNDS[bound](W, c)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bound", HARD)
def test_spectral_norm_is_at_most_c(bound, shape, dtype):
    scales = (1e-2, 1.0, 10.0) if bound == "cayley" else (1e-25, 1e-6, 1.0, 1e3, 1e12, 1e25)
    bounded = quick(lambda W: applied(bound, W, jnp.asarray(0.75, dtype)))
    for seed, scale in enumerate(scales):
        W = matrix(*shape, seed=seed, dtype=dtype) * jnp.asarray(scale, dtype)
        result = bounded(W)
        assert result.dtype == dtype
        result = np.asarray(result, np.float64)
        sigma = np.linalg.svd(result, compute_uv=False)
        eps = float(np.finfo(dtype).eps)
        # The transform solves a system whose condition grows with W.
        rounding = 20 * eps * (1 + (float(np.linalg.norm(W)) if bound == "cayley" else 0))
        assert sigma[0] <= 0.75 * (1 + rounding)
        if bound in ("frobenius", "row", "column"):
            assert np.linalg.norm(result) == pytest.approx(0.75, rel=20 * eps)
        elif bound == "spectral":
            assert sigma[0] == pytest.approx(0.75, rel=20 * eps)
        elif bound == "orthogonal" or (bound == "cayley" and shape[0] == shape[1]):
            np.testing.assert_allclose(sigma, 0.75, rtol=rounding)
        elif bound == "frobenius_soft":
            assert np.linalg.norm(result) == pytest.approx(min(0.75, np.linalg.norm(np.float64(W))), rel=20 * eps)


def test_rows_and_columns_have_equal_norms(x64):
    W, c = matrix(4, 6, dtype=np.float64), jnp.float64(2.0)
    np.testing.assert_allclose(np.linalg.norm(row(W, c), axis=1), 2 / np.sqrt(4), rtol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(column(W, c), axis=0), 2 / np.sqrt(6), rtol=1e-14)
    assert np.ptp(np.linalg.norm(row(W, c), axis=0)) > 0.1  # directions of the rows stay
    cosine = np.sum(np.asarray(row(W, c)) * W, axis=1) / (np.linalg.norm(W, axis=1) * 1.0)
    np.testing.assert_allclose(cosine, 1, rtol=1e-14)


def test_orthogonal_is_the_q_of_gram_schmidt(x64):
    W = np.asarray(matrix(5, 3, dtype=np.float64))
    columns = []
    for w in W.T:
        for q in columns:
            w = w - (q @ w) * q
        columns.append(w / np.linalg.norm(w))
    np.testing.assert_allclose(orthogonal(jnp.asarray(W), jnp.float64(3.0)), 3 * np.stack(columns).T, atol=1e-13)
    np.testing.assert_allclose(orthogonal(jnp.asarray(W.T), jnp.float64(3.0)), 3 * np.stack(columns), atol=1e-13)


def test_cayley_turns_eigenvalues_of_the_skew_part_into_rotations(x64):
    W = matrix(4, 4, dtype=np.float64)
    a = np.linalg.eigvals(np.asarray(W - W.T))
    found = np.linalg.eigvals(np.asarray(cayley(W, jnp.float64(1.0))))
    np.testing.assert_allclose(np.sort(np.angle(found)), np.sort(np.angle((1 - a) / (1 + a))), atol=1e-12)
    symmetric = W + W.T
    np.testing.assert_allclose(cayley(symmetric, jnp.float64(2.0)), 2 * np.eye(4), atol=1e-14)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)], ids=str)
def test_cayley_is_its_quotient_in_this_order(shape, x64):
    # (I + A)^-1 (I - A) and not its inverse, which has the same singular values and angles.
    W = np.zeros((max(shape), max(shape)))
    W[: shape[0], : shape[1]] = matrix(*shape, dtype=np.float64)
    A, I = W - W.T, np.eye(len(W))
    expected = 3 * np.linalg.inv(I + A) @ (I - A)
    found = np.asarray(cayley(jnp.asarray(W[: shape[0], : shape[1]]), jnp.float64(3.0)))
    np.testing.assert_allclose(found, expected[: shape[0], : shape[1]], rtol=0, atol=1e-13)
    assert np.abs(found - 3 * (np.linalg.inv(I - A) @ (I + A))[: shape[0], : shape[1]]).max() > 0.1


@pytest.mark.parametrize("shape", [(4, 4), (3, 5)], ids=str)
@pytest.mark.parametrize("bound", HARD)
def test_gradients_are_central_differences(bound, shape, x64):
    W, c = matrix(*shape, seed=3, dtype=np.float64), jnp.float64(0.75)
    function = BOUNDS[bound]
    if bound == "spectral":
        u = start_power({"W": W})["['W']"]

        def function(W, c):
            return spectral(W, c, u)

    check_grads(jax.jit(function), (W, c), order=1, modes=["fwd", "rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("bound", [*(name for name in HARD if name != "orthogonal")])
def test_zero_matrices_and_rows_give_no_nan(bound):
    for W in (np.zeros((4, 4)), np.zeros((4, 3)), np.array([[0.0, 0, 0], [1, 2, 3]]), np.array([[0.0, 1], [0, 2]])):
        W = jnp.asarray(W, jnp.float32)
        result = quick(applied, static_argnums=0)(bound, W, jnp.float32(2))
        gradient = quick(jax.grad(lambda W: jnp.sum(jnp.sin(applied(bound, W, jnp.float32(2)) + 1))))(W)
        assert np.isfinite(result).all()
        assert np.isfinite(gradient).all()
        assert np.linalg.norm(result, 2) <= 2 * (1 + 1e-5)
        if not np.any(W):
            np.testing.assert_allclose(result, 2 * np.eye(*W.shape) if bound == "cayley" else W, atol=1e-6)


def test_power_iteration_leaves_0_when_the_matrix_does(x64):
    zero, W = jnp.zeros((4, 3)), matrix(4, 3, dtype=np.float64)
    u = start_power({"W": zero})["['W']"]
    assert np.linalg.norm(u) == pytest.approx(1)
    found = spectral(W, jnp.float64(1.0), power_iteration(W, u, steps=500))
    assert np.linalg.norm(found, 2) == pytest.approx(1, rel=1e-10)


def signal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_power_iteration_goes_one_step_on_in_every_training_step(graphs, x64):
    graph, x = jg.prepare(**graphs.ring(6)), signal(6, 3)
    model = jg.DeepGNN(depth=3, width=4, bound="spectral", activation="identity")
    variables = jax.tree.map(lambda a: np.asarray(a, np.float64), model.init(jax.random.key(0), graph, x))
    W = variables["params"]["stack"]["layer"]["linear"]["kernel"]
    (path,) = variables["power"]["stack"]["u"]
    u = signal(3, 4, seed=1)  # a bad start
    variables["power"] = {"stack": {"u": {path: u / np.linalg.norm(u, axis=1)[:, None]}}}

    @jax.jit
    def train(variables):
        return model.apply(variables, graph, x, train=True, mutable=["power"])

    first = train(variables)[1]["power"]["stack"]["u"][path]
    expected = np.einsum("lij,lkj,lk->li", W, W, variables["power"]["stack"]["u"][path])
    np.testing.assert_allclose(first, expected / np.linalg.norm(expected, axis=1)[:, None], rtol=0, atol=1e-12)
    for _ in range(1000):
        variables = variables | train(variables)[1]
    left = variables["power"]["stack"]["u"][path]
    sigma = np.linalg.norm(np.einsum("lij,li->lj", W, left), axis=1)
    np.testing.assert_allclose(sigma, np.linalg.norm(W, 2, axis=(1, 2)), rtol=1e-10)
    f, h = model.layer_fn(variables, graph, x, layer=1, dtype=np.float64)
    # ||P||_2 = 1 on a ring.
    assert jg.jacobian(f, h).singular_values()[0] == pytest.approx(1, rel=1e-9)


def test_power_iteration_stands_still_unless_it_is_mutable(graphs):
    graph, x = jg.prepare(**graphs.ring(6)), signal(6, 3).astype(np.float32)
    model = jg.DeepGNN(depth=2, width=4, bound="spectral", norm="batch")
    variables = model.init(jax.random.key(0), graph, x)
    assert set(variables) == {"params", "constants", "power", "batch_stats"}
    _, changed = model.apply(variables, graph, x, train=True, mutable=["batch_stats"])
    assert set(changed) == {"batch_stats"}
    once, again = (model.apply(variables, graph, x) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    unshared, shared = (model.clone(norm="none", share_weights=share) for share in (False, True))
    for m, kernel in ((unshared, (2, 4, 4)), (shared, (4, 4))):
        shapes = jax.eval_shape(m.init, jax.random.key(0), graph, x)
        assert shapes["params"]["stack"]["layer"]["linear"]["kernel"].shape == kernel
        assert [a.shape for a in jax.tree.leaves(shapes["power"])] == [(2, 4)]


LIPSCHITZ = tuple(name for name, layer in LAYERS.items() if hasattr(layer, "lipschitz"))
RULES = ("none", "identity", "scaled", "initial")


def layer_norms(models, variables, graph, x, layer):
    """The exact ||d X^(l+1) / d X^(l)||_2 of several models, by one program."""
    steps = [
        model.layer_fn(v, graph, x, layer=layer, dtype=np.float64) for model, v in zip(models, variables, strict=True)
    ]
    fs, hs = zip(*steps, strict=True)
    with jax.enable_x64(True):
        J = quick(lambda fs, hs: [jax.jacfwd(f)(h) for f, h in zip(fs, hs, strict=True)])(fs, hs)
    return [np.linalg.norm(np.asarray(j).reshape(hs[0].size, hs[0].size), 2) for j in J]


@pytest.mark.parametrize("name", LIPSCHITZ)
@pytest.mark.parametrize("directed", [False, True])
def test_lipschitz_is_above_every_layer_jacobian(graphs, random_variables, name, directed):
    edges = graphs.directed() if directed else graphs.several_components()
    graph, bounds = jg.prepare(**edges, normalisation="row" if directed else "sym"), ("orthogonal", "frobenius")
    x = signal(graph.num_nodes, 3)
    options = {"layer": name, "depth": 2, "width": 4, "activation": "identity", "bound_c": 1.5}
    rules = RULES[(LIPSCHITZ.index(name) + directed) % 2 :: 2]  # on the other graph the other two
    models = [jg.DeepGNN(residual=rule, bound=b, **options) for rule, b in zip(rules, bounds, strict=True)]
    variables = [random_variables(model, graph, x, scale=3.0) for model in models]
    for model, norm in zip(models, layer_norms(models, variables, graph, x, 1), strict=True):
        assert 0 < norm <= model.lipschitz(graph, layer=1) * (1 + 1e-6)


def test_lipschitz_holds_for_every_bound(graphs, random_variables):
    graph, x = jg.prepare(**graphs.directed(), normalisation="row"), signal(12, 3)
    models = [jg.DeepGNN(bound=b, bound_c=0.5, width=4, activation="gelu") for b in HARD]
    variables = [random_variables(model, graph, x, scale=3.0) for model in models]
    power = variables[HARD.index("spectral")]
    W = jnp.asarray(power["params"]["stack"]["layer"]["linear"]["kernel"])
    with jax.enable_x64(True):  # converged: only then is there a bound
        u = jax.vmap(lambda W: start_power({"W": W})["['W']"])(W)
        u = jax.vmap(lambda W, u: power_iteration(W, u, steps=2000))(W, u)
    power["power"] = jax.tree.map(lambda a: np.asarray(u), power["power"])
    for model, norm in zip(models, layer_norms(models, variables, graph, x, 0), strict=True):
        assert 0 < norm <= model.lipschitz(graph) * (1 + 1e-6)


def test_lipschitz_at_every_distance(graphs, random_variables):
    graph, x = jg.prepare(**graphs.directed(), normalisation="row", hops=2), signal(12, 3)
    model = jg.DeepGNN(bound="orthogonal", width=4, activation="identity", khop=True)
    variables = random_variables(model, graph, x)
    found = [layer_norms([model], [variables], graph, x, layer)[0] for layer in range(2)]
    expected = [np.linalg.norm(graph.hop(layer).propagation.dense(), 2) for layer in range(2)]
    assert abs(expected[0] - expected[1]) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose([model.lipschitz(graph, layer=layer) for layer in range(2)], expected, rtol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_lipschitz_of_every_rule_is_its_formula(graphs, activation):
    graph = jg.prepare(**graphs.star(9), normalisation="row")
    slope, P = 1.13 if activation == "gelu" else 1, np.linalg.norm(graph.propagation.dense(), 2)
    assert P > 1.1

    def found(residual, **options):
        options = {"bound": "frobenius", "bound_c": 0.5, "residual_scale": 1.75} | options
        return jg.DeepGNN(residual=residual, activation=activation, **options).lipschitz(graph)

    bound = slope * P * 0.5
    space = jg.StateSpace("dense", modulus=0.9, input="rotation", input_scale=0.3, spread=0.2)
    expected = {
        "none": bound,
        "identity": 1 + bound,
        "scaled": 1 + 1.75 * bound,
        "depth_scaled": 1 + 1.75 * bound,
        "initial": 0.75 * bound,
    }
    for residual, value in expected.items():
        assert found(residual) == pytest.approx(value, rel=1e-12)
    assert found("ssm", ssm=space) == pytest.approx(0.9 + 0.3 * bound, rel=1e-12)


def test_power_iteration_starts_with_thirty_steps_from_the_sum_of_the_columns(x64):
    W = np.asarray(matrix(6, 4, seed=5, dtype=np.float64))
    u = W.sum(axis=1)
    for _ in range(30):
        u = W @ (W.T @ u)
        u = u / np.linalg.norm(u)
    np.testing.assert_allclose(start_power({"W": jnp.asarray(W)})["['W']"], u, rtol=0, atol=1e-13)
    early = W @ W.T @ W.sum(axis=1)
    assert np.linalg.norm(early / np.linalg.norm(early) - u) > 1e-3


@pytest.mark.parametrize("residual", ["none", "initial"])
def test_lipschitz_is_attained_by_a_linear_convolution_with_orthogonal_weights(graphs, random_variables, residual):
    graph, x = jg.prepare(**graphs.directed(), normalisation="row"), signal(12, 3)
    model = jg.DeepGNN(bound="orthogonal", bound_c=0.5, width=4, activation="identity", residual=residual)
    variables = random_variables(model, graph, x)
    sigma = jg.jacobian(*model.layer_fn(variables, graph, x, layer=1, dtype=np.float64)).singular_values()
    assert model.lipschitz(graph, layer=1) == pytest.approx(sigma[0], rel=1e-6)
    expected = 0.5 * np.linalg.norm(graph.propagation.dense(), 2) * (0.9 if residual == "initial" else 1)
    assert sigma[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"bound": "none"},
        {"layer": "gat"},
        {"layer": "gatv2"},
        {"layer": "gated_gcn"},
        {"layer": "grand"},
        {"norm": "layer"},
        {"norm": "pairnorm"},
        {"residual": "gated"},
        {"residual": "gradient_gating"},
        {"residual": "weighted"},
        {"layer": "g2"},  # whose update is gradient gating
    ],
    ids=str,
)
def test_no_lipschitz_constant_is_promised(graphs, options):
    graph = jg.prepare(**graphs.ring(6))
    assert jg.DeepGNN(**({"bound": "frobenius"} | options)).lipschitz(graph) is None


def test_attention_with_bounded_weights_has_no_bounded_jacobian(graphs):
    # Constant scores whatever the scale: column 0 alone is scored, and constant; column 1 is what is averaged.
    graph, n, c = jg.prepare(**graphs.ring(8)), 8, 0.5
    base = np.stack([np.full(n, 0.1), (-1.0) ** np.arange(n)], axis=1)
    norms = {}
    for layer in ("gat", "gcn"):
        model = jg.DeepGNN(layer=layer, depth=1, width=2, activation="identity", bound="orthogonal", bound_c=c)
        variables = model.init(jax.random.key(0), graph, base)
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
        weights = {"linear": {"kernel": np.eye(2)[None]}}
        if layer == "gat":
            weights |= {f"attention_{end}": np.array([[[[1.0, 0.0]]]]) for end in ("sender", "receiver")}
        params["stack"]["layer"] = weights
        f, _ = model.layer_fn({**variables, "params": params}, graph, base, layer=0, dtype=np.float64)
        norms[layer] = [
            jg.jacobian(f, base * np.array([1, scale])).singular_values()[0] for scale in (1.0, 10.0, 100.0, 1000.0)
        ]
    assert norms["gat"][1] > norms["gat"][0]
    np.testing.assert_allclose(np.array(norms["gat"][2:]) / norms["gat"][1:3], 10, rtol=0.1)  # without end
    limit = c * np.linalg.norm(graph.propagation.dense(), 2)
    np.testing.assert_allclose(norms["gcn"], limit, rtol=1e-6)
    assert norms["gat"][-1] > 100 * limit

"""Faults of the network: stack, residuals, bounds, norms, state space, DropEdge, layer functions."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/network/bounds.py",
        "tests/network/test_bounds.py -k 'soft or gram_schmidt or quotient or one_step or where_the_squares or thirty'",
        ("return W / jnp.maximum(1.0, norm(W) / c)", "return W / jnp.maximum(1.0, norm(W) / c + 1e-4)"),
        ("jnp.linalg.solve(I + A, I - A)", "jnp.linalg.solve(I - A, I + A)"),
        ("steps: int = 1)", "steps: int = 2)"),
        ("u, 1.0)), steps=30)", "u, 1.0)), steps=3)"),
    ),
    *faults(
        "jaxgnn/network/bounds.py",
        "tests/network/test_bounds.py -k 'spectral_norm and float32-spectral'",
        ("return c * ratio(Y, norm(jax.lax.stop_gradient(u) @ Y))", "return c * ratio(Y, norm(u @ W))"),
    ),
    *faults(
        "jaxgnn/network/state_space.py",
        "tests/network/test_state_space.py -k 'kronecker or drawn or moduli or spread_is or spectrum or radius'",
        ("return X @ M.T if", "return X @ M if"),
        ("limit = (3 / width) ** 0.5", "limit = (1 / width) ** 0.5"),
        ("minval=1 - spread, maxval=1.0", "minval=1 - spread / 2, maxval=1.0"),
        ("rotation.at[-1, -1].set(moduli[-1])", "rotation.at[-1, -1].set(1.0)"),
        ("moduli[:pairs] * jnp.cos(angles), moduli[:pairs]", "moduli[:pairs] * jnp.cos(angles), 0.99 * moduli[:pairs]"),
        ("maxval=jnp.pi)", "maxval=jnp.pi / 2)"),
    ),
    *faults(
        "jaxgnn/network/residuals.py",
        "tests/network/test_residuals.py -k 'three_layers'",
        ("return (1 - s) * R + s * given.x0, state", "return R + s * given.x0, state"),
        ("(given.index + 1).astype", "(given.index + 2).astype"),
        ("- self.alpha * X)", "- self.alpha * state)"),
        (
            "given.graph.at_senders(R) - given.graph.at_receivers(R)",
            "given.graph.at_senders(R) - given.graph.at_receivers(X)",
        ),
    ),
    *faults(
        "jaxgnn/network/dynamics.py",
        "tests/network/test_model.py tests/network/test_bounds.py -k 'dynamics or formula'",
        ('{"gelu": 1.13}', '{"gelu": 1.0}'),
        ('"initial": (0.0, abs(1 - s))', '"initial": (s, abs(1 - s))'),
        ('"scaled": 1 + s * bound', '"scaled": s + bound'),
        ("return abs(modulus) * kept, added", "return kept, added"),
        ("np.abs(M).max()) for M", "np.abs(M).mean()) for M"),
        ("model.ssm.modulus + model.ssm.input_scale * bound", "model.ssm.modulus + bound"),
    ),
    *faults(
        "jaxgnn/network/dropedge.py",
        "tests/network/test_dropedge.py -k 'padding or prepared or anew or doubly or directions or share'",
        ("return (uniform >= rate) | (senders == receivers)", "return uniform >= rate"),
        ("jnp.minimum(senders, receivers), jnp.maximum(senders, receivers)", "senders, receivers"),
        ("missing = 1 - _row_sums(forward, n)", "missing = 0.9 - _row_sums(forward, n)"),
        ("mask = mask & (jnp.asarray(graph.edge_mask) > 0)", "mask = mask"),
        ("return (uniform >= rate)", "return (uniform >= 1.2 * rate)"),
        ("lambda s, r, w: w * factor[s] * other[r])", "lambda s, r, w: w * factor[r] * other[s])"),
    ),
    *faults(
        "jaxgnn/network/norms.py",
        "tests/network/test_norms.py -k 'formula or running or padding or groups'",
        ("momentum=0.9", "momentum=0.99"),
        ("jnp.sum(H**2, axis=1, keepdims=True)", "jnp.mean(H**2, axis=1, keepdims=True)"),
        ("max(d // 2, 1)", "max(d, 1)"),
        ("/ jnp.maximum(jnp.sum(mask), 1)", "/ max(X.shape[0], 1)"),
        ("s = nn.softmax(", "s = nn.sigmoid("),
    ),
    *faults(
        "jaxgnn/network/stack.py",
        "tests/network/test_stack.py -k 'bound_does_not or own_dropout or stack_wrapped'",
        ("init=self.is_initializing())", "init=True)"),
        (
            'split_rngs={"params": not share_weights, "dropout": True}',
            'split_rngs={"params": not share_weights, "dropout": False}',
        ),
    ),
    *faults(
        "jaxgnn/network/stack.py",
        "tests/network/test_dropedge.py -k every_layer",
        ("graph = drop_edges(graph, self.dropedge", "graph = drop_edges(graph, self.dropout"),
    ),
    *faults(
        "jaxgnn/network/stack.py",
        "tests/network/test_norms.py -k padding",
        ("X_next = graph.masked(X_next)", "X_next = X_next"),
    ),
    *faults(
        "jaxgnn/network/model.py",
        "tests/training/test_run.py -k 'dropout or DropEdge or attention'",
        ("rates = self.dropout + self.input_dropout + self.dropedge", "rates = self.dropout + self.input_dropout"),
        ("rates = self.dropout + self.input_dropout + self.dropedge", "rates = self.dropout + self.dropedge"),
        ("rates = self.dropout + self.input_dropout + self.dropedge", "rates = self.input_dropout + self.dropedge"),
        ('getattr(module, "attention_dropout", 1) > 0', 'getattr(module, "attention_dropout", 1) > 1'),
    ),
    *faults(
        "jaxgnn/network/model.py",
        "tests/training/test_run.py -k 'history and (norm or power)'",
        ('and self.bound != "spectral"', ""),
        ('_NORMS_WITHOUT_STATE = ("none",', '_NORMS_WITHOUT_STATE = ("none", "batch",'),
    ),
    *faults(
        "jaxgnn/network/model.py",
        "tests/network/test_residuals.py -k jumping",
        ("weights[index + 1] * X, weights[0] * x0", "weights[index] * X, weights[0] * x0"),
        (
            "return lambda jumped, X, index: jnp.maximum(jumped, X), x0",
            "return lambda jumped, X, index: jnp.maximum(jumped, X), 0 * x0",
        ),
        ("nn.initializers.constant(1 / (self.blocks + 1))", "nn.initializers.constant(1 / self.blocks)"),
    ),
    *faults(
        "jaxgnn/network/model.py",
        "tests/network/test_model.py -k 'dropout or ends'",
        ("self.input_drop(graph.masked(x), deterministic=not train)", "self.input_drop(x, deterministic=True)"),
        ("deterministic=not train)\n        logits", "deterministic=True)\n        logits"),
    ),
    *faults(
        "jaxgnn/network/layer_function.py",
        "tests/network/test_model.py tests/network/test_residuals.py -k 'layer_fn or scan or segment'",
        ("shared=shared, train=False)", "shared=shared, train=True)"),
        ("np.arange(start, stop, dtype=np.int32)", "np.arange(stop - start, dtype=np.int32)"),
    ),
)

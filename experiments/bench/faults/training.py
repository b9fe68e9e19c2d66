"""Faults of training: runs, optimisers, recorder, memory and depth."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/optimisers.py",
        "tests/test_optimisers.py",
        ("optax.trace(config.momentum)", "optax.trace(config.momentum, nesterov=True)"),
        (
            "lambda step: jnp.minimum(1.0, (step + 1) / config.warmup)\n",
            "lambda step: jnp.minimum(1.0, step / config.warmup)\n",
        ),
        ("reduce_on_plateau(0.5, config.plateau)", "reduce_on_plateau(0.5, config.plateau + 1)"),
        ("max(config.steps - config.warmup, 1)", "config.steps"),
        ("jnp.maximum(step - config.warmup, 0)", "step"),
        ("optax.add_decayed_weights(hyper.weight_decay)", "optax.add_decayed_weights(hyper.l2)"),
        ("[optax.clip_by_global_norm(config.clip)]", "[optax.clip(config.clip)]"),
        ('optax.trace(config.momentum) if config.optimiser == "sgd"', 'optax.sgd(1.0) if config.optimiser == "sgd"'),
    ),
    *faults(
        "jaxgnn/remat.py",
        "tests/test_remat.py",
        ("root / 2 <= k <= 2 * root", "root / 4 <= k <= root"),
        ("key=lambda k: abs(math.log(k / root))", "key=lambda k: abs(k - root)"),
        ("return -(-depth // k) * kept + chunk", "return depth // k * kept + chunk"),
        ("chunk = k * kept + everything if within", "chunk = k * everything + kept if within"),
        ("depth, kept, everything) <= budget", "depth, kept, everything) < budget"),
        ("for k in range(1, depth + 1) if depth % k == 0", "for k in range(2, depth + 1) if depth % k == 0"),
        ("lambda a: a[whole:], inputs)", "lambda a: a[whole - 1 : -1], inputs)"),
        ("default=math.ceil(root)", "default=math.floor(root)"),
        ("- given\n", "\n"),
        ("step = jax.checkpoint(body, prevent_cse=False) if within else body", "step = body"),
    ),
    *faults(
        "jaxgnn/depth_memory.py",
        "tests/test_depth_memory.py",
        ("copies = 1 if every < 2 else 3", "copies = 1 if every < 2 else 1"),
        ("kept=at_once * kept", "kept=kept"),
        ("best=parameters,", "best=0,"),
        ("kept, every * per_layer", "kept, 2 * every * per_layer"),
        ("_WORKSPACE = 6", "_WORKSPACE = 60"),
        (".total <= budget:", ".total <= 2 * budget:"),
        ("optimiser = seeds * nbytes", "optimiser = nbytes"),
    ),
    *faults(
        "jaxgnn/recorder.py",
        "tests/test_recorder.py -k 'sample or shapes or stopped or many'",
        ("going = np.asarray(states.step) == done", "going = np.asarray(states.step) >= 0"),
        ("batch = task.batch(jax.random.key(0), jnp.int32(0))", "batch = task.batch(jax.random.key(0), jnp.int32(1))"),
        ("total // every + 1", "total // every"),
        ("self._every * np.arange(count)", "self._every * np.arange(1, count + 1)"),
    ),
)

"""Faults of training: runs, optimisers, recorder, memory and depth."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/training/optimisers.py",
        "tests/training/test_optimisers.py -k 'schedule or momentum or clipped'",
        ("optax.trace(config.momentum)", "optax.trace(config.momentum, nesterov=True)"),
        (
            "lambda step: jnp.minimum(1.0, (step + 1) / config.warmup)\n",
            "lambda step: jnp.minimum(1.0, step / config.warmup)\n",
        ),
        ("reduce_on_plateau(0.5, config.plateau)", "reduce_on_plateau(0.5, config.plateau + 1)"),
        ("max(config.steps - config.warmup, 1)", "config.steps"),
        ("[optax.clip_by_global_norm(config.clip)]", "[optax.clip(config.clip)]"),
    ),
    *faults(
        "jaxgnn/training/run.py",
        "tests/training/test_run.py -k 'not evaluation_pass'",
        ("higher = new.val_score > old.val_score if", "higher = new.test_score > old.test_score if"),
        ("else new.val_score < old.val_score", "else new.test_score < old.test_score"),
        ("return higher | (tie &", "return higher | (False & tie &"),
        ("(new.val_loss < old.val_loss)", "(new.val_loss <= old.val_loss)"),
        ("waited >= config.patience", "waited > config.patience"),
        ("if task.full_batch and model", "if model"),
    ),
    *faults(
        "jaxgnn/training/drive.py",
        "tests/training/test_run.py -k 'last_update or between_equal or patience'",
        ("& ~np.asarray(states.stopped)", ""),
        ("run.better(self.task, final, best.metrics)", "run.better(self.task, best.metrics, final)"),
    ),
    *faults(
        "jaxgnn/host/remat.py",
        "tests/host/test_remat.py",
        ("root / 2 <= k <= 2 * root", "root / 4 <= k <= root"),
        ("return -(-depth // k) * kept + chunk", "return depth // k * kept + chunk"),
        ("chunk = k * kept + everything if within", "chunk = k * everything + kept if within"),
        ("depth, kept, everything) <= budget", "depth, kept, everything) < budget"),
        ("- given\n", "\n"),
        ("step = jax.checkpoint(body, prevent_cse=False) if within else body", "step = body"),
    ),
    *faults(
        "jaxgnn/training/depth_memory.py",
        "tests/training/test_depth_memory.py",
        ("gradients = layout.copies * P", "gradients = 2 * layout.copies * P"),
        ("best=parameters,", "best=0,"),
        ("kept, every * per_layer", "kept, 2 * every * per_layer"),
        ('"cpu": _Layout(3.5', '"cpu": _Layout(35.0'),
        (".total <= budget:", ".total <= 2 * budget:"),
    ),
    *faults(
        "jaxgnn/training/recorder.py",
        "tests/training/test_recorder.py -k 'sample_is or shapes or stopped or many'",
        ("going = np.asarray(states.step) == done", "going = np.asarray(states.step) >= 0"),
        ("batch = task.batch(jax.random.key(0), jnp.int32(0))", "batch = task.batch(jax.random.key(0), jnp.int32(1))"),
        ("total // every + 1", "total // every"),
        ("self._every * np.arange(count)", "self._every * np.arange(1, count + 1)"),
    ),
)

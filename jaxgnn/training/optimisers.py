"""How to train: the options of a run, and optimisers and schedules by name, from optax."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known, check_number, check_whole

Optimiser = Literal["adamw", "adam", "sgd"]
Schedule = Literal["constant", "cosine", "warmup", "warmup_cosine", "plateau"]
Precision = Literal["highest", "high", "default"]


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
      steps: number of updates.
      optimiser: "adamw" (Adam at weight_decay 0), "adam", or "sgd" with momentum.
      learning_rate: its largest value.
      schedule: "constant"; "cosine" to 0 over the steps; "warmup", linear from 0 over `warmup` steps; "warmup_cosine",
        both; "plateau", halved after `plateau` steps without a lower training loss.
      warmup: steps of the linear warm-up.
      plateau: steps of the plateau.
      momentum: of sgd.
      weight_decay: decoupled decay (AdamW's).
      l2: adds l2 / 2 ||params||^2 to the loss.
      clip: gradients of a larger norm are scaled down to it; 0 for no clipping.
      patience: stop a run after this many steps without a better validation score (ties: lower loss); 0 never.
      evaluate_every: steps between evaluations.
      matmul_precision: of float32 products, as JAX names them: "highest" is float32 everywhere; "high" and "default"
        are faster on TPUs (bfloat16) and newer GPUs (TF32), and the same on a CPU.

    Raises:
      ValueError: an option that is not known or out of its range, when the object is made.
    """

    steps: int = 200
    optimiser: Optimiser = "adamw"
    learning_rate: float = 5e-3
    schedule: Schedule = "constant"
    warmup: int = 10
    plateau: int = 20
    momentum: float = 0.9
    weight_decay: float = 0.0
    l2: float = 0.0
    clip: float = 0.0
    patience: int = 0
    evaluate_every: int = 1
    matmul_precision: Precision = "highest"

    def __post_init__(self) -> None:
        names = {"optimiser": Optimiser, "schedule": Schedule, "matmul_precision": Precision}
        for option, allowed in names.items():
            check_known(option, getattr(self, option), get_args(allowed))
        for option in ("steps", "warmup", "plateau", "evaluate_every"):
            check_whole(option, getattr(self, option), least=1)
        check_number("learning_rate", self.learning_rate, lambda v: 0 < v < np.inf, "finite numbers above 0")
        for option in ("weight_decay", "l2", "clip"):
            check_number(option, getattr(self, option), lambda v: 0 <= v < np.inf, "0 and more")
        check_whole("patience", self.patience, least=0)
        check_number("momentum", self.momentum, lambda v: 0 <= v < 1, "0 and more, below 1")
        if 0 < self.patience < self.evaluate_every:
            raise ValueError(
                f"patience={self.patience} with evaluate_every={self.evaluate_every}: a run would stop before its "
                "second evaluation, allowed are patience=0 and at least as many steps as between evaluations"
            )
        if self.weight_decay and self.optimiser != "adamw":
            raise ValueError(
                f"weight_decay={self.weight_decay} with optimiser={self.optimiser!r}: decoupled decay is AdamW's, "
                'allowed are optimiser="adamw" or l2'
            )

    def products(self) -> AbstractContextManager:
        """A context that gives the products of what is traced in it their precision."""
        return jax.default_matmul_precision(self.matmul_precision)

    def without_numbers(self) -> "TrainConfig":
        """The config that a program is compiled for; it takes the numbers themselves as arguments."""
        steps = self.steps if "cosine" in self.schedule else 1
        return replace(self, steps=steps, learning_rate=1.0, weight_decay=0.0, l2=0.0)


class Hyper(NamedTuple):
    """The numeric options that one compiled program serves every value of."""

    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    l2: Float[Array, ""]
    bound_c: Float[Array, ""]
    residual_scale: Float[Array, ""]
    modulus: Float[Array, ""]


def make_optimiser(config: TrainConfig, hyper: Hyper) -> optax.GradientTransformationExtraArgs:
    """Clipping, the optimiser's direction, decoupled decay, and the scheduled learning rate; `update` takes `value`."""
    parts = [optax.clip_by_global_norm(config.clip)] if config.clip else []
    parts.append(optax.trace(config.momentum) if config.optimiser == "sgd" else optax.scale_by_adam())
    if config.optimiser == "adamw":
        parts.append(optax.add_decayed_weights(hyper.weight_decay))
    if config.schedule == "plateau":
        parts += [optax.contrib.reduce_on_plateau(0.5, config.plateau), optax.scale(-hyper.learning_rate)]
    elif config.schedule == "constant":
        parts.append(optax.scale(-hyper.learning_rate))
    else:
        factor = _schedule(config)
        parts.append(optax.scale_by_schedule(lambda step: -hyper.learning_rate * factor(step)))
    return optax.with_extra_args_support(optax.chain(*parts))


def _schedule(config: TrainConfig) -> optax.Schedule:
    """Factor of the learning rate by step."""
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, config.steps)
    # The first step is 1 / warmup of the rate: at 0 it would be wasted.
    if config.schedule == "warmup":
        return lambda step: jnp.minimum(1.0, (step + 1) / config.warmup)
    cosine = optax.cosine_decay_schedule(1.0, max(config.steps - config.warmup, 1))
    return lambda step: jnp.minimum(1.0, (step + 1) / config.warmup) * cosine(jnp.maximum(step - config.warmup, 0))

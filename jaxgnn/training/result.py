"""What training gives back."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxgnn.host.arrays import summary
from jaxgnn.tasks.task import Metrics
from jaxgnn.training.recorder import Record


@jax.tree_util.register_static
class FeatureRule(str):
    """What a task did to the data set's features, "row" or "raw"; no leaf of a pytree."""


class TrainResult(NamedTuple):
    """Results with a leading seed axis.

    Attributes:
      score: [seeds] test score at the best validation score.
      val_score: [seeds] that validation score; NaN where a run failed before it was evaluated.
      train_loss: [seeds] final training loss without penalties, in evaluation mode.
      history: Metrics of the parameters before each update, each [seeds, steps done].
      params: what `model.apply` takes, at the best validation score: model.apply(params, task.graph, task.x).
      final_params: the same after the last step.
      initial_params: the same before the first.
      best_step: [seeds] the step that `params` are from.
      failed: [seeds] whether a loss or gradient became NaN or infinite, which stopped that seed.
      record: every layer's signals and errors every `record_every` steps; None where they are not asked for.
      feature_rule: "row" or "raw", as `jaxgnn.tasks.node_classification` made task.x; None for other tasks.
    """

    score: Float[np.ndarray, "seeds"]
    val_score: Float[np.ndarray, "seeds"]
    train_loss: Float[np.ndarray, "seeds"]
    history: Metrics
    params: Any
    final_params: Any
    initial_params: Any
    best_step: Int[np.ndarray, "seeds"]
    failed: Bool[np.ndarray, "seeds"]
    record: Record | None = None
    feature_rule: FeatureRule | None = None

    def __repr__(self) -> str:
        if not all(isinstance(a, np.ndarray) for a in (self.score, self.train_loss, self.failed)):
            return summary(self)
        seeds, scores = self.score.size, self.score[np.isfinite(self.score)]
        score = f"{scores.mean():.3f} ± {scores.std():.3f}" if scores.size else "none"
        failed = f", {int(self.failed.sum())} failed" if self.failed.any() else ""
        loss = f"{np.mean(self.train_loss):.3g}"
        return f"TrainResult({seeds} seed{'s' * (seeds != 1)}: test score {score}, training loss {loss}{failed})"


class SweepPoint(NamedTuple):
    """The options of one grid point and its result."""

    options: dict[str, float]
    result: TrainResult

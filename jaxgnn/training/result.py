"""What training gives back."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxgnn.data import row_normalise, saved
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.sparse_features import SparseFeatures
from jaxgnn.host.arrays import Array, summary
from jaxgnn.host.options import check_known, is_whole
from jaxgnn.host.storage import environment
from jaxgnn.network.described import described
from jaxgnn.tasks.checks import check_prepared, checked_inputs
from jaxgnn.tasks.task import Metrics
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.recorder import Record

Per = Literal["seed", "step"]


@jax.tree_util.register_static
class FeatureRule(str):
    """What a task did to the data set's features, "row" or "raw"; no leaf of a pytree."""


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Origin:
    """What a result is of; no leaf of a pytree, and the same to it where the network is.

    Attributes:
      model: the network, with the grid point's numbers.
      config: how it was trained, with the grid point's numbers.
      maximise: whether a higher score is better.
      seed: of all randomness.
      point: the grid point.
      versions: of the packages it was made with; None in the process that made it.
    """

    model: Any
    config: TrainConfig
    maximise: bool
    seed: int = 0
    point: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str | None] | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Origin):
            return NotImplemented
        return self.maximise == other.maximise and _same(self.model, other.model)

    def __hash__(self) -> int:
        return hash((type(self.model), self.maximise))

    def about(self) -> dict[str, Any]:
        """It as plain values, for a file."""
        plain = {"model": described(self.model), "train": _plain(asdict(self.config))}
        plain |= {"maximise": bool(self.maximise), "seed": int(self.seed), "point": dict(self.point)}
        return plain | {"versions": self.versions or environment()["versions"]}


class TrainResult(NamedTuple):
    """Results with a leading seed axis; those of `seed` and `best` have none.

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
      origin: network and options that it is of.
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
    origin: Origin | None = None

    def __repr__(self) -> str:
        if not all(isinstance(a, np.ndarray) for a in (self.score, self.train_loss, self.failed)):
            return summary(self)
        seeds, scores = self.score.size, self.score[np.isfinite(self.score)]
        score = f"{scores.mean():.3f} ± {scores.std():.3f}" if scores.size else "none"
        failed = f", {int(self.failed.sum())} failed" if self.failed.any() else ""
        loss = f"{np.mean(self.train_loss):.3g}"
        if not np.ndim(self.score):
            score = f"{self.score:.3f}" if scores.size else "none"
            return f"TrainResult(one run: test score {score}, training loss {loss}{', failed' * bool(self.failed)})"
        return f"TrainResult({seeds} seed{'s' * (seeds != 1)}: test score {score}, training loss {loss}{failed})"

    def seed(self, i: int) -> "TrainResult":
        """The result of run i, without the seed axis. Raises ValueError where there is no such run."""
        self._check_seed(i)
        one = jax.tree.map(lambda a: a[i, ...], self._replace(record=None))
        record = self.record
        if record is not None:
            record = record._replace(samples=jax.tree.map(lambda a: a[i], record.samples))
        return one._replace(record=record)

    def best(self) -> "TrainResult":
        """The run with the best validation score, the first of equals, without the seed axis.

        Raises ValueError where no run has a validation score.
        """
        if not np.ndim(self.score):
            return self
        scores = np.asarray(self.val_score, float) * (1 if self._known_origin().maximise else -1)
        if np.isnan(scores).all():
            raise ValueError("no run has a validation score: all failed before they were evaluated")
        return self.seed(int(np.nanargmax(scores)))

    def params_of(self, i: int) -> Any:
        """What `model.apply` takes of run i, at its best validation score. Raises ValueError for no such run."""
        self._check_seed(i)
        return jax.tree.map(lambda a: a[i, ...], self.params)

    def predict(self, graph: Graph, x: Float[Array, "n f"] | SparseFeatures) -> Float[Array, "*seeds n out"]:
        """Logits of every run at its best validation score: [seeds, n, out], without the seed axis [n, out].

        x: [n, f] features as a data set stores them: what the task did to its own, "row" or "raw", is done to them.

        Raises ValueError where the graph is not prepared, or x does not fit it or the network.
        """
        origin = self._known_origin()
        check_prepared(graph)
        x = checked_inputs(np.asarray(x.dense()) if isinstance(x, SparseFeatures) else x, graph)
        self._check_features(x)
        x = jnp.asarray(row_normalise(x) if self.feature_rule == "row" else x)
        logits = jax.jit(lambda params, graph, x: origin.model.apply(params, graph, x))
        with origin.config.products():
            if not np.ndim(self.score):
                return logits(self.params, graph, x)
            return jnp.stack([logits(self.params_of(i), graph, x) for i in range(self.score.size)])

    def save(self, path: Path | str) -> None:
        """Writes it to exactly `path`, no suffix added: options, weights, versions, no code.

        `jaxgnn.load(path)` gives it back. Raises OSError where the file cannot be written.
        """
        about = {} if self.origin is None else {"origin": self.origin.about()}
        versions = about["origin"]["versions"] if about else environment()["versions"]
        saved.write(path, "TrainResult", self._replace(origin=None), {"versions": versions} | about)

    def to_records(self, per: Per = "seed") -> list[dict[str, Any]]:
        """Plain rows: one a seed, or (per="step") one a seed and step that was evaluated, with all its metrics.

        Raises ValueError for another `per`.
        """
        check_known("per", per, get_args(Per))
        runs = [self.seed(i) for i in range(self.score.size)] if np.ndim(self.score) else [self]
        rows = []
        for i, run in enumerate(runs):
            name = {"seed": i} if np.ndim(self.score) else {}
            if per == "seed":
                columns = ("score", "val_score", "train_loss", "best_step", "failed")
                rows.append(name | {column: np.asarray(getattr(run, column)).item() for column in columns})
                continue
            history = {column: np.asarray(values) for column, values in run.history._asdict().items()}
            evaluated = ~np.all([np.isnan(values) for values in history.values()], axis=0)
            for step in np.flatnonzero(evaluated):
                row = {column: values[step].item() for column, values in history.items()}
                rows.append(name | {"step": int(step)} | row)
        return rows

    def to_pandas(self, per: Per = "seed") -> Any:
        """`to_records` as a pandas.DataFrame. Raises ValueError where pandas is not installed."""
        rows = self.to_records(per)
        try:
            import pandas as pd  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ValueError(
                "to_pandas() needs pandas: python -m pip install 'jaxgnn[pandas]', or use to_records()"
            ) from None
        return pd.DataFrame.from_records(rows)

    def _known_origin(self) -> Origin:
        if self.origin is None:
            raise ValueError("this result does not say which network it is of: origin is None")
        return self.origin

    def _check_seed(self, i: int) -> None:
        if not np.ndim(self.score):
            raise ValueError(f"seed {i!r}: this result is of one run, without a seed axis")
        if not is_whole(i) or not 0 <= i < self.score.size:
            raise ValueError(f"seed {i!r}: allowed are 0 to {self.score.size - 1}")

    def _check_features(self, x: Any) -> None:
        kernel = (
            self.params.get("params", {}).get("encoder", {}).get("kernel") if isinstance(self.params, dict) else None
        )
        if kernel is not None and np.ndim(x) == 2 and x.shape[1] != kernel.shape[-2]:
            raise ValueError(f"x has shape {x.shape}: this network was trained on {kernel.shape[-2]} features a node")


class SweepPoint(NamedTuple):
    """The options of one grid point and its result."""

    options: dict[str, float]
    result: TrainResult


def with_numbers(model: Any, options: dict[str, float]) -> Any:
    """The network with a grid point's numbers, "modulus" that of its state space."""
    changed: dict[str, Any] = {name: options[name] for name in ("bound_c", "residual_scale") if name in options}
    if "modulus" in options:
        changed["ssm"] = replace(model.ssm, modulus=options["modulus"])
    return model.clone(**changed) if changed else model


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Numbers as Python's own."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in options.items()}


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    try:
        return type(a) is type(b) and bool(a == b)
    except Exception:  # networks with arrays in them have no truth value
        return False

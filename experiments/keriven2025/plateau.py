"""Where a plain deep network's loss comes to rest, against the constant predictor's.

Claim tested (Keriven 2025, derived form): once the readout is trained, a smoothed network is near-stationary at the
loss of the constant predictor. Initialisation, biases and decay decide whether the plain GCN gets there.

Command: python -m jaxgnn.experiments.keriven2025.plateau --dataset cora
Cost: 18 trainings of 64 layers; about 7 minutes for Cora, measured beside other work, on two cores.
Numbers: Cora, 64 layers of width 32: 1.9459 = ln 7 for Glorot and orthogonal weights without biases (README).
"""

import itertools
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import tyro

import jaxgnn as jg
from jaxgnn.data import row_normalise

INITIALISERS = ("glorot", "he", "orthogonal")
DECAYS = {"none": {}, "L2 5e-4": {"l2": 5e-4}, "AdamW 5e-4": {"weight_decay": 5e-4}}


@dataclass(frozen=True)
class Config:
    """What to train.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      depth: number of layers.
      width: features of every layer.
      seeds: runs of each.
      steps: updates of each.
      learning_rate: of Adam.
    """

    dataset: str = "csbm"
    depth: int = 64
    width: int = 32
    seeds: int = 2
    steps: int = 200
    learning_rate: float = 5e-3


SMOKE = Config(depth=4, width=8, seeds=1, steps=5)


class Row(NamedTuple):
    """One network: how it was set up, its final training loss and test accuracy, each [seeds]."""

    initialiser: str
    bias: bool
    decay: str
    train_loss: np.ndarray
    score: np.ndarray


class Results(NamedTuple):
    constant_loss: float
    rows: list[Row]


def run(config: Config) -> Results:
    """Trains the plain network for every initialiser, with and without biases, for every kind of decay."""
    ds = jg.load_dataset(config.dataset)
    task = jg.tasks.node_classification(ds._replace(x=row_normalise(ds.x)), jg.prepare(ds.graph))
    rows = []
    for initialiser, bias in itertools.product(INITIALISERS, (False, True)):
        model = jg.DeepGNN(
            depth=config.depth, width=config.width, out=ds.num_classes, init_weights=initialiser, bias=bias
        )
        options = {name: asdict(config)[name] for name in ("seeds", "steps", "learning_rate")}
        for decay, values in DECAYS.items():
            result = jg.train(model, task, **options, **values)
            rows.append(Row(initialiser, bias, decay, result.train_loss, result.score))
    return Results(task.constant_loss(), rows)


def table(results: Results) -> str:
    """The results as a Markdown table: mean (smallest to largest) final training loss, mean test accuracy."""
    lines = [
        f"Constant predictor: {results.constant_loss:.4f}",
        "",
        "| weights | bias | decay | final training loss | test accuracy |",
        "|---|---|---|---|---|",
    ]
    for row in results.rows:
        loss = f"{row.train_loss.mean():.4f} ({row.train_loss.min():.4f} to {row.train_loss.max():.4f})"
        bias = "yes" if row.bias else "no"
        lines.append(f"| {row.initialiser} | {bias} | {row.decay} | {loss} | {row.score.mean():.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run(tyro.cli(Config, description=__doc__))))

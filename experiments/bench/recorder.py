"""Training with a record of every layer against training without: seconds a step, and their ratio.

Command: python -m jaxgnn.experiments.bench.recorder --dataset cora --steps 300 --rounds 3
"""

from dataclasses import dataclass
from functools import partial

import jax
import tyro

import jaxgnn as jg
from jaxgnn.experiments.bench.timing import medians


@dataclass(frozen=True)
class Config:
    """What to time.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      layer: the graph layer.
      depth: number of layers.
      width: features of every layer.
      seeds: runs in the program.
      steps: steps of every run, a multiple of `record_every`.
      record_every: steps between samples.
      rounds: trainings of each kind, in alternation; medians are printed.
    """

    dataset: str = "csbm"
    layer: str = "gcn"
    depth: int = 32
    width: int = 64
    seeds: int = 1
    steps: int = 100
    record_every: int = 50
    rounds: int = 5


def run(config: Config) -> dict[str, float]:
    """Seconds a run and step without a record, and with one; both include the evaluation of every step."""
    ds = jg.load_dataset(config.dataset)
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    task = jax.device_put(task)  # once, not with every call
    model = jg.DeepGNN(
        layer=config.layer, depth=config.depth, width=config.width, out=ds.num_classes, residual="identity"
    )
    train = partial(jg.train, model.clone(bound="frobenius", bound_c=0.5), task, seeds=config.seeds, steps=config.steps)
    ways = {"without": train, "with": partial(train, record_every=config.record_every)}
    seconds = medians(ways, rounds=config.rounds)
    return {name: value / config.seeds / config.steps for name, value in seconds.items()}


if __name__ == "__main__":
    config = tyro.cli(Config, description=__doc__)
    seconds = run(config)
    samples = config.steps // config.record_every + 1
    print("| record | samples | ms a run and step | ratio |\n|---|---|---|---|")
    for way, value in seconds.items():
        count = samples if way == "with" else 0
        print(f"| {way} | {count} | {1e3 * value:.2f} | {value / seconds['without']:.3f} |")

"""Many runs in one program against one run alone: seconds a run and step.

Command: python -m jaxgnn.experiments.bench.seeds --dataset cora
Cost: 77 s for Cora with --rounds 3 --steps 10 on two cores. Numbers: README.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import tyro

import jaxgnn as jg
from jaxgnn.experiments.bench.timing import medians
from jaxgnn.training import run as single
from jaxgnn.training.train import default_hyper


@dataclass(frozen=True)
class Config:
    """What to time.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      depth: number of layers.
      width: features of every layer.
      seeds: runs side by side, for every value of c.
      bound_c: the values of c.
      steps: steps in one call.
      rounds: calls of each, in alternation; medians are printed.
    """

    dataset: str = "csbm"
    depth: int = 16
    width: int = 64
    seeds: int = 10
    bound_c: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    steps: int = 5
    rounds: int = 5


Way = Literal["one", "map", "vmap"]


def run(config: Config) -> dict[Way, float]:
    """Seconds a run and step: one run alone, all of them one after another, all of them side by side."""
    ds = jg.load_dataset(config.dataset)
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    task = jax.device_put(task)  # once, not with every call
    options = {"residual": "identity", "bound": "frobenius"}
    model = jg.DeepGNN(depth=config.depth, width=config.width, out=ds.num_classes, **options)
    train = jg.TrainConfig(steps=config.steps)
    hyper = default_hyper(model, train)
    runs = [(seed, c) for c in config.bound_c for seed in range(config.seeds)]
    keys = jnp.stack([jax.random.fold_in(jax.random.key(0), seed) for seed, _ in runs])
    hypers = [hyper._replace(bound_c=jnp.float32(c)) for _, c in runs]
    hypers = jax.tree.map(lambda *leaves: jnp.stack(leaves), *hypers)

    states = jax.jit(jax.vmap(lambda key, hyper: single.start(model, train, task, key, hyper)))(keys, hypers)

    def one(task, hyper, state):
        return single.steps(model, train, task, config.steps, hyper, state, length=config.steps)[0].params

    first = jax.tree.map(lambda a: a[0], (hypers, states))
    ways = {
        "one": partial(jax.jit(one), task, *first),
        "map": partial(
            jax.jit(lambda task, *runs: jax.lax.map(lambda run: one(task, *run), runs)), task, hypers, states
        ),
        "vmap": partial(jax.jit(jax.vmap(one, in_axes=(None, 0, 0))), task, hypers, states),
    }
    seconds = medians(ways, rounds=config.rounds)
    count = {"one": 1, "map": len(runs), "vmap": len(runs)}
    return {name: value / count[name] / config.steps for name, value in seconds.items()}


if __name__ == "__main__":
    config = tyro.cli(Config, description=__doc__)
    seconds = run(config)
    runs = config.seeds * len(config.bound_c)
    print("| way | runs in the program | ms a run and step | ratio |\n|---|---|---|---|")
    for way, value in seconds.items():
        print(f"| {way} | {1 if way == 'one' else runs} | {1e3 * value:.2f} | {value / seconds['one']:.2f} |")

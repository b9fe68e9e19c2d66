"""Compile time of the gradient against depth: depth is one scan, so the program does not grow with it.

Command: python -m jaxgnn.experiments.bench.compile_time
Prints the median compile time of d loss / d params at each depth and the ratio to the shallowest.
"""

from dataclasses import dataclass
from functools import partial

import jax
import tyro

import jaxgnn as jg
from jaxgnn.experiments.bench.timing import medians


@dataclass(frozen=True)
class Config:
    """What to compile.

    Attributes:
      depths: numbers of layers.
      width: features of every layer.
      rounds: compilations of each, in alternation.
    """

    depths: tuple[int, ...] = (8, 64, 512)
    width: int = 64
    rounds: int = 7


def run(config: Config) -> dict[int, float]:
    """Median seconds to compile the gradient, by depth, tracing and lowering included."""
    ds = jg.load_dataset("csbm")
    graph = jg.prepare(ds.graph)
    candidates = {}
    for depth in config.depths:
        model = jg.DeepGNN(
            depth=depth, width=config.width, out=ds.num_classes, residual="identity", bound="frobenius", bound_c=0.5
        )
        params = jax.eval_shape(model.init, jax.random.key(0), graph, ds.x)
        candidates[str(depth)] = partial(_compile, model, params, graph, ds.x)
    return {int(depth): seconds for depth, seconds in medians(candidates, rounds=config.rounds).items()}


def _compile(model: jg.DeepGNN, params, graph: jg.Graph, x) -> None:
    jax.clear_caches()
    jax.jit(jax.grad(lambda params: model.apply(params, graph, x).sum())).lower(params).compile()


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    seconds = run(config)
    shallow = seconds[min(seconds)]
    print("| depth | compile time of the gradient, s | ratio |\n|---|---|---|")
    for depth, value in seconds.items():
        print(f"| {depth} | {value:.3f} | {value / shallow:.2f} |")


if __name__ == "__main__":
    main()

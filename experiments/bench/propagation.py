"""P X and its gradient by backend, in alternation.

Command: python -m jaxgnn.experiments.bench.propagation --dataset cora
Prints milliseconds of P X, of the gradient of ||P X||^2 (a forward and a backward pass), and of 16 batched signals.
With --nodes 32 128 512 the same for csbm graphs of these sizes: where "dense" stops being the fastest is the rule of
backend="auto".
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import tyro

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.experiments.bench.timing import medians


@dataclass(frozen=True)
class Config:
    """What to propagate.

    Attributes:
      dataset: whose graph.
      nodes: sizes of csbm graphs of average degree 6 instead.
      width: columns of X.
      rounds: runs of each backend, in alternation.
    """

    dataset: str = "csbm"
    nodes: tuple[int, ...] = ()
    width: int = 64
    rounds: int = 31


def run(config: Config, nodes: int | None = None) -> dict[str, dict[str, float]]:
    """Median seconds by kind of product and backend, of the data set or of a csbm of so many nodes."""
    ds = jg.load_dataset(config.dataset) if nodes is None else csbm(num_nodes=nodes, train_per_class=1)
    n = ds.x.shape[0]
    X = jax.random.normal(jax.random.key(0), (n, config.width))
    batch = jax.random.normal(jax.random.key(1), (16, n, config.width))
    kinds = {
        "P X": (lambda P, X: P @ X, X),
        "gradient": (jax.grad(lambda X, P: jnp.sum((P @ X) ** 2)), X),
        "16 signals": (lambda P, X: jax.vmap(lambda X: P @ X)(X), batch),
    }
    table = {}
    for kind, (function, argument) in kinds.items():
        calls = {}
        for backend in ("padded", "segment", "dense"):
            P = jax.device_put(jg.prepare(ds.graph, backend=backend).propagation)
            ordered = (argument, P) if kind == "gradient" else (P, argument)
            compiled = jax.jit(function).lower(*ordered).compile()
            calls[backend] = lambda compiled=compiled, ordered=ordered: compiled(*ordered)
        table[kind] = medians(calls, rounds=config.rounds, warm_up=3)
    return table


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    for nodes in config.nodes or (None,):
        table = run(config, nodes)
        backends = list(next(iter(table.values())))
        print(f"\n| ms{'' if nodes is None else f', {nodes} nodes'} | {' | '.join(backends)} |")
        print(f"|---|{'---|' * len(backends)}")
        for kind, seconds in table.items():
            print(f"| {kind} | {' | '.join(f'{1e3 * seconds[b]:.3f}' for b in backends)} |")


if __name__ == "__main__":
    main()

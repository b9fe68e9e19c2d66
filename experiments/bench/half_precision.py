"""What half precision does to a trained network's spectra: singular values of its layers' Jacobians, half and float32.

Command: python -m jaxgnn.experiments.bench.half_precision --dataset csbm --depth 16
Prints, for each layer asked for, how far the sorted singular values lie from float32's, relative to the largest, with
the unit roundoff u beside it. Both Jacobians are evaluated in float64 at the same trained parameters, so that what
differs is the rounding of X^(l) and of the weights. A rounded point moves a ReLU network's Jacobian by whole rows
where a pre-activation changes sign: that is no multiple of u. Networks trained in half precision are named as such.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import tyro

import jaxgnn as jg


@dataclass(frozen=True)
class Config:
    """What to compare.

    Attributes:
      dataset: a name that `jaxgnn data list` shows; all n d singular values are computed.
      activations: of the networks.
      depth: L.
      width: d.
      layers: which layers' Jacobians, at most L - 1; from the end if negative.
      dtypes: "bfloat16", "float16".
      steps: of training, in float32 and in each dtype.
      seed: of the initial weights.
    """

    dataset: str = "csbm"
    activations: tuple[str, ...] = ("tanh", "relu")
    depth: int = 16
    width: int = 8
    layers: tuple[int, ...] = (0, 8, -1)
    dtypes: tuple[str, ...] = ("bfloat16", "float16")
    steps: int = 100
    seed: int = 0


class Row(NamedTuple):
    """Largest and root mean square difference of the sorted singular values, relative to the largest of them."""

    activation: str
    dtype: str
    layer: int
    largest: float
    rms: float
    unit: float


class Training(NamedTuple):
    """The training loss at the end and the test score, trained in a dtype."""

    activation: str
    dtype: str
    loss: float
    score: float


def run(config: Config) -> tuple[list[Row], list[Training]]:
    """A row for each activation, dtype and layer; a training for each activation and dtype, float32 first."""
    ds = jg.load_dataset(config.dataset)
    graph = jg.prepare(ds.graph)
    task = jg.tasks.node_classification(ds, graph)
    rows, trainings = [], []
    for activation in config.activations:
        options = {"residual": "identity", "bound": "frobenius", "activation": activation}
        model = jg.DeepGNN(depth=config.depth, width=config.width, out=ds.num_classes, **options)
        params = None
        for dtype in ("float32", *config.dtypes):
            trained = jg.train(model.clone(compute_dtype=dtype), task, seeds=1, seed=config.seed, steps=config.steps)
            trainings.append(Training(activation, dtype, float(trained.train_loss[0]), float(trained.score[0])))
            if params is None:  # float32's
                params = _first(trained.params)
        for layer in (layer % config.depth for layer in config.layers):
            exact = _singular_values(model, params, graph, task.x, layer)
            for dtype in config.dtypes:
                off = _singular_values(model.clone(compute_dtype=dtype), params, graph, task.x, layer) - exact
                off = np.abs(off) / exact[0]
                unit = float(jnp.finfo(dtype).eps) / 2
                rows.append(Row(activation, dtype, layer, float(off.max()), float(np.sqrt(np.mean(off**2))), unit))
    return rows, trainings


def _first(params):
    if isinstance(params, dict):
        return {name: _first(tree) for name, tree in params.items()}
    return np.asarray(params)[0]


def _singular_values(model, params, graph, x, layer):
    f, h = model.layer_fn(params, graph, x, layer=layer, dtype=np.float64)
    return np.asarray(jg.jacobian(f, h, graph=graph).singular_values())


def table(rows: list[Row], trainings: list[Training]) -> str:
    """Markdown: the singular values, then the trainings."""
    lines = ["| activation | kept in | layer | largest difference / sigma_1 | rms | u |", "|---|---|---|---|---|---|"]
    lines += [f"| {a} | {d} | {k} | {largest:.1e} | {rms:.1e} | {u:.1e} |" for a, d, k, largest, rms, u in rows]
    lines += ["", "| activation | trained in | training loss | test score |", "|---|---|---|---|"]
    lines += [f"| {a} | {d} | {loss:.4f} | {score:.3f} |" for a, d, loss, score in trainings]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(*run(tyro.cli(Config, description=__doc__))))

"""Loss and gradients during training: a plain deep GNN and an MLP of equal depth."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.keriven2025.networks import dataset
from jaxgnn.experiments.setting import mean_std
from jaxgnn.graphs.connectivity import second_eigenvalue
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Reference
from jaxgnn.report.panels import Curve

KINDS: Mapping[str, Mapping[str, Any]] = {
    "relu": {"init_weights": "he"},
    "tanh": {"activation": "tanh", "init_weights": "orthogonal"},
}
_HIGH, _LOW = 0.9, 0.5  # of the constant predictor's loss: not trained, trained
_SMALL = 0.1  # of the MLP's relative gradient: what counts as small


@dataclass(frozen=True)
class Config:
    """Plain networks without biases in the layers, P doubly stochastic; Adam, no decay.

    Attributes:
      graphs: names of `networks.dataset`.
      kinds: names of `KINDS`.
      depths: numbers of layers; the curves are of the last.
      width: features of every layer.
      seeds: runs of each.
      steps, learning_rate: of Adam.
      record_every: steps between samples of the gradients.
    """

    graphs: tuple[str, ...] = ("csbm", "csbm-dense", "cora-public")
    kinds: tuple[str, ...] = tuple(KINDS)
    depths: tuple[int, ...] = (4, 32)
    width: int = 32
    seeds: int = 3
    steps: int = 300
    learning_rate: float = 1e-3
    record_every: int = 10


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    every = itertools.product(config.graphs, config.kinds, ("gcn", "mlp"), config.depths)
    return {_name(*which): partial(_measure, config, *which) for which in every}


def _name(graph: str, kind: str, layer: str, depth: int) -> str:
    return f"{graph}, {kind}, {layer}, {depth} layers"


def _measure(config: Config, graph: str, kind: str, layer: str, depth: int) -> Arrays:
    """Training loss [seeds, steps + 1] with the final one; of every sample, [seeds, samples], the medians over layers.

    gradient: ||d loss / d W||. relative: that over ||X^(k)|| ||B^(L-1)||. Test accuracy [seeds], lambda, and the
    constant predictor's loss.
    """
    ds = dataset(graph)
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph, normalisation="doubly"))
    model = jg.DeepGNN(layer=layer, depth=depth, width=config.width, out=task.out, **KINDS[kind])
    options = {name: getattr(config, name) for name in ("seeds", "steps", "learning_rate", "record_every")}
    result = jg.train(model, task, **options)
    assert result.record is not None  # it is asked for
    steps, sample = result.record
    product = sample.features.norm[..., :-1] * sample.errors.norm[..., -1:]
    relative = np.divide(sample.weight_grads, product, out=np.full(product.shape, np.nan), where=product > 0)
    loss = np.full((config.seeds, config.steps + 1), np.nan)
    loss[:, : result.history.train_loss.shape[1]] = result.history.train_loss
    loss[:, -1] = result.train_loss
    return {
        "loss": loss,
        "score": result.score,
        "steps": steps,
        "gradient": np.median(sample.weight_grads, axis=-1),
        "relative": np.median(relative, axis=-1),
        "gap": second_eigenvalue(task.graph),
        "constant": task.constant_loss(),
    }


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    depth = config.depths[-1]
    cases = list(itertools.product(config.graphs, config.kinds))
    final = {name: _final(found) for name, found in results.items()}
    pairs = {case: [float(np.median(final[_name(*case, layer, depth)])) for layer in ("gcn", "mlp")] for case in cases}
    holds = [case for case, (graph, blind) in pairs.items() if graph >= _HIGH and blind <= _LOW]
    stuck = [case for case, (graph, _) in pairs.items() if graph >= _HIGH]
    # The median of all samples: over seeds, and over training.
    relative = {
        case: [float(np.nanmedian(results[_name(*case, layer, depth)]["relative"])) for layer in ("gcn", "mlp")]
        for case in cases
    }
    small = [case for case, (graph, blind) in relative.items() if graph <= _SMALL * blind]
    everywhere = set(holds) == set(small) == set(cases)
    gaps = {d: float(results[_name(d, config.kinds[0], "gcn", depth)]["gap"]) for d in config.graphs}
    return Finding(
        evidence=f"{depth} layers of width {config.width}, {config.steps} steps of Adam, {config.seeds} seeds "
        "(medians). Final training loss over the constant predictor's, GCN / MLP: "
        + "; ".join(f"{d} {kind} {pairs[d, kind][0]:.3f} / {pairs[d, kind][1]:.3f}" for d, kind in cases)
        + "; the median layer's gradient over ||X|| ||B at the output||, the median during training, "
        + "; ".join(f"{d} {kind} {relative[d, kind][0]:.1e} / {relative[d, kind][1]:.1e}" for d, kind in cases)
        + ".",
        verdict="reproduced" if everywhere else "partly" if holds else "not reproduced",
        reason=f"The GCN's loss stays at {_HIGH:g} of the constant predictor's or more in {len(stuck)} of {len(cases)} "
        f"cases, and the MLP's falls to {_LOW:g} of it or less as well in {len(holds)}: "
        f"{', '.join(' '.join(case) for case in holds) or 'none'}. Its relative gradient is at most {_SMALL:g} of the "
        f"MLP's in {len(small)}: {', '.join(' '.join(case) for case in small) or 'none'}; lambda is "
        f"{', '.join(f'{value:.4f} ({graph})' for graph, value in gaps.items())}.",
        values=[Value(f"{name}: final loss over the constant's", *mean_std(value)) for name, value in final.items()]
        + [Value(f"{name}: test accuracy", *mean_std(found["score"])) for name, found in results.items()],
        figures={
            f"{what}-{graph}": _figure(config, results, graph, what, gaps[graph])
            for graph in config.graphs
            for what in _LABELS
        },
        notes=[
            "Depths, width, steps and weights (He for relu, orthogonal for tanh) are ours: the paper's are not known. "
            "Features are row-normalised."
        ],
    )


def _final(found: Mapping[str, np.ndarray]) -> np.ndarray:
    return found["loss"][:, -1] / found["constant"]


_LABELS = {
    "loss": ("training loss / constant's", "Loss during training"),
    "gradient": ("||d loss / d W||, median layer", "Gradients during training"),
    "relative": ("gradient / (||X|| ||B at the output||)", "Relative gradients during training"),
}


def _figure(config: Config, results: Mapping[str, Mapping[str, np.ndarray]], graph: str, what: str, value: float):
    ylabel, title = _LABELS[what]
    lines, depth = {}, config.depths[-1]
    for i, (layer, kind) in enumerate(itertools.product(("gcn", "mlp"), config.kinds)):
        found = results[_name(graph, kind, layer, depth)]
        values = found["loss"] / found["constant"] if what == "loss" else found[what]
        steps = np.arange(values.shape[1]) if what == "loss" else found["steps"]
        lines[f"{layer.upper()}, {kind}"] = Curve(np.asarray(steps), values, i, "-" if layer == "gcn" else "--")
    reference = Reference("constant predictor", 1.0) if what == "loss" else None
    options = {"ylabel": ylabel, "log": what != "loss", "reference": reference}
    panel = panels.curves(lines, xlabel="step", limits=panels.Limits(0.0), **options)
    sentence = f"{depth} layers: median, lowest and highest of {config.seeds} seeds."
    return Shown(panel, f"{title}, {graph}, λ = {value:.4f}", sentence)


REPRODUCTION = Reproduction(
    name="keriven2025/training_curves",
    title="Training curves: GNN against MLP of equal depth",
    claim="A deep GNN's loss stays at the constant predictor's, with small gradients, where the MLP of equal depth "
    "trains.",
    presets={
        "smoke": Config(graphs=("karate",), kinds=("relu",), depths=(3,), width=4, seeds=1, steps=10),
        "cpu": Config(),
        "full": Config(
            graphs=("csbm", "csbm-dense", "csbm-homophilous", "cora-public"),
            depths=(4, 16, 64),
            width=64,
            seeds=10,
            steps=1000,
        ),
    },
    cost={"smoke": "seconds", "cpu": "14 minutes beside other work", "full": "not run"},
    cells=cells,
    show=show,
)

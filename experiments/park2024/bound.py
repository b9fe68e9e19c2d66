"""What the bound c does to a deep residual network: expansion of its gradients, and whether it trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.questions.common import measured, rates
from jaxgnn.experiments.setting import MARGIN, drawn, majority, mean_std, node_task
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Interval, Panel, Reference, Series


@dataclass(frozen=True)
class Config:
    """Residual ReLU GCN with W scaled to ||W||_F = c, and without a bound.

    Attributes:
      dataset: a name that `jaxgnn data list` shows.
      depth: number of layers.
      width: features of every layer.
      bound_c: values of c.
      seeds: runs of each.
      steps, learning_rate: of Adam.
    """

    dataset: str = "cora"
    depth: int = 64
    width: int = 32
    bound_c: tuple[float, ...] = (0.03, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
    seeds: int = 3
    steps: int = 100
    learning_rate: float = 5e-3


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    return {_name(c): partial(_measure, config, c) for c in (*config.bound_c, None)}


def _name(c: float | None) -> str:
    return "unbounded" if c is None else f"c = {c:g}"


def _measure(config: Config, c: float | None) -> Arrays:
    """norm and mu of X^(l) and G^(l) at initialisation [seeds, L+1]; score and loss after training [seeds]."""
    task = node_task(config.dataset)
    bound = {} if c is None else {"bound": "frobenius", "bound_c": c}
    model = jg.DeepGNN(depth=config.depth, width=config.width, out=task.out, residual="identity", **bound)
    result = jg.train(model, task, seeds=config.seeds, steps=config.steps, learning_rate=config.learning_rate)
    return measured(model, drawn(model, task, config.seeds), task)._asdict() | {
        "score": result.score,
        "train_loss": result.train_loss,
        "majority": majority(task),
    }


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    slopes = {name: mean_std(rates(found["gradient_mu"])) for name, found in results.items()}
    scores = {name: mean_std(found["score"]) for name, found in results.items()}
    chance = float(results["unbounded"]["majority"])
    trains = [name for name, (mean, _) in scores.items() if mean > chance + MARGIN]
    in_order = [slopes[_name(c)][0] for c in config.bound_c]
    # ||P||_2 = 1: every layer's gradient grows at most by 1 + c in norm.
    kept = all(
        np.all(found["gradient_norm"][:, :-1] <= (1 + c) * found["gradient_norm"][:, 1:] * (1 + 1e-4))
        for c in config.bound_c
        for found in [results[_name(c)]]
    )
    tamed = bool(np.all(np.diff(in_order) > 0)) and kept
    values = [Value(f"{name}: change of ln mu(G) a layer towards the input", *slopes[name]) for name in results]
    values += [Value(f"{name}: test accuracy", *scores[name]) for name in results]
    names = "; ".join(f"{name} {slopes[name][0]:+.3f} and {scores[name][0]:.3f}" for name in results)
    reproduced = tamed and trains and "unbounded" not in trains
    return Finding(
        evidence=f"{config.dataset}, {config.depth} residual layers of width {config.width}, {config.seeds} seeds; "
        f"change of ln mu(G) a layer at initialisation, and test accuracy after {config.steps} steps: {names}.",
        verdict="reproduced" if reproduced else "partly" if tamed else "not reproduced",
        reason=("The smaller c, the slower gradients expand" if tamed else "Expansion does not follow c")
        + (", and no layer's gradient grows by more than 1 + c in norm" if kept else ", or a layer exceeds 1 + c")
        + f". What trains is {', '.join(trains) or 'none'}; c = 4 is looked into in park2024/c4.",
        values=values,
        figures={"expansion": _expansion(results, config.depth), "accuracy": _accuracy(config, scores, chance)},
        notes=["Width, steps and rate are ours; the paper's are not known."],
    )


def _expansion(results: Mapping[str, Mapping[str, np.ndarray]], depth: int) -> Shown:
    lines = {name: np.median(found["gradient_mu"], axis=0) for name, found in results.items()}
    series = [
        Series(name, np.arange(line.size), line, colour=i % 7, dash="-" if i < 7 else "--")
        for i, (name, line) in enumerate(lines.items())
    ]
    sentence = f"At initialisation, median over seeds; gradients flow from layer {depth} to layer 0."
    panel = Panel(Axis("layer", whole=True), Axis("mu(G)", "log"), tuple(series))
    return Shown(panel, "Expansion of the gradients", sentence)


def _accuracy(config: Config, scores: Mapping[str, tuple[float, float]], chance: float) -> Shown:
    c, (mean, spread) = np.asarray(config.bound_c, float), np.array([scores[_name(c)] for c in config.bound_c]).T
    bounded = Series("bounded", c, mean, errors=Interval(mean - spread, mean + spread), marked=True)
    references = (
        Reference("unbounded", float(np.nan_to_num(scores["unbounded"][0]))),
        Reference("most frequent class", float(chance)),
    )
    panel = Panel(Axis("c", "log"), Axis("test accuracy", **panels.PART._asdict()), (bounded,), references)
    return Shown(panel, "Test accuracy against c", "Mean and standard deviation over seeds.")


REPRODUCTION = Reproduction(
    name="park2024/bound",
    title="The effect of the bound c",
    claim="Bounding every layer's Lipschitz constant tames the expansion of a deep residual network's gradients.",
    presets={
        "smoke": Config("csbm", depth=3, width=4, bound_c=(0.1, 1.0), seeds=2, steps=3),
        "cpu": Config(),
        "full": Config(depth=512, width=256, seeds=10, steps=1000),
    },
    cost={"smoke": "seconds", "cpu": "21 min, beside other work", "full": "not run"},
    cells=cells,
    show=show,
)

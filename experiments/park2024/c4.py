"""The bound c = 4 at 512 layers: what of width, form of the bound and size of the weights lets it train.

A residual layer with a 1-Lipschitz rho grows a signal at most by 1 + ||P||_2 ||W||_2 each. The Frobenius bound sets
||W||_F = c; for weights that look Gaussian ||W||_2 is about 2 c / sqrt(width), so that c alone decides nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.questions.common import measured
from jaxgnn.experiments.setting import MARGIN, drawn, majority, node_task
from jaxgnn.report import plots
from jaxgnn.report.claim import Shown

FORMS = {"frobenius": "hard", "frobenius_soft": "soft"}


@dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
      dataset: where the growth at initialisation is measured.
      depth: number of layers.
      bound_c: c.
      widths: of these networks, for both forms of the bound.
      gains: the layers' weights are Gaussian of standard deviation gain / sqrt(width) before the bound.
      trained: (data set, form, width, gain, learning rate) of the networks that are trained.
      steps: of Adam.
    """

    dataset: str = "cora"
    depth: int = 512
    bound_c: float = 4.0
    widths: tuple[int, ...] = (16, 64, 256)
    gains: tuple[float, ...] = (1.0, 0.1, 0.01)
    trained: tuple[tuple[str, str, int, float, float], ...] = (
        ("cora", "frobenius", 64, 1.0, 1e-3),
        ("cora", "frobenius", 256, 1.0, 1e-4),
        ("cora", "frobenius_soft", 64, 1.0, 1e-3),
        ("cora", "frobenius_soft", 64, 0.1, 1e-3),
        ("cora", "frobenius_soft", 64, 0.01, 1e-3),
        ("cora", "frobenius_soft", 64, 0.01, 1e-4),
        ("csbm", "frobenius", 64, 1.0, 1e-4),
        ("csbm", "frobenius", 512, 1.0, 1e-4),
    )
    steps: int = 40


def _model(config: Config, dataset: str, form: str, width: int, gain: float) -> jg.DeepGNN:
    layer = jg.layers.GCN(features=width, kernel_init=nn.initializers.normal(gain / np.sqrt(width)))
    bound = {"bound": form, "bound_c": config.bound_c}
    out = node_task(dataset).out
    return jg.DeepGNN(layer=layer, depth=config.depth, width=width, out=out, residual="identity", **bound)


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    growth = [(config.dataset, "frobenius", width, 1.0) for width in config.widths]
    growth += [(config.dataset, "frobenius_soft", width, gain) for width in config.widths for gain in config.gains]
    found = {_name(*setting): partial(_growth, config, *setting) for setting in growth}
    return found | {_name(*setting): partial(_train, config, *setting) for setting in config.trained}


def _name(dataset: str, form: str, width: int, gain: float, rate: float | None = None) -> str:
    doing = "growth" if rate is None else f"rate {rate:g}"
    return f"{dataset}, {FORMS[form]}, width {width}, gain {gain:g}, {doing}"


def _growth(config: Config, dataset: str, form: str, width: int, gain: float) -> Arrays:
    """||X^(l)||_F and ||G^(l)||_F [L+1] and the loss of one network at initialisation."""
    task, model = node_task(dataset), _model(config, dataset, form, width, gain)
    params = drawn(model, task, 1)
    found = measured(model, params, task)
    first = jax.tree.map(lambda a: a[0], params)
    loss = jax.jit(lambda params: task.loss(model.apply(params, task.graph, task.x)))(first)
    return {"features": found.feature_norm[0], "gradients": found.gradient_norm[0], "loss": loss}


def _train(config: Config, dataset: str, form: str, width: int, gain: float, rate: float) -> Arrays:
    task, model = node_task(dataset), _model(config, dataset, form, width, gain)
    result = jg.train(model, task, seeds=1, steps=config.steps, learning_rate=rate)
    history = {"history": result.history.train_loss[0], "accuracy": result.history.test_score[0]}
    return history | {"score": result.score, "train_loss": result.train_loss, "majority": majority(task)}


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    growth = {name: found for name, found in results.items() if "features" in found}
    trained = {name: found for name, found in results.items() if "score" in found}
    a_layer = {name: _a_layer(found["features"]) for name, found in growth.items()}
    holds = [name for name, f in trained.items() if f["score"][0] > f["majority"] + MARGIN]
    values = [Value(f"{name.removesuffix(', growth')}: ||X|| grows a layer by", rate) for name, rate in a_layer.items()]
    values += [Value(f"{name}: loss at initialisation", float(f["loss"])) for name, f in growth.items()]
    values += [Value(f"{name}: test accuracy", float(f["score"][0])) for name, f in trained.items()]
    best = max(trained, key=lambda name: float(np.nan_to_num(trained[name]["score"][0])))
    hard = [name for name in holds if ", hard, " in name]
    fails = [name for name in trained if name not in holds]
    c = f"c = {config.bound_c:g}"
    return Finding(
        evidence=f"{config.dataset}, {config.depth} residual layers, {c}: features grow a layer by "
        + "; ".join(f"{rate:.3f} ({name.removesuffix(', growth')})" for name, rate in a_layer.items())
        + f". Best of {len(trained)} trained: {best}, {float(trained[best]['score'][0]):.3f}, {config.steps} steps.",
        verdict="reproduced" if hard else "partly" if holds else "not reproduced",
        reason=(f"{c} trains {config.depth} layers for {'; '.join(holds)}" if holds else f"None trains with {c}")
        + (f"; not for {'; '.join(fails)}." if fails else "."),
        values=values,
        figures={"growth": _growth_figure(growth), "training": _training_figure(trained)},
        notes=["The widths, gains, rates and number of steps are ours; the paper's set-up is not known."],
    )


def _a_layer(norms: np.ndarray) -> float:
    """(||X^(k)|| / ||X^(0)||)^(1/k), k the last layer whose norm is a finite number in float32."""
    k = int(np.flatnonzero(np.isfinite(norms) & (norms > 0))[-1])
    return float(np.exp((np.log(norms[k]) - np.log(norms[0])) / k)) if k else np.inf


def _short(name: str) -> str:
    return name.removesuffix(", growth").replace("width ", "d ").replace("gain ", "g ").replace("rate ", "r ")


def _growth_figure(growth: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    figure, axes = plots.new_figure(ylabel="||X||", xlabel="layer")
    for i, (name, found) in enumerate(growth.items()):
        style = {"color": plots.COLOURS[i % 7], "linestyle": "-" if ", hard, " in name else "--"}
        axes.plot(found["features"], linewidth=1.4, label=_short(name), **style)
    plots.log_axis(axes, [found["features"] for found in growth.values()])
    return Shown(
        plots.finished(figure),
        "Growth at initialisation",
        "Solid: hard form; dashed: soft form; d width, g gain. A line ends where float32 does.",
    )


def _training_figure(trained: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    figure, axes = plots.new_figure(ylabel="training loss", xlabel="step")
    for i, (name, found) in enumerate(trained.items()):
        axes.plot(found["history"], color=plots.COLOURS[i % 7], linewidth=1.4, label=_short(name))
    plots.log_axis(axes, [found["history"] for found in trained.values()])
    return Shown(
        plots.finished(figure), "Training", "d width, g gain, r rate. A network without a line diverged at once."
    )


REPRODUCTION = Reproduction(
    name="park2024/c4",
    title="The bound c = 4 at 512 layers",
    claim="A residual GCN of 512 layers trains with W scaled to ||W||_F = c, c = 4.",
    presets={
        "smoke": Config("csbm", 4, 4.0, (4,), (0.1,), (("csbm", "frobenius", 4, 1.0, 1e-3),), 3),
        "cpu": Config(),
        "full": Config(widths=(16, 64, 256, 1024), steps=1000),
    },
    cost={"smoke": "seconds", "cpu": "50 min, beside other work", "full": "not run"},
    cells=cells,
    show=show,
)

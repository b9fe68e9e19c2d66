"""The bound c = 4 at 512 layers: what of width, form of the bound and size of the weights lets it train.

A residual layer with a 1-Lipschitz rho grows a signal at most by 1 + ||P||_2 ||W||_2 each. The Frobenius bound sets
||W||_F = c; for weights that look Gaussian ||W||_2 is about 2 c / sqrt(width), so that c alone decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np

import jaxgnn as jg
from jaxgnn.evidence.cells import Arrays, Cell
from jaxgnn.evidence.effects import Effect, difference, judge
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.intervals import mean_interval
from jaxgnn.evidence.reproduction import Reproduction
from jaxgnn.evidence.trained import trained
from jaxgnn.experiments.questions.common import measured
from jaxgnn.experiments.setting import MARGIN, drawn, majority, mean_std, node_task
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Panel, Series

FORMS = {"frobenius": "hard", "frobenius_soft": "soft"}
ARMS = ("bound", "no bound")


@dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
      dataset: where the growth at initialisation is measured.
      depth: number of layers.
      bound_c: c.
      widths: of these networks, for both forms of the bound.
      gains: the layers' weights are Gaussian of standard deviation gain / sqrt(width) before the bound.
      trained: (data set, form, width, gain, learning rate) of the networks that are trained, each beside a twin that
        differs in nothing but having no bound.
      steps: of Adam.
      seeds: of every trained network.
    """

    dataset: str = "cora"
    depth: int = 512
    bound_c: float = 4.0
    widths: tuple[int, ...] = (16, 64, 256)
    gains: tuple[float, ...] = (1.0, 0.1, 0.01)
    trained: tuple[tuple[str, str, int, float, float], ...] = (
        ("cora", "frobenius_soft", 64, 0.01, 1e-4),
        ("cora", "frobenius_soft", 64, 0.01, 1e-3),
        ("cora", "frobenius", 64, 1.0, 1e-4),
    )
    steps: int = 40
    seeds: int = 3


def _model(config: Config, dataset: str, form: str, width: int, gain: float) -> jg.DeepGNN:
    layer = jg.layers.GCN(features=width, kernel_init=nn.initializers.normal(gain / np.sqrt(width)))
    bound = {"bound": form, "bound_c": config.bound_c}
    out = node_task(dataset).out
    return jg.DeepGNN(layer=layer, depth=config.depth, width=width, out=out, residual="identity", **bound)


def cells(config: Config) -> Mapping[str, Cell]:
    growth = [(config.dataset, "frobenius", width, 1.0) for width in config.widths]
    growth += [(config.dataset, "frobenius_soft", width, gain) for width in config.widths for gain in config.gains]
    found = {_name(*setting): _growth_cell(config, *setting) for setting in growth}
    for setting in config.trained:
        for arm in ARMS:
            found[f"{_name(*setting)}, {arm}"] = _trained_cell(config, arm, *setting)
    return found


def _name(dataset: str, form: str, width: int, gain: float, rate: float | None = None) -> str:
    doing = "growth" if rate is None else f"rate {rate:g}"
    return f"{dataset}, {FORMS[form]}, width {width}, gain {gain:g}, {doing}"


def _settings(config: Config, dataset: str, form: str, width: int, gain: float) -> dict[str, Any]:
    of_network = {"depth": config.depth, "bound_c": config.bound_c}
    return {"dataset": dataset, "form": form, "width": width, "gain": gain, **of_network}


def _growth_cell(config: Config, dataset: str, form: str, width: int, gain: float) -> Cell:
    settings = _settings(config, dataset, form, width, gain)
    return Cell("bound", settings, partial(_growth, config, dataset, form, width, gain))


def _trained_cell(config: Config, arm: str, dataset: str, form: str, width: int, gain: float, rate: float) -> Cell:
    def problem() -> tuple[jg.DeepGNN, Any]:
        model = _model(config, dataset, form, width, gain)
        return model if arm == "bound" else model.clone(bound="none"), node_task(dataset)

    return trained(
        arm,
        _settings(config, dataset, form, width, gain),
        problem,
        seeds=config.seeds,
        steps=config.steps,
        learning_rate=rate,
        more=partial(_norms, config.bound_c),
    )


def _norms(c: float, result: Any, task: Any) -> Arrays:
    """max_l ||W^(l)||_F / c before the first step and after the last, [seeds], and the most frequent class's share."""
    found = {}
    for when, params in (("first", result.initial_params), ("last", result.final_params)):
        W = [a for a in jax.tree.leaves(params["params"]["stack"]) if a.ndim == 4]  # [seeds, L, d, d]
        found[f"{when}_norm"] = np.max([np.linalg.norm(a, axis=(2, 3)).max(axis=1) / c for a in W], axis=0)
    return found | {"majority": majority(task)}


def _most(config: Config, first: float, width: int, rate: float) -> float:
    """What max ||W||_F / c can be at most during training: Adam moves an entry by at most 3.17 rates a step.

    |m / sqrt(v)| <= (1 - beta_1) / sqrt(1 - beta_2) (Kingma & Ba 2015, section 2.1), without decay.
    """
    return first + config.steps * rate * (1 - 0.9) / np.sqrt(1 - 0.999) * width / config.bound_c


def _growth(config: Config, dataset: str, form: str, width: int, gain: float) -> Arrays:
    """||X^(l)||_F and ||G^(l)||_F [L+1] and the loss of one network at initialisation."""
    task, model = node_task(dataset), _model(config, dataset, form, width, gain)
    params = drawn(model, task, 1)
    found = measured(model, params, task)
    first = jax.tree.map(lambda a: a[0], params)
    loss = jax.jit(lambda params: task.loss(model.apply(params, task.graph, task.x)))(first)
    return {"features": found.feature_norm[0], "gradients": found.gradient_norm[0], "loss": loss}


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    growth = {name: found for name, found in results.items() if "features" in found}
    learnt = {name: found for name, found in results.items() if "score" in found}
    a_layer = {name: _a_layer(found["features"]) for name, found in growth.items()}
    values = [Value(f"{name.removesuffix(', growth')}: ||X|| grows a layer by", rate) for name, rate in a_layer.items()]
    values += [Value(f"{name}: loss at initialisation", float(f["loss"])) for name, f in growth.items()]
    values += [Value(f"{name}: test accuracy", *mean_std(f["score"])) for name, f in learnt.items()]
    claims, controls, acts = [], [], []
    for setting in config.trained:
        name = _name(*setting)
        bound, twin = (learnt[f"{name}, {arm}"] for arm in ARMS)
        above = mean_interval(np.nan_to_num(bound["score"]) - float(bound["majority"]))
        claims.append(Effect(f"{name}: accuracy above the most frequent class", above, MARGIN))
        less = difference(*(np.nan_to_num(f["score"]) for f in (bound, twin)))
        controls.append(Effect(f"{name}: accuracy with the bound less without", less, 0.0))
        largest = max(float(np.nanmax(twin[f"{when}_norm"])) for when in ("first", "last"))
        most = _most(config, float(np.nanmax(twin["first_norm"])), setting[2], setting[4])
        never = " and never above 1: the bound does not act" if most < 1 else ""
        acts.append(f"{name}: max ||W||_F / c is {largest:.3g} at the ends, at most {most:.3g} in between{never}")
    judgement = judge(claims, scale="literature", controls=controls)
    # What trains is set beside its own twin.
    of_what_trains = [(a, b) for a, b in zip(claims, controls, strict=True) if a.outcome == "holds"]
    if of_what_trains:
        holding, beside = zip(*of_what_trains, strict=True)
        judgement = judgement._replace(verdict=judge(holding, scale="literature", controls=beside).verdict)
    c = f"c = {config.bound_c:g}"
    return Finding(
        evidence=f"{config.dataset}, {config.depth} residual layers, {c}: features grow a layer by "
        + "; ".join(f"{rate:.3f} ({name.removesuffix(', growth')})" for name, rate in a_layer.items())
        + f". Of the networks without the bound, {config.steps} steps, {config.seeds} seeds: {'; '.join(acts)}.",
        verdict=judgement.verdict,
        reason=judgement.reason,
        tables={"Effects": judgement.table},
        values=values,
        figures={"growth": _growth_figure(growth), "training": _training_figure(learnt)},
        notes=["The widths, gains, rates and number of steps are ours; the paper's set-up is not known."],
    )


def _a_layer(norms: np.ndarray) -> float:
    """(||X^(k)|| / ||X^(0)||)^(1/k), k the last layer whose norm is a finite number in float32."""
    k = int(np.flatnonzero(np.isfinite(norms) & (norms > 0))[-1])
    return float(np.exp((np.log(norms[k]) - np.log(norms[0])) / k)) if k else np.inf


def _short(name: str) -> str:
    return name.removesuffix(", growth").replace("width ", "d ").replace("gain ", "g ").replace("rate ", "r ")


def _growth_figure(growth: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    series = []
    for i, (name, found) in enumerate(growth.items()):
        x, dash = np.arange(len(found["features"])), "-" if ", hard, " in name else "--"
        series.append(Series(_short(name), x, found["features"], colour=i, dash=dash))
    return Shown(
        Panel(Axis("layer", whole=True), Axis("||X||", "log"), tuple(series)),
        "Growth at initialisation",
        "Solid: hard form; dashed: soft form; d width, g gain. A line ends where float32 does.",
    )


def _training_figure(learnt: Mapping[str, Mapping[str, np.ndarray]]) -> Shown:
    series = []
    for i, (name, found) in enumerate(learnt.items()):
        line = np.median(found["history"], axis=0)
        look = {"colour": i // 2 % 6, "width": 2.4} if i % 2 == 0 else {"colour": 6, "dash": ":", "width": 1.4}
        label = _short(name).partition(", ")[2].replace("d 64, ", "")
        series.append(Series(label, np.linspace(0, 1, line.size), line, **look))
    y = Axis("training loss", "log", **panels.loss_limits(*(one.y for one in series))._asdict())
    sentence = (
        "Medians over seeds; dotted, on the line of the same network with it: no bound; g gain, r rate. One without a "
        "line diverged at once."
    )
    return Shown(Panel(Axis("share of the steps"), y, tuple(series)), "Training", sentence)


REPRODUCTION = Reproduction(
    name="park2024/c4",
    title="The bound c = 4 at 512 layers",
    claim="A residual GCN of 512 layers trains with W scaled to ||W||_F = c, c = 4.",
    presets={
        "smoke": Config("csbm", 4, 4.0, (4,), (0.1,), (("csbm", "frobenius_soft", 4, 0.1, 1e-3),), 3, 2),
        "cpu": Config(),
        "full": Config(widths=(16, 64, 256, 1024), steps=1000),
    },
    cost={"smoke": "seconds", "cpu": "50 min, beside other work", "full": "not run"},
    cells=cells,
    show=show,
)

"""Does the gradients' similarity or the representations' predict test accuracy better?

Question (Park & Kim 2024: gradient similarity predicts better; how far, over many runs, is open). Networks of several
depths, residuals, bounds, widths and activations are trained on one csbm; mu and relative mu of X^(L)
(representation) and of G^(0) (gradient), before and after training, are ranked against test accuracy. mu(G) scales
with the loss and ||G||, so partial correlations hold these fixed. A signal that is too small and one that is too large
may both fail, which no rank correlation sees: so the distance of the change through all layers from none,
|ln mu(X^(L)) - ln mu(X^(0))| and |ln mu(G^(0)) - ln mu(G^(L))|, is a predictor as well.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

import jaxgnn as jg
from jaxgnn.evidence import intervals
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.intervals import Interval
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.questions import common
from jaxgnn.experiments.questions.common import Layers
from jaxgnn.report import panels
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Panel, Reference, Series
from jaxgnn.report.page import Table

STATES = ("initial", "trained")
MEASURES = ("mu", "relative", "change")
SIDES = ("gradient", "representation")


@dataclass(frozen=True)
class Config:
    """What to train.

    Attributes:
      depths, remedies: one network of each depth and each of REMEDIES, its width and activation drawn at random.
      widths, activations: what they are drawn from.
      runs: of each network; a remedy with a number (c, or the scale s of the residual) has one of its own in each,
        drawn log-uniformly from `range_c` or `range_s`, the others draw weights of their own.
      steps: updates of each run.
      learning_rate: of Adam.
      resamples: of the bootstrap.
    """

    depths: tuple[int, ...] = (4, 16, 64)
    remedies: tuple[str, ...] = ("none", "identity", "scaled", "frobenius")
    widths: tuple[int, ...] = (8, 16, 32)
    activations: tuple[str, ...] = ("relu", "tanh")
    runs: int = 12
    range_c: tuple[float, float] = (0.1, 10.0)
    range_s: tuple[float, float] = (0.01, 1.0)
    steps: int = 100
    learning_rate: float = 5e-3
    resamples: int = 1000


REMEDIES = {
    "none": {"residual": "none"},
    "identity": {"residual": "identity"},
    "scaled": {"residual": "scaled"},
    "frobenius": {"residual": "identity", "bound": "frobenius"},
}
NUMBERS = {"scaled": "residual_scale", "frobenius": "bound_c"}
SMOKE = Config(depths=(2,), remedies=("none", "frobenius"), widths=(8,), runs=3, steps=3, resamples=50)


class Results(NamedTuple):
    """One entry a run.

    Attributes:
      majority: share of the most frequent class among the test nodes.
      network: [runs] the number of its network.
      options: of every network.
      ends: by state and name [runs]: mu and norm of X^(0), X^(L), G^(0), G^(L), as "X0_mu" and so on.
      train_loss, score: [runs].
    """

    config: Config
    majority: float
    network: np.ndarray
    options: list[dict[str, Any]]
    ends: dict[str, dict[str, np.ndarray]]
    train_loss: np.ndarray
    score: np.ndarray


def plan(config: Config) -> list[dict[str, Any]]:
    """The networks: depth, remedy, width, activation, and the values of c or s that its runs have."""
    rng, networks = np.random.default_rng(0), []
    for depth, remedy in itertools.product(config.depths, config.remedies):
        drawn = {"width": int(rng.choice(config.widths)), "activation": str(rng.choice(config.activations))}
        low, high = config.range_s if remedy == "scaled" else config.range_c
        values = [float(v) for v in np.exp(rng.uniform(np.log(low), np.log(high), config.runs))]
        values = values if remedy in NUMBERS else None
        networks.append({"depth": depth, "remedy": remedy, "values": values} | drawn)
    return networks


@cache
def _task() -> tuple[Any, float]:
    """Node classification on the csbm, and the share of the most frequent class among its test nodes."""
    ds = jg.load_dataset("csbm")
    test = np.bincount(ds.labels[ds.test_mask])
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw")
    return task, float(test.max() / test.sum())


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    return {
        f"{number}, {network['depth']} layers, {network['remedy']}": partial(_train, config, number, network)
        for number, network in enumerate(plan(config))
    }


def _train(config: Config, number: int, network: Mapping[str, Any]) -> Arrays:
    """Of every run of one network: STATE/END of `_ends`, training loss and score, each [runs]."""
    task, majority = _task()
    remedy, values = network["remedy"], network["values"]
    options = {name: network[name] for name in ("depth", "width", "activation")}
    points = jg.sweep(
        model := jg.DeepGNN(out=task.out, **options, **REMEDIES[remedy]),
        task,
        grid={} if values is None else {NUMBERS[remedy]: values},
        seeds=config.runs if values is None else 1,
        seed=number,
        steps=config.steps,
        learning_rate=config.learning_rate,
        evaluate_every=5,
    )
    found: list[dict[str, np.ndarray]] = []
    for result in (point.result for point in points):
        states = zip(STATES, (result.initial_params, result.final_params), strict=True)
        ends = {state: _ends(common.measured(model, params, task)) for state, params in states}
        flat = {f"{state}/{name}": values for state, of_state in ends.items() for name, values in of_state.items()}
        found.append(flat | {"train_loss": result.train_loss, "score": result.score})
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]} | {"majority": majority}


def joined(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Results:
    """All runs of all networks."""
    parts = list(results.values())

    def column(name):
        return np.concatenate([part[name] for part in parts])

    ends = [name for name in parts[0] if "/" in name]
    by_state = {s: {n.removeprefix(f"{s}/"): column(n) for n in ends if n.startswith(f"{s}/")} for s in STATES}
    network = np.repeat(np.arange(len(parts)), config.runs)
    return Results(
        config, float(parts[0]["majority"]), network, plan(config), by_state, column("train_loss"), column("score")
    )


def _ends(layers: Layers) -> dict[str, np.ndarray]:
    signals = {"X": (layers.feature_mu, layers.feature_norm), "G": (layers.gradient_mu, layers.gradient_norm)}
    return {
        f"{signal}{place}_{name}": values[:, column]
        for signal, both in signals.items()
        for name, values in zip(("mu", "norm"), both, strict=True)
        for place, column in (("0", 0), ("L", -1))
    }


def predictor(results: Results, state: str, side: str, measure: str) -> np.ndarray:
    """One of MEASURES of the gradient G^(0) or the representation X^(L), [runs]; relative mu of 0 is 0."""
    ends = results.ends[state]
    signal, place, other = ("G", "0", "L") if side == "gradient" else ("X", "L", "0")
    mu, norm = ends[f"{signal}{place}_mu"], ends[f"{signal}{place}_norm"]
    if measure == "mu":
        return mu
    if measure == "relative":
        return np.divide(mu, norm, out=np.zeros(mu.shape), where=norm != 0)
    tiny = np.finfo(np.float32).tiny  # a signal that is 0 in float32
    before = ends[f"{signal}{other}_mu"]
    return np.abs(np.log(np.maximum(mu, tiny)) - np.log(np.maximum(before, tiny)))


def controls(results: Results, state: str, side: str) -> dict[str, np.ndarray]:
    """What is held fixed in the partial correlations, [runs] each."""
    ends = results.ends[state]
    depth = np.array([option["depth"] for option in results.options])[results.network]
    return {
        "norm": ends["G0_norm"] if side == "gradient" else ends["XL_norm"],
        "training loss": results.train_loss,
        "depth": depth,
    }


def complete(results: Results) -> np.ndarray:
    """[runs] whether the score and everything that is ranked is a number: a run that failed at once has none."""
    columns = [results.score, results.train_loss]
    for state in STATES:
        columns += list(results.ends[state].values())
    return np.isfinite(np.stack(columns)).all(axis=0)


class Answer(NamedTuple):
    """Spearman's correlation with test accuracy; intervals over runs within these networks, or over networks.

    Attributes:
      correlation: by side, over runs.
      difference: |gradient's| - |representation's|, over runs.
      across: the difference over networks, as if these were a sample of all.
      partial: by side and by what is held fixed, over runs.
    """

    correlation: dict[str, Interval]
    difference: Interval
    across: Interval
    partial: dict[str, dict[str, Interval]]


def answer(results: Results, state: str, measure: str) -> Answer:
    """The correlations of one measure before or after training."""
    kept = complete(results)
    score, network = results.score[kept], results.network[kept]
    interval = partial(intervals.bootstrap, resamples=results.config.resamples)
    over_runs = partial(interval, strata=network)
    values = {side: predictor(results, state, side, measure)[kept] for side in SIDES}
    fixed = {side: {k: v[kept] for k, v in controls(results, state, side).items()} for side in SIDES}

    def difference(score, gradient, representation):
        return abs(intervals.spearman(gradient, score)) - abs(intervals.spearman(representation, score))

    both = (score, *(values[side] for side in SIDES))
    return Answer(
        {side: over_runs(intervals.spearman, values[side], score) for side in SIDES},
        over_runs(difference, *both),
        interval(difference, *both, clusters=network),
        {
            side: {name: over_runs(intervals.spearman, values[side], score, v) for name, v in fixed[side].items()}
            for side in SIDES
        },
    )


def answers(results: Results) -> dict[tuple[str, str], Answer]:
    """By state and measure."""
    return {(state, measure): answer(results, state, measure) for state in STATES for measure in MEASURES}


def plot(results: Results) -> dict[str, Shown]:
    """Test accuracy against every predictor."""
    kept, figures = complete(results), {}
    labels = {
        ("gradient", "mu"): "μ(G⁽⁰⁾)",
        ("gradient", "relative"): "μ(G⁽⁰⁾) / ‖G⁽⁰⁾‖",
        ("gradient", "change"): "|ln μ(G⁽⁰⁾) − ln μ(G⁽ᴸ⁾)|",
        ("representation", "mu"): "μ(X⁽ᴸ⁾)",
        ("representation", "relative"): "μ(X⁽ᴸ⁾) / ‖X⁽ᴸ⁾‖",
        ("representation", "change"): "|ln μ(X⁽ᴸ⁾) − ln μ(X⁽⁰⁾)|",
    }
    depth = np.array([option["depth"] for option in results.options])[results.network]
    for (side, measure), label in labels.items():
        series = []
        for i, state in enumerate(STATES):
            x = predictor(results, state, side, measure)
            for deep in (False, True):
                shown = kept & ((depth >= 16) == deep) & (x > 0)
                name = f"{'initial' if state == 'initial' else 'trained'}, {'16 layers and more' if deep else 'fewer'}"
                series.append(Series(name, x[shown], results.score[shown], kind="points", colour=2 * i + deep))
        reference = Reference("most frequent class", float(results.majority))
        axes = Axis(label, "log" if measure == "mu" else "linear"), Axis("test accuracy", **panels.PART._asdict())
        figures[f"{side}_{measure}"] = Shown(
            Panel(*axes, tuple(series), (reference,)),
            f"Accuracy against {label}",
            "One point a run; before and after training.",
        )
    return figures


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    all_runs = joined(config, results)
    found, kept = answers(all_runs), complete(all_runs)
    names = {"mu": "mu", "relative": "relative mu", "change": "change of mu through the layers"}
    when = {"initial": "before training", "trained": "after training"}
    said = [
        f"{names[measure]} {when[state]}: gradient {it.correlation['gradient'].text(2)}, representation "
        f"{it.correlation['representation'].text(2)}, difference of moduli {it.difference.text(2)}, over networks "
        f"[{it.across.low:.2f}, {it.across.high:.2f}]"
        for (state, measure), it in found.items()
    ]
    raw = {state: found[state, "mu"].difference for state in STATES}
    wins = [state for state in STATES if raw[state].low > 0]
    return Finding(
        evidence=f"{kept.sum()} runs of {len(results)} networks on csbm ({(~kept).sum()} more failed at once and are "
        "left out); Spearman's rank correlation with test accuracy, 95% bootstrap intervals over the runs within each "
        f"network. {'. '.join(said)}.",
        verdict="reproduced" if len(wins) == 2 else "partly" if wins else "not reproduced",
        reason=_verdict(found, names, when),
        values=[
            Value(f"rank correlation of {names[measure]} of the {side} {when[state]} with test accuracy", v.value)
            for (state, measure), it in found.items()
            for side, v in it.correlation.items()
        ],
        figures=plot(all_runs),
        tables={"Rank correlations with test accuracy": table(found)},
        notes=[
            f"One csbm of 200 nodes, sym; {len(config.depths)} depths x {len(config.remedies)} remedies, widths and "
            f"activations drawn; c in {config.range_c[0]:g} to {config.range_c[1]:g}, s in {config.range_s[0]:g} to "
            f"{config.range_s[1]:g}, log-uniformly; {config.steps} steps of Adam {config.learning_rate:g}; "
            "accuracy at the best validation score, mu after the last step. Intervals over runs are for these "
            "networks; the wider ones over networks draw whole networks: other proportions of depths and remedies "
            "give others.",
            "The intervals of partial correlations hold one thing fixed at a time, by linear regression on the ranks.",
        ],
    )


def _verdict(found: dict[tuple[str, str], Answer], names: dict[str, str], when: dict[str, str]) -> str:
    sides = {"better": [], "worse": [], "not told apart": []}
    for (state, measure), it in found.items():
        side = "better" if it.difference.low > 0 else "worse" if it.difference.high < 0 else "not told apart"
        sides[side].append(f"{names[measure]} {when[state]}")
    first = (
        f"Among these networks the gradient predicts better for {common.listed(sides['better'])}; worse for "
        f"{common.listed(sides['worse'])}; the two are not told apart for {common.listed(sides['not told apart'])}."
    )
    surviving = []
    for (state, measure), it in found.items():
        for side in SIDES:
            fixed = it.partial[side]
            names_left = [name for name, v in fixed.items() if not (v.low > 0 or v.high < 0)]
            if not names_left:
                surviving.append(f"{names[measure]} of the {side} {when[state]}")
    second = (
        "Whichever of norm, training loss and depth is held fixed, what still correlates is: "
        f"{common.listed(surviving)}."
    )
    strongest = max(found, key=lambda key: max(abs(v.value) for v in found[key].correlation.values()))
    side = max(SIDES, key=lambda side: abs(found[strongest].correlation[side].value))
    third = (
        f"The strongest single predictor is {names[strongest[1]]} of the {side} {when[strongest[0]]}: "
        f"{found[strongest].correlation[side].text(2)}."
    )
    settled = [f"{names[m]} {when[s]}" for (s, m), it in found.items() if it.across.low > 0 or it.across.high < 0]
    fourth = f"For other networks than these a difference is only settled for: {common.listed(settled)}."
    return f"{first} {third} {second} {fourth}"


def table(found: dict[tuple[str, str], Answer]) -> Table:
    """One row a state, measure and side."""
    header = (
        "when",
        "measure",
        "of",
        "correlation",
        "difference of moduli",
        "the same over networks",
        "given norm",
        "given loss",
        "given depth",
    )
    rows = []
    for (state, measure), it in found.items():
        for side in SIDES:
            fixed = [v.text(2) for v in it.partial[side].values()]
            differences = [v.text(2) if side == "gradient" else "" for v in (it.difference, it.across)]
            rows.append((state, measure, side, it.correlation[side].text(2), *differences, *fixed))
    return Table(header, rows)


REPRODUCTION = Reproduction(
    name="park2024/predictors",
    title="Gradient or representation similarity as predictor of test accuracy",
    claim="The similarity of the gradients predicts test accuracy better than that of the representations.",
    presets={"smoke": SMOKE, "cpu": Config(), "full": Config(runs=100, steps=1000)},
    cost={"smoke": "seconds", "cpu": "1.5 min", "full": "not run"},
    cells=cells,
    show=show,
)

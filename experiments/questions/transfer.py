"""Does a message cross a line, a ring, a crossed ring; and is it a message that solves the task?"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

import jaxgnn as jg
from jaxgnn.evidence.cells import Cell
from jaxgnn.evidence.effects import Effect, Scale, difference, judge
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.reproduction import Reproduction
from jaxgnn.evidence.trained import trained
from jaxgnn.experiments.arms import ARMS as ALL_ARMS
from jaxgnn.experiments.arroyo2025.common import panels
from jaxgnn.experiments.setting import mean_std
from jaxgnn.report import plots
from jaxgnn.report.claim import Shown
from jaxgnn.report.page import Table
from jaxgnn.tasks.benchmark import Benchmark

GRAPH_BLIND = "MLP, identity residual"
ARMS: dict[str, dict[str, Any]] = {
    **{name: ALL_ARMS[name] for name in ("GCN", "identity residual", "GCN-SSM")},
    GRAPH_BLIND: {"layer": "mlp", "residual": "identity"},
}
SWAP, CLASS = "swap", "class"
KINDS = {SWAP: ("line", "ring", "crossed_ring"), CLASS: ("ring", "crossed_ring")}
MATTERS = {SWAP: 0.3, CLASS: 0.2}  # a factor of 2 of the MSE; one class in five of accuracy: ours
FLOOR = 1e-12  # of an MSE


@dataclass(frozen=True)
class Config:
    """What to train.

    Attributes:
      distances: edges between source and target.
      kinds: "line", "ring" and "crossed_ring"; there is no "class" on a line.
      width: of every network.
      factor: depth over distance; 1 is the least depth that reaches.
      graphs: training graphs of "swap"; validation and test have a quarter each.
      seeds: runs of each.
      steps: of Adam.
      learning_rates: the one with the best mean validation score ("swap") or training loss ("class") counts, for every
        arm.
      scale: of these settings beside the literature's.
    """

    distances: tuple[int, ...] = (3, 10)
    kinds: tuple[str, ...] = ("line", "ring", "crossed_ring")
    width: int = 32
    factor: int = 1
    graphs: int = 100
    seeds: int = 3
    steps: int = 600
    learning_rates: tuple[float, ...] = (1e-3, 5e-3)
    scale: Scale = "small"


def pairs(config: Config) -> list[tuple[str, str]]:
    """(what, kind) of every task."""
    return [(what, kind) for what, kinds in KINDS.items() for kind in kinds if kind in config.kinds]


def places(config: Config) -> list[tuple[str, str, int]]:
    """(what, kind, distance) of every task."""
    return [(what, kind, d) for what, kind in pairs(config) for d in config.distances]


def cells(config: Config) -> Mapping[str, Cell]:
    return {name(arm, *place): _cell(config, arm, *place) for place in places(config) for arm in ARMS}


def name(arm: str, what: str, kind: str, distance: int) -> str:
    return f"{arm}, {what} on a {kind.replace('_', ' ')} over {distance} hops"


def task(config: Config, what: str, kind: str, distance: int) -> Benchmark:
    """Either "swap", a source and a target exchange 1 and 0, or "class", the source outputs the class of the target.

    Of the latter a size has one graph a class and no more, so that a batch of these is the whole data set.
    """
    if what == CLASS:
        sizes = {"num_train": 5, "num_val": 5, "num_test": 5, "batch_size": 5}
        return jg.tasks.benchmark("ring_transfer", n=2 * distance, kind=kind, **sizes)
    quarter = max(1, config.graphs // 4)
    sizes = {"num_train": config.graphs, "num_val": quarter, "num_test": quarter, "batch_size": quarter}
    return jg.tasks.benchmark("graph_transfer", kind=kind, distance=distance, **sizes)


def _cell(config: Config, arm: str, what: str, kind: str, distance: int) -> Cell:
    depth = config.factor * distance
    settings = {"what": what, "kind": kind, "distance": distance, "depth": depth, "width": config.width}
    chosen = {"by": "train_loss", "last": True} if what == CLASS else {"by": "val_score"}
    return trained(
        arm,
        settings | {"graphs": config.graphs, "options": {k: str(v) for k, v in ARMS[arm].items()}},
        partial(_problem, config, arm, what, kind, distance),
        seeds=config.seeds,
        grid={"learning_rate": config.learning_rates},
        steps=config.steps,
        evaluate_every=25,
        **chosen,
    )


def _problem(config: Config, arm: str, what: str, kind: str, distance: int) -> tuple[jg.DeepGNN, Any]:
    made = task(config, what, kind, distance).task
    return jg.DeepGNN(depth=config.factor * distance, width=config.width, out=made.out, **ARMS[arm]), made


def worth(what: str, score: Float[np.ndarray, "seeds"]) -> Float[np.ndarray, "seeds"]:
    """What is compared, higher for better: the accuracy, or minus log10 of the MSE."""
    return score if what == CLASS else -np.log10(np.maximum(score, FLOOR))


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    def less(arm: str, other: str, what: str, kind: str, distance: int) -> Effect:
        here = (what, kind, distance)
        a, b = (worth(what, results[name(one, *here)]["score"]) for one in (arm, other))
        unit = "accuracy" if what == CLASS else "-log10 MSE"
        said = f"{arm} less {other}, {what} on a {kind.replace('_', ' ')} over {distance} hops, {unit}"
        return Effect(said, difference(a, b, paired=False), MATTERS[what])

    found = places(config)
    claims = [less(arm, "GCN", *place) for place in found for arm in ("identity residual", "GCN-SSM")]
    controls = [less(arm, GRAPH_BLIND, *place) for place in found for arm in ("identity residual", "GCN-SSM")]
    controls += [less("GCN-SSM", "identity residual", *place) for place in found]
    judgement = judge(claims, scale=config.scale, controls=controls)
    references = {place: task(config, *place) for place in found}
    blind = {what: _beaten(results, [place for place in found if place[0] == what]) for what in KINDS}
    return Finding(
        evidence="; ".join(
            f"{what}: the graph-blind network is at least as good as the best graph network in {count} of {of} tasks"
            for what, (count, of) in blind.items()
        )
        + ".",
        verdict=judgement.verdict,
        reason=judgement.reason,
        tables={"Scores beside what nobody trains": _table(references, results), "Effects": judgement.table},
        values=[Value(key, *mean_std(arrays["score"])) for key, arrays in results.items()],
        figures={"distance": _figure(config, references, results)},
        notes=[
            "swap (graph_transfer): features uniform on [0, 1], but 1 at the source and 0 at the target, which swap "
            "them; MSE. A node-wise function is perfect there, and the graph-blind network shows how much of a score "
            "is that. class (ring_transfer): the class is one-hot at the target, and no node-wise function has it.",
            f"Width {config.width}, depth {config.factor} x distance, ReLU, {config.steps} steps of Adam, learning "
            f"rate from {', '.join(f'{r:g}' for r in config.learning_rates)}, for every arm; {config.graphs} training "
            "graphs of swap: ours.",
        ],
    )


def _beaten(results: Mapping[str, Any], found: list[tuple[str, str, int]]) -> tuple[int, int]:
    """In how many of the tasks the graph-blind network's mean is at least the best graph network's, and of how many."""
    count = 0
    for place in found:
        means = {arm: worth(place[0], results[name(arm, *place)]["score"]).mean() for arm in ARMS}
        blind = means.pop(GRAPH_BLIND)
        count += bool(blind >= max(means.values()))
    return count, len(found)


def _table(references: Mapping[tuple[str, str, int], Benchmark], results: Mapping[str, Any]) -> Table:
    rows = []
    for place, made in references.items():
        scores = []
        for arm in ARMS:
            mean, deviation = mean_std(results[name(arm, *place)]["score"])
            scores.append(f"{mean:.3g} ± {deviation:.2g}")
        what, kind, distance = place
        copied = f"{2 / made.task.graphs.num_nodes:.3g}" if what == SWAP else ""
        rows.append((what, kind.replace("_", " "), str(distance), *scores, f"{made.constant.test:.3g}", copied))
    return Table(("task", "graph", "hops", *ARMS, "constant", "copying"), rows)


def _figure(config: Config, references: Mapping[tuple[str, str, int], Benchmark], results: Mapping[str, Any]) -> Shown:
    figure, axes = panels(len(pairs(config)))
    for one, (what, kind) in zip(axes, pairs(config), strict=True):
        for i, arm in enumerate(ARMS):
            found = np.array([mean_std(results[name(arm, what, kind, d)]["score"]) for d in config.distances])
            style = {"color": plots.COLOURS[i], "marker": plots.MARKERS[i]}
            # An MSE's deviation may be its size, and a bar down to 0 has no place on a logarithmic axis.
            bars = np.stack([np.minimum(found[:, 1], 0.9 * found[:, 0]), found[:, 1]]) if what == SWAP else found[:, 1]
            one.errorbar(config.distances, found[:, 0], yerr=bars, capsize=2, markersize=4, label=arm, **style)
        constant = [references[what, kind, d].constant.test for d in config.distances]
        one.plot(config.distances, constant, color="0.4", linestyle="--", linewidth=1, label="constant")
        one.set(title=f"{what}, {kind.replace('_', ' ')}", xlabel="hops", ylabel="accuracy" if what == CLASS else "MSE")
        one.set_yscale("linear" if what == CLASS else "log")
        one.set_xticks(config.distances)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return Shown(figure, "Transfer by distance", "Mean and standard deviation over seeds; dashed: a constant answer.")


REPRODUCTION = Reproduction(
    name="questions/transfer",
    title="Does a message cross a line, a ring, a crossed ring?",
    claim="Networks with a residual or a state space carry a message over distances where a GCN of the same depth "
    "fails, and it is the graph that carries it.",
    presets={
        "smoke": Config((2,), ("ring",), width=4, graphs=8, seeds=1, steps=26, learning_rates=(1e-3,)),
        "cpu": Config(),
        "full": Config((3, 5, 10, 50), width=64, graphs=1000, seeds=10, steps=20_000, scale="literature"),
    },
    cost={"smoke": "a minute", "cpu": "18 min, beside other work", "full": "not run"},
    cells=cells,
    show=show,
)

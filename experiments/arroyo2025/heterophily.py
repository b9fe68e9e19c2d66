"""Heterophilic node classification: GCN-SSM beside the skips that the published rows have, in two networks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import flax.linen as nn
import numpy as np
from jaxtyping import Float

import jaxgnn as jg
from jaxgnn.evidence.cells import Cell
from jaxgnn.evidence.effects import Effect, Scale, difference, judge
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.intervals import mean_interval
from jaxgnn.evidence.reproduction import Reproduction
from jaxgnn.evidence.trained import trained
from jaxgnn.experiments.arms import ARMS, LinearSkip
from jaxgnn.experiments.setting import mean_std
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.report.claim import Shown
from jaxgnn.report.figure import Axis, Panel, Series

Network = Literal["tuned", "blocks", "platonov"]
# In percent, accuracy, but ROC-AUC on minesweeper: rows of Arroyo et al. 2025, whose GCN is Platonov et al.'s 2023
# (amazon-ratings as there, 48.70), and of Luo et al. 2024, as recalled.
PUBLISHED = {
    ("platonov", "roman-empire", "identity residual"): 73.69,
    ("platonov", "roman-empire", "GCN-SSM"): 88.37,
    ("platonov", "amazon-ratings", "identity residual"): 48.70,
    ("platonov", "amazon-ratings", "GCN-SSM"): 51.72,
    ("platonov", "minesweeper", "identity residual"): 89.75,
    ("platonov", "minesweeper", "GCN-SSM"): 96.02,
    ("tuned", "minesweeper", "linear skip"): 97.9,
}
KINDS = ("GCN", "identity residual", "linear skip", "GCN-SSM")


@dataclass(frozen=True)
class Case:
    """One kind of network on one data set.

    Attributes:
      network: "tuned": GCN layers, batch norm, ReLU (Luo et al. 2024); "platonov": layer norm, propagation, a GELU
        feed-forward of two layers (Platonov et al. 2023); "blocks": those blocks between a linear encoder and readout,
        without the published input activation and output norm.
      dataset: a name that `jaxgnn data list` shows.
      arms: some of KINDS; "linear skip" is of "tuned" alone, whose own it is, as the identity residual is Platonov's.
      depths: numbers of layers; the best on validation counts, for every arm.
      width, steps, learning_rate, dropout: of every arm.
      splits: how many of the ten published ones.
    """

    network: Network
    dataset: str
    arms: tuple[str, ...]
    depths: tuple[int, ...] = (12,)
    width: int = 64
    steps: int = 2000
    learning_rate: float = 1e-2
    dropout: float = 0.2
    splits: int = 10


@dataclass(frozen=True)
class Config:
    """What to train, and how these settings stand beside the literature's."""

    cases: tuple[Case, ...]
    scale: Scale = "literature"


class FeedForward(nn.Module):
    """GELU feed-forward of two layers on P LayerNorm(X): H of Platonov et al.'s block, X + H.

    Source: Platonov et al. 2023 (arXiv 2302.11640), their public code.
    """

    features: int
    dropout: float = 0.2

    @nn.compact
    def __call__(self, graph: Graph, X: Float[Array, "n d"], train: bool = False) -> Float[Array, "n features"]:
        uniform = nn.initializers.lecun_uniform()
        H = graph.propagation @ nn.LayerNorm(epsilon=1e-5)(X)
        H = nn.Dense(self.features, kernel_init=uniform)(H)
        H = nn.gelu(nn.Dropout(self.dropout, deterministic=not train)(H), approximate=False)
        H = nn.Dense(self.features, kernel_init=uniform)(H)
        return nn.Dropout(self.dropout, deterministic=not train)(H)


class Platonov(nn.Module):
    """X^(0) = GELU(x W + b); X^(l+1) = skip(X^(l), F(P LayerNorm(X^(l)))); logits LayerNorm(X^(L)) R + b.

    F is a GELU feed-forward of two layers. skip(X, H) is H for "GCN", X + H for "identity residual", Platonov et al.'s,
    and for "GCN-SSM" X + H B^T with B frozen, an entry uniform in +-1/sqrt(d).

    Source: Platonov et al. 2023 (arXiv 2302.11640), their public code; Arroyo et al. 2025 for GCN-SSM.
    """

    arm: str
    depth: int
    width: int
    out: int
    dropout: float = 0.2

    @nn.compact
    def __call__(self, graph: Graph, x: Float[Array, "n f"], train: bool = False) -> Float[Array, "n out"]:
        def dropped(X: Array) -> Array:
            return nn.Dropout(self.dropout, deterministic=not train)(X)

        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # torch's own
        dense = partial(nn.Dense, kernel_init=uniform)
        if self.arm == "GCN-SSM":
            square = (self.width, self.width)
            B = self.variable("constants", "B", lambda: uniform(self.make_rng("params"), square)).value
        X = nn.gelu(dropped(dense(self.width)(x)), approximate=False)
        for _ in range(self.depth):
            H = dense(self.width)(graph.propagation @ nn.LayerNorm(epsilon=1e-5)(X))
            H = dropped(dense(self.width)(nn.gelu(dropped(H), approximate=False)))
            if self.arm == "GCN-SSM":
                H = H @ B
            X = H if self.arm == "GCN" else X + H
        return dense(self.out)(nn.LayerNorm(epsilon=1e-5)(X))


def cells(config: Config) -> Mapping[str, Cell]:
    return {
        _name(case, arm, depth, split): _cell(case, arm, depth, split)
        for case in config.cases
        for split in range(case.splits)
        for arm in case.arms
        for depth in case.depths
    }


def _name(case: Case, arm: str, depth: int, split: int) -> str:
    return f"{case.network}, {case.dataset}, {arm}, {depth} layers, split {split}"


def _cell(case: Case, arm: str, depth: int, split: int) -> Cell:
    settings = {"network": case.network, "dataset": case.dataset, "split": split, "depth": depth}
    return trained(
        arm,
        settings | {"width": case.width, "dropout": case.dropout},
        partial(_problem, case, arm, depth, split),
        seeds=1,
        seed=split,
        steps=case.steps,
        learning_rate=case.learning_rate,
        optimiser="adam",
        evaluate_every=5,
    )


def _problem(case: Case, arm: str, depth: int, split: int) -> tuple[nn.Module, Any]:
    task = _task(case.dataset, split)
    if case.network == "platonov":
        return Platonov(arm, depth, case.width, task.out, case.dropout), task
    options: dict[str, Any] = dict(ARMS.get(arm, {}))
    if case.network == "tuned":
        options |= {"norm": "batch", "dropout": case.dropout}
        options |= {"layer": LinearSkip(case.width)} if arm == "linear skip" else {}
    else:
        options |= {"layer": FeedForward(case.width, case.dropout), "activation": "identity"}
    return jg.DeepGNN(depth=depth, width=case.width, out=task.out, **options), task


@cache
def _task(dataset: str, split: int) -> Any:
    ds = jg.load_dataset(dataset, split=f"geom:{split}") if dataset != "karate" else jg.load_dataset(dataset)
    metric = "roc_auc" if ds.num_classes == 2 else "accuracy"
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph), features="raw", metric=metric)


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    values, claims, controls, said, scores = [], [], [], [], {}
    for case in config.cases:
        place = f"{case.network}, {case.dataset}"
        for arm in case.arms:
            scores[place, arm], depth = _best(case, arm, results)
            published = PUBLISHED.get((case.network, case.dataset, arm))
            values.append(Value(f"{place}, {arm}, test score, %", *mean_std(scores[place, arm]), published))
            said.append(f"{place}, {arm}, {depth} layers: {mean_interval(scores[place, arm]).text(2)}%")
        for other in case.arms[:-1]:
            less = difference(scores[place, case.arms[-1]], scores[place, other])
            effect = Effect(f"{place}: {case.arms[-1]} less {other}, points", less, 0.0)
            (claims if other == "GCN" else controls).append(effect)
    judgement = judge(claims, scale=config.scale, controls=controls)
    return Finding(
        evidence="; ".join(said) + " (test score at the best validation score; mean over splits, 95% interval).",
        verdict=judgement.verdict,
        reason=judgement.reason,
        tables={"Effects": judgement.table},
        values=values,
        figures={"score": _figure(scores)},
        notes=[
            "tuned: Luo et al.'s settings for minesweeper, but for a linear encoder before 12 layers in place of the "
            "first layer of 12 on the features; platonov: Platonov et al.'s; blocks: the same but for their input "
            "activation and output norm, so that no published row is of it. Every arm has the same depth, width, rate "
            "and steps, chosen for the skip that the published row has: GCN-SSM's own were not searched for.",
            "One run a split, of its own seed; differences are paired by split. minesweeper is scored by ROC-AUC.",
            "Published rows: Arroyo et al. 2025; their GCN is Platonov et al.'s network, which has an identity skip.",
        ],
    )


def _best(case: Case, arm: str, results: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[np.ndarray, int]:
    """Test scores in percent [splits], at the depth with the best mean validation score."""
    found = {depth: [results[_name(case, arm, depth, split)] for split in range(case.splits)] for depth in case.depths}
    worth = {depth: np.mean([np.nan_to_num(one["val_score"][0]) for one in ones]) for depth, ones in found.items()}
    depth = max(worth, key=lambda depth: worth[depth])
    return 100 * np.array([one["score"][0] for one in found[depth]]), depth


def _figure(scores: Mapping[tuple[str, str], np.ndarray]) -> Shown:
    places = list(dict.fromkeys(place for place, _ in scores))
    arms = list(dict.fromkeys(arm for _, arm in scores))
    series = []
    for i, arm in enumerate(arms):
        found = [(j, scores[place, arm]) for j, place in enumerate(places) if (place, arm) in scores]
        x = [j + 0.15 * (i - (len(arms) - 1) / 2) + np.linspace(-0.04, 0.04, len(y)) for j, y in found]
        y = np.concatenate([np.asarray(y, float) for _, y in found])
        series.append(Series(arm, np.concatenate(x), y, kind="points", colour=i))
    x = Axis("network and data set", ticks=tuple(map(float, range(len(places)))), names=tuple(places))
    y = Axis("test score, %", lowest=0.0, highest=100.0)
    return Shown(Panel(x, y, tuple(series)), "Test score by arm", "A point is one published split.")


TUNED = Case("tuned", "minesweeper", KINDS)
PLATONOV = Case("platonov", "minesweeper", ("GCN", "identity residual", "GCN-SSM"), (1, 2, 3, 4, 5), 512, 1000, 3e-5)
REPRODUCTION = Reproduction(
    name="arroyo2025/heterophily",
    title="Heterophilic node classification",
    claim="GCN-SSM is better than GCN on roman-empire, amazon-ratings and minesweeper.",
    presets={
        "smoke": Config(
            (
                Case("tuned", "karate", KINDS, (2,), 4, 6, splits=1),
                Case("blocks", "karate", ("GCN", "identity residual", "GCN-SSM"), (1,), 4, 6, splits=1),
                Case("platonov", "karate", ("GCN", "identity residual", "GCN-SSM"), (1,), 4, 6, splits=1),
            ),
            "small",
        ),
        "cpu": Config((replace(TUNED, splits=7), replace(PLATONOV, network="blocks", depths=(5,), splits=7))),
        "full": Config(
            (
                TUNED,
                PLATONOV,
                *(
                    Case("platonov", name, PLATONOV.arms, PLATONOV.depths, 512, 1000, 3e-5)
                    for name in ("roman-empire", "amazon-ratings")
                ),
            )
        ),
    },
    cost={"smoke": "seconds", "cpu": "kept; anew 6 min on an H200, many hours on two cores", "full": "not run"},
    cells=cells,
    show=show,
)

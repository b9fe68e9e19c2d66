"""Which networks `stationary` compares."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from jaxgnn.experiments.keriven2025.networks import REMEDIES, Setting
from jaxgnn.graphs.normalisation import Normalisation


@dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
      graphs: where GNN and MLP are compared layer by layer, with both P.
      other_graphs: where they are compared with one P.
      sweep_graphs: where depth is swept.
      remedy_graphs: where remedies are compared.
      activations: rho.
      depth, width: of the comparisons.
      depths, widths: of the sweeps.
      weights: DeepGNN's init_weights that are compared.
      seeds: networks drawn for each.
      remedies: names of `REMEDIES`.
      adam_steps, learning_rate: of the readout's training by Adam.
      slice_depth, slice_width: of the networks whose surroundings are shown.
      slice_points: on each side of a slice.
      lanczos_steps: Hessian-vector products for its extremes.
    """

    graphs: tuple[str, ...] = ("csbm", "csbm-dense", "csbm-homophilous", "cora", "cora-public")
    other_graphs: tuple[str, ...] = ("ring", "grid", "karate")
    sweep_graphs: tuple[str, ...] = ("csbm", "csbm-dense")
    remedy_graphs: tuple[str, ...] = ("csbm-dense",)
    activations: tuple[str, ...] = ("identity", "relu", "tanh")
    depth: int = 32
    width: int = 32
    depths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    widths: tuple[int, ...] = (8, 32, 64)
    weights: tuple[str, ...] = ("orthogonal", "glorot")
    seeds: int = 3
    remedies: tuple[str, ...] = tuple(REMEDIES)
    adam_steps: int = 500
    learning_rate: float = 1e-2
    slice_depth: int = 16
    slice_width: int = 16
    slice_points: int = 21
    lanczos_steps: int = 48

    def __post_init__(self) -> None:
        for remedy in self.remedies:
            if remedy not in REMEDIES:
                raise ValueError(f"remedies={remedy!r} is not known: allowed are {', '.join(REMEDIES)}")


class Results(NamedTuple):
    """What `measure` and `surroundings` returned, by setting."""

    config: Config
    networks: Mapping[Setting, Mapping[str, np.ndarray]]
    around: Mapping[Setting, Mapping[str, np.ndarray]]

    def of(self, kind: Setting, name: str) -> np.ndarray:
        """A number or an array of every network of a kind, [seeds, ...]."""
        return np.array([self.networks[replace(kind, seed=seed)][name] for seed in range(self.config.seeds)])

    def relative_loss(self, kind: Setting, stage: str) -> np.ndarray:
        """The training loss over the constant predictor's, [seeds]."""
        return self.of(kind, f"{stage}/loss") / self.of(kind, "constant_loss")

    def median(self, kind: Setting, name: str) -> float:
        """Over networks, and layers where there are any."""
        return float(np.median(self.of(kind, name)))


def comparison(config: Config, graph: str, activation: str) -> list[Setting]:
    """The networks that are compared layer by layer on a graph: GCN with both P, and MLP."""
    setting = Setting(graph=graph, activation=activation, depth=config.depth, width=config.width)
    return _both(setting, ("doubly", "sym"))


def nonlinear(config: Config) -> list[str]:
    """The activations but identity, if there are any."""
    return [a for a in config.activations if a != "identity"] or list(config.activations)


def studies(config: Config) -> dict[str, list[Setting]]:
    """The kinds of network of each study, by its name."""
    base = Setting(depth=config.depth, width=config.width)
    found: dict[str, list[Setting]] = {
        name: [] for name in ("graphs", "others", "depth", "width", "weights", "remedies")
    }
    for graph in config.graphs:
        for activation in config.activations:
            found["graphs"] += comparison(config, graph, activation)
    for graph in config.sweep_graphs:
        for activation in config.activations:
            for depth in config.depths:
                found["depth"] += _both(replace(base, graph=graph, activation=activation, depth=depth))
    for activation in nonlinear(config):
        of = replace(base, activation=activation)
        for graph in config.other_graphs:
            found["others"] += _both(replace(of, graph=graph))
        for graph in config.sweep_graphs:
            for width in config.widths:
                found["width"] += _both(replace(of, graph=graph, width=width))
            for weights in config.weights:
                found["weights"] += _both(replace(of, graph=graph, weights=weights))
        for graph in config.remedy_graphs:
            found["remedies"] += [replace(of, graph=graph, remedy=remedy) for remedy in config.remedies]
    return found


def settings(config: Config) -> list[Setting]:
    """Every network that is measured, each once."""
    kinds = dict.fromkeys(setting for kinds in studies(config).values() for setting in kinds)
    return [replace(kind, seed=seed) for kind in kinds for seed in range(config.seeds)]


def slices(config: Config) -> list[Setting]:
    """The networks whose surroundings are shown."""
    base = Setting(depth=config.slice_depth, width=config.slice_width)
    kinds = [replace(base, graph=graph, activation=a) for graph in config.sweep_graphs for a in nonlinear(config)]
    return [setting for kind in kinds for setting in _both(kind)]


def _both(setting: Setting, normalisations: Iterable[Normalisation] = ("doubly",)) -> list[Setting]:
    """The GCN with every P, and the MLP, which has none."""
    graph = [replace(setting, normalisation=p) for p in normalisations]
    return [*graph, replace(setting, layer="mlp", normalisation="doubly")]

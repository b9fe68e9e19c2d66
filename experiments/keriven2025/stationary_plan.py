"""Which networks `stationary` compares, and what it found of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from jaxgnn.experiments.keriven2025.stationary_cells import REMEDIES, Around, Cell, Options, Setting


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

    @property
    def options(self) -> Options:
        """How every network is measured."""
        return Options(self.adam_steps, self.learning_rate, self.slice_points, self.lanczos_steps)


class Results(NamedTuple):
    config: Config
    cells: list[Cell]
    around: list[Around]

    def of(self, kind: Setting) -> list[Cell]:
        """The networks of a kind, of every seed."""
        return [cell for cell in self.cells if cell.setting.kind == kind]


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
            for weights in ("orthogonal", "glorot"):
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


def _both(setting: Setting, normalisations: Iterable[str] = ("doubly",)) -> list[Setting]:
    """The GCN with every P, and the MLP, which has none."""
    graph = [replace(setting, normalisation=p) for p in normalisations]
    return [*graph, replace(setting, layer="mlp", normalisation="doubly")]

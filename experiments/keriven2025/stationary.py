"""Are the layers near-stationary once the readout alone is trained, and is the loss high there? GNN against MLP.

Every network starts from orthogonal layers (times sqrt(2) for relu) and X^(0) of RMS 1, without decay, in float64, on
a connected graph. The readout is trained alone, by Adam, and to stationarity, gradient norm 1e-8, by Newton's method;
then ||d loss / d W_k|| / (||P X_k|| ||B_k||) is taken at every layer.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from jaxgnn.evidence.finding import Finding
from jaxgnn.evidence.reproduction import Arrays, Reproduction
from jaxgnn.experiments.keriven2025.networks import Setting
from jaxgnn.experiments.keriven2025.stationary_cells import measure, surroundings
from jaxgnn.experiments.keriven2025.stationary_claim import finding
from jaxgnn.experiments.keriven2025.stationary_plan import Config, Results, settings, slices


def cells(config: Config) -> Mapping[str, Callable[[], Arrays]]:
    networks = {_name(setting): partial(measure, setting, config) for setting in settings(config)}
    return networks | {_around(setting): partial(surroundings, setting, config) for setting in slices(config)}


def show(config: Config, results: Mapping[str, Mapping[str, np.ndarray]]) -> Finding:
    networks = {setting: results[_name(setting)] for setting in settings(config)}
    return finding(Results(config, networks, {setting: results[_around(setting)] for setting in slices(config)}))


def _name(setting: Setting) -> str:
    return f"{setting.words}, seed {setting.seed}"


def _around(setting: Setting) -> str:
    return f"around {setting.words}"


REPRODUCTION = Reproduction(
    name="keriven2025/stationary",
    title="Are the layers near-stationary once the readout is trained?",
    claim="Once the readout of a deep GNN is trained alone, the mean output error vanishes, every layer's gradient is "
    "near 0 and the loss stays at the constant predictor's; in an MLP of equal depth not.",
    presets={
        "smoke": Config(
            graphs=("karate",),
            other_graphs=(),
            sweep_graphs=("karate",),
            remedy_graphs=("karate",),
            activations=("relu",),
            depth=3,
            width=4,
            depths=(3,),
            widths=(4,),
            weights=("orthogonal",),
            seeds=1,
            remedies=("none",),
            adam_steps=5,
            slice_depth=3,
            slice_width=4,
            slice_points=3,
            lanczos_steps=4,
        ),
        "cpu": Config(),
        "full": Config(
            seeds=10,
            remedy_graphs=("csbm", "csbm-dense"),
            slice_depth=32,
            slice_width=32,
            slice_points=41,
            lanczos_steps=96,
        ),
    },
    cost={"smoke": "seconds", "cpu": "half an hour", "full": "not run"},
    cells=cells,
    show=show,
)

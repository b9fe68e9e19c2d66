"""Are the layers near-stationary once the readout alone is trained, and is the loss high there? GNN against MLP.

Claim tested (Keriven 2025, derived form): in a smoothed GNN, training the last layer alone makes the mean output error
vanish, with it every layer's gradient, while the loss stays at the constant predictor's; an MLP does not do this.

Every network starts from orthogonal layers (times sqrt(2) for relu) and X^(0) of RMS 1, without decay, in float64, on
a connected graph. The readout is trained alone, (a) by Adam, (b) to stationarity, gradient norm 1e-8, by Newton's
method; then ||d loss / d W_k|| / (||P X_k|| ||B_k||) is taken at every layer. What the paper's own settings are is
not known to us: all of them are this file's.

Command: python -m jaxgnn.experiments.keriven2025.stationary --preset cpu --out stationary
Cost: 501 networks and 16 slices; about half an hour of CPU time, measured beside other work on two cores. An
interrupted run goes on where it was.
Numbers: csbm-dense (lambda 0.5516), 32 layers, relu, readout by Adam: loss 1.000 of the constant predictor's, relative
gradient 2e-10; MLP 0.921 and 0.049. Cora's largest component (0.9987): 0.869 and 0.038; MLP 0.976 and 0.015.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from jaxgnn.experiments.keriven2025.stationary_cells import (
    NUMBERS,
    measure,
    pack_around,
    pack_cell,
    surroundings,
    unpack_around,
    unpack_cell,
    words,
)
from jaxgnn.experiments.keriven2025.stationary_claim import claim, notes
from jaxgnn.experiments.keriven2025.stationary_figures import figures, tables
from jaxgnn.experiments.keriven2025.stationary_plan import (
    Config,
    Results,
    settings,
    slices,
)
from jaxgnn.report.claim import Shown, write_claim
from jaxgnn.storage import writable_folder, write_arrays

CONFIG = Config(
    seeds=10, remedy_graphs=("csbm", "csbm-dense"), slice_depth=32, slice_width=32, slice_points=41, lanczos_steps=96
)
CPU = Config()
SMOKE = Config(
    graphs=("karate",),
    other_graphs=(),
    sweep_graphs=("karate",),
    remedy_graphs=("karate",),
    activations=("relu",),
    depth=3,
    width=4,
    depths=(3,),
    widths=(4,),
    seeds=1,
    remedies=("none", "residual"),
    adam_steps=5,
    slice_depth=2,
    slice_width=4,
    slice_points=3,
    lanczos_steps=4,
)
PRESETS = {"paper": CONFIG, "cpu": CPU, "smoke": SMOKE}


def run(config: Config, out: Path | None = None, say: Callable[[str], None] = lambda line: None) -> Results:
    """Measures everything; with `out`, what is done is kept in out/cells and not measured again."""
    folder = None if out is None else writable_folder(out / "cells")
    options, cells, around = config.options, [], []
    readout = replace(options, slice_points=0, lanczos_steps=0)  # all that a cell depends on
    todo = settings(config)
    for i, setting in enumerate(todo):
        say(f"{i + 1} of {len(todo)}: {words(setting)}, seed {setting.seed}")
        make = partial(measure, setting, options)
        cells.append(_kept(folder, (setting, readout), make, pack_cell, unpack_cell))
    for setting in slices(config):
        say(f"around {words(setting)}")
        make = partial(surroundings, setting, options)
        around += _kept(folder, (setting, options), make, pack_around, unpack_around)
    return Results(config, cells, around)


def _kept(folder: Path | None, key: tuple, make: Callable, pack: Callable, unpack: Callable) -> Any:
    """What `make` returns, from the file where it was kept if there is one."""
    if folder is None:
        return make()
    digest = hashlib.sha256(json.dumps([asdict(part) for part in key]).encode()).hexdigest()[:8]
    name = "-".join(str(value) for value in asdict(key[0]).values()).replace(" ", "_")
    path = folder / f"{name}-{digest}.npz"
    if not path.exists():
        write_arrays(path, pack(make()))
    with np.load(path, allow_pickle=False) as arrays:
        return unpack(key[0], dict(arrays))


def plot(results: Results) -> dict[str, Shown]:
    """All figures, by file name."""
    return figures(results)


def write(results: Results, out: Path, command: str = "python -m jaxgnn.experiments.keriven2025.stationary") -> Path:
    """Writes index.html, results.json and figures/ into `out`; returns the page."""
    cells = [
        {
            **asdict(cell.setting),
            "lambda": cell.eigenvalue,
            "constant_loss": cell.constant_loss,
            "nodes": cell.nodes,
            "train_nodes": cell.train_nodes,
            "smoothness": cell.smoothness,
            "path": cell.path,
            "stages": {
                name: {field: getattr(stage, field) for field in NUMBERS} | stage.balance._asdict()
                for name, stage in cell.stages.items()
            },
        }
        for cell in results.cells
    ]
    around = [
        {**asdict(a.setting), "stage": a.stage, "constant_loss": a.constant_loss}
        | a.hessian._asdict()
        | {"axis": a.landscape.axis, "loss": a.landscape.loss}
        for a in results.around
    ]
    return write_claim(
        out,
        claim(results),
        results={"config": asdict(results.config), "cells": cells, "around": around},
        command=command,
        tables=tables(results),
        figures=plot(results),
        notes=notes(results.config),
    )


def main(preset: Literal["paper", "cpu", "smoke"] = "cpu", out: Path = Path("keriven2025-stationary")) -> None:
    """Runs a preset and writes the page; what is done already is read from out/cells.

    Args:
      preset: "paper" has more networks and finer slices than "cpu"; "smoke" is for tests.
      out: the folder.
    """
    started = time.perf_counter()
    results = run(
        PRESETS[preset], out, lambda line: print(f"[{time.perf_counter() - started:.0f} s] {line}", flush=True)
    )
    print(write(results, out, f"python -m jaxgnn.experiments.keriven2025.stationary --preset {preset}"))


if __name__ == "__main__":
    tyro.cli(main)

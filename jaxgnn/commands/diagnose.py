"""`jaxgnn diagnose`: why a network fails on a data set, the evidence, a remedy, and whether it comes true."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import tyro

from jaxgnn.commands.options_file import save as save_options
from jaxgnn.commands.setting import ModelConfig, label, network, start_on
from jaxgnn.commands.task_setting import TaskConfig, fitted, subject
from jaxgnn.diagnosis.diagnose import Diagnosis, diagnose
from jaxgnn.host.occupied import occupied
from jaxgnn.host.options import check_flag, check_known, check_seed, check_texts, check_whole
from jaxgnn.host.storage import environment, writable_folder, write_json
from jaxgnn.report.diagnosis import HEADER, table, write_diagnosis
from jaxgnn.report.terminal import print_table, progress_bar
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.train import train

When = Literal["init", "trained"]


@dataclass(frozen=True)
class DiagnoseConfig:
    """What to diagnose.

    Attributes:
      when: "init" (at initialisation) or "trained" (after the last step).
      verify: train the network, its remedy and shallow references, --steps each: decides the causes that only
        training can, and whether the remedy works.
      seeds: networks; numbers are medians over them.
      distance: hops that labels are known to depend on; by default it is estimated from the labels.
      layer_options: options of the layer, name=value,...
      seed: of all randomness.

    Raises ValueError for an option that is not known or out of its range, when the object is made.
    """

    when: When = "init"
    verify: bool = False
    seeds: int = 3
    distance: int | None = None
    layer_options: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        check_known("when", self.when, get_args(When))
        check_flag("verify", self.verify)
        check_whole("seeds", self.seeds, least=1)
        if self.distance is not None:
            check_whole("distance", self.distance, least=1)
        check_texts("layer_options", self.layer_options)
        check_seed("seed", self.seed)


@dataclass(frozen=True)
class DiagnoseCommand:
    """Say why a network fails: the cause, the layer where it begins, the evidence, and the cheapest remedy.

    Writes index.html and results.json into the folder.

    Attributes:
      model: the network.
      out: the folder; by default jaxgnn-diagnose-DATASET-LAYER-DEPTH.
      cores: CPU cores, by default all physical ones: on a CPU so many runs of training are computed at a time.
      json: print the diagnosis as the last line of standard output, as JSON.
    """

    source: tyro.conf.OmitArgPrefixes[TaskConfig] = field(default_factory=TaskConfig)
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = field(default_factory=partial(ModelConfig, depth=64, width=32))  # pyright: ignore[reportInvalidTypeForm]
    optimisation: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=partial(TrainConfig, steps=100))
    config: tyro.conf.OmitArgPrefixes[DiagnoseConfig] = field(default_factory=DiagnoseConfig)
    out: Path | None = None
    cores: int | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        start_on(self.cores)
        model = network(self.model, self.config.layer_options)
        benchmark = self.source.benchmark(model.distances)
        task = self.source.problem(model.distances) if benchmark is None else benchmark.task
        model = fitted(model, task)
        name = f"jaxgnn-diagnose-{label(subject(self.source))}-{self.model.layer}-{self.model.depth}"
        out = writable_folder(self.out or Path(name))
        with occupied(out):
            save_options(out, "diagnose", self)
            with progress_bar() as report:
                found = self._found(model, task, lambda said, done: report(said, done, 2))
            command = f"jaxgnn {shlex.join(arguments)}"
            results = {"config": {k: asdict(getattr(self, k)) for k in ("source", "model", "optimisation", "config")}}
            write_json(out / "results.json", results | found.as_json() | environment())
            page = write_diagnosis(out, found, command)
        print_table(HEADER, table(found))
        for line in found.lines:
            print(line)
        print(f"page: {page}")
        if self.json:
            print(json.dumps(found.as_json() | {"page": str(page)}))

    def _found(self, model: Any, task: Any, say: Any) -> Diagnosis:
        config, optimisation = self.config, asdict(self.optimisation)
        params = None
        if config.when == "trained":
            say("training", 0)
            params = train(model, task, seeds=config.seeds, seed=config.seed, **optimisation).final_params
        say("verifying by training" if config.verify else "measuring", 1)
        options = {"verify": config.verify, "distance": config.distance, "seeds": config.seeds, "seed": config.seed}
        return diagnose(model, params, task, **options, **optimisation)

"""`jaxgnn bench`: how fast training and probing are, beside torch and the machine's floor."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tyro

from jaxgnn.experiments.bench import cost
from jaxgnn.experiments.bench.page import headline, write_bench
from jaxgnn.experiments.bench.suite import HEADER, BenchConfig, bench, table
from jaxgnn.host.occupied import occupied
from jaxgnn.host.storage import as_json
from jaxgnn.report.terminal import print_table, progress_bar


@dataclass(frozen=True)
class BenchCommand:
    """Measure training steps and probes by depth, width, edges, runs and layer, beside torch and the machine's floor.

    Writes index.html, results.json and figures/ into the folder. Wants a machine that does nothing else.

    Attributes:
      plan: predict a run instead, from what was measured in the folder (measured first where nothing was):
        depth=1000,nodes=1e8,devices=256,device=tpu-v4, and width, degree, features, seeds, halo, keep.
      out: the folder.
      json: print a summary as the last line of standard output, as JSON.
    """

    config: tyro.conf.OmitArgPrefixes[BenchConfig] = field(default_factory=BenchConfig)
    plan: tuple[str, ...] = ()
    out: Path = Path("jaxgnn-bench")
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        plan = cost.parse(self.plan) if self.plan else None
        measured = self.out / "results.json"
        if plan is not None and measured.exists():
            results = cost.read(measured)
        else:
            with occupied(self.out):
                with progress_bar() as report:
                    results = bench(self.config, report)
                page = write_bench(self.out, results, f"jaxgnn {shlex.join(arguments)}")
            print_table(HEADER, table(results))
            print(headline(results))
            print(f"page: {page}")
        if plan is not None:
            fitted = cost.fit(results)
            predicted = cost.predict(fitted, plan)
            print("\n".join(cost.sentences(fitted, plan, predicted)))
            if self.json:
                print(as_json({"plan": asdict(plan), **predicted}))
        elif self.json:
            print(json.dumps({"page": str(self.out / "index.html"), "results": str(measured)}))

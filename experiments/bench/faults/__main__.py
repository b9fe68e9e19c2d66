"""Plants faults in every module of the numerical core, one at a time, and says which test caught each.

Command: python -m jaxgnn.experiments.bench.faults --jobs 2
Needs a checkout, of which it works on copies. The tests of every fault run first without it, and must pass. Prints a
line for each fault and how many were caught; exits 1 where one survived, does not apply or has no result. Results are
kept in the folder --out for as long as neither the fault, the package nor the tests change. Faults marked equivalent
change no result; each says why.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

import jaxgnn
from jaxgnn.experiments.bench.faults import plant
from jaxgnn.experiments.bench.faults.fault import Fault
from jaxgnn.experiments.bench.faults.plant import CAUGHT, EQUIVALENT, SURVIVED, Outcome
from jaxgnn.experiments.bench.faults.rooms import FAULTS
from jaxgnn.host.storage import writable_folder, write_json


@dataclass(frozen=True)
class Config:
    """What to plant.

    Attributes:
      only: faults with this text in the path, in the change or among the tests.
      list: show the faults and plant none.
      jobs: how many at a time, each in a copy of its own; 0 for one a core.
      limit: seconds after which tests are ended; the fault counts as caught then.
      out: folder of the results; those there that still hold are not measured again.
      root: the checkout; that of the package by default.
    """

    only: str = ""
    list: bool = False
    jobs: int = 0
    limit: float = 900.0
    out: Path = Path("jaxgnn-faults")
    root: Path = Path(jaxgnn.__file__).absolute().parents[1]


def table_line(outcome: Outcome) -> str:
    """A row: where, what, result, by which test, seconds."""
    fault = outcome.fault
    by = fault.equivalent if outcome.result == EQUIVALENT else outcome.by
    change = fault.change.replace("|", "\\|")
    return f"| {fault.path}:{outcome.line} | `{change}` | {outcome.result} | {by} | {outcome.seconds:.0f} |"


def summary(outcomes: list[Outcome]) -> str:
    """One line: planted, caught, equivalent, and what else there is."""
    count = {result: sum(outcome.result == result for outcome in outcomes) for result in {o.result for o in outcomes}}
    rest = {result: n for result, n in sorted(count.items()) if result not in (CAUGHT, EQUIVALENT)}
    said = f"faults planted {len(outcomes)}, caught {count.get(CAUGHT, 0)}, equivalent {count.get(EQUIVALENT, 0)}"
    return ", ".join([said, *(f"{result} {n}" for result, n in rest.items())])


def run(config: Config, faults: list[Fault]) -> list[Outcome]:
    """Plants what is not kept, prints a line for each, and keeps every result as soon as it is there."""
    path = writable_folder(config.out) / "results.json"
    sources = plant.digest(config.root)
    kept = _kept(path)
    fresh = {tests for tests in kept["passed"] if kept["passed"][tests] == sources}
    held = {key: row for key, row in kept["faults"].items() if row["result"] in (CAUGHT, SURVIVED)}

    def done(outcome: Outcome) -> None:
        print(table_line(outcome), flush=True)
        row = asdict(outcome.fault) | {name: value for name, value in outcome._asdict().items() if name != "fault"}
        if row["result"] == EQUIVALENT:
            row["result"] = SURVIVED
        kept["faults"][outcome.fault.key(sources)] = row
        write_json(path, kept)

    def tests_passed(tests: str) -> None:
        kept["passed"][tests] = sources
        write_json(path, kept)

    print("| where | old -> new | result | by | s |\n|---|---|---|---|---|", flush=True)
    outcomes, left = [], []
    for fault in faults:
        if (row := held.get(fault.key(sources))) is None:
            left.append(fault)
        else:
            survived = EQUIVALENT if fault.equivalent else SURVIVED
            result = survived if row["result"] == SURVIVED else row["result"]
            outcomes.append(Outcome(fault, fault.line(config.root), result, row["by"], row["seconds"]))
            print(table_line(outcomes[-1]), flush=True)
    jobs = min(config.jobs or os.cpu_count() or 1, max(len(left), 1))
    outcomes += plant.plant(
        config.root, left, jobs=jobs, limit=config.limit, done=done, passed=tuple(fresh), tests_passed=tests_passed
    )
    return outcomes


def _kept(path: Path) -> dict[str, dict[str, Any]]:
    try:
        kept = json.loads(path.read_text())
        return {"passed": dict(kept["passed"]), "faults": dict(kept["faults"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"passed": {}, "faults": {}}


def main(arguments: list[str] | None = None) -> int:
    config = tyro.cli(Config, description=__doc__, args=arguments)
    faults = [fault for fault in FAULTS if any(config.only in text for text in (fault.path, fault.change, fault.tests))]
    try:
        if not (config.root / "tests").is_dir():
            raise ValueError(f"root={config.root} has no folder tests: a checkout is needed")
        if not faults:
            raise ValueError(f"only={config.only!r} is in none of the {len(FAULTS)} faults")
        if config.jobs < 0:
            raise ValueError(f"jobs={config.jobs}: allowed are 0 and more")
        if config.list:
            for fault in faults:
                print(f"{fault.path}:{fault.line(config.root)}: {fault.change} ({fault.tests})")
            return 0
        outcomes = run(config, faults)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n" + summary(outcomes))
    return 0 if all(outcome.result in (CAUGHT, EQUIVALENT) for outcome in outcomes) else 1


if __name__ == "__main__":
    raise SystemExit(main())

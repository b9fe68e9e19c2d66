"""The folder of a training run: config.json, history.jsonl, checkpoints."""

import json
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgnn.host.storage import environment, writable_folder, write_json, write_text
from jaxgnn.tasks.task import Metrics, Task
from jaxgnn.training import scale, warm
from jaxgnn.training.checkpoint import Checkpoints, OtherRunError
from jaxgnn.training.legs import NUMBERS, differences, filled, fingerprint, shortened, total_steps
from jaxgnn.training.result import TrainResult

_SECONDS = 20.0  # between checkpoints


class RunFolder:
    """config.json, history.jsonl and checkpoints/ of a run, in a folder that is this process's.

    The checkpoints hold everything: the other two files are for people, and written anew from them; config.json also
    says which legs a run has, and `notes`, which do not make it another run.

    Attributes:
      steps: of the run in all.
      begins_leg: whether a leg begins.
      init: what the first leg starts from, where it is at hand.
      initial: the parameters before the first step of every grid point, where `init` is not at hand; else empty.

    Raises ValueError where `proceed` asks for a leg of a run that is not there, or that has other options beside.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        task: Task,
        *,
        tensorboard: bool,
        proceed: bool = False,
        fresh: bool = False,
        init: Any = None,
        notes: Mapping[str, Any] | None = None,
    ):
        config = config | environment()
        self._notes = {} if notes is None else {"notes": dict(notes)}
        self._folder, self._config_file, self._task = folder, folder / "config.json", task
        self._history, self._results = folder / "history.jsonl", folder / "results"
        if fresh:
            self._clear()
        there = self._config_there() if (folder / "checkpoints").exists() else None
        key, first = None if init is None else warm.fingerprint(init), None if there is None else there.get("init")
        if there is not None and key not in (None, first) and warm.is_result_of(folder, there, init):
            proceed, key, init = True, first, None  # it is where the run stands
        elif there is not None and proceed and init is None:
            key = first
        config |= {} if key is None else {"init": key}
        self.init, self.initial = (
            init,
            [] if key is None or init is not None else warm.of_results(folder, "initial_params"),
        )
        self.begins_leg = False
        self._differences = [] if there is None else differences(there, config)
        if there is not None and not self._differences:
            config |= {"legs": there["legs"]} if "legs" in there else {}
        elif proceed:
            config["legs"], self.begins_leg = self._next_legs(there), True
        elif not (folder / "checkpoints").exists():
            self._require_own_config()
        self._config = config
        self.steps = total_steps(config.get("legs", []), config["train"]["steps"])
        self._checkpoints = Checkpoints(folder / "checkpoints", fingerprint(config, task))
        self._writer = _tensorboard(folder / "tensorboard") if tensorboard else None
        self._saved = time.monotonic()

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """The last checkpoint, and config.json and history.jsonl as it has them; refuses a folder of another run."""
        legs, earlier = self._config.get("legs"), None
        if legs:
            last = legs[-1]
            earlier = last["fingerprint"], shortened(like, last["steps"], self._config.get("record_every"))
        try:
            restored = self._checkpoints.restore(like, earlier=earlier)
        except OtherRunError as error:
            raise ValueError(self._refusal(str(error))) from None
        lines = []
        if restored is None:
            self._require_own_config()
            for path in self._results.glob("*.npz"):
                path.unlink()
        else:
            self._say_other_cores()
            done, tree = restored
            restored = done, filled(tree, like)
            lines = _lines(0, Metrics(*(m[:, :done] for m in restored[1][1])))
        write_json(self._config_file, self._config | self._notes)
        write_text(self._history, "".join(lines))
        return restored

    def _say_other_cores(self) -> None:
        """Warns where the run goes on with another number of cores."""
        try:
            before = json.loads(self._config_file.read_bytes())["device"]["cores"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        now = self._config["device"].get("cores")
        if before != now:
            warnings.warn(
                f"this run was on {before} cores and goes on with {now}: the same numbers up to rounding", stacklevel=2
            )

    def _next_legs(self, there: dict[str, Any] | None) -> list[dict[str, Any]]:
        """The legs so far, with that which is there now."""
        steps = [int(path.name) for path in (self._folder / "checkpoints").glob("*") if path.name.isdecimal()]
        if there is None or not steps:
            raise ValueError(f"{self._folder} holds no run to continue: without continue_ (--continue) one is begun")
        if others := [difference for difference in self._differences if difference.name not in NUMBERS]:
            said, allowed = "; ".join(map(str, others)), ", ".join(NUMBERS)
            raise ValueError(f"{self._folder} holds a run with other options: {said}; a leg may have other {allowed}")
        legs, last = there.get("legs", []), there["train"]
        leg = {"done": max(steps), "steps": total_steps(legs, last["steps"]), "train": last}
        leg["fingerprint"] = fingerprint(there, self._task)
        leg["result"] = next(map(warm.fingerprint, warm.of_results(self._folder, "final_params")), None)
        return [*legs, leg]

    def _refusal(self, sentence: str) -> str:
        if not self._differences:
            return f"{sentence}; choose another folder or remove it"
        said = "; ".join(map(str, self._differences))
        ways = "choose another folder or remove it (--fresh)"
        if all(difference.name in NUMBERS for difference in self._differences):
            ways += ", or go on with it: continue_=True (--continue)"
        return f"{sentence}: {said}; {ways}"

    def _config_there(self) -> dict[str, Any] | None:
        try:
            config = json.loads(self._config_file.read_bytes())
        except (OSError, ValueError):
            return None
        if not (isinstance(config, dict) and "grid" in config and "train" in config):
            return None
        return {name: value for name, value in config.items() if name != "notes"}

    def _clear(self) -> None:
        """Removes the run that is there. Raises ValueError where it is not a run's folder."""
        self._require_own_config()
        for name in ("checkpoints", "results", "tensorboard"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        for name in ("config.json", "history.jsonl", "results.json", "record.npz"):
            (self._folder / name).unlink(missing_ok=True)

    def _require_own_config(self) -> None:
        """Raises ValueError where there is a config.json that is not a run's, or damaged."""
        if not self._config_file.exists():
            return
        try:
            config = json.loads(self._config_file.read_bytes())
        except ValueError:
            config = None
        if not isinstance(config, dict) or "grid" not in config:
            raise ValueError(f"{self._config_file} is not of a run of jaxgnn; choose another folder or remove it")

    def append(self, done: int, metrics: Metrics) -> None:
        """Adds steps `done` and on to the history."""
        with self._history.open("a", encoding="utf-8") as file:
            file.write("".join(_lines(done, metrics)))
        if self._writer is not None:
            for name, values in metrics._asdict().items():
                for number, row in enumerate(values):
                    for i, value in enumerate(row):
                        self._writer.add_scalar(f"{name}/run_{number}", value, done + i)
            self._writer.flush()

    def due(self) -> bool:
        """Whether the last checkpoint is some time ago."""
        return time.monotonic() - self._saved > _SECONDS

    def save(self, step: int, tree: Any, *, at_once: bool) -> None:
        """A checkpoint, if the last one is some time ago or at once."""
        if at_once or self.due():
            self._checkpoints.save(step, tree)
            self._saved = time.monotonic()

    def write_results(self, results: Sequence[TrainResult]) -> None:
        """results/0.npz, 1.npz, ..: one a grid point."""
        writable_folder(self._results)
        for i, result in enumerate(results):
            result.save(self._results / f"{i}.npz")


class NoFolder:
    """What a process does that is not the first: nothing."""

    def restore(self, like: Any) -> None:
        return None

    def append(self, done: int, metrics: Metrics) -> None:
        pass

    def due(self) -> bool:
        return False

    def save(self, step: int, tree: Any, *, at_once: bool) -> None:
        pass

    def write_results(self, results: Sequence[TrainResult]) -> None:
        pass


def restored(folder: "RunFolder | NoFolder", like: Any) -> tuple[int, Any] | None:
    """The last checkpoint in all processes, read by the first."""
    found = scale.by_first(lambda: folder.restore(like))
    step = int(scale.from_first(np.asarray(-1 if found is None else found[0])))
    return None if step < 0 else (step, scale.from_first(like if found is None else found[1]))


def _lines(start: int, metrics: Metrics) -> list[str]:
    """One line of JSON a step: its number and every metric's values, one a run; null where not finite."""
    lines = []
    for i in range(metrics.train_loss.shape[1]):
        numbers = {k: [float(v) if np.isfinite(v) else None for v in m[:, i]] for k, m in metrics._asdict().items()}
        lines.append(json.dumps({"step": start + i} | numbers) + "\n")
    return lines


def _tensorboard(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("tensorboard=True needs tensorboardX: python -m pip install 'jaxgnn[tensorboard]'") from None
    return SummaryWriter(str(folder))

"""Plants faults in copies of a checkout and runs the tests that should notice; the checkout itself is never edited."""

import hashlib
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jaxgnn.experiments.bench.faults.fault import Fault, NotApplicableError

SOURCES = ("jaxgnn", "tests")  # what a result rests on
IGNORED = ("__pycache__", ".*", "*.egg-info", "build", "dist", "runs", "jaxgnn-*")
CAUGHT, SURVIVED, EQUIVALENT, NOT_APPLICABLE, NOT_RUN = (
    "caught",
    "SURVIVED",
    "equivalent",
    "does not apply",
    "no result",
)


class Run(NamedTuple):
    """What pytest said.

    Attributes:
      code: its exit code; None where the time limit ended it.
      failed: the first test that failed, or "".
      seconds: wall time.
      tail: its last lines.
    """

    code: int | None
    failed: str
    seconds: float
    tail: str


class Outcome(NamedTuple):
    """What became of a fault.

    Attributes:
      fault: the mistake.
      line: where it stands.
      result: "caught", "SURVIVED", "equivalent" (it survived, as was argued), "does not apply", or "no result": its
        tests fail without it, or do not run with it.
      by: the test that caught it, or why there is no result.
      seconds: what its tests took.
    """

    fault: Fault
    line: int
    result: str
    by: str
    seconds: float


def digest(root: Path) -> str:
    """Digest of every Python file that results rest on; experiments are not among them."""
    total = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            if "experiments" not in path.relative_to(root / folder).parts:
                total.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return total.hexdigest()


class Copy:
    """A copy of the checkout, and a process that runs pytest in it."""

    def __init__(self, root: Path, path: Path):
        self.path = path
        shutil.copytree(root, path, symlinks=True, ignore=shutil.ignore_patterns(*IGNORED))
        # Failures that hypothesis found in one copy must not be shown to another.
        found = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": found, "HYPOTHESIS_STORAGE_DIRECTORY": str(path / ".hypothesis")}
        self._options: dict[str, Any] = {"cwd": path, "env": environment, "text": True, "stdout": subprocess.PIPE}
        asked = [sys.executable, "-c", "import jaxgnn; print(jaxgnn.__file__)"]
        imported = subprocess.run(asked, **self._options, stderr=subprocess.STDOUT).stdout.strip()
        if Path(imported or "/") != path / "jaxgnn" / "__init__.py":
            raise ValueError(f"the copy of {root} does not import: {imported[-300:]}")
        warm = (Path(__file__).parent / "warm.py").read_text()
        self._process = subprocess.Popen([sys.executable, "-c", warm], **self._options, stdin=subprocess.PIPE)

    def run_tests(self, tests: str, limit: float) -> Run:
        """pytest, until the first failure."""
        shutil.rmtree(self.path / ".hypothesis", ignore_errors=True)
        output, late = self.path / "output.txt", threading.Event()
        options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=line", "-rfE", *shlex.split(tests)]
        started = time.monotonic()
        child, answer = self._ask({"arguments": options, "output": str(output)}), self._process.stdout
        assert answer is not None

        def end() -> None:
            late.set()
            os.kill(child, signal.SIGKILL)

        timer = threading.Timer(limit, end)
        timer.start()
        code = int(answer.readline())
        timer.cancel()
        text = output.read_text(errors="replace") if output.exists() else ""
        named = [line.split(" ", 1) for line in text.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        failed = next((name.partition(" - ")[0] for _, name in named), "")
        return Run(None if late.is_set() else code, failed, time.monotonic() - started, text.strip()[-500:])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, task: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def copies(root: Path, count: int) -> Iterator["queue.Queue[Copy]"]:
    """So many copies of the checkout, to be taken and put back.

    Raises ValueError where a copy does not import its own package.
    """
    every: list[Copy] = []
    with tempfile.TemporaryDirectory(prefix="jaxgnn-faults-", ignore_cleanup_errors=True) as folder:
        try:
            every += [Copy(root, Path(folder).resolve() / str(number)) for number in range(count)]
            free: queue.Queue[Copy] = queue.Queue()
            for copy in every:
                free.put(copy)
            yield free
        finally:
            for copy in every:
                copy.close()


def _planted(copy: Copy, fault: Fault, limit: float) -> tuple[str, str, float]:
    path = (copy.path / fault.path).resolve()
    before = path.read_text()
    try:
        path.write_text(fault.planted(before))
        _forget(path)
        run = copy.run_tests(fault.tests, limit)
    finally:
        path.write_text(before)
        _forget(path)
    if run.code == 0:
        return (EQUIVALENT if fault.equivalent else SURVIVED), "", run.seconds
    if run.code is None:
        return CAUGHT, f"the time limit of {limit:g} s", run.seconds
    if run.code == 1:
        return CAUGHT, run.failed, run.seconds
    return NOT_RUN, f"pytest exits {run.code} with it: {run.tail}", run.seconds


def _forget(path: Path) -> None:
    # Compiled code is told from its source by seconds and size, which a fault may leave as they are.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink(missing_ok=True)


def plant(
    root: Path,
    faults: Sequence[Fault],
    *,
    jobs: int,
    limit: float,
    done: Callable[[Outcome], None] = lambda outcome: None,
    passed: Sequence[str] = (),
    tests_passed: Callable[[str], None] = lambda tests: None,
) -> list[Outcome]:
    """Outcomes of the faults, in their order; `done` is called with each, in the order in which they come.

    Tests run once without a fault, and then with each of theirs; `jobs` selections of tests at a time.

    passed: selections known to pass without a fault; `tests_passed` is called with every further one.
    """
    outcomes: dict[int, Outcome] = {}
    lock = threading.Lock()

    def say(number: int, result: str, by: str, seconds: float) -> None:
        fault = faults[number]
        with lock:
            outcomes[number] = Outcome(fault, fault.line(root), result, by, seconds)
            done(outcomes[number])

    applicable = []
    for number, fault in enumerate(faults):
        try:
            fault.planted((root / fault.path).read_text())
            applicable.append(number)
        except (NotApplicableError, OSError) as error:
            say(number, NOT_APPLICABLE, str(error), 0.0)
    if not applicable:
        return [outcomes[number] for number in range(len(faults))]

    with copies(root, jobs) as free, ThreadPoolExecutor(jobs) as pool:

        def together(tests: str, numbers: list[int]) -> None:
            copy = free.get()
            try:
                if tests not in passed:
                    run = copy.run_tests(tests, limit)
                    if run.code != 0:
                        why = f"pytest {tests} exits {run.code} without it: {run.failed or run.tail}"
                        for number in numbers:
                            say(number, NOT_RUN, why, 0.0)
                        return
                    with lock:
                        tests_passed(tests)
                for number in numbers:
                    say(number, *_planted(copy, faults[number], limit))
            finally:
                free.put(copy)

        selections: dict[str, list[int]] = {}
        for number in applicable:
            selections.setdefault(faults[number].tests, []).append(number)
        try:
            for future in as_completed([pool.submit(together, *selection) for selection in selections.items()]):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [outcomes[number] for number in range(len(faults))]

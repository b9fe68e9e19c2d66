"""Plants faults in copies of a checkout and runs the tests that should notice; the checkout itself is never edited."""

import hashlib
import os
import queue
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

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


@contextmanager
def copies(root: Path, count: int) -> Iterator["queue.Queue[Path]"]:
    """So many copies of the checkout, to be taken and put back.

    Raises ValueError where a copy does not import its own package.
    """
    with tempfile.TemporaryDirectory(prefix="jaxgnn-faults-") as folder:
        free: queue.Queue[Path] = queue.Queue()
        for number in range(count):
            copy = Path(folder).resolve() / str(number)
            shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns(*IGNORED))
            free.put(copy)
        asked = [sys.executable, "-c", "import jaxgnn; print(jaxgnn.__file__)"]
        imported = subprocess.run(asked, cwd=copy, env=_environment(copy), capture_output=True, text=True)
        if Path(imported.stdout.strip() or "/") != copy / "jaxgnn" / "__init__.py":
            raise ValueError(
                f"the copy of {root} does not import: {(imported.stdout + imported.stderr).strip()[-300:]}"
            )
        yield free


def _environment(copy: Path) -> dict[str, str]:
    # Failures that hypothesis found in one copy must not be shown to another.
    path = os.pathsep.join([str(copy), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis")}


def run_tests(copy: Path, tests: str, limit: float) -> Run:
    """pytest in a copy, until the first failure."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=line", "-rfE"]
    shutil.rmtree(copy / ".hypothesis", ignore_errors=True)
    command = [sys.executable, "-m", "pytest", *options, *shlex.split(tests)]
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=copy, env=_environment(copy), capture_output=True, text=True, timeout=limit, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return Run(None, "", time.monotonic() - started, "")
    lines = done.stdout.splitlines()
    failed = next((line.partition(" ")[2].partition(" - ")[0] for line in lines if line.startswith("FAILED ")), "")
    failed = failed or next((line.partition(" ")[2].partition(" - ")[0] for line in lines if line[:6] == "ERROR "), "")
    return Run(done.returncode, failed, time.monotonic() - started, (done.stdout + done.stderr).strip()[-500:])


def _planted(copy: Path, fault: Fault, limit: float) -> tuple[str, str, float]:
    path = (copy / fault.path).resolve()
    before = path.read_text()
    try:
        path.write_text(fault.planted(before))
        _forget(path)
        run = run_tests(copy, fault.tests, limit)
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
    """Outcomes of the faults, in their order; `done` hears of each, in the order in which they come.

    Tests run once without a fault, and then with each of theirs; `jobs` selections of tests at a time.

    passed: selections known to pass without a fault; `tests_passed` hears of every further one.
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
                    run = run_tests(copy, tests, limit)
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

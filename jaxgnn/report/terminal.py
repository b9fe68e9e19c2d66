"""What a long command shows on a terminal: a progress bar with the time left, and a table at the end."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from jaxgnn.host import interrupts

_WORTH_SAYING = 10.0  # seconds


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float, float], None]]:
    """Gives report(label, done, total): a bar on a terminal, one line a label elsewhere; both on standard error.

    Each report is a place where an interrupted command stops.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _stopping(_line_by_line())
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        yield _stopping(
            lambda label, done, total: progress.update(task, description=label, completed=done, total=total)
        )


def _stopping(report: Callable[[str, float, float], None]) -> Callable[[str, float, float], None]:
    def stopping(label: str, done: float, total: float) -> None:
        interrupts.check()
        report(label, done, total)

    return stopping


def _line_by_line() -> Callable[[str, float, float], None]:
    """One line a label, and for a long one a second that says what is left, as a range."""
    shown, at = "", []

    def report(label: str, done: float, total: float) -> None:
        nonlocal shown, at
        if label != shown:
            shown, at = label, at if shown.endswith("compiling") else []
            print(f"{done / total:4.0%}  {label}", file=sys.stderr, flush=True)
        if len(at) < 3 and (not at or done > at[-1][1]):
            at.append((time.perf_counter(), done))
            if len(at) == 3 and (said := _left(at[1:], total)):
                print(f"{done / total:4.0%}  {label}: {said}", file=sys.stderr, flush=True)

    return report


def _left(at: Sequence[tuple[float, float]], total: float) -> str:
    """What is left at the rate between two reports, (seconds, done) each; the one before them waited for a compiler."""
    (before, done_then), (now, done) = at
    left = (now - before) / (done - done_then) * (total - done)
    if left < _WORTH_SAYING:
        return ""
    low, high = (f"{s:.0f} s" if s < 90 else f"{s / 60:.0f} min" for s in (left / 1.6, left * 1.6))
    return f"{low} to {high} left"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output."""
    table = Table(*(Column(name, no_wrap=True) for name in header))
    for row in rows:
        table.add_row(*row)
    console = Console()
    # Into a file nothing is cut off at a width that nobody has.
    (console if console.is_terminal else Console(width=200)).print(table)


def print_scores(cells: Sequence[Mapping[str, Any]]) -> None:
    """A study's test accuracies: a row a depth, a column a remedy, with the c that was chosen."""
    remedies = list(dict.fromkeys(cell["remedy"] for cell in cells))
    rows = []
    for depth in dict.fromkeys(cell["depth"] for cell in cells):
        by_remedy = {cell["remedy"]: cell for cell in cells if cell["depth"] == depth}
        rows.append([str(depth), *(_score(by_remedy[r]) if r in by_remedy else "" for r in remedies)])
    print_table(["depth", *remedies], rows)


def print_references(benchmark: Mapping[str, Any]) -> None:
    """The test scores of a benchmark's predictors that nobody trains, to read a table of scores against."""
    rows = [(row["name"], f"{row['test']:.4g}".replace("inf", "∞")) for row in benchmark["references"]]
    print_table(["untrained", f"test {benchmark['metric'].replace('_', ' ')}"], rows)


def _score(cell: Mapping[str, Any]) -> str:
    c = "" if cell["bound_c"] is None else f" (c={cell['bound_c']:g})"
    return f"{mean_and_deviation(cell['score_mean'], cell['score_std'], digits=3)}{c}"


def mean_and_deviation(mean: float | None, deviation: float | None, *, digits: int) -> str:
    """mean ± deviation, or that there is none because a seed failed before it was evaluated."""
    if mean is None or deviation is None or not math.isfinite(mean):
        return "none: a seed failed at once"
    style = f".{digits}f" if mean == 0 or abs(mean) >= 0.5 * 10**-digits else ".1e"  # not 0.000 of what is not 0
    return f"{mean:{style}} ± {deviation:{style}}"

"""The page of `jaxgnn plan`: whether a program fits on devices that are not here, and what it takes and exchanges."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgnn.host.spelling import counted
from jaxgnn.host.storage import environment, write_json
from jaxgnn.report.explanation import Explain, Explanation
from jaxgnn.report.html import write_page
from jaxgnn.report.page import Section, Table
from jaxgnn.report.provenance import footer

_WHERE = {0: "once a step"}


def write_plan(out: Path, results: Mapping[str, Any], command: str, *, explain: Explain | None = None) -> Path:
    """Writes results.json and index.html into `out`, a writable folder; returns the page.

    results: what `jaxgnn plan --json` prints, with "chip", "devices" and "what". explain: (results, {}) -> the three
    lines at the top; by default what the plan itself says.
    """
    where = environment()
    write_json(out / "results.json", {**results, **where, "command": command})
    parts = [(name, size(held)) for name, held in results["parts"].items()]
    parts += [("at most at a time", size(results["peak_bytes"])), ("available", size(results["available_bytes"]))]
    sections = [Section("What a device holds", table=Table(("part", "bytes"), parts))]
    if results["collectives"]:
        rows = [
            (one["kind"], size(one["bytes"]), f"{one['times']:g}", _WHERE.get(one["loops"], "in the loops over layers"))
            for one in results["collectives"]
        ]
        sections.append(
            Section("What is exchanged", table=Table(("kind", "bytes each", "times a step", "where"), rows))
        )
    said = (explain or explained)(results, {})
    devices = f"{results['devices']} x {results['chip']}"
    what = {"train": "Training", "probe": "A probe", "spectrum": "Products of a spectrum"}[results["what"]]
    title = f"{what} on {devices}: does it fit?"
    lead = [f"{results['flops']:.3g} floating-point operations a device; remat: {results['remat']}."]
    received, needed = results["rows_received"], results["rows_needed"]
    if needed:
        times = f"{received / needed:.3g} times what it needs at most"
        lead.append(f"For each P X a device receives {counted(received, 'row')}, {times}.")
    write_page(page := out / "index.html", title, lead, sections, footer(command, where), said)
    return page


def explained(results: Mapping[str, Any], arrays: Mapping[Any, Any]) -> Explanation:
    """Whether it fits and how long it takes, what takes the memory, and what would make it fit or still fits."""
    del arrays
    peak, available = size(results["peak_bytes"]), size(results["available_bytes"])
    low, high = results["step_seconds"]
    takes = "" if low is None or high is None else f" A step takes {1e3 * low:.3g} to {1e3 * high:.3g} ms."
    fits = "It fits" if results["fits"] else "It does not fit"
    happened = f"{fits}: a device needs {peak}, {results['chip']} has {available}.{takes}"
    largest = max(results["parts"], key=results["parts"].get, default=None)
    why = f"Most of what a device holds is {largest}." if largest is not None else "Nothing is held between steps."
    if not results["fits"]:
        then = " or ".join(f"`{way}`" for way in results["fits_with"]) or "More devices, or a smaller graph or network"
        return Explanation(happened, why, f"{then}.")
    deep = results["largest_depth"]
    then = "It can be started as it is." if deep is None else f"It can be started as it is; about {deep:,} layers fit."
    return Explanation(happened, why, then)


def size(held: float) -> str:
    """12.3 MiB."""
    for unit, length in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if held >= length:
            return f"{held / length:.3g} {unit}"
    return f"{held:.0f} B"

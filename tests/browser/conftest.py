"""Every page, made once from runs of seconds, and a browser that counts what it may not do: errors and requests."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from jaxgnn.commands.main import main

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
INSIDE_CI = "CI" in os.environ or "JAXGNN_BROWSER" in os.environ  # there a missing browser is a failure
WHY = "a system Chromium (apt-get install chromium, or CHROMIUM=path) and pip install 'jaxgnn[browser]' are needed"
QUICK = ["--dataset", "karate", "--width", "3"]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="session")
def chromium():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if CHROMIUM is None or sync_playwright is None:
        if INSIDE_CI:
            pytest.fail(WHY)
        pytest.skip(WHY)
    with sync_playwright() as playwright:
        # As root there is no sandbox; the pages are our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page with what went wrong on it."""

    def __init__(self, page):
        self.page, self.wrong = page, []
        page.on("console", lambda m: m.type in ("error", "warning") and self.wrong.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", self._asked)

    def _asked(self, request):
        if not request.url.startswith(("file://", "data:", "blob:")):
            self.wrong.append(f"request {request.url}")

    def until(self, condition, seconds=20):
        """Waits until an expression is true; Playwright's own way is a script that the page's policy forbids."""
        for _ in range(20 * seconds):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise TimeoutError(condition)

    def through(self):
        """Scrolls from the top to the end, so that every figure is drawn."""
        page = self.page
        page.evaluate("document.querySelectorAll('figure').forEach((f) => f.scrollIntoView())")
        for number in range(page.locator("figure").count()):
            page.locator(f"[data-figure='{number}']").scroll_into_view_if_needed()
        self.until("[...document.querySelectorAll('.plot:not([hidden])')].every((p) => p.data || p.textContent)")
        page.evaluate("scrollTo(0, 0)")
        return page


@pytest.fixture(scope="session")
def opened(chromium):
    @contextmanager
    def open_page(path, *, width=1280, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        found = Opened(context.new_page())
        found.page.goto(Path(path).as_uri())
        found.page.wait_for_selector(".tools button, main", state="attached")
        yield found
        context.close()

    return open_page


@pytest.fixture(scope="session")
def pages(chromium, tmp_path_factory):
    """The index.html of every command, by its name. JAXGNN_PAGES keeps them in a folder, and takes what is there."""
    out = Path(os.environ.get("JAXGNN_PAGES") or tmp_path_factory.mktemp("pages"))

    def run(name, *arguments):
        page = out / name / "index.html"
        assert page.exists() or main([*arguments, "--out", str(out / name)]) == 0, name
        return page

    short = ["--steps", "3", "--seeds", "2"]
    found = {
        "study": run("study", "study", *QUICK, *short, "--depths", "1,2", "--remedies", "none,residual,mlp"),
        "train": run("train", "train", *QUICK, *short, "--depth", "2"),
        "several": run("several", "train", *QUICK, *short, "--depth", "1,2"),
        "probe": run("probe", "probe", *QUICK, "--steps", "10", "--seeds", "1", "--depth", "2"),
        "diagnose": run("diagnose", "diagnose", *QUICK, "--depth", "2", "--seeds", "1"),
        "spectrum": run("spectrum", "spectrum", *QUICK, "--depth", "2", "--at", "0,1"),
    }
    found["report"] = out / "runs" / "index.html"
    if not found["report"].exists():
        assert main(["reproduce", "park2024/similarity", "--preset", "smoke", "--out", str(out / "runs")]) == 0
        assert main(["report", str(out / "runs")]) == 0
    (found["reproduce"],) = (out / "runs").glob("*/*/smoke-*/index.html")
    found["bench"], found["plan"] = bench(out / "bench"), plan(out / "plan")
    return found


def bench(out):
    """The page of a bench that nobody ran: its rows are made up."""
    from jaxgnn.experiments.bench.page import write_bench

    out.mkdir(exist_ok=True)
    row = {"what": "step", "unit": "", "layer": "gcn", "low": 1.0, "high": 2.0, "ratio": 1.0, "memory": 1e6}
    rows = [
        row | {"series": "depth", "method": method, "point": depth, "seconds": scale * depth, "floor": 0.1 * depth}
        for method, scale in (("jaxgnn", 1e-3), (EVIL, 2e-3))
        for depth in (2, 4, 8)
    ]
    results = {"rows": rows, "machine": {"flops": 1e11, "bandwidth": 1e10}, "config": {}}
    return write_bench(out, results, "jaxgnn bench")


@pytest.fixture(scope="session")
def study_arrays(pages):
    """Arrays of every cell of the study's page, by (depth, remedy)."""
    found = {}
    for file in (pages["study"].parent / "cells").glob("*.npz"):
        _, depth, remedy, _ = file.stem.split("-")
        with np.load(file) as archive:
            found[int(depth), remedy] = dict(archive)
    return found


def plan(out):
    """The page of a plan that nobody compiled."""
    from jaxgnn.report.plan import write_plan

    out.mkdir(exist_ok=True)
    results = {"fits": False, "peak_bytes": 2e10, "available_bytes": 1.6e10, "parts": {"parameters": 1e9, EVIL: 1.9e10}}
    results |= {"step_seconds": [0.01, 0.02], "floor_seconds": 0.005, "flops": 1e12, "remat": "none"}
    results |= {"collectives": [{"kind": "all-gather", "bytes": 1e6, "times": 2.0, "loops": 1}], "largest_depth": None}
    results |= {"rows_received": 1, "rows_needed": 1, "fits_with": ["--remat sqrt"]}
    return write_plan(out, results | {"chip": "TPU v5e", "devices": 4, "what": "train"}, "jaxgnn plan")

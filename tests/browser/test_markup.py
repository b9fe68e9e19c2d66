"""Names with markup in them are text, wherever they stand; and lines that reach 0 stay in view."""

from dataclasses import replace

import numpy as np

from jaxgnn.report import panels
from jaxgnn.report.explanation import Explanation
from jaxgnn.report.html import write_page
from jaxgnn.report.interactive import described
from jaxgnn.report.page import FigureBlock, Section, Selector, Table, View, figure_block

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>%{x}${y}"


def evil(described):
    """A panel whose every text is markup."""
    series = tuple(replace(one, label=EVIL + one.label, group=EVIL + one.label) for one in described.series)
    axes = {name: replace(getattr(described, name), label=EVIL) for name in ("x", "y")}
    return replace(described, series=series, **axes)


def test_names_with_markup_inject_nothing(opened, tmp_path):
    line = panels.Curve(np.arange(4), np.array([[1.0, 2.0, 0.5, 3.0]]), 0)
    panel = evil(panels.curves({"a": line, "b": line}, xlabel="x", ylabel="y", log=True))
    views = [View(EVIL, described(panel), None, {EVIL: EVIL}), View("two.", described(panel), None, {EVIL: "b"})]
    sections = [
        Section(EVIL, [EVIL], Table((EVIL, "b"), [(EVIL, f"{EVIL}/index.html")])),
        Section("Figures", figures=[FigureBlock(EVIL, views)], selectors=[Selector(EVIL, (EVIL, "b"), EVIL)]),
        Section(
            "Image",
            figures=[FigureBlock(EVIL, [View(EVIL, None, f"<svg xmlns='http://www.w3.org/2000/svg'>{EVIL}</svg>")])],
        ),
    ]
    path = tmp_path / "<b>markup" / "index.html"
    path.parent.mkdir()
    write_page(path, EVIL, [EVIL], sections, [EVIL], Explanation(EVIL, EVIL, f"`{EVIL}`"))
    with opened(path) as found:
        page = found.through()
        assert found.wrong == []
        assert page.locator("script").count() == 4  # the data and the page's own three
        assert page.locator("img[onerror], img[src=x]").count() == 0
        assert page.locator("h1").text_content() == EVIL
        page.locator("button.key").first.click()
        page.locator("button.key").first.click()
        page.locator(".tools summary").first.click()
        page.locator("[data-selector]").nth(1).check(force=True)
        page.mouse.move(640, 640)
        page.wait_for_timeout(200)
        drawn = page.evaluate("document.querySelector('.plot').data.at(-1).name")
        assert drawn == EVIL.replace("<", "&lt;").replace(">", "&gt;") + "b"
        assert page.locator("img[onerror], img[src=x]").count() == 0
        assert found.wrong == []


def test_a_loss_that_reaches_0_runs_along_the_floor(opened, tmp_path):
    loss = np.array([[1.0, 0.1, 1e-12, 0.0, 0.0], [1.0, 0.2, 1e-3, 1e-9, 0.0]])
    limits = panels.loss_limits(loss)
    panel = panels.curves(
        {"training": panels.Curve(np.arange(5), loss, 0)}, xlabel="step", ylabel="loss", log=True, limits=limits
    )
    block = figure_block(tmp_path, "loss", panel, "Loss", "It falls.")
    write_page(tmp_path / "index.html", "t", [], [Section("s", figures=[block])], [])
    with opened(tmp_path / "index.html") as found:
        page = found.through()
        trace = page.evaluate("document.querySelector('.plot').data.at(-1)")
        low, _ = page.evaluate("document.querySelector('.plot').layout.yaxis.range")
        assert trace["y"][-1] == limits.floor == 1e-8
        assert 10**low < limits.floor
        assert trace["text"][-1].startswith("training: 0 ")
        assert "drawn there" in page.locator("figcaption").text_content()
        page.locator("button.mode").click()
        assert page.evaluate("document.querySelector('.plot').data.at(-1).y")[-1] == 0
        assert found.wrong == []
